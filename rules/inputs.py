"""What conditions read: live values that grow stale, the past, and clocks that run while nothing is heard.

reading ──▶ Origin (one per point) ──▶ Cell     the newest value as long as it is young enough ──▶ who reads it
                                  ├──▶ Lasting  the newest good value, for a time of its own
                                  ├──▶ Derived  what windows.py makes of the past; late samples too
                                  └──▶ Elapsed  age, silence

Of the past only the sums per hour are journaled (``history_records``, ``restore``); shorter windows are filled again
from stored readings (``needs``, ``preload``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from gateway.model import Device, Point, PointId, Reading, Reason, Value, ValueKind
from rules import history
from rules.alarm import Instant
from rules.check import Input, Source
from rules.program import Condition, compiled
from rules.timers import NEVER, Queue, Timer
from rules.units import PURE, TOTALS, of_point
from rules.windows import (
    STALE_INTERVALS,
    Ago,
    Changes,
    Hours,
    Known,
    Series,
    Statistics,
    Step,
    counter_step,
    gauge_step,
    rise,
    same_hour,
    total_step,
    usual,
)

BACKLOG_S = 300.0
"""A reading older than this is history and decides nothing."""
_FUTURE_S = 5.0
_SILENT = (Reason.NO_ANSWER, Reason.LINE_LOST)
_HOURLY = {"same_hour": 168, "usual": 24}
"""The period in hours."""

Slot: TypeAlias = "Cell | Derived | Elapsed"


class Origin:
    """One point: its newest reading, and who is interested."""

    __slots__ = (
        "ages",
        "cells",
        "derived",
        "good_s",
        "hours",
        "is_number",
        "lasting",
        "newest_s",
        "point",
        "silences",
        "stale_s",
        "value",
    )

    def __init__(self, point: Point, started_s: float) -> None:
        self.point = point
        self.is_number = point.kind is ValueKind.NUMBER
        self.stale_s = STALE_INTERVALS * point.interval_s
        self.value: Known | None = None
        self.newest_s = -NEVER
        self.good_s = started_s
        """When the newest usable value was measured; until there is one, when the engine started."""
        self.cells: tuple[Cell, ...] = ()
        self.lasting: tuple[Lasting, ...] = ()
        self.derived: tuple[Derived, ...] = ()
        self.hours: Hours | None = None
        self.ages: tuple[Elapsed, ...] = ()
        self.silences: tuple[Elapsed, ...] = ()
        """Of its device."""

    def usable(self, reading: Reading) -> Known | None:
        """The value as the conditions want it; None when it must not be believed."""
        value = reading.value
        if reading.reason is not None or value is None:
            return None
        match self.point.kind:
            case ValueKind.NUMBER:
                return _number(value)
            case ValueKind.BOOLEAN:
                return None if isinstance(value, str) or value not in (0, 1) else bool(value)
            case ValueKind.STATE:
                return value if isinstance(value, str) and value in self.point.states else None
            case ValueKind.TEXT:
                return value if isinstance(value, str) else None

    def is_like(self, other: Origin) -> bool:
        """What is known of the one is true of the other."""
        mine, theirs = self.point, other.point
        return mine.kind == theirs.kind and mine.unit == theirs.unit


def _number(value: Value) -> float | None:
    if isinstance(value, str | bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


class Cell:
    """The live value of a point as long as it is younger than *limit_s*."""

    __slots__ = ("limit_s", "origin", "queued_s", "readers", "value")

    def __init__(self, origin: Origin, limit_s: float) -> None:
        self.origin = origin
        self.limit_s = limit_s
        self.value: Known | None = None
        self.readers: list[object] = []
        self.queued_s = NEVER

    @property
    def due_s(self) -> float:
        return NEVER if self.value is None else self.origin.newest_s + self.limit_s

    def expire(self) -> None:
        self.value = None


class Lasting(Cell):
    """The last good value for *limit_s*, whatever is not heard or heard badly in the meantime."""

    __slots__ = ("since_s",)

    def __init__(self, origin: Origin, limit_s: float) -> None:
        super().__init__(origin, limit_s)
        self.since_s = -NEVER

    @property
    def due_s(self) -> float:
        return NEVER if self.value is None else self.since_s + self.limit_s

    def hear(self, value: Known, since_s: float, now_s: float) -> bool:
        """Whether that changes anything."""
        if since_s < self.since_s:
            return False
        self.since_s = since_s
        before, self.value = self.value, value if self.since_s + self.limit_s > now_s else None
        return before != self.value


class Derived:
    """What one function says of a point's past.  It renews its own timer."""

    __slots__ = ("_ahead_ms", "_live_s", "_queue", "_test", "origin", "queued_s", "readers", "series", "value")

    def __init__(self, origin: Origin, series: Series, test: Condition | None, queue: Queue) -> None:
        self.origin = origin
        self.series = series
        self.value: Known | None = None
        self.readers: list[object] = []
        self.queued_s = NEVER
        self._queue = queue
        self._test = test
        self._ahead_ms = 0.0
        """Of the UTC clock before the monotonic one."""
        self._live_s = NEVER
        """Since when samples have come by themselves; stored ones from later are the same ones."""

    @property
    def due_s(self) -> float:
        return self.series.due_s

    def expire(self) -> None:
        due_s = self.series.due_s
        self.refresh(Instant(due_s, round(due_s * 1000 + self._ahead_ms)))

    def refresh(self, now: Instant) -> bool:
        """Whether the value has changed."""
        self._ahead_ms = now.utc_ms - now.monotonic_s * 1000
        before, self.value = self.value, self.series.read(now)
        self._queue.push(self)
        return before != self.value

    def take(self, at: Instant, value: Known) -> None:
        """A sample; ``refresh`` must follow."""
        self._live_s = min(self._live_s, at.monotonic_s)
        self._add(at, value)

    def preload(self, at: Instant, value: Known) -> None:
        """A stored sample; ``refresh`` must follow."""
        if at.monotonic_s < self._live_s:
            self._add(at, value)

    def adopt(self, old: Derived, now: Instant) -> None:
        self.series, self._live_s = old.series, -NEVER
        self.refresh(now)

    def _add(self, at: Instant, value: Known) -> None:
        known = value if self._test is None else self._test((Sample(value),))
        if known is not None:
            self.series.add(at, known)


class Sample:
    """A slot with one value of the past, for a condition that is asked about that moment alone."""

    __slots__ = ("value",)

    def __init__(self, value: Known | None) -> None:
        self.value = value


class Elapsed:
    """True once nothing has been heard for *limit_s*; None while the first word or the limit is awaited."""

    __slots__ = ("counts_from_start", "limit_s", "queued_s", "readers", "since_s", "value")

    def __init__(self, limit_s: float, started_s: float, *, counts_from_start: bool) -> None:
        self.limit_s = limit_s
        self.counts_from_start = counts_from_start
        self.since_s = started_s
        self.value: bool | None = None
        self.readers: list[object] = []
        self.queued_s = NEVER

    @property
    def due_s(self) -> float:
        waiting = self.value is False or (self.value is None and self.counts_from_start)
        return self.due_if_quiet_s if waiting else NEVER

    @property
    def due_if_quiet_s(self) -> float:
        return self.since_s + self.limit_s

    def expire(self) -> None:
        self.value = True


class Inputs:
    """All that the conditions of a site read, shared between them.  Whoever reads is in a slot's ``readers``."""

    def __init__(
        self, points: Mapping[PointId, Point], devices: Mapping[str, Device], queue: Queue, started_s: float
    ) -> None:
        self._points = points
        self._devices = devices
        self._queue = queue
        self._started_s = started_s
        self._origins: dict[PointId, Origin] = {}
        self._cells: dict[tuple[PointId, float], Cell] = {}
        self._lasting: dict[tuple[PointId, float], Lasting] = {}
        self._derived: dict[tuple[PointId, Input], Derived] = {}
        self._elapsed: dict[tuple[Source, str, float], Elapsed] = {}
        self._hourly: list[Origin] = []
        """Those of which hours are kept: few, while every commit asks for their records."""

    def origin(self, point: PointId) -> Origin:
        origin = self._origins.get(point)
        if origin is None:
            origin = self._origins[point] = Origin(self._points[point], self._started_s)
        return origin

    def point(self, name: str) -> Point | None:
        return self._points.get(name)

    def knows(self, point: PointId) -> bool:
        return point in self._points

    def expire(self, timer: Timer, now: Instant) -> Sequence[object]:
        """A slot's time has come.  Returns who reads it."""
        assert isinstance(timer, Cell | Derived | Elapsed)
        timer.expire()
        return timer.readers

    def slot(self, wanted: Input, target: str, no_data_after_s: float | None) -> Slot:
        """The slot for *wanted*; *target* is the point, for silent() the device.

        Raises ValueError for alarm(): an alarm is not an input of the site.
        """
        match wanted.source:
            case Source.VALUE:
                return self.lasting(target, wanted.limit_s) if wanted.limit_s else self.cell(target, no_data_after_s)
            case Source.PAST:
                return self.derived(wanted, target)
            case Source.ALARM:
                raise ValueError(f"alarm({wanted.name}) is not an input")
        key = (wanted.source, target, wanted.limit_s)
        if key in self._elapsed:
            return self._elapsed[key]
        silent = wanted.source is Source.SILENT
        elapsed = self._elapsed[key] = Elapsed(wanted.limit_s, self._started_s, counts_from_start=silent)
        if not silent:
            origin = self.origin(target)
            origin.ages = (*origin.ages, elapsed)
            return elapsed
        for point in self._devices[target].points:
            origin = self.origin(point.id)
            origin.silences = (*origin.silences, elapsed)
        return elapsed

    def cell(self, point: PointId, no_data_after_s: float | None) -> Cell:
        origin = self.origin(point)
        limit_s = min(origin.stale_s, no_data_after_s or NEVER)
        cell = self._cells.get((point, limit_s))
        if cell is None:
            cell = self._cells[point, limit_s] = Cell(origin, limit_s)
            origin.cells = (*origin.cells, cell)
        return cell

    def lasting(self, point: PointId, limit_s: float) -> Lasting:
        lasting = self._lasting.get((point, limit_s))
        if lasting is None:
            origin = self.origin(point)
            lasting = self._lasting[point, limit_s] = Lasting(origin, limit_s)
            origin.lasting = (*origin.lasting, lasting)
        return lasting

    def derived(self, wanted: Input, point: PointId) -> Derived:
        key = (point, Input(wanted.source, "", wanted.limit_s, wanted.function, wanted.periods, wanted.test))
        derived = self._derived.get(key)
        if derived is None:
            origin = self.origin(point)
            test = None if wanted.test is None else compiled(wanted.test)
            derived = self._derived[key] = Derived(origin, _series(wanted, origin), test, self._queue)
            origin.derived = (*origin.derived, derived)
            if origin.hours is not None and origin not in self._hourly:
                self._hourly.append(origin)
        return derived

    def start(self) -> None:
        """Everybody who will read has asked for his slots."""
        for elapsed in self._elapsed.values():
            self._queue.push(elapsed)

    def take(self, readings: Sequence[Reading], now: Instant) -> list[object]:
        """Make the readings the live values.  Returns who reads what has changed, some perhaps twice."""
        touched: list[object] = []
        moved: list[Derived] = []
        now_s, now_ms, origins = now.monotonic_s, now.utc_ms, self._origins
        for reading in readings:
            origin = origins.get(reading.point)
            if origin is None:
                continue
            value = reading.value
            if type(value) is not float or reading.reason is not None or not origin.is_number or value - value != 0.0:
                value = origin.usable(reading)
            age_s = (now_ms - reading.source_time_ms) * 0.001
            if age_s < -_FUTURE_S:
                age_s = 0.0
            if origin.silences and reading.reason not in _SILENT:
                for clock in origin.silences:
                    self._hear(clock, now_s, now_s, touched)
            measured_s = now_s - age_s
            if value is not None and origin.derived:
                _remember(origin, Instant(measured_s, now_ms - round(age_s * 1000)), value)
                moved += origin.derived
            if measured_s < origin.newest_s or age_s > BACKLOG_S:
                continue
            is_first = origin.newest_s == -NEVER
            origin.newest_s, origin.value = measured_s, value
            if value is not None:
                origin.good_s = max(origin.good_s, measured_s)
                for clock in origin.ages:
                    self._hear(clock, measured_s, now_s, touched)
                for lasting in origin.lasting:
                    if lasting.hear(value, measured_s, now_s):
                        touched += lasting.readers
                    self._queue.push(lasting)
            for cell in origin.cells:
                fresh = value if age_s < cell.limit_s else None
                if cell.value != fresh or is_first:
                    revived = cell.value is None
                    cell.value = fresh
                    touched += cell.readers
                    if revived:
                        self._queue.push(cell)
        for derived in dict.fromkeys(moved) if len(moved) > 1 else moved:
            if derived.refresh(now):
                touched += derived.readers
        return touched

    def _hear(self, clock: Elapsed, since_s: float, now_s: float, touched: list[object]) -> None:
        clock.since_s = since_s
        over = clock.due_if_quiet_s <= now_s
        if clock.value is not over:
            clock.value = over
            touched += clock.readers
        self._queue.push(clock)

    def inherit(self, old: Inputs, now: Instant) -> None:
        """Continue with what another set of rules knew."""
        for point, origin in self._origins.items():
            before = old._origins.get(point)
            if before is None or not origin.is_like(before):
                continue
            origin.value, origin.newest_s, origin.good_s = before.value, before.newest_s, before.good_s
            for cell in origin.cells:
                cell.value = origin.value if now.monotonic_s - origin.newest_s < cell.limit_s else None
                self._queue.push(cell)
            if origin.hours is not None and before.hours is not None:
                origin.hours.adopt(before.hours)
        self._inherit_past(old, now)
        heard = {key[:2]: elapsed for key, elapsed in old._elapsed.items()}
        for key, elapsed in self._elapsed.items():
            known = heard.get(key[:2])
            if known is None:
                continue
            elapsed.since_s = known.since_s
            overdue = elapsed.due_if_quiet_s <= now.monotonic_s
            elapsed.value = overdue if known.value is not None else None
            self._queue.push(elapsed)

    def _inherit_past(self, old: Inputs, now: Instant) -> None:
        for place, lasting in self._lasting.items():
            known = old._lasting.get(place)
            if known is not None and known.value is not None and lasting.origin.is_like(known.origin):
                lasting.hear(known.value, known.since_s, now.monotonic_s)
                self._queue.push(lasting)
        for key, derived in self._derived.items():
            before = old._derived.get(key)
            wanted = key[1]
            if wanted.function in _HOURLY:
                derived.refresh(now)
            elif before is not None and _counts_alike(before.origin.point, derived.origin.point):
                derived.adopt(before, now)

    # ------------------------------------------------------------------ the past across a restart

    def history_records(self, now: Instant) -> dict[str, bytes]:
        """Journal records of the hours that have changed since last asked; see history.py."""
        records: dict[str, bytes] = {}
        for origin in self._hourly:
            if origin.hours is not None and origin.hours.changed:
                records |= history.day_records(origin.point.id, origin.point.unit, origin.hours, now.utc_ms)
        return records

    def restore(self, saved: Mapping[str, bytes]) -> tuple[str, ...]:
        """Continue with the journaled hours, before any reading.  Returns the keys that could not be understood."""
        unreadable: list[str] = []
        found: dict[Hours, list[tuple[int, int, float]]] = {}
        for key, record in saved.items():
            origin = self._origins.get(history.point_of(key) or "")
            if origin is None or origin.hours is None:
                continue
            try:
                day = history.read_day(record)
            except history.UnreadableHistory:
                unreadable.append(key)
                continue
            if day.unit == origin.point.unit:
                found.setdefault(origin.hours, []).extend(day.hours)
        for hours, listed in found.items():
            hours.restore(listed)
        return tuple(unreadable)

    def needs(self, now: Instant) -> dict[PointId, float]:
        """How many seconds of stored readings ``preload`` can use."""
        wanted: dict[PointId, float] = {}
        for origin in self._origins.values():
            spans = [lasting.limit_s for lasting in origin.lasting]
            spans += [derived.series.reach_s(now) for derived in origin.derived]
            if spans:
                wanted[origin.point.id] = max(spans)
        return wanted

    def preload(self, readings: Iterable[Reading], now: Instant) -> None:
        """Fill the past with stored readings.  Live values stay unknown and nobody is asked to decide anything."""
        filled: dict[Origin, None] = {}
        for reading in sorted(readings, key=lambda reading: reading.source_time_ms):
            origin = self._origins.get(reading.point)
            value = None if origin is None else origin.usable(reading)
            if origin is None or value is None or reading.source_time_ms > now.utc_ms:
                continue
            filled[origin] = None
            at = Instant(now.monotonic_s - (now.utc_ms - reading.source_time_ms) / 1000, reading.source_time_ms)
            _store(origin, at, value, now)
        for origin in filled:
            for derived in origin.derived:
                derived.refresh(now)
            for lasting in origin.lasting:
                self._queue.push(lasting)


def _remember(origin: Origin, at: Instant, value: Known) -> None:
    if origin.hours is not None and not isinstance(value, str):
        origin.hours.add(at.utc_ms, value)
    for derived in origin.derived:
        derived.take(at, value)


def _store(origin: Origin, at: Instant, value: Known, now: Instant) -> None:
    if origin.hours is not None and not isinstance(value, str):
        origin.hours.add_stored(at.utc_ms, value)
    for derived in origin.derived:
        derived.preload(at, value)
    for lasting in origin.lasting:
        lasting.hear(value, at.monotonic_s, now.monotonic_s)


def _series(wanted: Input, origin: Origin) -> Series:
    point, function = origin.point, wanted.function
    if function in _HOURLY:
        if origin.hours is None:
            origin.hours = Hours(point.interval_s)
        return (same_hour if function == "same_hour" else usual)(origin.hours, wanted.periods)
    if function == "ago":
        return Ago(wanted.limit_s, point.interval_s)
    if wanted.test is not None:
        return Changes(function, wanted.limit_s, point.interval_s, rise)
    if function in ("increase", "rate"):
        return Changes(function, wanted.limit_s, point.interval_s, _step(point))
    return Statistics(function, wanted.limit_s, point.interval_s)


def _step(point: Point) -> Step:
    if point.counter:
        return counter_step
    unit = of_point(point.unit)
    return total_step if unit is not None and (unit is PURE or unit.dimension in TOTALS) else gauge_step


def _counts_alike(old: Point, new: Point) -> bool:
    return (old.kind, old.unit, old.interval_s, old.counter) == (new.kind, new.unit, new.interval_s, new.counter)
