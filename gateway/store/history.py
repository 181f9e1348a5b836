"""Recorded readings in the order in which the gateway received them, from a store that is only read.

The store keeps the time that a device gave its reading, not the time of receipt; rows are in the order of receipt
within a lane.  So the clock is taken from them: it is the latest time seen so far, and a reading with an older one
came late.  A single row that is ahead of the one that follows does not move it: then a device's clock was wrong.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, groupby, pairwise
from typing import Any

from gateway.model import Lane, Point, PointId, Quality, Reading, Reason
from gateway.store.reader import Reader
from gateway.store.rows import Row

LANES = (Lane.BILLING, Lane.TELEMETRY, Lane.BULK)
_MOST_THINNED = 3


@dataclass(frozen=True, slots=True)
class Heard:
    """What one device said at one moment."""

    time_ms: int
    """Of receipt."""
    readings: tuple[Reading, ...]


class History:
    def __init__(self, reader: Reader, points: Mapping[PointId, Point], from_ms: int, to_ms: int) -> None:
        self._reader = reader
        self._points = points
        self._from_ms = from_ms
        self._to_ms = to_ms
        self.skipped = 0
        """Readings of points that there are no more."""

    def messages(self) -> Iterator[Heard]:
        # What was thinned out was appended again behind younger rows: by itself each kind is in order.
        kinds = [(lane, thinned) for lane in LANES for thinned in range(_MOST_THINNED + 1)]
        merged = heapq.merge(*(self._readings(*kind) for kind in kinds), key=lambda each: each.gateway_time_ms)
        for (time_ms, _), readings in groupby(merged, key=lambda each: (each.gateway_time_ms, _device(each))):
            yield Heard(time_ms, tuple(readings))

    def _readings(self, lane: Lane, thinned: int) -> Iterator[Reading]:
        rows = (row for row in self._reader.rows(lane, self._from_ms) if row.thinned == thinned)
        clock_ms = self._from_ms
        for items, ahead_ms in _with_limit(map(_items, rows)):
            for item in items:
                clock_ms = max(clock_ms, min(item["t"], ahead_ms))
                if clock_ms > self._to_ms:
                    return
                if item["t"] >= self._from_ms:
                    yield from self._reading(item, clock_ms)

    def _reading(self, item: Mapping[str, Any], now_ms: int) -> Iterator[Reading]:
        if item["p"] not in self._points:
            self.skipped += 1
            return
        reason = Reason(item["r"]) if "r" in item else None
        yield Reading(item["p"], item["v"], item["t"], now_ms, Quality(item["q"]), reason)


def _items(row: Row) -> list[dict[str, Any]]:
    return [item for item in json.loads(row.items) if "p" in item]


def _with_limit(rows: Iterable[list[dict[str, Any]]]) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """Each row, and the latest time that it may show: its own latest or, where that is less, the next row's."""
    filled = (row for row in rows if row)
    for row, following in pairwise(chain(filled, (None,))):
        if row is None:
            return
        latest_ms = max(item["t"] for item in row)
        next_ms = latest_ms if following is None else max(item["t"] for item in following)
        yield row, min(latest_ms, next_ms)


def _device(reading: Reading) -> str:
    return reading.point.partition(".")[0]
