"""One test for every database: each envelope and each of its readings once, and the account that follows."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ids import uuid7
from gateway.model import Lane
from gateway.sim.account import Account, Stream
from gateway.sim.platform.arrival import Arrival, read
from gateway.sim.platform.postgres import PostgresStorage
from gateway.sim.platform.sqlite import SqliteStorage
from gateway.sim.platform.storage import Storage, StorageUnavailable
from gateway.spans import Spans
from ingester.samples import BILLING, EPOCH, GAPS, NOW_MS, announcement, arrival, reading
from support.postgres import Postgres

pytestmark = pytest.mark.xdist_group("postgres")  # one server is enough

Open = Callable[[], AbstractAsyncContextManager[Storage]]
Names = list[tuple[Any, ...]]


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Place:
    """An empty database of one kind, which can be opened several times."""

    def __init__(self, kind: str, file: Path, dsn: str) -> None:
        self.kind, self.file, self.dsn = kind, file, dsn

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Storage]:
        storage = SqliteStorage(self.file) if self.kind == "sqlite" else await PostgresStorage.open(self.dsn)
        try:
            yield storage
        finally:
            await storage.close()

    async def select(self, columns: str, table: str) -> Names:
        query = f"SELECT {columns} FROM {table} ORDER BY {columns}"
        if self.kind == "sqlite":
            with contextlib.closing(sqlite3.connect(self.file)) as connection:
                return connection.execute(query).fetchall()
        connection = await asyncpg.connect(self.dsn)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()


@pytest.fixture
def run(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[Callable[[Place], Any]], None]:
    def runner(test: Callable[[Place], Any]) -> None:
        async def main() -> None:
            if kind == "sqlite":
                await test(Place(kind, tmp_path / "platform.db", ""))
                return
            server: Postgres = request.getfixturevalue("server")
            async with server.database(tmp_path.name) as dsn:
                await test(Place(kind, tmp_path, dsn))

        if kind == "postgres":
            request.getfixturevalue("server")  # before the loop runs: it has one of its own
        asyncio.run(main())

    return runner


Run = Callable[[Callable[[Place], Any]], None]


def test_an_envelope_is_kept_once_with_its_readings(run: Run) -> None:
    async def test(place: Place) -> None:
        async with place.open() as storage:
            first = await storage.store([arrival(1), arrival(2), arrival(1)])
            assert (first.fresh, first.duplicates) == ({BILLING: 2}, {BILLING: 1})
            assert (first.readings, first.contradictions) == (4, 0)
            again = await storage.store([arrival(2), arrival(4)])
            assert (again.fresh, again.duplicates, again.readings) == ({BILLING: 1}, {BILLING: 1}, 2)
            assert again.accounts == {BILLING: Account(Spans([(1, 2), (4, 4)]))}
        assert await place.select("epoch, lane, seq", "envelopes") == [(EPOCH, "billing", seq) for seq in (1, 2, 4)]
        assert await place.select('seq, "index", point, number', "readings") == [
            (seq, *row) for seq in (1, 2, 4) for row in ((0, "m-1.energy", seq), (1, "m-2.energy", -seq))
        ]

    run(test)


def test_every_kind_of_value_and_text(run: Run) -> None:
    items = [
        reading(True), reading("打开 \0 \ud83d"), reading(None, q="bad", r="no_answer"), reading(1e308), reading(-0.25),
        reading(10**30), {"p": "a.b", "t": 1, "v": 1, "q": "good"}, {"no": "reading", "text": "\0"}, 5,
    ]  # fmt: skip

    async def test(place: Place) -> None:
        async with place.open() as storage:
            assert (await storage.store([arrival(1, items)])).readings == 7
        assert await place.select('"index", number, text, quality, reason, unit', "readings") == [
            (0, 1.0, None, "good", None, "kW.h"),
            (1, None, "打开 \ufffd ?", "good", None, "kW.h"),
            (2, None, None, "bad", "no_answer", "kW.h"),
            (3, 1e308, None, "good", None, "kW.h"),
            (4, -0.25, None, "good", None, "kW.h"),
            (5, 1e30, None, "good", None, "kW.h"),
            (6, 1.0, None, "good", None, None),
        ]

    run(test)


def test_a_number_that_says_something_else_is_a_contradiction_and_the_first_word_stands(run: Run) -> None:
    async def test(place: Place) -> None:
        async with place.open() as storage:
            assert (await storage.store([arrival(1), arrival(1, [reading(9)])])).contradictions == 1
            assert (await storage.store([arrival(1, [reading(9)]), arrival(2)])).contradictions == 1
            assert (await storage.store([arrival(1), arrival(2)])).contradictions == 0
        assert await place.select("seq, number", "readings") == [(1, -1.0), (1, 1.0), (2, -2.0), (2, 2.0)]

    run(test)


def test_what_is_announced_counts_for_the_other_stream(run: Run) -> None:
    async def test(place: Place) -> None:
        async with place.open() as storage:
            stored = await storage.store([read(*announcement(1, Lane.BILLING, 2, 3)), arrival(1), arrival(4)])
            assert stored.accounts == {
                BILLING: Account(Spans([(1, 1), (4, 4)]), Spans([(2, 3)])),
                GAPS: Account(Spans([(1, 1)])),
            }
            assert stored.gaps == 1
            assert not stored.accounts[BILLING].missing()

    run(test)


def test_the_account_survives_and_is_the_sum_of_several_writers(run: Run) -> None:
    async def test(place: Place) -> None:
        async with place.open() as one, place.open() as other:
            await one.store([arrival(1), arrival(3)])
            stored = await other.store([arrival(2), arrival(6)])
            assert stored.accounts[BILLING].stored == Spans([(1, 3), (6, 6)])
            assert await one.accounts([BILLING]) == stored.accounts
            assert (await one.accounts([BILLING, GAPS])).get(GAPS, Account()) == Account()
        async with place.open() as third:
            stored = await third.store([arrival(5)])
            assert stored.accounts[BILLING].stored == Spans([(1, 3), (5, 6)])

    run(test)


def test_writers_at_the_same_time_never_store_twice_or_block_each_other(run: Run) -> None:
    async def test(place: Place) -> None:
        lanes = (Lane.BILLING, Lane.TELEMETRY, Lane.BULK)

        async def write(seed: int) -> int:
            chance = random.Random(seed)
            fresh = 0
            async with place.open() as storage:
                for start in range(1, 61, 20):
                    batch = [arrival(seq, lane=lane) for seq in range(start, start + 20) for lane in lanes]
                    chance.shuffle(batch)
                    fresh += sum((await storage.store(batch)).fresh.values())
            return fresh

        assert sum(await asyncio.gather(*map(write, range(4)))) == 180
        assert len(await place.select("lane, seq", "envelopes")) == 180
        assert len(await place.select('lane, seq, "index"', "readings")) == 360

    run(test)


# ---------------------------------------------------------------------- against the plainest model: sets


class Model:
    def __init__(self) -> None:
        self.stored: dict[Stream, set[int]] = {}
        self.announced: dict[Stream, set[int]] = {}

    def store(self, batch: Sequence[Arrival]) -> None:
        for each in batch:
            self.stored.setdefault(each.stream, set()).add(each.seq)
            for stream, (first, last) in each.announced:
                self.announced.setdefault(stream, set()).update(range(first, last + 1))

    def upto(self, stream: Stream) -> int:
        """The highest number below which all is settled."""
        settled = self.stored.get(stream, set()) | self.announced.get(stream, set())
        return next(number for number in range(len(settled) + 2) if number + 1 not in settled)


def batches(epoch: str) -> st.SearchStrategy[list[list[Arrival]]]:
    plain = st.builds(
        lambda seq, lane: arrival(seq, lane=lane, epoch=epoch), st.integers(1, 12), st.sampled_from(["billing", "bulk"])
    )
    gaps = st.builds(
        lambda seq, first, length: arrival(
            seq,
            [{"lane": "billing", "from_seq": first, "to_seq": first + length, "reason": "store_full"}],
            lane=Lane.GAP,
            epoch=epoch,
        ),
        *(st.integers(1, 5), st.integers(1, 12), st.integers(0, 3)),
    )
    return st.lists(st.lists(plain | gaps, min_size=1, max_size=12), min_size=1, max_size=4)


async def agrees(storage: Storage, batches_: Sequence[Sequence[Arrival]]) -> None:
    model = Model()
    for batch in batches_:
        fresh_before = sum(map(len, model.stored.values()))
        model.store(batch)
        stored = await storage.store(batch)
        fresh = sum(map(len, model.stored.values())) - fresh_before
        assert (sum(stored.fresh.values()), sum(stored.duplicates.values())) == (fresh, len(batch) - fresh)
        for stream, account in stored.accounts.items():
            assert account.receipt(0).upto == model.upto(stream)
            named = account.receipt(account.last)
            missing = {number for first, last in named.missing for number in range(first, last + 1)}
            settled = model.stored.get(stream, set()) | model.announced.get(stream, set())
            assert missing == set(range(1, max(settled) + 1)) - settled


@given(batches(EPOCH))
def test_any_batches_into_sqlite(batches_: list[list[Arrival]]) -> None:
    async def main() -> None:
        storage = SqliteStorage()
        try:
            await agrees(storage, batches_)
        finally:
            await storage.close()

    asyncio.run(main())


def test_any_batches_into_postgres(server: Postgres) -> None:
    chance = random.Random(20261127)

    def drawn(epoch: str) -> list[list[Arrival]]:
        kinds: list[Callable[[], Arrival]] = [
            lambda: arrival(chance.randint(1, 12), lane=chance.choice([Lane.BILLING, Lane.BULK]), epoch=epoch),
            lambda: _gap(chance, epoch),
        ]
        return [[chance.choice(kinds)() for _ in range(chance.randint(1, 12))] for _ in range(4)]

    async def main() -> int:
        async with server.database("any") as dsn:
            storage = await PostgresStorage.open(dsn)
            try:
                for case in range(40):
                    await agrees(storage, drawn(uuid7(NOW_MS + case)))
            finally:
                await storage.close()
        return case + 1

    assert asyncio.run(main()) == 40


def _gap(chance: random.Random, epoch: str) -> Arrival:
    seq, first = chance.randint(1, 5), chance.randint(1, 12)
    items = [{"lane": "billing", "from_seq": first, "to_seq": first + chance.randint(0, 3), "reason": "store_full"}]
    return arrival(seq, items, lane=Lane.GAP, epoch=epoch)


# ---------------------------------------------------------------------- a database that is not there


def test_a_server_that_restarts_is_used_again(server: Postgres) -> None:
    async def main() -> None:
        async with server.database("restart") as dsn:
            storage = await PostgresStorage.open(dsn)
            try:
                await storage.store([arrival(1)])
                server.stop()
                with pytest.raises(StorageUnavailable):
                    await storage.store([arrival(2)])
                server.start()
                server.ready()
                stored = await storage.store([arrival(1), arrival(2)])
                assert stored.accounts[BILLING].stored == Spans([(1, 2)])
            finally:
                await storage.close()

    asyncio.run(main())


def test_a_locked_file_is_said_and_nothing_is_stored(tmp_path: Path) -> None:
    async def main() -> None:
        storage = SqliteStorage(tmp_path / "platform.db")
        try:
            with contextlib.closing(sqlite3.connect(tmp_path / "platform.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                storage._connection.execute("PRAGMA busy_timeout = 1")
                with pytest.raises(StorageUnavailable):
                    await storage.store([arrival(1)])
                other.execute("ROLLBACK")
            assert (await storage.store([arrival(1)])).fresh == {BILLING: 1}
        finally:
            await storage.close()

    asyncio.run(main())


def test_a_database_that_does_not_exist_or_cannot_hold_every_text(server: Postgres) -> None:
    async def main() -> None:
        with pytest.raises(StorageUnavailable, match='"none" does not exist'):
            await PostgresStorage.open(server.dsn("none"))
        async with server.database("latin", "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as dsn:
            with pytest.raises(StorageUnavailable, match="encoding is LATIN1"):
                await PostgresStorage.open(dsn)

    asyncio.run(main())


def test_a_batch_whose_caller_is_gone_is_finished_before_the_file_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        storage = SqliteStorage(tmp_path / "platform.db")
        batch = [arrival(seq) for seq in range(1, 2001)]
        task = asyncio.create_task(storage.store(batch))
        await asyncio.sleep(0)  # it has begun
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await storage.close()

    asyncio.run(main())
    with contextlib.closing(sqlite3.connect(tmp_path / "platform.db")) as connection:
        assert connection.execute("SELECT count(*) FROM envelopes").fetchone()[0] in (0, 2000)


def test_no_server_at_all(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(StorageUnavailable, match="PostgreSQL"):
            await PostgresStorage.open(f"postgresql://nobody@/none?host={tmp_path}")

    asyncio.run(main())
