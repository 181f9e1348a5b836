"""The hub against simulated controllers on real UDP ports."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import Happening, HubSpec, Report
from drivers.uhppote import frame
from drivers.uhppote.config import HubOptions, PointOptions
from drivers.uhppote.doors import UhppoteDevice
from drivers.uhppote.events import REASONS
from drivers.uhppote.hub import WINDOW, UhppoteHub, own_address
from drivers.uhppote.seek import seek
from drivers.uhppote.simulator import SimController, UhppoteSimulator
from drivers_uhppote.hub_rig import CLOCK, OTHER, SERIAL, device, devices, hub, local_now
from gateway.clock import ClockState
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable
from gateway.model import Quality, Reading, Reason
from support.clock import ManualClock
from support.descriptors import nothing_new_since, open_descriptors

CARD = 10_058_400


class Core:
    """What the daemon does with a hub, as far as these tests want it."""

    def __init__(self, made: UhppoteHub) -> None:
        self.hub = made
        self.reports: list[Report] = []
        self.memory: dict[str, bytes] = {}

    @property
    def happenings(self) -> list[Happening]:
        return [each for report in self.reports for each in report.happenings]

    @property
    def readings(self) -> list[Reading]:
        return [each for report in self.reports for each in report.readings]

    def shown(self, point: str) -> list[Any]:
        return [each.value for each in self.readings if each.point == point]

    async def until(self, done: Callable[[], bool]) -> None:
        while not done():
            reports = await self.hub.receive()
            self.reports += reports
            self.memory |= {each.device: each.memory for each in reports if each.memory is not None}
            await self.hub.stored(reports)


def run(
    check: Callable[[Core, UhppoteSimulator], Awaitable[None]],
    specs: Any = None,
    serials: Sequence[int] = (SERIAL,),
    prepare: Callable[[SimController], None] = lambda controller: None,
    clock: ManualClock = CLOCK,
    **options: Any,
) -> None:
    """*check* with an open hub that has met its controllers; afterwards nothing is left."""

    async def main() -> None:
        before = open_descriptors()
        async with UhppoteSimulator(serials, local_now(clock)) as network:
            prepare(network.controllers[serials[0]])
            made = hub(network, specs, clock=clock, **options)
            async with made, asyncio.timeout(20):
                core = Core(made)
                await core.until(lambda: len(core.memory) >= len(serials))
                await check(core, network)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert await nothing_new_since(before)

    asyncio.run(main())


async def introduced(controller: SimController) -> None:
    while controller.listener[1] == 0:
        await asyncio.sleep(0.001)


# ---------------------------------------------------------------------- events


def test_a_card_at_a_door_is_an_event_of_that_door_and_its_number_stays_in_personal() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        controller.swipe(2, CARD)
        controller.swipe(1, CARD + 1, reason=6, direction=2)
        await core.until(lambda: len(core.happenings) == 2)
        granted, denied = [report for report in core.reports if report.happenings]
        assert (granted.device, denied.device) == ("d2", "d1")
        assert granted.happenings[0] == Happening(
            "access.granted",
            CLOCK.now_ms(),
            {
                "door": 2,
                "direction": "in",
                "reason": "card",
                "reason_code": 1,
                "granted": True,
                "index": 1,
                "device_time": "2026-01-01T00:00:00",
            },
            {"card": str(CARD)},
        )
        assert denied.happenings[0].kind == "access.denied"
        assert denied.happenings[0].attributes["reason"] == "no_privilege"
        assert denied.happenings[0].attributes["direction"] == "out"
        for report in core.reports:
            bare = [Happening(each.kind, each.time_ms, each.attributes) for each in report.happenings]
            assert str(CARD)[:7] not in repr((report.readings, report.memory, report.receipt, bare))

    run(check)


def test_an_event_of_a_door_without_an_entry_goes_to_the_controllers() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        network.controllers[SERIAL].swipe(4, CARD)
        await core.until(lambda: len(core.happenings) == 1)
        assert [report.device for report in core.reports if report.happenings] == ["c"]

    run(check)


def test_without_an_entry_of_its_own_a_controller_speaks_through_its_first_door() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        network.controllers[SERIAL].swipe(4, CARD)
        await core.until(lambda: len(core.happenings) == 1)
        assert [report.device for report in core.reports if report.happenings] == ["d2"]

    run(check, specs=[device("d3", SERIAL, 3), device("d2", SERIAL, 2)])


def test_every_reason_has_a_kind_and_a_word_and_an_unknown_one_its_number() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        for reason in (*REASONS, 77):
            controller.happens(2, False, 1, 1, 0, reason)
        controller.swipe(1, CARD, reason=78)
        await core.until(lambda: len(core.happenings) == len(REASONS) + 2)
        said = [(each.kind, each.attributes["reason"]) for each in core.happenings]
        assert said == [*REASONS.values(), ("access.other", "reason_77"), ("access.denied", "reason_78")]
        assert len(set(REASONS.values())) == len(REASONS) == 42

    run(check)


def test_a_push_that_is_lost_costs_nothing_but_time() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        for number in range(10):
            controller.swipe(1, CARD + number, silent=number < 9)
        await core.until(lambda: len(core.happenings) == 10)
        assert [each.personal["card"] for each in core.happenings] == [str(CARD + number) for number in range(10)]

    run(check)


def test_answers_that_get_lost_are_asked_for_again_and_nothing_comes_twice() -> None:
    chance = random.Random(3)

    async def check(core: Core, network: UhppoteSimulator) -> None:
        network.lose = lambda: chance.random() < 0.1
        for number in range(60):
            network.controllers[SERIAL].swipe(1, CARD + number)
        await core.until(lambda: len(core.happenings) == 60)
        assert [each.attributes["index"] for each in core.happenings] == list(range(1, 61))

    run(check, specs=devices(timeout_s=0.05))


def test_an_answer_that_comes_twice_answers_nothing_else() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        say, before = network.send, [b""]

        def stutter(data: bytes, to: tuple[str, int]) -> None:
            if data[1] == frame.EVENT:
                say(before[0], to)
                before[0] = data
            say(data, to)

        network.send = stutter  # type: ignore[method-assign]
        for number in range(20):
            network.controllers[SERIAL].swipe(1, CARD + number)
        await core.until(lambda: len(core.happenings) == 20)
        assert [each.personal["card"] for each in core.happenings] == [str(CARD + number) for number in range(20)]
        assert core.hub.dropped["unasked"] >= 18

    run(check)


def test_a_controller_that_has_begun_anew_is_followed_from_its_first_event() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        controller.swipe(1, CARD)
        controller.swipe(1, CARD)
        await core.until(lambda: len(core.happenings) == 2)
        controller.reset()
        controller.swipe(2, CARD)
        await core.until(lambda: len(core.happenings) == 4)
        reset, event = core.happenings[2:]
        assert (reset.kind, reset.attributes) == ("access.index_reset", {"taken": 2, "index": 1})
        assert event.attributes["index"] == 1

    run(check)


def test_what_was_overwritten_is_one_happening() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        for number in range(200):
            controller.swipe(1, CARD + number, silent=number < 199)
        await core.until(lambda: any(each.attributes.get("index") == 200 for each in core.happenings))
        lost = core.happenings[0]
        assert lost.kind == "access.lost"
        assert lost.attributes == {"from": 1, "to": 150, "count": 150, "reason": "overwritten"}
        assert [each.attributes["index"] for each in core.happenings[1:]] == list(range(151, 201))

    def small(controller: SimController) -> None:
        controller.ring = 50

    run(check, prepare=small)


def test_one_that_has_much_to_catch_up_with_leaves_room_for_the_other_and_for_polls() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        busy, other = network.controllers[SERIAL], network.controllers[OTHER]
        for number in range(3000):
            busy.swipe(1, CARD + number, silent=number < 2999)
        other.swipe(1, 7)
        driver = UhppoteDevice(device("d1", SERIAL, 1), core.hub, CLOCK)
        polled = asyncio.ensure_future(driver.poll(["d1.contact"]))
        await core.until(lambda: any(each.personal.get("card") == "7" for each in core.happenings))
        assert len(core.happenings) < 3 * WINDOW
        assert (await polled)[0].value == "closed"
        assert busy.asked.count(frame.EVENT) < 4 * WINDOW

    run(check, specs=[*devices(), device("e1", OTHER, 1)], serials=(SERIAL, OTHER))


def test_no_more_than_a_window_of_events_is_fetched_that_nobody_stores() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        for number in range(500):
            controller.swipe(1, CARD + number, silent=number < 499)
        got: list[Report] = []
        while len(got) < WINDOW:
            got += [report for report in await core.hub.receive() if report.happenings]
        await asyncio.sleep(0.1)
        assert controller.asked.count(frame.EVENT) <= WINDOW + 1
        await core.hub.stored(got)
        await core.until(lambda: len(core.happenings) == 500 - WINDOW)

    run(check)


def test_opened_again_it_goes_on_behind_what_is_on_disk() -> None:
    async def main() -> None:
        async with UhppoteSimulator([SERIAL], local_now()) as network, asyncio.timeout(20):
            made, controller = hub(network), network.controllers[SERIAL]
            async with made:
                core = Core(made)
                await core.until(lambda: bool(core.memory))
                controller.swipe(1, CARD)
                await core.until(lambda: len(core.happenings) == 1)
                controller.swipe(1, CARD + 1)
                while not any(report.happenings for report in await made.receive()):
                    pass  # given out, and lost by the disk
            controller.swipe(1, CARD + 2)
            async with made:
                await core.until(lambda: len(core.happenings) == 3)
            assert [each.personal["card"] for each in core.happenings] == [str(CARD + number) for number in range(3)]

    asyncio.run(main())


# ---------------------------------------------------------------------- points


def test_a_push_says_what_has_changed_and_a_poll_all_of_it() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        spec = device("d1", SERIAL, 1)
        driver = UhppoteDevice(spec, core.hub, CLOCK)
        points = [point for point in spec.points if not point.endswith("release")]
        assert driver.batches(points) == [points]
        values = {each.point: each.value for each in await driver.poll(points)}
        assert values == {
            "d1.contact": "closed",
            "d1.button": False,
            "d1.relay": False,
            "d1.forced": False,
            "d1.held": False,
        }
        controller.opens(1, reason=38)
        await core.until(lambda: core.shown("d1.forced") == [True])
        assert core.shown("d1.contact") == ["open"]
        assert core.shown("d1.button") == []
        assert [each.kind for each in core.happenings] == ["access.forced"]
        controller.stays_open(1)
        await core.until(lambda: core.shown("d1.held") == [True])
        controller.closes(1)
        await core.until(lambda: core.shown("d1.forced") == [True, False])
        assert core.shown("d1.held") == [True, False]
        assert core.shown("d1.contact") == ["open", "closed"]
        assert core.shown("d2.forced") in ([], [False])

    run(check)


def test_of_a_door_that_stands_open_at_the_start_nobody_knows_whether_it_was_forced() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        driver = UhppoteDevice(device("d1", SERIAL, 1), core.hub, CLOCK)
        contact, forced = await driver.poll(["d1.contact", "d1.forced"])
        assert contact.value == "open"
        assert (forced.quality, forced.reason) == (Quality.BAD, Reason.NO_VALUE)

    def is_open(controller: SimController) -> None:
        controller.open[0] = True

    run(check, prepare=is_open)


def test_an_old_event_does_not_make_the_door_forced_now() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        controller.opens(1, reason=38)
        controller.events[1].time -= timedelta(minutes=10)
        await core.until(lambda: len(core.happenings) == 1)
        assert True not in core.shown("d1.forced")
        assert core.happenings[0].time_ms == CLOCK.now_ms() - 600_000

    run(check)


def test_what_a_controller_says_of_itself() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        network.controllers[SERIAL].swipe(1, CARD)
        await core.until(lambda: len(core.happenings) == 1)
        spec = device("c", SERIAL)
        readings = await UhppoteDevice(spec, core.hub, CLOCK).poll(list(spec.points))
        assert {each.point: each.value for each in readings} == {
            "c.system_error": 3,
            "c.clock_offset": 90,
            "c.event_index": 1,
            "c.events_missing": 0,
            "c.inputs": 0,
            "c.special": 0,
        }

    def odd(controller: SimController) -> None:
        controller.system_error, controller.clock_off = 3, timedelta(seconds=90)

    run(check, prepare=odd)


# ---------------------------------------------------------------------- releasing


def test_a_door_is_opened_once_and_reads_released_for_a_while() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        driver = UhppoteDevice(device("d2", SERIAL, 2, release_s=0.2), core.hub, CLOCK)
        assert (await driver.poll(["d2.release"]))[0].value is False
        await driver.write("d2.release", True)
        assert controller.opened == [2]
        assert (await driver.poll(["d2.release"]))[0].value is True
        await driver.write("d2.release", False)
        assert (await driver.poll(["d2.release"]))[0].value is False
        await driver.write("d2.release", True)
        while (await driver.poll(["d2.release"]))[0].value:
            await asyncio.sleep(0.01)
        assert controller.opened == [2, 2]
        await core.until(lambda: len(core.happenings) == 2)
        assert {each.kind for each in core.happenings} == {"access.remote_open"}
        for point, value in (("d2.contact", True), ("d2.nothing", True)):
            with pytest.raises(DeviceRejected):
                await driver.write(point, value)

    run(check)


def test_opening_is_never_tried_twice_and_a_late_answer_confirms_nothing_else() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        first, second = (UhppoteDevice(device(f"d{door}", SERIAL, door), core.hub, CLOCK) for door in (1, 2))
        await introduced(controller)
        network.lose = lambda: True
        with pytest.raises(DeviceUnreachable):
            await first.write("d1.release", True)
        assert controller.opened == [1]
        assert (await first.poll(["d1.release"]))[0].value is False
        network.lose = lambda: False
        controller.refuses_to_open = True
        with pytest.raises(DeviceRejected):
            await second.write("d2.release", True)
        assert controller.opened == [1]
        assert controller.asked.count(frame.OPEN_DOOR) == 2

    run(check, specs=devices(timeout_s=0.1))


# ---------------------------------------------------------------------- settings, clocks


def test_the_controller_is_told_where_to_push_once() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        await introduced(controller)
        assert controller.listener == ("127.0.0.1", core.hub.port, 7)
        assert controller.asked.count(frame.SET_LISTENER) == 1

    run(check, push_every=7)


def test_a_listener_of_somebody_else_is_left_alone_where_the_site_says_so() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        assert network.controllers[SERIAL].listener == ("10.0.0.9", 60001, 0)
        assert frame.SET_LISTENER not in network.controllers[SERIAL].asked

    def taken(controller: SimController) -> None:
        controller.listener = ("10.0.0.9", 60001, 0)

    run(check, prepare=taken, set_listener=False)


def test_firmware_that_knows_no_listener_is_followed_all_the_same() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        controller.swipe(1, CARD, silent=True)
        network.send(controller.status(), ("127.0.0.1", core.hub.port))
        await core.until(lambda: len(core.happenings) == 1)

    def old(controller: SimController) -> None:
        controller.ignores = frozenset((frame.GET_LISTENER, frame.SET_LISTENER))

    run(check, specs=devices(timeout_s=0.1), prepare=old)


def test_the_way_to_a_controller_tells_our_address() -> None:
    assert own_address(("127.0.0.1", 60000)) == "127.0.0.1"


@pytest.mark.parametrize(
    ("limit", "state", "is_set"),
    [(60, "synced", True), (None, "synced", False), (120, "synced", False), (60, "unknown", False)],
)
def test_a_clock_is_set_only_when_it_is_off_by_more_than_the_site_allows(
    limit: int | None, state: str, is_set: bool
) -> None:
    clock = ManualClock()
    clock.trust = ClockState(state)

    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        await introduced(controller)
        assert (controller.clock_off == timedelta()) is is_set
        assert controller.asked.count(frame.SET_TIME) == is_set

    def off(controller: SimController) -> None:
        controller.clock_off = timedelta(seconds=-90)

    run(check, specs=devices(set_clock_over=limit), prepare=off, clock=clock)


def test_times_are_the_controllers_only_while_its_clock_can_be_believed() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        controller.swipe(1, CARD)
        await core.until(lambda: len(core.happenings) == 1)
        assert core.happenings[0].time_ms == CLOCK.now_ms()
        assert core.happenings[0].attributes["device_time"] == "2025-12-31T23:00:00"

    def an_hour_behind(controller: SimController) -> None:
        controller.clock_off = timedelta(hours=-1)

    run(check, prepare=an_hour_behind)


def test_a_controllers_clock_shows_the_sites_time() -> None:
    async def main() -> None:
        zone = ZoneInfo("Asia/Shanghai")
        async with UhppoteSimulator([SERIAL], local_now(CLOCK, zone)) as network:
            made = hub(network)
            specs = {each.id: each for each in devices()}
            local = {
                id_: type(each)(each.id, each.options, each.points, each.timeout_s, zone) for id_, each in specs.items()
            }
            options: HubOptions = made._options
            async with UhppoteHub(HubSpec("doors", options, local, {}), CLOCK) as opened:
                core = Core(opened)
                await introduced(network.controllers[SERIAL])
                network.controllers[SERIAL].swipe(1, CARD)
                await core.until(lambda: len(core.happenings) == 1)
                assert core.happenings[0].time_ms == CLOCK.now_ms()
                assert core.happenings[0].attributes["device_time"] == "2026-01-01T08:00:00"

    asyncio.run(main())


# ---------------------------------------------------------------------- who else speaks


def test_anything_but_a_status_on_the_listening_port_is_dropped_and_counted() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        await introduced(controller)
        to = ("127.0.0.1", core.hub.port)
        event = bytearray(controller.status())
        for change in ({1: 0xFF}, {1: 0xB0}, {0: 0x19, 1: 0x40}, {0: 0x00}):
            wrong = bytearray(event)
            for at, value in change.items():
                wrong[at] = value
            network.send(bytes(wrong), to)
        network.send(b"\x17", to)
        network.send(b"\x17" * 65, to)
        controller.swipe(1, CARD)
        await core.until(lambda: len(core.happenings) == 1)
        assert core.hub.dropped["function"] == 2
        assert core.hub.dropped["start"] == 2
        assert core.hub.dropped["size"] == 2

    run(check)


def test_firmware_6_62_begins_its_pushes_with_19() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        await introduced(controller)
        controller.first_sign = 0x19
        controller.swipe(1, CARD)
        await core.until(lambda: len(core.happenings) == 1)
        assert not core.hub.dropped

    run(check)


def test_a_forged_push_makes_no_event_and_hides_none() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        controller = network.controllers[SERIAL]
        await introduced(controller)
        forged = SimController(SERIAL, local_now())
        for index in (4_000_000_000, 0, 1):
            forged.latest = index - 1
            forged.swipe(1, 666)
            network.send(forged.status(), ("127.0.0.1", core.hub.port))
        controller.swipe(1, CARD)
        await core.until(lambda: len(core.happenings) == 1)
        controller.swipe(1, CARD + 1)
        await core.until(lambda: len(core.happenings) == 2)
        assert [each.personal["card"] for each in core.happenings] == [str(CARD), str(CARD + 1)]

    run(check)


def test_a_push_from_another_address_than_the_configured_one_is_not_heard() -> None:
    async def main() -> None:
        async with UhppoteSimulator([SERIAL], local_now()) as network:
            specs = devices(host=f"127.0.0.2:{network.port}", timeout_s=0.05)
            async with hub(network, specs) as opened, asyncio.timeout(20):
                controller = network.controllers[SERIAL]
                controller.swipe(1, CARD, silent=True)
                network.send(controller.status(), ("127.0.0.1", opened.port))
                while not opened.dropped["origin"]:
                    await asyncio.sleep(0.001)

    asyncio.run(main())


def test_a_stranger_is_listed_and_not_reported() -> None:
    async def check(core: Core, network: UhppoteSimulator) -> None:
        stranger = SimController(123456789, local_now())
        stranger.swipe(1, CARD)
        network.send(stranger.status(), ("127.0.0.1", core.hub.port))
        while not core.hub.strangers:
            await asyncio.sleep(0.001)
        assert list(core.hub.strangers) == ["127.0.0.1/123456789"]
        assert str(CARD) not in repr(core.hub.strangers)

    run(check)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=80), st.binary(min_size=64, max_size=64)), max_size=20), st.booleans())
def test_any_bytes_on_either_port_end_nothing(packets: list[bytes], dressed: bool) -> None:
    async def main() -> None:
        async with UhppoteSimulator([SERIAL], local_now()) as network:
            made = hub(network)
            for data in packets:
                if dressed and len(data) == 64:
                    data = bytes((0x17, 0x20, 0, 0)) + SERIAL.to_bytes(4, "little") + data[8:]
                made._pushed(data, ("127.0.0.1", 1))
                made._answered(data, ("127.0.0.1", 1))

    asyncio.run(main())


def test_a_network_is_asked_who_is_there() -> None:
    async def main() -> None:
        async with UhppoteSimulator([SERIAL, OTHER], local_now()) as network:
            found = [each async for each in seek(f"127.0.0.1:{network.port}", 0.2)]
            port = network.port
        assert [each.entry for each in found] == [
            {"controller": SERIAL, "host": f"127.0.0.1:{port}"},
            {"controller": OTHER, "host": f"127.0.0.1:{port}"},
        ]
        assert found[0].identity == "UHPPOTE v8.92 (2018-11-05), 4 门 / door(s), MAC 00:12:23:34:45:56"
        assert found[0].trouble == ""

    asyncio.run(main())


# ---------------------------------------------------------------------- the configuration


def test_entries_that_contradict_each_other_are_refused() -> None:
    async def main() -> None:
        async with UhppoteSimulator([SERIAL], local_now()) as network:
            for specs, word in (
                ([device("a", SERIAL, 1), device("b", SERIAL, 1)], "door 1"),
                ([device("a", SERIAL), device("b", SERIAL)], str(SERIAL)),
                ([device("a", SERIAL, host="10.0.0.1"), device("b", SERIAL, 1, host="10.0.0.2")], "host"),
            ):
                with pytest.raises(ConfigError, match=word):
                    hub(network, specs)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"controller": 12345}, "nine digits"),
        ({"controller": 123456789, "door": 2}, "1 door"),
        ({"controller": SERIAL, "door": 5}, "less than or equal"),
        ({"controller": SERIAL, "host": "controller.local"}, "IPv4"),
        ({"controller": SERIAL, "host": "10.0.0.1:0"}, "IPv4"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(options: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        device("a", **options)


def test_a_point_must_suit_what_it_shows() -> None:
    spec = device("a", SERIAL, 1)
    alone = device("c", SERIAL)
    doorless = type(alone)("c", alone.options, spec.points, 1.0)
    with pytest.raises(ConfigError, match="which door"):
        UhppoteDevice(doorless, None, CLOCK)
    with pytest.raises(ValueError, match="nothing of a door"):
        PointOptions.model_validate({"field": "inputs", "door": 1})


def test_the_clock_of_the_tests_is_what_they_say() -> None:
    assert local_now()() == datetime.fromtimestamp(CLOCK.now_ms() / 1000, UTC).replace(tzinfo=None)
