"""A fleet at work, and the question every test of this folder asks: has everything arrived, by the receiver's books?"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from gateway.clock import SystemClock
from gateway.sim.fleet.count import Balance, balance
from gateway.sim.fleet.fleet import Fleet, Plan
from gateway.sim.platform.desk import Patience
from gateway.sim.platform.ingester import Ingester
from gateway.sim.platform.link import Options
from gateway.sim.platform.storage import Storage
from gateway.uplink.status import Limits

QUICK = Limits(receipt_s=1.0, drain_s=0.5)
"""A gateway asks after a second without a receipt, instead of thirty."""
LONG_S = 200.0
"""Only a machine that hangs takes so long."""


def plan(*ports: int, gateways: int, envelopes: int, **more: object) -> Plan:
    brokers = tuple(("127.0.0.1", port) for port in ports)
    options = {"rate": 100.0, "readings": 4, "spread_s": 0.3, **more}
    return Plan(brokers, gateways, envelopes=envelopes, **options)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def ingesting(storage: Storage, options: Options) -> AsyncIterator[Ingester]:
    """Its session stays at the broker."""
    ingester = Ingester(options, storage, patience=Patience(100, 0.1, 0.3), jitter=lambda: 0.1)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ingester.run())
        try:
            async with asyncio.timeout(LONG_S):
                await ingester.ready.wait()
            yield ingester
        finally:
            task.cancel()


@contextlib.asynccontextmanager
async def running(plan: Plan) -> AsyncIterator[Fleet]:
    fleet = Fleet(plan, SystemClock(), limits=QUICK)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(fleet.run())
        try:
            yield fleet
        finally:
            task.cancel()


async def until(true: Callable[[], bool], fleet: Fleet) -> None:
    try:
        async with asyncio.timeout(LONG_S):
            while not true():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"still waiting: {fleet.totals}") from None


async def delivered(fleet: Fleet) -> None:
    """Every gateway has made everything, and has been told that it may forget it."""
    await until(lambda: fleet.complete and fleet.totals.waiting == 0, fleet)


async def books(fleet: Fleet, storage: Storage) -> Balance:
    given_out = fleet.given_out
    return balance(given_out, await storage.accounts(list(given_out)))
