"""The journal's files: one a month, appended to and synced, never rewritten.  Blocking; keeper.py gives it a thread.

closings-2026-10.log    a line for each batch: CRC-32 in hex, a space, base64 of zlib of JSON

A line that does not check is passed over, so a torn one costs itself: the next append begins on a line of its own.
"""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any

import structlog

from gateway.clock import Clock, ClockState
from gateway.errors import StoreError
from gateway.meters.closing import Batch, Change, Closing, Mark, day_of
from gateway.store.disk import sync_directory

log = structlog.get_logger()

KEEP_DAYS = 400
BUDGET_BYTES = 256 * 2**20
"""Beyond it the oldest month goes before its time, which is said."""
DOUBT_S = 86400.0
"""For so long, on a clock that never steps, a month must have been too old before it goes."""
_NAME = re.compile(r"closings-(\d{4}-\d{2})\.log")
_BLOCK = 5000
"""Closings in one line, at most."""


def month_of(time_ms: int, zone: tzinfo) -> str:
    """``2026-10``"""
    return day_of(time_ms, zone).strftime("%Y-%m")


def encode(batch: Batch) -> bytes:
    """One line."""
    packed = base64.b64encode(zlib.compress(json.dumps(_columns(batch), separators=(",", ":")).encode(), 9))
    return b"%08x %s\n" % (zlib.crc32(packed), packed)


def decode(line: bytes) -> Batch | None:
    """None for a line that is not what was written."""
    crc, _, packed = line.rstrip(b"\n").partition(b" ")
    try:
        if len(crc) != 8 or int(crc, 16) != zlib.crc32(packed):
            return None
        return _batch(json.loads(zlib.decompress(base64.b64decode(packed, validate=True))))
    except (ValueError, zlib.error, TypeError, KeyError):
        return None


def _columns(batch: Batch) -> dict[str, Any]:
    """Column by column, and times from the first one on: that halves what compression leaves."""
    closings = sorted(batch.closings, key=lambda each: each.point)
    base_ms = closings[0].after.time_ms if closings else 0
    return {
        "t0": base_ms,
        "p": [each.point for each in closings],
        "bv": [None if each.before is None else each.before.value for each in closings],
        "bt": [None if each.before is None else each.before.time_ms - base_ms for each in closings],
        "av": [each.after.value for each in closings],
        "at": [each.after.time_ms - base_ms for each in closings],
        "n": {
            str(index): [each.uncertain, each.bad, each.hole_s, int(each.provisional)]
            for index, each in enumerate(closings)
            if each.uncertain or each.bad or each.hole_s or each.provisional
        },
        "x": [[each.point, each.before, each.after, each.time_ms, each.kind] for each in batch.changes],
    }


def _batch(columns: dict[str, Any]) -> Batch:
    base_ms = columns["t0"]
    rows = zip(columns["p"], columns["bv"], columns["bt"], columns["av"], columns["at"], strict=True)
    closings = []
    for index, (point, bv, bt, av, at) in enumerate(rows):
        before = None if bt is None else Mark(float(bv), base_ms + bt)
        uncertain, bad, hole_s, provisional = columns["n"].get(str(index), (0, 0, 0, 0))
        after = Mark(float(av), base_ms + at)
        closings.append(Closing(point, before, after, uncertain, bad, hole_s, bool(provisional)))
    return Batch(closings, [Change(*each) for each in columns["x"]])


def files_of(directory: Path) -> list[tuple[str, Path]]:
    """(month, file), the oldest first."""
    found = ((_NAME.fullmatch(path.name), path) for path in directory.glob("closings-*.log"))
    return sorted((match[1], path) for match, path in found if match is not None)


@dataclass(slots=True)
class Found:
    """What a look into the journal has given."""

    batch: Batch = field(default_factory=Batch)
    damaged: int = 0
    """Lines that were passed over."""


def read(
    directory: Path,
    since_month: str = "",
    *,
    keep: Callable[[Closing], bool] = lambda closing: True,
    enough: Callable[[str, Batch], bool] = lambda month, batch: False,
) -> Found:
    """What is on record in that month and later.  Raises StoreError.

    keep: whether a closing is wanted; a year of a large compound is more than a small box has memory for.
    enough: asked after each month with what has been found so far.
    """
    closings: list[Closing] = []
    changes: list[Change] = []
    damaged = 0
    try:
        for month, path in files_of(directory):
            if month < since_month:
                continue
            for batch in _batches(path):
                if batch is None:
                    damaged += 1
                else:
                    closings += filter(keep, batch.closings)
                    changes += batch.changes
            if enough(month, Batch(closings, changes)):
                break
    except OSError as exc:
        raise StoreError(f"the journal of the meters cannot be read: {exc}") from exc
    return Found(Batch(closings, changes), damaged)


def _batches(path: Path) -> Iterator[Batch | None]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield decode(line)


@dataclass(slots=True)
class Files:
    """Only whoever holds the store's lock may append.  Methods raise StoreError, after which they can be used again."""

    directory: Path
    zone: tzinfo
    clock: Clock
    keep_days: int = KEEP_DAYS
    budget_bytes: int = BUDGET_BYTES
    _old_since_s: float | None = field(init=False, default=None)

    def append(self, batch: Batch) -> None:
        """On disk when it returns."""
        try:
            for month, part in self._by_month(batch):
                self._write(self.directory / f"closings-{month}.log", b"".join(map(encode, _blocks(part))))
        except OSError as exc:
            raise StoreError(
                f"the journal of the meters cannot be written: {exc}",
                hint="look at the disk of store.path, and at its rights",
            ) from exc

    def prune(self) -> None:
        """Let go, a month at a time, what is older than is kept.  A clock that may be wrong removes nothing."""
        try:
            found = files_of(self.directory)
            if len(found) > 1 and sum(path.stat().st_size for _, path in found) > self.budget_bytes:
                log.error("the journal of the meters is over its budget: its oldest month goes", file=found[0][1].name)
                found[0][1].unlink()
            elif self._old_enough(found):
                log.info("a month of the journal of the meters is old enough to go", file=found[0][1].name)
                found[0][1].unlink()
        except OSError as exc:
            raise StoreError(f"old months of the journal of the meters cannot be removed: {exc}") from exc

    def _old_enough(self, found: Sequence[tuple[str, Path]]) -> bool:
        """The oldest month, and for so long that it is no slip of the clock; then the next one waits as long."""
        limit = month_of(self.clock.now_ms() - (self.keep_days + 31) * 86_400_000, self.zone)
        if not found or found[0][0] >= limit or self.clock.state() is not ClockState.SYNCED:
            self._old_since_s = None
            return False
        now_s = self.clock.monotonic_s()
        if self._old_since_s is None:
            self._old_since_s = now_s
        if now_s - self._old_since_s < DOUBT_S:
            return False
        self._old_since_s = None
        return True

    def _by_month(self, batch: Batch) -> Iterator[tuple[str, Batch]]:
        closings: dict[str, list[Closing]] = defaultdict(list)
        changes: dict[str, list[Change]] = defaultdict(list)
        for closing in batch.closings:
            closings[month_of(closing.after.time_ms, self.zone)].append(closing)
        for change in batch.changes:
            changes[month_of(change.time_ms, self.zone)].append(change)
        for month in sorted(closings.keys() | changes.keys()):
            yield month, Batch(closings[month], changes[month])

    def _write(self, path: Path, data: bytes) -> None:
        fresh = not path.exists()
        number = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(number).st_size
            if size and os.pread(number, 1, size - 1) != b"\n":
                data = b"\n" + data  # what a power cut or a full disk has torn stays a line of its own
            view = memoryview(data)
            while view:
                view = view[os.write(number, view) :]
            os.fsync(number)
        finally:
            with suppress(OSError):
                os.close(number)
        if fresh:
            sync_directory(self.directory)


def _blocks(batch: Batch) -> Iterator[Batch]:
    yield Batch(batch.closings[:_BLOCK], batch.changes)
    for start in range(_BLOCK, len(batch.closings), _BLOCK):
        yield Batch(batch.closings[start : start + _BLOCK])
