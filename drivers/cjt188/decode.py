"""Explains captured bytes: every frame in them, and what is broken between the frames."""

from __future__ import annotations

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.cjt188 import frame, items
from drivers.cjt188.frame import Frame, fault_at, find_frame
from drivers.cjt188.items import Layout, Part, Sort

_TYPES = (*range(0x10, 0x14), *range(0x20, 0x2A), *range(0x30, 0x50), frame.ANY_TYPE)
"""What may stand behind a start: the types of the standard, and those that meters were seen to use."""
_CLOCK_DI, _ADDRESS_DI = "A015", "A018"


def decode(data: bytes) -> Decoded:
    """Frames of either direction.  Stray bytes around frames are allowed, a damaged frame is a fault."""
    frames: list[DecodedFrame] = []
    fault: Fault | None = None
    at = 0
    while (found := find_frame(data, at)) is not None:
        each, start, end = found
        fault = fault or _damage(data, at, start)
        frames.append(explain(each))
        at = end
    fault = fault or _damage(data, at, len(data))
    if not frames and fault is None:
        fault = Fault("no_frame", "没有找到帧 no frame in these bytes", 0)
    return Decoded(tuple(frames), fault)


def _damage(data: bytes, start: int, end: int) -> Fault | None:
    """What is wrong with the first thing in data[start:end] that looks like a frame: a start and a type."""
    for at in range(start, end):
        cut_off = at + 1 >= len(data)
        if data[at] == frame.START and (cut_off or (at + 1 < end and data[at + 1] in _TYPES)):
            return fault_at(data, at)
    return None


def explain(each: Frame) -> DecodedFrame:
    error = None
    if each.refused:
        status = each.content.hex(" ").upper() or "-"
        error = Fault(f"{each.control:02X}", f"表计拒绝，状态 {status} / the meter refused; ST {status}")
    return DecodedFrame(
        direction="response" if each.is_answer else "request",
        address=each.address,
        function=f"{each.control:02X}",
        items=(Field("type", f"{each.type:02X}"), *_sequence(each), *(() if each.refused else _fields(each))),
        error=error,
    )


def _sequence(each: Frame) -> tuple[Field, ...]:
    return () if each.sequence is None else (Field("sequence", each.sequence),)


def _fields(each: Frame) -> tuple[Field, ...]:
    if each.sequence is None:
        return (Field("data", each.data.hex(" ").upper()),) if each.data else ()
    di, content = each.di, each.content
    layout = items.layout_of(di, content) if each.is_answer else None
    if layout is not None:
        return _answer(di, layout, content)
    if di == _CLOCK_DI and len(content) == Sort.CLOCK.size:
        return (Field(di, items.read_clock(content)),)
    if di == _ADDRESS_DI and len(content) == Sort.CLOCK.size:
        return (Field(di, content[::-1].hex().upper()),)
    return (Field(di, content.hex(" ").upper() or None),)


def _answer(di: str, layout: Layout, content: bytes) -> tuple[Field, ...]:
    unit_first = layout.unit_first(content)
    fields: list[Field] = []
    for at, part in layout.offsets.values():
        raw = content[at : at + part.sort.size]
        fields += _part(f"{di}.", part, raw, unit_first)
    return (*fields, Field("unit_first", True)) if unit_first else tuple(fields)


def _part(prefix: str, part: Part, raw: bytes, unit_first: bool) -> list[Field]:
    name = prefix + part.name
    if part.sort is Sort.QUANTITY:
        return [_quantity(name, part, raw, unit_first)]
    if part.sort is Sort.NUMBER:
        number = items.read_bcd(raw)
        return [Field(name, None if number is None else items.scaled(number, part.decimals), part.unit)]
    if part.sort is Sort.CLOCK:
        return [Field(name, items.read_clock(raw))]
    valve, battery = items.read_valve(raw), items.read_battery(raw)
    return [
        Field(name, items.read_status(raw)),
        Field(f"{prefix}valve", None if valve is None else ("open", "closed", "abnormal")[valve]),
        Field(f"{prefix}battery", None if battery is None else ("good", "low")[battery]),
    ]


def _quantity(name: str, part: Part, raw: bytes, unit_first: bool) -> Field:
    """In the meter's own unit; one of another dimension is no unit of this field."""
    number, code = items.read_quantity(raw, unit_first)
    unit = items.UNITS.get(code)
    if number is None or unit is None or unit.dimension != part.dimension:
        return Field(name, None)
    return Field(name, items.scaled(number * unit.times, part.decimals), unit.ucum)
