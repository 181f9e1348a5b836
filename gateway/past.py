"""What the rules want to know of the time before the daemon's start, from the store that it has kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from gateway.clock import Clock
from gateway.errors import StoreError
from gateway.model import Point, PointId, Reading
from gateway.store.history import History
from gateway.store.reader import opened
from rules.engine import Engine, Instant

log = structlog.get_logger()

PATIENCE_S = 5.0
"""The past of some window may be missing; the first reading of a gas detector may not wait for it."""


async def recall(engine: Engine, directory: Path, points: Mapping[PointId, Point], clock: Clock) -> int:
    """Fill the windows of the conditions.  Returns how many readings were found; nothing is decided by them."""
    now = Instant(clock.monotonic_s(), clock.now_ms())
    wanted = engine.needs(now)
    if not wanted:
        return 0
    since_ms = {point: now.utc_ms - round(seconds * 1000) for point, seconds in wanted.items()}
    try:
        found, whole = await asyncio.to_thread(_read, directory, points, since_ms, now.utc_ms)
    except StoreError as exc:
        log.warning("no history for the rules, their windows begin empty", error=exc.advice())
        return 0
    engine.preload(found, now)
    log.info("history for the rules", readings=len(found), points=len(wanted), whole=whole)
    return len(found)


def _read(
    directory: Path, points: Mapping[PointId, Point], since_ms: Mapping[PointId, int], now_ms: int
) -> tuple[list[Reading], bool]:
    """The readings, and whether there was time for all."""
    give_up_s = time.monotonic() + PATIENCE_S
    found: list[Reading] = []
    with opened(directory) as reader:
        history = History(reader, {point: points[point] for point in since_ms}, min(since_ms.values()), now_ms)
        for heard in history.messages():
            found += [each for each in heard.readings if each.source_time_ms >= since_ms[each.point]]
            if time.monotonic() > give_up_s:
                return found, False
    return found, True
