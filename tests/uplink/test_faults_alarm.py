"""What the uplink cannot mend itself becomes an alarm at the platform: the whole gateway, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.clock import GatewayClock, Memory
from gateway.config.load import load
from gateway.model import Lane
from gateway.store.reader import opened
from gateway.uplink.session import Options, Session
from support import virtual_time
from support.clock import LoopKernel
from support.fake_broker import FakeBroker, fake_broker

SITE = """\
format: site/1
site: {{id: site-1, name: {{zh: 小区, en: Compound}}}}
gateway: {{id: gw-1}}
store: {{path: {store}, budget: 16 MiB}}
uplinks:
- {{id: main, host: 127.0.0.1, port: {port}, keepalive: 10 min}}  # paho's pings follow the real clock
lines: []
devices: []
"""


def synchronised_clock() -> GatewayClock:
    """It follows the loop's time, and may be asked by the store's thread."""
    kernel = LoopKernel(wall_ms=1_767_225_600_000)
    kernel.synchronised = True
    return GatewayClock(Memory(), kernel, floor_ms=0)


@asynccontextmanager
async def gateway(directory: Path, port: int) -> AsyncIterator[None]:
    (directory / "config").mkdir()
    (directory / "config" / "site.yaml").write_text(SITE.format(store=directory / "store", port=port), "utf-8")
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        clock = synchronised_clock()
        group.create_task(app.run(load(directory / "config"), clock, stop))
        yield
        stop.set()


async def rival(fake: FakeBroker) -> None:
    """Takes the gateway's client id a second after it has lost it."""
    while not fake.clients:
        await asyncio.sleep(0.1)
    while True:
        woken = asyncio.Event()
        async with Session(Options("127.0.0.1", fake.port, 600, fake.clients[0][0]), woken.set) as session:
            while session.lost is None:
                woken.clear()
                await woken.wait()
        await asyncio.sleep(1.0)


def refuse_the_first_event(topic: str, payload: bytes) -> int:
    return 0x99 if topic.endswith("/event") and b'"seq":1,' in payload else 0


async def arrival(fake: FakeBroker, rule: str) -> None:
    """In virtual time, of which a slow disk makes more pass than it would."""
    async with asyncio.timeout(3600.0):
        while not any(topic.endswith("/alarm") and rule.encode() in payload for topic, payload in fake.published):
            await asyncio.sleep(1.0)


CASES = {
    "B10 data that the broker will never take": (
        {"on_publish": refuse_the_first_event},
        "gateway_delivery_refused",
    ),
    "B13 a refused subscription": ({"suback": 0x87}, "gateway_uplink_fault"),
    "B14 another client with our id": ({"one_per_client": True}, "gateway_uplink_fault"),
}


@pytest.mark.parametrize(("behaviour", "rule"), CASES.values(), ids=CASES.keys())
def test_what_the_uplink_cannot_mend_is_an_alarm(tmp_path: Path, behaviour: dict[str, Any], rule: str) -> None:
    async def main() -> None:
        async with fake_broker(FakeBroker(**behaviour)) as fake, asyncio.TaskGroup() as group:
            other = group.create_task(rival(fake)) if fake.one_per_client else None
            async with gateway(tmp_path, fake.port):
                await arrival(fake, rule)
            if other is not None:
                other.cancel()

    virtual_time.run(main(), grace_s=0.0002, patient=True)
    with opened(tmp_path / "store") as reader:
        raised = {item["rule"] for row in reader.rows(Lane.ALARM) for item in json.loads(row.items)}
    assert raised == {rule}
