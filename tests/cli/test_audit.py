"""gateway audit, as it is typed, over what the daemon's own parts have written."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.audit import _WRONG, command
from gateway.cli.direct import StoreAudit
from gateway.clock import SystemClock
from gateway.ids import uuid7
from gateway.model import Event, Place
from gateway.remote.audit_log import FILE, AuditLog
from gateway.remote.chain import Wrong
from gateway.remote.trail import Trail, anchor_in
from gateway.store.log import Store


def keep(directory: Path, count: int) -> None:
    """One life of whoever holds the store: *count* events, to the disk."""

    async def main() -> None:
        clock = SystemClock()
        store = Store(directory, budget_bytes=2**24, boot_id="b", uplinks=[], clock=clock)
        async with store:
            audit = StoreAudit(store, {}, clock)
            trail = Trail(AuditLog(directory, clock), audit, clock, anchor_in(await store.state()))
            async with trail:
                for _ in range(count):
                    now_ms = clock.now_ms()
                    about = {"point": "board.relay1", "value": True, "who": "李工", "via": "local", "result": "ok"}
                    await trail.record(Event(uuid7(now_ms), "command.done", now_ms, "board", Place(), about))
            await audit.flush()

    asyncio.run(main())


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    keep(tmp_path, 3)
    keep(tmp_path, 2)
    return tmp_path


def test_a_whole_audit_is_whole(store: Path) -> None:
    result = typed("verify", "--path", str(store), "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    anchor = found.pop("anchor")
    assert found == {
        "ok": True, "lines": 5, "first_seq": 1, "last_seq": 5, "unanchored": 0, "torn": False, "findings": []
    }  # fmt: skip
    assert (anchor["first_seq"], anchor["seq"]) == (1, 5)
    result = typed("verify", "--path", str(store), "--lang", "en")
    assert result.stdout == "5 lines checked, 0 faults\n"


@pytest.mark.parametrize(
    ("mischief", "said"),
    [
        (lambda lines: [lines[0].replace(b"relay1", b"relay2"), *lines[1:]], "audit.log:1: this line was altered"),
        (lambda lines: lines[:1] + lines[2:], "audit.log:2: lines are missing 2 .. 2"),
        (lambda lines: lines[:4], "audit.log: lines are missing at the end 5 .. 5"),
        (lambda lines: [], "lines are missing at the end 1 .. 5"),
    ],
)
def test_mischief_is_named(store: Path, mischief: object, said: str) -> None:
    lines = (store / FILE).read_bytes().splitlines(keepends=True)
    (store / FILE).write_bytes(b"".join(mischief(lines)))  # type: ignore[operator]
    result = typed("verify", "--path", str(store), "--lang", "en")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == said
    assert typed("verify", "--path", str(store), "--lang", "zh").stdout.splitlines()[-1].endswith("1 处问题")


def test_without_a_store_it_says_what_it_cannot_know(store: Path) -> None:
    for path in store.glob("store.db*"):
        path.unlink()
    result = typed("verify", "--path", str(store), "--lang", "en")
    assert result.exit_code == 0
    assert "there is no anchor" in result.stdout
    assert "no anchor: there is no readable store" in result.stderr


def test_it_is_shown_in_order_and_by_time(store: Path) -> None:
    result = typed("show", "--path", str(store), "--json")
    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == [1, 2, 3, 4, 5]
    result = typed("show", "--path", str(store), "--lang", "en")
    assert result.exit_code == 0
    assert '  command.done  李工 (local)  ok  point="board.relay1" value=true device="board"' in result.stdout
    assert typed("show", "--path", str(store), "--since", "2999-01-01").stdout == ""
    assert len(typed("show", "--path", str(store), "--since", "2020-01-01").stdout.splitlines()) == 5
    result = typed("show", "--path", str(store), "--since", "yesterday", "--lang", "en")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "write 7d or 2026-11-27" in result.stderr


def test_every_finding_has_its_words() -> None:
    assert set(_WRONG) == set(Wrong)
    assert all(text.zh and text.en for text in _WRONG.values())
