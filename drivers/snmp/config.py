"""What a ``protocol: snmp`` line, a device entry and a profile's point may say.

Object identifiers are text, as MIB browsers show them; a leading dot is allowed.  No secret stands in site.yaml: a
community, a password and a key have files of their own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from drivers.hub import Address as TrapAddress
from drivers.hub import with_port

Oid: TypeAlias = tuple[int, ...]

AGENT_PORT, TRAP_PORT = 161, 162
_OID = re.compile(r"\.?[0-2](\.(0|[1-9][0-9]{0,9}))+")
_INDEX = re.compile(r"[0-9]{1,10}(\.[0-9]{1,10})*")


def parse_oid(written: str) -> Oid:
    """``1.3.6.1.2.1.1.3.0`` -> its numbers.  Raises ValueError."""
    if not _OID.fullmatch(written):
        raise ValueError("an object identifier: 1.3.6.1.2.1.1.3.0")
    numbers = tuple(map(int, written.removeprefix(".").split(".")))
    if len(numbers) > 128 or any(number > 0xFFFFFFFF for number in numbers):
        raise ValueError("an object identifier has at most 128 numbers, each below 2^32")
    return numbers


def show_oid(oid: Oid) -> str:
    return ".".join(map(str, oid))


def _oid(written: str) -> str:
    parse_oid(written)
    return written


def _index(written: int | str) -> str:
    if not _INDEX.fullmatch(str(written)):
        raise ValueError("a row's number, or several with dots: 3, 1.3")
    return str(written)


def _agent(written: str) -> str:
    with_port(written, AGENT_PORT)
    return written


def _key(written: object) -> object:
    """A mapping's key is text in YAML: ``"5"`` -> 5; an object identifier stays as it is."""
    return int(written) if isinstance(written, str) and re.fullmatch(r"-?[0-9]{1,18}", written) else written


MapKey = Annotated[int | str, BeforeValidator(_key)]
OidText = Annotated[str, AfterValidator(_oid)]
AgentAddress = Annotated[str, AfterValidator(_agent)]
Mapped: TypeAlias = bool | str
Version = Annotated[Literal["1", "2c", "3", 1, 3], AfterValidator(str)]


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubOptions(Options):
    traps: TrapAddress | None = None
    """Where notifications are listened for, ``0.0.0.0:162``; left out: nowhere."""


class DeviceOptions(Options):
    address: AgentAddress
    """Host, and its port where it is not 161."""
    version: Version = "2c"
    community_file: Path | None = None
    """Versions 1 and 2c: a file that holds the read community."""
    user: str = Field(default="", max_length=32)
    """Version 3: the security name."""
    auth: Literal["md5", "sha", "sha224", "sha256", "sha384", "sha512"] | None = None
    auth_file: Path | None = None
    priv: Literal["des", "aes", "aes192", "aes256"] | None = None
    priv_file: Path | None = None
    context: str = Field(default="", max_length=32)
    """Version 3: the context name, where an agent speaks for several."""
    max_oids: int = Field(default=16, ge=1, le=64)
    """The most objects in one request; cheap agents answer tooBig, or nothing, above some number."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.version == "3":
            self._check_v3()
        elif self.community_file is None:
            raise ValueError(f"community_file: version {self.version} needs a file that holds the community")
        elif (self.user, self.auth, self.auth_file, self.priv, self.priv_file, self.context) != ("",) + (None,) * 4 + (
            "",
        ):
            raise ValueError("user, auth, priv and context are of version 3")
        return self

    def _check_v3(self) -> None:
        if not self.user:
            raise ValueError("user: version 3 needs a security name")
        if self.community_file is not None:
            raise ValueError("community_file: version 3 has user, auth and priv instead")
        if (self.auth is None) != (self.auth_file is None) or (self.priv is None) != (self.priv_file is None):
            raise ValueError("auth and auth_file, priv and priv_file go together")
        if self.priv is not None and self.auth is None:
            raise ValueError("priv needs auth: without authentication nothing is encrypted (RFC 3414)")


class PointOptions(Options):
    oid: OidText
    index: Annotated[int | str, AfterValidator(_index)] | None = None
    """Appended to *oid*: the row of a table (``3``, ``1.3``).  A scalar's 0 is part of *oid*."""
    scale: float = Field(default=1.0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)
    """value = raw * scale + offset"""
    map: dict[MapKey, Mapped] = {}
    """Raw integer, text or object identifier -> a state word, true or false."""
    other: Mapped | None = None
    """What *map* does not name.  Left out: no value."""
    character: int | None = Field(default=None, ge=1, le=1024)
    """Of a text made of flags, which; ``1`` is the first.  A ``1`` there is true, a ``0`` false."""
    contains: OidText | None = None
    """*oid* is a table's column; the point tells whether any of its rows holds this object identifier."""
    no_value: list[int] = []
    """Raw integers by which an agent says that it has none."""

    @property
    def place(self) -> Oid:
        """What is asked for: the object's instance, or the column of *contains*."""
        return parse_oid(self.oid) + (tuple(map(int, str(self.index).split("."))) if self.index is not None else ())

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.other is not None and not self.map:
            raise ValueError("other needs map: what map does not name")
        ways = [bool(self.map), self.character is not None, self.contains is not None]
        if sum(ways) > 1:
            raise ValueError("only one of map, character and contains can be meant")
        if any(ways) and (self.scale, self.offset) != (1.0, 0.0):
            raise ValueError("scale and offset are for numbers")
        if self.contains is not None and self.index is not None:
            raise ValueError("contains looks at all rows: leave index out")
        return self
