"""Envelopes as a gateway sends them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gateway.envelope import Envelope, gap_item, payload
from gateway.ids import uuid7
from gateway.model import Gap, Lane
from gateway.sim.account import Stream
from gateway.sim.platform.arrival import Arrival, read

NOW_MS = 1_767_225_600_000
EPOCH = uuid7(NOW_MS)
BOOT = uuid7(NOW_MS)
SITE, GATEWAY = "site-1", "gw-1"
ROOT = f"compound/v1/{SITE}/{GATEWAY}"
BILLING = Stream(SITE, GATEWAY, EPOCH, Lane.BILLING)
GAPS = BILLING._replace(lane=Lane.GAP)


def reading(value: Any = 1.5, point: str = "m-1.energy", **more: Any) -> dict[str, Any]:
    return {"p": point, "u": "kW.h", "t": NOW_MS, "v": value, "q": "good", **more}


def message(
    seq: int, items: Sequence[Any] | None = None, lane: Lane = Lane.BILLING, epoch: str = EPOCH, gateway: str = GATEWAY
) -> tuple[str, bytes]:
    """Topic and payload.  Without *items*: two readings that only this number has."""
    if items is None:
        items = [reading(seq), reading(-seq, "m-2.energy")]
    body = json.dumps(list(items)).encode()
    envelope = Envelope(epoch, lane, seq, BOOT, body, len(items), NOW_MS, NOW_MS)
    return f"compound/v1/{SITE}/{gateway}/{lane}", payload(envelope, SITE, gateway, NOW_MS, replay=False)


def announcement(seq: int, lane: Lane, first: int, last: int) -> tuple[str, bytes]:
    return message(seq, [gap_item(Gap("store_full", NOW_MS, NOW_MS, lane, first, last, 7))], Lane.GAP)


def arrival(seq: int, items: Sequence[Any] | None = None, **more: Any) -> Arrival:
    return read(*message(seq, items, **more))
