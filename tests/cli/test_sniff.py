"""sniff, capture and replay: what is heard on real pseudo terminals, kept, and played again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.field import METER_TEXT, call, configured
from commission.fake_daemon import FakeDaemon, running
from commission.test_stream import ANSWER, METER, READ
from commission.toy import MEANT, answers_of, meter
from drivers.transport import SerialLink
from drivers_contract.wire import MemoryLine, PtyWire, pty_wire
from gateway.cli.capture import command as capture
from gateway.cli.read import command as read
from gateway.cli.replay import command as replay
from gateway.cli.sniff import command as sniff
from gateway.clock import SystemClock
from gateway.commission.record import RX, TX, Chunk, Header, Heard, Recorder
from gateway.config.load import load
from gateway.field import drivers_on, links_on, open_line, read_now

EN, ZH = ("--lang", "en"), ("--lang", "zh")
SPOKEN = READ + ANSWER


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "no-configuration"))


def with_a_bus(check: Callable[[PtyWire], Coroutine[Any, Any, None]]) -> list[bytes]:
    """A bus on which the test speaks; whatever is sent into it is returned."""
    sent: list[bytes] = []

    def respond(data: bytes) -> list[bytes]:
        sent.append(data)
        return []

    async def main() -> None:
        async with pty_wire(respond) as wire:
            await check(wire)

    asyncio.run(main())
    return sent


class Listening:
    """A command that listens, as its own process: Ctrl-C ends it."""

    def __init__(self, *arguments: str | Path) -> None:
        self._arguments = [str(each) for each in arguments]

    async def __aenter__(self) -> Listening:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.cli.main", *self._arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def next_line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode()

    async def announced(self) -> str:
        assert self.process.stderr is not None
        return (await asyncio.wait_for(self.process.stderr.readline(), 30)).decode()

    async def interrupt(self) -> tuple[int | None, str, str]:
        self.process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(self.process.communicate(), 30)
        return self.process.returncode, out.decode(), err.decode()


def test_frames_are_shown_as_they_pass_and_nothing_is_sent() -> None:
    async def check(wire: PtyWire) -> None:
        async with Listening("sniff", "--port", wire.path, "--baud", "9600", "--json", *EN) as sniffing:
            assert "nothing is sent" in await sniffing.announced()
            wire.say(SPOKEN)
            asked, answered = json.loads(await sniffing.next_line()), json.loads(await sniffing.next_line())
            assert (asked["direction"], asked["protocol"], asked["hex"]) == ("bus", "modbus-rtu", READ.hex())
            assert asked["frames"][0]["direction"] == "request"
            assert (answered["hex"], answered["fault"]) == (ANSWER.hex(), None)
            assert answered["frames"][0]["items"][0] == {"id": "register 107", "value": 555, "unit": None}
            wire.say(b"\x00\x80\x3f")
            rubbish = json.loads(await sniffing.next_line())
            assert (rubbish["hex"], rubbish["frames"], rubbish["protocol"]) == ("00803f", [], None)
            assert rubbish["fault"]["code"] == "no_frame"
            code, out, err = await sniffing.interrupt()
            assert (code, out) == (0, "")
            assert "22 bytes, 2 frames, 1 pieces that are none" in err
            assert "Traceback" not in err

    assert with_a_bus(check) == []


def test_silence_says_what_to_look_at() -> None:
    async def check(wire: PtyWire) -> None:
        result = await call(sniff, "--port", wire.path, "--duration", "100ms", *EN)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "A and B are swapped" in result.stderr
        assert "接反" in (await call(sniff, "--port", wire.path, "--duration", "100ms", *ZH)).stderr

    with_a_bus(check)


def store_with(directory: Path, heard: list[list[Any]]) -> tuple[Path, FakeDaemon]:
    config = configured(directory, "/dev/no-such-port", baud=2400, parity="even", devices=METER_TEXT)
    link = MemoryLine(lambda request: [])
    return config, FakeDaemon("bus", link, serial="/dev/no-such-port", heard=heard)


def tapped() -> list[list[Any]]:
    return [[1000, "tx", READ.hex()], [1050, "rx", ANSWER[:5].hex()], [1060, "rx", ANSWER[5:].hex()]]


def test_a_line_of_the_daemon_is_heard_through_its_tap_with_directions(tmp_path: Path) -> None:
    async def main() -> None:
        config, daemon = store_with(tmp_path, tapped())
        async with running(config / "store", daemon):
            arguments = ("--line", "bus", "--config", config, "--duration", "300ms")
            result = await call(sniff, *arguments, "--json", *EN)
            asked, answered = [json.loads(line) for line in result.stdout.splitlines()]
            assert result.exit_code == 0
            assert (asked["t"], asked["direction"], answered["t"], answered["direction"]) == (1000, TX, 1050, RX)
            shown = await call(sniff, *arguments, "--protocol", "modbus-rtu", *EN)
            assert "→ modbus-rtu  request  17  03  address=107, count=3" in shown.stdout
            assert "← modbus-rtu  response  17  03  register 107=555" in shown.stdout
            assert "through the daemon" in shown.stderr
            assert daemon.taps >= 2

    asyncio.run(main())


def test_the_wrong_protocol_is_told() -> None:
    async def check(wire: PtyWire) -> None:
        async with Listening("sniff", "--port", wire.path, "--protocol", "modbus-rtu", *EN) as sniffing:
            await sniffing.announced()
            wire.say(METER)
            assert "fe fe fe fe 68" in await sniffing.next_line()
            code, _, err = await sniffing.interrupt()
            assert code == 1
            assert "this looks like dlt645" in err

    with_a_bus(check)


def test_a_capture_is_replayed_as_it_was_heard(tmp_path: Path) -> None:
    file = tmp_path / "field.capture"

    async def check(wire: PtyWire) -> None:
        async with Listening("capture", file, "--port", wire.path, "--parity", "even", "--json") as recording:
            await recording.announced()
            wire.say(SPOKEN)
            async with asyncio.timeout(30):
                while ANSWER.hex() not in file.read_text(encoding="utf-8"):
                    await asyncio.sleep(0.02)
            code, out, _ = await recording.interrupt()
            done = json.loads(out)
            assert (code, done["bytes"], done["file"]) == (0, len(SPOKEN), str(file))

    assert with_a_bus(check) == []
    header = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    assert (header["format"], header["serial"]) == ("capture/1", [9600, "E", 8, 1])
    for extra in ((), ("--speed", "50"), ("--protocol", "modbus-rtu")):
        result = CliRunner().invoke(replay, [str(file), "--json", *extra])
        assert result.exit_code == 0, result.output
        assert [json.loads(line)["hex"] for line in result.stdout.splitlines()] == [READ.hex(), ANSWER.hex()]
    wrong = CliRunner().invoke(replay, [str(file), "--protocol", "dlt645", *EN])
    assert (wrong.exit_code, "this looks like modbus-rtu" in wrong.stderr) == (1, True)


def test_a_capture_through_the_daemon_knows_the_line_and_the_directions(tmp_path: Path) -> None:
    async def main() -> None:
        config, daemon = store_with(tmp_path, tapped())
        file = tmp_path / "c"
        async with running(config / "store", daemon):
            result = await call(capture, file, "--line", "bus", "--config", config, "--duration", "300ms", *EN)
        assert result.exit_code == 0, result.output
        header, *records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert (header["line"], header["wire"], header["serial"]) == ("bus", "/dev/no-such-port", [2400, "E", 8, 1])
        assert [record[1:] for record in records] == [[direction, data] for _, direction, data in tapped()]

    asyncio.run(main())


def test_a_file_is_not_overwritten_and_none_is_left_by_a_port_that_did_not_open(tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.write_text("mine", encoding="utf-8")
    result = CliRunner().invoke(capture, [str(file), "--port", "/dev/no-such-port", *EN])
    assert (result.exit_code, "--force" in result.stderr) == (2, True)
    assert file.read_text(encoding="utf-8") == "mine"
    fresh = tmp_path / "fresh"
    result = CliRunner().invoke(capture, [str(fresh), "--port", "/dev/no-such-port", *EN])
    assert (result.exit_code, "there is no such port" in result.stderr) == (1, True)
    assert not fresh.exists()
    result = CliRunner().invoke(capture, [str(tmp_path / "a" / "b"), "--port", "/dev/x", *EN])
    assert (result.exit_code, "cannot write" in result.stderr) == (1, True)


def recorded_field(directory: Path) -> tuple[Path, list[float | int | bool | str | None]]:
    """A meter read by the product's own driver over a pseudo terminal, recorded; and what it read."""
    file = directory / "field.capture"
    values: list[Any] = []

    async def check(wire: PtyWire) -> None:
        config = load(configured(directory, str(wire.path), baud=2400, parity="even", devices=METER_TEXT))
        (plan,) = config.lines
        clock = SystemClock()
        with file.open("w", encoding="utf-8") as stream:
            recorder = Recorder(stream, Header("0", "bus", str(wire.path), plan.format, clock.now_ms()))
            recorder.begin()
            link = open_line(plan)
            assert isinstance(link, SerialLink)
            link.tap = lambda direction, data: recorder.take(
                Heard(clock.now_ms(), (Chunk(clock.now_ms(), direction, data),))
            )
            async with link:
                (driver,) = drivers_on(plan, links_on(plan, link), clock).values()
                values.extend(reading.value for reading in await read_now(driver, WANTED, clock))

    asyncio.run(_with_meter(check))
    return file, values


WANTED = ["m1.energy", "m1.voltage", "m1.frequency", "m1.relay"]


async def _with_meter(check: Callable[[PtyWire], Coroutine[Any, Any, None]]) -> None:
    async with pty_wire(answers_of(meter(MEANT))) as wire:
        await check(wire)


def test_a_field_problem_is_reproduced_at_the_desk(tmp_path: Path) -> None:
    """Recorded in the field, answered at the desk by a port of its own, read by the product."""
    file, values = recorded_field(tmp_path)
    assert values == [1234.56, 224.4, 50.03, "closed"]
    port = tmp_path / "ttyFIELD"

    async def main() -> None:
        config = configured(tmp_path, str(port), baud=2400, parity="even", devices=METER_TEXT)
        async with Listening("replay", file, "--pty", "--link", port, "--json") as answering:
            announced = json.loads(await answering.next_line())
            assert (announced["type"], announced["path"]) == ("port", str(port))
            for _ in range(2):  # and from the beginning
                result = await call(read, *WANTED, "--config", config, "--json")
                assert result.exit_code == 0, result.output
                assert [item["v"] for item in json.loads(result.stdout)["readings"]] == values
            missing = await call(read, "m1.current", "--config", config, "--json")
            assert missing.exit_code == 1
            code, out, _ = await answering.interrupt()
            summary = json.loads(out)
            assert (code, summary["type"], len(summary["unknown"])) == (0, "summary", 2), "a person gets a second try"
            assert summary["asked"] >= 2 * announced["requests"] > 2
        assert not os.path.lexists(port)

    asyncio.run(main())


def test_a_port_nobody_asks_ends_when_its_time_is_over(tmp_path: Path) -> None:
    file, _ = recorded_field(tmp_path)
    result = CliRunner().invoke(replay, [str(file), "--pty", "--duration", "50ms", *EN])
    assert result.exit_code == 1
    assert "0 requests answered" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nowhere",), 1, "cannot read nowhere"),
        (("nowhere", "--link", "x"), 2, "go with --pty only"),
        (("nowhere", "--speed", "0"), 2, "--speed"),
    ],
)
def test_wrong_usage_of_replay(tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    result = CliRunner().invoke(replay, [*arguments, *EN])
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr


def test_a_file_that_is_no_capture_and_a_protocol_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.write_text("68 10 16\n", encoding="utf-8")
    result: Result = CliRunner().invoke(replay, [str(file), *ZH])
    assert (result.exit_code, f"{file}:1: 不是捕获文件；用 gateway capture 录制" in result.stderr) == (1, True)
    result = CliRunner().invoke(sniff, ["--port", "/dev/x", "--protocol", "modbusrtu", *EN])
    assert (result.exit_code, 'did you mean "modbus-rtu"?' in result.stderr) == (2, True)
