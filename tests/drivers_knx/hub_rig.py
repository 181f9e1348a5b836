"""What the contract suite of hubs runs KNX on."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.knx.config import DeviceOptions, HubOptions, PointOptions
from drivers.knx.hub import KnxHub
from drivers.knx.simulator import SimInterface
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

POINTS: dict[str, tuple[ValueKind, dict[str, Any]]] = {
    "temperature": (ValueKind.NUMBER, {"group": "1/2/3", "dpt": "9.001"}),
    "energy": (ValueKind.NUMBER, {"group": "1/2/4", "dpt": "13.010", "scale": 0.001}),
    "smoke": (ValueKind.BOOLEAN, {"group": "1/2/5", "dpt": "1.005"}),
    "door": (ValueKind.STATE, {"group": "1/2/6", "dpt": "1.019", "map": {0: "closed", 1: "open"}}),
    "mode": (ValueKind.STATE, {"group": "1/2/7", "dpt": "20.102", "map": {1: "comfort", 3: "economy"}}),
    "name": (ValueKind.TEXT, {"group": "1/2/8", "dpt": "16.000"}),
}


def spec_of(device: str, **options: Any) -> DeviceSpec:
    points = {}
    for name, (kind, keys) in POINTS.items():
        point = Point(f"{device}.{name}", kind, Text(name, name), 60.0)
        points[point.id] = PointSpec(point, PointOptions(**keys))
    return DeviceSpec(device, DeviceOptions(**options), points, 1.0)


def hub_of(gateway: str, devices: Mapping[str, DeviceSpec]) -> KnxHub:
    return KnxHub(HubSpec("knx", HubOptions(gateway=gateway, local_ip="127.0.0.1"), devices), ManualClock())


class KnxRig:
    device = "k"
    devices = ("k",)

    def __init__(self, hub: KnxHub, interface: SimInterface) -> None:
        self.hub = hub
        self._interface = interface

    async def say(self, number: int) -> None:
        self._interface.write("1/2/5", number % 2)

    async def garbage(self) -> None:
        for at in self._interface.tunnels.values():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.sendto(b"\x06\x10\x04\x20\x00\x0b\x04\x01", at)
                peer.sendto(b"\xff" * 40, at)

    async def stranger(self) -> None:
        self._interface.write("9/1/1", b"\x0c\x1a")


@asynccontextmanager
async def _rig() -> AsyncIterator[KnxRig]:
    async with SimInterface() as interface:
        yield KnxRig(hub_of(interface.address, {"k": spec_of("k")}), interface)


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[KnxRig]]]]:
    yield "knx", _rig
