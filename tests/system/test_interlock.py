"""An interlock and the real daemon: the valve closes, stays closed, and nothing but people opens it again."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from drivers.modbus.config import Table
from gateway import local_api
from gateway.cli.alarms import explained
from gateway.cli.common import Shell
from gateway.sim.process import Child
from support.relay_site import BOARD, HEATER, RelaySite, relay_site

pytestmark = pytest.mark.system

GATEWAY = (sys.executable, "-m", "gateway.cli.main")
RULE = """format: rules/1
rules:
- id: gas
  name: {zh: 燃气, en: Gas}
  when: heat.setpoint >= 25 °C
  priority: critical
  latch: true
  reset: {reason: required}
  shelve: never
  on_alarm:
  - {send: board.close, hold: true, confirm: {point: board.relay1, is: true, within: 5s}, tries: 3}
  response: {zh: 疏散, en: Evacuate, within: 2 min}
"""


async def until(what: Callable[[], bool], why: str) -> None:
    try:
        async with asyncio.timeout(60):
            while not what():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"still waiting: {why}")


def concentration(site: RelaySite, value: int) -> None:
    site.bank.units[HEATER].tables[Table.HOLDING][0] = value


def valve(site: RelaySite, closed: bool) -> None:
    """Somebody turns it by hand."""
    site.bank.units[BOARD].tables[Table.COIL][0] = int(closed)


async def alarm(site: RelaySite) -> str:
    found = await local_api.ask(site.store, {"op": "explain", "rule": "gas"})
    return str(found["state"])


async def reached(site: RelaySite, state: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if await alarm(site) == state:
                    return
            except local_api.NotRunning:
                pass
            await asyncio.sleep(0.05)


async def call(site: RelaySite, *arguments: str) -> tuple[int, Any]:
    process = await asyncio.create_subprocess_exec(
        *(*GATEWAY, *arguments, "--config", str(site.config), "--json", "--lang", "en"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    found = [json.loads(line) for line in out.splitlines()] if arguments[0] == "audit" else json.loads(out or b"null")
    return process.returncode, found if out else err.decode()


def test_gas_closes_the_valve_and_only_a_reset_lets_people_open_it_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with relay_site(tmp_path) as site, AsyncExitStack() as stack:
            text = (site.config / "site.yaml").read_text(encoding="utf-8")
            allowed = "allow_write: [relay1]\n  actions: {close: {point: relay1, value: true}}"
            (site.config / "site.yaml").write_text(text.replace("allow_write: [relay1]", allowed), encoding="utf-8")
            (site.config / "rules").mkdir()
            (site.config / "rules" / "gas.yaml").write_text(RULE, encoding="utf-8")
            command = (*GATEWAY, "run", "--config", str(site.config))
            daemon = await stack.enter_async_context(Child(command, tmp_path / "log"))
            await reached(site, "normal")

            code, tried = await call(site, "rules", "test-fire", "gas", "--reason", "commissioning")
            assert (code, tried["sent"], site.coil(0)) == (0, ["board.close"], 0), "without --output nothing moves"
            code, tried = await call(site, "rules", "test-fire", "gas", "--reason", "permit 7", "--output", "--yes")
            assert (code, tried["confirmed"], site.coil(0)) == (0, ["board.close"], 1)
            code, _ = await call(site, "write", "board.relay1", "off", "--reason", "test over", "--yes")
            assert (code, site.coil(0)) == (0, 0)
            assert await alarm(site) == "normal"

            concentration(site, 300)
            await until(lambda: site.coil(0) == 1, "the valve is closed")
            await reached(site, "unack")
            code, refused = await call(site, "alarms", "shelve", "gas", "--for", "10min")
            assert (code, "never" in refused) == (1, True)
            code, refused = await call(site, "write", "board.relay1", "off", "--reason", "smells", "--yes")
            assert (code, refused["code"]) == (1, "interlock"), refused

            valve(site, closed=False)
            await until(lambda: site.coil(0) == 1, "it is closed again although somebody has opened it")

            await daemon.kill()
            valve(site, closed=False)
            daemon = await stack.enter_async_context(Child(command, tmp_path / "log"))
            await until(lambda: site.coil(0) == 1, "a daemon that was killed holds it all the same")

            writes = len(site.writes())
            assert await daemon.stop() == 0
            assert (site.coil(0), len(site.writes())) == (1, writes), "a daemon that is stopped leaves it as it is"
            valve(site, closed=False)
            await stack.enter_async_context(Child(command, tmp_path / "log"))
            await until(lambda: site.coil(0) == 1, "and takes the hold up again")

            concentration(site, 205)
            await reached(site, "latched_unack")
            code, refused = await call(site, "alarms", "reset", "gas", "--reason", "aired")
            assert (code, "not over and acknowledged" in refused) == (1, True)
            code, _ = await call(site, "alarms", "ack", "gas")
            assert code == 0
            code, refused = await call(site, "alarms", "reset", "gas")
            assert (code, "no reason" in refused) == (1, True)
            writes = len(site.writes())
            code, after = await call(site, "alarms", "reset", "gas", "--reason", "aired", "--by", "li")
            assert (code, after["state"]) == (0, "normal")
            await asyncio.sleep(2.0)  # two polls of the board: nothing opens by itself
            assert (site.coil(0), len(site.writes())) == (1, writes)
            code, done = await call(site, "write", "board.relay1", "off", "--reason", "aired, opened by hand", "--yes")
            assert (code, done["code"]) == (0, "confirmed")
            assert site.coil(0) == 0

            code, told = await call(site, "audit", "show")
            assert code == 0
            kinds = {entry["kind"] for entry in told}
            assert {"alarm.acknowledged", "alarm.reset", "command.done", "rule.test_fired"} <= kinds
            code, found = await call(site, "alarms", "explain", "gas")
            assert (found["proof"]["with_output"], found["proof"]["failed"]) == (True, []), "it survived the kill"
            (line,) = explained({**found, "proof": None}, Shell(Path(), False, "en"))[-1:]
            assert line == "  its actions were never tried"
            (line,) = explained(found, Shell(Path(), False, "en"))[-1:]
            assert line.startswith("  last tried ")
            assert line.endswith(" (moved): fine")

    asyncio.run(main())
