"""The daemon and a household whose consent is over: it starts, leaves that home alone, and takes it up when renewed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway import local_api
from gateway.sim.process import Child
from support.counting_device import counting_device, write_site

pytestmark = pytest.mark.system


def gateway(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "gateway.cli.main", *arguments)


async def points(daemon: Child, store: Path) -> list[dict[str, Any]] | None:
    """None while the daemon does not answer."""
    assert daemon.running, daemon.last_words()
    try:
        found: list[dict[str, Any]] = await local_api.ask(store, {"op": "points", "device": "counter"})
    except local_api.NotRunning:
        return None
    return found


def audited(store: Path) -> list[tuple[str, str | None]]:
    """What the audit says of the consent: (result, until)."""
    try:
        lines = [json.loads(line) for line in (store / "audit.log").read_text("utf-8").splitlines()]
    except FileNotFoundError:
        return []
    return [(line["result"], line["what"]["until"]) for line in lines if line["kind"] == "care.consent"]


async def until_audited(store: Path, count: int) -> None:
    async with asyncio.timeout(30):
        while len(audited(store)) < count:
            await asyncio.sleep(0.05)


def test_a_consent_that_is_over_stops_that_home_and_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with counting_device() as device:
            write_site(tmp_path, device, "")
            site, store = tmp_path / "config" / "site.yaml", tmp_path / "store"
            consent = 'consent: {by: resident, date: 2020-01-01, until: 2020-12-31, record: "17"}'
            text = site.read_text("utf-8").replace("unit_id: 1", f"unit_id: 1, kind: care_home, {consent}")
            site.write_text(text, encoding="utf-8")
            config = str(tmp_path / "config")
            check = await asyncio.create_subprocess_exec(
                *gateway("check", "--config", config, "--lang", "en"), stdout=asyncio.subprocess.PIPE
            )
            said, _ = await check.communicate()
            assert (check.returncode, b"E-CONSENT the consent was given until 2020-12-31" in said) == (78, True)
            async with Child(gateway("run", "--config", config), tmp_path / "log") as daemon:
                await until_audited(store, 1)
                assert (audited(store), await points(daemon, store)) == ([("ended", "2020-12-31")], [])
                assert device.served_ms == [], "it is not even asked"
                site.write_text(text.replace("until: 2020-12-31, ", ""), encoding="utf-8")
                os.kill(daemon.pid, signal.SIGHUP)
                await until_audited(store, 2)
                async with asyncio.timeout(30):
                    while not await points(daemon, store):
                        await asyncio.sleep(0.05)
                assert audited(store)[1] == ("given", None)
                assert await daemon.stop() == 0

    asyncio.run(main())
