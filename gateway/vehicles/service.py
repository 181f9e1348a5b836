"""The vehicles of the site in the daemon: the lists look at what cameras tell, time passes, and both go to disk.

    intake ─▶ look ─▶ records, of one transaction with the event and with what of ``Vehicles`` has changed
    the time ─▶ run ─▶ ``list`` is nobody's again after a moment · who stays too long · everything said once a minute

A camera's points say something of the vehicle that has just been seen.  They are true for a moment only, so that a rule
that opens for one vehicle is asked again by the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from drivers.base import Happening
from gateway.clock import Clock
from gateway.model import PointId, Reading, Record, Value
from gateway.vehicles.points import CALM, DEVICE, INTERVAL_S
from gateway.vehicles.watch import VehicleWatch

MOMENT_S = 5.0
KEY = "vehicles/"
"""Begins the keys under which the store keeps who is inside."""


@dataclass(slots=True)
class VehicleService:
    watch: VehicleWatch
    cameras: Sequence[str]
    submit: Callable[[Sequence[Record]], Awaitable[None]]
    remember: Callable[[str, bytes | None], None]
    """Of the pipeline: goes to disk with the next group, which what has just been looked at is part of."""
    clock: Clock
    _calm_at_s: dict[str, float] = field(init=False, default_factory=dict)
    """Camera -> when what was seen is over."""
    _wake: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def look(
        self, device: str, happening: Happening, veiled: Mapping[str, str]
    ) -> tuple[Sequence[Record], Mapping[str, Value]]:
        """A ``Look`` of gateway/intake.py."""
        records, said = self.watch.look(device, happening, veiled)
        self._keep()
        if any(isinstance(record, Reading) and not record.point.startswith(f"{DEVICE}.") for record in records):
            self._calm_at_s[device] = self.clock.monotonic_s() + MOMENT_S
            self._wake.set()
        return records, said

    async def run(self) -> None:
        minute_s = self.clock.monotonic_s()
        while True:
            now_s = self.clock.monotonic_s()
            over = [camera for camera, at_s in self._calm_at_s.items() if at_s <= now_s]
            for camera in over:
                del self._calm_at_s[camera]
            await self.submit(self._calm(over))
            if now_s >= minute_s:
                minute_s = now_s + INTERVAL_S
                quiet = [camera for camera in self.cameras if camera not in self._calm_at_s]
                await self.submit([*self.watch.tick(), *self._calm(quiet), *self._areas()])
                self._keep()
            await self._until(min([minute_s, *self._calm_at_s.values()]))

    async def _until(self, at_s: float) -> None:
        self._wake.clear()
        timer = asyncio.get_running_loop().call_later(max(at_s - self.clock.monotonic_s(), 0.0), self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _keep(self) -> None:
        for part, kept in self.watch.vehicles.changes().items():
            self.remember(KEY + part, kept)

    def _calm(self, cameras: Sequence[str]) -> list[Reading]:
        return self._said({f"{camera}.{name}": value for camera in cameras for name, value in CALM.items()})

    def _areas(self) -> list[Reading]:
        return self._said({f"{DEVICE}.{name}": value for name, value in self.watch.vehicles.values().items()})

    def _said(self, values: Mapping[PointId, Value]) -> list[Reading]:
        now_ms = self.clock.now_ms()
        return [Reading(point, value, now_ms, now_ms) for point, value in values.items()]
