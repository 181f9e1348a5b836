"""From the broker into the database, and the receipts back.

broker ──▶ link.py ──▶ queue (at most the window) ──▶ read ──▶ storage.store ══ COMMIT ══▶ PUBACK to the broker
   ▲                                                                              │
   └────────────────────────────── receipts ◀── desk.py ◀─────────────────────────┘
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from gateway.sim.platform.arrival import Arrival, Malformed, read, receipt_topic
from gateway.sim.platform.desk import Desk, Patience
from gateway.sim.platform.link import Delivery, Link, LinkFailed, Options
from gateway.sim.platform.storage import Storage, StorageUnavailable, Stored
from gateway.uplink.backoff import Backoff

_BATCH = 500
_LINGER_S = 0.02
"""A batch waits so long for company: a commit costs about as much as a hundred envelopes."""
_AGAIN_S = 1.0
"""Between two attempts to reach the database."""

log = structlog.get_logger()


@dataclass(slots=True)
class Counts:
    """Since the start.  *gaps*: gap records that came; *missing*: numbers neither stored nor announced, now."""

    connected: bool = False
    gateways: int = 0
    envelopes: int = 0
    readings: int = 0
    duplicates: int = 0
    contradictions: int = 0
    malformed: int = 0
    gaps: int = 0
    missing: int = 0
    receipts: int = 0

    def as_item(self) -> dict[str, Any]:
        return asdict(self)


class Ingester:
    """``run`` works until it is cancelled; whatever was not committed then comes again from the broker."""

    def __init__(
        self,
        options: Options,
        storage: Storage,
        *,
        patience: Patience | None = None,
        rate: float | None = None,
        jitter: Callable[[], float],
    ) -> None:
        """*rate*: envelopes a second of late data that a gateway is asked to keep to.  *jitter*: 0 <= x < 1."""
        self._options = options
        self._storage = storage
        self._desk = Desk(patience)
        self._rate = rate
        self._jitter = jitter
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue()  # bounded by the link's window
        self._room = threading.BoundedSemaphore(options.window)
        self._link: Link | None = None
        self._gateways: set[tuple[str, str]] = set()
        self._counts = Counts()
        self.ready = asyncio.Event()
        """While the subscription stands."""

    @property
    def counts(self) -> Counts:
        self._counts.gateways = len(self._gateways)
        self._counts.connected = self._link is not None
        self._counts.missing = self._desk.missing
        return self._counts

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_connected())
            group.create_task(self._work())

    # --- the broker ---

    async def _stay_connected(self) -> None:
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        five, since_s = True, loop.time()
        while True:
            try:
                async with Link(self._options, self._waiting.put_nowait, self._room, five=five) as link:
                    log.info("connected", host=self._options.host, mqtt="5" if five else "3.1.1")
                    await self._connected(link)
                five, since_s = True, loop.time()
                backoff.reset()
            except LinkFailed as exc:
                log.warning("no connection to the broker", error=exc.advice())
                five ^= exc.version
            await asyncio.sleep(backoff.delay_s(loop.time() - since_s, rejected=False, jitter=self._jitter()))

    async def _connected(self, link: Link) -> None:
        self._link = link
        self.ready.set()
        try:
            log.warning("the broker is gone", error=await link.lost)
        finally:
            self._link = None
            self.ready.clear()

    # --- the database ---

    async def _work(self) -> None:
        while True:
            await self._take(await self._batch())
            await self._look_again()
            self._say_receipts()

    async def _batch(self) -> Sequence[Delivery]:
        """What has come, at most so many; nothing when a receipt is due before anything comes."""
        try:
            async with asyncio.timeout_at(self._receipt_due_s()):
                batch = [await self._waiting.get()]
        except TimeoutError:
            return ()
        await asyncio.sleep(_LINGER_S)
        while len(batch) < _BATCH and not self._waiting.empty():
            batch.append(self._waiting.get_nowait())
        return batch

    def _receipt_due_s(self) -> float | None:
        due_s = self._desk.next_s()
        if due_s is None:
            return None
        # Without a connection nothing can be said; look again now and then.
        return max(due_s, asyncio.get_running_loop().time() + (0.0 if self._link is not None else 0.2))

    async def _take(self, batch: Sequence[Delivery]) -> None:
        arrivals = [arrival for delivery in batch if (arrival := self._read(delivery)) is not None]
        if arrivals:
            stored = await self._stored(arrivals)
            self._count(stored)
            self._gateways |= {(arrival.stream.site, arrival.stream.gateway) for arrival in arrivals}
            self._desk.committed(stored, asyncio.get_running_loop().time())
        for delivery in batch:
            delivery.settle()

    def _read(self, delivery: Delivery) -> Arrival | None:
        """None for what is no envelope: sent again, it would be none again."""
        try:
            return read(delivery.topic, delivery.payload)
        except Malformed as exc:
            self._counts.malformed += 1
            log.warning("not an envelope", topic=delivery.topic[:200], error=str(exc))
            return None

    async def _stored(self, arrivals: Sequence[Arrival]) -> Stored:
        while True:
            try:
                return await self._storage.store(arrivals)
            except StorageUnavailable as exc:
                log.warning("the database does not take it; the broker has to wait", error=exc.advice())
                await asyncio.sleep(_AGAIN_S)

    def _count(self, stored: Stored) -> None:
        counts = self._counts
        counts.envelopes += sum(stored.fresh.values())
        counts.duplicates += sum(stored.duplicates.values())
        counts.contradictions += stored.contradictions
        counts.readings += stored.readings
        counts.gaps += stored.gaps
        if stored.contradictions:
            log.error("a number came twice with different items", count=stored.contradictions)

    # --- the receipts ---

    async def _look_again(self) -> None:
        streams = self._desk.doubtful(asyncio.get_running_loop().time())
        if streams and self._link is not None:
            try:
                self._desk.learned(await self._storage.accounts(streams))
            except StorageUnavailable as exc:  # then perhaps one is named too many, which costs a duplicate
                log.warning("the database does not answer", error=exc.advice())

    def _say_receipts(self) -> None:
        link = self._link
        if link is None:
            return
        for stream, receipt in self._desk.due(asyncio.get_running_loop().time()).items():
            body = json.dumps(receipt.message(stream, self._rate)).encode()
            if not link.publish(receipt_topic(stream), body):
                return  # the rest stays due
            self._desk.said(stream, receipt)
            self._counts.receipts += 1
