"""What a lane holds, as two marks; read by the writer at its start and by the command line beside it."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import StoreCorrupt
from gateway.model import Lane
from gateway.store.rows import Row, columns, intact


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a lane and what has come up to it since the epoch began."""

    seq: int = 0
    items: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """The rows after *trimmed*, through *last*."""

    trimmed: Mark
    last: Mark
    evicted: int = 0
    evicted_items: int = 0
    damaged: int = 0
    thinned_items: int = 0


@dataclass(frozen=True, slots=True)
class LaneStats:
    envelopes: int
    items: int
    bytes: int
    first_seq: int | None
    """None when the lane is empty."""
    last_seq: int
    """The last one given, also when its row has been evicted; 0 before the first."""
    oldest_ms: int | None
    unacknowledged: Mapping[str, int]
    """Uplink -> envelopes waiting for it."""
    waiting_since_ms: Mapping[str, int]
    """Uplink -> time of the oldest record waiting for it; absent when none is."""
    evicted: int
    """Envelopes dropped, since the epoch began, before every uplink had acknowledged them."""
    evicted_items: int
    damaged: int
    """Envelopes found damaged since the epoch began."""
    thinned_items: int = 0
    """Readings taken out of envelopes, since the epoch began, before every uplink had acknowledged them."""


@dataclass(frozen=True, slots=True)
class StoreStats:
    epoch: str
    lanes: Mapping[Lane, LaneStats]
    bytes: int
    """On disk: the file, its write-ahead log, the ballast."""
    budget_bytes: int
    evicted: int = field(init=False)
    damaged: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "evicted", sum(lane.evicted for lane in self.lanes.values()))
        object.__setattr__(self, "damaged", sum(lane.damaged for lane in self.lanes.values()))

    def as_item(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "epoch": self.epoch,
            "bytes": self.bytes,
            "budget_bytes": self.budget_bytes,
            "evicted": self.evicted,
            "damaged": self.damaged,
            "lanes": {str(lane): _lane_item(stats) for lane, stats in self.lanes.items()},
        }


def _lane_item(stats: LaneStats) -> dict[str, Any]:
    return {
        "envelopes": stats.envelopes,
        "items": stats.items,
        "bytes": stats.bytes,
        "first_seq": stats.first_seq,
        "last_seq": stats.last_seq,
        "oldest_ms": stats.oldest_ms,
        "unacknowledged": dict(stats.unacknowledged),
        "waiting_since_ms": dict(stats.waiting_since_ms),
        "evicted": stats.evicted,
        "evicted_items": stats.evicted_items,
        "damaged": stats.damaged,
        "thinned_items": stats.thinned_items,
    }


Cursors = dict[tuple[str, Lane], int]


def load_epoch(connection: sqlite3.Connection) -> str:
    found = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
    if found is None or not isinstance(found[0], str):
        raise StoreCorrupt("the store has no epoch")
    return found[0]


def load_cursors(connection: sqlite3.Connection, epoch: str) -> Cursors:
    """A damaged cursor is left out: its uplink starts over, which costs duplicates and loses nothing."""
    cursors = {}
    for uplink, lane, seq, crc in connection.execute("SELECT uplink, lane, seq, crc FROM cursor"):
        if cursor_crc(epoch, uplink, lane, seq) == crc:
            cursors[uplink, Lane(lane)] = seq
    return cursors


def row_columns(connection: sqlite3.Connection) -> str:
    """What to select from a lane's table."""
    return columns(_version(connection))


def _version(connection: sqlite3.Connection) -> int:
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return number


def cursor_crc(epoch: str, uplink: str, lane: str, seq: int) -> int:
    return zlib.crc32(f"{epoch} {uplink} {lane} {seq}".encode())


def state_crc(key: str, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(key.encode()))


def load_lanes(connection: sqlite3.Connection, epoch: str) -> dict[Lane, Held]:
    """Raises StoreCorrupt when what the lanes say of themselves does not fit together."""
    thinned = "thinned_records" if _version(connection) >= 2 else "0"
    saved = {
        row[0]: row[1:]
        for row in connection.execute(
            f"SELECT name, seq, total_records, total_bytes, evicted, evicted_records, damaged, {thinned} FROM lane"
        )
    }
    lanes = {}
    for lane in Lane:
        row = saved.get(str(lane))
        if row is None or not all(isinstance(number, int) and number >= 0 for number in row):
            raise StoreCorrupt(f"the entry of lane {lane} is damaged")
        trimmed = Mark(*row[:3])
        lanes[lane] = Held(trimmed, _last(connection, epoch, lane, trimmed), *row[3:])
    return lanes


def _last(connection: sqlite3.Connection, epoch: str, lane: Lane, trimmed: Mark) -> Mark:
    found = connection.execute(f"SELECT {row_columns(connection)} FROM {lane} ORDER BY seq DESC LIMIT 1").fetchone()
    first = connection.execute(f"SELECT seq FROM {lane} ORDER BY seq LIMIT 1").fetchone()
    if found is None or first is None:
        return trimmed
    row = Row._make(found)
    if not intact(epoch, lane, row):
        raise StoreCorrupt(f"the last envelope of lane {lane} is damaged")
    if first[0] != trimmed.seq + 1:
        raise StoreCorrupt(f"lane {lane} begins at {first[0]} instead of {trimmed.seq + 1}")
    return Mark(row.seq, row.total_records, row.total_bytes)


def survey(
    connection: sqlite3.Connection, lanes: Mapping[Lane, Held], cursors: Cursors, uplinks: Sequence[str]
) -> dict[Lane, LaneStats]:
    return {lane: _survey_lane(connection, lane, held, cursors, uplinks) for lane, held in lanes.items()}


def _survey_lane(
    connection: sqlite3.Connection, lane: Lane, held: Held, cursors: Cursors, uplinks: Sequence[str]
) -> LaneStats:
    def time_after(seq: int) -> int | None:
        found = connection.execute(f"SELECT from_ms FROM {lane} WHERE seq = ?", (seq + 1,)).fetchone()
        return None if found is None else found[0]

    starts = {uplink: max(cursors.get((uplink, lane), 0), held.trimmed.seq) for uplink in uplinks}
    times = {uplink: time_after(seq) for uplink, seq in starts.items()}
    empty = held.last.seq == held.trimmed.seq
    return LaneStats(
        envelopes=held.last.seq - held.trimmed.seq,
        items=held.last.items - held.trimmed.items,
        bytes=held.last.bytes - held.trimmed.bytes,
        first_seq=None if empty else held.trimmed.seq + 1,
        last_seq=held.last.seq,
        oldest_ms=time_after(held.trimmed.seq),
        unacknowledged={uplink: max(held.last.seq - seq, 0) for uplink, seq in starts.items()},
        waiting_since_ms={uplink: time for uplink, time in times.items() if time is not None},
        evicted=held.evicted,
        evicted_items=held.evicted_items,
        damaged=held.damaged,
        thinned_items=held.thinned_items,
    )
