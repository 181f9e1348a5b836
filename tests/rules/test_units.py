from __future__ import annotations

import pytest

from rules.units import PURE, WRITTEN, convert, of_point, per, product, written


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (86.0, "°F", "°C", 30.0),
        (0.0, "°C", "K", 273.15),
        (0.0, "K", "°F", -459.67),
        (1.0, "kWh", "MJ", 3.6),
        (1.2, "m3/h", "L/min", 20.0),
        (1.0, "bar", "kPa", 100.0),
        (90.0, "s", "min", 1.5),
        (50.0, "Hz", "mHz", 50_000.0),
        (1500.0, "rpm", "rpm", 1500.0),
    ],
)
def test_conversion(value: float, source: str, target: str, expected: float) -> None:
    assert convert(value, WRITTEN[source], WRITTEN[target]) == expected


def test_a_distance_between_temperatures_has_no_offset() -> None:
    assert convert(9.0, WRITTEN["°F"], WRITTEN["°C"], difference=True) == 5.0


@pytest.mark.parametrize(
    ("code", "symbol"),
    [
        ("kW.h", "kWh"),
        ("%[LEL]", "%LEL"),
        ("Cel", "°C"),
        ("m3/h", "m³/h"),
        ("kV.A{reactive}", "kvar"),
        ("kW.h{import}", "kWh"),
    ],
)
def test_ucum_codes(code: str, symbol: str) -> None:
    unit = of_point(code)
    assert unit is not None
    assert unit.symbol == symbol
    assert WRITTEN[symbol] is unit


def test_pure_numbers_and_strangers() -> None:
    assert [of_point(code) for code in (None, "1", "", "{households}")] == [PURE] * 4
    assert of_point("[smoot]") is None


def test_dimensions_add_up() -> None:
    assert product(WRITTEN["V"], WRITTEN["A"]).dimension == WRITTEN["W"].dimension
    assert product(WRITTEN["kW"], WRITTEN["h"]).factor == WRITTEN["kWh"].factor
    assert product(WRITTEN["m3/h"], WRITTEN["L/min"], divide=True).dimension == ()
    assert WRITTEN["VA"].dimension != WRITTEN["W"].dimension != WRITTEN["var"].dimension


def test_percent_and_lel_are_not_plain_numbers() -> None:
    assert len({WRITTEN[unit].dimension for unit in ("%", "%LEL", "ppm")} | {PURE.dimension}) == 4


@pytest.mark.parametrize(
    ("text", "factor", "symbol"),
    [
        ("°C/min", 1 / 60, "°C/min"),
        ("°F/h", 5 / 9 / 3600, "°F/h"),
        ("m3/h", 1 / 3600, "m³/h"),
        ("m3/h/h", 1 / 3600 / 3600, "m³/h/h"),
        ("cm/d", 0.01 / 86400, "cm/d"),
        ("kWh/h", 1000.0, "kWh/h"),
    ],
)
def test_units_per_time(text: str, factor: float, symbol: str) -> None:
    unit = written(text)
    assert unit is not None
    assert unit.factor == pytest.approx(factor)
    assert (unit.symbol, unit.offset) == (symbol, 0.0)


def test_only_time_stands_below_the_line() -> None:
    assert [written(text) for text in ("kW/m", "kw/h", "/h", "kW/", "kW/h/h/h")] == [None] * 5
    assert per(WRITTEN["m3"], WRITTEN["s"]) is WRITTEN["m3/s"]
    assert per(PURE, WRITTEN["s"]).symbol == ""
