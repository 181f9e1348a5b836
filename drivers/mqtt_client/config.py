"""What a line may say about its broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from drivers.hub import Address


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsOptions(Options):
    ca: Path | None = None
    """PEM; left out: the system's own authorities."""
    certificate: Path | None = None
    key: Path | None = None


class BrokerOptions(Options):
    broker: Address
    username: str | None = None
    password_file: Path | None = None
    """A file with nothing but the password; the password itself never stands in site.yaml."""
    tls: TlsOptions | None = None
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    """``compound-gateway-`` and the line's id unless given.  Two clients of one id throw each other out."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.password_file is not None and self.username is None:
            raise ValueError("有 password_file 时须有 username / password_file needs username")
        return self
