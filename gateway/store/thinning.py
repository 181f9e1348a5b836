"""Telemetry that must make room is thinned before it is dropped: every second reading of a point goes, three times.

A run is a stretch of readings of one point with the same quality and reason.  Its first and last reading stay, so what
remains still shows when a point failed and came back.  Pure; works on the bytes that ``gateway.envelope`` made, because
parsing them as JSON takes five times as long, and what stays must stay as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.envelope import MAX_ITEMS_BYTES

LEVELS = 3
"""Of eight readings one is left; what has been thinned so often is dropped."""

_BEGIN = b'[{"p":"'
_NEXT = b'},{"p":"'
_END = b"}]"
# Quotes inside a JSON text are escaped, so these cannot occur in one.
_QUALITY = b',"q":"'
_RAW = b',"raw":"'


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the thinning of a point stands."""

    quality: bytes
    dropped: bool
    """Whether the latest reading was dropped: then the next is kept."""


def readings(items: bytes) -> list[bytes]:
    """The readings of an envelope, each without its ``{"p":"`` and ``}``; none when it begins with anything else."""
    if not items.startswith(_BEGIN) or not items.endswith(_END):
        return []
    return items[len(_BEGIN) : -len(_END)].split(_NEXT)


def joined(found: Sequence[bytes]) -> bytes:
    """The inverse of ``readings``."""
    return _BEGIN + _NEXT.join(found) + _END


def halved(
    envelopes: Iterable[Sequence[bytes]], ahead: Iterable[Sequence[bytes]], before: Mapping[bytes, Standing]
) -> tuple[list[list[bytes]], dict[bytes, Standing]]:
    """What stays of each envelope, and how every point stands now.

    *ahead*: readings that follow; whether a reading ends its run shows only in the next.  Where that is unknown, it
    stays.  *before*: how the points stood at the end of the readings that came before.
    """
    standing = dict(before)
    latest: dict[bytes, tuple[int, int]] = {}
    keep: list[list[bool]] = []
    contents = [list(envelope) for envelope in envelopes]
    for number, envelope in enumerate(contents):
        marks = [True] * len(envelope)
        keep.append(marks)
        for index, reading in enumerate(envelope):
            point, quality = _named(reading)
            known = standing.get(point)
            same = known is not None and known.quality == quality
            if known is not None and not same and point in latest:
                at, place = latest[point]
                keep[at][place] = True  # it was the last of its run
            marks[index] = known is None or not same or known.dropped
            standing[point] = Standing(quality, not marks[index])
            latest[point] = number, index
    undecided = {point: place for point, place in latest.items() if standing[point].dropped}
    for point in _ends(undecided, ahead, standing):
        at, place = undecided[point]
        keep[at][place] = True
        standing[point] = Standing(standing[point].quality, dropped=False)
    kept = [
        [reading for reading, mark in zip(envelope, marks, strict=True) if mark]
        for envelope, marks in zip(contents, keep, strict=True)
    ]
    return kept, standing


def _ends(
    undecided: Iterable[bytes], ahead: Iterable[Sequence[bytes]], standing: Mapping[bytes, Standing]
) -> set[bytes]:
    """The points whose latest reading ends a run, or may."""
    open_points = set(undecided)
    ends: set[bytes] = set()
    for envelope in ahead:
        if not open_points:
            break
        for reading in envelope:
            point, quality = _named(reading)
            if point in open_points:
                open_points.remove(point)
                if quality != standing[point].quality:
                    ends.add(point)
    return ends | open_points


def _named(reading: bytes) -> tuple[bytes, bytes]:
    """Point; quality, reason and clock state."""
    point = reading[: reading.index(b'"')]
    quality = reading.rpartition(_QUALITY)[2]
    cut = quality.find(_RAW)
    return point, quality if cut < 0 else quality[:cut]


def packed(envelopes: Iterable[Sequence[bytes]]) -> list[list[bytes]]:
    """The same readings in order, in as few envelopes as the size limit allows."""
    result: list[list[bytes]] = []
    size = MAX_ITEMS_BYTES
    for reading in (reading for envelope in envelopes for reading in envelope):
        taken = len(reading) + len(_NEXT)
        if size + taken > MAX_ITEMS_BYTES:
            result.append([])
            size = len(_BEGIN) + len(_END)
        result[-1].append(reading)
        size += taken
    return result
