"""The configuration that is written for the compound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.base import SerialFormat
from gateway.config.models import parse_duration
from gateway.sim import site
from gateway.sim.compound import BUILDINGS, GAS, PUMPS, Compound
from gateway.sim.faults import FaultBoard
from gateway.sim.line import SimLine
from gateway.sim.world import Layout


@contextmanager
def wired(layout: Layout) -> Iterator[Compound]:
    """A compound whose ports have names although nothing is open."""
    compound = Compound(layout)
    for name in (*{f"rs485-{home.building}-{home.entrance}": 0 for home in layout.homes()}, GAS):
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
    assert len({entry["id"] for entry in entries}) == len(entries) == 60 + 3 + 2
    addresses = [entry["address"] for entry in entries if "address" in entry]
    assert len(set(addresses)) == 60
    assert all(len(address) == 12 and address.isdecimal() for address in addresses)


def test_an_old_broker_is_named_as_one() -> None:
    with wired(Layout(1, 1, 1)) as compound:
        five = site.document(compound, Path("/s"), site.UplinkTarget("127.0.0.1", 1883, "5"))["uplinks"]
        old = site.document(compound, Path("/s"), site.UplinkTarget("127.0.0.1", 1883, "3.1.1"))["uplinks"]
    assert "protocol" not in five[0]
    assert old[0]["protocol"] == "mqtt311"
