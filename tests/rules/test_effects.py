"""What alarms do to devices: timelines, and a machine that does everything in every order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.model import AlarmState, Point, Text, Value, ValueKind
from rules.alarm import Instant
from rules.effects import Arbiter, Effects, device_of, faults_of, is_closing, opposite
from rules.inputs import Cell, Origin
from rules.journal import Unreadable
from rules.output import Order, Output
from rules.rule import Action, Confirm, Hook, Rate, While
from rules.timers import NEVER

POSITION = Point("valve.position", ValueKind.STATE, Text("", ""), 10.0, states=("open", "closed", "moving"))
RUNNING = Point("pump.running", ValueKind.BOOLEAN, Text("", ""), 10.0)
SPEED = Point("fan.speed", ValueKind.NUMBER, Text("", ""), 10.0)
CLOSED = Confirm("valve.position", "closed", 10.0)


def on(send: str, **more: Any) -> Action:
    return Action(more.pop("hook", Hook.ALARM), send, **more)


VALVE = on("valve.close", confirm=CLOSED, tries=3)
HOLD = on("valve.close", hold=True, confirm=CLOSED, tries=3, otherwise=("main_valve.close", "horn.on"))
SIREN = on("siren.start", during=While.UNACK)
DOOR = on("lift.hold_door", at_most_for_s=60.0)
PUMP = on("pump.start", confirm=Confirm("pump.running", True, 20.0), tries=2)

STATES = {
    "raise": AlarmState.UNACK,
    "ack": AlarmState.ACKED,
    "clear": AlarmState.RTN_UNACK,
    "normal": AlarmState.NORMAL,
}
HOOKS = {"raise": Hook.ALARM, "ack": Hook.ACK, "clear": Hook.CLEAR, "normal": Hook.CLEAR}


@dataclass
class Box:
    """Alarms by name, a valve, a pump and a fan; what a caller of ``Effects`` has to do, and no more."""

    alarms: Mapping[str, Sequence[Action]]
    shadow: frozenset[str] = frozenset()
    now_s: float = 0.0
    lines: list[str] = field(default_factory=list)
    orders: list[tuple[float, Order]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.arbiter = Arbiter()
        self.cells = {each.id: Cell(Origin(each, self.now_s), 30.0) for each in (POSITION, RUNNING, SPEED)}
        self.effects = {
            name: Effects(name, actions, self.cells, self.arbiter, shadow=name in self.shadow)
            for name, actions in self.alarms.items()
        }

    def take(self, output: Output) -> None:
        for line in output.lines:
            self.lines.append(f"{self.now_s:g} {line} {line.about['send']}")
        self.orders += [(self.now_s, order) for order in output.orders]

    @property
    def now(self) -> Instant:
        return Instant(self.now_s, round(self.now_s * 1000))

    def until(self, t_s: float, *, before: bool = False) -> None:
        """Timers due until then."""
        while True:
            due_s, _, effects = min((each.due_s, name, each) for name, each in self.effects.items())
            if due_s > t_s or (before and due_s == t_s):
                break
            self.now_s = max(self.now_s, due_s)
            output = Output()
            effects.expire(self.now, output)
            assert effects.due_s > self.now_s, "a timer that is always due"
            self.take(output)
        self.now_s = t_s

    def move(self, name: str, state: AlarmState, hook: Hook | None) -> None:
        output = Output()
        self.effects[name].moved(state, self.now, output)
        if hook is not None:
            self.effects[name].fire(hook, self.now, output)
        self.take(output)

    def see(self, point: str, value: Value | None) -> None:
        cell = self.cells[point]
        if cell.value == value:
            return
        cell.value = value
        output = Output()
        for reader in cell.readers:
            assert isinstance(reader, Effects)
            reader.look(self.now, output)
        self.take(output)

    def restart(self, down_s: float, **changed: Any) -> None:
        records = {name: json.loads(json.dumps(each.record())) for name, each in self.effects.items()}
        alive_s = self.now_s
        self.alarms = changed.get("alarms", self.alarms)
        self.shadow = changed.get("shadow", self.shadow)
        self.now_s += down_s
        self.start()
        for name, record in records.items():
            if record is not None:
                self.effects[name].restore(record, self.now, alive_s)

    def play(self, t_s: float, step: str) -> None:
        word, *more = step.split()
        self.until(t_s, before=True)
        if word == "set":
            value: Any = {"none": None, "true": True, "false": False}.get(more[1], more[1])
            self.see(more[0], float(value) if more[0] == SPEED.id and value is not None else value)
        elif word == "restart":
            self.until(t_s)
            self.restart(float(more[0]))
        else:
            self.move(more[0], STATES[word], HOOKS[word])
        self.until(self.now_s)


TIMELINES: dict[str, tuple[Mapping[str, Sequence[Action]], list[tuple[float, str]], list[str]]] = {
    "C05: a command and its confirmation": (
        {"gas": [VALVE]},
        [(0, "set valve.position open"), (120, "raise gas"), (123, "set valve.position closed"), (500, "clear gas")],
        ["120 command gas valve.close", "123 confirmed gas valve.close"],
    ),
    "C20: without confirmation every raise is one command": (
        {"ebike": [on("lift1.hold_door")]},
        [(60, "raise ebike"), (120, "clear ebike"), (1700, "raise ebike")],
        ["60 command ebike lift1.hold_door", "1700 command ebike lift1.hold_door"],
    ),
    "the field may lie: sent all the same, confirmed at once": (
        {"gas": [VALVE]},
        [(0, "set valve.position closed"), (1, "raise gas")],
        ["1 command gas valve.close", "1 confirmed gas valve.close"],
    ),
    "three tries, then the others": (
        {"gas": [HOLD]},
        [(0, "raise gas"), (100, "ack gas")],
        [
            "0 command gas valve.close",
            "10 command gas valve.close",
            "20 command gas valve.close",
            "30 unconfirmed gas valve.close",
            "30 fallback gas main_valve.close",
            "30 command gas main_valve.close",
            "30 fallback gas horn.on",
            "30 command gas horn.on",
        ],
    ),
    "a dead bus comes back with the valve open: a hold closes it after all": (
        {"gas": [HOLD]},
        [(0, "raise gas"), (100, "set valve.position open"), (105, "set valve.position closed")],
        [
            "0 command gas valve.close",
            "10 command gas valve.close",
            "20 command gas valve.close",
            "30 unconfirmed gas valve.close",
            "30 fallback gas main_valve.close",
            "30 command gas main_valve.close",
            "30 fallback gas horn.on",
            "30 command gas horn.on",
            "100 reassert gas valve.close",
            "100 command gas valve.close",
            "105 confirmed gas valve.close",
        ],
    ),
    "what shows exactly at the limit is in time": (
        {"gas": [on("valve.close", confirm=CLOSED)]},
        [(0, "raise gas"), (10, "set valve.position closed")],
        ["0 command gas valve.close", "10 confirmed gas valve.close"],
    ),
    "a late confirmation is still one, and then the hold begins": (
        {"gas": [on("valve.close", hold=True, confirm=CLOSED)]},
        [(0, "raise gas"), (40, "set valve.position closed"), (50, "set valve.position open")],
        [
            "0 command gas valve.close",
            "10 unconfirmed gas valve.close",
            "40 confirmed gas valve.close",
            "50 reassert gas valve.close",
            "50 command gas valve.close",
            "60 unconfirmed gas valve.close",
        ],
    ),
    "hold: re-asserted, unknown is no reason, and not after the end": (
        {"gas": [HOLD]},
        [
            (0, "raise gas"),
            (3, "set valve.position closed"),
            (20, "set valve.position none"),
            (25, "set valve.position closed"),
            (30, "clear gas"),
            (40, "set valve.position open"),
            (41, "set valve.position closed"),
            (60, "normal gas"),
            (70, "set valve.position open"),
        ],
        [
            "0 command gas valve.close",
            "3 confirmed gas valve.close",
            "40 reassert gas valve.close",
            "40 command gas valve.close",
            "41 confirmed gas valve.close",
        ],
    ),
    "hold: two parties that fight do not fill the line": (
        {"gas": [HOLD]},
        [
            (0, "raise gas"),
            (1, "set valve.position closed"),
            (2, "set valve.position open"),
            (3, "set valve.position closed"),
            (4, "set valve.position open"),
            (5, "set valve.position closed"),
            (6, "set valve.position open"),
            (13, "set valve.position closed"),
        ],
        [
            "0 command gas valve.close",
            "1 confirmed gas valve.close",
            "2 reassert gas valve.close",
            "2 command gas valve.close",
            "3 confirmed gas valve.close",
            "12 reassert gas valve.close",
            "12 command gas valve.close",
            "13 confirmed gas valve.close",
        ],
    ),
    "without hold somebody may undo it": (
        {"gas": [VALVE]},
        [(0, "raise gas"), (3, "set valve.position closed"), (40, "set valve.position open")],
        ["0 command gas valve.close", "3 confirmed gas valve.close"],
    ),
    "an alarm that is over tries no more, and says what it does not know": (
        {"water": [PUMP]},
        [(0, "raise water"), (1, "ack water"), (5, "normal water")],
        ["0 command water pump.start", "20 unconfirmed water pump.start"],
    ),
    "an alarm that is over sends no fallback, and holds nothing": (
        {"gas": [HOLD], "late": [HOLD]},
        [
            (0, "raise gas"),
            (1, "normal gas"),
            (20, "raise late"),
            (21, "normal late"),
            (25, "set valve.position closed"),
            (30, "set valve.position open"),
        ],
        [
            "0 command gas valve.close",
            "10 unconfirmed gas valve.close",
            "20 command late valve.close",
            "25 confirmed late valve.close",
        ],
    ),
    "a close that ends the alarm holds nothing": (
        {"gas": [on("valve.close", hook=Hook.CLEAR)], "fire": [on("valve.open")]},
        [(0, "raise gas"), (1, "ack gas"), (2, "normal gas"), (3, "raise fire")],
        ["2 command gas valve.close", "3 command fire valve.open"],
    ),
    "on_clear has tries of its own": (
        {"gas": [on("valve.close", hook=Hook.CLEAR, confirm=CLOSED, tries=2)]},
        [(0, "raise gas"), (1, "ack gas"), (5, "normal gas")],
        ["5 command gas valve.close", "15 command gas valve.close", "25 unconfirmed gas valve.close"],
    ),
    "the opposite on_clear ends the tries": (
        {"water": [PUMP, on("pump.stop", hook=Hook.CLEAR)]},
        [(0, "raise water"), (1, "clear water"), (90, "normal water")],
        ["0 command water pump.start", "1 command water pump.stop", "90 command water pump.stop"],
    ),
    "while: unack ends when somebody acknowledges": (
        {"gas": [SIREN]},
        [(0, "raise gas"), (50, "ack gas"), (60, "normal gas")],
        ["0 command gas siren.start", "50 command gas siren.stop"],
    ),
    "while: unack goes on when the cause is gone and nobody has seen it": (
        {"gas": [SIREN]},
        [(0, "raise gas"), (50, "clear gas"), (60, "raise gas"), (70, "clear gas"), (90, "normal gas")],
        ["0 command gas siren.start", "60 command gas siren.start", "90 command gas siren.stop"],
    ),
    "while: active ends with the cause": (
        {"gas": [on("fan.start", during=While.ACTIVE)]},
        [(0, "raise gas"), (50, "ack gas"), (60, "normal gas")],
        ["0 command gas fan.start", "60 command gas fan.stop"],
    ),
    "while: the end ends the tries": (
        {"water": [on("pump.start", during=While.ACTIVE, confirm=Confirm("pump.running", True, 20.0), tries=3)]},
        [(0, "raise water"), (25, "clear water")],
        ["0 command water pump.start", "20 command water pump.start", "25 command water pump.stop"],
    ),
    "at_most_for: a second raise does not put the end off": (
        {"ebike": [DOOR]},
        [(0, "raise ebike"), (40, "clear ebike"), (50, "raise ebike"), (70, "clear ebike"), (80, "raise ebike")],
        [
            "0 command ebike lift.hold_door",
            "50 command ebike lift.hold_door",
            "60 command ebike lift.release_door",
            "80 command ebike lift.hold_door",
            "140 command ebike lift.release_door",
        ],
    ),
    "at_most_for: what on_clear has released is not released again": (
        {"ebike": [DOOR, on("lift.release_door", hook=Hook.CLEAR)]},
        [(0, "raise ebike"), (40, "clear ebike")],
        ["0 command ebike lift.hold_door", "40 command ebike lift.release_door"],
    ),
    "at_most: what comes too often is dropped, and said": (
        {"ebike": [on("speaker.no_ebike", at_most=Rate(2, 30.0))]},
        [(t, step) for t in (0, 10, 20, 30, 39, 40) for step in ("raise ebike", "clear ebike")],
        [
            "0 command ebike speaker.no_ebike",
            "10 command ebike speaker.no_ebike",
            "20 limited ebike speaker.no_ebike",
            "30 command ebike speaker.no_ebike",
            "39 limited ebike speaker.no_ebike",
            "40 command ebike speaker.no_ebike",
        ],
    ),
    "at_most: a restart is no way around it": (
        {"ebike": [on("speaker.no_ebike", at_most=Rate(1, 30.0))]},
        [(0, "raise ebike"), (5, "clear ebike"), (20, "restart 100"), (129, "raise ebike"), (130, "raise ebike")],
        [
            "0 command ebike speaker.no_ebike",
            "129 limited ebike speaker.no_ebike",
            "130 command ebike speaker.no_ebike",
        ],
    ),
    "X1: close beats open while its alarm is not normal": (
        {"gas": [VALVE], "fire": [on("valve.open")]},
        [
            (0, "raise gas"),
            (1, "set valve.position closed"),
            (2, "raise fire"),
            (3, "clear gas"),
            (4, "clear fire"),
            (5, "raise fire"),
            (6, "normal gas"),
            (7, "clear fire"),
            (8, "raise fire"),
        ],
        [
            "0 command gas valve.close",
            "1 confirmed gas valve.close",
            "2 refused fire valve.open",
            "5 refused fire valve.open",
            "8 command fire valve.open",
        ],
    ),
    "close beats a hold that opens, and that hold is over for good": (
        {"fire": [on("valve.open", hold=True, confirm=Confirm("valve.position", "open", 10.0))], "gas": [VALVE]},
        [
            (0, "raise fire"),
            (1, "set valve.position open"),
            (2, "raise gas"),
            (3, "set valve.position closed"),
            (4, "ack gas"),
            (5, "normal gas"),
            (6, "set valve.position moving"),
        ],
        [
            "0 command fire valve.open",
            "1 confirmed fire valve.open",
            "2 command gas valve.close",
            "3 refused fire valve.open",
            "3 confirmed gas valve.close",
        ],
    ),
    "a hold refuses the other hooks of its own alarm": (
        {"gas": [HOLD, on("valve.open", hook=Hook.ACK), on("valve.open", hook=Hook.CLEAR)]},
        [(0, "raise gas"), (1, "set valve.position closed"), (2, "ack gas"), (3, "normal gas")],
        [
            "0 command gas valve.close",
            "1 confirmed gas valve.close",
            "2 refused gas valve.open",
            "3 command gas valve.open",
        ],
    ),
    "on_clear is refused while another alarm holds": (
        {"a": [VALVE, on("valve.open", hook=Hook.CLEAR)], "b": [VALVE]},
        [(0, "set valve.position closed"), (1, "raise a"), (2, "raise b"), (3, "ack a"), (4, "normal a")],
        [
            "1 command a valve.close",
            "1 confirmed a valve.close",
            "2 command b valve.close",
            "2 confirmed b valve.close",
            "4 refused a valve.open",
        ],
    ),
    "a retry is refused when another has closed meanwhile": (
        {"fire": [on("valve.open", confirm=Confirm("valve.position", "open", 10.0), tries=3)], "gas": [VALVE]},
        [(0, "raise fire"), (5, "raise gas"), (7, "set valve.position closed")],
        [
            "0 command fire valve.open",
            "5 command gas valve.close",
            "7 confirmed gas valve.close",
            "10 refused fire valve.open",
        ],
    ),
    "the fallback is held as well": (
        {"gas": [on("valve.close", confirm=CLOSED, otherwise=("main.close",))], "fire": [on("main.open")]},
        [(0, "raise gas"), (20, "raise fire")],
        [
            "0 command gas valve.close",
            "10 unconfirmed gas valve.close",
            "10 fallback gas main.close",
            "10 command gas main.close",
            "20 refused fire main.open",
        ],
    ),
    "a siren that another alarm needs goes on; a door is released in any case": (
        {"a": [SIREN, DOOR], "b": [SIREN, DOOR]},
        [(0, "raise a"), (30, "raise b"), (35, "ack a"), (70, "ack b")],
        [
            "0 command a siren.start",
            "0 command a lift.hold_door",
            "30 command b siren.start",
            "30 command b lift.hold_door",
            "35 refused a siren.stop",
            "60 command a lift.release_door",
            "70 command b siren.stop",
            "90 command b lift.release_door",
        ],
    ),
    "restart: looks first, and the try goes on where it is not shown": (
        {"gas": [VALVE]},
        [
            (0, "raise gas"),
            (4, "restart 60"),
            (75, "set valve.position moving"),
            (80, "set valve.position closed"),
        ],
        ["0 command gas valve.close", "75 command gas valve.close", "80 confirmed gas valve.close"],
    ),
    "restart: what has come about is not ordered again": (
        {"gas": [HOLD]},
        [(0, "raise gas"), (4, "restart 60"), (70, "set valve.position closed"), (90, "set valve.position open")],
        [
            "0 command gas valve.close",
            "70 confirmed gas valve.close",
            "90 reassert gas valve.close",
            "90 command gas valve.close",
            "100 command gas valve.close",
            "110 command gas valve.close",
            "120 unconfirmed gas valve.close",
            "120 fallback gas main_valve.close",
            "120 command gas main_valve.close",
            "120 fallback gas horn.on",
            "120 command gas horn.on",
        ],
    ),
    "restart: a point that stays silent is a try that has failed": (
        {"gas": [on("valve.close", confirm=CLOSED, tries=2)]},
        [(0, "raise gas"), (4, "restart 60"), (300, "ack gas")],
        [
            "0 command gas valve.close",
            "94 command gas valve.close",
            "104 command gas valve.close",
            "114 unconfirmed gas valve.close",
        ],
    ),
    "restart: hold and its claim go on": (
        {"gas": [HOLD], "fire": [on("valve.open")]},
        [
            (0, "raise gas"),
            (3, "set valve.position closed"),
            (20, "restart 5"),
            (26, "raise fire"),
            (30, "set valve.position open"),
            (31, "set valve.position closed"),
        ],
        [
            "0 command gas valve.close",
            "3 confirmed gas valve.close",
            "26 refused fire valve.open",
            "30 reassert gas valve.close",
            "30 command gas valve.close",
            "31 confirmed gas valve.close",
        ],
    ),
    "restart: the rest of at_most_for, the downtime not counted": (
        {"ebike": [DOOR, SIREN]},
        [(0, "raise ebike"), (40, "restart 100"), (170, "ack ebike")],
        [
            "0 command ebike lift.hold_door",
            "0 command ebike siren.start",
            "160 command ebike lift.release_door",
            "170 command ebike siren.stop",
        ],
    ),
    "a siren is not started where somebody has acknowledged already": (
        {"gas": [SIREN, on("gate.close")]},
        [(0, "raise gas"), (1, "ack gas"), (2, "restart 1")],
        ["0 command gas siren.start", "0 command gas gate.close", "1 command gas siren.stop"],
    ),
}


@pytest.mark.parametrize("title", TIMELINES)
def test_timeline(title: str) -> None:
    alarms, steps, expected = TIMELINES[title]
    box = Box(alarms)
    for t_s, step in steps:
        box.play(t_s, step)
    box.until(10_000.0)
    assert box.lines == expected
    said = [line.rpartition(" ")[2] for line in box.lines if line.split()[1] == "command"]
    assert said == [order.send for _, order in box.orders]


def test_there_are_as_many_timelines_as_were_written() -> None:
    assert len(TIMELINES) == 36


@pytest.mark.parametrize("title", TIMELINES)
def test_in_shadow_nothing_is_sent_and_nothing_is_held(title: str) -> None:
    alarms, steps, _ = TIMELINES[title]
    box = Box(alarms, frozenset(alarms))
    for t_s, step in steps:
        box.play(t_s, step)
        assert not box.arbiter.holds()
    box.until(10_000.0)
    assert not box.orders
    assert {line.split()[1] for line in box.lines} <= {"would_send", "limited"}
    assert any("would_send" in line for line in box.lines)


def test_x5_shadow_says_what_it_would_send() -> None:
    box = Box({"gas": [HOLD, SIREN]}, frozenset({"gas"}))
    box.play(0, "raise gas")
    box.play(100, "ack gas")
    assert box.lines == [
        "0 would_send gas valve.close",
        "0 would_send gas siren.start",
        "100 would_send gas siren.stop",
    ]


def test_attempts_are_numbered_and_keep_goes_along() -> None:
    box = Box({"gas": [on("valve.close", confirm=CLOSED, tries=2), on("camera.snapshot", keep_s=60.0)]})
    box.play(0, "raise gas")
    box.until(100.0)
    assert [(order.send, order.attempt, order.keep_s, order.name) for _, order in box.orders] == [
        ("valve.close", 1, None, "gas"),
        ("camera.snapshot", 1, 60.0, "gas"),
        ("valve.close", 2, None, "gas"),
    ]


def test_fire_before_moved_does_the_same() -> None:
    box = Box({"gas": [HOLD]})
    output = Output()
    box.effects["gas"].fire(Hook.ALARM, box.now, output)
    box.effects["gas"].moved(AlarmState.UNACK, box.now, output)
    assert [str(line) for line in output.lines] == ["command gas"]
    assert box.arbiter.holds() == {"valve": ("gas", "valve.close")}


def test_an_alarm_whose_reason_becomes_the_condition_while_acknowledged_starts_no_siren() -> None:
    box = Box({"gas": [SIREN, on("gate.close")]})
    box.move("gas", AlarmState.UNACK, None)  # no data, act_on_no_data: false
    box.move("gas", AlarmState.ACKED, Hook.ACK)
    box.move("gas", AlarmState.ACKED, Hook.ALARM)
    assert box.lines == ["0 command gas gate.close"]


def test_holds_names_the_one_that_closes() -> None:
    box = Box({"fire": [on("valve.open", hold=True)], "gas": [on("valve.close")]})
    assert not box.arbiter.holds()
    box.play(0, "raise fire")
    assert box.arbiter.holds() == {"valve": ("fire", "valve.open")}
    box.play(1, "raise gas")
    assert box.arbiter.holds() == {"valve": ("gas", "valve.close")}
    box.play(2, "normal gas")
    assert box.arbiter.holds() == {"valve": ("fire", "valve.open")}
    box.play(3, "normal fire")
    assert not box.arbiter.holds()


@pytest.mark.parametrize(
    ("wanted", "shown", "confirmed"),
    [(50.0, 50.05, True), (50, 50.0, True), (50.0, 51.0, False), (0.0, 0.0, True), (50.0, None, False)],
)
def test_numbers_confirm_within_the_devices_step(wanted: float, shown: float | None, confirmed: bool) -> None:
    box = Box({"hot": [on("fan.set", confirm=Confirm("fan.speed", wanted, 10.0))]})
    box.play(0, "raise hot")
    box.see("fan.speed", shown)
    assert ("0 confirmed hot fan.set" in box.lines) is confirmed


def test_true_is_not_one() -> None:
    box = Box({"water": [on("pump.start", confirm=Confirm("pump.running", 1, 10.0))]})
    box.play(0, "raise water")
    box.see("pump.running", True)
    assert box.lines == ["0 command water pump.start"]


# ---------------------------------------------------------------------- other rules, the same alarm


def test_other_rules_in_the_middle_of_a_try_leave_it_the_rest_of_its_time() -> None:
    box = Box({"gas": [VALVE]})
    box.play(0, "set valve.position open")
    box.play(1, "raise gas")
    box.until(5.0)
    box.restart(0.0)
    box.cells["valve.position"].value = "open"  # as Inputs.inherit does, telling nobody
    box.until(10.9)
    assert box.lines == ["1 command gas valve.close"]
    box.until(11.0)
    assert box.lines[1:] == ["11 command gas valve.close"]
    assert box.orders[-1][1].attempt == 2


def test_other_rules_while_somebody_has_undone_a_hold() -> None:
    box = Box({"gas": [HOLD]})
    box.play(0, "raise gas")
    box.play(1, "set valve.position closed")
    box.until(5.0)
    box.restart(0.0)
    box.cells["valve.position"].value = "open"
    box.until(5.0)
    assert box.lines[-2:] == ["5 reassert gas valve.close", "5 command gas valve.close"]


@pytest.mark.parametrize("changed", [{"alarms": {"gas": []}}, {"shadow": frozenset({"gas"})}])
def test_what_runs_is_ended_when_the_rule_does_not_order_it_any_more(changed: Any) -> None:
    box = Box({"gas": [SIREN, HOLD]})
    box.play(0, "raise gas")
    box.until(5.0)
    box.restart(1.0, **changed)
    box.until(100.0)
    assert box.lines[2:] == ["6 command gas siren.stop"]
    assert box.orders[-1][1].send == "siren.stop"
    assert not box.arbiter.holds()
    assert box.effects["gas"].record() is None


def test_a_rule_that_goes_live_does_not_end_what_it_never_began() -> None:
    box = Box({"gas": [SIREN]}, frozenset({"gas"}))
    box.play(0, "raise gas")
    box.restart(1.0, shadow=frozenset())
    box.play(5, "ack gas")
    assert box.lines == ["0 would_send gas siren.start"]
    assert not box.orders


def test_a_hold_that_is_none_any_more_lets_go() -> None:
    box = Box({"gas": [on("pump.start", hold=True, confirm=Confirm("pump.running", True, 20.0))]})
    box.play(0, "raise gas")
    box.play(1, "set pump.running true")
    box.restart(1.0, alarms={"gas": [PUMP]})
    assert not box.arbiter.holds()
    box.play(5, "set pump.running false")
    assert len(box.orders) == 1


def test_two_actions_alike_keep_their_own_state() -> None:
    twice = on("speaker.say", at_most=Rate(1, 60.0))
    box = Box({"a": [twice, twice]})
    box.play(0, "raise a")
    box.restart(1.0)
    box.play(5, "raise a")
    assert [line.split()[1] for line in box.lines] == ["command", "command", "limited", "limited"]


@pytest.mark.parametrize(
    "record", [None, [], {}, "x", [2, 0, False, "unack", []], [1, 0, False, "on", []], [1, 0, False, "unack", [[1]]]]
)
def test_a_record_that_is_none_is_refused(record: object) -> None:
    effects = Box({"gas": [VALVE]}).effects["gas"]
    with pytest.raises(Unreadable, match="effects"):
        effects.restore(record, Instant(0.0, 0))


def test_idle_leaves_no_record() -> None:
    box = Box({"gas": [VALVE, SIREN, on("speaker.say", at_most=Rate(1, 60.0))]})
    effects = box.effects["gas"]
    assert effects.record() is None
    box.play(0, "raise gas")
    assert effects.record() is not None
    box.play(1, "set valve.position closed")
    box.play(2, "normal gas")
    assert effects.record() is not None  # the limit
    box.until(60.0)
    box.move("gas", AlarmState.NORMAL, None)
    assert effects.record() is None
    assert effects.due_s == NEVER


# ---------------------------------------------------------------------- opposites


@pytest.mark.parametrize(
    ("action", "other"),
    [
        ("start", "stop"),
        ("stop", "start"),
        ("on", "off"),
        ("hold_door", "release_door"),
        ("release_door", None),
        ("lock", "unlock"),
        ("unlock", "lock"),
        ("open", "close"),
        ("close", None),
        ("closed", None),
        ("close_to_cars", None),
        ("lamp_on", "lamp_off"),
        ("pump1_start", "pump1_stop"),
        ("snapshot", None),
    ],
)
def test_opposite(action: str, other: str | None) -> None:
    assert opposite(action) == other
    faults = faults_of(action)
    assert (faults is None) is (other is not None)
    if faults is not None:
        assert all(action in text for text in faults)


def test_no_opposite_opens_anything() -> None:
    words = ("start", "stop", "on", "off", "open", "close", "closed", "lock", "unlock", "hold", "hold_door", "x_on")
    assert not {opposite(word) for word in words} & {"open", "opened", "hold_door", "hold"}


# ---------------------------------------------------------------------- everything in every order

A = {
    "gas": [HOLD, SIREN, on("valve.open", hook=Hook.CLEAR)],
    "fire": [
        on("valve.open", hold=True, confirm=Confirm("valve.position", "open", 10.0), tries=2),
        SIREN,
        DOOR,
        on("speaker.go", at_most=Rate(1, 25.0)),
    ],
    "water": [on("pump.start", during=While.ACTIVE, confirm=Confirm("pump.running", True, 20.0), tries=2), VALVE],
    "trial": [HOLD, SIREN, DOOR, on("valve.open", hook=Hook.CLEAR)],
}
MOVES = {
    AlarmState.NORMAL: ("raise",),
    AlarmState.UNACK: ("ack", "clear"),
    AlarmState.ACKED: ("normal", "raise"),
    AlarmState.RTN_UNACK: ("raise", "normal"),
}
NAMES = st.sampled_from(sorted(A))


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.box = Box(A, frozenset({"trial"}))
        self.states = dict.fromkeys(A, AlarmState.NORMAL)
        self.restarts = 0
        self.checked = 0
        self.round: dict[tuple[str, str], int] = {}
        self.orders_at_restart: list[str] | None = None

    def step(self, act: Any) -> None:
        """*act*, and what must be true of the orders that it has made."""
        orders, lines = len(self.box.orders), len(self.box.lines)
        held_before = self.closing()
        act()
        for t_s, order in self.box.orders[orders:]:
            assert order.name != "trial", "shadow sends nothing"
            held = held_before & self.closing()
            assert is_closing(order.send.partition(".")[2]) or device_of(order.send) not in held, (t_s, order)
        self.count(self.box.lines[lines:])

    def closing(self) -> set[str]:
        held = self.box.arbiter.holds()
        return {device for device, (_, send) in held.items() if is_closing(send.partition(".")[2])}

    def count(self, lines: Sequence[str]) -> None:
        """Orders of a valve per fire and without confirmation; a restart may double the one it made doubtful."""
        for line in lines:
            _, event, name, send = line.split()
            if event in ("confirmed", "reassert"):  # a new round; how often is limited by `within`
                self.round[name, send] = 0
            if event == "command" and send == "valve.close":
                self.round[name, send] = self.round.get((name, send), 0) + 1
                assert self.round[name, send] <= 3 + self.restarts, lines

    @rule(name=NAMES, pick=st.integers(0, 1))
    def move(self, name: str, pick: int) -> None:
        moves = MOVES[self.states[name]]
        word = moves[pick % len(moves)]
        self.states[name] = STATES[word]
        if word == "raise":
            self.round[name, "valve.close"] = 0
        self.step(lambda: self.box.play(self.box.now_s, f"{word} {name}"))

    @rule(value=st.sampled_from([None, "open", "closed", "moving"]))
    def valve(self, value: str | None) -> None:
        self.step(lambda: self.box.see("valve.position", value))

    @rule(value=st.sampled_from([None, True, False]))
    def pump(self, value: bool | None) -> None:
        self.step(lambda: self.box.see("pump.running", value))

    @rule(seconds=st.sampled_from([0.5, 5.0, 10.0, 12.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.step(lambda: self.box.until(self.box.now_s + seconds))

    @precondition(lambda self: self.restarts < 3)
    @rule(down_s=st.sampled_from([0.0, 7.0, 500.0]))
    def restart(self, down_s: float) -> None:
        held = {device: send for device, (_, send) in self.box.arbiter.holds().items()}
        before = len(self.box.orders)
        self.restarts += 1
        self.box.restart(down_s)
        assert {device: send for device, (_, send) in self.box.arbiter.holds().items()} == held
        self.step(lambda: self.box.until(self.box.now_s))
        assert all(order.send in ("siren.stop", "lift.release_door") for _, order in self.box.orders[before:]), (
            "before anything is seen after a restart nothing is ordered but what time ends"
        )

    @invariant()
    def no_timer_is_overdue(self) -> None:
        assert all(each.due_s > self.box.now_s for each in self.box.effects.values())

    @invariant()
    def who_is_normal_holds_nothing(self) -> None:
        for name, _ in self.box.arbiter.holds().values():
            assert self.states[name] is not AlarmState.NORMAL

    @invariant()
    def a_record_is_restored_as_it_was(self) -> None:
        effects = self.box.effects["fire"]
        record = effects.record()
        if record is None:
            return
        twin = Effects("fire", A["fire"], self.box.cells, Arbiter(), shadow=False)
        for cell in self.box.cells.values():
            cell.readers = [reader for reader in cell.readers if reader is not twin]
        twin.restore(json.loads(json.dumps(record)), Instant(self.box.now_s + 99.0, 0))
        assert twin.record() is not None

    @invariant()
    def the_siren_sounds_exactly_while_somebody_needs_it(self) -> None:
        orders = [order.send for _, order in self.box.orders if order.send.startswith("siren.")]
        sounds = bool(orders) and orders[-1] == "siren.start"
        needed = any(self.states[name] in (AlarmState.UNACK, AlarmState.RTN_UNACK) for name in ("gas", "fire"))
        assert sounds is needed


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
