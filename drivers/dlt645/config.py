"""What a device entry and a profile's point may say for DL/T 645.

Addresses and identifiers are text, never numbers: as a number 000000190101 has lost its leading zeros, and 0001E100
is one followed by a hundred zeros.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from drivers.dlt645 import frame, items

_ADDRESS = re.compile(r"(AA){0,6}[0-9]*")
_IDENTIFIER = re.compile(r"[0-9A-F]{8}")


def _address(value: str) -> str:
    digits = value.strip().upper()
    if not digits or len(digits) > 12 or not _ADDRESS.fullmatch(digits):
        raise ValueError(
            "表号为 1 至 12 位数字，高位可用 AA 通配 / up to 12 digits as on the meter; AA pairs in front are wildcards"
        )
    if "A" in digits and len(digits) != 12:
        raise ValueError("带通配符的表号要写满 12 位 / an address with wildcards has all 12 places")
    if digits == frame.BROADCAST:
        raise ValueError("广播地址不会有应答 / the broadcast address is never answered")
    return digits.zfill(12)


def _identifier(value: str) -> str:
    digits = value.strip().upper()
    if not _IDENTIFIER.fullmatch(digits):
        raise ValueError("数据标识为 8 位十六进制 DI3..DI0 / eight hex digits, DI3 DI2 DI1 DI0, as 00010000")
    if items.block(digits) is not None:
        raise ValueError("数据块含多个值，请写成员标识 / a block holds several values: name the member that is meant")
    return digits


class Dlt645Options(BaseModel):
    """A meter's own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Annotated[str, AfterValidator(_address)]
    """12 digits after validation.  With AA pairs in front any meter with these last digits answers."""
    preamble: int = Field(default=4, ge=0, le=16)
    """FE bytes before each request, to wake the meter."""


class Dlt645PointOptions(BaseModel):
    """Where a point's value is found in the meter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    di: Annotated[str, AfterValidator(_identifier)]
    format: str | None = None
    """For an identifier that items.py does not know, or that this meter answers otherwise: ``XXXXXX.XX``."""
    signed: bool = False
    """With *format* only: the top bit means minus."""
    scale: float = Field(default=1.0, allow_inf_nan=False)
    """The meter's number times this is the point's value (transformer ratios)."""
    bit: int | None = Field(default=None, ge=0, le=15)
    """Of a status word: one bit of it, as a boolean or as one of two states."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.format is None and items.lookup(self.di) is None:
            raise ValueError(f"未知的数据标识 {self.di}，请给出 format / unknown identifier {self.di}: say its format")
        if self.format is None and self.signed:
            raise ValueError("signed 只与 format 同用 / signed goes with format only")
        if self.format is not None:
            items.layout(self.format)
        if self.bit is not None and not self.part.format.startswith("bits"):
            raise ValueError("只有状态字才有位 / only a status word has bits")
        if self.scale == 0:
            raise ValueError("系数不能为 0 / a scale of 0 leaves nothing")
        if self.scale != 1.0 and not self.is_number:
            raise ValueError("只有数值才能乘系数 / only a number can be scaled")
        return self

    @property
    def is_number(self) -> bool:
        return self.part.format.startswith("X")

    @property
    def part(self) -> items.Part:
        """The value that the point reads."""
        return self.item.main[1]

    @property
    def item(self) -> items.Item:
        known = items.lookup(self.di)
        if self.format is not None or known is None:
            return items.Item(self.di, (items.Part(self.format or "", signed=self.signed),))
        return known
