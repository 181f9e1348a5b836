"""What a device entry and a profile's point may say about Modbus."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from drivers.code_tables import EVERY_OTHER, Codes
from drivers.modbus.values import Layout, Order, Type
from gateway.model import Value


def parse_whole(written: object) -> object:
    """``"0x000B"`` -> 11; anything else is left to pydantic.  Raises ValueError."""
    if isinstance(written, str) and written.strip().lower().startswith("0x"):
        return int(written, 16)
    return written


def parse_key(written: object) -> object:
    """A mapping's key is text in YAML and JSON alike: ``"3"`` -> 3, ``"0x1F"`` -> 31.  Raises ValueError."""
    if isinstance(written, str) and written.removeprefix("-").isdecimal():
        return int(written)
    return parse_whole(written)


Whole = Annotated[int, BeforeValidator(parse_whole)]
WholeKey = Annotated[int, BeforeValidator(parse_key)]
Factor = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]

MAX_READ_REGISTERS = 125
MAX_READ_BITS = 2000
"""Modbus Application Protocol V1.1b3, 6.1 to 6.4."""


class Table(enum.StrEnum):
    """The four address spaces of a device; each begins at 0."""

    HOLDING = "holding"
    INPUT = "input"
    COIL = "coil"
    DISCRETE = "discrete"

    @property
    def of_bits(self) -> bool:
        return self in (Table.COIL, Table.DISCRETE)


READ_FUNCTION: Final = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeviceOptions(Options):
    unit_id: int
    word_order: Order = Order.ABCD
    """For every point that names none."""
    max_registers: int = Field(default=MAX_READ_REGISTERS, ge=1, le=MAX_READ_REGISTERS)
    """The most registers this device gives in one answer.  Many cheap ones stop at 16."""
    max_gap: int = Field(default=8, ge=0, le=MAX_READ_REGISTERS)
    """Registers nobody wants that are read along rather than asking twice; of bits, sixteen for each."""


class RtuOptions(DeviceOptions):
    unit_id: int = Field(ge=0, le=247)


class TcpOptions(DeviceOptions):
    unit_id: int = Field(ge=0, le=255)
    """Devices with a connection of their own are mostly 1, 0 or 255; behind a converter, the id on its line."""


class PointOptions(Options):
    table: Table
    address: Whole = Field(ge=0, le=0xFFFF)
    """0-based, as on the wire: 40001 of a manual is holding 0."""
    type: Type | None = None
    """u16 where nothing is said; coils and discrete inputs are always a bit."""
    word_order: Order | None = None
    scale: Factor = 1.0
    offset: Factor = 0.0
    """value = raw * scale + offset"""
    bit: int | None = Field(default=None, ge=0, le=15)
    mask: Whole | None = Field(default=None, ge=1, le=0xFFFFFFFF)
    shift: int | None = Field(default=None, ge=0, le=31)
    """Left out: down to the mask's lowest bit."""
    length: int | None = Field(default=None, ge=1, le=MAX_READ_REGISTERS)
    """Registers of a text, two characters each."""
    enum: dict[WholeKey, str] = {}
    """Raw value -> state word."""
    values: Codes = {}
    """The same for points of any kind: raw value -> word, number, true or false; ``"*"`` is every other.  Or the name
    of a table of code_tables.py."""
    no_value: list[Whole | float] = []
    """Raw values by which the device says that it has none: bit patterns of integers, values of floats."""
    write_function: int | None = None
    """Coils: 5 (default) or 15.  Holding registers: 6 (default of a single one) or 16; single bits and bitfields 22,
    where the device has it."""
    settle_s: float = Field(default=0.5, ge=0, le=600, allow_inf_nan=False)
    """Seconds for which a read may still show the old value after a write: a controller's cycle, a valve's motor."""
    no_merge: bool = False
    """Never read together with a neighbour: reading has an effect, or the device is fussy about the range."""

    @property
    def kind(self) -> Type:
        return self.type or (Type.BIT if self.table.of_bits else Type.U16)

    @property
    def count(self) -> int:
        """How many registers, or bits of a bit table, one reading takes."""
        return self.length or self.kind.registers

    @property
    def meanings(self) -> Mapping[int, Value]:
        """Raw value -> what it means; without those that every other one has."""
        named = {_whole_of(key): meant for key, meant in self.values.items() if key != EVERY_OTHER}
        return {**self.enum, **named}

    @property
    def writes_with(self) -> int | None:
        """The function code of a write; None for what cannot be written."""
        if self.table is Table.COIL:
            return self.write_function or 5
        if self.table is not Table.HOLDING:
            return None
        if self.is_part:
            return self.write_function
        return self.write_function or (6 if self.count == 1 else 16)

    @property
    def is_part(self) -> bool:
        """Some bits of a register, beside which others may stand."""
        return not self.table.of_bits and (self.kind is Type.BIT or self.kind.is_bitfield)

    def layout(self, default_order: Order) -> Layout:
        bits = 16 * self.kind.registers
        mask = 0xFFFF if self.mask is None else self.mask
        order = Order.ABCD if self.table.of_bits else self.word_order or default_order
        return Layout(
            type=self.kind,
            order=order,
            scale=self.scale,
            offset=self.offset,
            bit=self.bit or 0,
            mask=mask,
            shift=(mask & -mask).bit_length() - 1 if self.shift is None else self.shift,
            states={_pattern(number, bits): meant for number, meant in self.meanings.items()},
            other=self.values.get(EVERY_OTHER),
            no_value=frozenset(raw if self.kind.is_float else _pattern(int(raw), bits) for raw in self.no_value),
        )

    @field_validator("values")
    @classmethod
    def _whole_keys(cls, values: dict[str, bool | int | float | str]) -> dict[str, bool | int | float | str]:
        for key in values:
            try:
                _ = key == EVERY_OTHER or _whole_of(key)
            except ValueError:
                raise ValueError(f"{key}: 键应为整数原值或 * / a key is a whole raw value, or *") from None
        return values

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        for fault in self._faults():
            raise ValueError(fault)
        return self

    def _faults(self) -> Any:
        """Every way in which the keys contradict each other, most basic first."""
        kind = self.kind
        if self.table.of_bits and kind is not Type.BIT:
            yield f"type {kind}: a {self.table} holds one bit; leave type out"
        if self.table.of_bits and self.bit is not None:
            yield f"bit: a {self.table} has no bits inside; leave bit out"
        if self.table.of_bits and self.word_order is not None:
            yield f"word_order: a {self.table} has none"
        if not self.table.of_bits and (self.bit is not None) != (kind is Type.BIT):
            yield "type bit and bit (0..15, the bit's number) go together"
        if (self.mask is not None) != kind.is_bitfield:
            yield "type bitfield and mask go together"
        if (self.mask or 0) >> 16 * kind.registers:
            yield f"mask {self.mask:#x}: a {kind} has {16 * kind.registers} bits"
        if self.shift is not None and self.mask is None:
            yield "shift needs a mask"
        if (self.length is not None) != (kind is Type.ASCII):
            yield "type ascii and length (in registers) go together"
        if self.address + self.count > 0x10000:
            yield f"address {self.address:#06x}: {self.count} of them reach beyond 0xffff"
        yield from self._value_faults()
        yield from self._write_faults()

    def _value_faults(self) -> Any:
        kind = self.kind
        scaled, coded = (self.scale, self.offset) != (1.0, 0.0), bool(self.enum or self.values)
        if abs(self.scale) < 1e-12:
            yield "scale: too near to zero"
        if 0 < abs(self.offset) < 1e-12:
            yield "offset: too near to zero"
        if scaled and (kind in (Type.BIT, Type.ASCII) or coded):
            yield "scale and offset are for numbers, not for bits, texts and codes"
        if self.enum and self.values:
            yield "enum and values: write one of the two"
        if coded and not kind.is_integer:
            yield f"enum, values: a {kind} is not a whole number"
        if self.values and not self.meanings:
            yield f"values: {EVERY_OTHER!r} alone says the same of everything"
        if self.no_value and kind in (Type.BIT, Type.ASCII):
            yield f"no_value: a {kind} has none to spare"
        if not kind.is_float and any(isinstance(raw, float) and not raw.is_integer() for raw in self.no_value):
            yield f"no_value: a {kind} is compared as a whole raw value, before scale and offset"
        limit = 1 << 16 * kind.registers
        if kind.is_integer and any(not -limit // 2 <= raw < limit for raw in (*self.meanings, *self.no_value)):
            yield f"enum, values, no_value: raw values of a {kind} are below {limit:#x}"

    def _write_faults(self) -> Any:
        choice = {Table.COIL: (5, 15), Table.HOLDING: (22,) if self.is_part else (6, 16)}.get(self.table, ())
        if self.write_function is None:
            return
        if self.write_function not in choice:
            known = " or ".join(map(str, choice)) or "cannot be written"
            of_what = f"a {self.kind} of a register" if self.is_part else self.table
            yield f"write_function {self.write_function}: {of_what}: {known}"
        if self.write_function == 6 and self.count > 1:
            yield f"write_function 6 writes one register, this point has {self.count}: use 16"
        if self.write_function == 22 and self.count > 1:
            yield f"write_function 22 changes one register, this point has {self.count}"


def _whole_of(key: str) -> int:
    """Raises ValueError."""
    return int(key, 16 if key.lower().startswith("0x") else 10)


def _pattern(number: int, bits: int) -> int:
    """A negative raw value as the unsigned pattern that is on the wire."""
    return number & (1 << bits) - 1
