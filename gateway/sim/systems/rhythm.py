"""What devices say again and again, and the time that they say it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from gateway.errors import DeviceUnreachable


@asynccontextmanager
async def repeating(period_s: float, say: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """*say* now and every *period_s* from then on, for as long as there is somebody who listens.

    Raises at the end what *say* raised, except DeviceUnreachable: the broker has gone before us.
    """
    task = asyncio.create_task(_repeat(period_s, say))
    try:
        yield
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome


async def _repeat(period_s: float, say: Callable[[], Awaitable[None]]) -> None:
    while True:
        with suppress(DeviceUnreachable):
            await say()
        await asyncio.sleep(period_s)


def iso_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_now_s() -> int:
    return int(datetime.now(UTC).timestamp())
