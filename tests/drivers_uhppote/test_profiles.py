"""The shipped profiles of controllers, doors and readers: they can be read and commanded, and fit the rule packs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drivers.base import DeviceSpec, PointSpec
from drivers.osdp.config import OsdpOptions
from drivers.osdp.driver import OsdpReader
from drivers.osdp.simulator import OsdpLine, SimReader
from drivers.uhppote.config import DeviceOptions
from drivers.uhppote.doors import UhppoteDevice
from drivers.uhppote.simulator import UhppoteSimulator
from drivers_contract.wire import Chunk, MemoryLine
from drivers_uhppote.hub_rig import CLOCK, SERIAL, hub, local_now
from gateway.config.faults import Report
from gateway.config.profiles import Profile, Profiles
from gateway.model import Point, Quality, Text, ValueKind
from support.clock import LoopClock
from support.virtual_time import run


def load(name: str) -> Profile:
    report = Report()
    found = Profiles(Path("nowhere"), report).get(name)
    assert found is not None, report.faults
    return found


def points(profile: Profile, protocol: str) -> dict[str, PointSpec]:
    """As the configuration makes them, for device ``x``."""
    specs = {}
    for name, each in profile.model.points.items():
        about = Point(
            f"x.{name}", ValueKind(each.kind), Text("", ""), 1.0, states=tuple(each.states), writable=each.writable
        )
        specs[about.id] = PointSpec(about, profile.options[protocol][name])
    return specs


@pytest.mark.parametrize(("name", "door"), [("uhppote_door", 1), ("uhppote_controller", None)])
def test_a_controller_and_its_doors_are_read(name: str, door: int | None) -> None:
    async def main() -> None:
        async with UhppoteSimulator([SERIAL], local_now()) as network:
            specs = points(load(name), "uhppote")
            spec = DeviceSpec("x", DeviceOptions(controller=SERIAL, door=door), specs, 1.0)
            async with hub(network, [spec]) as opened:
                readings = await UhppoteDevice(spec, opened, CLOCK).poll(list(specs))
        assert [each.point for each in readings] == list(specs)
        assert {each.quality for each in readings} == {Quality.GOOD}

    asyncio.run(main())


@pytest.mark.parametrize("name", ["osdp_reader", "osdp_reader_relay"])
def test_a_reader_is_read_and_commanded(name: str) -> None:
    profile = load(name)
    specs = points(profile, "osdp")
    line = OsdpLine([SimReader(1, inputs=[True])])

    async def main() -> None:
        async with MemoryLine(lambda request: [Chunk(0.01, answer) for _, answer in line.feed(request)]) as wire:
            spec = DeviceSpec("x", OsdpOptions(address=1, plaintext=True), specs, 0.3)
            reader = OsdpReader(spec, wire, LoopClock())
            readings = [each for batch in reader.batches(list(specs)) for each in await reader.poll(batch)]
            assert {each.quality for each in readings} == {Quality.GOOD}
            for id_, each in specs.items():
                if each.point.writable:
                    await reader.write(id_, each.point.states[1] if each.point.states else True)
        assert len(line.readers[1].commanded) == sum(each.point.writable for each in specs.values()) > 0

    run(main())


def test_doors_have_the_points_that_the_rule_packs_ask_for() -> None:
    door = load("uhppote_door").model
    assert door.kind == "access_door"
    assert door.points["contact"].states == ["closed", "open"]
    assert door.points["forced"].kind == "boolean"
    assert set(door.actions) == {"release"}
    module = load("waveshare_modbus_io_8ch_door").model
    assert module.kind == "door"
    assert set(module.points["contact"].states) == {"closed", "open"}
    assert not module.actions, "a lock that does not fall by itself is released through door.release only"
