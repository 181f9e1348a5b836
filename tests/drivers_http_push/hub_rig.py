"""The hub of boxes that post JSON, for the contract suite of hubs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from drivers.http_push.simulator import Answered, HttpJsonSim
from drivers_http_push.site import NOW_MS, box, hub_of


class HttpJsonRig:
    def __init__(self) -> None:
        self.device = "lift-1"
        self.devices = {self.device}
        self.hub = hub_of(box(self.device, topic="/lift/{address}", message_id="n"))
        self._asking: set[asyncio.Task[object]] = set()
        self._told = 0

    async def say(self, number: int) -> None:
        """Returns when the hub has it; the answer comes when it is stored.  Each saying is a message of its own."""
        known = self.hub._boxes[self.device].repetitions.known
        before, self._told = len(known), self._told + 1
        document = {"n": f"{NOW_MS}-{self._told}", "floor": str(number), "runs": number}
        self._asking.add(asyncio.ensure_future(self._post(f"/lift/{self.device}", document, 100)))
        while len(self.hub._boxes[self.device].repetitions.known) == before:
            await asyncio.sleep(0.001)

    async def garbage(self) -> None:
        async with HttpJsonSim(self._url, tries=1) as other:
            await other.post(b"\x00\xff{]", f"/lift/{self.device}")

    async def stranger(self) -> None:
        await self._post("/lift/lift-9", {"n": "1", "floor": "1", "runs": 1}, 1)

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.hub.port}"

    async def _post(self, under: str, document: object, tries: int) -> Answered:
        async with HttpJsonSim(self._url, tries=tries, retry_s=0.01) as speaker:
            return await speaker.say(document, under)

    async def hang_up(self) -> None:
        for task in self._asking:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def rig() -> AsyncIterator[HttpJsonRig]:
    made = HttpJsonRig()
    try:
        yield made
    finally:
        await made.hang_up()


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[HttpJsonRig]]]]:
    yield "http-json", rig
