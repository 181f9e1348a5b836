"""What the published answers could mean, shown side by side."""

from __future__ import annotations

import pytest

from drivers.base import Field
from drivers.cjt188.frame import Frame
from drivers_cjt188.rig import HEAT_POINTS, POINTS, WATER, meter, water
from drivers_cjt188.test_driver import on_line, replying
from drivers_cjt188.test_vectors import BY_ID, raw
from gateway.model import ValueKind
from support.virtual_time import run


def shown(vector: str, name: str) -> dict[str, Field]:
    stated = BY_ID[vector]["frame"]
    points = HEAT_POINTS if stated["t"].startswith("2") else {each: POINTS[each] for each in POINTS if each != "month1"}
    driver = meter(replying(), points, address=stated["addr"], type=stated["t"])
    return {field.id: field for field in driver.interpretations(f"m.{name}", raw(BY_ID[vector]))}


def values(vector: str, name: str) -> dict[str, object]:
    return {key: field.value for key, field in shown(vector, name).items()}


def test_a_quantity_is_shown_with_its_unit_behind_and_first() -> None:
    assert values("188-w-2", "volume") == {
        "di.high_first": "901F",
        "di.low_first": "1F90",
        "di.taken": "high_first",
        "raw": "00 22 22 00 2C",
        "unit_behind.digits": "00222200",
        "unit_behind.unit": "2C",
        "unit_behind.value": 2222.0,
        "unit_first.digits": "2C002222",
        "unit_first.unit": "00",
        "unit_first.value": None,
        "taken": "unit_behind",
    }
    assert shown("188-w-2", "volume")["unit_behind.value"].unit == "m3"


def test_a_meter_that_sends_units_first_shows_both_and_which_is_taken() -> None:
    said = values("188-heat-unitfirst-1", "energy")
    assert (said["unit_first.value"], said["unit_behind.value"], said["taken"]) == (5328.19, None, "unit_first")
    assert said["raw"] == "05 19 28 53 00"


def test_the_order_of_the_identifier_is_shown() -> None:
    said = values("188-heat-2", "hours")
    assert (said["di.high_first"], said["di.low_first"], said["di.taken"]) == ("1F90", "901F", "low_first")
    assert (said["digits"], said["value"]) == ("005834", 5834)


@pytest.mark.parametrize(
    ("vector", "name", "expected"),
    [
        ("188-heat-2", "supply_temperature", {"raw": "02 23 00", "digits": "002302", "value": 23.02}),
        ("188-heat-2", "clock", {"digits": "20230905124909", "value": "2023-09-05T12:49:09"}),
        ("188-w-3", "clock", {"digits": "00000000202060", "value": None}),
        ("188-lua-1", "status", {"bits.0": "00000000", "bits.8": "00100011", "valve": "open", "battery": "good"}),
        ("188-fe-2", "battery", {"bits.0": "00000000", "bits.8": "11111111", "battery": "good"}),
    ],
)
def test_other_fields(vector: str, name: str, expected: dict[str, object]) -> None:
    assert expected.items() <= values(vector, name).items()


def test_what_came_last_over_the_line_is_what_is_shown() -> None:
    async def main() -> None:
        async with on_line(water()) as line:
            driver = meter(line, timeout_s=1.5)
            await driver.poll(["m.month1"])
            said = {field.id: field.value for field in driver.interpretations("m.month1", line.last_answer)}
            assert (said["raw"], said["unit_behind.value"]) == ("00 00 12 00 2C", 1200.0)
            assert driver.interpretations("m.volume", line.last_answer) == (), "another identifier"

    run(main())


def test_what_does_not_answer_shows_nothing_and_what_does_not_fit_shows_its_bytes() -> None:
    driver = meter(replying(), {"volume": {"unit": "m3"}})

    def said(data: str, control: int = 0x81, address: str = WATER) -> list[tuple[str, object]]:
        wire = b"\x00\x68" + Frame(0x10, address, control, bytes.fromhex(data)).to_bytes(2)
        return [(field.id, field.value) for field in driver.interpretations("m.volume", wire)]

    assert said("901F01 00", address="00000000000404") == []
    assert driver.interpretations("m.volume", b"") == ()
    assert said("01 0001", 0xC1) == [("refused", "00 01")]
    assert said("901F01 0102")[-2:] == [("length", 2), ("raw", "01 02")]


def test_a_bit_of_the_makers_own_shows_the_whole_status() -> None:
    points = {"leak": {"field": "status", "status_bit": 9, "kind": ValueKind.BOOLEAN}}
    published = BY_ID["188-lua-1"]
    own = meter(replying(), points, address=published["frame"]["addr"])
    assert Field("bits.8", "00100011") in own.interpretations("m.leak", raw(published))
    assert meter(replying(), points).interpretations("m.leak", raw(published)) == (), "another meter"
