"""The account of a fault test: what ``commit()`` has accepted, what a subscriber has received.  Nobody's counters.

The uplink works on the real store, as in the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from gateway.config.models import UplinkModel
from gateway.envelope import Envelope
from gateway.model import Lane
from gateway.store.log import Store
from gateway.uplink.dialect import Subject
from gateway.uplink.mqtt import MqttUplink
from gateway.uplink.status import Limits
from gateway.uplink.window import ORDERED
from store.rig import BOOT, MIB, draft
from support.broker import Broker
from support.clock import ManualClock
from support.mqtt_subscriber import Received, Subscriber, subscriber
from uplink.rig import IDENTITY, QUICK, Listed

Key = tuple[Lane, int]


@dataclass
class Ledger:
    accepted: dict[Key, int] = field(default_factory=dict)
    """The checksum of the items: the ledger of a day must not be what fills the memory."""
    arrived: dict[Key, list[int]] = field(default_factory=dict)
    """Of every copy, in the order of their first arrivals."""

    def accept(self, envelopes: Iterable[Envelope]) -> None:
        self.accepted.update({(each.lane, each.seq): crc32(each.items) for each in envelopes})

    def arrive(self, received: Iterable[Received]) -> None:
        for one in received:
            lane = one.topic.rsplit("/", 1)[-1]
            if lane in set(Lane):
                items = one.items.removeprefix(b'"items":').removesuffix(b"}")
                self.arrived.setdefault((Lane(lane), one.json["seq"]), []).append(crc32(items))

    @property
    def missing(self) -> list[Key]:
        return sorted(self.accepted.keys() - self.arrived.keys())

    @property
    def duplicates(self) -> int:
        return sum(len(copies) - 1 for copies in self.arrived.values())

    def check(self, *, without: Iterable[Key] = (), ordered: bool = True) -> None:
        """Nothing lost but *without*, nothing invented or changed, urgent lanes in order.  A gap record is the store's
        own, so it need not have been accepted."""
        lost = set(self.missing) ^ set(without)
        assert not lost, f"{len(lost)} lost: {sorted(lost)[:5]}"
        invented = {key for key in self.arrived.keys() - self.accepted.keys() if key[0] is not Lane.GAP}
        assert not invented, f"{len(invented)} were never accepted"
        for key, checksum in self.accepted.items():
            assert set(self.arrived.get(key, [checksum])) == {checksum}, f"{key} differs"
        for lane in ORDERED if ordered else ():
            numbers = [seq for each, seq in self.arrived if each is lane]
            assert numbers == sorted(numbers), f"{lane} is out of order"


@dataclass
class Bench:
    store: Store
    uplink: MqttUplink
    ledger: Ledger
    clock: ManualClock
    quarantined: list[tuple[Envelope, str]]

    async def commit(self, lane: Lane, count: int = 1, size_bytes: int = 200) -> Sequence[Envelope]:
        drafts = [draft(lane, len(self.ledger.accepted) + n, size_bytes) for n in range(count)]
        envelopes = await self.store.commit(drafts)
        self.ledger.accept(envelopes)
        return envelopes

    def delivered(self) -> bool:
        """The store's word: every cursor stands at its lane's end."""
        return all(self.store.cursor("main", lane) == self.store.last_seq(lane) for lane in Lane)

    async def until_delivered(self, timeout_s: float = 60.0) -> None:
        await until(self.delivered, "everything delivered", timeout_s)

    async def arrival(self, received: Callable[[], list[Received]], timeout_s: float = 30.0) -> None:
        """Until a subscriber that has been there all the time has everything that was accepted."""

        def complete() -> bool:
            self.ledger.arrived.clear()
            self.ledger.arrive(received())
            return not self.ledger.missing

        await until(complete, "everything received", timeout_s, every_s=0.1)


async def until(true: Callable[[], bool], what: str, timeout_s: float = 30.0, *, every_s: float = 0.01) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not true():
                await asyncio.sleep(every_s)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


@contextlib.asynccontextmanager
async def bench(
    directory: Path,
    port: int,
    *,
    limits: Limits = QUICK,
    budget_bytes: int = 256 * MIB,
    clock: ManualClock | None = None,
    jitter: float = 0.05,
    **config: Any,
) -> AsyncIterator[Bench]:
    """The uplink is built, and not running yet: ``running(bench)``."""
    clock = clock or ManualClock()
    model = UplinkModel(**{"id": "main", "host": "127.0.0.1", "port": port, **config})
    log = Store(directory, budget_bytes=budget_bytes, boot_id=BOOT, uplinks=["main"], clock=clock)
    async with log:
        subject = Subject(
            uplink="main",
            identity=IDENTITY,
            devices=(),
            commandable=frozenset(),
            destinations=("main",),
            epoch=lambda: log.epoch,
            clock=clock,
            started_ms=lambda: 1_767_225_600_000,
        )
        quarantined: list[tuple[Envelope, str]] = []
        uplink = MqttUplink(
            model,
            log,
            Listed(subject, compress=model.compress),
            clock,
            on_quarantine=lambda envelope, reason: quarantined.append((envelope, reason)),
            limits=limits,
            jitter=lambda: jitter,
        )
        yield Bench(log, uplink, Ledger(), clock, quarantined)


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[asyncio.Task[None]]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bench.uplink.run())
        try:
            yield task
        finally:
            task.cancel()


@contextlib.asynccontextmanager
async def open_to(server: Broker, port: int) -> AsyncIterator[Subscriber]:
    """A subscriber at the second listener of *server*, which is there a moment after the first."""
    await server.ready(port)
    async with subscriber(port) as seen:
        yield seen
