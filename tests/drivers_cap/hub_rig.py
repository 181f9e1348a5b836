"""What the contract suite of hubs runs on: a directory, and a feeder that writes into it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.base import Hub
from drivers.cap.simulator import Office, drop
from drivers.mqtt_client.packet import Message
from drivers.mqtt_client.session import Dial, Session, Ticket
from drivers_cap.made import hub
from gateway.clock import SystemClock
from support.broker import broker

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


@dataclass
class BrokerRig:
    """A broker, and an office that publishes on it."""

    hub: Hub
    device: str
    devices: Collection[str]
    office: Office
    publish: Callable[[bytes], Awaitable[None]]

    async def say(self, number: int) -> None:
        self.office.issue("11B03", "暴雨", "Red", geocode=f"410105{number % 1000:03}000")
        await self.publish(self.office.published[-1][1])

    async def garbage(self) -> None:
        await self.publish(b"<html>502 Bad Gateway</html>")

    async def stranger(self) -> None:
        self.office.issue("11B03", "暴雨", "Red", geocode=ELSEWHERE)
        await self.publish(self.office.published[-1][1])


@asynccontextmanager
async def publisher(port: int) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """Publishes with QoS 1 on ``city/warnings``; returns when the broker has it."""
    async with Session(Dial("127.0.0.1", port, "office", clean=True)) as session:
        running = asyncio.ensure_future(session.run(_unheard))
        try:
            yield lambda message: session.publish("city/warnings", message)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _unheard(message: Message, ticket: Ticket) -> None:
    ticket.done()


@asynccontextmanager
async def _broker() -> AsyncIterator[BrokerRig]:
    with tempfile.TemporaryDirectory() as folder:
        clock = SystemClock()
        async with broker(Path(folder) / "broker") as running, publisher(running.port) as publish:
            made = hub(clock, broker=f"127.0.0.1:{running.port}", topic="city/warnings")
            yield BrokerRig(made, "weather", ["weather"], Office(clock.now_ms, national=True), publish)


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[CapRig | BrokerRig]]]]:
    yield "cap-12379", lambda: _directory(True)
    yield "cap-oasis", lambda: _directory(False)
    yield "cap-broker", _broker
