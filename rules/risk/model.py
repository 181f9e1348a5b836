"""The risk as it goes through time: delays up, calm times down, silence, restarts.  Pure.

    point ──▶ level of its value ──▶ input: the worst point, for delay ──▶ hazard: up at once, down by calm times
                                                                               └──▶ composite (definition.py)

- Up: at once, or when a level has lasted for the input's delay.
- Down: one colour at a time, each after its calm time without reason.  Whatever gives reason again begins it anew.
  The composite follows, and never by two colours at once.
- A sensor that is silent gives no reason to rise.  For ``hold_s`` its last level lets nothing fall either: a sensor
  under water is silent too.  Then it is forgotten; until it is heard the risk is blind in that respect.
- An official warning counts until it expires or is withdrawn, whether its source is heard or not.

Everything happens at instants that are known before (``next_timer_s``), so it does not matter how often anybody looks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.model import PointId, Quality, Reading, Value
from rules.alarm import Instant
from rules.risk.definition import COLOURS, Definition, Hazard, Input, Level, Scale, combined

BACKLOG_S = 300.0
"""A local reading older than this decides nothing."""
LATEST_S = 10 * 365 * 86400.0
"""No warning expires later than that: a source that says so says nonsense."""
_VERSION = 1
_NEVER = math.inf


class Unreadable(ValueError):
    """A record that this version did not write, or that is damaged."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One value that makes a level."""

    hazard: str
    input: str
    point: PointId
    value: Value
    level: Level


@dataclass(frozen=True, slots=True)
class Driver:
    """A cause of now, and what the composite would be without its input."""

    cause: Cause
    without: Level


@dataclass(frozen=True, slots=True)
class Blind:
    """A point that says nothing now."""

    hazard: str
    input: str
    point: PointId
    last: Value | None
    holds: bool
    """Whether its last level keeps the hazard from falling."""


@dataclass(frozen=True, slots=True)
class HazardState:
    hazard: str
    level: Level
    reason: Level
    """What there is reason for now; below *level* while the calm time runs."""
    since_ms: int
    falls_in_s: float | None
    """To the next colour below; None while there is reason for this one."""
    causes: tuple[Cause, ...]
    """What last gave reason for *level*."""


@dataclass(frozen=True, slots=True)
class Assessment:
    level: Level
    since_ms: int
    hazards: tuple[HazardState, ...]
    raised_by: tuple[str, ...]
    """Hazards that together make it a colour more than each."""
    drivers: tuple[Driver, ...]
    """The worst first."""
    blind: tuple[Blind, ...]

    @property
    def shown(self) -> tuple[object, ...]:
        """What readings show of it."""
        return (self.level, bool(self.blind), *(each.level for each in self.hazards))


# ---------------------------------------------------------------------- state


@dataclass(slots=True)
class _Sense:
    """One point, as one input reads it."""

    scale: Scale
    value: Value | None = None
    """The last good one."""
    level: Level = Level.NONE
    """Of *value*."""
    heard_s: float = -_NEVER
    """When it was measured; of an official one, when it was heard."""
    lost_s: float | None = None
    """Since when it says nothing; None while it does, and before it ever did."""

    @property
    def seen(self) -> bool:
        return self.value is not None

    @property
    def blind(self) -> bool:
        return not self.seen or self.lost_s is not None

    @property
    def stale_s(self) -> float:
        return self.heard_s + self.scale.stale_s


@dataclass(slots=True)
class _Gauge:
    """One input."""

    input: Input
    senses: list[_Sense]
    until_s: float | None = None
    """When the official warning expires, where its source says so."""
    above_s: list[float | None] = field(default_factory=lambda: [None] * len(Level))
    """Since when each level has been reached."""
    level: Level = Level.NONE
    """Reached for longer than the delay."""

    def expiry_s(self, sense: _Sense) -> float:
        return sense.heard_s + self.input.expires_s if self.until_s is None else self.until_s

    def speaks(self, sense: _Sense, now_s: float) -> bool:
        """Whether its value is evidence."""
        if not self.input.official:
            return not sense.blind
        return sense.seen and now_s < self.expiry_s(sense)


@dataclass(slots=True)
class _Held:
    """One hazard."""

    hazard: Hazard
    gauges: list[_Gauge]
    level: Level = Level.NONE
    since_s: float = 0.0
    calm_since_s: float | None = None
    reason: Level = Level.NONE
    causes: tuple[Cause, ...] = ()

    def fall_s(self) -> float:
        return _NEVER if self.calm_since_s is None else self.calm_since_s + self.hazard.calm_s[self.level]


class RiskModel:
    """See the head of this file.  Every call takes an instant not before that of the call before."""

    def __init__(self, definition: Definition, started: Instant, saved: bytes | None = None) -> None:
        """saved: what ``record`` gave before the restart.  Raises Unreadable."""
        self.definition = definition
        self._held = [
            _Held(
                hazard,
                [_Gauge(each, [_Sense(scale) for scale in each.scales]) for each in hazard.inputs],
                since_s=started.monotonic_s,
            )
            for hazard in definition.hazards
        ]
        self._by_point: dict[PointId, list[tuple[_Gauge, _Sense]]] = {}
        self._untils: dict[PointId, list[_Gauge]] = {}
        for gauge in self._gauges():
            for sense in gauge.senses:
                self._by_point.setdefault(sense.scale.point, []).append((gauge, sense))
            if gauge.input.until is not None:
                self._untils.setdefault(gauge.input.until, []).append(gauge)
        self._level, self._raised_by = Level.NONE, tuple[str, ...]()
        self._since_s = started.monotonic_s
        self._fell_s: float | None = None
        """When the composite last fell; None since it rose."""
        self._calm_s = tuple(
            min((hazard.calm_s[level] for hazard in definition.hazards), default=0.0) for level in Level
        )
        """So long the composite stands at each colour that it has fallen to."""
        self._due_s = _NEVER
        if saved is not None:
            self._restore(saved, started)
        self._judge(started.monotonic_s)

    # ------------------------------------------------------------------ in

    def observe(self, readings: Iterable[Reading], now: Instant) -> bool:
        """Returns whether anything may be different now.  Readings of other points are passed over."""
        passed = self._run_until(now.monotonic_s)
        touched = False
        for reading in readings:
            for gauge, sense in self._by_point.get(reading.point, ()):
                touched |= _hear(gauge, sense, reading, now)
            for gauge in self._untils.get(reading.point, ()):
                touched |= _hear_until(gauge, reading, now)
        if touched or self._due_s <= now.monotonic_s:
            self._judge(now.monotonic_s)
            return True
        return passed

    def tick(self, now: Instant) -> bool:
        """Time has passed.  Returns whether anything may be different now."""
        return self.observe((), now)

    def next_timer_s(self) -> float | None:
        """Monotonic; when to tick, if nothing is observed before."""
        return None if self._due_s == _NEVER else self._due_s

    # ------------------------------------------------------------------ out

    def state(self, now: Instant) -> Assessment:
        self.tick(now)
        return Assessment(
            self._level,
            _utc_ms(self._since_s, now),
            tuple(self._hazard_state(held, now) for held in self._held),
            self._raised_by,
            tuple(self._drivers(now.monotonic_s)),
            tuple(self._blind(now.monotonic_s)),
        )

    def _hazard_state(self, held: _Held, now: Instant) -> HazardState:
        falls_in_s = None if held.calm_since_s is None else max(0.0, held.fall_s() - now.monotonic_s)
        return HazardState(held.hazard.id, held.level, held.reason, _utc_ms(held.since_s, now), falls_in_s, held.causes)

    def _drivers(self, now_s: float) -> Iterator[Driver]:
        levels = {held.hazard.id: held.level for held in self._held}
        found = []
        for held in self._held:
            for gauge in held.gauges:
                cause = _cause(held, gauge, now_s)
                if cause is None:
                    continue
                # what else keeps this hazard up, were the input not there: its calm time would not matter
                others = [each for each in held.gauges if each is not gauge]
                rest = max([each.level for each in others] + [self._kept(each, now_s) for each in others], default=0)
                without, _ = combined(self.definition, levels | {held.hazard.id: Level(rest)})
                found.append(Driver(cause, without))
        yield from sorted(found, key=lambda driver: (-driver.cause.level, driver.without))

    def _blind(self, now_s: float) -> Iterator[Blind]:
        for held in self._held:
            for gauge in held.gauges:
                for sense in gauge.senses:
                    if sense.blind:
                        holds = self._holds(gauge, sense, now_s) and sense.level >= held.level > Level.NONE
                        yield Blind(held.hazard.id, gauge.input.id, sense.scale.point, sense.value, holds)

    # ------------------------------------------------------------------ time

    def _gauges(self) -> Iterator[_Gauge]:
        for held in self._held:
            yield from held.gauges

    def _run_until(self, now_s: float) -> bool:
        """Do what was due before *now_s*, each at its own instant."""
        passed = False
        while self._due_s < now_s:
            self._judge(self._due_s)
            passed = True
        return passed

    def _judge(self, now_s: float) -> None:
        for held in self._held:
            for gauge in held.gauges:
                _weigh(gauge, now_s)
            self._follow(held, now_s)
        self._compose(now_s)
        self._due_s = min((due_s for due_s in self._dues() if due_s > now_s), default=_NEVER)

    def _compose(self, now_s: float) -> None:
        """The composite rises with the hazards; where several fall together, it falls colour by colour."""
        level, together = combined(self.definition, {held.hazard.id: held.level for held in self._held})
        if level > self._level:
            self._level, self._since_s, self._fell_s = level, now_s, None
        elif level < self._level and now_s >= self._falls_s():
            self._level, self._since_s, self._fell_s = Level(self._level - 1), now_s, now_s
        self._raised_by = together if level is self._level else ()

    def _falls_s(self) -> float:
        """When the composite may fall."""
        return -_NEVER if self._fell_s is None else self._fell_s + self._calm_s[self._level]

    def _follow(self, held: _Held, now_s: float) -> None:
        """Up at once; down one colour after its calm time."""
        held.reason = max((gauge.level for gauge in held.gauges), default=Level.NONE)
        kept = max((self._kept(gauge, now_s) for gauge in held.gauges), default=Level.NONE)
        if held.reason > held.level:
            held.level, held.since_s = held.reason, now_s
        elif now_s >= held.fall_s() and max(held.reason, kept) < held.level:
            held.level, held.since_s, held.calm_since_s = Level(held.level - 1), now_s, None
        if max(held.reason, kept) >= held.level:
            held.calm_since_s = None
        elif held.calm_since_s is None:
            held.calm_since_s = now_s
        if held.reason >= held.level:
            causes = (_cause(held, gauge, now_s) for gauge in held.gauges)
            held.causes = tuple(each for each in causes if each is not None and each.level >= held.level > Level.NONE)

    def _kept(self, gauge: _Gauge, now_s: float) -> Level:
        """The level below which silent points do not let the hazard fall."""
        return max(
            (sense.level for sense in gauge.senses if self._holds(gauge, sense, now_s)),
            default=Level.NONE,
        )

    def _holds(self, gauge: _Gauge, sense: _Sense, now_s: float) -> bool:
        if gauge.input.official or sense.lost_s is None:
            return False
        return now_s < sense.lost_s + self.definition.hold_s

    def _dues(self) -> Iterator[float]:
        yield self._falls_s()
        for held in self._held:
            yield held.fall_s()
            for gauge in held.gauges:
                yield from (
                    since_s + gauge.input.delay_s
                    for level, since_s in enumerate(gauge.above_s)
                    if since_s is not None and level > gauge.level
                )
                for sense in gauge.senses:
                    yield from self._dues_of(gauge, sense)

    def _dues_of(self, gauge: _Gauge, sense: _Sense) -> Iterator[float]:
        if not sense.seen:
            return
        yield _NEVER if sense.lost_s is not None else sense.stale_s
        if gauge.input.official:
            yield gauge.expiry_s(sense)
        elif sense.lost_s is not None and sense.level:
            yield sense.lost_s + self.definition.hold_s

    # ------------------------------------------------------------------ journal

    def record(self, now: Instant) -> bytes:
        """All that a restart needs.  Times are on this run's monotonic clock, of which ``alive`` is the reading."""
        self.tick(now)
        found = {
            "v": _VERSION,
            "alive": now.monotonic_s,
            "utc": now.utc_ms,
            "since": self._since_s,
            "level": self._level,
            "fell": self._fell_s,
            "hazards": {
                held.hazard.id: {
                    "level": held.level,
                    "since": held.since_s,
                    "calm": held.calm_since_s,
                    "causes": [[c.input, c.point, c.value, c.level] for c in held.causes],
                    "inputs": {gauge.input.id: _gauge_out(gauge) for gauge in held.gauges},
                }
                for held in self._held
            },
        }
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()

    def _restore(self, saved: bytes, started: Instant) -> None:
        """Hazards, inputs and points that are no longer there are forgotten, new ones begin anew.

        While the box was down, values aged and warnings came nearer their end; delays and calm times stood still.
        """
        try:
            found = json.loads(saved)
            if not isinstance(found, dict) or found.get("v") != _VERSION:
                raise Unreadable("not of version 1")
            down_s = max(0.0, (started.utc_ms - int(found["utc"])) / 1000)
            shift_s = started.monotonic_s - float(found["alive"])
            times = _Times(shift_s, shift_s - down_s)
            for held in self._held:
                if (record := found["hazards"].get(held.hazard.id)) is not None:
                    _held_in(held, record, times)
            self._level, self._since_s = Level(found["level"]), float(found["since"]) + times.real_s
            self._fell_s = None if found["fell"] is None else float(found["fell"]) + times.still_s
        except Unreadable:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as exc:
            raise Unreadable(f"risk record: {exc!r}") from exc


def _utc_ms(then_s: float, now: Instant) -> int:
    return now.utc_ms - round((now.monotonic_s - then_s) * 1000)


def _hear(gauge: _Gauge, sense: _Sense, reading: Reading, now: Instant) -> bool:
    """Take a reading; returns whether it can make a difference."""
    level = sense.scale.level(reading.value) if reading.quality is Quality.GOOD else None
    if gauge.input.official:
        if level is None or reading.value is None:
            return False  # that its source cannot be reached withdraws no warning
        measured_s = now.monotonic_s
    else:
        age_s = max(0.0, (now.utc_ms - reading.source_time_ms) / 1000)
        measured_s = now.monotonic_s - age_s
        if age_s > BACKLOG_S or measured_s < sense.heard_s:
            return False
        if level is None or reading.value is None:
            lost = sense.seen and sense.lost_s is None
            sense.lost_s = now.monotonic_s if lost else sense.lost_s
            return lost
    same = sense.seen and sense.lost_s is None and level is sense.level and not gauge.input.official
    sense.value, sense.level, sense.heard_s, sense.lost_s = reading.value, level, measured_s, None
    return not same


def _hear_until(gauge: _Gauge, reading: Reading, now: Instant) -> bool:
    value = reading.value
    if reading.quality is not Quality.GOOD or isinstance(value, str) or value is None or not math.isfinite(value):
        return False
    gauge.until_s = now.monotonic_s + min(value - now.utc_ms / 1000, LATEST_S)
    return True


def _weigh(gauge: _Gauge, now_s: float) -> None:
    """Which points still speak, and which levels have lasted."""
    for sense in gauge.senses:
        if sense.seen and sense.lost_s is None and now_s >= sense.stale_s:
            sense.lost_s = now_s
    reached = max((sense.level for sense in gauge.senses if gauge.speaks(sense, now_s)), default=Level.NONE)
    gauge.level = Level.NONE
    for level in COLOURS:
        since_s = gauge.above_s[level]
        if level > reached:
            gauge.above_s[level] = None
            continue
        if since_s is None:
            since_s = gauge.above_s[level] = now_s
        if now_s >= since_s + gauge.input.delay_s:
            gauge.level = level


def _cause(held: _Held, gauge: _Gauge, now_s: float) -> Cause | None:
    """What gives the input its level; None when it has none."""
    speaking = [sense for sense in gauge.senses if gauge.speaks(sense, now_s) and sense.value is not None]
    if not gauge.level or not speaking:
        return None
    worst = max(speaking, key=lambda sense: (sense.level, _badness(sense)))
    assert worst.value is not None
    return Cause(held.hazard.id, gauge.input.id, worst.scale.point, worst.value, gauge.level)


def _badness(sense: _Sense) -> float:
    """Of two numbers with one level, which is worse."""
    if isinstance(sense.value, str) or sense.value is None:
        return 0.0
    return -float(sense.value) if sense.scale.low else float(sense.value)


# ---------------------------------------------------------------------- journal


@dataclass(frozen=True, slots=True)
class _Times:
    """From the monotonic clock of the run that wrote a record to this one's."""

    still_s: float
    """For what stood still while the box was down."""
    real_s: float
    """For what did not."""


def _gauge_out(gauge: _Gauge) -> dict[str, Any]:
    return {
        "until": gauge.until_s,
        "above": gauge.above_s,
        "points": {
            sense.scale.point: [sense.value, sense.heard_s, sense.lost_s] for sense in gauge.senses if sense.seen
        },
    }


def _held_in(held: _Held, record: Mapping[str, Any], times: _Times) -> None:
    held.level, held.since_s = Level(record["level"]), float(record["since"]) + times.real_s
    held.calm_since_s = None if record["calm"] is None else float(record["calm"]) + times.still_s
    held.causes = tuple(
        Cause(held.hazard.id, str(input_), str(point), value, Level(level))
        for input_, point, value, level in record["causes"]
    )
    for gauge in held.gauges:
        if (found := record["inputs"].get(gauge.input.id)) is not None:
            _gauge_in(gauge, found, times)


def _gauge_in(gauge: _Gauge, record: Mapping[str, Any], times: _Times) -> None:
    gauge.until_s = None if record["until"] is None else float(record["until"]) + times.real_s
    above = [None if since_s is None else float(since_s) + times.still_s for since_s in record["above"]]
    if len(above) != len(Level):
        raise Unreadable("levels are missing")
    gauge.above_s = above
    for sense in gauge.senses:
        value, heard_s, lost_s = record["points"].get(sense.scale.point, (None, 0.0, None))
        level = sense.scale.level(value)
        if level is None:
            continue  # never seen, or the point means something else now
        sense.value, sense.level, sense.heard_s = value, level, float(heard_s) + times.real_s
        sense.lost_s = None if lost_s is None else float(lost_s) + times.still_s
