"""What this process has open, so that a test can say: nothing new."""

from __future__ import annotations

import asyncio
import gc
import os


def open_descriptors() -> frozenset[tuple[str, str]]:
    """(number, what it leads to).  Garbage of earlier tests is collected first: it must not vanish halfway."""
    gc.collect()
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
        except FileNotFoundError:
            continue  # the descriptor with which the directory was read
    return frozenset(found)


async def nothing_new_since(before: frozenset[tuple[str, str]]) -> bool:
    """Transports that were aborted close their sockets a few turns of the loop later."""
    for _ in range(20):
        if open_descriptors() <= before:
            return True
        await asyncio.sleep(0.001)
    return False
