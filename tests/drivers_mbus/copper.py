"""gateway/sim/line.py in virtual time: its collisions and its timing, without the pseudo-terminal in between."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from drivers.base import SerialFormat
from drivers.mbus.simulator import MbusSimLine, MbusSimMeter
from drivers.transport import ByteLine
from gateway.sim.faults import FaultBoard
from gateway.sim.line import SimLine

METER_BUS = SerialFormat(2400, "E")


class _Bus:
    """The meters as the simulated line wants them."""

    def __init__(self, meters: Sequence[MbusSimMeter]) -> None:
        self.feed = MbusSimLine(meters).feed

    def silence(self) -> None:
        """No frame of M-Bus ends with silence."""


class _Wire(SimLine):
    """The far end; a pipe, which has no delay of its own, stands for the pseudo-terminal."""

    def __init__(self, meters: Sequence[MbusSimMeter], faults: FaultBoard, seed: int) -> None:
        super().__init__("bus", METER_BUS, [_Bus(meters)], faults, seed=seed)
        self.deliver: Callable[[bytes], None] = lambda chunk: None

    def open(self) -> None:
        self._master, self._slave = os.pipe()

    def close(self) -> None:
        for timer in (*self._writes, *(answer.timer for answer in self._answers)):
            timer.cancel()
        os.close(self._master)
        os.close(self._slave)

    def hear(self, request: bytes) -> None:
        os.write(self._slave, request)
        self._heard()

    def _write(self, chunk: bytes) -> None:
        self.deliver(chunk)


class Copper(ByteLine):
    """A link to a simulated line with *meters* on it."""

    def __init__(self, meters: Sequence[MbusSimMeter], *, seed: int = 0, faults: FaultBoard | None = None) -> None:
        super().__init__("copper")
        self.wire = _Wire(meters, faults or FaultBoard(), seed)
        self.wire.deliver = self._received
        self.sent: list[bytes] = []

    async def _open(self) -> None:
        self.wire.open()

    def _close(self) -> None:
        self.wire.close()

    def _send(self, request: bytes, serial: SerialFormat | None) -> float:
        self.sent.append(request)
        self.wire.hear(request)
        return len(request) * METER_BUS.character_s

    def _quiet_s(self) -> float:
        return 20 * METER_BUS.character_s

    def _gap_s(self, characters: float) -> float:
        return characters * METER_BUS.character_s

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()
