"""What conditions read: live values that grow stale, and clocks that run while nothing is heard.

reading ──▶ Origin (one per point: newest value, history) ──▶ Cell (as long as it is young enough) ──▶ who reads it
                                                         └──▶ Elapsed (age, silence)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from gateway.model import Device, Point, PointId, Reading, Reason, Value, ValueKind
from rules.alarm import Instant
from rules.check import Input, Source
from rules.timers import NEVER, Queue, Timer

STALE_INTERVALS = 3
BACKLOG_S = 300.0
"""A reading older than this is history and decides nothing."""
_FUTURE_S = 5.0
_SILENT = (Reason.NO_ANSWER, Reason.LINE_LOST)

Known: TypeAlias = float | bool | str
Slot: TypeAlias = "Cell | Elapsed"


class Origin:
    """One point: its newest reading, and who is interested."""

    __slots__ = ("ages", "cells", "good_s", "is_number", "newest_s", "point", "silences", "stale_s", "value")

    def __init__(self, point: Point, started_s: float) -> None:
        self.point = point
        self.is_number = point.kind is ValueKind.NUMBER
        self.stale_s = STALE_INTERVALS * point.interval_s
        self.value: Known | None = None
        self.newest_s = -NEVER
        self.good_s = started_s
        """When the newest usable value was measured; until there is one, when the engine started."""
        self.cells: tuple[Cell, ...] = ()
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
        self._elapsed: dict[tuple[Source, str, float], Elapsed] = {}

    def origin(self, point: PointId) -> Origin:
        origin = self._origins.get(point)
        if origin is None:
            origin = self._origins[point] = Origin(self._points[point], self._started_s)
        return origin

    def knows(self, point: PointId) -> bool:
        return point in self._points

    def expire(self, timer: Timer, now: Instant) -> Sequence[object]:
        """A slot's time has come.  Returns who reads it."""
        assert isinstance(timer, Cell | Elapsed)
        timer.expire()
        return timer.readers

    def slot(self, wanted: Input, target: str, no_data_after_s: float | None) -> Slot:
        """The slot for *wanted*; *target* is the point, for silent() the device."""
        if wanted.source is Source.VALUE:
            return self.cell(target, no_data_after_s)
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

    def start(self) -> None:
        """Everybody who will read has asked for his slots."""
        for elapsed in self._elapsed.values():
            self._queue.push(elapsed)

    def take(self, readings: Sequence[Reading], now: Instant) -> list[object]:
        """Make the readings the live values.  Returns who reads what has changed, some perhaps twice."""
        touched: list[object] = []
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
            if measured_s < origin.newest_s or age_s > BACKLOG_S:
                continue
            origin.newest_s, origin.value = measured_s, value
            if value is not None:
                origin.good_s = measured_s
                for clock in origin.ages:
                    self._hear(clock, measured_s, now_s, touched)
            for cell in origin.cells:
                fresh = value if age_s < cell.limit_s else None
                if cell.value != fresh:
                    revived = cell.value is None
                    cell.value = fresh
                    touched += cell.readers
                    if revived:
                        self._queue.push(cell)
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
            if before is None or before.point.kind != origin.point.kind or before.point.unit != origin.point.unit:
                continue
            origin.value, origin.newest_s, origin.good_s = before.value, before.newest_s, before.good_s
            for cell in origin.cells:
                cell.value = origin.value if now.monotonic_s - origin.newest_s < cell.limit_s else None
                self._queue.push(cell)
        heard = {key[:2]: elapsed for key, elapsed in old._elapsed.items()}
        for key, elapsed in self._elapsed.items():
            known = heard.get(key[:2])
            if known is None:
                continue
            elapsed.since_s = known.since_s
            overdue = elapsed.due_if_quiet_s <= now.monotonic_s
            elapsed.value = overdue if known.value is not None else None
            self._queue.push(elapsed)
