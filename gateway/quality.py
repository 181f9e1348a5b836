"""The last look at a reading before it counts: is the number possible at all?

A doubtful number is kept, marked uncertain and given its reason; rules take it for unknown, and the platform can
decide for itself.  Nothing is ever corrected silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.errors import DriverError, LineLost, ProtocolError
from gateway.model import Point, PointId, Quality, Reading, Reason, bad_reading


@dataclass(slots=True)
class _Counter:
    last_good: float
    lower: float | None = None
    """The latest reading below *last_good*, while we do not know yet whether to believe it."""
    lower_seen: int = 0


@dataclass(slots=True)
class QualityGate:
    """Checks readings against what their points declare."""

    points: Mapping[PointId, Point]
    believe_lower_after: int = 3
    """A counter that stays below its old value for this many readings was replaced or has rolled over."""
    _counters: dict[PointId, _Counter] = field(init=False, default_factory=dict)

    def check(self, readings: Sequence[Reading]) -> list[Reading]:
        return [self._check(reading) for reading in readings]

    def _check(self, reading: Reading) -> Reading:
        value = reading.value
        if reading.reason is not None or value is None or isinstance(value, (str, bool)):
            return reading
        point = self.points[reading.point]
        if (point.minimum is not None and value < point.minimum) or (
            point.maximum is not None and value > point.maximum
        ):
            return replace(reading, quality=Quality.UNCERTAIN, reason=Reason.OUT_OF_RANGE)
        if point.counter and not self._plausible(point.id, value):
            return replace(reading, quality=Quality.UNCERTAIN, reason=Reason.BACKWARDS)
        return reading

    def _plausible(self, point: PointId, value: float) -> bool:
        counter = self._counters.setdefault(point, _Counter(value))
        if value >= counter.last_good:
            counter.last_good, counter.lower, counter.lower_seen = value, None, 0
            return True
        counter.lower_seen = counter.lower_seen + 1 if counter.lower is None or value >= counter.lower else 1
        counter.lower = value
        if counter.lower_seen < self.believe_lower_after:
            return False
        counter.last_good, counter.lower, counter.lower_seen = value, None, 0
        return True


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
