"""A rule read back: everything that it says is in the sentences, in both languages."""

from __future__ import annotations

from gateway.config.yaml12 import load_yaml
from gateway.model import Device, Place, Point, Text, ValueKind
from rules.account import account
from rules.definition import read_rules

NO = Text("", "")
DEVICES = (
    Device("g1", "gas", NO, Place(), "test", (Point("g1.lel", ValueKind.NUMBER, NO, 5.0, "%[LEL]"),), {"valve": "v1"}),
    Device(
        "v1", "valve", NO, Place(), "test", (Point("v1.position", ValueKind.STATE, NO, 5.0, states=("open", "closed")),)
    ),
)
RULE = """\
format: rules/1
rules:
- id: gas
  name: {zh: 燃气, en: Gas}
  mode: shadow
  for_each: {type: gas}
  when: lel >= 10 %LEL
  for: 3s
  clear_after: 60s
  deadband: 2 %LEL
  only_during: {daily: 22:00-06:00, weekdays: mon-tue}
  priority: critical
  latch: true
  reset: {who: [safety_officer], reason: required}
  shelve: never
  if_no_data: alarm
  no_data_after: 60s
  act_on_no_data: false
  suppress_when: lel > 99 %LEL
  wait_for_parent: 30s
  chatter: {raises: 3, within: 60s, calm: 2 min}
  escalate: [{after: 2 min, to: manager}]
  notify: [guard]
  on_alarm:
  - send: valve.close
    hold: true
    confirm: {point: valve.position, is: closed, within: 15s}
    tries: 3
    else: [main.close]
  - {send: siren.start, while: unack}
  - {send: lift.hold_door, at_most_for: 60s, at_most: 1 per 10 min}
  response: {zh: 疏散, en: Evacuate}
"""
ZH = """\
gas 燃气（试运行：只记录）
监视 1 台设备：g1
当 lel >= 10 %LEL 持续 3 秒 → 紧急报警
只在 22:00-06:00 周一周二
若 lel > 99 %LEL：不提醒也不动作
先等 30 秒，看是否有上级报警能解释它
恢复：条件不再成立（回差 2 %LEL） 持续 1 分
锁存：恢复并确认后，由safety_officer复位，须写原因
抖动：1 分内报 3 次后，平静 2 分才算恢复
缺数时：报警（1 分无可信数据）
不可搁置
通知 guard
2 分无人确认 → 通知 manager
处置：疏散
报警时发送 v1.close（15 秒内核实 v1.position 为 closed，共试 3 次，否则 main.close，保持：被改动就再发，直到报警复原）
报警时发送 siren.start（直到有人确认）
报警时发送 lift.hold_door（最长 1 分，10 分内最多 1 次）"""
EN = """\
gas: Gas (shadow: journaled only)
watches 1 devices: g1
when lel >= 10 %LEL for 3 s → an alarm, critical
only from 22:00 to 06:00 on mon, tue
while lel > 99 %LEL: nobody is told and nothing is moved
waits 30 s for an alarm that explains it
over when the condition is no longer true (by 2 %LEL) for 1 min
latched: once over and acknowledged, safety_officer may reset it and must say why
chatter: after 3 raises within 1 min it stays on until calm for 2 min
data missing: it alarms (after 1 min)
may not be shelved
tells guard
not acknowledged after 2 min: tells manager
what to do: Evacuate
when it is raised sends v1.close (v1.position must be closed within 15 s; 3 tries; else main.close; held: sent again \
when undone, until the alarm is normal)
when it is raised sends siren.start (until somebody acknowledges)
when it is raised sends lift.hold_door (for 1 min at most; at most 1 in 10 min)"""


def test_everything_that_a_rule_says_is_read_back() -> None:
    rules, faults = read_rules(load_yaml(RULE, "f").data, DEVICES)
    assert faults == ()
    told = list(account(rules.rules[0], rules.watches))
    assert "\n".join(text.zh for text in told) == ZH
    assert "\n".join(text.en for text in told) == EN


def test_a_rule_that_says_little_is_read_back_with_what_holds_anyway() -> None:
    text = "format: rules/1\nrules:\n- {id: a, when: g1.lel > 10 %LEL, ack: auto, clear_when: g1.lel < 5 %LEL}\n"
    rules, _ = read_rules(load_yaml(text, "f").data, None)
    assert [each.en for each in account(rules.rules[0], ())] == [
        "a: a",
        "when g1.lel > 10 %LEL → an alarm, medium",
        "over when g1.lel < 5 %LEL",
        "data missing: it stays as it is",
        "needs no acknowledgement",
        "may be shelved for up to 8 h",
    ]
