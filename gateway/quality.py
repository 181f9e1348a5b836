"""The last look at a reading before it counts: is the number possible at all?

A doubtful number is read a second time.  If it stays doubtful it is kept, marked uncertain, with its reason and the raw
frame; rules take it for unknown, and the platform can decide for itself.  Nothing is ever corrected silently, and a
register that was replaced or has rolled over is said to have been.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.errors import DriverError, LineLost, ProtocolError
from gateway.model import Point, PointId, Quality, Reading, Reason, bad_reading

BELIEVE_AFTER = 3
"""A register that goes on from a new value for so many readings was set anew, or belongs to another meter."""
SLACK_S = 60.0
"""Meters count in steps; so much time beyond the elapsed one may stand on the register."""
_NEAR_THE_END = 0.99
"""Of its range: a register that falls from there to the other end has rolled over."""


@dataclass(frozen=True, slots=True)
class RegisterChange:
    """A counter went on from another value than the one it had."""

    point: PointId
    before: float
    after: float
    rolled_over: bool
    """It reached the end of its range; otherwise it was replaced or set anew."""


@dataclass(frozen=True, slots=True)
class _Mark:
    value: float
    at_s: float

    def allows(self, value: float, now_s: float, point: Point) -> Reason | None:
        """Why a register at this mark cannot show *value* now; None when it can."""
        if value < self.value:
            return Reason.BACKWARDS
        limit = point.max_per_hour
        if limit is not None and value > self.value + limit * (max(now_s - self.at_s, 0.0) + SLACK_S) / 3600:
            return Reason.JUMP
        return None


@dataclass(slots=True)
class _Counter:
    good: _Mark
    other: _Mark | None = None
    """The latest doubtful value, while we do not know yet whether to believe it."""
    seen: int = 0


@dataclass(slots=True)
class QualityGate:
    """Checks readings against what their points declare.  *now_s* is monotonic: a step of the wall clock is no jump."""

    points: Mapping[PointId, Point]
    _counters: dict[PointId, _Counter] = field(init=False, default_factory=dict)

    def doubtful(self, readings: Sequence[Reading], now_s: float) -> list[PointId]:
        """The counters that should be read once more before anything is said."""
        return [reading.point for reading in readings if self._objection(reading, now_s) is not None]

    def settle(
        self, readings: Sequence[Reading], now_s: float, raw: bytes = b""
    ) -> tuple[list[Reading], list[RegisterChange]]:
        """The readings as they count from now on.  *raw*: the frame they came in, kept with the doubtful ones."""
        changes: list[RegisterChange] = []
        return [self._settle(reading, now_s, raw, changes) for reading in readings], changes

    def _settle(self, reading: Reading, now_s: float, raw: bytes, changes: list[RegisterChange]) -> Reading:
        value = reading.value
        if reading.reason is not None or value is None or isinstance(value, (str, bool)):
            return reading
        point = self.points[reading.point]
        if (point.minimum is not None and value < point.minimum) or (
            point.maximum is not None and value > point.maximum
        ):
            return replace(reading, quality=Quality.UNCERTAIN, reason=Reason.OUT_OF_RANGE, raw=raw)
        if not point.counter:
            return reading
        reason = self._objection(reading, now_s)
        if reason is not None:
            change = self._reconsider(point, value, now_s)
            if change is None:
                return replace(reading, quality=Quality.UNCERTAIN, reason=reason, raw=raw)
            changes.append(change)
        self._counters[point.id] = _Counter(_Mark(value, now_s))
        return reading

    def _objection(self, reading: Reading, now_s: float) -> Reason | None:
        counter = self._counters.get(reading.point)
        value = reading.value
        if counter is None or reading.reason is not None or value is None or isinstance(value, (str, bool)):
            return None
        return counter.good.allows(value, now_s, self.points[reading.point])

    def _reconsider(self, point: Point, value: float, now_s: float) -> RegisterChange | None:
        """What happened to the register, once that is clear; None while it is not."""
        counter = self._counters[point.id]
        goes_on = counter.other is not None and counter.other.allows(value, now_s, point) is None
        counter.seen = counter.seen + 1 if goes_on else 1
        counter.other = _Mark(value, now_s)
        rolled_over = point.maximum is not None and (
            counter.good.value >= _NEAR_THE_END * point.maximum and value <= (1 - _NEAR_THE_END) * point.maximum
        )
        if counter.seen < BELIEVE_AFTER:
            return None
        return RegisterChange(point.id, counter.good.value, value, rolled_over)


def unreadable(points: Iterable[PointId], exc: DriverError, now_ms: int) -> list[Reading]:
    """The readings of *points* that a failed exchange leaves behind."""
    if isinstance(exc, LineLost):
        reason = Reason.LINE_LOST
    elif isinstance(exc, ProtocolError):
        reason = Reason.BAD_FRAME
    else:
        reason = Reason.NO_ANSWER
    raw = exc.frame if isinstance(exc, ProtocolError) else b""
    return [bad_reading(point, reason, now_ms, raw) for point in points]
