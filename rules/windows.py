"""What a condition may ask of a point's past: the last hour, the same time a week ago, the same hour of other days.

Samples come in any order and time passes; a ``Series`` says its value and when time alone will change it next.

    Window   avg min max sum count increase rate   cells of 1/1000 of the window, each an aggregate, two-stack sums
    Ago      the value some time ago               one sample per 1/1000 of that time
    SameHour the same hour of other days or weeks  sums per UTC hour, shared by all who ask about the point

Memory is bounded whatever arrives: two samples that are further apart than a thousandth of the window are kept
apart and leave exactly when they are due; closer ones may leave that much later, together.
A window is open at its old end: after 5 min a sample has left the last 5 min.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from rules.alarm import Instant
from rules.timers import NEVER

CELLS = 1000
COVERED = 0.8
"""A window with fewer of its samples than this share is unknown."""
STALE_INTERVALS = 3
WEEKS, DAYS = 4, 28
"""The longest memory of ``same_hour`` and ``usual``."""
HOUR_MS = 3_600_000
_HOURS_KEPT = WEEKS * 168 + 48
_SAME_SAMPLE_S = 0.002  # monotonic and UTC readings of one instant are rounded differently

Known: TypeAlias = float | bool | str


class Series(Protocol):
    """The past of one point, as one function sees it."""

    due_s: float
    """When ``read`` would say something else without a new sample; valid after ``read``."""

    def add(self, at: Instant, value: Known) -> None: ...

    def read(self, now: Instant) -> Known | None: ...

    def reach_s(self, now: Instant) -> float:
        """How far back stored samples are of use to it."""


# ---------------------------------------------------------------------- windows

A = TypeVar("A")


@dataclass(slots=True)
class _Cell(Generic[A]):
    """Neighbouring samples that leave the window together, when the newest of them does."""

    first_s: float
    last_s: float
    sums: A


class Span(Generic[A]):
    """A sliding window over aggregates with an associative *merge*, O(1) amortised for samples in their order.

    front   for each of the oldest cells: the aggregate of it and all front cells after it, the oldest one last
    back    the aggregate of everything newer

    Nothing is ever subtracted, so a huge sample leaves no rounding error behind when it goes.
    """

    __slots__ = (
        "_back",
        "_front",
        "_inside",
        "_merge",
        "_newest",
        "_stale",
        "_width_s",
        "before",
        "cells",
        "now_s",
        "window_s",
    )

    def __init__(self, window_s: float, merge: Callable[[A, A], A], inside: Callable[[A, A], A]) -> None:
        """inside: how a late sample joins a cell of which some samples are older and some newer."""
        self.window_s = window_s
        self.now_s = -NEVER
        self.cells: deque[_Cell[A]] = deque()
        self.before: _Cell[A] | None = None
        """The newest that has left the window."""
        self._merge, self._inside = merge, inside
        self._width_s = window_s / CELLS
        self._front: list[A] = []
        self._back: A | None = None
        self._newest: _Cell[A] | None = None
        self._stale = False
        """A late sample has come between: the stacks must be built again before they are read."""

    def add(self, at_s: float, sample: A) -> None:
        if at_s + self.window_s <= self.now_s:
            self._leave(_Cell(at_s, at_s, sample))
        elif not self.cells or at_s >= self.cells[-1].last_s:
            self._append(at_s, sample)
        else:
            self._insert(at_s, sample)

    def drop(self, now_s: float) -> None:
        """Forget what is *window_s* old."""
        self.now_s = max(self.now_s, now_s)
        if self._stale:
            self._flip()
        cells = self.cells
        while cells and cells[0].last_s + self.window_s <= self.now_s:
            if not self._front:
                self._flip()
            self._front.pop()
            self._leave(cells.popleft())
            if not self._front:
                self._flip()

    @property
    def whole(self) -> A | None:
        """The aggregate of the window as ``drop`` left it; None when it is empty."""
        old, new = self._front[-1] if self._front else None, self._back
        if old is None or new is None:
            return new if old is None else old
        return self._merge(old, new)

    def _leave(self, cell: _Cell[A]) -> None:
        if self.before is None or cell.last_s >= self.before.last_s:
            self.before = cell

    def _append(self, at_s: float, sample: A) -> None:
        cells = self.cells
        if self._newest is not None and self._is_same(self._newest, at_s, sample):
            return
        self._newest = _Cell(at_s, at_s, sample)
        if cells and self._place(cells[-1].first_s) == self._place(at_s):
            cells[-1].last_s, cells[-1].sums = at_s, self._merge(cells[-1].sums, sample)
        else:
            cells.append(_Cell(at_s, at_s, sample))
        if not self._stale:
            self._back = sample if self._back is None else self._merge(self._back, sample)

    def _insert(self, at_s: float, sample: A) -> None:
        """A late sample: rare, so the next ``drop`` may cost as much as the window is long."""
        cells = self.cells
        after = len(cells)
        while after and cells[after - 1].first_s > at_s:
            after -= 1
        older = cells[after - 1] if after else None
        newer = cells[after] if after < len(cells) else None
        if any(each is not None and self._is_same(each, at_s, sample) for each in (older, newer)):
            return
        if older is not None and at_s < older.last_s:
            older.sums = self._inside(older.sums, sample)
        elif older is not None and self._place(older.first_s) == self._place(at_s):
            older.last_s, older.sums = at_s, self._merge(older.sums, sample)
        elif newer is not None and self._place(newer.first_s) == self._place(at_s):
            newer.first_s, newer.sums = at_s, self._merge(sample, newer.sums)
        else:
            cells.insert(after, _Cell(at_s, at_s, sample))
        self._stale = True

    def _is_same(self, cell: _Cell[A], at_s: float, sample: A) -> bool:
        alone = cell.first_s == cell.last_s
        return alone and abs(cell.last_s - at_s) <= _SAME_SAMPLE_S and cell.sums == sample

    def _place(self, at_s: float) -> float:
        return at_s // self._width_s

    def _flip(self) -> None:
        self._front, self._back, self._stale = [], None, False
        for cell in reversed(self.cells):
            self._front.append(self._merge(cell.sums, self._front[-1]) if self._front else cell.sums)


_Numbers: TypeAlias = tuple[int, float, float, float]
"""How many, their sum, the smallest, the largest."""
_Steps: TypeAlias = tuple[int, float, float, float]
"""How many, the first, the last, the sum of the steps between them."""
Step: TypeAlias = Callable[[float, float], float]


def _merge_numbers(old: _Numbers, new: _Numbers) -> _Numbers:
    return old[0] + new[0], old[1] + new[1], min(old[2], new[2]), max(old[3], new[3])


class Statistics:
    """``avg``, ``min``, ``max``, ``sum`` and, of a number, ``count``: plain sums of samples, not weighted by time."""

    def __init__(self, function: str, window_s: float, interval_s: float) -> None:
        self._answer = _STATISTICS[function]
        self._needed = _needed(window_s, interval_s)
        self._span = Span(window_s, _merge_numbers, _merge_numbers)
        self.due_s = NEVER

    def add(self, at: Instant, value: Known) -> None:
        number = float(value)
        self._span.add(at.monotonic_s, (1, number, number, number))

    def read(self, now: Instant) -> Known | None:
        span = self._span
        span.drop(now.monotonic_s)
        self.due_s = span.cells[0].last_s + span.window_s if span.cells else NEVER
        whole = span.whole
        return None if whole is None or whole[0] < self._needed else _finite(self._answer(whole))

    def reach_s(self, now: Instant) -> float:
        return self._span.window_s


_STATISTICS: dict[str, Callable[[_Numbers], float]] = {
    "avg": lambda whole: _tidy(whole[1] / whole[0], whole[2], whole[3]),
    "sum": lambda whole: _tidy(whole[1], whole[2], whole[3]),
    "min": lambda whole: whole[2],
    "max": lambda whole: whole[3],
    "count": lambda whole: float(whole[0]),
}


class Changes:
    """``increase``, ``rate`` and, of a condition, ``count``: what lies between neighbouring samples.

    The step into the window's first sample counts, so that the increase of one hour is that of a whole hour; not
    if the sample before it is three intervals older.
    """

    def __init__(self, function: str, window_s: float, interval_s: float, step: Step) -> None:
        self._step = step
        self._function = function
        self._bridge_s = STALE_INTERVALS * interval_s
        self._needed = _needed(window_s, interval_s)
        self._needs_sample = math.isfinite(interval_s)
        self._span: Span[_Steps] = Span(window_s, self._merge, lambda old, new: (old[0] + new[0], *old[1:]))
        self.due_s = NEVER

    def add(self, at: Instant, value: Known) -> None:
        number = float(value)
        self._span.add(at.monotonic_s, (1, number, number, 0.0))

    def read(self, now: Instant) -> Known | None:
        span = self._span
        span.drop(now.monotonic_s)
        self.due_s = span.cells[0].last_s + span.window_s if span.cells else NEVER
        whole, before = span.whole, span.before
        if whole is None:
            # A point without an interval reports changes only, so silence is no change.
            return None if self._needs_sample or before is None else 0.0
        if whole[0] < self._needed:
            return None
        if before is not None and span.cells[0].first_s - before.last_s > self._bridge_s:
            before = None
        steps = whole if before is None else self._merge((1, before.sums[2], before.sums[2], 0.0), whole)
        if self._function == "count":
            return steps[3]
        if steps[0] < 2:
            return None
        from_s = span.cells[0].first_s if before is None else before.last_s
        took_s = span.cells[-1].last_s - from_s
        total = _tidy(steps[3], steps[1], steps[2])
        if self._function == "increase":
            return _finite(total)
        return _finite(float(f"{total / took_s:.12g}")) if took_s > 0 else None

    def reach_s(self, now: Instant) -> float:
        return self._span.window_s + (self._bridge_s if math.isfinite(self._bridge_s) else self._span.window_s)

    def _merge(self, old: _Steps, new: _Steps) -> _Steps:
        return old[0] + new[0], old[1], new[2], old[3] + new[3] + self._step(old[2], new[1])


def rise(old: float, new: float) -> float:
    """1 where a condition becomes true."""
    return 1.0 if new and not old else 0.0


def counter_step(old: float, new: float) -> float:
    """A register that only counts up has begun again at zero when it shows less."""
    return new - old if new >= old else new


def total_step(old: float, new: float) -> float:
    """A quantity that may be a counter's or a tank's: a fall to less than half is a new beginning."""
    return new if 0 <= new < old / 2 else new - old


def gauge_step(old: float, new: float) -> float:
    return new - old


def _needed(window_s: float, interval_s: float) -> float:
    return max(1.0, COVERED * window_s / interval_s - 1e-9)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _tidy(value: float, *scales: float) -> float:
    """Without the digits that only the order of the additions made: the average of 30.1 and 30.1 is 30.1."""
    scale = max(map(abs, scales))
    if not scale or not math.isfinite(value) or not math.isfinite(scale):
        return value
    return round(value, 11 - math.floor(math.log10(scale)))


# ---------------------------------------------------------------------- some time ago


class Ago:
    """``ago``: the newest sample that was there *ago_s* ago, unless it was three intervals old already."""

    def __init__(self, ago_s: float, interval_s: float) -> None:
        self._ago_s = ago_s
        self._width_s = ago_s / CELLS
        limit_s = STALE_INTERVALS * interval_s if math.isfinite(interval_s) else ago_s / 10
        self._limit_s = max(limit_s, 2 * self._width_s)
        self._coming: deque[tuple[float, Known]] = deque()
        self._current: tuple[float, Known] | None = None
        self.due_s = NEVER

    def add(self, at: Instant, value: Known) -> None:
        coming, at_s = self._coming, at.monotonic_s
        after = len(coming)
        while after and coming[after - 1][0] > at_s:
            after -= 1
        if self._current is not None and at_s < self._current[0]:
            return
        if after < len(coming) and self._place(coming[after][0]) == self._place(at_s):
            return
        if after and self._place(coming[after - 1][0]) == self._place(at_s):
            coming[after - 1] = (at_s, value)
        else:
            coming.insert(after, (at_s, value))

    def read(self, now: Instant) -> Known | None:
        coming, now_s = self._coming, now.monotonic_s
        while coming and coming[0][0] + self._ago_s <= now_s:
            self._current = coming.popleft()
        self.due_s = coming[0][0] + self._ago_s if coming else NEVER
        if self._current is None:
            return None
        over_s = self._current[0] + self._ago_s + self._limit_s
        if over_s <= now_s:
            return None
        self.due_s = min(self.due_s, over_s)
        return self._current[1]

    def reach_s(self, now: Instant) -> float:
        return self._ago_s + self._limit_s

    def _place(self, at_s: float) -> float:
        return at_s // self._width_s


# ---------------------------------------------------------------------- the same hour of other days


class Hours:
    """The sum and number of a point's samples in each of the last 672 UTC hours or so."""

    __slots__ = ("_needed", "_newest", "changed", "sums", "told", "version")

    def __init__(self, interval_s: float) -> None:
        self._needed = _needed(HOUR_MS / 1000, interval_s)
        self.sums: dict[int, tuple[int, float]] = {}
        self.changed: set[int] = set()
        """Since the journal was last written."""
        self.told: frozenset[int] = frozenset()
        """Hours that came from the journal and need no samples any more."""
        self.version = 0
        """Moves when an hour other than the running one changes."""
        self._newest = -1

    def add(self, utc_ms: int, value: float) -> None:
        hour = utc_ms // HOUR_MS
        if hour not in self.sums:
            self._make_room(hour)
        count, total = self.sums.get(hour, (0, 0.0))
        self.sums[hour] = (count + 1, total + value)
        self.changed.add(hour)
        if hour != self._newest:
            self.version += 1
            self._newest = max(hour, self._newest)

    def add_stored(self, utc_ms: int, value: float) -> None:
        """Unless the hour came from the journal, complete."""
        if utc_ms // HOUR_MS not in self.told:
            self.add(utc_ms, value)

    def _make_room(self, hour: int) -> None:
        """By number, not by age: a clock that is wrong for a while must not empty the memory."""
        while len(self.sums) >= _HOURS_KEPT:
            oldest = min(self.sums)
            del self.sums[oldest]
            self.changed.discard(oldest)

    def restore(self, hours: Iterable[tuple[int, int, float]]) -> None:
        """(UTC hour, number of samples, their sum)"""
        for hour, count, total in hours:
            self.sums[hour] = (count, total)
        self.told = frozenset(self.sums)
        self.version += 1

    def adopt(self, old: Hours) -> None:
        self.sums, self.changed = old.sums, old.changed
        self.told = frozenset(self.sums)
        self.version += 1

    def mean(self, hour: int) -> float | None:
        """None when too little of that hour was seen."""
        count, total = self.sums.get(hour, (0, 0.0))
        return None if count < self._needed else _finite(float(f"{total / count:.12g}"))


class SameHour:
    """``same_hour`` and ``usual``: *answer* from the means of this UTC hour in earlier periods.

    Unknown when fewer than half of the periods are on record.
    """

    def __init__(self, hours: Hours, period_h: int, periods: int, answer: Callable[[list[float]], float]) -> None:
        self._hours = hours
        self._period_h, self._periods = period_h, periods
        self._answer = answer
        self._seen = (-1, -1)
        self._value: float | None = None
        self.due_s = NEVER

    def add(self, at: Instant, value: Known) -> None:
        """``Hours`` has it already."""

    def read(self, now: Instant) -> Known | None:
        hour = now.utc_ms // HOUR_MS
        self.due_s = now.monotonic_s + ((hour + 1) * HOUR_MS - now.utc_ms) / 1000
        if self._seen != (hour, self._hours.version):
            self._seen = (hour, self._hours.version)
            self._value = self._of(hour)
        return self._value

    def reach_s(self, now: Instant) -> float:
        """Since the journaled hours, or all of it when there are none."""
        hour, whole = now.utc_ms // HOUR_MS, self._period_h * self._periods + 1
        missing = hour - max(self._hours.told, default=-whole)
        return min(max(missing, 1), whole) * HOUR_MS / 1000

    def _of(self, hour: int) -> float | None:
        past = (self._hours.mean(hour - back * self._period_h) for back in range(1, self._periods + 1))
        means = [mean for mean in past if mean is not None]
        if 2 * len(means) < self._periods:
            return None
        return _finite(_tidy(self._answer(means), min(means), max(means)))


def same_hour(hours: Hours, weeks: int) -> SameHour:
    return SameHour(hours, 168, weeks, statistics.fmean)


def usual(hours: Hours, days: int) -> SameHour:
    return SameHour(hours, 24, days, statistics.median)
