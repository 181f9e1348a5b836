"""Cameras and hubs for the ONVIF tests."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from drivers.base import DeviceSpec, HubSpec, PointSpec, Report
from drivers.onvif.config import DeviceOptions, HubOptions, PointOptions
from drivers.onvif.hub import OnvifHub
from drivers.onvif.simulator import USER, SimCamera
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

PASSWORD = "camera-password"
POINTS: dict[str, dict[str, Any]] = {
    "online": {"says": "online"},
    "motion": {"says": "motion"},
    "tamper": {"says": "tamper"},
    "input1": {"says": "input", "number": 1},
    "input2": {"says": "input", "number": 2},
    "gate": {"says": "input", "token": "AlarmIn_10"},
    "model": {"says": "model"},
    "serial": {"says": "serial"},
}


def camera_spec(device: str, address: str, rtsp_port: int, folder: Path, **options: Any) -> DeviceSpec:
    points = {}
    for name, keys in POINTS.items():
        kind = ValueKind.TEXT if name in ("model", "serial") else ValueKind.BOOLEAN
        point = Point(f"{device}.{name}", kind, Text(name, name), 60.0)
        points[point.id] = PointSpec(point, PointOptions(**keys))
    (folder / "password").write_text(PASSWORD + "\n", encoding="utf-8")
    login = {"user": USER, "password_file": folder / "password"}
    keys = {"address": address, "rtsp_port": rtsp_port} | login | options
    return DeviceSpec(device, DeviceOptions(**keys), points, 5.0)


class Watching:
    """An open hub; what it reports is kept."""

    def __init__(self, hub: OnvifHub, clock: ManualClock) -> None:
        self.hub = hub
        self.clock = clock
        self.reports: list[Report] = []

    async def core(self) -> None:
        while True:
            reports = await self.hub.receive()
            self.reports += reports
            await self.hub.stored(reports)

    def values(self, point: str) -> list[object]:
        return [each.reason or each.value for report in self.reports for each in report.readings if each.point == point]

    def happenings(self, kind: str) -> list[Mapping[str, Any]]:
        return [each.attributes for report in self.reports for each in report.happenings if each.kind == kind]


@asynccontextmanager
async def watching(camera: SimCamera, hub: Mapping[str, Any] | None = None, **options: Any) -> AsyncIterator[Watching]:
    clock = ManualClock()
    with tempfile.TemporaryDirectory() as folder:
        spec = camera_spec("c", camera.address, camera.rtsp_port, Path(folder), **options)
        made = Watching(OnvifHub(HubSpec("cameras", HubOptions(**(hub or {})), {"c": spec}), clock), clock)
        async with made.hub:
            task = asyncio.create_task(made.core())
            try:
                yield made
            finally:
                task.cancel()
                await asyncio.wait([task])


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
