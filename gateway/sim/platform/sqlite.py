"""SQLite: for demonstrations, for tests, and for a look at what a platform has to keep."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.sim.account import Account, Stream
from gateway.sim.platform.arrival import Arrival
from gateway.sim.platform.storage import Sorted, StorageUnavailable, Stored, sort, summed
from gateway.spans import Spans

_SCHEMA = """
CREATE TABLE IF NOT EXISTS envelopes (
    site TEXT, gateway TEXT, epoch TEXT, lane TEXT, seq INTEGER, boot_id TEXT, sent_ms INTEGER, digest BLOB, items TEXT,
    PRIMARY KEY (site, gateway, epoch, lane, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS readings (
    site TEXT, gateway TEXT, epoch TEXT, lane TEXT, seq INTEGER, "index" INTEGER, point TEXT, t_ms INTEGER,
    number REAL, text TEXT, quality TEXT, reason TEXT, unit TEXT, clock TEXT,
    PRIMARY KEY (site, gateway, epoch, lane, seq, "index")
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS streams (
    site TEXT, gateway TEXT, epoch TEXT, lane TEXT, stored TEXT, announced TEXT,
    PRIMARY KEY (site, gateway, epoch, lane)
) WITHOUT ROWID;
"""
_OF_STREAM = "site = ? AND gateway = ? AND epoch = ? AND lane = ?"


class SqliteStorage:
    """*file*: None keeps everything in memory."""

    def __init__(self, file: Path | None = None) -> None:
        self._connection = sqlite3.connect(file or ":memory:", isolation_level=None, check_same_thread=False)
        self._lock = threading.Lock()  # a batch whose caller was cancelled is still being written
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)

    async def store(self, batch: Sequence[Arrival]) -> Stored:
        return await asyncio.to_thread(self._store, sort(batch))

    async def accounts(self, streams: Sequence[Stream]) -> Mapping[Stream, Account]:
        return await asyncio.to_thread(self._accounts, streams)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock:
            self._connection.close()

    def _accounts(self, streams: Sequence[Stream]) -> Mapping[Stream, Account]:
        with self._lock:
            try:
                return {stream: self._account(stream) for stream in streams}
            except sqlite3.OperationalError as exc:
                raise StorageUnavailable(f"SQLite: {exc}") from exc

    def _store(self, work: Sorted) -> Stored:
        with self._lock:
            return self._transaction(work)

    def _transaction(self, work: Sorted) -> Stored:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                stored = self._written(work)
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as exc:
            raise StorageUnavailable(f"SQLite: {exc}") from exc
        return stored

    def _written(self, work: Sorted) -> Stored:
        fresh, contradictions = set(), 0
        for name, arrival in work.envelopes.items():
            if self._added(arrival):
                fresh.add(name)
            else:
                contradictions += self._contradicts(arrival)
        return summed(work, fresh, {stream: self._booked(stream, work) for stream in work.streams}, contradictions)

    def _added(self, arrival: Arrival) -> bool:
        """False: it is there already."""
        name = (*arrival.stream, arrival.seq)
        row = (*name, arrival.boot_id, arrival.sent_ms, arrival.digest, arrival.items)
        added = (
            self._connection.execute("INSERT OR IGNORE INTO envelopes VALUES (?,?,?,?,?,?,?,?,?)", row).rowcount == 1
        )
        if added:
            self._connection.executemany(
                "INSERT INTO readings VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                [(*name, *each) for each in arrival.readings],
            )
        return added

    def _contradicts(self, arrival: Arrival) -> bool:
        (digest,) = self._connection.execute(
            f"SELECT digest FROM envelopes WHERE {_OF_STREAM} AND seq = ?", (*arrival.stream, arrival.seq)
        ).fetchone()
        return bool(digest != arrival.digest)

    def _booked(self, stream: Stream, work: Sorted) -> Account:
        """The stream's account with the batch entered."""
        account = self._account(stream)
        for first, last in work.stored.get(stream, ()):
            account.stored.add(first, last)
        for first, last in work.announced.get(stream, ()):
            account.announced.add(first, last)
        texts = json.dumps(list(account.stored)), json.dumps(list(account.announced))
        self._connection.execute("REPLACE INTO streams VALUES (?,?,?,?,?,?)", (*stream, *texts))
        return account

    def _account(self, stream: Stream) -> Account:
        row = self._connection.execute(f"SELECT stored, announced FROM streams WHERE {_OF_STREAM}", stream).fetchone()
        return Account(*map(_spans, row)) if row else Account()


def _spans(text: str) -> Spans:
    return Spans((first, last) for first, last in json.loads(text))
