"""What nobody may do from afar, who may see what, and how often something may happen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.models import OnlyModel, PlaceModel
from gateway.model import Device, Lane, Place, Point, Text, ValueKind
from gateway.remote.rights import Bucket, opens_gas, visible

GAS: list[tuple[str, str, object, bool]] = [
    # (kind of device, point, value, gas could flow)
    ("gas_meter", "valve", "open", True), ("gas_meter", "valve", "closed", False), ("gas_meter", "valve", "half", True),
    ("gas_meter", "valve", True, True), ("gas_meter", "valve", False, False), ("gas_meter", "valve", 0, True),
    ("gas_meter", "valve", None, True),
    ("gas_meter", "valve", "CLOSED", True), ("gas_meter", "valve", ["closed"], True),
    ("gas_valve", "position", "open", True), ("gas_valve", "position", "closed", False), ("gas_valve", "x", 50, True),
    ("gas_controller", "relay1", "closed", True), ("gas_controller", "relay1", "open", False),
    ("gas_controller", "relay_valve", "open", True), ("gas_controller", "relay_valve", "off", False),
    ("gas_detector", "threshold", 20, False),
    ("water_meter", "valve", "open", False), ("gasket", "valve", "open", False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "value", "opens"), GAS)
def test_gas_can_only_be_cut_off(kind: str, name: str, value: object, opens: bool) -> None:
    point = Point(f"d.{name}", ValueKind.STATE, Text("", ""), 1.0, writable=True)
    device = Device("d", kind, Text("", ""), Place(), "test", (point,))
    assert opens_gas(device, point, value) is opens


HOME = Device("m", "power_meter", Text("", ""), Place(building="3#", room="101"), "test", ())
ENERGY = Point("m.energy", ValueKind.NUMBER, Text("", ""), 1.0, lane=Lane.BILLING, personal=True)
STATE = Point("m.state", ValueKind.NUMBER, Text("", ""), 1.0)


@pytest.mark.parametrize(
    ("only", "pseudonyms", "energy", "state"),
    [
        (OnlyModel(), False, True, True),
        (OnlyModel(personal=False), False, False, True),
        (OnlyModel(), True, False, True),
        (OnlyModel(lanes=["billing"]), False, True, False),
        (OnlyModel(kinds=["pump"]), False, False, False),
        (OnlyModel(devices=["m"]), False, True, True),
        (OnlyModel(devices=["n"]), False, False, False),
        (OnlyModel(places=[PlaceModel(building="3#")]), False, True, True),
        (OnlyModel(places=[PlaceModel(building="3#", room="102")]), False, False, False),
    ],
)
def test_a_command_shows_no_more_than_the_uplink_does(
    only: OnlyModel, pseudonyms: bool, energy: bool, state: bool
) -> None:
    assert visible(only, pseudonyms=pseudonyms, device=HOME, point=ENERGY) is energy
    assert visible(only, pseudonyms=pseudonyms, device=HOME, point=STATE) is state


@given(st.integers(1, 20), st.lists(st.floats(0, 30), max_size=60))
def test_no_bucket_gives_more_than_its_rate(burst: int, pauses: list[float]) -> None:
    bucket, now_s, taken = Bucket(burst, 60.0), 1000.0, list[float]()
    for pause_s in pauses:
        now_s += pause_s
        if bucket.take(now_s):
            taken.append(now_s)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) * burst / 60.0 + 1e-6


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    bucket = Bucket(2, 60.0)
    assert [bucket.take(at_s) for at_s in (100.0, 100.0, 50.0, 60.0)] == [True, True, False, False]
