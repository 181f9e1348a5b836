"""The daemon is killed, the broker goes away: every number arrives, none twice with another content, none wrong.

A real mosquitto, the virtual compound on real ptys and TCP, the gateway as a real process.  What was served is known
from the simulated meters, what was accepted from the store's own file, what arrived from a subscriber.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

import pytest

from gateway import local_api
from gateway.model import Lane, Value
from gateway.sim import site
from gateway.sim.broker import Broker, BrokerKind
from gateway.sim.compound import Compound
from gateway.sim.ledger import Ledger, Subscriber
from gateway.sim.process import Child
from gateway.sim.world import Layout
from gateway.store.reader import opened
from support.broker import mosquitto

SEED = 20261122
ENERGY = "00010000"


@dataclass(slots=True)
class Served:
    """Every energy register that a simulated household meter showed, in hundredths as the meter counts."""

    energy: dict[str, set[float]] = field(default_factory=dict)

    def note(self, device: str, item: str, value: Value, t: float) -> None:
        if item == ENERGY:
            shown = Decimal(value).quantize(Decimal("0.01"), ROUND_FLOOR)
            self.energy.setdefault(device, set()).add(float(shown))


@dataclass(slots=True)
class Rig:
    directory: Path
    broker: Broker
    ledger: Ledger
    subscriber: Subscriber
    served: Served

    @property
    def store(self) -> Path:
        return self.directory / "store"

    def daemon(self) -> Child:
        argv = (sys.executable, "-m", "gateway.cli.main", "run", "--config", str(self.directory / "config"))
        return Child(argv, self.directory / "gateway.log")

    async def answering(self, daemon: Child, limit_s: float = 30.0) -> None:
        async with asyncio.timeout(limit_s):
            while True:
                assert daemon.running, daemon.last_words()
                try:
                    await local_api.ask(self.store, {"op": "status"}, timeout_s=2.0)
                except local_api.NotRunning:
                    await asyncio.sleep(0.05)
                else:
                    return

    async def drained(self, limit_s: float = 60.0) -> None:
        """Until the daemon says that nothing but the last moments waits for the platform."""
        async with asyncio.timeout(limit_s):
            while True:
                status = await local_api.ask(self.store, {"op": "status"}, timeout_s=5.0)
                waiting = sum(lane["unacknowledged"].get(site.UPLINK, 0) for lane in status["store"]["lanes"].values())
                if status["uplinks"][site.UPLINK]["connected"] and waiting <= 3:
                    return
                await asyncio.sleep(0.2)


@asynccontextmanager
async def rig(directory: Path, kind: BrokerKind) -> AsyncIterator[Rig]:
    served, ledger = Served(), Ledger()
    async with (
        Broker(kind, directory / "broker") as broker,
        Compound(Layout(buildings=1, entrances=2, households=3), seed=SEED, served=served.note) as compound,
        Subscriber(broker.host, broker.port, kind.mqtt, site.ROOT, ledger, name="survivor") as subscriber,
    ):
        target = site.UplinkTarget(broker.host, broker.port, kind.mqtt)
        site.write(compound, directory / "config", directory / "store", target)
        yield Rig(directory, broker, ledger, subscriber, served)


async def check_everything(rig: Rig) -> int:
    """The balance after the daemon has stopped; returns how many readings were accepted."""
    with opened(rig.store) as store:
        held = {(store.epoch, str(lane), row.seq): row for lane in Lane for row in store.rows(lane)}
    last: dict[tuple[str, str], int] = {}
    for epoch, lane, seq in held:
        last[epoch, lane] = max(seq, last.get((epoch, lane), 0))
    await rig.subscriber.complete(last, 20.0)
    assert len({epoch for epoch, _ in last}) == 1, "the store was never lost, so its epoch never changes"
    assert not rig.ledger.malformed
    assert not rig.ledger.contradictions, "an envelope sent again must be identical"
    assert rig.ledger.missing(last) == [], "accepted, but never arrived"
    wrong, checked = [], 0
    for row in held.values():
        for item in json.loads(row.items):
            point = item.get("p", "")
            if point.endswith(".energy") and point.startswith("m-") and item["q"] == "good":
                checked += 1
                device = point.partition(".")[0]
                if item["v"] not in rig.served.energy[device]:
                    wrong.append(item)
    assert checked > 20
    assert not wrong, "stored as good, but no meter ever showed it"
    accepted = sum("p" in item for row in held.values() for item in json.loads(row.items))
    assert rig.ledger.readings == accepted
    assert sqlite3.connect(rig.store / "store.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return accepted


async def twenty_kills(directory: Path, kind: BrokerKind) -> None:
    chance = random.Random(SEED)
    async with rig(directory, kind) as r:
        for _ in range(20):
            async with r.daemon() as daemon:
                await asyncio.sleep(chance.uniform(0.3, 5.0))  # while starting, too
                await daemon.kill()
        async with r.daemon() as daemon:
            await r.answering(daemon)
            await asyncio.sleep(3.0)
            await r.drained()
            assert await daemon.stop() == 0, daemon.last_words()
        accepted = await check_everything(r)
        assert len(boots(r.store)) >= 12, "most starts lived long enough to accept something"
        print(f"\n20 kills (seed {SEED}): {accepted} readings accepted, {r.ledger.duplicates} envelopes sent again")


async def three_outages_of_half_a_minute(directory: Path, kind: BrokerKind) -> None:
    async with rig(directory, kind) as r, r.daemon() as daemon:
        await r.answering(daemon)
        for _ in range(3):
            await asyncio.sleep(3.0)
            await r.broker.stop()
            await asyncio.sleep(30.0)
            await r.broker.start()
            await r.subscriber.wait_ready()
            await r.drained()
        assert await daemon.stop() == 0, daemon.last_words()
        accepted = await check_everything(r)
        print(f"\n3 outages of 30 s: {accepted} readings accepted, {r.ledger.duplicates} envelopes sent again")


@pytest.mark.system
@pytest.mark.timeout(300)
def test_kills_and_outages_lose_nothing(tmp_path: Path) -> None:
    """Two gateways with a compound and a broker each, side by side, because most of the time is waiting."""
    kind = BrokerKind("mosquitto", "5", mosquitto())

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for name, story in (("kills", twenty_kills), ("outages", three_outages_of_half_a_minute)):
                (tmp_path / name).mkdir()
                group.create_task(story(tmp_path / name, kind))

    asyncio.run(main())


def boots(store: Path) -> set[str]:
    with opened(store) as reader:
        return {row.boot_id for lane in Lane for row in reader.rows(lane)}
