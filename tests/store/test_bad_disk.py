"""A11: blocks that cannot be written, cannot be read, or neither, for seconds, under ext4.

What was accepted is decided by what the process had printed when ``commit`` returned.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from gateway.model import Lane
from store.bad_disk import FAULTS, BadDisk, bad_disk, until
from store.rig import MIB, announced, everything, store

BUDGET_BYTES = 48 * MIB
BACK_S = 10.0
FILLING = 60
"""Commits before each fault: enough to empty the log once, so that it is written over and not only lengthened."""
RESTART_S = 0.5
WRITER = """
import asyncio, os, random, sys
from pathlib import Path
from gateway.errors import StoreCorrupt, StoreError
from gateway.model import Lane
import gateway.store.writer as writer
from store.rig import draft, store

directory, mark, budget_bytes, synchronous = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

def connect(path, limits, original=writer.connect):
    connection = original(path, limits)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection

writer.connect = connect

def forget_pages():
    for file in (directory / "store.db", directory / "store.db-wal"):
        number = os.open(file, os.O_RDONLY)
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(number)

async def main(mark):
    async with store(directory, budget_bytes=budget_bytes) as log:
        print("started", log.recovery.fault if log.recovery else "", flush=True)
        while True:
            await asyncio.sleep(0.02)
            try:
                await log.commit([draft(Lane.ALARM, mark), draft(Lane.BULK, mark, 2000)])
                print("accepted", mark, flush=True)
                mark += 1
                forget_pages()
                await log.after(Lane.BULK, random.randrange(mark), 30)
            except StoreCorrupt:
                raise
            except (StoreError, OSError) as fault:
                print("refused", mark, fault, flush=True)

try:
    asyncio.run(main(mark))
except StoreError as fault:
    print("ended", type(fault).__name__, fault, flush=True)
    sys.exit(1)
"""


class Lost(AssertionError):
    """Something that was accepted."""


class LostInSalvage(Lost):
    """It was there until a start replaced the store."""


class Supervised:
    """Writes until left, then killed; started again whenever it ends, as systemd does."""

    def __init__(self, directory: Path, accepted: list[int], synchronous: str) -> None:
        """*accepted*: the ledger, shared with earlier ones."""
        self._directory = directory
        self._accepted = accepted
        self._synchronous = synchronous
        self.lines: list[str] = []
        self._leaving = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._process = self._spawn()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        while self._thread.is_alive():
            if self._process is not None:
                self._process.kill()
            self._thread.join(0.1)

    def _run(self) -> None:
        while self._process is not None:
            with self._process as process:
                assert process.stdout is not None
                for line in process.stdout:
                    self._see(line.rstrip())
            self.lines.append(f"exit {process.returncode}")
            over = self._leaving.wait(RESTART_S)
            self._process = None if over else self._spawn()

    def _spawn(self) -> subprocess.Popen[str]:
        tests = Path(__file__).parent.parent
        environment = {**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}"}
        mark = self._accepted[-1] + 1 if self._accepted else 1
        words = [str(self._directory), str(mark), str(BUDGET_BYTES), self._synchronous]
        return subprocess.Popen(
            [sys.executable, "-c", WRITER, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )

    def _see(self, line: str) -> None:
        if line.startswith("accepted"):
            self._accepted.append(int(line.split()[1]))
        self.lines.append(line)

    def accepts(self, count: int, limit_s: float) -> float | None:
        """Seconds until *count* more are accepted, None when they are not."""
        goal, started_s = len(self._accepted) + count, time.monotonic()
        return time.monotonic() - started_s if until(lambda: len(self._accepted) >= goal, limit_s) else None


class Trial:
    """The rounds on one disk, and what was seen in them."""

    def __init__(self, disk: BadDisk, synchronous: str = "FULL") -> None:
        self._synchronous = synchronous
        self._disk = disk
        self._directory = disk.folder / "store"
        self.accepted: list[int] = []
        self.seen: Counter[str] = Counter()
        self.back_s: list[float] = []

    def rounds(self, moments_s: Sequence[float]) -> None:
        for for_s in moments_s:
            self.round(for_s)

    def round(self, for_s: float) -> None:
        with Supervised(self._directory, self.accepted, self._synchronous) as writer:
            assert writer.accepts(FILLING, BACK_S) is not None, writer.lines
            self._disk.fail()
            time.sleep(for_s)
            self._disk.heal()
            back_s = None if self._disk.gave_up() else writer.accepts(5, BACK_S)
        self._note(writer.lines)
        if back_s is None:
            assert self._disk.gave_up(), f"the disk works again, the store does not: {writer.lines[-20:]}"
            back_s = self._mounted_again()
        self.back_s.append(back_s)
        self._disk.unmount()  # what only the kernel's memory held is not to count
        self._disk.mount()
        asyncio.run(self._judge())

    def _mounted_again(self) -> float:
        self.seen["mounted again"] += 1
        self._disk.unmount()
        self._disk.mount()
        with Supervised(self._directory, self.accepted, self._synchronous) as writer:
            back_s = writer.accepts(5, BACK_S)
        self._note(writer.lines)
        assert back_s is not None, writer.lines
        return back_s

    def _note(self, lines: Sequence[str]) -> None:
        for line in lines:
            if line.startswith("started "):
                self.seen["store replaced"] += 1
            words = line.split()
            self.seen[" ".join(words[:2]) if words[0] in ("exit", "ended") else words[0]] += 1

    async def _judge(self) -> None:
        async with store(self._directory, budget_bytes=BUDGET_BYTES) as log:
            if log.recovery is not None:
                self.seen["store replaced"] += 1
            held = {lane: await everything(log, lane) for lane in (Lane.ALARM, Lane.BULK)}
            gaps = await announced(log)  # afterwards, since reading finds what is damaged
        for lane, envelopes in held.items():
            marks = Counter(json.loads(e.items)[0]["t"] for e in envelopes)
            missing = sorted(set(self.accepted) - set(marks))
            if missing:
                kind = LostInSalvage if self.seen["store replaced"] else Lost
                raise kind(f"{lane}: {len(missing)} lost, {missing}; {gaps}; {log.recovery}")
            self.seen[f"twice on {lane}"] = sum(marks.values()) - len(marks)
        assert not gaps


def moments_s(chance: random.Random, rounds: int) -> list[float]:
    """How long the disk fails, in seconds: every second time so shortly that ext4 may live through it."""
    return [chance.uniform(0.02, 0.3) if number % 2 else chance.uniform(1, 5) for number in range(rounds)]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", FAULTS)
def test_blocks_that_fail_for_seconds_cost_nothing_that_was_accepted(tmp_path: Path, fault: str) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    with bad_disk(tmp_path, 192 * MIB, FAULTS[fault]) as disk:
        trial = Trial(disk)
        trial.rounds(moments_s(random.Random(seed), 20))
    assert len(trial.back_s) == 20
    print(f"{fault}: {len(trial.accepted)} accepted; back after at most {max(trial.back_s):.2f} s; {dict(trial.seen)}")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_failing_blocks_would_find_losses(tmp_path: Path) -> None:
    """With synchronous=OFF a commit does not hear that the disk refused it."""
    with bad_disk(tmp_path, 192 * MIB, FAULTS["writes"]) as disk:
        trial = Trial(disk, "OFF")
        with pytest.raises(Lost):
            trial.rounds(moments_s(random.Random(1), 20))
    print(f"synchronous=OFF: lost something in round {len(trial.back_s)}")
