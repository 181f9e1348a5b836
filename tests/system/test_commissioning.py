"""The installer's tools beside the real daemon: it has the port, and goes on polling."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway import local_api
from gateway.sim import site
from gateway.sim.compound import Compound
from gateway.sim.process import Child
from gateway.sim.world import Layout

POINT = "m-1-1-101.energy"
pytestmark = pytest.mark.system


def gateway(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "gateway.cli.main", *arguments)


async def call(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(*gateway(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def until_open(store: Path, line: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                lines: list[dict[str, Any]] = await local_api.ask(store, {"op": "lines"})
            except local_api.NotRunning:
                lines = []
            if any(each["id"] == line and each["open"] for each in lines):
                return
            await asyncio.sleep(0.05)


def test_a_line_of_the_daemon_is_watched_recorded_and_played_again(tmp_path: Path) -> None:
    async def main() -> None:
        config, store = str(tmp_path / "config"), tmp_path / "store"
        async with Compound(Layout(buildings=1, entrances=1, households=2)) as field:
            site.write(field, tmp_path / "config", store, None)
            line = field.meter_lines[0]
            port = field.serial[line].path
            async with Child(gateway("run", "--config", config), tmp_path / "log"):
                await until_open(store, line)
                file = str(tmp_path / "c")
                (sniffed, out, err), (captured, _, _) = await asyncio.gather(
                    call("sniff", "--port", port, "--config", config, "--duration", "8s", "--json", "--lang", "en"),
                    call("capture", file, "--line", line, "--config", config, "--duration", "8s"),
                )
                assert (sniffed, captured) == (0, 0), err
                assert "through the daemon" in err
                # the first and the last frame may be cut: listening begins and ends when it does
                heard = [json.loads(text) for text in out.splitlines()][1:-1]
                assert len(heard) > 4
                assert {each["protocol"] for each in heard} == {"dlt645"}
                assert {each["direction"] for each in heard} == {"tx", "rx"}
                requests = [each for each in heard if each["direction"] == "tx"]
                assert all(each["frames"][0]["direction"] == "request" for each in requests)
                code, out, err = await call("read", "--raw", POINT, "m-1-1-102.voltage", "--config", config, "--json")
                assert (code, err) == (0, "")
                energy, voltage = json.loads(out)["readings"]
                for reading in (energy, voltage):
                    (frame,) = reading["decoded"]["frames"]
                    assert (frame["direction"], frame["items"][0]["value"]) == ("response", reading["v"])
                    assert reading["v"] in [value for _, value, _ in reading["interpretations"]]
                shown = await call("read", "--raw", POINT, "--config", config, "--lang", "zh")
                assert shown[0] == 0
                assert "68 " in shown[1]
        code, out, _ = await call("replay", file, "--json")
        assert code == 0
        played = [json.loads(text)["hex"] for text in out.splitlines()]
        assert len(played) >= 2
        assert {each["hex"] for each in requests} & set(played)

    asyncio.run(main())
