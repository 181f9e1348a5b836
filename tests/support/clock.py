"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio

from gateway.clock import ClockState


class ManualClock:
    def __init__(self, now_ms: int = 1_767_225_600_000, monotonic_s: float = 1000.0) -> None:
        self.wall_ms = now_ms
        self.mono_s = monotonic_s
        self.trust = ClockState.SYNCED

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_s(self) -> float:
        return self.mono_s

    def state(self) -> ClockState:
        return self.trust

    def advance(self, seconds: float) -> None:
        self.wall_ms += round(seconds * 1000)
        self.mono_s += seconds


class LoopClock(ManualClock):
    """Follows the running loop's time, so that it moves with virtual time."""

    def now_ms(self) -> int:
        return self.wall_ms + round(asyncio.get_running_loop().time() * 1000)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class ThreadedLoopClock(LoopClock):
    """For what other threads ask, too: follows the loop that it was made in."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()

    def now_ms(self) -> int:
        return self.wall_ms + round(self._loop.time() * 1000)

    def monotonic_s(self) -> float:
        return self._loop.time()
