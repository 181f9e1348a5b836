"""The least that any hub's rig must play: heard, not fooled, closed, open again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from drivers.base import Hub, Report


class Rig(Protocol):
    hub: Hub
    device: str

    async def say(self, number: int) -> None: ...

    async def garbage(self) -> None: ...

    async def stranger(self) -> None: ...


async def said(hub: Hub) -> list[Report]:
    """The next reports that hold something."""
    async with asyncio.timeout(20):
        while True:
            reports = await hub.receive()
            await hub.stored(reports)
            found = [each for each in reports if each.readings or each.happenings]
            if found:
                return found


async def play(factory: Callable[[], AbstractAsyncContextManager[Rig]]) -> None:
    async with factory() as rig:
        for first in (1, 3):
            async with rig.hub as hub:
                await rig.garbage()
                await rig.stranger()
                await rig.say(first)
                assert {each.device for each in await said(hub)} == {rig.device}
                waiting = asyncio.ensure_future(hub.receive())
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])
                await rig.say(first + 1)
                assert {each.device for each in await said(hub)} == {rig.device}
                async with asyncio.timeout(20):
                    while not hub.strangers:
                        await asyncio.sleep(0.01)
        left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not {task for task in left if not task.done()}
