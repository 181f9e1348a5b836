"""What the contract suite of hubs runs ONVIF on: a hub that calls its cameras, and hears of others by their search."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from drivers.base import HubSpec
from drivers.onvif.config import HubOptions
from drivers.onvif.hub import OnvifHub
from drivers.onvif.simulator import SimCamera
from drivers_onvif.net import camera_spec
from support.clock import ManualClock

MATCH = (
    b'<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    b'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><s:Body><d:ProbeMatches><d:ProbeMatch>'
    b"<d:Scopes>onvif://www.onvif.org/name/Back%20Gate onvif://www.onvif.org/hardware/X9</d:Scopes>"
    b"<d:XAddrs>http://127.0.0.2:8000/onvif/device_service</d:XAddrs>"
    b"</d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
)


class OnvifRig:
    device = "c"
    devices = ("c",)

    def __init__(self, hub: OnvifHub, camera: SimCamera) -> None:
        self.hub = hub
        self._camera = camera

    async def say(self, number: int) -> None:
        """It is told to whoever has subscribed, and to the next who does."""
        self._camera.input("AlarmIn_1", number % 2 == 1)

    async def garbage(self) -> None:
        self._send("127.0.0.1", b"<x>\xff\x00")

    async def stranger(self) -> None:
        self._send("127.0.0.2", MATCH)

    def _send(self, host: str, data: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind((host, 0))
            peer.sendto(data, ("127.0.0.1", self.hub.discovery_port))


@asynccontextmanager
async def _rig() -> AsyncIterator[OnvifRig]:
    with tempfile.TemporaryDirectory() as folder:
        async with SimCamera() as camera:
            spec = camera_spec("c", camera.address, camera.rtsp_port, Path(folder))
            hub = OnvifHub(HubSpec("cameras", HubOptions(discovery=True), {"c": spec}), ManualClock())
            hub.group = ("127.0.0.1", 9)
            yield OnvifRig(hub, camera)


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[OnvifRig]]]]:
    yield "onvif", _rig
