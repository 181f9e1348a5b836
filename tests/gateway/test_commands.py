"""Commands: what is refused, and that what is carried out is carried out once, audited before and after."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands import (
    LARGEST,
    LONGEST,
    STALL_S,
    Code,
    Command,
    Commands,
    Outcome,
    Plan,
    Refusal,
    Status,
    Target,
    agrees,
    checked,
    cuts_supply,
    decide,
    judge,
    parse_value,
)
from gateway.envelope import Draft, Envelope
from gateway.errors import DeviceRejected, DeviceUnreachable, LineLost, ProtocolError, StoreFull
from gateway.ids import uuid7
from gateway.model import Device, Lane, Place, Point, Reading, Reason, Text, Value, ValueKind, bad_reading
from gateway.pipeline import Pipeline
from gateway.quality import QualityGate
from gateway.schedule import Job
from gateway.supervisor import Line
from rules.definition import read_rules
from rules.engine import Engine, Instant
from support.clock import LoopClock
from support.reports import untaken
from support.virtual_time import run

HOME = Place(building="3#", room="101")


def point(name: str, kind: ValueKind, **more: Any) -> Point:
    return Point(f"v1.{name}", kind, Text(name, name), 1.0, **{"writable": True, **more})


VALVE = point("valve", ValueKind.STATE, states=("open", "closed", "moving"))
LAMP = point("lamp", ValueKind.BOOLEAN)
SETPOINT = point("setpoint", ValueKind.NUMBER, unit="Cel", minimum=5, maximum=30)
LABEL = point("label", ValueKind.TEXT)
LEVEL = point("level", ValueKind.NUMBER, unit="m", writable=False)
POINTS = {each.id: each for each in (VALVE, LAMP, SETPOINT, LABEL, LEVEL)}


def command(target: Point | str = VALVE, value: object = "closed", **more: str) -> Command:
    id_ = target if isinstance(target, str) else target.id
    return Command(**{"id": "c-1", "point": id_, "value": value, "who": "li", "reason": "leak", "via": "local", **more})


# ---------------------------------------------------------------------- deciding

REFUSED: list[tuple[Command, Target | None, Refusal]] = [
    (command("v1.nothing"), None, Refusal(Code.UNKNOWN_POINT)),
    (command(LEVEL, 1.0), Target(LEVEL, True, 0.0), Refusal(Code.NOT_WRITABLE)),
    (command(), Target(VALVE, False, 0.0), Refusal(Code.NOT_ALLOWED)),
    (command(), Target(VALVE, True, None), Refusal(Code.DRIVER_CANNOT)),
    (command(), Target(VALVE, True, 0.0, wrong=True), Refusal(Code.WRONG_DEVICE)),
    (command(who=" "), Target(VALVE, True, 0.0), Refusal(Code.NO_WHO)),
    (command(reason="\t"), Target(VALVE, True, 0.0), Refusal(Code.NO_REASON)),
    (command(value="shut"), Target(VALVE, True, 0.0), Refusal(Code.BAD_VALUE, "open, closed, moving")),
    (command(LAMP, 1), Target(LAMP, True, 0.0), Refusal(Code.BAD_VALUE, "on, off")),
    (command(SETPOINT, True), Target(SETPOINT, True, 0.0), Refusal(Code.BAD_VALUE, "5 … 30 Cel")),
    (command(SETPOINT, "21"), Target(SETPOINT, True, 0.0), Refusal(Code.BAD_VALUE, "5 … 30 Cel")),
    (command(SETPOINT, float("nan")), Target(SETPOINT, True, 0.0), Refusal(Code.BAD_VALUE, "5 … 30 Cel")),
    (command(SETPOINT, 10**400), Target(SETPOINT, True, 0.0), Refusal(Code.BAD_VALUE, "5 … 30 Cel")),
    (command(SETPOINT, 30.1), Target(SETPOINT, True, 0.0), Refusal(Code.OUT_OF_RANGE, "5 … 30 Cel")),
    (command(SETPOINT, 4), Target(SETPOINT, True, 0.0), Refusal(Code.OUT_OF_RANGE, "5 … 30 Cel")),
    (command(LABEL, ""), Target(LABEL, True, 0.0), Refusal(Code.BAD_VALUE, "1 … 200")),
    (command(LABEL, "a\x1b[2J"), Target(LABEL, True, 0.0), Refusal(Code.BAD_VALUE, "1 … 200")),
    (command(LABEL, None), Target(LABEL, True, 0.0), Refusal(Code.BAD_VALUE, "1 … 200")),
    (command(), Target(VALVE, True, 10.0, busy=True), Refusal(Code.BUSY)),
    (command(), Target(VALVE, True, 10.0, written_s=96.0), Refusal(Code.TOO_SOON, "6.0 s")),
]


@pytest.mark.parametrize(("asked", "target", "refusal"), REFUSED, ids=[str(case[2].code) for case in REFUSED])
def test_what_is_refused(asked: Command, target: Target | None, refusal: Refusal) -> None:
    assert decide(asked, target, 100.0) == refusal


@pytest.mark.parametrize(
    ("target", "value"), [(VALVE, "closed"), (LAMP, False), (SETPOINT, 21.5), (SETPOINT, 30), (LABEL, "3 号楼")]
)
def test_what_is_allowed_is_planned_with_its_settling_time(target: Point, value: Value) -> None:
    assert decide(command(target, value), Target(target, True, 7.0, written_s=93.0), 100.0) == Plan(
        target.id, value, 7.0
    )


def test_rights_are_looked_at_before_the_value_and_interlocks_last() -> None:
    def interlock(asked: Command, about: Point) -> str | None:
        assert about is VALVE
        return "gas alarm" if asked.value == "open" else None

    assert decide(command(value="nonsense"), Target(VALVE, False, 0.0), 0.0, [interlock]) == Refusal(Code.NOT_ALLOWED)
    locked = decide(command(value="open"), Target(VALVE, True, 0.0), 0.0, [interlock])
    assert locked == Refusal(Code.INTERLOCK, "gas alarm")
    assert isinstance(decide(command(), Target(VALVE, True, 0.0), 0.0, [interlock]), Plan)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@given(JSON, st.sampled_from([VALVE, LAMP, SETPOINT, LABEL]))
def test_whatever_is_asked_the_answer_is_a_plan_of_the_points_kind_or_a_refusal(value: object, target: Point) -> None:
    answer = decide(command(target, value), Target(target, True, 0.0), 0.0)
    assert isinstance(answer, Refusal) or answer == Plan(target.id, value, 0.0)  # type: ignore[arg-type]
    if target is SETPOINT and isinstance(value, (int, float)) and not isinstance(value, bool) and 5 <= value <= 30:
        assert isinstance(answer, Plan)


TYPED: list[tuple[Point, str, Value | Code]] = [
    (SETPOINT, "21.5", 21.5),
    (SETPOINT, " 21 ", 21),
    (SETPOINT, "+7.", 7.0),
    (SETPOINT, "21,5", Code.BAD_VALUE),
    (SETPOINT, "21.5 Cel", Code.BAD_VALUE),
    (SETPOINT, "1e1", Code.BAD_VALUE),
    (SETPOINT, "nan", Code.BAD_VALUE),
    (SETPOINT, "1_0", Code.BAD_VALUE),
    (SETPOINT, "9" * 5000, Code.BAD_VALUE),
    (SETPOINT, "-21", Code.OUT_OF_RANGE),
    (LAMP, "on", True),
    (LAMP, "TRUE", True),
    (LAMP, "开", True),
    (LAMP, "off", False),
    (LAMP, "False", False),
    (LAMP, "关", False),
    (LAMP, "yes", Code.BAD_VALUE),
    (LAMP, "1", Code.BAD_VALUE),
    (VALVE, "closed", "closed"),
    (VALVE, "Closed", Code.BAD_VALUE),
    (LABEL, "a b", "a b"),
]


@pytest.mark.parametrize(("target", "written", "expected"), TYPED)
def test_what_people_type_becomes_a_value_of_the_points_kind(
    target: Point, written: str, expected: Value | Code
) -> None:
    value = parse_value(target, written)
    if isinstance(expected, Code):
        assert isinstance(value, Refusal)
        assert value.code is expected
    else:
        assert value == expected
        assert type(value) is type(expected)


def test_what_cuts_somebodys_supply() -> None:
    relay = point("relay", ValueKind.STATE, states=("closed", "open"))
    board = point("relay8", ValueKind.BOOLEAN)
    assert [cuts_supply(VALVE, state) for state in ("open", "closed", "moving")] == [False, True, True]
    assert [cuts_supply(relay, state) for state in ("open", "closed")] == [True, False]
    assert [cuts_supply(board, state) for state in (True, False)] == [False, True]
    assert not cuts_supply(LAMP, False)
    assert not cuts_supply(point("correlay", ValueKind.BOOLEAN), False)


@pytest.mark.parametrize(
    ("wanted", "shown", "same"),
    [
        ("open", "open", True), ("open", "closed", False), (True, True, True), (True, 1, False),
        (21.53, 21.5, True), (21.5, 21.4, False), (0, 0.0, True), (0, 0.1, False), (1000, 1001, True),
    ],
)  # fmt: skip
def test_numbers_agree_within_a_step_and_words_exactly(wanted: Value, shown: Value, same: bool) -> None:
    assert agrees(wanted, shown) is same


def test_what_became_of_a_write() -> None:
    plan = Plan(VALVE.id, "closed", 0.0)
    now = 1_767_225_600_000
    shows = [Reading(VALVE.id, "closed", now, now)]
    other = [Reading(VALVE.id, "open", now, now)]
    none = [bad_reading(VALVE.id, Reason.NO_VALUE, now)]
    silent = DeviceUnreachable("silent")
    unknown, confirmed = Status.UNKNOWN, Status.OK
    assert judge(plan, None, shows) == Outcome(confirmed, Code.CONFIRMED, "", "closed")
    assert judge(plan, None, other) == Outcome(Status.FAILED, Code.DIFFERS, "open", "open")
    assert judge(plan, None, none) == Outcome(unknown, Code.NOT_READ_BACK, "no_value")
    assert judge(plan, None, silent) == Outcome(unknown, Code.NOT_READ_BACK, "silent")
    assert judge(plan, None, None) == Outcome(unknown, Code.INTERRUPTED)
    # what the device never confirmed stays unknown, whatever it shows
    assert judge(plan, silent, shows) == Outcome(unknown, Code.NO_ANSWER, "silent", "closed")
    assert judge(plan, ProtocolError("noise"), silent) == Outcome(unknown, Code.BAD_ANSWER, "noise")
    assert judge(plan, LineLost("unplugged"), silent) == Outcome(unknown, Code.LINE_LOST, "unplugged")


# ---------------------------------------------------------------------- doing


def now_s() -> float:
    return round(asyncio.get_running_loop().time(), 2)


class Wire:
    """A connection that is there, unless told otherwise."""

    def __init__(self) -> None:
        self.last_answer = b""
        self.there = True

    async def __aenter__(self) -> Self:
        if not self.there:
            raise LineLost("no such port")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        pass


class Device1:
    """A valve with a motor: 0.2 s an exchange, and *travel_s* until a write shows."""

    def __init__(self, clock: LoopClock, log: list[Any], travel_s: float = 0.0, settle_s: float = 0.0) -> None:
        self.clock, self.log = clock, log
        self.travel_s, self.settles_s = travel_s, settle_s
        self.shown: dict[str, Value] = {VALVE.id: "open", LAMP.id: False, SETPOINT.id: 20.0}
        self.coming: dict[str, tuple[float, Value]] = {}
        self.write_fails: Exception | None = None
        self.polls_fail: Exception | None = None
        self.deaf = False
        self.hangs = False

    def batches(self, points: Sequence[str]) -> Sequence[Sequence[str]]:
        return [[each] for each in points]

    async def poll(self, points: Sequence[str]) -> Sequence[Reading]:
        self.log.append(("poll", now_s()))
        await asyncio.sleep(0.2)
        if self.polls_fail is not None:
            raise self.polls_fail
        now_ms = self.clock.now_ms()
        return [Reading(each, self._now(each), now_ms, now_ms) for each in points]

    def _now(self, each: str) -> Value:
        at_s, value = self.coming.get(each, (0.0, self.shown[each]))
        if asyncio.get_running_loop().time() >= at_s:
            self.shown[each] = value
        return self.shown[each]

    async def write(self, each: str, value: Value) -> None:
        self.log.append(("write", now_s(), each, value))
        await asyncio.sleep(10_000.0 if self.hangs else 0.1)
        if self.write_fails is not None:
            raise self.write_fails
        if not self.deaf:
            self.coming[each] = (asyncio.get_running_loop().time() + self.travel_s, value)

    def settle_s(self, each: str) -> float:
        return self.settles_s


class FakeStore:
    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.refusing = False
        self.items: list[tuple[Lane, dict[str, Any]]] = []

    async def commit(self, drafts: Sequence[Draft], state: Mapping[str, bytes | None]) -> Sequence[Envelope]:
        await asyncio.sleep(0.05)
        if self.refusing:
            raise StoreFull("disk full")
        for draft in drafts:
            for item in json.loads(draft.items):
                self.items.append((draft.lane, item))
                if draft.lane is Lane.EVENT:
                    self.log.append((item["kind"], now_s()))
        return []

    def events(self) -> list[dict[str, Any]]:
        return [item for lane, item in self.items if lane is Lane.EVENT]


class Rig:
    """A line with one device, the real pipeline, and a store that remembers in which order things happened."""

    def __init__(self, travel_s: float = 0.0, settle_s: float = 0.0) -> None:
        self.log: list[Any] = []
        self.clock = LoopClock()
        self.store = FakeStore(self.log)
        self.device = Device1(self.clock, self.log, travel_s, settle_s)
        self.wire = Wire()
        devices = (Device("v1", "valve", Text("阀", "valve"), HOME, "test", tuple(POINTS.values())),)
        rules, faults = read_rules({"format": "rules/1", "rules": []}, devices)
        assert not faults
        engine = Engine(rules, POINTS, devices, new_id=uuid7, started=Instant(0.0, self.clock.wall_ms))
        self.pipeline = Pipeline(self.store, engine, POINTS, self.clock)
        self.line = Line(
            "L1",
            self.wire,  # type: ignore[arg-type]  # the supervisor only opens it; the device asks nobody
            {"v1": self.device},
            [Job("v1", (VALVE.id,), 1.0)],
            self.pipeline.submit,
            self.clock,
            random.Random(7),
            QualityGate(POINTS),
            lambda change: None,
            untaken,
        )
        allowed = frozenset({VALVE.id, LAMP.id, SETPOINT.id})
        self.wrong: set[str] = set()
        self.commands = Commands(
            POINTS, {"v1": HOME}, allowed, {"v1": self.line}, self.pipeline, self.clock, self.wrong
        )
        self.polling: asyncio.Task[None]

    def writes(self) -> list[Any]:
        return [entry[1:] for entry in self.log if entry[0] == "write"]


def play(rig: Rig, script: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        rig.polling = asyncio.ensure_future(rig.line.run())
        committing = asyncio.ensure_future(rig.pipeline.run())
        await script()
        for task in (rig.polling, committing):
            task.cancel()
        await asyncio.gather(rig.polling, committing, return_exceptions=True)
        await rig.pipeline.drain()

    run(main())


def test_it_is_on_disk_before_it_leaves_goes_out_once_between_two_polls_and_reads_back() -> None:
    rig = Rig()
    outcomes: list[Outcome] = []

    async def script() -> None:
        await asyncio.sleep(2.1)  # while the device is being polled, 2.0 to 2.2
        outcomes.append(await rig.commands.execute(command()))

    play(rig, script)
    assert outcomes == [Outcome(Status.OK, Code.CONFIRMED, "", "closed")]
    kinds = [entry for entry in rig.log if entry[1] >= 2.0]
    assert kinds[:5] == [
        ("poll", 2.0),
        ("command.requested", 2.15),
        ("write", 2.2, VALVE.id, "closed"),
        ("poll", 2.3),
        ("command.done", 2.55),
    ]
    requested, done = rig.store.events()
    about = {"command": "c-1", "point": VALVE.id, "value": "closed", "who": "li", "reason": "leak", "via": "local"}
    assert requested["attributes"] == about
    assert done["attributes"] == {
        **about, "result": "ok", "code": "confirmed", "detail": "", "read_back": "closed"
    }  # fmt: skip
    for event in (requested, done):
        assert (event["device"], event["place"]) == ("v1", {"building": "3#", "room": "101"})
    shown = [item["v"] for lane, item in rig.store.items if lane is Lane.TELEMETRY]
    assert shown == ["open", "open", "open", "closed"], "what was read back is published like any reading"


def test_everything_else_is_refused_before_anything_is_sent_and_audited() -> None:
    rig = Rig()
    asked = [
        command("v9.nothing"), command(LEVEL, 1), command(LABEL, "x"), command(reason=""), command(value="shut"),
        command(SETPOINT, 99), command(SETPOINT, float("nan")), command(LAMP, [1]), command(value="\ud800"),
        command("x" * 1000, "y" * 1000),
    ]  # fmt: skip

    async def script() -> None:
        await asyncio.sleep(0.5)
        for each in asked:
            assert (await rig.commands.execute(each)).status is Status.REJECTED
            assert not isinstance(await rig.commands.check(each), Plan), "and asking beforehand says so, too"

    play(rig, script)
    events = rig.store.events()
    assert not rig.writes()
    assert [event["kind"] for event in events] == ["command.done"] * 2 * len(asked)
    assert [event["attributes"]["code"] for event in events[::2]] == [
        "unknown_point", "not_writable", "not_allowed", "no_reason", "bad_value",
        "out_of_range", "bad_value", "bad_value", "bad_value", "unknown_point",
    ]  # fmt: skip
    assert events[0]["device"] is None
    assert events[-1]["attributes"]["value"] == "y" * LONGEST


def test_a_check_sends_nothing_and_leaves_no_trace_when_there_is_nothing_to_refuse() -> None:
    rig = Rig(settle_s=30.0)

    async def script() -> None:
        await asyncio.sleep(0.5)
        assert await rig.commands.check(command()) == Plan(VALVE.id, "closed", 30.0)

    play(rig, script)
    assert not rig.writes()
    assert not rig.store.events()


def test_a_store_that_refuses_keeps_the_valve_where_it_is() -> None:
    rig = Rig()
    outcomes: list[Outcome] = []

    async def script() -> None:
        await asyncio.sleep(0.5)
        rig.store.refusing = True
        outcomes.append(await rig.commands.execute(command()))
        rig.store.refusing = False
        await asyncio.sleep(5.0)

    play(rig, script)
    assert (outcomes[0].status, outcomes[0].code) == (Status.REJECTED, Code.NOT_AUDITED)
    assert not rig.writes()
    requested, done = rig.store.events()
    assert (requested["kind"], done["attributes"]["code"]) == ("command.requested", "not_audited")


UNKNOWN: list[tuple[Exception, Code]] = [
    (DeviceUnreachable("silent"), Code.NO_ANSWER),
    (ProtocolError("noise", b"\x00"), Code.BAD_ANSWER),
    (LineLost("unplugged"), Code.LINE_LOST),
    (ZeroDivisionError("a bug"), Code.BAD_ANSWER),
]


@pytest.mark.parametrize(("trouble", "code"), UNKNOWN, ids=[str(each[1]) for each in UNKNOWN])
def test_no_answer_means_unknown_and_nothing_is_sent_a_second_time(trouble: Exception, code: Code) -> None:
    rig = Rig()
    outcomes: list[Outcome] = []

    async def script() -> None:
        await asyncio.sleep(0.5)
        rig.device.write_fails = trouble
        outcomes.append(await rig.commands.execute(command()))
        await asyncio.sleep(60.0)

    play(rig, script)
    assert (outcomes[0].status, outcomes[0].code) == (Status.UNKNOWN, code)
    assert len(rig.writes()) == 1
    assert [event["attributes"].get("result") for event in rig.store.events()] == [None, "unknown"]
    assert len([entry for entry in rig.log if entry[0] == "poll"]) > 50, "the line lives on"


def test_a_refusal_of_the_device_is_no_mystery_and_nothing_has_to_settle() -> None:
    rig = Rig(settle_s=60.0)
    outcomes: list[Outcome] = []

    async def script() -> None:
        await asyncio.sleep(0.5)
        rig.device.write_fails = DeviceRejected("not now", 4, hint="switch to remote")
        outcomes.append(await rig.commands.execute(command()))
        rig.device.write_fails = None
        outcomes.append(await rig.commands.execute(command()))

    play(rig, script)
    assert outcomes[0] == Outcome(Status.REJECTED, Code.REFUSED, "not now; switch to remote")
    assert outcomes[1].status is Status.OK
    first, second = rig.writes()
    assert second[0] - first[0] < 2.0


def test_a_motor_gets_its_time_and_the_line_does_other_things_meanwhile() -> None:
    rig = Rig(travel_s=19.0, settle_s=20.0)
    outcomes: list[Outcome] = []

    async def script() -> None:
        await asyncio.sleep(0.5)
        outcomes.append(await rig.commands.execute(command()))

    play(rig, script)
    assert outcomes[0].status is Status.OK
    polls = [t for kind, t, *_ in rig.log if kind == "poll"]
    assert len([t for t in polls if 1.0 <= t <= 20.0]) == 20
    assert [event["kind"] for event in rig.store.events()] == ["command.requested", "command.done"]


def test_what_does_not_come_about_has_failed_and_what_cannot_be_read_is_unknown() -> None:
    rig = Rig()
    outcomes: list[Outcome] = []

    async def script() -> None:
        await asyncio.sleep(0.5)
        rig.device.deaf = True
        outcomes.append(await rig.commands.execute(command()))
        rig.device.polls_fail = DeviceUnreachable("silent")
        outcomes.append(await rig.commands.execute(command()))

    play(rig, script)
    assert outcomes[0] == Outcome(Status.FAILED, Code.DIFFERS, "open", "open")
    assert outcomes[1] == Outcome(Status.UNKNOWN, Code.NOT_READ_BACK, "silent")
    assert len(rig.writes()) == 2


def test_a_valve_is_not_cycled_and_two_commands_do_not_meet() -> None:
    rig = Rig(travel_s=5.0, settle_s=10.0)
    outcomes: list[Outcome] = []

    async def script() -> None:
        await asyncio.sleep(0.5)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(rig.commands.execute(command()))
            await asyncio.sleep(0)
            outcomes.append(await rig.commands.execute(command(value="open")))
            lamp = group.create_task(rig.commands.execute(command(LAMP, True)))
        outcomes.extend((first.result(), lamp.result()))
        rig.device.settles_s = 30.0
        outcomes.append(await rig.commands.execute(command(value="open")))
        await asyncio.sleep(30.0)
        outcomes.append(await rig.commands.execute(command(value="open")))

    play(rig, script)
    assert [(each.status, each.code) for each in outcomes] == [
        (Status.REJECTED, Code.BUSY),
        (Status.OK, Code.CONFIRMED),
        (Status.OK, Code.CONFIRMED),
        (Status.REJECTED, Code.TOO_SOON),
        (Status.OK, Code.CONFIRMED),
    ]
    assert [value for _, _, value in rig.writes()] == ["closed", True, "open"]


def test_a_driver_that_hangs_in_a_write_has_got_no_answer() -> None:
    rig = Rig()
    outcomes: list[Outcome] = []

    async def script() -> None:
        await asyncio.sleep(0.5)
        rig.device.hangs = True
        outcomes.append(await rig.commands.execute(command()))
        await asyncio.sleep(2.0)

    play(rig, script)
    assert (outcomes[0].status, outcomes[0].code) == (Status.UNKNOWN, Code.NO_ANSWER)
    assert [kind for kind, t, *_ in rig.log if t > STALL_S + 1].count("poll") >= 2


def test_nothing_is_sent_over_a_line_that_is_down() -> None:
    rig = Rig()
    rig.wire.there = False
    outcomes: list[Outcome] = []

    async def script() -> None:
        await asyncio.sleep(0.2)
        outcomes.append(await rig.commands.execute(command()))
        rig.wire.there = True
        await asyncio.sleep(30.0)

    play(rig, script)
    assert (outcomes[0].status, outcomes[0].code) == (Status.FAILED, Code.LINE_LOST)
    assert not rig.writes(), "not when the line is back, either"
    assert len([entry for entry in rig.log if entry[0] == "poll"]) > 5


def test_a_device_that_is_not_the_one_that_is_meant_is_left_alone() -> None:
    rig = Rig()
    outcomes: list[Outcome] = []

    async def script() -> None:
        await asyncio.sleep(0.5)
        rig.wrong.add("v1")  # as the line finds out by its serial number
        outcomes.append(await rig.commands.execute(command()))
        rig.wrong.clear()
        outcomes.append(await rig.commands.execute(command()))

    play(rig, script)
    assert [each.code for each in outcomes] == [Code.WRONG_DEVICE, Code.CONFIRMED]
    assert len(rig.writes()) == 1


def test_at_the_end_a_command_does_not_wait_for_its_motor_and_says_so() -> None:
    rig = Rig(travel_s=50.0, settle_s=60.0)

    async def script() -> None:
        await asyncio.sleep(0.5)
        async with asyncio.TaskGroup() as group:
            under_way = group.create_task(rig.commands.execute(command()))
            await asyncio.sleep(5.0)
            rig.commands.stop()
            await rig.commands.ended()
            assert now_s() < 6.0
            late = await rig.commands.execute(command(LAMP, True))
        assert under_way.result() == Outcome(Status.UNKNOWN, Code.INTERRUPTED)
        assert (late.status, late.code) == (Status.REJECTED, Code.STOPPING)

    play(rig, script)
    assert len(rig.writes()) == 1
    assert [event["attributes"].get("code") for event in rig.store.events()] == [None, "interrupted", "stopping"]


def test_a_line_that_is_closed_leaves_nobody_waiting_for_his_turn() -> None:
    rig = Rig()

    async def script() -> None:
        await asyncio.sleep(1.05)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(rig.commands.execute(command()))
            await asyncio.sleep(0.1)  # its request is on disk, the poll takes until 1.2
            rig.polling.cancel()
        assert (waiting.result().status, waiting.result().code) == (Status.FAILED, Code.LINE_LOST)

    play(rig, script)
    assert not rig.writes()


def test_a_command_whose_task_is_cancelled_leaves_its_end_in_the_audit() -> None:
    rig = Rig(settle_s=60.0)

    async def script() -> None:
        await asyncio.sleep(0.5)
        task = asyncio.ensure_future(rig.commands.execute(command()))
        await asyncio.sleep(2.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await rig.commands.ended()

    play(rig, script)
    assert [event["attributes"].get("code") for event in rig.store.events()] == [None, "interrupted"]


def test_a_command_that_is_withdrawn_before_its_turn_is_never_sent() -> None:
    rig = Rig()

    async def script() -> None:
        await asyncio.sleep(1.05)
        task = asyncio.ensure_future(rig.commands.execute(command()))
        await asyncio.sleep(0.1)  # on disk, and not yet sent: the poll takes until 1.2
        assert [event["kind"] for event in rig.store.events()] == ["command.requested"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(60.0)

    play(rig, script)
    assert not rig.writes()


def test_numbers_that_json_would_round_are_refused() -> None:
    wide = replace(SETPOINT, minimum=None, maximum=None)
    assert isinstance(decide(command(wide, int(LARGEST)), Target(wide, True, 0.0), 0.0), Plan)
    refused = decide(command(wide, int(LARGEST) + 1), Target(wide, True, 0.0), 0.0)
    assert refused == Refusal(Code.BAD_VALUE, "-∞ … ∞ Cel")


def test_a_gas_valve_is_closed_from_afar_and_never_opened() -> None:
    valve = replace(VALVE, states=("open", "closed", "abnormal"), commands=("closed",))
    assert checked(valve, "closed") == "closed"
    assert checked(valve, "open") == Refusal(Code.BAD_VALUE, "closed")
    assert checked(valve, "abnormal") == Refusal(Code.BAD_VALUE, "closed")
