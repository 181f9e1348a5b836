"""The plate cameras' hub for the contract suite of hubs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial

from drivers.plate_camera.hub import PlateCameraHub
from drivers.plate_camera.messages import Dialect
from drivers.plate_camera.simulator import PlateCameraSim, body_of
from drivers_plate_camera.site import NOW_MS, device, hub_of


class PlateCameraRig:
    def __init__(self, dialect: Dialect) -> None:
        self.hub: PlateCameraHub = hub_of(device("gate-in", serial="cam-1"))
        self.device = "gate-in"
        self.devices = {self.device}
        self._dialect = dialect
        self._asking: set[asyncio.Task[object]] = set()
        self._told = 0

    async def say(self, number: int) -> None:
        """Returns when the hub has it; the answer comes when it is stored.  Each saying is a passage of its own."""
        before = self.hub._cameras[0].memory.count
        self._told += 1
        told = {"number": self._told, "time_ms": NOW_MS + 1000 * self._told}
        body = body_of(self._dialect, "cam-1", f"皖A{number:05}", **told)
        task: asyncio.Task[object] = asyncio.ensure_future(self._push(*body, tries=100))
        self._asking.add(task)
        while self.hub._cameras[0].memory.count == before:
            await asyncio.sleep(0.001)

    async def garbage(self) -> None:
        await self._push(b"\x00\xff{]", "application/json")

    async def stranger(self) -> None:
        await self._push(*body_of(self._dialect, "cam-2", "皖A99999"))

    async def _push(self, body: bytes, content_type: str, tries: int = 1) -> object:
        url = f"http://127.0.0.1:{self.hub.port}/"
        async with PlateCameraSim(url, "cam-1", self._dialect, tries=tries, retry_s=0.01) as camera:
            return await camera.push(body, content_type)

    async def hang_up(self) -> None:
        for task in self._asking:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def rig(dialect: Dialect) -> AsyncIterator[PlateCameraRig]:
    made = PlateCameraRig(dialect)
    try:
        yield made
    finally:
        await made.hang_up()


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[PlateCameraRig]]]]:
    for dialect in Dialect:
        yield f"plate-camera-{dialect}", partial(rig, dialect)
