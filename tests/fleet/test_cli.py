"""gateway simulate fleet: what it refuses, what it prints, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli.simulate import command
from gateway.sim.process import Child
from support.broker import broker, free_port

FLEET = (sys.executable, "-m", "gateway.cli.main", "simulate", "fleet")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--broker", "nowhere", "--gateways", "1"], "nowhere is not HOST:PORT"),
        (["--broker", "h:0", "--gateways", "1"], "h:0 is not HOST:PORT"),
        (["--broker", "h:1", "--gateways", "1", "--username", "u"], "--username needs --cafile"),
        (["--broker", "h:1", "--gateways", "0"], "Invalid value"),
    ],
)
def test_wrong_usage(options: list[str], words: str) -> None:
    result = CliRunner().invoke(command, ["fleet", "--lang", "en", *options])
    assert result.exit_code == 2
    assert words in result.output


async def run(folder: Path, *options: str, status: int = 0) -> list[str]:
    """The lines it has printed."""
    async with Child((*FLEET, *options), folder / "out") as child:
        async with asyncio.timeout(120):
            assert await child.wait() == status, (folder / "out").read_text("utf-8")
    return (folder / "out").read_text("utf-8").splitlines()


def test_every_envelope_is_accounted_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path / "broker") as server:
            target = ("--broker", f"127.0.0.1:{server.port}", "--spread", "0.5", "--rate", "20")
            lines = await run(
                tmp_path, *target, "--gateways", "12", "--envelopes", "30", "--sites", "3", "--count", "--json"
            )
            account: dict[str, Any] = json.loads(lines[-1])["account"]
            assert account["fine"]
            assert (account["made"], account["confirmed"], account["waiting"]) == (360, 360, 0)
            assert account["counted"] == {"made": 360, "arrived": 360, "waiting": 0, "lost": 0, "duplicates": 0}
            seconds = [json.loads(line) for line in lines[:-1]]
            assert seconds
            assert sum(each["connecting"] for each in seconds) <= 12
            # the session that counted is gone: the broker keeps nothing for it
            assert "fleet-count-" in server.log
            assert server.log.count("as fleet-count-") == 2

    asyncio.run(main())


def test_a_broker_that_is_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        target = ("--broker", f"127.0.0.1:{free_port()}", "--gateways", "2", "--envelopes", "3", "--rate", "10")
        lines = await run(tmp_path, *target, "--settle", "2", "--spread", "0", "--lang", "en", status=1)
        assert any("connected 0 (+0)  made 6" in line and "cannot connect" in line for line in lines)
        assert "made 6, not delivered 6, given up 0, not made because a log was full 0" in lines
        assert "nobody has counted what arrived (--count)" in lines

    asyncio.run(main())


def test_nobody_speaks_before_somebody_counts(tmp_path: Path) -> None:
    async def main() -> None:
        port = free_port()
        target = ("--broker", f"127.0.0.1:{port}", "--gateways", "2", "--count", "--lang", "en")
        async with Child((*FLEET, *target), tmp_path / "out") as child:
            async with asyncio.timeout(60):
                while "waiting for the subscription" not in child.last_words():
                    await asyncio.sleep(0.05)
                os.kill(child.pid, signal.SIGINT)
                assert await child.wait() == 1
        said = (tmp_path / "out").read_text("utf-8")
        assert f"cannot subscribe at 127.0.0.1:{port}" in said
        assert "connected" not in said

    asyncio.run(main())


def test_ctrl_c_ends_the_load_and_the_rest_is_delivered(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker(tmp_path / "broker") as server:
            target = ("--broker", f"127.0.0.1:{server.port}", "--gateways", "3", "--spread", "0", "--rate", "20")
            options = (*target, "--delivery", "puback", "--lang", "zh")
            async with Child((*FLEET, *options), tmp_path / "out") as child:
                async with asyncio.timeout(60):
                    while "连接 3（" not in child.last_words():
                        await asyncio.sleep(0.05)
                    os.kill(child.pid, signal.SIGINT)
                    assert await child.wait() == 0
            assert "未交付 0，放弃 0" in (tmp_path / "out").read_text("utf-8")

    asyncio.run(main())
