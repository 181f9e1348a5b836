"""What a gateway's devices and readings are called and how they look in Sparkplug B.  Pure."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.envelope import json_text, place_item
from gateway.model import Device, Point, Quality, ValueKind
from gateway.uplink.contract import Identity
from gateway.uplink.dialects.sparkplug_payload import DataType, Property, Scalar

REBIRTH = "Node Control/Rebirth"
# A folder of our own: a point may be called "alarm", and names must differ in more than case
# (tck-id-case-sensitivity-metric-names).
ALARM, EVENT, GAP = "Gateway/Alarm", "Gateway/Event", "Gateway/Gap"
HEALTH, REPLY, COMMAND = "Gateway/Health", "Gateway/Reply", "Gateway/Command"
EPOCH, CLOCK = "Properties/Epoch", "Properties/Clock"

GOOD, BAD, STALE = 192, 0, 500
"""The three codes there are (tck-id-payloads-propertyset-quality-value-value)."""
_QUALITY: Mapping[str, int] = {Quality.GOOD: GOOD, Quality.UNCERTAIN: STALE, Quality.BAD: BAD}
_DATATYPE: Mapping[ValueKind, DataType] = {ValueKind.NUMBER: DataType.DOUBLE, ValueKind.BOOLEAN: DataType.BOOLEAN}
"""JSON as the contract writes it."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric as births declare it.

    device: None for one of the node.  text: a value that never changes.  unknown: the quality while nothing is known.
    """

    alias: int
    name: str
    device: str | None
    datatype: DataType = DataType.STRING
    properties: Mapping[str, Property] = field(default_factory=dict)
    text: str | None = None
    unknown: int = GOOD


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one metric.  *reason*, *clock*: empty when there is nothing to say."""

    time_ms: int
    value: Scalar | None
    quality: int = GOOD
    reason: str = ""
    clock: str = ""

    @property
    def plain(self) -> bool:
        return self.quality == GOOD and not self.clock


def declare(identity: Identity, devices: Sequence[Device]) -> Iterator[Declared]:
    """All metrics of the node and of its devices.  Aliases stay the same as long as the configuration does."""
    aliases = itertools.count(1)
    own = {
        "Site": identity.site,
        "Version": identity.version,
        "Config": identity.config_digest,
        "Boot": identity.boot_id,
    }
    for name, text in own.items():
        yield Declared(next(aliases), f"Properties/{name}", None, text=text)
    for name in (EPOCH, CLOCK, ALARM, EVENT, GAP, HEALTH, REPLY, COMMAND):
        yield Declared(next(aliases), name, None)
    for device in devices:
        for point in device.points:
            datatype = _DATATYPE.get(point.kind, DataType.STRING)
            yield Declared(next(aliases), point.name, device.id, datatype, _point_properties(point), unknown=STALE)
        for name in (ALARM, EVENT, COMMAND):
            yield Declared(next(aliases), name, device.id)
        for name, text in _device_texts(device).items():
            yield Declared(next(aliases), f"Properties/{name}", device.id, text=text)


def _point_properties(point: Point) -> Mapping[str, Property]:
    found = {"nameZh": _string(point.label.zh), "nameEn": _string(point.label.en)}
    if point.unit is not None:
        found["engUnit"] = _string(point.unit)
    limits = {"engLow": point.minimum, "engHigh": point.maximum}
    found |= {key: Property(DataType.DOUBLE, float(limit)) for key, limit in limits.items() if limit is not None}
    if point.states:
        found["states"] = _string(",".join(point.states))
    if point.personal:
        found["personal"] = Property(DataType.BOOLEAN, True)
    return found


def _device_texts(device: Device) -> Mapping[str, str]:
    return {
        "Kind": device.kind,
        "NameZh": device.label.zh,
        "NameEn": device.label.en,
        "Protocol": device.protocol,
        "Place": json_text(place_item(device.place)),
    }


def reading(item: Mapping[str, Any], datatype: DataType) -> Sample:
    """*item*: a reading of an envelope.  A value of another type than the birth has promised becomes a bad one."""
    value, quality, reason = item["v"], _QUALITY.get(item["q"], STALE), item.get("r", "")
    if value is not None:
        value = _fitting(value, datatype)
        if value is None:
            quality, reason = BAD, "wrong_type"
    return Sample(item["t"], value, quality, reason, item.get("c", ""))


def _fitting(value: Any, datatype: DataType) -> Scalar | None:
    match datatype, value:
        case (DataType.BOOLEAN, bool()) | (DataType.STRING, str()):
            fitting: Scalar = value
            return fitting
        case DataType.DOUBLE, int() | float() if not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            return float(value)
        case _:
            return None


def birth_properties(metric: Declared, sample: Sample) -> Mapping[str, Property]:
    """A birth begins anew: what is not said is not so."""
    said = {key: item for key, item in properties(sample).items() if item.value is not None}
    return {**metric.properties, **said}


def properties(sample: Sample) -> Mapping[str, Property]:
    """All three, so that a good value takes back what an earlier one has said."""
    return {
        "Quality": Property(DataType.INT32, sample.quality),
        "Reason": _string(sample.reason or None),
        "Clock": _string(sample.clock or None),
    }


def _string(text: str | None) -> Property:
    return Property(DataType.STRING, text)
