"""What a ``protocol: ocpp16`` line, a device entry (one connector) and a profile's point may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from drivers.hub import Address

_CHARGE_POINT = re.compile(r"[A-Za-z0-9*_=:+|@.\-]{1,48}")
"""OCPP-J 1.6, 3.1.1: what may stand in a URL; 48 characters after the specification's identifierString."""

Says = Literal[
    "state", "fault", "energy", "power", "current", "voltage", "temperature", "soc", "transaction", "available"
]
Phase = Literal["L1", "L2", "L3"]
UNITS = {
    "energy": {"kW.h": 0.001, "W.h": 1.0},
    "power": {"kW": 0.001, "W": 1.0},
    "current": {"A": 1.0},
    "voltage": {"V": 1.0},
    "temperature": {"Cel": 1.0},
    "soc": {"%": 1.0},
}
"""Quantity -> unit of the point -> factor from Wh, W, A, V, Celsius, percent."""


def _charge_point(written: str) -> str:
    if not _CHARGE_POINT.fullmatch(written):
        raise ValueError("1 to 48 letters, digits and *_=:+|@.-, as the charger has it in its settings")
    return written


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubOptions(Options):
    listen: Address
    """Where chargers connect to: ``ws://<this box>:<port>/ocpp/<charge point>``."""
    authorize: Literal["all", "none", "listed"]
    """Which cards may start a charge here.  It has no default: whoever writes the line decides."""
    cards_file: Path | None = None
    """``listed``: a file with one idTag a line, or ``sha256:`` and 64 hex digits of it."""
    certificate_file: Path | None = None
    key_file: Path | None = None
    """With both: TLS (``wss://``)."""
    heartbeat_s: int = Field(default=60, ge=10, le=3600)
    """Told to the chargers: how often they say that they live."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if (self.authorize == "listed") != (self.cards_file is not None):
            raise ValueError("authorize: listed and cards_file go together")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self


class DeviceOptions(Options):
    charge_point: Annotated[str, AfterValidator(_charge_point)]
    connector: int = Field(default=1, ge=0, le=63)
    """1 is the first plug; 0 the charger as a whole."""
    password_file: Path | None = None
    """The charger's AuthorizationKey: its first line, or ``hex:`` and hex digits."""
    without_password: bool = False
    """The charger cannot do passwords: whoever reaches the port may speak for it."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if (self.password_file is None) != self.without_password:
            raise ValueError("password_file, or without_password: true for a charger that cannot have one")
        return self


class PointOptions(Options):
    says: Says
    phase: Phase | None = None
    """Of a measured quantity: this phase alone."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.phase is not None and self.says not in UNITS:
            raise ValueError("phase: of energy, power, current, voltage")
        return self
