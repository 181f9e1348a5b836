"""The shipped CJ/T 188 profiles: valid, in units that can be had from the meters', and read in one request."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from drivers.base import DeviceSpec, PointSpec
from drivers.cjt188.config import Cjt188Options, Cjt188PointOptions
from drivers.cjt188.driver import Cjt188Meter
from drivers.cjt188.simulator import Cjt188SimLine, Cjt188SimMeter, SimValue, SimValve
from drivers_cjt188.rig import WATER
from drivers_contract.wire import Chunk, MemoryLine
from gateway.config.models import ProfileFile, ProfilePoint
from gateway.model import Point, Quality, Text, ValueKind
from support.clock import ManualClock
from support.virtual_time import run

FOLDER = Path(__file__).parent.parent.parent / "config" / "devices"
OURS = {
    "cjt188_water_cold": ("10", 5, "water_meter"),
    "cjt188_water_cold_valve": ("10", 6, "water_meter"),
    "cjt188_water_hot": ("11", 5, "water_meter"),
    "cjt188_water_hot_valve": ("11", 6, "water_meter"),
    "cjt188_heat": ("20", 11, "heat_meter"),
    "cjt188_gas": ("30", 5, "gas_meter"),
    "cjt188_gas_valve": ("30", 6, "gas_meter"),
}
"""Type, number of points, kind."""
PROFILES = pytest.mark.parametrize("name", OURS)


def load(name: str) -> ProfileFile:
    return ProfileFile.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def options(point: ProfilePoint) -> Cjt188PointOptions:
    return Cjt188PointOptions.model_validate(point.model_extra)


def value(name: str) -> SimValue:
    return {"clock": "20260605102233", "status": "0000"}.get(name.partition(".")[2], Decimal(9))


def test_there_is_no_other() -> None:
    assert {path.stem for path in FOLDER.glob("cjt188_*.yaml")} == set(OURS)


@PROFILES
def test_the_file_and_the_protocols_keys_are_valid(name: str) -> None:
    profile = load(name)
    type_, points, kind = OURS[name]
    assert (profile.id, profile.protocols, profile.kind) == (name, ["cjt188"], kind)
    assert (profile.device, len(profile.points)) == ({"type": type_}, points)
    for key, point in profile.points.items():
        assert options(point).field == key
        assert point.counter == (point.lane == "billing")
        assert point.writable == (key == "valve")
    assert ("valve" in profile.points) == name.endswith("_valve")


@pytest.mark.parametrize("name", [name for name in OURS if name.endswith("_valve")])
def test_a_meter_with_a_valve_is_in_all_else_the_one_without(name: str) -> None:
    with_valve, without = load(name), load(name.removesuffix("_valve"))
    assert {key: point for key, point in with_valve.points.items() if key != "valve"} == without.points
    assert (with_valve.device, with_valve.every) == (without.device, without.every)


@PROFILES
def test_everything_is_read_in_one_request(name: str) -> None:
    profile = load(name)
    specs = {
        f"m.{key}": PointSpec(
            Point(
                f"m.{key}",
                ValueKind(p.kind),
                Text("", ""),
                60.0,
                unit=p.unit,
                states=tuple(p.states),
                writable=p.writable,
            ),
            options(p),
        )
        for key, p in profile.points.items()
    }
    valve = SimValve(lambda: 0.0, motor_s=0.0) if name.endswith("_valve") else None
    sim = Cjt188SimLine([Cjt188SimMeter(WATER, int(OURS[name][0], 16), value, valve=valve)])

    async def main() -> None:
        line = MemoryLine(lambda request: [Chunk(0.05, reply) for _, reply in sim.feed(request)])
        async with line:
            spec = DeviceSpec("m", Cjt188Options(address=WATER, **profile.device), specs, 1.5)
            driver = Cjt188Meter(spec, line, ManualClock())
            readings = [reading for batch in driver.batches(list(specs)) for reading in await driver.poll(batch)]
        assert {reading.point for reading in readings} == set(specs)
        assert all(reading.quality is Quality.GOOD for reading in readings)
        assert {reading.value for reading in readings} <= {9, "2026-06-05T10:22:33", "0000", "open", "good"}
        assert len(line.requests) == 1
        for point in specs.keys() & {"m.valve"}:
            await driver.write(point, "closed")
            assert (await driver.poll([point]))[0].value == "closed"

    run(main())
