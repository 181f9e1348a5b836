"""A hub of GB/T 26875 on a real port, the core that stores what it reports, and devices' entries."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from drivers.base import DeviceSpec, Happening, HubSpec, PointSpec, Report
from drivers.gb26875.config import Gb26875HubOptions, Gb26875Options, Gb26875PointOptions
from drivers.gb26875.hub import GB26875, Gb26875Hub
from gateway.config.faults import Report as Faults
from gateway.config.profiles import Profiles
from gateway.model import Point, Text, Value, ValueKind
from support.clock import LoopClock, ManualClock

SOURCE = "B22396604001"
PANEL = "panel"


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shipped_points(device: str, profile: str = "gb26875_panel", protocol: str = "gb26875") -> dict[str, PointSpec]:
    """The points of a shipped profile."""
    faults = Faults()
    loaded = Profiles(Path("nowhere"), faults).get(profile)
    assert loaded is not None, faults.faults
    return {
        f"{device}.{name}": PointSpec(
            Point(f"{device}.{name}", ValueKind(model.kind), Text("", ""), 60.0, unit=model.unit),
            loaded.options[protocol][name],
        )
        for name, model in loaded.model.points.items()
    }


def analog_point(device: str, name: str, component: str, analog: int, unit: str) -> dict[str, PointSpec]:
    point = f"{device}.{name}"
    options = Gb26875PointOptions(component=component, analog=analog)
    return {point: PointSpec(Point(point, ValueKind.NUMBER, Text("", ""), 60.0, unit=unit), options)}


def device(id_: str = PANEL, points: Mapping[str, PointSpec] | None = None, **options: Any) -> DeviceSpec:
    said = Gb26875Options.model_validate({"source": SOURCE, **options})
    return DeviceSpec(id_, said, shipped_points(id_) if points is None else points, 1.0)


def hub_spec(
    *devices: DeviceSpec, udp: bool = False, tcp: bool = True, memory: Mapping[str, bytes] | None = None
) -> HubSpec:
    listening = {}
    if tcp:
        listening["listen"] = f"127.0.0.1:{free_port()}"
    if udp:
        listening["listen_udp"] = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    options = Gb26875HubOptions.model_validate(listening)
    return HubSpec("fire", options, {each.id: each for each in devices or (device(),)}, memory or {})


class Core:
    """Takes reports, keeps them, says that they are on disk.  While ``disk`` is clear it stores nothing."""

    def __init__(self, hub: Gb26875Hub) -> None:
        self.hub = hub
        self.reports: list[Report] = []
        self.memory: dict[str, bytes] = {}
        self.disk = asyncio.Event()
        self.disk.set()
        self._more = asyncio.Condition()

    async def run(self) -> None:
        while True:
            reports = await self.hub.receive()
            async with self._more:
                self.reports += reports
                self._more.notify_all()
            await self.disk.wait()
            self.memory |= {report.device: report.memory for report in reports if report.memory is not None}
            await self.hub.stored(reports)

    async def until(self, wanted: Callable[[Core], bool]) -> None:
        async with self._more:
            await self._more.wait_for(lambda: wanted(self))

    @property
    def happenings(self) -> Sequence[Happening]:
        return [each for report in self.reports for each in report.happenings]

    def happened(self, kind: str) -> int:
        return sum(1 for each in self.happenings if each.kind == kind)

    def values(self, of: str = PANEL) -> dict[str, Value | None]:
        """Point -> the latest value."""
        return {
            reading.point.removeprefix(f"{of}."): reading.value
            for report in self.reports
            if report.device == of
            for reading in report.readings
        }


@asynccontextmanager
async def running(spec: HubSpec | None = None, clock: ManualClock | None = None) -> AsyncIterator[Core]:
    """The hub, open, with a core that takes what it reports."""
    assert GB26875.hub is not None
    hub = GB26875.hub(spec or hub_spec(), clock or LoopClock())
    assert isinstance(hub, Gb26875Hub)
    core = Core(hub)
    async with hub:
        task = asyncio.create_task(core.run())
        try:
            yield core
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
