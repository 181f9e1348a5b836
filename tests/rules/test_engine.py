"""The engine beyond the timelines of cases.yaml: restarts, timers, the journal, and a slow model of it all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import (
    AlarmChange,
    AlarmState,
    Device,
    Place,
    Point,
    Priority,
    Quality,
    Reading,
    Reason,
    Text,
    ValueKind,
    bad_reading,
)
from rules import journal
from rules.definition import read_rules
from rules.engine import Changes, Engine, Instant

MS = 1_767_225_600_000
POINTS = {
    point.id: point
    for point in (
        Point("t1.temp", ValueKind.NUMBER, Text("温度", "temperature"), 10.0, "Cel"),
        Point("t1.slow", ValueKind.NUMBER, Text("慢", "slow"), 3600.0, "Cel"),
        Point("t1.plate", ValueKind.TEXT, Text("车牌", "plate"), 3600.0),
        Point("t1.door", ValueKind.BOOLEAN, Text("门", "door"), 3600.0),
    )
}
DEVICES = (
    Device("t1", "thermometer", Text("机房", "room"), Place(building="B1"), "test", tuple(POINTS.values())),
    Device("t2", "thermometer", Text("空", "none"), Place(building="B2"), "test", ()),
)


@dataclass
class Box:
    """An engine, its journal, and a caller that ticks whenever it is asked to."""

    rules: Sequence[Mapping[str, Any]]
    journal: dict[str, bytes] = field(default_factory=dict)
    out: list[AlarmChange] = field(default_factory=list)
    serial: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.engine = self.start(0.0)

    def start(self, t: float, *, clock_s: float = 0.0) -> Engine:
        self.clock_s = clock_s - t
        rules, faults = read_rules({"format": "rules/1", "rules": list(self.rules)}, DEVICES)
        assert not faults, faults
        saved = dict(self.journal)
        self.engine = Engine(
            rules, POINTS, DEVICES, new_id=lambda ms: f"id{next(self.serial)}", saved=saved, started=self.at(t)
        )
        return self.engine

    def at(self, t: float) -> Instant:
        return Instant(self.clock_s + t, MS + round(t * 1000))

    def take(self, changes: Changes) -> Changes:
        self.out += changes.alarms
        for key, record in changes.saved.items():
            if record is None:
                del self.journal[key]
            else:
                self.journal[key] = record
        return changes

    def run(self, until: float) -> None:
        while (due_s := self.engine.next_timer_s()) is not None and due_s <= self.clock_s + until:
            self.take(self.engine.tick(self.at(due_s - self.clock_s)))

    def see(self, t: float, **values: Any) -> Changes:
        """None is a bad reading; a tuple (value, source time) an old one."""
        self.run(t - 1e-9)
        readings = []
        for name, given_ in values.items():
            value, source = given_ if isinstance(given_, tuple) else (given_, t)
            now_ms = self.at(t).utc_ms
            source_ms = self.at(source).utc_ms
            bad = bad_reading(f"t1.{name}", Reason.NO_VALUE, now_ms)
            readings.append(bad if value is None else Reading(f"t1.{name}", value, source_ms, now_ms))
        return self.take(self.engine.observe(readings, self.at(t)))

    def commit(self, t: float) -> None:
        self.journal |= self.engine.checkpoint(self.at(t))


HOT = {
    "id": "hot",
    "when": "t1.slow > 30 °C",
    "for": "3 min",
    "message": "{where}: {t1.slow} {held}",
    "priority": "high",
}


def test_kill_keeps_what_the_last_checkpoint_saw_even_across_a_reboot() -> None:
    box = Box([HOT])
    box.see(0, slow=31)
    box.commit(65.0)
    box.start(500.0, clock_s=7.0)  # the monotonic clock began anew
    box.run(501)
    assert (box.engine.alarm("hot").state, box.engine.alarm("hot").held_s) == (AlarmState.PENDING, 65.0)
    box.see(510, slow=31)
    box.run(510 + 114.9)
    assert not box.out
    box.run(510 + 115)
    assert [change.state for change in box.out] == [AlarmState.UNACK]
    assert box.out[0].message == Text("B1 机房: 31 °C 3 分", "B1 room: 31 °C 3 min")


def test_two_kills_in_a_row_lose_nothing_and_invent_nothing() -> None:
    box = Box([HOT])
    box.see(0, slow=31)
    box.commit(65.0)
    box.start(500.0, clock_s=9000.0)
    assert box.engine.checkpoint(box.at(500)) == {}  # the old run's records are not rewritten yet
    box.start(501.0, clock_s=3.0)
    box.run(502)
    assert set(box.engine.checkpoint(box.at(502))) == {"engine"}
    box.commit(502)
    box.start(900.0, clock_s=0.5)
    box.run(900)
    assert box.engine.alarm("hot").held_s == 65.0


def test_a_kill_right_after_the_records_were_rewritten_invents_no_time() -> None:
    box = Box([HOT | {"for": 0}])
    box.see(0, slow=31)
    box.commit(65.0)
    box.start(500.0, clock_s=3.0)
    box.run(500)  # rewrites the records; killed before the next commit
    box.start(900.0, clock_s=1.0)
    assert box.engine.alarm("hot").held_s == 65.0


def test_a_shadow_rule_asks_for_nobody() -> None:
    box = Box([HOT | {"for": 0, "mode": "shadow"}])
    box.see(0, slow=31)
    assert [(c.priority, c.reason) for c in box.out] == [(Priority.JOURNAL, "shadow")]
    status = box.engine.alarm("hot")
    assert (status.shadow, status.priority, status.reason) == (True, Priority.HIGH, "condition")


def test_without_a_sign_of_life_no_time_is_credited() -> None:
    box = Box([HOT])
    box.see(0, slow=31)
    box.start(500.0, clock_s=7.0)
    assert box.engine.alarm("hot").held_s == 0.0


def test_restored_alarms_are_announced_neither_again_nor_as_over() -> None:
    box = Box([HOT | {"for": 0}])
    box.see(0, slow=31)
    box.take(box.engine.acknowledge("hot", None, "li", box.at(1)))
    box.commit(1)
    before = list(box.out)
    box.start(100.0)
    box.run(20_000)
    assert box.out == before
    status = box.engine.alarm("hot")
    assert (status.state, status.acked_by, status.id, status.count) == (AlarmState.ACKED, "li", "id1", 1)
    assert status.message == Text("B1 机房: 31 °C 0 秒", "B1 room: 31 °C 0 s")


@pytest.mark.parametrize("record", [b"", b"[]", b'{"v":2}', b'{"v":1}', b'{"v":1,"state":"on"}', b"\xff"])
def test_a_damaged_record_costs_its_alarm_and_not_the_start(record: bytes) -> None:
    box = Box([HOT | {"for": 0}], journal={"alarm/hot": record, "engine": b"?", "uplink/a": b"not ours"})
    assert set(box.engine.unreadable) == {"alarm/hot", "engine"}
    box.see(1, slow=31)
    assert box.engine.alarm("hot").count == 1
    assert box.journal["uplink/a"] == b"not ours"


def test_an_alarm_whose_rule_is_gone_is_retired_at_the_next_start() -> None:
    box = Box(
        [
            HOT | {"for": 0},
            {"id": "warm", "for_each": {"type": "thermometer", "building": "B1"}, "when": "slow > 20 °C"},
        ]
    )
    box.see(0, slow=31)
    box.commit(0)
    box.rules = []
    box.out.clear()
    box.start(10.0)
    assert box.engine.next_timer_s() == box.clock_s + 10
    box.run(10)
    assert [(c.rule, c.device, c.state, c.reason, c.id, c.priority) for c in box.out] == [
        ("hot", None, AlarmState.NORMAL, "rule_deleted", "id1", Priority.HIGH),
        ("warm", "t1", AlarmState.NORMAL, "rule_deleted", "id2", Priority.MEDIUM),
    ]
    assert box.out[1].place == Place(building="B1")
    assert set(box.journal) == {"engine"}
    assert box.engine.next_timer_s() is None


def test_a_rule_edited_while_the_box_was_down() -> None:
    box = Box([HOT | {"for": 0, "clear_after": "1 h"}, {"id": "slow", "when": "t1.slow > 30 °C", "for": "1 h"}])
    box.see(0, slow=31)
    box.commit(10)
    box.rules = [
        HOT | {"for": 0, "clear_after": "1 h", "when": "t1.slow > 40 °C"},
        {"id": "slow", "when": "t1.slow > 29 °C", "for": "1 h"},
    ]
    box.start(20.0)
    box.run(30)
    assert box.engine.alarm("hot").state == AlarmState.UNACK
    assert box.engine.alarm("slow").state == AlarmState.NORMAL  # the time belonged to another condition
    box.see(40, slow=31)
    assert [(c.rule, c.state, c.reason) for c in box.out[1:]] == [("hot", AlarmState.RTN_UNACK, "rule_changed")]
    assert box.engine.alarm("slow").held_s == 0.0


def test_a_late_caller_gets_the_exact_instants() -> None:
    box = Box([HOT])
    box.engine.observe([Reading("t1.slow", 31.0, MS, MS)], box.at(0))
    changes = box.engine.observe([Reading("t1.slow", 20.0, MS + 200_000, MS + 200_000)], box.at(200))
    assert [(c.state, c.time_ms - MS) for c in changes.alarms] == [
        (AlarmState.UNACK, 180_000),
        (AlarmState.RTN_UNACK, 200_000),
    ]


def test_timers_are_renewed_without_waking_the_caller() -> None:
    box = Box([{"id": "hot", "when": "t1.temp > 30 °C"}])
    for second in range(0, 1000, 10):
        box.see(second, temp=20)
        assert box.engine.next_timer_s() == second + 30.0
    box.run(1020)
    assert box.engine.next_timer_s() is None
    assert not box.engine.alarm("hot").known


def test_what_no_rule_names_costs_nothing_and_changes_nothing() -> None:
    box = Box([HOT])
    changes = box.see(0, temp=99, plate="A12345")
    assert (changes.alarms, dict(changes.saved)) == ((), {})


def test_since_when_the_shown_state_lasts() -> None:
    box = Box([HOT | {"for": "10s"}])
    since = []
    for t, value in ((0, 31), (5, 32), (20, 20), (30, 31), (35, 31), (50, 31)):
        box.see(t, slow=value)
        status = box.engine.alarm("hot")
        since.append((str(status.state), (status.since_ms - MS) // 1000))
    assert since == [
        ("pending", 0),
        ("pending", 0),
        ("rtn_unack", 20),
        ("rtn_unack", 20),
        ("rtn_unack", 20),
        ("unack", 40),
    ]


def test_the_journal_is_written_with_the_change_and_only_then() -> None:
    box = Box([HOT | {"for": "10s"}])
    assert list(box.see(0, slow=20).saved) == []
    assert list(box.see(1, slow=31).saved) == ["alarm/hot"]
    assert list(box.see(2, slow=32).saved) == []
    assert dict(box.see(3, slow=20).saved) == {"alarm/hot": None}
    box.see(4, slow=31)
    box.run(13.9)
    changes = box.engine.tick(box.at(14))
    assert [c.state for c in changes.alarms] == [AlarmState.UNACK]
    record = json.loads(changes.saved["alarm/hot"] or b"")
    assert (record["v"], record["state"], record["count"], record["id"]) == (1, "unack", 1, "id1")
    assert len(changes.saved["alarm/hot"] or b"") < 400


def test_doubtful_readings_are_unknown() -> None:
    box = Box([{"id": "hot", "when": "t1.slow > 30 °C"}, {"id": "open", "when": "t1.door"}])
    box.take(box.engine.observe([Reading("t1.slow", 99.0, MS, MS, Quality.UNCERTAIN, Reason.OUT_OF_RANGE)], box.at(0)))
    assert not box.engine.alarm("hot").known
    for value, known in ((10**400, False), (float("inf"), False), (True, False), ("31", False), (29, True)):
        box.see(1, slow=value)
        assert box.engine.alarm("hot").known is known, value
    for value, known in ((2, False), ("true", False), (1, True), (False, True)):
        box.see(2, door=value)
        assert box.engine.alarm("open").known is known, value


def test_an_old_sample_ages_from_when_it_was_measured() -> None:
    box = Box([{"id": "hot", "when": "t1.temp > 30 °C"}])
    box.see(100, temp=(31, 80.0))
    assert box.engine.alarm("hot").state == AlarmState.UNACK
    box.run(109.9)
    assert box.engine.alarm("hot").known
    box.run(110)
    assert not box.engine.alarm("hot").known
    box.see(200, temp=(20, 165.0))  # already stale on arrival
    assert box.engine.alarm("hot").state == AlarmState.UNACK


def test_no_data_after_shorter_than_the_period_counts_for_that_rule_only() -> None:
    box = Box(
        [
            {"id": "quick", "when": "t1.slow > 30 °C", "if_no_data": "alarm", "no_data_after": "60s"},
            {"id": "other", "when": "t1.slow > 30 °C"},
        ]
    )
    box.see(0, slow=20)
    box.run(60)
    assert (box.engine.alarm("quick").state, box.engine.alarm("quick").reason) == (AlarmState.UNACK, "no_data")
    assert box.engine.alarm("other").known


def test_the_second_unknown_input_does_not_wait_for_the_first() -> None:
    box = Box([{"id": "r", "when": "t1.slow > 30 °C or t1.door", "if_no_data": "alarm", "no_data_after": "100s"}])
    box.see(0, door=False)
    box.see(10, slow=20)
    box.see(20, slow=None)  # due at 110
    box.see(30, door=None)  # due at 100
    box.run(99.9)
    assert not box.out
    box.run(100)
    assert [change.reason for change in box.out] == ["no_data"]


def test_texts_of_every_kind_of_value() -> None:
    message = {"zh": "{t1.plate} {t1.door} {t1.temp} {value}", "en": "{t1.plate} {t1.door} {t1.temp} {value}"}
    box = Box([{"id": "r", "when": "t1.slow > 30 °C", "message": message}])
    box.see(0, plate="粤A12345", door=True)
    box.see(1, slow=30.125)
    assert box.out[-1].message == Text("粤A12345 是 未知 30.125 °C", "粤A12345 yes unknown 30.125 °C")
    assert box.out[-1].values == {"t1.slow": 30.125}


def test_unknown_alarms_are_a_key_error() -> None:
    box = Box([HOT])
    for rule, device in (("cold", None), ("hot", "t1")):
        with pytest.raises(KeyError):
            box.engine.acknowledge(rule, device, "li", box.at(0))
    assert box.engine.acknowledge("hot", None, "li", box.at(0)).alarms == ()
    assert list(box.engine.alarms()) == []


def test_journal_keys() -> None:
    for rule, device in (("a", None), ("燃气", "m-1-1-101")):
        assert journal.parse_key(journal.key(rule, device)) == (rule, device)
    assert journal.parse_key("engine") is None


# ---------------------------------------------------------------------- against a slow model, second by second


@dataclass
class Model:
    """One rule (> 30, deadband 2) on one point with interval 10 s, simulated in steps of one second."""

    on_s: int
    off_s: int
    no_data: str
    no_data_after: int
    state: str = "normal"
    raised_for: str = ""
    held: int | None = None
    clearing: int | None = None
    frozen: int = 0
    value: float | None = None
    newest: int = -(10**9)
    good: int = 0
    before: bool | None = None
    """The condition as it was after the previous second."""

    def second(self, t: int, seen: object) -> None:
        active = self.state in ("unack", "acked")
        self._pass_time(active)
        if seen != "nothing":
            self.value = seen if isinstance(seen, float) else None
            self.newest = t
            self.good = t if isinstance(seen, float) else self.good
        if t - self.newest >= min(30, self.no_data_after):
            self.value = None
        condition = self._condition(active)
        starved = condition is None and t - self.good >= self.no_data_after
        self._judge(condition, starved, active)
        self.before = self._condition(self.state in ("unack", "acked"))

    def _pass_time(self, active: bool) -> None:
        if active and self.clearing is not None and self.before is False:
            self.clearing += 1
        if not active and self.held is not None and self.before is True:
            self.held += 1
        self.frozen = self.frozen + 1 if self.before is None else 0

    def _condition(self, active: bool) -> bool | None:
        if self.value is None:
            return None
        return self.value >= 28 if active and self.raised_for == "condition" else self.value > 30

    def _judge(self, condition: bool | None, starved: bool, active: bool) -> None:
        if condition is None:
            self._unknown(starved, active)
        elif active and condition:
            self.clearing, self.raised_for = None, "condition"
        elif active:
            self.clearing = self.clearing or 0
            if self.clearing >= self.off_s:
                self._clear()
        elif condition:
            self.held = self.held or 0
            if self.held >= self.on_s:
                self._raise("condition")
        else:
            self.held = None

    def _unknown(self, starved: bool, active: bool) -> None:
        if starved and self.no_data == "alarm" and not active:
            self._raise("no_data")
        elif starved and self.no_data == "clear":
            self.held = None
            if active:
                self._clear()

    def _raise(self, why: str) -> None:
        self.state, self.raised_for, self.clearing, self.held = "unack", why, None, None

    def _clear(self) -> None:
        self.state = "rtn_unack" if self.state == "unack" else "normal"
        self.clearing = self.held = None

    def acknowledge(self) -> None:
        self.state = {"unack": "acked", "rtn_unack": "normal"}.get(self.state, self.state)

    @property
    def shown(self) -> str:
        return "pending" if self.state == "normal" and self.held is not None else self.state


_SECOND = st.sampled_from(["nothing"] * 12 + [20.0, 27.9, 28.0, 29.0, 31.0, 31.0, 35.0, "bad", "bad", "ack"])


@settings(max_examples=150)
@given(
    st.lists(_SECOND, min_size=20, max_size=150),
    st.sampled_from([0, 3, 12]),
    st.sampled_from([0, 4]),
    st.sampled_from(["hold", "alarm", "clear"]),
    st.sampled_from([15, 30, 45]),
)
def test_the_engine_agrees_with_a_model(script: list[object], on_s: int, off_s: int, no_data: str, after: int) -> None:
    keys = {"for": f"{on_s}s", "clear_after": f"{off_s}s", "if_no_data": no_data, "no_data_after": f"{after}s"}
    box = Box([{"id": "hot", "when": "t1.temp > 30 °C", "deadband": "2 °C", **keys}])
    model = Model(on_s, off_s, no_data, after)
    for t, seen in enumerate(script):
        if isinstance(seen, float) or seen == "bad":
            box.see(t, temp=seen if isinstance(seen, float) else None)
        box.run(t)
        model.second(t, "nothing" if seen == "ack" else seen)
        if seen == "ack":
            box.take(box.engine.acknowledge("hot", None, "li", box.at(t)))
            model.acknowledge()
        status = box.engine.alarm("hot")
        assert (t, str(status.state), status.known) == (t, model.shown, model.before is not None)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([0.5, 3.0, 11.0, 31.0]), st.sampled_from([20.0, 31.0, None])), max_size=25))
def test_ticking_late_changes_nothing(script: list[tuple[float, float | None]]) -> None:
    rules: list[dict[str, Any]] = [
        {"id": "a", "when": "t1.temp > 30 °C", "for": "7s", "clear_after": "5s"},
        {"id": "b", "when": "t1.temp > 30 °C", "if_no_data": "alarm", "no_data_after": "20s"},
        {"id": "c", "for_each": {"type": "any", "building": "B1"}, "when": "silent() > 25s"},
    ]
    punctual, lazy = Box(rules), Box(rules)
    t = 0.0
    for pause, value in script:
        t += pause
        punctual.see(t, temp=value)
        now_ms = lazy.at(t).utc_ms
        bad = bad_reading("t1.temp", Reason.NO_VALUE, now_ms)
        reading = bad if value is None else Reading("t1.temp", value, now_ms, now_ms)
        lazy.take(lazy.engine.observe([reading], lazy.at(t)))
    assert punctual.out == lazy.out
    assert punctual.journal == lazy.journal


# ---------------------------------------------------------------------- scale


def test_five_thousand_devices_times_five_rules() -> None:
    devices = [_meter(index) for index in range(5000)]
    points = {point.id: point for device in devices for point in device.points}
    rules = [
        {"id": f"r{i}", "for_each": {"type": "power_meter"}, "when": f"p{i} > 250 V", "deadband": "2 V", "for": "3s"}
        for i in range(5)
    ]
    began = time.process_time()
    made, faults = read_rules({"format": "rules/1", "rules": rules}, devices)
    engine = Engine(made, points, devices, new_id=str, started=Instant(0.0, MS))
    assert time.process_time() - began < 3.0
    assert not faults
    assert len(made.watches) == 25_000
    assert len({id(watch.program) for watch in made.watches}) == 5
    changes = engine.observe([Reading("m7.p0", 251.0, MS, MS), Reading("m7.p1", 251.0, MS, MS)], Instant(0.0, MS))
    assert list(changes.saved) == ["alarm/r0@m7", "alarm/r1@m7"]


def _meter(index: int) -> Device:
    name = f"m{index}"
    points = tuple(Point(f"{name}.p{i}", ValueKind.NUMBER, Text("", ""), 10.0, "V") for i in range(5))
    return Device(name, "power_meter", Text(name, name), Place(building=f"B{index % 40}"), "test", points)
