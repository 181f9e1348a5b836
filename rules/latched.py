"""Latched alarms whose rules are gone: they stay until somebody acknowledges and resets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.model import AlarmChange, AlarmState, Device, Place, Priority, Text
from rules import journal
from rules.alarm import ACK, RESET, RULE_DELETED, Alarm, Instant, acknowledged
from rules.output import Output
from rules.runner import name_of
from rules.status import AlarmStatus


class Latched:
    def __init__(self, devices: Mapping[str, Device]) -> None:
        self._devices = devices
        self._alarms: dict[str, tuple[Alarm, Priority]] = {}
        """By journal key."""

    def __contains__(self, key: str) -> bool:
        return key in self._alarms

    def keep(self, key: str, alarm: Alarm, priority: Priority) -> None:
        self._alarms[key] = (alarm, priority)

    def records(self) -> Mapping[str, bytes]:
        return {key: journal.alarm_record(alarm, priority) for key, (alarm, priority) in self._alarms.items()}

    def acknowledge(self, key: str, who: str, now: Instant, output: Output) -> None:
        alarm, priority = self._alarms[key]
        after = acknowledged(alarm, who, now)
        if after is alarm:
            return
        self.keep(key, after, priority)
        output.saved[key] = journal.alarm_record(after, priority)
        output.line("ack", name_of(*journal.named(key)), now.utc_ms, who=who)
        output.alarms.append(self.change(key, after, priority, ACK, now, after.state))

    def reset(self, key: str, who: str, now: Instant, output: Output) -> None:
        alarm, priority = self._alarms[key]
        name = name_of(*journal.named(key))
        if alarm.state is not AlarmState.LATCHED_ACKED:
            output.line("reset_refused", name, now.utc_ms, who=who, why="not acknowledged")
            return
        del self._alarms[key]
        output.saved[key] = None
        output.line("reset", name, now.utc_ms, who=who)
        output.alarms.append(self.change(key, alarm, priority, RESET, now))

    def change(
        self,
        key: str,
        alarm: Alarm,
        priority: Priority,
        reason: str,
        now: Instant,
        state: AlarmState = AlarmState.NORMAL,
    ) -> AlarmChange:
        """Of an alarm that no rule makes any more."""
        rule, device = journal.named(key)
        return AlarmChange(
            id=alarm.id,
            rule=rule,
            device=device,
            place=self._place(device),
            state=state,
            priority=priority,
            count=alarm.count,
            time_ms=now.utc_ms,
            reason=reason,
            message=alarm.message,
        )

    def statuses(self) -> Sequence[AlarmStatus]:
        return [self.status(key) for key in self._alarms]

    def status(self, key: str) -> AlarmStatus:
        alarm, priority = self._alarms[key]
        rule, device = journal.named(key)
        return AlarmStatus(
            rule=rule,
            device=device,
            name=Text(rule, rule),
            place=self._place(device),
            state=alarm.state,
            priority=priority,
            id=alarm.id,
            count=alarm.count,
            reason=RULE_DELETED,
            since_ms=alarm.since_ms,
            held_s=0.0,
            known=False,
            shadow=False,
            acked_by=alarm.acked_by,
            message=alarm.message,
            response=Text("", ""),
            values={},
        )

    def _place(self, device: str | None) -> Place:
        found = None if device is None else self._devices.get(device)
        return Place() if found is None else found.place
