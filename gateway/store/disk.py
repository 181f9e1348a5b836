"""The room a store may take, and the file that keeps some in reserve."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.clock import Clock
from gateway.errors import StoreError
from gateway.store.rows import PAGE_BYTES

log = structlog.get_logger()

MIN_BUDGET_BYTES = 2**20
_WAL_FRAME_BYTES = PAGE_BYTES + 24
_WAL_INDEX_BYTES = 32 * 1024
_RESTORE_INTERVAL_S = 60.0
_BALLAST = "store.ballast"


@dataclass(frozen=True, slots=True)
class Limits:
    """How a budget is divided."""

    budget_bytes: int
    wal_bytes: int
    """Reserved for the write-ahead log; what must also stay free on the disk."""
    ballast_bytes: int
    file_pages: int

    @property
    def checkpoint_pages(self) -> int:
        """A quarter of the reserve at most: the log grows to this and one transaction more."""
        return min(200, self.wal_bytes // (4 * _WAL_FRAME_BYTES))


def limits(budget_bytes: int, disk_bytes: int) -> Limits:
    """Raises StoreError when the budget is too small to be divided."""
    size = min(budget_bytes, disk_bytes)
    if size < MIN_BUDGET_BYTES:
        raise StoreError(
            f"a store of {size} bytes is too small",
            hint=f"store.budget and the disk must offer at least {MIN_BUDGET_BYTES} bytes",
        )
    wal_bytes, ballast_bytes = min(4 * 2**20, size // 4), min(2 * 2**20, size // 16)
    file_bytes = budget_bytes - wal_bytes - ballast_bytes - _WAL_INDEX_BYTES
    return Limits(budget_bytes, wal_bytes, ballast_bytes, file_bytes // PAGE_BYTES)


class Disk:
    """The directory's file system.

    SQLite cannot even delete on a full disk, since deleting writes to its log first.  So a few blocks are held by a
    file of no use, given up in that moment and taken again when there is room.
    """

    def __init__(self, directory: Path, budget_bytes: int, clock: Clock) -> None:
        """Raises StoreError, OSError."""
        self._directory = directory
        self._ballast = directory / _BALLAST
        self._clock = clock
        self._retry_s = 0.0
        found = os.statvfs(directory)
        self.limits = limits(budget_bytes, found.f_blocks * found.f_frsize)

    def spare_pages(self) -> int:
        """How far the file may still grow before the disk is as full as it may be."""
        return max(0, self._free_bytes() - self.limits.wal_bytes) // PAGE_BYTES

    def hold_ballast(self) -> None:
        """Take the reserve if it is not held and there is plenty of room; asks the disk once a minute at most."""
        if self._retry_s > self._clock.monotonic_s():
            return
        self._retry_s = self._clock.monotonic_s() + _RESTORE_INTERVAL_S
        size = self.limits.ballast_bytes
        with suppress(OSError):
            if self._ballast.exists() or self._free_bytes() < self.limits.wal_bytes + 2 * size:
                return
            self._ballast.touch(0o600)
            with self._ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)

    def release_ballast(self) -> bool:
        """Whether there was any."""
        try:
            self._ballast.unlink()
        except OSError:
            return False
        self._retry_s = self._clock.monotonic_s() + _RESTORE_INTERVAL_S
        log.error("disk full, reserve given up", directory=str(self._directory))
        return True

    def _free_bytes(self) -> int:
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize


def used_bytes(directory: Path) -> int:
    """What the store takes of the disk; stores that were set aside do not count."""
    names = ("store.db", "store.db-wal", "store.db-shm", _BALLAST)
    return sum(file.stat().st_blocks * 512 for name in names if (file := directory / name).exists())


def sync_directory(directory: Path) -> None:
    """Make renames in it durable."""
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


_PIECE_BYTES = 256 * 1024
_AGAIN_S = 0.02


def coax(path: Path, patience_s: float, read: Callable[[int, int, int], bytes] = os.pread) -> bool:
    """Have the kernel read the whole file, asking again for what the disk refuses; True when all of it was read.

    Errors that come and go would otherwise decide what of a store is salvaged.  What was read once is in the kernel's
    memory, where SQLite finds it.  A file that is not there has been read.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        size = os.fstat(handle).st_size
        pending = deque((start, min(start + _PIECE_BYTES, size)) for start in range(0, size, _PIECE_BYTES))
        give_up_s = time.monotonic() + patience_s
        while pending and time.monotonic() < give_up_s:
            start, end = pending.popleft()
            try:
                got = len(read(handle, end - start, start))  # less than asked for where an error came in the middle
            except OSError:
                got = 0
            if start + got < end:
                pending.append((start + got, end))
                time.sleep(0.0 if got else _AGAIN_S)
        return not pending
    finally:
        os.close(handle)
