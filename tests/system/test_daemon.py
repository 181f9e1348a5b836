"""The daemon as systemd and a technician meet it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.dlt645.frame import READ_ADDRESS, Frame, find_frame
from gateway import local_api
from gateway.sim import site
from gateway.sim.compound import Compound
from gateway.sim.process import Child
from gateway.sim.world import Layout

pytestmark = pytest.mark.system


def gateway(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "gateway.cli.main", *arguments)


@asynccontextmanager
async def compound(directory: Path) -> AsyncIterator[Compound]:
    async with Compound(Layout(buildings=1, entrances=1, households=2)) as running:
        site.write(running, directory / "config", directory / "store", None)
        yield running


async def call(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *gateway(*arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def status(store: Path) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            try:
                answer: dict[str, Any] = await local_api.ask(store, {"op": "status"})
            except local_api.NotRunning:
                await asyncio.sleep(0.05)
            else:
                return answer


def test_systemd_hears_ready_and_stopping_and_a_second_daemon_is_turned_away(tmp_path: Path) -> None:
    heard: list[str] = []

    async def main() -> None:
        config = str(tmp_path / "config")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(tmp_path / "notify"))
            listener.setblocking(False)
            loop = asyncio.get_running_loop()
            env = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
            async with (
                compound(tmp_path),
                Child(gateway("run", "--config", config), tmp_path / "log", env=env) as daemon,
            ):
                async with asyncio.timeout(30):
                    heard.append((await loop.sock_recv(listener, 100)).decode())
                    heard.append((await loop.sock_recv(listener, 100)).decode())
                code, _, err = await call("run", "--config", config, "--lang", "en")
                assert code == 1
                assert "in use" in err
                assert (await status(tmp_path / "store"))["accepted"] > 0, "the first one is unhurt"
                assert await daemon.stop() == 0
            while True:
                try:
                    heard.append(listener.recv(100).decode())
                except BlockingIOError:
                    break

    asyncio.run(main())
    assert heard[:2] == ["READY=1", "WATCHDOG=1"]
    assert heard[-1] == "STOPPING=1"


def test_a_point_is_read_through_the_daemon_and_directly_when_it_is_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        config = str(tmp_path / "config")
        wanted = ("read", "m-1-1-101.energy", "m-1-1-102.voltage", "--config", config, "--json")
        async with compound(tmp_path):
            code, out, err = await call(*wanted)
            assert (code, [item["q"] for item in json.loads(out)["readings"]]) == (0, ["good", "good"]), err
            assert "not running" in err
            async with Child(gateway("run", "--config", config), tmp_path / "log"):
                await status(tmp_path / "store")
                code, out, err = await call(*wanted)
                readings = json.loads(out)["readings"]
                assert (code, err) == (0, "")
                assert [item["p"] for item in readings] == ["m-1-1-101.energy", "m-1-1-102.voltage"]
                assert readings[0]["u"] == "kW.h"
                code, out, err = await call("read", "m-1-1-101.enrgy", "bm-1", "--config", config, "--lang", "en")
                assert (code, out) == (2, "")
                assert "m-1-1-101.enrgy" in err
                assert "m-1-1-101.energy" in err, "what was meant"
                assert "--device bm-1" in err

    asyncio.run(main())


def test_a_silent_device_is_a_bad_reading_and_exit_code_1(tmp_path: Path) -> None:
    async def main() -> None:
        async with compound(tmp_path) as field:
            field.faults.kill_line(field.meter_lines[0], dead=True)
            code, out, _ = await call("read", "m-1-1-101.energy", "--config", str(tmp_path / "config"), "--json")
            (item,) = json.loads(out)["readings"]
            assert (code, item["q"], item["r"], item["v"]) == (1, "bad", "no_answer", None)

    asyncio.run(main())


def test_a_broken_configuration_is_refused_with_the_words_of_check_and_every_device_may_be_absent(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        config = tmp_path / "config"
        async with compound(tmp_path):
            pass
        # The compound is gone: no port, no pty, nobody listens.  The daemon runs all the same.
        text = (config / "site.yaml").read_text(encoding="utf-8")
        (config / "site.yaml").write_text(text.replace("/dev/pts/", "/dev/unplugged/"), encoding="utf-8")
        async with Child(gateway("run", "--config", str(config)), tmp_path / "log") as daemon:
            lines = (await status(tmp_path / "store"))["lines"]
            assert lines
            assert not any(line["open"] for line in lines.values())
            assert await daemon.stop() == 0
        text = (config / "site.yaml").read_text(encoding="utf-8")
        (config / "site.yaml").write_text(
            text.replace("profile: dlt645_single_phase", "profile: dlt645_singel_phase", 1)
        )
        checked = await call("check", "--config", str(config), "--lang", "en")
        refused = await call("run", "--config", str(config), "--lang", "en")
        assert (checked[0], refused[0]) == (78, 78)
        assert "dlt645_single_phase" in refused[2], "did you mean"
        place = next(line for line in refused[2].splitlines() if "E-REF" in line)
        assert place in checked[1] + checked[2]

    asyncio.run(main())


def test_sighup_takes_a_valid_configuration_and_refuses_a_broken_one(tmp_path: Path) -> None:
    async def main() -> None:
        config, store = tmp_path / "config", tmp_path / "store"
        async with compound(tmp_path), Child(gateway("run", "--config", str(config)), tmp_path / "log") as daemon:
            before = await status(store)
            good = (config / "site.yaml").read_text(encoding="utf-8")
            (config / "site.yaml").write_text("format: site/1\nsite: [\n")
            os.kill(daemon.pid, signal.SIGHUP)
            await asyncio.sleep(1.0)
            assert (await status(store))["uptime_s"] > before["uptime_s"], "the old configuration goes on"
            (config / "site.yaml").write_text(good.replace("Virtual compound", "Another compound"), encoding="utf-8")
            os.kill(daemon.pid, signal.SIGHUP)
            async with asyncio.timeout(20):
                while (await status(store))["uptime_s"] > 1.0:
                    await asyncio.sleep(0.1)
            assert daemon.running
            assert await daemon.stop() == 0

    asyncio.run(main())


def test_the_demonstration_ends_with_the_contracts_document_and_leaves_nothing_behind(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    command = gateway("demo", "--duration", "12", "--households", "2", "--buildings", "1", "--entrances", "1", "--json")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result) == [
        "scenario", "devices", "readings_committed", "envelopes_acknowledged", "alarms_raised", "lost"
    ]  # fmt: skip
    assert result["lost"] == 0
    assert result["devices"] > 2 + 2 + 1 + 1 + 2
    assert result["readings_committed"] > 50
    assert result["envelopes_acknowledged"] > 5
    assert list(tmp_path.iterdir()) == []
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout
    assert left == "", "a process was left behind"


def test_an_alarm_and_its_acknowledgement_survive_kill_9(tmp_path: Path) -> None:
    async def alarms(config: str) -> list[dict[str, Any]]:
        code, out, err = await call("alarms", "list", "--config", config, "--json")
        assert code == 0, err
        found: list[dict[str, Any]] = json.loads(out)["alarms"]
        return [alarm for alarm in found if alarm["state"] != "pending"]

    async def main() -> None:
        config, store = str(tmp_path / "config"), tmp_path / "store"
        command = gateway("run", "--config", config)
        async with compound(tmp_path) as field:
            async with Child(command, tmp_path / "log") as daemon:
                await status(store)
                field.leak_gas(0, peak_lel=30.0, rise_s=1.0, hold_s=120.0, fall_s=1.0)
                async with asyncio.timeout(40):
                    while not await alarms(config):
                        await asyncio.sleep(0.5)
                await daemon.kill()
            async with Child(command, tmp_path / "log") as daemon:
                await status(store)
                (alarm,) = await alarms(config)
                assert (alarm["rule"], alarm["device"], alarm["state"], alarm["count"]) == (
                    "gas_controller_high", "gas-1", "unack", 1
                )  # fmt: skip
                code, _, err = await call(
                    "alarms", "ack", "gas_controller_high@gas-1", "--by", "li", "--config", config
                )
                assert code == 0, err
                code, _, err = await call("alarms", "ack", "gas_hihg", "--config", config, "--lang", "en")
                assert (code, "no alarm gas_hihg" in err) == (1, True)
                await asyncio.sleep(0.5)  # the acknowledgement is on disk
                await daemon.kill()
            async with Child(command, tmp_path / "log") as daemon:
                await status(store)
                (alarm,) = await alarms(config)
                assert (alarm["state"], alarm["acked_by"], alarm["count"]) == ("acked", "li", 1)
                assert await daemon.stop() == 0
            code, _, err = await call("alarms", "list", "--config", config, "--lang", "en")
            assert (code, "not running" in err) == (1, True)

    asyncio.run(main())


def test_whoever_asks_from_outside_gets_lines_bytes_and_figures_while_polling_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        store = tmp_path / "store"
        async with (
            compound(tmp_path) as field,
            Child(gateway("run", "--config", str(tmp_path / "config")), tmp_path / "log"),
        ):
            await status(store)
            lines = {line["id"]: line for line in await local_api.ask(store, {"op": "lines"})}
            meters = lines[field.meter_lines[0]]
            assert meters["format"] == [2400, "E", 8, 1]
            assert meters["serial"] == field.serial[meters["id"]].path
            assert set(meters["devices"]) == {"m-1-1-101", "m-1-1-102"}

            begun = await local_api.ask(store, {"op": "tap", "line": meters["id"], "after": None})
            address = site.document(field, store, None)["devices"][0]["address"]
            question = Frame(address, READ_ADDRESS).to_bytes(4)
            asked = {
                "op": "exchange",
                "line": meters["id"],
                "request": question.hex(),
                "timeout_s": 1.5,
                "silence_s": 0.2,
            }
            answer = bytes.fromhex((await local_api.ask(store, asked))["answer"])
            found = find_frame(answer)
            assert found is not None
            assert found[0].address == address
            overheard = await local_api.ask(store, {"op": "tap", "line": meters["id"], "after": begun["next"]})
            assert overheard["lost"] == 0
            assert ["tx", question.hex()] in [record[1:] for record in overheard["records"]]

            with pytest.raises(local_api.Refused, match="no line 'nowhere'"):
                await local_api.ask(store, {**asked, "line": "nowhere"})
            with pytest.raises(local_api.Refused, match="request"):
                await local_api.ask(store, {**asked, "request": "not hex"})
            with pytest.raises(local_api.Refused, match="timeout_s"):
                await local_api.ask(store, {**asked, "timeout_s": 3600.0})

            async with asyncio.timeout(60):
                while (line := (await status(store))["lines"][meters["id"]])["devices"]["m-1-1-101"]["p50_s"] is None:
                    await asyncio.sleep(0.2)
            assert 0.0 < line["busy_1m"] <= 1.0
            assert line["devices"]["m-1-1-101"]["cost_s"] > 0.0
            latest = await local_api.ask(store, {"op": "points", "device": "m-1-1-101"})
            assert {item["p"].partition(".")[0] for item in latest} == {"m-1-1-101"}
            assert any(item["p"].endswith(".energy") and item["q"] == "good" for item in latest)

    asyncio.run(main())


def test_a_meter_that_is_not_the_registered_one_is_an_alarm_and_none_of_its_values_is_good(tmp_path: Path) -> None:
    async def main() -> None:
        config, store = tmp_path / "config", tmp_path / "store"
        async with compound(tmp_path):
            text = (config / "site.yaml").read_text(encoding="utf-8")
            (config / "site.yaml").write_text(
                text.replace("  profile: eastron_sdm630\n", '  profile: eastron_sdm630\n  serial_number: "00000001"\n'),
                encoding="utf-8",
            )
            async with Child(gateway("run", "--config", str(config)), tmp_path / "log") as daemon:
                await status(store)
                async with asyncio.timeout(30):
                    while True:
                        alarms = await local_api.ask(store, {"op": "alarms"})
                        if [each["state"] for each in alarms if each["rule"] == "device_changed"] == ["unack"]:
                            break
                        assert daemon.running, daemon.last_words()
                        await asyncio.sleep(0.1)
                points = {item["p"]: item for item in await local_api.ask(store, {"op": "points", "device": "bm-1"})}
                assert points.pop("bm-1.identity_check")["v"] == "changed"
                assert points.pop("bm-1.serial_number")["q"] == "good"
                assert {(item["q"], item.get("r")) for item in points.values()} == {("uncertain", "wrong_device")}
                code, out, _ = await call("alarms", "list", "--config", str(config), "--lang", "en")
                assert code == 0
                assert "bm-1" in out
                assert "serial number" in out

    asyncio.run(main())
