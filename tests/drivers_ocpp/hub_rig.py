"""What the contract suite of hubs runs OCPP on."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp

from drivers.ocpp.simulator import SimCharger
from drivers_ocpp.net import Central


class OcppRig:
    device = "p1"
    devices = ("p1", "p2")

    def __init__(self, made: Central) -> None:
        self.hub = made.hub
        self._made = made
        self._charger: SimCharger | None = None
        self._waiting: set[asyncio.Task[object]] = set()

    async def say(self, number: int) -> None:
        """Connects anew where the hub has been closed meanwhile; the answer comes when the report is stored."""
        task: asyncio.Task[object] = asyncio.create_task(self._say(number))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        await asyncio.sleep(0)

    async def _say(self, number: int) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            if self._charger is None or not self._charger.connected:
                await self.close()
                self._charger = await self._made.charger().__aenter__()
            await self._charger.meter(1, [{"value": str(1000 * number)}], number)

    async def garbage(self) -> None:
        with contextlib.suppress(OSError):
            _reader, writer = await asyncio.open_connection("127.0.0.1", self._made.port)
            writer.write(b"\x00\xff\r\n\r\n[2,]")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def stranger(self) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            async with self._made.charger(charge_point="CP-99") as unknown:
                await unknown.boot()

    async def close(self) -> None:
        if self._charger is not None:
            await self._charger.__aexit__(None, None, None)
            self._charger = None


@asynccontextmanager
async def _rig() -> AsyncIterator[OcppRig]:
    with tempfile.TemporaryDirectory() as folder:
        rig = OcppRig(Central(Path(folder)))
        try:
            yield rig
        finally:
            await rig.close()
            for task in list(rig._waiting):
                task.cancel()
            await asyncio.gather(*rig._waiting, return_exceptions=True)


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[OcppRig]]]]:
    yield "ocpp16", _rig
