"""What a record becomes for the core: happenings and analog readings.  Pure.

Times: a device's clock is believed where it is within five minutes of the gateway's; otherwise the time is when it was
heard, and what the device said stands beside it (``device_time``).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.base import Happening
from drivers.gb26875 import tables
from drivers.gb26875.records import (
    Adu,
    Analog,
    ComponentState,
    DeviceState,
    Info,
    Operation,
    Record,
    SystemState,
    address_parts,
)
from gateway.model import Value

BELIEVED_S = 300.0


@dataclass(frozen=True, slots=True)
class Heard:
    """When a frame was heard, and how its device tells time."""

    now_ms: int
    zone: datetime.tzinfo
    frame_time: datetime.datetime | None = None

    def when(self, time: datetime.datetime | None) -> tuple[int, Mapping[str, Value | None]]:
        """The instant, and what a clock that is not believed has said."""
        told = time or self.frame_time
        if told is None:
            return self.now_ms, {}
        told_ms = round(told.replace(tzinfo=self.zone).timestamp() * 1000)
        if abs(told_ms - self.now_ms) <= BELIEVED_S * 1000:
            return told_ms, {}
        return self.now_ms, {"device_time": told.isoformat()}


def happening(adu: Adu, record: Record, heard: Heard) -> Happening:
    """Every record is one; which of them are worth telling is the hub's to say."""
    if isinstance(record, SystemState):
        attributes = {**_system(record.system_type, record.system_address), **_words(record.state, tables.SYSTEM_BITS)}
        return _made("fire.system", record.time, attributes, heard)
    if isinstance(record, ComponentState):
        attributes = {**_component(record), **_words(record.state, tables.COMPONENT_BITS), **_text(record)}
        return _made("fire.component", record.time, attributes, heard)
    if isinstance(record, Analog):
        return _made("fire.analog", record.time, {**_component(record), **_quantity(record)}, heard)
    if isinstance(record, Operation):
        return _operation(record, heard)
    if isinstance(record, DeviceState):
        return _made("fire.transmitter", record.time, _words(record.state, tables.DEVICE_BITS), heard)
    if isinstance(record, Info):
        return _made("fire.info", record.time, {"what": record.what, "text": record.text}, heard)
    attributes = {"type": adu.type, "count": adu.count, "text": record.text, "data": record.data.hex().upper()}
    return _made("fire.raw", None, attributes, heard)


def scaled(raw: int, step: float) -> float:
    """A value without the digits that binary fractions add."""
    return round(raw * step, 6)


def _made(
    kind: str,
    time: datetime.datetime | None,
    attributes: Mapping[str, Value | None],
    heard: Heard,
    personal: Mapping[str, str] | None = None,
) -> Happening:
    time_ms, told = heard.when(time)
    return Happening(kind, time_ms, {**attributes, **told}, personal or {})


def _system(kind: int | None, address: int | None) -> dict[str, Value | None]:
    if kind is None:
        return {"origin": "transmitter"}
    word = tables.named(tables.SYSTEMS, kind)
    return {
        "origin": "panel",
        "system": word.en,
        "system_zh": word.zh,
        "system_type": kind,
        "system_address": address,
    }


def _component(record: ComponentState | Analog) -> dict[str, Value | None]:
    word = tables.named(tables.COMPONENTS, record.component_type)
    loop, number = address_parts(record.address)
    return {
        **_system(record.system_type, record.system_address),
        "component": word.en,
        "component_zh": word.zh,
        "component_type": record.component_type,
        "loop": loop,
        "number": number,
    }


def _words(word: int, names: tuple[str, ...]) -> dict[str, Value | None]:
    said = tables.bits(word, names)
    return {
        "state": " ".join(said),
        "state_zh": _in_chinese(said),
        "state_code": word,
    }


def _in_chinese(names: Sequence[str]) -> str:
    return "、".join(tables.WORDS[name].zh if name in tables.WORDS else name for name in names)


def _text(record: ComponentState) -> dict[str, Value | None]:
    told: dict[str, Value | None] = {"text": record.text}
    if record.tags:
        told["tags"] = " ".join(tag.hex().upper() for tag in record.tags)
    elif record.raw_text:
        told["text_data"] = record.raw_text.hex().upper()
    return told


def _quantity(record: Analog) -> dict[str, Value | None]:
    quantity = tables.ANALOGS.get(record.analog_type)
    told: dict[str, Value | None] = {"analog_type": record.analog_type, "raw": record.raw}
    if quantity is not None:
        value = scaled(record.raw, quantity.step)
        told |= {"quantity": quantity.name.en, "quantity_zh": quantity.name.zh, "value": value, "unit": quantity.unit}
    return told


def _operation(record: Operation, heard: Heard) -> Happening:
    said = tables.bits(record.bits, tables.OPERATION_BITS)
    attributes = {
        **_system(record.system_type, record.system_address),
        "operation": " ".join(said),
        "operation_zh": _in_chinese(said),
    }
    return _made("fire.operation", record.time, attributes, heard, {"who": str(record.operator)})
