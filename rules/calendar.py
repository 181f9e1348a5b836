"""Schedules and times of day, by the local clock of the site.  Pure: an instant in, an answer out.

A window is a set of local clock readings.  Where the clock springs forward over part of it, it is so much shorter;
where the clock falls back, it lasts longer, and is one window and not two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_S = 86400.0
_NEVER_CHANGES_DAYS = 8
_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Local times of day, on some days of the week, but not on some dates."""

    start_s: float = 0.0
    """Seconds after local midnight."""
    end_s: float = _DAY_S
    """Not included.  Not after *start_s*: the window reaches into the next day and belongs to the day it began on."""
    weekdays: frozenset[int] = frozenset(range(7))
    """0 is Monday."""
    exceptions: frozenset[date] = frozenset()

    def covers(self, local: datetime) -> bool:
        second = _second_of_day(local)
        if self.start_s < self.end_s:
            return self.start_s <= second < self.end_s and self._on(local.date())
        if second >= self.start_s:
            return self._on(local.date())
        return second < self.end_s and self._on(local.date() - timedelta(days=1))

    def _on(self, day: date) -> bool:
        return day.weekday() in self.weekdays and day not in self.exceptions


def zone(name: str) -> ZoneInfo | None:
    """None for a name that is no time zone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def local(utc_ms: int, where: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).astimezone(where)


def is_open(schedule: Schedule, utc_ms: int, where: ZoneInfo) -> bool:
    return schedule.covers(local(utc_ms, where))


def next_change_ms(schedule: Schedule, utc_ms: int, where: ZoneInfo) -> int | None:
    """The next instant at which ``is_open`` changes; None when there is none within eight days."""
    now = is_open(schedule, utc_ms, where)
    for instant in _edges(schedule, utc_ms, where):
        if is_open(schedule, instant, where) is not now:
            return instant
    return None


def next_run_ms(at_s: float, after_ms: int, where: ZoneInfo) -> int:
    """The next time after *after_ms* at which a job of every day at *at_s* runs.

    Once a day: where the clock falls back the first of the two times counts, where it springs over the time the first
    instant after it.
    """
    day = local(after_ms, where).date() - timedelta(days=1)
    while True:
        instant = _instant_ms(day, at_s, where)
        if instant > after_ms:
            return instant
        day += timedelta(days=1)


def _edges(schedule: Schedule, utc_ms: int, where: ZoneInfo) -> list[int]:
    """All instants after *utc_ms* at which the answer might change, in order."""
    first = local(utc_ms, where).date() - timedelta(days=1)
    found: set[int] = set()
    for number in range(_NEVER_CHANGES_DAYS + 2):
        day = first + timedelta(days=number)
        for second in (0.0, schedule.start_s, schedule.end_s):
            found.update((_instant_ms(day, second, where), _instant_ms(day, second, where, fold=1)))
        found.update(_jumps(day, where))
    return sorted(instant for instant in found if instant > utc_ms)


def _jumps(day: date, where: ZoneInfo) -> list[int]:
    """The instants of this local day at which the clock is moved."""
    begin, end = _instant_ms(day, 0.0, where), _instant_ms(day + timedelta(days=1), 0.0, where)
    if local(begin, where).utcoffset() == local(end, where).utcoffset():
        return []
    low, high = begin, end
    offset = local(begin, where).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if local(middle, where).utcoffset() == offset else (low, middle)
    return [high]


def _instant_ms(day: date, second: float, where: ZoneInfo, *, fold: int = 0) -> int:
    """The first instant at which the local clock shows *second* of *day* or, where it skips it, more."""
    naive = datetime.combine(day, time()) + timedelta(seconds=second)
    wanted = naive.replace(tzinfo=where, fold=fold)
    instant = wanted.astimezone(UTC)
    if instant.astimezone(where).replace(tzinfo=None) != naive:  # this clock reading does not exist
        return _after_gap_ms(naive, where)
    return round(instant.timestamp() * 1000)


def _after_gap_ms(naive: datetime, where: ZoneInfo) -> int:
    before = naive.replace(tzinfo=where, fold=0).utcoffset() or timedelta()
    after = naive.replace(tzinfo=where, fold=1).utcoffset() or timedelta()
    low = round((naive - max(before, after)).replace(tzinfo=UTC).timestamp() * 1000)
    high = round((naive - min(before, after)).replace(tzinfo=UTC).timestamp() * 1000)
    offset = local(low, where).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if local(middle, where).utcoffset() == offset else (low, middle)
    return high


def _second_of_day(moment: datetime) -> float:
    return moment.hour * 3600.0 + moment.minute * 60.0 + moment.second + moment.microsecond * 1e-6


# ---------------------------------------------------------------------- as people write them


def read_clock(text: str) -> float | None:
    """``02:30`` in seconds after midnight, up to ``24:00``; None for anything else."""
    match = _CLOCK.fullmatch(text.strip())
    if match is None:
        return None
    seconds = int(match[1]) * 3600.0 + int(match[2]) * 60.0
    return seconds if seconds <= _DAY_S else None


def read_window(text: str) -> tuple[float, float] | None:
    """``22:00-06:00``"""
    start, dash, end = text.partition("-")
    first, last = read_clock(start), read_clock(end)
    if not dash or first is None or last is None or first in (_DAY_S, last):
        return None
    return first, last


def read_weekdays(text: str) -> frozenset[int] | None:
    """``mon-fri``, ``sat, sun``"""
    days: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            return None
        start, end = DAYS.index(first), DAYS.index(last or first)
        days.update((start + step) % 7 for step in range((end - start) % 7 + 1))
    return frozenset(days)


def read_dates(text: str) -> frozenset[date] | None:
    """``2026-10-01, 2026-10-02``"""
    parts = [part.strip() for part in text.split(",")]
    if not all(_DATE.fullmatch(part) for part in parts):
        return None
    try:
        return frozenset(date.fromisoformat(part) for part in parts)
    except ValueError:
        return None
