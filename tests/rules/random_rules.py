"""Random rules and random traces for them, on a coarse grid so that things often fall on the very instant of others.

A scenario is played against the engine and against oracle.py at once; ``differ`` says where they part, ``reduced``
makes the trace small, ``as_case`` writes it in the grammar of cases.yaml.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Any, TypeAlias

from gateway.model import Device, Place, Point, Priority, Reading, Reason, Text, ValueKind, bad_reading
from rules.definition import read_rules
from rules.engine import Engine, Instant
from rules.rule import RuleSet
from tests.rules.oracle import Chatter, JobSpec, Oracle, PointSpec, RuleSpec, Track, Tree, points_of

Step: TypeAlias = tuple[Any, ...]
"""(tick, kind, ...): set {point: (value, age in ticks)}, wall_step s, ack rule, reset rule, shelve rule s,
unshelve rule, out_of_service rule s|None, in_service rule, restart s, reload rules"""

KINDS = {"bool": ValueKind.BOOLEAN, "number": ValueKind.NUMBER, "state": ValueKind.STATE}
DEFAULT = RuleSpec("", ("true", ""))
EngineClass: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Scenario:
    unit_s: int
    start: str
    zone: str
    points: tuple[PointSpec, ...]
    rules: tuple[RuleSpec, ...]
    jobs: tuple[JobSpec, ...]
    steps: tuple[Step, ...]
    ticks: int
    seed: int = 0


# ---------------------------------------------------------------------- making them up


class Maker:
    def __init__(self, seed: int, *, alarms: bool = False, plain: bool = False) -> None:
        """alarms: one rule asks for the other's alarm.  plain: nothing to which a restart makes a difference."""
        self.random = random.Random(seed)
        self.seed, self.alarms, self.plain = seed, alarms, plain
        self.modes = {name: "shadow" if self.chance(0.08) else "live" for name in ("r", "q")}

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def scenario(self) -> Scenario:
        pick = self.random.choice
        unit_s = 10 if self.plain else pick((1, 10, 60, 60, 100, 600, 600))
        self.unit_s = unit_s
        periods = (None, None, unit_s, 2 * unit_s)
        kinds = {"d.b": "bool", "d.n": "number", "d.s": "state", "d.m": "number"}
        self.points = tuple(PointSpec(name, kind, pick(periods)) for name, kind in kinds.items())
        self.scheduled = unit_s == 600 and self.chance(0.6)
        self.walls = self.chance(0.3) and not self.plain
        self.restarts = self.chance(0.5) and not self.plain
        self.reloads = self.chance(0.3) and not self.plain
        rules = [self.rule("r")]
        if self.alarms or self.chance(0.4):
            rules.append(self.rule("q"))
        if self.reloads:
            watch: Tree = ("or", ("true", "d.b"), ("is", "d.s", "open"), (">", "d.n", 99), (">", "d.m", 99))
            rules.append(RuleSpec("all", watch, mode="shadow"))
        jobs = ()
        if self.scheduled and not self.walls and not self.restarts and not self.reloads:
            jobs = (JobSpec("job", pick((2, 2.5, 3, 22.5, 0)) * 3600),)
        start, zone = pick(
            (
                ("2026-03-29T00:30:00+01:00", "Europe/Berlin"),
                ("2026-10-25T00:30:00+02:00", "Europe/Berlin"),
                ("2026-05-10T21:00:00+08:00", "Asia/Shanghai"),
            )
        )
        ticks = 26 if self.plain else pick((8, 16, 30)) if unit_s < 600 else pick((16, 36))
        steps = tuple(self.steps(tuple(rules), ticks))
        return Scenario(unit_s, start, zone, self.points, tuple(rules), jobs, steps, ticks, self.seed)

    def ticks(self, *numbers: float) -> float:
        return self.random.choice(numbers) * self.unit_s

    def rule(self, name: str) -> RuleSpec:
        self.asks = self.alarms and name == "r"
        pick, chance = self.random.choice, self.chance
        when = self.tree(1 if chance(0.7) else 2)
        deadband = 2.0 if chance(0.4) and any(p in ("d.n", "d.m") for p in points_of(when)) else 0.0
        clear_when = self.tree(1) if not deadband and chance(0.2) else None
        chatter = None
        if chance(0.25):
            chatter = Chatter(pick((2, 3)), self.ticks(2, 4, 6), self.ticks(1, 2, 3))
        no_data = pick(("hold", "hold", "alarm", "clear")) if not self.plain else "hold"
        latch = chance(0.3)
        return RuleSpec(
            id=name,
            when=when,
            clear_when=clear_when,
            suppress_when=self.tree(1) if chance(0.25) else None,
            deadband=deadband,
            for_s=self.ticks(0, 0, 1, 2, 3) if chance(0.95) else self.ticks(8),
            clear_after_s=self.ticks(0, 0, 1, 2),
            no_data=no_data,
            no_data_after_s=None if chance(0.5) else self.ticks(2, 4),
            ack_auto=not latch and chance(0.2),
            latch=latch,
            longest_shelf_s=DEFAULT.longest_shelf_s if chance(0.7) else self.ticks(0, 3),
            chatter=chatter,
            daily=self.daily() if self.scheduled and chance(0.7) else None,
            parent_wait_s=self.ticks(1, 2) if chance(0.15) and not self.plain else 0.0,
            mode=self.modes[name],
        )

    def daily(self) -> tuple[float, float]:
        slots = self.random.sample((0, 1, 2, 2.5, 3, 3.5, 4, 22, 22.5, 23), 2)
        return slots[0] * 3600.0, slots[1] * 3600.0

    def tree(self, depth: int) -> Tree:
        pick = self.random.choice
        if depth <= 1:
            leaves: list[Tree] = [
                ("true", "d.b"),
                ("true", "d.b"),
                ("is", "d.s", pick(("open", "closed"))),
                (pick((">", ">=", "<", "<=")), pick(("d.n", "d.m")), 10),
            ]
            if self.asks:
                leaves.append(("alarm", "q"))
            return pick(leaves)
        kind = pick(("not", "and", "or", "at_least"))
        if kind == "not":
            return ("not", self.tree(depth - 1))
        if kind == "at_least":
            return ("at_least", 2, *(self.tree(1) for _ in range(3)))
        return (kind, self.tree(depth - 1), self.tree(depth - 1))

    def steps(self, rules: tuple[RuleSpec, ...], ticks: int) -> Iterator[Step]:
        busy, jump = self.random.uniform(0.3, 0.9), 0
        for tick in range(ticks):
            if self.unit_s == 60 and self.chance(0.02):
                jump += 59
            if self.chance(busy):
                yield (tick + jump, "set", self.values())
                # Not at the very start: what needs no reading is judged there after all messages, as a timer is, and
                # the second reading looks after each.
                if self.chance(0.15) and tick:
                    yield (tick + jump, "set", self.values())
            while self.chance(0.3):
                act = self.act(rules)
                if act[0] == "reload":
                    rules = act[1]
                yield (tick + jump, *act)

    def values(self) -> dict[str, tuple[Any, int]]:
        names = [point.id for point in self.points]
        chosen = self.random.sample(names, self.random.choice((1, 1, 2, 4)))
        return {name: (self.value(name), self.age()) for name in chosen}

    def value(self, name: str) -> Any:
        pick = self.random.choice
        if self.chance(0.1):
            return pick(("bad", "nan", "inf") if name in ("d.n", "d.m") else ("bad",))
        if name == "d.b":
            return pick((True, True, False))
        if name == "d.s":
            return pick(("open", "open", "closed", "closed", "ajar"))
        return pick((7, 8, 9, 10, 11, 12, 13))

    def age(self) -> int:
        if self.plain or self.chance(0.9):
            return 0
        if self.unit_s == 1:
            return self.random.choice((-7, -6, -5, -2, 1, 2, 4))
        edge = round(300 / self.unit_s)
        return self.random.choice((1, 2, 3, edge, edge + 1))

    def act(self, rules: tuple[RuleSpec, ...]) -> tuple[Any, ...]:
        pick = self.random.choice
        name = pick(rules).id
        kinds = ["ack", "ack", "reset", "shelve", "unshelve", "out_of_service", "in_service"]
        kinds += ["wall_step"] * 2 * self.walls + ["restart"] * 3 * self.restarts + ["reload"] * 3 * self.reloads
        kind = pick(kinds)
        if kind == "shelve":
            return (kind, name, self.ticks(1, 2, 3, 5))
        if kind == "out_of_service":
            return (kind, name, None if self.chance(0.5) else self.ticks(1, 3))
        if kind == "wall_step":
            return (kind, self.ticks(-12, -2, -1, 1, 2, 6))
        if kind == "restart":
            return (kind, self.ticks(0, 1, 2, 7))
        if kind == "reload":
            return (kind, self.changed(rules))
        return (kind, name)

    def changed(self, rules: tuple[RuleSpec, ...]) -> tuple[RuleSpec, ...]:
        found = [self.changed_rule(rule) if rule.id != "all" else rule for rule in rules]
        kept = [rule for rule in found if rule.id == "all" or self.alarms or not self.chance(0.2)]
        missing = {"r", "q"} - {rule.id for rule in kept}
        if missing and self.chance(0.5):
            kept.append(self.rule(sorted(missing)[0]))
        return tuple(kept)

    def changed_rule(self, rule: RuleSpec) -> RuleSpec:
        other = self.rule(rule.id)
        keys = (
            "when",
            "for_s",
            "clear_after_s",
            "no_data",
            "no_data_after_s",
            "longest_shelf_s",
            "suppress_when",
            "daily",
        )
        key = self.random.choice(keys)
        changed = replace(rule, **{key: getattr(other, key)})
        if key == "when":
            changed = replace(changed, deadband=other.deadband, clear_when=other.clear_when)
        return replace(changed, mode="off") if not self.alarms and self.chance(0.1) else changed


# ---------------------------------------------------------------------- as people write them


def text_of(tree: Tree) -> str:
    kind, *rest = tree
    match kind:
        case "true":
            return f"{rest[0]} == true"
        case "is":
            return f"{rest[0]} == {rest[1]}"
        case "not":
            return f"not ({text_of(rest[0])})"
        case "and" | "or":
            return f" {kind} ".join(f"({text_of(each)})" for each in rest)
        case "at_least":
            return f"at_least({rest[0]}, {', '.join(text_of(each) for each in rest[1:])})"
        case "alarm":
            return f"alarm({rest[0]})"
        case _:
            return f"{rest[0]} {kind} {rest[1]}"


def written(rule: RuleSpec) -> dict[str, Any]:
    """As a rule file has it, without what is said by default."""
    out: dict[str, Any] = {"id": rule.id, "when": text_of(rule.when), "priority": "critical"}
    for key, tree in (("clear_when", rule.clear_when), ("suppress_when", rule.suppress_when)):
        if tree is not None:
            out[key] = text_of(tree)
    durations = {
        "for": rule.for_s,
        "clear_after": rule.clear_after_s,
        "no_data_after": rule.no_data_after_s,
        "wait_for_parent": rule.parent_wait_s,
    }
    out |= {key: _duration(value) for key, value in durations.items() if value}
    if rule.deadband:
        out["deadband"] = rule.deadband
    if rule.longest_shelf_s != DEFAULT.longest_shelf_s:
        out["shelve"] = _duration(rule.longest_shelf_s) if rule.longest_shelf_s else "never"
    if rule.chatter:
        chatter = rule.chatter
        out["chatter"] = {
            "raises": chatter.raises,
            "within": _duration(chatter.within_s),
            "calm": _duration(chatter.calm_s),
        }
    if rule.daily:
        out["only_during"] = {"daily": "-".join(map(_clock, rule.daily))}
    words = {"if_no_data": (rule.no_data, "hold"), "mode": (rule.mode, "live")}
    out |= {key: word for key, (word, usual) in words.items() if word != usual}
    out |= {"ack": "auto"} if rule.ack_auto else {}
    return out | ({"latch": True} if rule.latch else {})


def _duration(value_s: float) -> str:
    return f"{value_s:g}s"


def _clock(value_s: float) -> str:
    return f"{int(value_s // 3600):02d}:{int(value_s % 3600 // 60):02d}"


def as_case(scenario: Scenario) -> str:
    """The scenario in the grammar of cases.yaml, for somebody to add the expectations."""
    points = {}
    for point in scenario.points:
        given: dict[str, Any] = {"values": list(point.words)} if point.kind == "state" else {"type": point.kind}
        points[point.id] = given | ({"period": _duration(point.period_s)} if point.period_s else {})
    rules = [written(rule) for rule in scenario.rules]
    rules += [{"id": job.id, "at": _clock(job.at_s)} for job in scenario.jobs]
    lines = [f"- id: seed_{scenario.seed}", f"  timezone: {scenario.zone}", f"  start: '{scenario.start}'"]
    lines += [f"  points: {_flow(points)}", "  rules:", *(f"  - {_flow(rule)}" for rule in rules), "  steps:"]
    down_s = 0.0
    for step in scenario.steps:
        t = step[0] * scenario.unit_s + down_s
        lines += _step_lines(step, t, scenario.unit_s)
        down_s += step[2] if step[1] == "restart" else 0.0
    return "\n".join([*lines, f"  - {{t: {_duration(scenario.ticks * scenario.unit_s + down_s)}, expect: {{}}}}"])


def _step_lines(step: Step, t: float, unit_s: int) -> Iterator[str]:
    _, kind, *rest = step
    if kind == "reload":
        yield f"  - t: {_duration(t)}"
        yield "    reload_text: |"
        yield from (f"      - {_flow(written(rule))}" for rule in rest[0])
        return
    out: dict[str, Any] = {"t": _duration(t)}
    if kind == "set":
        out["set"] = {
            name: value if not age else {"v": value, "src_t": _duration(t - age * unit_s)}
            for name, (value, age) in rest[0].items()
        }
    elif kind == "wall_step":
        out[kind] = _duration(rest[0])
    elif kind == "restart":
        out[kind] = {"down": _duration(rest[0])}
    else:
        out |= {kind: rest[0], "by": "li"}
        out |= {"for": _duration(rest[1])} if len(rest) > 1 and rest[1] else {}
        out |= {"reason": "test"} if kind == "out_of_service" else {}
    yield f"  - {_flow(out)}"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    plain = str(value)
    return f"'{plain}'" if any(mark in plain for mark in ",:{}[]<>=") else plain


# ---------------------------------------------------------------------- playing them


class Parted(AssertionError):
    """Engine and oracle disagree."""


class Unsound(Exception):
    """The scenario's own rules are not accepted."""


@dataclass
class Box:
    """An engine in its surroundings: clocks, a journal, and a caller that ticks whenever it is asked to."""

    scenario: Scenario
    engine_class: EngineClass = Engine
    journal: dict[str, bytes] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    published: list[tuple[str, str, str, bool]] = field(default_factory=list)
    newest: dict[str, Reading] = field(default_factory=dict)
    newest_good: dict[str, Reading] = field(default_factory=dict)
    now_s: float = 0.0
    """Without the time that the box was down."""
    down_s: float = 0.0
    stepped_s: float = 0.0
    clock_s: float = 1000.0
    """What the monotonic clock of this run shows when our own time is 0."""

    def __post_init__(self) -> None:
        scenario = self.scenario
        self.start_s = datetime.fromisoformat(scenario.start).timestamp()
        points = tuple(
            Point(p.id, KINDS[p.kind], Text(p.id, p.id), p.period_s or math.inf, states=p.words * (p.kind == "state"))
            for p in scenario.points
        )
        self.points = {point.id: point for point in points}
        self.devices = (Device("d", "thing", Text("d", "d"), Place(), "test", points),)
        self.rules = self.read(scenario.rules)
        self.ids = count(1)
        self.by_tick: dict[int, list[Step]] = {}
        for step in scenario.steps:
            self.by_tick.setdefault(step[0], []).append(step)
        self.last_tick = max([scenario.ticks, *self.by_tick])
        self.engine = self.started()

    def read(self, rules: Sequence[RuleSpec]) -> RuleSet:
        jobs = [{"id": job.id, "at": _clock(job.at_s)} for job in self.scenario.jobs]
        data = {
            "format": "rules/1",
            "site": {"timezone": self.scenario.zone},
            "rules": [*map(written, rules), *jobs],
        }
        found, faults = read_rules(data, self.devices)
        wrong = [fault for fault in faults if fault.is_error]
        if wrong:
            raise Unsound(wrong)
        return found

    @property
    def wall_s(self) -> float:
        return self.start_s + self.now_s + self.down_s + self.stepped_s

    @property
    def now(self) -> Instant:
        return Instant(self.clock_s + self.now_s, round(self.wall_s * 1000))

    def started(self) -> Any:
        return self.engine_class(
            self.rules,
            self.points,
            self.devices,
            new_id=lambda ms: f"id{next(self.ids)}",
            saved=dict(self.journal),
            started=self.now,
        )

    def take(self, changes: Any) -> None:
        self.lines += [str(line) for line in changes.lines if line.name != "" and line.event != "backlog"]
        for change in changes.alarms:
            is_quiet = change.priority is Priority.JOURNAL
            self.published.append((change.rule, str(change.state), change.reason, is_quiet))
        for key, record in changes.saved.items():
            if record is None:
                self.journal.pop(key, None)
            else:
                self.journal[key] = record

    def alone(self, tick: int) -> None:
        """One instant of the scenario, with nobody to compare with."""
        self.now_s = float(tick * self.scenario.unit_s)
        steps = self.by_tick.get(tick, ())
        self.tick_until_now()
        for step in steps:
            if step[1] == "set":
                self.set(step[2], more=True)
        self.tick_now()
        for _, kind, *given in steps:
            if kind != "set":
                self.act(kind, *given)
                self.tick_now()

    def tick_until_now(self) -> None:
        """What is due between the instants of the grid."""
        now_s, due_s = self.now_s, self.engine.next_timer_s()
        while due_s is not None and due_s < self.clock_s + now_s:
            self.now_s = due_s - self.clock_s
            self.take(self.engine.tick(self.now))
            due_s = self.engine.next_timer_s()
        self.now_s = now_s

    def tick_now(self) -> None:
        due_s = self.engine.next_timer_s()
        if due_s is not None and due_s <= self.now.monotonic_s:
            self.take(self.engine.tick(self.now))
            due_s = self.engine.next_timer_s()
            if due_s is not None and due_s <= self.now.monotonic_s:
                raise Parted(f"{self.where}: the engine asks for another tick at once")

    def set(self, values: Mapping[str, tuple[Any, int]], *, more: bool) -> None:
        readings = [self.reading(name, value, age) for name, (value, age) in values.items()]
        for reading in readings:
            self.newest[reading.point] = reading
            if reading.value is not None:
                self.newest_good[reading.point] = reading
        self.take(self.engine.observe(readings, self.now, more=more))

    def reading(self, name: str, value: Any, age: int) -> Reading:
        now_ms, source_ms = self.now.utc_ms, round((self.wall_s - age * self.scenario.unit_s) * 1000)
        if value == "bad":
            return replace(bad_reading(name, Reason.NO_VALUE, now_ms), source_time_ms=source_ms)
        number = {"nan": math.nan, "inf": math.inf}.get(value, value) if isinstance(value, str) else value
        is_number = isinstance(number, int) and not isinstance(number, bool)
        return Reading(name, float(number) if is_number else number, source_ms, now_ms)

    def act(self, kind: str, *given: Any) -> None:
        """Raises KeyError: no such alarm."""
        engine, now = self.engine, self.now
        match kind:
            case "ack":
                self.take(engine.acknowledge(given[0], None, "li", now))
            case "reset":
                self.take(engine.reset(given[0], None, "li", "", now))
            case "shelve":
                self.take(engine.shelve(given[0], None, "li", given[1], "", now))
            case "unshelve":
                self.take(engine.unshelve(given[0], None, "li", now))
            case "out_of_service":
                self.take(engine.out_of_service(given[0], None, "li", "test", given[1], now))
            case "in_service":
                self.take(engine.in_service(given[0], None, "li", now))
            case "wall_step":
                self.stepped_s += given[0]
                self.take(engine.tick(self.now))  # the caller has noticed
            case "restart":
                self.journal |= engine.checkpoint(now)
                self.down_s += given[0]
                self.clock_s = self.clock_s % 700 + 77  # another run, another clock
                self.engine = self.started()
            case "hear_again":
                self.take(engine.observe([*self.newest_good.values(), *self.newest.values()], now))
            case "reload":
                self.rules = self.read(given[0])
                self.engine, changes = engine.reloaded(self.rules, self.points, self.devices, now)
                self.take(changes)

    @property
    def where(self) -> str:
        return f"at {self.now_s + self.down_s:g}s"


@dataclass
class Duel(Box):
    """One scenario on both."""

    seen: set[str] = field(default_factory=set)
    """Events, states and reasons."""

    def __post_init__(self) -> None:
        super().__post_init__()
        scenario = self.scenario
        self.oracle = Oracle(scenario.points, scenario.rules, scenario.zone, scenario.jobs)
        self.oracle.begin(0.0, self.wall_s)

    def play(self) -> None:
        """Raises Parted."""
        for tick in range(self.last_tick + 1):
            self.now_s = float(tick * self.scenario.unit_s)
            self.instant(self.by_tick.get(tick, ()))

    def instant(self, steps: Sequence[Step]) -> None:
        self.tick_until_now()
        messages = [step[2] for step in steps if step[1] == "set"]
        for message in messages:
            self.set(message, more=self.scenario.seed % 2 == 0 or message is not messages[-1])
            ages = {name: (value, age * self.scenario.unit_s) for name, (value, age) in message.items()}
            heard = {name: (value, self.wall_s - age_s) for name, (value, age_s) in ages.items()}
            self.oracle.message(self.now_s, self.wall_s, heard)
        self.settle()
        for _, kind, *given in steps:
            if kind != "set" and self.is_possible(kind, given):
                self.act(kind, *given)
                self.act_on_oracle(kind, given)
                self.settle()

    def settle(self) -> None:
        self.tick_now()
        self.oracle.timers(self.now_s, self.wall_s)
        self.compare()

    def is_possible(self, kind: str, given: Sequence[Any]) -> bool:
        if kind in ("wall_step", "restart", "reload"):
            return True
        track = self.oracle.tracks.get(given[0])
        return track is not None and (not track.gone or kind in ("ack", "reset"))

    def act_on_oracle(self, kind: str, given: Sequence[Any]) -> None:
        oracle, now_s = self.oracle, self.now_s
        match kind:
            case "ack":
                oracle.ack(given[0], "li", now_s)
            case "restart":
                oracle.restart(now_s, self.wall_s)
            case "wall_step":
                pass
            case _:
                getattr(oracle, kind)(*given, now_s)

    # ------------------------------------------------------------------ the same?

    def compare(self) -> None:
        self.take(self.engine.tick(self.now))  # not asked for: changes nothing, but the engine then knows the time
        self.seen |= {line.split()[0] for line in self.lines} | {part for said in self.published for part in said[1:3]}
        names = {*self.oracle.tracks, *(rule.id for rule in self.scenario.rules), "r", "q"}
        for name in sorted(names | {job.id for job in self.scenario.jobs}):
            self.compare_said(name)
        self.lines, self.published = [], []
        self.oracle.lines, self.oracle.published = [], []
        for name in sorted(names):
            self.compare_status(name)
        oracle = self.oracle
        listed = {
            name
            for name, track in oracle.tracks.items()
            if oracle.shown(track, self.now_s, True) != "normal" or track.shelf or track.outage
        }
        if (found := {status.rule for status in self.engine.alarms()}) != listed:
            raise Parted(f"{self.where}: the engine lists {sorted(found)}, the oracle {sorted(listed)}")

    def compare_said(self, name: str) -> None:
        mine = [line for line in self.lines if line.endswith(f" {name}")]
        theirs = [line for line in self.oracle.lines if line.endswith(f" {name}")]
        if mine != theirs:
            raise Parted(f"{self.where}: lines of the engine {mine}, of the oracle {theirs}")
        said = [each[1:] for each in self.published if each[0] == name]
        wanted = [each[1:] for each in self.oracle.published if each[0] == name]
        if said != wanted:
            raise Parted(f"{self.where}: {name}: the engine published {said}, the oracle {wanted}")

    def compare_status(self, name: str) -> None:
        track = self.oracle.tracks.get(name)
        try:
            status = self.engine.alarm(name)
        except KeyError:
            status = None
        if track is None or status is None:
            if track is not None or status is not None:
                raise Parted(f"{self.where}: {name}: only one of engine ({status}) and oracle ({track}) has it")
            return
        found, wanted = self.facts(status, track)
        if found != wanted:
            parts = [f"{key} {found[key]} instead of {wanted[key]}" for key in wanted if found[key] != wanted[key]]
            raise Parted(f"{self.where}: {name}: the engine has {', '.join(parts)}")

    def facts(self, status: Any, track: Track) -> tuple[dict[str, Any], dict[str, Any]]:
        shown = self.oracle.shown(track, self.now_s, True)
        found = {"state": str(status.state), "count": status.count, "acked_by": status.acked_by}
        wanted = {"state": shown, "count": track.count, "acked_by": track.acked_by}
        if track.count and not track.gone:
            found["reason"], wanted["reason"] = status.reason, track.reason
        if shown != "normal" or track.count:
            found["since"], wanted["since"] = status.since_ms, round(track.since_wall_s * 1000)
        if track.gone:
            return found, wanted
        found |= {
            "shelved": status.shelf is not None,
            "out_of_service": status.outage is not None,
            "suppressed": status.suppressed and track.active,
            "chattering": status.chattering,
            "held": status.held_s,
        }
        wanted |= {
            "shelved": track.shelf is not None,
            "out_of_service": track.outage is not None,
            "suppressed": track.suppressed and track.active,
            "chattering": track.chattering,
            "held": self.oracle.held_s(track, self.now_s),
        }
        asks = "alarm(" in text_of(track.rule.when)
        looks_later = asks or track.rule.no_data == "clear"  # not touched by a reading; only for display
        if track.known is not None and not looks_later:
            found["known"], wanted["known"] = status.known, track.known
        return found, wanted


def differ(scenario: Scenario, engine_class: EngineClass = Engine) -> str:
    """Where the two part; empty when they do not."""
    try:
        Duel(scenario, engine_class).play()
    except Parted as parted:
        return str(parted)
    except Unsound:
        raise
    except Exception as crash:  # noqa: BLE001  of the engine: a difference as well
        return f"{type(crash).__name__}: {crash}"
    return ""


# ---------------------------------------------------------------------- making them small


def reduced(scenario: Scenario, engine_class: EngineClass = Engine) -> Scenario:
    """As little as still makes a difference."""
    while True:
        smaller = next((each for each in _smaller(scenario) if _still_differs(each, engine_class)), None)
        if smaller is None:
            return scenario
        scenario = smaller


def _still_differs(scenario: Scenario, engine_class: EngineClass) -> bool:
    try:
        return bool(differ(scenario, engine_class))
    except Unsound:
        return False


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    steps = scenario.steps
    size = len(steps) // 2
    while size:
        for start in range(0, len(steps), size):
            yield replace(scenario, steps=steps[:start] + steps[start + size :])
        size //= 2
    named = {rule.id for step in steps if step[1] == "reload" for rule in step[2]}
    for index, rule in enumerate(scenario.rules):
        if rule.id == "all":
            continue
        if len(scenario.rules) > 1 and rule.id not in named:
            yield replace(scenario, rules=scenario.rules[:index] + scenario.rules[index + 1 :])
        for simpler in _simpler(rule):
            yield replace(scenario, rules=(*scenario.rules[:index], simpler, *scenario.rules[index + 1 :]))
    if scenario.jobs:
        yield replace(scenario, jobs=())
    last = max([0, *(step[0] for step in steps)])
    if scenario.ticks > last:
        yield replace(scenario, ticks=max(last, scenario.ticks - max(1, (scenario.ticks - last) // 2)))
    for tick in range(last + 1):
        if all(step[0] != tick for step in steps):
            moved = tuple((step[0] - (step[0] > tick), *step[1:]) for step in steps)
            yield replace(scenario, steps=moved, ticks=scenario.ticks - 1)
    for index, step in enumerate(steps):
        for smaller in _smaller_step(step):
            yield replace(scenario, steps=(*steps[:index], smaller, *steps[index + 1 :]))
    for index, point in enumerate(scenario.points):
        if point.period_s is not None:
            points = (*scenario.points[:index], replace(point, period_s=None), *scenario.points[index + 1 :])
            yield replace(scenario, points=points)


def _smaller_step(step: Step) -> Iterator[Step]:
    tick, kind, *rest = step
    if kind == "set":
        for name, (value, age) in rest[0].items():
            if len(rest[0]) > 1:
                yield (tick, kind, {key: each for key, each in rest[0].items() if key != name})
            if age:
                yield (tick, kind, rest[0] | {name: (value, 0)})
    elif kind == "restart" and rest[0]:
        yield (tick, kind, 0.0)
    elif kind == "reload":
        for index, rule in enumerate(rest[0]):
            if rule.id == "all":
                continue
            for simpler in _simpler(rule):
                yield (tick, kind, (*rest[0][:index], simpler, *rest[0][index + 1 :]))


def _simpler(rule: RuleSpec) -> Iterator[RuleSpec]:
    for key, value in vars(DEFAULT).items():
        if key not in ("id", "when") and getattr(rule, key) != value:
            yield replace(rule, **{key: value})
    if rule.when[0] in ("not", "and", "or"):
        yield from (replace(rule, when=each) for each in rule.when[1:])
