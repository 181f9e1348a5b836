"""What the data of a meter mean: identifier -> name, format, unit.  Pure.

Source: DL/T 645-2007, annex A; DL/T 645-1997, annex A (2-byte identifiers).  Energy, voltage, current, power and
frequency are confirmed by captured frames (tests/vectors/dlt645.json); README.md lists what is not.
"""

from __future__ import annotations

from collections.abc import Iterable

from drivers.dlt645 import records, status
from drivers.dlt645.formats import Block, Item, Part

KWH, KVARH, KVAH = "kW.h", "kV.A{reactive}.h", "kV.A.h"
KW, KVAR, KVA = "kW", "kV.A{reactive}", "kV.A"
"""UCUM.  It knows no var; the annotation keeps reactive from apparent power."""


def lookup(di: str) -> Item | None:
    """The item of an identifier, eight (2007) or four (1997) hex digits in capitals; None when it is not known."""
    if len(di) == 4:
        return _ITEMS_1997.get(di)
    group, kind, tariff, number = bytes.fromhex(di)
    if group in (0x00, 0x01) and number <= _LAST_DAY and tariff <= _tariffs_of(kind):
        return (_ENERGY if group == 0 else _DEMAND).get(kind) or _ITEMS.get(di)
    if group == 0x05 and 0x01 <= number <= 0xFE:
        return records.freeze(kind, tariff, _ENERGY, _DEMAND)
    return _ITEMS.get(di)


def block(di: str) -> Block | None:
    """The block that an identifier with FF in it stands for."""
    if len(di) == 4:
        return _BLOCKS_1997.get(di)
    group, kind, tariff, day = bytes.fromhex(di)
    item = lookup(f"{group:02X}{kind:02X}0000") if group in (0x00, 0x01) and kind in _ENERGY else None
    if item is not None and tariff == 0xFF and day <= _LAST_DAY:
        tariffs = range(_tariffs_of(kind) + 1)
        return _fixed_block(di, (f"{di[:4]}{each:02X}{di[6:]}" for each in tariffs), item)
    if item is not None and tariff <= _tariffs_of(kind) and day == 0xFF:
        return _fixed_block(di, (f"{di[:6]}{each:02X}" for each in range(_LAST_DAY + 1)), item)
    return _BLOCKS.get(di)


def block_of(di: str) -> Block | None:
    """The block that a poll of *di* can be part of: its tariffs, its phases, all status words."""
    candidates = (f"{di[:3]}F",) if len(di) == 4 else (f"{di[:4]}FF{di[6:]}",) if di[:2] < "04" else (f"{di[:6]}FF",)
    for candidate in candidates:
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
    0x07: (_one("phase angle", "XXX.X", "deg"), range(1, 4)),
}
"""DI2 -> item, and the DI1 there are: 0 total, 1 to 3 phases A to C."""

_DATE = Item("date and weekday, 0 is Sunday", (Part("XX", label="weekday"), Part("YYMMDD")))
_TIME = _one("time of day", "hhmmss")
_METER_NUMBER = _one("meter number", "N" * 12)

_STATUS = {
    f"040005{number:02X}": Item(f"run status word {number}", (Part("bits16", flags=flags),))
    for number, flags in enumerate(status.FLAGS, 1)
}

_ITEMS = {
    **{f"02{kind:02X}{phase:02X}00": item for kind, (item, phases) in _PHASED.items() for phase in phases},
    "00900100": _one("remaining energy", "XXXXXX.XX", KWH),
    "00900101": _one("overdrawn energy", "XXXXXX.XX", KWH),
    "00900200": _one("remaining money, yuan", "XXXXXX.XX"),
    "00900201": _one("overdrawn money, yuan", "XXXXXX.XX"),
    "02800001": _one("neutral current", "XXX.XXX", "A", signed=True),
    "02800002": _one("frequency", "XX.XX", "Hz"),
    "02800004": _one("present active demand", "XX.XXXX", KW, signed=True),
    "02800007": _one("temperature inside the meter", "XXX.X", "Cel", signed=True),
    "02800008": _one("clock battery voltage", "XX.XX", "V"),
    "02800009": _one("backup battery voltage", "XX.XX", "V"),
    "0280000A": _one("clock battery working time", "XXXXXXXX", "min"),
    "04000101": _DATE,
    "04000102": _TIME,
    "04000103": _one("demand period", "XX", "min"),
    "04000104": _one("demand sliding step", "XX", "min"),
    "0400010C": _one("date, weekday and time", "YYMMDDWWhhmmss"),
    "04000401": _one("communication address", "N" * 12),
    "04000402": _METER_NUMBER,
    "04000403": _one("asset number", "ascii32"),
    "04000404": _one("rated voltage", "ascii6"),
    "04000405": _one("rated current", "ascii6"),
    "04000406": _one("maximum current", "ascii6"),
    "04000407": _one("active accuracy class", "ascii4"),
    "04000408": _one("reactive accuracy class", "ascii4"),
    "04000409": _one("active meter constant, impulses per kWh", "XXXXXX"),
    "0400040A": _one("reactive meter constant, impulses per kvarh", "XXXXXX"),
    "0400040B": _one("model", "ascii10"),
    "0400040C": _one("date of manufacture", "ascii10"),
    "0400040D": _one("protocol version", "ascii16"),
    **{f"04000B{n:02X}": _one(f"settlement day {n}, day and hour", "DDhh") for n in range(1, 4)},
    **_STATUS,
    **records.EVENTS,
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
        _fixed_block("040005FF", _STATUS, _one("run status word", "bits16")),
    )
}

_PHASED_1997 = {
    "901": (_ENERGY[0x01], range(5)),
    "902": (_ENERGY[0x02], range(5)),
    **{f"9{month}{kind}": (_ENERGY[kind], range(5)) for month in "48" for kind in (0x01, 0x02)},
    "B61": (_one("voltage", "XXXX", "V"), range(1, 4)),
    "B62": (_one("current", "XX.XX", "A"), range(1, 4)),
    "B63": (_one("active power", "XX.XXXX", KW), range(4)),
    "B64": (_one("reactive power", "XX.XX", KVAR), range(4)),
    "B65": (_one("power factor", "X.XXX"), range(4)),
}
"""Identifier without its last digit -> item, and the last digits there are: tariffs or phases.  94x and 98x: the same
registers one and two months ago.  90x and B61x are confirmed by captured frames; B62x to B65x by nothing at hand, so
that an answer of another length than these formats have is a fault, never a number."""

_ITEMS_1997 = {
    **{f"{prefix}{n}": item for prefix, (item, numbers) in _PHASED_1997.items() for n in numbers},
    "C010": _DATE,
    "C011": _TIME,
    "C020": _one("run status", "bits8"),
    "C030": _one("active meter constant, impulses per kWh", "XXXXXX"),
    "C032": _METER_NUMBER,
}

_BLOCKS_1997 = {
    f"{prefix}F": _fixed_block(f"{prefix}F", (f"{prefix}{n}" for n in numbers), item, separator=b"\xaa")
    for prefix, (item, numbers) in _PHASED_1997.items()
}
