"""A2: what commit() has returned survives a power cut at any moment, whatever the disk did with unsynced writes."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from gateway.model import Lane
from store.power import Cut, cuts, need_strace, record
from store.rig import MIB, everything, store

SEED = 20261127
WRITER = """
import asyncio, sys
from pathlib import Path
import gateway.store.writer as writer
from gateway.model import Lane
from store.rig import MIB, draft, minute, store

def connect(path, limits, original=writer.connect):
    connection = original(path, limits)
    connection.execute("PRAGMA synchronous = {synchronous}")
    return connection

writer.connect = connect

async def main():
    async with store(Path(sys.argv[1]), budget_bytes=MIB) as log:
        for mark in range(1, {commits} + 1):
            telemetry = [one for t in range(3) for one in minute(3 * mark + t)]
            drafts = [draft(Lane.EVENT, mark), draft(Lane.BULK, mark, 3000), *telemetry]
            await log.commit(drafts, {{"mark": str(mark).encode()}})
            print("ack", flush=True)

asyncio.run(main())
"""


def recorded(tmp_path: Path, synchronous: str, commits: int, count: int) -> list[Cut]:
    need_strace()
    directory = tmp_path / "recorded"
    directory.mkdir()
    calls = record(WRITER.format(synchronous=synchronous, commits=commits), directory, tmp_path / "strace.log")
    assert sum(call.name == "pwrite64" for call in calls) > 2 * commits
    return list(cuts(calls, directory, count, random.Random(SEED)))


async def judge(directory: Path, cut: Cut) -> str:
    async with store(directory, budget_bytes=MIB) as log:
        if log.recovery is not None:
            return f"replaced: {log.recovery.fault}"
        found = log.last_seq(Lane.EVENT)
        if found < cut.acknowledged:
            return "lost"
        assert found <= cut.acknowledged + 1, "only the one commit that was on its way may be there unacknowledged"
        events = await everything(log, Lane.EVENT)
        assert [json.loads(e.items)[0]["t"] for e in events] == list(range(1, found + 1))
        assert int((await log.state()).get("mark", b"0")) == log.last_seq(Lane.BULK) == found, "half a transaction"
        for lane in (Lane.TELEMETRY, Lane.BULK):
            rows = await everything(log, lane)
            assert [e.seq for e in rows] == list(range(log.first_seq(lane), log.last_seq(lane) + 1))
    return "kept"


def judged(found: list[Cut]) -> Counter[tuple[str, str]]:
    outcomes: Counter[tuple[str, str]] = Counter()
    memory = Path("/dev/shm")  # whether the replayed files reach a disk does not matter
    for cut in found:
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
            for file, content in cut.files.items():
                (Path(name) / file).write_bytes(content)
            outcomes[asyncio.run(judge(Path(name), cut)), cut.way] += 1
    return outcomes


@pytest.mark.parametrize("count", [300, pytest.param(1500, marks=pytest.mark.long)])
def test_what_was_accepted_survives_every_power_cut(tmp_path: Path, count: int) -> None:
    found = recorded(tmp_path, "FULL", commits=count // 4, count=count)
    outcomes = judged(found)
    print(f"{count} power cuts: {dict(outcomes)}")
    assert outcomes.total() == count
    assert {outcome for outcome, _ in outcomes} == {"kept"}, outcomes
    assert min(outcomes.values()) >= count // 5, "each way was tried"
    evicting = [cut for cut in found if cut.acknowledged > 60]
    assert len(evicting) > count // 20, "some cuts fell into evictions"


def test_the_replay_would_find_losses(tmp_path: Path) -> None:
    """With synchronous=NORMAL the log is not synced at a commit."""
    found = recorded(tmp_path, "NORMAL", commits=60, count=100)
    outcomes: Counter[str] = Counter()
    for (outcome, _), number in judged(found).items():
        outcomes[outcome.partition(":")[0]] += number
    print(f"synchronous=NORMAL: {dict(outcomes)}")
    assert outcomes["lost"] + outcomes["replaced"] >= 5, outcomes
