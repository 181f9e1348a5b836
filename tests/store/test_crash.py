"""kill -9 while committing: what was printed as accepted is there afterwards, and nothing is missing in between."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from gateway.model import Lane
from gateway.store.reader import opened
from store.rig import everything, store

KILLS = 20
CHILD = """
import asyncio, sys
from pathlib import Path
from gateway.model import Lane
from store.rig import MIB, draft, store

async def main():
    async with store(Path(sys.argv[1]), budget_bytes=8 * MIB) as log:
        mark = log.last_seq(Lane.EVENT)
        await log.acknowledge("main", {Lane.BULK: log.last_seq(Lane.BULK)})
        while True:
            mark += 1
            drafts = [draft(Lane.EVENT, mark), draft(Lane.BULK, mark, 3000), draft(Lane.BULK, mark, 9000)]
            accepted = await log.commit(drafts, {"mark": str(mark).encode()})
            print(accepted[0].seq, accepted[2].seq, flush=True)

asyncio.run(main())
"""


def test_kill_9_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    tests = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}"}
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    accepted_total, epochs = 0, set()
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, env=environment, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.15))
        child.send_signal(signal.SIGKILL)
        lines = child.stdout.read().splitlines()
        child.stdout.close()
        child.wait()
        whole = [line for line in lines if len(line.split()) == 2]
        last_event, last_bulk = map(int, whole[-1].split()) if whole else (0, 0)
        with opened(tmp_path) as reader:
            assert list(reader.verify(lambda lane, rows: None)) == [], f"seed {seed}"
            epochs.add(reader.epoch)
        asyncio.run(check(tmp_path, last_event, last_bulk))
        accepted_total += len(whole)
    assert len(epochs) == 1
    assert accepted_total > KILLS


async def check(directory: Path, last_event: int, last_bulk: int) -> None:
    async with store(directory, budget_bytes=8 * 2**20) as log:
        assert log.recovery is None
        assert log.last_seq(Lane.EVENT) >= last_event
        assert log.last_seq(Lane.BULK) >= last_bulk
        assert log.last_seq(Lane.BULK) == 2 * log.last_seq(Lane.EVENT), "a transaction is whole or not there"
        assert int((await log.state())["mark"]) == log.last_seq(Lane.EVENT)
        events = await everything(log, Lane.EVENT)
        assert [e.seq for e in events] == list(range(1, log.last_seq(Lane.EVENT) + 1))
        assert [json.loads(e.items)[0]["t"] for e in events] == [e.seq for e in events]
        bulk = await everything(log, Lane.BULK)
        assert [e.seq for e in bulk] == list(range(bulk[0].seq, log.last_seq(Lane.BULK) + 1))
