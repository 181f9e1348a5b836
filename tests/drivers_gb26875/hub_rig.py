"""What the contract of hubs is tried on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

from drivers.gb26875.hub import Gb26875Hub
from drivers.gb26875.simulator import Transmitter, component
from drivers_gb26875.plant import PANEL, hub_spec
from support.clock import LoopClock


class HubRig:
    """*say* connects when it is first called, and anew when the hub has ended the connection."""

    def __init__(self, stack: AsyncExitStack, udp: bool) -> None:
        self.hub = Gb26875Hub(hub_spec(tcp=not udp, udp=udp), LoopClock())
        self.device = PANEL
        self.devices = (PANEL,)
        self._stack = stack
        self._udp = udp
        self._speaker: Transmitter | None = None

    async def say(self, number: int) -> None:
        if self._speaker is None or self._speaker.closed.is_set():
            self._speaker = await self._connected(bytes.fromhex("B22396604001"))
        said = component(2, loop=1, number=number)
        self._speaker.say(self._speaker.frame(number % 65536, 2, self._speaker.adu(said)))

    async def garbage(self) -> None:
        noise = b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)) + b"@@" * 40 + b"##"
        if self._udp:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.sendto(noise, ("127.0.0.1", self.hub.udp_port))
            return
        _, writer = await asyncio.open_connection("127.0.0.1", self.hub.port)
        self._stack.callback(_abort, writer)
        writer.write(noise)
        await writer.drain()

    async def stranger(self) -> None:
        peer = await self._connected(bytes.fromhex("010203040506"))
        peer.say(peer.frame(1, 2, peer.adu(component(2))))

    async def _connected(self, source: bytes) -> Transmitter:
        port = self.hub.udp_port if self._udp else self.hub.port
        return await self._stack.enter_async_context(Transmitter("127.0.0.1", port, udp=self._udp, source=source))


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@asynccontextmanager
async def _rig(udp: bool) -> AsyncIterator[HubRig]:
    async with AsyncExitStack() as stack:
        yield HubRig(stack, udp)


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[HubRig]]]]:
    yield "gb26875-tcp", partial(_rig, False)
    yield "gb26875-udp", partial(_rig, True)
