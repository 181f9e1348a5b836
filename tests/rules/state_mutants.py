"""Deliberate defects of the state machine, each a small change of the text of one module.

A defect lives in a copy: the text is compiled into a namespace of its own, and only as long as ``broken`` lasts the
methods of the shared classes are replaced.  The files are never touched.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import rules.alarm
import rules.engine
import rules.latched

# ruff: noqa: E501  the texts are as long as the lines they replace

SHARED = ("Instant", "NoData", "Chatter", "Timing", "Stopwatch", "Pause", "Alarm")
"""Classes of alarm.py that other modules know: the copy uses the original ones, or nothing would be equal any more."""


@dataclass(frozen=True)
class Mutant:
    module: ModuleType
    old: str
    new: str
    equivalent: str = ""
    """Why nobody could ever notice it."""

    def __str__(self) -> str:
        where = self.module.__name__.rpartition(".")[2]
        return f"{where}: {_shown(self.old)} -> {_shown(self.new)}"


def _shown(text: str) -> str:
    return " ".join(text.split())[:70]


def alarm(old: str, new: str, equivalent: str = "") -> Mutant:
    return Mutant(rules.alarm, old, new, equivalent)


def engine(old: str, new: str, equivalent: str = "") -> Mutant:
    return Mutant(rules.engine, old, new, equivalent)


def latched(old: str, new: str, equivalent: str = "") -> Mutant:
    return Mutant(rules.latched, old, new, equivalent)


MUTANTS = (
    # ------------------------------------------------------------------ delays
    alarm("FORGET_S = 3600.0", "FORGET_S = 36000.0"),
    alarm("FORGET_S = 3600.0", "FORGET_S = 3000.0"),
    alarm(
        "return self.elapsed_s + max(0.0, now_s - self.mark_s) if self", "return max(0.0, now_s - self.mark_s) if self"
    ),
    alarm("self.mark_s + (limit_s - self.elapsed_s) if", "self.mark_s + limit_s if"),
    alarm("return self if self.running else Stopwatch(self.elapsed_s, now_s, True)", "return self"),
    alarm("else Stopwatch(self.elapsed_s, now_s, True)", "else Stopwatch(0.0, now_s, True)"),
    alarm("return Stopwatch(self.read_s(now_s), now_s, False) if", "return Stopwatch(self.elapsed_s, now_s, False) if"),
    alarm("now_s, False) if self.running else self", "now_s, True) if self.running else self"),
    alarm("(not early or not limit_s)", "(not early)"),
    alarm("(not early or not limit_s)", "True"),
    alarm("return due_s < now.monotonic_s or (", "return due_s < now.monotonic_s and ("),
    alarm("if _has_ended(held, timing.on_s, now, early):", "if _has_ended(held, timing.off_s, now, early):"),
    alarm("held = (alarm.held or Stopwatch(0.0,", "held = (None or Stopwatch(0.0,"),
    alarm("begins = alarm.held is None and alarm.state is AlarmState.NORMAL", "begins = alarm.held is None"),
    alarm("since_ms = now.utc_ms if begins else alarm.since_ms", "since_ms = now.utc_ms"),
    alarm(
        "clearing = (alarm.clearing or Stopwatch(0.0, now.monotonic_s, True))",
        "clearing = Stopwatch(0.0, now.monotonic_s, True)",
    ),
    alarm(
        "clearing is alarm.clearing else replace(alarm, clearing=clearing), None",
        "clearing is alarm.clearing else replace(alarm, clearing=None), None",
    ),
    alarm("clearing = _frozen(alarm.clearing, now, early)", "clearing = alarm.clearing"),
    alarm("    held = _frozen(alarm.held, now, early)", "    held = alarm.held"),
    alarm("    held = _frozen(alarm.held, now, early)", "    held = None"),
    alarm("if watch is None or (not watch.running and _has_ended", "if watch is None or (_has_ended"),
    alarm("return alarm if held is alarm.held else replace(alarm, held=held), None", "return alarm, None"),
    # ------------------------------------------------------------------ raising
    alarm(
        "        clearing=None,\n        count=alarm.count + 1",
        "        count=alarm.count + 1",
        "an alarm that is not active has none: it was set back when it ended",
    ),
    alarm("count=alarm.count + 1", "count=alarm.count + (alarm.state is AlarmState.NORMAL)"),
    alarm("        reason=reason,\n        since_ms=now.utc_ms,", "        reason=reason,"),
    alarm('        acked_by="",\n        raises_s', "        raises_s"),
    alarm("        begun=False,\n", "", "the engine says with the raise whether its actions have begun"),
    alarm(
        "        reason=reason,\n        since_ms=now.utc_ms,\n        basis=basis,",
        "        reason=reason,\n        since_ms=now.utc_ms,",
        "an alarm that is not active has the basis of its rule already",
    ),
    alarm("state=AlarmState.UNACK,\n        held=held,", "state=AlarmState.UNACK,\n        held=None,"),
    # ------------------------------------------------------------------ chatter
    alarm("[-chatter.raises :]", "[-chatter.raises - 1 :]"),
    alarm("now.monotonic_s - raises_s[0] <= chatter.within_s", "now.monotonic_s - raises_s[0] < chatter.within_s"),
    alarm("now.monotonic_s - raises_s[0] <= chatter.within_s", "True"),
    alarm(
        "return raises_s, alarm.chattering or many",
        "return raises_s, many",
        "chattering ends when the alarm does, so no alarm is raised while it chatters",
    ),
    alarm("max(timing.off_s, timing.chatter.calm_s)", "timing.chatter.calm_s"),
    alarm("max(timing.off_s, timing.chatter.calm_s)", "timing.off_s"),
    alarm("since_ms=now.utc_ms, basis=basis, chattering=False)", "since_ms=now.utc_ms, basis=basis)"),
    alarm(
        "since_ms=now.utc_ms, basis=basis, chattering=False)", "since_ms=alarm.since_ms, basis=basis, chattering=False)"
    ),
    # ------------------------------------------------------------------ ending
    alarm("    if alarm.held is None:\n        return alarm\n    since_ms", "    since_ms"),
    alarm("return replace(alarm, held=None, since_ms=since_ms)", "return replace(alarm, since_ms=since_ms)"),
    alarm("since_ms = now.utc_ms if alarm.state is AlarmState.NORMAL else alarm.since_ms", "since_ms = now.utc_ms"),
    alarm(
        "return replace(alarm, reason=CONDITION, clearing=None, basis=basis), CONDITION",
        "return replace(alarm, clearing=None, basis=basis), None",
    ),
    alarm(
        "    if alarm.clearing is None and alarm.basis == basis:\n        return alarm, None\n    return replace(alarm, clearing=None, basis=basis), None",
        "    return alarm, None",
    ),
    alarm(
        "    return replace(alarm, clearing=None, basis=basis), None", "    return replace(alarm, clearing=None), None"
    ),
    alarm("    if alarm.basis != basis:\n        return _cleared", "    if False:\n        return _cleared"),
    alarm(
        "return _cleared(alarm, timing, basis, now), RULE_CHANGED",
        "return _cleared(alarm, timing, basis, now), CONDITION",
    ),
    alarm("seen = alarm.state is AlarmState.ACKED", "seen = False"),
    alarm("AlarmState.LATCHED_ACKED if seen else AlarmState.LATCHED_UNACK", "AlarmState.LATCHED_UNACK"),
    alarm("AlarmState.NORMAL if seen or timing.auto_ack else", "AlarmState.NORMAL if seen else"),
    alarm("    if timing.latched:\n        state", "    if timing.latched and not seen:\n        state"),
    alarm(
        "return replace(alarm, state=state, held=None, clearing=None,",
        "return replace(alarm, state=state, clearing=None,",
    ),
    alarm(
        "return replace(alarm, state=state, held=None, clearing=None,",
        "return replace(alarm, state=state, held=None,",
        "the clock of the clearing is set back at the next raise and read nowhere before",
    ),
    # ------------------------------------------------------------------ no data
    alarm(
        "if starved and timing.no_data is NoData.ALARM and not alarm.active:",
        "if timing.no_data is NoData.ALARM and not alarm.active:",
    ),
    alarm(
        "timing.no_data is NoData.ALARM and not alarm.active:",
        "timing.no_data is NoData.ALARM and alarm.state is AlarmState.NORMAL:",
    ),
    alarm("if starved and timing.no_data is NoData.ALARM and not alarm.active:", "if starved and not alarm.active:"),
    alarm("if starved and timing.no_data is NoData.CLEAR:", "if timing.no_data is NoData.CLEAR:"),
    alarm("if alarm.active else (_dropped(alarm, now), None)", "if alarm.active else (alarm, None)"),
    alarm("NO_DATA, timing, basis, now), NO_DATA", "CONDITION, timing, basis, now), CONDITION"),
    alarm(
        "    if alarm.known is not (condition is not None):\n        alarm = replace(alarm, known=condition is not None)\n",
        "",
    ),
    # ------------------------------------------------------------------ people
    alarm("AlarmState.RTN_UNACK: AlarmState.NORMAL,", ""),
    alarm("AlarmState.LATCHED_UNACK: AlarmState.LATCHED_ACKED,", "AlarmState.LATCHED_UNACK: AlarmState.NORMAL,"),
    alarm(
        "replace(alarm, state=state, acked_by=who, since_ms=now.utc_ms)",
        "replace(alarm, state=state, since_ms=now.utc_ms)",
    ),
    alarm(
        "replace(alarm, state=state, acked_by=who, since_ms=now.utc_ms)", "replace(alarm, state=state, acked_by=who)"
    ),
    alarm(
        "return replace(alarm, state=AlarmState.NORMAL, since_ms=now.utc_ms)",
        "return replace(alarm, state=AlarmState.NORMAL)",
    ),
    alarm(
        '    if alarm.state is not AlarmState.ACKED:\n        return alarm\n    return replace(alarm, state=AlarmState.UNACK, acked_by=""',
        '    return alarm\n    return replace(alarm, state=AlarmState.UNACK, acked_by=""',
    ),
    alarm(
        'return replace(alarm, state=AlarmState.UNACK, acked_by="", since_ms',
        "return replace(alarm, state=AlarmState.UNACK, since_ms",
    ),
    alarm(
        "return self.suppressed or self.shelf is not None or self.outage is not None",
        "return self.suppressed or self.shelf is not None",
    ),
    alarm(
        "return self.suppressed or self.shelf is not None or self.outage is not None",
        "return self.shelf is not None or self.outage is not None",
    ),
    alarm("due_s = min(_until_s(self.shelf), _until_s(self.outage))", "due_s = _until_s(self.shelf)"),
    alarm(
        "return due_s if self.held is None else min(due_s, self.held",
        "return due_s if self.held is None else min(math.inf, self.held",
    ),
    # ------------------------------------------------------------------ a restart
    alarm("shelf=_carried_pause(alarm.shelf, now),", "shelf=None,"),
    alarm("        outage=_carried_pause(alarm.outage, now),\n", ""),
    alarm("max(0.0, (pause.until_ms - now.utc_ms) / 1000)", "(pause.until_ms - now.utc_ms)"),
    alarm("now.monotonic_s - max(0.0, alive_s - raised_s) for", "raised_s for"),
    alarm("        return replace(_dropped(alarm, now), basis=basis)", "        return replace(alarm, basis=basis)"),
    alarm(
        "return Stopwatch(watch.read_s(alive_s), now.monotonic_s - stood_s, running)",
        "return Stopwatch(watch.elapsed_s, now.monotonic_s - stood_s, running)",
    ),
    alarm("now.monotonic_s - stood_s, running)", "now.monotonic_s, running)"),
    alarm(
        "held=_carried(alarm.held, alive_s, now, running=alarm.active)",
        "held=_carried(alarm.held, alive_s, now, running=True)",
    ),
    alarm(
        "clearing=_carried(alarm.clearing, alive_s, now, running=False)",
        "clearing=_carried(alarm.clearing, alive_s, now, running=True)",
    ),
    alarm("clearing=_carried(alarm.clearing, alive_s, now, running=False)", "clearing=None"),
    # ------------------------------------------------------------------ the engine: order within an instant
    engine("        if not more:\n            self._run_timers(now, output)", "        self._run_timers(now, output)"),
    engine("self._decide(listener, now, output, early=True)", "self._decide(listener, now, output)"),
    engine("            elif listener.rank:\n                self._agenda[listener] = None\n", ""),
    engine("lowest = min(runner.rank", "lowest = max(runner.rank"),
    engine("if is_true is not None or awaited_s <", "if True or awaited_s <"),
    engine("            condition = False  # at", "            condition = condition  # at"),
    engine(" or window.due_s <= now.monotonic_s)", ")"),
    engine("starved_s == now.monotonic_s and not early)", "starved_s == now.monotonic_s)"),
    engine(
        "asked = program.reads.when if runner.probe is program.when else",
        "asked = program.reads.still if runner.probe is program.when else",
    ),
    engine(
        "if cell.value is None and number in asked",
        "if number in asked",
        "the limit of a known value is never longer than that of missing data",
    ),
    engine("if cell.value is None and number in asked", "if cell.value is None"),
    engine("return min(unknown, default=NEVER)", "return max(unknown, default=NEVER)"),
    engine("sticky = rule_looks_again or (condition is None and bool(runner.starving))", "sticky = False"),
    engine("own = alarm.active and alarm.reason == CONDITION and", "own = alarm.active and"),
    engine("own = alarm.active and alarm.reason == CONDITION and", "own = alarm.reason == CONDITION and"),
    engine(" and alarm.basis == runner.rule.basis\n", "\n"),
    # ------------------------------------------------------------------ the engine: what stands beside the state
    engine("        if early:\n            return\n        if alarm.shelf", "        if alarm.shelf"),
    engine(
        "if alarm.shelf is not None and alarm.shelf.until_s <= now.monotonic_s",
        "if alarm.shelf is not None and alarm.shelf.until_s < now.monotonic_s",
    ),
    engine("        if not 0 < for_s <= longest_s:", "        if not 0 < for_s < longest_s:"),
    engine("        if not 0 < for_s <= longest_s:", "        if longest_s and not 0 < for_s <= longest_s:"),
    engine("            self._suppress(runner, False, now, output)  #", "            pass  #"),
    engine("begun=not held_back and not waits,", "begun=True,"),
    engine("            suppressed=suppressed,\n            begun", "            begun"),
    engine(
        "suppressed = muted is not None and muted(runner.inputs) is True",
        "suppressed = muted is not None and muted(runner.inputs) is not False",
    ),
    engine(
        "        if not runner.alarm.active or runner.shadow:\n            return\n",
        "        if runner.shadow:\n            return\n",
    ),
    engine(
        "        if not runner.alarm.active or runner.shadow:\n            return\n",
        "        if not runner.alarm.active:\n            return\n",
    ),
    engine(
        "        if before.quiet:\n            if not before.begun:",
        "        if False:\n            if not before.begun:",
    ),
    engine("if runner.shadow or runner.alarm.quiet:", "if runner.alarm.quiet:"),
    engine("replace(reminded(before, now), begun=True)", "replace(before, begun=True)"),
    engine("            self._announce(runner, AGAIN, now, output)", "            pass"),
    engine(
        "            runner.wait_s = now.monotonic_s + runner.rule.wait_for_parent_s\n        else",
        "            pass\n        else",
    ),
    engine(
        "            elif runner.alarm.active and not runner.alarm.begun:\n", "            elif runner.alarm.active:\n"
    ),
    engine(
        '        if alarm.active:\n            output.line("suppress"',
        '        if True:\n            output.line("suppress"',
    ),
    engine(
        "        if not runner.alarm.suppressed:\n            return -NEVER\n",
        "        if True:\n            return -NEVER\n",
    ),
    engine("return max(unheard, default=-NEVER)", "return NEVER"),
    # ------------------------------------------------------------------ the engine: restart and reload
    engine("            self._look_first(runner, started)\n", ""),
    engine("condition = False if is_closed else runner.probe", "condition = runner.probe"),
    engine("runner.alarm = replace(runner.alarm, shelf=before.alarm.shelf, outage=before.alarm.outage)", "pass"),
    engine("        heir._inputs.inherit(self._inputs, now)\n", ""),
    engine(
        "            heir._decide(runner, now, output)\n        heir._work_off",
        "            pass\n        heir._work_off",
    ),
    engine("        if alarm.latched:\n            self._latched.keep(key, alarm, priority)\n            return\n", ""),
    engine(
        '        if alarm.active:\n            output.line("clear"',
        '        if False:\n            output.line("clear"',
    ),
    engine("reason = RULE_OFF if is_off else RULE_DELETED", "reason = RULE_DELETED"),
    engine("priority = Priority.JOURNAL if runner.shadow else runner.rule.priority", "priority = runner.rule.priority"),
    latched("        output.alarms.append(self.change(key, after, priority, ACK, now, after.state))\n", ""),
    engine("            self._note_pending(runner, now, output)\n            self._desk", "            self._desk"),
    latched(
        "        if alarm.state is not AlarmState.LATCHED_ACKED:\n            output",
        "        if False:\n            output",
    ),
    engine("if runner.alarm.state is not AlarmState.LATCHED_ACKED:\n", "if not runner.alarm.latched:\n"),
    engine(
        "        elif runner.saved:\n            output.saved[runner.key] = None",
        "        elif False:\n            output.saved[runner.key] = None",
    ),
    engine("if alarm.count or alarm.shown is not AlarmState.NORMAL or alarm.shelf", "if alarm.count or alarm.shelf"),
    engine("        if abs(moved_ms) > _WALL_STEP_MS:", "        if False:"),
)


@contextmanager
def broken(mutant: Mutant) -> Iterator[Any]:
    """The class Engine with this defect."""
    source = inspect.getsource(mutant.module)
    assert source.count(mutant.old) >= 1, f"the text has changed: {mutant}"
    namespace: dict[str, Any] = {"__name__": mutant.module.__name__}
    exec(compile(source.replace(mutant.old, mutant.new, 1), f"<{mutant}>", "exec"), namespace)
    if mutant.module is rules.engine:
        yield namespace["Engine"]
        return
    engine_space: dict[str, Any] = {"__name__": rules.engine.__name__}
    exec(compile(inspect.getsource(rules.engine), "<engine>", "exec"), engine_space)
    if mutant.module is rules.latched:
        engine_space["Latched"] = namespace["Latched"]
        yield engine_space["Engine"]
        return
    with _methods_of(namespace):
        functions = {name: each for name, each in namespace.items() if inspect.isfunction(each)}
        engine_space |= {name: each for name, each in functions.items() if name in engine_space}
        yield engine_space["Engine"]


@contextmanager
def _methods_of(namespace: dict[str, Any]) -> Iterator[None]:
    before: list[tuple[type, str, Any]] = []
    for name in SHARED:
        original, copy = getattr(rules.alarm, name), namespace[name]
        namespace[name] = original
        for key, value in vars(copy).items():
            if not key.startswith("__") and (inspect.isfunction(value) or isinstance(value, property)):
                before.append((original, key, vars(original)[key]))
                setattr(original, key, value)
    try:
        yield
    finally:
        for original, key, value in before:
            setattr(original, key, value)
