"""The last look at a reading before it counts: is the number possible at all?

A doubtful number is read a second time.  If it stays doubtful it is kept, marked uncertain, with its reason and the raw
frame; rules take it for unknown, and the platform can decide for itself.  Nothing is ever corrected silently, and a
register that was replaced or has rolled over is said to have been.  Values of a device that says a wrong serial number
are all doubtful.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from gateway.errors import DriverError, LineLost, ProtocolError
from gateway.identity import CHECK_POINT, Identities, IdentityChange
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


Change: TypeAlias = RegisterChange | IdentityChange
"""What somebody must be told beside the readings."""


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
    identities: Identities = field(default_factory=Identities)
    """Shared by all lines."""
    _counters: dict[PointId, _Counter] = field(init=False, default_factory=dict)
    _serial_numbers: dict[str, PointId] = field(init=False)
    """Device -> the point that tells its serial number."""
    _numbers: frozenset[PointId] = field(init=False)

    def __post_init__(self) -> None:
        self._serial_numbers = {point.device: point.id for point in self.points.values() if point.identity}
        self._numbers = frozenset(self._serial_numbers.values())

    def serial_number_of(self, device: str) -> PointId | None:
        """The point that holds the device's own serial number."""
        return self._serial_numbers.get(device)

    def registers(self, now_s: float, now_ms: int) -> Mapping[PointId, tuple[float, int]]:
        """Every counter's last good value and when it was read (UTC ms), to be kept over a restart."""
        return {
            point: (counter.good.value, now_ms - round((now_s - counter.good.at_s) * 1000))
            for point, counter in self._counters.items()
        }

    def recall(self, registers: Mapping[PointId, tuple[float, int]], now_s: float, now_ms: int | None) -> None:
        """Take up what ``registers`` gave before the restart.

        now_ms: None while the wall clock cannot be trusted; how far a register may have risen is then not judged.
        """
        for point, (value, at_ms) in registers.items():
            if point in self.points and self.points[point].counter:
                elapsed_s = math.inf if now_ms is None else max((now_ms - at_ms) / 1000, 0.0)
                self._counters[point] = _Counter(_Mark(value, now_s - elapsed_s))

    def doubtful(self, readings: Sequence[Reading], now_s: float) -> list[PointId]:
        """The counters that should be read once more before anything is said."""
        known = self._counters
        return [r.point for r in readings if r.point in known and self._objection(r, now_s) is not None]

    def settle(self, readings: Sequence[Reading], now_s: float, raw: bytes = b"") -> tuple[list[Reading], list[Change]]:
        """The readings as they count from now on.  *raw*: the frame they came in, kept with the doubtful ones.

        A serial number among them brings a reading more, which says whether it is the right one.
        """
        changes: list[Change] = []
        numbers = [reading for reading in readings if reading.point in self._numbers]
        checks = [self._identify(reading, changes) for reading in numbers]
        settled = [self._settle(reading, now_s, raw, changes) for reading in readings]
        return [*settled, *(check for check in checks if check is not None)], changes

    def _identify(self, reading: Reading, changes: list[Change]) -> Reading | None:
        """The reading of the device's ``identity_check``; None when the number could not be read."""
        if reading.value is None:
            return None
        device = self.points[reading.point].device
        verdict, change = self.identities.check(device, reading.value)
        if change is not None:
            changes.append(change)
            if not change.expected:  # another meter has its own registers
                self._counters = {point: each for point, each in self._counters.items() if _device(point) != device}
        return replace(reading, point=f"{device}.{CHECK_POINT}", value=verdict, quality=Quality.GOOD, reason=None)

    def _settle(self, reading: Reading, now_s: float, raw: bytes, changes: list[Change]) -> Reading:
        value = reading.value
        if reading.reason is not None or value is None:
            return reading
        point = self.points[reading.point]
        if self.identities.wrong and point.device in self.identities.wrong and not point.identity:
            return replace(reading, quality=Quality.UNCERTAIN, reason=Reason.WRONG_DEVICE, raw=raw)
        if isinstance(value, (str, bool)):
            return reading
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


def _device(point: PointId) -> str:
    return point.partition(".")[0]


def unreadable(points: Iterable[PointId], exc: DriverError, now_ms: int) -> list[Reading]:
    """The readings of *points* that a failed exchange leaves behind."""
    reason = reason_of(exc)
    raw = exc.frame if isinstance(exc, ProtocolError) else b""
    return [bad_reading(point, reason, now_ms, raw) for point in points]


def reason_of(exc: DriverError) -> Reason:
    """What a failed exchange makes of the points that it should have read."""
    if isinstance(exc, LineLost):
        return Reason.LINE_LOST
    if isinstance(exc, ProtocolError):
        return Reason.BAD_FRAME
    return Reason.NO_ANSWER
