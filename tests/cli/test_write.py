"""gateway write, as it is typed: on a terminal, through the daemon and without it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway import local_api
from gateway.cli import direct
from gateway.cli.write import CODE_WORDS, STATUS_WORDS, command
from gateway.clock import SystemClock
from gateway.commands import Code, Status
from gateway.config.load import load
from gateway.errors import StoreError
from gateway.model import Lane
from gateway.remote.chain import Anchor, read_line
from gateway.sim.process import Child
from gateway.store import lock, reader
from support.relay_site import BOARD, DEAF, HEATER, SILENT_DEVICE, RelaySite, relay_site

GATEWAY = (sys.executable, "-m", "gateway.cli.main")
ON, OFF = bytes.fromhex("050000ff00"), bytes.fromhex("0500000000")
"""Write single coil 0.  Source: Modbus Application Protocol V1.1b3, 6.5."""
SETPOINT_215 = bytes.fromhex("06000000d7")
"""Write single register 0 = 215.  Source: ibid., 6.6."""


async def write(site: RelaySite, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(*GATEWAY, "write", *arguments, "--config", str(site.config)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def type_at_terminal(site: RelaySite, answer: str, *arguments: str) -> tuple[int, str, str]:
    """The command on a pseudo terminal; *answer* is typed when it asks.  Returns what it said on the terminal, too."""
    ours, theirs = pty.openpty()
    loop, said = asyncio.get_running_loop(), bytearray()
    asked = asyncio.Event()

    def hear() -> None:
        said.extend(os.read(ours, 4096))
        if said.rstrip().endswith((b":", "：".encode())):
            asked.set()

    loop.add_reader(ours, hear)
    try:
        process = await asyncio.create_subprocess_exec(
            *(*GATEWAY, "write", *arguments, "--config", str(site.config)),
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
        )
        async with asyncio.timeout(60):
            await asked.wait()
            os.write(ours, answer.encode() + b"\n")
            out, _ = await process.communicate()
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)
    assert process.returncode is not None
    return process.returncode, out.decode(), said.decode()


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
    """Until *unit* has been asked something, after the first *since* requests."""
    async with asyncio.timeout(60):
        while unit not in [asked for asked, _ in site.requests[since:]]:
            await asyncio.sleep(0.02)


def audit(site: RelaySite) -> list[Mapping[str, Any]]:
    """The commands' events in the store."""
    with reader.opened(site.store) as store:
        items = [item for row in store.rows(Lane.EVENT, 0) for item in json.loads(row.items)]
    return [item for item in items if item["kind"].startswith("command.")]


def results(site: RelaySite) -> list[tuple[str, str]]:
    found = audit(site)
    return [(each["attributes"]["point"], each["attributes"].get("code", "requested")) for each in found]


# ---------------------------------------------------------------------- through the daemon


@pytest.mark.system
def test_a_relay_is_switched_on_a_terminal_through_the_daemon(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            relay_site(tmp_path) as site,
            Child((*GATEWAY, "run", "--config", str(site.config)), tmp_path / "log") as daemon,
        ):
            await running(site.store)
            await polled(site, BOARD)
            asked = ("board.relay1", "on", "--reason", "trial", "--lang", "en")
            code, out, said = await type_at_terminal(site, "y", *asked)
            assert (code, out) == (0, "done: the device has confirmed it, and it reads back; it reads on\n"), said
            lines = [line.split(None, 1) for line in said.splitlines()[:6]]
            assert lines == [
                ["device", "Relays of building 3 (board)"], ["place", "3# 101"], ["point", "Relay 1 (board.relay1)"],
                ["now", "off"], ["new", "on"], ["reason", "trial"],
            ]  # fmt: skip
            assert site.writes() == [(BOARD, ON)]
            # what cuts a supply wants more than a y
            asked = ("board.relay1", "关", "--reason", "欠费", "--lang", "zh")
            code, out, said = await type_at_terminal(site, "y", *asked)
            assert (code, out) == (1, "")
            assert "未写入" in said
            assert site.coil(0) == 1
            code, out, said = await type_at_terminal(site, "board.relay1", *asked)
            assert code == 0, said
            assert "切断供应" in said
            assert "完成" in out
            assert site.writes() == [(BOARD, ON), (BOARD, OFF)]
            # a number, by a script
            code, out, said = await write(site, "heat.setpoint", "21.5", "--reason", "night", "--yes", "--json")
            answer = json.loads(out)
            assert (code, said) == (0, "")
            assert (answer["status"], answer["code"], answer["read_back"]) == ("ok", "confirmed", 21.5)
            assert site.writes()[2:] == [(HEATER, SETPOINT_215)]
            # what the site does not name is refused by the daemon, before anybody is asked
            code, out, said = await write(site, "board.relay2", "on", "--reason", "x", "--yes", "--json")
            assert (code, json.loads(out)["status"], json.loads(out)["code"]) == (1, "rejected", "not_allowed")
            assert len(site.writes()) == 3
            assert await daemon.stop() == 0
            assert results(site) == [
                ("board.relay1", "requested"), ("board.relay1", "confirmed"),
                ("board.relay1", "requested"), ("board.relay1", "confirmed"),
                ("heat.setpoint", "requested"), ("heat.setpoint", "confirmed"),
                ("board.relay2", "not_allowed"),
            ]  # fmt: skip
            first = audit(site)[1]
            assert first["attributes"] | {"command": ""} == {
                "command": "", "point": "board.relay1", "value": True, "who": local_api.operator(), "reason": "trial",
                "via": "local", "result": "ok", "code": "confirmed", "detail": "", "read_back": True,
            }  # fmt: skip
            assert (first["device"], first["place"]) == ("board", {"building": "3#", "room": "101"})

    asyncio.run(main())


@pytest.mark.system
def test_a_device_that_has_always_been_quick_gets_a_command_only_once_when_it_is_silent(tmp_path: Path) -> None:
    """A question that gets no answer is asked once more as soon as the answer is overdue; a command is not."""

    async def main() -> None:
        async with (
            relay_site(tmp_path) as site,
            Child((*GATEWAY, "run", "--config", str(site.config)), tmp_path / "log"),
        ):
            await running(site.store)
            for _ in range(12):
                await polled(site, HEATER, len(site.requests))
            site.dies_of_writes = True
            code, out, err = await write(site, "heat.setpoint", "21.5", "--reason", "x", "--yes", "--json")
            answer = json.loads(out)
            assert (code, answer["status"], answer["code"]) == (1, "unknown", "no_answer"), err
            assert site.writes() == [(HEATER, SETPOINT_215)]

    asyncio.run(main())


@pytest.mark.system
def test_what_a_killed_daemon_was_asked_is_never_done(tmp_path: Path) -> None:
    """kill -9 between the audit and the wire, which somebody else's silence keeps busy."""

    async def main() -> None:
        async with relay_site(tmp_path, SILENT_DEVICE) as site:
            argv = (*GATEWAY, "run", "--config", str(site.config))
            async with Child(argv, tmp_path / "log") as daemon:
                await running(site.store)
                await polled(site, DEAF)  # for 20 s nobody gets a turn
                asking = asyncio.ensure_future(
                    write(site, "board.relay1", "on", "--reason", "trial", "--yes", "--json")
                )
                async with asyncio.timeout(15):
                    while not audit(site):
                        await asyncio.sleep(0.05)
                await daemon.kill()
                code, out, err = await asking
                assert (code, json.loads(out)["status"], json.loads(out)["code"]) == (1, "unknown", "interrupted"), err
            assert results(site) == [("board.relay1", "requested")]
            text = (site.config / "site.yaml").read_text(encoding="utf-8")
            (site.config / "site.yaml").write_text(text.replace(SILENT_DEVICE, ""), encoding="utf-8")
            async with Child(argv, tmp_path / "log") as daemon:
                await running(site.store)
                for _ in range(3):
                    await polled(site, BOARD, len(site.requests))
                assert await daemon.stop() == 0
            assert site.writes() == []
            assert results(site) == [("board.relay1", "requested")]

    asyncio.run(main())


def test_a_daemon_that_falls_silent_leaves_the_result_unknown_and_nothing_is_sent_directly(tmp_path: Path) -> None:
    async def main() -> None:
        taken = asyncio.Event()

        async def answer(request: Mapping[str, Any]) -> Any:
            if request.get("check"):
                return {"id": "1", "point": request["point"], "status": "ready", "settle_s": 0.0}
            taken.set()
            return await asyncio.Event().wait()

        async with relay_site(tmp_path) as site:
            site.store.mkdir()
            async with local_api.serve(site.store, {"write": answer}):
                asking = asyncio.ensure_future(write(site, "board.relay1", "on", "--reason", "x", "--yes", "--json"))
                async with asyncio.timeout(60):
                    await taken.wait()
            code, out, _ = await asking
            assert (code, json.loads(out)["status"], json.loads(out)["code"]) == (1, "unknown", "interrupted")
            assert site.requests == []

    asyncio.run(main())


# ---------------------------------------------------------------------- without the daemon


def test_without_a_daemon_the_line_is_opened_here_and_the_audit_kept_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with relay_site(tmp_path) as site:
            asked = ("board.relay1", "on", "--reason", "trial", "--lang", "en")
            code, out, said = await type_at_terminal(site, "y", *asked)
            assert (code, out) == (0, "done: the device has confirmed it, and it reads back; it reads on\n"), said
            assert "not running" in said
            assert "  now     off" in said
            code, out, _ = await write(site, "board.relay2", "on", "--reason", "x", "--yes", "--json")
            assert (code, json.loads(out)["code"]) == (1, "not_allowed")
            assert site.writes() == [(BOARD, ON)]
            site.faults.kill_line("bus", dead=True)
            code, out, _ = await write(site, "heat.setpoint", "21.5", "--reason", "x", "--yes", "--lang", "en")
            assert code == 1
            assert out.startswith("unknown: go and look")
            assert results(site) == [
                ("board.relay1", "requested"), ("board.relay1", "confirmed"), ("board.relay2", "not_allowed"),
                ("heat.setpoint", "requested"), ("heat.setpoint", "no_answer"),
            ]  # fmt: skip
            chained = [read_line(line) for line in (site.store / "audit.log").read_bytes().splitlines()]
            assert [each.entry["kind"] for each in chained if each] == [item["kind"] for item in audit(site)]
            with reader.opened(site.store) as store:
                assert Anchor.from_bytes(store.state()["audit/head"]) == (1, len(chained), chained[-1].head.hash)
                shown = [item for row in store.rows(Lane.TELEMETRY, 0) for item in json.loads(row.items)]
            assert [(item["p"], item["v"]) for item in shown] == [("board.relay1", False), ("board.relay1", True)]

    asyncio.run(main())


@pytest.mark.system
def test_a_device_that_is_not_the_one_that_is_meant_gets_no_command(tmp_path: Path) -> None:
    """Two cables swapped: the valve that would move is the neighbour's."""

    async def main() -> None:
        asked = ("heat.setpoint", "21.5", "--reason", "x", "--yes", "--json")
        async with relay_site(tmp_path, number="815") as site:
            code, out, _ = await write(site, *asked)
            assert (code, json.loads(out)["code"]) == (1, "wrong_device")
            async with Child((*GATEWAY, "run", "--config", str(site.config)), tmp_path / "log"):
                await running(site.store)
                async with asyncio.timeout(60):
                    while "heat.identity_check" not in str(await local_api.ask(site.store, {"op": "points"})):
                        await asyncio.sleep(0.05)
                code, out, _ = await write(site, *asked)
                assert (code, json.loads(out)["code"]) == (1, "wrong_device")
            assert site.writes() == []

    asyncio.run(main())


def test_a_store_in_other_hands_is_left_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with relay_site(tmp_path) as site:
            site.store.mkdir()
            held = lock.acquire(site.store)  # a daemon that is just starting: it has no socket yet
            try:
                code, out, err = await write(site, "board.relay1", "on", "--reason", "x", "--yes", "--lang", "en")
            finally:
                os.close(held)
            assert (code, out) == (1, "")
            assert "not written" in err
            assert "in use" in err
            assert site.requests == []

    asyncio.run(main())


def test_another_users_store_is_not_written_to(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that we left there could not be opened by the daemon."""
    (config.parent / "store").mkdir()
    owner = os.stat(config).st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    async def main() -> None:
        with pytest.raises(StoreError, match=f"belongs to the user {local_api.user_name(owner)}") as caught:
            async with direct.commands_without_daemon(load(config), "board", SystemClock()):
                raise AssertionError("must not be entered")
        assert caught.value.hint.startswith("run this as that user")

    asyncio.run(main())
    assert list((config.parent / "store").iterdir()) == []


# ---------------------------------------------------------------------- what is typed wrong


def typed(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--config", str(config)])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    async def written() -> None:
        async with relay_site(tmp_path):
            pass

    asyncio.run(written())
    return tmp_path / "config"


WRONG = [
    (("board.rely1", "on", "--reason", "x"), 'no such point: board.rely1 did you mean "board.relay1"?'),
    (("board.relay1", "maybe", "--reason", "x"), "maybe: not a value of this point; it takes on, off"),
    (("heat.setpoint", "-5", "--reason", "x"), "-5: outside the allowed range 5 … 30 Cel"),
    (("heat.setpoint", "21,5", "--reason", "x"), "21,5: not a value of this point; it takes 5 … 30 Cel"),
    (("board.relay1", "on", "--reason", "  "), "--reason must not be empty"),
    (("board.relay1", "on"), "Missing option '--reason'"),
    (("board.relay1", "on", "--reason", "x"), "not a terminal; scripts use --yes"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[said[:12] for _, said in WRONG])
def test_what_is_typed_wrong_is_said_and_goes_nowhere(config: Path, arguments: tuple[str, ...], said: str) -> None:
    result = typed(config, *arguments, "--lang", "en")
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert not (config.parent / "store").exists()


def test_every_outcome_has_its_words_in_both_languages() -> None:
    assert set(CODE_WORDS) == set(Code)
    assert set(STATUS_WORDS) == set(Status)
    for words in (*CODE_WORDS.values(), *STATUS_WORDS.values()):
        assert words.zh
        assert words.en
        assert not any("\u4e00" <= char <= "\u9fff" for char in words.en)


def test_through_sudo_the_person_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "li")
    assert local_api.operator() == f"li ({local_api.user_name(0)})"
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert local_api.operator() == "uid 4000000"
