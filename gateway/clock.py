"""Time, in one place, so that everything else can be tested without waiting.

UTC milliseconds outside, monotonic seconds inside.  Nothing else in the product reads a clock, except
``loop.time()`` for elapsed time.

**Objective.** A box without a battery-backed clock starts in 1970 and learns the time minutes later, or never.  What it
collects meanwhile is stamped so that one number, the *shift*, makes all of it right afterwards, and time never runs
backwards over a start as far as the box can know.

    kernel has not said "synchronised"            kernel says it (adjtimex)
    ──────────────────────────────────▶ switch ──────────────────────────────▶
    now_ms = time since boot + offset     │       now_ms = wall clock
    state UNKNOWN; steps do not matter    │       state SYNCED, HOLDOVER when the kernel loses it again
                                          └─ Correction(shift_ms): once per start of the process

The offset is fixed once per boot of the kernel and kept in ``clock.floor`` beside the store, so that a daemon that is
started again goes on with the same timeline.  What comes of the shift: ``timekeeper.py``, ``store/restamp.py``.

**Decisions, and what was rejected**

- *CLOCK_BOOTTIME, not CLOCK_MONOTONIC*: it goes on while the box sleeps.  Both are slewed like the wall clock, so the
  timeline cannot drift away from a good wall clock; only a step parts them.
- *A step while nothing is synchronised is followed after two minutes* (``STEP_PATIENCE_S``), unless it leads to before
  the floor.  An NTP client that steps says "synchronised" at once or soon; who does not is a person with ``date -s`` or
  a program such as rdate, and is right more often than not.  The state stays UNKNOWN.  At once was rejected: one start
  would then have two shifts in the usual case too.
- *A machine whose kernel never says it* works as ever, marked UNKNOWN: the offset begins at its wall clock.
- *The floor is what is known*: when this file was written to the box's disk, and the last time saved while the clock
  was synchronised.  A time saved while it was not is believed only where the wall clock is below the floor, or behind
  it by less than a day; otherwise one bad reading of an RTC would send the box years ahead for ever.
- *Shifting all times for ever by one number, without a switch*, was rejected: schedules and people use the wall clock.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

FLOOR_FILE = "clock.floor"
STEP_PATIENCE_S = 120.0
_STEP_MS = 2000
"""A smaller difference between wall clock and timeline is not worth a correction."""
_DAY_MS = 24 * 3600 * 1000


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


class Kernel(Protocol):
    """What the box itself says of time."""

    def wall_ms(self) -> int: ...

    def since_boot_ms(self) -> int:
        """Never steps, and goes on while the box sleeps."""

    def monotonic_s(self) -> float:
        """Never steps, and stands still while the box sleeps, like the event loop's."""

    def is_synchronised(self) -> bool: ...

    def boot_id(self) -> str:
        """Another one after each boot."""


class LinuxKernel:
    """A sandbox must let adjtimex(2) through, which systemd's ProtectClock= and a filter without @clock do not: where
    it is refused, the clock stays unknown for ever."""

    _TIME_ERROR = 5  # adjtimex: "the system clock is not synchronized"

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def since_boot_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def is_synchronised(self) -> bool:
        # struct timex with modes == 0 only reads; 512 bytes are more than any ABI's struct needs.
        answer: int = self._libc.adjtimex(ctypes.create_string_buffer(512))
        return 0 <= answer < self._TIME_ERROR

    def boot_id(self) -> str:
        with suppress(OSError):
            return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return ""


class SystemClock:
    """The box's own clocks as they are: for tools that run for a moment."""

    def __init__(self) -> None:
        self._kernel = LinuxKernel()
        self._was_synced = False

    def now_ms(self) -> int:
        return self._kernel.wall_ms()

    def monotonic_s(self) -> float:
        return self._kernel.monotonic_s()

    def state(self) -> ClockState:
        if self._kernel.is_synchronised():
            self._was_synced = True
            return ClockState.SYNCED
        return ClockState.HOLDOVER if self._was_synced else ClockState.UNKNOWN


# ---------------------------------------------------------------------- what is kept over a start


@dataclass(frozen=True, slots=True)
class Memory:
    """The content of ``clock.floor``."""

    seen_ms: int = 0
    """The latest time that was given out."""
    known_ms: int = 0
    """The latest that was given out while the clock was known."""
    boot_id: str = ""
    """The kernel's boot to which the rest belongs."""
    offset_ms: int | None = None
    """Provisional time minus time since boot; None when the clock has been synchronised since that boot."""
    wall_offset_ms: int = 0
    """The same of the wall clock when the offset was fixed."""


def recall(directory: Path) -> Memory:
    """What cannot be read is as if nothing had been kept."""
    try:
        kept = json.loads((directory / FLOOR_FILE).read_text("ascii"))
        memory = Memory(**kept)
    except (OSError, ValueError, TypeError):
        return Memory()
    numbers = (memory.seen_ms, memory.known_ms, memory.wall_offset_ms, memory.offset_ms or 0)
    sound = all(type(number) is int for number in numbers) and isinstance(memory.boot_id, str)
    return memory if sound else Memory()


def keep(directory: Path, memory: Memory) -> None:
    """Replaces the file as a whole.  Raises OSError."""
    path = directory / FLOOR_FILE
    new = path.with_name(FLOOR_FILE + ".new")
    with new.open("w", encoding="ascii") as file:
        file.write(json.dumps(asdict(memory)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def built_ms() -> int:
    """When this program was put on the disk.  0 where files carry no time of their own (image-based systems)."""
    return Path(__file__).stat().st_mtime_ns // 1_000_000


def provisional_start_ms(wall_ms: int, floor_ms: int, seen_ms: int) -> int:
    """Where the timeline of a boot begins: not before what is certain, and not before what was given out."""
    start_ms = max(wall_ms, floor_ms)
    if wall_ms < floor_ms or seen_ms - wall_ms < _DAY_MS:
        return max(start_ms, seen_ms)
    return start_ms


# ---------------------------------------------------------------------- the daemon's clock


@dataclass(frozen=True, slots=True)
class Correction:
    """The provisional timeline has ended, or was moved: what it gave out is right when *shift_ms* is added."""

    shift_ms: int
    first_ms: int
    last_ms: int
    """The times that were given out lie between these two."""

    def concerns(self, stamp_ms: int, now_ms: int) -> bool:
        """Whether a stamp that is seen only now was taken before the correction.

        Ambiguous, and then answered with no, only where the shift is smaller than the time the stamp was on its way.
        """
        given_since = self.last_ms + self.shift_ms <= stamp_ms <= now_ms
        return self.first_ms <= stamp_ms <= self.last_ms and not given_since


class GatewayClock:
    """The daemon's clock.  ``check`` is called about once a second, on the event loop; nothing else changes it."""

    def __init__(self, memory: Memory, kernel: Kernel | None = None, *, floor_ms: int | None = None) -> None:
        """*floor_ms*: no time before it can be true; by default when the program was installed."""
        self._kernel = LinuxKernel() if kernel is None else kernel
        self.boot_id = self._kernel.boot_id()
        self._floor_ms = max(built_ms() if floor_ms is None else floor_ms, memory.known_ms)
        same_boot = memory.boot_id == self.boot_id != ""
        since_boot_ms, self._wall_offset_ms = self._kernel.since_boot_ms(), self._measured_offset_ms()
        self._known = self._kernel.is_synchronised() or (same_boot and memory.offset_ms is None)
        self._known_ms = memory.known_ms
        if same_boot and memory.offset_ms is not None:
            self._offset_ms, self._wall_offset_ms = memory.offset_ms, memory.wall_offset_ms
        else:
            wall_ms = since_boot_ms + self._wall_offset_ms
            start_ms = provisional_start_ms(wall_ms, self._floor_ms, memory.seen_ms)
            self._offset_ms = start_ms - since_boot_ms
        self._stepped: tuple[int, int] | None = None
        self.correction: Correction | None = None
        """The last one of this process."""

    @classmethod
    def of(cls, directory: Path) -> GatewayClock:
        """The clock of the gateway whose store lies in *directory*."""
        return cls(recall(directory))

    def now_ms(self) -> int:
        return self._kernel.wall_ms() if self._known else self._kernel.since_boot_ms() + self._offset_ms

    def monotonic_s(self) -> float:
        return self._kernel.monotonic_s()

    def state(self) -> ClockState:
        if not self._known:
            return ClockState.UNKNOWN
        return ClockState.SYNCED if self._kernel.is_synchronised() else ClockState.HOLDOVER

    def since_boot_ms(self) -> int:
        return self._kernel.since_boot_ms()

    def offset_ms(self) -> int:
        """Between the time since boot and ``now_ms``, at this moment."""
        return self._measured_offset_ms() if self._known else self._offset_ms

    def behind_floor_ms(self) -> int:
        """By how much the wall clock cannot be right; 0 or less when it may be."""
        return self._floor_ms - self._kernel.wall_ms()

    def memory(self) -> Memory:
        """To be kept."""
        now_ms = self.now_ms()
        if self._known:
            return Memory(now_ms, now_ms, self.boot_id, None)
        return Memory(now_ms, self._known_ms, self.boot_id, self._offset_ms, self._wall_offset_ms)

    def check(self) -> Correction | None:
        """Look at the kernel.  A correction when ``now_ms`` means something else from now on."""
        if self._known:
            return None
        offset_ms = self._measured_offset_ms()
        if self._kernel.is_synchronised():
            corrected = self._corrected(offset_ms)
            self._known = True
            return corrected
        return self._corrected(offset_ms) if self._was_set(offset_ms) else None

    def _was_set(self, offset_ms: int) -> bool:
        """Whether somebody has set the wall clock, and nobody has told the kernel more for a while."""
        plausible = self._kernel.wall_ms() >= self._floor_ms
        if abs(offset_ms - self._wall_offset_ms) <= _STEP_MS or not plausible:
            self._stepped = None
            return False
        now_ms = self._kernel.since_boot_ms()
        if self._stepped is None or abs(offset_ms - self._stepped[0]) > _STEP_MS:
            self._stepped = offset_ms, now_ms
        return now_ms - self._stepped[1] >= STEP_PATIENCE_S * 1000

    def _corrected(self, offset_ms: int) -> Correction:
        last_ms = self._kernel.since_boot_ms() + self._offset_ms
        # An earlier start in this boot of the kernel had the same timeline.
        self.correction = Correction(offset_ms - self._offset_ms, self._offset_ms, last_ms)
        self._offset_ms = self._wall_offset_ms = offset_ms
        self._stepped = None
        return self.correction

    def _measured_offset_ms(self) -> int:
        return self._kernel.wall_ms() - self._kernel.since_boot_ms()
