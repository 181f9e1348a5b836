"""The simulated RS-485 line with its collisions, in virtual time: its far end is a socket instead of a pseudo-terminal.

A socket hands bytes over at once; a pseudo-terminal leaves that to a thread of the kernel, which virtual time would
overtake.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from drivers.base import SerialFormat
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers.transport import ByteLine
from gateway.sim.faults import FaultBoard
from gateway.sim.line import SimLine


class _Field:
    def __init__(self, meters: Sequence[Dlt645SimMeter]) -> None:
        self._line = Dlt645SimLine(meters)

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        return self._line.feed(data)

    def silence(self) -> None:
        return


class VirtualSimLine(SimLine):
    """SimLine, with one end of a socket pair where its pseudo-terminal is."""

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


class SocketLine(ByteLine):
    """A serial port whose wire is that socket."""

    def __init__(self, end: socket.socket, form: SerialFormat) -> None:
        super().__init__("bus")
        self._end, self._form = end, form
        self.questions = 0

    async def _open(self) -> None:
        asyncio.get_running_loop().add_reader(self._end.fileno(), lambda: self._received(self._end.recv(4096)))

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._end.fileno())

    def _send(self, request: bytes, serial: SerialFormat | None) -> float:
        self.questions += 1
        self._end.send(request)
        return len(request) * self._form.character_s

    def _quiet_s(self) -> float:
        return max(0.05, 20 * self._form.character_s)

    def _gap_s(self, characters: float) -> float:
        return 0.0


@asynccontextmanager
async def bus(
    meters: Sequence[Dlt645SimMeter],
    *,
    seed: int = 0,
    form: SerialFormat | None = None,
    turnaround_s: tuple[float, float] = (0.020, 0.050),
    faults: FaultBoard | None = None,
) -> AsyncIterator[tuple[SocketLine, SimLine]]:
    form = form or SerialFormat(2400, "E")
    board = faults or FaultBoard()
    async with VirtualSimLine("bus", form, [_Field(meters)], board, seed=seed, turnaround_s=turnaround_s) as line:
        async with SocketLine(line.near, form) as link:
            yield link, line
