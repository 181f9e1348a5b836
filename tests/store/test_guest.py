"""A3: the power of a whole machine is cut: kernel, page cache and the cache of its disk are gone."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from store.guest import DISK, Guest

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
import gateway.store.writer as writer
from gateway.model import Lane
from store.rig import MIB, draft, everything, store

directory, commits, synchronous = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def connect(path, limits, original=writer.connect):
    connection = original(path, limits)
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection

writer.connect = connect

async def main():
    async with store(directory, budget_bytes=16 * MIB) as log:
        marks = {}
        for lane in (Lane.EVENT, Lane.BULK):
            marks[lane] = [json.loads(e.items)[0]["t"] for e in await everything(log, lane)]
            whole = marks[lane] == list(range(1, len(marks[lane]) + 1))
            print("found", lane, len(marks[lane]), "whole" if whole else "torn", flush=True)
        print("recovery", log.recovery.fault if log.recovery else "none", flush=True)
        mark = len(marks[Lane.EVENT])
        for mark in range(mark + 1, mark + 1 + commits):
            await log.commit([draft(Lane.EVENT, mark), draft(Lane.BULK, mark, 1500)])
            print("accepted", mark, flush=True)

asyncio.run(main())
"""
HUNG_S = 180.0


class Site:
    """One data disk over all cuts, and the last number that its guest has accepted."""

    def __init__(self, folder: Path, synchronous: str) -> None:
        self._words = (f"{DISK}/store", "1000000", synchronous)
        self._guest = Guest(folder, PROGRAM, str(folder / "trial"), "1", synchronous)
        self.accepted = 0

    def run(self, commits: int, then_s: float) -> str:
        """Start, accept so many, be cut so long after that.  What was wrong at the start; empty when nothing was."""
        before, start = self.accepted, []
        with self._guest.powered(*self._words) as power:
            timers = hung, cut = threading.Timer(HUNG_S, power.cut), threading.Timer(then_s, power.cut)
            hung.start()
            for line in power.said:
                if not line.endswith("\n"):
                    break  # it was cut in the middle of saying it
                if not line.startswith("accepted "):
                    start.append(line.strip())
                else:
                    self.accepted = int(line.split()[1])
                    commits -= 1
                    if not commits:
                        cut.start()
            for timer in timers:
                timer.cancel()
        assert commits <= 0, f"the guest hung or gave up: {start}"
        return lost(start, before)


def lost(start: Sequence[str], accepted: int) -> str:
    if len(start) != 3 or start[2] != "recovery none":
        return f"it started with {start}"
    (_, _, events, whole), (_, _, bulk, whole_bulk) = (line.split() for line in start[:2])
    if events != bulk or {whole, whole_bulk} != {"whole"}:
        return f"half a transaction: {start}"
    # The one commit that was on its way may be there unacknowledged.
    return "" if int(events) - accepted in (0, 1) else f"{accepted} accepted, {events} found"


def cuts(folder: Path, count: int, synchronous: str) -> tuple[int, list[str]]:
    """How many commits were accepted, and what was wrong after each of the cuts."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance, site = random.Random(seed), Site(folder, synchronous)
    wrong = [site.run(chance.randint(1, 300), chance.uniform(0.0, 0.5)) for _ in range(count + 1)]
    return site.accepted, wrong[1:]  # before the first start there was no cut


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_what_was_accepted_survives_the_power_cuts_of_a_guest(tmp_path: Path) -> None:
    accepted, wrong = cuts(tmp_path, 20, "FULL")
    print(f"20 power cuts, {accepted} accepted: {wrong}")
    assert wrong == [""] * 20


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_power_cuts_would_find_losses(tmp_path: Path) -> None:
    """With synchronous=NORMAL a commit does not wait for the disk."""
    accepted, wrong = cuts(tmp_path, 4, "NORMAL")
    print(f"synchronous=NORMAL, {accepted} accepted: {wrong}")
    assert any(wrong)
