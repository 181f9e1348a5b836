"""Plays a case against the engine on a virtual clock, and says where the two differ.

The clock jumps from step to step and from timer to timer, so a week takes milliseconds.  A step of the wall clock
(``wall_step``) moves that clock and not the monotonic one; a restart makes a new engine from the journal as it was
left.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeAlias

from gateway.model import AlarmChange, AlarmState, Point, Reading, Reason, Value, bad_reading
from rules.casefile import (
    Act,
    Action,
    Case,
    Expect,
    Message,
    Placed,
    Reload,
    Restart,
    Sample,
    WallStep,
    Written,
    placed,
)
from rules.definition import read_rules
from rules.engine import AlarmStatus, Changes, Engine, Instant
from rules.faults import Path, RuleFault
from rules.output import Line
from rules.plain import seconds_of
from rules.rule import Mode, Rule, RuleSet
from rules.units import WRITTEN, convert, of_point

RULES_INVALID = "sys.rules_invalid"
_BEGIN_S = 1000.0
_SHOWN = 10
"""Lines of a timeline."""

ReadText: TypeAlias = Callable[[str], Written]
"""The YAML of ``rules_text`` and ``reload_text``."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline: an input, an act, or what the engine said."""

    t_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as expected."""

    path: Path
    """Of the expectation in the test file."""
    t_s: float
    keys: tuple[str, ...]
    """Inside ``expect``: ``("states", "gas")``"""
    expected: Any
    got: Any
    """Written as an expectation is written."""
    before: tuple[Moment, ...]
    """The last lines that lead to it."""


@dataclass(frozen=True, slots=True)
class Result:
    case: Case
    checks: int
    """How many expectations were looked at."""
    differences: tuple[Difference, ...]
    changes: tuple[AlarmChange, ...]
    refused: tuple[Placed, ...] = ()
    """What is wrong with the rules that the case begins with, where no expectation speaks of errors."""

    @property
    def passed(self) -> bool:
        return not self.differences and not self.refused


def play(case: Case, read_text: ReadText, *, rules: Written | None = None, to_first: bool = False) -> Result:
    """rules: others than the case's own.  to_first: the first difference is enough."""
    player = _Player(case, read_text, rules or case.rules)
    refused = tuple(player.errors)
    if not refused or isinstance(case.rules, str):
        player.play(to_first=to_first)
    refused = () if player.errors_asked else refused
    return Result(case, player.checks, tuple(player.differences), tuple(player.changes), refused)


def load(case: Case, written: Written) -> tuple[RuleSet, Sequence[Placed], Sequence[Placed]]:
    """The rules, their errors and their warnings."""
    data = written.data if isinstance(written.data, Mapping) else {"rules": written.data}
    rules, faults = read_rules({**data, **case.frame}, case.devices)
    found = [_placed(fault, data, written) for fault in faults]
    errors = [each for each, fault in zip(found, faults, strict=True) if fault.is_error]
    warnings = [each for each, fault in zip(found, faults, strict=True) if not fault.is_error]
    return _signed_off(rules) if case.signed_off else rules, [*written.broken, *errors], warnings


def _signed_off(rules: RuleSet) -> RuleSet:
    def live(rule: Rule) -> Rule:
        return replace(rule, mode=Mode.LIVE) if rule.mode is Mode.SHADOW else rule

    watches = tuple(replace(watch, rule=live(watch.rule)) for watch in rules.watches)
    return replace(rules, rules=tuple(map(live, rules.rules)), watches=watches)


def _placed(fault: RuleFault, data: Mapping[str, Any], written: Written) -> Placed:
    where = written.place(fault.path, fault.on_key, fault.offset or 0)
    return placed(fault, _rule_id(fault.path, data), where)


def _rule_id(path: Path, data: Mapping[str, Any]) -> str:
    entries = data.get("rules")
    if len(path) < 2 or path[0] != "rules" or not isinstance(path[1], int) or not isinstance(entries, list):
        return ""
    entry = entries[path[1]]
    return f"{entry.get('id', entry.get('编号', ''))}" if isinstance(entry, Mapping) else ""


# ---------------------------------------------------------------------- playing


@dataclass
class _Player:
    case: Case
    read_text: ReadText
    first_rules: Written | str
    checks: int = 0
    wall_s: float = 0.0
    journal: dict[str, bytes] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    totals: Counter[str] = field(default_factory=Counter)
    commands: list[str] = field(default_factory=list)
    runs: list[datetime] = field(default_factory=list)
    changes: list[AlarmChange] = field(default_factory=list)
    errors: Sequence[Placed] = ()
    warnings: Sequence[Placed] = ()
    errors_asked: bool = False
    sys: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    past: deque[tuple[float, object]] = field(default_factory=lambda: deque(maxlen=_SHOWN))

    def __post_init__(self) -> None:
        self.points: Mapping[str, Point] = {point.id: point for device in self.case.devices for point in device.points}
        self.ids = count(1)
        self.rules = RuleSet()
        self.awake_s = 0.0
        rules = self.read(self.first_rules)
        self.rules = RuleSet() if rules is None else rules
        self.engine = self.start(0.0)

    def start(self, t: float) -> Engine:
        return Engine(
            self.rules,
            self.points,
            self.case.devices,
            new_id=lambda _: f"id{next(self.ids)}",
            saved=dict(self.journal),
            started=self.now(t),
        )

    def read(self, given: Written | str) -> RuleSet | None:
        """None when it is refused; all or nothing."""
        written = self.read_text(given) if isinstance(given, str) else given
        rules, self.errors, self.warnings = load(self.case, written)
        self.sys = [RULES_INVALID] if self.errors else []
        return None if self.errors else rules

    def now(self, t: float) -> Instant:
        return Instant(_BEGIN_S + t, self.case.start_ms + round((t + self.wall_s) * 1000))

    def play(self, *, to_first: bool) -> None:
        for t, action in self.case.steps:
            self.advance(t)
            self.do(t, action)
            if to_first and self.differences:
                return

    def advance(self, t: float) -> None:
        """Every timer at its own instant, those of *t* itself left to the step."""
        while (due_s := self.engine.next_timer_s()) is not None and due_s < _BEGIN_S + t:
            at = max(due_s - _BEGIN_S, self.awake_s)
            self.apply(at, self.engine.tick(self.now(at)))

    def do(self, t: float, action: Action) -> None:
        if isinstance(action, Message):
            self.hear(t, action)
            return
        self.apply(t, self.engine.tick(self.now(t)))
        if not isinstance(action, Expect):
            self.past.append((t, action))
        match action:
            case WallStep(by_s=by_s):
                self.wall_s += by_s
            case Act():
                self.act(t, action)
            case Restart(down_s=down_s):
                self.journal |= self.engine.checkpoint(self.now(t))
                self.awake_s = t + down_s
                self.engine = self.start(self.awake_s)
            case Reload(text=text):
                self.reload(t, text)
            case Expect():
                self.differences += _Check(self, action, t).differences()
                self.checks += 1

    def hear(self, t: float, message: Message) -> None:
        self.past.append((t, message))
        if t < self.awake_s:
            return  # the box is down and hears nothing
        readings = [self.reading(sample, t) for sample in message.samples]
        self.apply(t, self.engine.observe(readings, self.now(t), more=True))

    def reading(self, sample: Sample, t: float) -> Reading:
        now_ms = self.now(t).utc_ms
        value = sample.value
        source_ms = now_ms if sample.source_s is None else self.now(sample.source_s).utc_ms
        if sample.unit is not None and isinstance(value, int | float) and not isinstance(value, bool):
            value = self.converted(sample.point, float(value), sample.unit, t)
        if value is None:
            bad = bad_reading(sample.point, Reason(sample.reason), now_ms)
            return (
                bad if sample.source_s is None else Reading(bad.point, None, source_ms, now_ms, bad.quality, bad.reason)
            )
        return Reading(sample.point, value, source_ms, now_ms)

    def converted(self, point: str, value: float, unit: str, t: float) -> float | None:
        """In the point's unit; None when the unit on the wire does not become that one."""
        source, target = WRITTEN.get(unit), of_point(self.points[point].unit)
        if source is not None and target is not None and source.dimension == target.dimension:
            return convert(value, source, target)
        self.note(t, Line("bad_unit", point, self.now(t).utc_ms))
        return None

    def act(self, t: float, act: Act) -> None:
        if self.status(act.alarm) is None:
            self.differences.append(Difference((), t, (act.kind,), act.alarm, "absent", ()))
            return
        rule, _, name = act.alarm.partition("@")
        device, now, engine = name or None, self.now(t), self.engine
        match act.kind:
            case "ack":
                changes = engine.acknowledge(rule, device, act.who, now)
            case "shelve":
                changes = engine.shelve(rule, device, act.who, act.for_s or 0.0, act.reason, now)
            case "unshelve":
                changes = engine.unshelve(rule, device, act.who, now)
            case "reset":
                changes = engine.reset(rule, device, act.who, act.reason, now)
            case "out_of_service":
                changes = engine.out_of_service(rule, device, act.who, act.reason, act.for_s, now)
            case _:
                changes = engine.in_service(rule, device, act.who, now)
        self.apply(t, changes)

    def reload(self, t: float, text: str) -> None:
        rules = self.read(text)
        if rules is None:
            return
        self.rules = rules
        self.engine, changes = self.engine.reloaded(rules, self.points, self.case.devices, self.now(t))
        self.apply(t, changes)

    def apply(self, t: float, changes: Changes) -> None:
        for line in changes.lines:
            self.note(t, line)
        for order in changes.orders:
            self.commands.append(order.send)
            self.past.append((t, order.send))
        self.changes += changes.alarms
        for key, record in changes.saved.items():
            if record is None:
                self.journal.pop(key, None)
            else:
                self.journal[key] = record

    def note(self, t: float, line: Line) -> None:
        self.events.append(str(line))
        self.totals[line.event] += 1
        self.past.append((t, line))
        if line.event == "run":
            self.runs.append(datetime.fromtimestamp(line.time_ms / 1000, UTC).astimezone(self.case.zone))

    def status(self, name: str) -> AlarmStatus | None:
        rule, _, device = name.partition("@")
        try:
            return self.engine.alarm(rule, device or None)
        except KeyError:
            return None


# ---------------------------------------------------------------------- comparing


class _Check:
    """One ``expect``.  What is counted "since the last check" begins anew."""

    def __init__(self, player: _Player, expect: Expect, t: float) -> None:
        self._player = player
        self._expect = expect
        self._t = t

    def differences(self) -> list[Difference]:
        found = list(self._found())
        before = tuple(Moment(t, _shown(each)) for t, each in self._player.past) if found else ()
        path = self._expect.path
        return [Difference((*path, *keys), self._t, keys, want, got, before) for keys, want, got in found]

    def _found(self) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
        player = self._player
        for key, wanted in self._expect.wanted.items():
            match key:
                case "states":
                    yield from self._each(key, wanted, self._state)
                case "flags":
                    yield from self._flags(wanted)
                case "totals":
                    yield from self._each(key, wanted, lambda event: player.totals[event])
                case "value":
                    yield from self._values(wanted)
                case "errors" | "warnings":
                    yield from self._faults(key, wanted)
                case "run_at":
                    yield from self._runs(wanted)
                case _:
                    yield from self._whole(key, wanted)

    def _each(self, key: str, wanted: Mapping[str, Any], read: Callable[[str], Any]) -> Iterator[Any]:
        for name, want in wanted.items():
            got = read(name)
            if got != want:
                yield (key, name), want, got

    def _state(self, name: str) -> str:
        status = self._player.status(name)
        return "absent" if status is None else str(status.state)

    def _flags(self, wanted: Mapping[str, Mapping[str, Any]]) -> Iterator[Any]:
        for name, flags in wanted.items():
            status = self._player.status(name)
            if status is None:
                yield ("flags", name), flags, None
                continue
            for flag, want in flags.items():
                got = _flag(status, flag)
                if not _same_flag(flag, want, got):
                    yield ("flags", name, flag), want, f"{got:g}s" if flag == "held" else got

    def _value(self, text: str) -> Any:
        try:
            return self._player.engine.value(text)
        except ValueError as exc:
            return f"{exc}"

    def _values(self, wanted: Mapping[str, Any]) -> Iterator[Any]:
        for text, want in wanted.items():
            got = self._value(text)
            if not _same_value(None if want == "unknown" else want, got):
                yield ("value", text), want, got

    def _faults(self, key: str, wanted: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        player = self._player
        player.errors_asked |= key == "errors"
        found = player.errors if key == "errors" else player.warnings
        if not _all_matched(found, wanted):
            yield (key,), wanted, [_as_written(each) for each in found]

    def _runs(self, wanted: Sequence[str]) -> Iterator[Any]:
        got, self._player.runs = self._player.runs, []
        zone = self._player.case.zone
        moments = (datetime.fromisoformat(each) for each in wanted)
        whole = [each if each.tzinfo is not None else each.replace(tzinfo=zone) for each in moments]
        # As instants: of two times in the repeated hour Python says that they differ, whatever they are.
        if [each.timestamp() for each in got] != [each.timestamp() for each in whole]:
            yield ("run_at",), wanted, [each.isoformat() for each in got]

    def _whole(self, key: str, wanted: Any) -> Iterator[Any]:
        player = self._player
        got: Any
        match key:
            case "events":
                got, player.events = player.events, []
            case "commands":
                got, player.commands = player.commands, []
            case "sys":
                got = player.sys
            case "all_states":
                states = (each.state for each in player.engine.alarms())
                got = dict(Counter(str(state) for state in states if state is not AlarmState.NORMAL))
            case _:
                last = player.changes[-len(wanted) :] if wanted else []
                got = [[str(each.state), each.reason, each.message.en] for each in last]
        if got != wanted:
            yield (key,), wanted, got


def _flag(status: AlarmStatus, flag: str) -> Any:
    flags = {
        "held": status.held_s,
        "data": "good" if status.known else "unknown",
        "reason": status.reason,
        "count": status.count,
        "shelved": status.shelf is not None,
        "suppressed": status.suppressed,
        "out_of_service": status.outage is not None,
        "acked_by": status.acked_by,
        "chattering": status.chattering,
    }
    return flags[flag]


def _same_flag(flag: str, want: Any, got: Any) -> bool:
    return math.isclose(got, seconds_of(want), abs_tol=1e-6) if flag == "held" else bool(want == got)


def _same_value(want: Any, got: Any) -> bool:
    if isinstance(want, bool) or isinstance(got, bool) or not isinstance(want, int | float) or got is None:
        return want is got or (type(want) is type(got) and bool(want == got))
    return isinstance(got, int | float) and math.isclose(want, got, rel_tol=1e-9, abs_tol=1e-9)


def _all_matched(found: Sequence[Placed], wanted: Sequence[Mapping[str, Any]]) -> bool:
    """Each fault is what one of the expectations describes; in which order does not matter."""
    left = list(found)
    for want in wanted:
        match = next((each for each in left if _is_meant(each, want)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def _is_meant(fault: Placed, want: Mapping[str, Any]) -> bool:
    found = {"code": fault.code, "line": fault.line, "col": fault.column, "key": fault.key, "rule": fault.rule}
    return f"{want.get('hint', '')}" in fault.hint.en and all(found[key] == want[key] for key in want if key in found)


def _as_written(fault: Placed) -> Mapping[str, Any]:
    return {"code": fault.code, "line": fault.line, "col": fault.column, "message": fault.texts.en}


# ---------------------------------------------------------------------- timelines


def _shown(what: object) -> str:
    match what:
        case Message(samples=samples):
            listed = ", ".join(_sample(each) for each in samples[:6])
            return f"{listed}, … ({len(samples)})" if len(samples) > 6 else listed
        case Act(kind=kind, alarm=alarm, who=who):
            return f"{kind} {alarm} ({who})" if who else f"{kind} {alarm}"
        case WallStep(by_s=by_s):
            return f"wall_step {by_s:g}s"
        case Restart(down_s=down_s):
            return f"restart, down {down_s:g}s"
        case Reload():
            return "reload"
        case str():
            return f"→ {what}"
    return str(what)


def _sample(sample: Sample) -> str:
    value = sample.value
    text = "bad" if value is None else _value(value)
    unit = f" {sample.unit}" if sample.unit else ""
    source = "" if sample.source_s is None else f" (src_t {sample.source_s:g}s)"
    return f"{sample.point} = {text}{unit}{source}"


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.12g}" if isinstance(value, float) else f"{value}"
