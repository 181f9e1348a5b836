"""PostgreSQL 14 or newer.  A stream's account is one row with two multiranges, in the envelopes' own transaction.

Therefore several ingesters may share the work: each adds its numbers to the row, and each sees the sum, from which the
receipts follow.  No ingester keeps an account of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Self

import asyncpg

from gateway.model import Lane
from gateway.sim.account import Account, Stream
from gateway.sim.platform.arrival import Arrival
from gateway.sim.platform.storage import Sorted, StorageUnavailable, Stored, sort, summed
from gateway.spans import Span, Spans

PARTITIONS = 8
"""Compounds are spread over so many tables; the number cannot be changed later without moving them."""
_READINGS = (
    *("site", "gateway", "epoch", "lane", "seq", "index"),
    *("point", "t_ms", "number", "text", "quality", "reason", "unit", "clock"),
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS envelopes (
    site text, gateway text, epoch text, lane text, seq bigint,
    boot_id text NOT NULL, sent_ms bigint NOT NULL, digest bytea NOT NULL, items json NOT NULL,
    received timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (site, gateway, epoch, lane, seq)
) PARTITION BY HASH (site);
CREATE TABLE IF NOT EXISTS readings (
    site text, gateway text, epoch text, lane text, seq bigint, index integer,
    point text NOT NULL, t_ms bigint NOT NULL, number double precision, text text,
    quality text NOT NULL, reason text, unit text, clock text,
    PRIMARY KEY (site, gateway, epoch, lane, seq, index)
) PARTITION BY HASH (site);
CREATE TABLE IF NOT EXISTS streams (
    site text, gateway text, epoch text, lane text,
    stored int8multirange NOT NULL, announced int8multirange NOT NULL,
    PRIMARY KEY (site, gateway, epoch, lane)
);
"""
_NAMES = "unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[]"
_ADD = f"""
INSERT INTO envelopes (site, gateway, epoch, lane, seq, boot_id, sent_ms, digest, items)
SELECT * FROM {_NAMES}, $6::text[], $7::bigint[], $8::bytea[], $9::json[])
ON CONFLICT DO NOTHING RETURNING site, gateway, epoch, lane, seq
"""
_CONTRADICTIONS = f"""
SELECT count(*) FROM {_NAMES}, $6::bytea[]) AS sent (site, gateway, epoch, lane, seq, digest)
JOIN envelopes AS kept USING (site, gateway, epoch, lane, seq) WHERE kept.digest <> sent.digest
"""
_BOOK = """
INSERT INTO streams AS kept (site, gateway, epoch, lane, stored, announced)
SELECT site, gateway, epoch, lane, stored::int8multirange, announced::int8multirange
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS new (site, gateway, epoch, lane, stored, announced)
ON CONFLICT (site, gateway, epoch, lane) DO UPDATE
SET stored = kept.stored + excluded.stored, announced = kept.announced + excluded.announced
RETURNING site, gateway, epoch, lane, stored, announced
"""
_LOOK_UP = """
SELECT site, gateway, epoch, lane, stored, announced FROM streams
JOIN unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS asked (site, gateway, epoch, lane)
USING (site, gateway, epoch, lane)
"""
_SETTING_UP = 0x636F6D70
"""Key of the advisory lock: CREATE TABLE IF NOT EXISTS alone fails when two ingesters start together."""
_LATER = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    # what a person has to set right; the ingester goes on asking
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)


class PostgresStorage:
    """Use ``open``.  One connection, opened again when it is lost."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: asyncpg.Connection | None = None

    @classmethod
    async def open(cls, dsn: str) -> Self:
        """*dsn*: as ``postgresql://user@host/database``.  Makes the tables.  Raises StorageUnavailable."""
        storage = cls(dsn)
        with _translated():
            await storage._open()
        return storage

    async def store(self, batch: Sequence[Arrival]) -> Stored:
        work = sort(batch)
        with _translated():
            async with self._transaction() as connection:
                return await _written(connection, work)

    async def accounts(self, streams: Sequence[Stream]) -> Mapping[Stream, Account]:
        names = [list(column) for column in zip(*streams, strict=True)]
        with _translated():
            async with self._transaction() as connection:
                return _accounts(await connection.fetch(_LOOK_UP, *names))

    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close(timeout=5)

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await self._open()
        try:
            async with connection.transaction():
                yield connection
        except BaseException:
            # Whether COMMIT has reached the server is not known: a new connection, and the same batch once more.
            self._connection = None
            connection.terminate()
            raise

    async def _open(self) -> asyncpg.Connection:
        if self._connection is None:
            connection = await asyncpg.connect(self._dsn, timeout=10, command_timeout=60)
            try:
                await _check(connection)
                await _make_tables(connection)
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
        return self._connection


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _LATER as exc:
        raise StorageUnavailable(f"PostgreSQL: {exc or type(exc).__name__}") from exc


async def _check(connection: asyncpg.Connection) -> None:
    """Multiranges came with 14; another encoding would refuse some texts, and with them a batch for ever."""
    version, encoding = await connection.fetchrow(
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')"
    )
    if version < 140_000:
        raise StorageUnavailable(f"PostgreSQL {version // 10_000} is too old", hint="14 or newer is needed")
    if encoding != "UTF8":
        raise StorageUnavailable(
            f"the database's encoding is {encoding}", hint="CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


async def _make_tables(connection: asyncpg.Connection) -> None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _SETTING_UP)
        await connection.execute(_SCHEMA)
        for table in ("envelopes", "readings"):
            for number in range(PARTITIONS):
                await connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {table}_{number} PARTITION OF {table} "
                    f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
                )


async def _written(connection: asyncpg.Connection, work: Sorted) -> Stored:
    arrivals = work.envelopes.values()
    content = ((each.boot_id, each.sent_ms, each.digest, each.items) for each in arrivals)
    added = await connection.fetch(_ADD, *_columns(zip(work.envelopes, content, strict=True), 4))
    fresh = {(_stream(row), row["seq"]) for row in added}
    rows = [
        (*name[0], name[1], *each)
        for name, arrival in work.envelopes.items()
        if name in fresh
        for each in arrival.readings
    ]
    if rows:
        await connection.copy_records_to_table("readings", records=rows, columns=_READINGS)
    known = [(name, (arrival.digest,)) for name, arrival in work.envelopes.items() if name not in fresh]
    contradictions = await connection.fetchval(_CONTRADICTIONS, *_columns(known, 1)) if known else 0
    return summed(work, fresh, await _booked(connection, work), contradictions)


async def _booked(connection: asyncpg.Connection, work: Sorted) -> dict[Stream, Account]:
    """Last, so that the rows of busy streams are locked as briefly as can be."""
    sums = [(*each, _text(work.stored.get(each)), _text(work.announced.get(each))) for each in work.streams]
    rows = await connection.fetch(_BOOK, *(list(column) for column in zip(*sums, strict=True)))
    return _accounts(rows)


def _accounts(rows: Sequence[Any]) -> dict[Stream, Account]:
    return {_stream(row): Account(_spans(row["stored"]), _spans(row["announced"])) for row in rows}


def _columns(rows: Any, width: int) -> list[list[Any]]:
    """((stream, seq), (*width* more)) each -> one list a column."""
    flat = [(*stream, seq, *more) for (stream, seq), more in rows]
    return [list(column) for column in zip(*flat, strict=True)] if flat else [[] for _ in range(5 + width)]


def _stream(row: Any) -> Stream:
    return Stream(row["site"], row["gateway"], row["epoch"], Lane(row["lane"]))


def _text(spans: Sequence[Span] | None) -> str:
    return "{" + ",".join(f"[{first},{last}]" for first, last in Spans(spans or ())) + "}"


def _spans(ranges: Sequence[Any]) -> Spans:
    """PostgreSQL's own form: the upper end is not included."""
    return Spans((each.lower, each.upper - 1) for each in ranges)
