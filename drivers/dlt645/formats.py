"""How the bytes of an answer read, and what an answer is made of.  Pure.

Formats are written as in the standard's tables: ``XXXXXX.XX`` is eight BCD digits with two decimals, ``YYMMDDhhmm``
a time.  On the wire every field comes lowest byte first.
Source: DL/T 645-2007, annex A.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from gateway.model import Value

_MOST_TARIFFS = 63
_TARIFF = re.compile(r"t([1-9][0-9]?)(?:\.(.+))?")


@dataclass(frozen=True, slots=True)
class Layout:
    """How many bytes a format takes, and its reader: None where the bytes hold no value (FF fill, broken BCD)."""

    size: int
    read: Callable[[bytes], Value | None]


@dataclass(frozen=True, slots=True)
class Flag:
    """Some bits of a status word that have a name."""

    name: str
    lowest: int
    states: tuple[str, ...] = ("no", "yes")
    """A word for each number the bits can be; a number behind the last word is reserved."""
    width: int = 1

    def number(self, word: Value) -> int:
        """*word*: as read_word() gives it."""
        return int(str(word), 16) >> self.lowest & ((1 << self.width) - 1)

    def read(self, word: Value) -> str:
        number = self.number(word)
        return self.states[number] if number < len(self.states) else f"reserved {number}"


@dataclass(frozen=True, slots=True)
class Part:
    """One value inside the answer to one identifier."""

    format: str
    unit: str | None = None
    signed: bool = False
    """The top bit of the highest byte says minus, where the format is numeric."""
    label: str = ""
    """What tells it from the answer's main value, whose label is empty."""
    flags: tuple[Flag, ...] = ()
    """Of a status word: what its bits mean."""

    @property
    def layout(self) -> Layout:
        return layout(self.format, self.signed)


@dataclass(frozen=True, slots=True)
class Item:
    """What one identifier answers, its parts in the order of the wire."""

    name: str
    parts: tuple[Part, ...]
    per_tariff: bool = False
    """The parts come again for each tariff that the meter has: total, tariff 1 (``t1``), tariff 2 ..."""

    @property
    def size(self) -> int:
        """Bytes of the parts once."""
        return sum(part.layout.size for part in self.parts)

    @property
    def main(self) -> tuple[int, Part]:
        """The part without a label, and the offset at which it begins."""
        return self.find("")

    def fits(self, size: int) -> bool:
        """Whether an answer may have *size* bytes."""
        times, rest = divmod(size, self.size)
        return rest == 0 and (times == 1 or (self.per_tariff and 1 < times <= 1 + _MOST_TARIFFS))

    def find(self, label: str) -> tuple[int, Part]:
        """The part called *label* and its offset: ``time``, ``t2``, ``t2.time``.  Raises LookupError."""
        offset, tariff = 0, _TARIFF.fullmatch(label) if self.per_tariff else None
        if tariff is not None and int(tariff[1]) <= _MOST_TARIFFS:
            offset, label = int(tariff[1]) * self.size, tariff[2] or ""
        for part in self.parts:
            if part.label == label:
                return offset, part
            offset += part.layout.size
        raise LookupError(label)

    def labels(self) -> list[str]:
        """What find() knows by name; the tariffs of the usual four."""
        own = [part.label for part in self.parts]
        tariffs = [_joined(f"t{n}", label) for n in range(1, 5) for label in own] if self.per_tariff else []
        return [label for label in (*own, *tariffs) if label]

    def split(self, data: bytes) -> Iterator[tuple[str, Part, bytes]]:
        """Label, part and bytes of everything in *data*, whose length fits(); the main value before its companions."""
        for start in range(0, len(data), self.size):
            found: list[tuple[str, Part, bytes]] = []
            prefix, at = f"t{start // self.size}" if start else "", start
            for part in self.parts:
                end = at + part.layout.size
                found.insert(len(found) if part.label else 0, (_joined(prefix, part.label), part, data[at:end]))
                at = end
            yield from found


@dataclass(frozen=True, slots=True)
class Block:
    """Identifiers that one identifier (FF in a place) reads together, in the order of the wire.

    A meter may answer with fewer members than there are (it has four tariffs, not sixty-three).
    """

    di: str
    members: tuple[str, ...]
    item: Item
    size: int
    """Bytes of one member."""
    separator: bytes = b""
    """What a meter may put between two members and behind the last (1997)."""


def split_block(found: Block, data: bytes) -> tuple[bytes, ...] | None:
    """The members' bytes, as many as the meter sent; None when *data* is not a whole number of members."""
    size = found.size
    members: list[bytes] = []
    at = 0
    while at < len(data):
        members.append(data[at : at + size])
        at += size
        if found.separator and data.startswith(found.separator, at):
            at += len(found.separator)
    whole = all(len(member) == size for member in members) and len(members) <= len(found.members)
    return tuple(members) if whole else None


def _joined(tariff: str, label: str) -> str:
    return ".".join(filter(None, (tariff, label)))


# ---------------------------------------------------------------------------------------------- formats


def layout(format: str, signed: bool = False) -> Layout:  # noqa: A002 -- the standard's own word
    """Raises ValueError for a format that is not known."""
    if format in _FORMATS:
        return _FORMATS[format]
    sized = _SIZED.fullmatch(format)
    if sized is not None:
        return Layout(int(sized[2]), read_ascii if sized[1] == "ascii" else read_hex)
    whole, point, decimals = format.partition(".")
    digits = len(whole) + len(decimals)
    if set(whole + decimals) != {"X"} or digits % 2 or digits > 16 or (point and not decimals):
        raise ValueError(f"{format}: not a format; an even number of X, at most 16, with or without a point")
    return Layout(digits // 2, partial(read_bcd, decimals=len(decimals), signed=signed))


def is_numeric(format: str) -> bool:  # noqa: A002
    return format.startswith("X")


def read_bcd(raw: bytes, decimals: int, signed: bool) -> float | int | None:
    """BCD, lowest pair first.  The division is exact to the last bit: both operands are whole numbers below 2**53."""
    digits = raw[::-1].hex()
    negative = signed and raw[-1] & 0x80
    if negative:
        digits = f"{raw[-1] & 0x7F:02x}{digits[2:]}"
    if not digits.isdecimal():
        return None
    number = -int(digits) if negative else int(digits)
    return number / 10**decimals if decimals else number


def read_digits(raw: bytes) -> str | None:
    """A number that is a name (an address): leading zeros belong to it."""
    digits = raw[::-1].hex()
    return digits if digits.isdecimal() else None


def read_stamp(raw: bytes, fields: str) -> str | None:
    """BCD date and time of day, in the order of *fields* (``YMDWhms``) from the high end, as ISO 8601 local time.

    None for what no calendar has: meters send zeros for an event that never was.
    """
    if not raw.hex().isdecimal():
        return None
    value = dict(zip(fields, (int(f"{byte:02x}") for byte in raw[::-1]), strict=True))
    try:
        date = datetime.date(2000 + value["Y"], value["M"], value["D"]).isoformat() if "Y" in value else ""
        time = datetime.time(value["h"], value["m"], value.get("s", 0)).isoformat() if "h" in value else ""
    except ValueError:
        return None
    return "T".join(filter(None, (date, time)))


def read_word(raw: bytes) -> str | None:
    """A status word as hex digits; all ones is fill."""
    return None if set(raw) == {0xFF} else raw[::-1].hex().upper()


def read_hex(raw: bytes) -> str | None:
    """Bytes whose meaning no source tells, high byte first."""
    return read_word(raw)


def read_ascii(raw: bytes) -> str | None:
    text = raw[::-1].strip(b"\x00 ")
    return text.decode("ascii") if text and all(0x20 <= byte < 0x7F for byte in text) else None


_SIZED = re.compile(r"(ascii|hex)([1-9][0-9]{0,2})")

_FORMATS = {
    "YYMMDDhhmm": Layout(5, partial(read_stamp, fields="YMDhm")),
    "YYMMDDhhmmss": Layout(6, partial(read_stamp, fields="YMDhms")),
    "YYMMDDWWhhmmss": Layout(7, partial(read_stamp, fields="YMDWhms")),
    "YYMMDD": Layout(3, partial(read_stamp, fields="YMD")),
    "hhmmss": Layout(3, partial(read_stamp, fields="hms")),
    "N" * 8: Layout(4, read_digits),
    "N" * 12: Layout(6, read_digits),
    "DDhh": Layout(2, read_digits),
    "bits8": Layout(1, read_word),
    "bits16": Layout(2, read_word),
}

COMMON = (
    *("XXXXXX.XX", "XXXXXXX.X", "XXXXXXXX", "XXXX.XXXX", "XX.XXXX", "XXX.XXX", "XXXX.XX", "XXXXXX"),
    *("XXX.X", "XX.XX", "X.XXX", "XXXX", "XX", *_FORMATS, "ascii6"),
)
"""Formats worth trying on bytes whose format is in doubt."""
