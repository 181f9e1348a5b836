"""A5, A16, A17: a store full of what the platform has not seen, and the daemon that delivers it.

The backlog is written by the test, which therefore knows what was accepted; what arrived is known from a subscriber.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from gateway import local_api
from gateway.envelope import Draft
from gateway.model import Lane
from gateway.sim import site
from gateway.sim.broker import Broker, BrokerKind
from gateway.sim.compound import Compound
from gateway.sim.ledger import Ledger, Subscriber
from gateway.sim.process import Child
from gateway.sim.world import Layout
from store.rig import store
from support.broker import mosquitto

pytestmark = pytest.mark.system
WINDOW = 20
"""Envelopes on their way at once, by default."""


@dataclass(slots=True)
class Backlog:
    directory: Path
    ledger: Ledger
    subscriber: Subscriber
    last: dict[tuple[str, str], int]

    def daemon(self) -> Child:
        argv = (sys.executable, "-m", "gateway.cli.main", "run", "--config", str(self.directory / "config"))
        return Child(argv, self.directory / "log", env={**os.environ, "PYTHONUNBUFFERED": "1"})

    async def answering(self, daemon: Child) -> None:
        """Until it can be stopped in order; the first may have delivered everything while it stopped."""
        async with asyncio.timeout(30.0):
            while True:
                assert daemon.running, daemon.last_words()
                try:
                    await local_api.ask(self.directory / "store", {"op": "status"}, timeout_s=2.0)
                except local_api.NotRunning:
                    await asyncio.sleep(0.05)
                else:
                    return

    async def arrived(self, envelopes: int, daemon: Child, limit_s: float) -> None:
        async with asyncio.timeout(limit_s):
            while self.ledger.envelopes < envelopes:
                assert daemon.running, daemon.last_words()
                await asyncio.sleep(0.01)


@asynccontextmanager
async def backlog(directory: Path, envelopes: int) -> AsyncIterator[Backlog]:
    kind = BrokerKind("mosquitto", "5", mosquitto())
    ledger = Ledger()
    async with Broker(kind, directory / "broker") as broker:
        async with Compound(Layout(buildings=1, entrances=1, households=1)) as compound:
            target = site.UplinkTarget(broker.host, broker.port, kind.mqtt)
            site.write(compound, directory / "config", directory / "store", target)
        last = await fill(directory / "store", envelopes)
        async with Subscriber(broker.host, broker.port, kind.mqtt, site.ROOT, ledger, name="drain") as subscriber:
            yield Backlog(directory, ledger, subscriber, last)


async def fill(directory: Path, envelopes: int) -> dict[tuple[str, str], int]:
    """200 bytes each, as small as they come; and one alarm, the last of all."""
    item = '[{"p":"bm-1.power","u":"kW","t":%d,"v":1.5,"q":"good","x":"' + "x" * 130 + '"}]'
    last: dict[tuple[str, str], int] = {}
    async with store(directory, uplinks=[site.UPLINK], budget_bytes=2**30) as log:
        for start in range(0, envelopes, 1000):
            batch = [Draft(Lane.TELEMETRY, (item % t).encode(), 1, t, t) for t in range(start, start + 1000)]
            await log.commit(batch)
        alarm = (
            '[{"id":"1","rule":"gas","device":null,"place":{},"state":"journal","priority":"critical","count":1,"t":1}]'
        )
        await log.commit([Draft(Lane.EVENT, alarm.encode(), 1, 1, 1)])
        for lane in (Lane.EVENT, Lane.TELEMETRY):
            last[log.epoch, lane] = log.last_seq(lane)
    return last


@pytest.mark.parametrize("envelopes", [5000, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_stop_in_the_middle_of_a_drain_loses_nothing(tmp_path: Path, envelopes: int) -> None:
    """A5: SIGTERM while they are being delivered."""

    async def main() -> None:
        async with backlog(tmp_path, envelopes) as waiting:
            async with waiting.daemon() as daemon:
                await waiting.arrived(envelopes // 10, daemon, 60.0)
                started = time.monotonic()
                assert await daemon.stop() == 0, daemon.last_words()
                took_s = time.monotonic() - started
            arrived = waiting.ledger.envelopes
            async with waiting.daemon() as daemon:
                await waiting.answering(daemon)
                await waiting.arrived(envelopes + 1, daemon, 120.0)
                await waiting.subscriber.complete(waiting.last, 60.0)
                assert await daemon.stop() == 0, daemon.last_words()
            print(f"stopped at {arrived} within {took_s:.1f} s, {waiting.ledger.duplicates} came twice")
            assert took_s < 10.0
            assert waiting.ledger.missing(waiting.last) == []
            assert not waiting.ledger.contradictions
            assert waiting.ledger.duplicates <= WINDOW

    asyncio.run(main())


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("envelopes", [10_000, 100_000, 1_000_000])
def test_a_long_backlog(tmp_path: Path, envelopes: int) -> None:
    """A16, A17: the start, the memory, the rate, and that an event does not wait behind all of it."""

    async def main() -> None:
        async with backlog(tmp_path, envelopes) as waiting:
            started = time.monotonic()
            async with waiting.daemon() as daemon:
                await waiting.arrived(1, daemon, 60.0)
                first_s = time.monotonic() - started
                event_first = waiting.ledger.missing({key: seq for key, seq in waiting.last.items() if "event" in key})
                process = psutil.Process(daemon.pid)
                resident = process.memory_info().rss
                measured = min(envelopes, 20_000)
                begun = time.monotonic()
                await waiting.arrived(measured, daemon, 600.0)
                rate = measured / (time.monotonic() - begun)
                grown = process.memory_info().rss - resident
                assert await daemon.stop() == 0, daemon.last_words()
            print(f"{envelopes}: first after {first_s:.1f} s, {rate:.0f}/s, RSS {resident / 2**20:.0f} MiB"
                  f" + {grown / 2**20:.1f} MiB")  # fmt: skip
            assert first_s < 10.0, "start below five seconds, and the connection"
            assert [key for key in event_first if key[1] == "event"] == [], "the event came first"
            assert grown < 30 * 2**20

    asyncio.run(main())
