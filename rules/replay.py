"""Recorded readings through the engine, to see what other rules would have done.  Nothing is sent, nobody is told.

messages in receive order ──▶ Replay(rules) ──▶ Outcome: every raise with the sample that caused it, commands, floods
Outcome of the new rules, Outcome of the old ones ──▶ compared: what is added, what is removed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import count
from zoneinfo import ZoneInfo

from gateway.model import Device, Point, PointId, Reading, Value
from rules.engine import Changes, Engine, Instant
from rules.output import Line
from rules.rule import RuleSet

TEN_MIN_MS = 600_000
CROWDED = 10
"""More raises than this in ten minutes are more than one person can attend to (ISA-18.2, 16.5)."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The sample with which a condition became true."""

    point: PointId
    value: Value | None
    time_ms: int
    """The device's."""


@dataclass(slots=True)
class Episode:
    """One alarm from its raise to its end."""

    name: str
    """``rule`` or ``rule@device``"""
    start_ms: int
    cause: Cause | None
    """None: time alone raised it."""
    end_ms: int | None = None

    @property
    def rule(self) -> str:
        return self.name.partition("@")[0]

    def length_s(self, until_ms: int) -> float:
        return ((until_ms if self.end_ms is None else self.end_ms) - self.start_ms) / 1000

    def overlaps(self, other: Episode) -> bool:
        """Two versions of a rule may raise the same trouble at different moments."""
        return (other.end_ms is None or self.start_ms <= other.end_ms) and (
            self.end_ms is None or other.start_ms <= self.end_ms
        )


@dataclass(frozen=True, slots=True)
class Sent:
    name: str
    send: str
    time_ms: int


@dataclass(slots=True)
class Outcome:
    from_ms: int
    to_ms: int
    episodes: list[Episode] = field(default_factory=list)
    """By the time of their raise."""
    chattering: Counter[str] = field(default_factory=Counter)
    """Rule -> how often it began to chatter."""
    floods_ms: list[int] = field(default_factory=list)
    commands: list[Sent] = field(default_factory=list)

    def days(self, zone: ZoneInfo) -> Mapping[tuple[str, date], int]:
        """(rule, local day) -> raises"""
        return Counter((each.rule, _day(each.start_ms, zone)) for each in self.episodes)

    def longest(self) -> Mapping[str, Episode]:
        """Rule -> the alarm that lasted longest."""
        found: dict[str, Episode] = {}
        for each in self.episodes:
            best = found.get(each.rule)
            if best is None or each.length_s(self.to_ms) > best.length_s(self.to_ms):
                found[each.rule] = each
        return found

    def pace(self) -> Pace:
        periods = max(1, -(-(self.to_ms - self.from_ms) // TEN_MIN_MS))
        raised = Counter((each.start_ms - self.from_ms) // TEN_MIN_MS for each in self.episodes)
        crowded = sum(number > CROWDED for number in raised.values())
        return Pace(len(self.episodes) / periods, max(raised.values(), default=0), crowded / periods)


@dataclass(frozen=True, slots=True)
class Pace:
    """Raises in periods of ten minutes."""

    average: float
    peak: int
    crowded: float
    """Share of the periods with more than ``CROWDED``."""


class Replay:
    """One version of the rules.  Messages must come in the order of their time."""

    def __init__(
        self, rules: RuleSet, points: Mapping[PointId, Point], devices: Sequence[Device], from_ms: int
    ) -> None:
        ids = count(1)
        self._from_ms = from_ms
        self._engine = Engine(
            rules, points, devices, new_id=lambda _: f"{next(ids)}", saved={}, started=Instant(0.0, from_ms)
        )
        self._active: dict[str, Episode] = {}
        self._pending: dict[str, Cause | None] = {}
        self.outcome = Outcome(from_ms, from_ms)

    def hear(self, readings: Sequence[Reading], now_ms: int) -> None:
        self._advance(now_ms)
        self._note(self._engine.observe(readings, self._instant(now_ms), more=True), readings)

    def finish(self, now_ms: int) -> None:
        self._advance(now_ms)
        self._note(self._engine.tick(self._instant(now_ms)), ())
        self.outcome.to_ms = now_ms

    def _advance(self, now_ms: int) -> None:
        now_s = (now_ms - self._from_ms) / 1000
        while (due_s := self._engine.next_timer_s()) is not None and due_s < now_s:
            at = Instant(due_s, self._from_ms + round(due_s * 1000))
            self._note(self._engine.tick(at), ())

    def _instant(self, now_ms: int) -> Instant:
        return Instant((now_ms - self._from_ms) / 1000, now_ms)

    def _note(self, changes: Changes, readings: Sequence[Reading]) -> None:
        for line in changes.lines:
            self._line(line, readings)
        self.outcome.commands += [
            Sent(order.name, order.send, order.time_ms) for order in changes.orders if order.attempt == 1
        ]

    def _line(self, line: Line, readings: Sequence[Reading]) -> None:
        match line.event:
            case "pending":
                self._pending[line.name] = self._cause(line.name, readings)
            case "pending_cancel":
                self._pending.pop(line.name, None)
            case "raise":
                cause = self._pending.pop(line.name, None) or self._cause(line.name, readings)
                self._active[line.name] = episode = Episode(line.name, line.time_ms, cause)
                self.outcome.episodes.append(episode)
            case "clear":
                ended = self._active.pop(line.name, None)
                if ended is not None:
                    ended.end_ms = line.time_ms
            case "chatter_on":
                self.outcome.chattering[line.name.partition("@")[0]] += 1
            case "flood_on":
                self.outcome.floods_ms.append(line.time_ms)

    def _cause(self, name: str, readings: Sequence[Reading]) -> Cause | None:
        """The last sample of the message that the alarm reads."""
        if not readings:
            return None
        rule, _, device = name.partition("@")
        read = self._engine.alarm(rule, device or None).values
        found = next((each for each in reversed(readings) if each.point in read), None)
        return None if found is None else Cause(found.point, found.value, found.source_time_ms)


def compared(new: Outcome, old: Outcome) -> tuple[list[Episode], list[Episode]]:
    """Episodes that only *new* has, and those that only *old* has.

    The same alarm at overlapping times is the same trouble, however early or late it was raised.
    """
    return _without(new, old), _without(old, new)


def _without(outcome: Outcome, other: Outcome) -> list[Episode]:
    named: dict[str, list[Episode]] = {}
    for each in other.episodes:
        named.setdefault(each.name, []).append(each)
    return [each for each in outcome.episodes if not any(each.overlaps(one) for one in named.get(each.name, ()))]


def _day(time_ms: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone(zone).date()
