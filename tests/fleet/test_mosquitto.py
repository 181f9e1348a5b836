"""One mosquitto, as it is shipped, with workers that are away or die: what PUBACK is worth, and what a receipt is."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from fleet.rig import books, delivered, ingesting, plan, running, until
from gateway.sim.fleet.count import Tally, options
from gateway.sim.fleet.fleet import Plan
from gateway.sim.platform.link import Options
from gateway.sim.platform.postgres import PostgresStorage
from gateway.sim.platform.storage import Storage
from support.broker import broker
from support.postgres import Postgres

pytestmark = pytest.mark.xdist_group("postgres")

GATEWAYS, ENVELOPES = 60, 50
MADE = GATEWAYS * ENVELOPES
AS_SHIPPED = "max_queued_messages 1000"
"""mosquitto's default, said so that a later version cannot change what this test shows."""


async def subscribe_once(storage: Storage, worker: Options) -> None:
    """From here on the broker keeps for this worker what comes, as far as it keeps anything."""
    async with ingesting(storage, worker):
        pass


async def everything_queued_has_come(port: int) -> None:
    """The broker keeps the order of a session: behind one confirmed envelope of a latecomer nothing older waits."""
    async with running(plan(port, gateways=1, envelopes=1, first=1000)) as latecomer:
        await delivered(latecomer)


def test_with_puback_the_broker_loses_what_it_has_acknowledged(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path, AS_SHIPPED) as server:
            load = plan(server.port, gateways=GATEWAYS, envelopes=ENVELOPES, delivery="puback")
            tally, worker = Tally(), options(load, "worker")
            await subscribe_once(tally, worker)
            async with running(load) as fleet:
                await delivered(fleet)  # says the broker
            async with ingesting(tally, worker):
                await everything_queued_has_come(server.port)
            balance = await books(fleet, tally)
            assert balance.made == MADE
            assert balance.waiting == 0
            assert 0 < balance.arrived < 1200
            assert balance.lost == MADE - balance.arrived
            assert "messages are being dropped" in server.log

    asyncio.run(main())


def test_with_receipts_everything_arrives(tmp_path: Path, server: Postgres) -> None:
    async def main(dsn: str) -> None:
        async with broker(tmp_path, AS_SHIPPED) as mosquitto, contextlib.AsyncExitStack() as stack:
            load = plan(mosquitto.port, gateways=GATEWAYS, envelopes=ENVELOPES, sites=6)
            workers = [(await PostgresStorage.open(dsn), shared(load, name)) for name in ("w1", "w2")]
            for storage, worker in workers:
                stack.push_async_callback(storage.close)
                await subscribe_once(storage, worker)
            async with running(load) as fleet:
                await until(lambda: fleet.complete and fleet.totals.acknowledged >= MADE, fleet)
                assert "messages are being dropped" in mosquitto.log
                assert fleet.totals.waiting == MADE
                async with ingesting(*workers[0]) as one, ingesting(*workers[1]) as other:
                    await delivered(fleet)
                    assert one.counts.envelopes + other.counts.envelopes == MADE
                    assert min(one.counts.envelopes, other.counts.envelopes) > 0
            balance = await books(fleet, workers[0][0])
            assert (balance.made, balance.arrived, balance.lost, balance.waiting) == (MADE, MADE, 0, 0)
            assert await rows(dsn) == MADE

    async def with_database() -> None:
        async with server.database("fleet") as dsn:
            await main(dsn)

    asyncio.run(with_database())


def shared(load: Plan, name: str) -> Options:
    worker = options(load, name)
    return replace(worker, filters=tuple(f"$share/workers/{each}" for each in worker.filters))


async def rows(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM envelopes"))
    finally:
        await connection.close()


@pytest.mark.parametrize("protocol", ["mqtt5", "mqtt311"])
def test_the_broker_is_killed_under_a_fleet(tmp_path: Path, protocol: str) -> None:
    """It keeps nothing; every gateway comes back, and sends what nobody has confirmed."""

    async def main() -> None:
        async with broker(tmp_path, "max_queued_messages 0") as server:
            load = plan(server.port, gateways=40, envelopes=30, rate=20.0, protocol=protocol)
            tally = Tally()
            async with ingesting(tally, options(load, "worker")), running(load) as fleet:
                await until(lambda: fleet.totals.acknowledged >= 400, fleet)
                await server.kill()
                await until(lambda: fleet.totals.connected == 0, fleet)
                await server.start()
                await delivered(fleet)
                assert fleet.totals.connected == 40
                assert fleet.totals.connections >= 80
            balance = await books(fleet, tally)
            assert (balance.made, balance.arrived, balance.lost, balance.waiting) == (1200, 1200, 0, 0)

    asyncio.run(main())
