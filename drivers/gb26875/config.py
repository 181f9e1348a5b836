"""What a line, a device entry and a profile's point may say for GB/T 26875.3."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from drivers.hub import Address, IpAddress

_SEPARATORS = re.compile(r"[\s:.-]")
_SOURCE = re.compile(r"[0-9A-F]{12}")
_COMPONENT = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")

Field26875: TypeAlias = Literal[
    "fire",
    "fault",
    "shielded",
    "supervisory",
    "started",
    "feedback",
    "delayed",
    "main_power_fault",
    "backup_power_fault",
    "bus_fault",
    "manual",
    "active_fires",
    "monitoring",
    "transmitter_fault",
    "transmitter_main_power_fault",
    "transmitter_backup_power_fault",
    "link_fault",
    "line_fault",
]
"""What ``panel.Panel.points`` can tell."""


def _source(written: str) -> str:
    digits = _SEPARATORS.sub("", written).upper()
    if not _SOURCE.fullmatch(digits):
        raise ValueError(
            "源地址为 6 个字节（12 位十六进制），按报文中的顺序 / the source is six bytes, 12 hex digits, "
            "in the order of the frame: B2 23 96 60 40 0B"
        )
    return digits


def _component(written: str) -> str:
    parts = _COMPONENT.fullmatch(written.strip())
    if parts is None or any(int(part) > 0xFFFF for part in parts.groups()):
        raise ValueError("部件地址为 回路-编号 / a component's address is loop-number: 6-217")
    return f"{int(parts[1])}-{int(parts[2])}"


class Gb26875HubOptions(BaseModel):
    """Where transmission devices connect to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: Address | None = None
    """TCP."""
    listen_udp: Address | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.listen is None and self.listen_udp is None:
            raise ValueError("listen 与 listen_udp 至少写一个 / give listen, listen_udp or both")
        return self


class Gb26875Options(BaseModel):
    """One transmission device, or one fire alarm system behind one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, AfterValidator(_source)]
    """12 hex digits after validation, as on the wire."""
    peer: IpAddress | None = None
    """Believe this source only from there; tells apart devices that all send 000000000000."""
    system_type: int | None = Field(default=None, ge=0, le=255)
    system_address: int | None = Field(default=None, ge=0, le=255)
    """Of several systems behind one transmission device, this one alone."""
    ask: bool = False
    """Ask for the system's state whenever the device has connected."""
    system_clears: bool = True
    """False for a device whose system state says nothing of fires that its components have."""
    component_like: tuple[Annotated[int, Field(ge=9, le=255)], ...] = ()
    """Makers' own types that have the layout of type 2 (204 and 206 have been seen)."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.system_type is None) != (self.system_address is None):
            raise ValueError("system_type 与 system_address 须同时给出 / system_type and system_address go together")
        if self.ask and self.system_type is None:
            raise ValueError("ask 需要 system_type 与 system_address / ask needs system_type and system_address")
        return self


class Gb26875PointOptions(BaseModel):
    """A state of the panel (*field*), or an analog value of one component."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Field26875 | None = None
    component: Annotated[str, AfterValidator(_component)] | None = None
    analog: int | None = Field(default=None, ge=0, le=255)
    """The analog type; the point's unit is that type's: 3 Cel, 4 MPa, 5 kPa, 6 %[LEL], 8 V, 9 A, 10 L/s ..."""
    scale: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Instead of the standard's step, for a device that has another."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        analog = (self.component is not None, self.analog is not None)
        if any(analog) != all(analog) or (self.field is not None) == all(analog):
            raise ValueError("写 field，或写 component 和 analog / give field, or component and analog")
        if self.scale is not None and self.field is not None:
            raise ValueError("scale 只用于模拟量 / scale is for analog values")
        return self
