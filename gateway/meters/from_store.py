"""What the store still has of the counters, where the journal has nothing: the time before the journal began, and the
minutes before a power cut.  Reads only, beside the running daemon or when it is stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from gateway.meters.closing import REPLACED, ROLLED_OVER, Change, Closing, Mark
from gateway.model import Lane, PointId
from gateway.store.reader import Reader, opened

SEARCH_S = (3600.0, 26 * 3600.0)
"""So far on either side of a midnight the store is searched: first near, then for a day."""
UNSAVED_MS = 600_000
"""A store in which nothing was saved of the registers is not older: they are, every five minutes."""
_EVENTS = {"register.rolled_over": ROLLED_OVER, "register.replaced": REPLACED}


def around(directory: Path, points: Set[PointId], instant_ms: int) -> list[Closing]:
    """The readings next to *instant_ms* of those of *points* of which the store has both.  Raises StoreError."""
    before: dict[PointId, Mark] = {}
    after: dict[PointId, Mark] = {}
    with opened(directory) as reader:
        for seconds in SEARCH_S:
            missing = {point for point in points if point not in before or point not in after}
            if missing:
                _search(reader, missing, instant_ms, round(seconds * 1000), before, after)
    return [Closing(point, before[point], after[point]) for point in sorted(points & before.keys() & after.keys())]


def latest(directory: Path, known: Mapping[PointId, Mark]) -> dict[PointId, Mark]:
    """*known*, and what has been read since the newest of it: what a daemon did not live to save.

    Raises StoreError.
    """
    found = dict(known)
    with opened(directory) as reader:
        last = next(reader.newest(Lane.BILLING, 0), None)
        if last is None:
            return found
        since_ms = max((mark.time_ms for mark in known.values()), default=last.to_ms - UNSAVED_MS)
        for row in reader.newest(Lane.BILLING, since_ms):
            for point, mark in _good(row.items):
                if point not in found or mark.time_ms > found[point].time_ms:
                    found[point] = mark
    return found


def saved_state(directory: Path) -> Mapping[str, bytes]:
    """Raises StoreError."""
    with opened(directory) as reader:
        return reader.state()


def changes(directory: Path, from_ms: int, to_ms: int) -> list[Change]:
    """What the store's events say of registers.  Raises StoreError."""
    found = []
    with opened(directory) as reader:
        for row in reader.rows(Lane.EVENT, from_ms):
            for item in json.loads(row.items):
                if item["kind"] in _EVENTS and from_ms <= item["t"] <= to_ms:
                    about = item["attributes"]
                    found.append(
                        Change(about["point"], about["before"], about["after"], item["t"], _EVENTS[item["kind"]])
                    )
    return found


def _search(
    reader: Reader,
    points: Set[PointId],
    instant_ms: int,
    reach_ms: int,
    before: dict[PointId, Mark],
    after: dict[PointId, Mark],
) -> None:
    for row in reader.rows(Lane.BILLING, instant_ms - reach_ms):
        if row.from_ms > instant_ms + reach_ms:
            return
        for point, mark in _good(row.items):
            if point not in points or abs(mark.time_ms - instant_ms) > reach_ms:
                continue
            side, nearer = (before, max) if mark.time_ms < instant_ms else (after, min)
            other = side.get(point, mark)
            side[point] = nearer(mark, other, key=lambda each: each.time_ms)


def _good(items: bytes) -> Iterator[tuple[PointId, Mark]]:
    for item in json.loads(items):
        value = item.get("v")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and item.get("q") == "good" and item.get("c") != "unknown":
            yield item["p"], Mark(float(value), item["t"])
