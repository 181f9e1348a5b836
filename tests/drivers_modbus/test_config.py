from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from drivers.modbus.config import PointOptions, RtuOptions, TcpOptions
from drivers.modbus.values import Layout, Order, Type


def test_an_address_may_be_written_in_hex() -> None:
    assert PointOptions(table="holding", address="0xC800").address == 51200


def test_what_is_left_out_follows_from_the_table_and_the_device() -> None:
    point = PointOptions(table="input", address=0)
    assert point.layout(Order.CDAB) == Layout(Type.U16, Order.CDAB)
    coil = PointOptions(table="coil", address=0)
    assert coil.layout(Order.BADC) == Layout(Type.BIT, Order.ABCD)


def test_the_shift_follows_from_the_mask() -> None:
    point = PointOptions(table="holding", address=1, type="bitfield", mask="0xFF00")
    assert point.layout(Order.ABCD).shift == 8


def test_negative_raw_values_are_the_patterns_on_the_wire() -> None:
    point = PointOptions(table="holding", address=1, type="s16", no_value=[-32768])
    assert point.layout(Order.ABCD).no_value == {0x8000}


WRITES: list[tuple[dict[str, Any], int | None]] = [
    ({"table": "coil"}, 5),
    ({"table": "coil", "write_function": 15}, 15),
    ({"table": "holding"}, 6),
    ({"table": "holding", "write_function": 16}, 16),
    ({"table": "holding", "type": "float32"}, 16),
    ({"table": "holding", "type": "bit", "bit": 0}, None),
    ({"table": "holding", "type": "bit", "bit": 0, "write_function": 22}, 22),
    ({"table": "holding", "type": "bitfield", "mask": 6, "write_function": 22}, 22),
    ({"table": "input"}, None),
    ({"table": "discrete"}, None),
]


def test_the_write_function() -> None:
    assert [PointOptions(address=0, **keys).writes_with for keys, _ in WRITES] == [code for _, code in WRITES]


BAD_POINTS: list[tuple[dict[str, Any], str]] = [
    ({"table": "coil", "type": "u16"}, "one bit"),
    ({"table": "discrete", "bit": 1}, "no bits inside"),
    ({"table": "coil", "word_order": "CDAB"}, "word_order"),
    ({"table": "holding", "type": "bit"}, "go together"),
    ({"table": "holding", "bit": 3}, "go together"),
    ({"table": "holding", "mask": 3}, "bitfield and mask"),
    ({"table": "holding", "type": "bitfield"}, "bitfield and mask"),
    ({"table": "holding", "shift": 3}, "needs a mask"),
    ({"table": "holding", "length": 3}, "ascii and length"),
    ({"table": "holding", "type": "ascii"}, "ascii and length"),
    ({"table": "holding", "type": "u32", "address": 0xFFFF}, "beyond"),
    ({"table": "holding", "address": 0x10000}, "65535"),
    ({"table": "holding", "address": "0xZZ"}, "invalid literal"),
    ({"table": "holding", "scale": 0}, "zero"),
    ({"table": "holding", "scale": float("nan")}, "finite"),
    ({"table": "holding", "enum": {0: "a"}, "scale": 0.1}, "scale and offset"),
    ({"table": "holding", "type": "float32", "enum": {0: "a"}}, "whole number"),
    ({"table": "holding", "type": "bit", "bit": 0, "no_value": [1]}, "no_value"),
    ({"table": "holding", "no_value": [0.5]}, "whole raw value"),
    ({"table": "holding", "no_value": [float("inf")]}, "whole raw value"),
    ({"table": "holding", "no_value": [0x10000]}, "below 0x10000"),
    ({"table": "input", "write_function": 6}, "cannot be written"),
    ({"table": "coil", "write_function": 6}, "5 or 15"),
    ({"table": "holding", "type": "u32", "write_function": 6}, "use 16"),
    ({"table": "holding", "type": "bit", "bit": 1, "write_function": 6}, "a bit of a register: 22"),
    ({"table": "holding", "write_function": 22}, "6 or 16"),
    ({"table": "holding", "type": "bitfield32", "mask": 7, "write_function": 22}, "changes one register"),
    ({"table": "holding", "type": "bitfield", "mask": 0x10000}, "has 16 bits"),
    ({"table": "holding", "type": "bitfield32"}, "bitfield and mask"),
    ({"table": "holding", "settle_s": -1}, "greater than or equal"),
    ({"table": "holding", "register": 6}, "Extra inputs"),
    ({"table": "holdings"}, "holding"),
]


def test_contradictions_are_named() -> None:
    for keys, words in BAD_POINTS:
        with pytest.raises(ValidationError, match=words):
            PointOptions(**{"address": 0, **keys})
    assert len(BAD_POINTS) == 32


def test_unit_ids() -> None:
    assert TcpOptions(unit_id=255).unit_id == 255
    with pytest.raises(ValidationError, match="247"):
        RtuOptions(unit_id=248)
    with pytest.raises(ValidationError, match="Field required"):
        RtuOptions()  # type: ignore[call-arg]
