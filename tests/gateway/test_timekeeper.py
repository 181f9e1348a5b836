"""A box that learns the time late, in virtual time: the real store, pipeline and rules, a kernel that tells when told.

The truth is known to the test: what it is at any instant is TRUE plus the loop's time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import ClockState, GatewayClock, recall
from gateway.errors import StoreFull
from gateway.ids import uuid7
from gateway.model import Device, Event, Gap, Lane, Place, Point, Reading, Text, ValueKind
from gateway.pipeline import Pipeline
from gateway.store.log import Store
from gateway.store.reader import opened
from gateway.store.restamp import HELD, STATE_KEY
from gateway.timekeeper import Timekeeper
from rules.definition import read_rules
from rules.engine import Engine, Instant
from support.clock import LoopKernel
from support.virtual_time import run

BUILT, TRUE = 1_790_000_000_000, 1_795_000_000_000
ENERGY = Point("m1.energy", ValueKind.NUMBER, Text("能", "energy"), 10.0, "kW.h", Lane.BILLING)
LEL = Point("gas1.lel", ValueKind.NUMBER, Text("气", "gas"), 10.0, "%[LEL]")
POINTS = {point.id: point for point in (ENERGY, LEL)}
DEVICES = (
    Device("m1", "power_meter", Text("表", "meter"), Place(), "test", (ENERGY,)),
    Device("gas1", "gas_detector", Text("气", "gas"), Place(), "test", (LEL,)),
)
RULE = {
    "id": "gas_high",
    "when": "gas1.lel >= 10 %LEL",
    "for": "30s",
    "priority": "critical",
    "message": {"zh": "燃气", "en": "gas"},
}


def true_ms() -> int:
    return TRUE + round(asyncio.get_running_loop().time() * 1000)


@dataclass
class Running:
    clock: GatewayClock
    store: Store
    pipeline: Pipeline
    timekeeper: Timekeeper
    states: list[ClockState]
    left: dict[Lane, list[dict[str, Any]]] = field(default_factory=lambda: {lane: [] for lane in Lane})
    """What an uplink was given, in order."""

    async def deliver(self) -> None:
        seqs = dict.fromkeys(Lane, 0)
        seen = 0
        while True:
            seen = await self.store.wait_for_commit(seen)
            for lane in Lane:
                while page := await self.store.after(lane, seqs[lane], 50):
                    seqs[lane] = page[-1].seq
                    self.left[lane] += [item for each in page for item in json.loads(each.items)]

    async def until(self, true: Callable[[], bool]) -> None:
        """Threads take real time, in which virtual time passes quickly: wait for what happens, not for seconds."""
        limit_s = time.monotonic() + 30
        while not true():
            assert time.monotonic() < limit_s, "never came"
            await asyncio.sleep(0.25)

    async def delivered(self, lane: Lane, count: int) -> None:
        await self.until(lambda: len(self.left[lane]) >= count)

    async def told(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The attributes of the last event of this *kind*, when there are so many; more is a fault."""
        await self.until(lambda: len(notes(self.left[Lane.EVENT], kind)) >= count)
        found = notes(self.left[Lane.EVENT], kind)
        assert len(found) == count
        return found[-1]

    async def collect(self, seconds: float) -> None:
        """Every second a reading of each point, whose value is the truth in seconds, and every tenth an event."""
        for count in range(round(seconds)):
            now_ms, truth_s = self.clock.now_ms(), true_ms() / 1000
            await self.pipeline.submit([Reading(point, truth_s, now_ms, now_ms) for point in POINTS])
            if count % 10 == 0:
                event = Event(uuid7(now_ms), "tick", self.clock.now_ms(), None, Place(), {"truth_s": truth_s})
                self.pipeline.note(event)
            await asyncio.sleep(1.0)


@dataclass
class Box:
    directory: Path
    kernel: LoopKernel = field(default_factory=lambda: LoopKernel(wall_ms=0))
    starts: int = 0

    @asynccontextmanager
    async def start(self, *, wait_s: float = 600.0, orderly: bool = False) -> AsyncIterator[Running]:
        """Unless *orderly* it ends as by ``kill -9``: what is not on disk is lost."""
        self.starts += 1
        clock = GatewayClock(recall(self.directory), self.kernel, floor_ms=BUILT)
        boot_id = f"start-{self.starts}"
        async with Store(
            self.directory, budget_bytes=64 * 2**20, boot_id=boot_id, uplinks=("main",), clock=clock
        ) as store:
            rules, faults = read_rules({"format": "rules/1", "rules": [RULE]}, DEVICES)
            assert not faults
            engine = Engine(rules, POINTS, DEVICES, new_id=uuid7, started=Instant(clock.monotonic_s(), clock.now_ms()))
            pipeline = Pipeline(store, engine, POINTS, clock)
            states: list[ClockState] = []
            timekeeper = Timekeeper(clock, store, pipeline, self.directory, boot_id, wait_s, states.append)
            await timekeeper.begin(await store.state())
            running = Running(clock, store, pipeline, timekeeper, states)
            tasks = [asyncio.ensure_future(each) for each in (pipeline.run(), timekeeper.run(), running.deliver())]
            try:
                yield running
                assert not [task for task in tasks if task.done()], "nothing may have failed"
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            if orderly:
                await pipeline.drain()
                await timekeeper.end()

    def synchronise(self) -> None:
        self.kernel.synchronise(true_ms())

    def stored(self, lane: Lane) -> list[dict[str, Any]]:
        with opened(self.directory) as reader:
            assert list(reader.verify(lambda lane, more: None)) == []
            return [item for row in reader.rows(lane) for item in json.loads(row.items)]


def errors_s(items: list[dict[str, Any]]) -> Iterator[float]:
    """How wrong the time of each reading is."""
    return (item["t"] / 1000 - item["v"] for item in items)


def notes(items: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item["attributes"] for item in items if item["kind"] == kind]


def test_what_was_collected_from_second_0_leaves_with_the_right_time(tmp_path: Path) -> None:
    async def main() -> None:
        box = Box(tmp_path)
        async with box.start() as it:
            await it.collect(120)
            assert it.clock.state() is ClockState.UNKNOWN
            assert it.clock.now_ms() < BUILT + 200_000, "the box believes what it can"
            assert [len(it.left[lane]) for lane in HELD] == [0, 0, 0]
            assert it.store.held()[Lane.BILLING] > 0
            await it.until(lambda: len(notes(it.left[Lane.EVENT], "tick")) == 12)  # what is urgent has left
            box.synchronise()
            await it.collect(30)
            told = await it.told("clock.synchronised")
            assert it.states == [ClockState.SYNCED]
            assert it.timekeeper.figures()["held"] == {}
            for lane in (Lane.BILLING, Lane.TELEMETRY):
                await it.delivered(lane, 150)
                assert not [item for item in it.left[lane] if "c" in item]
                assert max(map(abs, errors_s(it.left[lane]))) < 0.1
            assert told["boot_id"] == "start-1"
            assert told["restamped"] > 0
            assert told["shift_ms"] == it.timekeeper.figures()["clock_shift_ms"]
            for item in it.left[Lane.EVENT]:
                if item["kind"] == "tick":
                    right_ms = item["t"] + (told["shift_ms"] if item.get("c") == "unknown" else 0)
                    assert abs(right_ms / 1000 - item["attributes"]["truth_s"]) < 0.1
        values = [item["v"] for item in box.stored(Lane.BILLING)]
        assert values == sorted(values), "in the order they were made"

    run(main())


def test_who_learns_nothing_within_the_wait_sends_it_marked_and_says_the_shift_later(tmp_path: Path) -> None:
    async def main() -> None:
        box = Box(tmp_path)
        async with box.start(wait_s=60.0) as it:
            await it.collect(55)
            assert it.left[Lane.BILLING] == []
            await it.collect(10)
            await it.delivered(Lane.BILLING, 65)
            assert {item["c"] for item in it.left[Lane.BILLING]} == {"unknown"}
            before = list(it.left[Lane.BILLING])
            box.synchronise()
            await it.collect(10)
            told = await it.told("clock.synchronised")
            await it.delivered(Lane.BILLING, 75)
        stored = box.stored(Lane.BILLING)
        assert stored[: len(before)] == before, "what has left is never changed"
        right = [item | {"t": item["t"] + (told["shift_ms"] if "c" in item else 0)} for item in stored]
        assert max(map(abs, errors_s(right))) < 0.1

    run(main())


@pytest.mark.parametrize("while_down", [False, True], ids=["learnt by the second start", "learnt while it was down"])
def test_two_starts_in_one_boot_are_corrected_together(tmp_path: Path, while_down: bool) -> None:
    async def main() -> None:
        box = Box(tmp_path)
        async with box.start() as it:
            await it.collect(40)
            await it.until(lambda: not it.pipeline.waiting() and it.store.held().get(Lane.BILLING, 0) > 0)
        if while_down:
            box.synchronise()
        async with box.start() as it:
            assert it.clock.state() is (ClockState.SYNCED if while_down else ClockState.UNKNOWN)
            await it.collect(20)
            box.synchronise()
            await it.collect(10)
            await it.told("clock.synchronised", 1 if while_down else 2)
            told = notes(it.left[Lane.EVENT], "clock.synchronised")
            assert [each["boot_id"] for each in told] == (["start-1"] if while_down else ["start-1", "start-2"])
            assert len({each["shift_ms"] for each in told}) == 1
            billing = it.left[Lane.BILLING]
            await it.delivered(Lane.BILLING, 69)  # what was on its way to the disk at the kill may be gone
            assert not [item for item in billing if "c" in item]
            assert max(map(abs, errors_s(billing))) < 0.1
            assert not [key for key in await it.store.state() if key.startswith(STATE_KEY)]

    run(main())


def test_another_boot_sends_marked_what_the_last_one_left_and_waits_anew(tmp_path: Path) -> None:
    async def main() -> None:
        box = Box(tmp_path)
        async with box.start(orderly=True) as it:
            await it.collect(20)
        rebooted = Box(tmp_path, LoopKernel(wall_ms=0, boot_id="boot-2"))
        async with rebooted.start() as it:
            assert it.clock.now_ms() >= BUILT + 20_000, "time does not run backwards"
            await it.collect(5)
            await it.delivered(Lane.BILLING, 20)
            assert {item["c"] for item in it.left[Lane.BILLING]} == {"unknown"}
            assert len(it.left[Lane.BILLING]) == 20
            rebooted.synchronise()
            await it.collect(3)
            await it.delivered(Lane.BILLING, 28)
            assert max(map(abs, errors_s(it.left[Lane.BILLING][20:]))) < 0.1

    run(main())


def test_where_a_whole_boot_waited_in_vain_the_next_one_does_not_wait(tmp_path: Path) -> None:
    async def main() -> None:
        async with Box(tmp_path).start(wait_s=10.0, orderly=True) as it:
            await it.collect(15)
            await it.delivered(Lane.BILLING, 10)
        rebooted = Box(tmp_path, LoopKernel(wall_ms=0, boot_id="boot-2"))
        async with rebooted.start(wait_s=3600.0) as it:
            await it.collect(5)
            await it.delivered(Lane.BILLING, 20)
            rebooted.synchronise()
            await it.told("clock.synchronised")
            await it.until(lambda: not it.pipeline.waiting())
        third = Box(tmp_path, LoopKernel(wall_ms=0, boot_id="boot-3"))
        async with third.start(wait_s=3600.0) as it:
            await it.collect(5)
            await it.until(
                lambda: it.store.held().get(Lane.BILLING, 0) > 0
            )  # since it has been told the time there once

    run(main())


def test_a_person_who_sets_the_clock_parts_the_timeline_and_both_parts_become_right(tmp_path: Path) -> None:
    async def main() -> None:
        box = Box(tmp_path)
        async with box.start(wait_s=3600.0) as it:
            await it.collect(30)
            box.kernel.set_wall(true_ms() - 90_000)  # a minute and a half wrong
            await it.collect(150)
            assert (await it.told("clock.set"))["shift_ms"] > 10**9
            assert it.clock.state() is ClockState.UNKNOWN
            assert abs(it.clock.now_ms() - (true_ms() - 90_000)) < 100
            assert it.left[Lane.BILLING] == [], "nobody has said that it is right"
            box.synchronise()
            await it.collect(10)
            await it.delivered(Lane.BILLING, 190)
            assert not [item for item in it.left[Lane.BILLING] if "c" in item]
            assert max(map(abs, errors_s(it.left[Lane.BILLING]))) < 0.1
            await it.told("clock.synchronised", 2)
            told = notes(it.left[Lane.EVENT], "clock.synchronised")[-1]
            assert abs(told["shift_ms"] - 90_000) < 100

    run(main())


@pytest.mark.parametrize("wall_ms", [0, TRUE + 90_000, TRUE - 90_000], ids=["1970", "ahead", "behind"])
def test_records_on_their_way_while_the_clock_switches_are_corrected_once(tmp_path: Path, wall_ms: int) -> None:
    async def main() -> None:
        box = Box(tmp_path, LoopKernel(wall_ms))
        async with box.start() as it:
            await it.collect(100)
            early_ms, truth_s = it.clock.now_ms(), true_ms() / 1000
            early = [Reading(ENERGY.id, truth_s, early_ms, early_ms), Gap("line_lost", early_ms - 5000, early_ms)]
            await asyncio.sleep(0.5)
            box.synchronise()
            await it.until(lambda: it.clock.state() is ClockState.SYNCED)
            await it.pipeline.submit(early)
            await it.delivered(Lane.BILLING, 101)
            await it.delivered(Lane.GAP, 1)
            assert max(map(abs, errors_s(it.left[Lane.BILLING]))) < 0.1
            assert it.pipeline.latest[ENERGY.id].source_time_ms == round(truth_s * 1000)
            (gap,) = it.left[Lane.GAP]
            assert (gap["from_ms"], gap["to_ms"]) == (round(truth_s * 1000) - 5000, round(truth_s * 1000))

    run(main())


@pytest.mark.parametrize("back_s", [-3600.0, -90.0, 90.0])
def test_a_box_that_was_ahead_or_a_little_off_is_corrected_too(tmp_path: Path, back_s: float) -> None:
    async def main() -> None:
        box = Box(tmp_path, LoopKernel(wall_ms=TRUE - round(1000 * back_s)))
        async with box.start() as it:
            await it.collect(100)
            box.synchronise()
            await it.collect(10)
            await it.delivered(Lane.BILLING, 110)
            assert max(map(abs, errors_s(it.left[Lane.BILLING]))) < 0.1
            told = await it.told("clock.synchronised")
            assert told["shift_ms"] == round(1000 * back_s)

    run(main())


def test_an_alarm_for_30_s_fires_after_30_s_over_the_switch_and_is_shown_with_the_right_time(tmp_path: Path) -> None:
    async def main() -> None:
        box = Box(tmp_path)
        async with box.start() as it:
            begun_s = asyncio.get_running_loop().time()
            now_ms = it.clock.now_ms()
            await it.pipeline.submit([Reading(LEL.id, 25.0, now_ms, now_ms)])
            await asyncio.sleep(10)
            box.synchronise()
            for _ in range(3):
                await asyncio.sleep(9)
                now_ms = it.clock.now_ms()
                await it.pipeline.submit([Reading(LEL.id, 25.0, now_ms, now_ms)])
            await it.delivered(Lane.ALARM, 1)
            (item,) = it.left[Lane.ALARM]
            fired_ms = TRUE + round(1000 * (begun_s + 30))
            assert abs(item["t"] - fired_ms) < 1000
            (alarm,) = it.pipeline.engine.alarms()
            assert abs(alarm.since_ms - fired_ms) < 1000

    run(main())


def test_a_store_that_refuses_to_correct_is_asked_again_and_holds_nothing_for_ever(tmp_path: Path) -> None:
    async def main() -> None:
        box = Box(tmp_path)
        async with box.start(wait_s=60.0) as it:
            await it.collect(20)
            rewrite, asked = it.store.rewrite, 0

            async def refuse(*_: Any) -> tuple[int | None, int]:
                nonlocal asked
                asked += 1
                raise StoreFull("full", hint="")

            it.store.rewrite = refuse  # type: ignore[method-assign]
            box.synchronise()
            await it.until(lambda: asked >= 4)
            assert it.left[Lane.BILLING] == []
            await it.delivered(Lane.BILLING, 20)  # marked
            it.store.rewrite = rewrite  # type: ignore[method-assign]
            await it.told("clock.synchronised")
            assert len(notes(it.left[Lane.EVENT], "clock.synchronised")) == 1

    run(main())


def test_a_box_that_knows_the_time_waits_for_nothing_and_leaves_no_trace(tmp_path: Path) -> None:
    async def main() -> None:
        box = Box(tmp_path)
        box.kernel.synchronise(TRUE)
        async with box.start() as it:
            await it.collect(5)
            await it.delivered(Lane.BILLING, 5)
            assert it.states == []
            box.kernel.synchronised = False
            await it.collect(5)
            await it.until(lambda: it.states == [ClockState.HOLDOVER])
            await it.delivered(Lane.BILLING, 10)
            assert it.left[Lane.BILLING][-1]["c"] == "holdover"
            assert not [key for key in await it.store.state() if key.startswith(STATE_KEY)]
            assert it.timekeeper.figures() == {"clock": "holdover", "clock_shift_ms": None, "held": {}}

    run(main())


def test_the_time_is_saved_at_the_start_every_hour_and_at_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        box = Box(tmp_path)
        async with box.start(orderly=True) as it:
            begun_ms = recall(tmp_path).seen_ms
            assert begun_ms == it.clock.now_ms()
            await asyncio.sleep(3500)
            assert recall(tmp_path).seen_ms == begun_ms
            await it.until(lambda: recall(tmp_path).seen_ms != begun_ms)
            assert abs(recall(tmp_path).seen_ms - begun_ms - 3_600_000) < 5000
            await asyncio.sleep(100)
            end_ms = it.clock.now_ms()
        assert recall(tmp_path).seen_ms >= end_ms

    run(main(), grace_s=0.0002)
