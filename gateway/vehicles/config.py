"""The section ``vehicles:`` of site.yaml.

    vehicles:
      key_file: plates.key
      lists: [lists/residents.yaml, lists/visitors.yaml, lists/denied.yaml]
      areas: {garage: {capacity: 320}}
      gates:
      - {camera: cam-north-in, gate: north, area: garage, way: enter, listed_only: true}
      - {camera: cam-north-out, gate: north, area: garage, way: leave}
      - {camera: cam-south, gate: south, area: garage, ways: {down: enter, up: leave}}
      overstay: {visitor: 24 h}

Whether each camera is a device of the site is for whoever loads the section to see.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from gateway.vehicles.core import Gate, Settings, Way
from gateway.vehicles.lists import Word

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|min|h|d)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def _duration(text: object) -> float:
    """As everywhere in site.yaml; the models of gateway/config cannot be imported by a section that they contain."""
    if isinstance(text, str) and len(text) < 50 and not _PART.sub("", text).strip() and (parts := _PART.findall(text)):
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    raise ValueError("duration")


Duration = Annotated[
    float,
    Field(gt=0, le=3650 * 86400),
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "examples": ["30s", "24 h", "30 d"]}),
]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""Of areas: parts of points' names."""
DeviceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,48}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AreaModel(_Model):
    capacity: Annotated[int, Field(ge=1, le=100_000)] | None = None


class GateModel(_Model):
    camera: DeviceId
    gate: DeviceId
    area: Name
    way: Literal["enter", "leave"] | None = None
    ways: dict[Annotated[str, Field(max_length=24)], Literal["enter", "leave"]] = {}
    """For a camera that sees both ways: its word for a direction (``up``, ``forward``) -> which way that is."""
    listed_only: bool = False
    """A barrier keeps out who is on no list: such a vehicle has not entered."""

    @model_validator(mode="after")
    def _one_way_or_both(self) -> Self:
        if (self.way is None) != bool(self.ways):
            raise ValueError("way 与 ways 写且只写一个 / give either way or ways")
        return self


class OverstayModel(_Model):
    allow: Duration | None = None
    visitor: Duration | None = None
    expired: Duration | None = None
    unknown: Duration | None = None


class VehiclesModel(_Model):
    key_file: Path
    """32 random bytes, made by ``gateway plates key``."""
    lists: list[Path] = []
    areas: Annotated[dict[Name, AreaModel], Field(min_length=1)]
    gates: Annotated[list[GateModel], Field(min_length=1)]
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.8
    dedupe: Duration = 30.0
    overstay: OverstayModel = OverstayModel()
    forget: Duration = 30 * 86400.0
    most: Annotated[int, Field(ge=100, le=100_000)] = 20_000

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        cameras = [gate.camera for gate in self.gates]
        if len(set(cameras)) < len(cameras):
            raise ValueError("同一相机出现两次 / the same camera twice")
        unknown = sorted({gate.area for gate in self.gates} - set(self.areas))
        if unknown:
            raise ValueError(f"areas 中没有 {unknown[0]} / no such area: {unknown[0]}")
        return self

    def settings(self) -> Settings:
        gates = {
            each.camera: Gate(
                each.gate,
                each.area,
                None if each.way is None else Way(each.way),
                {word: Way(way) for word, way in each.ways.items()},
                each.listed_only,
            )
            for each in self.gates
        }
        limits = ((Word(word), seconds) for word, seconds in self.overstay.model_dump().items() if seconds is not None)
        return Settings(
            gates,
            {name: area.capacity for name, area in self.areas.items()},
            self.min_confidence,
            round(self.dedupe * 1000),
            {word: round(seconds * 1000) for word, seconds in limits},
            round(self.forget * 1000),
            self.most,
        )
