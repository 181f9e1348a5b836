"""Units: what people write in a rule, the UCUM codes that points carry, and how one becomes the other.

Source: The Unified Code for Units of Measure (UCUM), tables 1-4 and 26; %[LEL] is our own bracket unit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TypeAlias

Dimension: TypeAlias = tuple[tuple[str, int], ...]
"""Base quantities and their exponents, sorted; empty for a pure number."""


def _dimension(text: str) -> Dimension:
    """``kg m2 s-3`` -> (("kg", 1), ("m", 2), ("s", -3))"""
    parts = []
    for part in text.split():
        base = part.rstrip("-0123456789")
        parts.append((base, int(part[len(base) :] or "1")))
    return tuple(sorted(parts))


@dataclass(frozen=True, slots=True)
class Unit:
    """value in base units = value * factor + offset.  The base of temperature is Cel, not K."""

    symbol: str
    """As people read and write it."""
    dimension: Dimension
    factor: float = 1.0
    offset: float = 0.0


PURE = Unit("", ())
TIME = _dimension("s")

_POWER, _ENERGY, _VOLTAGE = "kg m2 s-3", "kg m2 s-2", "kg m2 s-3 A-1"
_FLOW, _PRESSURE = "m3 s-1", "kg m-1 s-2"
TOTALS = tuple(map(_dimension, (_ENERGY, "VA s", "var s", "m3", "kg")))
"""What meters count."""

# Percentages, ppm and LEL are dimensions of their own: a bare 0.5 compared with 50 % must not pass silently.
# Apparent (VA) and reactive (var) power are not active power, although their SI dimensions agree.
_TABLE = (
    # UCUM code, symbol, other spellings, dimension, factor, offset
    ("ms", "ms", "", "s", 1e-3, 0.0),
    ("s", "s", "", "s", 1.0, 0.0),
    ("min", "min", "", "s", 60.0, 0.0),
    ("h", "h", "", "s", 3600.0, 0.0),
    ("d", "d", "", "s", 86400.0, 0.0),
    ("mm", "mm", "", "m", 1e-3, 0.0),
    ("cm", "cm", "", "m", 1e-2, 0.0),
    ("m", "m", "", "m", 1.0, 0.0),
    ("km", "km", "", "m", 1e3, 0.0),
    ("m2", "m²", "m2", "m2", 1.0, 0.0),
    ("mL", "mL", "ml", "m3", 1e-6, 0.0),
    ("L", "L", "l", "m3", 1e-3, 0.0),
    ("m3", "m³", "m3", "m3", 1.0, 0.0),
    ("L/s", "L/s", "l/s", _FLOW, 1e-3, 0.0),
    ("L/min", "L/min", "l/min", _FLOW, 1e-3 / 60, 0.0),
    ("L/h", "L/h", "l/h", _FLOW, 1e-3 / 3600, 0.0),
    ("m3/h", "m³/h", "m3/h", _FLOW, 1 / 3600, 0.0),
    ("m3/s", "m³/s", "m3/s", _FLOW, 1.0, 0.0),
    ("m/s", "m/s", "", "m s-1", 1.0, 0.0),
    ("km/h", "km/h", "", "m s-1", 1 / 3.6, 0.0),
    ("mm/h", "mm/h", "", "m s-1", 1e-3 / 3600, 0.0),
    ("g", "g", "", "kg", 1e-3, 0.0),
    ("kg", "kg", "", "kg", 1.0, 0.0),
    ("t", "t", "", "kg", 1e3, 0.0),
    ("kg/h", "kg/h", "", "kg s-1", 1 / 3600, 0.0),
    ("t/h", "t/h", "", "kg s-1", 1 / 3.6, 0.0),
    ("mA", "mA", "", "A", 1e-3, 0.0),
    ("A", "A", "", "A", 1.0, 0.0),
    ("kA", "kA", "", "A", 1e3, 0.0),
    ("mV", "mV", "", _VOLTAGE, 1e-3, 0.0),
    ("V", "V", "", _VOLTAGE, 1.0, 0.0),
    ("kV", "kV", "", _VOLTAGE, 1e3, 0.0),
    ("W", "W", "", _POWER, 1.0, 0.0),
    ("kW", "kW", "", _POWER, 1e3, 0.0),
    ("MW", "MW", "", _POWER, 1e6, 0.0),
    ("V.A", "VA", "V.A", "VA", 1.0, 0.0),
    ("kV.A", "kVA", "kV.A", "VA", 1e3, 0.0),
    ("V.A{reactive}", "var", "", "var", 1.0, 0.0),
    ("kV.A{reactive}", "kvar", "", "var", 1e3, 0.0),
    ("J", "J", "", _ENERGY, 1.0, 0.0),
    ("kJ", "kJ", "", _ENERGY, 1e3, 0.0),
    ("MJ", "MJ", "", _ENERGY, 1e6, 0.0),
    ("GJ", "GJ", "", _ENERGY, 1e9, 0.0),
    ("W.h", "Wh", "W.h", _ENERGY, 3.6e3, 0.0),
    ("V.A.h", "VAh", "V.A.h", "VA s", 3.6e3, 0.0),
    ("kW.h", "kWh", "kW.h", _ENERGY, 3.6e6, 0.0),
    ("MW.h", "MWh", "MW.h", _ENERGY, 3.6e9, 0.0),
    ("V.A{reactive}.h", "varh", "var.h", "var s", 3.6e3, 0.0),
    ("kV.A{reactive}.h", "kvarh", "kvar.h", "var s", 3.6e6, 0.0),
    ("mHz", "mHz", "", "s-1", 1e-3, 0.0),
    ("Hz", "Hz", "", "s-1", 1.0, 0.0),
    ("kHz", "kHz", "", "s-1", 1e3, 0.0),
    ("Ohm", "Ω", "Ohm", "kg m2 s-3 A-2", 1.0, 0.0),
    ("kOhm", "kΩ", "kOhm", "kg m2 s-3 A-2", 1e3, 0.0),
    ("Cel", "°C", "Cel ℃", "temperature", 1.0, 0.0),
    ("[degF]", "°F", "℉", "temperature", 5 / 9, -160 / 9),
    ("K", "K", "", "temperature", 1.0, -273.15),
    ("Pa", "Pa", "", _PRESSURE, 1.0, 0.0),
    ("hPa", "hPa", "", _PRESSURE, 1e2, 0.0),
    ("kPa", "kPa", "", _PRESSURE, 1e3, 0.0),
    ("MPa", "MPa", "", _PRESSURE, 1e6, 0.0),
    ("mbar", "mbar", "", _PRESSURE, 1e2, 0.0),
    ("bar", "bar", "", _PRESSURE, 1e5, 0.0),
    ("uS/cm", "µS/cm", "uS/cm μS/cm", "kg-1 m-3 s3 A2", 1e-4, 0.0),
    ("%", "%", "%RH", "percent", 1.0, 0.0),
    ("%[LEL]", "%LEL", "%[LEL]", "lel", 1.0, 0.0),
    ("[ppm]", "ppm", "", "ppm", 1.0, 0.0),
    ("[ppb]", "ppb", "", "ppm", 1e-3, 0.0),
    ("mg/kg", "mg/kg", "", "massfraction", 1e-6, 0.0),
    ("mg/L", "mg/L", "mg/l", "kg m-3", 1e-3, 0.0),
    ("mg/m3", "mg/m³", "mg/m3", "kg m-3", 1e-6, 0.0),
    ("ug/m3", "µg/m³", "ug/m3 µg/m3 μg/m3", "kg m-3", 1e-9, 0.0),
    ("lx", "lx", "", "lx", 1.0, 0.0),
    ("dB", "dB", "", "dB", 1.0, 0.0),
    ("dB[mW]", "dBm", "", "dBm", 1.0, 0.0),
    ("deg", "deg", "", "angle", 1.0, 0.0),
    ("/min", "rpm", "", "turns s-1", 1 / 60, 0.0),
)

_BY_CODE = {
    code: Unit(symbol, _dimension(dimension), factor, offset) for code, symbol, _, dimension, factor, offset in _TABLE
}
_ANNOTATION = re.compile(r"\{[^{}]*\}")
WRITTEN = {spelling: _BY_CODE[code] for code, symbol, others, *_ in _TABLE for spelling in (symbol, *others.split())}
"""Every spelling a rule may use, as it is or per time: see ``written``."""
PER = ("s", "min", "h", "d")
_CODES = {spelling: code for code, symbol, others, *_ in _TABLE for spelling in (symbol, *others.split(), code)}


def code_of(written: str) -> str | None:
    """The UCUM code of a unit as people write it, or of the code itself; None for a unit that is not known."""
    return _CODES.get(written)


def of_point(code: str | None) -> Unit | None:
    """The unit of a point's UCUM code; None when the table does not have it.

    {annotations} do not change a unit (UCUM, 6): ``{households}`` is a pure number.  The table's {reactive} does.
    """
    if code is None or code in _BY_CODE:
        return PURE if code is None else _BY_CODE[code]
    bare = _ANNOTATION.sub("", code)
    return PURE if bare in ("", "1") else _BY_CODE.get(bare)


def written(text: str) -> Unit | None:
    """``kW``, ``°C/min``: a unit of the table, or one of them per second, minute, hour or day."""
    known = WRITTEN.get(text)
    if known is not None:
        return known
    above, _, below = text.rpartition("/")
    return per(WRITTEN[above], WRITTEN[below]) if above in WRITTEN and below in PER else None


def per(unit: Unit, time: Unit) -> Unit:
    """How fast something of *unit* changes."""
    symbol = f"{unit.symbol}/{time.symbol}" if unit.symbol else ""
    return WRITTEN.get(symbol) or replace(product(unit, time, divide=True), symbol=symbol)


def convert(value: float, source: Unit, target: Unit, *, difference: bool = False) -> float:
    """*difference*: the value is a distance between two temperatures, so that offsets do not apply.

    Rounded to 12 digits, so that 86 °F is 30 °C and not 30.000000000000004.
    """
    if source is target:
        return value
    if difference:
        return float(f"{value * source.factor / target.factor:.12g}")
    return float(f"{(value * source.factor + source.offset - target.offset) / target.factor:.12g}")


def product(left: Unit, right: Unit, *, divide: bool = False) -> Unit:
    exponents = dict(left.dimension)
    sign = -1 if divide else 1
    for base, exponent in right.dimension:
        exponents[base] = exponents.get(base, 0) + sign * exponent
    dimension = tuple(sorted((base, exponent) for base, exponent in exponents.items() if exponent))
    return Unit("", dimension, left.factor / right.factor if divide else left.factor * right.factor)
