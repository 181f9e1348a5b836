"""What the data of a meter mean: identifier -> name, format, unit; and how each format reads.  Pure.

Formats are written as in the standard's tables: ``XXXXXX.XX`` is eight BCD digits with two decimals, ``YYMMDDhhmm``
a time.  On the wire every field comes lowest byte first.
Source: DL/T 645-2007, annex A; DL/T 645-1997, annex A (2-byte identifiers).  Energy, voltage, current, power and
frequency are confirmed by captured frames (tests/vectors/dlt645.json); README.md lists what is not.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from gateway.model import Value

KWH, KVARH, KVAH = "kW.h", "kV.A{reactive}.h", "kV.A.h"
KW, KVAR, KVA = "kW", "kV.A{reactive}", "kV.A"
"""UCUM.  It knows no var; the annotation keeps reactive from apparent power."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How many bytes a format takes, and its reader: None where the bytes hold no value (FF fill, broken BCD)."""

    size: int
    read: Callable[[bytes], Value | None]


@dataclass(frozen=True, slots=True)
class Part:
    """One value inside the answer to one identifier."""

    format: str
    unit: str | None = None
    signed: bool = False
    """The top bit of the highest byte says minus, where the format is numeric."""
    label: str = ""
    """What tells it from the answer's main value, whose label is empty."""

    @property
    def layout(self) -> Layout:
        return layout(self.format, self.signed)


@dataclass(frozen=True, slots=True)
class Item:
    """What one identifier answers, its parts in the order of the wire."""

    name: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        return sum(part.layout.size for part in self.parts)

    @property
    def main(self) -> tuple[int, Part]:
        """The part without a label, and the offset at which it begins."""
        offset = 0
        for part in self.parts:
            if not part.label:
                return offset, part
            offset += part.layout.size
        raise ValueError(self.name)


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
    """What a meter may put between two members (1997)."""


# ---------------------------------------------------------------------------------------------- formats


def layout(format: str, signed: bool = False) -> Layout:  # noqa: A002 -- the standard's own word
    """Raises ValueError for a format that is not known."""
    if format in _FORMATS:
        return _FORMATS[format]
    whole, point, decimals = format.partition(".")
    digits = len(whole) + len(decimals)
    if set(whole + decimals) != {"X"} or digits % 2 or digits > 16 or (point and not decimals):
        raise ValueError(f"{format}: not a format; an even number of X, at most 16, with or without a point")
    return Layout(digits // 2, partial(read_bcd, decimals=len(decimals), signed=signed))


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
    """BCD date and time of day, in the order of *fields* (``YMDhms``) from the high end, as ISO 8601 local time.

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


def read_ascii(raw: bytes) -> str | None:
    text = raw[::-1].strip(b"\x00 ")
    return text.decode("ascii") if text and all(0x20 <= byte < 0x7F for byte in text) else None


_FORMATS = {
    "YYMMDDhhmm": Layout(5, partial(read_stamp, fields="YMDhm")),
    "YYMMDDhhmmss": Layout(6, partial(read_stamp, fields="YMDhms")),
    "YYMMDD": Layout(3, partial(read_stamp, fields="YMD")),
    "hhmmss": Layout(3, partial(read_stamp, fields="hms")),
    "N" * 12: Layout(6, read_digits),
    "bits8": Layout(1, read_word),
    "bits16": Layout(2, read_word),
    "ascii6": Layout(6, read_ascii),
}


# ---------------------------------------------------------------------------------------------- identifiers


def lookup(di: str) -> Item | None:
    """The item of an identifier, eight (2007) or four (1997) hex digits in capitals; None when it is not known."""
    if len(di) == 4:
        return _ITEMS_1997.get(di)
    group, kind, tariff, day = bytes.fromhex(di)
    if group in (0x00, 0x01) and day <= _LAST_DAY and tariff <= _tariffs_of(kind):
        return (_ENERGY if group == 0 else _DEMAND).get(kind)
    return _ITEMS.get(di)


def block(di: str) -> Block | None:
    """The block that an identifier with FF in it stands for."""
    if len(di) == 4:
        return _BLOCKS_1997.get(di)
    group, kind, tariff, day = bytes.fromhex(di)
    item = lookup(f"{group:02X}{kind:02X}00{day:02X}") if group in (0x00, 0x01) and tariff == 0xFF else None
    if item is None:
        return _BLOCKS.get(di)
    tariffs = range(_tariffs_of(kind) + 1)
    return Block(di, tuple(f"{group:02X}{kind:02X}{tariff:02X}{day:02X}" for tariff in tariffs), item, item.size)


def block_of(di: str) -> Block | None:
    """The block that *di* (2007) is a member of."""
    for candidate in (f"{di[:4]}FF{di[6:]}", f"{di[:6]}FF"):
        found = block(candidate)
        if found is not None and di in found.members:
            return found
    return None


_LAST_DAY = 0x0C
"""Settlement days kept: 01 the last one, 0C the twelfth last."""


def _tariffs_of(kind: int) -> int:
    return 0x3F if kind <= 0x0A else 0  # energies of single phases have no tariffs


def _one(name: str, format: str, unit: str | None = None, signed: bool = False) -> Item:  # noqa: A002
    return Item(name, (Part(format, unit, signed),))


def _energies() -> dict[int, Item]:
    def energy(name: str, unit: str, signed: bool = False) -> Item:
        return _one(name, "XXXXXX.XX", unit, signed)

    table = {0x00: energy("combined active energy", KWH, signed=True)}
    for first, phase in ((0x01, ""), (0x15, ", phase A"), (0x29, ", phase B"), (0x3D, ", phase C")):
        table[first] = energy(f"forward active energy{phase}", KWH)
        table[first + 1] = energy(f"reverse active energy{phase}", KWH)
        table[first + 2] = energy(f"combined reactive energy 1{phase}", KVARH, signed=True)
        table[first + 3] = energy(f"combined reactive energy 2{phase}", KVARH, signed=True)
        for quadrant in range(1, 5):
            table[first + 3 + quadrant] = energy(f"reactive energy, quadrant {quadrant}{phase}", KVARH)
        table[first + 8] = energy(f"forward apparent energy{phase}", KVAH)
        table[first + 9] = energy(f"reverse apparent energy{phase}", KVAH)
    return table


_ENERGY = _energies()

_POWER_OF = {KWH: KW, KVARH: KVAR, KVAH: KVA}

_DEMAND = {
    kind: Item(
        energy.name.replace("energy", "maximum demand"),
        (
            Part("XX.XXXX", _POWER_OF[energy.parts[0].unit or ""], energy.parts[0].signed),
            Part("YYMMDDhhmm", label="time"),
        ),
    )
    for kind, energy in _ENERGY.items()
    if kind != 0x00
}

_PHASED = {
    0x01: (_one("voltage", "XXX.X", "V"), range(1, 4)),
    0x02: (_one("current", "XXX.XXX", "A", signed=True), range(1, 4)),
    0x03: (_one("active power", "XX.XXXX", KW, signed=True), range(4)),
    0x04: (_one("reactive power", "XX.XXXX", KVAR, signed=True), range(4)),
    0x05: (_one("apparent power", "XX.XXXX", KVA, signed=True), range(4)),
    0x06: (_one("power factor", "X.XXX", None, signed=True), range(4)),
}
"""DI2 -> item, and the DI1 there are: 0 total, 1 to 3 phases A to C."""

_STATUS = _one("run status word", "bits16")

_ITEMS = {
    **{f"02{kind:02X}{phase:02X}00": item for kind, (item, phases) in _PHASED.items() for phase in phases},
    "02800001": _one("neutral current", "XXX.XXX", "A", signed=True),
    "02800002": _one("frequency", "XX.XX", "Hz"),
    "02800004": _one("present active demand", "XX.XXXX", KW, signed=True),
    "02800007": _one("temperature inside the meter", "XXX.X", "Cel", signed=True),
    "02800008": _one("clock battery voltage", "XX.XX", "V"),
    "02800009": _one("backup battery voltage", "XX.XX", "V"),
    "04000101": Item("date and weekday, 0 is Sunday", (Part("XX", label="weekday"), Part("YYMMDD"))),
    "04000102": _one("time of day", "hhmmss"),
    "04000401": _one("communication address", "N" * 12),
    "04000402": _one("meter number", "N" * 12),
    "04000404": _one("rated voltage", "ascii6"),
    "04000405": _one("rated current", "ascii6"),
    **{f"040005{n:02X}": _STATUS for n in range(1, 8)},
}


def _fixed_block(di: str, members: Iterable[str], item: Item, separator: bytes = b"") -> Block:
    return Block(di, tuple(members), item, item.size, separator)


_BLOCKS = {
    found.di: found
    for found in (
        *(
            _fixed_block(f"02{kind:02X}FF00", (f"02{kind:02X}{phase:02X}00" for phase in phases), item)
            for kind, (item, phases) in _PHASED.items()
        ),
        _fixed_block("040005FF", (f"040005{n:02X}" for n in range(1, 8)), _STATUS),
    )
}

_PHASED_1997 = {
    "901": (_ENERGY[0x01], range(5)),
    "902": (_ENERGY[0x02], range(5)),
    "B61": (_one("voltage", "XXXX", "V"), range(1, 4)),
    "B62": (_one("current", "XX.XX", "A"), range(1, 4)),
    "B63": (_one("active power", "XX.XXXX", KW), range(4)),
    "B65": (_one("power factor", "X.XXX"), range(4)),
}

_ITEMS_1997 = {
    **{f"{prefix}{n}": item for prefix, (item, numbers) in _PHASED_1997.items() for n in numbers},
    "C010": Item("date and weekday", (Part("XX", label="weekday"), Part("YYMMDD"))),
    "C011": _one("time of day", "hhmmss"),
    "C020": _one("run status", "bits8"),
    "C032": _one("meter number", "N" * 12),
}

_BLOCKS_1997 = {
    f"{prefix}F": _fixed_block(f"{prefix}F", (f"{prefix}{n}" for n in numbers), item, separator=b"\xaa")
    for prefix, (item, numbers) in _PHASED_1997.items()
}


# ---------------------------------------------------------------------------------------------- answers


def split_block(found: Block, data: bytes) -> tuple[bytes, ...] | None:
    """The members' bytes, as many as the meter sent; None when *data* is not a whole number of members."""
    size = found.size
    members: list[bytes] = []
    at = 0
    while at < len(data):
        if members and found.separator and data.startswith(found.separator, at):
            at += len(found.separator)
        members.append(data[at : at + size])
        at += size
    whole = all(len(member) == size for member in members) and len(members) <= len(found.members)
    return tuple(members) if whole else None
