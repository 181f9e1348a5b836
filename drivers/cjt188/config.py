"""What a device entry and a profile's point may say for CJ/T 188.

Addresses, types and identifiers are text, never numbers: as a number 00001000000192 has lost its leading zeros, and
type 10 is not ten.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from drivers.cjt188 import frame, items

_ADDRESS = re.compile(r"[0-9A-F]{4}[0-9]{10}")
_TYPE = re.compile(r"[1-4][0-9A-F]|AA")


def _address(value: str) -> str:
    digits = value.strip().upper()
    if digits == frame.WILDCARD:
        return digits
    if not digits or not _ADDRESS.fullmatch(digits.zfill(14)):
        raise ValueError(
            "表地址最多 14 位：厂商代码 4 位，表号 10 位；14 个 A 为通配 / up to 14 digits: 4 of the vendor's code, "
            "10 of the meter's number; 14 times A is the wildcard"
        )
    if digits == frame.BROADCAST:
        raise ValueError("广播地址不会有应答 / the broadcast address is never answered")
    return digits.zfill(14)


def _type(value: str) -> str:
    digits = value.strip().upper()
    if not _TYPE.fullmatch(digits):
        raise ValueError(
            "表类型为两位十六进制 10 至 4F，AA 为任意 / the type is two hex digits, 10 to 4F, or AA for any"
        )
    return digits


def _identifier(value: str) -> str:
    digits = value.strip().upper()
    if not items.layouts(digits):
        raise ValueError(
            f"未知的数据标识 {digits} / unknown identifier {digits}: 901F, D120 to D12B, D200 to D47F, high byte first"
        )
    return digits


class Cjt188Options(BaseModel):
    """A meter's own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Annotated[str, AfterValidator(_address)]
    """14 digits after validation, the vendor's code first."""
    type: Annotated[str, AfterValidator(_type)]
    """T of the request: "10" cold water, "11" hot water, "20" heat, "21" cold, "30" gas."""
    answer_type: Annotated[str, AfterValidator(_type)] | None = None
    """T of the answers, for a meter that answers with another than it is asked with."""
    preamble: int = Field(default=4, ge=0, le=16)
    """FE bytes before each request, to wake the meter."""
    di_order: Literal["auto", "high_first", "low_first"] = "auto"
    """Identifiers sent as 90 1F or as 1F 90; ``auto`` finds out which one the meter answers."""
    echoes_sequence: bool = True
    """False for a meter that answers with a sequence number of its own."""
    valve_codes: Literal["55/99", "66/77"] = "55/99"
    """What opens and closes the valve: the standard's codes, or those of some makers."""
    valve_s: float = Field(default=60.0, ge=0, le=600)
    """Seconds that the valve's motor may take; 15 to 60 are usual."""


class Cjt188PointOptions(BaseModel):
    """Where a point's value is found in the meter.  Its unit is the point's: the meter's own is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: str
    """A name in items.py, or ``valve`` and ``battery``, which are bits of ``status``."""
    di: Annotated[str, AfterValidator(_identifier)] = frame.DATA_DI
    status_bit: int | None = Field(default=None, ge=0, le=15)
    """Of ``status``: one of the maker's own bits; 0 to 7 are those of the first byte sent, 8 to 15 of the second."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        parts = [part for layout in items.layouts(self.di) for part in layout.parts]
        known = {part.name for part in parts if part.sort is not items.Sort.UNKNOWN}
        known |= set(items.STATUS_BITS) if "status" in known else set()
        if self.field not in known:
            names = ", ".join(sorted(known))
            raise ValueError(f"{self.di} 没有此字段，可用：{names} / {self.di} has no such field; there are: {names}")
        if self.status_bit is not None and self.field != "status":
            raise ValueError("status_bit 只用于 status / status_bit belongs to field status")
        return self

    @property
    def part_name(self) -> str:
        """The field of the answer in which the value is found."""
        return "status" if self.field in items.STATUS_BITS else self.field
