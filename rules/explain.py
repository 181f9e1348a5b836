"""Why an alarm is on, or why not: everything its rule looks at, as it stands.  Plain data, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rules.alarm import Stopwatch
from rules.check import Input
from rules.inputs import Cell, Derived, Elapsed
from rules.runner import Runner, Standing
from rules.runner import Source as Slot


def explanation(runner: Runner, now_s: float) -> Mapping[str, Any]:
    """now_s: monotonic.  Durations are seconds; ``conditions`` are true, false or null (unknown)."""
    alarm, rule, program = runner.alarm, runner.rule, runner.watch.program
    suppressed = program.suppressed
    return {
        "rule": rule.id,
        "device": runner.watch.device,
        "state": str(alarm.shown),
        "mode": str(rule.mode),
        "written": dict(rule.written),
        "conditions": {
            "when": program.when(runner.inputs),
            "stays_on": program.still(runner.inputs),
            "suppress_when": None if suppressed is None else suppressed(runner.inputs),
            "only_during": None if runner.window is None else runner.window.value,
        },
        "inputs": list(_inputs(runner, now_s)),
        "timers": {
            "for_s": rule.timing.on_s,
            "held_s": _read(alarm.held, now_s),
            "held_runs": alarm.held is not None and alarm.held.running,
            "clear_after_s": rule.timing.off_s,
            "clearing_s": _read(alarm.clearing, now_s),
            "clearing_runs": alarm.clearing is not None and alarm.clearing.running,
            "next_in_s": None if math.isinf(runner.due_s) else max(0.0, runner.due_s - now_s),
        },
        "if_no_data": str(rule.timing.no_data),
        "flags": {
            "suppressed": alarm.suppressed,
            "shelved": alarm.shelf is not None,
            "out_of_service": alarm.outage is not None,
            "chattering": alarm.chattering,
            "latched": alarm.latched,
        },
        "count": alarm.count,
        "reason": alarm.reason,
        "since_ms": alarm.since_ms,
        "acked_by": alarm.acked_by,
        "actions": [action.send for action in runner.watch.actions],
    }


def _read(watch: Stopwatch | None, now_s: float) -> float | None:
    return None if watch is None else round(watch.read_s(now_s), 3)


def _inputs(runner: Runner, now_s: float) -> Iterator[Mapping[str, Any]]:
    watch = runner.watch
    for wanted, target, slot in zip(watch.program.inputs, watch.targets, runner.inputs, strict=True):
        yield _input(wanted, target, slot, now_s)


def _input(wanted: Input, target: str, slot: Slot, now_s: float) -> Mapping[str, Any]:
    match slot:
        case Cell(origin=origin):
            age_s = now_s - origin.newest_s
            return {
                "source": "value",
                "point": origin.point.id,
                "label": {"zh": origin.point.label.zh, "en": origin.point.label.en},
                "unit": origin.point.unit,
                "value": slot.value,
                "last": origin.value,
                "age_s": None if math.isinf(age_s) else round(age_s, 1),
                "stale_after_s": None if math.isinf(slot.limit_s) else slot.limit_s,
            }
        case Standing():
            on = [member.name for member in slot.members if member.alarm.active]
            return {"source": "alarm", "rule": wanted.name, "value": slot.value, "on": on[:20]}
        case Elapsed():
            since_s = round(now_s - slot.since_s, 1)
            return {
                "source": str(wanted.source.value),
                "of": target,
                "value": slot.value,
                "quiet_s": since_s,
                "limit_s": slot.limit_s,
            }
        case Derived():
            return {
                "source": wanted.function or "past",
                "of": target,
                "value": slot.value,
                "over_s": wanted.limit_s or None,
            }
