"""The shipped DL/T 645 profiles: valid, in the units of the standard, and readable in few requests."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from drivers.base import DeviceSpec, PointSpec
from drivers.dlt645.config import Dlt645Options, Dlt645PointOptions
from drivers.dlt645.driver import Dlt645Meter
from drivers.dlt645.frame import find_frame
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter, SimValue
from drivers_contract.wire import Chunk, MemoryLine
from drivers_dlt645.rig import ADDRESS
from gateway.config.models import ProfileFile, ProfilePoint
from gateway.model import Point, Quality, Text, ValueKind
from support.clock import ManualClock
from support.virtual_time import run

FOLDER = Path(__file__).parent.parent.parent / "config" / "devices"
OURS = {
    "dlt645_single_phase": (
        12,
        ["0001FF00", "00020000", "02010100", "02020100", "02030000", "02060000", "02800002", "04000503"],
    ),
    "dlt645_three_phase": (
        22,
        [
            *["0001FF00", "00020000", "00030000", "0201FF00", "0202FF00", "0203FF00"],
            *["02040000", "02050000", "02060000", "02800002", "04000503"],
        ],
    ),
    "dlt645_1997_single_phase": (8, ["901F", "B611", "B621", "B630"]),
    "dlt645_1997_three_phase": (17, ["901F", "9020", "B61F", "B62F", "B63F", "B650"]),
}
"""Points, and the identifiers asked for by one poll of everything."""
PROFILES = pytest.mark.parametrize("name", OURS)


def load(name: str) -> ProfileFile:
    return ProfileFile.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def options(point: ProfilePoint) -> Dlt645PointOptions:
    return Dlt645PointOptions.model_validate(point.model_extra)


@PROFILES
def test_the_file_and_the_protocols_keys_are_valid(name: str) -> None:
    profile = load(name)
    assert profile.id == name
    assert profile.protocols == ["dlt645"]
    assert len(profile.points) == OURS[name][0]
    assert len({options(point).di for point in profile.points.values()}) == len(profile.points)
    for point in profile.points.values():
        assert point.unit == options(point).part.unit
        assert not point.counter or (point.lane == "billing" and not options(point).part.signed)
        assert point.writable == (options(point).write is not None)


@PROFILES
def test_everything_is_read_in_few_requests(name: str) -> None:
    profile = load(name)

    def values(di: str) -> SimValue:
        if len(di) == 8 and di.startswith("00") and int(di[4:6], 16) > 4:
            raise KeyError(di)  # four tariffs, as meters have
        if di.startswith("B61"):
            return Decimal(223)  # whole volts
        return "0000" if di.startswith("040005") else Decimal("0.99")

    specs = {
        f"m.{key}": PointSpec(
            Point(f"m.{key}", ValueKind(point.kind), Text("", ""), 60.0, states=tuple(point.states)), options(point)
        )
        for key, point in profile.points.items()
    }
    sim = Dlt645SimLine([Dlt645SimMeter(ADDRESS, values, edition=profile.device.get("edition", "2007"))])

    async def main() -> None:
        line = MemoryLine(lambda request: [Chunk(0.05, reply) for _, reply in sim.feed(request)])
        async with line:
            spec = DeviceSpec("m", Dlt645Options(address=ADDRESS, **profile.device), specs, 1.5)
            driver = Dlt645Meter(spec, line, ManualClock())
            readings = [reading for batch in driver.batches(list(specs)) for reading in await driver.poll(batch)]
        assert {reading.point for reading in readings} == set(specs)
        assert all(reading.quality is Quality.GOOD for reading in readings)
        assert {reading.value for reading in readings} <= {0.99, 1.0, 223, "closed"}
        asked = [found[0].data[::-1].hex().upper() for request in line.requests if (found := find_frame(request))]
        assert sorted(asked) == OURS[name][1]

    run(main())
