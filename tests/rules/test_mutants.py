"""Mistakes that are put into rules on purpose."""

from __future__ import annotations

import copy

from gateway.config.yaml12 import load_yaml
from rules.mutants import mutants

RULES = """\
- id: gas
  when: at_least(2, a.lel >= 10 %LEL, b.lel ≥ 10.5 %LEL) or silent() > 3 min
  clear_when: not quiet
  for: 1 h 30 min
  latch: true
  ack: required
  if_no_data: alarm
  shelve: never
  chatter: {raises: 3, within: 60s, calm: 2 min}
  values:
    limit: {default: 2 m3/h, cases: [{when: w.x == red, use: 4 m3/h}], expires_after: 2h}
  on_alarm: [{send: v.close}, {send: s.start}]
- id: empty
- 3
"""
WANTED = [
    "when: 2 → 1",
    "when: 2 → 3",
    "when: >= → <",
    "when: 10 → 11",
    "when: 10 → 9",
    "when: ≥ → <",
    "when: 10.5 → 11.55",
    "when: 10.5 → 9.45",
    "when: > → <=",
    "when: 3 → 1.5",
    "clear_when: not quiet → not (not quiet)",
    "for: 1 h 30 min → 0.5 h 15 min",
    "chatter.within: 60s → 30s",
    "chatter.calm: 2 min → 1 min",
    "values.limit.default: 2 m3/h → 2.2 m3/h",
    "values.limit.default: 2 m3/h → 1.8 m3/h",
    "values.limit.cases.0.when: == → !=",
    "values.limit.cases.0.use: 4 m3/h → 4.4 m3/h",
    "values.limit.cases.0.use: 4 m3/h → 3.6 m3/h",
    "values.limit.expires_after: 2h → 1h",
    "clear_when removed",
    "chatter removed",
    "latch removed",
    "if_no_data removed",
    "shelve removed",
    "on_alarm.0 removed",
    "on_alarm.1 removed",
]


def test_every_mistake_is_made_once_and_the_rules_stay_as_they_are() -> None:
    data = load_yaml(RULES, "").data
    before = copy.deepcopy(data)
    made = list(mutants(data))
    assert [mutant.change.en for mutant in made] == WANTED
    assert data == before
    assert {mutant.rule for mutant in made} == {"gas"}
    assert all(mutant.data["rules"][1:] == before[1:] for mutant in made)
    assert all(mutant.data["rules"][0] != before[0] for mutant in made)


def test_a_change_lies_where_it_is_made() -> None:
    document = load_yaml(RULES, "")
    (mutant,) = [each for each in mutants(document.data) if each.change.en == "when: ≥ → <"]
    line, column = document.locate(mutant.path[1:], offset=mutant.offset)
    assert document.line(line)[column - 1] == "≥"
    assert mutant.data["rules"][0]["when"].count("b.lel < 10.5 %LEL") == 1


def test_chinese_keys_and_what_is_no_rule_file() -> None:
    made = list(mutants({"rules": [{"编号": "热", "条件": "a.x ＞ 30 °C", "持续": "10s", "锁存": False}]}))
    assert [mutant.change.en for mutant in made] == [
        "条件: ＞ → <=",
        "条件: 30 → 33",
        "条件: 30 → 27",
        "持续: 10s → 5s",
    ]
    assert [mutant.rule for mutant in made] == ["热"] * 4
    assert [list(mutants(each)) for each in (None, 3, "rules", {}, {"rules": "x"}, [1, None])] == [[]] * 6
