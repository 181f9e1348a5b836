"""Warnings from a topic of a real mosquitto: what is published while we are away, and a broker that dies."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drivers.base import Report
from drivers.cap.config import CapHubOptions
from drivers.cap.hub import CapHub
from drivers.cap.simulator import Office
from drivers_cap.hub_rig import publisher
from drivers_cap.made import hub
from gateway.clock import SystemClock
from gateway.config.explain import parse as parse_model
from gateway.model import Value
from support.broker import broker


async def shown(made: CapHub, point: str, value: Value) -> None:
    """Until the point says so; everything is confirmed as it comes."""
    async with asyncio.timeout(60):
        while True:
            reports: list[Report] = [*await made.receive()]
            await made.stored(reports)
            if any(r.point == f"weather.{point}" and r.value == value for each in reports for r in each.readings):
                return


def test_a_warning_comes_at_once_and_what_was_published_meanwhile_comes_later(tmp_path: Path) -> None:
    async def main() -> None:
        office = Office(SystemClock().now_ms, national=True)
        async with broker(tmp_path / "broker") as running, publisher(running.port) as publish:
            made = hub(SystemClock(), broker=f"127.0.0.1:{running.port}", topic="city/#")
            async with made:
                await shown(made, "source_ok", True)
                office.issue("11B03", "暴雨", "Yellow", geocode="410105000000")
                await publish(office.published[-1][1])
                await shown(made, "rainstorm", "yellow")
            office.issue("11B03", "暴雨", "Red", geocode="410105000000")
            await publish(office.published[-1][1])
            async with made:
                await shown(made, "rainstorm", "red")

    asyncio.run(main())


def test_a_broker_that_dies_is_said_and_is_asked_again(tmp_path: Path) -> None:
    async def main() -> None:
        office = Office(SystemClock().now_ms, national=True)
        async with broker(tmp_path / "broker", persistence=True) as running:
            made = hub(SystemClock(), broker=f"127.0.0.1:{running.port}", topic="city/warnings")
            async with made:
                await shown(made, "source_ok", True)
                await running.kill()
                await shown(made, "source_ok", False)
                await running.start()
                await shown(made, "source_ok", True)
                async with publisher(running.port) as publish:
                    office.issue("11B03", "暴雨", "Orange", geocode="410105000000")
                    await publish(office.published[-1][1])
                    await shown(made, "rainstorm", "orange")

    asyncio.run(main())


@pytest.mark.parametrize(
    "written",
    [
        {"broker": "127.0.0.1:1883"},
        {"topic": "x", "directory": "/x"},
        {"broker": "127.0.0.1:1883", "topic": "x", "directory": "/x"},
        {"broker": "127.0.0.1:1883", "topic": "x", "password_file": "p"},
        {"directory": "/x", "username": "u"},
    ],
)
def test_what_does_not_go_together_is_refused(written: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=" / "):
        parse_model(CapHubOptions, written)
