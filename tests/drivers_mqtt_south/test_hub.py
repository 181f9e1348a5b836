"""The hubs on a real mosquitto: what every one of them keeps to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from drivers_mqtt_south.hub_rig import HubRig, hub_rigs
from drivers_mqtt_south.site import asynchronous, collect

RIGS = pytest.mark.parametrize("rig", [rig for _, rig in hub_rigs()], ids=[name for name, _ in hub_rigs()])
Rig = Callable[[], AbstractAsyncContextManager[HubRig]]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@RIGS
@asynchronous
async def test_it_reports_in_order_reopens_and_leaves_nothing(rig: Rig) -> None:
    async with rig() as rigged:
        before = asyncio.all_tasks(), descriptors()
        for _ in range(2):
            async with rigged.hub:
                for number in (1, 2, 3):
                    await rigged.say(number)
                reports = await collect(rigged.hub, lambda got: len(got) >= 3)
                assert [report.device for report in reports] == [rigged.device] * 3
                assert all(report.readings or report.happenings for report in reports)
        await asyncio.sleep(0)
        assert (asyncio.all_tasks(), descriptors()) == before


@RIGS
@asynchronous
async def test_a_cancelled_receive_loses_nothing(rig: Rig) -> None:
    async with rig() as rigged, rigged.hub:
        waiting = asyncio.create_task(rigged.hub.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await rigged.say(1)
        assert await collect(rigged.hub, lambda got: len(got) >= 1)


@RIGS
@asynchronous
async def test_garbage_and_strangers_are_no_reports(rig: Rig) -> None:
    async with rig() as rigged, rigged.hub:
        before = set(rigged.hub.strangers)
        await rigged.garbage()
        await rigged.stranger()
        await rigged.say(1)
        reports = await collect(rigged.hub, lambda got: len(got) >= 1)
        assert [report.device for report in reports] == [rigged.device]
        assert set(rigged.hub.strangers) - before
