"""A1, A4: kill -9 while committing, evicting, thinning and emptying the log.

What was printed as accepted is there afterwards, nothing is missing in between, and a transaction is whole or absent.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.model import Lane
from gateway.store.reader import opened
from store.power import need_strace
from store.rig import MIB, announced, everything, store

READY_S = 5.0
CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
import gateway.store.writer as writer
from gateway.model import Lane
from store.rig import MIB, draft, minute, store

wanted, count = sys.argv[2], int(sys.argv[3])

def connect(path, limits, original=writer.connect):
    connection = original(path, limits)
    if wanted:
        connection.set_trace_callback(kill)
    return connection

def kill(statement):
    global count
    count -= wanted in statement
    if not count:
        os.kill(os.getpid(), signal.SIGKILL)

writer.connect = connect

async def main():
    async with store(Path(sys.argv[1]), budget_bytes=2 * MIB) as log:
        mark = log.last_seq(Lane.EVENT)
        print("ready", flush=True)
        while True:
            mark += 1
            bulk = [draft(Lane.BULK, mark, size) for size in (3000, 9000)]
            accepted = await log.commit([draft(Lane.EVENT, mark), *bulk, *minute(mark)], {"mark": str(mark).encode()})
            print(accepted[0].seq, accepted[2].seq, flush=True)

asyncio.run(main())
"""


def environment() -> dict[str, str]:
    tests = Path(__file__).parent.parent
    return {**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}"}


def child(directory: Path, *before: str, statement: str = "", number: int = 0) -> subprocess.Popen[str]:
    command = [*before, sys.executable, "-c", CHILD, str(directory), statement, str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True)


def killed(process: subprocess.Popen[str], kill: Callable[[], None] = lambda: None) -> list[tuple[int, int]]:
    """The last numbers of the event and the bulk lane of every commit that the process had reported."""
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        kill()
        lines = process.stdout.read().splitlines()
        status = process.wait()
    assert status == -signal.SIGKILL
    numbers = [line.split() for line in lines if not line.startswith("20")]
    return [(int(words[0]), int(words[1])) for words in numbers if len(words) == 2]


def check(directory: Path, accepted: list[tuple[int, int]]) -> str:
    """The epoch."""
    with opened(directory) as reader:
        assert list(reader.verify(lambda lane, rows: None)) == []
    started = time.monotonic()
    last_event, last_bulk = accepted[-1] if accepted else (0, 0)
    return asyncio.run(whole(directory, last_event, last_bulk, started))


async def whole(directory: Path, last_event: int, last_bulk: int, started: float) -> str:
    async with store(directory, budget_bytes=2 * MIB) as log:
        assert time.monotonic() - started < READY_S
        assert log.recovery is None
        assert log.last_seq(Lane.EVENT) >= last_event
        assert log.last_seq(Lane.BULK) >= last_bulk
        assert log.last_seq(Lane.BULK) == 2 * log.last_seq(Lane.EVENT), "a transaction is whole or not there"
        assert int((await log.state()).get("mark", b"0")) == log.last_seq(Lane.EVENT)
        events = await everything(log, Lane.EVENT)
        assert [json.loads(e.items)[0]["t"] for e in events] == [e.seq for e in events]
        gone: dict[str, list[int]] = {lane: [] for lane in Lane}
        for gap in await announced(log):
            gone[str(gap["lane"])] += range(int(str(gap["from_seq"])), int(str(gap["to_seq"])) + 1)
        for lane, numbers in gone.items():
            held = [e.seq for e in await everything(log, Lane(lane))]
            assert sorted(numbers) + held == list(range(1, log.last_seq(Lane(lane)) + 1)), "announced exactly once"
        return log.epoch


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.timeout(900)
def test_kill_9_loses_nothing_that_was_accepted(tmp_path: Path, kills: int) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    moments = random.Random(seed)
    accepted_total, epochs = 0, set()
    for _ in range(kills):
        process = child(tmp_path)

        def kill(process: subprocess.Popen[str] = process) -> None:
            time.sleep(moments.uniform(0.0, 0.15))
            process.send_signal(signal.SIGKILL)

        accepted = killed(process, kill)
        accepted_total += len(accepted)
        epochs.add(check(tmp_path, accepted))
    print(f"{kills} kills, {accepted_total} commits accepted")
    assert len(epochs) == 1
    assert accepted_total > kills


STATEMENTS = ("DELETE FROM bulk", "DELETE FROM telemetry", "INSERT INTO telemetry", "INSERT OR REPLACE INTO lane",
              "INSERT INTO gap", "COMMIT")  # fmt: skip


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.long)])
def test_killed_in_the_middle_of_an_eviction(tmp_path: Path, statement: str, kills: int) -> None:
    """With a store that evicts and thins all the time: just before the statement is carried out."""
    chance = random.Random(statement)
    accepted_total, epochs = 0, set()
    for _ in range(kills):
        accepted = killed(child(tmp_path, statement=statement, number=chance.randint(1, 12)))
        accepted_total += len(accepted)
        epochs.add(check(tmp_path, accepted))
    assert len(epochs) == 1
    with opened(tmp_path) as reader:
        bulk = reader.status().lanes[Lane.BULK]
        assert bulk.evicted > 0 or statement in ("COMMIT", "INSERT INTO telemetry")


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.long)])
def test_killed_while_the_log_is_emptied(tmp_path: Path, kills: int) -> None:
    """Only a checkpoint writes into the file itself; the kernel stops the process at one of those writes."""
    need_strace()
    chance = random.Random(kills)
    epochs = set()
    for _ in range(kills):
        write = f"inject=pwrite64:signal=SIGKILL:when={chance.randint(30, 400)}"
        strace = (
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-P",
            str(tmp_path / "store.db"),
            "-e",
            "trace=pwrite64",
            "-e",
            write,
        )
        epochs.add(check(tmp_path, killed(child(tmp_path, *strace))))
    assert len(epochs) == 1
