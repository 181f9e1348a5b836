"""One address for several servers, as a city has one name for its cluster: connections go to the servers in turn, and
past those that do not answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


class Balancer:
    """Use ``balancer()``."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.port = 0
        self._ports = ports
        self._turns = itertools.count()
        self._open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await self._connect()
        if far is None:
            writer.close()
            return
        pair = {writer, far[1]}
        self._open |= pair
        try:
            ways = {asyncio.create_task(_pass(reader, far[1])), asyncio.create_task(_pass(far[0], writer))}
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
        finally:
            self._open -= pair
            for each in pair:
                each.close()

    def close(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        begin = next(self._turns)
        for turn in range(len(self._ports)):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", self._ports[(begin + turn) % len(self._ports)])
        return None


@contextlib.asynccontextmanager
async def balancer(ports: Sequence[int]) -> AsyncIterator[Balancer]:
    balancing = Balancer(ports)
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(balancing.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    balancing.port = server.sockets[0].getsockname()[1]
    try:
        yield balancing
    finally:
        server.close()
        balancing.close()
        if serving:
            await asyncio.wait(serving)
        await server.wait_closed()
