"""The bytes of one field, in every way they could be meant: for a person who finds a reading strange.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

from drivers.base import Field
from drivers.cjt188 import frame, items
from drivers.cjt188.frame import Frame, find_frame
from drivers.cjt188.items import Layout, Part, Sort


def interpret(received: bytes, address: str, di: str, name: str) -> Sequence[Field]:
    """What the answer of *address* among *received* says of field *name* under *di*; empty where there is none."""
    answer = _answer(received, address, di)
    if answer is None:
        return ()
    if answer.refused:
        return (Field("refused", answer.content.hex(" ").upper() or "-"),)
    head = _identifier(answer)
    layout = items.layout_of(di, answer.content)
    if layout is None or name not in layout.offsets:
        return (*head, Field("length", len(answer.content)), Field("raw", answer.content.hex(" ").upper()))
    at, part = layout.offsets[name]
    raw = answer.content[at : at + part.sort.size]
    return (*head, Field("raw", raw.hex(" ").upper()), *_readings(layout, part, raw, answer.content))


def _answer(received: bytes, address: str, di: str) -> Frame | None:
    found = find_frame(received)
    while found is not None:
        each = found[0]
        if each.is_answer and address in (frame.WILDCARD, each.address) and (each.refused or each.di == di):
            return each
        found = find_frame(received, found[1] + 1)
    return None


def _identifier(answer: Frame) -> tuple[Field, ...]:
    """Both ways to read the two bytes; the one that there is, is taken."""
    pair = answer.data[:2]
    taken = "high_first" if pair.hex().upper() == answer.di else "low_first"
    return (
        Field("di.high_first", pair.hex().upper()),
        Field("di.low_first", pair[::-1].hex().upper()),
        Field("di.taken", taken),
    )


def _readings(layout: Layout, part: Part, raw: bytes, content: bytes) -> tuple[Field, ...]:
    if part.sort is Sort.QUANTITY:
        taken = "unit_first" if layout.unit_first(content) else "unit_behind"
        return (
            *_quantity("unit_behind", part, raw, unit_first=False),
            *_quantity("unit_first", part, raw, unit_first=True),
            Field("taken", taken),
        )
    digits = Field("digits", raw[::-1].hex().upper())
    if part.sort is Sort.NUMBER:
        number = items.read_bcd(raw)
        return digits, Field("value", None if number is None else items.scaled(number, part.decimals), part.unit)
    if part.sort is Sort.CLOCK:
        return digits, Field("value", items.read_clock(raw))
    if part.sort is Sort.STATUS:
        bits = (Field(f"bits.{8 * n}", f"{byte:08b}") for n, byte in enumerate(raw))
        return (*bits, Field("valve", items.valve_text(raw)), Field("battery", items.battery_text(raw)))
    return (digits,)


def _quantity(way: str, part: Part, raw: bytes, unit_first: bool) -> tuple[Field, ...]:
    """The digits as they stand, the unit's code, and the value where the unit is known (of whatever dimension)."""
    number, code = items.read_quantity(raw, unit_first)
    digits = (raw[1:] if unit_first else raw[:4])[::-1].hex().upper()
    unit = items.UNITS.get(code)
    value = None if number is None or unit is None else items.scaled(number * unit.times, part.decimals)
    return (
        Field(f"{way}.digits", digits),
        Field(f"{way}.unit", f"{code:02X}"),
        Field(f"{way}.value", value, unit.ucum if unit else None),
    )
