"""Who has to go when there is no room: a pure decision."""

from __future__ import annotations

import bisect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.model import Gap, Lane

EVICTION_ORDER = (Lane.BULK, Lane.TELEMETRY, Lane.BILLING, Lane.EVENT, Lane.GAP, Lane.ALARM)


@dataclass(frozen=True, slots=True)
class Extent:
    """The rows one lane holds, ``trimmed + 1 .. last``."""

    lane: Lane
    trimmed: int
    acknowledged: int
    """Every uplink has acknowledged the rows up to this one; trimmed <= acknowledged <= last."""
    last: int
    size: Callable[[int], int]
    """Bytes of the rows ``trimmed + 1 .. seq``; asked for a few seq only, since each answer costs a look-up."""
    share_bytes: int = 0
    """So much of its acknowledged rows stays while any lane has more than its share."""
    droppable: int | None = None
    """acknowledged..last: what lies behind must be thinned before it is dropped; None: nothing must."""


@dataclass(frozen=True, slots=True)
class Cuts:
    upto: Mapping[Lane, int]
    """How far to trim which lanes."""
    thin: Lane | None = None
    """This lane has to be thinned, since the trims do not free enough and whatever comes next in the order is worth
    more than every second of its readings."""


def cuts(extents: Sequence[Extent], needed: int) -> Cuts:
    """What to trim so that at least *needed* bytes go, or everything that may when there is less.

    First what every uplink has, beyond the lane's share and then all of it; then what some uplink still wants; in each
    pass lane by lane in eviction order and oldest first, never a row more than needed.
    """
    upto: dict[Lane, int] = {}
    for extent, start, end in _stages(extents):
        if needed <= 0:
            break
        if start == end:
            return Cuts(upto, extent.lane)
        before = extent.size(start) if start > extent.trimmed else 0
        # The first seq with which enough would be freed; the last of the run when not even that is enough.
        stop = start + 1 + bisect.bisect_left(range(start + 1, end), before + needed, key=extent.size)
        upto[extent.lane] = stop
        needed -= extent.size(stop) - before
    return Cuts(upto)


def _stages(extents: Sequence[Extent]) -> Iterator[tuple[Extent, int, int]]:
    """The runs of rows ``start + 1 .. end`` in the order in which they may go; an empty one where thinning is due."""
    ordered = sorted(extents, key=lambda extent: EVICTION_ORDER.index(extent.lane))
    begun: dict[Lane, int] = {}
    for extent in ordered:
        begun[extent.lane] = _beyond_share(extent)
        if extent.trimmed < begun[extent.lane]:
            yield extent, extent.trimmed, begun[extent.lane]
    for extent in ordered:
        if begun[extent.lane] < extent.acknowledged:
            yield extent, begun[extent.lane], extent.acknowledged
    for extent in ordered:
        end = extent.last if extent.droppable is None else extent.droppable
        if extent.acknowledged < end:
            yield extent, extent.acknowledged, end
        if end < extent.last:
            yield extent, end, end


def _beyond_share(extent: Extent) -> int:
    """Up to where acknowledged rows must go until the rest is within the share; *trimmed* when it is."""
    if extent.trimmed == extent.acknowledged:
        return extent.trimmed
    excess = extent.size(extent.acknowledged) - extent.share_bytes
    if excess <= 0:
        return extent.trimmed
    rows = range(extent.trimmed + 1, extent.acknowledged)
    return extent.trimmed + 1 + bisect.bisect_left(rows, excess, key=extent.size)


def merged(gaps: Iterable[Gap]) -> list[Gap]:
    """The same announcements, those of runs of sequence numbers in order and neighbours joined."""
    result: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: (gap.reason, gap.lane or "", gap.from_seq or 0)):
        before = result[-1] if result else None
        if before is not None and _adjoins(before, gap):
            result[-1] = _joined(before, gap)
        else:
            result.append(gap)
    return result


def _adjoins(first: Gap, second: Gap) -> bool:
    same = (first.reason, first.lane) == (second.reason, second.lane)
    return same and first.to_seq is not None and first.to_seq + 1 == second.from_seq


def _joined(first: Gap, second: Gap) -> Gap:
    count = None if first.count is None or second.count is None else first.count + second.count
    return replace(second, from_ms=first.from_ms, from_seq=first.from_seq, count=count)


def announcements(items: bytes) -> list[Gap]:
    """What an envelope of the gap lane says of sequence numbers: to be said again when the envelope itself must go."""
    return [
        Gap(item["reason"], item["from_ms"], item["to_ms"], Lane(item["lane"]), *_numbers(item))
        for item in json.loads(items)
        if "from_seq" in item
    ]


def _numbers(item: Mapping[str, int]) -> tuple[int, int, int | None]:
    return item["from_seq"], item["to_seq"], item.get("count")
