from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.cjt188 import items
from drivers.cjt188.items import HEAT, MONTH, VOLUME, Part, Sort
from drivers.cjt188.simulator import UNIT_CODES, encode

QUANTITY = Part("volume", Sort.QUANTITY, 2, "volume")
NUMBER = Part("hours", Sort.NUMBER, 0, unit="h")


def test_a_layout_is_told_by_its_length() -> None:
    assert (VOLUME.size, HEAT.size, MONTH.size) == (22 - 3, 46 - 3, 5)
    assert items.layout_of("901F", bytes(19)) is VOLUME
    assert items.layout_of("901F", bytes(43)) is HEAT
    assert items.layout_of("901F", bytes(18)) is None
    assert items.layout_of("D120", bytes(5)) is items.layout_of("D12B", bytes(5)) is MONTH
    assert items.layout_of("D12C", bytes(5)) is items.layout_of("A017", bytes(5)) is None
    assert items.expected("901F", 0x10) == items.expected("901F", 0x30) == (VOLUME,)
    assert items.expected("901F", 0x20) == items.expected("901F", 0x25) == (HEAT,)
    assert items.expected("901F", 0xAA) == items.expected("901F", 0x40) == (VOLUME, HEAT)


@pytest.mark.parametrize(
    ("code", "ucum", "value"),
    [
        (0x01, "J", 1.0),
        (0x02, "kW.h", 0.001),
        (0x05, "kW.h", 1.0),
        (0x06, "kW.h", 10.0),
        (0x07, "kW.h", 100.0),
        (0x08, "kW.h", 1000.0),
        (0x08, "MW.h", 1.0),
        (0x05, "MJ", 3.6),
        (0x0B, "MJ", 0.001),
        (0x0F, "MJ", 10.0),
        (0x11, "GJ", 1.0),
        (0x11, "kW.h", 277.77777777777777),
        (0x14, "kW", 0.001),
        (0x17, "W", 1000.0),
        (0x1A, "kW", 1000.0),
        (0x29, "m3", 0.001),
        (0x2C, "L", 1000.0),
        (0x2D, "m3", 10.0),
        (0x32, "m3/h", 0.001),
        (0x35, "L/h", 1000.0),
        (0x43, "kW", 1 / 3600),
        (0x49, "GJ/h", 1.0),
    ],
)
def test_every_unit_of_a_kind_can_be_had_from_every_other(code: int, ucum: str, value: float) -> None:
    ratio = items.ratios(items.UNITS[code].dimension, ucum)[code]
    assert items.scaled(100, 2, ratio) == value


def test_units_of_another_kind_and_unknown_ones_have_no_ratio() -> None:
    assert items.ratios("energy", "kW") == items.ratios("volume", "gal") == items.ratios("", "Cel") == {}
    assert {code for code in range(256) if code in items.UNITS} == {
        *range(0x01, 0x1D),
        *range(0x29, 0x2F),
        *range(0x32, 0x38),
        *range(0x40, 0x4C),
    }
    assert all(items.UNITS[code].dimension == dimension for dimension, code in UNIT_CODES.items())


@pytest.mark.parametrize("raw", ["FFFFFFFF", "0A000000", "000000F0", "12345A78"])
def test_what_is_not_bcd_is_no_number(raw: str) -> None:
    assert items.read_bcd(bytes.fromhex(raw)) is None


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("06201709011720", "2017-01-09T17:20:06"),
        ("59595931129999", None),
        ("59592331129999", "9999-12-31T23:59:59"),
        ("00000029022420", "2024-02-29T00:00:00"),
        ("00000029022320", None),
        ("00000000000000", None),
        ("60202000000000", None),
        ("FFFFFFFFFFFFFF", None),
        ("0A201709011720", None),
        ("06201709010000", None),
    ],
)
def test_only_a_time_of_the_calendar_is_one(raw: str, read: str | None) -> None:
    assert items.read_clock(bytes.fromhex(raw)) == read


@pytest.mark.parametrize(
    ("raw", "status", "valve", "battery"),
    [
        ("0000", "0000", 0, 0),
        ("0100", "0100", 1, 0),
        ("0200", "0200", None, 0),
        ("0301", "0301", 2, 0),
        ("0400", "0400", 0, 1),
        ("2184", "2184", 1, 0),
        ("00FF", "00FF", 0, 0),
        ("FF00", "FF00", 2, 1),
        ("FFFF", None, None, None),
    ],
)
def test_status(raw: str, status: str | None, valve: int | None, battery: int | None) -> None:
    word = bytes.fromhex(raw)
    assert (items.read_status(word), items.read_valve(word), items.read_battery(word)) == (status, valve, battery)


@given(st.decimals(0, Decimal("999999.99"), places=2), st.sampled_from([0x29, 0x2C]), st.booleans())
def test_a_quantity_that_was_written_is_read_back(value: Decimal, unit: int, unit_first: bool) -> None:
    raw = encode(QUANTITY, value, unit, unit_first)
    number, code = items.read_quantity(raw, unit_first)
    assert number is not None
    assert (items.scaled(number, 2), code) == (float(value), unit)
    assert items.scaled(number, 2, items.ratios("volume", "m3")[code]) == float(value / (1000 if unit == 0x29 else 1))


@given(st.integers(0, 999999))
def test_a_number_that_was_written_is_read_back(value: int) -> None:
    number = items.read_bcd(encode(NUMBER, Decimal(value), 0, unit_first=False))
    assert number == value
    assert type(items.scaled(number, 0)) is int


pairs = st.integers(0, 99).map(lambda pair: bytes.fromhex(f"{pair:02d}"))


@given(st.lists(pairs, min_size=4, max_size=4).map(b"".join), st.booleans(), st.sampled_from([VOLUME, HEAT]))
def test_digits_that_look_like_units_do_not_mislead(digits: bytes, unit_first: bool, layout: items.Layout) -> None:
    """The energies may hold any digits; nobody has 140 000 kW, 3200 m3/h or 290 000 m3."""
    content = bytearray(layout.size)
    for at, part in layout.offsets.values():
        if part.sort is Sort.QUANTITY:
            number = digits if part.dimension == "energy" else digits[:3] + b"\x00"
            unit = bytes((UNIT_CODES[part.dimension],))
            content[at : at + 5] = unit + number if unit_first else number + unit
    assert layout.unit_first(bytes(content)) == unit_first


@pytest.mark.parametrize("unit_first", [False, True])
def test_fields_that_are_not_supported_do_not_mislead(unit_first: bool) -> None:
    content = bytearray(b"\xff" * HEAT.size)
    content[5:10] = bytes.fromhex("0519285300" if unit_first else "1928530005")
    assert HEAT.unit_first(bytes(content)) == unit_first
