"""The engine: readings in, alarm changes out, and what must be journaled with them.  It owns no clock and no task.

    observe(message) ──▶ timers that were due before ──▶ live values ──▶ conditions that read them ──▶ timers due now
                                                                              │
                               Changes(alarms, saved)  ◀── alarm.step ◀───────┘

Cost: a reading touches the conditions that name its point and nothing else; a timer is renewed only when it expires.
Every instant is one step: inputs first, then timers, so a condition must still hold when its delay ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from gateway.model import (
    AlarmChange,
    AlarmState,
    Device,
    Place,
    Point,
    PointId,
    Priority,
    Reading,
    Text,
    Value,
)
from rules import journal
from rules.alarm import (
    ACK,
    CONDITION,
    RULE_DELETED,
    RULE_OFF,
    SHADOW,
    Alarm,
    Instant,
    NoData,
    acknowledged,
    restored,
    step,
)
from rules.check import Source
from rules.inputs import Cell, Derived, Elapsed, Inputs
from rules.output import Changes, Output
from rules.rule import Mode, RuleSet, Watch
from rules.runner import LOOK_AGAIN, Runner
from rules.text import Template, duration, render, shown, where_is
from rules.timers import NEVER, Queue

__all__ = ["AlarmStatus", "Changes", "Engine", "Instant"]


@dataclass(frozen=True, slots=True)
class AlarmStatus:
    """One alarm as people see it."""

    rule: str
    device: str | None
    name: Text
    place: Place
    state: AlarmState
    priority: Priority
    id: str
    count: int
    reason: str
    since_ms: int
    held_s: float
    """How long the condition has been true, the box's downtime not counted; 0 while it is not."""
    known: bool
    """False: the condition is unknown at present, for want of data."""
    shadow: bool
    acked_by: str
    message: Text
    response: Text
    values: Mapping[PointId, Value | None]


class Engine:
    """Runs the rules of a site.

    new_id: a new occurrence id for a UTC time in milliseconds.
    saved: the journal as it was left; other keys than the engine's own are not touched.
    """

    def __init__(
        self,
        rules: RuleSet,
        points: Mapping[PointId, Point],
        devices: Sequence[Device],
        *,
        new_id: Callable[[int], str],
        saved: Mapping[str, bytes] = MappingProxyType({}),
        started: Instant,
    ) -> None:
        self.unreadable: tuple[str, ...] = ()
        """Journal keys whose records could not be understood; their alarms begin anew."""
        self._new_id = new_id
        self._now = started
        self._queue = Queue()
        self._devices = {device.id: device for device in devices}
        self._inputs = Inputs(points, self._devices, self._queue, started.monotonic_s)
        self._runners: dict[str, Runner] = {}
        for watch in rules.watches:
            self._add(watch)
        self._early: Output | None = None
        self._restore(rules, saved, started)
        self._inputs.start()
        for runner in self._runners.values():
            self._schedule(runner, None, started)

    # ------------------------------------------------------------------ what callers use

    def observe(self, readings: Sequence[Reading], now: Instant) -> Changes:
        """One message: its readings change together, then every condition that reads them is judged once."""
        output = self._begin(now)
        self._run_timers(now, output, before=True)
        touched = self._inputs.take(readings, now)
        if len(touched) > 1:
            touched = list(dict.fromkeys(touched))
        for runner in touched:
            assert isinstance(runner, Runner)
            if runner.probe(runner.inputs) is not runner.last:
                self._decide(runner, now, output)
        self._run_timers(now, output)
        return output.changes()

    def tick(self, now: Instant) -> Changes:
        output = self._begin(now)
        self._run_timers(now, output)
        return output.changes()

    def next_timer_s(self) -> float | None:
        """Monotonic time at which ``tick`` is needed; None when only a reading can change anything."""
        if self._early is not None:
            return self._now.monotonic_s
        due_s = self._queue.next_s()
        return None if due_s == NEVER else due_s

    def acknowledge(self, rule: str, device: str | None, who: str, now: Instant) -> Changes:
        """Raises KeyError for an alarm that does not exist; one that needs no acknowledgement stays as it is."""
        runner = self._runners[journal.key(rule, device)]
        output = self._begin(now)
        self._run_timers(now, output)
        after = acknowledged(runner.alarm, who, now)
        if after is not runner.alarm:
            runner.alarm = after
            self._settle(runner)
            self._save(runner, output)
            self._announce(runner, ACK, now, output)
        return output.changes()

    def alarms(self) -> Sequence[AlarmStatus]:
        """Every alarm that is not normal."""
        return [self._status(runner) for runner in self._runners.values() if runner.alarm.shown != AlarmState.NORMAL]

    def alarm(self, rule: str, device: str | None = None) -> AlarmStatus:
        """Raises KeyError."""
        return self._status(self._runners[journal.key(rule, device)])

    def checkpoint(self, now: Instant) -> Mapping[str, bytes]:
        """A sign of life for the journal; the caller adds it to each commit.

        Empty until the records of an earlier run have been rewritten (the first ``observe`` or ``tick`` does it):
        their clock readings and this run's sign of life do not belong together.
        """
        return {} if self._early is not None else {journal.ALIVE_KEY: journal.alive_record(now.monotonic_s)}

    def corrected(self, shift_ms: int, first_ms: int, last_ms: int) -> Changes:
        """What happened between these two wrong times, which *shift_ms* makes right, is shown with the right one."""
        saved: dict[str, bytes | None] = {}
        for runner in self._runners.values():
            alarm = runner.alarm
            if first_ms <= alarm.since_ms <= last_ms:
                runner.alarm = replace(alarm, since_ms=alarm.since_ms + shift_ms)
                if alarm.state is not AlarmState.NORMAL:
                    saved[runner.key] = journal.alarm_record(runner.alarm, runner.rule.priority)
        return Changes((), saved)

    def reloaded(
        self, rules: RuleSet, points: Mapping[PointId, Point], devices: Sequence[Device], now: Instant
    ) -> tuple[Engine, Changes]:
        """An engine with other rules that continues where this one stands: live values, delays and alarms are kept.

        This engine must not be used afterwards.
        """
        output = self._begin(now)
        records = {
            runner.key: journal.alarm_record(runner.alarm, runner.rule.priority)
            for runner in self._runners.values()
            if runner.saved
        }
        records[journal.ALIVE_KEY] = journal.alive_record(now.monotonic_s)
        heir = Engine(rules, points, devices, new_id=self._new_id, saved=records, started=now)
        output.add(heir._begin(now))
        heir._inputs.inherit(self._inputs, now)
        for runner in heir._runners.values():
            heir._decide(runner, now, output)
        heir._run_timers(now, output)
        return heir, output.changes()

    # ------------------------------------------------------------------ construction

    def _add(self, watch: Watch) -> None:
        inputs = list(zip(watch.program.inputs, watch.targets, strict=True))
        target = watch.device or next(
            (t.partition(".")[0] for each, t in inputs if each.source not in (Source.SILENT, Source.ALARM)), ""
        )
        runner = Runner(watch, self._devices.get(target))
        runner.inputs = tuple(self._inputs.slot(each, t, watch.rule.no_data_after_s) for each, t in inputs)
        for source in dict.fromkeys(runner.inputs):
            source.readers.append(runner)
        runner.messaged = {name: self._inputs.origin(point) for name, point in watch.shown.items()}
        if watch.rule.timing.no_data is not NoData.HOLD:
            cells = [source for source in runner.inputs if isinstance(source, Cell)]
            runner.starving = tuple((cell, watch.rule.no_data_after_s or cell.origin.stale_s) for cell in cells)
            runner.last = LOOK_AGAIN
        self._runners[runner.key] = runner

    def _restore(self, rules: RuleSet, saved: Mapping[str, bytes], started: Instant) -> None:
        output = Output()
        try:
            alive_s = journal.read_alive(saved.get(journal.ALIVE_KEY))
        except journal.Unreadable:
            self.unreadable += (journal.ALIVE_KEY,)
            alive_s = -NEVER
        for key, record in saved.items():
            if journal.parse_key(key) is None:
                continue
            try:
                alarm, priority = journal.read_alarm(record)
            except journal.Unreadable:
                self.unreadable += (key,)
                output.saved[key] = None
                continue
            runner = self._runners.get(key)
            if runner is None:
                self._retire(key, alarm, priority, rules, started, output)
                continue
            runner.alarm = restored(alarm, alive_s, runner.rule.basis, started)
            runner.saved = True
            self._settle(runner)
            self._save(runner, output)
        if output.saved:
            output.saved[journal.ALIVE_KEY] = journal.alive_record(started.monotonic_s)
            self._early = output

    def _retire(self, key: str, alarm: Alarm, priority: Priority, rules: RuleSet, now: Instant, output: Output) -> None:
        """The journal knows an alarm that no rule makes any more."""
        output.saved[key] = None
        if alarm.state is AlarmState.NORMAL:
            return
        parsed = journal.parse_key(key)
        assert parsed is not None
        rule, device = parsed
        is_off = any(each.id == rule and each.mode is Mode.OFF for each in rules.rules)
        place = self._devices[device].place if device in self._devices else Place()
        output.alarms.append(
            AlarmChange(
                id=alarm.id,
                rule=rule,
                device=device,
                place=place,
                state=AlarmState.NORMAL,
                priority=priority,
                count=alarm.count,
                time_ms=now.utc_ms,
                reason=RULE_OFF if is_off else RULE_DELETED,
                message=alarm.message,
            )
        )

    # ------------------------------------------------------------------ one step

    def _begin(self, now: Instant) -> Output:
        self._now = now
        output, self._early = self._early, None
        return output or Output()

    def _run_timers(self, now: Instant, output: Output, *, before: bool = False) -> None:
        """Everything due until *now*, or strictly before it, each at its own instant."""
        due_s = self._queue.next_s()
        while due_s < now.monotonic_s or (due_s == now.monotonic_s and not before):
            at = Instant(due_s, now.utc_ms - round((now.monotonic_s - due_s) * 1000))
            timers = self._queue.pop_due(due_s)
            runners: dict[Runner, None] = {}
            for timer in timers:
                if isinstance(timer, Cell | Derived | Elapsed):
                    timer.expire()
                    runners |= dict.fromkeys(each for each in timer.readers if isinstance(each, Runner))
            runners |= dict.fromkeys(timer for timer in timers if isinstance(timer, Runner))
            for runner in runners:
                self._decide(runner, at, output)
            due_s = self._queue.next_s()

    def _decide(self, runner: Runner, now: Instant, output: Output) -> None:
        condition = runner.probe(runner.inputs)
        rule, before = runner.rule, runner.alarm
        starved = condition is None and self._starved_s(runner) <= now.monotonic_s
        after, reason = step(before, condition, rule.timing, rule.basis, now, starved=starved)
        runner.last = LOOK_AGAIN if condition is None and runner.starving else condition
        if after is not before:
            if after.count != before.count:
                after = replace(after, id=self._new_id(now.utc_ms))
            if reason is not None:
                after = replace(after, message=self._message(runner, after, now))
            runner.alarm = after
            self._settle(runner)
            self._save(runner, output)
        self._schedule(runner, condition, now)
        if reason is not None:
            self._announce(runner, reason, now, output)

    def _settle(self, runner: Runner) -> None:
        """An alarm that its own condition raised ends by the clear rule; any other by the plain condition."""
        alarm, program = runner.alarm, runner.watch.program
        own = alarm.active and alarm.reason == CONDITION and alarm.basis == runner.rule.basis
        runner.probe = program.still if own else program.when

    def _schedule(self, runner: Runner, condition: bool | None, now: Instant) -> None:
        due_s = runner.alarm.due_s(runner.rule.timing)
        if condition is None and runner.starving:
            starved_s = self._starved_s(runner)
            if starved_s > now.monotonic_s:  # otherwise it has just been acted upon
                due_s = min(due_s, starved_s)
        runner.due_s = due_s
        self._queue.push(runner)

    def _starved_s(self, runner: Runner) -> float:
        """When the first of the unknown inputs will have been without a usable value for too long."""
        unknown = [cell.origin.good_s + limit_s for cell, limit_s in runner.starving if cell.value is None]
        return min(unknown, default=NEVER)

    # ------------------------------------------------------------------ what comes out

    def _save(self, runner: Runner, output: Output) -> None:
        alarm = runner.alarm
        if alarm.count or alarm.shown is not AlarmState.NORMAL:
            output.saved[runner.key] = journal.alarm_record(alarm, runner.rule.priority)
            runner.saved = True
        elif runner.saved:
            output.saved[runner.key] = None
            runner.saved = False

    def _announce(self, runner: Runner, reason: str, now: Instant, output: Output) -> None:
        alarm, shadow = runner.alarm, runner.rule.mode is Mode.SHADOW
        output.alarms.append(
            AlarmChange(
                id=alarm.id,
                rule=runner.rule.id,
                device=runner.watch.device,
                place=runner.device.place if runner.device is not None else Place(),
                state=alarm.state,
                priority=Priority.JOURNAL if shadow else runner.rule.priority,
                count=alarm.count,
                time_ms=now.utc_ms,
                reason=SHADOW if shadow else reason,
                message=alarm.message,
                values=self._values(runner),
            )
        )

    def _values(self, runner: Runner) -> Mapping[PointId, Value | None]:
        cells = [source for source in runner.inputs if isinstance(source, Cell)]
        return {cell.origin.point.id: cell.value for cell in cells}

    def _message(self, runner: Runner, alarm: Alarm, now: Instant) -> Text:
        held = duration(alarm.held.read_s(now.monotonic_s) if alarm.held is not None else 0.0)
        where = where_is(runner.device)
        cell = next((source for source in runner.inputs if isinstance(source, Cell)), None)
        value = Text("", "") if cell is None else shown(cell.origin.point, cell.value)
        texts = {"where": where, "held": held, "value": value}
        texts |= {name: shown(origin.point, origin.value) for name, origin in runner.messaged.items()}
        zh, en = runner.rule.message
        return Text(
            _filled(zh, {name: text.zh for name, text in texts.items()}),
            _filled(en, {name: text.en for name, text in texts.items()}),
        )

    def _status(self, runner: Runner) -> AlarmStatus:
        alarm, rule = runner.alarm, runner.rule
        return AlarmStatus(
            rule=rule.id,
            device=runner.watch.device,
            name=rule.name,
            place=runner.device.place if runner.device is not None else Place(),
            state=alarm.shown,
            priority=rule.priority,
            id=alarm.id,
            count=alarm.count,
            reason=alarm.reason,
            since_ms=alarm.since_ms,
            held_s=0.0 if alarm.held is None else alarm.held.read_s(self._now.monotonic_s),
            known=alarm.known,
            shadow=rule.mode is Mode.SHADOW,
            acked_by=alarm.acked_by,
            message=alarm.message,
            response=rule.response,
            values=self._values(runner),
        )


def _filled(template: Template, texts: Mapping[str, str]) -> str:
    return render(template, texts).strip()
