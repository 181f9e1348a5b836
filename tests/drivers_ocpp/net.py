"""Hubs and chargers for the OCPP tests."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from drivers.base import DeviceSpec, HubSpec, PointSpec, Report
from drivers.ocpp.config import DeviceOptions, HubOptions, PointOptions
from drivers.ocpp.hub import OcppHub
from drivers.ocpp.simulator import SimCharger
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

PASSWORD = "secret-password"
STATES = ("available", "preparing", "charging", "unavailable", "faulted")
POINTS: dict[str, tuple[ValueKind, str | None, str]] = {
    "state": (ValueKind.STATE, None, "state"),
    "fault": (ValueKind.TEXT, None, "fault"),
    "charging": (ValueKind.BOOLEAN, None, "transaction"),
    "available": (ValueKind.BOOLEAN, None, "available"),
    "energy": (ValueKind.NUMBER, "kW.h", "energy"),
    "power": (ValueKind.NUMBER, "W", "power"),
    "current": (ValueKind.NUMBER, "A", "current"),
    "temperature": (ValueKind.NUMBER, "Cel", "temperature"),
}


def connector(device: str, number: int, folder: Path, charge_point: str = "CP-1", timeout_s: float = 5.0) -> DeviceSpec:
    points = {}
    for name, (kind, unit, says) in POINTS.items():
        states = STATES if kind is ValueKind.STATE else ()
        point = Point(f"{device}.{name}", kind, Text(name, name), 60.0, unit=unit, states=states)
        points[point.id] = PointSpec(point, PointOptions(says=says))  # type: ignore[arg-type]
    (folder / "password").write_text(PASSWORD + "\n", encoding="ascii")
    options = DeviceOptions(charge_point=charge_point, connector=number, password_file=folder / "password")
    return DeviceSpec(device, options, points, timeout_s)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Central:
    """A hub on a port of its own; what it reports is kept, and stored unless a test wants to see the time between."""

    def __init__(self, folder: Path, memory: Mapping[str, bytes] | None = None, **options: Any) -> None:
        self.port = options.pop("port", None) or free_port()
        self.clock = ManualClock()
        keys = {"listen": f"127.0.0.1:{self.port}", "authorize": "all"} | options
        self.devices = {"p1": connector("p1", 1, folder), "p2": connector("p2", 2, folder)}
        self.hub = OcppHub(HubSpec("chargers", HubOptions(**keys), self.devices, memory or {}), self.clock)
        self.reports: list[Report] = []
        self.memory: dict[str, bytes] = dict(memory or {})

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ocpp"

    def charger(self, password: str | None = PASSWORD, charge_point: str = "CP-1", **more: Any) -> SimCharger:
        return SimCharger(self.url, charge_point, password, **more)

    async def core(self) -> None:
        """What the core does: take, keep, confirm."""
        while True:
            await self.store(await self.hub.receive())

    async def store(self, reports: Sequence[Report]) -> None:
        self.reports += reports
        self.memory |= {each.device: each.memory for each in reports if each.memory is not None}
        await self.hub.stored(reports)

    def happenings(self, kind: str) -> list[Mapping[str, Any]]:
        return [each.attributes for report in self.reports for each in report.happenings if each.kind == kind]

    def values(self, point: str) -> list[object]:
        return [each.value for report in self.reports for each in report.readings if each.point == point]


@asynccontextmanager
async def central(**options: Any) -> AsyncIterator[Central]:
    """An open hub whose reports are stored as they come."""
    with tempfile.TemporaryDirectory() as folder:
        made = Central(Path(folder), **options)
        async with made.hub:
            task = asyncio.create_task(made.core())
            try:
                yield made
            finally:
                task.cancel()
                await asyncio.wait([task])
