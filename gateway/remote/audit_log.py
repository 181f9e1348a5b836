"""The audit's files: appended to and synced, never rewritten.  Blocking; trail.py gives it a thread of its own.

audit.log                   the newest lines
audit-000000000001.log …    full ones, named after their first line; removed when they are too old or too many
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from gateway.clock import Clock, ClockState
from gateway.errors import StoreError
from gateway.model import Value
from gateway.remote.chain import START, Anchor, Entry, Head, joined, read_line
from gateway.store.disk import sync_directory

log = structlog.get_logger()

FILE = "audit.log"
FILE_BYTES = 2**20
KEEP_S = 180 * 86400.0
BUDGET_BYTES = 64 * 2**20
LEAST_BYTES = 4 * 2**20
_TAIL_BYTES = 64 * 1024
"""More than the longest line."""


def files_of(directory: Path) -> list[Path]:
    """Oldest first."""
    newest = directory / FILE
    return [*sorted(directory.glob("audit-*.log")), *([newest] if newest.exists() else [])]


def lines_of(directory: Path) -> Iterator[tuple[str, int, bytes]]:
    """As chain.verify wants them.  Raises OSError."""
    for path in files_of(directory):
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                yield path.name, number, raw


@dataclass(slots=True)
class AuditLog:
    """Only whoever holds the store's lock may open it.  Methods raise StoreError, after which it can be used again."""

    directory: Path
    clock: Clock
    keep_s: float = KEEP_S
    budget_bytes: int = BUDGET_BYTES
    file_bytes: int = FILE_BYTES
    least_bytes: int = LEAST_BYTES
    _number: int | None = field(init=False, default=None)
    """The open file; None before the first append, and after a failure until the next."""
    _size: int = field(init=False, default=0)
    _head: Head = field(init=False, default=START)
    _first_seq: int = field(init=False, default=1)

    def open(self, anchor: Anchor | None) -> Anchor:
        """Find the end and mend it.  What is found is written down as a line of its own where it is worth one."""
        known = START if anchor is None else Head(anchor.seq, anchor.hash)
        try:
            torn = self._open()
            found, continued = self._head, anchor is None or self._holds(anchor)
            self._first_seq = (self._oldest() or 1) if anchor is None else anchor.first_seq
        except OSError as exc:
            self._head = known
            raise _trouble(exc) from exc
        if not continued:
            # Numbers of lines that are gone stay taken, and the chain stays visibly broken where it was.
            self._head = Head(max(found.seq, known.seq), known.hash)
        entries = list(self._mended(torn, found.seq, known.seq, continued))
        return self.append(entries) if entries else self.anchor

    @property
    def anchor(self) -> Anchor:
        return Anchor(self._first_seq, *self._head)

    def append(self, entries: Sequence[Entry]) -> Anchor:
        """On disk when it returns."""
        try:
            if self._number is None:
                self._open()
            if self._size >= self.file_bytes:
                entries = [*entries, *self._rotate()]
            self._write(entries)
        except OSError as exc:
            self._give_up()
            raise _trouble(exc) from exc
        return self.anchor

    def close(self) -> None:
        if self._number is not None:
            os.close(self._number)
            self._number = None

    # ------------------------------------------------------------------ the end of the file

    def _open(self) -> bytes:
        """Returns what stood after the last complete line, which is cut off."""
        path = self.directory / FILE
        fresh = not path.exists()
        self._number = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if fresh:
            sync_directory(self.directory)
        size = os.fstat(self._number).st_size
        tail = os.pread(self._number, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        torn = tail[tail.rfind(b"\n") + 1 :]
        if torn:
            os.ftruncate(self._number, size - len(torn))
            os.fsync(self._number)
        self._size = size - len(torn)
        found = _last(tail) or self._last_rotated()
        self._head = found if found.seq > self._head.seq else self._head
        return torn

    def _holds(self, anchor: Anchor) -> bool:
        """Whether the line of the anchor is there; it is one of the last."""
        if anchor.seq == 0:
            return True
        for path in reversed(files_of(self.directory)):
            for raw in reversed(path.read_bytes().splitlines()):
                line = read_line(raw)
                if line is not None and line.head.seq <= anchor.seq:
                    return line.head == (anchor.seq, anchor.hash)
        return False

    def _last_rotated(self) -> Head:
        for path in reversed(files_of(self.directory)):
            if path.name != FILE:
                return _last(path.read_bytes()[-_TAIL_BYTES:]) or START
        return START

    def _oldest(self) -> int | None:
        for path in files_of(self.directory):
            with path.open("rb") as file:
                line = read_line(file.readline())
            return None if line is None else line.head.seq
        return None

    def _mended(self, torn: bytes, found: int, known: int, continued: bool) -> Iterator[Entry]:
        """found: number of the last line there is; known: of the last line that the store knows of."""
        now_ms = self.clock.now_ms()
        if torn:
            log.warning("the audit's last line was torn and has been cut off", bytes=len(torn))
            about: dict[str, Value | None] = {"bytes": len(torn), "begin": torn[:100].decode("utf-8", "replace")}
            yield Entry(now_ms, "audit.repaired", "", "local", about)
        if not continued:
            log.error("the audit is not what it was when the daemon stopped", found=found, expected=known)
            yield Entry(now_ms, "audit.tampered", "", "local", {"found": found, "expected": known})
        elif found > known > 0:
            yield Entry(now_ms, "audit.unanchored", "", "local", {"from": known + 1, "to": found})

    # ------------------------------------------------------------------ writing

    def _write(self, entries: Sequence[Entry]) -> None:
        assert self._number is not None
        head, data = self._head, bytearray()
        for entry in entries:
            line, head = joined(entry, head)
            data += line
        view = memoryview(data)
        while view:
            view = view[os.write(self._number, view) :]
        os.fsync(self._number)
        self._head = head
        self._size += len(data)

    def _give_up(self) -> None:
        """Nothing of what could not be written may stay; the next append looks at the file afresh."""
        if self._number is None:
            return
        with suppress(OSError):
            os.ftruncate(self._number, self._size)
        self.close()

    def _rotate(self) -> Iterator[Entry]:
        """The full file gets its own name; what is too old or too much goes."""
        self.close()
        path = self.directory / FILE
        with path.open("rb") as file:
            line = read_line(file.readline())
        first = self._head.seq if line is None else line.head.seq
        path.rename(self.directory / f"audit-{first:012d}.log")
        sync_directory(self.directory)
        self._open()
        yield from self._prune()

    def _prune(self) -> Iterator[Entry]:
        full = files_of(self.directory)[:-1]
        while full and (early := self._removable(full)) is not None:
            gone = full.pop(0)
            gone.unlink()
            self._first_seq = self._oldest() or self._head.seq + 1
            if early:
                log.error("the audit is over its budget: its oldest file is removed before its time", file=gone.name)
                what: dict[str, Value | None] = {"file": gone.name, "first_seq": self._first_seq}
                yield Entry(self.clock.now_ms(), "audit.shortened", "", "local", what)

    def _removable(self, full: Sequence[Path]) -> bool | None:
        """Of the oldest: None when it stays; whether it goes before its time."""
        if sum(path.stat().st_size for path in full) > max(self.budget_bytes, self.least_bytes) - self.file_bytes:
            return not self._old(full[0])
        return False if self._old(full[0]) else None

    def _old(self, path: Path) -> bool:
        """A clock that may be wrong removes nothing."""
        age_s = self.clock.now_ms() / 1000 - path.stat().st_mtime
        return self.clock.state() is ClockState.SYNCED and age_s > self.keep_s


def _last(tail: bytes) -> Head | None:
    """Of the last line whose hash fits."""
    for raw in reversed(tail.splitlines(keepends=True)):
        if raw.endswith(b"\n") and (line := read_line(raw)) is not None:
            return line.head
    return None


def _trouble(exc: OSError) -> StoreError:
    return StoreError(f"the audit cannot be written: {exc}", hint="look at the disk of store.path, and at its rights")
