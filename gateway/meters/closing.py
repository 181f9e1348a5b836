"""What billing counters showed on either side of each local midnight, out of the stream of readings.  Pure.

    … 23:55 good ┃ 00:01 good …    ──▶ Closing(before=23:55, after=00:01)
                 ┗ midnight of the site

A closing says nothing of days: it brackets every midnight between its two readings, so a meter that was out of reach
for a week leaves one closing, which tells honestly how far away its readings are.

Readings with times that nobody trusts (a box that has just booted without a clock) are kept apart, as *provisional*:
they neither end nor begin a bracket of trusted ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo

from gateway.model import Device, Lane, Point, PointId, Quality, Reading, ValueKind

HOLE_INTERVALS = 3
"""So many intervals without a good reading are a hole worth telling of."""
ROLLED_OVER, REPLACED, DEVICE_REPLACED = "rolled_over", "replaced", "device_replaced"


@dataclass(frozen=True, slots=True)
class Mark:
    """A good reading of a counter."""

    value: float
    time_ms: int


@dataclass(frozen=True, slots=True)
class Closing:
    point: PointId
    before: Mark | None
    """None: *after* is the first reading that is known."""
    after: Mark
    uncertain: int = 0
    """Readings since the closing before that were doubtful, and ..."""
    bad: int = 0
    """... that were none."""
    hole_s: int = 0
    """The longest time without a good reading since the closing before; 0 where it is not worth telling."""
    provisional: bool = False

    def brackets(self, instant_ms: int) -> bool:
        return self.before is not None and self.before.time_ms < instant_ms <= self.after.time_ms

    @property
    def span_ms(self) -> float:
        return float("inf") if self.before is None else self.after.time_ms - self.before.time_ms


@dataclass(frozen=True, slots=True)
class Change:
    """A counter went on from another value: *before* and *after* are readings of two registers."""

    point: PointId
    before: float
    after: float
    time_ms: int
    """Of the reading *after*."""
    kind: str
    """ROLLED_OVER, REPLACED or DEVICE_REPLACED"""


@dataclass(frozen=True, slots=True)
class Batch:
    """What is written down at once."""

    closings: Sequence[Closing] = ()
    changes: Sequence[Change] = ()

    def __bool__(self) -> bool:
        return bool(self.closings or self.changes)


def is_billed(point: Point) -> bool:
    return point.counter and point.lane is Lane.BILLING and point.kind is ValueKind.NUMBER


def billed(devices: Iterable[Device]) -> Mapping[PointId, Point]:
    return {point.id: point for device in devices for point in device.points if is_billed(point)}


def midnight_ms(day: date, zone: tzinfo) -> int:
    """When *day* begins; where the clock jumps over midnight, the moment of the jump."""
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)


def day_of(time_ms: int, zone: tzinfo) -> date:
    return datetime.fromtimestamp(time_ms / 1000, zone).date()


@dataclass(slots=True)
class _Counter:
    last: Mark | None = None
    uncertain: int = 0
    bad: int = 0
    hole_s: int = 0
    changed: tuple[float, float, str] | None = None
    """Said of the register, before its reading came: before, after, kind."""
    other_device: bool = False


@dataclass(slots=True)
class Tracker:
    """*points*: the billing counters.  *known*: what they showed last before the start."""

    points: Mapping[PointId, Point]
    zone: tzinfo
    known: Mapping[PointId, Mark] = field(default_factory=dict)
    _trusted: dict[PointId, _Counter] = field(init=False)
    _provisional: dict[PointId, _Counter] = field(init=False, default_factory=dict)
    _closings: list[Closing] = field(init=False, default_factory=list)
    _changes: list[Change] = field(init=False, default_factory=list)
    _day: tuple[int, int] = field(init=False, default=(0, 0))
    """Begin and end of the day of the reading before."""

    def __post_init__(self) -> None:
        self._trusted = {point: _Counter(mark) for point, mark in self.known.items() if point in self.points}

    def heard(self, readings: Sequence[Reading], *, trusted: bool) -> None:
        counters = self._trusted if trusted else self._provisional
        for reading in readings:
            if reading.point in self.points:
                counter = counters.get(reading.point)
                if counter is None:
                    counter = counters[reading.point] = _Counter()
                self._take(reading, counter, provisional=not trusted)

    def changed(self, point: PointId, before: float, after: float, kind: str) -> None:
        """The register goes on from *after*, whose reading follows."""
        if point in self.points:
            for counters in (self._trusted, self._provisional):
                if point in counters:
                    counters[point].changed = before, after, kind

    def replaced(self, device: str) -> None:
        """Another device answers in its place: its next readings are of other registers."""
        for counters in (self._trusted, self._provisional):
            for point, counter in counters.items():
                if self.points[point].device == device:
                    counter.other_device = True

    def take(self) -> Batch:
        """What has been found since it was asked last."""
        batch = Batch(tuple(self._closings), tuple(self._changes))
        self._closings, self._changes = [], []
        return batch

    def put_back(self, batch: Batch, most: int) -> int:
        """It could not be written down.  Of more than *most* the oldest are dropped: how many."""
        self._closings[:0] = batch.closings
        self._changes[:0] = batch.changes
        dropped = max(len(self._closings) - most, 0) + max(len(self._changes) - most, 0)
        self._closings, self._changes = self._closings[-most:], self._changes[-most:]
        return dropped

    def latest(self) -> Mapping[PointId, Mark]:
        """The last good reading of each counter whose time is trusted."""
        return {point: counter.last for point, counter in self._trusted.items() if counter.last is not None}

    # ------------------------------------------------------------------

    def _take(self, reading: Reading, counter: _Counter, *, provisional: bool) -> None:
        value = reading.value
        if reading.quality is Quality.BAD or value is None:
            counter.bad += 1
            return
        if reading.quality is not Quality.GOOD or isinstance(value, (str, bool)):
            counter.uncertain += 1
            return
        mark, last = Mark(float(value), reading.source_time_ms), counter.last
        self._judge_change(reading.point, mark, counter)
        if last is not None:
            hole_s = (mark.time_ms - last.time_ms) // 1000
            if hole_s > HOLE_INTERVALS * self.points[reading.point].interval_s:
                counter.hole_s = max(counter.hole_s, hole_s)
        if last is None or last.time_ms < self._midnight_before(mark.time_ms):
            figures = (counter.uncertain, counter.bad, counter.hole_s)
            self._closings.append(Closing(reading.point, last, mark, *figures, provisional))
            counter.uncertain = counter.bad = counter.hole_s = 0
        counter.last = mark

    def _judge_change(self, point: PointId, mark: Mark, counter: _Counter) -> None:
        said, other = counter.changed, counter.other_device
        counter.changed, counter.other_device = None, False
        if said is not None:
            self._changes.append(Change(point, said[0], said[1], mark.time_ms, said[2]))
        elif other and counter.last is not None:
            self._changes.append(Change(point, counter.last.value, mark.value, mark.time_ms, DEVICE_REPLACED))

    def _midnight_before(self, time_ms: int) -> int:
        """When the day of *time_ms* began.  Readings come by the thousand a day: the day is looked up once."""
        start_ms, end_ms = self._day
        if not start_ms <= time_ms < end_ms:
            day = day_of(time_ms, self.zone)
            self._day = midnight_ms(day, self.zone), midnight_ms(day + timedelta(days=1), self.zone)
        return self._day[0]
