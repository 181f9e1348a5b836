"""A8 .. A10, A12: a disk that fails, is read-only or slow, under a process of its own.

What was accepted is known from what the process had printed when ``commit`` returned, never from the store.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.model import Lane
from gateway.store import recovery
from gateway.store.disk import coax
from gateway.store.recovery import remember_damage
from store.power import need_strace
from store.rig import MIB, draft, everything, store

WRITER = """
import asyncio, sys
from pathlib import Path
from gateway.errors import StoreError
from gateway.model import Lane
from store.rig import MIB, draft, store

directory, goal, patience = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

async def lag(worst):
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.01
        await asyncio.sleep(0.01)
        worst.append(loop.time() - due)

async def main():
    worst, accepted, refused = [], 0, 0
    measuring = asyncio.create_task(lag(worst))
    async with store(directory, budget_bytes=4 * MIB) as log:
        print("epoch", log.epoch, flush=True)
        while accepted < goal and refused < patience:
            try:
                await log.commit([draft(Lane.ALARM, accepted + 1), draft(Lane.BULK, accepted + 1, 20_000)])
            except StoreError as fault:
                refused += 1
                print("refused", fault.hint, flush=True)
            else:
                accepted += 1
                print("accepted", accepted, flush=True)
        measuring.cancel()
    worst.sort()
    print("lag", worst[int(len(worst) * 0.99)], len(worst), flush=True)

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What the process has said."""

    lines: Sequence[str]

    def count(self, word: str) -> int:
        return sum(line.startswith(word) for line in self.lines)

    def said(self, word: str) -> Sequence[str]:
        return next(line.split()[1:] for line in self.lines if line.startswith(word))


def write(directory: Path, goal: int, patience: int, *inject: str) -> Told:
    tests = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}"}
    need_strace()
    faults = [part for fault in inject for part in ("-e", f"inject={fault}")]
    trace = ",".join(fault.partition(":")[0] for fault in inject)
    only = [part for name in ("store.db", "store.db-wal") for part in ("-P", str(directory / name))]
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", *only, "-e", f"trace={trace}", *faults]
    command = [*strace, sys.executable, "-c", WRITER, str(directory), str(goal), str(patience)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Told(done.stdout.splitlines())


async def check(directory: Path, told: Told) -> int:
    """Every alarm that was accepted is there, in order; returns how many more there are.

    A transaction that was refused because it could not be synced may be there all the same, once.
    """
    async with store(directory, budget_bytes=4 * MIB) as log:
        assert log.recovery is None
        assert log.epoch == told.said("epoch")[0]
        alarms = [json.loads(e.items)[0]["t"] for e in await everything(log, Lane.ALARM)]
        assert sorted(set(alarms)) == list(range(1, max(alarms) + 1))
        assert alarms == sorted(alarms)
        assert max(alarms) >= told.count("accepted")
        return len(alarms) - told.count("accepted")


@pytest.mark.parametrize(
    "fault",
    [
        "fdatasync:error=EIO:when=20",
        "fdatasync:error=EIO:when=22..30",
        "pwrite64:error=EIO:when=60..70",
        "pwrite64:error=ENOSPC:when=60..70",
        "pwrite64:error=EROFS:when=60..90",  # as after the kernel has remounted the disk read-only
    ],
)
def test_a_failing_call_is_refused_and_after_it_all_goes_on(tmp_path: Path, fault: str) -> None:
    told = write(tmp_path, 60, 50, fault)
    assert told.count("accepted") == 60
    assert told.count("refused") > 0
    assert asyncio.run(check(tmp_path, told)) <= 1


@pytest.mark.parametrize(
    "fault", ["fdatasync:error=EIO:when=23+", "fdatasync:error=EIO:when=40+", "pwrite64:error=EIO:when=100+"]
)
def test_a_disk_that_fails_for_ever_accepts_nothing_more_and_repeats_nothing(tmp_path: Path, fault: str) -> None:
    told = write(tmp_path, 1000, 25, fault)
    assert 0 < told.count("accepted") < 100
    assert told.count("refused") == 25
    assert all("disk" in line for line in told.lines if line.startswith("refused"))
    assert asyncio.run(check(tmp_path, told)) <= 1, "the same again and again, until it fills the store"


@pytest.mark.parametrize("goal", [12, pytest.param(200, marks=pytest.mark.long)])
def test_a_slow_disk_does_not_hold_up_the_loop(tmp_path: Path, goal: int) -> None:
    """300 ms each sync.  The catalogue's bound is 50 ms; a loop that waited for the disk would show 300."""
    told = write(tmp_path, goal, 1, "fdatasync:delay_enter=300000")
    lag_s, turns = float(told.said("lag")[0]), int(told.said("lag")[1])
    assert turns > 10 * goal, "the loop went on turning"
    print(f"lag p99 {1000 * lag_s:.1f} ms in {turns} turns")
    assert lag_s < 0.25, "every wait for a sync would show as 300 ms; the rest is room for a busy machine"
    assert asyncio.run(check(tmp_path, told)) == 0


# ---------------------------------------------------------------------- a disk that reads only now and then


def test_what_the_disk_refuses_is_asked_for_again(tmp_path: Path) -> None:
    file, chance = tmp_path / "store.db", random.Random(11)
    file.write_bytes(bytes(3 * 2**20))
    read: set[int] = set()
    refused = 0

    def pread(handle: int, size: int, offset: int) -> bytes:
        nonlocal refused
        if chance.random() < 0.5:
            refused += 1
            raise OSError(errno.EIO, "bad block")
        read.add(offset)
        return os.pread(handle, size, offset)

    assert coax(file, 30.0, pread)
    assert refused > 0
    assert read == set(range(0, 3 * 2**20, 256 * 1024))


def test_a_block_that_never_reads_is_given_up_and_the_rest_is_read(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    file.write_bytes(bytes(2**20))
    read: set[int] = set()

    def pread(handle: int, size: int, offset: int) -> bytes:
        if offset == 256 * 1024:
            raise OSError(errno.EIO, "bad block")
        read.add(offset)
        return os.pread(handle, size, offset)

    assert not coax(file, 0.1, pread)
    assert len(read) == 3
    assert coax(tmp_path / "absent", 0.1)


def test_a_salvage_from_a_disk_that_did_not_give_everything_is_not_called_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fill() -> None:
        async with store(tmp_path) as log:
            await log.commit([draft(Lane.ALARM, 1)], {})

    async def start() -> bool:
        async with store(tmp_path) as log:
            assert log.recovery is not None
            return log.recovery.salvage.complete

    asyncio.run(fill())
    for gives, whole in ((True, True), (False, False)):
        remember_damage(tmp_path, "unreadable")
        monkeypatch.setattr(recovery, "coax", lambda path, patience_s, gives=gives: gives)
        assert asyncio.run(start()) is whole
