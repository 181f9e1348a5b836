"""What a simulated meter's registers look like on the wire.  Pure.

Works from the formats' text, digit by digit, and shares nothing with the readers in formats.py but the table, so that a
fault in one cannot hide in the other; tests hold it against captured frames.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TypeAlias

from drivers.dlt645 import formats

SimValue: TypeAlias = Decimal | str | None
"""A number in the item's unit; digits from the high end for everything else (``YYMMDDhhmm`` as ``2606051022``,
``bits16`` as ``0050``, ``ascii6`` as its text); None for a register that holds no value."""

Values: TypeAlias = Callable[[str], SimValue]
"""Identifier -> its present value.  Raises LookupError for one that the meter does not have.

A part with a label is asked for as ``04000101.weekday``, tariff 2 of a freeze as ``05060101.t2``."""


def encode(di: str, item: formats.Item, values: Values) -> bytes:
    """The data of an answer.  Raises LookupError for what *values* lacks, ValueError for what cannot be said."""
    said = _encode_parts(di, item, values)
    for tariff in range(1, 64) if item.per_tariff else ():
        try:
            said += _encode_parts(f"{di}.t{tariff}", item, values)
        except LookupError:
            break
    return said


def _encode_parts(name: str, item: formats.Item, values: Values) -> bytes:
    names = (f"{name}.{part.label}" if part.label else name for part in item.parts)
    return b"".join(_encode_part(part, values(each)) for each, part in zip(names, item.parts, strict=True))


def _encode_part(part: formats.Part, value: SimValue) -> bytes:
    size = _size(part.format)
    if value is None:
        return b"\xff" * size
    if part.format.startswith("ascii"):
        return str(value).encode("ascii").rjust(size, b"\x00")[::-1]
    digits = value if isinstance(value, str) else _digits(part.format, value, part.signed)
    if len(digits) != 2 * size:
        raise ValueError(f"{value} does not fit into {part.format}")
    return bytes.fromhex(digits)[::-1]


def _size(format: str) -> int:  # noqa: A002
    if format.startswith("bits"):
        return int(format.removeprefix("bits")) // 8
    if format.startswith(("ascii", "hex")):
        return int(format.removeprefix("ascii").removeprefix("hex"))
    return len(format.replace(".", "")) // 2


def _digits(format: str, value: Decimal, signed: bool) -> str:  # noqa: A002
    """The value's digits without its point, filled up with zeros; a minus is 8 added to the first digit."""
    places = len(format.partition(".")[2])
    step = Decimal(1).scaleb(-places)
    digits = str(abs(value).quantize(step, ROUND_HALF_EVEN)).replace(".", "").zfill(2 * _size(format))
    if (signed and digits[0] > "7") or (value < 0 and not signed):
        raise ValueError(f"{value} cannot be said as {format}")
    return f"{int(digits[0]) + 8:X}{digits[1:]}" if value < 0 else digits
