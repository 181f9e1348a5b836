"""One system of the virtual compound, heard and asked by the product's own configuration, hubs and drivers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from drivers.base import Driver, Happening, Hub, Writable
from gateway.clock import SystemClock
from gateway.config.load import LinePlan, check, load
from gateway.field import drivers_on, links_on, open_hub, open_line, read_now
from gateway.model import PointId, Value
from gateway.sim import site
from gateway.sim.compound import Compound
from gateway.sim.systems.system import System
from gateway.sim.world import Layout

PATIENCE_S = 60.0
"""Nothing here takes a second; a stalled machine may."""


@dataclass
class Ear:
    values: dict[PointId, Value | None] = field(default_factory=dict)
    """The newest of each point."""
    happened: list[Happening] = field(default_factory=list)
    drivers: dict[str, Driver] = field(default_factory=dict)
    points: dict[str, list[PointId]] = field(default_factory=dict)
    """Of the devices that are asked."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, told: Callable[[], bool]) -> None:
        """Until what has been heard makes it true."""
        async with asyncio.timeout(PATIENCE_S):
            while not told():
                self._news.clear()
                await self._news.wait()

    def kinds(self) -> list[str]:
        return [each.kind for each in self.happened]

    async def ask(self, device: str) -> None:
        """All of its points, once."""
        readings = await read_now(self.drivers[device], self.points[device], SystemClock())
        self.values |= {reading.point: reading.value for reading in readings}

    async def ask_until(self, device: str, told: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not told():
                await self.ask(device)
                await asyncio.sleep(0)

    async def write(self, point: PointId, value: Value) -> None:
        driver = self.drivers[point.partition(".")[0]]
        assert isinstance(driver, Writable)
        await driver.write(point, value)

    async def listen(self, hub: Hub) -> None:
        while True:
            reports = await hub.receive()
            for report in reports:
                self.values |= {reading.point: reading.value for reading in report.readings}
                self.happened += report.happenings
            await hub.stored(reports)
            self._news.set()


@asynccontextmanager
async def ear(directory: Path, *systems: System) -> AsyncIterator[Ear]:
    """The systems are open, and so are their lines."""
    async with AsyncExitStack() as stack:
        compound = await stack.enter_async_context(Compound(Layout(1, 1, 1), systems=systems))
        site.write(compound, directory, directory / "store", None)
        assert [str(fault) for fault in check(directory) if not fault.warning] == []
        names = {line["id"] for system in systems for line in system.lines()}
        heard = Ear()
        for plan in load(directory).lines:
            if plan.id in names:
                await _open(stack, plan, heard)
        yield heard


async def _open(stack: AsyncExitStack, plan: LinePlan, heard: Ear) -> None:
    heard.points |= {each.device.id: [p.point.id for p in each.spec.points.values()] for each in plan.devices}
    if plan.hub is None:
        link = await stack.enter_async_context(open_line(plan))
        heard.drivers |= drivers_on(plan, links_on(plan, link), SystemClock())
        return
    hub = await stack.enter_async_context(open_hub(plan, plan.hub, {}, SystemClock()))
    heard.drivers |= drivers_on(plan, {each.device.id: hub for each in plan.devices}, SystemClock())
    listening = asyncio.create_task(heard.listen(hub))
    stack.push_async_callback(_ended, listening)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    (fault,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(fault, asyncio.CancelledError), fault
