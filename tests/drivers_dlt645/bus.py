"""The simulated RS-485 line with its collisions, in virtual time: bytes go through no pseudo-terminal.

A pseudo-terminal leaves the bytes to a thread of the kernel, which virtual time would overtake.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from drivers.base import SerialFormat
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers.transport import ByteLine
from gateway.sim import line
from gateway.sim.faults import FaultBoard
from gateway.sim.line import LineStats, SimLine
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


class _Pipe(SimLine):
    """SimLine without its pseudo-terminal: what the gateway says comes through a pipe, what it hears goes to *out*.

    Only as long as gateway.sim.line has no SimWire of its own.
    """

    def __init__(self, *args: Any, out: Callable[[bytes], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._out = out
        self._master, self._end = os.pipe()

    def heard(self, data: bytes) -> None:
        os.write(self._end, data)
        self._heard()

    def close(self) -> None:
        for timer in (*self._writes, *(answer.timer for answer in self._answers)):
            timer.cancel()
        for end in (self._master, self._end):
            os.close(end)

    def _write(self, chunk: bytes) -> None:
        self._out(chunk)


_SimWire: Any = getattr(line, "SimWire", _Pipe)


class Wire(_SimWire):
    """The simulated wire.

    audible: the gateway hears something when two meters speak at once, as it does on copper; by itself the wire is
    silent when the second begins before the first characters of the other have been handed over.
    """

    audible = False

    def _garble(self, now: float) -> None:
        super()._garble(now)
        if self.audible and now < self._speaking_until_s:
            self._writes.append(asyncio.get_running_loop().call_at(now + line.CHUNK_S, self._out, NOISE))


class BusLine(ByteLine):
    """The gateway's end of the wire."""

    wire: Wire

    def __init__(self) -> None:
        super().__init__("bus")
        self.questions: list[bytes] = []

    async def _open(self) -> None:
        return

    def _close(self) -> None:
        self.wire.close()

    def _send(self, request: bytes, serial: SerialFormat | None) -> float:
        self.questions.append(request)
        self.wire.heard(request)
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
) -> AsyncIterator[tuple[BusLine, LineStats]]:
    """The gateway's end of a line with *meters* on it, and what the wire has counted."""
    link = BusLine()
    link.wire = Wire(
        *("bus", FORM, [Meters(meters)], faults or FaultBoard()),
        seed=seed,
        turnaround_s=turnaround_s,
        out=link._received,
    )
    link.wire.audible = audible
    async with link:
        yield link, link.wire.stats
