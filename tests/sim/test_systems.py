"""The compound's radio, boxes and lifts, heard by the product's own hubs and drivers."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Happening, Hub, Report, Writable
from gateway.clock import SystemClock
from gateway.config.load import LinePlan, check, load
from gateway.errors import LineLost
from gateway.field import drivers_on, links_on, open_hub, open_line, read_now
from gateway.model import PointId, Quality, Value
from gateway.sim import site
from gateway.sim.broker import AMQTT, BrokerKind, best_kind
from gateway.sim.compound import Compound
from gateway.sim.systems import things
from gateway.sim.systems.lifts import Lifts, car_at
from gateway.sim.systems.radio import JSON_LINE, Radio
from gateway.sim.systems.rhythm import repeating
from gateway.sim.systems.things import Turned
from gateway.sim.systems.town import Town
from gateway.sim.world import Burst, Layout
from support.descriptors import open_descriptors

_T = TypeVar("_T")

ENOUGH_S = 20.0
SECONDS = st.floats(0, 1e6, allow_nan=False)


class Ears:
    """A hub of the product, and everything that it has reported."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.values: dict[PointId, Value | None] = {}
        self.bad: dict[PointId, object] = {}
        self.happenings: list[Happening] = []

    async def until(self, wanted: Callable[[Ears], object]) -> None:
        async with asyncio.timeout(ENOUGH_S):
            while not wanted(self):
                reports = await self._hub.receive()
                for report in reports:
                    self._take(report)
                await self._hub.stored(reports)

    def _take(self, report: Report) -> None:
        self.happenings += report.happenings
        for reading in report.readings:
            self.values[reading.point] = reading.value
            if reading.quality is not Quality.GOOD:
                self.bad[reading.point] = reading.reason


def lines_of(radio: Radio, lifts: Lifts, directory: Path) -> Mapping[str, LinePlan]:
    compound = Compound(Layout(1, 1, 1))
    document = {
        **site.document(compound, directory / "store", None),
        "lines": [*radio.lines(), *lifts.lines()],
        # The meters of a flat are not on the air.
        "devices": [{**each, "roles": {}} for each in (*radio.devices(), *lifts.devices())],
    }
    (directory / "site.yaml").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return {line.id: line for line in load(directory).lines}


async def in_town(
    directory: Path, kind: BrokerKind, scene: Callable[[Radio, Lifts, Mapping[str, LinePlan]], Awaitable[_T]]
) -> _T:
    async with Radio(kind) as radio, Lifts(radio) as lifts:
        result = await scene(radio, lifts, lines_of(radio, lifts, directory))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return result


async def opened(stack: AsyncExitStack, line: LinePlan) -> tuple[Hub, Ears]:
    assert line.hub is not None
    hub = await stack.enter_async_context(open_hub(line, line.hub, {}, SystemClock()))
    return hub, Ears(hub)


def sent_points(line: LinePlan, *, but: tuple[str, ...] = ()) -> set[PointId]:
    return {point for device in line.devices for point in device.spec.points if not point.endswith(but)}


@pytest.mark.parametrize("kind", [best_kind(), AMQTT], ids=lambda kind: kind.name)
def test_everything_on_the_air_says_every_point(tmp_path: Path, kind: BrokerKind) -> None:
    """With the broker that needs nothing but Python as well."""

    async def scene(radio: Radio, lifts: Lifts, lines: Mapping[str, LinePlan]) -> int:
        heard = 0
        async with AsyncExitStack() as stack:
            for name in ("zigbee", "lorawan", JSON_LINE):
                _, ears = await opened(stack, lines[name])
                # What only says that it has happened is not said before it does.
                wanted = sent_points(lines[name], but=(".sos", "locker-1.forced"))
                await radio.say()
                await ears.until(lambda ears, wanted=wanted: wanted <= ears.values.keys() - ears.bad.keys())
                heard += len(wanted)
        return heard

    before = open_descriptors()
    assert asyncio.run(in_town(tmp_path, kind, scene)) > 80
    assert open_descriptors() <= before


def test_what_is_made_to_happen_is_heard(tmp_path: Path) -> None:
    async def scene(radio: Radio, lifts: Lifts, lines: Mapping[str, LinePlan]) -> None:
        async with AsyncExitStack() as stack:
            _, zigbee = await opened(stack, lines["zigbee"])
            _, lorawan = await opened(stack, lines["lorawan"])
            _, boxes = await opened(stack, lines[JSON_LINE])
            await radio.leak_flat()
            await radio.leak_gas_flat()
            await radio.press_sos()
            await zigbee.until(lambda ears: ears.values.get("sos-1-1-101.sos") is True)
            assert zigbee.values["leak-1-1-101.leak"] is True
            assert zigbee.values["gas-1-1-101.status"] == "alarm"
            await radio.fill_bin()
            await lorawan.until(lambda ears: ears.values.get("bin-1.fill") == 97)
            await radio.smoke_in_shed()
            await radio.force_locker()
            await radio.call_for_help()
            await boxes.until(lambda ears: {"locker.forced", "care.sos"} <= {each.kind for each in ears.happenings})
            assert boxes.values["shed-1.smoke"] is True
            assert boxes.values["care-1-1-102.sos"] is True
            await radio.burst_pipe(rise_s=0.05, fall_s=0.05, peak_cm=36)
            await boxes.until(lambda ears: (flow := ears.values.get("zone-1.flow")) is not None and float(flow) > 30)
            await radio.shut_pipe()
            await radio.leak_flat(leaks=False)
            await boxes.until(lambda ears: float(ears.values["zone-1.flow"] or 99) < 10)
            await zigbee.until(lambda ears: ears.values["leak-1-1-101.leak"] is False)

    asyncio.run(in_town(tmp_path, best_kind(), scene))


def test_the_sheds_supply_stays_off(tmp_path: Path) -> None:
    """What the rule shed_smoke sends."""

    async def scene(radio: Radio, lifts: Lifts, lines: Mapping[str, LinePlan]) -> None:
        line = lines[JSON_LINE]
        async with AsyncExitStack() as stack:
            hub, ears = await opened(stack, line)
            charger = drivers_on(
                line, dict.fromkeys((device.device.id for device in line.devices), hub), SystemClock()
            )["charger-1"]
            assert isinstance(charger, Writable)
            async with asyncio.TaskGroup() as both:
                listening = both.create_task(ears.until(lambda ears: False))
                await charger.write("charger-1.relay", "open")
                listening.cancel()
            await radio.say()
            ears.values.clear()
            await ears.until(lambda ears: {"charger-1.relay", "charger-1.current"} <= ears.values.keys())
            assert (ears.values["charger-1.relay"], ears.values["charger-1.current"]) == ("open", 0)

    asyncio.run(in_town(tmp_path, best_kind(), scene))


def test_a_lift_is_trapped_and_freed(tmp_path: Path) -> None:
    async def asked(line: LinePlan) -> Mapping[PointId, Value | None]:
        async with open_line(line) as link:
            drivers = drivers_on(line, links_on(line, link), SystemClock())
            readings = [
                reading
                for device in line.devices
                for reading in await read_now(drivers[device.device.id], list(device.spec.points), SystemClock())
            ]
        assert {reading.quality for reading in readings} == {Quality.GOOD}
        return {reading.point: reading.value for reading in readings}

    async def scene(radio: Radio, lifts: Lifts, lines: Mapping[str, LinePlan]) -> None:
        async with AsyncExitStack() as stack:
            _, boxes = await opened(stack, lines[JSON_LINE])
            await boxes.until(lambda ears: ears.values.get("lift-1.entrapment") is False)
            for lift in (1, 2):
                await lifts.trap(lift)
            await boxes.until(lambda ears: ears.values["lift-1.entrapment"] is True)
            assert {name: boxes.values[f"lift-1.{name}"] for name in ("car_state", "door_closed", "passenger")} == {
                "car_state": "stopped",
                "door_closed": True,
                "passenger": True,
            }
            assert boxes.values["lift-1.in_door_zone"] is False
            controller = await asked(lines["tcp-lifts"])
            assert (controller["lift-2.entrapment"], controller["lift-2.door"]) == (True, 3)
            assert controller["lift-1-door.relay1"] is False
            for lift in (1, 2):
                await lifts.free(lift)
            await lifts.ebike()
            await boxes.until(lambda ears: ears.values.get("lift-1-camera.ebike") is True)
            assert boxes.values["lift-1.entrapment"] is False
            assert (await asked(lines["tcp-lifts"]))["lift-2.entrapment"] is False

    asyncio.run(in_town(tmp_path, best_kind(), scene))


# ---------------------------------------------------------------------- formulas


@given(SECONDS)
def test_a_lift_runs_with_its_doors_closed(t: float) -> None:
    car = car_at(t)
    assert 1 <= car.floor <= 5
    assert (car.direction != 0) == car.door_closed == (not car.in_door_zone)
    assert not car.entrapment


def test_a_lift_goes_from_floor_to_floor() -> None:
    cars = [car_at(step / 10) for step in range(2000)]
    assert {car.floor for car in cars} == {1, 2, 3, 4, 5}
    for one, other in itertools.pairwise(cars):
        assert abs(other.floor - one.floor) <= 1
        assert one.direction * other.direction >= 0, "no turn without a stop"


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 300))
def test_burst_water_rises_and_runs_off(start_s: float, runs_s: float, t: float) -> None:
    burst = Burst(start_s, rise_s=12, fall_s=9, peak_cm=36)
    shut = burst.shut(start_s + runs_s)
    assert 0 <= shut.level_cm(t) <= burst.level_cm(t) <= 36
    assert shut.level_cm(start_s + runs_s + 9) == pytest.approx(0, abs=1e-9)
    assert burst.level_cm(start_s) == 0
    assert shut.shut(1e9) == shut, "it is shut once"


@given(st.floats(0, 500), st.floats(0.5, 200))
def test_the_zones_counter_is_the_integral_of_its_flow(start_s: float, runs_s: float) -> None:
    turned = Turned(burst=Burst(start_s, 12, 9, 36).shut(start_s + runs_s))
    (zone,) = (box for box in things.BOXES if box.id == "zone-1")
    first_s, last_s, steps = start_s - 50, start_s + runs_s + 50, 4000
    step_s = (last_s - first_s) / steps
    flows = (zone.says(first_s + (n + 0.5) * step_s, turned)["flow"] for n in range(steps))
    grown = zone.says(last_s, turned)["volume"] - zone.says(first_s, turned)["volume"]
    # Both are rounded, and the flow jumps within a step.
    assert math.fsum(flows) * step_s / 3600 == pytest.approx(grown, abs=0.002 + 36 * step_s / 3600 + 0.005 * 300 / 3600)


def test_who_repeats_ends_with_the_context_and_tells_what_went_wrong() -> None:
    async def lost() -> None:
        raise LineLost("the broker has gone")

    async def broken() -> None:
        raise ValueError("a fault of ours")

    async def scenario() -> None:
        async with repeating(0.0, lost):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        with pytest.raises(ValueError, match="a fault of ours"):
            async with repeating(0.0, broken):
                await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


# ---------------------------------------------------------------------- what is written down


def test_the_configuration_with_everything_can_be_loaded(tmp_path: Path) -> None:
    systems = Town().systems

    async def scenario() -> None:
        async with Compound(Layout(1, 1, 1), systems=systems) as compound:
            site.write(compound, tmp_path, tmp_path / "store", site.UplinkTarget("127.0.0.1", 1883, "5"))
            assert [str(fault) for fault in check(tmp_path) if not fault.warning] == []
            config = load(tmp_path)
            assert {point for point, _ in site.showcase(compound)} <= set(config.points)
            assert sorted(device.id for device in config.devices) == sorted(site.devices(compound))

    asyncio.run(scenario())
    asked = {pack for system in systems for pack in system.packs}
    rules = {path.stem: path.read_text("utf-8") for path in (tmp_path / "rules").iterdir()}
    assert rules.keys() == {"compound", *(pack.partition(":")[0] for pack in asked)}
    assert "basement_water_high" not in rules["compound"], "the library's took its place"
    assert "gas_controller_high" not in rules["compound"], "nor that of the controller"
    deleted = {f"{pack}:{each}" for pack, ids in site.DELETED.items() for each in ids}
    there = {each for each in deleted if f"- id: {each.partition(':')[2]}\n" in rules[each.partition(":")[0]]}
    assert there == deleted & asked, "a system may ask for a rule that the others do without"
    assert "mode: shadow" not in "".join(rules.values())


def test_what_the_installer_deleted_was_there() -> None:
    for pack, deleted in site.DELETED.items():
        text = (Path(site.__file__).parents[2] / "rules" / "library" / f"{pack}.yaml").read_text("utf-8")
        assert all(f"- id: {each}\n" in text for each in deleted), pack
