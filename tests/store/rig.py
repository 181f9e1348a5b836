"""What the store's tests share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gateway.clock import Clock, ClockState
from gateway.envelope import Draft, Encoder, Envelope
from gateway.model import Lane, Point, Quality, Reading, Reason, Text, ValueKind
from gateway.store.log import Keeping, Store
from support.clock import ManualClock

BOOT = "01980000-0000-7000-8000-000000000001"
MIB = 2**20
POINTS = {
    f"m-{number}.power": Point(f"m-{number}.power", ValueKind.TEXT, Text("功率", "power"), 60, "kW")
    for number in range(40)
}
ENCODER = Encoder(POINTS)
QUALITIES = ((Quality.GOOD, None), (Quality.UNCERTAIN, Reason.JUMP), (Quality.BAD, Reason.NO_ANSWER))


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


def reading(number: int, t: int, kind: int = 0, value: float | str = 1.5) -> Reading:
    quality, reason = QUALITIES[kind]
    raw = b"" if quality is Quality.GOOD else t.to_bytes(6)
    known = None if quality is Quality.BAD else value
    return Reading(f"m-{number}.power", known, t, t, quality, reason, raw)


def minute(t: int) -> list[Draft]:
    """All points once; every hundredth reading of a point is bad."""
    all_points = [reading(number, t * 60_000, 2 if (t + number) % 100 == 99 else 0) for number in range(len(POINTS))]
    return list(ENCODER.drafts(Lane.TELEMETRY, all_points, ClockState.SYNCED))
