"""ThingsBoard, Home Assistant and IoTDA through a real broker: what is logged arrives, what is asked is answered."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.model import Lane
from gateway.uplink.dialect import Reply, Request
from support.broker import broker
from support.memory_store import MemoryStore
from support.mqtt_subscriber import subscriber
from tests.uplink.dialects import small_site
from uplink.rig import build, running

EVERYTHING = {"thingsboard": "v1/#", "home_assistant": "#", "iotda": "$oc/#"}
ASKED = {
    "thingsboard": (
        "v1/gateway/rpc",
        {"device": "jiayuan.gw1.m-1-1-101", "data": {"id": 7, "method": "command", "params": {"signed": "{}"}}},
        "v1/gateway/rpc",
    ),
    "iotda": (
        "$oc/devices/{gw}/sys/commands/request_id=r-1",
        {"command_name": "command", "paras": {"document": "{}"}},
        "$oc/devices/{gw}/sys/commands/response/request_id=r-1",
    ),
}


@pytest.mark.parametrize("name", ["thingsboard", "home_assistant", "iotda"])
def test_everything_in_the_log_arrives_and_counts_as_delivered(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        store = MemoryStore()
        dialect = small_site.dialects(small_site.subject())[name]
        async with broker(tmp_path) as server, subscriber(server.port, EVERYTHING[name]) as seen:
            rig = build(server.port, store, dialect=dialect)
            for envelope in small_site.day():
                store.append(envelope.lane, items=envelope.items)
            async with running(rig):
                await rig.until_delivered()
                status = rig.uplink.status
                assert not status.faults
                assert not rig.quarantined
                text = b"".join(one.payload for one in seen.received)
                await seen.until(lambda: len(seen.received) > 5, "messages")
                assert b"gas-1" in text or "gas-1" in "".join(one.topic for one in seen.received)
            assert store.last_seq(Lane.ALARM)

    asyncio.run(main())


@pytest.mark.parametrize("name", list(ASKED))
def test_a_signed_command_reaches_the_desk_and_its_answer_the_platform(tmp_path: Path, name: str) -> None:
    topic, question, answers = ASKED[name]

    async def main() -> None:
        asked: list[Request] = []

        async def act(request: Request) -> Reply:
            asked.append(request)
            return Reply("rejected", "unsigned")

        async with broker(tmp_path) as server, subscriber(server.port, EVERYTHING[name]) as seen:
            dialect = small_site.dialects(small_site.subject())[name]
            rig = build(server.port, dialect=dialect, on_request=act)
            gateway = small_site.IOTDA.device_id
            async with running(rig):
                await seen.until(lambda: bool(seen.received), "connected")
                seen.publish(topic.format(gw=gateway), json.dumps(question).encode())
                back = answers.format(gw=gateway)
                await seen.until(lambda: any(b"unsigned" in one.payload for one in seen.received), "the answer")
                assert {one.topic for one in seen.received if b"unsigned" in one.payload} == {back}
            assert len(asked) == 1
            assert asked[0].uplink == "main"

    asyncio.run(main())
