"""A real daemon is given configurations from afar: it takes the good ones and comes back from all the others.

A real mosquitto, a simulated sensor on Modbus TCP, and the signed document over the local socket, as ``gateway config
apply`` brings it; over MQTT it is the same document.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from drivers.modbus.config import Table
from drivers.modbus.simulator import ModbusBank, SimUnit
from gateway import local_api
from gateway.cli.config import command as config_command
from gateway.sim import tcp
from gateway.sim.faults import FaultBoard
from gateway.sim.process import Child
from gateway.store.reader import opened
from support.broker import Broker, broker, free_port
from support.remote_site import RULES, files, site_yaml, uplink, write
from support.sealed import STRANGER, document

pytestmark = pytest.mark.system

TESTS = Path(__file__).parents[1]
WINDOW_S = 6.0
LONG_WINDOW_S = 600.0


@dataclass
class Rig:
    directory: Path
    port: int
    """Of the sensor."""
    broker: Broker

    @property
    def config(self) -> Path:
        return self.directory / "config"

    @property
    def store(self) -> Path:
        return self.directory / "store"

    def daemon(self, window_s: float = WINDOW_S) -> Child:
        argv = (sys.executable, "-m", "support.configured_daemon", str(self.config), str(window_s))
        env = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
        return Child(argv, self.directory / "daemon.log", env=env)

    def site(self, port: int | None = None, **more: Any) -> str:
        return site_yaml(port or self.port, **{"uplinks": uplink(self.broker.port), **more})

    def starts(self) -> int:
        text = (self.directory / "daemon.log").read_text(encoding="utf-8")
        return sum('"event": "running"' in line for line in text.splitlines())

    async def started(self, times: int) -> None:
        async with asyncio.timeout(60):
            while self.starts() < times:
                await asyncio.sleep(0.02)

    async def ask(self, request: Mapping[str, Any]) -> Any:
        """Through a restart, too."""
        async with asyncio.timeout(60):
            while True:
                try:
                    return await local_api.ask(self.store, request)
                except local_api.NotRunning:
                    await asyncio.sleep(0.05)

    async def reported(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.ask({"op": "config"})
        return found

    async def apply(self, body: bytes) -> dict[str, Any]:
        """What is said of it at once; a good one is on trial then, or just before."""
        found: dict[str, Any] = await local_api.ask(self.store, {"op": "config_apply", "document": body.decode()})
        return found

    async def until(self, state: str, version: int | None) -> dict[str, Any]:
        async with asyncio.timeout(90):
            while True:
                found = await self.reported()
                if (found["state"], found["version"]) == (state, version):
                    return found
                await asyncio.sleep(0.1)

    async def well(self, name: str = "probe-1") -> None:
        """The device is good and the uplink connected."""
        async with asyncio.timeout(60):
            while True:
                points = await self.ask({"op": "points", "device": name})
                status = await self.ask({"op": "status"})
                connected = [each["connected"] for each in status["uplinks"].values()]
                if [item["q"] for item in points] == ["good"] and connected == [True]:
                    return
                await asyncio.sleep(0.05)

    def events(self, kind: str = "config.") -> list[dict[str, Any]]:
        """Whose kind begins so, of a daemon that has ended."""
        with closing(sqlite3.connect(self.store / "store.db")) as store:
            rows = store.execute("SELECT items FROM event ORDER BY seq").fetchall()
        return [event for (items,) in rows for event in json.loads(items) if event["kind"].startswith(kind)]


@asynccontextmanager
async def rig(directory: Path) -> AsyncIterator[Rig]:
    unit = SimUnit()
    unit.tables[Table.HOLDING][0] = 123
    async with (
        broker(directory / "broker") as running,
        tcp.serve(ModbusBank({1: unit, 2: unit}), {1: "probe-1", 2: "probe-2"}, "net", FaultBoard()) as port,
    ):
        found = Rig(directory, port, running)
        write(found.config, files(found.site()))
        yield found


async def call(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli.main", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def test_a_good_document_is_tried_confirmed_and_kept_and_a_local_edit_takes_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as site:
            second = "- {id: probe-2, profile: probe, line: net, unit_id: 2, timeout: 500ms}\n"
            body = document(5, files(site.site(devices=second)), packed=True)
            before = (site.config / "site.yaml").read_bytes()
            async with site.daemon() as daemon:
                await site.well()
                assert (await site.reported())["running"]["source"] == "local"
                assert (await site.apply(body))["state"] in ("on_trial", "running")
                found = await site.until("running", 5)
                assert found["running"] == {"version": 5, "digest": found["digest"], "source": "remote"}
                await site.well("probe-2")
                code, out, err = await call("read", "probe-2.level", "--config", str(site.config), "--json")
                assert (code, json.loads(out)["readings"][0]["v"]) == (0, 12.3), err
                assert (await site.apply(body))["state"] == "running", "the same again is answered, nothing is done"
                assert site.starts() == 2
                await daemon.kill()
            assert (site.config / "site.yaml").read_bytes() == before, "the local configuration is never written to"
            async with site.daemon() as daemon:
                await site.well("probe-2")
                assert (await site.reported())["state"] == "running"
                text = site.site(name="Edited here")
                (site.config / "site.yaml").write_text(text[:100], encoding="utf-8")
                os.kill(daemon.pid, signal.SIGHUP)
                await site.well("probe-2")
                assert (await site.reported())["running"]["version"] == 5, "half an edit changes nothing"
                (site.config / "site.yaml").write_text(text, encoding="utf-8")
                os.kill(daemon.pid, signal.SIGHUP)
                found = await site.until("rolled_back", 5)
                assert (found["code"], found["running"]["source"]) == ("local_edit", "local")
                assert (await site.apply(body))["state"] == "rolled_back", "it does not come back by itself"
                assert await daemon.stop() == 0
            kinds = [(event["kind"], event["attributes"]["version"]) for event in site.events()]
            assert kinds == [("config.on_trial", 5), ("config.applied", 5), ("config.rolled_back", 5)]

    asyncio.run(main())


def test_at_the_box_a_document_is_applied_looked_at_and_taken_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as site, site.daemon(LONG_WINDOW_S) as daemon:

            async def typed(*arguments: str) -> tuple[int, str, str]:
                done = await asyncio.to_thread(
                    CliRunner().invoke, config_command, [*arguments, "--config", str(site.config)]
                )
                return done.exit_code, done.stdout, done.stderr

            await site.well()
            assert (await typed("history", "--lang", "en"))[1] == "no configuration has come from afar\n"
            assert "no difference" in (await typed("diff", "--lang", "en"))[1]
            carried = tmp_path / "carried.json"
            carried.write_bytes(document(1, files(site.site(), rules=RULES.replace("level >", "levle >"))))
            code, out, _ = await typed("apply", str(carried), "--lang", "zh")
            assert (code, "被拒绝" in out, "rules/water.yaml:5:9: E-POINT" in out) == (1, True, True)
            carried.write_bytes(document(2, files(site.site(name="Carried"))))
            code, out, _ = await typed("apply", str(carried), "--json")
            assert (code, json.loads(out)["state"]) == (0, "on_trial")
            await site.started(2)
            await site.well()
            code, out, _ = await typed("show", "--lang", "en")
            assert code == 0
            assert "version 2 from afar is running" in out
            assert "on trial" in out
            code, out, _ = await typed("diff")
            assert [line[:1] for line in out.splitlines() if "佳园" in line] == ["-", "+"]
            code, _, err = await typed("apply", str(carried), "--lang", "en")
            assert (code, "on trial" in err) == (1, True)
            code, out, _ = await typed("rollback", "--reason", "not asked for", "--by", "li", "--lang", "en")
            assert (code, "rolled back here by li: not asked for" in out) == (0, True)
            await site.started(3)
            await site.well()
            history = json.loads((await typed("history", "--json"))[1])["history"]
            assert [each["state"] for each in history] == ["rejected", "on_trial", "rolled_back"]
            code, _, err = await typed("rollback", "--reason", "x", "--lang", "en")
            assert (code, "nothing to go back to" in err) == (1, True)
            assert await daemon.stop() == 0
            assert (await typed("show", "--lang", "en"))[::2] == (1, "the daemon is not running\n")

    asyncio.run(main())


def test_bad_documents_leave_the_running_one_alone_and_say_where_they_are_wrong(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as site, site.daemon() as daemon:
            await site.well()
            good = site.site()
            wrong = {
                1: (files(good.replace("lines: [", "lines: [[")), "site.yaml", 7, "E-YAML"),
                2: (files(good, rules=RULES.replace("level >", "levle >")), "rules/water.yaml", 5, "E-POINT"),
                3: (files(good.replace("profile: probe", "profile: prob")), "site.yaml", 8, "E-REF"),
                4: (files(good[: len(good) - 30]), "site.yaml", 8, "E-YAML"),
            }
            for version, (content, file, line, code) in wrong.items():
                found = await site.apply(document(version, content))
                assert (found["state"], found["version"], found["code"]) == ("rejected", version, "faults"), found
                fault = found["faults"][0]
                assert (fault["file"], fault["line"], fault["code"]) == (file, line, code)
                assert fault["column"] >= 1
                assert fault["message"]["zh"]
                assert fault["message"]["en"]
                assert found["running"]["source"] == "local"
            found = await site.apply(document(9, files(good), private=STRANGER))
            assert (found["state"], found["version"], found["code"]) == ("rejected", None, "bad_signature")
            assert site.starts() == 1
            assert list((site.store / "config" / "versions").iterdir()) == []
            assert await daemon.stop() == 0
            assert [event["attributes"]["code"] for event in site.events()] == ["faults"] * 4 + ["bad_signature"]

    asyncio.run(main())


def test_a_document_that_loses_the_device_or_the_uplink_is_taken_back_with_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as site, site.daemon() as daemon:
            await site.well()
            await site.apply(document(3, files(site.site(port=free_port()))))
            found = await site.until("rolled_back", 3)
            assert found["code"] == "devices"
            assert "probe-1" in found["reason"]["en"]
            assert found["running"]["source"] == "local"
            await site.well()
            await site.apply(document(4, files(site.site(uplinks=uplink(free_port())))))
            found = await site.until("rolled_back", 4)
            assert (found["code"], "platform" in found["reason"]["zh"]) == ("uplink", True)
            await site.well()
            for version in (1, 3, 4):
                again = await site.apply(document(version, files(site.site(name="Replayed"))))
                assert (again["state"], again["code"]) == ("rejected", "version")
            assert await daemon.stop() == 0
            assert [(event["kind"], event["attributes"]["code"]) for event in site.events()][:4] == [
                ("config.on_trial", ""), ("config.rolled_back", "devices"),
                ("config.on_trial", ""), ("config.rolled_back", "uplink"),
            ]  # fmt: skip

    asyncio.run(main())


def test_a_daemon_that_dies_twice_in_the_window_comes_back_with_the_old_configuration(tmp_path: Path) -> None:
    async def main() -> None:
        async with rig(tmp_path) as site:
            async with site.daemon(LONG_WINDOW_S) as daemon:
                await site.well()
                await site.apply(document(8, files(site.site(name="Deadly"))))
                await site.started(2)
                await site.well()
                await daemon.kill()
            async with site.daemon(LONG_WINDOW_S) as daemon:
                assert (await site.until("on_trial", 8))["running"]["version"] == 8, "once may be the power"
                await daemon.kill()
            async with site.daemon(LONG_WINDOW_S) as daemon:
                found = await site.until("rolled_back", 8)
                assert (found["code"], found["running"]["source"]) == ("crash", "local")
                await site.well()
                assert await daemon.stop() == 0
            assert [event["kind"] for event in site.events()] == ["config.on_trial", "config.rolled_back"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "times", [pytest.param(20), pytest.param(500, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_reloading_often_leaks_no_descriptor_and_loses_nothing(tmp_path: Path, times: int) -> None:
    async def main() -> None:
        async with rig(tmp_path) as site, site.daemon() as daemon:
            await site.well()
            before = len(os.listdir(f"/proc/{daemon.pid}/fd"))
            for number in range(times):
                started = site.starts()
                os.kill(daemon.pid, signal.SIGHUP)
                await site.started(started + 1)
                assert daemon.running, (number, daemon.last_words())
            await site.well()
            async with asyncio.timeout(20):  # the daemon may still be closing the connection we asked over
                while len(os.listdir(f"/proc/{daemon.pid}/fd")) > before:
                    await asyncio.sleep(0.05)
            assert await daemon.stop() == 0
            kinds = [event["kind"] for event in site.events("gateway.")]
            assert kinds == ["gateway.started"] * (times + 1)
            with opened(site.store) as store:
                assert list(store.verify(lambda lane, rows: None)) == []

    asyncio.run(main())
