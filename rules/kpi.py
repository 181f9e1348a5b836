"""How good an alarm system is, from its own journal: the figures of ISA-18.2 and EEMUA 191.

Their targets are for one operator who does nothing else.  A guard room of one person has other work, so a figure above
half its target is a warning already.
"""

from __future__ import annotations

import enum
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.model import Priority

DAY_MS = 86_400_000
PERIOD_MS = 600_000
CHATTER_RAISES, CHATTER_MS = 3, 60_000
FLEETING_MS = 10_000
"""Ours; the standards only say: too short for anybody to act."""
BUSY = 10
"""A period of ten minutes with more alarms than that is one that nobody keeps up with."""
TOP = 10
FEWEST_RAISES = 20
"""With fewer, shares of priorities are chance."""
FEWEST_ALARMS = 200
"""With fewer different alarms, ten of them must be more than 5 % of the load however even it is."""
_ENDS = frozenset({"clear", "retire"})


class Record(NamedTuple):
    """A line of the journal.  Events that count here: raise, clear, retire, ack, chatter_on, flood_on, flood_off."""

    time_ms: int
    event: str
    name: str
    priority: str
    """Empty for what concerns the whole site."""


class Verdict(enum.StrEnum):
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    NONE = "none"
    """No target, or too little happened to judge."""


@dataclass(frozen=True, slots=True)
class Figure:
    value: float | None
    """None: nothing to measure."""
    target: float | None = None
    warning: float | None = None
    """Above it the verdict is a warning."""
    limit: float | None = None
    """Above it the verdict is bad."""

    @property
    def verdict(self) -> Verdict:
        if self.value is None or self.warning is None or self.limit is None:
            return Verdict.NONE
        if self.value > self.limit:
            return Verdict.BAD
        return Verdict.WARNING if self.value > self.warning else Verdict.GOOD

    def as_json(self) -> dict[str, float | str | None]:
        return {"value": self.value, "target": self.target, "warning": self.warning, "verdict": str(self.verdict)}


@dataclass(frozen=True, slots=True)
class Kpis:
    from_ms: int
    to_ms: int
    raises: int
    figures: Mapping[str, Figure]
    """By name; the unit is in the name, shares are 0 to 1."""
    top: tuple[tuple[str, int], ...]
    """The alarms raised most often, and how often."""
    chattering: tuple[str, ...]
    fleeting: tuple[str, ...]
    stale: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return {
            "from_ms": self.from_ms,
            "to_ms": self.to_ms,
            "raises": self.raises,
            "figures": {name: figure.as_json() for name, figure in self.figures.items()},
            "top": [[name, count] for name, count in self.top],
            "chattering": list(self.chattering),
            "fleeting": list(self.fleeting),
            "stale": list(self.stale),
        }


def kpis(lines: Iterable[tuple[int, str, str, str]], *, from_ms: int | None = None, to_ms: int | None = None) -> Kpis:
    """*lines* in any order; those outside the span are left out.  Rules of priority journal are no alarms.

    The span is that of the lines where it is not given; a quiet beginning or end must be given.  Days and periods of
    ten minutes count from its beginning; in a span shorter than one of them there is one.
    """
    records = sorted((Record(*line) for line in lines), key=lambda record: record.time_ms)
    if from_ms is None:
        from_ms = records[0].time_ms if records else (to_ms or 0)
    if to_ms is None:
        to_ms = max(from_ms, records[-1].time_ms) if records else from_ms
    if to_ms < from_ms:
        raise ValueError(f"the span ends ({to_ms}) before it begins ({from_ms})")
    story = _Story(from_ms, to_ms)
    for record in records:
        if from_ms <= record.time_ms <= to_ms and record.priority != Priority.JOURNAL:
            story.take(record)
    story.close()
    return story.kpis()


class _Story:
    """Follows the lines in order."""

    def __init__(self, from_ms: int, to_ms: int) -> None:
        self.from_ms = from_ms
        self.to_ms = to_ms
        self.raised_ms: list[int] = []
        self.counts: Counter[str] = Counter()
        self.priorities: Counter[str] = Counter()
        self.latest_ms: defaultdict[str, list[int]] = defaultdict(list)
        self.on_ms: dict[str, int] = {}
        self.unseen_ms: dict[str, int] = {}
        """Raised and not acknowledged: when, the last time."""
        self.met: set[str] = set()
        self.acks_ms: list[int] = []
        self.chattering: set[str] = set()
        self.fleeting: set[str] = set()
        self.stale: defaultdict[int, set[str]] = defaultdict(set)
        self.floods = 0
        self.flood_on_ms: int | None = None
        self.flooded_ms = 0

    def take(self, record: Record) -> None:
        match record.event:
            case "raise":
                self._raise(record)
            case "ack":
                self._ack(record)
            case "chatter_on":
                self.chattering.add(record.name)
            case "flood_on":
                self._flood(record.time_ms)
            case "flood_off":
                if not self.floods:  # it began before the span
                    self._flood(self.from_ms)
                self._ebb(record.time_ms)
            case event if event in _ENDS:
                self._end(record)

    def _raise(self, record: Record) -> None:
        name, now_ms = record.name, record.time_ms
        self.raised_ms.append(now_ms)
        self.counts[name] += 1
        self.priorities[record.priority] += 1
        latest = self.latest_ms[name]
        latest.append(now_ms)
        del latest[:-CHATTER_RAISES]
        if len(latest) == CHATTER_RAISES and now_ms - latest[0] <= CHATTER_MS:
            self.chattering.add(name)
        self.on_ms.setdefault(name, now_ms)
        self.unseen_ms[name] = now_ms
        self.met.add(name)

    def _ack(self, record: Record) -> None:
        raised_ms = self.unseen_ms.pop(record.name, None)
        if raised_ms is not None:
            self.acks_ms.append(record.time_ms - raised_ms)

    def _end(self, record: Record) -> None:
        since_ms = self.on_ms.pop(record.name, None)
        if since_ms is None:
            if record.name in self.met:
                return
            since_ms = self.from_ms  # it was on before the span began
        self.met.add(record.name)
        if self.unseen_ms.get(record.name) == since_ms and record.time_ms - since_ms <= FLEETING_MS:
            self.fleeting.add(record.name)
        self._was_on(record.name, since_ms, record.time_ms)

    def _was_on(self, name: str, since_ms: int, until_ms: int) -> None:
        stale_ms = since_ms + DAY_MS
        if until_ms <= stale_ms:
            return
        for day in range(self._day(stale_ms), self._day(until_ms - 1) + 1):
            self.stale[day].add(name)

    def _flood(self, now_ms: int) -> None:
        if self.flood_on_ms is None:
            self.floods += 1
            self.flood_on_ms = now_ms

    def _ebb(self, now_ms: int) -> None:
        if self.flood_on_ms is not None:
            self.flooded_ms += now_ms - self.flood_on_ms
            self.flood_on_ms = None

    def close(self) -> None:
        for name, since_ms in self.on_ms.items():
            self._was_on(name, since_ms, self.to_ms)
        self._ebb(self.to_ms)

    def _day(self, time_ms: int) -> int:
        return (time_ms - self.from_ms) // DAY_MS

    # ------------------------------------------------------------------ figures

    def kpis(self) -> Kpis:
        figures = self._load() | self._nuisance() | self._distribution() | self._answers()
        return Kpis(
            from_ms=self.from_ms,
            to_ms=self.to_ms,
            raises=len(self.raised_ms),
            figures=figures,
            top=tuple(sorted(self.counts.items(), key=lambda each: (-each[1], each[0]))[:TOP]),
            chattering=tuple(sorted(self.chattering)),
            fleeting=tuple(sorted(self.fleeting - self.chattering)),
            stale=tuple(sorted(set().union(*self.stale.values()))),
        )

    def _load(self) -> dict[str, Figure]:
        span_ms = self.to_ms - self.from_ms
        days, periods = self._per(DAY_MS), self._per(PERIOD_MS)
        busy = sum(count > BUSY for count in periods.values()) / _parts(span_ms, PERIOD_MS)
        return {
            "per_day_mean": _at_most(150, len(self.raised_ms) / max(1.0, span_ms / DAY_MS)),
            "per_day_max": _at_most(300, max(days.values(), default=0)),
            "per_10min_mean": _at_most(1, len(self.raised_ms) / max(1.0, span_ms / PERIOD_MS)),
            "per_10min_max": _at_most(BUSY, max(periods.values(), default=0)),
            "busy_10min_share": _at_most(0.01, busy),
            "flood_share": _at_most(0.01, self.flooded_ms / span_ms if span_ms else 0.0),
            "floods": Figure(self.floods),
        }

    def _per(self, length_ms: int) -> Counter[int]:
        """Raises in each part of the span; the very end belongs to the last one."""
        last = _parts(self.to_ms - self.from_ms, length_ms) - 1
        return Counter(min(last, (time_ms - self.from_ms) // length_ms) for time_ms in self.raised_ms)

    def _nuisance(self) -> dict[str, Figure]:
        total = len(self.raised_ms)
        share = sum(count for _, count in self.counts.most_common(TOP)) / total if total else None
        top = _at_most(0.05, share)
        return {
            "top_ten_share": top if len(self.counts) >= FEWEST_ALARMS else Figure(share, top.target),
            "chattering": _at_most(0, len(self.chattering)),
            "fleeting": _at_most(0, len(self.fleeting - self.chattering)),
            "stale_on_a_day": _at_most(4, max(map(len, self.stale.values()), default=0)),
        }

    def _distribution(self) -> dict[str, Figure]:
        """About 5, 15 and 80 %: shares do not depend on how many people there are, so the target itself is the warning
        level and twice the target the limit.  What is neither urgent nor medium is low."""
        total = len(self.raised_ms)
        urgent = self.priorities[Priority.CRITICAL] + self.priorities[Priority.HIGH]
        medium = self.priorities[Priority.MEDIUM]
        shares = {"urgent_share": (urgent, 0.05), "medium_share": (medium, 0.15)}
        found = {name: _about(target, count, total) for name, (count, target) in shares.items()}
        return found | {"low_share": Figure((total - urgent - medium) / total if total else None, 0.80)}

    def _answers(self) -> dict[str, Figure]:
        """The limit of ten minutes is ours; no standard names one."""
        taken_s = [time_ms / 1000 for time_ms in sorted(self.acks_ms)]
        return {
            "acknowledged_median_s": Figure(_quantile(taken_s, 0.5)),
            "acknowledged_p95_s": _at_most(600, _quantile(taken_s, 0.95)),
            "never_acknowledged": Figure(len(self.unseen_ms)),
        }


def _parts(span_ms: int, length_ms: int) -> int:
    return max(1, -(-span_ms // length_ms))


def _at_most(target: float, value: float | None) -> Figure:
    return Figure(value, target, warning=target / 2, limit=target)


def _about(target: float, count: int, total: int) -> Figure:
    if total < FEWEST_RAISES:
        return Figure(count / total if total else None, target)
    return Figure(count / total, target, warning=target, limit=2 * target)


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share does not exceed."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None
