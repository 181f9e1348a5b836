"""The registers of one point in every way they could be meant, so that a person finds the order that fits.  Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from drivers.base import Field
from drivers.modbus import values
from drivers.modbus.config import PointOptions
from drivers.modbus.values import Layout, Order, Type
from gateway.model import Reason, Value

_ORDERS: Final = {
    Order.ABCD: "高位在前 big endian",
    Order.CDAB: "字交换 words swapped",
    Order.BADC: "字节交换 bytes swapped",
    Order.DCBA: "低位在前 little endian",
}
_TYPES: Final = {
    1: (Type.BCD16,),  # u16 and s16 stand with each register
    2: (Type.U32, Type.S32, Type.FLOAT32, Type.BCD32),
    4: (Type.U64, Type.S64, Type.FLOAT64),
}
"""Registers -> what they can be together."""
_MOST_EACH = 4
"""Of a longer text the single registers as numbers are no help."""


def interpretations(options: PointOptions, layout: Layout, data: Sequence[int], unit: str | None) -> Sequence[Field]:
    """data: the point's registers or bits, in wire order.  Numbers carry the point's own scale and unit.

    First the raw registers, then what the profile makes of them, then every other way.
    """
    if options.table.of_bits:
        return [Field(f"{options.table} {options.address}", data[0])]
    return [*_raw(options, data), _as_configured(options, layout, data, unit), *_alternatives(layout, data, unit)]


def _raw(options: PointOptions, data: Sequence[int]) -> Iterator[Field]:
    yield Field("hex", " ".join(f"{word:04X}" for word in data))
    if len(data) > _MOST_EACH:
        return
    for address, word in enumerate(data, options.address):
        place = f"{options.table} {address}"
        yield Field(f"{place} u16", word)
        yield Field(f"{place} s16", word - (word >> 15 << 16))
        yield Field(f"{place} bits 15…0", f"{word >> 8:08b} {word & 0xFF:08b}")


def _as_configured(options: PointOptions, layout: Layout, data: Sequence[int], unit: str | None) -> Field:
    name = f"► 配置 configured: {layout.type}{_scaled(layout)}"
    if layout.type.registers > 1 or layout.order is not Order.ABCD:
        name += f" {layout.order} {_ORDERS[layout.order]}"
    return Field(name, _shown(values.decode(layout, data)), unit)


def _alternatives(layout: Layout, data: Sequence[int], unit: str | None) -> Iterator[Field]:
    """Grouped by type, so that the four orders of one type stand under each other."""
    for kind in _TYPES.get(len(data), ()):
        for order, meaning in _ORDERS.items():
            if kind.registers > 1 or not order.swaps_words:
                read = Layout(kind, order, layout.scale, layout.offset)
                yield Field(f"{kind}{_scaled(read)} {order} {meaning}", _shown(values.decode(read, data)), unit)
    if len(data) == 1:
        swapped = Layout(Type.U16, Order.BADC, layout.scale, layout.offset)
        name = f"u16{_scaled(swapped)} {_ORDERS[Order.BADC]}"
        yield Field(name, _shown(values.decode(swapped, data)), unit)
    for order in (Order.ABCD, Order.BADC):
        yield Field(f"ascii {order} {_ORDERS[order]}", _characters(order, data))


def _scaled(layout: Layout) -> str:
    factor = "" if layout.scale == 1.0 else f" ×{layout.scale:g}"
    return factor if layout.offset == 0.0 else f"{factor} {layout.offset:+g}"


def _shown(value: Value | Reason) -> Value | None:
    return None if isinstance(value, Reason) else value


def _characters(order: Order, data: Sequence[int]) -> str:
    """Every byte, a dot for what cannot be printed."""
    raw = struct.pack(f"{'<' if order.swaps_bytes else '>'}{len(data)}H", *data)
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "·" for byte in raw)
