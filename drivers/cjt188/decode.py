"""Explains captured bytes: every frame in them, and what is broken between the frames."""

from __future__ import annotations

from collections.abc import Mapping

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.cjt188 import frame, items
from drivers.cjt188.frame import Frame, find_frame
from drivers.cjt188.items import Layout, Part, Sort
from drivers.summed_frames import START, decoded

_TYPES = (*range(0x10, 0x14), *range(0x20, 0x2A), *range(0x30, 0x50), frame.ANY_TYPE)
"""What may stand behind a start: the types of the standard, and those that meters were seen to use."""
_WRITTEN: Mapping[str, int] = {frame.VALVE_DI: 1, frame.CLOCK_DI: 7, frame.REGISTER_DI: 5, frame.NEW_ADDRESS_DI: 7}
"""Identifiers that are written -> bytes of what is written; their answers hold the status."""
_COMMANDS: Mapping[str, str] = {"55": "open", "99": "close", "66": "open", "77": "close"}
"""Codes of a valve; the last two are some makers' own."""


def decode(data: bytes) -> Decoded:
    """Frames of either direction.  Stray bytes around frames are allowed, a damaged frame is a fault."""
    return decoded(data, find_frame, explain, _damage)


def _damage(data: bytes, start: int, end: int) -> Fault | None:
    """What is wrong with the first thing in data[start:end] that looks like a frame: a start and a type."""
    for at in range(start, end):
        cut_off = at + 1 >= len(data)
        if data[at] == START and (cut_off or (at + 1 < end and data[at + 1] in _TYPES)):
            return frame.SHAPE.fault_at(data, at)
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
    if di in _WRITTEN and each.is_answer and len(content) == Sort.STATUS.size:
        return tuple(_part(f"{di}.", Part("status", Sort.STATUS), content, unit_first=False))
    if di in _WRITTEN and len(content) == _WRITTEN[di]:
        return _told(di, content)
    return (Field(di, content.hex(" ").upper() or None),)


def _told(di: str, content: bytes) -> tuple[Field, ...]:
    """What a master writes: valve, clock, meter reading, address."""
    if di == frame.CLOCK_DI:
        return (Field(di, items.read_clock(content)),)
    if di == frame.NEW_ADDRESS_DI:
        return (Field(di, content[::-1].hex().upper()),)
    if di == frame.VALVE_DI:
        raw = content.hex().upper()
        return Field(di, raw), Field(f"{di}.valve", _COMMANDS.get(raw))
    number, code = items.read_quantity(content, unit_first=False)
    unit = items.UNITS.get(code)
    value = None if number is None or unit is None else items.scaled(number * unit.times, 2)
    return (Field(di, value, unit.ucum if unit else None),)


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
    if part.sort is Sort.STATUS:
        return [
            Field(name, items.read_status(raw)),
            Field(f"{prefix}valve", items.valve_text(raw)),
            Field(f"{prefix}battery", items.battery_text(raw)),
        ]
    return [Field(name, raw.hex(" ").upper())]


def _quantity(name: str, part: Part, raw: bytes, unit_first: bool) -> Field:
    """In the meter's own unit; one of another dimension is no unit of this field."""
    number, code = items.read_quantity(raw, unit_first)
    unit = items.UNITS.get(code)
    if number is None or unit is None or unit.dimension != part.dimension:
        return Field(name, None)
    return Field(name, items.scaled(number * unit.times, part.decimals), unit.ucum)
