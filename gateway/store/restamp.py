"""Times that were stamped before anybody knew the time are corrected here, in what has not left the box yet.

    start, clock unknown ──▶ Pending in the state: since when, which offset, from which number on
                             urgent lanes leave at once, marked; the others are held back by Store.hold
    synchronised         ──▶ each row that was not handed out: times + shift, mark removed, sealed again, same number
    nobody knows for long──▶ Pending.released: what was held leaves marked, and nothing of it is changed any more

A row says itself whether it has been corrected: its items are marked ``"c":"unknown"`` before and unmarked afterwards.
So a crash in the middle needs no book-keeping; the next start goes through the same rows and changes the rest.

Running totals of bytes stay as they were: corrected rows are a little smaller than what they count for.
The numbers in identifiers (UUIDv7) keep the time they were made with.  Pure, but for ``restamp_lane``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from gateway.clock import ClockState
from gateway.envelope import json_text
from gateway.model import Lane
from gateway.store.rows import Row

STATE_KEY = "clock/"
"""Followed by the kernel's boot id."""
HELD = (Lane.BILLING, Lane.TELEMETRY, Lane.BULK)
"""What can wait for the right time.  The others are urgent."""
CHUNK_ROWS = 16
"""In one transaction: up to 1 MiB of items, so that an alarm is not kept waiting for long."""
_STARTS = 16
_MARK = b'"c":"unknown"'
_TIMES = ("t", "from_ms", "to_ms")


@dataclass(frozen=True, slots=True)
class Timeline:
    """Rows whose provisional times have the same distance from the truth."""

    offset_ms: int
    """Provisional time minus time since the kernel's boot."""
    first: Mapping[Lane, int]
    """Lane -> its rows from this number on, up to the next timeline.  A lane that is absent has none to be changed."""
    starts: tuple[str, ...] = ()
    """boot_id of the daemon's starts that used it; the last few."""


@dataclass(frozen=True, slots=True)
class Pending:
    """What one boot of the kernel has accepted without knowing the time."""

    epoch: str
    since_boot_ms: int
    """When the waiting began, in time since the kernel's boot."""
    released: bool = False
    """It has waited in vain: everything may have left."""
    timelines: tuple[Timeline, ...] = field(default=())

    def to_bytes(self) -> bytes:
        return json.dumps(
            {
                "v": 1,
                "epoch": self.epoch,
                "since_boot_ms": self.since_boot_ms,
                "released": self.released,
                "timelines": [
                    {"offset_ms": each.offset_ms, "first": dict(each.first), "starts": each.starts}
                    for each in self.timelines
                ],
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def from_bytes(cls, saved: bytes, epoch: str) -> Pending | None:
        """None when it cannot be read, or speaks of the numbers of another epoch."""
        try:
            found = json.loads(saved)
            timelines = tuple(
                Timeline(int(each["offset_ms"]), _numbers(each["first"]), tuple(map(str, each["starts"])))
                for each in found["timelines"]
            )
            pending = cls(str(found["epoch"]), int(found["since_boot_ms"]), bool(found["released"]), timelines)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        return pending if pending.epoch == epoch and timelines else None

    def first_held(self) -> Mapping[Lane, int]:
        """Lane -> from which number on it waits."""
        if self.released:
            return {}
        return {
            lane: min(each.first[lane] for each in self.timelines if lane in each.first)
            for lane in HELD
            if any(lane in each.first for each in self.timelines)
        }

    def shift_ms(self, lane: Lane, seq: int, offset_ms: int) -> int | None:
        """What makes the times of this row right, given the true offset; None: it is not to be changed."""
        for each in reversed(self.timelines):
            if lane in each.first and seq >= each.first[lane]:
                return offset_ms - each.offset_ms
        return None

    def after_release(self) -> Pending:
        return replace(self, released=True)


def _numbers(found: Mapping[str, Any]) -> dict[Lane, int]:
    return {Lane(lane): int(seq) for lane, seq in found.items()}


def continued(pending: Pending, start: str, offset_ms: int, last: Mapping[Lane, int], *, known: bool) -> Pending:
    """The same boot of the kernel, another *start* of the daemon; *last*: the last number of each lane.

    What an earlier start may have sent is never changed: of urgent lanes, and of all once they were released.
    """
    kept = () if pending.released else HELD
    timelines = tuple(
        replace(each, first={lane: seq for lane, seq in each.first.items() if lane in kept})
        for each in pending.timelines
    )
    continued = replace(pending, timelines=timelines)
    return continued if known else extended(continued, start, offset_ms, last)


def extended(pending: Pending, start: str, offset_ms: int, last: Mapping[Lane, int]) -> Pending:
    """From here on rows are stamped with *offset_ms*."""
    following = {lane: seq + 1 for lane, seq in last.items()}
    newest = pending.timelines[-1] if pending.timelines else None
    if newest is None or newest.offset_ms != offset_ms:
        return replace(pending, timelines=(*pending.timelines, Timeline(offset_ms, following, (start,))))
    starts = (*newest.starts, start)[-_STARTS:]
    again = Timeline(offset_ms, {**following, **newest.first}, starts)
    return replace(pending, timelines=(*pending.timelines[:-1], again))


# ---------------------------------------------------------------------- rows


def restamped(row: Row, shift_ms: int) -> Row | None:
    """The row with its times corrected, not sealed; None when nothing in it waits for that."""
    if _MARK not in row.items:
        return None
    items = json.loads(row.items)
    marked = [item for item in items if item.get("c") == ClockState.UNKNOWN]
    if not marked:
        return None  # the words stand in a text
    for item in marked:
        del item["c"]
        item.update({key: item[key] + shift_ms for key in _TIMES if key in item})
    times = [item["t"] if "t" in item else item["from_ms"] for item in items]
    text = json_text(items)
    return row._replace(items=text.encode(), from_ms=min(times), to_ms=max(times))


class Rewritable(Protocol):
    async def rewrite(
        self, lane: Lane, after: int, limit: int, change: Callable[[Row], Row | None]
    ) -> tuple[int | None, int]: ...


async def restamp_lane(store: Rewritable, pending: Pending, lane: Lane, offset_ms: int) -> int:
    """How many envelopes were corrected.  Raises StoreError; may be called again then."""

    def change(row: Row) -> Row | None:
        shift_ms = pending.shift_ms(lane, row.seq, offset_ms)
        return None if shift_ms is None else restamped(row, shift_ms)

    after = min((each.first[lane] - 1 for each in pending.timelines if lane in each.first), default=None)
    changed = 0
    while after is not None:
        after, more = await store.rewrite(lane, after, CHUNK_ROWS, change)
        changed += more
    return changed
