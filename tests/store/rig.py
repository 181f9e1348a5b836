"""What the store's tests share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gateway.clock import Clock
from gateway.envelope import Draft, Envelope
from gateway.model import Lane
from gateway.store.log import Keeping, Store
from support.clock import ManualClock

BOOT = "01980000-0000-7000-8000-000000000001"
MIB = 2**20


def store(
    directory: Path,
    *,
    uplinks: Sequence[str] = ("main",),
    budget_bytes: int = 64 * MIB,
    boot_id: str = BOOT,
    clock: Clock | None = None,
    keeping: Keeping | None = None,
) -> Store:
    return Store(
        directory,
        budget_bytes=budget_bytes,
        boot_id=boot_id,
        uplinks=uplinks,
        clock=clock or ManualClock(),
        keeping=keeping or Keeping(),
    )


def draft(lane: Lane, mark: int, size: int = 200, records: int = 1) -> Draft:
    """*mark* makes it recognisable and is its time; *size* is that of its items in bytes, about."""
    item = json.dumps({"p": f"d-{mark}.x", "t": mark, "v": mark, "pad": "x" * max(size - 50, 0)})
    return Draft(lane, f"[{item}]".encode(), records, mark, mark + 10)


def drafts(lane: Lane, marks: range, size: int = 200) -> list[Draft]:
    return [draft(lane, mark, size) for mark in marks]


async def everything(opened: Store, lane: Lane, limit: int = 50) -> list[Envelope]:
    found: list[Envelope] = []
    while more := await opened.after(lane, found[-1].seq if found else 0, limit):
        assert len(more) <= limit
        found += more
    return found


async def announced(opened: Store) -> list[dict[str, object]]:
    return [item for envelope in await everything(opened, Lane.GAP) for item in json.loads(envelope.items)]
