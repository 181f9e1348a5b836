from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.modbus import values
from drivers.modbus.values import Layout, Order, Type
from gateway.model import Reason

ORDERS = st.sampled_from(list(Order))
RANGES = {
    Type.U16: (0, 2**16 - 1),
    Type.S16: (-(2**15), 2**15 - 1),
    Type.U32: (0, 2**32 - 1),
    Type.S32: (-(2**31), 2**31 - 1),
    Type.U64: (0, 2**64 - 1),
    Type.S64: (-(2**63), 2**63 - 1),
    Type.BCD16: (0, 9999),
    Type.BCD32: (0, 99_999_999),
}


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("kind", RANGES)
def test_both_ends_of_every_whole_type_survive_the_trip(kind: Type, order: Order) -> None:
    for value in RANGES[kind]:
        registers = values.encode(Layout(kind, order), value)
        assert len(registers) == kind.registers
        assert values.decode(Layout(kind, order), registers) == value


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(RANGES)), ORDERS)
def test_whole_numbers_survive_the_trip(data: st.DataObject, kind: Type, order: Order) -> None:
    value = data.draw(st.integers(*RANGES[kind]))
    assert values.decode(Layout(kind, order), values.encode(Layout(kind, order), value)) == value


@settings(deadline=None)
@given(st.integers(-(2**31), 2**31 - 1), st.sampled_from([0.1, 0.01, 0.001, 10.0, 0.5]), st.sampled_from([0.0, -50.0]))
def test_a_scaled_number_is_the_decimal_a_person_would_write_and_goes_back(
    raw: int, scale: float, offset: float
) -> None:
    layout = Layout(Type.S32, scale=scale, offset=offset)
    registers = values.split(raw & 0xFFFFFFFF, 2, Order.ABCD)
    value = values.decode(layout, registers)
    assert isinstance(value, float | int)
    assert len(f"{abs(value):.12g}") <= 13
    assert math.isclose(value, raw * scale + offset, rel_tol=1e-12, abs_tol=1e-9)
    assert values.encode(layout, value) == registers


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False), ORDERS)
def test_float32_keeps_every_bit(value: float, order: Order) -> None:
    layout = Layout(Type.FLOAT32, order)
    registers = values.encode(layout, value)
    read = values.decode(layout, registers)
    assert isinstance(read, float)
    assert struct.pack(">f", read + 0.0) == struct.pack(">f", value + 0.0)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), ORDERS)
def test_float64_keeps_every_bit(value: float, order: Order) -> None:
    layout = Layout(Type.FLOAT64, order)
    assert values.decode(layout, values.encode(layout, value)) == value


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20), ORDERS)
def test_texts_survive_the_trip(text: str, order: Order) -> None:
    assert values.decode(Layout(Type.ASCII, order), values.encode_text(order, text, 10)) == text


@settings(deadline=None)
@given(st.integers(1, 0xFFFF), st.data(), st.sampled_from([Order.ABCD, Order.BADC]))
def test_bitfields_survive_the_trip(mask: int, data: st.DataObject, order: Order) -> None:
    shift = (mask & -mask).bit_length() - 1
    value = data.draw(st.integers(0, 0xFFFF)) & mask
    layout = Layout(Type.BITFIELD, order, mask=mask, shift=shift)
    assert values.decode(layout, values.encode(layout, value >> shift)) == value >> shift


@settings(deadline=None)
@given(st.sampled_from(list(Type)), ORDERS, st.lists(st.integers(0, 0xFFFF), min_size=4, max_size=4))
def test_decoding_any_registers_gives_a_value_or_a_reason(kind: Type, order: Order, registers: list[int]) -> None:
    value = values.decode(Layout(kind, order, scale=0.1), registers[: kind.registers])
    assert value in (Reason.NO_VALUE, Reason.OUT_OF_RANGE) or not isinstance(value, float) or math.isfinite(value)


ORDER_CASES = [
    (Order.ABCD, [0x0102, 0x0304]),
    (Order.CDAB, [0x0304, 0x0102]),
    (Order.BADC, [0x0201, 0x0403]),
    (Order.DCBA, [0x0403, 0x0201]),
]


@pytest.mark.parametrize(("order", "registers"), ORDER_CASES)
def test_the_four_orders(order: Order, registers: list[int]) -> None:
    assert values.decode(Layout(Type.U32, order), registers) == 0x01020304


def test_the_four_orders_of_64_bits() -> None:
    wire = {
        Order.ABCD: [0x0102, 0x0304, 0x0506, 0x0708],
        Order.CDAB: [0x0708, 0x0506, 0x0304, 0x0102],
        Order.BADC: [0x0201, 0x0403, 0x0605, 0x0807],
        Order.DCBA: [0x0807, 0x0605, 0x0403, 0x0201],
    }
    assert {values.decode(Layout(Type.U64, order), wire[order]) for order in Order} == {0x0102030405060708}


KNOWN: list[tuple[Layout, list[int], object]] = [
    (Layout(Type.FLOAT32), [0x4366, 0x3333], 230.2),
    (Layout(Type.FLOAT32), [0x4366, 0x3334], 230.200012),  # the float32 after 230.2
    (Layout(Type.FLOAT32, no_value=frozenset({9999.9})), [0x461C, 0x3F9A], Reason.NO_VALUE),
    (Layout(Type.FLOAT32), [0x7FC0, 0], Reason.NO_VALUE),
    (Layout(Type.FLOAT32), [0x7F80, 0], Reason.NO_VALUE),
    (Layout(Type.FLOAT64), [0xFFF0, 0, 0, 0], Reason.NO_VALUE),
    (Layout(Type.U16, scale=0.1), [2302], 230.2),
    (Layout(Type.U16, scale=0.1, offset=-50.0), [753], 25.3),
    (Layout(Type.U16, Order.BADC), [0x3412], 0x1234),
    (Layout(Type.S16, scale=0.1), [0xFFF6], -1.0),
    (Layout(Type.S16, no_value=frozenset({0x7FFF, 0x8000})), [0x8000], Reason.NO_VALUE),
    (Layout(Type.S16, no_value=frozenset({0x7FFF, 0x8000})), [0x8001], -32767),
    (Layout(Type.BCD16, scale=0.01), [0x1234], 12.34),
    (Layout(Type.BCD16), [0x12A4], Reason.NO_VALUE),
    (Layout(Type.BCD32), [0xFFFF, 0xFFFF], Reason.NO_VALUE),
    (Layout(Type.BIT, bit=3), [0b1000], True),
    (Layout(Type.BIT, bit=3), [0b0111], False),
    (Layout(Type.BIT, states={0: "closed", 1: "open"}), [1], "open"),
    (Layout(Type.BITFIELD, mask=0xFF00, shift=8, states={2: "lel"}), [0x02FF], "lel"),
    (Layout(Type.U16, states={0: "normal", 1: "alarm"}), [7], Reason.OUT_OF_RANGE),
    (Layout(Type.U16, states={0: "normal"}, no_value=frozenset({0xFFFF})), [0xFFFF], Reason.NO_VALUE),
    (Layout(Type.ASCII), [0x4142, 0x4300], "ABC"),
    (Layout(Type.ASCII, Order.DCBA), [0x4241, 0x0043], "ABC"),
    (Layout(Type.ASCII), [0, 0], Reason.NO_VALUE),
    (Layout(Type.ASCII), [0xFFFF], Reason.NO_VALUE),
]


def test_known_values() -> None:
    assert [values.decode(layout, registers) for layout, registers, _ in KNOWN] == [value for _, _, value in KNOWN]
    assert len(KNOWN) == 25


UNENCODABLE: list[tuple[Layout, Any]] = [
    (Layout(Type.U16), 65536),
    (Layout(Type.U16), -1),
    (Layout(Type.U16), True),
    (Layout(Type.U16), "12"),
    (Layout(Type.U16), math.nan),
    (Layout(Type.S16, scale=0.1), 3276.8),
    (Layout(Type.BCD16), 10_000),
    (Layout(Type.FLOAT32), 1e39),
    (Layout(Type.FLOAT64, scale=0.1), 1.7e308),
    (Layout(Type.FLOAT32), math.inf),
    (Layout(Type.BIT), 2),
    (Layout(Type.BIT), "on"),
    (Layout(Type.BITFIELD, mask=0x00F0, shift=4), 16),
    (Layout(Type.U16, states={0: "off", 1: "on"}), "open"),
    (Layout(Type.U16, states={0: "off", 1: "on", 2: "on"}), "on"),
    (Layout(Type.ASCII), "abc"),
]


def test_what_does_not_fit_is_not_sent() -> None:
    for layout, value in UNENCODABLE:
        with pytest.raises(ValueError, match=r"."):
            values.encode(layout, value)
    assert len(UNENCODABLE) == 16


@pytest.mark.parametrize("text", ["五", "seventeen letters", 5])
def test_a_text_that_does_not_fit_is_not_sent(text: Any) -> None:
    with pytest.raises(ValueError, match="ASCII"):
        values.encode_text(Order.ABCD, text, 8)


def test_a_number_between_two_steps_goes_to_the_nearer() -> None:
    assert values.encode(Layout(Type.U16, scale=0.1), 21.37) == (214,)


def test_a_bitfield_of_two_registers() -> None:
    """0002 1234h: bits 8 to 19 are 212h, whichever word stands first."""
    for order, registers in (
        (Order.ABCD, [0x0002, 0x1234]),
        (Order.CDAB, [0x1234, 0x0002]),
        (Order.BADC, [0x0200, 0x3412]),
        (Order.DCBA, [0x3412, 0x0200]),
    ):
        layout = Layout(Type.BITFIELD32, order, mask=0x000FFF00, shift=8)
        assert values.decode(layout, registers) == 0x212
        assert values.encode(layout, 0x212) == values.split(0x00021200, 2, order)
        assert values.own_bits(layout) == values.split(0x000FFF00, 2, order)
