"""The hub on real sockets: what is confirmed, when, and what the core is told."""

from __future__ import annotations

import asyncio
import datetime
import socket
import struct

import pytest

from drivers.base import Report
from drivers.gb26875 import hub as hub_module
from drivers.gb26875.frame import CONFIRM, DENY, Frame
from drivers.gb26875.hub import Gb26875Hub
from drivers.gb26875.simulator import (
    Habits,
    Transmitter,
    analog,
    component,
    device_operation,
    heartbeat,
    operation,
    system_state,
    vendor,
)
from drivers_gb26875.plant import PANEL, SOURCE, Core, analog_point, device, hub_spec, running, shipped_points
from drivers_gb26875.test_frame import RAW
from gateway.clock import ClockState
from support.clock import LoopClock, ManualClock
from support.virtual_time import run

NORMAL, FIRE, FAULT, RESET = 1, 2, 4, 1 << 13


def connected(core: Core, **how: object) -> Transmitter:
    udp = bool(how.get("udp"))
    return Transmitter("127.0.0.1", core.hub.udp_port if udp else core.hub.port, **how)  # type: ignore[arg-type]


def test_a_component_in_fire_is_told_stored_and_confirmed() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core) as panel:
            assert await panel.send(component(FIRE, loop=6, number=217, kind=42, text="1层走廊"))
            assert [(command, adu) for command, _, adu in panel.received] == [(CONFIRM, b"")]
            (happening,) = core.happenings
            assert happening.kind == "fire.component"
            wanted = {
                "component": "optical smoke detector",
                "loop": 6,
                "number": 217,
                "state": "fire",
                "text": "1层走廊",
            }
            assert {name: happening.attributes[name] for name in wanted} == wanted
            assert core.values() == {"fire": True, "active_fires": 1}

    asyncio.run(scenario())


# ---------------------------------------------------------------------- confirmation


def test_nothing_is_confirmed_that_is_not_on_disk_and_a_repetition_is_told_once() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core, habits=Habits(resend_s=3600)) as panel:
            core.disk.clear()
            frame = panel.frame(7, 2, panel.adu(component(FIRE)))
            panel.say(frame)
            await core.until(lambda core: core.happened("fire.component") == 1)
            panel.say(frame)
            panel.say(panel.frame(8, 2, panel.adu(component(FIRE, number=2))))
            await core_heard(core, 3)
            core.disk.set()
            await core.until(lambda core: core.happened("fire.component") == 2)
            await answered(panel, 2)
            assert panel.received == [(CONFIRM, 7, b""), (CONFIRM, 8, b"")]

            panel.say(frame)  # its confirmation was lost
            await answered(panel, 3)
            assert panel.received[-1] == (CONFIRM, 7, b"")
            assert core.happened("fire.component") == 2

    run(scenario())


async def answered(panel: Transmitter, frames: int) -> None:
    async with asyncio.timeout(30):
        while len(panel.received) < frames:
            await asyncio.sleep(0.01)


def test_what_comes_again_on_a_new_connection_is_confirmed_there() -> None:
    async def scenario() -> None:
        async with running() as core:
            core.disk.clear()
            async with connected(core) as first:
                frame = first.frame(7, 2, first.adu(component(FIRE)))
                first.say(frame)
                await core.until(lambda core: core.happened("fire.component") == 1)
            async with connected(core) as second:
                second.say(frame)
                await core_heard(core, 2)
                core.disk.set()
                await answered(second, 1)
                assert second.received == [(CONFIRM, 7, b"")]
            assert core.happened("fire.component") == 1

    run(scenario())


async def core_heard(core: Core, frames: int) -> None:
    """Until the hub has put so many reports into its inbox, taken or not."""
    async with asyncio.timeout(30):
        while len(core.reports) + len(core.hub._inbox._reports) < frames:
            await asyncio.sleep(0.01)


def test_a_device_that_does_not_count_is_not_taken_to_repeat_itself() -> None:
    """Fire, normal, fire again: the third frame is the first one, byte for byte."""

    async def scenario() -> None:
        async with running() as core, connected(core, habits=Habits(counts=False)) as panel:
            for state in (FIRE, NORMAL, FIRE):
                assert await panel.send(component(state))
            assert core.happened("fire.component") == 3
            assert core.values()["fire"] is True

    asyncio.run(scenario())


def test_a_repetition_is_one_after_a_start_too() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        async with running(clock=clock) as core, connected(core) as panel:
            frame = panel.frame(7, 2, panel.adu(component(FIRE)))
            panel.say(frame)
            await answered(panel, 1)
            memory = core.memory
        clock.advance(30)
        async with running(hub_spec(memory=memory), clock) as core, connected(core) as panel:
            panel.say(frame)
            await answered(panel, 1)
            assert core.happened("fire.component") == 0
            assert await panel.send(component(NORMAL, number=2))
            assert core.values()["fire"] is True  # number 1 still is
        clock.advance(hub_module.REPEATED_S)
        async with running(hub_spec(memory=memory), clock) as core, connected(core) as panel:
            panel.say(frame)
            await answered(panel, 1)
            assert core.happened("fire.component") == 1  # so long afterwards it is news

    asyncio.run(scenario())


def test_memory_of_another_version_is_no_reason_to_fall_over() -> None:
    for kept in (b"", b"x", b"[]", b'{"panel":{},"seen":[]}', b'{"panel":{"systems":[[1]]},"seen":3}'):
        Gb26875Hub(hub_spec(memory={PANEL: kept}), ManualClock())._from_memory()


def test_what_was_heard_and_not_stored_is_heard_again_after_the_hub_was_opened_anew() -> None:
    async def scenario() -> None:
        hub = Gb26875Hub(hub_spec(), LoopClock())
        async with hub, Transmitter("127.0.0.1", hub.port) as panel:
            frame = panel.frame(7, 2, panel.adu(component(FIRE)))
            panel.say(frame)
            (report,) = await hub.receive()
            assert report.happenings
        async with hub, Transmitter("127.0.0.1", hub.port) as panel:
            panel.say(frame)
            (report,) = await hub.receive()
            assert report.happenings
            await hub.stored([report])
            await answered(panel, 1)

    asyncio.run(scenario())


def test_a_burst_of_a_thousand_is_confirmed_and_stored_whole() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core, habits=Habits(resend_s=60)) as panel:
            said = [component(FIRE if number % 2 else FAULT, loop=number >> 8, number=number) for number in range(1000)]
            assert await panel.burst(said) == 1000
            assert panel.sent == 1000  # not one twice
            assert [each.attributes["number"] for each in core.happenings] == list(range(1000))
            for number in range(1000, 2000):
                assert await panel.send(component(FIRE, number=number))
            assert core.happened("fire.component") == 2000
            assert panel.sent == 2000

    asyncio.run(scenario())


def test_a_full_inbox_holds_the_connection_back_and_loses_nothing() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core, habits=Habits(resend_s=3600)) as panel:
            core.disk.clear()
            sending = asyncio.create_task(panel.burst(component(FIRE, number=number) for number in range(3000)))
            await core_heard(core, 1000)
            assert len(panel.received) == 0
            core.disk.set()
            assert await sending == 3000
            assert [each.attributes["number"] for each in core.happenings] == list(range(3000))

    run(scenario())


def test_a_device_comes_back_and_brings_what_was_not_confirmed() -> None:
    async def scenario() -> None:
        hub = Gb26875Hub(hub_spec(), LoopClock())
        async with hub:
            panel = await Transmitter("127.0.0.1", hub.port).__aenter__()
            sending = asyncio.create_task(panel.send(component(FIRE)))
            assert (await hub.receive())[0].happenings  # and the power fails before it is on disk
        await panel.closed.wait()
        async with hub:
            (report,) = await hub.receive()
            assert report.happenings
            await hub.stored([report])
            assert await sending
            assert panel.sent == 2
            await panel.__aexit__(None, None, None)

    run(scenario(), grace_s=0.02)


# ---------------------------------------------------------------------- commands


def test_other_commands_are_answered_as_they_deserve() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        async with running(clock=clock) as core, connected(core) as panel:
            for serial, command, adu in (
                (1, 4, bytes((90, 1))),  # what time is it
                (2, 4, bytes((61, 1, 1, 1))),
                (3, 1, bytes((90, 1)) + bytes(6)),
                (4, 0xFE, b""),
                (5, 3, b""),
                (6, 6, b""),
                (7, 2, b""),
            ):
                panel.say(panel.frame(serial, command, adu))
            await answered(panel, 5)
            told = bytes((90, 1)) + struct.pack("6B", 0, 0, 0, 1, 1, 26)  # 2026-01-01 UTC
            assert panel.received == [(5, 1, told), (6, 2, b""), (6, 3, b""), (6, 4, b""), (CONFIRM, 7, b"")]
            assert core.happenings == []
            assert {report.device for report in core.reports} == {PANEL}

    asyncio.run(scenario())


def test_the_time_is_told_to_nobody_while_it_is_not_known() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        clock.trust = ClockState.UNKNOWN
        async with running(clock=clock) as core, connected(core) as panel:
            panel.say(panel.frame(1, 4, bytes((90, 1))))
            await answered(panel, 1)
            assert panel.received == [(DENY, 1, b"")]

    asyncio.run(scenario())


def test_a_device_is_asked_for_its_state_when_it_connects_if_it_should_be() -> None:
    async def scenario() -> None:
        asked = device(ask=True, system_type=1, system_address=2)
        async with running(hub_spec(asked)) as core:
            for _ in range(2):
                async with connected(core, answers_61=FIRE | NORMAL) as panel:
                    panel.say(panel.frame(1, 2, panel.adu(heartbeat())))
                    await answered(panel, 2)
                    await core.until(lambda core: core.values().get("started") is False)
                    assert core.values()["fire"] is True
                    requests = [adu for command, _, adu in panel.received if command == 4]
                    assert requests == [Frame.from_bytes(RAW["gb26875-cannon-state"]).adu]

    asyncio.run(scenario())


# ---------------------------------------------------------------------- who speaks


def test_several_devices_behind_one_connection_and_several_systems_behind_one_device() -> None:
    async def scenario() -> None:
        spec = hub_spec(
            device("a", source="010203040506"),
            device("b1", source="B2:23:96:60:40:01", system_type=1, system_address=1),
            device("b2", source="b22396604001", system_type=1, system_address=2),
        )
        async with running(spec) as core, connected(core) as panel:
            assert await panel.send(system_state(NORMAL, system=(1, 1)), system_state(NORMAL | FIRE, system=(1, 2))[1])
            assert core.values("b1")["fire"] is False
            assert core.values("b2")["fire"] is True
            assert core.values("a") == {}
            panel.source = bytes.fromhex("010203040506")
            assert await panel.send(component(FIRE))
            assert core.values("a")["fire"] is True
            panel.source = bytes.fromhex("B22396604001")
            assert await panel.send(system_state(FIRE, system=(11, 9)))
            assert "B22396604001 11-9" in core.hub.strangers
            assert core.values("b1")["fire"] is False

    asyncio.run(scenario())


def test_a_source_may_be_believed_from_one_place_only() -> None:
    async def scenario() -> None:
        spec = hub_spec(device("here", source="000000000000", peer="127.0.0.1"), device("there", peer="192.0.2.7"))
        async with running(spec) as core, connected(core, source=bytes(6)) as panel:
            assert await panel.send(component(FIRE))
            assert core.values("here")["fire"] is True
            panel.source = bytes.fromhex(SOURCE)
            panel.say(panel.frame(1, 2, panel.adu(component(FIRE))))
            assert await asyncio.wait_for(stranger(core), 30) == f"{SOURCE} @ 127.0.0.1"
            assert core.values("there") == {}

    asyncio.run(scenario())


async def stranger(core: Core) -> str:
    while not core.hub.strangers:
        await asyncio.sleep(0.001)
    return next(iter(core.hub.strangers))


def test_a_stranger_is_listed_and_not_confirmed() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core, source=bytes.fromhex("0A0B0C0D0E0F")) as panel:
            panel.say(panel.frame(1, 2, panel.adu(component(FIRE))))
            assert await asyncio.wait_for(stranger(core), 30) == "0A0B0C0D0E0F @ 127.0.0.1"
            assert panel.received == []
            assert core.reports == []

    asyncio.run(scenario())


# ---------------------------------------------------------------------- datagrams


def test_datagrams_are_confirmed_and_those_that_find_no_room_come_again() -> None:
    async def scenario() -> None:
        async with running(hub_spec(tcp=False, udp=True)) as core, connected(core, udp=True) as panel:
            assert await panel.send(component(FIRE))
            core.disk.clear()
            for number in range(2, 1200):
                panel.say(panel.frame(number, 2, panel.adu(component(FIRE, number=number))))
                await asyncio.sleep(0)  # no socket's buffer holds them all
            await refused(core)
            faulty = panel.frame(2000, 2, panel.adu(component(FAULT, number=2000)))
            panel.say(faulty)
            await asyncio.sleep(0.1)
            core.disk.set()
            assert await panel._deliver(2000, faulty)
            assert core.values()["fault"] is True
            sending = [panel._deliver(n, panel.frame(n, 2, panel.adu(component(FIRE, number=n)))) for n in (1190, 1199)]
            assert await asyncio.gather(*sending) == [True, True]
            numbers = [each.attributes["number"] for each in core.happenings]
            assert len(numbers) == len(set(numbers))
            assert {1, 1190, 1199, 2000} <= set(numbers)

    run(scenario())


async def refused(core: Core) -> None:
    async with asyncio.timeout(60):
        while not core.hub._inbox.refused:
            await asyncio.sleep(0.01)


def test_two_frames_in_one_datagram_and_half_a_one() -> None:
    async def scenario() -> None:
        async with running(hub_spec(udp=True)) as core, connected(core, udp=True) as panel:
            frames = [panel.frame(number, 2, panel.adu(component(FIRE, number=number))) for number in (1, 2, 3)]
            panel.say(frames[0] + b"noise" + frames[1])
            panel.say(frames[2][:40])
            panel.say(frames[2])
            await answered(panel, 3)
            assert core.happened("fire.component") == 3

    asyncio.run(scenario())


# ---------------------------------------------------------------------- hostile and broken peers


def test_a_frame_that_is_not_finished_ends_the_connection() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core) as panel:
            frame = panel.frame(1, 2, panel.adu(component(FIRE)))
            for byte in frame[:-1]:  # a byte every 0.3 s: always something, never a frame
                panel.say(bytes((byte,)))
                await asyncio.sleep(0.3)
            assert panel.closed.is_set()
            assert core.reports == []
        async with running() as core, connected(core) as panel:
            for byte in frame:
                panel.say(bytes((byte,)))
                await asyncio.sleep(0.1)
            await answered(panel, 1)

    run(scenario())


def test_garbage_without_end_ends_the_connection_and_some_in_front_of_a_frame_does_not() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core) as panel:
            panel.say(b"\x00\xff" * 2000)
            assert await panel.send(component(FIRE))
            panel.say(b"\x00\xff" * 6000)
            await asyncio.wait_for(panel.closed.wait(), 30)

    asyncio.run(scenario())


def test_a_connection_on_which_nothing_comes_is_ended() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core) as panel:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            await panel.closed.wait()
            assert loop.time() - began_s == pytest.approx(hub_module.IDLE_S, rel=0.01)

    run(scenario())


def test_a_peer_that_takes_no_confirmations_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MOST_UNSENT", 1000)

    async def scenario() -> None:
        async with running() as core:
            with socket.socket() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
                peer.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(peer, ("127.0.0.1", core.hub.port))
                frame = Frame(1, 0x80, bytes.fromhex(SOURCE), bytes(6)).to_bytes()  # is refused each time
                with pytest.raises(ConnectionError):
                    await flood(loop, peer, frame * 500)

    asyncio.run(scenario())


async def flood(loop: asyncio.AbstractEventLoop, peer: socket.socket, data: bytes) -> None:
    """More than all kernel buffers hold, and few enough that a hub without a limit is found out."""
    for _ in range(1400):
        await loop.sock_sendall(peer, data)


# ---------------------------------------------------------------------- what is told


def test_analog_values_are_points_where_they_are_configured_and_rare_events_where_not() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        points = analog_point(PANEL, "tank", "1-7", 2, "m") | shipped_points(PANEL)
        async with running(hub_spec(device(points=points)), clock) as core, connected(core) as panel:
            for value in (312, -5):
                assert await panel.send(analog(value, analog_type=2, number=7))
            assert [each.value for report in core.reports for each in report.readings] == [3.12, -0.05]
            assert core.happened("fire.analog") == 0
            for _ in range(3):
                assert await panel.send(analog(215, analog_type=3, number=8))
            (happening,) = core.happenings
            assert (happening.attributes["value"], happening.attributes["unit"]) == (21.5, "Cel")
            clock.advance(hub_module.RARELY_S)
            assert await panel.send(analog(216, analog_type=3, number=8))
            assert core.happened("fire.analog") == 2

    asyncio.run(scenario())


def test_who_pressed_something_is_personal() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core) as panel:
            assert await panel.send(operation(1 << 5, operator=77))
            assert await panel.send(device_operation(1 << 2, operator=9))
            panel_, own = core.happenings
            assert panel_.personal == {"who": "77"}
            assert "77" not in str(panel_.attributes)
            assert (panel_.attributes["origin"], panel_.attributes["operation"]) == ("panel", "post_answer")
            assert (own.attributes["origin"], own.attributes["operation"]) == ("transmitter", "manual_alarm")
            assert core.values()["fire"] is True

    asyncio.run(scenario())


def test_what_is_said_all_the_time_is_an_event_once_and_a_sign_of_life_always() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core) as panel:
            for _ in range(5):
                assert await panel.send(heartbeat(1))
                assert await panel.send(system_state(NORMAL))
                panel.say(panel.frame(9, 2, b"\x16"))
            assert await panel.send(heartbeat(0b1000001))
            assert core.happened("fire.transmitter") == 2
            assert core.happened("fire.system") == 1
            assert core.happened("fire.raw") == 1
            assert core.values()["line_fault"] is True
            assert core.values()["fault"] is True
            assert len(core.reports) == 16

    asyncio.run(scenario())


def test_a_makers_own_type_is_kept_and_can_be_said_to_be_like_a_components_state() -> None:
    async def scenario() -> None:
        kind, body = component(FIRE, number=3)
        async with running() as core, connected(core) as panel:
            assert await panel.send(vendor(204, body))
            (happening,) = core.happenings
            assert (happening.kind, happening.attributes["type"]) == ("fire.raw", 204)
            assert "fire" not in core.values()
        async with running(hub_spec(device(component_like=[204]))) as core, connected(core) as panel:
            assert await panel.send(vendor(204, body))
            assert core.values()["fire"] is True
        assert kind == 2

    asyncio.run(scenario())


def test_a_clock_that_is_right_is_believed_and_another_is_shown() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        now = datetime.datetime.fromtimestamp(clock.now_ms() / 1000, datetime.UTC).replace(tzinfo=None)
        late = datetime.timedelta(minutes=4)
        for wrong in (datetime.timedelta(), datetime.timedelta(days=400)):
            habits = Habits(now=lambda wrong=wrong: now - late - wrong)  # type: ignore[misc]
            async with running(clock=clock) as core, connected(core, habits=habits) as panel:
                assert await panel.send(component(FIRE))
                (happening,) = core.happenings
                if wrong:
                    assert happening.time_ms == clock.now_ms()
                    assert happening.attributes["device_time"] == (now - late - wrong).isoformat()
                else:
                    assert happening.time_ms == clock.now_ms() - 240_000
                    assert "device_time" not in happening.attributes

    asyncio.run(scenario())


def test_reports_carry_every_point_after_a_minute_whatever_is_said() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        async with running(clock=clock) as core, connected(core) as panel:
            assert await panel.send(system_state(NORMAL))
            told = len(core.reports[-1].readings)
            assert told >= 11
            assert await panel.send(component(FIRE))
            assert {each.point for each in core.reports[-1].readings} == {"panel.fire", "panel.active_fires"}
            clock.advance(hub_module.FULL_S)
            assert await panel.send(component(FIRE, number=2))
            assert len(core.reports[-1].readings) == told

    asyncio.run(scenario())


def test_a_report_of_nothing_is_a_sign_of_life() -> None:
    async def scenario() -> None:
        async with running() as core, connected(core) as panel:
            panel.say(panel.frame(1, CONFIRM, b""))
            await core.until(lambda core: len(core.reports) == 1)
            assert core.reports == [Report(PANEL)]

    asyncio.run(scenario())
