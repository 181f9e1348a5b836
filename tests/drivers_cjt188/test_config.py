from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from drivers.cjt188.config import Cjt188Options, Cjt188PointOptions


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("192", "00000000000192"),
        (" 00001000000192 ", "00001000000192"),
        ("1111005920", "00001111005920"),
        ("7a330011223344", "7A330011223344"),
        ("aaaaaaaaaaaaaa", "AAAAAAAAAAAAAA"),
    ],
)
def test_an_address_has_fourteen_places(written: str, address: str) -> None:
    assert Cjt188Options(address=written, type="10").address == address


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("000010000001920", "up to 14 digits"),
        ("", "up to 14 digits"),
        ("12-34", "up to 14 digits"),
        ("A1", "up to 14 digits"),
        ("AAAA0011223344", None),
        ("AAAAAA11223344", "up to 14 digits"),
        ("99999999999999", "broadcast"),
    ],
)
def test_a_wrong_address_is_refused_with_the_reason(written: str, said: str | None) -> None:
    if said is None:  # a vendor's code may be any four hex digits
        assert Cjt188Options(address=written, type="10").address == written
        return
    with pytest.raises(ValidationError, match=said):
        Cjt188Options(address=written, type="10")


@pytest.mark.parametrize("key", ["address", "type"])
def test_a_number_is_neither_an_address_nor_a_type(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Cjt188Options(**{"address": "1", "type": "10", key: 10})
    (error,) = caught.value.errors()
    assert (error["loc"], error["type"]) == ((key,), "string_type")


@pytest.mark.parametrize("written", ["10", "11", "25", "30", "4f", "AA"])
def test_types(written: str) -> None:
    options = Cjt188Options(address="1", type=written, answer_type=written)
    assert options.type == options.answer_type == written.upper()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "required"),
        ({"type": "1"}, "two hex digits"),
        ({"type": "50"}, "two hex digits"),
        ({"type": "10", "answer_type": "00"}, "two hex digits"),
        ({"type": "10", "preamble": 17}, "16"),
        ({"type": "10", "di_order": "901F"}, "high_first"),
        ({"type": "10", "valve": True}, "[Ee]xtra"),
        ({"type": "10", "valve_codes": "55"}, "66/77"),
        ({"type": "10", "valve_s": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Cjt188Options(address="1", **written)


@pytest.mark.parametrize(
    ("written", "di", "part"),
    [
        ({"field": "volume"}, "901F", "volume"),
        ({"field": "return_temperature"}, "901F", "return_temperature"),
        ({"field": "valve"}, "901F", "status"),
        ({"field": "battery"}, "901F", "status"),
        ({"field": "volume", "di": "d12b"}, "D12B", "volume"),
        ({"field": "volume", "di": "D20C"}, "D20C", "volume"),
        ({"field": "flow", "di": "D37F"}, "D37F", "flow"),
        ({"field": "status", "status_bit": 15}, "901F", "status"),
    ],
)
def test_points_that_can_be_read(written: dict[str, Any], di: str, part: str) -> None:
    options = Cjt188PointOptions(**written)
    assert (options.di, options.part_name) == (di, part)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "required"),
        ({"field": "pressure"}, "no such field"),
        ({"field": "clock", "di": "D120"}, "no such field"),
        ({"field": "valve", "di": "D120"}, "no such field"),
        ({"field": "volume", "di": "1F90"}, "high byte first"),
        ({"field": "volume", "di": "D12C"}, "unknown identifier"),
        ({"field": "volume", "di": "911F"}, "unknown identifier"),
        ({"field": "volume", "di": "D280"}, "unknown identifier"),
        ({"field": "pressure", "di": "D300"}, "no such field"),
        ({"field": "valve", "status_bit": 1}, "belongs to field status"),
        ({"field": "status", "status_bit": 16}, "less than or equal to 15"),
        ({"field": "volume", "scale": 2}, "[Ee]xtra"),
    ],
)
def test_points_that_cannot_be_read_are_refused_with_the_reason(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Cjt188PointOptions(**written)
