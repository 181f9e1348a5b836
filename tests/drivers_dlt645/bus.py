"""The simulated RS-485 line with its collisions, in virtual time: its far end is a socket instead of a pseudo-terminal.

A socket hands bytes over at once; a pseudo-terminal leaves that to a thread of the kernel, which virtual time would
overtake.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from drivers.base import SerialFormat
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers.transport import ByteLine
from gateway.sim.faults import FaultBoard
from gateway.sim.line import CHUNK_S, LineStats, SimLine
from support.virtual_time import VirtualTimeLoop

T = TypeVar("T")
FORM = SerialFormat(2400, "E")
NOISE = bytes.fromhex("FE 7A 40")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """As support.virtual_time.run, but no real moment is waited for: here nothing happens outside the loop."""

    def loop() -> VirtualTimeLoop:
        made = VirtualTimeLoop()
        made._jumping.grace_s = 0.0
        return made

    with asyncio.Runner(loop_factory=loop) as runner:
        result = runner.run(coroutine)
        assert not asyncio.all_tasks(runner.get_loop())
        return result


class Meters:
    """As the simulated wire wants them."""

    def __init__(self, meters: Sequence[Dlt645SimMeter]) -> None:
        self._line = Dlt645SimLine(meters)

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        return self._line.feed(data)

    def silence(self) -> None:
        """DL/T 645 frames need no silence between them."""


class VirtualSimLine(SimLine):
    """SimLine, with one end of a socket pair where its pseudo-terminal is.

    audible: the gateway hears something when two meters speak at once, as it does on copper; SimLine by itself is
    silent when the second begins before the first characters of the other have been handed over.
    """

    audible = False

    async def __aenter__(self) -> Self:
        self.near, self._far = socket.socketpair()
        for end in (self.near, self._far):
            end.setblocking(False)
        self._master = self._far.fileno()
        asyncio.get_running_loop().add_reader(self._master, self._heard)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        for timer in (*self._writes, *(answer.timer for answer in self._answers)):
            timer.cancel()
        self._far.close()
        self.near.close()

    def _garble(self, now: float) -> None:
        super()._garble(now)
        if self.audible and now < self._speaking_until_s:
            self._writes.append(asyncio.get_running_loop().call_at(now + CHUNK_S, self._write, NOISE))


class SocketLine(ByteLine):
    """A serial port whose wire is that socket."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__("bus")
        self._end = end
        self.questions: list[bytes] = []

    async def _open(self) -> None:
        asyncio.get_running_loop().add_reader(self._end.fileno(), lambda: self._received(self._end.recv(4096)))

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._end.fileno())

    def _send(self, request: bytes, serial: SerialFormat | None) -> float:
        self.questions.append(request)
        self._end.send(request)
        return len(request) * FORM.character_s

    def _quiet_s(self) -> float:
        return 20 * FORM.character_s

    def _gap_s(self, characters: float) -> float:
        return 0.0


@asynccontextmanager
async def bus(
    meters: Sequence[Dlt645SimMeter],
    *,
    seed: int = 0,
    turnaround_s: tuple[float, float] = (0.020, 0.050),
    faults: FaultBoard | None = None,
    audible: bool = False,
) -> AsyncIterator[tuple[SocketLine, LineStats]]:
    """The gateway's end of a line with *meters* on it, and what the wire has counted."""
    line = VirtualSimLine("bus", FORM, [Meters(meters)], faults or FaultBoard(), seed=seed, turnaround_s=turnaround_s)
    line.audible = audible
    async with line, SocketLine(line.near) as link:
        yield link, line.stats
