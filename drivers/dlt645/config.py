"""What a device entry and a profile's point may say for DL/T 645.

Addresses and identifiers are text, never numbers: as a number 000000190101 has lost its leading zeros, and 0001E100
is one followed by a hundred zeros.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from drivers.dlt645 import formats, frame, items, status
from drivers.dlt645.exchange import PREAMBLE

_ADDRESS = re.compile(r"(AA){0,6}[0-9]*")
_IDENTIFIER = re.compile(r"[0-9A-F]{8}|[0-9A-F]{4}")
_OPERATOR = re.compile(r"[0-9A-Fa-f]{8}")

Writes = Literal["relay", "relay_permit", "alarm", "keep_supply", "clock", "freeze"]

STATUS_3, COMBINED_CLOCK, DATE, TIME, INSTANT_FREEZE = "04000503", "0400010C", "04000101", "04000102", "05010001"
TIMED_FREEZE = "05000001"

_BIT_OF = {
    "relay": status.RELAY,
    "relay_permit": status.RELAY,
    "alarm": status.ALARM,
    "keep_supply": status.KEEP_SUPPLY,
}
"""What is written by 1Ch -> the bit of status word 3 that shows it."""
_READ_BACK = {"clock": (COMBINED_CLOCK, DATE, TIME), "freeze": (INSTANT_FREEZE, TIMED_FREEZE)}
"""What else is written -> the identifiers that show it."""


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


def _operator(value: str) -> str:
    if not _OPERATOR.fullmatch(value):
        raise ValueError("操作者代码为 8 位十六进制 / an operator code has eight hex digits")
    return value.upper()


def _identifier(value: str) -> str:
    digits = value.strip().upper()
    if not _IDENTIFIER.fullmatch(digits):
        raise ValueError(
            "数据标识为 8 位十六进制 DI3..DI0（1997 版为 4 位）"
            " / eight hex digits, DI3 DI2 DI1 DI0, as 00010000; four for DL/T 645-1997, as 9010"
        )
    if items.block(digits) is not None:
        raise ValueError("数据块含多个值，请写成员标识 / a block holds several values: name the member that is meant")
    return digits


class Dlt645Options(BaseModel):
    """A meter's own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Annotated[str, AfterValidator(_address)]
    """12 digits after validation.  With AA pairs in front any meter with these last digits answers."""
    edition: Literal["2007", "1997", "mixed"] = "2007"
    """Of the standard.  ``mixed``: 2-byte identifiers of 1997 with the control codes of 2007."""
    preamble: int = Field(default=PREAMBLE, ge=0, le=16)
    """FE bytes before each request, to wake the meter."""
    password_file: Path | None = None
    """For writing: a file with the password's level and six digits (``02 123456``).  Read at each write."""
    operator: Annotated[str, AfterValidator(_operator)] = "00000000"
    """For writing: the code under which the meter remembers who did it."""


class Dlt645PointOptions(BaseModel):
    """Where a point's value is found in the meter, and what a write to it commands."""

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
    field: str = ""
    """Of an answer with several values, which: ``time`` of a demand, ``t2`` (tariff 2) of a freeze; of a status word
    the named bits, as ``supply``.  Empty: the first."""
    write: Writes | None = None
    """What writing the point commands."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.format is None and items.lookup(self.di) is None:
            raise ValueError(f"未知的数据标识 {self.di}，请给出 format / unknown identifier {self.di}: say its format")
        if self.format is None and self.signed:
            raise ValueError("signed 只与 format 同用 / signed goes with format only")
        if self.format is not None:
            formats.layout(self.format)
        self._check_field()
        if self.bit is not None and not self.part.format.startswith("bits"):
            raise ValueError("只有状态字才有位 / only a status word has bits")
        if self.scale == 0:
            raise ValueError("系数不能为 0 / a scale of 0 leaves nothing")
        if self.scale != 1.0 and not self.is_number:
            raise ValueError("只有数值才能乘系数 / only a number can be scaled")
        self._check_write()
        return self

    def _check_field(self) -> None:
        if not self.field:
            return
        if self.format is not None or self.bit is not None:
            raise ValueError("field 不与 format、bit 同用 / field does not go with format or bit")
        known = self._fields()
        if self.field not in known and not self._is_part():
            words = ", ".join(known) or "—"
            raise ValueError(f"{self.di} 没有 {self.field}，可用：{words} / {self.di} has no {self.field}: {words}")

    def _check_write(self) -> None:
        if self.write in _BIT_OF:
            bit = _BIT_OF[self.write]
            if self.di != STATUS_3 or self.flag is None or (self.flag.lowest, self.flag.width) != (bit, 1):
                raise ValueError(
                    f"write: {self.write} 用状态字 {STATUS_3} 的第 {bit} 位回读"
                    f" / write: {self.write} is read back from bit {bit} of {STATUS_3}"
                )
        elif self.write is not None and self.di not in _READ_BACK[self.write]:
            words = ", ".join(_READ_BACK[self.write])
            raise ValueError(
                f"write: {self.write} 用数据标识 {words} / write: {self.write} goes with the identifier {words}"
            )

    def _fields(self) -> list[str]:
        return [*self.item.labels(), *(flag.name for flag in self.item.main[1].flags)]

    def _is_part(self) -> bool:
        try:
            self.item.find(self.field)
        except LookupError:
            return False
        return True

    @property
    def is_number(self) -> bool:
        return formats.is_numeric(self.part.format)

    @property
    def place(self) -> tuple[int, formats.Part]:
        """Where in the answer the point's value begins, and what it is."""
        return self.item.find(self.field) if self._is_part() else self.item.main

    @property
    def part(self) -> formats.Part:
        """The value that the point reads."""
        return self.place[1]

    @property
    def flag(self) -> formats.Flag | None:
        """The bits that the point reads, where it reads bits."""
        if self.bit is not None:
            return formats.Flag(f"bit {self.bit}", self.bit)
        return next((flag for flag in self.part.flags if flag.name == self.field), None)

    @property
    def item(self) -> formats.Item:
        known = items.lookup(self.di)
        if self.format is not None or known is None:
            return formats.Item(self.di, (formats.Part(self.format or "", signed=self.signed),))
        return known
