"""Messages in two languages.  What may stand in braces:

{where} {held}          the place; how long the condition has been true
{value} {usual}         what the condition measures, and what usual() or same_hour() in it says
{silent} {age}          how long nothing, or nothing good, has been heard
{limit} {point}         a named value; a point as the rule names it
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gateway.model import Device, Place, Point, PointId, Text, Value
from rules.check import Source
from rules.faults import RuleFault, in_text
from rules.program import Program, Slot
from rules.units import Unit, of_point

_CLOCKS = {Source.SILENT: "silent", Source.AGE: "age"}
RESERVED = ("where", "held", "value", "usual", *_CLOCKS.values())
_HOLE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Hole:
    name: str
    start: int
    end: int


Template: TypeAlias = tuple[str | Hole, ...]


def parse_template(text: str) -> tuple[Template, tuple[RuleFault, ...]]:
    parts: list[str | Hole] = []
    faults: list[RuleFault] = []
    at = 0
    for match in _HOLE.finditer(text):
        parts += [text[at : match.start()], Hole(match[1].strip(), match.start(), match.end())]
        at = match.end()
    parts.append(text[at:])
    stray = re.search(r"[{}]", _HOLE.sub(lambda match: " " * len(match[0]), text))
    if stray:
        zh, en = "花括号不成对", "a brace without its partner"
        faults.append(in_text("E-SYNTAX", stray.start(), stray.end(), zh, en))
    return tuple(part for part in parts if part), tuple(faults)


def holes(template: Template) -> tuple[Hole, ...]:
    """The places where points and named values are shown."""
    return tuple(part for part in template if isinstance(part, Hole) and part.name not in RESERVED)


def render(template: Template, texts: Mapping[str, str]) -> str:
    return "".join(part if isinstance(part, str) else texts.get(part.name, "?") for part in template)


def where(place: Place, label: Text | None) -> Text:
    """``B7 2 12 kitchen detector``: the places as the site writes them, from the large to the small."""
    levels = [level for level in (place.building, place.unit, place.floor, place.room) if level]
    if label is None:
        return Text(" ".join(levels), " ".join(levels))
    return Text(" ".join([*levels, label.zh]), " ".join([*levels, label.en]))


def where_is(device: Device | None) -> Text:
    return Text("", "") if device is None else where(device.place, device.label)


def spoken(program: Program, slots: Sequence[Slot], now_s: float) -> dict[str, Text]:
    """What the condition itself can tell: {value}, {usual}, {silent}, {age} and the named values.

    slots: as the program's inputs; those of silent() and age() have ``since_s``.
    """
    texts = {name: measured(measure.read(slots), measure.unit) for name, measure in program.measures.items()}
    for wanted, slot in zip(program.inputs, slots, strict=True):
        name, since_s = _CLOCKS.get(wanted.source), getattr(slot, "since_s", None)
        if name is not None and since_s is not None:
            texts.setdefault(name, duration(now_s - since_s))
    return texts


def shown(point: Point | None, value: Value | None) -> Text:
    """A value with its unit, as people write it."""
    unit = of_point(point.unit) if point is not None else None
    return _said(value, unit.symbol if unit is not None else (point.unit or "" if point is not None else ""))


def measured(value: Value | None, unit: Unit) -> Text:
    return _said(value, unit.symbol)


def _said(value: Value | None, symbol: str) -> Text:
    if value is None:
        return Text("未知", "unknown")
    if isinstance(value, bool):
        return Text("是", "yes") if value else Text("否", "no")
    if isinstance(value, str):
        return Text(value, value)
    number = f"{value:.6g} {symbol}".rstrip()
    return Text(number, number)


def duration(seconds: float) -> Text:
    """The two largest parts of a duration: ``2 h 5 min``."""
    whole = int(seconds + 0.5)
    parts = [
        (whole // 86400, "天", "d"),
        (whole // 3600 % 24, "小时", "h"),
        (whole // 60 % 60, "分", "min"),
        (whole % 60, "秒", "s"),
    ]
    first = next((index for index, part in enumerate(parts) if part[0]), len(parts) - 1)
    kept = [part for part in parts[first : first + 2] if part[0]] or [parts[-1]]
    return Text(" ".join(f"{count} {zh}" for count, zh, _ in kept), " ".join(f"{count} {en}" for count, _, en in kept))


Shown: TypeAlias = Mapping[str, PointId]
"""What the names in a message mean for one device."""
