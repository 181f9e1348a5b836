"""Copies what checks from a damaged store to an empty one, the urgent lanes first, within a deadline."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.clock import Clock
from gateway.errors import StoreCorrupt
from gateway.model import Lane
from gateway.store.database import lenient_text
from gateway.store.disk import Limits
from gateway.store.lanes import Cursors, load_cursors, load_epoch, state_crc
from gateway.store.rows import COLUMNS, PAGE_BYTES, VALUES, Row, columns, footprint, intact, sealed

log = structlog.get_logger()

_DEADLINE_S = 2.5
_LARGEST_STEP = 2**40


@dataclass(frozen=True, slots=True)
class Salvage:
    envelopes: Mapping[Lane, int]
    """How many were copied to the new store."""
    complete: bool
    """False when the deadline, the budget or unreadable tables ended the copying early."""


def copy_intact(
    source: Path, target: sqlite3.Connection, limits: Limits, uplinks: Sequence[str], clock: Clock
) -> Salvage:
    """Copy the saved state, and the envelopes that some uplink still wants, under new numbers.

    What cannot be read is passed over.  Raises sqlite3.Error only for the *target*.
    """
    if not source.exists():
        return Salvage({}, False)
    copied: dict[Lane, int] = {}
    copier = _Copier(target, limits.file_pages * PAGE_BYTES * 4 // 5, clock)
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.text_factory = lenient_text
        copier.state(dict(_state(connection)))
        try:
            epoch = load_epoch(connection)
        except (sqlite3.Error, StoreCorrupt) as exc:
            log.warning("no envelope can be salvaged", reason=str(exc))
            return Salvage({}, False)
        floors = _floors(connection, epoch, uplinks)
        for lane in Lane:
            rows = _intact_rows(connection, epoch, lane, floors[lane], copier.expired)
            copied[lane] = copier.lane(lane, _kept_rows(rows, lane))
    return Salvage(copied, not copier.full and not copier.expired())


class _Copier:
    def __init__(self, target: sqlite3.Connection, room_bytes: int, clock: Clock) -> None:
        self.full = False
        self._target = target
        self._epoch = load_epoch(target)
        self._room_bytes = room_bytes
        self._clock = clock
        self._end_s = clock.monotonic_s() + _DEADLINE_S

    def expired(self) -> bool:
        return self._clock.monotonic_s() > self._end_s

    def state(self, state: Mapping[str, bytes]) -> None:
        rows = [(key, value, state_crc(key, value)) for key, value in state.items()]
        self._target.execute("BEGIN IMMEDIATE")
        self._target.executemany("INSERT INTO state (key, value, crc) VALUES (?, ?, ?)", rows)
        self._target.execute("COMMIT")

    def lane(self, lane: Lane, rows: Iterator[Row]) -> int:
        """How many were copied."""
        before = self._target.total_changes
        self._target.execute("BEGIN IMMEDIATE")
        self._target.executemany(f"INSERT INTO {lane} {VALUES}", self._renumbered(lane, rows))
        self._target.execute("COMMIT")
        return self._target.total_changes - before

    def _renumbered(self, lane: Lane, rows: Iterator[Row]) -> Iterator[Row]:
        items = size = 0
        for seq, row in enumerate(rows, start=1):
            taken = footprint(row.boot_id, row.items)
            if taken > self._room_bytes:
                self.full = True
                return
            self._room_bytes -= taken
            items, size = items + row.records, size + taken
            yield sealed(self._epoch, lane, row._replace(seq=seq, total_records=items, total_bytes=size))


def _state(connection: sqlite3.Connection) -> Iterator[tuple[str, bytes]]:
    """What comes before the first page that cannot be read."""
    with suppress(sqlite3.Error):
        for key, value, crc in connection.execute("SELECT key, value, crc FROM state"):
            if isinstance(value, bytes) and state_crc(key, value) == crc:
                yield key, value


def _floors(connection: sqlite3.Connection, epoch: str, uplinks: Sequence[str]) -> dict[Lane, int]:
    """Up to where every uplink has acknowledged each lane; without uplinks everything is history worth keeping."""
    cursors: Cursors = {}
    with suppress(sqlite3.Error):
        cursors = load_cursors(connection, epoch)
    return {lane: min((cursors.get((uplink, lane), 0) for uplink in uplinks), default=0) for lane in Lane}


def _kept_rows(rows: Iterator[Row], lane: Lane) -> Iterator[Row]:
    for row in rows:
        kept = _without_old_numbers(row) if lane is Lane.GAP else row
        if kept.items:
            yield kept


def _intact_rows(
    connection: sqlite3.Connection, epoch: str, lane: Lane, floor: int, expired: Callable[[], bool]
) -> Iterator[Row]:
    """In order, each once.  A damaged page ends a scan or leads it round in circles: begin again behind the last good
    row, in growing steps."""
    step, wanted = 1, _columns(connection, lane)
    while step < _LARGEST_STEP and not expired():
        try:
            for values in connection.execute(f"SELECT {wanted} FROM {lane} WHERE seq > ? ORDER BY seq", (floor,)):
                row = Row._make(values)
                if expired():
                    return
                if not intact(epoch, lane, row):
                    continue
                if row.seq <= floor:
                    raise sqlite3.DatabaseError("rows out of order")
                floor, step = row.seq, 1
                yield row
        except sqlite3.DatabaseError:
            floor, step = floor + step, step * 2
        else:
            return


def _columns(connection: sqlite3.Connection, lane: Lane) -> str:
    """By trying: the version that a damaged file says of itself may be wrong."""
    try:
        connection.execute(f"SELECT {COLUMNS} FROM {lane} LIMIT 0").fetchall()
    except sqlite3.Error:
        return columns(1)
    return COLUMNS


def _without_old_numbers(row: Row) -> Row:
    """A gap record that speaks of sequence numbers means those of an epoch that has ended."""
    items = [item for item in json.loads(row.items) if "from_seq" not in item]
    text = json.dumps(items, ensure_ascii=False, separators=(",", ":")) if items else ""
    return row._replace(items=text.encode(), records=len(items))
