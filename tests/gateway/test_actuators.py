"""Orders of the rules: which write they are, and that a valve closes whatever else is going on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.actions import actions_of, available
from gateway.actuators import GIVE_UP_S, RETRY_S, Actuator, interlock
from gateway.commands import Code, Command, Outcome, Status
from gateway.config.load import load
from gateway.errors import DeviceUnreachable
from gateway.model import Device, Place, Point, Text, ValueKind
from rules.output import Order
from tests.gateway.test_commands import HOME, LAMP, POINTS, SETPOINT, VALVE, Rig, command, play

V1 = Device("v1", "valve", Text("阀", "valve"), HOME, "test", tuple(POINTS.values()))
ACTIONS = actions_of([V1])


def device(*points: Point, **more: Any) -> Device:
    return Device("d", "x", Text("", ""), Place(), "test", points, **more)


def writable(name: str, kind: ValueKind = ValueKind.BOOLEAN, **more: Any) -> Point:
    return Point(f"d.{name}", kind, Text("", ""), 1.0, writable=True, **more)


def state(name: str, *words: str, **more: Any) -> Point:
    return writable(name, ValueKind.STATE, states=words, **more)


# ---------------------------------------------------------------------- what can be sent

TABLES: list[tuple[str, Device, dict[str, tuple[str, Any]]]] = [
    (
        "a valve that may only be closed",
        device(state("valve", "open", "closed", "abnormal", commands=("closed",))),
        {"close": ("d.valve", "closed"), "closed": ("d.valve", "closed")},
    ),
    (
        "words that are no names are left out",
        device(state("mode", "on", "Off", "自动")),
        {"on": ("d.mode", "on")},
    ),
    (
        "a closed contact supplies: that is no closing",
        device(state("relay", "closed", "open"), state("k1_relay2", "closed")),
        {},
    ),
    (
        "a switch",
        device(writable("lamp")),
        {"lamp_on": ("d.lamp", True), "lamp_off": ("d.lamp", False)},
    ),
    (
        "one pump is started, of two nobody knows which",
        device(writable("pump1_start"), writable("pump2_start")),
        {
            "pump1_start_on": ("d.pump1_start", True),
            "pump1_start_off": ("d.pump1_start", False),
            "pump2_start_on": ("d.pump2_start", True),
            "pump2_start_off": ("d.pump2_start", False),
        },
    ),
    (
        "two valves, and the profile says which one",
        device(state("a", "closed"), state("b", "closed"), actions={"close": ("d.b", "closed")}),
        {"close": ("d.b", "closed")},
    ),
    (
        "the profile's word comes before what a point offers",
        device(state("a", "close"), writable("b"), actions={"close": ("d.b", False), "b_on": ("d.b", False)}),
        {"close": ("d.b", False), "b_on": ("d.b", False), "b_off": ("d.b", False)},
    ),
    (
        "what cannot be written",
        device(Point("d.valve", ValueKind.STATE, Text("", ""), 1.0, states=("open", "closed"))),
        {},
    ),
    (
        "numbers and texts need words",
        device(writable("level", ValueKind.NUMBER), writable("label", ValueKind.TEXT)),
        {},
    ),
]


@pytest.mark.parametrize(("of", "expected"), [case[1:] for case in TABLES], ids=[case[0] for case in TABLES])
def test_table(of: Device, expected: dict[str, tuple[str, Any]]) -> None:
    assert actions_of([of]) == ({"d": expected} if expected else {})


def test_one_pump() -> None:
    table = actions_of([device(writable("pump_start"))])["d"]
    assert (table["start"], table["stop"]) == (("d.pump_start", True), ("d.pump_start", False))


def test_only_what_the_site_lets_be_written_is_available() -> None:
    of = device(state("valve", "open", "closed"), writable("lamp"))
    assert available([of], {"d.valve"}) == {"d": frozenset({"open", "close", "closed"})}
    assert available([of], frozenset()) == {"d": frozenset()}


def test_actions_of_a_profile_and_of_a_device_entry(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "siren.yaml").write_text(
        "format: profile/1\nid: siren\nprotocols: [modbus-rtu]\nkind: siren\nname: {zh: 警号, en: Siren}\n"
        "source: made up\nconfidence: low\npoints:\n"
        "  a: {name: {zh: 一, en: one}, kind: boolean, writable: true, table: coil, address: 0}\n"
        "  b: {name: {zh: 二, en: two}, kind: boolean, writable: true, table: coil, address: 1}\n"
        "actions: {start: {point: a, value: true}, stop: {point: a, value: false}}\n",
        encoding="utf-8",
    )
    (tmp_path / "site.yaml").write_text(
        "format: site/1\nsite: {id: s, name: {zh: 园, en: S}}\ngateway: {id: gw1}\n"
        "lines: [{id: bus1, serial: /dev/ttyS1, baud: 9600, parity: none}]\ndevices:\n"
        "- {id: s1, profile: siren, line: bus1, unit_id: 1, allow_write: [a]}\n"
        "- {id: s2, profile: siren, line: bus1, unit_id: 2, allow_write: [b],\n"
        "   actions: {start: {point: b, value: true}, quiet: {point: b, value: false}}, points: {a: {skip: true}}}\n",
        encoding="utf-8",
    )
    config = load(tmp_path)
    table = actions_of(config.devices)
    assert (table["s1"]["start"], table["s1"]["stop"]) == (("s1.a", True), ("s1.a", False))
    assert (table["s2"]["start"], table["s2"]["quiet"]) == (("s2.b", True), ("s2.b", False))
    assert "stop" not in table["s2"]
    assert available(config.devices, config.allow_write) == {
        "s1": frozenset({"start", "stop", "a_on", "a_off"}),
        "s2": frozenset({"start", "quiet", "b_on", "b_off"}),
    }


# ---------------------------------------------------------------------- what an operator may not do meanwhile


@pytest.mark.parametrize(
    ("held", "asked", "refused"),
    [
        ("v1.close", command(VALVE, "open"), True),
        ("v1.close", command(VALVE, "moving"), True),
        ("v1.close", command(VALVE, "closed"), False),
        ("v1.close", command(VALVE, "open", via="rule"), False),  # of that the arbiter has thought
        ("v1.close", command(LAMP, True), False),
        ("v1.open", command(VALVE, "closed"), False),
        ("v1.open", command(VALVE, "moving"), True),
        ("v1.lamp_on", command(LAMP, False), True),
        ("v1.dance", command(VALVE, "open"), False),
        ("v2.close", command(VALVE, "open"), False),
    ],
)
def test_what_contradicts_a_hold_is_refused(held: str, asked: Command, refused: bool) -> None:
    lock = interlock(lambda: {held.partition(".")[0]: ("gas@g1", held)}, ACTIONS)
    why = lock(asked, POINTS[asked.point])
    assert (why is not None) is refused
    if why is not None:
        assert "报警 gas@g1" in why
        assert f"alarm gas@g1 holds {held}" in why


def test_the_interlock_in_its_place() -> None:
    rig = Rig()
    held: dict[str, tuple[str, str]] = {"v1": ("gas", "v1.close")}
    rig.commands.interlocks = [interlock(lambda: held, ACTIONS)]

    async def script() -> None:
        outcome = await rig.commands.execute(command(VALVE, "open"))
        assert (outcome.status, outcome.code) == (Status.REJECTED, Code.INTERLOCK)
        held.clear()
        assert (await rig.commands.execute(command(VALVE, "open"))).status is Status.OK

    play(rig, script)
    assert [write[2] for write in rig.writes()] == ["open"]


# ---------------------------------------------------------------------- carrying out


def order(send: str, name: str = "gas@g1", attempt: int = 1) -> Order:
    return Order(send, name, attempt, 0)


def act(rig: Rig, script: Callable[[Actuator], Awaitable[None]]) -> None:
    async def with_actuator() -> None:
        actuator = Actuator(rig.commands, ACTIONS, rig.clock)
        running = asyncio.ensure_future(actuator.run())
        await script(actuator)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not actuator._under_way

    play(rig, with_actuator)


def test_an_order_becomes_a_command_that_says_whose_it_is() -> None:
    rig = Rig()

    async def script(actuator: Actuator) -> None:
        await asyncio.sleep(0.5)
        actuator.take([order("v1.close", attempt=2)])
        await asyncio.sleep(5.0)

    act(rig, script)
    assert rig.writes() == [(0.5, VALVE.id, "closed")]
    requested, done = rig.store.events()
    assert [requested["kind"], done["kind"]] == ["command.requested", "command.done"]
    said = {"point": VALVE.id, "value": "closed", "who": "rule:gas@g1", "via": "rule", "reason": "gas@g1: v1.close #2"}
    assert said.items() <= requested["attributes"].items()
    assert done["attributes"]["result"] == "ok"


def test_a_store_that_takes_nothing_keeps_no_valve_open() -> None:
    rig = Rig()
    rig.store.refusing = True

    async def script(actuator: Actuator) -> None:
        await asyncio.sleep(0.5)
        assert (await rig.commands.execute(command())).code is Code.NOT_AUDITED
        at_s = asyncio.get_running_loop().time()
        actuator.take([order("v1.close")])
        await asyncio.sleep(0.4)
        assert [(value, round(t - at_s) == 0) for t, _, value in rig.writes()] == [("closed", True)]
        rig.store.refusing = False
        await asyncio.sleep(5.0)

    act(rig, script)
    kinds = [each["kind"] for each in rig.store.events() if each["attributes"]["who"] == "rule:gas@g1"]
    assert kinds == ["command.requested", "command.done"], "and its audit follows"


def test_nor_does_the_next_order_wait_for_the_disk() -> None:
    rig = Rig()
    rig.store.refusing = True

    async def script(actuator: Actuator) -> None:
        actuator.take([order("v1.lamp_on"), order("v1.open")])
        await asyncio.sleep(10.0)

    act(rig, script)
    (first_s, _, _), (second_s, _, _) = rig.writes()
    assert second_s - first_s < 0.9  # less than the pause of a pipeline whose store refuses


def test_closing_waits_for_nobody_and_anything_else_until_the_motor_has_stopped() -> None:
    rig = Rig(settle_s=30.0)
    outcomes: list[Outcome] = []

    async def script(actuator: Actuator) -> None:
        await asyncio.sleep(0.5)
        by_hand = asyncio.ensure_future(rig.commands.execute(command(VALVE, "open")))
        await asyncio.sleep(5.0)
        actuator.take([order("v1.close")])
        await asyncio.sleep(1.0)
        actuator.take([order("v1.open", "fire")])
        outcomes.append(await by_hand)
        await asyncio.sleep(100.0)

    act(rig, script)
    (first_s, _, first), (second_s, _, second), (third_s, _, third) = rig.writes()
    assert (first, second, third) == ("open", "closed", "open")
    assert second_s - first_s == pytest.approx(5.0, abs=1.0)
    assert third_s - second_s == pytest.approx(30.0, abs=1.0)
    assert outcomes == [Outcome(Status.FAILED, Code.DIFFERS, "closed", "closed")], "the overtaken one is told the truth"


def test_closing_overtakes_what_waits_for_the_same_point_and_nothing_else() -> None:
    rig = Rig(settle_s=20.0)

    async def script(actuator: Actuator) -> None:
        await asyncio.sleep(0.5)
        actuator.take([order("v1.lamp_on", "hall")])
        await asyncio.sleep(1.0)
        actuator.take([order("v1.open", "fire"), order("v1.lamp_off", "hall"), order("v1.close")])
        await asyncio.sleep(200.0)

    act(rig, script)
    assert [write[1:] for write in rig.writes()] == [(LAMP.id, True), (VALVE.id, "closed"), (LAMP.id, False)]


def test_one_at_a_time_for_each_device_in_the_order_in_which_they_came() -> None:
    rig = Rig(settle_s=3.0)

    async def script(actuator: Actuator) -> None:
        actuator.take([order("v1.lamp_on")])
        await asyncio.sleep(1.0)
        actuator.take([order("v1.open")])
        await asyncio.sleep(30.0)

    act(rig, script)
    (first_s, first, _), (second_s, second, _) = rig.writes()
    assert (first, second) == (LAMP.id, VALVE.id)
    assert second_s - first_s >= 3.0


def test_what_could_not_leave_is_tried_again_and_a_second_try_of_the_rule_does_not_double_it() -> None:
    rig = Rig()
    rig.wire.there = False

    async def script(actuator: Actuator) -> None:
        actuator.take([order("v1.close")])
        await asyncio.sleep(3.0)
        actuator.take([order("v1.close", attempt=2)])
        await asyncio.sleep(10.0)
        assert not rig.writes()
        rig.wire.there = True
        await asyncio.sleep(GIVE_UP_S + RETRY_S)

    act(rig, script)
    assert [write[2] for write in rig.writes()] == ["closed"]


def test_what_could_not_leave_is_dropped_when_the_opposite_is_ordered() -> None:
    rig = Rig()
    rig.wire.there = False

    async def script(actuator: Actuator) -> None:
        actuator.take([order("v1.lamp_on")])
        await asyncio.sleep(3.0)
        actuator.take([order("v1.lamp_off")])
        await asyncio.sleep(10.0)
        rig.wire.there = True
        await asyncio.sleep(GIVE_UP_S + RETRY_S)

    act(rig, script)
    assert [write[2] for write in rig.writes()] == [False]


def test_nothing_leaves_after_two_minutes() -> None:
    rig = Rig()
    rig.wire.there = False

    async def script(actuator: Actuator) -> None:
        actuator.take([order("v1.close")])
        await asyncio.sleep(GIVE_UP_S + 1.0)
        rig.wire.there = True
        await asyncio.sleep(600.0)

    act(rig, script)
    assert not rig.writes()
    done = [each for each in rig.store.events() if each["kind"] == "command.done"]
    assert {each["attributes"]["code"] for each in done} == {"line_lost"}
    assert 10 < len(done) <= GIVE_UP_S / RETRY_S


def test_what_has_left_is_never_repeated() -> None:
    rig = Rig()
    rig.device.write_fails = DeviceUnreachable("silent")

    async def script(actuator: Actuator) -> None:
        actuator.take([order("v1.close")])
        await asyncio.sleep(600.0)

    act(rig, script)
    assert len(rig.writes()) == 1


def test_the_same_again_after_it_has_left_is_sent_again() -> None:
    rig = Rig(settle_s=30.0)

    async def script(actuator: Actuator) -> None:
        actuator.take([order("v1.close")])
        await asyncio.sleep(10.0)
        actuator.take([order("v1.close", attempt=2)])
        await asyncio.sleep(100.0)

    act(rig, script)
    assert [write[2] for write in rig.writes()] == ["closed", "closed"]


@pytest.mark.parametrize(
    ("send", "code"), [("v1.dance", "unknown_point"), ("v9.close", "unknown_point"), ("v1.rest", "out_of_range")]
)
def test_what_cannot_be_carried_out_is_audited(send: str, code: str) -> None:
    rig = Rig()

    async def script(actuator: Actuator) -> None:
        actuator.actions = {"v1": {"rest": (SETPOINT.id, 99.0)}}
        actuator.take([order(send)])
        await asyncio.sleep(5.0)

    act(rig, script)
    assert not rig.writes()
    (done,) = rig.store.events()
    assert (done["attributes"]["code"], done["attributes"]["who"]) == (code, "rule:gas@g1")


def test_orders_taken_before_the_start_and_no_orders_at_all() -> None:
    rig = Rig()

    async def script() -> None:
        actuator = Actuator(rig.commands, ACTIONS, rig.clock)
        actuator.take([])
        actuator.take([order("v1.close")])
        await asyncio.sleep(1.0)
        assert not rig.writes()
        running = asyncio.ensure_future(actuator.run())
        await asyncio.sleep(5.0)
        assert len(rig.writes()) == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    play(rig, script)


# ---------------------------------------------------------------------- safe state: docs/outputs.md


def test_a_daemon_that_stops_begins_nothing_and_sends_nothing_of_its_own() -> None:
    rig = Rig()

    async def script(actuator: Actuator) -> None:
        await asyncio.sleep(0.5)
        actuator.take([order("v1.lamp_on")])
        await asyncio.sleep(5.0)
        rig.commands.stop()
        actuator.take([order("v1.close")])
        await asyncio.sleep(600.0)

    act(rig, script)
    assert [write[1:] for write in rig.writes()] == [(LAMP.id, True)], "the lamp stays on, the valve where it is"
    assert rig.store.events()[-1]["attributes"]["code"] == "stopping"
