"""What a line, a device entry and a profile's point may say for plate cameras."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from drivers.hub import Address


def _peer(written: str) -> str:
    try:
        return str(ip_address(written))
    except ValueError:
        raise ValueError(f"不是 IP 地址：{written} / not an IP address: {written}") from None


class PlateCameraHubOptions(BaseModel):
    """Where the cameras of a line push to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: Address
    """An address of the network that the cameras are in, not of all networks: ``192.168.10.1:8090``."""
    certificate: Path | None = None
    """PEM files for HTTPS, both or none."""
    key: Path | None = None
    connections: int = Field(default=64, ge=1, le=1000)

    @model_validator(mode="after")
    def _a_pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate 与 key 须同时给出 / certificate and key go together")
        return self


class PlateCameraOptions(BaseModel):
    """How one camera is recognised: everything that is written here must agree."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    serial: str | None = Field(default=None, min_length=1, max_length=64)
    """What it calls itself (``serialno``, ``deviceUUID``, ``deviceID``, ``DeviceID``).  Who knows it can claim it."""
    peer: Annotated[str, AfterValidator(_peer)] | None = None
    """Its IP address."""
    token_file: Path | None = None
    """A file with a word that must be one part of the path the camera posts to."""
    user: str | None = Field(default=None, min_length=1, max_length=64)
    password_file: Path | None = None
    """For HTTP Basic, with *user*."""
    min_confidence: float = Field(default=0.8, ge=0, le=1)
    """A plate below it is marked ``low_confidence``."""

    @model_validator(mode="after")
    def _recognisable(self) -> Self:
        if self.serial is None and self.peer is None and self.token_file is None:
            # as if the key were required: a profile may leave open what only the device knows
            missing = InitErrorDetails(type="missing", loc=("serial",), input={})
            raise ValidationError.from_exception_data(type(self).__name__, [missing])
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user 与 password_file 须同时给出 / user and password_file go together")
        return self


class PlateCameraPointOptions(BaseModel):
    """Which of the things a camera tells a point is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Literal[
        "seen_count",
        "vehicle",
        "emergency_vehicle",
        "confidence",
        "plate_class",
        "colour",
        "direction",
        "input1",
        "input2",
        "input3",
        "input4",
    ]
