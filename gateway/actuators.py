"""Orders of the rules become commands.

    take ──▶ waiting, the newest for each point ──▶ one at a time for each device ──▶ Commands.execute (urgent)
      └────── what closes: at once, whatever else is under way

Nothing here waits for a disk, and nobody waits for this: ``take`` returns at once.  An order that could not leave
(the line is down) is tried again for a while, as nothing has been sent; one that has left is never repeated here:
that is for the rule to say (``confirm``, ``tries``).  Orders die with the process; see rules/effects.py for what a
restart makes of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from gateway.actions import Table, Write, actions_of, available
from gateway.clock import Clock
from gateway.commands import Code, Command, Commands, Interlock, Outcome, Status
from gateway.ids import uuid7
from gateway.model import Point, PointId
from rules.effects import action_of, device_of, is_closing
from rules.output import Order

__all__ = ["Actuator", "Table", "Write", "actions_of", "available", "interlock"]

log = structlog.get_logger()

RETRY_S = 5.0
GIVE_UP_S = 120.0
"""An order that has not left by then stays here."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    order: Order
    point: PointId
    value: object
    taken_s: float


@dataclass(slots=True)
class Actuator:
    commands: Commands
    actions: Table
    clock: Clock
    _waiting: dict[str, dict[PointId, _Job]] = field(init=False, default_factory=dict)
    """Device -> point -> the newest order, in the order in which they came."""
    _closing: list[_Job] = field(init=False, default_factory=list)
    _under_way: list[_Job] = field(init=False, default_factory=list)
    """In the order in which they were begun."""
    _busy: set[str] = field(init=False, default_factory=set)
    _some: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def take(self, orders: Sequence[Order]) -> None:
        """Carry them out as soon as ``run`` gets its turn."""
        for order in orders:
            job = self._job(order)
            waiting = self._waiting.setdefault(device_of(order.send), {})
            if (late := waiting.pop(job.point, None)) is not None:
                log.info("order overtaken before it left", order=late.order.send, by=order.send)
            if is_closing(action_of(order.send)):
                self._closing.append(job)
            else:
                waiting[job.point] = job
        if orders:
            self._some.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._some.wait()
                self._some.clear()
                closing, self._closing = self._closing, []
                for job in closing:
                    self._under_way.append(job)
                    group.create_task(self._carry_out(job))
                for device in [each for each, jobs in self._waiting.items() if jobs and each not in self._busy]:
                    self._busy.add(device)
                    group.create_task(self._serve(device))

    async def _serve(self, device: str) -> None:
        waiting = self._waiting[device]
        try:
            while waiting:
                point = next(iter(waiting))
                await self.commands.free(point)
                if point in waiting:  # it may have been overtaken meanwhile
                    job = waiting.pop(point)
                    self._under_way.append(job)
                    await self._carry_out(job)
        finally:
            self._busy.discard(device)

    async def _carry_out(self, job: _Job) -> None:
        try:
            while not self._is_over(await self._execute(job), job):
                await asyncio.sleep(RETRY_S)
                if self._overtaken(job):
                    return
        finally:
            self._under_way.remove(job)

    def _is_over(self, outcome: Outcome, job: _Job) -> bool:
        if outcome.status is not Status.OK:
            why = f"{outcome.code} {outcome.detail}".rstrip()
            log.warning("order not carried out", order=job.order.send, alarm=job.order.name, why=why)
        unsent = outcome.status is Status.FAILED and outcome.code is Code.LINE_LOST
        return not unsent or self.clock.monotonic_s() + RETRY_S >= job.taken_s + GIVE_UP_S

    def _overtaken(self, job: _Job) -> bool:
        """By a newer order for its point: the same again, or something else."""
        later = self._under_way[self._under_way.index(job) + 1 :]
        waiting = self._waiting[device_of(job.order.send)].values()
        return any(each.point == job.point for each in (*later, *waiting))

    async def _execute(self, job: _Job) -> Outcome:
        now_ms, order = self.clock.now_ms(), job.order
        attempt = "" if order.attempt == 1 else f" #{order.attempt}"
        command = Command(
            uuid7(now_ms),
            job.point,
            job.value,
            who=f"rule:{order.name}",
            reason=f"{order.name}: {order.send}{attempt}",
            via="rule",
            expires_s=job.taken_s + GIVE_UP_S,
            urgent=True,
        )
        return await self.commands.execute(command)

    def _job(self, order: Order) -> _Job:
        """An action that nobody offers becomes a command for a point that does not exist: refused, and audited."""
        point, value = self.actions.get(device_of(order.send), {}).get(action_of(order.send), (order.send, ""))
        return _Job(order, point, value, self.clock.monotonic_s())


def interlock(holds: Callable[[], Mapping[str, tuple[str, str]]], actions: Table) -> Interlock:
    """Refuses what contradicts an alarm that holds the device (``effects.Arbiter.holds``); closing never does."""

    def why(command: Command, point: Point) -> str | None:
        held = holds().get(point.device) if command.via != "rule" else None
        offered = actions.get(point.device, {})
        if held is None or (wanted := offered.get(action_of(held[1]))) is None:
            return None
        closing = [write for action, write in offered.items() if is_closing(action)]
        given = (point.id, command.value)
        if wanted[0] != point.id or given == wanted or given in closing:
            return None
        alarm, send = held
        return f"报警 {alarm} 正在保持 {send}，先处理并复位 / alarm {alarm} holds {send}: see to it and reset it first"

    return why
