"""Two lift monitors post to the real daemon, which is killed in the middle: each alarm once, the last state stands."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from drivers.http_push.simulator import HttpJsonSim
from gateway.clock import SystemClock
from support.listening_site import ListeningSite, free_port, listening_site

pytestmark = pytest.mark.system

ALARMS = 60
"""Of each lift."""
LIFTS = {"lift-1": "seq", "lift-2": None}
"""The second one's messages have no number: they are known by their time."""


def shaft(tmp_path: Path, port: int) -> ListeningSite:
    (tmp_path / "token").write_text("s3cret-word")
    devices = [
        {"id": lift, "profile": "lift_json", "line": "boxes", "address": lift, "topic": "/{token}/{address}/+"}
        | {"token_file": str(tmp_path / "token")}
        | ({"message_id": number} if number else {})
        for lift, number in LIFTS.items()
    ]
    line = {"id": "boxes", "protocol": "http-json", "listen": f"127.0.0.1:{port}"}
    return listening_site(tmp_path, [line], devices)


async def ride(lift: str, port: int, done: Counter[str]) -> None:
    """Every message is posted until it is answered, as often as it takes."""
    url = f"http://127.0.0.1:{port}/s3cret-word/{lift}"
    async with HttpJsonSim(url, tries=100_000, retry_s=0.05) as box:
        for number in range(ALARMS):
            said = {"id": lift, "seq": number, "floor": str(number), "time": SystemClock().now_ms()}
            answered = await box.say(said | {"code": 90}, "/event")
            assert (answered.status, json.loads(answered.body)) == (200, {"code": 0})
            answered = await box.say(said | {"seq": ALARMS + number, "runs": number, "mode": 1}, "/status")
            assert answered.status == 200
            done[lift] += 1


def test_each_alarm_once_over_a_kill(tmp_path: Path) -> None:
    async def main() -> None:
        port = free_port()
        site, done = shaft(tmp_path, port), Counter[str]()
        boxes = [asyncio.ensure_future(ride(lift, port, done)) for lift in LIFTS]
        try:
            async with site.daemon() as daemon:
                async with asyncio.timeout(120):
                    while min(done[lift] for lift in LIFTS) < ALARMS // 4:
                        await asyncio.sleep(0.01)
                await daemon.kill()
            assert done.total() < 2 * ALARMS, "the kill came in the middle"
            async with site.daemon() as daemon:
                async with asyncio.timeout(120):
                    await asyncio.gather(*boxes)
                assert await daemon.stop() == 0
        finally:
            for task in boxes:
                task.cancel()
            await asyncio.gather(*boxes, return_exceptions=True)
        judged(site)

    asyncio.run(main())


def judged(site: ListeningSite) -> None:
    told = Counter((event["device"], event["attributes"]["floor"]) for event in site.happened("lift.alarm_button"))
    assert set(told) == {(lift, str(number)) for lift in LIFTS for number in range(ALARMS)}, "none lost"
    assert set(told.values()) == {1}, "none doubled"
    for lift in LIFTS:
        assert site.readings(f"{lift}.runs")[-1]["v"] == ALARMS - 1
        assert site.readings(f"{lift}.service_mode")[-1]["v"] == "normal"
    assert b"s3cret" not in site.log.read_bytes()
