"""A lift object of GB/T 24476-2017: an answer, byte by byte, becomes the points that the rules ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.bacnet import apdu
from drivers.bacnet.apdu import Ack
from drivers.bacnet.config import PointOptions
from drivers.bacnet.values import value_of
from drivers.code_tables import SERVICE_MODES
from gateway.config.faults import Report
from gateway.config.profiles import Profile, Profiles
from gateway.model import Reason, Value, ValueKind

SAID = {
    515: "9102",  # enumerated 2
    516: "2101",  # unsigned 1
    517: "2102",
    518: "10",  # boolean false
    519: "2107",
    520: "11",
    521: "11",
    522: "220fa0",
    523: "2301e240",
    526: "91049108",  # two messages
}


def lift() -> Profile:
    report = Report()
    found = Profiles(Path("nowhere"), report).get("lift_bacnet")
    assert found is not None, report.faults
    return found


def read(said: dict[int, str]) -> dict[str, Value | Reason]:
    results = "".join(f"2a{number:04x}4e{value}4f" for number, value in said.items())
    npdu = bytes.fromhex(f"0100 30010e 0c{129 << 22 | 1:08x}1e{results}1f")
    parsed = apdu.parse(b"\x81\x0a" + (4 + len(npdu)).to_bytes(2, "big") + npdu)
    assert parsed is not None
    assert isinstance(parsed[0], Ack)
    answered = dict(parsed[0].values)
    profile, found = lift(), {}
    for name, options in profile.options["bacnet"].items():
        assert isinstance(options, PointOptions)
        if options.wanted() in answered:
            kind = ValueKind(profile.model.points[name].kind)
            found[name] = value_of(answered[options.wanted()], options, kind)
    return found


def test_every_property_becomes_its_point() -> None:
    assert read(SAID) == {
        "service_mode": "inspection",
        "car_state": "running",
        "direction": "down",
        "in_door_zone": False,
        "position": 7,
        "door_closed": True,
        "passenger": True,
        "running_time": 4000,
        "runs": 123456,
        "message_code": 4,
    }


@pytest.mark.parametrize("number", range(8))
def test_the_modes_are_those_of_the_vocabulary(number: int) -> None:
    assert read({515: f"91{number:02x}"}) == {"service_mode": SERVICE_MODES[number]}


def test_what_the_standard_does_not_know_is_no_value() -> None:
    assert read({515: "9109", 516: "2105"}) == {"service_mode": Reason.OUT_OF_RANGE, "car_state": Reason.OUT_OF_RANGE}
