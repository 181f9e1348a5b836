"""The virtual compound, read by the product's own configuration and drivers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.config.load import LinePlan, check, load
from gateway.errors import DeviceUnreachable
from gateway.field import drivers_on, links_on, open_line, read_now
from gateway.model import Quality, Reading, Value
from gateway.sim import faults, site
from gateway.sim.compound import GAS, HEAT, Compound
from gateway.sim.faults import Twist
from gateway.sim.world import SWITCH_ON, Layout
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
    assert len({reading.point.partition(".")[0] for reading in readings}) == 2 + 2 + 2 + 2 + 2
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
    water_and_heat_are_what_the_world_says(values, served)


def water_and_heat_are_what_the_world_says(
    values: Mapping[str, Value | None], served: list[tuple[str, str, Value, float]]
) -> None:
    said: dict[tuple[str, str], set[Decimal]] = {}
    for device, item, value, _ in served:
        if isinstance(value, float | int):
            said.setdefault((device, item.removeprefix("901F.")), set()).add(Decimal(value))
    steps = {
        **dict.fromkeys(("volume", "settlement_volume"), Decimal("0.01")),
        **dict.fromkeys(("energy", "settlement_energy"), Decimal(1)),
        **dict.fromkeys(("power", "flow"), Decimal("0.001")),
        **dict.fromkeys(("supply_temperature", "return_temperature", "temperature_difference"), Decimal("0.1")),
    }
    compared = 0
    for device in ("w-1-1-101", "w-2-1-101", "h-1-1", "h-2-1"):
        for item, step in steps.items():
            value = values.get(f"{device}.{item}")
            if value is not None:
                compared += 1
                slack = Decimal("1e-9")
                ahead = [shown - Decimal(repr(value)) for shown in said[device, item]]
                assert any(-slack <= rest < step for rest in ahead), (device, item, value)
    assert compared == 2 * 2 + 2 * 8, "what is not compared here is no number, or stands below"
    hours = values["h-1-1.operating_time"]
    assert hours in {float(value * 3600) for value in said["h-1-1", "operating_time"]}
    for clock in (values["w-1-1-101.clock"], values["h-2-1.clock"]):
        since = datetime.fromisoformat(str(clock)) - SWITCH_ON
        assert timedelta(0) <= since < timedelta(hours=6), "not more than six minutes of the spectator"
    assert (values["w-1-1-101.battery"], values["w-1-1-101.status"]) == ("good", "0000")
    assert (values["h-1-1.number"], values["h-2-1.number"]) == ("20260101", "20260201")
    assert [values[f"h-1-1.{name}"] for name in ("battery", "permanent_error", "temporary_error")] == [
        *("good", False, False)
    ]


def test_registers_of_water_and_heat_never_run_backwards(tmp_path: Path) -> None:
    """An hour of the compound in a second of ours."""

    async def scenario() -> list[list[Reading]]:
        async with Compound(Layout(1, 1, 1), time_scale=3600) as compound:
            write(compound, tmp_path)
            lines = [line for line in load(tmp_path).lines if line.id in ("rs485-water-1", HEAT)]
            async with asyncio.TaskGroup() as group:
                reading = [group.create_task(read_often(line)) for line in lines]
            return [task.result() for task in reading]

    async def read_often(line: LinePlan) -> list[Reading]:
        return [reading for _ in range(4) for reading in await read_line(line, ("volume", "energy"))]

    readings = [reading for line in asyncio.run(scenario()) for reading in line]
    for point in ("w-1-1-101.volume", "h-1-1.volume", "h-1-1.energy"):
        shown = [reading.value for reading in readings if reading.point == point]
        numbers = [value for value in shown if isinstance(value, float | int)]
        assert len(numbers) == len(shown) == 4
        assert numbers == sorted(numbers)
        assert point.startswith("w-") or numbers[0] < numbers[-1], "an hour of heating is seen"


def test_faults_work_on_water_and_heat_lines(tmp_path: Path) -> None:
    """Silent, spoilt, another's or noisy answers: bad for the meter that is ill at most, nothing to its neighbour."""
    ills = (faults.SILENT, faults.wrong_checksum(), faults.lying(Twist.ADDRESS), faults.noisy(1.0))
    points = {"rs485-water-1": "w-1-2-101.volume", HEAT: "h-1-2.energy"}

    async def told(compound: Compound, line: LinePlan) -> list[dict[str, str | None]]:
        ill = points[line.id]
        device, _, point = ill.partition(".")
        said = []
        for fault in (*ills, faults.HEALTHY):
            compound.faults.devices[device] = fault
            said.append(reasons(await read_line(line, (point,))))
        return said

    async def scenario() -> dict[str, list[dict[str, str | None]]]:
        async with Compound(Layout(1, 2, 1)) as compound:
            write(compound, tmp_path)
            async with asyncio.TaskGroup() as group:
                tasks = {
                    line.id: group.create_task(told(compound, line))
                    for line in load(tmp_path).lines
                    if line.id in points
                }
            return {line: task.result() for line, task in tasks.items()}

    said = asyncio.run(scenario())
    assert said.keys() == points.keys()
    for line, told_of in said.items():
        silent, spoilt, lied, noisy, healthy = (each.pop(points[line]) for each in told_of)
        assert (silent, healthy) == ("no_answer", None)
        assert {spoilt, lied} <= {"no_answer", "bad_frame"}
        assert noisy in (None, "no_answer", "bad_frame"), "garbage may hit the frame"
        assert [set(others.values()) for others in told_of] == [{None}] * 5, "the neighbour is well all the time"


def reasons(readings: list[Reading]) -> dict[str, str | None]:
    return {reading.point: reading.reason for reading in readings}


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
