"""The bytes of a line, for those who listen from outside the daemon (``gateway sniff``, ``gateway capture``).

Nothing is kept while nobody listens; whoever does asks again within the lease, or is forgotten.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from drivers.transport import ByteLine
from gateway.clock import Clock

LEASE_S = 60.0
KEPT = 5000
"""Pieces; at 9600 baud some minutes.  A listener that is slower is told how many it has missed."""


@dataclass(frozen=True, slots=True)
class Overheard:
    """One piece of what went over the line."""

    number: int
    time_ms: int
    direction: str
    """``tx`` or ``rx``, as the gateway sees it."""
    data: bytes


@dataclass(slots=True)
class LineTap:
    line: ByteLine
    clock: Clock
    _pieces: deque[Overheard] = field(init=False, default_factory=lambda: deque(maxlen=KEPT))
    _next: int = field(init=False, default=0)
    _until_s: float = field(init=False, default=0.0)

    def listen(self, after: int | None) -> tuple[int, int, list[Overheard]]:
        """Everything from number *after* on (None: from now on): the number to ask for next, how many pieces between
        *after* and the first one have been lost, and the pieces."""
        self._until_s = asyncio.get_running_loop().time() + LEASE_S
        self.line.tap = self._hear
        if after is None:
            return self._next, 0, []
        pieces = [piece for piece in self._pieces if piece.number >= after]
        first = pieces[0].number if pieces else self._next
        return self._next, max(first - after, 0), pieces

    def _hear(self, direction: str, data: bytes) -> None:
        if asyncio.get_running_loop().time() > self._until_s:
            self.line.tap = None
            self._pieces.clear()
            return
        self._pieces.append(Overheard(self._next, self.clock.now_ms(), direction, bytes(data)))
        self._next += 1
