"""A raw value that is a code: what a profile's ``values`` make of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.modbus.config import PointOptions
from drivers.modbus.values import Layout, Order, decode, encode
from gateway.model import Reason, Value


def layout(values: Any, **more: Any) -> Layout:
    options = {"table": "holding", "address": 0, "values": values, **more}
    return PointOptions.model_validate(options).layout(Order.ABCD)


@pytest.mark.parametrize(
    ("values", "more", "register", "meant"),
    [
        ({"3": True, "*": False}, {"type": "bitfield", "mask": 0x0007}, 0xFFFB, True),
        ({"3": True, "*": False}, {"type": "bitfield", "mask": 0x0007}, 0xFFFA, False),
        ({"0": "stopped", "*": "running"}, {}, 17, "running"),
        ({"0x1F": 5}, {}, 31, 5),
        ({"0": 0, "1": 8}, {}, 2, Reason.OUT_OF_RANGE),
        ({"-1": 8, "*": 0}, {"type": "s16"}, 0xFFFF, 8),
        ({"1": 8, "*": 0}, {"no_value": [0xFFFF]}, 0xFFFF, Reason.NO_VALUE),
        ({"12": 4}, {"type": "bcd16"}, 0x12, 4),
        ({"12": 4, "*": 0}, {"type": "bcd16"}, 0x1A, Reason.NO_VALUE),
        ({"1": "on", "0": "off"}, {"type": "bit", "bit": 4}, 0x10, "on"),
        ("lift/c800", {}, 5800, 7),
        ("lift/c800", {}, 9900, 8),
    ],
)
def test_what_a_register_means(values: Any, more: Mapping[str, Any], register: int, meant: Value | Reason) -> None:
    found = decode(layout(values, **more), [register])
    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"values": {"a": 1}}, "whole raw value"),
        ({"values": {"0xg": 1}}, "whole raw value"),
        ({"values": {"*": 1}}, "says the same of everything"),
        ({"values": {"1": 2}, "enum": {"1": "a"}}, "one of the two"),
        ({"values": {"1": 2}, "scale": 0.1}, "not for bits, texts and codes"),
        ({"values": {"1": 2}, "type": "float32"}, "not a whole number"),
        ({"values": {"70000": 2}}, "below 0x10000"),
    ],
)
def test_what_a_table_may_not_say(keys: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PointOptions.model_validate({"table": "holding", "address": 0, **keys})


def test_a_code_is_written_only_where_one_stands_for_the_value() -> None:
    codes = layout({"0": False, "1": True, "5": 1})
    assert encode(codes, True) == (1,), "1 is another value than true"
    assert encode(codes, 1) == (5,)
    with pytest.raises(ValueError, match="stand for one number"):
        encode(layout({"0": 8, "1": 8}), 8)
    with pytest.raises(ValueError, match="stand for one number"):
        encode(layout({"0": 0, "*": 1}), 1)


SCALARS = st.booleans() | st.integers(0, 90) | st.sampled_from(["normal", "inspection"])


@given(table=st.dictionaries(st.integers(0, 0xFFFF), SCALARS, min_size=1, max_size=8), other=st.none() | SCALARS)
def test_every_register_means_what_the_table_says(table: dict[int, Value], other: Value | None) -> None:
    values = {str(raw): meant for raw, meant in table.items()} | ({} if other is None else {"*": other})
    for raw in {*table, 0, 0xFFFF}:
        assert decode(layout(values), [raw]) == table.get(raw, Reason.OUT_OF_RANGE if other is None else other)
