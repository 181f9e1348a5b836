from __future__ import annotations

import math
from typing import Any

import pytest

from gateway.model import Device, Place, Point, Text, ValueKind
from rules.definition import read_rules
from rules.lints import Lint, period_lint, priority_lint, response_lint
from rules.rule import RuleSet


def point(point_id: str, interval_s: float) -> Point:
    return Point(point_id, ValueKind.NUMBER, Text("", ""), interval_s, "V")


DEVICES = (
    Device("m1", "meter", Text("", ""), Place(), "test", (point("m1.u", 10.0), point("m1.slow", 60.0))),
    Device("m2", "meter", Text("", ""), Place(), "test", (point("m2.u", 30.0), point("m2.slow", 60.0))),
    Device("m3", "pusher", Text("", ""), Place(), "test", (point("m3.u", math.inf),)),
)
POINTS = {point.id: point for device in DEVICES for point in device.points}


def rules(*written: dict[str, Any]) -> RuleSet:
    found, faults = read_rules(
        {
            "format": "rules/1",
            "rules": [{"id": f"r{number}", "when": "m1.u > 9 V"} | keys for number, keys in enumerate(written)],
        },
        DEVICES,
    )
    assert [fault for fault in faults if fault.is_error] == []
    return found


def of_priorities(**counts: int) -> RuleSet:
    return rules(*({"priority": priority} for priority, count in counts.items() for _ in range(count)))


@pytest.mark.parametrize(
    ("counts", "en"),
    [
        ({"critical": 9}, None),  # too few rules to judge
        ({"critical": 3, "low": 17}, None),  # just 15 %
        ({"critical": 2, "low": 8}, "2 of 10 rules are critical, more than 15%"),
        ({"critical": 1, "high": 3, "low": 6}, None),  # just 40 %
        ({"critical": 1, "high": 4, "low": 5}, "5 of 10 rules are critical or high, more than 40%"),
        ({"critical": 1, "high": 4, "journal": 5}, None),  # rules that only write the journal are no alarms
    ],
)
def test_priorities(counts: dict[str, int], en: str | None) -> None:
    found = list(priority_lint(of_priorities(**counts).rules))
    assert [(lint.code, lint.rule, lint.en) for lint in found] == ([] if en is None else [("W-PRIO", "", en)])
    assert all(all(lint._replace(rule="-")) for lint in found)


def test_rules_that_are_off_do_not_count() -> None:
    assert (
        list(priority_lint(rules(*[{"priority": "critical", "mode": "off"}] * 5, *[{"priority": "low"}] * 9).rules))
        == []
    )


@pytest.mark.parametrize(
    ("keys", "complains"),
    [
        ({"priority": "critical"}, True),
        ({"priority": "high"}, True),
        ({"priority": "medium"}, True),
        ({"priority": "low"}, False),
        ({"priority": "journal"}, False),
        ({"priority": "high", "response": {"zh": "关阀", "en": "Close the valve"}}, False),
    ],
)
def test_response(keys: dict[str, Any], complains: bool) -> None:
    found = [(lint.code, lint.rule) for lint in response_lint(rules(keys).rules)]
    assert found == ([("W-RESPONSE", "r0")] if complains else [])


def periods(**keys: Any) -> list[Lint]:
    return list(period_lint(rules(keys).watches, POINTS))


@pytest.mark.parametrize(
    ("keys", "slowest"),
    [
        ({}, None),
        ({"for": "10 s"}, None),
        ({"for": "9 s"}, "m1.u"),
        ({"for": "9 s", "when": "m1.u > 9 V and m1.slow > 9 V"}, "m1.slow"),
        ({"for": "9 s", "when": "m3.u > 9 V"}, None),  # it sends when there is something to say
        ({"for": "20 s", "when": "u > 9 V", "for_each": {"type": "meter"}}, "m2.u"),
        ({"for": "9 s", "when": "silent() > 15 min", "for_each": {"type": "meter"}}, None),
    ],
)
def test_periods(keys: dict[str, Any], slowest: str | None) -> None:
    found = periods(**keys)
    assert [lint.rule for lint in found] == ([] if slowest is None else ["r0"])
    assert all(f'"{slowest}"' in lint.zh and f'"{slowest}"' in lint.en for lint in found)


def test_period_text() -> None:
    [lint] = periods(**{"for": "9 s"})
    assert lint == Lint(
        "W-PERIOD",
        "r0",
        '持续时间 9 秒 短于测点 "m1.u" 的采样间隔 10 秒：一个样本就会报警',
        'the delay of 9 s is shorter than the interval of "m1.u", 10 s: one sample decides',
        "把 for（持续）写长一些，或缩短该测点的采样间隔",
        "make for longer, or read the point more often",
    )
