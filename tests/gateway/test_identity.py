from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

import pytest

from gateway.errors import DeviceUnreachable
from gateway.identity import CHANGED, SAME, Identities, IdentityChange, normal
from gateway.model import Point, Quality, Reading, Reason, Record, Text, Value, ValueKind
from gateway.quality import Change, QualityGate
from gateway.schedule import Job
from gateway.supervisor import Line
from support.clock import LoopClock
from support.reports import untaken
from support.virtual_time import run


def test_the_first_number_is_learned_and_the_same_one_is_nothing_new() -> None:
    identities = Identities()
    assert identities.check("m", "0012") == (SAME, IdentityChange("m", None, "12", expected=False))
    assert identities.check("m", " 12 ") == (SAME, None)
    assert identities.check("m", 12.0) == (SAME, None)


def test_another_number_is_a_change_once_and_counts_from_then_on() -> None:
    identities = Identities(known={"m": "12"})
    assert identities.check("m", "13") == (CHANGED, IdentityChange("m", "12", "13", expected=False))
    assert identities.check("m", "13") == (SAME, None)
    assert not identities.wrong


def test_a_configured_number_is_demanded_until_it_is_said() -> None:
    identities = Identities({"m": "12"})
    assert identities.check("m", "13") == (CHANGED, IdentityChange("m", "12", "13", expected=True))
    assert identities.check("m", "13") == (CHANGED, None)
    assert identities.wrong == {"m"}
    assert identities.check("m", "12") == (SAME, None)
    assert not identities.wrong


def test_swapped_cables_name_each_other() -> None:
    identities = Identities({"a": "1"}, known={"b": "2"})
    _, change = identities.check("a", "2")
    assert change is not None
    assert change.belongs_to == "b"
    _, change = identities.check("b", "1")
    assert change is not None
    assert change.belongs_to == "a"


@pytest.mark.parametrize(
    ("said", "compared"), [("000", "0"), ("ab01", "AB01"), (2.0e11, "200000000000"), (17, "17"), ("", "0")]
)
def test_how_numbers_are_compared(said: Value, compared: str) -> None:
    assert normal(said) == compared


# ---------------------------------------------------------------------- through the supervisor


class Link:
    last_answer = b"\x2a"

    async def __aenter__(self) -> Link:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return


class Meter:
    """Tells its number and its register; silent while *away*."""

    def __init__(self, clock: LoopClock) -> None:
        self.values: dict[str, Value] = {"m.serial_number": "100", "m.energy": 500.0}
        self.away = False
        self.asked: list[str] = []
        self._clock = clock

    def batches(self, points: Sequence[str]) -> Sequence[Sequence[str]]:
        return [[point] for point in points]

    async def poll(self, points: Sequence[str]) -> Sequence[Reading]:
        await asyncio.sleep(0.05)
        if self.away:
            raise DeviceUnreachable("away")
        self.asked += points
        now_ms = self._clock.now_ms()
        return [Reading(point, self.values[point], now_ms, now_ms) for point in points]


def play(identities: Identities, steps: Mapping[float, Mapping[str, Value] | None]) -> tuple[list[str], list[Change]]:
    """Read a meter once a second; at each instant another takes its place (None: nobody does), telling those values."""
    clock = LoopClock()
    meter = Meter(clock)
    seen: list[str] = []
    changes: list[Change] = []

    async def publish(records: Sequence[Record]) -> None:
        seen.extend(
            f"{record.point.partition('.')[2]}={record.value} {record.reason or 'good'}"
            for record in records
            if isinstance(record, Reading) and record.quality is not Quality.BAD
        )

    async def main() -> None:
        points = [
            Point("m.energy", ValueKind.NUMBER, Text("x", "x"), 1.0, counter=True),
            Point("m.serial_number", ValueKind.TEXT, Text("x", "x"), 3600.0, identity=True),
        ]
        jobs = [Job("m", ("m.energy",), 1.0), Job("m", ("m.serial_number",), 3600.0)]
        gate = QualityGate({point.id: point for point in points}, identities)
        line = Line("L", Link(), {"m": meter}, jobs, publish, clock, random.Random(1), gate, changes.append, untaken)
        task = asyncio.create_task(line.run())
        for seconds, values in steps.items():
            await asyncio.sleep(seconds - asyncio.get_running_loop().time())
            meter.away = values is None
            meter.values |= values or {}
        await asyncio.sleep(6.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert meter.asked[0] == "m.serial_number", "who answers is asked first"

    run(main())
    return seen, changes


def test_another_meter_in_the_place_of_a_configured_one_makes_its_values_doubtful_and_none_is_billed() -> None:
    exchanged = {2.5: None, 6.0: {"m.serial_number": "999", "m.energy": 501.0}}
    seen, changes = play(Identities({"m": "100"}), exchanged)
    assert seen[:3] == ["serial_number=100 good", "identity_check=same good", "energy=500.0 good"]
    after = seen[seen.index("serial_number=999 good") :]
    assert after[1] == "identity_check=changed good"
    assert {each for each in after if each.startswith("energy")} == {f"energy=501.0 {Reason.WRONG_DEVICE}"}
    assert changes == [IdentityChange("m", "100", "999", expected=True)]


def test_a_replaced_meter_that_nobody_announced_is_announced_and_its_register_begins_anew() -> None:
    exchanged = {2.5: None, 6.0: {"m.serial_number": "999", "m.energy": 3.0}}
    seen, changes = play(Identities(known={"m": "100"}), exchanged)
    after = seen[seen.index("serial_number=999 good") :]
    assert after[1:3] == ["identity_check=changed good", "energy=3.0 good"], "no register runs backwards here"
    assert changes == [IdentityChange("m", "100", "999", expected=False)]


def test_the_same_meter_that_comes_back_is_not_news() -> None:
    seen, changes = play(Identities(known={"m": "100"}), {2.5: None, 6.0: {}})
    assert seen.count("identity_check=same good") == 2, "after the start and after its return"
    assert not changes
