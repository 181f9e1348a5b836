"""Explains captured bytes: every frame in them, and what is broken between the frames."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.gb26875 import frame
from drivers.gb26875.frame import Frame, fault_at, find_frame, local_time, text_of
from drivers.gb26875.records import Adu, Record, parse
from drivers.gb26875.reports import Heard, happening
from drivers.summed_frames import decoded
from gateway.model import Text

COMMANDS: Mapping[int, Text] = {
    frame.CONTROL: Text("控制命令", "control"),
    frame.SEND: Text("发送数据", "data"),
    frame.CONFIRM: Text("确认", "confirmation"),
    frame.REQUEST: Text("请求", "request"),
    frame.ANSWER: Text("应答", "answer"),
    frame.DENY: Text("否认", "refusal"),
}
_FROM_CENTRE = (frame.CONTROL, frame.CONFIRM, frame.REQUEST)


def decode(data: bytes) -> Decoded:
    """Frames of either direction.  Stray bytes around frames are allowed, a damaged frame is a fault."""
    return decoded(data, find_frame, explain, _damage)


def _damage(data: bytes, start: int, end: int) -> Fault | None:
    """What is wrong with the first thing in data[start:end] that looks like the beginning of a frame."""
    at = data.find(frame.START, start, end)
    return None if at < 0 else fault_at(data, at)


def explain(each: Frame) -> DecodedFrame:
    adu = parse(each.adu)
    time = local_time(each.time)
    error = Fault(f"{each.command:02X}", "对端否认 / refused") if each.command == frame.DENY else None
    return DecodedFrame(
        direction="request" if each.command in _FROM_CENTRE else "response",
        address=text_of(each.source),
        function=f"{each.command:02X}",
        items=(
            Field("command", _both(COMMANDS.get(each.command))),
            Field("serial", each.serial),
            Field("version", ".".join(str(part) for part in each.version)),
            Field("time", None if time is None else time.isoformat()),
            Field("destination", text_of(each.destination)),
            *(_adu(adu) if each.adu else ()),
        ),
        error=error,
    )


def _both(word: Text | None) -> str | None:
    return None if word is None else f"{word.zh} / {word.en}"


def _adu(adu: Adu) -> tuple[Field, ...]:
    items = [Field("type", adu.type), Field("count", adu.count)]
    if adu.odd:
        items.append(Field("odd", "与标准不符 / not as the standard says"))
    several = len(adu.records) > 1
    for at, record in enumerate(adu.records, 1):
        items += _record(f"{at}." if several else "", adu, record)
    return tuple(items)


def _record(prefix: str, adu: Adu, record: Record) -> list[Field]:
    """As the event that it becomes; a time that no gateway has heard yet stands as the device wrote it."""
    told = happening(adu, record, Heard(0, datetime.UTC))
    attributes = {**told.attributes, **told.personal}
    for known in ("device_time", "type", "count"):
        attributes.pop(known, None)
    unit = attributes.pop("unit", None)
    time = getattr(record, "time", None)
    items = [Field(prefix + "event", told.kind)]
    for name, value in attributes.items():
        items.append(Field(prefix + name, value, str(unit) if name == "value" and unit is not None else None))
    return [*items, *([] if time is None else [Field(prefix + "at", time.isoformat())])]
