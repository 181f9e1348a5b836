"""The engine: readings in, alarm changes out, and what must be journaled with them.  It owns no clock and no task.

    observe(message) ──▶ timers that were due before ──▶ live values ──▶ conditions that read them ──▶ timers due now
                                                                              │
     Changes(alarms, lines, saved, orders, notices)  ◀── follow ◀── alarm.step ◀─┘
                                                          │ quiet? inert?   effects.py (devices)   notices.py (people)

Cost: a reading touches the conditions that name its point and nothing else; a timer is renewed only when it expires.
Every instant is one step: inputs first, then timers, so a condition must still hold when its delay ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from gateway.model import (
    AlarmState,
    Device,
    Point,
    PointId,
    Priority,
    Reading,
)
from rules import calendar, journal
from rules.alarm import (
    ACK,
    AGAIN,
    CONDITION,
    NO_DATA,
    RESET,
    RULE_CHANGED,
    RULE_DELETED,
    RULE_OFF,
    Alarm,
    Instant,
    NoData,
    Pause,
    acknowledged,
    reminded,
    reset,
    restored,
    step,
)
from rules.calendar import Schedule
from rules.check import Input, Source
from rules.effects import Arbiter, Effects
from rules.explain import explanation
from rules.inputs import BACKLOG_S, Cell, Derived, Inputs, Lasting, Sample
from rules.latched import Latched
from rules.notices import Desk, Entry
from rules.output import Changes, Line, Order, Output
from rules.program import expression
from rules.rule import Action, Hook, Mode, RuleSet, Watch
from rules.runner import LOOK_AGAIN, Clockwork, Runner, Standing, Trial, Window, covers, name_of
from rules.runner import Source as Slot
from rules.status import AlarmStatus, change_of, message_of, status_of
from rules.text import duration
from rules.timers import NEVER, Queue, Timer
from rules.windows import Known

__all__ = ["AlarmStatus", "Changes", "Engine", "Instant"]

TRIAL_S = 10.0
"""What lasts is tried for so long at least."""
_WALL_STEP_MS = 500
"""A wall clock that has moved so much against the monotonic one has been set."""


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
        self._rules = rules
        self._new_id = new_id
        self._now = started
        self._wall_ms = started.utc_ms - started.monotonic_s * 1000
        self._zone = calendar.zone(rules.site.timezone) or ZoneInfo("UTC")
        self._queue = Queue()
        self._devices = {device.id: device for device in devices}
        self._inputs = Inputs(points, self._devices, self._queue, started.monotonic_s)
        self._arbiter = Arbiter()
        self._desk = Desk(rules.site)
        self._desk_written = self._desk.revision
        self._desk_saved = journal.DESK_KEY in saved
        self._runners: dict[str, Runner] = {}
        self._acting: dict[Effects, Runner] = {}
        self._latched = Latched(self._devices)
        self._windows: dict[Schedule, Window] = {}
        self._clockworks = [Clockwork(index) for index in range(len(rules.jobs))]
        self._trials: dict[str, Trial] = {}
        self._proved: dict[str, journal.Proof] = {}
        self._recorders: dict[PointId, list[Runner]] = {}
        self._agenda: dict[Runner, None] = {}
        """Alarms that must be looked at before this step is over."""
        for watch in rules.watches:
            self._add(watch)
        self._connect()
        self._set_clocks(started)
        self._early: Output | None = None
        self.unreadable += self._inputs.restore(saved)
        self._restore(rules, saved, started)
        self._inputs.start()
        for runner in self._runners.values():
            self._schedule(runner, None, started)
            self._look_first(runner, started)

    # ------------------------------------------------------------------ what callers use

    def observe(self, readings: Sequence[Reading], now: Instant, *, more: bool = False) -> Changes:
        """One message: its readings change together, then every condition that reads them is judged once.

        more: other messages of the same instant may follow; what is due at it waits for ``tick``.
        """
        output = self._begin(now)
        self._run_timers(now, output, before=True)
        for window in self._windows.values():
            if window.value and window.due_s <= now.monotonic_s:  # at the very instant at which it closes it is closed
                self._turn(window, now)
        if self._recorders:
            self._record_past(readings, now, output)
        touched = self._inputs.take(readings, now)
        if len(touched) > 1:
            touched = list(dict.fromkeys(touched))
        for listener in touched:
            if not isinstance(listener, Runner):
                self._look(listener, now, output)
            elif listener.rank:
                self._agenda[listener] = None
            elif listener.probe(listener.inputs) is not listener.last:
                self._decide(listener, now, output, early=True)
        if self._agenda:
            self._work_off(now, output, early=True)
        if not more:
            self._run_timers(now, output)
        return self._end(output)

    def tick(self, now: Instant) -> Changes:
        output = self._begin(now)
        self._run_timers(now, output)
        return self._end(output)

    def next_timer_s(self) -> float | None:
        """Monotonic time at which ``tick`` is needed; None when only a reading can change anything."""
        if self._early is not None:
            return self._now.monotonic_s
        due_s = self._queue.next_s()
        return None if due_s == NEVER else due_s

    def alarms(self) -> Sequence[AlarmStatus]:
        """Every alarm that is not normal, or that people have put aside."""
        standing = [
            status_of(runner, self._now)
            for runner in self._runners.values()
            if runner.alarm.shown != AlarmState.NORMAL or runner.alarm.shelf or runner.alarm.outage
        ]
        return [*standing, *self._latched.statuses()]

    def alarm(self, rule: str, device: str | None = None) -> AlarmStatus:
        """Raises KeyError."""
        key = journal.key(rule, device)
        return self._latched.status(key) if key in self._latched else status_of(self._runners[key], self._now)

    def explain(self, rule: str, device: str | None, now_s: float) -> Mapping[str, Any]:
        """See explain.py.  Raises KeyError."""
        return explanation(self._runners[journal.key(rule, device)], now_s)

    def value(self, text: str) -> float | bool | str | None:
        """What an expression gives now, points named in full; None while unknown.  Raises ValueError.

        A function of the past that no rule asks for knows only what comes from now on.
        """
        inputs, measure, faults = expression(text, self._inputs.point, devices=lambda name: name in self._devices)
        if measure is None or any(each.source is Source.ALARM for each in inputs):
            raise ValueError(faults[0].en if faults else text)
        return measure.read([self._inputs.slot(each, each.name, None) for each in inputs])

    def holds(self) -> Mapping[str, tuple[str, str]]:
        """Device -> (alarm, ``device.action``) that holds it now."""
        return self._arbiter.holds()

    # ------------------------------------------------------------------ what people do; KeyError: no such alarm

    def acknowledge(self, rule: str, device: str | None, who: str, now: Instant) -> Changes:
        """One that needs no acknowledgement stays as it is."""
        if (key := journal.key(rule, device)) in self._latched:
            output = self._begin(now)
            self._latched.acknowledge(key, who, now, output)
            return self._end(output)
        runner, output = self._attended(rule, device, now)
        after = acknowledged(runner.alarm, who, now)
        if after is not runner.alarm:
            output.line("ack", runner.name, now.utc_ms, who=who)
            self._change(runner, after, now, output)
            self._note_pending(runner, now, output)
            self._desk.over(runner.name, now)
            self._announce(runner, ACK, now, output)
            self._do(runner, Hook.ACK, now, output)
        return self._end(output)

    def reset(self, rule: str, device: str | None, who: str, reason: str, now: Instant) -> Changes:
        """Let go a latched alarm that is over and acknowledged; otherwise a line says why not."""
        if (key := journal.key(rule, device)) in self._latched:
            output = self._begin(now)
            self._latched.reset(key, who, now, output)
            return self._end(output)
        runner, output = self._attended(rule, device, now)
        why = _reset_refusal(runner, who, reason)
        if why:
            output.line("reset_refused", runner.name, now.utc_ms, who=who, why=why)
            return self._end(output)
        output.line("reset", runner.name, now.utc_ms, who=who, reason=reason)
        self._change(runner, reset(runner.alarm, now), now, output)
        self._note_pending(runner, now, output)
        self._announce(runner, RESET, now, output)
        self._do(runner, Hook.RESET, now, output)
        return self._end(output)

    def _note_pending(self, runner: Runner, now: Instant, output: Output) -> None:
        """Somebody has made it normal while the delay of its next raise runs."""
        if runner.alarm.shown is AlarmState.PENDING:
            output.line("pending", runner.name, now.utc_ms)

    def shelve(self, rule: str, device: str | None, who: str, for_s: float, reason: str, now: Instant) -> Changes:
        """Tell nobody for *for_s*; what the rule does goes on."""
        runner, output = self._attended(rule, device, now)
        longest_s = runner.rule.longest_shelf_s
        if not 0 < for_s <= longest_s:
            why = "never" if not longest_s else f"{duration(longest_s).en} at most"
            output.line("shelve_refused", runner.name, now.utc_ms, who=who, why=why)
            return self._end(output)
        output.line("shelve", runner.name, now.utc_ms, who=who, reason=reason, for_s=for_s)
        shelf = Pause(who, now.monotonic_s + for_s, now.utc_ms + round(for_s * 1000), reason)
        return self._put_aside(runner, replace(runner.alarm, shelf=shelf), now, output)

    def unshelve(self, rule: str, device: str | None, who: str, now: Instant) -> Changes:
        runner, output = self._attended(rule, device, now)
        if runner.alarm.shelf is not None:
            self._take_off_shelf(runner, who, now, output)
        return self._end(output)

    def out_of_service(
        self, rule: str, device: str | None, who: str, reason: str, for_s: float | None, now: Instant
    ) -> Changes:
        """Tell nobody and move nothing until it is put back, or for *for_s*."""
        runner, output = self._attended(rule, device, now)
        if not reason.strip():
            output.line("out_of_service_refused", runner.name, now.utc_ms, who=who, why="no reason")
            return self._end(output)
        output.line("out_of_service", runner.name, now.utc_ms, who=who, reason=reason, for_s=for_s)
        until_s, until_ms = NEVER, None
        if for_s is not None:
            until_s, until_ms = now.monotonic_s + for_s, now.utc_ms + round(for_s * 1000)
        outage = Pause(who, until_s, until_ms, reason)
        return self._put_aside(runner, replace(runner.alarm, outage=outage), now, output)

    def _put_aside(self, runner: Runner, after: Alarm, now: Instant, output: Output) -> Changes:
        self._change(runner, after, now, output)
        self._desk.over(runner.name, now)
        self._schedule(runner, runner.probe(runner.inputs), now)
        return self._end(output)

    def in_service(self, rule: str, device: str | None, who: str, now: Instant) -> Changes:
        runner, output = self._attended(rule, device, now)
        if runner.alarm.outage is not None:
            self._put_in_service(runner, who, now, output)
        return self._end(output)

    def test_fire(
        self, rule: str, device: str | None, who: str, reason: str, with_output: bool, now: Instant
    ) -> Changes:
        """Do what the alarm would do, without the alarm; in shadow unless *with_output*.  The record of it is kept.

        What lasts (a siren) ends after the longest confirmation; what was closed stays closed.
        """
        runner, output = self._attended(rule, device, now)
        actions = [replace(each, hold=False, at_most=None) for each in runner.watch.actions if each.hook is Hook.ALARM]
        why = _trial_refusal(runner, actions, reason)
        if not why and runner.name in self._trials:
            why = "a test is under way"
        if why:
            output.line("test_fire_refused", runner.name, now.utc_ms, who=who, why=why)
            return self._end(output)
        output.line("test_fire", runner.name, now.utc_ms, who=who, reason=reason, output=with_output)
        effects = Effects(runner.name, actions, self._confirming(actions), self._arbiter, shadow=not with_output)
        lasts_s = max((each.confirm.within_s * each.tries for each in actions if each.confirm), default=0.0)
        proof = journal.Proof(now.utc_ms, who, with_output)
        trial = Trial(runner.name, effects, proof, now.monotonic_s + max(lasts_s + 0.5, TRIAL_S))
        self._trials[runner.name] = trial
        self._queue.push(trial)
        effects.fire(Hook.ALARM, now, output)
        self._keep_trial(trial, output)
        return self._end(output)

    def trial(self, rule: str, device: str | None) -> Sequence[Line] | None:
        """What has happened in the proof test that is under way; None when none is."""
        trial = self._trials.get(name_of(rule, device))
        return None if trial is None else tuple(trial.lines)

    def proved(self, rule: str, device: str | None) -> journal.Proof | None:
        """The last proof test that has come to its end."""
        return self._proved.get(name_of(rule, device))

    def _keep_trial(self, trial: Trial, output: Output) -> None:
        record = journal.trial_record(trial.effects.record())
        if record is not None or trial.saved:
            output.saved[trial.key] = record
            trial.saved = True
        self._queue.push(trial.effects)

    def _end_trial(self, trial: Trial, now: Instant, output: Output) -> None:
        trial.effects.moved(AlarmState.NORMAL, now, output)
        self._keep_trial(trial, output)
        trial.note(output.lines)
        del self._trials[trial.name]
        failed = tuple(str(line.about.get("send")) for line in trial.lines if line.event == "unconfirmed")
        proof = self._proved[trial.name] = replace(trial.proof, failed=failed)
        output.saved[f"{journal.PROVED_PREFIX}{trial.name}"] = journal.proved_record(proof)
        output.line("test_fire_end", trial.name, now.utc_ms, failed=", ".join(failed))

    # ------------------------------------------------------------------ journal and reload

    def needs(self, now: Instant) -> Mapping[PointId, float]:
        """How many seconds of stored readings ``preload`` can use, by point."""
        return self._inputs.needs(now)

    def preload(self, readings: Iterable[Reading], now: Instant) -> None:
        """Fill the past of the conditions with stored readings, before the first ``observe``; nothing is decided."""
        self._inputs.preload(readings, now)

    def checkpoint(self, now: Instant) -> Mapping[str, bytes]:
        """A sign of life for the journal; the caller adds it to each commit.

        Empty until the records of an earlier run have been rewritten (the first ``observe`` or ``tick`` does it):
        their clock readings and this run's sign of life do not belong together.
        """
        if self._early is not None:
            return {}
        return {journal.ALIVE_KEY: journal.alive_record(now.monotonic_s), **self._inputs.history_records(now)}

    def corrected(self, shift_ms: int, first_ms: int, last_ms: int) -> Changes:
        """What happened between these two wrong times, which *shift_ms* makes right, is shown with the right one."""
        saved: dict[str, bytes | None] = {}
        for runner in self._runners.values():
            alarm = runner.alarm
            if first_ms <= alarm.since_ms <= last_ms:
                runner.alarm = replace(alarm, since_ms=alarm.since_ms + shift_ms)
                if alarm.state is not AlarmState.NORMAL:
                    saved[runner.key] = self._record(runner)
        return Changes((), saved)

    def reloaded(
        self, rules: RuleSet, points: Mapping[PointId, Point], devices: Sequence[Device], now: Instant
    ) -> tuple[Engine, Changes]:
        """An engine with other rules that continues where this one stands: live values, delays and alarms are kept.

        This engine must not be used afterwards.
        """
        output = self._begin(now)
        heir = Engine(rules, points, devices, new_id=self._new_id, saved=self._everything(now), started=now)
        output.add(heir._begin(now))
        heir._inputs.inherit(self._inputs, now)
        for runner in sorted(heir._runners.values(), key=lambda each: each.rank):
            before = self._runners.get(runner.key)
            if before is not None:  # the same run: pauses still end by the monotonic clock
                runner.alarm = replace(runner.alarm, shelf=before.alarm.shelf, outage=before.alarm.outage)
            heir._decide(runner, now, output)
        heir._work_off(now, output)
        heir._run_timers(now, output)
        return heir, heir._end(output)

    def _everything(self, now: Instant) -> Mapping[str, bytes]:
        records = {runner.key: self._record(runner) for runner in self._runners.values() if runner.saved}
        records |= self._latched.records()
        records[journal.ALIVE_KEY] = journal.alive_record(now.monotonic_s)
        records |= {journal.PROVED_PREFIX + name: journal.proved_record(proof) for name, proof in self._proved.items()}
        if (desk := journal.desk_record(self._desk.record(), self._desk.as_of_s)) is not None:
            records[journal.DESK_KEY] = desk
        return records

    # ------------------------------------------------------------------ construction

    def _add(self, watch: Watch) -> None:
        inputs = list(zip(watch.program.inputs, watch.targets, strict=True))
        target = watch.device or next(
            (t.partition(".")[0] for each, t in inputs if each.source not in (Source.SILENT, Source.ALARM)), ""
        )
        runner = Runner(watch, self._devices.get(target))
        runner.inputs = tuple(self._slot(each, t, watch) for each, t in inputs)
        for source in dict.fromkeys(runner.inputs):
            source.readers.append(runner)
        if watch.rule.only_during is not None:
            runner.window = self._windows.setdefault(watch.rule.only_during, Window(watch.rule.only_during))
            runner.window.readers.append(runner)
        runner.messaged = {name: self._inputs.origin(point) for name, point in watch.shown.items()}
        if watch.rule.timing.no_data is not NoData.HOLD:
            runner.starving = tuple(
                (number, source, watch.rule.no_data_after_s or source.origin.stale_s)
                for number, source in enumerate(runner.inputs)
                if isinstance(source, Cell | Derived) and not isinstance(source, Lasting)
            )
        if watch.actions:
            runner.effects = self._effects(runner)
        if watch.rule.record_backlog:
            for source in runner.inputs:
                if isinstance(source, Cell):
                    self._recorders.setdefault(source.origin.point.id, []).append(runner)
        if runner.starving or watch.program.suppressed is not None:
            runner.last = LOOK_AGAIN
        self._runners[runner.key] = runner

    def _look_first(self, runner: Runner, started: Instant) -> None:
        """What is known without a reading, by the clock on the wall or from other alarms, waits for none."""
        is_closed = runner.window is not None and not runner.window.value
        condition = False if is_closed else runner.probe(runner.inputs)
        is_idle = not runner.alarm.active and runner.alarm.held is None
        if condition or (condition is False and not is_idle):
            runner.due_s = started.monotonic_s
            self._queue.push(runner)

    def _slot(self, wanted: Input, target: str, watch: Watch) -> Slot:
        return (
            Standing()
            if wanted.source is Source.ALARM
            else self._inputs.slot(wanted, target, watch.rule.no_data_after_s)
        )

    def _confirming(self, actions: Sequence[Action]) -> Mapping[PointId, Cell]:
        confirmed = {action.confirm.point for action in actions if action.confirm is not None}
        return {point: self._inputs.cell(point, None) for point in confirmed if self._inputs.knows(point)}

    def _effects(self, runner: Runner) -> Effects:
        cells = self._confirming(runner.watch.actions)
        effects = Effects(runner.name, runner.watch.actions, cells, self._arbiter, shadow=runner.shadow)
        self._acting[effects] = runner
        return effects

    def _connect(self) -> None:
        """Whoever asks for the alarms of a rule is told when one of them changes."""
        by_rule: dict[str, list[Runner]] = {}
        for runner in self._runners.values():
            by_rule.setdefault(runner.rule.id, []).append(runner)
        for runner in self._runners.values():
            for wanted, slot in zip(runner.watch.program.inputs, runner.inputs, strict=True):
                if not isinstance(slot, Standing):
                    continue
                asked = by_rule.get(wanted.name, ())
                slot.members = [
                    other
                    for other in asked
                    if covers(runner.place, other.place) and (not other.shadow or runner.shadow)
                ]
                for member in slot.members:
                    member.standings = (*member.standings, slot)
        for runner in self._runners.values():
            runner.rank = _rank(runner, by_rule)

    def _restore(self, rules: RuleSet, saved: Mapping[str, bytes], started: Instant) -> None:
        output = Output()
        alive_s = self._read(journal.ALIVE_KEY, partial(journal.read_alive, saved.get(journal.ALIVE_KEY)))
        alive_s = -NEVER if alive_s is None else alive_s
        for key, record in saved.items():
            if journal.parse_key(key) is None:
                continue
            found = self._read(key, partial(journal.read_alarm, record))
            if found is None:
                output.saved[key] = None
                continue
            alarm, priority, effects = found
            runner = self._runners.get(key)
            if runner is None:
                self._retire(key, alarm, priority, rules, started, output)
                if effects is not None:
                    name = name_of(*journal.named(key))
                    self._read(key, partial(self._wind_up, name, effects, alive_s, started))
                continue
            runner.alarm = restored(alarm, alive_s, runner.rule.basis, started)
            if alarm.shown is AlarmState.PENDING and runner.alarm.shown is not AlarmState.PENDING:
                output.line("pending_cancel", runner.name, started.utc_ms, reason=RULE_CHANGED)
            runner.saved = True
            if effects is not None:
                self._read(key, partial(self._take_up, runner, effects, alive_s, started))
            self._settle(runner)
            self._save(runner, output)
        for key, record in saved.items():
            if key.startswith(journal.PROVED_PREFIX):
                proof: journal.Proof | None = self._read(key, partial(journal.read_proved, record))
                if proof is not None:
                    self._proved[key.removeprefix(journal.PROVED_PREFIX)] = proof
            elif key.startswith(journal.TRIAL_PREFIX):
                name = key.removeprefix(journal.TRIAL_PREFIX)
                effects = self._read(key, partial(journal.read_trial, record))
                if effects is not None:
                    self._read(key, partial(self._wind_up, name, effects, alive_s, started))
                output.saved[key] = None
        self._resume(saved, alive_s, started)
        if output.saved:
            output.saved[journal.ALIVE_KEY] = journal.alive_record(started.monotonic_s)
            self._early = output

    def _take_up(self, runner: Runner, effects: object, alive_s: float, started: Instant) -> None:
        """What an earlier run had begun.  Raises journal.Unreadable."""
        if runner.effects is None:
            runner.effects = self._effects(runner)
        runner.effects.restore(effects, started, alive_s if math.isfinite(alive_s) else None)

    def _wind_up(self, name: str, effects: object, alive_s: float, started: Instant) -> None:
        """What a rule had begun that is no more, or a test, comes to its end.  Raises journal.Unreadable."""
        last = Effects(name, (), {}, self._arbiter, shadow=False)
        last.restore(effects, started, alive_s if math.isfinite(alive_s) else None)
        self._queue.push(last)

    def _read(self, key: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except journal.Unreadable:
            self.unreadable += (key,)
            return None

    def _resume(self, saved: Mapping[str, bytes], alive_s: float, started: Instant) -> None:
        """Who was to be told, and what was left when the engine stopped."""
        for runner in self._runners.values():
            for standing in runner.standings:
                standing.look()
            if runner.effects is not None:
                self._queue.push(runner.effects)
            if runner.alarm.active and not runner.alarm.begun and not runner.alarm.quiet and not runner.shadow:
                runner.wait_s = started.monotonic_s + runner.rule.wait_for_parent_s
        wanting = [runner for runner in self._runners.values() if _wants_somebody(runner)]
        entries = {runner.name: self._entry(runner) for runner in wanting}
        self._read(
            journal.DESK_KEY, partial(self._take_up_desk, saved.get(journal.DESK_KEY), entries, alive_s, started)
        )
        self._queue.push(self._desk)

    def _take_up_desk(
        self, saved: bytes | None, entries: Mapping[str, Entry], alive_s: float, started: Instant
    ) -> None:
        record, as_of_s = journal.read_desk(saved)
        lived_s = max(0.0, alive_s - as_of_s) if math.isfinite(alive_s - as_of_s) else 0.0
        self._desk.restore(record, started, entries, lived_s=lived_s)

    def _retire(self, key: str, alarm: Alarm, priority: Priority, rules: RuleSet, now: Instant, output: Output) -> None:
        """The journal knows an alarm that no rule makes any more.  A latched one stays until it is reset."""
        if alarm.latched:
            self._latched.keep(key, alarm, priority)
            return
        output.saved[key] = None
        rule, device = journal.named(key)
        is_off = any(each.id == rule and each.mode is Mode.OFF for each in rules.rules)
        reason = RULE_OFF if is_off else RULE_DELETED
        if alarm.active:
            output.line("clear", name_of(rule, device), now.utc_ms, reason=reason)
        elif alarm.shown is AlarmState.PENDING:
            output.line("pending_cancel", name_of(rule, device), now.utc_ms, reason=reason)
        if alarm.state is not AlarmState.NORMAL:
            output.alarms.append(self._latched.change(key, alarm, priority, reason, now))

    # ------------------------------------------------------------------ the clock on the wall

    def _set_clocks(self, now: Instant) -> None:
        """Schedules and jobs count by the wall clock: their timers are set anew whenever it is."""
        self._wall_ms = now.utc_ms - now.monotonic_s * 1000
        for window in self._windows.values():
            self._turn(window, now)
        for clockwork in self._clockworks:
            self._wind(clockwork, now)

    def _turn(self, window: Window, now: Instant) -> None:
        is_open = calendar.is_open(window.schedule, now.utc_ms, self._zone)
        if is_open is not window.value:
            window.value = is_open
            self._agenda |= dict.fromkeys(window.readers)
        change_ms = calendar.next_change_ms(window.schedule, now.utc_ms, self._zone)
        window.due_s = NEVER if change_ms is None else self._monotonic_s(change_ms)
        self._queue.push(window)

    def _wind(self, clockwork: Clockwork, now: Instant) -> None:
        at_s = self._rules.jobs[clockwork.index].at_s
        clockwork.due_s = self._monotonic_s(calendar.next_run_ms(at_s, now.utc_ms, self._zone))
        self._queue.push(clockwork)

    def _monotonic_s(self, utc_ms: int) -> float:
        return (utc_ms - self._wall_ms) / 1000

    def _run(self, clockwork: Clockwork, now: Instant, output: Output) -> None:
        job = self._rules.jobs[clockwork.index]
        output.line("run", job.id, now.utc_ms)
        for action in job.actions:
            output.line("command", job.id, now.utc_ms)
            output.orders.append(Order(action.send, job.id, 1, now.utc_ms, action.keep_s))
        self._wind(clockwork, now)

    # ------------------------------------------------------------------ one step

    def _begin(self, now: Instant) -> Output:
        moved_ms = now.utc_ms - now.monotonic_s * 1000 - self._wall_ms
        self._now = now
        output, self._early = self._early, None
        output = output or Output()
        if abs(moved_ms) > _WALL_STEP_MS:
            self._set_clocks(now)
            self._work_off(now, output)
        return output

    def _end(self, output: Output) -> Changes:
        for trial in self._trials.values():
            trial.note(output.lines)
        desk = self._desk
        if desk.revision != self._desk_written:
            self._desk_written = desk.revision
            record = journal.desk_record(desk.record(), desk.as_of_s)
            if record is not None or self._desk_saved:
                output.saved[journal.DESK_KEY] = record
                self._desk_saved = record is not None
        self._queue.push(desk)
        return output.changes()

    def _attended(self, rule: str, device: str | None, now: Instant) -> tuple[Runner, Output]:
        runner = self._runners[journal.key(rule, device)]
        output = self._begin(now)
        self._run_timers(now, output)
        return runner, output

    def _run_timers(self, now: Instant, output: Output, *, before: bool = False) -> None:
        """Everything due until *now*, or strictly before it, each at its own instant."""
        due_s = self._queue.next_s()
        while due_s < now.monotonic_s or (due_s == now.monotonic_s and not before):
            at = Instant(due_s, now.utc_ms - round((now.monotonic_s - due_s) * 1000))
            timers = self._queue.pop_due(due_s)
            for timer in timers:
                self._expire(timer, at, output)
            for timer in timers:
                if isinstance(timer, Effects):
                    self._expire_effects(timer, at, output)
                elif timer is self._desk:
                    self._desk.expire(at, output)
                    self._queue.push(self._desk)
                elif isinstance(timer, Clockwork):
                    self._run(timer, at, output)
                elif isinstance(timer, Trial):
                    self._end_trial(timer, at, output)
            self._work_off(at, output)
            due_s = self._queue.next_s()

    def _expire(self, timer: Timer, at: Instant, output: Output) -> None:
        """Inputs that change with time come before everything else that is due at the same instant."""
        if isinstance(timer, Runner):
            self._agenda[timer] = None
        elif isinstance(timer, Window):
            self._turn(timer, at)
        elif isinstance(timer, Effects | Clockwork | Trial) or timer is self._desk:
            return
        else:
            for listener in self._inputs.expire(timer, at):
                if isinstance(listener, Runner):
                    self._agenda[listener] = None
                else:
                    self._look(listener, at, output)

    def _work_off(self, now: Instant, output: Output, *, early: bool = False) -> None:
        """Look at everything that something else has touched, until nothing is left.  Cycles are refused at load."""
        while self._agenda:
            lowest = min(runner.rank for runner in self._agenda)  # an alarm before those that ask for it
            for runner in [runner for runner in self._agenda if runner.rank == lowest]:
                del self._agenda[runner]
                self._decide(runner, now, output, early=early)

    def _look(self, listener: object, now: Instant, output: Output) -> None:
        assert isinstance(listener, Effects)
        listener.look(now, output)
        self._keep_effects(listener, output)

    def _expire_effects(self, effects: Effects, now: Instant, output: Output) -> None:
        effects.expire(now, output)
        self._keep_effects(effects, output)

    def _keep_effects(self, effects: Effects, output: Output) -> None:
        self._queue.push(effects)
        if (runner := self._acting.get(effects)) is not None:
            self._save(runner, output)
        elif (trial := self._trials.get(effects.name)) is not None and trial.effects is effects:
            self._keep_trial(trial, output)

    def _decide(self, runner: Runner, now: Instant, output: Output, *, early: bool = False) -> None:
        """early: other inputs of this instant may follow, and what ends at it has not ended yet."""
        condition = judged = runner.probe(runner.inputs)
        rule_looks_again = runner.watch.program.suppressed is not None
        window = runner.window
        if window is not None and (not window.value or window.due_s <= now.monotonic_s):
            condition = False  # at the very instant at which it closes it is closed
        rule, before = runner.rule, runner.alarm
        starved_s = self._starved_s(runner) if condition is None else NEVER
        starved = starved_s < now.monotonic_s or (starved_s == now.monotonic_s and not early)
        after, reason = step(before, condition, rule.timing, rule.basis, now, starved=starved, early=early)
        sticky = rule_looks_again or (condition is None and bool(runner.starving))
        runner.last = LOOK_AGAIN if sticky else judged
        if after is not before:
            if after.count != before.count:
                after = self._born(runner, after, now)
            elif reason is not None:
                after = replace(after, message=message_of(runner, after, now))
            self._follow(runner, before, after, reason, now, output)
        self._watch_pauses(runner, now, output, early=early)
        self._schedule(runner, condition, now, early=early)

    # ------------------------------------------------------------------ what a change brings with it

    def _follow(
        self, runner: Runner, before: Alarm, after: Alarm, reason: str | None, now: Instant, output: Output
    ) -> None:
        """The lines of one step of the state machine, and what it means for people and devices."""
        name, utc_ms = runner.name, now.utc_ms
        if AlarmState.PENDING in (before.shown, after.shown) and before.shown is not after.shown and not after.active:
            output.line("pending" if after.shown is AlarmState.PENDING else "pending_cancel", name, utc_ms)
        raised = after.count != before.count
        if reason is not None:
            kind = "raise" if raised else "reason" if after.active else "clear"
            output.line(kind, name, utc_ms, reason=reason)
        if before.chattering and not after.chattering:
            output.line("chatter_off", name, utc_ms)
        self._change(runner, after, now, output)
        if reason is None:
            return
        if raised:
            self._raise(runner, before, now, output)
        elif after.active:
            self._announce(runner, reason, now, output)
            if after.begun and not runner.rule.act_on_no_data:
                self._do(runner, Hook.ALARM, now, output)
        else:
            self._desk.over(name, now)
            self._announce(runner, reason, now, output)
            self._do(runner, Hook.CLEAR, now, output)

    def _born(self, runner: Runner, alarm: Alarm, now: Instant) -> Alarm:
        """A new occurrence, and whether its actions begin at once and people are told as far as they may be."""
        muted = runner.watch.program.suppressed
        suppressed = muted is not None and muted(runner.inputs) is True
        held_back = suppressed or alarm.outage is not None
        waits = runner.rule.wait_for_parent_s > 0 and alarm.shelf is None and not runner.shadow
        return replace(
            alarm,
            id=self._new_id(now.utc_ms),
            message=message_of(runner, alarm, now),
            suppressed=suppressed,
            begun=not held_back and not waits,
        )

    def _raise(self, runner: Runner, before: Alarm, now: Instant, output: Output) -> None:
        name, alarm, utc_ms = runner.name, runner.alarm, now.utc_ms
        self._announce(runner, alarm.reason, now, output)
        if alarm.chattering and not before.chattering:
            output.line("chatter_on", name, utc_ms)
        if not runner.shadow and runner.rule.priority is not Priority.JOURNAL:
            self._desk.raised(now, output)
        if runner.shadow or runner.alarm.quiet:
            output.line("quiet", name, utc_ms)
            self._do(runner, Hook.ALARM, now, output)
        elif runner.rule.wait_for_parent_s:
            runner.wait_s = now.monotonic_s + runner.rule.wait_for_parent_s
        else:
            self._tell(runner, now, output)

    def _tell(self, runner: Runner, now: Instant, output: Output) -> None:
        """People first in the journal, devices first in the world: orders leave before notices."""
        if not runner.alarm.begun:
            self._change(runner, replace(runner.alarm, begun=True), now, output)
        self._desk.announce(self._entry(runner), now, output)
        self._do(runner, Hook.ALARM, now, output)

    def _begin_unheard(self, runner: Runner, now: Instant, output: Output) -> None:
        """A shelf keeps people from being told; it keeps no device from being moved."""
        if not runner.alarm.inert:
            self._change(runner, replace(runner.alarm, begun=True), now, output)
            self._do(runner, Hook.ALARM, now, output)

    def _do(self, runner: Runner, hook: Hook, now: Instant, output: Output) -> None:
        effects, alarm = runner.effects, runner.alarm
        if effects is None:
            return
        blind = hook is Hook.ALARM and alarm.reason == NO_DATA and not runner.rule.act_on_no_data
        if not alarm.inert and not blind:
            effects.fire(hook, now, output)
        self._keep_effects(effects, output)

    def _watch_pauses(self, runner: Runner, now: Instant, output: Output, *, early: bool) -> None:
        """What stands beside the state: a parent that explains, a shelf that ends."""
        alarm = runner.alarm
        muted = runner.watch.program.suppressed
        if muted is None:
            self._suppress(runner, False, now, output)  # an earlier version of the rule may have
        else:
            is_true = muted(runner.inputs)
            awaited_s = self._parent_awaited_s(runner)
            if is_true is not None or awaited_s < now.monotonic_s or (awaited_s == now.monotonic_s and not early):
                self._suppress(runner, is_true is True, now, output)
        if early:
            return
        if alarm.shelf is not None and alarm.shelf.until_s <= now.monotonic_s:
            self._take_off_shelf(runner, "", now, output)
        if alarm.outage is not None and alarm.outage.until_s <= now.monotonic_s:
            self._put_in_service(runner, "", now, output)
        if runner.wait_s <= now.monotonic_s:
            runner.wait_s = NEVER
            if runner.alarm.active and not runner.alarm.begun and runner.alarm.quiet:
                self._begin_unheard(runner, now, output)
            elif runner.alarm.active and not runner.alarm.begun:
                self._tell(runner, now, output)

    def _parent_awaited_s(self, runner: Runner) -> float:
        """Until when a suppressed alarm of an earlier run stays so although its parent has not been heard yet."""
        if not runner.alarm.suppressed:
            return -NEVER
        numbers = runner.watch.program.reads.suppressed
        cells = [cell for number in numbers if isinstance(cell := runner.inputs[number], Cell)]
        unheard = [cell.origin.good_s + cell.limit_s for cell in cells if cell.origin.newest_s == -NEVER]
        return max(unheard, default=-NEVER)

    def _suppress(self, runner: Runner, muted: bool, now: Instant, output: Output) -> None:
        alarm = runner.alarm
        if alarm.suppressed is muted:
            return
        self._change(runner, replace(alarm, suppressed=muted), now, output)
        if alarm.active:
            output.line("suppress" if muted else "unsuppress", runner.name, now.utc_ms)
        if muted:
            self._desk.over(runner.name, now)
            if runner.effects is not None:
                runner.effects.suppressed(now, output)
                self._keep_effects(runner.effects, output)
        else:
            self._speak_again(runner, now, output)

    def _take_off_shelf(self, runner: Runner, who: str, now: Instant, output: Output) -> None:
        output.line("unshelve", runner.name, now.utc_ms, who=who)
        self._change(runner, replace(runner.alarm, shelf=None), now, output)
        self._speak_again(runner, now, output)

    def _put_in_service(self, runner: Runner, who: str, now: Instant, output: Output) -> None:
        output.line("in_service", runner.name, now.utc_ms, who=who)
        self._change(runner, replace(runner.alarm, outage=None), now, output)
        self._speak_again(runner, now, output)

    def _speak_again(self, runner: Runner, now: Instant, output: Output) -> None:
        """A pause is over: an alarm that is still on wants somebody's eyes, and what was not done is done."""
        if not runner.alarm.active or runner.shadow:
            return
        before = runner.alarm
        if before.quiet:
            if not before.begun:
                self._begin_unheard(runner, now, output)
            return
        self._change(runner, replace(reminded(before, now), begun=True), now, output)
        if runner.alarm.state is not before.state:
            self._announce(runner, AGAIN, now, output)
        self._desk.announce(self._entry(runner), now, output)
        if not before.begun:
            self._do(runner, Hook.ALARM, now, output)

    def _change(self, runner: Runner, after: Alarm, now: Instant, output: Output) -> None:
        before, runner.alarm = runner.alarm, after
        self._settle(runner)
        if after.state is not before.state:
            if runner.effects is not None:
                runner.effects.moved(after.state, now, output)
                self._queue.push(runner.effects)
            for standing in runner.standings:
                if standing.look():
                    self._agenda |= dict.fromkeys(standing.readers)
        self._save(runner, output)

    def _entry(self, runner: Runner) -> Entry:
        kind = runner.device.kind if runner.device is not None else ""
        return Entry(runner.name, runner.rule, runner.place, kind, runner.alarm.message, runner.alarm.id)

    def _settle(self, runner: Runner) -> None:
        """An alarm that its own condition raised ends by the clear rule; any other by the plain condition."""
        alarm, program = runner.alarm, runner.watch.program
        own = alarm.active and alarm.reason == CONDITION and alarm.basis == runner.rule.basis
        runner.probe = program.still if own else program.when

    def _schedule(self, runner: Runner, condition: bool | None, now: Instant, *, early: bool = False) -> None:
        due_s = min(runner.alarm.due_s(runner.rule.timing), runner.wait_s)
        if condition is None and runner.starving:
            starved_s = self._starved_s(runner)
            if starved_s > now.monotonic_s or early:  # otherwise it has just been acted upon
                due_s = min(due_s, starved_s)
        awaited_s = self._parent_awaited_s(runner)
        if awaited_s > now.monotonic_s or (awaited_s == now.monotonic_s and early):
            due_s = min(due_s, awaited_s)
        runner.due_s = due_s
        self._queue.push(runner)

    def _starved_s(self, runner: Runner) -> float:
        """When the first of the unknown inputs will have been without a usable value for too long."""
        program = runner.watch.program
        asked = program.reads.when if runner.probe is program.when else program.reads.still
        unknown = [
            cell.origin.good_s + limit_s
            for number, cell, limit_s in runner.starving
            if cell.value is None and number in asked
        ]
        return min(unknown, default=NEVER)

    # ------------------------------------------------------------------ readings of the past

    def _record_past(self, readings: Sequence[Reading], now: Instant, output: Output) -> None:
        """A device that was out of reach sends what it has kept: written down, never acted upon as if it were now."""
        for reading in readings:
            if now.utc_ms - reading.source_time_ms <= BACKLOG_S * 1000:
                continue
            for index, runner in enumerate(self._recorders.get(reading.point, ())):
                if not index:
                    output.line("backlog", reading.point, now.utc_ms, source_ms=reading.source_time_ms)
                past = runner.watch.program.when([Sample(value) for value in _past_values(runner, reading)])
                if past is True and runner.past is not True:
                    output.line("historical", runner.name, now.utc_ms, source_ms=reading.source_time_ms)
                runner.past = past

    # ------------------------------------------------------------------ what comes out

    def _record(self, runner: Runner) -> bytes:
        effects = None if runner.effects is None else runner.effects.record()
        priority = Priority.JOURNAL if runner.shadow else runner.rule.priority
        return journal.alarm_record(runner.alarm, priority, effects)

    def _save(self, runner: Runner, output: Output) -> None:
        alarm = runner.alarm
        if alarm.count or alarm.shown is not AlarmState.NORMAL or alarm.shelf or alarm.outage:
            output.saved[runner.key] = self._record(runner)
            runner.saved = True
        elif runner.saved:
            output.saved[runner.key] = None
            runner.saved = False

    def _announce(self, runner: Runner, reason: str, now: Instant, output: Output) -> None:
        output.alarms.append(change_of(runner, reason, now))


def _past_values(runner: Runner, reading: Reading) -> Iterator[Known | None]:
    """Only the reading itself is known of that moment."""
    for source in runner.inputs:
        mine = isinstance(source, Cell) and source.origin.point.id == reading.point
        yield source.origin.usable(reading) if mine and isinstance(source, Cell) else None


def _wants_somebody(runner: Runner) -> bool:
    alarm = runner.alarm
    return alarm.state is AlarmState.UNACK and alarm.begun and not alarm.quiet and not runner.shadow


def _trial_refusal(runner: Runner, actions: Sequence[Action], reason: str) -> str:
    """Why its actions are not tried; empty when they may be."""
    if not actions:
        return "it moves nothing"
    if runner.alarm.active:
        return "it is on: this is no test"
    return "" if reason.strip() else "no reason"


def _rank(runner: Runner, by_rule: Mapping[str, Sequence[Runner]]) -> int:
    """How long the chain is of alarms that it asks for.  Cycles are refused at load."""
    asked = {each.name for each in runner.watch.program.inputs if each.source is Source.ALARM}
    firsts = [by_rule[name][0] for name in asked if name in by_rule]
    return max((1 + _rank(first, by_rule) for first in firsts), default=0)


def _reset_refusal(runner: Runner, who: str, reason: str) -> str:
    """Why the alarm is not reset; empty when it may be."""
    allowed = runner.rule.reset
    if runner.alarm.state is not AlarmState.LATCHED_ACKED:
        return "not over and acknowledged" if runner.rule.timing.latched else "not latched"
    if allowed.who and who not in allowed.who:
        return f"only {', '.join(allowed.who)}"
    return "no reason" if allowed.reason_required and not reason.strip() else ""
