"""What every polled driver owes the core, tried on each of them over a real pseudo-terminal and a real TCP port."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from drivers.base import SerialFormat
from drivers.transport import SerialLink, TcpLink
from drivers_contract.rigs import Factory, Rig, protocols_without_rig, rigs
from gateway.errors import DeviceUnreachable, LineLost, ProtocolError
from gateway.model import Quality, Reading, Reason
from support.descriptors import nothing_new_since, open_descriptors

RIGS = dict(rigs())
TURNS = 5
"""Of the loop, after which a cancelled poll has ended: at once, however slow the machine is."""
PATIENCE_S = 3.0
"""More than any rig's time-out, drain and slack of a busy test machine together."""

every_rig = pytest.mark.parametrize("factory", RIGS.values(), ids=RIGS.keys())


def test_every_driver_stands_before_this_suite() -> None:
    assert not protocols_without_rig()
    assert len(RIGS) >= 4


def on(factory: Factory, check: Callable[[Rig], Awaitable[None]]) -> None:
    """Run *check* with the line open; afterwards nothing may be left."""

    async def main() -> None:
        before = open_descriptors()
        async with factory() as rig:
            await check(rig)
        assert await nothing_new_since(before)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def good(readings: list[Reading]) -> bool:
    return all(reading.quality is Quality.GOOD for reading in readings)


async def poll_all(rig: Rig, points: list[str]) -> list[Reading]:
    """As the core does it: batch by batch."""
    return [reading for batch in rig.driver.batches(points) for reading in await rig.driver.poll(batch)]


@every_rig
def test_batches_cover_each_point_exactly_once(factory: Factory) -> None:
    async def check(rig: Rig) -> None:
        for points in ([*rig.points, rig.refused], [*reversed(rig.points)], [rig.points[1]], []):
            batches = rig.driver.batches(points)
            assert all(batches)
            assert sorted(point for batch in batches for point in batch) == sorted(points)

    on(factory, check)


@every_rig
def test_a_poll_gives_one_reading_per_point_in_the_order_asked(factory: Factory) -> None:
    async def check(rig: Rig) -> None:
        assert len(rig.points) >= 3
        for batch in (*rig.driver.batches(rig.points), *([point] for point in reversed(rig.points))):
            readings = list(await rig.driver.poll(batch))
            assert [reading.point for reading in readings] == list(batch)
            assert good(readings)
            assert all(reading.value is not None and reading.gateway_time_ms > 0 for reading in readings)

    on(factory, check)


@every_rig
def test_a_refused_point_is_a_bad_reading_and_disturbs_no_other(factory: Factory) -> None:
    async def check(rig: Rig) -> None:
        asked = [rig.points[0], rig.refused, *rig.points[1:]]
        for _ in range(2):  # the second time with what the driver has learned
            readings = {reading.point: reading for reading in await poll_all(rig, asked)}
            refused = readings.pop(rig.refused)
            assert (refused.quality, refused.reason, refused.value) == (Quality.BAD, Reason.REFUSED, None)
            assert sorted(readings) == sorted(rig.points)
            assert good(list(readings.values()))

    on(factory, check)


@every_rig
def test_a_silent_device_costs_its_time_out_and_the_next_one_answers(factory: Factory) -> None:
    async def check(rig: Rig) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(2):
            started = loop.time()
            with pytest.raises(DeviceUnreachable) as caught:
                await rig.silent_driver.poll(rig.silent_driver.batches(rig.points)[0])
            assert not isinstance(caught.value, LineLost)
            assert loop.time() - started < PATIENCE_S
            assert good(await poll_all(rig, list(rig.points)))

    on(factory, check)


@every_rig
def test_a_poll_that_is_cancelled_ends_at_once_and_leaves_the_line_usable(factory: Factory) -> None:
    async def check(rig: Rig) -> None:
        asked = asyncio.Event()
        rig.link.tap = lambda direction, data: asked.set()
        async with asyncio.TaskGroup() as group:
            poll = group.create_task(_silent_poll(rig))
            await asked.wait()
            assert not poll.done()
            poll.cancel()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            assert poll.cancelled()
        assert good(await poll_all(rig, list(rig.points)))

    on(factory, check)


async def _silent_poll(rig: Rig) -> None:
    await rig.silent_driver.poll(rig.silent_driver.batches(rig.points)[0])


@every_rig
def test_a_lost_line_is_said_so_and_can_be_opened_again(factory: Factory) -> None:
    async def check(rig: Rig) -> None:
        assert good(await poll_all(rig, list(rig.points)))
        rig.unplug()
        for _ in range(2):
            with pytest.raises(LineLost):
                await rig.driver.poll(rig.driver.batches(rig.points)[0])
        await rig.link.__aexit__(None, None, None)
        before = open_descriptors()
        with pytest.raises(LineLost):
            await rig.link.__aenter__()
        assert await nothing_new_since(before)
        await rig.plug()
        await rig.link.__aenter__()
        assert good(await poll_all(rig, list(rig.points)))

    on(factory, check)


@every_rig
def test_noise_instead_of_an_answer_is_no_reading(factory: Factory) -> None:
    """Bytes nobody asked for lie on the line; the device's answer behind them still counts, they alone never do."""

    async def check(rig: Rig) -> None:
        rig.link._received(b"\x00\x68\xff\x16\xfe")
        assert good(await poll_all(rig, list(rig.points)))
        silent = asyncio.ensure_future(_silent_poll(rig))
        await asyncio.sleep(0.02)
        rig.link._received(bytes(range(64)))
        with pytest.raises((ProtocolError, DeviceUnreachable)):
            await silent
        assert good(await poll_all(rig, list(rig.points)))

    on(factory, check)


@every_rig
def test_an_answer_that_comes_byte_by_byte_is_the_same_answer(factory: Factory) -> None:
    async def check(rig: Rig) -> None:
        received = rig.link._received

        def dripping(data: bytes) -> None:
            for at in range(len(data)):
                received(data[at : at + 1])

        before = await poll_all(rig, list(rig.points))
        rig.link._received = dripping  # type: ignore[method-assign]
        readings = await poll_all(rig, list(rig.points))
        assert good(readings)
        assert {reading.point: reading.value for reading in readings} == {each.point: each.value for each in before}

    on(factory, check)


@every_rig
def test_an_adapter_that_hears_itself_disturbs_nobody(factory: Factory) -> None:
    async def check(rig: Rig) -> None:
        send = rig.link._send

        def echoing(request: bytes, serial: SerialFormat | None) -> float:
            sending_s = send(request, serial)
            rig.link._received(request)
            return sending_s

        rig.link._send = echoing  # type: ignore[method-assign]
        for _ in range(2):  # the second time with what the driver has learned
            assert good(await poll_all(rig, list(rig.points)))
        with pytest.raises(DeviceUnreachable):
            await rig.silent_driver.poll(rig.silent_driver.batches(rig.points)[0])
        assert good(await poll_all(rig, list(rig.points)))

    on(factory, check)


@pytest.mark.parametrize(
    "link", [SerialLink("/dev/no-such-port", SerialFormat(9600)), TcpLink("127.0.0.1", 9)], ids=["serial", "tcp"]
)
def test_a_line_that_cannot_be_opened_leaves_nothing_open(link: SerialLink | TcpLink) -> None:
    async def main() -> None:
        before = open_descriptors()
        for _ in range(2):
            with pytest.raises(LineLost) as caught:
                async with link:
                    pytest.fail("there is nothing to open")
            assert caught.value.hint
        assert await nothing_new_since(before)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_what_is_not_a_port_is_refused_and_closed(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "file"
        file.write_bytes(b"not a port")
        before = open_descriptors()
        with pytest.raises(LineLost):
            async with SerialLink(str(file), SerialFormat(2400, "E")):
                pytest.fail("a file is no serial port")
        assert open_descriptors() <= before

    asyncio.run(main())
