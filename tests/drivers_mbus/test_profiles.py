"""The shipped profiles against frames of real meters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from drivers.base import DeviceSpec, PointSpec
from drivers.mbus.config import MbusOptions, MbusPointOptions
from drivers.mbus.driver import MbusMeter
from drivers.mbus.frame import Frame
from drivers.mbus.simulator import MbusSimLine, MbusSimMeter, played
from drivers_contract.wire import Chunk, MemoryLine
from gateway.config.models import ProfileFile, ProfilePoint
from gateway.model import Point, Reason, Text, ValueKind
from support.clock import ManualClock
from support.virtual_time import run

ROOT = Path(__file__).parent.parent.parent
VECTORS = {
    vector["id"].removeprefix("mbus-test-frames-"): bytes.fromhex(vector["hex"])
    for vector in json.loads((ROOT / "tests" / "vectors" / "mbus.json").read_text(encoding="utf-8"))["vectors"]
}
OURS = {"mbus_water": 9, "mbus_heat": 14}
PROFILES = pytest.mark.parametrize("name", OURS)


def load(name: str) -> ProfileFile:
    text = (ROOT / "config" / "devices" / f"{name}.yaml").read_text(encoding="utf-8")
    return ProfileFile.model_validate(yaml.safe_load(text))


def options(point: ProfilePoint) -> MbusPointOptions:
    return MbusPointOptions.model_validate(point.model_extra)


@PROFILES
def test_the_file_and_the_protocols_keys_are_valid(name: str) -> None:
    profile = load(name)
    assert (profile.id, profile.protocols, len(profile.points)) == (name, ["mbus"], OURS[name])
    for point in profile.points.values():
        assert point.unit == options(point).unit
        assert not point.counter or point.lane == "billing"


def polled(name: str, frame: str) -> dict[str, Any]:
    """What the profile's points read from a published frame: values, and reasons where there is none."""
    wire = VECTORS[frame]
    address = Frame.from_bytes(wire).address
    sim = MbusSimLine([MbusSimMeter(address, played(wire))])
    specs = {
        f"m.{key}": PointSpec(
            Point(f"m.{key}", ValueKind(point.kind), Text("", ""), 60.0, states=tuple(point.states)), options(point)
        )
        for key, point in load(name).points.items()
    }

    async def main() -> dict[str, Any]:
        async with MemoryLine(lambda request: [Chunk(0.05, reply) for _, reply in sim.feed(request)]) as line:
            driver = MbusMeter(DeviceSpec("m", MbusOptions(primary=address), specs, 1.5), line, ManualClock())
            (batch,) = driver.batches(list(specs))
            return {each.point.removeprefix("m."): each.reason or each.value for each in await driver.poll(batch)}

    return run(main())


def test_a_water_meter() -> None:
    assert polled("mbus_water", "ACW_Itron-BM-plus-m") == {
        "volume": 54.321,
        "settlement_volume": 0,
        "flow": Reason.NO_VALUE,
        "clock": "2014-03-13T11:11:00",
        "number": "11490378",
        "medium": "cold water",
        "battery": "good",
        "permanent_error": False,
        "temporary_error": False,
    }


def test_a_heat_meter() -> None:
    assert polled("mbus_heat", "engelmann_sensostar2c") == {
        "energy": 800,
        "settlement_energy": 800,
        "volume": 12.9,
        "power": 0,
        "flow": 0,
        "supply_temperature": 95,
        "return_temperature": 43,
        "temperature_difference": 52.58,
        "operating_time": 506 * 86400,
        "clock": "2012-06-06T20:50:00",
        "number": "10380010",
        "battery": "good",
        "permanent_error": False,
        "temporary_error": False,
    }
