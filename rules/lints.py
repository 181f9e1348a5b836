"""What is allowed and seldom wise: warnings about a whole set of rules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gateway.model import Device, Point, PointId, Priority
from rules.check import Source
from rules.rule import Mode, Rule, RuleSet, Watch
from rules.text import duration

FEWEST_RULES = 10
"""With fewer rules shares mean nothing."""
MOST_CRITICAL, MOST_URGENT = 0.15, 0.40
"""Shares of rules, urgent being critical and high.  ISA-18.2 asks for about 5 % of *alarms* in the top class; rules for
gas, fire and lifts are many and ring seldom, hence three times as much, and less than half for both classes."""
_NEEDS_RESPONSE = (Priority.CRITICAL, Priority.HIGH, Priority.MEDIUM)


def lints(rules: RuleSet, devices: Sequence[Device]) -> Iterator[Lint]:
    """Everything that is worth a second thought."""
    points = {point.id: point for device in devices for point in device.points}
    yield from priority_lint(rules.rules)
    yield from response_lint(rules.rules)
    yield from period_lint(rules.watches, points)


class Lint(NamedTuple):
    code: str
    rule: str
    """Its id; empty for the whole set."""
    zh: str
    en: str
    hint_zh: str
    hint_en: str


def priority_lint(rules: Sequence[Rule]) -> Iterator[Lint]:
    """W-PRIO when too much is urgent for anything to be."""
    judged = [rule for rule in rules if rule.mode is not Mode.OFF and rule.priority is not Priority.JOURNAL]
    if len(judged) < FEWEST_RULES:
        return
    critical = sum(rule.priority is Priority.CRITICAL for rule in judged)
    urgent = critical + sum(rule.priority is Priority.HIGH for rule in judged)
    if critical > MOST_CRITICAL * len(judged):
        zh, en, count, most = "critical", "critical", critical, MOST_CRITICAL
    elif urgent > MOST_URGENT * len(judged):
        zh, en, count, most = "critical 或 high", "critical or high", urgent, MOST_URGENT
    else:
        return
    yield Lint(
        "W-PRIO",
        "",
        f"{len(judged)} 条规则中有 {count} 条级别为 {zh}，超过 {most:.0%}",
        f"{count} of {len(judged)} rules are {en}, more than {most:.0%}",
        "只有必须立即处理的才用 critical；多数规则应为 low",
        "keep critical for what cannot wait; most rules should be low",
    )


def response_lint(rules: Sequence[Rule]) -> Iterator[Lint]:
    """W-RESPONSE: an alarm that asks for nothing is no alarm."""
    for rule in rules:
        if rule.priority in _NEEDS_RESPONSE and not (rule.response.zh.strip() or rule.response.en.strip()):
            yield Lint(
                "W-RESPONSE",
                rule.id,
                f"级别为 {rule.priority}，但没有写值班人员该做什么",
                f"is {rule.priority} and does not say what to do",
                "加上 response（处置），或把级别降为 low（低）",
                "add a response, or make it low",
            )


def period_lint(watches: Sequence[Watch], points: Mapping[PointId, Point]) -> Iterator[Lint]:
    """W-PERIOD, once for a rule: its slowest point says nothing new while the delay runs."""
    slowest: dict[str, tuple[float, Point]] = {}
    for watch in watches:
        delay_s = watch.rule.timing.on_s
        for each, target in zip(watch.program.inputs, watch.targets, strict=True):
            point = points.get(target) if each.source is Source.VALUE and not each.limit_s else None
            if point is None or not 0 < delay_s < point.interval_s < math.inf:
                continue
            known = slowest.get(watch.rule.id)
            if known is None or known[1].interval_s < point.interval_s:
                slowest[watch.rule.id] = delay_s, point
    for rule, (delay_s, point) in slowest.items():
        wait, every = duration(delay_s), duration(point.interval_s)
        yield Lint(
            "W-PERIOD",
            rule,
            f'持续时间 {wait.zh} 短于测点 "{point.id}" 的采样间隔 {every.zh}：一个样本就会报警',
            f'the delay of {wait.en} is shorter than the interval of "{point.id}", {every.en}: one sample decides',
            "把 for（持续）写长一些，或缩短该测点的采样间隔",
            "make for longer, or read the point more often",
        )
