"""What a charger's message says about a connector.  Pure.

Source: Open Charge Point Protocol 1.6 edition 2, chapters 4 (operations), 6 (messages) and 7 (types).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from drivers.base import DeviceSpec
from drivers.ocpp.config import UNITS, PointOptions
from gateway.model import Reading, Reason, Value, bad_reading

AHEAD_MS, BEHIND_MS = 5 * 60 * 1000, 7 * 24 * 3600 * 1000
"""A charger gets the time from us and repeats what it could not deliver: a time is believed when it is not in the
future and not older than a week; a charger that has lost its clock says 1970 or 2000."""

_MEASURANDS: Final = {
    "energy": "Energy.Active.Import.Register",
    "power": "Power.Active.Import",
    "current": "Current.Import",
    "voltage": "Voltage",
    "temperature": "Temperature",
    "soc": "SoC",
}
_FACTORS: Final[Mapping[str, Mapping[str, float]]] = {
    "energy": {"": 1.0, "Wh": 1.0, "kWh": 1000.0},
    "power": {"": 1.0, "W": 1.0, "kW": 1000.0},
    "current": {"": 1.0, "A": 1.0},
    "voltage": {"": 1.0, "V": 1.0},
    "temperature": {"": 1.0, "Celsius": 1.0, "Celcius": 1.0},  # the specification itself once misspells it
    "soc": {"": 1.0, "Percent": 1.0},
}
_PHASES: Final = {"L1": "L1", "L1-N": "L1", "L2": "L2", "L2-N": "L2", "L3": "L3", "L3-N": "L3"}
_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured value in Wh, W, A, V, Celsius or percent."""

    quantity: str
    phase: str | None
    value: float


def word_of(written: str) -> str:
    """``SuspendedEVSE`` -> ``suspended_evse``, ``NoError`` -> ``no_error``."""
    return _WORD.sub("_", written).lower()


def instant_ms(written: object, now_ms: int) -> int:
    """A charger's time stamp, or *now_ms* where it is missing, unreadable or not to be believed."""
    if not isinstance(written, str) or len(written) > 40:
        return now_ms
    try:
        found = datetime.fromisoformat(written.replace("Z", "+00:00"))
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
        instant = round(aware.timestamp() * 1000)
    except (ValueError, OverflowError):
        return now_ms
    return instant if now_ms - BEHIND_MS <= instant <= now_ms + AHEAD_MS else now_ms


def samples(values: Iterable[Mapping[str, Any]]) -> list[Sample]:
    """The sampled values of one MeterValue that are known quantities in known units."""
    return [sample for each in values if (sample := _sample(each)) is not None]


def _sample(each: Mapping[str, Any]) -> Sample | None:
    measurand = each.get("measurand", _MEASURANDS["energy"])
    quantity = next((name for name, known in _MEASURANDS.items() if known == measurand), None)
    if quantity is None or each.get("format", "Raw") != "Raw" or each.get("location") in ("Inlet", "EV"):
        return None
    phase = each.get("phase")
    if phase not in (None, *_PHASES):
        return None
    value = _number(str(each.get("value", "")))
    unit = str(each.get("unit", ""))
    if value is None or (unit not in _FACTORS[quantity] and quantity != "temperature"):
        return None
    if quantity == "temperature":
        return _temperature(value, unit, phase)
    return Sample(quantity, _PHASES.get(phase or ""), value * _FACTORS[quantity][unit])


def _temperature(value: float, unit: str, phase: str | None) -> Sample | None:
    celsius = {"Fahrenheit": (value - 32) / 1.8, "K": value - 273.15}.get(unit)
    if celsius is None and unit not in _FACTORS["temperature"]:
        return None
    return Sample("temperature", _PHASES.get(phase or ""), value if celsius is None else round(celsius, 3))


def _number(written: str) -> float | None:
    try:
        value = float(written) if len(written) <= 40 and "_" not in written else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def measured(spec: DeviceSpec, found: Sequence[Sample], source_ms: int, now_ms: int) -> list[Reading]:
    """A reading of every point for which there is a value."""
    readings = []
    for point in spec.points.values():
        options: PointOptions = point.options
        value = _value(found, options) if options.says in UNITS else None
        if value is not None:
            factor = UNITS[options.says][point.point.unit or ""]
            scaled = value / round(1 / factor) if factor < 1 else value * factor
            readings.append(Reading(point.point.id, scaled, source_ms, now_ms))
    return readings


def _value(found: Sequence[Sample], options: PointOptions) -> float | None:
    """Without a phase: the whole; of phases alone the sum of three powers or energies, the largest of the others."""
    of_quantity = [each for each in found if each.quantity == options.says]
    if options.phase is not None:
        return next((each.value for each in of_quantity if each.phase == options.phase), None)
    whole = next((each.value for each in of_quantity if each.phase is None), None)
    if whole is not None or not of_quantity:
        return whole
    phases = {each.phase: each.value for each in of_quantity}
    if len(phases) == 1 or options.says in ("current", "voltage", "temperature", "soc"):
        return max(phases.values())
    return sum(phases.values()) if len(phases) == 3 else None


def said(spec: DeviceSpec, says: str, value: Value, source_ms: int, now_ms: int) -> Iterator[Reading]:
    """Readings of the points that tell *says*.  A word that the profile does not know is out of range."""
    for point in spec.points.values():
        if point.options.says != says:
            continue
        if point.point.states and value not in point.point.states:
            yield bad_reading(point.point.id, Reason.OUT_OF_RANGE, now_ms)
        else:
            yield Reading(point.point.id, value, source_ms, now_ms)
