"""Registers to values and back.  Pure.

    registers ──order──▶ raw integer or float ──mask, shift, enum, scale, offset──▶ value
        (wire)                                                                    (or why there is none)

Source of the wire form: Modbus Application Protocol V1.1b3, 4.2 (a register is 16 bits, high byte first).  How a
value spreads over several registers is the vendor's choice: ``Order``.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import TypeAlias

from gateway.model import Reason, Value


class Order(enum.StrEnum):
    """Where the bytes of a value stand on the wire; A is the most significant byte.

    For 64 bits the same rule goes on: CDAB reverses the words, BADC the bytes in each word, DCBA both.  On a
    single register only the byte order can matter, and in a text the words always stay in reading order.
    """

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"

    @property
    def swaps_words(self) -> bool:
        return self in (Order.CDAB, Order.DCBA)

    @property
    def swaps_bytes(self) -> bool:
        return self in (Order.BADC, Order.DCBA)


class Type(enum.StrEnum):
    U16 = "u16"
    S16 = "s16"
    U32 = "u32"
    S32 = "s32"
    U64 = "u64"
    S64 = "s64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    BIT = "bit"  # a coil, a discrete input, or one bit of a register
    BITFIELD = "bitfield"  # some bits of one register, as an unsigned number
    BITFIELD32 = "bitfield32"  # the same of two
    BCD16 = "bcd16"
    BCD32 = "bcd32"
    ASCII = "ascii"  # two characters per register

    @property
    def registers(self) -> int:
        """How many registers one value takes; of a text, one is the least."""
        return _WIDTHS.get(self, 1)

    @property
    def is_float(self) -> bool:
        return self in (Type.FLOAT32, Type.FLOAT64)

    @property
    def is_bitfield(self) -> bool:
        return self in (Type.BITFIELD, Type.BITFIELD32)

    @property
    def is_integer(self) -> bool:
        """Whole numbers before scaling: what an enum can map and a pattern of bits can stand for."""
        return not self.is_float and self is not Type.ASCII


_WIDTHS = {
    Type.U32: 2,
    Type.S32: 2,
    Type.FLOAT32: 2,
    Type.BCD32: 2,
    Type.BITFIELD32: 2,
    Type.U64: 4,
    Type.S64: 4,
    Type.FLOAT64: 4,
}
_SINGLE = struct.Struct(">f")
_DOUBLE = struct.Struct(">d")
_SIGNED = {Type.S16, Type.S32, Type.S64}
_BCD = {Type.BCD16, Type.BCD32}


@dataclass(frozen=True, slots=True)
class Layout:
    """How one value stands in its registers.  config.py checks that the parts fit together."""

    type: Type
    order: Order = Order.ABCD
    scale: float = 1.0
    offset: float = 0.0
    """value = raw * scale + offset"""
    bit: int = 0
    """0 is the least significant."""
    mask: int = 0xFFFF
    shift: int = 0
    """value = (register & mask) >> shift; of two registers, joined"""
    states: Mapping[int, Value] = field(default_factory=dict)
    """Raw value -> what it means; empty for numbers that mean themselves."""
    other: Value | None = None
    """What every raw value means that *states* does not name; None: it is out of range."""
    no_value: frozenset[float] = frozenset()
    """Raw values that mean "nothing measured": bit patterns (unsigned) of integers, values of floats."""


Decode: TypeAlias = Callable[[Sequence[int]], Value | Reason]
"""Exactly the value's registers, each 0..65535 in wire order -> the value, or NO_VALUE (a sentinel, NaN, infinity,
an impossible BCD digit, an empty text) or OUT_OF_RANGE (a raw value that the enum does not name).  Never raises."""


def decoder(layout: Layout) -> Decode:
    """Prepare the decoding of one point, so that a poll does no more than it must."""
    if layout.type is Type.ASCII:
        return partial(_decode_text, layout.order.swaps_bytes)
    if layout.type.is_float:
        return _float_decoder(layout)
    if layout.type is Type.BIT and not layout.states:
        return _bit_decoder(layout)
    read = _raw_reader(layout)
    if layout.states:
        return partial(_decode_state, read, layout.states, layout.other, layout.no_value)
    half = 1 << 16 * layout.type.registers - 1 if layout.type in _SIGNED else 0
    return partial(_decode_integer, read, half, layout.no_value, _Scale.of(layout))


def decode(layout: Layout, registers: Sequence[int]) -> Value | Reason:
    return decoder(layout)(registers)


def encode(layout: Layout, value: Value) -> tuple[int, ...]:
    """The registers that stand for *value*; of a bit or bitfield, the one register with only its own bits set.

    A number between two steps of the scale goes to the nearer one.  Raises ValueError when the type cannot hold
    the value or the enum does not name it.  A text needs its length: ``encode_text``.
    """
    if layout.type is Type.ASCII:
        raise ValueError("a text needs its length in registers")
    if layout.type.is_float:
        return _encode_float(layout, value)
    if layout.states:
        return _split(layout, _state_number(layout.states, value))
    if layout.type is Type.BIT:
        if value not in (0, 1):
            raise ValueError(f"{value!r} is neither true nor false")
        return _split(layout, int(value))
    return _split(layout, _unscale(layout, value))


def encode_text(order: Order, text: Value, registers: int) -> tuple[int, ...]:
    """Registers of a text, filled up with NUL.  Raises ValueError for what is not ASCII or too long."""
    if not isinstance(text, str) or not text.isascii() or len(text) > 2 * registers:
        raise ValueError(f"{text!r} is not a text of at most {2 * registers} ASCII characters")
    data = text.encode("ascii").ljust(2 * registers, b"\0")
    return tuple(_swapped(word) if order.swaps_bytes else word for word in struct.unpack(f">{registers}H", data))


def encoded(layout: Layout, value: Value, registers: int) -> tuple[int, ...]:
    """``encode`` or ``encode_text``, by the type."""
    if layout.type is Type.ASCII:
        return encode_text(layout.order, value, registers)
    return encode(layout, value)


def own_bits(layout: Layout) -> tuple[int, ...]:
    """Which bits of its registers a bit or bitfield is made of."""
    mask = layout.mask if layout.type.is_bitfield else 1 << layout.bit
    return split(mask, layout.type.registers, layout.order)


# ---------------------------------------------------------------------- registers <-> integers


def join(registers: Sequence[int], order: Order) -> int:
    """One unsigned integer from its registers in wire order."""
    return int.from_bytes(_to_bytes(order, len(registers))(registers), "big")


def _to_bytes(order: Order, count: int) -> Callable[[Sequence[int]], bytes]:
    """Prepared for *count* registers in wire order; gives the value's bytes, most significant first."""
    pack = struct.Struct(f"{'<' if order.swaps_bytes else '>'}{count}H").pack
    if order.swaps_words:
        return lambda registers: pack(*registers[::-1])
    return lambda registers: pack(*registers)


def split(whole: int, registers: int, order: Order) -> tuple[int, ...]:
    """The opposite of ``join``."""
    words = [whole >> 16 * place & 0xFFFF for place in range(registers)]  # least significant first
    if order.swaps_bytes:
        words = [_swapped(word) for word in words]
    return tuple(words if order.swaps_words else reversed(words))


def _swapped(word: int) -> int:
    return (word & 0xFF) << 8 | word >> 8


def _raw_reader(layout: Layout) -> Callable[[Sequence[int]], int]:
    """The unsigned raw value of the type, or -1 for digits that are not decimal."""
    whole = _whole_reader(layout.order, layout.type.registers)
    if layout.type is Type.BIT:
        return lambda registers: whole(registers) >> layout.bit & 1
    if layout.type.is_bitfield:
        return lambda registers: (whole(registers) & layout.mask) >> layout.shift
    if layout.type in _BCD:
        return lambda registers: _from_bcd(whole(registers))
    return whole


def _whole_reader(order: Order, count: int) -> Callable[[Sequence[int]], int]:
    if count == 1 and not order.swaps_bytes:
        return lambda registers: registers[0]
    to_bytes = _to_bytes(order, count)
    return lambda registers: int.from_bytes(to_bytes(registers), "big")


def _from_bcd(pattern: int) -> int:
    digits = f"{pattern:x}"
    return int(digits) if digits.isdecimal() else -1


# ---------------------------------------------------------------------- decoding


@dataclass(frozen=True, slots=True)
class _Scale:
    """value = (raw * times + plus) / by, all whole: 2302 at 0.1 is 230.2 and not 230.20000000000002."""

    times: int
    plus: int
    by: int

    @classmethod
    def of(cls, layout: Layout) -> _Scale:
        scale, offset = _exact(layout.scale), _exact(layout.offset)
        by = math.lcm(scale.denominator, offset.denominator)
        return cls(int(scale * by), int(offset * by), by)

    def apply(self, raw: float) -> float:
        value = raw * self.times + self.plus
        return value if self.by == 1 else value / self.by


def _exact(number: float) -> Fraction:
    """What the person wrote in the profile: 0.1, not the nearest binary fraction to it."""
    return Fraction(Decimal(repr(number)))


def _bit_decoder(layout: Layout) -> Decode:
    raw = _raw_reader(layout)
    return lambda registers: bool(raw(registers))


def _decode_integer(
    read: Callable[[Sequence[int]], int],
    half: int,
    no_value: frozenset[float],
    scale: _Scale,
    registers: Sequence[int],
) -> Value | Reason:
    """half: the sign bit's value, 0 for unsigned types."""
    raw = read(registers)
    if raw < 0 or raw in no_value:
        return Reason.NO_VALUE
    return scale.apply((raw ^ half) - half)


def _decode_state(
    read: Callable[[Sequence[int]], int],
    states: Mapping[int, Value],
    other: Value | None,
    no_value: frozenset[float],
    registers: Sequence[int],
) -> Value | Reason:
    raw = read(registers)
    if raw < 0 or raw in no_value:
        return Reason.NO_VALUE
    meant = states.get(raw, other)
    return Reason.OUT_OF_RANGE if meant is None else meant


def _float_decoder(layout: Layout) -> Decode:
    to_bytes = _to_bytes(layout.order, layout.type.registers)
    unpack = _SINGLE.unpack if layout.type is Type.FLOAT32 else _DOUBLE.unpack
    tidy = _shortest if layout.type is Type.FLOAT32 else float
    scale, no_value = _Scale.of(layout), layout.no_value

    def decode_float(registers: Sequence[int]) -> Value | Reason:
        raw = tidy(unpack(to_bytes(registers))[0])
        if raw in no_value:
            return Reason.NO_VALUE
        value = scale.apply(raw)
        return value if math.isfinite(value) else Reason.NO_VALUE

    return decode_float


def _shortest(single: float) -> float:
    """A number with seven digits, or nine, that is this very float32: 230.2 where widening gives 230.1999969482422."""
    short = float(f"{single:.7g}")
    try:
        same = _SINGLE.unpack(_SINGLE.pack(short))[0] == single
    except OverflowError:  # rounded up past the largest float32
        same = False
    return short if same else float(f"{single:.9g}")


def _decode_text(swaps_bytes: bool, registers: Sequence[int]) -> Value | Reason:
    data = struct.pack(f"{'<' if swaps_bytes else '>'}{len(registers)}H", *registers).partition(b"\0")[0]
    text = data.decode("ascii", "replace").strip()
    if not text or "\ufffd" in text or not text.isprintable():
        return Reason.NO_VALUE
    return text


# ---------------------------------------------------------------------- encoding


def _state_number(states: Mapping[int, Value], value: Value) -> int:
    truth = isinstance(value, bool)
    numbers = [number for number, word in states.items() if word == value and isinstance(word, bool) == truth]
    if len(numbers) != 1:
        known = ", ".join(dict.fromkeys(map(str, states.values())))
        raise ValueError(f"{value!r} is not one of the words that stand for one number: {known}")
    return numbers[0]


def _number(value: Value) -> float:
    if isinstance(value, bool | str) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return value


def _unscale(layout: Layout, value: Value) -> int:
    """The raw integer, signed.  Raises ValueError outside the type's range."""
    raw = round((_exact(_number(value)) - _exact(layout.offset)) / _exact(layout.scale))
    low, high = _range(layout)
    if not low <= raw <= high:
        raise ValueError(f"{value!r} does not fit: raw {raw} is outside {low}..{high}")
    return raw


def _range(layout: Layout) -> tuple[int, int]:
    bits = 16 * layout.type.registers
    if layout.type in _SIGNED:
        return -(1 << bits - 1), (1 << bits - 1) - 1
    if layout.type in _BCD:
        return 0, 10 ** (bits // 4) - 1
    if layout.type.is_bitfield:
        return 0, layout.mask >> layout.shift
    return 0, (1 << bits) - 1


def _split(layout: Layout, raw: int) -> tuple[int, ...]:
    registers = layout.type.registers
    if layout.type in _BCD:
        raw = int(str(raw), 16)
    elif layout.type.is_bitfield:
        if raw << layout.shift & ~layout.mask:
            raise ValueError(f"{raw} does not fit into the mask {layout.mask:#06x}")
        raw <<= layout.shift
    elif layout.type is Type.BIT:
        raw <<= layout.bit
    return split(raw & (1 << 16 * registers) - 1, registers, layout.order)


def _encode_float(layout: Layout, value: Value) -> tuple[int, ...]:
    exact = (_exact(_number(value)) - _exact(layout.offset)) / _exact(layout.scale)
    try:
        raw = float(exact)
        data = struct.pack(">f" if layout.type is Type.FLOAT32 else ">d", raw)
    except OverflowError:
        raise ValueError(f"{value!r} is too large for {layout.type}") from None
    return split(int.from_bytes(data, "big"), layout.type.registers, layout.order)
