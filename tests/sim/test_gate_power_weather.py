"""The compound's systems beside its meters, heard by the product's own hubs and drivers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from drivers.base import Happening
from drivers.registry import PackagesMissing
from gateway.config.load import check
from gateway.sim import site
from gateway.sim.compound import Compound
from gateway.sim.systems import system as system_module
from gateway.sim.systems.charging import Charging
from gateway.sim.systems.gate import Barrier, Gate
from gateway.sim.systems.power import Power
from gateway.sim.systems.signs import Signs
from gateway.sim.systems.system import System
from gateway.sim.systems.town import Town
from gateway.sim.systems.weather import Course, Weather
from gateway.sim.world import Layout
from sim.ear import Ear, ear
from support.descriptors import open_descriptors
from support.virtual_time import run as run_virtual

NEVER_S = 1e6


def heard(directory: Path, act: Callable[[Ear], Awaitable[None]], *systems: System) -> None:
    """Nothing is left open afterwards."""

    async def scenario() -> None:
        async with ear(directory, *systems) as ears:
            await act(ears)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


# ---------------------------------------------------------------------- the gate


def test_cars_are_seen_and_the_fire_lane_is_watched(tmp_path: Path) -> None:
    gate = Gate(traffic_s=NEVER_S)

    async def act(ears: Ear) -> None:
        await ears.until(lambda: ears.values.get("cam-lane.vehicle") is False)
        await gate.arrive("皖X00001")
        await gate.leave("皖X00002")
        assert (ears.values["cam-in.seen_count"], ears.values["cam-out.seen_count"]) == (1, 1)
        seen = [each.personal for each in ears.happened if each.kind == "vehicle.seen"]
        assert seen[-2:] == [{"plate": "皖X00001"}, {"plate": "皖X00002"}]
        await gate.block_fire_lane()
        assert ears.values["cam-lane.vehicle"] is True
        confidence = ears.values["cam-lane.confidence"]
        assert isinstance(confidence, float)
        assert confidence >= 0.7, "else the rule of the library does not look"
        await gate.clear_fire_lane()
        assert ears.values["cam-lane.vehicle"] is False

    heard(tmp_path, act, gate, Signs())


def test_cars_come_and_go_by_themselves(tmp_path: Path) -> None:
    async def act(ears: Ear) -> None:
        await ears.until(lambda: all(ears.values.get(f"cam-{way}.seen_count", 0) == 2 for way in ("in", "out")))

    heard(tmp_path, act, Gate(traffic_s=0.01), Signs())


def test_the_barrier_opens_for_a_car_and_for_whoever_writes_its_relay(tmp_path: Path) -> None:
    gate = Gate(traffic_s=NEVER_S)
    gate.barrier.moves_s = 0.0

    gate.barrier.stays_s = NEVER_S

    async def act(ears: Ear) -> None:
        await ears.ask("barrier-1")
        assert (ears.values["barrier-1.position"], ears.values["barrier-1.loop"]) == ("closed", False)
        await ears.write("barrier-1.raise", True)
        await ears.ask("barrier-1")
        assert (ears.values["barrier-1.position"], ears.values["barrier-1.loop"]) == ("open", False)
        await gate.arrive("皖X00001")
        await ears.ask("barrier-1")
        assert (ears.values["barrier-1.position"], ears.values["barrier-1.loop"]) == ("open", True)
        gate.barrier.stays_s = 0.0
        await ears.ask("barrier-1")
        assert (ears.values["barrier-1.position"], ears.values["barrier-1.loop"]) == ("closed", False)

    heard(tmp_path, act, gate, Signs())


def test_the_arm_takes_its_time_both_ways() -> None:
    async def scenario() -> list[bool]:
        barrier, seen = Barrier(stays_s=3.0, moves_s=1.0), []
        barrier.lets_through()
        for after_s in (0.5, 1.0, 1.5, 1.5):  # at 0.5, 1.5, 3.0, 4.5
            await asyncio.sleep(after_s)
            seen.append(barrier.is_up)
            if len(seen) == 3:
                barrier.lets_through()  # the next car, while it is up
        await asyncio.sleep(2.0)
        return [*seen, barrier.is_up]

    assert run_virtual(scenario()) == [False, True, True, True, False]


# ---------------------------------------------------------------------- the cabinet


def test_the_ups_says_at_once_that_the_mains_failed_and_its_battery_runs_down(tmp_path: Path) -> None:
    power = Power(minute_s=0.01)

    async def act(ears: Ear) -> None:
        await ears.ask("ups-1")
        assert (ears.values["ups-1.on_battery"], ears.values["ups-1.time_left"]) == (False, 45)
        bad = {point for point in ears.points["ups-1"] if ears.values[point] is None}
        assert bad == set(), "every point of the profile answers"
        power.mains_fail()
        await ears.until(lambda: ears.happened != [])
        await ears.ask_until("ups-1", lambda: ears.values["ups-1.battery_low"] is True)
        assert (ears.values["ups-1.on_battery"], ears.values["ups-1.input_voltage"]) == (True, 0)
        power.mains_return()
        await ears.ask_until("ups-1", lambda: ears.values["ups-1.time_left"] == 45)
        assert (ears.values["ups-1.on_battery"], ears.values["ups-1.battery_low"]) == (False, False)
        await ears.ask("switch-1")
        assert (ears.values["switch-1.port1"], ears.values["switch-1.port8"]) == ("up", "down")
        assert None not in {ears.values[point] for point in ears.points["switch-1"]}

    heard(tmp_path, act, power)


# ---------------------------------------------------------------------- the chargers


def test_somebody_charges_and_a_fault_ends_it(tmp_path: Path) -> None:
    charging = Charging(beat_s=0.01)

    def last(ears: Ear, kind: str) -> Happening:
        return next(each for each in reversed(ears.happened) if each.kind == kind)

    async def act(ears: Ear) -> None:
        await ears.until(lambda: ears.kinds().count("charging.stopped") >= 2)
        assert last(ears, "charging.started").personal == {"card": "04A1B2C3"}
        assert isinstance(ears.values["car-charger-1.energy"], float)
        charging.fault()
        await ears.until(lambda: "charging.fault" in ears.kinds())
        assert ears.values["car-charger-1.state"] == "faulted"
        assert ears.values["car-charger-1.fault"] == "ground_failure"
        charging.mend()
        await ears.until(
            lambda: ears.values["car-charger-1.power"] == 7.0 and ears.values["car-charger-2.power"] == 7.0
        )

    heard(tmp_path, act, charging)


def test_a_charger_with_a_fault_charges_nobody() -> None:
    charging = Charging()
    charger = charging._chargers[0]
    charger.beat = 4
    assert charger.charges
    charging.fault()
    assert not charger.charges
    charging.mend()
    assert charger.charges


# ---------------------------------------------------------------------- the weather


def test_a_warning_turns_red_and_is_taken_back_while_the_water_rises_and_falls(tmp_path: Path) -> None:
    weather = Weather()

    async def act(ears: Ear) -> None:
        await ears.until(lambda: ears.values.get("weather.rainstorm") == "none")
        weather.rainstorm("yellow")
        await ears.until(lambda: ears.values["weather.rainstorm"] == "yellow")
        weather.rainstorm("red")
        await ears.until(lambda: ears.values["weather.rainstorm"] == "red")
        assert ears.kinds() == ["warning.issued", "warning.updated"]
        await ears.ask("sump-1")
        assert ears.values["sump-1.level"] == 3.0
        weather.rain(cm_a_s=NEVER_S)
        await ears.ask_until("sump-1", lambda: ears.values["sump-1.level"] == 26.0)
        weather.rain_stops(cm_a_s=NEVER_S)
        await ears.ask_until("sump-1", lambda: ears.values["sump-1.level"] == 3.0)
        weather.calm()
        await ears.until(lambda: ears.values["weather.rainstorm"] == "none")
        assert ears.kinds()[-1] == "warning.cancelled"
        await ears.ask("station-1")
        told = {point: ears.values[point] for point in ears.points["station-1"]}
        assert None not in told.values()
        temperature, illuminance = told["station-1.temperature"], told["station-1.illuminance"]
        assert isinstance(temperature, float)
        assert 11.9 < temperature < 12.7
        assert isinstance(illuminance, int)
        assert 9000 <= illuminance <= 12000

    heard(tmp_path, act, weather, Signs())


def test_a_course_stays_within_its_limits_and_goes_on_from_where_it_is() -> None:
    rising = Course(3.0, 10.0, 2.0, 3.0, 26.0)
    assert [rising.at(at_s) for at_s in (10.0, 15.0, 100.0)] == [3.0, 13.0, 26.0]
    falling = rising.turned(15.0, -1.0)
    assert [falling.at(at_s) for at_s in (15.0, 18.0, 100.0)] == [13.0, 10.0, 3.0]


# ---------------------------------------------------------------------- the signs


def test_what_is_written_is_announced_and_shown(tmp_path: Path) -> None:
    signs = Signs()

    async def act(ears: Ear) -> None:
        assert (signs.announced(), signs.shown()) == ([], "")
        await ears.write("speaker-1.announcement", "rainstorm_red")
        assert len(signs.announced()) == 1
        assert signs.announced()[0].startswith("暴雨红色预警")
        await ears.write("sign-1.notice", "move_your_car")
        assert signs.shown() == "消防通道 禁止停车"
        await ears.ask("sign-1")
        assert (ears.values["sign-1.notice"], ears.values["sign-1.online"]) == ("move_your_car", True)

    heard(tmp_path, act, signs)


# ---------------------------------------------------------------------- all together


def written(directory: Path, town: Town) -> list[str]:
    """What is wrong with the whole configuration.  That a pack has a rule for devices that are not here is not."""

    async def scenario() -> list[str]:
        async with Compound(Layout(1, 1, 1), systems=town.systems) as compound:
            site.write(compound, directory, directory / "store", None)
            known = site.devices(compound)
            assert all(point.partition(".")[0] in known for point, _ in site.showcase(compound))
            return [str(fault) for fault in check(directory) if not fault.warning]

    return asyncio.run(scenario())


def test_the_whole_town_passes_the_check_and_leaves_nothing_open(tmp_path: Path) -> None:
    written(tmp_path / "first", Town())  # what is opened once for all
    before = open_descriptors()
    assert written(tmp_path / "second", Town()) == []
    assert open_descriptors() <= before


def test_what_a_spectator_cannot_wait_for_is_changed_in_the_copy_and_says_so(tmp_path: Path) -> None:
    written(tmp_path, Town())
    lane = (tmp_path / "rules" / "vehicles.yaml").read_text(encoding="utf-8")
    assert "  # 库中 / in the library: for: 3 min\n  for: 8s\n" in lane
    assert "camera.snapshot" not in "".join(line for line in lane.splitlines() if not line.startswith("  #"))
    assert "parking_forbidden" not in lane
    water = (tmp_path / "rules" / "water.yaml").read_text(encoding="utf-8")
    sump = water.partition("- id: basement_water\n")[2].partition("\n- id: ")[0]
    assert "\n  for: 3s" in sump
    assert "\n  on_alarm" not in sump


def test_systems_whose_packages_are_missing_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the signs go those whose rules speak through them: nothing is sent to what is not there."""

    def protocol(name: str) -> None:
        if name in ("http-speaker", "snmp"):
            raise PackagesMissing(name, "field", "aiohttp")

    monkeypatch.setattr(system_module, "protocol", protocol)
    town = Town()
    assert {"power", "signs", "gate", "weather"} <= town.left_out.keys()
    assert "charging" not in town.left_out
    assert set(town.left_out.values()) == {"pip install 'compound-gateway[field]'"}
    assert written(tmp_path, town) == []


_BARE = """
import sys
for name in ("aiohttp", "aiomqtt", "defusedxml", "ocpp", "pysnmp", "uhppoted", "xknx"):
    sys.modules[name] = None
from gateway.sim import demo
print(",".join(type(system).__name__ for system in demo.Town().systems))
"""


def test_a_demonstration_without_the_extra_field_still_has_what_needs_none() -> None:
    said = subprocess.run([sys.executable, "-c", _BARE], capture_output=True, text=True, check=True)
    there = said.stdout.strip().split(",")
    assert "Fire" in there
    assert {"Gate", "Power", "Charging", "Weather", "Signs"}.isdisjoint(there)
