"""Rule files: every fault at once, each in its place, and nothing that raises or is silently ignored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.config.yaml12 import load_yaml
from gateway.model import Device, Place, Point, Priority, Text, ValueKind
from rules.definition import read_rules
from rules.faults import RuleFault
from rules.reader import RULE_KEYS
from rules.rule import Mode, RuleSet
from rules.schema import json_schema


def device(name: str, kind: str, *points: Point, **place: str) -> Device:
    return Device(name, kind, Text(name, name), Place(**place), "test", points)


def number(point_id: str, unit: str | None = "V") -> Point:
    return Point(point_id, ValueKind.NUMBER, Text("", ""), 10.0, unit)


DEVICES = (
    device("m1", "power_meter", number("m1.voltage"), building="B1", floor="3"),
    device("m2", "power_meter", number("m2.voltage"), building="B2"),
    device("m3", "power_meter", number("m3.voltage", "kV"), building="B2"),
    device("g1", "gas_detector", number("g1.lel", "%[LEL]")),
)


def read(*rules: Any, **top: Any) -> tuple[RuleSet, tuple[RuleFault, ...]]:
    return read_rules({"format": "rules/1", **top, "rules": list(rules)}, DEVICES)


def rule(**keys: Any) -> dict[str, Any]:
    return {"id": "r", "when": "g1.lel > 10 %LEL", **keys}


@pytest.mark.parametrize(
    ("keys", "code", "path"),
    [
        ({"id": "1st"}, "E-VALUE", ("id",)),
        ({"id": 7}, "E-VALUE", ("id",)),
        ({"when": True}, "E-TYPE", ("when",)),
        ({"when": "true"}, "E-VALUE", ("when",)),
        ({"when": "g1.lel > 10"}, "E-NOUNIT", ("when",)),
        ({"clear_when": "g1.lel > 10"}, "E-NOUNIT", ("clear_when",)),
        ({"deadband": "2 %LEL", "clear_when": "g1.lel < 5 %LEL"}, "E-VALUE", ("deadband",)),
        ({"deadband": 2}, "E-NOUNIT", ("deadband",)),
        ({"deadband": "2 V"}, "E-UNIT", ("deadband",)),
        ({"deadband": "2 lel"}, "E-UNIT", ("deadband",)),
        ({"deadband": "-2 %LEL"}, "E-VALUE", ("deadband",)),
        ({"deadband": True}, "E-VALUE", ("deadband",)),
        ({"for": 90}, "E-NOUNIT", ("for",)),
        ({"for": "90"}, "E-VALUE", ("for",)),
        ({"for": "-3 s"}, "E-VALUE", ("for",)),
        ({"for": "400 d"}, "E-VALUE", ("for",)),
        ({"clear_after": "soon"}, "E-VALUE", ("clear_after",)),
        ({"no_data_after": 0}, "E-VALUE", ("no_data_after",)),
        ({"priority": "hi"}, "E-VALUE", ("priority",)),
        ({"priority": ["high"]}, "E-VALUE", ("priority",)),
        ({"mode": False}, "E-VALUE", ("mode",)),
        ({"ack": "never"}, "E-VALUE", ("ack",)),
        ({"if_no_data": "raise"}, "E-VALUE", ("if_no_data",)),
        ({"backlog": "record"}, "E-UNBUILT", ("backlog",)),
        ({"name": {"de": "x"}}, "E-KEY", ("name", "de")),
        ({"name": {}}, "E-MISSING", ("name",)),
        ({"name": 5}, "E-TYPE", ("name",)),
        ({"message": "{g1.lell}"}, "E-POINT", ("message",)),
        ({"message": {"zh": "好", "en": "{nobody}"}}, "E-POINT", ("message", "en")),
        ({"message": "a } b"}, "E-SYNTAX", ("message",)),
        ({"response": "run"}, "E-TYPE", ("response",)),
        ({"response": {"zh": "跑", "within": "now"}}, "E-VALUE", ("response", "within")),
        ({"for_each": "power_meter"}, "E-TYPE", ("for_each",)),
        ({"for_each": {"type": "power_meter", "area": "common"}}, "E-UNBUILT", ("for_each", "area")),
        ({"for_each": {"type": "power_meter", "bilding": "B1"}}, "E-KEY", ("for_each", "bilding")),
        ({"for_each": {"building": "B1"}}, "E-MISSING", ("for_each",)),
        ({"for_each": {"type": []}}, "E-TYPE", ("for_each", "type")),
        ({"whem": "x"}, "E-KEY", ("whem",)),
    ],
)
def test_one_fault_in_its_place(keys: dict[str, Any], code: str, path: tuple[str, ...]) -> None:
    rules, faults = read(rule(**keys))
    assert [(fault.code, fault.path[2:]) for fault in faults if fault.is_error] == [(code, path)]
    assert rules.rules == ()


@pytest.mark.parametrize(
    ("data", "code", "path"),
    [
        (None, "E-TYPE", ()),
        ([], "E-TYPE", ()),
        ({"rules": []}, "E-MISSING", ()),
        ({"format": "rules/2", "rules": []}, "E-VALUE", ("format",)),
        ({"format": "rules/1"}, "E-MISSING", ()),
        ({"format": "rules/1", "rules": {}}, "E-TYPE", ("rules",)),
        ({"format": "rules/1", "rules": ["x"]}, "E-TYPE", ("rules", 0)),
        ({"format": "rules/1", "rules": [{"when": "g1.lel > 1 %LEL"}]}, "E-MISSING", ("rules", 0)),
        ({"format": "rules/1", "rules": [{"id": "x"}]}, "E-MISSING", ("rules", 0)),
        ({"format": "rules/1", "rules": [], "rulez": []}, "E-KEY", ("rulez",)),
        ({"format": "rules/1", "rules": [rule()] * 2001}, "E-TYPE", ("rules",)),
    ],
)
def test_the_shape_of_the_file(data: object, code: str, path: tuple[str | int, ...]) -> None:
    assert [(fault.code, fault.path) for fault in read_rules(data, DEVICES)[1]] == [(code, path)]


def test_every_fault_at_once_and_the_good_rules_besides() -> None:
    rules, faults = read(
        {"id": "a", "when": "g1.lel > 10", "fro": "3s", "priority": "hi"},
        {"id": "good", "when": "g1.lel > 10 %LEL"},
        {"id": "good", "when": "g1.lel > 20 %LEL"},
        {"id": "b", "when": "g1.lell > 10 %LEL and g1.lel > 3 V"},
    )
    assert [fault.code for fault in faults] == ["E-KEY", "E-VALUE", "E-DUP", "E-NOUNIT", "E-POINT", "E-UNIT"]
    assert [each.id for each in rules.rules] == ["good"]


def test_defaults_and_what_is_carried() -> None:
    (made,) = read(
        rule(
            name={"zh": "燃气"},
            priority="high",
            response={"zh": "撤离", "within": "2 min"},
            message={"zh": "{where}", "en": "{where} {value}"},
            **{"for": "1 h 30 min", "if_no_data": "alarm", "no_data_after": "60s", "ack": "auto"},
        )
    )[0].rules
    assert (made.name, made.priority, made.mode) == (Text("燃气", "燃气"), Priority.HIGH, Mode.LIVE)
    assert (made.timing.on_s, made.timing.off_s, made.timing.auto_ack) == (5400.0, 0.0, True)
    assert (made.no_data_after_s, made.response, made.response_within_s) == (60.0, Text("撤离", "撤离"), 120.0)
    (plain,) = read(rule())[0].rules
    assert (plain.priority, plain.timing.on_s, plain.no_data_after_s) == (Priority.MEDIUM, 0.0, None)


def test_for_each_binds_one_watch_per_device_and_one_program_per_unit() -> None:
    rules, faults = read(rule(for_each={"type": "power_meter"}, when="voltage > 250 V"))
    assert not faults
    assert [(watch.device, watch.targets) for watch in rules.watches] == [
        ("m1", ("m1.voltage",)),
        ("m2", ("m2.voltage",)),
        ("m3", ("m3.voltage",)),
    ]
    first, second, third = (watch.program for watch in rules.watches)
    assert first is second
    assert first is not third


@pytest.mark.parametrize(
    ("for_each", "found"),
    [
        ({"type": "power_meter", "building": "B2"}, ["m2", "m3"]),
        ({"type": ["gas_detector", "power_meter"], "building": ["B1", "B9"]}, ["m1"]),
        ({"type": "power_meter", "floor": 3}, ["m1"]),
        ({"type": "any", "building": "B1"}, ["m1"]),
    ],
)
def test_places_choose_devices(for_each: dict[str, Any], found: list[str]) -> None:
    rules, faults = read(rule(for_each=for_each, when="voltage > 250 V"))
    assert not faults
    assert [watch.device for watch in rules.watches] == found


def test_devices_without_the_point_are_named_not_dropped_silently() -> None:
    rules, faults = read(rule(for_each={"type": "any"}, when="voltage > 250 V"))
    assert len(rules.watches) == 3
    (warning,) = faults
    assert (warning.code, warning.path, warning.is_error) == ("W-NOMATCH", ("rules", 0, "for_each"), False)
    assert "g1" in warning.en
    assert "voltage" in warning.en


def test_no_device_is_a_warning_with_a_hint_and_functions_are_still_checked() -> None:
    rules, faults = read(rule(for_each={"type": "power_metr"}, when="voltage > 250 V and agv(x) > 1"))
    assert [(fault.code, fault.hint_en) for fault in faults] == [
        ("W-NOMATCH", 'did you mean "power_meter"?'),
        ("E-FUNC", 'did you mean "avg"?'),
    ]
    assert rules.watches == ()


def test_hints_for_points() -> None:
    faults = read(
        {"id": "a", "when": "g1.lell > 1 %LEL"},
        {"id": "b", "when": "gl1.lel > 1 %LEL"},
        {"id": "c", "for_each": {"type": "power_meter"}, "when": "voltag > 1 V"},
        {"id": "d", "when": "lel > 1 %LEL"},
        {"id": "e", "when": "g1-m1.voltage > 1 V"},
    )[1]
    assert [(fault.code, fault.hint_en) for fault in faults] == [
        ("E-POINT", 'did you mean "g1.lel"?'),
        ("E-POINT", 'did you mean "g1"?'),
        ("E-POINT", 'did you mean "voltage"?'),
        ("E-POINT", "write device.point"),
        ("E-POINT", "put spaces around a minus sign"),
    ]


def test_without_devices_only_what_needs_none_is_checked() -> None:
    rules, faults = read_rules(
        {"format": "rules/1", "rules": [rule(), {"id": "b", "when": "x > and"}, {"id": "c", "when": "agv(x) > 1"}]},
        None,
    )
    assert [fault.code for fault in faults] == ["E-SYNTAX", "E-FUNC"]
    assert ([each.id for each in rules.rules], rules.watches) == (["r"], ())


def test_a_rule_that_is_off_is_checked_but_watches_nothing() -> None:
    rules, faults = read(rule(mode="off"), {"id": "bad", "mode": "off", "when": "g1.lel > 1"})
    assert [fault.code for fault in faults] == ["E-NOUNIT"]
    assert ([each.id for each in rules.rules], rules.watches) == (["r"], ())


def test_only_the_condition_counts_for_the_fingerprint() -> None:
    def basis(**keys: Any) -> str:
        return read(rule(**keys))[0].rules[0].basis

    assert basis() == basis(priority="low", message="x", **{"for": "3s"}) == basis(when=" g1.lel  > 10 %LEL ")
    assert (
        len({basis(), basis(when="g1.lel > 11 %LEL"), basis(deadband="1 %LEL"), basis(clear_when="g1.lel < 1 %LEL")})
        == 4
    )


_KEYS = st.sampled_from([*RULE_KEYS, "type", "zh", "en", "within", "x"]) | st.integers()
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_DATA = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*RULE_KEYS, "type", "zh", "en", "within", "x"]) | st.integers(), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(_DATA)
def test_no_data_makes_the_reader_raise(data: Any) -> None:
    read_rules(data, DEVICES)
    read(data, rule(**data) if isinstance(data, dict) and all(isinstance(key, str) for key in data) else data)


# ---------------------------------------------------------------------- the schema


def test_the_schema_knows_the_same_keys() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    properties = schema["$defs"]["rule"]["properties"]
    assert tuple(properties) == RULE_KEYS


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"for": "3 min", "clear_after": 0, "deadband": "1 %LEL", "name": {"zh": "x"}, "mode": "shadow"},
        {"for_each": {"type": ["a", "b"], "floor": 3}, "response": {"en": "run", "within": "1 h"}},
        {"latch": True},
        {"for": 90},
        {"priority": "hi"},
        {"for_each": {"building": "B1"}},
        {"backlog": "record"},
    ],
)
def test_the_schema_agrees_with_the_check(keys: dict[str, Any]) -> None:
    written = rule(**keys)
    accepted = Draft202012Validator(json_schema()).is_valid({"format": "rules/1", "rules": [written]})
    complained = {fault.code for fault in read_rules({"format": "rules/1", "rules": [written]}, None)[1]}
    assert accepted == (not complained)


def test_places_inside_yaml_scalars() -> None:
    text = "format: rules/1\nrules:\n- id: a\n  when: >-\n    g1.lel > 10 %LEL\n    and g1.lell > 3 %LEL\n"
    document = load_yaml(text, "f")
    (fault,) = read_rules(document.data, DEVICES)[1]
    assert document.locate(fault.path, offset=fault.offset or 0) == (6, 9)
