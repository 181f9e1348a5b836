"""What an alarm does to devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.model import AlarmState, PointId
from rules.alarm import Instant
from rules.inputs import Cell
from rules.output import Order, Output
from rules.rule import Action, Hook
from rules.timers import NEVER


class Arbiter:
    def holds(self) -> Mapping[str, tuple[str, str]]:
        return {}


class Effects:
    def __init__(
        self,
        name: str,
        actions: Sequence[Action],
        cells: Mapping[PointId, Cell],
        arbiter: Arbiter,
        *,
        shadow: bool,
    ) -> None:
        self._name = name
        self._actions = actions
        self._shadow = shadow
        self.due_s = NEVER
        self.queued_s = NEVER

    def fire(self, hook: Hook, now: Instant, output: Output) -> None:
        for action in self._actions:
            if action.hook is not hook:
                continue
            if self._shadow:
                output.line("would_send", self._name, now.utc_ms)
            else:
                output.line("command", self._name, now.utc_ms)
                output.orders.append(Order(action.send, self._name, 1, now.utc_ms))

    def moved(self, state: AlarmState, now: Instant, output: Output) -> None: ...

    def look(self, now: Instant, output: Output) -> None: ...

    def expire(self, now: Instant, output: Output) -> None: ...

    def record(self) -> list[object] | None:
        return None

    def restore(self, record: object, now: Instant) -> None: ...
