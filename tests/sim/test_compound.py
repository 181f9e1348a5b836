"""The virtual compound, read by the product's own configuration and drivers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.config.load import LinePlan, check, load
from gateway.errors import DeviceUnreachable
from gateway.field import drivers_on, links_on, open_line, read_now
from gateway.model import Quality, Reading, Value
from gateway.sim import faults, site
from gateway.sim.compound import GAS, Compound
from gateway.sim.world import Layout
from support.descriptors import open_descriptors

SMALL = Layout(2, 1, 2)


def write(compound: Compound, directory: Path) -> None:
    site.write(compound, directory, directory / "store", site.UplinkTarget("127.0.0.1", 1883, "5"))


async def read_line(plan: LinePlan, only: tuple[str, ...] = ()) -> list[Reading]:
    """Every point (or those named) of every device on the line, once."""
    readings: list[Reading] = []
    async with open_line(plan) as link:
        drivers = drivers_on(plan, links_on(plan, link), SystemClock())
        for device in plan.devices:
            points = [p.point.id for p in device.spec.points.values() if not only or p.point.name in only]
            readings += await read_now(drivers[device.device.id], points, SystemClock())
    return readings


def test_the_written_configuration_has_no_fault(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Compound(SMALL) as compound:
            write(compound, tmp_path)
            assert [str(fault) for fault in check(tmp_path)] == []
            config = load(tmp_path)
            assert [device.id for device in config.devices] != []
            assert sorted(device.id for device in config.devices) == sorted(site.devices(compound))
            assert {point for point, _ in site.showcase(compound)} <= set(config.points)
            assert len(config.rules.watches) >= len(config.devices), "every device is watched by some rule"

    asyncio.run(scenario())


def test_every_point_of_every_device_answers_and_is_what_the_world_says(tmp_path: Path) -> None:
    served: list[tuple[str, str, Value, float]] = []

    async def scenario() -> list[Reading]:
        async with Compound(Layout(2, 1, 1), served=lambda *entry: served.append(entry)) as compound:
            write(compound, tmp_path)
            lines = load(tmp_path).lines
            async with asyncio.TaskGroup() as group:
                reading = [group.create_task(read_line(line)) for line in lines]
            return [one for task in reading for one in task.result()]

    readings = asyncio.run(scenario())
    assert len({reading.point.partition(".")[0] for reading in readings}) == 2 + 2 + 2
    assert {reading.point: reading.reason for reading in readings if reading.quality is not Quality.GOOD} == {}
    values = {reading.point: reading.value for reading in readings}
    handed_out = [value for device, item, value, _ in served if (device, item) == ("m-2-1-101", "00010000")]
    energy = values["m-2-1-101.energy"]
    assert isinstance(energy, float)
    assert any(isinstance(value, float) and 0 <= value - energy < 0.01 for value in handed_out)
    assert values["pumps-1.mode"] == "auto"
    assert values["gas-1.ch1_status"] == "normal"
    power, apparent, factor = (values[f"bm-1.{name}"] for name in ("power", "apparent_power", "power_factor"))
    assert isinstance(power, float)
    assert isinstance(apparent, float)
    assert isinstance(factor, float)
    assert power == pytest.approx(apparent * factor, rel=1e-3)


def test_a_leak_reaches_the_controller(tmp_path: Path) -> None:
    async def scenario() -> list[Reading]:
        async with Compound(Layout(1, 1, 1)) as compound:
            write(compound, tmp_path)
            (gas,) = (line for line in load(tmp_path).lines if line.id == GAS)
            compound.leak_gas(1, peak_lel=30.0, rise_s=0.1, hold_s=60.0, fall_s=1.0)
            await asyncio.sleep(0.15)
            return await read_line(gas)

    values = {reading.point: reading.value for reading in asyncio.run(scenario())}
    assert isinstance(values["gas-1.ch2_concentration"], float)
    assert 29 < values["gas-1.ch2_concentration"] < 32
    assert values["gas-1.ch2_status"] == "alarm_high"
    assert values["gas-1.ch1_status"] == "normal"


def test_faults_of_one_device_leave_its_neighbours_alone(tmp_path: Path) -> None:
    async def scenario() -> tuple[list[Reading], list[Reading], list[Reading]]:
        async with Compound(Layout(1, 1, 2)) as compound:
            write(compound, tmp_path)
            line = load(tmp_path).lines[0]
            # The second one is ill: noise behind an answer would run into the next request, as on a real wire.
            compound.faults.devices["m-1-1-102"] = faults.SILENT
            silent = await read_line(line, ("voltage",))
            compound.faults.devices["m-1-1-102"] = faults.noisy(1.0)
            noisy = await read_line(line, ("voltage",))
            compound.faults.devices["m-1-1-102"] = faults.wrong_checksum()
            spoilt = await read_line(line, ("voltage",))
            return silent, noisy, spoilt

    silent, noisy, spoilt = asyncio.run(scenario())
    assert [reading.reason for reading in silent] == [None, "no_answer"]
    assert noisy[0].reason is None
    assert noisy[1].reason in (None, "bad_frame"), "garbage may hit the frame"
    assert [reading.reason for reading in spoilt] == [None, "bad_frame"]


def test_a_dead_line_is_silent_and_comes_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Compound(Layout(1, 1, 1)) as compound:
            write(compound, tmp_path)
            plan = load(tmp_path).lines[0]
            async with open_line(plan) as link:
                (driver,) = drivers_on(plan, links_on(plan, link), SystemClock()).values()
                compound.faults.kill_line(compound.meter_lines[0], dead=True)
                with pytest.raises(DeviceUnreachable):
                    await driver.poll(["m-1-1-101.voltage"])
                compound.faults.kill_line(compound.meter_lines[0], dead=False)
                (reading,) = await driver.poll(["m-1-1-101.voltage"])
                assert reading.quality is Quality.GOOD

    asyncio.run(scenario())


def test_nothing_is_left_open(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Compound(SMALL) as compound:
            write(compound, tmp_path)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    before = open_descriptors()
    asyncio.run(scenario())
    assert open_descriptors() <= before
