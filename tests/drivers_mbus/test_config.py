from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from drivers.mbus.config import MbusOptions, MbusPointOptions
from drivers.mbus.records import Function


@pytest.mark.parametrize(
    ("written", "secondary"),
    [
        ("12345678", "12345678FFFFFFFF"),
        (" 1234567f ", "1234567FFFFFFFFF"),
        ("1234567804770E16", "1234567804770E16"),
    ],
)
def test_a_secondary_address_has_sixteen_places(written: str, secondary: str) -> None:
    assert MbusOptions(secondary=written).secondary == secondary


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "primary\n  Field required"),
        ({"primary": 1, "secondary": "12345678"}, "either primary or secondary"),
        ({"primary": 251}, "less than or equal to 250"),
        ({"primary": -1}, "greater than or equal to 0"),
        ({"secondary": "1234567"}, "8 digits"),
        ({"secondary": "1234567A"}, "8 digits"),
        ({"secondary": 12345678}, "string"),
        ({"primary": 1, "address": 1}, "[Ee]xtra"),
        ({"primary": 1, "reset": False, "application_reset": True}, "needs reset"),
    ],
)
def test_a_wrong_address_is_refused_with_the_reason(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MbusOptions(**written)


@pytest.mark.parametrize(
    "written",
    [
        {"quantity": "energy"},
        {"quantity": "temperature"},
        {"quantity": "id"},
        {"quantity": "text:%RH"},
        {"quantity": "vif FD 7C"},
        {"quantity": "manufacturer_specific", "modifier": "52"},
        {"quantity": "energy", "modifier": "positive", "storage": 1, "tariff": 2, "subunit": 3, "function": "maximum"},
        {"quantity": "power", "modifier": "FF01"},
        {"quantity": "status", "bit": 2},
    ],
)
def test_points_that_can_be_read(written: dict[str, Any]) -> None:
    options = MbusPointOptions(**written)
    assert options.key == (
        written["quantity"],
        written.get("modifier", ""),
        written.get("storage", 0),
        written.get("tariff", 0),
        written.get("subunit", 0),
        Function(written.get("function", "instantaneous")),
    )


def test_the_unit_is_the_quantitys_unless_a_modifier_may_change_it() -> None:
    assert MbusPointOptions(quantity="energy").unit == "kW.h"
    assert MbusPointOptions(quantity="energy", modifier="per_hour").unit is None
    assert MbusPointOptions(quantity="status").unit is None


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"quantity": "enregy"}, "unknown quantity enregy"),
        ({"quantity": "text:"}, "unknown quantity"),
        ({"quantity": "energy", "modifier": "posative"}, "unknown modifier posative"),
        ({"quantity": "energy", "storage": -1}, "greater than or equal to 0"),
        ({"quantity": "energy", "function": "average"}, "instantaneous"),
        ({"quantity": "energy", "scale": 0.0}, "scale of 0"),
        ({"quantity": "energy", "scale": float("inf")}, "finite"),
        ({"quantity": "status", "bit": 2, "scale": 2.0}, "bit cannot be scaled"),
        ({"quantity": "status", "storage": 1}, "header has no storage"),
        ({"quantity": "energy", "nth": 0}, "greater than or equal to 1"),
        ({"quantity": "energy", "offset": 1}, "[Ee]xtra"),
    ],
)
def test_points_that_cannot_be_read_are_refused_with_the_reason(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MbusPointOptions(**written)
