"""One daemon per store: an flock, which the kernel takes back when its owner dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from gateway.errors import StoreLocked


def acquire(directory: Path) -> int:
    """A descriptor that holds the lock until it is closed.  Raises StoreLocked, OSError."""
    path = directory / "store.lock"
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        owner = os.pread(number, 20, 0).decode("ascii", "replace").strip()
        os.close(number)
        raise StoreLocked(
            f"{directory} is in use by process {owner or 'unknown'}",
            hint="stop that daemon, or give this one another store.path",
        ) from exc
    except OSError:
        os.close(number)
        raise
    os.ftruncate(number, 0)
    os.pwrite(number, f"{os.getpid()}\n".encode(), 0)
    return number
