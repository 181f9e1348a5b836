"""The real daemon: a warning falls into a directory, a rule speaks through a loudspeaker, a kill forgets nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from drivers.cap.simulator import Office, drop
from drivers.http_output.simulator import Loudspeaker
from gateway.clock import SystemClock
from gateway.errors import StoreError
from support.listening_site import ListeningSite, listening_site

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


def warned_site(tmp_path: Path, directory: Path, speaker: str) -> ListeningSite:
    lines = [
        {"id": "warnings", "protocol": "cap", "directory": str(directory), "poll_s": 0.1},
        {"id": "speakers", "protocol": "http-speaker"},
    ]
    weather = {"id": "weather", "profile": "cap_warnings", "line": "warnings", "areas": ["410105"]}
    broadcast = {"id": "broadcast", "profile": "http_speaker", "line": "speakers", "url": speaker}
    devices = [{**weather, "roles": {"broadcast": "broadcast"}}, {**broadcast, "allow_write": ["announcement"]}]
    pack = (ROOT / "rules" / "library" / "warnings.yaml").read_text(encoding="utf-8")
    inputs = [{"warning": "weather.rainstorm", "until": "weather.rainstorm_until"}]
    risk = {"hazards": [{"id": "flood", "name": {"zh": "内涝", "en": "flooding"}, "inputs": inputs}]}
    return listening_site(tmp_path, lines, devices, pack, risk=risk)


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(90):
        while True:
            with suppress(StoreError):  # it is being made
                if happened():
                    return
            await asyncio.sleep(0.05)


def last(site: ListeningSite, point: str) -> object:
    readings = site.readings(point)
    return readings[-1].get("v") if readings else None


def test_a_red_warning_is_announced_and_outlives_a_kill(tmp_path: Path) -> None:
    directory = tmp_path / "in"
    directory.mkdir()
    office = Office(SystemClock().now_ms)

    async def main() -> None:
        async with Loudspeaker() as speaker:
            site = warned_site(tmp_path, directory, speaker.url)
            async with site.daemon() as daemon:
                await until(lambda: last(site, "weather.rainstorm") == "none")
                issued = office.issue("11B03", "暴雨", "Red")
                drop(directory, *office.published[-1])
                await until(lambda: [each for each in speaker.received if each.path == "/api/tts"])
                await until(lambda: site.happened("warning.issued"))
                await until(lambda: last(site, "community.risk_flood") == "red")
                await daemon.kill()
            (event,) = site.happened("warning.issued")
            assert event["attributes"]["identifier"] == issued
            assert event["device"] == "weather"
            for file in directory.iterdir():
                file.unlink()  # the source has forgotten it
            told = len(site.readings("weather.rainstorm"))
            async with site.daemon() as daemon:
                await until(lambda: len(site.readings("weather.rainstorm")) > told)
                assert last(site, "weather.rainstorm") == "red"
                office.cancel(issued, "11B03", "暴雨", "Red")
                drop(directory, *office.published[-1])
                await until(lambda: site.happened("warning.cancelled"))
                await until(lambda: last(site, "weather.rainstorm") == "none")
                assert await daemon.stop() == 0
            assert len(site.happened("warning.issued")) == 1
            said = [each.said["text"] for each in speaker.received if each.path == "/api/tts"]
            assert len(said) == 1, "announced once, not again after the start"
            assert said[0].startswith("暴雨红色预警")

    asyncio.run(main())
