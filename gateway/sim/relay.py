"""The compound's way to the internet: a TCP relay that can be cut, so that an outage has a beginning and an end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, Self


class Relay:
    """``async with Relay(host, port) as relay``: forwards 127.0.0.1:``relay.port`` to host:port while it is open.

    Cut, it drops every connection and refuses new ones.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.WriteTransport] = set()
        self._carrying: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.cut()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for end in tuple(self._ends):
            end.abort()
        if self._carrying:
            await asyncio.wait(self._carrying)

    async def _carry(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        self._ends.add(near_out.transport)
        far_out: asyncio.StreamWriter | None = None
        try:
            far_in, far_out = await asyncio.open_connection(*self._target)
            self._ends.add(far_out.transport)
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(near_in, far_out))
                group.create_task(_pump(far_in, near_out))
        except ConnectionError:
            return  # nobody at home: the caller sees its connection closed
        finally:
            for writer in filter(None, (near_out, far_out)):
                writer.transport.abort()
                self._ends.discard(writer.transport)
            self._carrying.discard(task)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()
