"""The wall clock is set while everything runs: polls, alarm delays and their order do not notice.  Virtual time."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pytest

from gateway.envelope import Draft, Envelope
from gateway.errors import DeviceUnreachable
from gateway.ids import uuid7
from gateway.model import Device, Gap, Lane, Place, Point, Reading, Text, ValueKind
from gateway.pipeline import Pipeline
from gateway.quality import QualityGate
from gateway.schedule import Job
from gateway.supervisor import Line
from rules.definition import read_rules
from rules.engine import Engine, Instant
from support.clock import LoopClock
from support.reports import untaken
from support.virtual_time import run

YEAR_S = 365.25 * 86400
STEP_AT_S = 30.02
LEL = Point("gas1.lel", ValueKind.NUMBER, Text("气", "gas"), 1.0, "%[LEL]")
DEVICE = Device("gas1", "gas_detector", Text("气", "gas"), Place(), "test", (LEL,))
RULES = {
    "format": "rules/1",
    "rules": [
        {
            "id": "gas_high",
            "when": "gas1.lel >= 10 %LEL",
            "for": "30s",
            "if_no_data": "alarm",
            "priority": "critical",
            "message": {"zh": "燃气", "en": "gas"},
        }
    ],
}


class SteppedClock(LoopClock):
    """The wall clock is off by what *wrong_s* says at the loop's time."""

    def __init__(self, wrong_s: Callable[[float], float]) -> None:
        super().__init__()
        self._wrong_s = wrong_s

    def now_ms(self) -> int:
        return super().now_ms() + round(1000 * self._wrong_s(asyncio.get_running_loop().time()))


class Wire:
    last_answer = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...


@dataclass
class Detector:
    """Gas from second 20 on; an answer is stamped and then takes its way, on which the clock may be set."""

    clock: LoopClock
    asked_s: list[float] = field(default_factory=list)

    def batches(self, points: Sequence[str]) -> Sequence[Sequence[str]]:
        return [points]

    async def poll(self, points: Sequence[str]) -> Sequence[Reading]:
        loop = asyncio.get_running_loop()
        self.asked_s.append(loop.time())
        value = 20.0 + loop.time() if loop.time() >= 20 else 1.0 + loop.time() / 100
        now_ms = self.clock.now_ms()
        await asyncio.sleep(0.05)
        return [Reading(point, value, now_ms, now_ms) for point in points]


@dataclass
class Memory:
    """Every item in the order of its number, and when it was committed."""

    items: list[tuple[float, Lane, dict[str, Any]]] = field(default_factory=list)

    async def commit(self, drafts: Sequence[Draft], state: Mapping[str, bytes | None]) -> Sequence[Envelope]:
        now_s = asyncio.get_running_loop().time()
        self.items += [(now_s, draft.lane, item) for draft in drafts for item in json.loads(draft.items)]
        return []


def play(wrong_s: Callable[[float], float], seconds: float) -> tuple[Memory, Detector]:
    async def main() -> tuple[Memory, Detector]:
        clock, memory = SteppedClock(wrong_s), Memory()
        rules, faults = read_rules(RULES, (DEVICE,))
        assert not faults, faults
        points = {LEL.id: LEL}
        started = Instant(clock.monotonic_s(), clock.now_ms())
        engine = Engine(rules, points, (DEVICE,), new_id=uuid7, started=started)
        pipeline, detector = Pipeline(memory, engine, points, clock), Detector(clock)
        gate, jobs = QualityGate(points), [Job("gas1", (LEL.id,), 1.0)]
        line = Line(
            "L1",
            Wire(),
            {"gas1": detector},
            jobs,
            pipeline.submit,
            clock,
            random.Random(1),
            gate,
            lambda change: None,
            untaken,
        )
        tasks = [asyncio.ensure_future(each) for each in (line.run(), pipeline.run())]
        await asyncio.sleep(seconds)
        assert not [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return memory, detector

    return run(main(), grace_s=0.0)


STEPS = {
    "five years ahead": lambda now_s: 5 * YEAR_S if now_s >= STEP_AT_S else 0.0,
    "an hour back": lambda now_s: -3600.0 if now_s >= STEP_AT_S else 0.0,
    "a second, slewed": lambda now_s: min(1.0, now_s * 500e-6),
    "there and back": lambda now_s: 1800.0 if STEP_AT_S <= now_s < STEP_AT_S + 5 else 0.0,
}


@pytest.mark.parametrize("name", STEPS)
def test_polls_keep_their_grid_and_an_alarm_for_30_s_fires_after_30_s(name: str) -> None:
    memory, detector = play(STEPS[name], 90.0)
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(detector.asked_s[1:])]
    assert len(gaps_s) >= 87
    assert all(abs(each - 1.0) < 0.1 for each in gaps_s)
    alarms = [(at_s, item["state"], item["reason"]) for at_s, lane, item in memory.items if lane is Lane.ALARM]
    ((fired_s, state, reason),) = alarms
    assert (state, reason) == ("unack", "condition")
    assert abs(fired_s - 50.0) <= 1.0
    values = [item["v"] for _, lane, item in memory.items if lane is Lane.TELEMETRY]
    assert len(values) >= 88
    assert values == sorted(values), "in the order in which they were made"


def test_an_outage_is_announced_with_its_true_length_although_the_clock_was_set_meanwhile() -> None:
    class Silent(Detector):
        async def poll(self, points: Sequence[str]) -> Sequence[Reading]:
            if 10 <= asyncio.get_running_loop().time() < 60:
                await asyncio.sleep(0.3)
                raise DeviceUnreachable("no answer")
            return await super().poll(points)

    gaps: list[Gap] = []

    async def publish(records: Sequence[Any]) -> None:
        gaps.extend(record for record in records if isinstance(record, Gap))

    async def main() -> float:
        clock = SteppedClock(STEPS["five years ahead"])
        detector = Silent(clock)
        line = Line(
            "L1", Wire(), {"gas1": detector}, [Job("gas1", (LEL.id,), 1.0)], publish, clock, random.Random(1),
            QualityGate({LEL.id: LEL}), lambda change: None, untaken,
        )  # fmt: skip
        task = asyncio.ensure_future(line.run())
        while not gaps:
            await asyncio.sleep(0.01)
        back_s = asyncio.get_running_loop().time()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return back_s

    back_s = run(main(), grace_s=0.0)
    (gap,) = gaps
    assert abs((gap.to_ms - gap.from_ms) / 1000 - (back_s - 10.0)) < 2.0
