"""gateway watch: the picture from canned snapshots, and the screen on a real pseudo terminal."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway import local_api
from gateway.cli.picture import History, Scene, cut, picture
from gateway.cli.watch import command, drawn
from gateway.errors import GatewayError
from gateway.model import Point, Text, ValueKind
from gateway.terminal import columns

NOW_MS = 1_767_225_600_000
SITE = Text("佳园小区", "Jiayuan Garden")
LEVEL = Point("p1.level", ValueKind.NUMBER, Text("水位", "Water level"), 2.0, "m")


def device(period_s: float, p50_s: float | None, p95_s: float | None, cost_s: float, silent_s: float | None) -> Any:
    return {
        "period_s": period_s, "p50_s": p50_s, "p95_s": p95_s, "polls": 100, "failures": 7, "cost_s": cost_s,
        "silent_s": silent_s,
    }  # fmt: skip


def snapshot(uptime_s: float = 600.0, polls: int = 1200, dead_cost_s: float = 30.0, **more: Any) -> dict[str, Any]:
    held = {"envelopes": 12, "bytes": 2048, "unacknowledged": {"platform": 3, "b": 12}, "evicted": 0}
    lane = {**held, "waiting_since_ms": {"platform": NOW_MS - 5000, "b": NOW_MS - 120_000}}
    empty = {"envelopes": 0, "bytes": 0, "unacknowledged": {}, "evicted": 0, "waiting_since_ms": {}}
    return {
        "v": 1, "t": NOW_MS, "uptime_s": uptime_s, "clock": "synced", "accepted": 4321, "dropped": 0,
        "store": {"lanes": {"alarm": empty, "telemetry": lane}},
        "lines": {
            "bus1": {
                "open": True, "polls": polls, "failures": 9, "busy": 0.4, "busy_1m": 0.63, "skipped": 2, "opened": 1,
                "silent": ["m-dead"],
                "devices": {
                    "m-fine": device(1.0, 1.0, 1.02, 60.0, None),
                    "m-late": device(1.0, 1.4, 2.5, 60.0, None),
                    "m-dead": device(1.0, None, None, dead_cost_s, 90.0),
                },
            },
            "tcp": {
                "open": False, "polls": 0, "failures": 1, "busy": 0.0, "skipped": 0, "opened": 0, "silent": [],
                "devices": {"p1": device(2.0, 2.0, 2.0, 1.0, None)},
            },
        },
        "uplinks": {
            "platform": {
                "connected": False, "since_ms": NOW_MS - 7_200_000, "error": "connection refused",
                "hint": "broker down?", "faults": [], "in_flight": 0, "sent": 90, "acknowledged": 87, "quarantined": 1,
            },
        },
        "alarms": [
            {
                "rule": "gas_high", "device": "gas-1", "priority": "critical", "state": "unack",
                "since_ms": NOW_MS - 61_000, "message": {"zh": "燃气 12 %LEL", "en": "gas 12 %LEL"},
            },
        ],
        "disk_free_bytes": 2**31, "loop_lag_ms": 1.5,
    } | more  # fmt: skip


def lines_of(*seen: Mapping[str, Any], lang: str = "en", device_id: str | None = None, points: Any = None) -> list[str]:
    history = History()
    for each in seen:
        history.add(each)
    return picture(Scene(SITE, {LEVEL.id: LEVEL}, device_id, lang), history, seen[-1], points)


def row(lines: list[str], name: str) -> list[str]:
    """The cells of the row that begins with *name*."""
    (found,) = [line for line in lines if line.split("  ")[0] == name]
    return [cell.strip() for cell in found.split("  ") if cell.strip()]


def test_the_picture_of_a_site_with_troubles() -> None:
    lines = lines_of(snapshot())
    assert lines[0].startswith("Jiayuan Garden   ")
    assert lines[0].endswith("up 10 min   clock synced")
    assert lines[1] == "stored 4321   dropped 0   loop lag 1.5 ms   disk free 2.0 GiB"
    assert row(lines, "platform") == ["platform", "disconnected 2 h", "0", "90", "87", "1"]
    assert "  platform: connection refused" in lines
    assert row(lines, "telemetry") == ["telemetry", "12", "2.0 KiB", "12", "2 min", "0"]
    assert not any(line.startswith("alarm ") for line in lines), "an empty lane is no news"
    assert "  [critical] gas_high@gas-1  gas 12 %LEL (active, not acknowledged, 1 min)" in lines
    assert row(lines, "bus1") == ["bus1", "open", "63%", "2.00", "9", "2", "m-dead"]
    assert row(lines, "tcp") == ["tcp", "closed", "0%", "0.00", "1", "0", "-"]
    assert row(lines, "m-dead") == ["m-dead", "1 s", "-", "-", "100", "7", "1 min", "3.0 s"]
    assert row(lines, "m-late") == ["m-late", "1 s", "1.4 s", "2.5 s", "100", "7", "-", "6.0 s"]


def test_the_worst_stand_at_the_top() -> None:
    names = [line.split("  ")[0] for line in lines_of(snapshot())]
    assert names.index("tcp") < names.index("bus1")
    assert names.index("m-dead") < names.index("m-late") < min(names.index("m-fine"), names.index("p1"))


def test_it_speaks_chinese_and_its_columns_stand_below_each_other() -> None:
    lines = lines_of(snapshot(), lang="zh")
    assert "佳园小区" in lines[0]
    assert "  [紧急] gas_high@gas-1  燃气 12 %LEL (未确认, 1 分钟)" in lines
    head = next(line for line in lines if line.startswith("线路"))
    body = next(line for line in lines if line.startswith("bus1"))
    assert columns(head[: head.index("占用")]) == columns(body[: body.index("63%")])


def test_rates_are_of_the_last_minute_once_there_are_two_looks() -> None:
    first, second = snapshot(600, 1200, 30.0), snapshot(610, 1250, 31.0)
    assert row(lines_of(first, second), "bus1")[3] == "5.00"
    assert row(lines_of(first, second), "m-dead")[-1] == "6.0 s"
    old = snapshot(100, 0, 0.0)
    assert row(lines_of(old, first, second), "bus1")[3] == "5.00", "what is older than a minute is forgotten"
    anew = snapshot(4, 8, 0.0)
    assert row(lines_of(first, second, anew), "bus1")[3] == "2.00", "a new start begins at nothing"


def test_a_daemon_that_says_less_is_understood_all_the_same() -> None:
    plain = {"open": True, "polls": 10, "failures": 0, "busy": 0.4, "devices": 3, "silent": []}
    lines = lines_of(snapshot(lines={"bus1": plain}, uplinks={}, alarms=[], store={}), device_id="m-1")
    assert row(lines, "bus1") == ["bus1", "open", "40%", "0.02", "0", "-", "-"]
    assert "alarms 0" in lines
    assert lines[-1] == "points: this daemon does not tell the latest values"
    sparse = {"m-1": {"period_s": None, "p50_s": None, "silent_s": None}}
    assert row(lines_of(snapshot(lines={"bus1": {**plain, "devices": sparse}})), "m-1") == ["m-1", *"-------"]


def test_one_device_with_its_points() -> None:
    points = [
        {"p": "p1.level", "t": NOW_MS - 3000, "v": 1.25, "q": "good", "u": "m"},
        {"p": "p1.pump", "t": NOW_MS - 60_000, "v": None, "q": "bad", "r": "no_answer"},
        {"p": "p1.running", "t": NOW_MS, "v": True, "q": "good"},
    ]
    lines = lines_of(snapshot(), device_id="p1", points=points)
    assert row(lines, "p1.level") == ["p1.level", "1.25 m", "good", "3 s", "Water level"]
    assert row(lines, "p1.pump") == ["p1.pump", "-", "bad: no_answer", "1 min"]
    assert row(lines, "p1.running") == ["p1.running", "on", "good", "0 s"]
    assert not any(line.startswith(("bus1", "m-")) for line in lines)


def test_many_alarms_are_cut_and_counted() -> None:
    (alarm,) = snapshot()["alarms"]
    low = [{**alarm, "rule": f"low_{n}", "priority": "low"} for n in range(8)]
    lines = lines_of(snapshot(alarms=[*low, alarm]))
    at = lines.index("alarms 9")
    assert "gas_high" in lines[at + 1], "the most urgent one is shown"
    assert lines[at + 7] == "  … +3"


def test_a_picture_is_cut_to_the_screen() -> None:
    assert cut(["燃气abc", "b", "c", "d"], 5, 3) == ["燃气a", "b", "… +2"]
    assert cut(["a", "b"], 80, 2) == ["a", "b"]
    assert drawn(["ab", "c"], 10, 5) == "\x1b[Hab\x1b[K\nc\x1b[K\x1b[J"


# ---------------------------------------------------------------------- the command


class Daemon:
    """Answers as the real one does; *points* it may not know."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.looks = 0
        self.knows_points = True

    async def status(self, request: Mapping[str, Any]) -> Any:
        self.looks += 1
        return snapshot(600.0 + self.looks)

    async def points(self, request: Mapping[str, Any]) -> Any:
        if not self.knows_points:
            raise GatewayError("unknown request")
        return [{"p": f"{request['device']}.relay1", "t": NOW_MS, "v": True, "q": "good"}]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with local_api.serve(self.store, {"status": self.status, "points": self.points}):
            yield


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "site.yaml").write_text(
        "format: site/1\nsite: {id: jiayuan, name: {zh: 佳园小区, en: Jiayuan Garden}}\ngateway: {id: gw1}\n"
        f"store: {{path: {tmp_path}/store}}\nlines: [{{id: bus1, serial: /dev/ttyS9, baud: 9600, parity: none}}]\n"
        "devices: [{id: p1, profile: waveshare_modbus_relay_8ch, line: bus1, unit_id: 1}]\n",
        encoding="utf-8",
    )
    (tmp_path / "store").mkdir()
    return tmp_path


def argv(config: Path, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "gateway.cli.main", "watch", "--config", str(config), "--lang", "en", *arguments)


async def call(config: Path, *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *argv(config, *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def test_one_picture_and_one_document(config: Path) -> None:
    async def main() -> None:
        daemon = Daemon(config / "store")
        async with daemon.serving():
            code, out, err = await call(config, "--once", "--device", "p1")
            assert (code, err) == (0, "")
            assert row(out.splitlines(), "p1.relay1") == ["p1.relay1", "on", "good", "0 s", "Relay 1"]
            assert "\x1b" not in out
            daemon.knows_points = False
            code, out, err = await call(config, "--once", "--json", "--device", "p1")
            document = json.loads(out)
            assert (code, err, document["points"]) == (0, "", None)
            assert document["status"]["lines"]["bus1"]["busy_1m"] == 0.63

    asyncio.run(main())


def test_elsewhere_than_on_a_screen_it_goes_on_until_nobody_listens_or_the_daemon_ends(config: Path) -> None:
    async def main() -> None:
        daemon = Daemon(config / "store")
        stream = (*argv(config, "--interval", "200ms", "--json"),)
        async with daemon.serving():
            process = await asyncio.create_subprocess_exec(
                *stream, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            for _ in range(3):
                assert json.loads(await process.stdout.readline())["status"]["v"] == 1
        _, err = await process.communicate()
        assert (process.returncode, err.decode()) == (1, "the daemon is not running\n")
        async with daemon.serving():
            code, out, err_text = await shell(" ".join((*argv(config, "--interval", "200ms"), "|", "head", "-1")))
            assert (code, err_text) == (0, "")
            assert out.startswith("Jiayuan Garden")

    asyncio.run(main())


async def shell(line: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_shell(
        line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


class Terminal:
    """A pseudo terminal with ``gateway watch`` on it, and everything that came to its screen."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        self.screen = bytearray()
        self.changed = asyncio.Event()

    def hear(self) -> None:
        self.screen += os.read(self.ours, 65_536)
        self.changed.set()

    def size(self, rows: int, width: int) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, width, 0, 0))

    async def until(self, seen: Callable[[bytes], bool]) -> None:
        """Wait until what has come so far is as wanted."""
        async with asyncio.timeout(60):
            while not seen(bytes(self.screen)):
                self.changed.clear()
                await self.changed.wait()

    def last_picture(self) -> list[str]:
        picture, _, _ = bytes(self.screen).rpartition(b"\x1b[J")
        return picture.rpartition(b"\x1b[H")[2].decode().replace("\x1b[K", "").split("\r\n")


@asynccontextmanager
async def on_terminal(config: Path, *arguments: str) -> AsyncIterator[tuple[Terminal, asyncio.subprocess.Process]]:
    terminal = Terminal()
    terminal.size(40, 100)
    asyncio.get_running_loop().add_reader(terminal.ours, terminal.hear)
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    process = await asyncio.create_subprocess_exec(
        *argv(config, *arguments),
        stdin=terminal.theirs,
        stdout=terminal.theirs,
        stderr=terminal.theirs,
        env=environment,
    )
    try:
        yield terminal, process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        asyncio.get_running_loop().remove_reader(terminal.ours)
        os.close(terminal.ours)
        os.close(terminal.theirs)


def pictures(screen: bytes) -> int:
    return screen.count(b"\x1b[J")


def test_on_a_screen_it_redraws_resizes_waits_for_the_daemon_and_leaves_the_terminal_as_it_was(config: Path) -> None:
    async def main() -> None:
        daemon = Daemon(config / "store")
        async with daemon.serving(), on_terminal(config, "--interval", "200ms") as (terminal, process):
            before = termios.tcgetattr(terminal.theirs)
            await terminal.until(lambda screen: pictures(screen) >= 3)
            assert terminal.screen.startswith(b"\x1b[?1049h\x1b[?25l\x1b[H")
            assert b"\x1b[2J" not in terminal.screen, "nothing is wiped before it is drawn again"
            assert not termios.tcgetattr(terminal.theirs)[3] & termios.ICANON
            assert any(line.startswith("m-dead") for line in terminal.last_picture())
            terminal.size(6, 30)
            process.send_signal(signal.SIGWINCH)
            await terminal.until(lambda screen: len(terminal.last_picture()) == 6)
            assert max(map(columns, terminal.last_picture())) <= 29
            assert terminal.last_picture()[-1].startswith("… +")
            os.write(terminal.ours, b"q")
            async with asyncio.timeout(60):
                assert await process.wait() == 0
            await terminal.until(lambda screen: screen.endswith(b"\x1b[?25h\x1b[?1049l"))
            assert termios.tcgetattr(terminal.theirs) == before
        async with on_terminal(config, "--interval", "200ms") as (terminal, process):
            async with asyncio.timeout(60):
                assert await process.wait() == 1
            await terminal.until(lambda screen: b"the daemon is not running" in screen.rpartition(b"\x1b[?1049l")[2])

    asyncio.run(main())


def test_a_daemon_that_is_restarted_is_waited_for_and_ctrl_c_ends_it(config: Path) -> None:
    async def main() -> None:
        daemon = Daemon(config / "store")
        async with daemon.serving():
            watching = on_terminal(config, "--interval", "200ms", "--device", "p1")
            terminal, process = await watching.__aenter__()
            await terminal.until(lambda screen: b"p1.relay1" in screen)
        await terminal.until(lambda screen: terminal.last_picture()[0] == "the daemon does not answer")
        assert any(line.startswith("p1.relay1") for line in terminal.last_picture()), "what was known stays to be seen"
        async with daemon.serving():
            await terminal.until(lambda screen: terminal.last_picture()[0].startswith("Jiayuan Garden"))
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(60):
                assert await process.wait() == 0
            await terminal.until(lambda screen: screen.endswith(b"\x1b[?25h\x1b[?1049l"))
        await watching.__aexit__(None, None, None)

    asyncio.run(main())


WRONG = [
    (("--device", "p1x"), 2, 'no such device: p1x did you mean "p1"?'),
    (("--interval", "3"), 2, "a duration of at least 0.2s is needed"),
    (("--interval", "1ms"), 2, "a duration of at least 0.2s is needed"),
    (("--once",), 1, "the daemon is not running"),
    (("--json",), 1, "the daemon is not running"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG, ids=[" ".join(each[0]) for each in WRONG])
def test_what_cannot_be_watched_is_said(config: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    result = CliRunner().invoke(command, [*arguments, "--config", str(config), "--lang", "en"])
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
