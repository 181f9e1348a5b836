"""Rule files: every fault at once, each in its place, and nothing that raises or is silently ignored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.config.yaml12 import load_yaml
from gateway.model import Device, Place, Point, Priority, Text, ValueKind
from rules import definition
from rules.account import account
from rules.alarm import Chatter, NoData, Timing
from rules.aliases import KEYS, english
from rules.calendar import Schedule
from rules.definition import read_rules
from rules.faults import RuleFault
from rules.reader import ACTION_KEYS, JOB_KEYS, RULE_KEYS, SCHEDULE_KEYS, SITE_KEYS
from rules.rule import (
    Action,
    Confirm,
    Escalation,
    Hook,
    Job,
    Mode,
    Rate,
    Reset,
    RuleSet,
    While,
)
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
        ({"name": {"de": "x"}}, "E-KEY", ("name", "de")),
        ({"name": {}}, "E-MISSING", ("name",)),
        ({"name": 5}, "E-TYPE", ("name",)),
        ({"message": "{g1.lell}"}, "E-POINT", ("message",)),
        ({"message": {"zh": "好", "en": "{nobody}"}}, "E-POINT", ("message", "en")),
        ({"message": "a } b"}, "E-SYNTAX", ("message",)),
        ({"response": "run"}, "E-TYPE", ("response",)),
        ({"response": {"zh": "跑", "within": "now"}}, "E-VALUE", ("response", "within")),
        ({"for_each": "power_meter"}, "E-TYPE", ("for_each",)),
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


@pytest.mark.parametrize("when", ["voltage > 250 V and tripped == true", "voltage > 250 V and false != tripped"])
def test_a_truth_that_a_device_lacks_is_a_point_and_no_wrong_state(when: str) -> None:
    able = device("m9", "power_meter", number("m9.voltage"), Point("m9.tripped", ValueKind.BOOLEAN, Text("", ""), 10.0))
    rules, faults = read_rules(
        {"format": "rules/1", "rules": [rule(for_each={"type": "power_meter"}, when=when)]}, (*DEVICES, able)
    )
    assert [watch.device for watch in rules.watches] == ["m9"]
    assert {fault.code for fault in faults} == {"W-NOMATCH"}


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
    assert {english(key) for key in properties} == set(RULE_KEYS)
    for part, keys in (("job", JOB_KEYS), ("action", ACTION_KEYS), ("schedule", SCHEDULE_KEYS)):
        assert {english(key) for key in schema["$defs"][part]["properties"]} == set(keys)
    assert {english(key) for key in schema["properties"]["site"]["properties"]} == set(SITE_KEYS)


def test_the_shipped_examples_agree_with_the_schema() -> None:
    validator = Draft202012Validator(json_schema())
    found = list((Path(definition.__file__).parent / "library").glob("*.yaml"))
    assert len(found) >= 3
    for path in found:
        document = load_yaml(path.read_text(encoding="utf-8"), path.name)
        assert not list(validator.iter_errors(document.data)), path.name


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"for": "3 min", "clear_after": 0, "deadband": "1 %LEL", "name": {"zh": "x"}, "mode": "shadow"},
        {"for_each": {"type": ["a", "b"], "floor": 3}, "response": {"en": "run", "within": "1 h"}},
        {"latch": True},
        {"latch": "yes"},
        {"优先": "高"},
        {"级别": "高", "持续": "3 min", "回差": "1 %LEL"},
        {"chatter": {"raises": 3, "within": "60s", "calm": "2 min"}},
        {"chatter": {"raises": 3, "within": "60s"}},
        {"on_alarm": [{"send": "valve.close", "hold": True}]},
        {"on_alarm": [{"send": "close"}]},
        {"on_alarm": [{"send": "valve.close", "holds": True}]},
        {"escalate": [{"after": "2 min", "to": "manager"}]},
        {"escalate": [{"after": "2 min"}]},
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


# ---------------------------------------------------------------------- the rest of the format

FULL = {
    "id": "gas_leak",
    "name": {"zh": "燃气泄漏", "en": "Gas leak"},
    "for_each": {"type": "gas_detector"},
    "when": "lel >= 10 %LEL",
    "for": "3s",
    "clear_after": "60s",
    "only_during": "night",
    "priority": "critical",
    "latch": True,
    "reset": {"who": ["safety_officer"], "reason": "required"},
    "shelve": "never",
    "bad_counts_as": "vote",
    "if_no_data": "alarm",
    "no_data_after": "60s",
    "act_on_no_data": False,
    "suppress_when": "lel > 99 %LEL",
    "wait_for_parent": "30s",
    "chatter": {"raises": 3, "within": "60s", "calm": "2 min"},
    "backlog": "record",
    "escalate": [{"after": "2 min", "to": "manager"}],
    "notify": ["guard"],
    "on_alarm": [
        {
            "send": "valve.close",
            "hold": True,
            "confirm": {"point": "lel", "is": 0, "within": "15s"},
            "tries": 3,
            "else": ["main.close"],
        },
        {"send": "siren.start", "while": "unack"},
        {"send": "lift.hold_door", "at_most_for": "60s"},
        {"send": "camera.snapshot", "keep": "30 d", "at_most": "1 per 10 min"},
    ],
    "message": {"zh": "{where} 燃气 {lel}", "en": "{where} gas {lel}"},
    "response": {"zh": "疏散", "en": "Evacuate", "within": "2 min"},
}
CHINESE_WORDS = {
    "critical": "紧急", "required": "需要", "never": "从不", "vote": "表决", "alarm": "报警", "record": "记录",
    "unack": "未确认期间",
}  # fmt: skip
CHINESE_KEYS = {key: alias for alias, key in KEYS.items()}


def in_chinese(data: Any, key: str = "") -> Any:
    match data:
        case dict():
            return {CHINESE_KEYS.get(name, name): in_chinese(value, name) for name, value in data.items()}
        case list():
            return [in_chinese(each) for each in data]
        case str() if key in ("priority", "reason", "shelve", "bad_counts_as", "if_no_data", "backlog", "while"):
            return CHINESE_WORDS[data]
        case _:
            return data


def test_a_rule_may_be_written_in_chinese() -> None:
    schedules = {"night": {"daily": "22:00-06:00", "weekdays": "mon-fri", "except": "2026-10-01"}}
    whole = {"format": "rules/1", "site": {"timezone": "Asia/Shanghai"}, "schedules": schedules, "rules": [FULL]}
    english_set, faults = read_rules(whole, DEVICES)
    assert faults == ()
    chinese = in_chinese(whole)
    assert "规则" in chinese
    assert chinese["规则"][0]["级别"] == "紧急"
    chinese_set, faults = read_rules(chinese, DEVICES)
    assert faults == ()
    (one,), (other,) = english_set.rules, chinese_set.rules
    assert replace(one, written={}, basis="") == replace(other, written={}, basis="")
    assert english_set.watches[0].actions == chinese_set.watches[0].actions
    assert english_set.site == chinese_set.site


def test_a_fault_names_the_key_as_it_was_written() -> None:
    document = load_yaml("格式: rules/1\n规则:\n- 编号: a\n  条件: g1.lel > 10\n  持读: 3 min\n", "f")
    faults = read_rules(document.data, DEVICES)[1]
    assert [(fault.code, fault.path) for fault in faults] == [
        ("E-KEY", ("规则", 0, "持读")),
        ("E-NOUNIT", ("规则", 0, "条件")),
    ]
    assert [document.locate(fault.path, key=fault.on_key, offset=fault.offset or 0) for fault in faults] == [
        (5, 3),
        (4, 16),
    ]


def test_what_full_says_is_what_comes_out() -> None:
    night = {"night": {"daily": "22:00-06:00"}}
    (watch,) = read(FULL, schedules=night)[0].watches
    rule_ = watch.rule
    assert rule_.timing == Timing(3.0, 60.0, NoData.ALARM, latched=True, chatter=Chatter(3, 60.0, 120.0))
    assert (rule_.reset, rule_.longest_shelf_s, rule_.wait_for_parent_s) == (
        Reset(("safety_officer",), True),
        0.0,
        30.0,
    )
    assert rule_.only_during == Schedule(79200.0, 21600.0)
    assert (rule_.escalate, rule_.notify) == ((Escalation(120.0, "manager"),), ("guard",))
    close, siren, hold, picture = watch.actions
    assert close == Action(Hook.ALARM, "valve.close", True, None, Confirm("g1.lel", 0, 15.0), 3, ("main.close",))
    assert (siren.during, hold.at_most_for_s, picture.keep_s) == (While.UNACK, 60.0, 30 * 86400.0)
    assert picture.at_most == Rate(1, 600.0)


@pytest.mark.parametrize(
    ("keys", "code", "path"),
    [
        ({"latch": 1}, "E-TYPE", ("latch",)),
        ({"latch": True, "ack": "auto"}, "E-VALUE", ("latch",)),
        ({"shelve": 8}, "E-NOUNIT", ("shelve",)),
        ({"only_during": "nigth"}, "E-VALUE", ("only_during",)),
        ({"only_during": {"daily": "2-4"}}, "E-VALUE", ("only_during", "daily")),
        ({"only_during": {"weekdays": "mon-fry"}}, "E-VALUE", ("only_during", "weekdays")),
        ({"only_during": {"except": "2026-13-01"}}, "E-VALUE", ("only_during", "except")),
        ({"chatter": {"raises": 1, "within": "60s", "calm": "2 min"}}, "E-VALUE", ("chatter", "raises")),
        ({"chatter": {"raises": 3}}, "E-MISSING", ("chatter",)),
        ({"escalate": [{"after": "2 min"}]}, "E-MISSING", ("escalate", 0)),
        ({"reset": {"who": ["a"], "reason": "maybe"}}, "E-VALUE", ("reset", "reason")),
        ({"on_alarm": []}, "E-TYPE", ("on_alarm",)),
        ({"on_alarm": [{"send": "valve"}]}, "E-VALUE", ("on_alarm", 0, "send")),
        ({"on_alarm": [{"hold": True}]}, "E-MISSING", ("on_alarm", 0)),
        ({"on_alarm": [{"send": "v.close", "tries": 3}]}, "E-INTERLOCK", ("on_alarm", 0, "tries")),
        ({"on_alarm": [{"send": "v.close", "hold": True, "at_most": "1 per 10 min"}]}, "E-INTERLOCK",
         ("on_alarm", 0, "at_most")),
        ({"on_clear": [{"send": "v.close", "hold": True}]}, "E-INTERLOCK", ("on_clear", 0, "hold")),
        ({"on_alarm": [{"send": "v.close", "at_most": "often"}]}, "E-VALUE", ("on_alarm", 0, "at_most")),
        ({"on_alarm": [{"send": "v.close"}], "if_no_data": "alarm"}, "E-INTERLOCK", ("on_alarm",)),
        ({"on_alarm": [{"send": "v.close", "confirm": {"point": "g9.lel", "is": 0, "within": "5s"}}]}, "E-POINT",
         ("on_alarm", 0, "confirm", "point")),
        ({"values": {"limit": {}}}, "E-MISSING", ("values", "limit")),
        ({"values": {"limit": {"default": "20 furlong"}}}, "E-UNIT", ("values", "limit", "default")),
        ({"priority": "high", "级别": "高"}, "E-DUP", ("级别",)),
    ],
)  # fmt: skip
def test_one_fault_of_the_rest_in_its_place(keys: dict[str, Any], code: str, path: tuple[str, ...]) -> None:
    found, faults = read(rule(**keys))
    assert [(fault.code, fault.path[2:]) for fault in faults if fault.is_error] == [(code, path)]
    assert found.rules == ()


def test_rules_that_wait_for_each_other_are_refused() -> None:
    one = rule(id="one", suppress_when="alarm(two)")
    two = rule(id="two", suppress_when="alarm(three)")
    three = rule(id="three", suppress_when="alarm(one)")
    found = [fault for fault in read(one, two, three)[1] if fault.code == "E-CYCLE"]
    assert [fault.path for fault in found] == [("rules", index, "suppress_when") for index in range(3)]
    assert "one → two → three → one" in found[0].en
    assert [fault.code for fault in read(rule(id="a", suppress_when="alarm(a)"))[1]] == ["E-CYCLE"]


def test_what_can_be_sent_is_checked_where_it_is_known() -> None:
    data = {"format": "rules/1", "rules": [rule(on_alarm=[{"send": "valve1.close"}, {"send": "valve2.close"}])]}
    known = {"valve1": frozenset({"open", "close"}), "g1": frozenset({"mute"})}
    (fault,) = read_rules(data, DEVICES, known)[1]
    assert (fault.code, fault.path, fault.hint_en) == (
        "E-ACTION", ("rules", 0, "on_alarm", 1, "send"), 'did you mean "valve1"?'
    )  # fmt: skip
    data["rules"] = [rule(on_alarm=[{"send": "valve1.clse"}])]
    assert [fault.hint_en for fault in read_rules(data, DEVICES, known)[1]] == ['did you mean "close"?']


def test_an_optional_action_is_left_out_where_nobody_has_the_role() -> None:
    devices = (
        replace(device("d1", "door", number("d1.angle", "deg")), roles={"voice": "s1"}),
        device("d2", "door", number("d2.angle", "deg")),
        device("s1", "speaker", number("s1.volume", "%")),
    )
    send: dict[str, Any] = {"send": "voice.speak", "confirm": {"point": "voice.volume", "is": 1, "within": "5s"}}
    written = rule(for_each={"type": "door"}, when="angle > 5 deg", on_alarm=[send])

    def found(**keys: Any) -> tuple[list[list[str]], list[str]]:
        data = {"format": "rules/1", "rules": [{**written, "on_alarm": [send | keys]}]}
        made, faults = read_rules(data, devices, {"s1": frozenset({"speak"})})
        sent = [[action.send for action in watch.actions] for watch in made.watches]
        return sent, [f"{fault.code} {'.'.join(map(str, fault.path[2:]))}" for fault in faults]

    assert found(optional=True) == ([["s1.speak"], []], ["W-NOMATCH on_alarm.0.send"])
    assert found(optional=False) == ([], ["E-ACTION on_alarm.0.send", "E-POINT on_alarm.0.confirm.point"])
    assert found(optional=True, send="voice.sing")[1][0] == "E-ACTION on_alarm.0.send", "it has the role and cannot"


def test_what_is_optional_stands_in_the_account() -> None:
    made, _ = read(rule(on_alarm=[{"send": "m1.open", "optional": True}]))
    (written,) = made.rules
    assert any("left out for a device without this role" in text.en for text in account(written, made.watches))


def test_a_job_runs_at_a_time_of_day() -> None:
    found, faults = read({"id": "report", "at": "02:30", "on_alarm": [{"send": "printer.print"}]})
    assert faults == ()
    assert found.jobs == (Job("report", Text("report", "report"), 9000.0, (Action(Hook.ALARM, "printer.print"),)),)
    (fault,) = read({"id": "report", "at": "25:00"})[1]
    assert (fault.code, fault.path) == ("E-VALUE", ("rules", 0, "at"))


def test_devices_are_chosen_by_area_and_by_the_points_that_they_have() -> None:
    devices = (
        replace(device("a", "meter", number("a.power", "W"), number("a.flow", "L/h")), area="common"),
        replace(device("b", "meter", number("b.power", "W")), area="common"),
        replace(device("c", "meter", number("c.power", "W")), area="shops"),
    )

    def chosen(**for_each: Any) -> list[str | None]:
        written = {"id": "r", "for_each": {"type": "meter", **for_each}, "when": "power > 1 W", "priority": "low"}
        made, faults = read_rules({"format": "rules/1", "rules": [written]}, devices)
        assert [fault.code for fault in faults] == ([] if made.watches else ["W-NOMATCH"])
        return [watch.device for watch in made.watches]

    assert chosen() == ["a", "b", "c"]
    assert chosen(area="common") == ["a", "b"]
    assert chosen(area=["common", "shops"], **{"with": "power"}) == ["a", "b", "c"]
    devices = (replace(devices[0], roles={"tank": "b"}), *devices[1:])
    assert chosen(**{"with": "tank.power"}) == ["a"], "a point of a role"
    assert chosen(**{"with": ["power", "flow"]}) == ["a"]
    assert chosen(area="shops", **{"with": "flow"}) == []


def test_a_point_that_some_devices_lack_is_a_warning_also_beside_a_truth() -> None:
    def door(name: str, *points: str) -> Device:
        made = [Point(f"{name}.{each}", ValueKind.BOOLEAN, Text("", ""), 60.0) for each in points]
        return Device(name, "door", Text("", ""), Place(), "test", tuple(made))

    written = {"id": "r", "for_each": {"type": "door"}, "when": "forced == true", "priority": "low"}
    devices = (door("d1", "forced"), door("d2", "held"))
    made, faults = read_rules({"format": "rules/1", "rules": [written]}, devices)
    assert [fault.code for fault in faults] == ["W-NOMATCH"]
    assert [watch.device for watch in made.watches] == ["d1"]
