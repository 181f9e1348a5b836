"""A simulated line in virtual time: the real exchange, the wire's own timing and collisions, and no port in between.

A pseudo-terminal leaves the bytes to a thread of the kernel, which virtual time would overtake.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.base import SerialFormat
from drivers.transport import ByteLine
from gateway.errors import LineLost
from gateway.sim.faults import FaultBoard
from gateway.sim.line import USUAL_TURNAROUND_S, Responder, SimWire
from gateway.sim.tcp import SimStream


class MemoryLink(ByteLine):
    """The gateway's end.  *far_end* is set before it is opened."""

    def __init__(self, serial: SerialFormat | None) -> None:
        super().__init__("memory")
        self.far_end: SimWire | SimStream | None = None
        self.absent = False
        self.sent: list[bytes] = []
        """Every request, in order."""
        self._serial = serial

    def unplug(self) -> None:
        self.absent = True
        self._fail("pulled out")

    async def _open(self) -> None:
        if self.absent:
            raise LineLost("memory: not there")

    def _close(self) -> None: ...

    def _send(self, request: bytes, serial: SerialFormat | None) -> float:
        assert self.far_end is not None
        self.sent.append(request)
        self.far_end.heard(request)
        return len(request) * self._serial.character_s if self._serial else 0.0

    # as SerialLink and TcpLink have it; test_memory_link_is_as_patient_as_a_port compares them

    def _quiet_s(self) -> float:
        return max(0.05, 20 * self._serial.character_s) if self._serial else 0.02

    def _gap_s(self, characters: float) -> float:
        return max(0.00175, characters * self._serial.character_s) if self._serial and characters else 0.0


class Copper(MemoryLink):
    """A link to a simulated serial line with *responders* on it.  Closing it takes the wire down."""

    def __init__(
        self,
        serial: SerialFormat,
        responders: Sequence[Responder],
        *,
        faults: FaultBoard | None = None,
        seed: int = 0,
        turnaround_s: tuple[float, float] = USUAL_TURNAROUND_S,
    ) -> None:
        super().__init__(serial)
        board = faults or FaultBoard()
        self.wire = SimWire("bus", serial, responders, board, self._received, seed=seed, turnaround_s=turnaround_s)
        self.far_end = self.wire

    def _close(self) -> None:
        self.wire.close()
