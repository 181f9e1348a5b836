"""Looking into a store without touching it, beside the running daemon or when it is stopped.

Nothing is read under one long transaction: an open reader keeps SQLite from emptying its log, which then grows.
"""

from __future__ import annotations

import enum
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from gateway.errors import StoreCorrupt, StoreError
from gateway.model import Lane
from gateway.store.database import APPLICATION_ID, lenient_text, pragma, translated, understood
from gateway.store.disk import used_bytes
from gateway.store.lanes import StoreStats, load_cursors, load_epoch, load_lanes, row_columns, state_crc, survey
from gateway.store.recovery import FILE
from gateway.store.restamp import STATE_KEY, Pending
from gateway.store.rows import Row, intact

_CHUNK = 500


class Wrong(enum.StrEnum):
    """What can be wrong with a store."""

    STRUCTURE = "structure"  # SQLite's own integrity check
    CHECKSUM = "checksum"
    MISSING = "missing"  # a number that was given, not evicted and is not there
    TOTALS = "totals"  # the running totals do not add up
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Finding:
    wrong: Wrong
    lane: Lane | None
    seq: int | None
    detail: str = ""


@contextmanager
def opened(directory: Path) -> Iterator[Reader]:
    """Raises StoreError when there is no store or it cannot be read at all."""
    path = directory / FILE
    if not os.access(path, os.R_OK):
        raise StoreError(
            f"there is no readable store in {directory}",
            hint="check store.path and who you are: only the gateway's user and root may read it",
        )
    # Without a log nobody is writing; then not even the log's index file needs to be made.
    idle = not path.with_name(path.name + "-wal").exists()
    address = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if idle else ''}"
    try:
        with closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=5.0)) as connection:
            connection.text_factory = lenient_text
            _refuse_strangers(connection, path)
            yield Reader(connection, directory)
    except sqlite3.Error as exc:
        raise translated(exc) from exc


def _refuse_strangers(connection: sqlite3.Connection, path: Path) -> None:
    if pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreError(f"{path} is not a store of this program")
    if not understood(connection):
        version = pragma(connection, "user_version")
        raise StoreError(f"{path} was written by a newer program (schema {version})", hint="use that program")


class Reader:
    """Methods raise sqlite3.Error, which ``opened`` translates, and StoreCorrupt."""

    def __init__(self, connection: sqlite3.Connection, directory: Path) -> None:
        self._connection = connection
        self._directory = directory
        self.epoch = load_epoch(connection)
        self._columns = row_columns(connection)

    def status(self, budget_bytes: int = 0) -> StoreStats:
        """As the daemon's own, but for acknowledgements that it has not written yet."""
        with self._snapshot():
            lanes = load_lanes(self._connection, self.epoch)
            cursors = load_cursors(self._connection, self.epoch)
            uplinks = sorted({uplink for uplink, _ in cursors})
            surveyed = survey(self._connection, lanes, cursors, uplinks)
        return StoreStats(self.epoch, surveyed, used_bytes(self._directory), budget_bytes)

    def held(self) -> Mapping[Lane, int]:
        """How many envelopes wait until the time is known (restamp.py); lanes without any are absent."""
        with self._snapshot():
            lanes = load_lanes(self._connection, self.epoch)
            saved = self._connection.execute(
                "SELECT value FROM state WHERE substr(key, 1, ?) = ?", (len(STATE_KEY), STATE_KEY)
            ).fetchall()
        counts: Counter[Lane] = Counter()
        for (value,) in saved:
            pending = Pending.from_bytes(value, self.epoch)
            for lane, first in (pending.first_held() if pending is not None else {}).items():
                counts[lane] += max(lanes[lane].last.seq - max(first - 1, lanes[lane].trimmed.seq), 0)
        return {lane: count for lane, count in counts.items() if count}

    def rows(self, lane: Lane, since_ms: int = 0) -> Iterator[Row]:
        """Oldest first; damaged ones, and those that stand for a damaged one, are left out."""
        for _, rows in self._chunks(lane, f"AND to_ms >= {since_ms:d}"):
            yield from (row for row in rows if intact(self.epoch, lane, row) and row.items)

    def newest(self, lane: Lane, since_ms: int) -> Iterator[Row]:
        """The newest first, until a whole chunk is older than *since_ms*; damaged ones are left out."""
        before = 2**63 - 1
        while True:
            with self._snapshot():
                found = self._connection.execute(
                    f"SELECT {self._columns} FROM {lane} WHERE seq < ? ORDER BY seq DESC LIMIT {_CHUNK}", (before,)
                ).fetchall()
            rows = [Row._make(row) for row in found]
            yield from (row for row in rows if row.to_ms >= since_ms and intact(self.epoch, lane, row) and row.items)
            if not rows or all(row.to_ms < since_ms for row in rows):
                return
            before = rows[-1].seq

    def state(self) -> Mapping[str, bytes]:
        """Saved state of others; what is damaged is left out."""
        with self._snapshot():
            rows = self._connection.execute("SELECT key, value, crc FROM state").fetchall()
        return {key: value for key, value, crc in rows if state_crc(key, value) == crc}

    def verify(self, checked: Callable[[Lane, int], None]) -> Iterator[Finding]:
        """Everything that is wrong; *checked* hears of progress: the lane and how many rows more."""
        for (text,) in self._connection.execute("PRAGMA integrity_check(20)").fetchall():
            if text != "ok":
                yield Finding(Wrong.STRUCTURE, None, None, str(text).strip())
        for lane in Lane:
            try:
                yield from self._verify_lane(lane, checked)
            except (sqlite3.DatabaseError, StoreCorrupt) as exc:
                yield Finding(Wrong.UNREADABLE, lane, None, str(exc))

    def _verify_lane(self, lane: Lane, checked: Callable[[Lane, int], None]) -> Iterator[Finding]:
        following: int | None = None
        before: Row | None = None
        for trimmed, rows in self._chunks(lane):
            # What is below *trimmed* has been evicted, some of it perhaps since the chunk before.
            following = max(following or 0, trimmed + 1)
            for row in rows:
                if row.seq != following:
                    yield Finding(Wrong.MISSING, lane, following, f"{following} .. {row.seq - 1}")
                if not intact(self.epoch, lane, row):
                    yield Finding(Wrong.CHECKSUM, lane, row.seq)
                elif before is not None and not _adds_up(before, row):
                    yield Finding(Wrong.TOTALS, lane, row.seq)
                before = row if intact(self.epoch, lane, row) else None
                following = row.seq + 1
            checked(lane, len(rows))

    def _chunks(self, lane: Lane, condition: str = "") -> Iterator[tuple[int, Sequence[Row]]]:
        """Up to which seq the lane was evicted, and the next rows, in one view of the file."""
        seq = -1
        while True:
            with self._snapshot():
                found = self._connection.execute("SELECT seq FROM lane WHERE name = ?", (lane,)).fetchone()
                rows = self._connection.execute(
                    f"SELECT {self._columns} FROM {lane} WHERE seq > ? {condition} ORDER BY seq LIMIT {_CHUNK}", (seq,)
                ).fetchall()
            if found is None:
                raise StoreCorrupt(f"lane {lane} has no entry")
            if not rows:
                return
            numbers = [seq, *(row[0] for row in rows)]
            if any(later <= earlier for earlier, later in pairwise(numbers)):
                raise StoreCorrupt(f"the rows of lane {lane} are not in order")
            yield found[0], [Row._make(row) for row in rows]
            seq = numbers[-1]

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")


def _adds_up(before: Row, row: Row) -> bool:
    """A row that stands for a damaged one carries that one's records in its total only."""
    return not row.items or before.seq + 1 != row.seq or before.total_records + row.records == row.total_records
