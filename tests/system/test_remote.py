"""Commands from afar and the real daemon: killed between the counter and the act, killed while a door is open."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway import local_api
from gateway.clock import SystemClock
from gateway.sim.operator import Operator
from gateway.sim.process import Child
from gateway.store import reader
from support.relay_site import BOARD, DEAF, HEATER, SILENT_DEVICE, RelaySite, relay_site

pytestmark = pytest.mark.system

GATEWAY = (sys.executable, "-m", "gateway.cli.main")
DAEMON = (sys.executable, str(Path(__file__).parents[1] / "support" / "trusting_daemon.py"))
ON, OFF = bytes.fromhex("050000ff00"), bytes.fromhex("0500000000")
"""Write single coil 0.  Source: Modbus Application Protocol V1.1b3, 6.5."""
COMMANDS = ["help", "time", "read", "write", "door.release", "alarm.acknowledge", "reload"]


def remote_section(*operators: Operator) -> str:
    keys = json.dumps([operator.entry(COMMANDS, ["*"]) for operator in operators])
    doors = "[{point: board.relay1, pulse: 5s}]"
    return f"remote: {{keys: {keys}, doors: {doors}, commands_per_minute: 600, outputs_per_minute: 60}}\n"


def change(site: RelaySite, old: str, new: str) -> None:
    path = site.config / "site.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


async def running(store: Path) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await local_api.ask(store, {"op": "alarms"})
            except local_api.NotRunning:
                await asyncio.sleep(0.05)
            else:
                return


async def polled(site: RelaySite, unit: int, since: int = 0) -> None:
    async with asyncio.timeout(60):
        while unit not in [asked for asked, _ in site.requests[since:]]:
            await asyncio.sleep(0.02)


async def order(site: RelaySite, envelope: tuple[str, bytes]) -> Mapping[str, Any]:
    """As somebody who carries the envelope to the box."""
    request = {"op": "remote", "id": envelope[0], "body": envelope[1].decode()}
    answer: Mapping[str, Any] = await local_api.ask(site.store, request, timeout_s=60.0)
    return answer


def signed(operator: Operator, command: str, **args: Any) -> tuple[str, bytes]:
    return operator.order(command, args, SystemClock().now_ms())


def counter(site: RelaySite) -> int:
    with reader.opened(site.store) as store:
        return int(store.state().get("remote/counter/ops-2026", b"0"))


async def audit(site: RelaySite, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(*GATEWAY, "audit", *arguments, "--config", str(site.config)), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


RULE = """format: rules/1
rules:
- {id: warm, when: "heat.setpoint >= 21 °C", priority: low, message: {zh: 偏热, en: warm}}
"""


def test_a_signed_command_goes_all_the_way_and_a_removed_key_does_not(tmp_path: Path) -> None:
    old, new = Operator("jiayuan", "gw1"), Operator("jiayuan", "gw1", key="ops-2027")

    async def main() -> None:
        async with relay_site(tmp_path, remote_section(old, new)) as site, AsyncExitStack() as stack:
            (site.config / "rules").mkdir()
            (site.config / "rules" / "warm.yaml").write_text(RULE, encoding="utf-8")
            await stack.enter_async_context(Child((*DAEMON, "run", "--config", str(site.config)), tmp_path / "log"))
            await running(site.store)
            await polled(site, HEATER)
            envelope = signed(old, "write", point="heat.setpoint", value=21.5, reason="night")
            answer = await order(site, envelope)
            assert (answer["status"], answer["code"], answer["result"]) == ("ok", "confirmed", {"read_back": 21.5})
            assert await order(site, envelope) == answer
            answer = await order(site, signed(old, "write", point="board.relay1", value=True, reason="x"))
            assert (answer["status"], answer["code"]) == ("rejected", "door")
            answer = await order(site, signed(old, "read", points=["heat.setpoint", "board.relay1"]))
            assert [(item["p"], item["v"]) for item in answer["result"]] == [
                ("board.relay1", False), ("heat.setpoint", 21.5)
            ]  # fmt: skip
            answer = await order(site, signed(old, "alarm.acknowledge", rule="nothing"))
            assert (answer["status"], answer["code"]) == ("rejected", "unknown_alarm")
            async with asyncio.timeout(60):
                while not await local_api.ask(site.store, {"op": "alarms"}):
                    await asyncio.sleep(0.05)
            answer = await order(site, signed(old, "alarm.acknowledge", rule="warm"))
            assert (answer["status"], answer["result"]["state"]) == ("ok", "acked")
            await local_api.ask(site.store, {"op": "acknowledge", "rule": "warm", "who": "li"})
            # the key goes, and is refused as soon as that is loaded
            change(site, remote_section(old, new), remote_section(new))
            answer = await order(site, signed(old, "reload"))
            assert answer["status"] == "ok"
            async with asyncio.timeout(60):
                while (await said(site, signed(old, "time")))[1] != "unknown_key":
                    await asyncio.sleep(0.1)
            assert await said(site, signed(new, "time")) == ("ok", "done")
            change(site, "remote:", "remoat:")
            answer = await order(site, signed(new, "reload"))
            assert (answer["status"], answer["code"]) == ("failed", "invalid")
            assert "remoat" in answer["detail"]
            assert await said(site, signed(new, "time")) == ("ok", "done"), "the old configuration stays"
            change(site, "remoat:", "remote:")
            code, out = await audit(site, "verify", "--json")
            assert (code, json.loads(out)["ok"]) == (0, True), out
            code, out = await audit(site, "show", "--json")
            entries = [json.loads(line) for line in out.splitlines()]
            kinds = [entry["kind"] for entry in entries]
            seen = [(entry["who"], entry["what"]["rule"]) for entry in entries if entry["kind"] == "alarm.acknowledged"]
            assert seen == [("ops-2026", "warm"), ("li", "warm")]
            assert kinds[:4] == ["remote.accepted", "command.requested", "command.done", "remote.done"]
            assert "remote.refused" in kinds
            assert len(site.writes()) == 1
        code, out = await audit(site, "verify", "--json")
        found = json.loads(out)
        assert (code, found["ok"], found["unanchored"]) == (0, True, 0), "a daemon that stops in order anchors all"

    async def said(site: RelaySite, envelope: tuple[str, bytes]) -> tuple[str, str]:
        try:
            answer = await order(site, envelope)
        except local_api.NotRunning:
            return "", ""
        return answer["status"], answer["code"]

    asyncio.run(main())


async def killed_between_store_and_act(directory: Path, count: int) -> None:
    """Each round: the last round's command again, then a new one that gets as far as the disk."""
    operator = Operator("jiayuan", "gw1")
    kept: list[tuple[str, bytes]] = []
    rng = random.Random(count)
    async with relay_site(directory, SILENT_DEVICE + remote_section(operator)) as site:
        argv = (*DAEMON, "run", "--config", str(site.config))
        for number in range(1, count + 1):
            since = len(site.requests)
            async with Child(argv, directory / "log") as daemon:
                await running(site.store)
                for envelope in kept[-3:]:
                    answer = await order(site, envelope)
                    assert (answer["status"], answer["code"]) in {("rejected", "counter"), ("expired", "expired")}
                await polled(site, DEAF, since)  # for 20 s nobody gets a turn
                kept.append(signed(operator, "write", point="heat.setpoint", value=21.5, reason="trial"))
                asking = asyncio.ensure_future(order(site, kept[-1]))
                async with asyncio.timeout(15):
                    while counter(site) < number:
                        await asyncio.sleep(0.01)
                await asyncio.sleep(rng.choice([0.0, 0.0, 0.01, 0.05]))
                await daemon.kill()
                await asyncio.gather(asking, return_exceptions=True)
        change(site, SILENT_DEVICE, "")
        async with Child(argv, directory / "log"):
            await running(site.store)
            for _ in range(3):
                await polled(site, BOARD, len(site.requests))
            for envelope in kept:
                assert (await order(site, envelope))["status"] in {"rejected", "expired"}
        assert site.writes() == []
        code, out = await audit(site, "verify", "--json")
        assert (code, json.loads(out)["findings"]) == (0, [])


def test_what_a_killed_daemon_had_accepted_is_never_done(tmp_path: Path) -> None:
    asyncio.run(killed_between_store_and_act(tmp_path, 5))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_a_killed_daemon_had_accepted_is_never_done_a_hundred_times(tmp_path: Path) -> None:
    asyncio.run(killed_between_store_and_act(tmp_path, 100))


def test_a_daemon_that_is_killed_while_a_door_is_open_closes_it_when_it_starts(tmp_path: Path) -> None:
    operator = Operator("jiayuan", "gw1")

    async def main() -> None:
        async with relay_site(tmp_path, remote_section(operator)) as site:
            argv = (*DAEMON, "run", "--config", str(site.config))
            async with Child(argv, tmp_path / "log") as daemon:
                await running(site.store)
                await polled(site, BOARD)
                asking = await released(site, operator)
                await daemon.kill()
                await asyncio.gather(asking, return_exceptions=True)
            assert site.writes() == [(BOARD, ON)]
            async with Child(argv, tmp_path / "log") as daemon:
                await switched(site, 0)
                assert site.writes() == [(BOARD, ON), (BOARD, OFF)]
                async with asyncio.timeout(60):
                    while pulses(site):
                        await asyncio.sleep(0.05)
                # and in its right order it stays open for its moment, or until the daemon stops
                asking = await released(site, operator)
                assert await daemon.stop() == 0
                await asyncio.gather(asking, return_exceptions=True)
            assert site.writes()[2:] == [(BOARD, ON), (BOARD, OFF)]
            assert site.coil(0) == 0
            assert not pulses(site)

    asyncio.run(main())


def pulses(site: RelaySite) -> list[str]:
    with reader.opened(site.store) as store:
        return [key for key in store.state() if key.startswith("remote/pulse/")]


async def released(site: RelaySite, operator: Operator) -> asyncio.Task[Mapping[str, Any]]:
    """Who is asking for it, while the relay is on; asked again while the relay has hardly settled."""
    async with asyncio.timeout(60):
        while True:
            envelope = signed(operator, "door.release", point="board.relay1", reason="courier")
            asking = asyncio.create_task(order(site, envelope))
            while not asking.done():
                if site.coil(0) == 1:
                    return asking
                await asyncio.sleep(0.01)
            assert asking.result()["code"] == "too_soon", asking.result()
            await asyncio.sleep(0.2)


async def switched(site: RelaySite, value: int) -> None:
    async with asyncio.timeout(60):
        while site.coil(0) != value:
            await asyncio.sleep(0.01)
