"""Simulated controllers on a real UDP port, and the hub that listens to them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.uhppote.config import OF_A_DOOR, OF_THE_CONTROLLER, DeviceOptions, HubOptions, PointOptions
from drivers.uhppote.hub import UhppoteHub
from drivers.uhppote.simulator import SimController, UhppoteSimulator
from gateway.clock import Clock
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

SERIAL, OTHER, STRANGER = 405419896, 201020304, 123456789
CLOCK = ManualClock()


def local_now(clock: Clock = CLOCK, zone: tzinfo = UTC) -> Callable[[], datetime]:
    return lambda: datetime.fromtimestamp(clock.now_ms() / 1000, zone).replace(tzinfo=None)


def device(id_: str, controller: int, door: int | None = None, timeout_s: float = 0.5, **options: Any) -> DeviceSpec:
    """With every point that such a device can have."""
    names = OF_A_DOOR if door else OF_THE_CONTROLLER
    return DeviceSpec(
        id_,
        DeviceOptions(controller=controller, door=door, **options),
        {f"{id_}.{name}": PointSpec(_point(id_, name), PointOptions.model_validate({"field": name})) for name in names},
        timeout_s,
    )


def _point(id_: str, name: str) -> Point:
    states = ("closed", "open") if name == "contact" else ()
    kind = ValueKind.STATE if states else ValueKind.BOOLEAN if name in OF_A_DOOR else ValueKind.NUMBER
    return Point(f"{id_}.{name}", kind, Text(name, name), 5.0, states=states, writable=name == "release")


def devices(serial: int = SERIAL, doors: int = 2, **options: Any) -> list[DeviceSpec]:
    """A controller ``c`` and its doors ``d1``, ``d2`` ..."""
    return [
        device("c", serial, **options),
        *(device(f"d{door}", serial, door, **options) for door in range(1, doors + 1)),
    ]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def hub(
    network: UhppoteSimulator,
    specs: list[DeviceSpec] | None = None,
    memory: Mapping[str, bytes] | None = None,
    clock: Clock = CLOCK,
    **options: Any,
) -> UhppoteHub:
    options = {"listen": f"127.0.0.1:{free_port()}", "broadcast": f"127.0.0.1:{network.port}"} | options
    chosen = {each.id: each for each in (devices() if specs is None else specs)}
    return UhppoteHub(HubSpec("doors", HubOptions(**options), chosen, memory or {}), clock)


@dataclass
class UhppoteRig:
    hub: UhppoteHub
    device: str
    network: UhppoteSimulator
    devices: tuple[str, ...] = ("c", "d1", "d2")

    @property
    def controller(self) -> SimController:
        return self.network.controllers[SERIAL]

    async def say(self, number: int) -> None:
        while self.controller.listener[1] == 0:  # the hub has not introduced itself yet
            await asyncio.sleep(0.001)
        self.controller.swipe(1, 10_000_000 + number)

    async def garbage(self) -> None:
        for data in (b"", b"\x17\x20", bytes(64), b"\xff" * 64, bytes(2000)):
            self.network.send(data, ("127.0.0.1", self.hub.port))

    async def stranger(self) -> None:
        other = SimController(STRANGER, local_now())
        other.swipe(1, 7)
        self.network.send(other.status(), ("127.0.0.1", self.hub.port))


@asynccontextmanager
async def rig() -> AsyncIterator[UhppoteRig]:
    async with UhppoteSimulator([SERIAL], local_now()) as network:
        yield UhppoteRig(hub(network, [device("d1", SERIAL, 1)]), "d1", network)


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[UhppoteRig]]]]:
    yield "uhppote", rig
