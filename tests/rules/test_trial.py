"""Proof tests of what a rule moves."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from types import MappingProxyType
from typing import Any

from gateway.model import Device, Place, Point, Reading, Text, ValueKind
from rules import journal
from rules.definition import read_rules
from rules.engine import Changes, Engine, Instant

BASE_MS = 1_767_225_600_000
NO = Text("", "")
DEVICES = (
    Device("g", "gas", NO, Place(), "test", (Point("g.lel", ValueKind.NUMBER, NO, 60.0, "%[LEL]"),)),
    Device(
        "v",
        "valve",
        NO,
        Place(),
        "test",
        (Point("v.position", ValueKind.STATE, NO, 60.0, states=("open", "closed")),),
    ),
)
POINTS = {point.id: point for device in DEVICES for point in device.points}
RULES = [
    {
        "id": "gas",
        "when": "g.lel >= 10 %LEL",
        "on_alarm": [
            {
                "send": "v.close",
                "hold": True,
                "confirm": {"point": "v.position", "is": "closed", "within": "5s"},
                "tries": 2,
            },
            {"send": "siren.start", "while": "unack"},
        ],
    },
    {"id": "idle", "when": "g.lel >= 20 %LEL"},
]


class Box:
    def __init__(self) -> None:
        rules, faults = read_rules({"format": "rules/1", "rules": RULES}, DEVICES)
        assert [fault for fault in faults if fault.is_error] == []
        self.rules = rules
        self.ids = count()
        self.saved: dict[str, bytes] = {}
        self.lines: list[str] = []
        self.orders: list[str] = []
        self.t = 0.0
        self.engine = self.start()

    def start(self, saved: Mapping[str, bytes] = MappingProxyType({})) -> Engine:
        return Engine(
            self.rules, POINTS, DEVICES, new_id=lambda ms: f"{next(self.ids)}", saved=saved, started=self.now()
        )

    def now(self) -> Instant:
        return Instant(100.0 + self.t, BASE_MS + round(self.t * 1000))

    def took(self, changes: Changes) -> None:
        self.lines += [f"{self.t:g} {line}" for line in changes.lines]
        self.orders += [order.send for order in changes.orders]
        for key, record in changes.saved.items():
            if record is None:
                self.saved.pop(key, None)
            else:
                self.saved[key] = record

    def until(self, t: float) -> None:
        while (due_s := self.engine.next_timer_s()) is not None and due_s <= 100.0 + t:
            self.t = max(due_s - 100.0, self.t)
            self.took(self.engine.tick(self.now()))
        self.t = t

    def see(self, **values: Any) -> None:
        now = self.now()
        readings = [Reading(name.replace("_", "."), value, now.utc_ms, now.utc_ms) for name, value in values.items()]
        self.took(self.engine.observe(readings, now))

    def fire(self, rule: str = "gas", reason: str = "yearly", *, output: bool = True) -> None:
        self.took(self.engine.test_fire(rule, None, "li", reason, output, self.now()))


def test_a_test_moves_things_confirms_them_and_ends_what_lasts() -> None:
    box = Box()
    box.see(g_lel=2.0, v_position="open")
    box.fire()
    assert box.orders == ["v.close", "siren.start"]
    box.until(3.0)
    box.see(v_position="closed")
    box.until(60.0)
    assert box.orders == ["v.close", "siren.start", "siren.stop"], "the valve stays closed, the siren does not stay on"
    assert box.lines[-2:] == ["10.5 command gas", "10.5 test_fire_end gas"]
    assert (proof := box.engine.proved("gas", None)) is not None
    assert (proof.who, proof.with_output, proof.failed) == ("li", True, ())
    assert box.engine.alarm("gas").count == 0, "a test is no alarm"
    assert box.engine.holds() == {}
    assert box.start(box.saved).proved("gas", None) == proof


def test_what_is_not_confirmed_is_in_the_record() -> None:
    box = Box()
    box.see(g_lel=2.0, v_position="open")
    box.fire()
    box.until(60.0)
    assert [line for line in box.lines if "unconfirmed" in line] == ["10 unconfirmed gas"]
    assert (proof := box.engine.proved("gas", None)) is not None
    assert proof.failed == ("v.close",)


def test_without_output_nothing_moves() -> None:
    box = Box()
    box.fire(output=False)
    box.until(60.0)
    assert box.orders == []
    told = [line for line in box.lines if "would_send" in line]
    assert told == ["0 would_send gas", "0 would_send gas", "10.5 would_send gas"]
    assert (proof := box.engine.proved("gas", None)) is not None
    assert not proof.with_output


def test_a_test_is_refused_without_a_reason_while_the_alarm_is_on_and_where_nothing_moves() -> None:
    box = Box()
    box.fire(reason=" ")
    box.fire("idle")
    box.fire()
    box.fire()
    box.see(g_lel=30.0)
    box.until(60.0)
    box.fire()
    assert [line for line in box.lines if "refused" in line] == [
        "0 test_fire_refused gas",
        "0 test_fire_refused idle",
        "0 test_fire_refused gas",
        "60 test_fire_refused gas",
    ]


def test_a_box_that_dies_in_the_middle_ends_what_it_had_begun() -> None:
    box = Box()
    box.see(g_lel=2.0, v_position="open")
    box.fire()
    assert any(key.startswith(journal.TRIAL_PREFIX) for key in box.saved)
    box.saved |= box.engine.checkpoint(box.now())
    box.t, box.orders = 500.0, []
    box.engine = box.start(box.saved)
    box.until(501.0)
    assert box.orders == ["siren.stop"]
    assert not any(key.startswith(journal.TRIAL_PREFIX) for key in box.saved)
