"""gateway scan for devices that speak by themselves: real sockets, the command in a process of its own."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from drivers.gb26875.simulator import Habits, Transmitter, component
from drivers.uhppote.simulator import UhppoteSimulator
from gateway import local_api
from support.listening_site import GATEWAY, free_port, listening_site

KNOWN, NEW = 405419896, 201020304


async def scan(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    process = await asyncio.create_subprocess_exec(
        *(*GATEWAY, "scan", *arguments, "--json", "--lang", "en"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


def test_controllers_that_answer_are_named_and_written_down(tmp_path: Path) -> None:
    async def main() -> None:
        async with UhppoteSimulator([KNOWN, NEW], now=datetime.now) as network:
            here = f"127.0.0.1:{network.port}"
            line = {"id": "doors", "protocol": "uhppote", "listen": f"127.0.0.1:{free_port()}"}
            board = {"id": "board", "profile": "uhppote_controller", "line": "doors", "controller": KNOWN}
            site = listening_site(tmp_path, [line], [board])
            entries = tmp_path / "found.yaml"
            code, said, _ = await scan(
                "uhppote", "--broadcast", here, "--timeout", "2s", "--config", str(site.config), "--write", str(entries)
            )
            assert code == 0
            found = {each["entry"]["controller"]: each for each in said if each["type"] == "found"}
            assert {controller: each["known"] for controller, each in found.items()} == {KNOWN: "board", NEW: None}
            assert said[-1] == {"type": "summary", "devices": 2, "complete": True}
            written = yaml.safe_load(entries.read_text(encoding="utf-8"))
            assert {each["controller"] for each in written} == {KNOWN, NEW}
            assert {each["profile"] for each in written} <= {"uhppote_controller", "uhppote_door"}

    asyncio.run(main())


def test_nobody_is_found_and_a_wrong_address_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        nobody = f"127.0.0.1:{free_port()}"
        code, said, _ = await scan("uhppote", "--broadcast", nobody, "--timeout", "100ms", "--config", str(tmp_path))
        assert (code, said) == (1, [{"type": "summary", "devices": 0, "complete": True}])
        code, said, err = await scan("uhppote", "--broadcast", "nowhere", "--config", str(tmp_path))
        assert (code, said[-1]["complete"]) == (1, False)
        assert err.strip()

    asyncio.run(main())


def test_who_speaks_to_the_daemon_and_is_not_configured_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        port = free_port()
        line = {"id": "fire", "protocol": "gb26875", "listen": f"127.0.0.1:{port}"}
        panel = {"id": "panel", "profile": "gb26875_panel", "line": "fire", "source": "B22396604001"}
        site = listening_site(tmp_path, [line], [panel])
        code, _, err = await scan("gb26875", "--config", str(site.config))
        assert code == 1
        assert "start the daemon" in err
        async with site.daemon() as daemon:
            await _heard(site.store, port)
            code, said, _ = await scan("gb26875", "--config", str(site.config))
            await daemon.stop()
        (stranger,) = [each for each in said if each["type"] == "stranger"]
        assert (code, stranger["line"]) == (0, "fire")
        assert stranger["address"]
        assert stranger["what"]

    asyncio.run(main())


async def _heard(store: Path, port: int) -> None:
    """A panel that nobody has configured is confirmed nothing; it has been heard all the same."""
    habits = Habits(resend_s=0.3, resends=10_000)
    async with (
        asyncio.timeout(60),
        Transmitter("127.0.0.1", port, source=bytes.fromhex("010203040506"), habits=habits) as stranger,
    ):
        sending = asyncio.ensure_future(stranger.send(component(2)))
        while not await _strangers(store):
            await asyncio.sleep(0.05)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _strangers(store: Path) -> list[str]:
    try:
        lines = await local_api.ask(store, {"op": "lines"})
    except local_api.NotRunning:
        return []
    return [address for line in lines for address in line["strangers"]]
