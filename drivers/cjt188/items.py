"""What the data of a meter mean: identifier and length -> fields; and how each field reads.  Pure.

Numbers are BCD, lowest pair first.  A quantity is four bytes and a unit code; most meters send the unit behind the
digits, some heat meters before them, in all quantities of an answer alike:

    19 28 53 00 05   5328.19 kW.h          05 19 28 53 00   the same, unit first

Source: CJ/T 188-2004, annexes A to C, for what captured frames confirm (tests/vectors/cjt188.json); README.md lists
what they do not.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import cached_property

from drivers.cjt188 import frame

_IDENTIFIER = re.compile(r"[0-9A-F]{2}[0-7][0-9A-F]")
"""A low byte above 7F could be taken for a high one: frame.py tells the order of the two by their values."""


class Sort(Enum):
    """How a field is written, and in how many bytes."""

    QUANTITY = "digits and unit", 5  # four bytes of digits and a unit code
    NUMBER = "digits", 3
    CLOCK = "clock", 7  # ss mm hh DD MM YY CC
    STATUS = "status", 2
    UNKNOWN = "unknown", 3  # digits whose decimals are not known

    @property
    def size(self) -> int:
        return self.value[1]


# ---------------------------------------------------------------------------------------------- units

_FACTORS: Mapping[str, tuple[str, Fraction]] = {
    "J": ("energy", Fraction(1)),
    "kJ": ("energy", Fraction(1000)),
    "MJ": ("energy", Fraction(10**6)),
    "GJ": ("energy", Fraction(10**9)),
    "W.h": ("energy", Fraction(3600)),
    "kW.h": ("energy", Fraction(3600 * 10**3)),
    "MW.h": ("energy", Fraction(3600 * 10**6)),
    "W": ("power", Fraction(1)),
    "kW": ("power", Fraction(1000)),
    "MW": ("power", Fraction(10**6)),
    "J/h": ("power", Fraction(1, 3600)),
    "kJ/h": ("power", Fraction(1000, 3600)),
    "MJ/h": ("power", Fraction(10**6, 3600)),
    "GJ/h": ("power", Fraction(10**9, 3600)),
    "L": ("volume", Fraction(1)),
    "m3": ("volume", Fraction(1000)),
    "L/h": ("flow", Fraction(1)),
    "m3/h": ("flow", Fraction(1000)),
}
"""UCUM -> what it measures, and how much of that it is."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit code stands for: so many of a UCUM unit."""

    ucum: str
    times: int

    @property
    def dimension(self) -> str:
        return _FACTORS[self.ucum][0]


def _tens(first: int, ucum: str, steps: int = 3) -> dict[int, Unit]:
    """A unit, ten of it and a hundred of it have successive codes."""
    return {first + step: Unit(ucum, 10**step) for step in range(steps)}


UNITS: Mapping[int, Unit] = {
    **_tens(0x01, "J", 1),
    **_tens(0x02, "W.h"),
    **_tens(0x05, "kW.h"),
    **_tens(0x08, "MW.h"),
    **_tens(0x0B, "kJ"),
    **_tens(0x0E, "MJ"),
    **_tens(0x11, "GJ"),
    **_tens(0x14, "W"),
    **_tens(0x17, "kW"),
    **_tens(0x1A, "MW"),
    **_tens(0x29, "L"),
    **_tens(0x2C, "m3"),
    **_tens(0x32, "L/h"),
    **_tens(0x35, "m3/h"),
    **_tens(0x40, "J/h"),
    **_tens(0x43, "kJ/h"),
    **_tens(0x46, "MJ/h"),
    **_tens(0x49, "GJ/h"),
}


def ratios(dimension: str, ucum: str) -> Mapping[int, Fraction]:
    """Unit code -> what turns its numbers into *ucum*; empty when *ucum* does not measure *dimension*."""
    measures, wanted = _FACTORS.get(ucum, ("", Fraction(1)))
    if measures != dimension:
        return {}
    known = ((code, unit) for code, unit in UNITS.items() if unit.dimension == dimension)
    return {code: _FACTORS[unit.ucum][1] * unit.times / wanted for code, unit in known}


# ---------------------------------------------------------------------------------------------- layouts


@dataclass(frozen=True, slots=True)
class Part:
    """One field of an answer."""

    name: str
    sort: Sort
    decimals: int = 0
    dimension: str = ""
    """Of a quantity: what its unit must measure."""
    unit: str | None = None
    """Of a number: its unit, which is not sent."""


@dataclass(frozen=True)
class Layout:
    """The fields of an answer in the order of the wire."""

    parts: tuple[Part, ...]

    @cached_property
    def size(self) -> int:
        return sum(part.sort.size for part in self.parts)

    @cached_property
    def offsets(self) -> Mapping[str, tuple[int, Part]]:
        found: dict[str, tuple[int, Part]] = {}
        at = 0
        for part in self.parts:
            found[part.name] = at, part
            at += part.sort.size
        return found

    def unit_first(self, content: bytes) -> bool:
        """Whether this meter sends units before digits: more of them fit there than behind.

        Digits can look like a unit (05 is one of energy), but not in every quantity of an answer at once.
        """
        before = behind = 0
        for at, part in self.offsets.values():
            if part.sort is Sort.QUANTITY:
                before += _measures(content[at], part.dimension)
                behind += _measures(content[at + 4], part.dimension)
        return before > behind


def _measures(code: int, dimension: str) -> bool:
    return code in UNITS and UNITS[code].dimension == dimension


def _quantity(name: str, dimension: str, decimals: int = 2) -> Part:
    return Part(name, Sort.QUANTITY, decimals, dimension)


_TAIL = (Part("clock", Sort.CLOCK), Part("status", Sort.STATUS))

VOLUME = Layout((_quantity("volume", "volume"), _quantity("settlement_volume", "volume"), *_TAIL))
"""Water and gas: now, and on the settlement day."""

HEAT = Layout(
    (
        _quantity("settlement_energy", "energy"),
        _quantity("energy", "energy"),
        _quantity("power", "power"),
        _quantity("flow", "flow", decimals=4),
        _quantity("volume", "volume"),
        Part("supply_temperature", Sort.NUMBER, 2, unit="Cel"),
        Part("return_temperature", Sort.NUMBER, 2, unit="Cel"),
        Part("hours", Sort.NUMBER, unit="h"),
        *_TAIL,
    )
)
"""Heat and cold."""

MONTH = Layout((_quantity("volume", "volume"),))
MONTHS = frozenset(f"D1{month:02X}" for month in range(0x20, 0x2C))
"""Identifiers of the last twelve settlements, D120 the latest."""

FREEZE = Layout(
    (
        Part("clock", Sort.CLOCK),
        _quantity("volume", "volume"),
        _quantity("flow", "flow", decimals=4),
        Part("temperature", Sort.NUMBER, 2, unit="Cel"),
        Part("pressure", Sort.UNKNOWN),
    )
)
"""Volume at a moment that the meter has chosen (D3xx) or was told (D4xx), xx = 00 the latest; water and gas.

CJ/T 188-2018 as one other reader understands it; how many decimals the pressure has nobody says.
"""
_HISTORY: Mapping[str, Layout] = {"D2": MONTH, "D3": FREEZE, "D4": FREEZE}
"""High byte of an identifier of 2018 -> what answers it: settlements beyond the twelfth, freezes."""


def layouts(di: str) -> Sequence[Layout]:
    """What may answer *di*; none when it is not known."""
    if di == frame.DATA_DI:
        return VOLUME, HEAT
    if di in MONTHS:
        return (MONTH,)
    history = _HISTORY.get(di[:2])
    return (history,) if history is not None and _IDENTIFIER.fullmatch(di) else ()


def layout_of(di: str, content: bytes) -> Layout | None:
    """The layout of an answer, told by its length: each has its own."""
    return next((layout for layout in layouts(di) if layout.size == len(content)), None)


def expected(di: str, type_: int) -> Sequence[Layout]:
    """The layouts that a meter of this type can answer with: heat and cold meters are the types 20h to 2Fh."""
    if di != frame.DATA_DI or type_ == frame.ANY_TYPE or type_ >= 0x40:
        return layouts(di)
    return (HEAT,) if type_ & 0xF0 == 0x20 else (VOLUME,)


# ---------------------------------------------------------------------------------------------- fields


def read_bcd(raw: bytes) -> int | None:
    """BCD, lowest pair first.  None where there are other digits: FF fill among them."""
    digits = raw[::-1].hex()
    return int(digits) if digits.isdecimal() else None


def read_quantity(raw: bytes, unit_first: bool) -> tuple[int | None, int]:
    """The digits of a quantity as a whole number, and the code of its unit."""
    return (read_bcd(raw[1:]), raw[0]) if unit_first else (read_bcd(raw[:4]), raw[4])


_ONE = Fraction(1)


def scaled(number: int, decimals: int, ratio: Fraction = _ONE) -> float | int:
    """The double nearest to the number; a whole number stays one."""
    if ratio == 1:  # both operands are whole and below 2**53: the division is exact to the last bit
        return number / 10**decimals if decimals else number
    return float(Fraction(number, 10**decimals) * ratio)


def read_clock(raw: bytes) -> str | None:
    """ISO 8601, local time.  None for what no calendar has: zeros and half-filled clocks occur."""
    digits = raw[::-1].hex()
    if not digits.isdecimal():
        return None
    century, year, month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(0, 14, 2))
    try:
        date, time = datetime.date(100 * century + year, month, day), datetime.time(hour, minute, second)
    except ValueError:
        return None
    return f"{date.isoformat()}T{time.isoformat()}"


def read_status(raw: bytes) -> str | None:
    """Both status bytes as hex digits in the order of the wire; the second is the vendor's own.  All ones is fill."""
    return None if raw == b"\xff\xff" else raw.hex().upper()


_VALVE = (0, 1, None, 2)


def read_valve(raw: bytes) -> int | None:
    """0 open, 1 closed, 2 abnormal; None for the code that is not assigned."""
    return None if raw == b"\xff\xff" else _VALVE[raw[0] & 3]


def read_battery(raw: bytes) -> int | None:
    """0 good, 1 low."""
    return None if raw == b"\xff\xff" else raw[0] >> 2 & 1


VALVE_WORDS, BATTERY_WORDS = ("open", "closed", "abnormal"), ("good", "low")


def valve_text(raw: bytes) -> str | None:
    valve = read_valve(raw)
    return None if valve is None else VALVE_WORDS[valve]


def battery_text(raw: bytes) -> str | None:
    battery = read_battery(raw)
    return None if battery is None else BATTERY_WORDS[battery]


STATUS_BITS = {"valve": read_valve, "battery": read_battery}
"""Points that are part of the status field."""
STATES = {"valve": 3, "battery": 2}
"""How many states each of them has."""
