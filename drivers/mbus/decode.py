"""Explains captured bytes: every frame in them, and what is broken between the frames or inside one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.mbus import frame, records
from drivers.mbus.frame import ACK, Frame, fault_at, find_frame
from drivers.mbus.records import Function, Header, Record, Telegram

_DATA_OFFSET = 7
_SELECTION = 8


def decode(data: bytes) -> Decoded:
    """Frames of either direction.  Stray bytes around frames are allowed, a damaged frame or record is a fault."""
    frames: list[DecodedFrame] = []
    fault: Fault | None = None
    at = 0
    while (found := find_frame(data, at)) is not None:
        each, start, end = found
        frames += _acknowledgements(data[at:start])
        fault = fault or _damage(data, at, start)
        explained, broken = explain(each)
        frames.append(explained)
        fault = fault or _shifted(broken, start + _DATA_OFFSET)
        at = end
    frames += _acknowledgements(data[at:])
    fault = fault or _damage(data, at, len(data))
    if not frames and fault is None:
        fault = Fault("no_frame", "没有找到帧 no frame in these bytes", 0)
    return Decoded(tuple(frames), fault)


def _acknowledgements(between: bytes) -> list[DecodedFrame]:
    """E5 is an answer where nothing but E5 stands between two frames; in noise it is noise."""
    if not between or between.strip(ACK):
        return []
    return [DecodedFrame("response", "", "E5") for _ in between]


def _damage(data: bytes, start: int, end: int) -> Fault | None:
    """What is wrong with the first thing in data[start:end] that looks like a long frame: two starts, 3 bytes apart."""
    for at in range(start, end):
        if data[at] != frame.LONG_START:
            continue
        fault = fault_at(data, at)
        if fault is not None and fault.code != "no_frame":
            return fault
    return None


def _shifted(fault: Fault | None, by: int) -> Fault | None:
    return None if fault is None else replace(fault, offset=(fault.offset or 0) + by)


def explain(each: Frame) -> tuple[DecodedFrame, Fault | None]:
    """The frame, and what is wrong with its data."""
    function = f"{each.control:02X}"
    if not each.is_response:
        direction = "request" if each.is_request else "response"
        return DecodedFrame(direction, str(each.address), function, _plain(each)), None
    telegram = records.parse(each.ci or 0, each.data)
    error = None
    if telegram.error is not None:
        error = Fault(f"{telegram.error:02X}", records.error_text(telegram.error))
    return DecodedFrame("response", str(each.address), function, _fields(telegram), error), telegram.fault


def _plain(each: Frame) -> tuple[Field, ...]:
    """The content of a frame that no meter sends: what a master selects or sets, else CI and data as hex."""
    if each.ci is None:
        return ()
    ci = Field("ci", f"{each.ci:02X}")
    if each.ci == frame.SELECT and len(each.data) == _SELECTION:
        return ci, Field("select", records.identification(records.VARIABLE, each.data))
    if each.ci == frame.SEND_DATA:
        sent = records.parse_sent(each.data)
        if sent.fault is None:
            return ci, *_records(sent.records)
    return (ci, Field("data", each.data.hex(" ").upper())) if each.data else (ci,)


def _fields(telegram: Telegram) -> tuple[Field, ...]:
    fields = (*_header(telegram.header), *_records(telegram.records))
    return (*fields, Field("more_follows", True)) if telegram.more_follows else fields


def _header(header: Header | None) -> tuple[Field, ...]:
    if header is None:
        return ()
    medium = None if header.medium is None else records.medium_text(header.medium)
    named = (
        Field("id", header.id),
        Field("manufacturer", header.manufacturer),
        Field("version", header.version),
        Field("medium", medium),
    )
    said = (field for field in named if field.value is not None)
    return (*said, Field("access", header.access), Field("status", f"{header.status:02X}"))


def _records(found: Sequence[Record]) -> tuple[Field, ...]:
    """One field a record; names are unique: ``volume s1 t0``, and ``#2`` behind the second of two alike."""
    seen: Counter[str] = Counter()
    fields: list[Field] = []
    for record in found:
        name = record_name(record)
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name} #{seen[name]}"
        value = f"error {record.error:02X}" if record.error is not None else record.value
        fields.append(Field(unique, value, record.unit))
    return tuple(fields)


def record_name(record: Record) -> str:
    """As a point must ask for it: ``volume s1 t0``."""
    parts = [record.quantity, record.modifier]
    if record.storage or record.tariff or record.subunit:
        parts += [f"s{record.storage}", f"t{record.tariff}"]
    if record.subunit:
        parts.append(f"u{record.subunit}")
    if record.function is not Function.INSTANTANEOUS:
        parts.append(record.function)
    return " ".join(filter(None, parts))
