"""What lines and device entries say of devices that push over HTTP, whatever they push."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from drivers.hub import Address, IpAddress


class HttpHubOptions(BaseModel):
    """Where the devices of a line push to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: Address
    """An address of the network that the devices are in, not of all networks: ``192.168.10.1:8090``."""
    certificate: Path | None = None
    """PEM files for HTTPS, both or none."""
    key: Path | None = None
    connections: int = Field(default=64, ge=1, le=1000)

    @model_validator(mode="after")
    def _a_pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate 与 key 须同时给出 / certificate and key go together")
        return self


class HttpSenderOptions(BaseModel):
    """How a device may be recognised by its request alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    peer: IpAddress | None = None
    """Its IP address."""
    user: str | None = Field(default=None, min_length=1, max_length=64)
    password_file: Path | None = None
    """For HTTP Basic, with *user*."""

    def check_login(self) -> None:
        """For the validator of a subclass, which knows what is more worth telling.  Raises ValueError."""
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user 与 password_file 须同时给出 / user and password_file go together")
