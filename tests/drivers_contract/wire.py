"""Wires for driver tests: a pseudo-terminal, a TCP port, and a line in memory for virtual time.

Each has a far end: ``respond(bytes)`` is called with what arrives and gives what goes back.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import tty
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from drivers.base import SerialFormat
from drivers.transport import ByteLine

Respond = Callable[[bytes], Sequence[bytes]]


class PtyWire:
    """A serial adapter on a stable path; ``unplug`` and ``plug`` do to it what hands do."""

    def __init__(self, folder: Path, respond: Respond) -> None:
        self.path = folder / "port"
        self._respond = respond
        self._ends: tuple[int, int] | None = None

    def plug(self) -> None:
        ours, theirs = os.openpty()
        tty.setraw(theirs)  # no echo, no line editing; kept open, or the pty hangs up whenever the gateway lets go
        os.set_blocking(ours, False)
        self._ends = ours, theirs
        self.path.symlink_to(os.ttyname(theirs))
        asyncio.get_running_loop().add_reader(ours, self._readable)

    def unplug(self) -> None:
        ends, self._ends = self._ends, None
        if ends is None:
            return
        asyncio.get_running_loop().remove_reader(ends[0])
        self.path.unlink()
        for end in ends:
            os.close(end)

    def _readable(self) -> None:
        assert self._ends is not None
        for answer in self._respond(os.read(self._ends[0], 4096)):
            self.say(answer)

    def say(self, data: bytes) -> None:
        """Put bytes on the wire, asked for or not."""
        assert self._ends is not None
        os.write(self._ends[0], data)


class TcpWire:
    """A converter that listens on the loopback; ``unplug`` drops its connections, ``plug`` takes new ones."""

    def __init__(self, respond: Respond) -> None:
        self.port = 0
        self._respond = respond
        self._server: asyncio.Server | None = None
        self.connections: list[asyncio.Transport] = []

    async def plug(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _FarEnd(self), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def unplug(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.abort()
        self.connections.clear()

    def received(self, connection: asyncio.Transport, data: bytes) -> None:
        for answer in self._respond(data):
            connection.write(answer)

    def say(self, data: bytes) -> None:
        for connection in self.connections:
            connection.write(data)


class _FarEnd(asyncio.Protocol):
    def __init__(self, wire: TcpWire) -> None:
        self._wire = wire
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._wire.connections.append(transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._wire.received(self._transport, data)


@asynccontextmanager
async def pty_wire(respond: Respond) -> AsyncIterator[PtyWire]:
    with tempfile.TemporaryDirectory() as folder:
        wire = PtyWire(Path(folder), respond)
        wire.plug()
        try:
            yield wire
        finally:
            wire.unplug()


@asynccontextmanager
async def tcp_wire(respond: Respond) -> AsyncIterator[TcpWire]:
    wire = TcpWire(respond)
    await wire.plug()
    try:
        yield wire
    finally:
        wire.unplug()
        await asyncio.sleep(0)  # aborted connections close their sockets in the loop's next turn


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that arrive *after_s* after the request."""

    after_s: float
    data: bytes


@dataclass
class MemoryLine(ByteLine):
    """The real exchange over no wire at all: *answer* says what arrives when.  For virtual time."""

    answer: Callable[[bytes], Sequence[Chunk]]
    requests: list[bytes] = field(default_factory=list)
    serials: list[SerialFormat | None] = field(default_factory=list)
    quiet_s: float = 0.02
    gap_s: float = 0.0

    def __post_init__(self) -> None:
        super().__init__("memory")

    async def _open(self) -> None:
        return

    def _close(self) -> None:
        return

    def _send(self, request: bytes, serial: SerialFormat | None) -> float:
        self.requests.append(request)
        self.serials.append(serial)
        loop = asyncio.get_running_loop()
        for chunk in self.answer(request):
            loop.call_later(chunk.after_s, self._received, chunk.data)
        return 0.0

    def _quiet_s(self) -> float:
        return self.quiet_s

    def _gap_s(self, characters: float) -> float:
        return self.gap_s
