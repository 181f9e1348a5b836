"""The configuration that is written for the compound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.base import SerialFormat
from gateway.config.load import check, load
from gateway.config.models import parse_duration
from gateway.sim import site
from gateway.sim.compound import BUILDINGS, GAS, PUMPS, Compound, entrance_line, heat_places, water_line
from gateway.sim.faults import FaultBoard
from gateway.sim.line import SimLine
from gateway.sim.world import Layout


@contextmanager
def wired(layout: Layout) -> Iterator[Compound]:
    """A compound whose ports have names although nothing is open."""
    compound = Compound(layout)
    names = {line: 0 for of in (entrance_line, water_line) for line in map(of, layout.homes())}
    names |= {place.line: 0 for place in heat_places(layout)}
    for name in (*names, GAS):
        compound.serial[name] = SimLine(name, SerialFormat(2400, "E"), [], FaultBoard())
        compound.serial[name].path = f"/dev/pts/{name}"
    compound.tcp |= {BUILDINGS: 1502, PUMPS: 1503}
    yield compound


@pytest.mark.parametrize("households", [1, 10, 60, 198])
def test_a_meter_line_is_never_asked_for_more_than_it_can_carry(households: int) -> None:
    with wired(Layout(1, 1, households)) as compound:
        every_s = site.meter_interval_s(compound)
        meters = [d for d in site.document(compound, Path("/s"), None)["devices"] if d["id"].startswith("m-")]
    assert len(meters) == households
    assert {parse_duration(meter["every"]) for meter in meters} == {every_s}
    # Request and answer of 20 bytes and their turnaround, for each of the points that are read at this pace.
    exchange_s = (20 + 24) * SerialFormat(2400, "E").character_s + 0.035
    assert households * len(site.METER_POINTS) * exchange_s <= 0.8 * every_s


def test_ids_and_addresses_are_unique() -> None:
    with wired(Layout(3, 2, 10)) as compound:
        entries = site.document(compound, Path("/s"), None)["devices"]
    assert len({entry["id"] for entry in entries}) == len(entries) == 60 + 60 + 6 + 3 + 2
    addresses = [entry["address"] for entry in entries if "address" in entry]
    assert len(set(addresses)) == 60 + 60
    assert [len(address) for address in addresses] == [12] * 60 + [14] * 60
    assert all(address.isdecimal() for address in addresses)
    heat = [(entry["line"], entry["primary"]) for entry in entries if entry["id"].startswith("h-")]
    assert heat == [("mbus-heat", primary) for primary in range(1, 7)]


def test_a_water_address_says_where_the_meter_is() -> None:
    with wired(Layout(3, 2, 10)) as compound:
        entries = {entry["id"]: entry for entry in site.document(compound, Path("/s"), None)["devices"]}
    assert entries["w-3-2-502"]["address"] == "9001" + "26" + "03" + "02" + "05" + "02"
    assert entries["w-3-2-502"]["line"] == "rs485-water-3"


def test_heat_meters_beyond_a_bus_hang_on_the_next_one() -> None:
    places = list(heat_places(Layout(99, 6, 1)))
    assert len({(place.line, place.primary) for place in places}) == len(places) == 594
    assert {place.line for place in places} == {"mbus-heat", "mbus-heat-2", "mbus-heat-3"}
    assert {place.primary for place in places} == set(range(1, 251))


@pytest.mark.parametrize("layout", [Layout(1, 1, 1), Layout(3, 2, 10), Layout(3, 2, 60), Layout(42, 6, 1)])
def test_water_and_heat_lines_are_busy_for_less_than_six_tenths(tmp_path: Path, layout: Layout) -> None:
    with wired(layout) as compound:
        site.write(compound, tmp_path, tmp_path / "store", None)
        asked = {line.id: line.load for line in load(tmp_path).lines}
    lines = {line: load for line, load in asked.items() if line.startswith(("rs485-water-", "mbus-heat"))}
    assert len(lines) == layout.buildings + (2 if layout.buildings * layout.entrances > 250 else 1)
    assert all(load is not None and load.share < 0.6 for load in lines.values())


def test_at_its_default_size_every_meter_is_read_within_twenty_seconds(tmp_path: Path) -> None:
    assert max(site.water_interval_s(Layout()), site.heat_interval_s(Layout())) <= 20
    with wired(Layout()) as compound:
        site.write(compound, tmp_path, tmp_path / "store", None)
    assert [str(fault) for fault in check(tmp_path)] == []


def test_an_old_broker_is_named_as_one() -> None:
    with wired(Layout(1, 1, 1)) as compound:
        five = site.document(compound, Path("/s"), site.UplinkTarget("127.0.0.1", 1883, "5"))["uplinks"]
        old = site.document(compound, Path("/s"), site.UplinkTarget("127.0.0.1", 1883, "3.1.1"))["uplinks"]
    assert "protocol" not in five[0]
    assert old[0]["protocol"] == "mqtt311"
