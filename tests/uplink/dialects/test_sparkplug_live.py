"""Sparkplug B through a real broker, seen by a host that knows the standard."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from gateway.clock import ClockState
from gateway.config.models import SparkplugModel
from gateway.envelope import Encoder
from gateway.model import Lane, Reading
from gateway.uplink.dialects.sparkplug_b import SparkplugB
from support.broker import broker
from support.memory_store import MemoryStore
from support.mqtt_subscriber import Subscriber, subscriber
from support.tcp_proxy import proxy
from tests.uplink.dialects.test_sparkplug_b import DEVICES, NOW_MS, POINTS, subject
from uplink.rig import build, running

PRIMARY = SparkplugModel(group="compound", primary_host="scada")
STATE = "spBv1.0/STATE/scada"


def commit(store: MemoryStore, values: int, start: int = 0) -> None:
    encoder = Encoder(POINTS)
    for number in range(start, start + values):
        reading = Reading("m-1.power", float(number), NOW_MS + number, NOW_MS + number)
        for draft in encoder.drafts(Lane.TELEMETRY, [reading], ClockState.SYNCED):
            store.append(Lane.TELEMETRY, items=draft.items)


def verbs(seen: Subscriber) -> list[str]:
    return [one.topic.split("/")[2] for one in seen.received if "/gw-1" in one.topic]


def state(seen: Subscriber, online: bool, at_ms: int) -> None:
    seen.publish(STATE, json.dumps({"online": online, "timestamp": at_ms}).encode(), retain=True)


def test_births_wait_for_the_primary_host_and_come_before_data(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path) as server, subscriber(server.port, "spBv1.0/#") as seen:
            store = MemoryStore()
            rig = build(server.port, store, dialect=SparkplugB(subject(), PRIMARY))
            commit(store, 30)
            async with running(rig):
                while not rig.uplink.status.connected:
                    await asyncio.sleep(0.01)
                assert not verbs(seen)
                state(seen, True, 1_000)
                await rig.until_delivered()
                births = 1 + len(DEVICES)
                await seen.until(lambda: len(verbs(seen)) >= births + 30, "births and data")
                assert verbs(seen)[: births + 30] == ["NBIRTH", *["DBIRTH"] * len(DEVICES), *["DDATA"] * 30]
                state(seen, False, 2_000)
                await seen.until(lambda: verbs(seen)[-1] == "NDEATH", "the death, as the standard wants it")
                commit(store, 5, start=30)
                state(seen, True, 3_000)
                await rig.until_delivered()
                await seen.until(lambda: verbs(seen)[-5:] == ["DDATA"] * 5, "what had waited")
            await seen.until(lambda: verbs(seen)[-1] == "NDEATH", "the farewell")

    asyncio.run(main())


def test_a_broken_line_is_a_death_and_a_new_birth(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            broker(tmp_path) as server,
            proxy(server.port) as line,
            subscriber(server.port, "spBv1.0/#") as seen,
        ):
            store = MemoryStore()
            rig = build(line.port, store, dialect=SparkplugB(subject(), SparkplugModel(group="compound")))
            commit(store, 3)
            async with running(rig):
                await rig.until_delivered()
                line.cut()
                await seen.until(lambda: verbs(seen).count("NBIRTH") == 2, "a second birth")
                commit(store, 3, start=3)
                await rig.until_delivered()
                await seen.until(lambda: verbs(seen).count("DDATA") >= 6, "all data")
            said = verbs(seen)
            assert said.index("NDEATH") < len(said) - 1 - said[::-1].index("NBIRTH")

    asyncio.run(main())
