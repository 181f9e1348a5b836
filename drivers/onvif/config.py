"""What a ``protocol: onvif`` line, a device entry (one camera) and a profile's point may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from drivers.hub import with_port

HTTP_PORT, RTSP_PORT = 80, 554
Says = Literal["online", "motion", "tamper", "input", "model", "firmware", "serial"]
OF_EVENTS = ("motion", "tamper", "input")


def _address(written: str) -> str:
    with_port(written, HTTP_PORT)
    return written


def _path(written: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9_./\-]{0,100}", written):
        raise ValueError("a path: /onvif/device_service")
    return written


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubOptions(Options):
    probe_s: float = Field(default=30.0, ge=5, le=600, allow_inf_nan=False)
    """How often each camera is asked over RTSP whether it lives."""
    discovery: bool = False
    """Ask the network every five minutes who is a camera; those that are not configured are listed."""


class DeviceOptions(Options):
    address: Annotated[str, AfterValidator(_address)]
    """Host, and the port of its web service where that is not 80."""
    rtsp_port: int = Field(default=RTSP_PORT, ge=1, le=65535)
    path: Annotated[str, AfterValidator(_path)] = "/onvif/device_service"
    user: str = Field(default="", max_length=64)
    """An account that may read and subscribe to events, nothing else.  Left out: alive or not, and no events."""
    password_file: Path | None = None
    clear_after_s: float | None = Field(default=None, ge=5, le=3600, allow_inf_nan=False)
    """For cameras that say when motion begins and never when it ends: over after so long without another."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if (self.user == "") != (self.password_file is None):
            raise ValueError("user and password_file go together")
        return self


class PointOptions(Options):
    says: Says
    number: int = Field(default=1, ge=1, le=64)
    """Of an input: the first, second ... of those the camera names, in the order of their names."""
    token: str | None = Field(default=None, max_length=64)
    """Of an input: the camera's own name for it, where the order is not to be relied on."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.says != "input" and (self.number != 1 or self.token is not None):
            raise ValueError("number and token are of says: input")
        return self
