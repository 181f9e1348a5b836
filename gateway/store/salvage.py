"""Copies what checks from a damaged store to an empty one, the urgent lanes first, within a deadline."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from gateway.clock import Clock
from gateway.errors import StoreCorrupt
from gateway.model import Lane
from gateway.store.carve import Carver
from gateway.store.database import lenient_text
from gateway.store.disk import Limits
from gateway.store.lanes import Cursors, load_cursors, load_epoch, state_crc
from gateway.store.rows import COLUMNS, PAGE_BYTES, VALUES, Row, columns, footprint, intact, sealed

log = structlog.get_logger()

_DEADLINE_S = 2.5
_EPOCH = "store.epoch"
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

    First through SQLite; what it cannot read whole is carved out of the pages.  What cannot be read is passed over.
    Raises sqlite3.Error only for the *target*.
    """
    if not source.exists():
        return Salvage({}, False)
    copier = _Copier(target, limits.file_pages * PAGE_BYTES * 4 // 5, clock)
    found = _copy_readable(source, copier, uplinks)
    if found.torn:
        try:
            with Carver(source) as carver:
                _copy_carved(carver, {noted_epoch(source.parent)} - {""}, found, copier, uplinks)
        except OSError as exc:
            log.warning("the pages cannot be searched", reason=str(exc))
    copier.state(found.state)
    return Salvage(found.copied, not copier.full and not copier.expired())


@dataclass(slots=True)
class _Found:
    """What SQLite could read."""

    state: dict[str, bytes] = field(default_factory=dict)
    epoch: str | None = None
    cursors: Cursors = field(default_factory=dict)
    torn: set[Lane] = field(default_factory=set)
    """Lanes of which some cannot be reached."""
    copied: dict[Lane, int] = field(default_factory=dict)


def _copy_readable(source: Path, copier: _Copier, uplinks: Sequence[str]) -> _Found:
    found = _Found(torn=set(Lane))
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.text_factory = lenient_text
        found.state.update(_state(connection))
        try:
            found.epoch = load_epoch(connection)
        except (sqlite3.Error, StoreCorrupt):
            return found
        found.torn.clear()
        with suppress(sqlite3.Error):
            found.cursors = load_cursors(connection, found.epoch)
        floors = _floors(found.cursors, uplinks)
        for lane in Lane:
            rows = _intact_rows(connection, found.epoch, lane, floors[lane], copier.expired, found.torn)
            found.copied[lane] = copier.lane(lane, _kept_rows(rows, lane))
    if not any(found.copied.values()):  # there may have been none; or what calls itself the epoch is not
        found.epoch, found.torn = None, set(Lane)
    return found


def _copy_carved(carver: Carver, noted: set[str], found: _Found, copier: _Copier, uplinks: Sequence[str]) -> None:
    for epoch in [found.epoch] if found.epoch else sorted(carver.epochs() | noted):
        carving = carver.search(epoch, copier.expired)
        found.state = {**carving.state, **found.state}
        floors = _floors({**carving.cursors, **found.cursors}, uplinks)
        for lane in sorted(found.torn, key=list(Lane).index):
            places = [place for seq, place in sorted(carving.rows[lane].items()) if seq > floors[lane]]
            if len(places) > found.copied.get(lane, 0):
                rows = (row for place in places if (row := carver.row(place)) is not None)
                found.copied[lane] = copier.lane(lane, _kept_rows(rows, lane), anew=True)


class _Copier:
    def __init__(self, target: sqlite3.Connection, room_bytes: int, clock: Clock) -> None:
        self.full = False
        self._target = target
        self._epoch = load_epoch(target)
        self._room_bytes = room_bytes
        self._taken: dict[Lane, int] = {}
        self._clock = clock
        self._end_s = clock.monotonic_s() + _DEADLINE_S

    def expired(self) -> bool:
        return self._clock.monotonic_s() > self._end_s

    def state(self, state: Mapping[str, bytes]) -> None:
        rows = [(key, value, state_crc(key, value)) for key, value in state.items()]
        self._target.execute("BEGIN IMMEDIATE")
        self._target.executemany("INSERT INTO state (key, value, crc) VALUES (?, ?, ?)", rows)
        self._target.execute("COMMIT")

    def lane(self, lane: Lane, rows: Iterator[Row], *, anew: bool = False) -> int:
        """How many were copied.  *anew*: instead of those that have been."""
        self._target.execute("BEGIN IMMEDIATE")
        if anew:
            self._target.execute(f"DELETE FROM {lane}")
            self._room_bytes += self._taken.pop(lane, 0)
        before = self._target.total_changes
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
            self._taken[lane] = self._taken.get(lane, 0) + taken
            items, size = items + row.records, size + taken
            yield sealed(self._epoch, lane, row._replace(seq=seq, total_records=items, total_bytes=size))


def note_epoch(directory: Path, epoch: str) -> None:
    """Beside the file: without its epoch no row of it can prove itself, and one damaged page can hide that."""
    with suppress(OSError):
        if noted_epoch(directory) != epoch:
            (directory / _EPOCH).touch(0o600)
            (directory / _EPOCH).write_text(epoch)


def noted_epoch(directory: Path) -> str:
    try:
        return (directory / _EPOCH).read_text("ascii", "replace")
    except OSError:
        return ""


def _state(connection: sqlite3.Connection) -> Iterator[tuple[str, bytes]]:
    """What comes before the first page that cannot be read."""
    with suppress(sqlite3.Error):
        for key, value, crc in connection.execute("SELECT key, value, crc FROM state"):
            if isinstance(value, bytes) and state_crc(key, value) == crc:
                yield key, value


def _floors(cursors: Cursors, uplinks: Sequence[str]) -> dict[Lane, int]:
    """Up to where every uplink has acknowledged each lane; without uplinks everything is history worth keeping."""
    return {lane: min((cursors.get((uplink, lane), 0) for uplink in uplinks), default=0) for lane in Lane}


def _kept_rows(rows: Iterator[Row], lane: Lane) -> Iterator[Row]:
    for row in rows:
        kept = _without_old_numbers(row) if lane is Lane.GAP else row
        if kept.items:
            yield kept


def _intact_rows(
    connection: sqlite3.Connection,
    epoch: str,
    lane: Lane,
    floor: int,
    expired: Callable[[], bool],
    torn: set[Lane],
) -> Iterator[Row]:
    """In order, each once; *torn* hears of a lane that cannot be read whole.

    A damaged page ends a scan or leads it round in circles: begin again behind the last good row, in growing steps.
    """
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
            torn.add(lane)
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
