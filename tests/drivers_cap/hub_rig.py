"""What the contract suite of hubs runs on: a directory, and a feeder that writes into it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.base import Hub
from drivers.cap.simulator import Office, drop
from drivers_cap.made import hub
from gateway.clock import SystemClock

ELSEWHERE = "420102000000"


@dataclass
class CapRig:
    hub: Hub
    device: str
    devices: Collection[str]
    directory: Path
    office: Office
    said: int = 0

    async def say(self, number: int) -> None:
        self.office.issue("11B03", "暴雨", "Red", geocode=f"410105{number % 1000:03}000")
        self._drop()

    async def garbage(self) -> None:
        self.said += 1
        drop(self.directory, f"garbage{self.said}", b"<html>502 Bad Gateway</html>")

    async def stranger(self) -> None:
        self.office.issue("11B03", "暴雨", "Red", geocode=ELSEWHERE)
        self._drop()

    def _drop(self) -> None:
        name, message = self.office.published[-1]
        drop(self.directory, name, message)


@asynccontextmanager
async def _directory(national: bool) -> AsyncIterator[CapRig]:
    with tempfile.TemporaryDirectory() as folder:
        clock = SystemClock()
        made = hub(clock, directory=folder, poll_s=0.1)
        yield CapRig(made, "weather", ["weather"], Path(folder), Office(clock.now_ms, national=national))


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[CapRig]]]]:
    yield "cap-12379", lambda: _directory(True)
    yield "cap-oasis", lambda: _directory(False)
