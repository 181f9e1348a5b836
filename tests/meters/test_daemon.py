"""A real daemon over midnight, killed before it has written anything down; and the report that people get."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway import local_api
from gateway.clock import SystemClock
from gateway.meters import files
from gateway.meters.closing import midnight_ms
from gateway.model import Lane
from gateway.sim.process import Child
from gateway.store.reader import opened
from support.counting_device import counting_device, write_site
from support.false_time import FalseTime

pytestmark = pytest.mark.system
ZONE = ZoneInfo("Asia/Shanghai")


async def latest(daemon: Child, store: Path) -> int:
    """When the meter was read last, as the daemon knows it; 0 while it does not answer."""
    assert daemon.running, daemon.last_words()
    try:
        found: list[dict[str, Any]] = await local_api.ask(store, {"op": "points", "device": "counter"})
    except local_api.NotRunning:
        return 0
    return max((item["t"] for item in found if item["p"] == "counter.energy"), default=0)


async def until(daemon: Child, store: Path, instant_ms: int) -> None:
    async with asyncio.timeout(60):
        while await latest(daemon, store) < instant_ms:
            await asyncio.sleep(0.1)


async def report(env: Any, *words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli.main", "report", "meters", "--lang", "en", *words),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def next_to(store: Path, instant_ms: int) -> tuple[int, int]:
    """When the readings on either side of it were taken, by a look at all that are stored."""
    with opened(store) as reader:
        times = [item["t"] for row in reader.rows(Lane.BILLING) for item in json.loads(row.items)]
    return max(t for t in times if t < instant_ms), min(t for t in times if t >= instant_ms)


def test_midnight_survives_kill_9_and_the_report_tells_both_days(tmp_path: Path) -> None:
    now_ms = SystemClock().now_ms()
    tomorrow = (datetime.fromtimestamp(now_ms / 1000, ZONE) + timedelta(days=30)).date()
    midnight = midnight_ms(tomorrow, ZONE)
    off_s = (midnight - now_ms) / 1000
    false_time = FalseTime(tmp_path / "faketime", off_s - 3600)
    told = tmp_path / "synchronised"
    told.touch()
    day = tomorrow.isoformat()

    async def main() -> None:
        async with counting_device() as device:
            write_site(tmp_path, device, "")
            config, store = tmp_path / "config", tmp_path / "store"
            profile = config / "devices" / "counting.yaml"
            text = profile.read_text("utf-8").replace("lane: billing", "lane: billing, counter: true, personal: true")
            profile.write_text(text, encoding="utf-8")
            site = (config / "site.yaml").read_text("utf-8").replace("unit_id: 1", 'unit_id: 1, place: {building: "3"}')
            (config / "site.yaml").write_text(site, encoding="utf-8")
            command = (sys.executable, "-m", "support.clocked_daemon", str(config), str(told))
            arguments = ("--config", str(config), "--day", day)
            async with Child(command, tmp_path / "log", env=false_time.env) as daemon:
                await until(daemon, store, 1)
                false_time.set(off_s + (now_ms - SystemClock().now_ms()) / 1000 - 2)
                await until(daemon, store, midnight + 1500)
                assert files.files_of(store) == [], "nothing is written yet"
                await daemon.kill()
            async with Child(command, tmp_path / "log", env=false_time.env) as daemon:
                await until(daemon, store, midnight + 3000)
                async with asyncio.timeout(30):
                    while not any(each.brackets(midnight) for each in files.read(store).batch.closings):
                        await asyncio.sleep(0.1)
                code, out, err = await report(false_time.env, *arguments, "--json")
                assert (code, err) == (0, "")
                assert await daemon.stop() == 0
            (found,) = [each for each in files.read(store).batch.closings if each.brackets(midnight)]
            assert found.before is not None
            assert (found.before.time_ms, found.after.time_ms) == next_to(store, midnight)
            (row,) = json.loads(out)["sections"][0]["rows"]
            nearest = min((found.before, found.after), key=lambda mark: abs(mark.time_ms - midnight))
            assert (row["start"]["value"], row["place"]) == (nearest.value, {"building": "3"})
            assert row["consumption"] == row["end"]["value"] - nearest.value > 0
            assert "running" in [note["code"] for note in row["notes"]]
            audit = (store / "audit.log").read_text("utf-8")
            assert '"kind":"report.meters"' in audit
            assert day in audit
            sheet, page = tmp_path / "sheet.csv", tmp_path / "page.html"
            code, out, err = await report(false_time.env, *arguments, "--csv", str(sheet), "--html", str(page))
            assert (code, "not in the audit" in err) == (0, True)
            (line,) = csv.DictReader(io.StringIO(sheet.read_text("utf-8-sig"), newline=""))
            assert (line["device"], line["start"]) == ('="counter"', f"{nearest.value:g}")
            assert (sheet.stat().st_mode & 0o777, "building 3" in page.read_text("utf-8")) == (0o600, True)
            code, out, _ = await report(false_time.env, *arguments, "--place", "building=9")
            assert (code, "no billing counters" in out) == (0, True)
            for wrong in (
                ["--day", "2026-02-30"],
                ["--month", "2026-13"],
                ["--from", "2026-01-02"],
                [],
                ["--day", "2099-01-01"],
            ):
                code, _, err = await report(false_time.env, "--config", str(config), *wrong)
                assert (code, bool(err)) == (2, True), wrong

    asyncio.run(main())
