"""A port that is only listened to: nothing is ever sent, whatever happens."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from drivers.base import SerialFormat
from drivers.transport import ByteLine, SerialLink, TcpLink
from gateway.clock import Clock
from gateway.commission.record import BUS, RX, Chunk, Heard
from gateway.errors import LineLost

TICK_S = 0.02
"""So often a source says at least that time has passed; silence between frames is told by it."""
MOST_WAITING = 4096
"""Pieces kept while nobody takes them (a terminal that is paused); what comes then is lost, and counted."""


class _Ears(ByteLine):
    """Keeps what arrives with its time.  Comes before the link in the order of classes."""

    clock: Clock
    direction: str

    def listen_with(self, clock: Clock, direction: str) -> None:
        self.clock, self.direction = clock, direction
        self._waiting: list[Chunk] = []
        self._missed = 0

    def _received(self, data: bytes) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(Chunk(self.clock.now_ms(), self.direction, data))
        else:
            self._missed += 1
        self._wake()

    def _send(self, request: bytes, serial: SerialFormat | None) -> float:
        raise LineLost(f"{self.name}: listening only, nothing is sent")

    async def heard(self) -> AsyncGenerator[Heard, None]:
        """What came since the last time, at least every ``TICK_S``.  Raises LineLost."""
        while True:
            await self._hears(TICK_S)
            chunks, lost = tuple(self._waiting), self._missed
            self._waiting.clear()
            self._missed = 0
            yield Heard(self.clock.now_ms(), chunks, lost)
            if not self._waiting:
                self._check_open()


class SerialEars(_Ears, SerialLink):
    """Hears both sides of a bus, without knowing which is which."""

    def __init__(self, port: str, serial: SerialFormat, clock: Clock) -> None:
        super().__init__(port, serial)
        self.listen_with(clock, BUS)


class TcpEars(_Ears, TcpLink):
    """Hears what a converter passes on to everybody who is connected."""

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        super().__init__(host, port)
        self.listen_with(clock, RX)
