"""What every hub owes the core, tried on each of them over real sockets, ports and brokers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from drivers.base import Report
from drivers_contract.hub_rigs import HubFactory, HubRig, hub_rigs, hubs_without_rig
from support.descriptors import nothing_new_since, open_descriptors

RIGS = dict(hub_rigs())
PATIENCE_S = 10.0
"""For what is said to arrive on a busy test machine."""
QUIET_S = 0.3
"""So long nothing may follow garbage.  Waiting longer proves no more: it went the same way as what follows it."""

every_hub = pytest.mark.parametrize("factory", RIGS.values(), ids=RIGS.keys())


def test_every_hub_stands_before_this_suite() -> None:
    assert not hubs_without_rig()


def on(factory: HubFactory, check: Callable[[HubRig], Awaitable[None]]) -> None:
    """Run *check*; afterwards nothing may be left."""

    async def main() -> None:
        before = open_descriptors()
        async with factory() as rig:
            await check(rig)
        assert await nothing_new_since(before)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


async def heard(rig: HubRig) -> list[Report]:
    """Until the device has told something: a sign of life is not yet what we wait for."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            reports = await rig.hub.receive()
            await rig.hub.stored(reports)
            assert {report.device for report in reports} <= set(rig.devices)
            told = [each for each in reports if each.device == rig.device and (each.readings or each.happenings)]
            if told:
                return told


async def nothing_more(rig: HubRig) -> None:
    """What the device repeats of itself is no harm; nobody else is heard."""
    try:
        async with asyncio.timeout(QUIET_S):
            while True:
                assert {report.device for report in await rig.hub.receive()} <= set(rig.devices)
    except TimeoutError:
        return


@every_hub
def test_what_a_device_says_is_reported_under_its_id(factory: HubFactory) -> None:
    async def check(rig: HubRig) -> None:
        async with rig.hub:
            for number in (1, 2):
                await rig.say(number)
                told = await heard(rig)
                assert all(r.point.startswith(f"{rig.device}.") for report in told for r in report.readings)

    on(factory, check)


@every_hub
def test_opened_and_closed_it_leaves_nothing_and_opens_again(factory: HubFactory) -> None:
    async def check(rig: HubRig) -> None:
        for number in (1, 2, 3):
            async with rig.hub:
                await rig.say(number)
                await heard(rig)

    on(factory, check)


@every_hub
def test_closed_while_somebody_talks_it_ends_at_once(factory: HubFactory) -> None:
    async def check(rig: HubRig) -> None:
        async with rig.hub:
            await rig.say(1)
            await rig.garbage()

    on(factory, check)


@every_hub
def test_a_cancelled_receive_loses_nothing(factory: HubFactory) -> None:
    async def check(rig: HubRig) -> None:
        async with rig.hub:
            waiting = asyncio.ensure_future(rig.hub.receive())
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            if not waiting.cancelled():
                await rig.hub.stored(waiting.result())
            await rig.say(1)
            assert await heard(rig)

    on(factory, check)


@every_hub
def test_garbage_is_no_report_and_ends_nothing(factory: HubFactory) -> None:
    async def check(rig: HubRig) -> None:
        async with rig.hub:
            await rig.say(1)
            await heard(rig)
            for _ in range(3):
                await rig.garbage()
            await nothing_more(rig)
            await rig.say(2)
            assert await heard(rig)

    on(factory, check)


@every_hub
def test_a_stranger_is_listed_and_not_reported(factory: HubFactory) -> None:
    async def check(rig: HubRig) -> None:
        async with rig.hub:
            await rig.stranger()
            async with asyncio.timeout(PATIENCE_S):
                while not rig.hub.strangers:
                    await nothing_more(rig)
            await rig.say(1)
            assert await heard(rig)

    on(factory, check)


@every_hub
def test_what_was_stored_for_a_device_that_has_gone_is_no_error(factory: HubFactory) -> None:
    async def check(rig: HubRig) -> None:
        async with rig.hub:
            await rig.say(1)
            async with asyncio.timeout(PATIENCE_S):
                reports = await rig.hub.receive()
        async with rig.hub:
            await rig.hub.stored(reports)

    on(factory, check)
