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
    Reason,
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
from rules.check import Input, Source
from rules.definition import Mode, Rule, RuleSet, Watch
from rules.parts import LOOK_AGAIN, NEVER, Cell, Elapsed, Origin, Queue, Runner
from rules.text import Template, duration, render, shown, where_is

__all__ = ["AlarmStatus", "Changes", "Engine", "Instant"]

BACKLOG_S = 300.0
"""A reading older than this is history and decides nothing."""
_FUTURE_S = 5.0
_SILENT = (Reason.NO_ANSWER, Reason.LINE_LOST)


@dataclass(frozen=True, slots=True)
class Changes:
    """What one call did.  *saved* goes into the journal in the same transaction, before *alarms* are announced."""

    alarms: tuple[AlarmChange, ...]
    saved: Mapping[str, bytes | None]
    """Journal key -> record; None deletes it."""


_NOTHING = Changes((), MappingProxyType({}))


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


class _Output:
    __slots__ = ("alarms", "saved")

    def __init__(self) -> None:
        self.alarms: list[AlarmChange] = []
        self.saved: dict[str, bytes | None] = {}

    def add(self, later: _Output) -> None:
        self.alarms += later.alarms
        self.saved |= later.saved

    def changes(self) -> Changes:
        return Changes(tuple(self.alarms), self.saved) if self.alarms or self.saved else _NOTHING


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
        self._origins: dict[PointId, Origin] = {}
        self._cells: dict[tuple[PointId, float], Cell] = {}
        self._elapsed: dict[tuple[Source, str, float], Elapsed] = {}
        self._devices = {device.id: device for device in devices}
        self._runners: dict[str, Runner] = {}
        for watch in rules.watches:
            self._add(watch, points, started.monotonic_s)
        self._early: _Output | None = None
        self._restore(rules, saved, started)
        for elapsed in self._elapsed.values():
            self._queue.push(elapsed)
        for runner in self._runners.values():
            self._schedule(runner, None, started)

    # ------------------------------------------------------------------ what callers use

    def observe(self, readings: Sequence[Reading], now: Instant) -> Changes:
        """One message: its readings change together, then every condition that reads them is judged once."""
        output = self._begin(now)
        self._run_timers(now, output, before=True)
        touched = self._take(readings, now)
        if len(touched) > 1:
            touched = list(dict.fromkeys(touched))
        for runner in touched:
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
        heir._inherit(self, now)
        for runner in heir._runners.values():
            heir._decide(runner, now, output)
        heir._run_timers(now, output)
        return heir, output.changes()

    # ------------------------------------------------------------------ construction

    def _add(self, watch: Watch, points: Mapping[PointId, Point], started_s: float) -> None:
        inputs = list(zip(watch.program.inputs, watch.targets, strict=True))
        target = watch.device or next(
            (t.partition(".")[0] for each, t in inputs if each.source is not Source.SILENT), ""
        )
        runner = Runner(watch, self._devices.get(target))
        runner.inputs = tuple(self._input(each, t, watch.rule, points, started_s) for each, t in inputs)
        for source in dict.fromkeys(runner.inputs):
            source.readers.append(runner)
        runner.messaged = {name: self._origin(points[point], started_s) for name, point in watch.shown.items()}
        if watch.rule.timing.no_data is not NoData.HOLD:
            cells = [source for source in runner.inputs if isinstance(source, Cell)]
            runner.starving = tuple((cell, watch.rule.no_data_after_s or cell.origin.stale_s) for cell in cells)
            runner.last = LOOK_AGAIN
        self._runners[runner.key] = runner

    def _origin(self, point: Point, started_s: float) -> Origin:
        origin = self._origins.get(point.id)
        if origin is None:
            origin = self._origins[point.id] = Origin(point, started_s)
        return origin

    def _input(
        self, wanted: Input, target: str, rule: Rule, points: Mapping[PointId, Point], started_s: float
    ) -> Cell | Elapsed:
        if wanted.source is Source.VALUE:
            return self._cell(self._origin(points[target], started_s), rule.no_data_after_s or NEVER)
        key = (wanted.source, target, wanted.limit_s)
        if key in self._elapsed:
            return self._elapsed[key]
        silent = wanted.source is Source.SILENT
        elapsed = self._elapsed[key] = Elapsed(wanted.limit_s, started_s, counts_from_start=silent)
        if not silent:
            origin = self._origin(points[target], started_s)
            origin.ages = (*origin.ages, elapsed)
            return elapsed
        for point in self._devices[target].points:
            origin = self._origin(point, started_s)
            origin.silences = (*origin.silences, elapsed)
        return elapsed

    def _cell(self, origin: Origin, no_data_after_s: float) -> Cell:
        limit_s = min(origin.stale_s, no_data_after_s)
        cell = self._cells.get((origin.point.id, limit_s))
        if cell is None:
            cell = self._cells[origin.point.id, limit_s] = Cell(origin, limit_s)
            origin.cells = (*origin.cells, cell)
        return cell

    def _restore(self, rules: RuleSet, saved: Mapping[str, bytes], started: Instant) -> None:
        output = _Output()
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

    def _retire(
        self, key: str, alarm: Alarm, priority: Priority, rules: RuleSet, now: Instant, output: _Output
    ) -> None:
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

    def _inherit(self, old: Engine, now: Instant) -> None:
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

    # ------------------------------------------------------------------ one step

    def _begin(self, now: Instant) -> _Output:
        self._now = now
        output, self._early = self._early, None
        return output or _Output()

    def _take(self, readings: Sequence[Reading], now: Instant) -> list[Runner]:
        """Make the readings the live values.  Returns the alarms whose inputs changed, some perhaps twice."""
        touched: list[Runner] = []
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

    def _hear(self, clock: Elapsed, since_s: float, now_s: float, touched: list[Runner]) -> None:
        clock.since_s = since_s
        over = clock.due_if_quiet_s <= now_s
        if clock.value is not over:
            clock.value = over
            touched += clock.readers
        self._queue.push(clock)

    def _run_timers(self, now: Instant, output: _Output, *, before: bool = False) -> None:
        """Everything due until *now*, or strictly before it, each at its own instant."""
        due_s = self._queue.next_s()
        while due_s < now.monotonic_s or (due_s == now.monotonic_s and not before):
            at = Instant(due_s, now.utc_ms - round((now.monotonic_s - due_s) * 1000))
            timers = self._queue.pop_due(due_s)
            runners: dict[Runner, None] = {}
            for timer in timers:
                if isinstance(timer, Cell | Elapsed):
                    timer.expire()
                    runners |= dict.fromkeys(timer.readers)
            runners |= dict.fromkeys(timer for timer in timers if isinstance(timer, Runner))
            for runner in runners:
                self._decide(runner, at, output)
            due_s = self._queue.next_s()

    def _decide(self, runner: Runner, now: Instant, output: _Output) -> None:
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

    def _save(self, runner: Runner, output: _Output) -> None:
        alarm = runner.alarm
        if alarm.count or alarm.shown is not AlarmState.NORMAL:
            output.saved[runner.key] = journal.alarm_record(alarm, runner.rule.priority)
            runner.saved = True
        elif runner.saved:
            output.saved[runner.key] = None
            runner.saved = False

    def _announce(self, runner: Runner, reason: str, now: Instant, output: _Output) -> None:
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
