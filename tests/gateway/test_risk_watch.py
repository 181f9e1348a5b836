from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.config.risk import community
from gateway.model import Event, Lane, Reading, Text, Value, ValueKind
from gateway.risk_watch import CHANGED, EVERY_S, KEY, RiskWatch, model_of
from rules.risk.definition import Definition, Hazard, Input, Level, Scale
from support.clock import LoopClock
from support.virtual_time import run

RISK = Definition(
    (
        Hazard(
            "flood",
            Text("内涝", "flooding"),
            (
                Input(
                    "p1.level",
                    Text("水位", "level"),
                    (Scale("p1.level", "cm", 3600.0, ((Level.YELLOW, 80.0), (Level.RED, 130.0))),),
                    delay_s=30.0,
                ),
            ),
            (0.0, 100.0, 100.0, 100.0, 100.0),
        ),
    )
)


@dataclass
class Kept:
    """The pipeline's side."""

    events: list[Event] = field(default_factory=list)
    saved: dict[str, bytes] = field(default_factory=dict)
    submitted: list[tuple[int, list[Value | None]]] = field(default_factory=list)

    async def submit(self, records: Sequence[Reading]) -> None:
        self.submitted.append((round(asyncio.get_running_loop().time()), [reading.value for reading in records]))

    def note(self, *records: Event) -> None:
        self.events += records

    def remember(self, key: str, value: bytes | None) -> None:
        assert value is not None
        self.saved[key] = value


def level(value: float, clock: LoopClock) -> list[Reading]:
    return [Reading("p1.level", value, clock.now_ms(), clock.now_ms())]


def test_the_risk_is_told_when_it_changes_and_once_a_minute() -> None:
    kept = Kept()

    async def main() -> None:
        clock = LoopClock()
        watch = RiskWatch(community(RISK), model_of(RISK, {}, clock), kept, clock)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(watch.run())
            await asyncio.sleep(10)
            watch.heard(level(90.0, clock))  # seen, and yellow after 30 s
            await asyncio.sleep(100)
            watch.heard(level(10.0, clock))
            await asyncio.sleep(105)
            task.cancel()

    run(main())
    assert [(at_s, *values) for at_s, values in kept.submitted] == [
        (0, "none", "none", True),
        (10, "none", "none", False),
        (40, "yellow", "yellow", False),
        (100, "yellow", "yellow", False),
        (160, "yellow", "yellow", False),
        (210, "blue", "blue", False),
    ]
    assert EVERY_S == 60.0
    first, second = kept.events
    assert (first.kind, first.device) == (CHANGED, "community")
    assert first.attributes == {
        "level": "yellow",
        "before": "none",
        "hazards": "flood=yellow",
        "drivers": "p1.level=90.0",
        "blind": 0,
        "zh": "水位 p1.level = 90 cm（黄色）",
        "en": "level p1.level = 90 cm (yellow)",
    }
    assert (second.attributes["level"], second.attributes["before"]) == ("blue", "yellow")
    assert "made by level p1.level = 90 cm (yellow)" in str(second.attributes["en"])


def test_a_restart_goes_on_where_the_record_ends_and_tells_no_change() -> None:
    kept = Kept()

    async def main() -> None:
        clock = LoopClock()
        before = RiskWatch(community(RISK), model_of(RISK, {}, clock), kept, clock)
        before.heard(level(140.0, clock))
        await asyncio.sleep(30)
        before.keep()
        after = RiskWatch(community(RISK), model_of(RISK, kept.saved, clock), kept, clock)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(after.run())
            await asyncio.sleep(1)
            task.cancel()
        answer = await after.handlers()["risk"]({"op": "risk"})
        assert (answer["level"], answer["drivers"][0]["without"]) == ("red", "none")

    run(main())
    assert kept.submitted == [(30, ["red", "red", False])]
    assert kept.events == []
    assert list(kept.saved) == [KEY]


def test_an_unreadable_record_is_no_reason_not_to_start() -> None:
    async def main() -> Level:
        clock = LoopClock()
        model = model_of(RISK, {KEY: b"{"}, clock)
        watch = RiskWatch(community(RISK), model, Kept(), clock)
        return watch.model.state(watch._now()).level

    assert run(main()) is Level.NONE


def test_the_device_shows_every_hazard_and_what_is_missing() -> None:
    device = community(RISK)
    assert [point.id for point in device.points] == ["community.risk", "community.risk_flood", "community.risk_blind"]
    assert [point.kind for point in device.points] == [ValueKind.STATE, ValueKind.STATE, ValueKind.BOOLEAN]
    assert device.points[0].states == ("none", "blue", "yellow", "orange", "red")
    assert {point.lane for point in device.points} == {Lane.TELEMETRY}
