"""The risk in the daemon: from a meter's reading to an alarm about the community, and over a restart."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import rules
from gateway import local_api
from gateway.sim import site
from gateway.sim.compound import Compound
from gateway.sim.process import Child
from gateway.sim.world import Layout

pytestmark = pytest.mark.system

# A voltage that every meter has makes a flood here: the simulated compound has no water to speak of.
RISK = """
risk:
  hazards:
  - id: flood
    name: {zh: 内涝, en: flooding}
    inputs: [{kind: power_meter, measures: voltage, above: {orange: 0.1 kV}}]
"""


async def ask(store: Path, request: Mapping[str, Any]) -> Any:
    """The daemon's answer, once it answers."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await local_api.ask(store, request)
            except local_api.NotRunning:
                await asyncio.sleep(0.05)


async def orange(store: Path) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            found: dict[str, Any] = await ask(store, {"op": "risk"})
            if found["level"] == "orange":
                return found
            await asyncio.sleep(0.05)


async def risk_alarms(store: Path) -> list[str]:
    async with asyncio.timeout(60):
        while True:
            alarms = [each["rule"] for each in await ask(store, {"op": "alarms"}) if each["device"] == "community"]
            if "community_risk_orange" in alarms:
                return alarms
            await asyncio.sleep(0.05)


def test_a_reading_becomes_a_risk_an_alarm_and_both_outlive_a_restart(tmp_path: Path) -> None:
    config, store = tmp_path / "config", tmp_path / "store"
    run = (sys.executable, "-m", "gateway.cli.main", "run", "--config", str(config))

    async def main() -> None:
        async with Compound(Layout(buildings=1, entrances=1, households=2)) as running:
            site.write(running, config, store, None)
            with (config / "site.yaml").open("a", encoding="utf-8") as file:
                file.write(RISK)
            library = Path(rules.__file__).parent / "library"
            shutil.copy(library / "risk.yaml", config / "rules" / "risk.yaml")
            async with Child(run, tmp_path / "log") as daemon:
                found = await orange(store)
                assert {driver["without"] for driver in found["drivers"]} == {"none"}
                assert "community_risk_orange" in await risk_alarms(store)
                points = {item["p"]: item["v"] for item in await ask(store, {"op": "points", "device": "community"})}
                assert points["community.risk"] == points["community.risk_flood"] == "orange"
                before = (await ask(store, {"op": "risk"}))["since_ms"]
                assert await daemon.stop() == 0
        # The compound is gone: nothing can be read any more, and the level stays what it was.
        async with Child(run, tmp_path / "log2") as daemon:
            after = await ask(store, {"op": "risk"})
            assert after["level"] == "orange"
            assert abs(after["since_ms"] - before) < 1000
            assert await daemon.stop() == 0

    asyncio.run(main())
