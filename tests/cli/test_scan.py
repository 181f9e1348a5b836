from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest
import serial
from click.testing import CliRunner, Result

from cli.field import SDM_TEXT, call, configured
from commission.fake_daemon import FakeDaemon, running
from commission.toy import answers_of, rtu, speed_of, units
from drivers import registry
from drivers.base import SerialFormat
from drivers.transport import SerialLink
from drivers_contract.wire import PtyWire, pty_wire, tcp_wire
from gateway.cli.check import command as check_command
from gateway.cli.common import Shell
from gateway.cli.scan import bar, command
from gateway.commission.scan import Step

ROOT = Path(__file__).parents[2]
EN = ("--lang", "en")
PATIENT = ("--timeout", "1500ms")
"""A loaded machine may take its time; whoever is not there is asked seldom."""
BOTH = ("--first", "3", "--last", "5", *PATIENT)
ONE = ("--first", "3", "--last", "3", *PATIENT)


@pytest.fixture(autouse=True)
def searches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The searches of this suite under the protocols' names, and no configuration but the test's own."""
    monkeypatch.setitem(registry._OURS, "modbus-rtu", "commission.toy:TOY_RTU")
    monkeypatch.setitem(registry._OURS, "dlt645", "commission.toy:TOY_645")
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "no-configuration"))


def on_a_bus(
    check: Callable[[PtyWire], Coroutine[Any, Any, None]], respond: Callable[[bytes], Sequence[bytes]] | None = None
) -> None:
    """Units 3 (an SDM630) and 5 (a PLC) on a pseudo terminal."""

    async def main() -> None:
        async with pty_wire(respond or answers_of(rtu(units()))) as wire:
            await check(wire)

    asyncio.run(main())


def lines_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_is_a_line_for_each_device_met_each_one_identified_and_a_summary() -> None:
    async def check(wire: PtyWire) -> None:
        result = await call(command, "modbus-rtu", "--port", wire.path, "--json", *BOTH)
        assert result.exit_code == 0, result.output
        *devices, summary = lines_of(result)
        assert [(each["type"], each["entry"]) for each in devices] == [
            ("found", {"unit_id": 3}),
            ("found", {"unit_id": 5}),
            ("identified", {"unit_id": 3}),
            ("identified", {"unit_id": 5}),
        ]
        assert (devices[0]["serial"], devices[0]["identity"], devices[0]["known"]) == ([9600, "N", 8, 1], "toy", None)
        assert devices[2]["sure"] is True
        assert devices[2]["profiles"][0]["profile"] == "eastron_sdm630"
        assert summary == {"type": "summary", "devices": 2, "known": 0, "asked": 3, "complete": True}

    on_a_bus(check)


def test_people_see_each_device_its_likely_model_and_a_summary_in_their_language() -> None:
    async def check(wire: PtyWire) -> None:
        result = await call(command, "modbus-rtu", "--port", wire.path, *ONE, *EN)
        assert result.exit_code == 0
        assert "unit_id 3  [9600 8N1]  toy" in result.stdout
        assert "unit_id 3: likely eastron_sdm630 (Three-phase DIN rail meter SDM630)" in result.stdout
        assert "1 devices found, 0 of them known; 1 questions asked" in result.stdout
        result = await call(command, "modbus-rtu", "--port", wire.path, *ONE, "--no-identify", "--lang", "zh")
        assert result.stdout == "unit_id 3  [9600 8N1]  toy\n找到 1 台设备，其中 0 台已配置；问了 1 次\n"

    on_a_bus(check)


def test_every_format_is_tried_when_wanted() -> None:
    async def check(wire: PtyWire) -> None:
        only = (*ONE, "--no-identify", "--json")
        result = await call(command, "modbus-rtu", "--port", wire.path, *only)
        assert (result.exit_code, lines_of(result)[-1]["devices"]) == (1, 0)
        for formats in (("--all-formats",), ("--baud", "9600", "--baud", "19200")):
            result = await call(command, "modbus-rtu", "--port", wire.path, *only, *formats)
            assert lines_of(result)[0]["serial"] == [19200, "N", 8, 1]

    line = rtu(units())
    wires: list[PtyWire] = []

    async def main() -> None:
        def respond(data: bytes) -> Sequence[bytes]:
            return answers_of(line)(data) if speed_of(str(wires[0].path)) == 19200 else []

        async with pty_wire(respond) as wire:
            wires.append(wire)
            await check(wire)

    asyncio.run(main())


def test_over_tcp() -> None:
    async def main() -> None:
        async with tcp_wire(answers_of(rtu(units()))) as wire:
            result = await call(
                command, "modbus-rtu", "--tcp", f"127.0.0.1:{wire.port}", "--json", "--no-identify", *BOTH
            )
            assert [each.get("entry") for each in lines_of(result)] == [{"unit_id": 3}, {"unit_id": 5}, None]
            assert lines_of(result)[0]["serial"] is None

    asyncio.run(main())


def test_nothing_found_says_what_to_check_next() -> None:
    async def check(wire: PtyWire) -> None:
        only = ("--first", "1", "--last", "1", "--timeout", "100ms")
        result = await call(command, "modbus-rtu", "--port", wire.path, *only, *EN)
        assert result.exit_code == 1
        for word in ("powered", "A and B", "120 ohm", "--all-formats", "--timeout"):
            assert word in result.stderr
        assert "bytes came" not in result.stderr
        assert "对调" in (await call(command, "modbus-rtu", "--port", wire.path, *only, "--lang", "zh")).stderr

    on_a_bus(check)


def test_noise_is_told_from_silence() -> None:
    async def check(wire: PtyWire) -> None:
        only = ("--first", "1", "--last", "1", *PATIENT)
        result = await call(command, "modbus-rtu", "--port", wire.path, *only, *EN)
        assert result.exit_code == 1
        assert "bytes came, but no valid answer" in result.stderr

    on_a_bus(check, lambda data: [b"\x00\x80\x3f"])


def test_what_is_written_passes_check_and_configured_devices_are_not_repeated(tmp_path: Path) -> None:
    async def check(wire: PtyWire) -> None:
        config = configured(tmp_path, str(wire.path), devices=SDM_TEXT)
        target = tmp_path / "found.yaml"
        scan = ("modbus-rtu", "--config", config, "--write", target, "--json", *BOTH)
        result = await call(command, *scan, "--port", wire.path)
        assert result.exit_code == 0, result.output
        assert [each["known"] for each in lines_of(result)[:2]] == ["known-3", None]
        assert lines_of(result)[-1]["known"] == 1
        identified = [each["entry"] for each in lines_of(result) if each["type"] == "identified"]
        assert identified == [{"unit_id": 5}], "what is configured has its profile"
        text = target.read_text(encoding="utf-8")
        assert "already configured: known-3" in text
        assert "lines:" not in text
        site = (config / "site.yaml").read_text(encoding="utf-8")
        merged = site.replace(f"devices: [{SDM_TEXT}]\n", f"{text}- {SDM_TEXT}\n")
        assert merged != site
        (config / "site.yaml").write_text(merged, encoding="utf-8")
        checked = await call(check_command, "--config", config, "--json")
        left = [fault["code"] for fault in json.loads(checked.stdout)["faults"]]
        assert (checked.exit_code, left) == (0, ["W-PLACE"]), "where a device hangs no scan can know"
        # the same line by its name; the file is not overwritten unless that is wanted
        again = await call(command, *scan, "--line", "bus")
        assert again.exit_code == 2
        assert "--force" in again.stderr
        assert target.read_text(encoding="utf-8") == text
        forced = await call(command, *scan, "--line", "bus", "--force")
        assert forced.exit_code == 0
        assert [each["known"] for each in lines_of(forced)[:2]] == ["known-3", "bus-5"]
        assert "devices: []" in target.read_text(encoding="utf-8")

    on_a_bus(check)


def test_a_line_that_the_daemon_owns_is_searched_through_it(tmp_path: Path) -> None:
    async def check(wire: PtyWire) -> None:
        config = configured(tmp_path, str(wire.path), devices=SDM_TEXT)
        link = SerialLink(str(wire.path), SerialFormat(9600))
        daemon = FakeDaemon("bus", link, serial=str(wire.path))
        async with running(config / "store", daemon):
            arguments = (
                "modbus-rtu",
                "--config",
                config,
                "--first",
                "2",
                "--last",
                "3",
                "--no-identify",
                "--json",
                *PATIENT,
            )
            for wire_named in (("--port", str(wire.path)), ("--line", "bus")):
                daemon.formats.clear()
                result = await call(command, *arguments, *wire_named, *EN)
                assert result.exit_code == 0, result.output
                assert lines_of(result)[0]["known"] == "known-3"
                assert daemon.formats == [SerialFormat(9600)] * 2
                assert "through the daemon" in result.stderr
            busy = await call(command, "modbus-rtu", "--port", wire.path, *EN)
            assert busy.exit_code == 1
            assert "another program has the port open" in busy.stderr, "without its configuration nobody can know"

    on_a_bus(check)


def test_a_port_that_is_missing_busy_or_none_is_said_so(tmp_path: Path) -> None:
    async def check(wire: PtyWire) -> None:
        with serial.Serial(str(wire.path), exclusive=True):
            result = await call(command, "modbus-rtu", "--port", wire.path, "--lang", "zh")
        assert result.exit_code == 1
        assert "另一程序正占用此串口" in result.stderr
        assert "检查" not in result.stderr, "no advice about wires when the port itself is the trouble"

    on_a_bus(check)
    file = tmp_path / "file"
    file.touch()
    for port, words in ((tmp_path / "nowhere", "there is no such port"), (file, "not a serial port")):
        result = CliRunner().invoke(command, ["modbus-rtu", "--port", str(port), *EN])
        assert result.exit_code == 1
        assert words in result.stderr
    refused = CliRunner().invoke(command, ["modbus-rtu", "--tcp", "127.0.0.1:9", *EN])
    assert (refused.exit_code, "nothing listens" in refused.stderr) == (1, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_port_without_permission_is_said_so(tmp_path: Path) -> None:
    port = tmp_path / "port"
    port.touch(0)
    result = CliRunner().invoke(command, ["modbus-rtu", "--port", str(port), *EN])
    assert (result.exit_code, "dialout" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("modbus-rtv", "--port", "/dev/x"), 'did you mean "modbus-rtu"?'),
        (("modbus-rtu",), "exactly one of --port, --tcp and --line"),
        (("modbus-rtu", "--port", "/dev/x", "--tcp", "h:1"), "exactly one of --port, --tcp and --line"),
        (("modbus-rtu", "--tcp", "h"), "is not HOST:PORT"),
        (("modbus-rtu", "--tcp", "h:99999"), "is not HOST:PORT"),
        (("modbus-rtu", "--port", "/dev/x", "--timeout", "soon"), "write 200ms"),
        (("modbus-rtu", "--port", "/dev/x", "--timeout", "0s"), "must be more than 0"),
        (("modbus-rtu", "--port", "/dev/x", "--first", "9", "--last", "1"), "--first is more than --last"),
        (("modbus-rtu", "--port", "/dev/x", "--all-formats", "--baud", "9600"), "exclude each other"),
        (("modbus-rtu", "--port", "/dev/x", "--parity", "evn"), "Invalid value"),
    ],
)
def test_wrong_usage_is_refused_before_a_port_is_touched(arguments: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(command, [*arguments, *EN])
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_protocol_on_the_wrong_wire_or_without_a_search_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._OURS, "modbus-tcp", "commission.toy:TOY_TCP")
    result = CliRunner().invoke(command, ["modbus-tcp", "--port", "/dev/x", *EN])
    assert (result.exit_code, "not spoken over a serial line" in result.stderr) == (2, True)
    monkeypatch.setitem(registry._OURS, "modbus-tcp", "commission.toy:NO_SEARCH")
    result = CliRunner().invoke(command, ["modbus-tcp", "--tcp", "127.0.0.1:9", *EN])
    assert (result.exit_code, "has no way to search" in result.stderr) == (2, True)


def test_a_line_that_is_not_configured_is_guessed(tmp_path: Path) -> None:
    config = configured(tmp_path, "/dev/x")
    result = CliRunner().invoke(command, ["modbus-rtu", "--line", "buss", "--config", str(config), *EN])
    assert (result.exit_code, 'did you mean "bus"?' in result.stderr) == (2, True)
    (config / "site.yaml").write_text("format: [", encoding="utf-8")
    assert CliRunner().invoke(command, ["modbus-rtu", "--line", "bus", "--config", str(config)]).exit_code == 78
    beside = CliRunner().invoke(command, ["modbus-rtu", "--port", "/dev/x", "--config", str(config), *EN])
    assert (beside.exit_code, "is left aside" in beside.stderr) == (1, True)


RUNNER = """
from drivers import registry
registry._OURS["modbus-rtu"] = "commission.toy:TOY_RTU"
from gateway.cli.main import main
main()
"""


def test_ctrl_c_ends_with_what_was_found_so_far(tmp_path: Path) -> None:
    target = tmp_path / "found.yaml"

    async def check(wire: PtyWire) -> None:
        arguments = ["scan", "modbus-rtu", "--port", str(wire.path), "--first", "3", "--last", "247", "--json"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RUNNER, *arguments, "--write", str(target), "--timeout", "1s", *EN,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/tests"},
        )  # fmt: skip
        assert process.stdout is not None
        first = json.loads(await process.stdout.readline())
        assert (first["type"], first["entry"]) == ("found", {"unit_id": 3})
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, err
        summary = json.loads(out.splitlines()[-1])
        assert (summary["type"], summary["devices"], summary["complete"]) == ("summary", summary["devices"], False)
        assert b"interrupted" in err
        assert b"Traceback" not in err
        assert "unit_id: 3" in target.read_text(encoding="utf-8")

    on_a_bus(check)


def test_the_bar_says_how_far_what_and_how_long() -> None:
    shell = Shell(Path(), False, "en")
    step = Step(60, 240, "unit 61", SerialFormat(9600))
    assert bar(step, 185.4, 2, shell) == "[######..................] 60/240  9600 8N1  unit 61  2 found  3:05 left"
    assert bar(Step(0, 0, "", None), None, 0, Shell(Path(), False, "zh")) == f"[{'.' * 24}] 0/0  已找到 0"
    assert bar(Step(9, 6, "", None), 0.0, 0, shell).startswith(f"[{'#' * 24}] 9/6")
