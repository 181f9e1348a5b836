"""Points as Home Assistant's sensors: its spelling of our units, and the classes that may carry them.  Pure.

Home Assistant refuses a device class whose unit is not on that class's list, so a class is given only where the unit
has been on the list since device-based discovery exists (core 2024.11); the unit is shown in any case.
Source: homeassistant/components/sensor/const.py, DEVICE_CLASS_UNITS and DEVICE_CLASS_STATE_CLASSES.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.model import Point, ValueKind


@dataclass(frozen=True, slots=True)
class Sensor:
    """None: the key is left out."""

    unit: str | None = None
    device_class: str | None = None
    state_class: str | None = None


_UNITS: Mapping[str, tuple[str, str | None]] = {
    "ms": ("ms", "duration"),
    "s": ("s", "duration"),
    "min": ("min", "duration"),
    "h": ("h", "duration"),
    "d": ("d", "duration"),
    "mm": ("mm", "distance"),
    "cm": ("cm", "distance"),
    "m": ("m", "distance"),
    "km": ("km", "distance"),
    "m2": ("m²", None),
    "mL": ("mL", "volume_storage"),
    "L": ("L", "volume_storage"),
    "m3": ("m³", "volume_storage"),
    "L/s": ("L/s", None),
    "L/min": ("L/min", "volume_flow_rate"),
    "L/h": ("L/h", None),
    "m3/h": ("m³/h", "volume_flow_rate"),
    "m3/s": ("m³/s", None),
    "m/s": ("m/s", "speed"),
    "km/h": ("km/h", "speed"),
    "g": ("g", "weight"),
    "kg": ("kg", "weight"),
    "mA": ("mA", "current"),
    "A": ("A", "current"),
    "mV": ("mV", "voltage"),
    "V": ("V", "voltage"),
    "kV": ("kV", None),
    "W": ("W", "power"),
    "kW": ("kW", "power"),
    "MW": ("MW", None),
    "V.A": ("VA", "apparent_power"),
    "kV.A": ("kVA", None),
    "V.A{reactive}": ("var", "reactive_power"),
    "kV.A{reactive}": ("kvar", None),
    "J": ("J", None),
    "kJ": ("kJ", None),
    "MJ": ("MJ", "energy"),
    "GJ": ("GJ", "energy"),
    "W.h": ("Wh", "energy"),
    "kW.h": ("kWh", "energy"),
    "MW.h": ("MWh", "energy"),
    "V.A.h": ("VAh", None),
    "V.A{reactive}.h": ("varh", None),
    "kV.A{reactive}.h": ("kvarh", None),
    "Hz": ("Hz", "frequency"),
    "kHz": ("kHz", "frequency"),
    "Ohm": ("Ω", None),
    "kOhm": ("kΩ", None),
    "Cel": ("°C", "temperature"),
    "[degF]": ("°F", "temperature"),
    "K": ("K", "temperature"),
    "Pa": ("Pa", "pressure"),
    "hPa": ("hPa", "pressure"),
    "kPa": ("kPa", "pressure"),
    "MPa": ("MPa", None),
    "mbar": ("mbar", "pressure"),
    "bar": ("bar", "pressure"),
    "uS/cm": ("µS/cm", None),
    "%": ("%", None),
    "%[LEL]": ("%LEL", None),
    "[ppm]": ("ppm", None),
    "[ppb]": ("ppb", None),
    "mg/L": ("mg/L", None),
    "mg/m3": ("mg/m³", None),
    "ug/m3": ("µg/m³", None),
    "lx": ("lx", "illuminance"),
    "dB": ("dB", None),
    "dB[mW]": ("dBm", "signal_strength"),
    "deg": ("°", None),
    "/min": ("rpm", None),
}
_PERCENTAGES = (("humidity", "humidity"), ("battery", "battery"), ("moisture", "moisture"))
"""Part of a point's name -> class of a percentage."""
_OF_KIND = {("water_meter", "m3"): "water", ("water_meter", "L"): "water", ("gas_meter", "m3"): "gas"}
_TOTALS_ONLY = frozenset({"energy", "water", "gas", "volume"})
_ANNOTATION = re.compile(r"\{[^{}]*\}")

_BINARY: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"fault", "failed", "silent", "lost", "alarm", "not"}), "problem"),
    (frozenset({"door"}), "door"),
    (frozenset({"smoke"}), "smoke"),
    (frozenset({"gas"}), "gas"),
    (frozenset({"leak", "water", "flood"}), "moisture"),
    (frozenset({"tamper"}), "tamper"),
    (frozenset({"running"}), "running"),
)
"""Words of a point's or a rule's name -> class of a binary sensor; the first that fits.  A fault of a gas detector is
no gas."""
_OF_RULES = frozenset({"gas", "smoke", "moisture", "tamper", "problem"})


def sensor(point: Point, device_kind: str) -> Sensor:
    """*point*: of kind number."""
    if point.unit is None:
        named = "power_factor" if point.name.startswith("power_factor") else None
        return Sensor(None, named, "total_increasing" if point.counter else "measurement")
    unit, device_class = _UNITS.get(point.unit, (None, None))
    if unit is None:
        unit = _ANNOTATION.sub("", point.unit) or None  # {households} is a pure number
        unit = None if unit == "1" else unit
    if point.unit == "%":
        device_class = next((named for part, named in _PERCENTAGES if part in point.name), None)
    if device_class == "volume_storage" and point.counter:
        device_class = _OF_KIND.get((device_kind, point.unit), "volume")
    if point.counter:
        return Sensor(unit, device_class, "total_increasing")
    # a total that may go down too (what is left of a prepayment, a month's energy) is no measurement there
    return Sensor(unit, device_class, "total" if device_class in _TOTALS_ONLY else "measurement")


def binary_class(name: str) -> str | None:
    words = frozenset(name.split("_"))
    return next((named for those, named in _BINARY if words & those), None)


def rule_class(rule: str) -> str:
    """An alarm's class: what it says is wrong, where Home Assistant has a word for it."""
    found = binary_class(rule)
    return found if found in _OF_RULES else "problem"


def platform(point: Point) -> str:
    return "binary_sensor" if point.kind is ValueKind.BOOLEAN else "sensor"
