"""A line to a TCP server that can be cut, refuse, fall silent, crawl, tear apart or damage, as real lines do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable

SLOW_BUFFER_BYTES = 8192
"""Of a slow line: else the kernel swallows megabytes at once, and nobody feels that it is slow."""
SLOW_SEGMENT_BYTES = 1400
"""As on Ethernet.  With the 64 KiB of the loopback interface the window would stay shut until the buffer is half empty,
and Linux ends such a connection after TCP_USER_TIMEOUT."""


class Proxy:
    """*open*: new connections are passed on.  *silent*: bytes are read and thrown away, in both directions."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.open = True
        self.silent = False
        self.accepted = 0
        self.latency_s = 0.0
        """In each direction."""
        self.bytes_per_s: float | None = None
        """In each direction; for connections made afterwards."""
        self.drip = False
        """One byte at a time."""
        self.damage: Callable[[bytes], bytes] | None = None
        """What becomes of each piece on its way, in both directions."""

    def lead_to(self, target_port: int) -> None:
        """From the next connection on."""
        self._target_port = target_port
        self.cut()

    def cut(self) -> None:
        """Reset every connection, on both sides."""
        for writer in self._writers:
            sock: socket.socket = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        try:
            if self.open:
                await self._join(reader, writer)
        except OSError:
            pass  # the line was cut, or the server is down: the client sees its connection end
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers.add(far_writer)
        try:
            async with asyncio.TaskGroup() as group:
                up = group.create_task(self._pass(reader, far_writer))
                down = group.create_task(self._pass(far_reader, writer))
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                up.cancel()
                down.cancel()
        finally:
            self._writers.discard(far_writer)
            far_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Latency does not reduce what gets through: what was read waits in a queue, each piece for its time."""
        if not self.latency_s:
            with contextlib.suppress(OSError):
                while data := await self._read(reader):
                    await self._write(writer, data)
            return
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            late = group.create_task(self._deliver_late(pieces, writer))
            with contextlib.suppress(OSError):
                while data := await self._read(reader):
                    pieces.put_nowait((asyncio.get_running_loop().time() + self.latency_s, data))
            late.cancel()

    async def _deliver_late(self, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                due_s, data = await pieces.get()
                await asyncio.sleep(due_s - asyncio.get_running_loop().time())
                await self._write(writer, data)

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        if self.bytes_per_s is None:
            return await reader.read(65_536)
        data = await reader.read(max(1, round(self.bytes_per_s / 10)))
        await asyncio.sleep(len(data) / self.bytes_per_s)
        return data

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self.silent:
            return
        if self.damage is not None:
            data = self.damage(data)
        for piece in [data[at : at + 1] for at in range(len(data))] if self.drip else [data]:
            writer.write(piece)
            await writer.drain()
            if self.drip:
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def proxy(target_port: int, *, slow: bool = False) -> AsyncIterator[Proxy]:
    """*slow*: with small buffers, for ``bytes_per_s``."""
    line = Proxy(target_port)
    sock = socket.socket()
    if slow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)  # both inherited by what it accepts
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SLOW_SEGMENT_BYTES)
    sock.bind(("127.0.0.1", 0))
    limit = SLOW_BUFFER_BYTES if slow else 2**16
    server = await asyncio.start_server(line.serve, sock=sock, limit=limit)
    line.port = sock.getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        line.cut()
        await asyncio.sleep(0.01)  # for the handlers to see it
