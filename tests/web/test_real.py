"""The page beside the real daemon, which is killed and comes back."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.sim import site
from gateway.sim.compound import Compound
from gateway.sim.process import Child
from gateway.sim.world import Layout
from tests.web.rig import get

pytestmark = pytest.mark.system


def gateway(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "gateway.cli.main", *arguments)


async def until(port: int, wanted: Any) -> dict[str, Any]:
    """The page's state as soon as *wanted* says yes to it."""
    async with asyncio.timeout(90):
        while True:
            found: dict[str, Any] = json.loads((await get(port, "/api/status")).body)
            if wanted(found):
                return found
            await asyncio.sleep(0.3)


async def port_of(log: Path) -> int:
    async with asyncio.timeout(60):
        while '{"url"' not in log.read_text() or not log.read_text().endswith("\n"):
            await asyncio.sleep(0.05)
    (line,) = (line for line in log.read_text().splitlines() if line.startswith('{"url"'))
    return int(json.loads(line)["url"].rpartition(":")[2])


def test_what_the_daemon_does_is_on_the_page_and_so_is_its_absence(tmp_path: Path) -> None:
    config = str(tmp_path / "config")

    def dead_meters(found: dict[str, Any]) -> bool:
        return found["daemon"] == "running" and found["lines"][0]["silent"] == 2

    async def main() -> None:
        async with Compound(Layout(buildings=1, entrances=1, households=2)) as field:
            site.write(field, tmp_path / "config", tmp_path / "store", None)
            async with (
                Child(gateway("run", "--config", config), tmp_path / "log") as daemon,
                Child(gateway("page", "--config", config, "--port", "0", "--json"), tmp_path / "page.log") as page,
            ):
                port = await port_of(tmp_path / "page.log")
                found = await until(port, lambda each: each["daemon"] == "running" and each["lines"][0]["polls"] > 5)
                assert {line["id"] for line in found["lines"]} >= {"rs485-1-1"}
                meters = next(line for line in found["lines"] if line["id"] == "rs485-1-1")
                assert meters["port"].endswith(" 2400 8E1")
                assert {each["name"]["en"] for each in meters["devices"]} == {"Meter of flat 101", "Meter of flat 102"}
                points = json.loads((await get(port, "/api/device?id=m-1-1-101")).body)
                assert points["hidden"] > 0
                assert "energy" not in {point["id"] for point in points["points"]}

                field.faults.kill_line(field.meter_lines[0], dead=True)
                dead = (await until(port, dead_meters))["lines"][0]["devices"]
                assert all(each["silent_s"] is not None and each["wasted_s"] > 0 for each in dead)

                await daemon.kill()
                found = await until(port, lambda each: each["daemon"] == "absent")
                assert found["silent_s"] is not None
                async with Child(gateway("run", "--config", config), tmp_path / "log"):
                    await until(port, lambda each: each["daemon"] == "running")
                assert page.running
                assert await page.stop() == 0
        assert "Traceback" not in (tmp_path / "page.log").read_text()

    asyncio.run(main())
