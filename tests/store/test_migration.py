"""A4, A21: files of other versions, older and newer, and a migration that is killed."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.main import main
from gateway.envelope import Envelope
from gateway.model import Lane
from gateway.store import database
from gateway.store.log import Store
from gateway.store.reader import opened
from store.rig import draft, drafts, everything, store

FROZEN = Path(__file__).parent / "frozen"
UPLINKS = ("cloud", "property")
EXTRA = """
ALTER TABLE event ADD COLUMN colour TEXT NOT NULL DEFAULT 'none';
ALTER TABLE lane ADD COLUMN weight INTEGER NOT NULL DEFAULT 1;
ALTER TABLE cursor ADD COLUMN note TEXT;
CREATE TABLE receipt (id INTEGER PRIMARY KEY) STRICT;
"""
"""A version to come that only adds."""


def thaw(name: str, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    with closing(sqlite3.connect(directory / "store.db")) as connection:
        connection.executescript(gzip.decompress((FROZEN / name).read_bytes()).decode())


def version(directory: Path) -> int:
    with closing(sqlite3.connect(directory / "store.db")) as connection:
        number: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return number


def content(directory: Path) -> Mapping[str, Sequence[tuple[object, ...]]]:
    """Everything a version 1 file says, read with SQL of its own."""
    queries = {
        **{
            str(lane): "SELECT seq, boot_id, items, records, from_ms, to_ms, total_records, total_bytes, crc FROM "
            f"{lane} ORDER BY seq"
            for lane in Lane
        },
        "lanes": "SELECT name, seq, total_records, total_bytes, evicted, evicted_records, damaged FROM lane",
        "cursors": "SELECT uplink, lane, seq, crc FROM cursor",
        "states": "SELECT key, value, crc FROM state",
        "epoch": "SELECT value FROM meta WHERE key = 'epoch'",
    }
    with closing(sqlite3.connect(directory / "store.db")) as connection:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


async def delivered(log: Store) -> dict[tuple[str, Lane], list[Envelope]]:
    """What each uplink would be sent."""
    return {
        (uplink, lane): [one for one in await everything(log, lane) if one.seq > log.cursor(uplink, lane)]
        for uplink in UPLINKS
        for lane in Lane
    }


def test_a_file_of_version_1_is_used_as_it_is(tmp_path: Path) -> None:
    thaw("v1.sql.gz", tmp_path)
    before = content(tmp_path)
    assert [len(before[lane]) for lane in Lane] == [18, 2, 3, 13, 5, 2]
    assert CliRunner().invoke(main, ["store", "verify", "--path", str(tmp_path)]).exit_code == 0, "before the upgrade"
    assert CliRunner().invoke(main, ["store", "status", "--path", str(tmp_path)]).exit_code == 0

    async def scenario() -> None:
        async with store(tmp_path, uplinks=UPLINKS, budget_bytes=2**20) as log:
            assert log.recovery is None
            waiting = await delivered(log)
            state = await log.state()
        assert content(tmp_path) == before
        assert version(tmp_path) == len(database.scripts()) > 1
        assert state == {key: value for key, value, _ in before["states"]}
        cursors = {(uplink, Lane(str(lane))): seq for uplink, lane, seq, _ in before["cursors"]}
        for (uplink, lane), envelopes in waiting.items():
            rows = [row for row in before[lane] if int(str(row[0])) > int(str(cursors.get((str(uplink), lane), 0)))]
            assert [(e.seq, e.boot_id, e.items, e.count, e.from_ms, e.to_ms) for e in envelopes] == [
                r[:6] for r in rows
            ]
        async with store(tmp_path, uplinks=UPLINKS, budget_bytes=2**20) as log:
            (following,) = await log.commit([draft(Lane.BULK, 1)])
            assert following.seq == int(str(before["bulk"][-1][0])) + 1

    asyncio.run(scenario())
    assert CliRunner().invoke(main, ["store", "verify", "--path", str(tmp_path)]).exit_code == 0


def test_a_damaged_file_of_version_1_is_salvaged(tmp_path: Path) -> None:
    thaw("v1.sql.gz", tmp_path)
    before = content(tmp_path)
    (tmp_path / "store.damaged").write_text("for the test")

    async def scenario() -> None:
        async with store(tmp_path, uplinks=UPLINKS) as log:
            assert log.recovery is not None
            assert [e.items for e in await everything(log, Lane.ALARM)] == [row[2] for row in before["alarm"]]
            assert [e.items for e in await everything(log, Lane.TELEMETRY)] == [row[2] for row in before["telemetry"]]

    asyncio.run(scenario())


# ---------------------------------------------------------------------- killed in the middle

MIGRATING = """
import os, signal, sys
from pathlib import Path
import gateway.store.recovery as recovery
from gateway.store.disk import limits
from support.clock import ManualClock

directory, last, migrate = Path(sys.argv[1]), int(sys.argv[2]), recovery.migrate
steps = 0

def step(statement=None):
    global steps
    steps += 1
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)

def traced(connection, clock):
    connection.set_trace_callback(step)
    migrate(connection, clock)
    connection.set_trace_callback(None)
    step()

recovery.migrate = traced
recovery.prepare(directory, limits(2**20, 2**40), ("cloud", "property"), ManualClock())
print(steps)
"""


def run(program: str, *arguments: str) -> tuple[int, str]:
    tests = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("kills", [20, pytest.param(50, marks=pytest.mark.long)])
def test_a_migration_that_is_killed_leaves_the_old_version_or_the_new(tmp_path: Path, kills: int) -> None:
    thaw("v1.sql.gz", tmp_path / "whole")
    before = content(tmp_path / "whole")
    thaw("v1.sql.gz", tmp_path / "counted")
    _, steps = run(MIGRATING, str(tmp_path / "counted"), "0")
    seen = set()
    for number in range(kills):
        directory = tmp_path / f"killed-{number}"
        thaw("v1.sql.gz", directory)
        status, _ = run(MIGRATING, str(directory), str(int(steps) - number % int(steps)))
        assert status == -signal.SIGKILL
        found = version(directory)
        with closing(sqlite3.connect(directory / "store.db")) as connection:
            columns = {row[1] for row in connection.execute("PRAGMA table_info(telemetry)")}
            marked = connection.execute("SELECT 1 FROM meta WHERE key = 'readable_from'").fetchone()
        assert ("thinned" in columns, marked is not None) == (found == 2, found == 2), "half"
        seen.add(found)

        async def scenario(directory: Path) -> None:
            async with store(directory, uplinks=UPLINKS, budget_bytes=2**20) as log:
                assert log.recovery is None

        asyncio.run(scenario(directory))
        assert content(directory) == before
    assert seen == {1, 2}


# ---------------------------------------------------------------------- rolled back


def upgrade(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    scripts = database.scripts()
    monkeypatch.setattr(database, "scripts", lambda: [*scripts, script])


def test_down_and_up_again_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = len(database.scripts())

    async def live(mark: int) -> str:
        """A day in the life: everything is there, more is accepted, some is delivered, some evicted."""
        async with store(tmp_path, uplinks=UPLINKS, budget_bytes=2**20) as log:
            assert log.recovery is None
            assert log.last_seq(Lane.EVENT) == mark * 10
            events = await everything(log, Lane.EVENT)
            assert [e.from_ms for e in events] == list(range(mark * 10))
            assert await log.state() == {f"key-{number}": b"value" for number in range(mark)}
            assert log.cursor("cloud", Lane.EVENT) == mark * 10
            await log.commit(drafts(Lane.EVENT, range(mark * 10, mark * 10 + 10)), {f"key-{mark}": b"value"})
            await log.acknowledge("cloud", {Lane.EVENT: mark * 10 + 10})
            await log.commit(drafts(Lane.BULK, range(10), 40_000))
            return log.epoch

    epochs = set()
    for mark in range(6):
        with monkeypatch.context() as patch:
            if mark % 2:
                upgrade(patch, EXTRA)
            epochs.add(asyncio.run(live(mark)))
            with opened(tmp_path) as reader:
                assert not list(reader.verify(lambda lane, rows: None))
        assert version(tmp_path) == (ours if mark == 0 else ours + 1)
    assert len(epochs) == 1


def test_a_version_that_changes_more_than_it_adds_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = len(database.scripts())
    with monkeypatch.context() as patch:
        upgrade(patch, EXTRA + f"INSERT OR REPLACE INTO meta (key, value) VALUES ('readable_from', '{ours + 1}');")
        asyncio.run(fill(tmp_path))

    async def scenario() -> None:
        async with store(tmp_path) as log:
            assert log.recovery is not None
            assert log.recovery.moved_to is not None
            assert ".newer-" in log.recovery.moved_to.name
            assert log.last_seq(Lane.EVENT) == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("readable_from", [None, "", "x", "99"])
def test_a_newer_file_that_does_not_say_who_may_read_it_is_set_aside(tmp_path: Path, readable_from: str | None) -> None:
    asyncio.run(fill(tmp_path))
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("DELETE FROM meta WHERE key = 'readable_from'")
        if readable_from is not None:
            connection.execute("INSERT INTO meta (key, value) VALUES ('readable_from', ?)", (readable_from,))
    result = CliRunner().invoke(main, ["store", "status", "--path", str(tmp_path), "--lang", "en"])
    assert result.exit_code == 1
    assert "newer program" in result.stderr

    async def scenario() -> None:
        async with store(tmp_path) as log:
            assert log.recovery is not None
            assert log.recovery.moved_to is not None
            assert ".newer-" in log.recovery.moved_to.name

    asyncio.run(scenario())


async def fill(directory: Path) -> None:
    async with store(directory) as log:
        await log.commit(drafts(Lane.EVENT, range(10)))
