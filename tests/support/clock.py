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


class FakeKernel:
    """A box whose time is moved by hand; its boot lasts 40 s when the test begins."""

    def __init__(self, wall_ms: int, boot_id: str = "boot-1") -> None:
        self.wall = wall_ms
        self.boot = 40_000
        self.synchronised = False
        self.id = boot_id

    def wall_ms(self) -> int:
        return self.wall

    def since_boot_ms(self) -> int:
        return self.boot

    def monotonic_s(self) -> float:
        return self.boot / 1000

    def is_synchronised(self) -> bool:
        return self.synchronised

    def boot_id(self) -> str:
        return self.id

    def advance(self, seconds: float) -> None:
        self.wall += round(seconds * 1000)
        self.boot += round(seconds * 1000)

    def set_wall(self, wall_ms: int) -> None:
        self.wall = wall_ms - (self.wall_ms() - self.wall)

    def synchronise(self, wall_ms: int) -> None:
        self.set_wall(wall_ms)
        self.synchronised = True


class LoopKernel(FakeKernel):
    """Its time goes with that of the loop it was made in, so that it moves with virtual time; any thread may ask."""

    def __init__(self, wall_ms: int, boot_id: str = "boot-1") -> None:
        super().__init__(wall_ms, boot_id)
        self._loop = asyncio.get_running_loop()

    def wall_ms(self) -> int:
        return self.wall + self._loop_ms()

    def since_boot_ms(self) -> int:
        return self.boot + self._loop_ms()

    def monotonic_s(self) -> float:
        return self._loop.time()

    def _loop_ms(self) -> int:
        return round(self._loop.time() * 1000)


class ThreadedLoopClock(LoopClock):
    """For what other threads ask, too: follows the loop that it was made in."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()

    def now_ms(self) -> int:
        return self.wall_ms + round(self._loop.time() * 1000)

    def monotonic_s(self) -> float:
        return self._loop.time()
