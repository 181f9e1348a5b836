"""A hundred thousand envelopes wait in the real store; then a broker is there (reliability catalogue, A17)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from gateway.clock import SystemClock
from gateway.envelope import Draft
from gateway.model import Lane
from gateway.store.log import Store
from support.broker import broker
from support.mqtt_subscriber import subscriber
from uplink.rig import build, running

WAITING = 100_000
BATCH = 2000


def draft(lane: Lane, number: int) -> Draft:
    return Draft(lane, json.dumps([{"n": number}]).encode(), 1, number, number)


def test_an_alarm_and_the_present_go_before_a_hundred_thousand_that_wait(tmp_path: Path) -> None:
    async def main() -> None:
        clock = SystemClock()
        store = Store(tmp_path / "store", budget_bytes=2**28, boot_id="boot-1", uplinks=["main"], clock=clock)
        async with store, broker(tmp_path / "broker") as server, subscriber(server.port) as seen:
            for start in range(0, WAITING, BATCH):
                await store.commit([draft(Lane.TELEMETRY, n) for n in range(start, start + BATCH)])
            await store.commit([draft(Lane.ALARM, 0)])
            rig = build(server.port, store, replay_rate=100_000)
            async with running(rig):
                await seen.until(lambda: bool(seen.on("alarm")), "the alarm", 30.0)
                lanes = [one.topic.rsplit("/", 1)[-1] for one in seen.received]
                assert "telemetry" not in lanes[: lanes.index("alarm")], "it waited behind the backlog"
                await seen.until(lambda: len(seen.on("telemetry")) > 200, "the backlog flows", 30.0)
                await store.commit([draft(Lane.ALARM, 1), draft(Lane.TELEMETRY, WAITING)])
                await seen.until(lambda: len(seen.on("alarm")) == 2, "an alarm meanwhile", 30.0)
                await seen.until(lambda: WAITING + 1 in seen.seqs("telemetry"), "the present", 30.0)
                assert len(seen.on("telemetry")) < WAITING, "the present waited for the past"
                cursor = store.cursor("main", Lane.TELEMETRY)
                assert cursor < WAITING

    asyncio.run(main())
