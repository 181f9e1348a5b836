"""Three NATS nodes keep what gateways send over MQTT; pull consumers bring it into PostgreSQL; one node is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from fleet.rig import books, delivered, plan, running, until
from gateway.model import Lane
from gateway.sim.account import Account, Stream
from gateway.sim.platform.arrival import read, receipt_topic
from gateway.sim.platform.postgres import PostgresStorage
from support.balancer import balancer
from support.nats import Client, Message, Node, client, cluster
from support.postgres import Postgres

pytestmark = pytest.mark.xdist_group("postgres")

STREAM, CONSUMER = "$MQTT_msgs", "workers"
"""The stream in which nats-server keeps every MQTT message of QoS 1; the durable consumer that all workers share."""


@dataclass
class Counts:
    stored: int = 0
    duplicates: int = 0


class Worker:
    """Pulls, stores, acknowledges, confirms; goes on at the next node when its own dies."""

    def __init__(self, nodes: Sequence[Node], storage: PostgresStorage, counts: Counts) -> None:
        self._nodes = nodes
        self._storage = storage
        self._counts = counts

    async def run(self) -> None:
        while True:
            for node in self._nodes:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    async with client(node.ports["CLIENT_PORT"]) as connection:
                        await self._work(connection)
            await asyncio.sleep(0.1)

    async def _work(self, connection: Client) -> None:
        while True:
            if messages := await connection.pull(STREAM, CONSUMER, 200, 0.3):
                await self._store(connection, messages)
            else:
                await asyncio.sleep(0.05)  # while a leader is elected the answer is "no" at once

    async def _store(self, connection: Client, messages: Sequence[Message]) -> None:
        named = [(_topic(each.subject), each.body) for each in messages]
        arrivals = [read(topic, body) for topic, body in named if _is_envelope(topic)]
        accounts: Mapping[Stream, Account] = {}
        if arrivals:
            stored = await self._storage.store(arrivals)
            accounts = stored.accounts
            self._counts.stored += sum(stored.fresh.values())
            self._counts.duplicates += sum(stored.duplicates.values())
        for each in messages:
            connection.publish(each.reply, b"+ACK")
        for stream, account in accounts.items():
            receipt = json.dumps(account.receipt(0).message(stream)).encode()
            connection.publish(receipt_topic(stream).replace("/", "."), receipt)


def _topic(subject: str) -> str:
    return subject.removeprefix("$MQTT.msgs.").replace(".", "/")


def _is_envelope(topic: str) -> bool:
    """A consumer of this version has one filter, so status and catalog come along; a platform would keep them too."""
    return topic.split("/")[4] in set(Lane)


async def prepare(connection: Client) -> None:
    """Before the first gateway speaks: the stream keeps only what some consumer waits for.

    nats-server makes it when the first MQTT client comes, so somebody has to come before the gateways.
    """
    config = {
        "durable_name": CONSUMER,
        "ack_policy": "explicit",
        "ack_wait": 2_000_000_000,
        "max_ack_pending": 5000,
        "num_replicas": 3,
        "filter_subject": "$MQTT.msgs.compound.v1.>",
    }
    document = {"stream_name": STREAM, "config": config}
    answer = await connection.request(f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{CONSUMER}", document)
    assert "error" not in answer, answer


async def first_client(port: int) -> None:
    """CONNECT of MQTT 3.1.1 (clause 3.1), client id ``first``, and the CONNACK that says the stream stands."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05first")
    assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
    writer.write(b"\xe0\x00")
    writer.close()
    await writer.wait_closed()


@contextlib.asynccontextmanager
async def workers(nodes: Sequence[Node], dsn: str) -> AsyncIterator[Counts]:
    counts = Counts()
    storages = [await PostgresStorage.open(dsn) for _ in range(2)]
    try:
        async with asyncio.TaskGroup() as group:
            order = [list(nodes), list(reversed(nodes))]
            tasks = [
                group.create_task(Worker(each, storage, counts).run())
                for each, storage in zip(order, storages, strict=True)
            ]
            try:
                yield counts
            finally:
                for task in tasks:
                    task.cancel()
    finally:
        for storage in storages:
            await storage.close()


async def leader(nodes: Sequence[Node]) -> Node:
    """Of the stream: the node whose death is the hardest."""
    async with client(nodes[0].ports["CLIENT_PORT"]) as connection:
        while True:
            answer = await connection.request(f"$JS.API.STREAM.INFO.{STREAM}", {})
            if name := answer.get("cluster", {}).get("leader"):
                return nodes[int(name.removeprefix("n")) - 1]
            await asyncio.sleep(0.1)


async def one_node_dies(folder: Path, server: Postgres, gateways: int, envelopes: int, *, rate: float) -> None:
    async with server.database("nats") as dsn, cluster(folder) as nodes:
        await first_client(nodes[0].ports["MQTT_PORT"])
        async with client(nodes[0].ports["CLIENT_PORT"]) as connection:
            await prepare(connection)
        wanted = gateways * envelopes
        async with workers(nodes, dsn) as counts, balancer([node.ports["MQTT_PORT"] for node in nodes]) as front:
            size = {"gateways": gateways, "envelopes": envelopes, "sites": 5, "rate": rate}
            async with running(plan(front.port, protocol="mqtt311", **size)) as fleet:
                await until(lambda: counts.stored >= wanted // 3, fleet)
                await until(lambda: fleet.totals.connected == gateways, fleet)
                victim = await leader(nodes)
                await victim.kill()
                await until(lambda: fleet.totals.connected < gateways, fleet)
                await delivered(fleet)
                totals, given_out = fleet.totals, fleet.given_out
        assert totals.connections > gateways
        storage = await PostgresStorage.open(dsn)
        try:
            balance = await books(fleet, storage)
        finally:
            await storage.close()
        assert (balance.made, balance.arrived, balance.lost, balance.waiting) == (wanted, wanted, 0, 0)
        connection_ = await asyncpg.connect(dsn)
        try:
            rows = await connection_.fetch(
                "SELECT site, gateway, lane, count(*), max(seq) FROM envelopes GROUP BY 1, 2, 3"
            )
        finally:
            await connection_.close()
        assert {(row["site"], row["gateway"], row["lane"]): (row[3], row[4]) for row in rows} == {
            (stream.site, stream.gateway, str(stream.lane)): (last, last) for stream, (last, _) in given_out.items()
        }
        assert counts.stored >= wanted
        print(f"{wanted} envelopes, {counts.duplicates} duplicates, {totals.connections - gateways} reconnected")


# Leaders are elected for some 20 s, while connections break; then, as long as the node is dead, the others refuse up to
# every second subscription (docs/scale.md).  It is chance when the last gateway has its receipts: mostly within a
# minute.  The waits together may take longer than other tests are given, and each says what it waited for.
patient = pytest.mark.timeout(600)


@patient
def test_a_node_is_killed(tmp_path: Path, server: Postgres) -> None:
    asyncio.run(one_node_dies(tmp_path / "cluster", server, 20, 40, rate=20))


@patient
@pytest.mark.long
def test_a_node_is_killed_under_a_whole_quarter(tmp_path: Path, server: Postgres) -> None:
    asyncio.run(one_node_dies(tmp_path / "cluster", server, 200, 200, rate=5))
