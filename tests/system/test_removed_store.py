"""A15: somebody deletes the store under a running daemon."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest

from gateway import local_api
from gateway.model import Lane
from gateway.sim import site
from gateway.sim.compound import Compound
from gateway.sim.process import Child
from gateway.sim.world import Layout
from gateway.store.reader import opened

pytestmark = pytest.mark.system


def test_the_daemon_ends_and_the_next_one_makes_a_new_store_and_tells(tmp_path: Path) -> None:
    store = tmp_path / "store"
    argv = (sys.executable, "-m", "gateway.cli.main", "run", "--config", str(tmp_path / "config"))

    async def main() -> None:
        async with Compound(Layout(buildings=1, entrances=1, households=1)) as compound:
            site.write(compound, tmp_path / "config", store, None)
            async with Child(argv, tmp_path / "log") as daemon:
                await answering(daemon)
                shutil.rmtree(store)
                async with asyncio.timeout(60):
                    while daemon.running:
                        await asyncio.sleep(0.05)
                assert "has been removed" in (tmp_path / "log").read_text(encoding="utf-8")
            async with Child(argv, tmp_path / "log") as daemon:
                await answering(daemon)
                assert await daemon.stop() == 0, daemon.last_words()

    async def answering(daemon: Child) -> None:
        async with asyncio.timeout(30):
            while True:
                assert daemon.running, daemon.last_words()
                try:
                    if (await local_api.ask(store, {"op": "status"}, timeout_s=2.0))["accepted"]:
                        return
                except local_api.NotRunning:
                    pass
                await asyncio.sleep(0.05)

    asyncio.run(main())
    with opened(store) as reader:
        events = [item for row in reader.rows(Lane.EVENT) for item in json.loads(row.items)]
    (told,) = [event for event in events if event["kind"] == "gateway.store_replaced"]
    assert "removed" in told["attributes"]["fault"]
    assert told["attributes"]["kept"] is None
