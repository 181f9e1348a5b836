"""What a ``protocol: bacnet`` line, a device entry and a profile's point may say."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from drivers.bacnet.apdu import ObjectId, Station, Wanted
from drivers.hub import Address, with_port

PORT: Final = 47808

OBJECT_TYPES: Final = {
    "analog-input": 0,
    "analog-output": 1,
    "analog-value": 2,
    "binary-input": 3,
    "binary-output": 4,
    "binary-value": 5,
    "device": 8,
    "loop": 12,
    "multi-state-input": 13,
    "multi-state-output": 14,
    "multi-state-value": 19,
    "life-safety-point": 21,
    "life-safety-zone": 22,
    "accumulator": 23,
    "pulse-converter": 24,
    "characterstring-value": 40,
    "integer-value": 45,
    "large-analog-value": 46,
    "positive-integer-value": 48,
    "elevator-group": 57,
    "escalator": 58,
    "lift": 59,
}
PROPERTIES: Final = {
    "present-value": 85,
    "status-flags": 111,
    "out-of-service": 81,
    "reliability": 103,
    "event-state": 36,
    "object-name": 77,
    "description": 28,
    "car-position": 458,
    "car-mode": 456,
    "car-moving-direction": 457,
    "car-door-status": 450,
    "car-drive-status": 453,
    "car-load": 454,
    "passenger-alarm": 478,
    "fault-signals": 463,
    "power-mode": 479,
    "next-stopping-floor": 476,
    "escalator-mode": 462,
    "operation-direction": 477,
}


def _address(written: str) -> str:
    with_port(written, PORT)
    return written


def parse_object(written: str) -> ObjectId:
    """``analog-input,1`` or, for a maker's own type, ``130,1``.  Raises ValueError."""
    name, comma, instance = written.replace(" ", "").partition(",")
    kind = OBJECT_TYPES.get(name, int(name) if name.isascii() and name.isdecimal() else None)
    if kind is None or kind > 1023 or not comma or not (instance.isascii() and instance.isdecimal()):
        raise ValueError(f"type,number: analog-input,1; the types: {', '.join(OBJECT_TYPES)}")
    if int(instance) > 0x3FFFFE:
        raise ValueError("the number is below 4194303")
    return kind, int(instance)


def _object(written: str) -> str:
    parse_object(written)
    return written


def _property(written: int | str) -> int | str:
    if isinstance(written, str) and written not in PROPERTIES:
        raise ValueError(f"a number, or one of {', '.join(PROPERTIES)}")
    return written


def _key(written: object) -> object:
    return int(written) if isinstance(written, str) and re.fullmatch(r"-?[0-9]{1,10}", written) else written


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubOptions(Options):
    listen: Address = f"0.0.0.0:{PORT}"
    """The port from which devices are asked and at which notifications come."""
    discovery: bool = False
    """Ask everybody every ten minutes who is there; those that are not configured are listed."""


class DeviceOptions(Options):
    address: Annotated[str, AfterValidator(_address)]
    """Host, and its port where that is not 47808; of a device behind a router, the router's."""
    network: int | None = Field(default=None, ge=1, le=65534)
    mac: str = Field(default="", pattern=r"^([0-9A-Fa-f]{2}){0,7}$")
    """Behind a router: network number and address there, in hex (``05`` for MS/TP station 5)."""
    instance: int | None = Field(default=None, ge=0, le=0x3FFFFE)
    """The device object's number, which its notifications carry."""
    max_objects: int = Field(default=20, ge=1, le=100)
    """The most properties in one question."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if (self.network is None) != (self.mac == ""):
            raise ValueError("network and mac go together: a device behind a router")
        return self

    @property
    def station(self) -> Station | None:
        return None if self.network is None else Station(self.network, bytes.fromhex(self.mac))


class PointOptions(Options):
    object: Annotated[str, AfterValidator(_object)]
    property: Annotated[int | str, AfterValidator(_property)] = "present-value"
    index: int | None = Field(default=None, ge=0, le=65535)
    """Of an array: which element; 1 is the first."""
    scale: float = Field(default=1.0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)
    map: dict[Annotated[int | str, BeforeValidator(_key)], bool | str] = {}
    """A number, enumerated or boolean (0, 1) -> a state word, true or false."""
    other: bool | str | None = None
    """What *map* does not name."""
    bit: int | None = Field(default=None, ge=0, le=255)
    """Of a bit string; of status-flags 0 in alarm, 1 fault, 2 overridden, 3 out of service."""

    def wanted(self) -> Wanted:
        number = self.property if isinstance(self.property, int) else PROPERTIES[self.property]
        return Wanted(parse_object(self.object), number, self.index)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.other is not None and not self.map:
            raise ValueError("other needs map: what map does not name")
        if self.map and (self.bit is not None or (self.scale, self.offset) != (1.0, 0.0)):
            raise ValueError("map goes with neither bit nor scale and offset")
        return self
