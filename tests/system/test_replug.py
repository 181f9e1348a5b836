"""An adapter that is pulled out and comes back under another name: all goes on by itself, and nothing is left over.

The waiting itself is proved in virtual time with the product's own constants; the real ports are there for descriptors,
names and hang-ups, with pauses fifty times shorter.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from drivers.base import SerialFormat
from gateway import supervisor
from gateway.schedule import Backoff
from support import virtual_time
from support.chaos import KINDS, Field, Kind, MemoryLink, field_of
from support.descriptors import nothing_new_since, open_descriptors

TIMES = 50
BACK_WITHIN_S = 5.0
SEED = 20261122


def good(field_: Field) -> int:
    return sum(map(len, field_.verdict.good_at_s.values()))


async def seconds_until_all_answer(field_: Field) -> float:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    async with asyncio.timeout(60.0):
        while not all(field_.verdict.good_at_s.get(name, [0.0])[-1] > started_s for name in field_.names):
            await asyncio.sleep(0.005)
    return loop.time() - started_s


@pytest.mark.parametrize("kind", [KINDS["modbus-rtu"], KINDS["dlt645"]], ids=["modbus-rtu", "dlt645"])
def test_whatever_the_outage_a_line_is_back_within_five_seconds(kind: Kind) -> None:
    async def main() -> list[float]:
        chance = random.Random(SEED)
        took_s = []
        async with field_of(kind, seed=SEED, devices=3) as running:
            assert isinstance(running.link, MemoryLink)
            for _ in range(TIMES):
                await seconds_until_all_answer(running)
                running.link.unplug()
                await asyncio.sleep(chance.choice((0.01, 1.0, 30.0, 3600.0)) * chance.random())
                running.link.absent = False
                took_s.append(await seconds_until_all_answer(running))
            assert not running.verdict.wrong
            assert running.line.stats.opened == TIMES + 1
        return took_s

    took_s = virtual_time.run(main(), grace_s=0.0)
    assert max(took_s) < BACK_WITHIN_S, f"seed {SEED}: {sorted(took_s)[-3:]}"


def test_the_pauses_leave_time_to_open_and_to_ask() -> None:
    longest_s = supervisor.REOPEN.cap_s * (1 + supervisor.REOPEN.jitter)
    assert longest_s <= BACK_WITHIN_S / 2


@pytest.mark.system
def test_an_adapter_that_returns_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "REOPEN", Backoff(first_s=0.01, cap_s=0.04))
    by_id = tmp_path / "usb-1a86_USB_Serial-if00-port0"

    async def main() -> tuple[set[str], list[float]]:
        names, took_s = set(), []
        before = open_descriptors()
        async with field_of(
            KINDS["dlt645"],
            seed=SEED,
            over="pty",
            devices=2,
            interval_s=0.02,
            serial=SerialFormat(115200, "E"),
            turnaround_s=(0.001, 0.002),
            by_id=by_id,
        ) as running:
            assert running.wire is not None
            await seconds_until_all_answer(running)
            open_ = open_descriptors()
            for _ in range(TIMES):
                names.add(os.readlink(by_id))
                last = os.readlink(by_id)
                running.wire.unplug()
                assert not by_id.exists()
                while running.line.stats.open:
                    await asyncio.sleep(0.002)
                running.wire.plug()
                assert os.readlink(by_id) != last
                took_s.append(await seconds_until_all_answer(running))
            assert len(open_descriptors()) == len(open_)
            assert not running.verdict.wrong
            assert running.line.stats.opened >= TIMES + 1
        assert await nothing_new_since(before)
        return names, took_s

    names, took_s = asyncio.run(main())
    assert len(names) > 1
    assert max(took_s) < BACK_WITHIN_S, sorted(took_s)[-3:]
