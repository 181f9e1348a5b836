"""Fixed binary records as data: where a number stands and how it is written.  Pure."""

from __future__ import annotations

import base64
import binascii
import enum
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


class Type(enum.StrEnum):
    U8 = "u8"
    S8 = "s8"
    U16 = "u16"
    S16 = "s16"
    U24 = "u24"
    S24 = "s24"
    U32 = "u32"
    S32 = "s32"
    F32 = "f32"
    BCD8 = "bcd8"
    BCD32 = "bcd32"

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.value.lstrip("usfbcd")) // 8


class Order(enum.StrEnum):
    BIG = "big"
    LITTLE = "little"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one number stands in a record.  *at* counts from the end where it is negative."""

    at: int
    type: Type = Type.U8
    order: Order = Order.BIG
    mask: int | None = None
    """Of an integer: these bits, moved down to bit 0."""


def unwrap(text: object, *, most_bytes: int = 4096) -> bytes | None:
    """Base64, with or without padding; None for what is none."""
    if not isinstance(text, str) or len(text) > most_bytes * 4 // 3 + 4:
        return None
    bare = text.strip().rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def tagged(record: bytes, lengths: Mapping[str, int]) -> Mapping[str, bytes]:
    """Channel, type, as many bytes as *lengths* says, and again: tag in hex -> the last value of it.

    Ends at a tag without a length: nobody knows where the next one begins.
    """
    found: dict[str, bytes] = {}
    at = 0
    while at + 2 <= len(record):
        tag = record[at : at + 2].hex()
        length = lengths.get(tag)
        if length is None or at + 2 + length > len(record):
            break
        found[tag] = record[at + 2 : at + 2 + length]
        at += 2 + length
    return found


def reaches(record: bytes, layout: Layout) -> bool:
    """Whether the record is long enough for it; older firmware leaves the last ones out."""
    begin = _begin(record, layout)
    return begin >= 0 and begin + layout.type.size <= len(record)


def _begin(record: bytes, layout: Layout) -> int:
    return layout.at if layout.at >= 0 else len(record) + layout.at


def number_at(record: bytes, layout: Layout) -> float | int | None:
    """Of a record that ``reaches``.  None: it is no number (NaN, hex digits in BCD)."""
    begin = _begin(record, layout)
    raw = record[begin : begin + layout.type.size]
    order: Literal["big", "little"] = "big" if layout.order is Order.BIG else "little"
    if layout.type is Type.F32:
        value: float = struct.unpack(">f" if layout.order is Order.BIG else "<f", raw)[0]
        return float(f"{value:.7g}") if math.isfinite(value) else None
    if layout.type in (Type.BCD8, Type.BCD32):
        digits = (raw if layout.order is Order.BIG else raw[::-1]).hex()
        return int(digits) if digits.isdecimal() else None
    if layout.mask is None:
        return int.from_bytes(raw, order, signed=layout.type.startswith("s"))
    return (int.from_bytes(raw, order) & layout.mask) >> ((layout.mask & -layout.mask).bit_length() - 1)
