"""Where devices' reports end up in tests of lines: on a disk that takes everything at once, or nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from drivers.base import Report


def untaken(reports: Sequence[Report]) -> asyncio.Future[None]:
    """For lines whose devices only answer."""
    raise AssertionError(f"nobody should report here: {reports!r}")


class Taken:
    """Everything that was taken; ``hold()`` keeps what follows from the disk until ``release()``."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self._holding = False
        self._waiting: list[asyncio.Future[None]] = []

    def take(self, reports: Sequence[Report]) -> asyncio.Future[None]:
        self.reports += reports
        on_disk: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._holding:
            self._waiting.append(on_disk)
        else:
            on_disk.set_result(None)
        return on_disk

    def hold(self) -> None:
        self._holding = True

    def release(self) -> None:
        self._holding = False
        for on_disk in self._waiting:
            on_disk.set_result(None)
        self._waiting.clear()

    def lose(self) -> None:
        """The disk gives up on what waits."""
        for on_disk in self._waiting:
            on_disk.cancel()
        self._waiting.clear()
