"""A hub whose devices say what a test lets them say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Self

from drivers.base import Report
from drivers.hub import Inbox
from gateway.errors import LineLost


class FakeHub:
    def __init__(self) -> None:
        self.inbox = Inbox()
        self.confirmed: list[Report] = []
        self.opened = 0
        self.closed = 0
        self.refuses_to_open = False
        self.bug: Exception | None = None
        """Raised by the next ``receive``."""

    @property
    def strangers(self) -> Mapping[str, str]:
        return {}

    async def __aenter__(self) -> Self:
        if self.refuses_to_open:
            raise LineLost("the port is taken")
        self.inbox.open()
        self.opened += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed += 1

    async def receive(self) -> Sequence[Report]:
        bug, self.bug = self.bug, None
        if bug is not None:
            raise bug
        return await self.inbox.take()

    async def stored(self, reports: Sequence[Report]) -> None:
        await asyncio.sleep(0)
        self.confirmed += reports

    def say(self, *reports: Report) -> None:
        for report in reports:
            assert self.inbox.offer(report)
