"""What an agent's object is worth to a point.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from drivers.snmp.config import Oid, PointOptions, parse_oid, show_oid
from gateway.model import Reason, Value, ValueKind

Raw: TypeAlias = "int | bytes | Oid | Reason"
"""An integer, gauge, counter or time; octets; an object identifier; or why there is nothing."""

_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,9})?")
_TRUTH: dict[int | str, bool | str] = {1: True, 2: False}
"""TruthValue of RFC 2579: what a boolean means whose profile has no map."""
LONGEST_TEXT = 255


@dataclass(frozen=True, slots=True)
class Bound:
    """One variable binding of an answer or a notification."""

    oid: Oid
    raw: Raw


def value_of(raw: Raw, options: PointOptions, kind: ValueKind) -> Value | Reason:
    """A value of *kind*, or why there is none."""
    if isinstance(raw, Reason):
        return raw
    if isinstance(raw, int) and raw in options.no_value:
        return Reason.NO_VALUE
    if options.character is not None:
        return _flag(raw, options.character)
    if options.map or kind is ValueKind.BOOLEAN:
        return _mapped(raw, options)
    if kind is ValueKind.NUMBER:
        return _number(raw, options)
    return text_of(raw)


def holds(rows: list[Bound], wanted: Oid) -> bool:
    return any(row.raw == wanted for row in rows)


def text_of(raw: int | bytes | Oid) -> str:
    """For people; octets as UTF-8, or as GB 18030, in which Chinese switches keep their names."""
    if isinstance(raw, int):
        return str(raw)
    if isinstance(raw, tuple):
        return show_oid(raw)
    for encoding in ("utf-8", "gb18030"):
        try:
            text = raw.rstrip(b"\0").decode(encoding)
        except UnicodeDecodeError:
            continue
        return "".join(each if each.isprintable() else " " for each in text).strip()[:LONGEST_TEXT]
    return raw.hex()[:LONGEST_TEXT]


def _flag(raw: int | bytes | Oid, number: int) -> bool | Reason:
    if not isinstance(raw, bytes) or len(raw) < number:
        return Reason.NO_VALUE
    return {b"1": True, b"0": False}.get(raw[number - 1 : number], Reason.NO_VALUE)


def _mapped(raw: int | bytes | Oid, options: PointOptions) -> Value | Reason:
    words = options.map or _TRUTH
    key: int | str = raw if isinstance(raw, int) else text_of(raw)
    if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 18:
        key = int(key)
    found = words.get(key, options.other)
    return Reason.OUT_OF_RANGE if found is None else found


def _number(raw: int | bytes | Oid, options: PointOptions) -> float | int | Reason:
    """Some cards write numbers as text (``"23.5"``); anything else that is no integer is no number."""
    number = Decimal(raw) if isinstance(raw, int) else None
    if isinstance(raw, bytes) and _NUMBER.fullmatch(written := text_of(raw)):
        number = Decimal(written)
    if number is None:
        return Reason.NO_VALUE
    if (options.scale, options.offset) == (1.0, 0.0) and isinstance(raw, int):
        return raw
    return float(number * Decimal(str(options.scale)) + Decimal(str(options.offset)))


def wanted(options: PointOptions) -> Oid:
    """The object identifier of *contains*."""
    return parse_oid(options.contains or "")
