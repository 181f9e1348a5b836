"""What a ``protocol: knx`` line, a device entry and a profile's point may say.

A KNX bus has no devices to ask, only group addresses that somebody writes to; what they mean stands in the ETS project.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from drivers.hub import Address

_GROUP = re.compile(r"([0-9]{1,2})/([0-7])/([0-9]{1,3})")
_INDIVIDUAL = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{1,3})")
_DPT = re.compile(r"[1-9][0-9]{0,2}\.[0-9]{3}")


def _group(written: str) -> str:
    found = _GROUP.fullmatch(written)
    if found is None or int(found[1]) > 31 or int(found[3]) > 255 or written == "0/0/0":
        raise ValueError("a group address of three levels: 1/2/3")
    return written


def _individual(written: str) -> str:
    found = _INDIVIDUAL.fullmatch(written)
    if found is None or int(found[1]) > 15 or int(found[2]) > 15 or int(found[3]) > 255:
        raise ValueError("an individual address: 1.1.5")
    return written


def _dpt(written: str) -> str:
    if not _DPT.fullmatch(written):
        raise ValueError('a data point type in quotes, as ETS shows it: "9.001"')
    return written


def _key(written: object) -> object:
    return int(written) if isinstance(written, str) and re.fullmatch(r"-?[0-9]{1,10}", written) else written


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubOptions(Options):
    gateway: Address | None = None
    """A KNXnet/IP interface, through a tunnel: ``192.168.60.5:3671``.  Takes one of its few connections."""
    routing: bool = False
    """Instead of a tunnel: listen to a KNXnet/IP router's multicast (224.0.23.12)."""
    local_ip: str | None = Field(default=None, pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$")
    """The box's own address in the KNX network, where it has several."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if (self.gateway is None) != self.routing:
            raise ValueError("either gateway (a tunnel) or routing: true")
        return self


class DeviceOptions(Options):
    source: Annotated[str, AfterValidator(_individual)] | None = None
    """Believe telegrams from this individual address alone."""


class PointOptions(Options):
    group: Annotated[str, AfterValidator(_group)]
    dpt: Annotated[str, AfterValidator(_dpt)]
    scale: float = Field(default=1.0, allow_inf_nan=False)
    """From the unit of the data point type to the point's."""
    map: dict[Annotated[int | str, BeforeValidator(_key)], bool | str] = {}
    """A raw number, 0 and 1 of a single bit -> a state word, true or false."""

    @property
    def main(self) -> int:
        return int(self.dpt.partition(".")[0])
