"""What a value information field says: the quantity, its unit, its power of ten.  Pure tables.

Each quantity has one unit here, whatever decimal the meter sends: energy in Wh, kWh or MWh is ``energy`` in kW.h, so
that a point's unit does not depend on the meter's settings.  Where the way to that unit is not exact (joule, °F,
cubic feet) the quantity has a name of its own.
Source: EN 13757-3:2018, tables 10 (primary), 12 (FDh), 14 (FBh), 15 (combinable).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


class Form(enum.Enum):
    """How the data field is read."""

    NUMBER = enum.auto()
    FLAGS = enum.auto()  # unsigned, never scaled
    DIGITS = enum.auto()  # a number that is a name: BCD keeps its leading zeros
    TIME = enum.auto()  # types F, G, I, J by length


@dataclass(frozen=True, slots=True)
class Quantity:
    """*number on the wire* x factor x 10**exponent is the value in *unit* (UCUM)."""

    name: str
    unit: str | None = None
    exponent: int = 0
    factor: int = 1
    form: Form = Form.NUMBER


PRIMARY, FD, FB = "", "FD ", "FB "
"""The table a code is looked up in; printed in front of a code that is not in it."""

_SECONDS = (1, 60, 3600, 86400)


def _decades(first: int, count: int, name: str, unit: str, exponent: int, factor: int = 1) -> dict[int, Quantity]:
    return {first + n: Quantity(name, unit, exponent + n, factor) for n in range(count)}


def _durations(first: int, name: str) -> dict[int, Quantity]:
    return {first + n: Quantity(name, "s", factor=seconds) for n, seconds in enumerate(_SECONDS)}


def _plain(first: int, *names: str, form: Form = Form.NUMBER) -> dict[int, Quantity]:
    return {first + n: Quantity(name, form=form) for n, name in enumerate(names) if name}


_PRIMARY = {
    **_decades(0x00, 8, "energy", "kW.h", -6),
    **_decades(0x08, 8, "energy_joule", "MJ", -6),
    **_decades(0x10, 8, "volume", "m3", -6),
    **_decades(0x18, 8, "mass", "kg", -3),
    **_durations(0x20, "on_time"),
    **_durations(0x24, "operating_time"),
    **_decades(0x28, 8, "power", "kW", -6),
    **_decades(0x30, 8, "power_joule", "MJ/h", -6),
    **_decades(0x38, 8, "flow", "m3/h", -6),
    **_decades(0x40, 8, "flow", "m3/h", -7, 60),
    **_decades(0x48, 8, "flow", "m3/h", -9, 3600),
    **_decades(0x50, 8, "mass_flow", "kg/h", -3),
    **_decades(0x58, 4, "flow_temperature", "Cel", -3),
    **_decades(0x5C, 4, "return_temperature", "Cel", -3),
    **_decades(0x60, 4, "temperature_difference", "K", -3),
    **_decades(0x64, 4, "external_temperature", "Cel", -3),
    **_decades(0x68, 4, "pressure", "bar", -3),
    **_plain(0x6C, "date", "time", form=Form.TIME),
    **_plain(0x6E, "heat_cost"),
    **_durations(0x70, "averaging_duration"),
    **_durations(0x74, "actuality_duration"),
    **_plain(0x78, "fabrication_number", "identification", "bus_address", form=Form.DIGITS),
}

_FD = {
    **_decades(0x00, 4, "credit", "{currency}", -3),
    **_decades(0x04, 4, "debit", "{currency}", -3),
    **_plain(0x08, "transmissions", "device_type", form=Form.FLAGS),
    **_plain(0x0A, "manufacturer_code", "parameter_set", "model", "hardware_version", form=Form.DIGITS),
    **_plain(0x0E, "firmware_version", "software_version", "customer_location", "customer", form=Form.DIGITS),
    **_plain(0x12, "access_code_user", "access_code_operator", "access_code_system", form=Form.DIGITS),
    **_plain(0x15, "access_code_developer", "password", form=Form.DIGITS),
    **_plain(0x17, "error_flags", "error_mask", "security_key", "digital_output", "digital_input", form=Form.FLAGS),
    **_decades(0x1C, 1, "baud_rate", "Bd", 0),
    **_plain(0x1D, "response_delay", "retries", "remote_control"),
    **_plain(0x20, "first_storage", "last_storage", "storage_block_size"),
    **_durations(0x24, "storage_interval"),
    **_decades(0x28, 1, "storage_interval_months", "mo", 0),
    **_decades(0x29, 1, "storage_interval_years", "a", 0),
    **_plain(0x2A, "operator_data", form=Form.DIGITS),
    **_plain(0x2B, "time_point_second"),
    **_durations(0x2C, "since_last_readout"),
    **_plain(0x30, "tariff_start", form=Form.TIME),
    0x31: Quantity("tariff_duration", "s", factor=60),
    0x32: Quantity("tariff_duration", "s", factor=3600),
    0x33: Quantity("tariff_duration", "s", factor=86400),
    **_durations(0x34, "tariff_period"),
    **_decades(0x38, 1, "tariff_period_months", "mo", 0),
    **_decades(0x39, 1, "tariff_period_years", "a", 0),
    **_plain(0x3A, "dimensionless"),
    **_decades(0x40, 16, "voltage", "V", -9),
    **_decades(0x50, 16, "current", "A", -12),
    **_plain(0x60, "resets", "cumulations", "control_signal", "weekday", "week", "day_change", "activation_state"),
    **_plain(0x67, "supplier_information", form=Form.DIGITS),
    **{0x68 + n: Quantity("since_last_cumulation", "s", factor=factor) for n, factor in enumerate((3600, 86400))},
    **_decades(0x6A, 1, "since_last_cumulation_months", "mo", 0),
    **_decades(0x6B, 1, "since_last_cumulation_years", "a", 0),
    **{0x6C + n: Quantity("battery_time", "s", factor=factor) for n, factor in enumerate((3600, 86400))},
    **_decades(0x6E, 1, "battery_time_months", "mo", 0),
    **_decades(0x6F, 1, "battery_time_years", "a", 0),
    **_plain(0x70, "battery_changed", form=Form.TIME),
    **_decades(0x71, 1, "rf_level", "dB[mW]", 0),
    0x74: Quantity("battery_remaining", "d"),
}

_FB = {
    **_decades(0x00, 2, "energy", "kW.h", 2),
    **_decades(0x02, 2, "reactive_energy", "kV.A{reactive}.h", 0),
    **_decades(0x04, 2, "apparent_energy", "kV.A.h", 0),
    **_decades(0x08, 2, "energy_joule", "MJ", 2),
    **_decades(0x0C, 4, "energy_calorie", "Mcal", -1),
    **_decades(0x10, 2, "volume", "m3", 2),
    **_decades(0x14, 4, "reactive_power", "kV.A{reactive}", -3),
    **_decades(0x18, 2, "mass", "kg", 5),
    **_decades(0x1A, 2, "humidity", "%", -1),
    **_decades(0x20, 1, "volume_cubic_feet", "[cft_i]", 0),
    **_decades(0x21, 1, "volume_cubic_feet", "[cft_i]", -1),
    **_decades(0x28, 2, "power", "kW", 2),
    **_decades(0x2A, 1, "phase_angle_voltage", "deg", -1),
    **_decades(0x2B, 1, "phase_angle_current", "deg", -1),
    **_decades(0x2C, 4, "frequency", "Hz", -3),
    **_decades(0x30, 2, "power_joule", "MJ/h", 2),
    **_decades(0x34, 4, "apparent_power", "kV.A", -3),
    **_decades(0x58, 4, "flow_temperature_fahrenheit", "[degF]", -3),
    **_decades(0x5C, 4, "return_temperature_fahrenheit", "[degF]", -3),
    **_decades(0x60, 4, "temperature_difference_fahrenheit", "[degF]", -3),
    **_decades(0x64, 4, "external_temperature_fahrenheit", "[degF]", -3),
    **_decades(0x74, 4, "temperature_limit", "Cel", -3),
    **_decades(0x78, 8, "cumulated_maximum_power", "kW", -6),
}

_TABLES: Mapping[str, Mapping[int, Quantity]] = {PRIMARY: _PRIMARY, FD: _FD, FB: _FB}

UNKNOWN_VIF, TEXT_PREFIX, MANUFACTURER = "vif ", "text:", "manufacturer_specific"

TEMPERATURE = Quantity("temperature", "Cel", -3)
"""Of the fixed structure, which tells no flow from return."""

NAMES: Mapping[str, Quantity] = {
    each.name: each for each in (*(q for table in _TABLES.values() for q in table.values()), TEMPERATURE)
}
"""Every quantity a point can name, with its unit; the power of ten is that of one of its codes."""


def quantity(table: str, code: int) -> Quantity:
    """What *code* (extension bit cleared) means; a name that shows the code where it is not known."""
    found = _TABLES[table].get(code)
    return found or Quantity(f"{UNKNOWN_VIF}{table}{code:02X}", form=Form.FLAGS)


def codes() -> Iterator[tuple[str, int, Quantity]]:
    """Every known code with its table."""
    return ((table, code, each) for table, known in _TABLES.items() for code, each in known.items())


# ---------------------------------------------------------------------------------------------- combinable VIFE

_MODIFIERS = {
    0x20: "per_second",
    0x21: "per_minute",
    0x22: "per_hour",
    0x23: "per_day",
    0x24: "per_week",
    0x25: "per_month",
    0x26: "per_year",
    0x27: "per_revolution",
    0x39: "start_date",
    0x3A: "uncorrected",
    0x3B: "positive",
    0x3C: "negative",
    0x3E: "base_conditions",
    0x40: "lower_limit",
    0x41: "lower_limit_exceeded",
    0x48: "upper_limit",
    0x49: "upper_limit_exceeded",
    0x7E: "future",
}
_SAME_UNIT = {0x3A, 0x3B, 0x3C, 0x3E, 0x40, 0x48, 0x7E}
_DATES = {0x39, *(code for code in range(0x40, 0x50) if code & 2), *(0x6A, 0x6B, 0x6E, 0x6F)}
MODIFIERS = frozenset(_MODIFIERS.values())
"""The words a point may use; a code without a word is said in hex."""


def modifier(code: int) -> str:
    return _MODIFIERS.get(code) or f"{code:02X}"


def keeps_unit(code: int) -> bool:
    """Whether a value so modified is still in the quantity's unit."""
    return code in _SAME_UNIT


def is_date(code: int) -> bool:
    """Whether the modifier makes a point in time of any quantity (start of, begin or end of a limit exceeded ...)."""
    return code in _DATES
