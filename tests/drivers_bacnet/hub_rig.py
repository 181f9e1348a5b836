"""What the contract suite of hubs runs BACnet on."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from drivers.bacnet.hub import BacnetHub
from drivers.bacnet.simulator import SimDevice, i_am
from drivers_bacnet.net import device_spec, free_port, hub_of


class BacnetRig:
    device = "b"
    devices = ("b",)

    def __init__(self, hub: BacnetHub, device: SimDevice, port: int) -> None:
        self.hub = hub
        self._device = device
        self._port = port

    async def say(self, number: int) -> None:
        self._device.notify(("127.0.0.1", self._port), number)

    async def garbage(self) -> None:
        self._send("127.0.0.1", b"\x81\x0a\x00\x09\x01\x04\x30\x01\x0e")

    async def stranger(self) -> None:
        self._send("127.0.0.2", i_am(4711))

    def _send(self, host: str, data: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind((host, 0))
            peer.sendto(data, ("127.0.0.1", self._port))


@asynccontextmanager
async def _rig() -> AsyncIterator[BacnetRig]:
    async with SimDevice(1001, free_port()) as device:
        port = free_port()
        yield BacnetRig(hub_of(device_spec("b", device.address, instance=1001), port), device, port)


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[BacnetRig]]]]:
    yield "bacnet", _rig
