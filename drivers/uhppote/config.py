"""What a line, a device entry and a profile's point may say for UHPPOTE controllers."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from drivers.hub import HostPort, parse_host_port

PORT = 60000
"""On which controllers listen."""


def parse_target(written: str) -> HostPort:
    """``192.168.1.100`` or ``192.168.1.100:60000``.  Raises ValueError: names are not looked up, once a second."""
    host, port = parse_host_port(written if ":" in written else f"{written}:{PORT}")
    try:
        return str(IPv4Address(host)), port
    except AddressValueError:
        raise ValueError("IPv4") from None


def _target(written: str) -> str:
    try:
        host, port = parse_target(written)
    except ValueError:
        raise ValueError(
            "应为 IPv4 地址，可带端口：192.168.1.100:60000 / "
            "an IPv4 address, with a port if it is not 60000: 192.168.1.100"
        ) from None
    return f"{host}:{port}"


Target = Annotated[str, AfterValidator(_target)]


def _serial(number: int) -> int:
    if not 100_000_000 <= number <= 499_999_999:
        raise ValueError(
            "控制器序列号为 9 位数字，首位是门数 1 至 4 / the serial number on the board has nine digits, the first of "
            "which is the number of doors, 1 to 4"
        )
    return number


class HubOptions(BaseModel):
    """A line of UHPPOTE controllers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: Target = "0.0.0.0:60001"
    """Where controllers push their events."""
    broadcast: Target = "255.255.255.255:60000"
    """How controllers without an address of their own in the configuration are reached."""
    push_to: Target | None = None
    """What controllers are told to push to, where it is not the address that this box has on their network."""
    set_listener: bool = True
    """False where another program is to keep the controllers' pushes: events then come once a minute."""
    push_every: int = Field(default=0, ge=0, le=255)
    """Seconds between pushes without an event; 0 for none."""
    history: bool = False
    """Whether a controller that is met for the first time is asked for all that it remembers."""


class DeviceOptions(BaseModel):
    """A controller, or one of its doors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    controller: Annotated[int, AfterValidator(_serial)]
    door: int | None = Field(default=None, ge=1, le=4)
    """Absent for the controller itself."""
    host: Target | None = None
    """The controller's address; said once, with any device of it."""
    release_s: float = Field(default=3.0, ge=0.2, le=60)
    """How long ``release`` reads true after a door was opened from here; how long it stays open is set in the
    controller."""
    set_clock_over: int | None = Field(default=None, ge=5, le=86400)
    """Seconds: a clock that is off by more is set; absent: never, it is only read."""

    @model_validator(mode="after")
    def _has_that_door(self) -> Self:
        doors = doors_of(self.controller)
        if self.door is not None and self.door > doors:
            raise ValueError(
                f"控制器 {self.controller} 只有 {doors} 个门 / controller {self.controller} has {doors} door(s) only"
            )
        return self


OF_A_DOOR = ("contact", "button", "relay", "forced", "held", "release")
OF_THE_CONTROLLER = ("system_error", "clock_offset", "event_index", "events_missing", "inputs", "special")


class PointOptions(BaseModel):
    """What a point shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Literal[
        "contact",
        "button",
        "relay",
        "forced",
        "held",
        "release",
        "system_error",
        "clock_offset",
        "event_index",
        "events_missing",
        "inputs",
        "special",
    ]
    door: int | None = Field(default=None, ge=1, le=4)
    """Of a controller's own point that shows a door."""

    @model_validator(mode="after")
    def _door_for_doors(self) -> Self:
        if self.door is not None and self.field not in OF_A_DOOR:
            raise ValueError(f"{self.field} 不属于门 / {self.field} is nothing of a door")
        return self


def doors_of(controller: int) -> int:
    """How many doors it has, by its serial number."""
    return int(str(controller)[0])
