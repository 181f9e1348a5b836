"""What a device entry and a profile's point may say for M-Bus."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from drivers.mbus import frame, vif
from drivers.mbus.records import Function, Key
from drivers.mbus.vif import Form

HEADER_NUMBERS = ("status", "access", "version")
HEADER_TEXTS = ("id", "manufacturer", "medium")
"""What the header of every answer holds, named like quantities."""

_SECONDARY = re.compile(r"[0-9F]{8}|[0-9F]{8}[0-9A-F]{8}")
_OWN_MODIFIER = re.compile(r"([0-9A-F]{2})+")


def _secondary(value: str) -> str:
    digits = value.strip().upper()
    if not _SECONDARY.fullmatch(digits):
        raise ValueError(
            "二级地址为表号 8 位，可加厂商、版本、介质共 16 位，F 为通配"
            " / 8 digits as on the meter, or 16 with manufacturer, version and medium; F is a wildcard"
        )
    return digits.ljust(16, "F")


def _quantity(value: str) -> str:
    name = value.strip()
    if name.startswith((vif.TEXT_PREFIX, vif.UNKNOWN_VIF)) and not name.endswith((":", " ")):
        return name
    if name not in {*vif.NAMES, *HEADER_NUMBERS, *HEADER_TEXTS, vif.MANUFACTURER}:
        raise ValueError(
            f"未知的量 {name}；gateway decode mbus 会列出表计所发 / unknown quantity {name}: energy, volume, flow, "
            "power, flow_temperature ...; gateway decode mbus shows what a meter sends"
        )
    return name


def _modifier(value: str) -> str:
    unknown = [word for word in value.split() if word not in vif.MODIFIERS and not _OWN_MODIFIER.fullmatch(word)]
    if unknown:
        raise ValueError(f"未知的修饰 {unknown[0]} / unknown modifier {unknown[0]}: as gateway decode mbus shows it")
    return " ".join(value.split())


class MbusOptions(BaseModel):
    """A meter's own settings: its primary address, or its secondary one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    primary: int | None = Field(default=None, ge=0, le=frame.MOST_PRIMARY)
    secondary: Annotated[str, AfterValidator(_secondary)] | None = None
    """16 places after validation: identification, manufacturer, version and medium, high digit first."""
    reset: bool = True
    """Whether the meter answers SND_NKE, which begins the first readout and one after a failure (primary only)."""
    application_reset: bool = False
    """For a meter that a reset of the link does not bring back to its first telegram: CI 50h before each readout."""

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if self.primary is None and self.secondary is None:
            # as if the key were required: a profile may leave open what only the device knows
            missing = InitErrorDetails(type="missing", loc=("primary",), input={})
            raise ValidationError.from_exception_data(type(self).__name__, [missing])
        if self.primary is not None and self.secondary is not None:
            raise ValueError("primary 与 secondary 只能写一个 / give either primary or secondary")
        if self.application_reset and not self.reset and self.primary is not None:
            raise ValueError("application_reset 需要 reset / application_reset needs reset")
        return self


class MbusPointOptions(BaseModel):
    """Which of the meter's records a point is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantity: Annotated[str, AfterValidator(_quantity)]
    modifier: Annotated[str, AfterValidator(_modifier)] = ""
    """What VIFEs make of the quantity: ``positive``, ``FF01`` (a maker's own); as ``gateway decode mbus`` shows it."""
    storage: int = Field(default=0, ge=0, lt=2**41)
    """0 is now; 1 and up are values of the past, as the meter's manual says."""
    tariff: int = Field(default=0, ge=0, lt=2**20)
    subunit: int = Field(default=0, ge=0, lt=2**10)
    function: Function = Function.INSTANTANEOUS
    nth: int | None = Field(default=None, ge=1, le=255)
    """Where the meter sends several records that are alike in all this: which one."""
    scale: float = Field(default=1.0, allow_inf_nan=False)
    """The value in the quantity's unit times this is the point's value."""
    bit: int | None = Field(default=None, ge=0, le=31)
    """Of status or flags: one bit, as a boolean or as one of two states."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.scale == 0:
            raise ValueError("系数不能为 0 / a scale of 0 leaves nothing")
        if self.bit is not None and self.scale != 1.0:
            raise ValueError("位不能乘系数 / a bit cannot be scaled")
        if self.in_header and self.key != (self.quantity, "", 0, 0, 0, Function.INSTANTANEOUS):
            raise ValueError("数据头没有存储号等 / the header has no storage, tariff, subunit, function or modifier")
        return self

    @property
    def in_header(self) -> bool:
        return self.quantity in HEADER_NUMBERS or self.quantity in HEADER_TEXTS

    @property
    def key(self) -> Key:
        return self.quantity, self.modifier, self.storage, self.tariff, self.subunit, self.function

    @property
    def is_text(self) -> bool:
        """Whether the quantity can never be a number."""
        known = vif.NAMES.get(self.quantity)
        return self.quantity in HEADER_TEXTS or (known is not None and known.form is Form.TIME)

    @property
    def unit(self) -> str | None:
        """The unit of the quantity, before *scale*."""
        known = vif.NAMES.get(self.quantity)
        return known.unit if known and not self.modifier else None
