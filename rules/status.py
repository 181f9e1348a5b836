"""An alarm as people and platforms see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.model import AlarmChange, AlarmState, Place, PointId, Priority, Text, Value
from rules.alarm import SHADOW, Alarm, Instant, Pause
from rules.inputs import Cell
from rules.runner import Runner
from rules.text import Hole, Template, duration, render, shown, spoken, where_is


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
    shelf: Pause | None = None
    outage: Pause | None = None
    suppressed: bool = False
    chattering: bool = False


def status_of(runner: Runner, now: Instant) -> AlarmStatus:
    alarm, rule = runner.alarm, runner.rule
    return AlarmStatus(
        rule=rule.id,
        device=runner.watch.device,
        name=rule.name,
        place=runner.place,
        state=alarm.shown,
        priority=rule.priority,
        id=alarm.id,
        count=alarm.count,
        reason=alarm.reason,
        since_ms=alarm.since_ms,
        held_s=0.0 if alarm.held is None else alarm.held.read_s(now.monotonic_s),
        known=alarm.known,
        shadow=runner.shadow,
        acked_by=alarm.acked_by,
        message=alarm.message,
        response=rule.response,
        values=_values(runner),
        shelf=alarm.shelf,
        outage=alarm.outage,
        suppressed=alarm.suppressed,
        chattering=alarm.chattering,
    )


def change_of(runner: Runner, reason: str, now: Instant) -> AlarmChange:
    """The alarm's present state as it is published; a rule on trial says so."""
    alarm, shadow = runner.alarm, runner.shadow
    return AlarmChange(
        id=alarm.id,
        rule=runner.rule.id,
        device=runner.watch.device,
        place=runner.place,
        state=alarm.state,
        priority=Priority.JOURNAL if shadow else runner.rule.priority,
        count=alarm.count,
        time_ms=now.utc_ms,
        reason=SHADOW if shadow else reason,
        message=alarm.message,
        values=_values(runner),
    )


def message_of(runner: Runner, alarm: Alarm, now: Instant) -> Text:
    """The rule's message for *alarm*, which is not the runner's yet."""
    zh, en = runner.rule.message
    holes = {part.name for part in (*zh, *en) if isinstance(part, Hole)}
    texts = {"where": where_is(runner.device)}
    if holes != {"where"}:
        held_s = alarm.held.read_s(now.monotonic_s) if alarm.held is not None else 0.0
        texts |= {"held": duration(held_s), **spoken(runner.watch.program, runner.inputs, now.monotonic_s)}
        texts |= {name: shown(origin.point, origin.value) for name, origin in runner.messaged.items()}
    return Text(
        _filled(zh, {name: text.zh for name, text in texts.items()}),
        _filled(en, {name: text.en for name, text in texts.items()}),
    )


def _values(runner: Runner) -> Mapping[PointId, Value | None]:
    cells = [source for source in runner.inputs if isinstance(source, Cell)]
    return {cell.origin.point.id: cell.value for cell in cells}


def _filled(template: Template, texts: Mapping[str, str]) -> str:
    return render(template, texts).strip()
