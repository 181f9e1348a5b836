"""Test files of rules: what a wrong one says, how a case is played, and that no file ends in a traceback."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.case_files import CaseFile, read_case_file, read_text
from gateway.config.yaml12 import load_yaml
from rules.casefile import Message, Sample, Shared, Written, read_cases
from rules.caseplay import play
from rules.faults import RuleFault
from rules.plain import Reader

HERE = Path(__file__).parent
HEAD = """\
cases:
- id: one
  points: {a.x: {unit: °C, period: 10s}, a.s: {values: [open, closed]}}
  rules: [{id: hot, when: a.x > 30 °C}]
  steps:
"""


def read(tmp_path: Path, text: str) -> CaseFile:
    path = tmp_path / "cases.yaml"
    path.write_text(text, encoding="utf-8")
    return read_case_file(path)


def faults(file: CaseFile) -> list[tuple[int, int, str]]:
    return [(fault.line, fault.column, fault.code) for fault in file.faults]


WRONG_STEPS = [
    ("{t: 1s, sett: {a.x: 1}}", [(6, 13, "E-KEY")], "set"),
    ("{t: 1s}", [(6, 5, "E-MISSING")], ""),
    ("{t: 1, set: {a.x: 1}}", [(6, 9, "E-NOUNIT")], ""),
    ("{t: 1 fortnight, set: {a.x: 1}}", [(6, 9, "E-VALUE")], ""),
    ("{set: {a.x: 1}}", [(6, 5, "E-MISSING")], ""),
    ("{t: 1s, set: {a.y: 1}}", [(6, 19, "E-POINT")], "a.x"),
    ("{t: 1s, set: {a.s: opne}}", [(6, 24, "E-VALUE")], "open"),
    ("{t: 1s, set: {a.x: [1]}}", [(6, 24, "E-TYPE")], ""),
    ("{t: 1s, set: {a.x: {v: 1, src: 1s}}}", [(6, 31, "E-KEY")], "src_t"),
    ("{t: 1s, set: {a.x: {v: 1, q: meh}}}", [(6, 34, "E-VALUE")], ""),
    ("{series: a.x, from: 0s, values: 1x3}", [(6, 5, "E-MISSING")], ""),
    ("{series: [a.x], from: 0s, every: 1s, values: 1x3}", [(6, 14, "E-POINT")], ""),
    ("{series: a.x, from: 0s, every: 0s, values: 1x3}", [(6, 36, "E-VALUE")], ""),
    ("{series: a.s, from: 0s, every: 1s, values: open opne}", [(6, 48, "E-VALUE")], "open"),
    ("{t: 1s, ack: hot, by: li, form: 3s}", [(6, 31, "E-KEY")], ""),
    ("{t: 1s, shelve: hot, by: li}", [(6, 5, "E-MISSING")], ""),
    ("{t: 1s, wall_step: soon}", [(6, 24, "E-VALUE")], ""),
    ("{t: 1s, restart: {donw: 1s}}", [(6, 23, "E-KEY")], "down"),
    ("{t: 1s, expect: {state: {hot: normal}}}", [(6, 22, "E-KEY")], "states"),
    ("{t: 1s, expect: {states: {hot: unackd}}}", [(6, 36, "E-VALUE")], "unack"),
    ("{t: 1s, expect: {states: [hot]}}", [(6, 30, "E-TYPE")], ""),
    ("{t: 1s, expect: {flags: {hot: {heldd: 1s}}}}", [(6, 36, "E-KEY")], "held"),
    ("{t: 1s, expect: {flags: {hot: {held: 1}}}}", [(6, 42, "E-NOUNIT")], ""),
    ("{t: 1s, expect: {totals: {raise: many}}}", [(6, 38, "E-VALUE")], ""),
    ("{t: 1s, expect: {events: raise hot}}", [(6, 30, "E-TYPE")], ""),
    ("{t: 1s, expect: {errors: [{kode: E-KEY}]}}", [(6, 32, "E-KEY")], "code"),
    ("{t: 1s, expect: {run_at: [noon]}}", [(6, 31, "E-VALUE")], ""),
    ("{t: 1s, generate_set: {point: x, value: 1}}", [(6, 27, "E-MISSING")], ""),
]


@pytest.mark.parametrize(("step", "wanted", "hint"), WRONG_STEPS, ids=[step for step, _, _ in WRONG_STEPS])
def test_a_wrong_step_is_named_in_its_place(
    tmp_path: Path, step: str, wanted: list[tuple[int, int, str]], hint: str
) -> None:
    file = read(tmp_path, f"{HEAD}  - {step}\n")
    assert faults(file) == wanted
    assert file.refused == ("one",)
    assert file.cases == ()
    assert hint in (file.faults[0].hint.en if file.faults[0].hint else "")


def test_nothing_can_be_asked_while_the_box_is_down(tmp_path: Path) -> None:
    steps = "  - {t: 10s, restart: {down: 20s}}\n  - {t: 15s, set: {a.x: 31}}\n  - {t: 29s, expect: {events: []}}\n"
    assert faults(read(tmp_path, HEAD + steps)) == [(8, 9, "E-VALUE")]


WRONG_CASES = [
    ("cases: []", [(1, 8, "E-TYPE")]),
    ("- a", [(1, 1, "E-TYPE")]),
    ("cases: [", [(1, 1, "E-YAML")]),
    ("casess: []", [(1, 1, "E-KEY"), (1, 1, "E-TYPE")]),
    ("cases: [{id: a, rules: [], steps: []}]", [(1, 35, "E-TYPE")]),
    ("cases: [{id: a, steps: [{t: 0s, expect: {events: []}}]}]", [(1, 9, "E-MISSING")]),
    ("cases: [{id: a, points: {x: {}}, rules: [], steps: [{t: 0s, expect: {events: []}}]}]", [(1, 26, "E-VALUE")]),
    (
        "cases: [{id: a, points: {a.x: {unit: oC}}, rules: [], steps: [{t: 0s, expect: {events: []}}]}]",
        [(1, 38, "E-UNIT")],
    ),
    (
        "cases: [{id: a, timezone: Mars/Base, start: noon, rules: [], steps: [{t: 0s, expect: {events: []}}]}]",
        [(1, 27, "E-VALUE"), (1, 45, "E-VALUE")],
    ),
    ("rule_files: [none.yaml]\ncases: [{id: a, steps: [{t: 0s, expect: {events: []}}]}]", [(1, 14, "E-FILE")]),
    ("devices: none.yaml\ncases: [{id: a, rules: [], steps: [{t: 0s, expect: {events: []}}]}]", [(1, 10, "E-FILE")]),
]


@pytest.mark.parametrize(("text", "wanted"), WRONG_CASES, ids=range(len(WRONG_CASES)))
def test_a_wrong_file_is_named_in_its_place(tmp_path: Path, text: str, wanted: list[tuple[int, int, str]]) -> None:
    file = read(tmp_path, text)
    assert faults(file) == wanted
    assert file.refused != ()


def test_a_case_plays_rules_in_shadow_as_signed_off_when_it_says_so(tmp_path: Path) -> None:
    case = """\
- id: CASE
  points: {a.x: {}, v.position: {values: [open, closed]}}
  rules: [{id: high, when: a.x > 3, mode: shadow, on_alarm: [{send: v.close}]}, {id: off, when: a.x > 3, mode: "off"}]
  steps:
  - {t: 0s, set: {a.x: 4}}
  - {t: 0s, expect: {commands: [COMMANDS], totals: {notify: NOTIFY}, states: {high: unack, "off": absent}}}
"""
    shadow = case.replace("CASE", "shadow").replace("COMMANDS", "").replace("NOTIFY", "0")
    live = case.replace("CASE\n", "live\n  signed_off: true\n").replace("COMMANDS", "v.close").replace("NOTIFY", "1")
    file = read(tmp_path, f"cases:\n{shadow}{live}")
    assert [play(case, read_text).differences for case in file.cases] == [(), ()]
    assert faults(read(tmp_path, f"cases:\n{live.replace('true', 'maybe')}")) == [(3, 15, "E-TYPE")]


def test_two_cases_with_one_id(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        HEAD + "  - {t: 0s, expect: {events: []}}\n" + HEAD.removeprefix("cases:\n") + "  - {t: 0s, ack: hot}\n",
    )
    assert faults(file) == [(7, 7, "E-DUP")]
    assert [case.id for case in file.cases] == ["one"]


def test_series(tmp_path: Path) -> None:
    file = read(tmp_path, HEAD + "  - {series: a.x, from: 5s, every: 2s, values: 1x2 _ -2+0.5x3 bad nan 7}\n")
    samples = [
        (t, sample.value)
        for t, action in file.cases[0].steps
        if isinstance(action, Message)
        for sample in action.samples
    ]
    assert [(t, f"{value}") for t, value in samples] == [
        *[(5.0, "1.0"), (7.0, "1.0"), (11.0, "-2.0"), (13.0, "-1.5"), (15.0, "-1.0")],
        *[(17.0, "None"), (19.0, "nan"), (21.0, "7.0")],
    ]


def test_inputs_of_an_instant_come_before_whatever_else_the_file_says_first(tmp_path: Path) -> None:
    steps = "  - {t: 1s, expect: {states: {hot: unack}}}\n  - {t: 1s, set: {a.x: 31, a.s: open}}\n"
    (case,) = read(tmp_path, HEAD + steps).cases
    assert case.steps[0] == (1.0, Message((Sample("a.x", 31), Sample("a.s", "open"))))
    assert play(case, read_text).passed


def test_what_comes_while_the_box_is_down_is_not_heard(tmp_path: Path) -> None:
    steps = """\
  - {t: 0s, set: {a.x: 20}}
  - {t: 10s, restart: {down: 20s}}
  - {t: 15s, set: {a.x: 31}}
  - {t: 30s, expect: {states: {hot: normal}, flags: {hot: {data: unknown}}, events: []}}
"""
    assert play(read(tmp_path, HEAD + steps).cases[0], read_text).passed


def test_the_first_difference_comes_with_what_led_to_it(tmp_path: Path) -> None:
    steps = """\
  - {t: 0s, set: {a.x: 20, a.s: open}}
  - {t: 1s, set: {a.x: 31}}
  - {t: 2s, ack: hot, by: li}
  - {t: 3s, expect: {states: {hot: unack}}}
  - {t: 3s, expect: {states: {hot: normal}}}
"""
    (case,) = read(tmp_path, HEAD + steps).cases
    result = play(case, read_text)
    first, second = result.differences
    assert (first.t_s, first.keys, first.expected, first.got) == (3.0, ("states", "hot"), "unack", "acked")
    assert first.path == ("cases", 0, "steps", 3, "expect", "states", "hot")
    assert [(moment.t_s, moment.text) for moment in first.before] == [
        (0.0, "a.x = 20, a.s = open"),
        (1.0, "a.x = 31"),
        (1.0, "raise hot"),
        (1.0, "notify hot"),
        (2.0, "ack hot (li)"),
        (2.0, "ack hot"),
    ]
    assert second.expected == "normal"
    assert play(case, read_text, to_first=True).differences == (first,)


def test_an_act_on_an_alarm_that_does_not_exist_is_a_difference(tmp_path: Path) -> None:
    (case,) = read(tmp_path, HEAD + "  - {t: 0s, ack: hto, by: li}\n").cases
    (difference,) = play(case, read_text).differences
    assert (difference.keys, difference.expected, difference.got) == (("ack",), "hto", "absent")


def test_faults_of_the_rules_themselves(tmp_path: Path) -> None:
    text = HEAD.replace("a.x > 30 °C", "a.y > 30 °C") + "  - {t: 0s, expect: {events: []}}\n"
    (case,) = read(tmp_path, text).cases
    result = play(case, read_text)
    assert not result.passed
    assert [(each.code, each.line, each.column) for each in result.refused] == [("E-POINT", 4, 27)]


def test_a_text_with_faults_fails_unless_they_are_expected(tmp_path: Path) -> None:
    head = HEAD.replace("rules: [{id: hot, when: a.x > 30 °C}]", 'rules_text: "- {id: hot, when: a.x > 30}"')
    plain, asked = "  - {t: 0s, expect: {events: []}}\n", "  - {t: 0s, expect: {errors: [{code: E-NOUNIT, line: 1}]}}\n"
    assert not play(read(tmp_path, head + plain).cases[0], read_text).passed
    assert play(read(tmp_path, head + asked).cases[0], read_text).passed


def test_the_unit_on_the_wire(tmp_path: Path) -> None:
    steps = """\
  - {t: 0s, set: {a.x: {v: 88, unit: °F}}}
  - {t: 0s, expect: {states: {hot: unack}, events: [raise hot, notify hot]}}
  - {t: 1s, set: {a.x: {v: 20, unit: kPa}}}
  - {t: 1s, expect: {flags: {hot: {data: unknown}}, totals: {bad_unit: 1}, events: [bad_unit a.x]}}
"""
    result = play(read(tmp_path, HEAD + steps).cases[0], read_text)
    assert result.differences == ()
    assert result.checks == 2


# ---------------------------------------------------------------------- no tracebacks

PLAIN = load_yaml((HERE / "cases.yaml").read_text(encoding="utf-8"), "").data
SMALL = [case for case in PLAIN["cases"] if case["id"] not in ("C15", "frozen", "silent")]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**12),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["1s", "-3 min", "bad", "nan", "1x99999999", "a.x", "open", "2026-13-01", "hot@"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from(["t", "v", "q", "set", "down", "x"]), st.integers(0, 3), max_size=2),
)


def nodes(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(each for key, value in inner for each in nodes(value, (*path, key)))]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SMALL), st.data())
def test_whatever_stands_in_a_case_is_a_fault_or_is_played(case: dict[str, Any], data: st.DataObject) -> None:
    case = copy.deepcopy(case)
    where = data.draw(st.sampled_from([path for path in nodes(case) if path]))
    holder: Any = case
    for step in where[:-1]:
        holder = holder[step]
    holder[where[-1]] = data.draw(JUNK)
    found: list[RuleFault] = []
    whole = {"cases": [case]}
    cases = read_cases(Reader(found), whole, Shared(), lambda _: Written(case.get("rules"), lambda *_: ("", 1, 1)))
    assert bool(cases) is not any(fault.is_error for fault in found)
    for each in cases:
        play(each, read_text)
