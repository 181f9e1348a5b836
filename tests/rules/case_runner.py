"""Plays a timeline of cases.yaml against the engine; the grammar is described at the head of that file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from gateway.config.yaml12 import Document, load_yaml
from gateway.model import AlarmChange, AlarmState, Device, Place, Point, Reading, Reason, Text, ValueKind, bad_reading
from rules import journal
from rules.definition import read_rules
from rules.engine import Changes, Engine, Instant
from rules.faults import RuleFault
from rules.rule import RuleSet

BASE_S, BASE_MS = 1000.0, 1_767_225_600_000
UCUM = {"°C": "Cel", "%LEL": "%[LEL]", "kWh": "kW.h"}
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def load_cases(path: Path) -> list[dict[str, Any]]:
    document = load_yaml(path.read_text(encoding="utf-8"), path.name)
    assert not document.faults, [str(fault) for fault in document.faults]
    cases: list[dict[str, Any]] = document.data["cases"]
    return cases


def seconds(text: str) -> float:
    match = re.fullmatch(r"(-?[\d.]+)\s*(ms|s|min|h|d)", text)
    assert match, text
    return float(match[1]) * _SECONDS[match[2]]


def devices_of(case: Mapping[str, Any]) -> tuple[Device, ...]:
    """``points: {gas1.lel: {...}}`` makes the device gas1; ``devices:`` says more about it."""
    described: dict[str, dict[str, Any]] = {name: dict(given or {}) for name, given in case.get("devices", {}).items()}
    points: dict[str, list[Point]] = {name: [] for name in described}
    for point_id, given in case.get("points", {}).items():
        points.setdefault(point_id.partition(".")[0], []).append(_point(point_id, given or {}))
    generated: Mapping[str, Any] = case.get("generate", {"count": 0})
    for index in range(generated["count"]):
        name = f"{generated['prefix']}{index}"
        described[name] = {"type": generated["type"], "building": f"B{index % generated['buildings']}"}
        points[name] = [_point(f"{name}.{point}", given) for point, given in generated["points"].items()]
    return tuple(_device(name, described.get(name, {}), tuple(points[name])) for name in points)


def _device(name: str, given: Mapping[str, Any], points: tuple[Point, ...]) -> Device:
    place = Place(**{level: given.get(level) for level in ("building", "unit", "floor", "room")})
    return Device(name, given.get("type", "thing"), Text(name, name), place, "test", points, given.get("roles", {}))


def _point(point_id: str, given: Mapping[str, Any]) -> Point:
    kind = ValueKind.BOOLEAN if given.get("type") == "bool" else ValueKind.NUMBER
    states = tuple(given.get("values", ()))
    unit: str | None = given.get("unit")
    period = seconds(given["period"]) if "period" in given else float("inf")
    return Point(
        point_id,
        ValueKind.STATE if states else kind,
        Text(point_id, point_id),
        period,
        unit and UCUM.get(unit, unit),
        states=states,
    )


@dataclass(frozen=True, slots=True)
class Placed:
    """A fault with its place in the text of the case."""

    fault: RuleFault
    line: int
    column: int

    def matches(self, wanted: Mapping[str, Any]) -> bool:
        found = {
            "code": self.fault.code,
            "line": self.line,
            "col": self.column,
            "key": self.fault.path[-1] if self.fault.on_key else None,
        }
        hint = str(wanted.get("hint", ""))
        return hint in self.fault.hint_en and all(found[key] == wanted[key] for key in wanted if key in found)


@dataclass
class Player:
    case: Mapping[str, Any]
    checked: int = 0
    wall_s: float = 0.0
    journal: dict[str, bytes] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    totals: Counter[str] = field(default_factory=Counter)
    changes: list[AlarmChange] = field(default_factory=list)
    pending: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[Placed] = field(default_factory=list)
    warnings: list[Placed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.devices = devices_of(self.case)
        self.points = {point.id: point for device in self.devices for point in device.points}
        self.ids = count(1)
        if "rules_text" in self.case:
            rules = self.read_text(self.case["rules_text"])
        else:
            data = {"format": "rules/1", "rules": self.case["rules"]}
            rules, faults = read_rules(data, self.devices)
            assert not [fault for fault in faults if fault.is_error], faults
        self.engine = self.start(rules, 0.0)
        self.rules = rules

    def start(self, rules: RuleSet, t: float) -> Engine:
        return Engine(
            rules,
            self.points,
            self.devices,
            new_id=lambda ms: f"id{next(self.ids)}",
            saved=dict(self.journal),
            started=self.now(t),
        )

    def read_text(self, text: str) -> RuleSet:
        document = load_yaml(text, "case")
        rules, faults = read_rules({"format": "rules/1", "rules": document.data}, self.devices)
        placed = [_place(document, fault) for fault in faults]
        self.errors = [each for each in placed if each.fault.is_error]
        self.warnings = [each for each in placed if not each.fault.is_error]
        return rules

    def now(self, t: float) -> Instant:
        return Instant(BASE_S + t, BASE_MS + round((t + self.wall_s) * 1000))

    def play(self) -> None:
        for t, _, _, step in sorted(_timed(self.case), key=lambda entry: entry[:3]):
            self.advance(t)
            self.do(t, step)

    def advance(self, t: float) -> None:
        """Every timer at its own instant, those of *t* itself left to the step."""
        while (due_s := self.engine.next_timer_s()) is not None and due_s < BASE_S + t:
            self.apply(self.engine.tick(self.now(due_s - BASE_S)))

    def do(self, t: float, step: Mapping[str, Any]) -> None:
        if "set" in step:
            readings = [self.reading(point, value, t) for point, value in step["set"].items()]
            self.apply(self.engine.observe(readings, self.now(t)))
            return
        self.apply(self.engine.tick(self.now(t)))
        if "wall_step" in step:
            self.wall_s += seconds(step["wall_step"])
        if "ack" in step:
            rule, _, device = step["ack"].partition("@")
            self.apply(self.engine.acknowledge(rule, device or None, step["by"], self.now(t)))
        if "restart" in step:
            self.journal |= self.engine.checkpoint(self.now(t))
            self.engine = self.start(self.rules, t + seconds(step["restart"]["down"]))
        if "reload_text" in step:
            self.reload(self.read_text(step["reload_text"]), t)
        if "expect" in step:
            self.expect(step["expect"], t)

    def reload(self, rules: RuleSet, t: float) -> None:
        if self.errors:
            return  # all or nothing
        self.rules = rules
        self.engine, changes = self.engine.reloaded(rules, self.points, self.devices, self.now(t))
        self.apply(changes)

    def reading(self, point: str, value: Any, t: float) -> Reading:
        given = value if isinstance(value, Mapping) else {"v": value}
        now_ms = self.now(t).utc_ms
        source_ms = BASE_MS + round(seconds(given["src_t"]) * 1000) if "src_t" in given else now_ms
        if given.get("q") == "bad" or given["v"] == "bad":
            return bad_reading(point, Reason(given.get("reason", "no_value")), now_ms)
        number = float("nan") if given["v"] == "nan" else given["v"]
        return Reading(point, number, source_ms, now_ms)

    def apply(self, changes: Changes) -> None:
        for change in changes.alarms:
            name = change.rule if change.device is None else f"{change.rule}@{change.device}"
            self.note(self.kind(change, name), name)
        self.changes += changes.alarms
        for key, record in changes.saved.items():
            if record is None:
                self.journal.pop(key, None)
            else:
                self.journal[key] = record
            if journal.parse_key(key) is not None:
                self.follow_pending(key, record)

    def follow_pending(self, key: str, record: bytes | None) -> None:
        name = key.removeprefix("alarm/")
        alarm = None if record is None else journal.read_alarm(record)[0]
        is_pending = alarm is not None and alarm.shown is AlarmState.PENDING
        if is_pending and name not in self.pending:
            self.pending.add(name)
            self.note("pending", name)
        elif not is_pending and name in self.pending:
            self.pending.discard(name)
            if alarm is None or not alarm.active:
                self.note("pending_cancel", name)

    def kind(self, change: AlarmChange, name: str) -> str:
        raised = change.count > self.counts[name]
        self.counts[name] = change.count
        match change.state:
            case AlarmState.UNACK:
                return "raise" if raised else "reason"
            case AlarmState.ACKED:
                return "ack"
            case _:
                return "ack" if change.reason == "ack" else "clear"

    def note(self, event: str, name: str) -> None:
        self.events.append(f"{event} {name}")
        self.totals[event] += 1

    def expect(self, wanted: Mapping[str, Any], t: float) -> None:
        where = f"{self.case['id']} at {t}s"
        known = {"states", "flags", "events", "totals", "errors", "warnings", "all_states", "changes"}
        assert set(wanted) <= known, f"{where}: {set(wanted) - known}"
        for name, state in wanted.get("states", {}).items():
            assert self.state(name) == state, f"{where}: {name} is {self.state(name)}, not {state}"
        for name, flags in wanted.get("flags", {}).items():
            self.expect_flags(name, flags, where)
        if "events" in wanted:
            assert self.events == wanted["events"], where
            self.events = []
        for event, number in wanted.get("totals", {}).items():
            assert self.totals[event] == number, f"{where}: {self.totals[event]} {event}, not {number}"
        if "all_states" in wanted:
            assert Counter(str(each.state) for each in self.engine.alarms()) == wanted["all_states"], where
        if "changes" in wanted:
            found = [[f"{c.state}", c.reason, c.message.en] for c in self.changes[-len(wanted["changes"]) :]]
            assert found == wanted["changes"], where
        for kind, placed in (("errors", self.errors), ("warnings", self.warnings)):
            if kind in wanted:
                assert_same(placed, wanted[kind], where)
        self.checked += 1

    def state(self, name: str) -> str:
        rule, _, device = name.partition("@")
        try:
            return str(self.engine.alarm(rule, device or None).state)
        except KeyError:
            return "absent"

    def expect_flags(self, name: str, flags: Mapping[str, Any], where: str) -> None:
        rule, _, device = name.partition("@")
        status = self.engine.alarm(rule, device or None)
        found: dict[str, Any] = {
            "data": "good" if status.known else "unknown",
            "reason": status.reason,
            "count": status.count,
            "acked_by": status.acked_by,
        }
        for flag, value in flags.items():
            if flag == "held":
                assert abs(status.held_s - seconds(value)) < 1e-6, f"{where}: {name} held {status.held_s}"
            else:
                assert found[flag] == value, f"{where}: {name} {flag} is {found[flag]}, not {value}"


def assert_same(placed: Sequence[Placed], wanted: Sequence[Mapping[str, Any]], where: str) -> None:
    shown = [(each.fault.code, each.line, each.column, each.fault.en) for each in placed]
    assert len(placed) == len(wanted), f"{where}: {shown}"
    for want in wanted:
        assert any(each.matches(want) for each in placed), f"{where}: no {want} among {shown}"


def _place(document: Document, fault: RuleFault) -> Placed:
    line, column = document.locate(fault.path[1:], key=fault.on_key, offset=fault.offset or 0)
    return Placed(fault, line, column)


def _timed(case: Mapping[str, Any]) -> Iterator[tuple[float, int, int, Mapping[str, Any]]]:
    """Inputs before everything else of the same instant, otherwise in the order of the file."""
    serial = count()
    for step in case["steps"]:
        if "series" in step:
            for t, value in _series(step):
                yield t, 0, next(serial), {"set": {step["series"]: value}}
        elif "generate_set" in step:
            for t, values in _generated(step, case["generate"]):
                yield t, 0, next(serial), {"set": values}
        else:
            yield seconds(step["t"]), 0 if "set" in step else 1, next(serial), step


def _generated(step: Mapping[str, Any], devices: Mapping[str, Any]) -> Iterator[tuple[float, Mapping[str, Any]]]:
    given = step["generate_set"]
    for index in range(devices["count"]):
        t = seconds(step["t"]) + seconds(given["spread"]) * index / devices["count"]
        yield t, {f"{devices['prefix']}{index}.{given['point']}": given["value"]}


def _series(step: Mapping[str, Any]) -> Iterator[tuple[float, Any]]:
    t, every = seconds(step["from"]), seconds(step["every"])
    for word in str(step["values"]).split():
        match = re.fullmatch(r"(.+?)(?:([+-][\d.]+))?x(\d+)", word)
        first, slope, times = (match[1], float(match[2] or 0), int(match[3])) if match else (word, 0.0, 1)
        for index in range(times):
            if first != "_":
                yield t, _value(first, slope * index)
            t += every


def _value(word: str, rise: float) -> Any:
    if word in ("true", "false"):
        return word == "true"
    return float(word) + rise if re.fullmatch(r"-?[\d.]+", word) else word
