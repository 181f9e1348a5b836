"""The whole reference platform: a real broker, a real database, and gateways that believe nothing but receipts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from gateway.model import Lane
from gateway.sim.account import Account, Stream
from gateway.sim.broker import AMQTT
from gateway.sim.broker import Broker as DemoBroker
from gateway.sim.platform.arrival import Arrival, topic_filters
from gateway.sim.platform.desk import Patience
from gateway.sim.platform.ingester import Ingester
from gateway.sim.platform.link import Delivery, Link, Options
from gateway.sim.platform.postgres import PostgresStorage
from gateway.sim.platform.sqlite import SqliteStorage
from gateway.sim.platform.storage import Storage, StorageUnavailable, Stored
from gateway.sim.process import Child
from ingester.samples import EPOCH, ROOT, announcement, message
from support import dying_platform
from support.broker import broker
from support.mqtt_subscriber import subscriber
from support.postgres import Postgres
from support.scripted_gateway import scripted_gateway

pytestmark = pytest.mark.xdist_group("postgres")

QUICK = Patience(envelopes=100, seconds=0.1, hole_s=0.3)
LOG = {seq: message(seq) for seq in range(1, 301)}


def options(port: int, name: str = "platform", window: int = 100, share: str = "") -> Options:
    return Options("127.0.0.1", port, name, tuple(share + each for each in topic_filters()), window)


@contextlib.asynccontextmanager
async def ingesting(options_: Options, storage: Storage, patience: Patience = QUICK) -> AsyncIterator[Ingester]:
    """Cancelled at the end, as a crash would end it: nothing is tidied up but the connection."""
    ingester = Ingester(options_, storage, patience=patience, jitter=lambda: 0.1)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ingester.run())
        async with asyncio.timeout(30):
            await ingester.ready.wait()
        try:
            yield ingester
        finally:
            task.cancel()


@contextlib.asynccontextmanager
async def sqlite(file: Path | None = None) -> AsyncIterator[SqliteStorage]:
    storage = SqliteStorage(file)
    try:
        yield storage
    finally:
        await storage.close()


async def exactly_once(dsn: str, count: int) -> None:
    """Envelopes 1 to *count*, each with its two readings, and nothing else."""
    connection = await asyncpg.connect(dsn)
    try:
        envelopes = [row["seq"] for row in await connection.fetch("SELECT seq FROM envelopes ORDER BY seq")]
        readings = await connection.fetch("SELECT seq, index, number FROM readings ORDER BY seq, index")
    finally:
        await connection.close()
    assert envelopes == list(range(1, count + 1))
    assert [tuple(row) for row in readings] == [
        (seq, index, seq if index == 0 else -seq) for seq in range(1, count + 1) for index in (0, 1)
    ]


def run(main: Any) -> Any:
    with capture_logs() as logs:
        asyncio.run(main())
    return logs


def test_doubled_and_shuffled_envelopes_end_up_in_the_tables_once(tmp_path: Path, server: Postgres) -> None:
    async def main() -> None:
        async with broker(tmp_path / "broker") as running, server.database("shuffled") as dsn:
            storage = await PostgresStorage.open(dsn)
            order = [*LOG, *LOG, *random.Random(1).choices(list(LOG), k=100)]
            random.Random(2).shuffle(order)
            try:
                async with (
                    ingesting(options(running.port), storage) as ingester,
                    scripted_gateway(running.port, ROOT, LOG) as gateway,
                ):
                    gateway.send(order)
                    await gateway.until_receipted()
                    assert gateway.receipts[-1]["epoch"] == EPOCH
                    async with asyncio.timeout(30):
                        while ingester.counts.envelopes + ingester.counts.duplicates < len(order):
                            await asyncio.sleep(0.01)
                    assert not gateway.taken_back
                    counts = ingester.counts
                    assert (counts.envelopes, counts.readings, counts.gateways) == (300, 600, 1)
                    assert (counts.missing, counts.malformed, counts.contradictions) == (0, 0, 0)
            finally:
                await storage.close()
            await exactly_once(dsn, 300)

    run(main)


def test_killed_between_commit_and_receipt(tmp_path: Path, server: Postgres) -> None:
    """It has confirmed nothing to anybody; the next one takes what the broker sends again, and stores nothing twice."""

    async def main() -> None:
        async with broker(tmp_path / "broker") as running, server.database("killed") as dsn:
            argv = (sys.executable, dying_platform.__file__, str(running.port), "platform", dsn, "2")
            async with scripted_gateway(running.port, ROOT, LOG) as gateway:
                async with Child(argv, tmp_path / "log") as child:
                    await until_subscribed(running.port, tmp_path)
                    gateway.send(range(1, 41))
                    await gateway.until_acked(40)
                    gateway.send(range(41, 301))
                    assert await child.wait() == -9, child.last_words()
                connection = await asyncpg.connect(dsn)
                committed = await connection.fetchval("SELECT count(*) FROM envelopes")
                await connection.close()
                assert 0 < committed < 300
                assert gateway.receipts == [] or gateway.receipts[-1]["upto"] < committed
                before = len(gateway.receipts)
                command = (sys.executable, "-m", "gateway.cli.main", "simulate", "platform", "--json")
                target = ("--broker", f"127.0.0.1:{running.port}", "--postgres", dsn)
                async with Child((*command, *target), tmp_path / "out") as child:
                    await gateway.until_receipted()
                    assert await child.stop() == 0, child.last_words()
                assert len(gateway.receipts) > before
                assert not gateway.taken_back
            lines = [
                json.loads(line) for line in (tmp_path / "out").read_text().splitlines() if "envelopes_per_s" in line
            ]
            assert all(line["contradictions"] == line["malformed"] == 0 for line in lines)
            await exactly_once(dsn, 300)

    run(main)


async def until_subscribed(port: int, folder: Path) -> None:
    """Until the platform's own subscriptions stand: the broker says so in its log."""
    async with asyncio.timeout(30):
        while "platform 1 compound/v1/+/+/bulk/zlib" not in (folder / "broker" / "mosquitto.log").read_text():
            await asyncio.sleep(0.02)


def test_a_broker_that_confirms_and_then_loses(tmp_path: Path) -> None:
    """mosquitto without persistence, killed, while the platform is away: every PUBACK was worth nothing."""

    async def main() -> None:
        async with broker(tmp_path / "broker") as running, sqlite() as storage:
            async with ingesting(options(running.port), storage):
                pass  # its session stays: the broker would keep what comes
            async with scripted_gateway(running.port, ROOT, LOG) as gateway:
                gateway.send(range(1, 201))
                await gateway.until_acked(200)
                await running.kill()
                await running.start()
                async with ingesting(options(running.port), storage):
                    async with asyncio.timeout(30):
                        await gateway.connected.wait()
                    assert gateway.open == list(LOG), "no receipt: nothing is forgotten"
                    gateway.send(range(201, 301))
                    await gateway.until_receipted()
            assert [[1, 200]] in gateway.named, "the loss was named exactly"

    run(main)


def test_a_loss_at_the_very_end_is_found_by_asking(tmp_path: Path) -> None:
    """Nothing higher ever comes, so the platform cannot know; the gateway's probe brings it to light."""

    async def main() -> None:
        async with broker(tmp_path / "broker") as running, sqlite() as storage:
            async with scripted_gateway(running.port, ROOT, {seq: LOG[seq] for seq in range(1, 61)}) as gateway:
                async with ingesting(options(running.port), storage):
                    gateway.send(range(1, 31))
                    async with asyncio.timeout(30):
                        while not gateway.receipts or gateway.receipts[-1]["upto"] < 30:
                            await asyncio.sleep(0.01)
                gateway.send(range(31, 61))
                await gateway.until_acked(60)
                await running.kill()
                await running.start()
                async with ingesting(options(running.port), storage) as ingester:
                    async with asyncio.timeout(30):
                        await gateway.connected.wait()
                    await gateway.until_receipted()
                    assert ingester.counts.missing == 0
            assert gateway.receipts[-1]["upto"] == 60

    run(main)


def test_the_broker_dies_under_both_and_comes_back(tmp_path: Path, server: Postgres) -> None:
    async def main() -> None:
        async with broker(tmp_path / "broker", persistence=True) as running, server.database("broker") as dsn:
            storage = await PostgresStorage.open(dsn)
            try:
                async with (
                    ingesting(options(running.port), storage),
                    scripted_gateway(running.port, ROOT, LOG) as gateway,
                ):
                    gateway.send(range(1, 151))
                    await gateway.until_acked(20)
                    await running.kill()
                    gateway.send(range(151, 301))
                    await running.start()
                    await gateway.until_receipted()
            finally:
                await storage.close()
            await exactly_once(dsn, 300)

    run(main)


def test_what_is_announced_is_not_missed(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path / "broker") as running, sqlite() as storage:
            log = {seq: LOG[seq] for seq in (1, 2, 6, 7)}
            async with (
                ingesting(options(running.port), storage) as ingester,
                scripted_gateway(running.port, ROOT, log) as gateway,
                subscriber(running.port, f"{ROOT}/receipt") as receipts,
            ):
                receipts.publish(*announcement(1, Lane.BILLING, 3, 5))
                gateway.send(log)
                await gateway.until_receipted()
                assert ingester.counts.gaps == 1

                def lanes() -> set[tuple[str, int]]:
                    return {(one.json["lane"], one.json["upto"]) for one in receipts.received}

                await receipts.until(lambda: {("gap", 1), ("billing", 7)} <= lanes(), "both receipts")
            assert all(missing == [] for missing in gateway.named if gateway.receipts[-1]["lane"] == "billing")

    run(main)


class Blocked:
    """A database that takes nothing until told."""

    def __init__(self, storage: Storage) -> None:
        self.open = asyncio.Event()
        self.batches: list[int] = []
        self._storage = storage

    async def store(self, batch: Sequence[Arrival]) -> Stored:
        self.batches.append(len(batch))
        await self.open.wait()
        return await self._storage.store(batch)

    async def accounts(self, streams: Sequence[Stream]) -> Mapping[Stream, Account]:
        return await self._storage.accounts(streams)

    async def close(self) -> None: ...


def test_while_the_database_is_slow_the_broker_keeps_what_comes(tmp_path: Path) -> None:
    """At most the window is in memory, and an ingester that ends then has confirmed nothing of it."""

    async def main() -> None:
        window = 40
        async with (
            broker(tmp_path / "broker", "max_queued_messages 0") as running,
            sqlite() as storage,
            scripted_gateway(running.port, ROOT, LOG) as gateway,
        ):
            blocked = Blocked(storage)
            async with ingesting(options(running.port, window=window), blocked) as ingester:
                gateway.send(LOG)
                await gateway.until_acked(300)
                held = 0
                async with asyncio.timeout(30):
                    while held < window:
                        held = sum(blocked.batches) + ingester._waiting.qsize()
                        await asyncio.sleep(0.01)
                assert (held, ingester.counts.envelopes) == (window, 0)
            async with ingesting(options(running.port, window=window), storage) as ingester:
                async with asyncio.timeout(30):
                    while ingester.counts.envelopes < 300:  # without a word of the gateway
                        await asyncio.sleep(0.01)
                assert ingester.counts.duplicates == 0

    run(main)


def test_the_older_mqtt_has_the_same_window(tmp_path: Path) -> None:
    """It knows no Receive Maximum: nobody reads the socket while the window is full."""

    async def main() -> None:
        async with broker(tmp_path / "broker", "max_queued_messages 0", "max_inflight_messages 0") as running:
            deliveries: list[Delivery] = []
            arrived = asyncio.Event()

            def deliver(delivery: Delivery) -> None:
                deliveries.append(delivery)
                arrived.set()

            room = threading.BoundedSemaphore(10)
            async with (
                Link(options(running.port), deliver, room, five=False),
                scripted_gateway(running.port, ROOT, LOG) as gateway,
            ):
                gateway.send(LOG)
                await gateway.until_acked(300)
                for settled in range(300):
                    async with asyncio.timeout(30):
                        while len(deliveries) == settled:
                            arrived.clear()
                            await arrived.wait()
                    assert len(deliveries) <= settled + 10
                    deliveries[settled].settle()
            assert len(deliveries) == 300

    run(main)


class Failing:
    """A database that is away for the first two attempts."""

    def __init__(self, storage: Storage) -> None:
        self.left = 2
        self._storage = storage

    async def store(self, batch: Sequence[Arrival]) -> Stored:
        if self.left:
            self.left -= 1
            raise StorageUnavailable("away")
        return await self._storage.store(batch)

    async def accounts(self, streams: Sequence[Stream]) -> Mapping[Stream, Account]:
        return await self._storage.accounts(streams)

    async def close(self) -> None: ...


def test_a_database_that_comes_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path / "broker") as running, sqlite() as storage:
            log = {seq: LOG[seq] for seq in range(1, 21)}
            async with (
                ingesting(options(running.port), Failing(storage)),
                scripted_gateway(running.port, ROOT, log) as gateway,
            ):
                gateway.send(log)
                await gateway.until_receipted()

    logs = run(main)
    assert [line["error"] for line in logs if line["event"].startswith("the database")] == ["away", "away"]


def test_two_ingesters_share_the_work_and_one_account(tmp_path: Path, server: Postgres) -> None:
    async def main() -> None:
        async with broker(tmp_path / "broker") as running, server.database("share") as dsn:
            one, two = await PostgresStorage.open(dsn), await PostgresStorage.open(dsn)
            share = "$share/platform/"
            try:
                async with (
                    ingesting(options(running.port, "one", share=share), one) as first,
                    ingesting(options(running.port, "two", share=share), two) as second,
                    scripted_gateway(running.port, ROOT, LOG) as gateway,
                ):
                    gateway.send(LOG)
                    await gateway.until_receipted()
                    assert first.counts.envelopes > 0 < second.counts.envelopes
                    assert first.counts.envelopes + second.counts.envelopes == 300
            finally:
                await one.close()
                await two.close()
            assert max(receipt["upto"] for receipt in gateway.receipts) == 300
            await exactly_once(dsn, 300)

    run(main)


def test_a_broker_that_speaks_only_the_older_mqtt(tmp_path: Path) -> None:
    async def main() -> None:
        async with DemoBroker(AMQTT, tmp_path / "broker") as running, sqlite() as storage:
            hasty = replace(options(running.port), patience_s=1.0)
            log = {seq: LOG[seq] for seq in range(1, 21)}
            async with ingesting(hasty, storage) as ingester, subscriber(running.port, protocol=311) as other:
                for topic, body in log.values():
                    other.publish(topic, body)
                await other.until(lambda: any(one.json["upto"] == 20 for one in other.on("receipt")), "the receipt")
                assert ingester.counts.envelopes == 20

    logs = run(main)
    assert [line["mqtt"] for line in logs if line["event"] == "connected"] == ["3.1.1"]


def test_compressed_envelopes_and_nonsense(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path / "broker") as running, sqlite() as storage:
            log = {seq: (f"{topic}/zlib", zlib.compress(body)) for seq, (topic, body) in list(LOG.items())[:20]}
            async with (
                ingesting(options(running.port), storage) as ingester,
                scripted_gateway(running.port, ROOT, log) as gateway,
                subscriber(running.port, f"{ROOT}/receipt") as other,
            ):
                other.publish(f"{ROOT}/billing", b"nonsense")
                other.publish(f"{ROOT}/billing/zlib", b"nonsense")
                gateway.send(log)
                await gateway.until_receipted()
                async with asyncio.timeout(30):
                    while ingester.counts.malformed < 2:
                        await asyncio.sleep(0.01)

    logs = run(main)
    assert sum(line["event"] == "not an envelope" for line in logs) == 2
