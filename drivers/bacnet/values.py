"""What a property is worth to a point.  Pure."""

from __future__ import annotations

import math
from decimal import Decimal

from drivers.bacnet.apdu import Bits, Enumerated, Primitive, Refused
from drivers.bacnet.config import PointOptions
from gateway.model import Reason, Value, ValueKind

LONGEST_TEXT = 255


def value_of(raw: Primitive | Refused, options: PointOptions, kind: ValueKind) -> Value | Reason:
    """A value of *kind*, or why there is none."""
    if isinstance(raw, Refused):
        return Reason.REFUSED
    if raw is None:
        return Reason.NO_VALUE
    if options.bit is not None:
        return raw.bits[options.bit] if isinstance(raw, Bits) and options.bit < len(raw.bits) else Reason.NO_VALUE
    number = _number(raw)
    if options.map:
        return _mapped(number, options)
    if kind is ValueKind.TEXT:
        return _text(raw)
    if number is None or not math.isfinite(number):
        return Reason.NO_VALUE
    if kind is ValueKind.BOOLEAN:
        return bool(number) if number in (0, 1) else Reason.OUT_OF_RANGE
    return _scaled(number, options)


def _mapped(number: float | int | None, options: PointOptions) -> Value | Reason:
    whole = int(number) if number is not None and math.isfinite(number) and number == int(number) else None
    found = options.other if whole is None else options.map.get(whole, options.other)
    return Reason.OUT_OF_RANGE if found is None else found


def _scaled(number: float | int, options: PointOptions) -> float | int:
    if (options.scale, options.offset) == (1.0, 0.0):
        return number
    return float(Decimal(repr(number)) * Decimal(str(options.scale)) + Decimal(str(options.offset)))


def _number(raw: Primitive) -> float | int | None:
    if isinstance(raw, Enumerated):
        return raw.number
    return raw if isinstance(raw, int | float) else None


def _text(raw: Primitive) -> str:
    written = raw if isinstance(raw, str) else str(_number(raw) if _number(raw) is not None else "")
    return "".join(each if each.isprintable() else " " for each in written).strip()[:LONGEST_TEXT]
