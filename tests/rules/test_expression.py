"""The language: what it means (also against a slow interpreter), what it refuses, and where it says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.model import Point, Text, ValueKind
from rules.check import FUNCTIONS, Checker, Comparison, Const, Input, Load, Source, relax
from rules.faults import RuleFault
from rules.named import Case, NamedValue
from rules.program import Condition, Program, compiled, expression, measures
from rules.syntax import Arithmetic, Call, Compare, Logic, Minus, Name, Node, Not, Number, Truth, devices, names, parse
from rules.text import spoken
from rules.units import PURE, WRITTEN, Unit, of_point

# ---------------------------------------------------------------------- the points every condition here may name

_KINDS = {
    "a.x": (ValueKind.NUMBER, "V"),
    "a.y": (ValueKind.NUMBER, "kV"),
    "a.p": (ValueKind.NUMBER, None),
    "a.t": (ValueKind.NUMBER, "Cel"),
    "a.u": (ValueKind.NUMBER, "[degF]"),
    "a.b": (ValueKind.BOOLEAN, None),
    "a.c": (ValueKind.BOOLEAN, None),
    "a.s": (ValueKind.STATE, None),
    "a.word": (ValueKind.TEXT, None),
    "m-1-1-101.energy": (ValueKind.NUMBER, "kW.h"),
    "阀门.位置": (ValueKind.STATE, None),
    "a.strange": (ValueKind.NUMBER, "[smoot]"),
}
POINTS = {
    name: Point(name, kind, Text(name, name), 10.0, unit, states=("open", "closed", "半开"))
    for name, (kind, unit) in _KINDS.items()
}


@dataclass
class Slot:
    value: Any


def check(text: str, **more: Any) -> tuple[Checker, Any, list[RuleFault]]:
    tree, faults = parse(text)
    checker = Checker(POINTS.get, lambda name: ("", ""), own_device=False, **more)
    checked = None if tree is None else checker.condition(tree)
    return checker, checked, [*faults, *checker.faults]


def run(condition: Condition, checker: Checker, values: Mapping[str, Any]) -> bool | None:
    return condition([Slot(values.get(each.name)) for each in checker.inputs])


def evaluate(text: str, **values: Any) -> bool | None:
    """Points of device a by their names."""
    checker, checked, faults = check(text)
    assert checked is not None, faults
    return run(compiled(checked), checker, {f"a.{name}": value for name, value in values.items()})


def codes(text: str) -> list[str]:
    return [fault.code for fault in check(text)[2]]


# ---------------------------------------------------------------------- meaning


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("a.x > 1 kV", {"x": 1000.1}, True),
        ("a.x > 1 kV", {"x": 1000.0}, False),
        ("a.x >= 1 kV", {"x": 1000.0}, True),
        ("a.y == a.x", {"x": 230.0, "y": 0.23}, True),
        ("a.t > 86 °F", {"t": 30.0}, False),
        ("a.t > 86 °F", {"t": 30.01}, True),
        ("a.u > 30 °C", {"u": 86.1}, True),
        ("a.t > 300 K", {"t": 26.86}, True),
        ("a.t - a.u > 9 °F", {"t": 30.0, "u": 77.0}, False),  # 5 K apart
        ("a.t - a.u > 9 °F", {"t": 30.1, "u": 77.0}, True),
        ("a.t - a.u + (a.t - a.u) > 18 °F", {"t": 30.0, "u": 77.0}, False),
        ("a.t - a.u + (a.t - a.u) > 18 °F", {"t": 30.1, "u": 77.0}, True),
        ("a.t - (a.t - a.u) > 76 °F", {"t": 30.0, "u": 77.0}, True),
        ("a.t - (a.t - a.u) > 78 °F", {"t": 30.0, "u": 77.0}, False),
        ("a.t + 9 °F > 35 °C", {"t": 30.5}, True),
        ("a.x / a.y > 0.5", {"x": 600.0, "y": 1.0}, True),  # V / kV is a plain number
        ("a.p * 2 V + 1 V < a.x", {"p": 3.0, "x": 7.5}, True),
        ("-a.x < -5 V", {"x": 6.0}, True),
        ("a.x-a.y > 5 V", {"x": 1006.0, "y": 1.0}, True),
        ("a.p - -1 == 3", {"p": 2.0}, True),
        ("2 + 3 * a.p == 8", {"p": 2.0}, True),
        ("(2 + 3) * a.p == 10", {"p": 2.0}, True),
        ("a.p - 1 - 1 == 0", {"p": 2.0}, True),
        ("a.b or a.c and false", {"b": True, "c": True}, True),
        ("not a.b == true", {"b": False}, True),  # `not` reaches over the comparison
        ("a.s == open", {"s": "open"}, True),
        ("open != a.s", {"s": "closed"}, True),
        ("a.s == 半开", {"s": "半开"}, True),
        ("阀门.位置 == open or a.b", {"b": True}, True),
        ("m-1-1-101.energy > 1 MWh or a.b", {"b": True}, True),
        ("a.x＞＝1 kV", {"x": 1000.0}, True),
        ("（a.x ≥ 1 kV）and a.s ≠ closed", {"x": 1000.0, "s": "open"}, True),
        ("at_least(2, a.b, a.c, a.p > 1)", {"b": True, "c": None, "p": 2.0}, True),
        ("at_least(2, a.b, a.c, a.p > 1)", {"b": True, "c": None, "p": 0.0}, None),
        ("at_least(2, a.b, a.c, a.p > 1)", {"b": False, "c": None, "p": 0.0}, False),
        ("a.b and a.c", {"b": None, "c": False}, False),
        ("a.b and a.c", {"b": None, "c": True}, None),
        ("a.b or a.c", {"b": None, "c": True}, True),
        ("a.b or a.c", {"b": None, "c": False}, None),
        ("not a.b", {"b": None}, None),
        ("a.x / a.p > 1 V", {"x": 1.0, "p": 0.0}, None),
        ("a.p * a.p > 1", {"p": 1e200}, None),  # overflow is unknown, not large
        ("a.x > 1 V", {"x": None}, None),
        ("a.x > 1 V且a.b或非 a.c", {"x": 2.0, "b": True, "c": True}, True),
        ("a.p > 1且a.b", {"p": 2.0, "b": False}, False),
        ("a.b或a.c", {"b": False, "c": True}, True),
        ("非（a.b 且 a.c）", {"b": True, "c": False}, True),
        ("a.b == 真 且 a.c == 假", {"b": True, "c": False}, True),
        ("阀门.位置≠半开 或 a.b", {"b": True}, True),
        ("至少（2，a.b，a.c，真）", {"b": True, "c": False}, True),
    ],
)
def test_meaning(text: str, values: dict[str, Any], expected: bool | None) -> None:
    assert evaluate(text, **values) is expected


@pytest.mark.parametrize(
    ("text", "code", "offset", "length"),
    [
        ("a.x > 5", "E-NOUNIT", 6, 1),
        ("5 < a.x", "E-NOUNIT", 0, 1),
        ("a.x > 5 kW", "E-UNIT", 6, 4),
        ("a.x > 5 kv", "E-UNIT", 6, 4),
        ("a.p > 5 V", "E-UNIT", 6, 3),
        ("a.x > a.t", "E-UNIT", 6, 3),
        ("a.u * a.t > 5 °C", "E-UNIT", 0, 9),
        ("a.x + 5 > 3 V", "E-NOUNIT", 6, 1),
        ("a.q > 5", "E-POINT", 0, 3),
        ("x-a.y > 5 V", "E-POINT", 0, 5),  # device ids may have hyphens: a minus needs a space before it here
        ("a.s == opne", "E-VALUE", 7, 4),
        ("a.b == on", "E-VALUE", 7, 2),
        ("a.s > open", "E-TYPE", 0, 10),
        ("a.b == a.x", "E-TYPE", 0, 10),
        ("a.x", "E-TYPE", 0, 3),
        ("a.b and 1", "E-TYPE", 8, 1),
        ("not a.x > 1 V and a.x", "E-TYPE", 18, 3),
        ("a.b + 1 > 1", "E-TYPE", 0, 3),
        ("a.word == open", "E-TYPE", 0, 6),
        ("a.x / 0 > 1 V and 1 / 0 > 1", "E-VALUE", 18, 5),
        ("a.strange > 5", "E-UNBUILT", 0, 9),
        ("agv(a.x, 5 min) > 5 V", "E-FUNC", 0, 3),
        ("平匀(a.x, 5 min) > 5 V", "E-FUNC", 0, 2),
        ("avg(a.x, 5 min) > 5", "E-NOUNIT", 18, 1),
        ("avg(a.x, 5 min) > 5 kW", "E-UNIT", 18, 4),
        ("avg(a.x, 5) > 5 V", "E-NOUNIT", 9, 1),
        ("avg(a.x, 5 V) > 5 V", "E-UNIT", 9, 3),
        ("avg(a.x, 367 d) > 5 V", "E-VALUE", 9, 5),
        ("avg(a.x, 0 s) > 5 V", "E-VALUE", 9, 3),
        ("avg(a.x, a.p * 1 s) > 5 V", "E-FUNC", 9, 9),
        ("avg(a.x) > 5 V", "E-FUNC", 0, 8),
        ("avg(a.x, 1 h, 2) > 5 V", "E-FUNC", 0, 16),
        ("avg(a.x * 2, 1 h) > 5 V", "E-FUNC", 4, 7),
        ("avg(a.b, 1 h) > 5", "E-TYPE", 4, 3),
        ("avg(a.q, 1 h) > 5 V", "E-POINT", 4, 3),
        ("avg(avg(a.x, 1 h), 1 h) > 5 V", "E-FUNC", 4, 13),
        ("sum(a.t, 1 h) > 5 °C", "E-UNIT", 0, 13),
        ("rate(a.x, 1 h) > 5 V", "E-UNIT", 17, 3),
        ("rate(a.x, 1 h) > 5", "E-NOUNIT", 17, 1),
        ("increase(a.word, 1 h) > 5", "E-TYPE", 9, 6),
        ("ago(a.s, 1 h) == opne", "E-VALUE", 17, 4),
        ("ago(a.x + a.y, 1 h) > 5 V", "E-FUNC", 4, 9),
        ("same_hour(a.x, 5) > 5 V", "E-VALUE", 15, 1),
        ("same_hour(a.x, 4 d) > 5 V", "E-VALUE", 15, 3),
        ("usual(a.x, 29) > 5 V", "E-VALUE", 11, 2),
        ("usual(a.x, 1.5) > 5 V", "E-VALUE", 11, 3),
        ("usual(a.b, 14) > 5", "E-TYPE", 6, 3),
        ("count(a.s, 1 h) > 5", "E-FUNC", 6, 3),
        ("count(a.x + 1 V, 1 h) > 5", "E-FUNC", 6, 9),
        ("count(a.x > a.y, 1 h) > 5", "E-FUNC", 6, 9),
        ("count(avg(a.x, 1 h) > 1 V, 1 h) > 5", "E-FUNC", 6, 19),
        ("count(true, 1 h) > 5", "E-FUNC", 6, 4),
        ("count(a.b, 1 h) > 5 V", "E-UNIT", 18, 3),
        ("count(age(a.x), 1 h) > 5", "E-FUNC", 6, 8),
        ("alarm()", "E-FUNC", 0, 7),
        ("alarm(a, b)", "E-FUNC", 0, 11),
        ("alarm(a > b)", "E-SYNTAX", 8, 1),
        ("alarm((a))", "E-SYNTAX", 6, 1),
        ("silent(a, b) > 5 min", "E-FUNC", 0, 12),
        ("a.x > 5 V/fortnight", "E-POINT", 10, 9),
        ("at_least(4, a.b, a.c)", "E-FUNC", 0, 21),
        ("at_least(1.5, a.b, a.c)", "E-FUNC", 0, 23),
        ("at_least(a.p, a.b, a.c)", "E-FUNC", 0, 23),
        ("silent() > 5 min", "E-FUNC", 0, 8),  # no for_each here
        ("age(a.x) > 5 kW", "E-UNIT", 11, 4),
        ("age(a.x) > 5", "E-NOUNIT", 11, 1),
        ("age(a.x) > a.p * 5 min", "E-TYPE", 0, 22),
        ("age(a.x) + 5 min > 6 min", "E-TYPE", 0, 8),
        ("age(a.x) > 9999 d", "E-VALUE", 11, 6),
        ("a.x > 1 V < 3 V", "E-SYNTAX", 10, 1),
        ("a.x = 1 V", "E-SYNTAX", 4, 1),
        ("a.b && a.c", "E-SYNTAX", 4, 2),
        ("a.x > 1 V and", "E-SYNTAX", 13, 1),
        ("(a.x > 1 V", "E-SYNTAX", 10, 1),
        ("a.x > 1 V)", "E-SYNTAX", 9, 1),
        ("a.b a.c", "E-SYNTAX", 4, 3),
        ("", "E-SYNTAX", 0, 1),
    ],
)
def test_faults_say_where(text: str, code: str, offset: int, length: int) -> None:
    faults = [fault for fault in check(text)[2] if fault.is_error]
    assert [(fault.code, fault.offset, fault.length) for fault in faults] == [(code, offset, length)]
    assert all(fault.zh != fault.en for fault in faults)


def test_every_fault_of_a_condition_is_reported_at_once() -> None:
    assert codes("a.q > 5 and a.s == opne or agv(a.x, 1 h) > 5 V") == ["E-POINT", "E-VALUE", "E-FUNC"]


def test_what_alarm_and_silent_name_must_exist() -> None:
    known: dict[str, Any] = {"rules": ["power_lost", "水位"], "devices": {"m-1-1-101", "valve"}.__contains__}
    text = "alarm(power_lost) or 报警(水位) or silent(m-1-1-101) > 5 min or 无数据(valve) > 5 min"
    checker, checked, faults = check(text, **known)
    assert checked is not None
    assert not faults
    assert checker.inputs == [
        Input(Source.ALARM, "power_lost"),
        Input(Source.ALARM, "水位"),
        Input(Source.SILENT, "m-1-1-101", 300.0),
        Input(Source.SILENT, "valve", 300.0),
    ]
    tree = parse(text)[0]
    assert tree is not None
    assert (names(tree), devices(tree)) == ([], ["m-1-1-101", "valve"])
    wrong = check("alarm(power_lots) or silent(m-1-1-102) > 5 min", **known)[2]
    assert [(fault.code, fault.offset, fault.length) for fault in wrong] == [("E-POINT", 6, 10), ("E-POINT", 28, 9)]
    assert wrong[0].hint_en == 'did you mean "power_lost"?'
    assert check("alarm(anything)")[1] is not None  # nobody knows the rules here


def test_a_window_shorter_than_three_intervals_is_worth_a_warning() -> None:
    _, checked, (warning,) = check("avg(a.x, 29 s) > 1 V")
    assert checked is not None
    assert (warning.code, warning.offset, warning.is_error) == ("W-WINDOW", 9, False)
    assert not check("avg(a.x, 30 s) > 1 V or ago(a.x, 1 s) > 1 V")[2]


# ---------------------------------------------------------------------- the past, as the checker sees it


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("avg(a.x, 1 h) > 1 V", [("avg", 3600.0)]),
        ("平均(a.x, 90 min) > 1 V", [("avg", 5400.0)]),
        ("min(a.x, 2 * 1 h) > max(a.y, 0.5 d)", [("min", 7200.0), ("max", 43200.0)]),
        ("sum(a.p, 1 d) > count(a.p, 1 d)", [("sum", 86400.0), ("count", 86400.0)]),
        ("increase(m-1-1-101.energy, 24 h) > 1 MWh", [("increase", 86400.0)]),
        ("变化率(m-1-1-101.energy, 1 h) > 1 MW", [("rate", 3600.0)]),
        ("rate(a.t, 1 min) > 8 °C/min or rate(a.u, 1 min) > 8 °C/min", [("rate", 60.0), ("rate", 60.0)]),
        ("a.x > ago(a.x, 7 d) * 1.5", [("", 0.0), ("ago", 604800.0)]),
        ("之前(a.s, 1 min) == open 且 ago(a.b, 1 min)", [("ago", 60.0), ("ago", 60.0)]),
        ("avg(a.x, 1 h) > avg(a.x, 60 min) * 2", [("avg", 3600.0)]),
        ("最小(a.x, 1 h) < 1 V or 最大(a.x, 1 h) > 1 V", [("min", 3600.0), ("max", 3600.0)]),
        ("总和(a.p, 1 d) > 1 or 增量(a.p, 1 d) > 1", [("sum", 86400.0), ("increase", 86400.0)]),
    ],
)
def test_windows_become_inputs(text: str, wanted: list[tuple[str, float]]) -> None:
    checker, checked, faults = check(text)
    assert checked is not None
    assert not faults
    assert [(each.function, each.limit_s) for each in checker.inputs] == wanted


def test_same_hour_and_usual_count_weeks_and_days() -> None:
    checker, checked, _ = check("同时段(a.x, 4) > 往常(a.x, 14)")
    assert checked is not None
    assert [(each.function, each.periods) for each in checker.inputs] == [("same_hour", 4), ("usual", 14)]


def test_what_is_counted() -> None:
    checker, checked, _ = check("次数(a.x > 1 kV or a.x < 100 V, 1 h) > 3 or count(a.b, 1 h) > count(a.s == open, 1 h)")
    assert checked is not None
    tests = [compiled(each.test) for each in checker.inputs if each.test is not None]
    assert [each.name for each in checker.inputs] == ["a.x", "a.b", "a.s"]
    assert [tests[0]([Slot(value)]) for value in (1001.0, 500.0, 99.0)] == [True, False, True]
    assert [tests[1]([Slot(value)]) for value in (True, False)] == [True, False]
    assert [tests[2]([Slot(value)]) for value in ("open", "closed")] == [True, False]


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("rate(m-1-1-101.energy, 1 h) > 3.6 MW", 1.01, True),
        ("rate(m-1-1-101.energy, 1 h) > 3.6 MW", 0.99, False),
        ("rate(a.t, 1 min) > 6 °C/min", 0.101, True),
        ("rate(a.t, 1 min) > 6 °C/min", 0.099, False),
        ("rate(a.u, 1 min) > 5 °C/min", 0.151, True),  # 9.06 °F a minute
        ("rate(a.u, 1 min) > 5 °C/min", 0.149, False),
        ("increase(a.t, 1 h) > 9 °F", 5.01, True),  # a difference: no offset
        ("increase(a.t, 1 h) > 9 °F", 4.99, False),
        ("a.t - ago(a.t, 1 h) > 9 °F", 1.0, False),
        ("avg(a.t, 1 h) > 86 °F", 30.01, True),
        ("avg(a.t, 1 h) > 86 °F", 30.0, False),
        ("usual(a.x, 14) * 1.5 + 2 V < 3 kV", 1998.0, True),
        ("count(a.b, 1 h) * 1 min > 3 min", 4.0, True),
    ],
)
def test_units_follow_the_point(text: str, value: float, expected: bool) -> None:
    checker, checked, faults = check(text)
    assert not faults
    assert compiled(checked)([Slot(value) for _ in checker.inputs]) is expected


# ---------------------------------------------------------------------- named values


def quantity(text: str) -> tuple[float, Unit]:
    number, _, unit = text.partition(" ")
    return float(number), WRITTEN[unit] if unit else PURE


def named(name: str, default: str, *cases: tuple[str, str], expires_after_s: float | None = None) -> NamedValue:
    parsed = [(parse(when)[0], quantity(use)) for when, use in cases]
    listed = tuple(Case(when, use, index) for index, (when, use) in enumerate(parsed) if when is not None)
    assert len(listed) == len(cases)
    return NamedValue(name, quantity(default), listed, expires_after_s)


LIMIT = named("limit", "230 V", ("a.s == open", "0.2 kV"), ("a.b", "210 V"), expires_after_s=3600.0)


@pytest.mark.parametrize(
    ("state", "truth", "x", "expected"),
    [
        ("closed", False, 229.0, False),
        ("closed", False, 231.0, True),
        ("closed", True, 211.0, True),
        ("open", True, 201.0, True),
        ("open", True, 199.0, False),
        (None, False, 229.0, False),  # an unknown case is not true
        (None, None, 231.0, True),
        (None, True, 211.0, True),
        ("open", False, None, None),
    ],
)
def test_the_first_true_case_decides(state: str | None, truth: bool | None, x: float | None, expected: bool) -> None:
    checker, checked, faults = check("a.x > limit", values={"limit": LIMIT})
    assert not faults
    assert run(compiled(checked), checker, {"a.x": x, "a.s": state, "a.b": truth}) is expected
    assert [(each.name, each.limit_s) for each in checker.inputs] == [("a.x", 0.0), ("a.s", 3600.0), ("a.b", 3600.0)]


def test_named_values_are_numbers_like_any_other() -> None:
    values = {each.name: each for each in (LIMIT, named("hot", "86 °F", ("a.b", "40 °C")), named("factor", "1.5"))}
    for text, inputs, expected in (
        ("a.y > limit", {"a.y": 0.231}, True),
        ("limit < a.y * factor", {"a.y": 0.15}, False),
        ("limit < a.y * factor", {"a.y": 0.16}, True),
        ("a.t > hot", {"a.t": 30.1, "a.b": False}, True),
        ("a.t > hot", {"a.t": 39.9, "a.b": True}, False),
        ("hot < a.u", {"a.u": 86.1, "a.b": False}, True),
        ("a.t + factor * 2 °C > hot", {"a.t": 27.1, "a.b": False}, True),
        ("a.x > limit - 30 V", {"a.x": 201.0}, True),
        ("count(a.p > factor, 1 h) > 1", {"a.p": 2.0}, True),
    ):
        checker, checked, faults = check(text, values=values)
        assert not faults, text
        assert run(compiled(checked), checker, inputs) is expected, text


def test_a_deadband_moves_a_named_limit() -> None:
    checker, checked, _ = check("a.x > limit", values={"limit": LIMIT})
    still, moved = relax(checked, 5.0, WRITTEN["V"])
    assert moved == 1
    assert [run(compiled(still), checker, {"a.x": x, "a.b": True}) for x in (205.0, 204.9)] == [True, False]


def test_faults_of_a_named_value_stand_in_the_value() -> None:
    value = named("limit", "230 V", ("a.q > 1", "1 V"), ("a.b", "5 kW"), ("a.s == opne", "5"), ("other > 1 V", "1 V"))
    checker, checked, faults = check("a.x > limit or a.y > limit", values={"limit": value, "other": LIMIT})
    assert checked is None
    path = ("values", "limit", "cases")
    assert [(fault.code, fault.path, fault.offset) for fault in faults] == [
        ("E-POINT", (*path, 0, "when"), 0),
        ("E-UNIT", (*path, 1, "use"), None),
        ("E-UNIT", (*path, 2, "use"), None),
        ("E-VALUE", (*path, 2, "when"), 7),
        ("E-POINT", (*path, 3, "when"), 0),  # a case cannot depend on another named value
    ]
    assert checker.named("limit") is None
    assert len(checker.faults) == 5


def test_a_misspelt_named_value() -> None:
    _, _, (fault,) = check("a.x > limti", values={"limit": LIMIT})
    assert (fault.code, fault.offset, fault.hint_en) == ("E-POINT", 6, 'did you mean "limit"?')


def test_a_point_comes_before_a_named_value() -> None:
    points = {"limit": POINTS["a.x"]}
    tree, _ = parse("limit > 1 V")
    assert tree is not None
    checker = Checker(points.get, lambda name: ("", ""), own_device=True, values={"limit": LIMIT})
    assert checker.condition(tree) is not None
    assert checker.inputs == [Input(Source.VALUE, "limit")]


# ---------------------------------------------------------------------- votes


@pytest.mark.parametrize(
    ("b", "c", "p", "expected"),
    [
        (True, None, 0.0, True),
        (None, None, 2.0, True),
        (None, None, 0.0, None),  # nobody has seen anything
        (None, None, None, None),
        (True, False, 0.0, False),
        (True, True, None, True),
        (None, False, 0.0, False),
    ],
)
def test_an_unknown_operand_votes_with_a_true_one(b: bool, c: bool, p: float, expected: bool | None) -> None:
    checker, checked, _ = check("at_least(2, a.b, a.c, a.p > 1)", bad_votes=True)
    assert run(compiled(checked), checker, {"a.b": b, "a.c": c, "a.p": p}) is expected


# ---------------------------------------------------------------------- what a message may show


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("a.x > 1 kV", {"a.x": 230.0}, {"value": "230 V"}),
        ("1 kV < a.x", {"a.x": 230.0}, {"value": "230 V"}),
        ("a.x > limit", {"a.x": 230.0, "a.b": True}, {"value": "230 V", "limit": "210 V"}),
        ("a.s == open", {"a.s": "closed"}, {"value": "closed"}),
        ("a.b", {"a.b": True}, {"value": "yes"}),
        ("a.b == true and a.x > 1 V", {"a.b": True, "a.x": 2.0}, {"value": "yes"}),
        ("rate(a.t, 1 min) > 8 °C/min", {"a.t": 0.2}, {"value": "12 °C/min"}),
        ("a.x - a.y > 1 kV", {"a.x": 1500.0, "a.y": 0.0}, {"value": "1.5 kV"}),
        ("avg(a.x, 1 h) > usual(a.x, 14) * 1.5 + 2 kV", {"a.x": 9.0}, {"value": "9 V", "usual": "9 V"}),
        ("count(a.x > 3 V, 1 h) > 2", {"a.x": 4.0}, {"value": "4"}),
        ("age(a.x) > 5 min or a.p > 3", {"a.x": True, "a.p": None}, {"value": "unknown", "age": "1 min 5 s"}),
        ("alarm(fire)", {"fire": True}, {}),
    ],
)
def test_messages(text: str, given: dict[str, Any], expected: dict[str, str]) -> None:
    checker, checked, faults = check(text, values={"limit": LIMIT})
    assert not faults
    program = Program(tuple(checker.inputs), compiled(checked), compiled(checked), measures=measures(checker))
    slots = [Heard(given.get(each.name)) for each in checker.inputs]
    assert {name: text.en for name, text in spoken(program, slots, 165.0).items()} == expected


@dataclass
class Heard(Slot):
    since_s: float = 100.0


def test_the_silence_of_the_own_device_and_of_another() -> None:
    tree, _ = parse("silent() > 1 min or silent(valve) > 1 min")
    assert tree is not None
    checker = Checker(POINTS.get, lambda name: ("", ""), own_device=True)
    condition = compiled(checker.condition(tree))  # type: ignore[arg-type]
    program = Program(tuple(checker.inputs), condition, condition, measures=measures(checker))
    texts = spoken(program, [Heard(False), Heard(True, 5.0)], 165.0)
    assert texts == {"silent": Text("1 分 5 秒", "1 min 5 s")}


# ---------------------------------------------------------------------- asked of a running engine


def test_an_expression_by_itself() -> None:
    inputs, measure, faults = expression("avg(a.x, 5 min) * 2", POINTS.get)
    assert measure is not None
    assert not faults
    assert [(each.name, each.function) for each in inputs] == [("a.x", "avg")]
    assert (measure.read([Slot(31.0)]), measure.unit.symbol) == (62.0, "V")
    _, state, _ = expression("a.s", POINTS.get)
    assert state is not None
    assert state.read([Slot("open")]) == "open"
    for text in ("silent() > ", "silent()", "age(a.x)", "a.q", "opne"):
        _, nothing, wrong = expression(text, POINTS.get)
        assert nothing is None
        assert wrong


def test_full_width_marks_are_accepted_and_mentioned() -> None:
    (warning,) = check("a.x ＞ 1 V")[2]
    assert (warning.code, warning.offset, warning.is_error) == ("W-FULLWIDTH", 4, False)


# ---------------------------------------------------------------------- attacks


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "a.x.__class__ == open",
        "a.__class__ == open",
        "().__class__.__mro__",
        "a.b[0]",
        "lambda: true",
        "true if a.b else false",
        "(a.b := true)",
        "[a.b for a in a]",
        "{a.b}",
        "f'{a.b}'",
        '"open" == a.s',
        "a.s == 'open'",
        "a.b; a.c",
        "a.b # a.c",
        "a.b\\n",
        "a.p ** 9 ** 9 > 1",
        "a.p // 1 > 1",
        "a.p % 2 == 1",
        "a.p << 9 > 1",
        "a.p > 1e400",
        "a.p > 0x10",
        "a.p > 1_000",
        "a.p > " + "9" * 400,
        "a.p > 9999999999999999999",
        " * ".join(["999999999999999"] * 25) + " > a.p",
        "a.p > nan",
        "a.p > inf",
        "a.p > ٣",  # Arabic-Indic three
        "а.x > 1 V",  # Cyrillic a
        "ａ.x > 1 V",  # full-width a
        "𝐚.x > 1 V",  # mathematical bold a
        "a.x\u200b > 1 V",
        "a.x\u202e > 1 V",
        "a.x\u00a0> 1 V",
        "a.x \x00> 1 V",
        "a.b and \ud800",
        "(" * 33 + "a.b" + ")" * 33,
        "not " * 33 + "a.b",
        "-" * 33 + "a.p > 1",
        "at_least(1, " * 33 + "a.b" + ")" * 33,
        "(" * 250 + "a.b" + ")" * 250,
        "1+" * 240 + "1 > a.p",
        "a.b or " * 100 + "a.b",
        "a.b" + " " * 500,
        "exec(a.b)",
        "eval(a.b) == true",
        "print()",
        "c[0].value",
        "k[0] == v0",
        "None",
        "a.b is true",
        "a.p > 1e308",
        "avg(a.x, 1e9 d) > 1 V",
        "avg(a.x, 999999999999999 d) > 1 V",
        "avg(a.x.__class__, 1 h) > 1 V",
        "avg(a.x, __import__) > 1 V",
        "avg(__builtins__, 1 h) > 1 V",
        "__class__(a.x, 1 h) > 1 V",
        "avg(*a.x, 1 h) > 1 V",
        "avg(a.x, window=1 h) > 1 V",
        "avg(a.x, 1 h)() > 1 V",
        "avg(a.x, 1 h).real > 1 V",
        "avg > 1 V",
        "count(" * 33 + "a.b" + ", 1 h) > 1" * 33,
        "same_hour(a.x, 999999999999999) > 1 V",
        "usual(a.x, -14) > 1 V",
        "alarm(__import__('os'))",
        "alarm(a.b[0])",
        "alarm((a+)+b)",
        "silent(.*) > 1 min",
        "silent(^(a+)+$) > 1 min",
        "аvg(a.x, 1 h) > 1 V",  # Cyrillic a
        "a.b 𝐚𝐧𝐝 a.c",  # mathematical bold
        "a.b ⾮ a.c",  # a radical that looks like 非
        "且",
        "a.b 且且 a.c",
        "非",
        "真(a.b)",
        "a.p > " + "9" * 15 + " * " + "9" * 15 + " * " + "9" * 15,
        "a.x > 1 " + "V/s" * 100,
    ],
)
def test_attacks_are_refused_at_load(text: str) -> None:
    _, checked, faults = check(text)
    assert checked is None
    assert any(fault.is_error for fault in faults)


def test_what_is_just_allowed() -> None:
    assert evaluate("(" * 32 + "a.b" + ")" * 32, b=True) is True
    assert evaluate("a.b or " * 66 + "a.b", b=True) is True
    assert evaluate("a.p < 999999999999999", p=1.0) is True


def test_words_reach_the_function_only_as_data() -> None:
    word = "'); raise SystemExit('"
    condition = compiled(Comparison("==", Load(0), Const(word)))
    assert condition([Slot(word)]) is True
    assert condition([Slot("open")]) is False


_WORDS = [*_KINDS, *"()+-*/<>=,且或非", "and", "or", "not", "5 V", "1 h", "4", "limit", "open", "m-1"]
_WORDS += [f"{function}(" for function in (*FUNCTIONS, "平均", "无数据")]


@settings(max_examples=300)
@given(st.text(max_size=520) | st.lists(st.sampled_from(_WORDS), max_size=30).map(" ".join))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    checker, checked, faults = check(text, values={"limit": LIMIT})
    assert (checked is None) == any(fault.is_error for fault in faults)
    if checked is not None:
        assert run(compiled(checked), checker, {}) in (None, True, False)
    assert all(fault.offset is not None and 0 <= fault.offset <= len(text) for fault in faults)


# ---------------------------------------------------------------------- against a slow interpreter

_VOLTS, _PURE = ("1 V", "250 V", "0.5 kV", "-3 V", "0 V"), ("0", "1", "2.5", "-4")
_COMPARISON = st.sampled_from([">", ">=", "<", "<=", "==", "!="])


def _numbers(depth: int) -> tuple[st.SearchStrategy[str], st.SearchStrategy[str]]:
    """Texts of voltages and of pure numbers."""
    volts = st.sampled_from(["a.x", "a.y", *_VOLTS])
    pure = st.sampled_from(["a.p", *_PURE])
    for _ in range(depth):
        v, p = volts, pure
        volts = v | st.builds("({} {} {})".format, v, st.sampled_from("+-"), v) | st.builds("({} * {})".format, p, v)
        volts |= st.builds("({} / {})".format, v, p) | st.builds("(-{})".format, v)
        pure = p | st.builds("({} {} {})".format, p, st.sampled_from("+-*/"), p) | st.builds("({} / {})".format, v, v)
    return volts, pure


def _conditions() -> st.SearchStrategy[str]:
    volts, pure = _numbers(2)
    simple = (
        st.builds("{} {} {}".format, volts, _COMPARISON, volts)
        | st.builds("{} {} {}".format, pure, _COMPARISON, pure)
        | st.sampled_from(["a.b", "a.c == false", "a.s == open", "closed != a.s", "true"])
        | st.builds("a.t {} {}".format, st.sampled_from("<>"), st.sampled_from(["a.u", "77 °F", "25 °C", "300 K"]))
        | st.builds("a.t - a.u {} {}".format, st.sampled_from("<>"), st.sampled_from(["5 °C", "7 °F", "3 K"]))
    )
    return st.recursive(
        simple,
        lambda inner: (
            st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
            | st.builds("not ({})".format, inner)
            | st.lists(inner, min_size=1, max_size=3).flatmap(
                lambda parts: st.integers(1, len(parts)).map(lambda n: f"at_least({n}, {', '.join(parts)})")
            )
        ),
        max_leaves=6,
    )


_NUMBER = st.none() | st.sampled_from([0.0, 1.0, -2.5, 249.0, 250.0, 251.5, 1e300]) | st.floats(-1e6, 1e6)
_VALUES = st.fixed_dictionaries(
    dict.fromkeys(("a.x", "a.y", "a.p", "a.t", "a.u"), _NUMBER)
    | {name: st.sampled_from([None, True, False]) for name in ("a.b", "a.c")}
    | {"a.s": st.sampled_from([None, "open", "closed"])}
)


class _TooClose(Exception):
    """The two sides differ by no more than rounding: either answer is right."""


def interpret(node: Node, values: Mapping[str, Any], *, distance: bool = False) -> Any:
    """Numbers in base units.  distance: temperatures count without their offset."""
    match node:
        case Number(value=value, unit=unit):
            return value * unit.factor + (0.0 if distance else unit.offset)
        case Truth(value=value):
            return value
        case Name(text=text) if text in POINTS:
            value, own = values[text], of_point(POINTS[text].unit)
            assert own is not None
            return value * own.factor + own.offset if isinstance(value, float) else value
        case Name(text=text):
            return text
        case Minus(operand=operand):
            value = interpret(operand, values)
            return None if value is None else -value
        case Arithmetic(operator=operator, left=left, right=right):
            return _calculate(operator, interpret(left, values), interpret(right, values))
        case Compare():
            return _interpret_compare(node, values)
        case Not(operand=operand):
            truth = interpret(operand, values)
            return None if truth is None else not truth
        case Logic(operator=operator, operands=operands):
            truths = [interpret(each, values) for each in operands]
            decisive = operator == "or"
            return decisive if decisive in truths else None if None in truths else not decisive
        case Call(function="at_least", arguments=(Number(value=wanted), *rest)):
            truths = [interpret(each, values) for each in rest]
            true, unknown = truths.count(True), truths.count(None)
            return True if true >= wanted else False if true + unknown < wanted else None
    raise AssertionError(node)


def _interpret_compare(node: Compare, values: Mapping[str, Any]) -> bool | None:
    left = interpret(node.left, values)
    right = interpret(node.right, values, distance=isinstance(node.left, Arithmetic))
    if left is None or right is None:
        return None
    if isinstance(left, float) and abs(left - right) <= 1e-9 * max(abs(left), abs(right), 1e-3):
        raise _TooClose
    answers = {
        ">": lambda: left > right,
        ">=": lambda: left >= right,
        "<": lambda: left < right,
        "<=": lambda: left <= right,
        "==": lambda: left == right,
        "!=": lambda: left != right,
    }
    answer: bool = answers[node.operator]()
    return answer


def _calculate(operator: str, left: Any, right: Any) -> float | None:
    if left is None or right is None or (operator == "/" and right == 0.0):
        return None
    result: float = {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
    }[operator]()
    return result if math.isfinite(result) else None


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(_conditions(), _VALUES)
def test_the_compiled_function_agrees_with_the_interpreter(text: str, values: dict[str, Any]) -> None:
    checker, checked, faults = check(text)
    assert {fault.code for fault in faults} <= {"E-VALUE"}, faults  # a literal division by zero
    assume(checked is not None)
    tree = parse(text)[0]
    assert tree is not None
    # Beyond these the order of two multiplications decides whether a result still fits into a float.
    assume(all(not value or 1e-100 < abs(value) < 1e100 for value in values.values() if isinstance(value, float)))
    try:
        expected = interpret(tree, values)
    except _TooClose:
        assume(False)
    assert run(compiled(checked), checker, values) is expected


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(_conditions(), _VALUES, st.sampled_from([0.5, 3.0, 100.0]))
def test_a_deadband_only_widens(text: str, values: dict[str, Any], deadband: float) -> None:
    checker, checked, _ = check(text)
    assume(checked is not None)
    still, moved = relax(checked, deadband, WRITTEN["V"])
    when, held = run(compiled(checked), checker, values), run(compiled(still), checker, values)
    order = [False, None, True]
    assert order.index(held) >= order.index(when)
    if not moved:
        assert held is when
