"""Time, in one place, so that everything else can be tested without waiting.

UTC milliseconds outside, monotonic seconds inside.  Nothing else in the product reads a clock, except
``loop.time()`` for elapsed time.
"""

from __future__ import annotations

import ctypes
import enum
import time
from typing import Protocol


class ClockState(enum.StrEnum):
    """How far the wall clock may be believed."""

    SYNCED = "synced"
    HOLDOVER = "holdover"  # was synchronised since boot, is not now
    UNKNOWN = "unknown"


class Clock(Protocol):
    def now_ms(self) -> int:
        """UTC milliseconds since 1970.  May step; never use it for durations."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed instant of this boot.  Never steps."""

    def state(self) -> ClockState: ...


class SystemClock:
    """The box's own clocks; trust as the kernel reports it (adjtimex(2))."""

    _TIME_ERROR = 5  # adjtimex: "the system clock is not synchronized"

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._was_synced = False

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def state(self) -> ClockState:
        # struct timex with modes == 0 only reads; 512 bytes are more than any ABI's struct needs.
        answer = self._libc.adjtimex(ctypes.create_string_buffer(512))
        if 0 <= answer < self._TIME_ERROR:
            self._was_synced = True
            return ClockState.SYNCED
        return ClockState.HOLDOVER if self._was_synced else ClockState.UNKNOWN
