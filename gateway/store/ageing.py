"""What is old enough to go although there is room: a pure decision.

Only rows that every uplink has are asked about.  A clock that was set wrongly makes everything look old; that is why a
finding of unusual size has to stand for an hour before it is believed, and why nothing is judged without a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

USUAL_SHARE = 0.05
"""Of a lane's rows may go at once."""
CONFIRM_S = 3600.0
"""For so long a finding that more has to go must stand, on a clock that never steps."""
_AHEAD_MS = 86_400_000
"""Rows from further ahead than this say nothing about age: a device with a wrong clock wrote them."""


@dataclass(frozen=True, slots=True)
class Cutoff:
    """What counts as old at this moment."""

    before_ms: int
    now_ms: int

    def old(self, to_ms: int) -> bool:
        return to_ms < self.before_ms

    def young(self, to_ms: int) -> bool:
        return self.before_ms <= to_ms <= self.now_ms + _AHEAD_MS


def probe_seq(trimmed: int, last: int) -> int:
    """The first row that goes only when more than the usual share does."""
    return trimmed + int((last - trimmed) * USUAL_SHARE) + 1


def old_prefix(rows: Sequence[tuple[int, int]], cutoff: Cutoff) -> int | None:
    """Of rows (seq, to_ms), oldest first: the last old one before the first young one; None when there is none.

    Never a search by halving: times are not in order, and one old time in the middle would cost everything before it.
    """
    upto = None
    for seq, to_ms in rows:
        if cutoff.young(to_ms):
            break
        if cutoff.old(to_ms):
            upto = seq
    return upto


@dataclass(frozen=True, slots=True)
class Doubt:
    """An unusually large finding and since when, on the monotonic clock, it has been made again and again."""

    since_s: float


def judged(unusual: bool, doubt: Doubt | None, now_s: float) -> tuple[bool, Doubt | None]:
    """Whether old rows may go now, and the doubt that remains."""
    if not unusual:
        return True, None
    if doubt is None:
        return False, Doubt(now_s)
    return now_s - doubt.since_s >= CONFIRM_S, doubt
