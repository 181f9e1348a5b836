"""Doors that are released from afar: on for a moment, and off again whatever happens.

"being released" on disk ──▶ on ──▶ hold ──▶ off ──▶ reads off ──▶ forgotten
                              └── anything else: off again and again until it reads off; after a crash, too
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from drivers.base import Writable
from gateway.clock import Clock
from gateway.commands import Code, Command, Commands, Outcome, Pulse, Status
from gateway.ids import uuid7
from gateway.model import Event, PointId
from gateway.remote.trail import Journal

log = structlog.get_logger()

PULSE_KEY = "remote/pulse/"
"""Begins the keys under which the store keeps which relays may be on."""
RETRY_S = 0.5
LONGEST_RETRY_S = 60.0


def left_on(saved: Mapping[str, bytes]) -> Iterable[PointId]:
    """The relays that were being pulsed when the daemon ended."""
    return [key.removeprefix(PULSE_KEY) for key in saved if key.startswith(PULSE_KEY)]


@dataclass(slots=True)
class Doors:
    commands: Commands
    journal: Journal
    clock: Clock
    left_on: Iterable[PointId] = ()
    _releasing: set[PointId] = field(init=False, default_factory=set)
    _resetting: set[PointId] = field(init=False, default_factory=set)
    _some: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        for point in self.left_on:
            if self._can_be_written(point):
                self._reset(point)
            else:
                log.error("a door was being released, and its relay is no longer here", point=point)
                self.journal.remember(PULSE_KEY + point, None)

    async def release(self, command: Command, hold_s: float) -> Outcome:
        """*command*: the relay of a door, on."""
        point = command.point
        if point in self._releasing:
            return Outcome(Status.REJECTED, Code.BUSY)
        self._releasing.add(point)
        self.journal.remember(PULSE_KEY + point, b"1")  # on disk with the command's audit, before anything is sent
        outcome: Outcome | None = None
        try:
            outcome = await self.commands.execute(command, Pulse(hold_s, False))
        finally:
            self._releasing.discard(point)
            if outcome is None or outcome.status is Status.UNKNOWN:
                self._reset(point)
            else:
                self._forget(point)
        return outcome

    async def run(self) -> None:
        """Bring to rest what may still be on, until cancelled."""
        pause_s = RETRY_S
        while True:
            await self._some.wait()
            for point in sorted(self._resetting - self._releasing):
                outcome = await self.commands.rest(point, False)
                if outcome.status is Status.OK and point not in self._releasing:
                    self._say(point)
            pause_s = min(LONGEST_RETRY_S, 2 * pause_s) if self._resetting else RETRY_S
            if self._resetting:
                await asyncio.sleep(pause_s)

    def _can_be_written(self, point: PointId) -> bool:
        about = self.commands.points.get(point)
        bus = None if about is None else self.commands.buses.get(about.device)
        return about is not None and bus is not None and isinstance(bus.drivers[about.device], Writable)

    def _reset(self, point: PointId) -> None:
        self._resetting.add(point)
        self._some.set()

    def _forget(self, point: PointId) -> None:
        self.journal.remember(PULSE_KEY + point, None)
        self._resetting.discard(point)
        if not self._resetting:
            self._some.clear()

    def _say(self, point: PointId) -> None:
        self._forget(point)
        now_ms, device = self.clock.now_ms(), self.commands.points[point].device
        log.warning("a door's relay was brought to rest", point=point)
        place = self.commands.places[device]
        about = {"point": point, "who": "gateway", "via": "local", "result": "ok"}
        self.commands.audit.note(Event(uuid7(now_ms), "door.reset", now_ms, device, place, about))
