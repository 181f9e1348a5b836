"""Readings become facts here.

    submit ──▶ rules ──▶ waiting records, by lane ──▶ one transaction (run) ──▶ uplinks look again
                  │                           alarms: at once
                  │                           the rest: after 200 ms or 2000 records, whichever is first
                  └──▶ orders to devices: once that transaction is on disk, or has failed

A reading counts as accepted when its transaction is on disk, and the alarm it caused is in the same transaction.
The rules have decided before that: a full disk delays no local decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from gateway.clock import Clock, Correction
from gateway.envelope import Draft, Encoder, Envelope, corrected, made_ms
from gateway.errors import StoreCorrupt, StoreError
from gateway.ids import uuid7
from gateway.model import Event, Gap, Lane, Place, Point, PointId, Reading, Record
from gateway.notices import notice_event
from rules.engine import Changes, Engine, Instant
from rules.output import Line, Order

log = structlog.get_logger()

GROUP_S = 0.2
GROUP_RECORDS = 2000
WAITING_LIMIT = 20_000
"""Records held in memory.  While the store works, producers wait for room; while it fails, the oldest records of the
lowest lane make room and the loss is announced."""
RETRY_S = 1.0


PUBLISHED = frozenset(
    {"raise", "reason", "clear", "ack", "reset", "pending", "pending_cancel", "quiet", "would_send"}
    | {"notify", "notify_group", "repeat", "escalate"}
)
"""Lines of the rules that an alarm's change, a command or a notice tells already, or that concern nobody outside."""


class Log(Protocol):
    async def commit(self, drafts: Sequence[Draft], state: Mapping[str, bytes | None]) -> Sequence[Envelope]: ...


@dataclass(slots=True)
class PipelineStats:
    """Counters since start."""

    accepted: int = 0
    """Records on disk."""
    commits: int = 0
    dropped: int = 0
    """Records lost because the store failed for longer than memory could bridge."""
    unconfirmed: int = 0
    """Commands of rules that no try has brought about."""


@dataclass(slots=True)
class Pipeline:
    store: Log
    engine: Engine
    points: Mapping[PointId, Point]
    clock: Clock
    order: Callable[[Sequence[Order]], None] = field(default=lambda orders: None)
    """Carries out what the rules want done; set by whoever has the devices.  Must return at once."""
    heard: Callable[[Sequence[Reading]], None] = field(default=lambda readings: None)
    """Shown every reading that has been taken, after the rules; set by who judges them otherwise.  Must not block."""
    stats: PipelineStats = field(default_factory=PipelineStats)
    latest: dict[PointId, Reading] = field(init=False, default_factory=dict)
    """Of every point that has been read since the start."""
    _encoder: Encoder = field(init=False)
    _waiting: dict[Lane, list[Record]] = field(init=False, default_factory=lambda: {lane: [] for lane in Lane})
    _orders: list[Order] = field(init=False, default_factory=list)
    """Waiting for the record of why they are given."""
    _saved: dict[str, bytes | None] = field(init=False, default_factory=dict)
    _receipts: list[asyncio.Future[None]] = field(init=False, default_factory=list)
    """Of those who wait to be told that what they brought is on disk."""
    _count: int = field(init=False, default=0)
    _some: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _hurry: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _room: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _timer: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _timer_due_s: float = field(init=False, default=0.0)
    _committing: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _failing_since_ms: int | None = field(init=False, default=None)
    _correction: Correction | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._encoder = Encoder(self.points)
        self._room.set()

    # ------------------------------------------------------------------ in

    async def submit(self, records: Sequence[Record]) -> None:
        """Take records from a line.  Returns when there is room for more, which is nearly always at once."""
        records = self._late(records)
        self._observe([record for record in records if isinstance(record, Reading)])
        self._note([record for record in records if isinstance(record, (Gap, Event))])
        await self._room.wait()

    def _observe(self, readings: Sequence[Reading]) -> None:
        if not readings:
            return
        self._apply(self.engine.observe(readings, self._now()))
        for reading in readings:
            self.latest[reading.point] = reading
            self._waiting[self.points[reading.point].lane].append(reading)
        self.heard(readings)
        self._added(len(readings))

    def take(self, records: Sequence[Record], saved: Mapping[str, bytes | None]) -> asyncio.Future[None]:
        """Take what somebody waits for to be told that it is on disk, and *saved* with it, in one transaction.

        The future is done when it is, and cancelled when room had to be made and it may be lost.
        """
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        records = self._late(records)
        self._observe([record for record in records if isinstance(record, Reading)])
        self._saved.update(saved)
        self._receipts.append(receipt)
        self._note([record for record in records if isinstance(record, (Gap, Event))])
        self._some.set()
        self._hurry.set()
        return receipt

    def note(self, *records: Gap | Event) -> None:
        """Take what concerns no rule: events of the gateway itself, gaps."""
        self._note(self._late(records))

    def _note(self, records: Sequence[Record]) -> None:
        for record in records:
            self._waiting[Lane.GAP if isinstance(record, Gap) else Lane.EVENT].append(record)
        self._added(len(records))

    def remember(self, key: str, value: bytes | None) -> None:
        """Save a key-value with the next group; None forgets it.  Keys beginning with ``alarm/`` are the rules' own."""
        self._saved[key] = value
        self._some.set()

    async def record(self, event: Event) -> None:
        """Take an event that must be on disk before anything is done; it is when this returns.

        Raises StoreError when it is not.  It waits with the others then, and goes to disk when the store works again.
        """
        dropped = self.stats.dropped
        self.note(event)
        await self.drain()
        if self._failing_since_ms is not None or self.stats.dropped != dropped:
            raise StoreError("the store takes nothing at present", hint="see gateway store status and the log")

    async def attend(self, act: Callable[[Engine, Instant], Changes]) -> Sequence[Line]:
        """Somebody acknowledges, shelves, resets ...; on disk when this returns.  Raises what *act* raises."""
        changes = act(self.engine, self._now())
        self._apply(changes)
        await self.drain()
        return changes.lines

    def _apply(self, changes: Changes) -> None:
        self._saved.update(changes.saved)
        self._orders += changes.orders
        self.stats.unconfirmed += sum(line.event == "unconfirmed" for line in changes.lines)
        told = [_told(line) for line in changes.lines if line.event not in PUBLISHED]
        told += [notice_event(notice, self.clock.now_ms()) for notice in changes.notices]
        self._waiting[Lane.EVENT].extend(told)
        if changes.alarms or told:
            self._waiting[Lane.ALARM].extend(changes.alarms)
            self._added(len(changes.alarms) + len(told))
            self._hurry.set()
        elif changes.saved:
            self._some.set()
        due_s = self.engine.next_timer_s()
        if due_s is not None and due_s < self._timer_due_s:
            self._timer.set()

    def _added(self, count: int) -> None:
        if not count:
            return
        self._count += count
        self._some.set()
        if self._count >= GROUP_RECORDS:
            self._hurry.set()
        if self._count < WAITING_LIMIT:
            return
        if self._failing_since_ms is None:
            self._room.clear()
        else:
            self._make_room()

    @property
    def failing(self) -> bool:
        """The store takes nothing at present."""
        return self._failing_since_ms is not None

    def correct(self, correction: Correction) -> None:
        """The clock has been corrected this moment: so is what waits here and what people are shown."""
        self._correction = correction
        for records in self._waiting.values():
            records[:] = [corrected(record, correction.shift_ms) for record in records]
        for point, reading in self.latest.items():
            late = corrected(reading, correction.shift_ms)
            self.latest[point] = late if isinstance(late, Reading) else reading
        if self._failing_since_ms is not None:
            self._failing_since_ms += correction.shift_ms
        self._apply(self.engine.corrected(correction.shift_ms, correction.first_ms, correction.last_ms))

    def _late(self, records: Sequence[Record]) -> Sequence[Record]:
        """Records that were stamped before the correction and arrive after it."""
        correction = self._correction
        if correction is None:
            return records
        now_ms = self.clock.now_ms()
        return [
            corrected(record, correction.shift_ms) if correction.concerns(made_ms(record), now_ms) else record
            for record in records
        ]

    def waiting(self) -> int:
        """Records taken and not yet on disk."""
        return self._count

    # ------------------------------------------------------------------ out

    @asynccontextmanager
    async def at_rest(self, limit_s: float) -> AsyncIterator[None]:
        """While the context is open no group is on its way to the disk, unless one took longer than *limit_s*.

        ``run`` may be cancelled then: what a cancelled commit was carrying would be told of to nobody.
        """
        taken = False
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                taken = await self._committing.acquire()
        try:
            yield
        finally:
            if taken:
                self._committing.release()

    async def run(self) -> None:
        """Commit groups and fire the rules' timers until cancelled; see ``at_rest``."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._commit_groups())
            group.create_task(self._run_timers())

    async def drain(self) -> None:
        """Commit what is still waiting; one attempt."""
        await self._commit()

    async def _commit_groups(self) -> None:
        while True:
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(GROUP_S):
                    await self._hurry.wait()
            await self._commit()

    async def _commit(self) -> None:
        async with self._committing:  # one group at a time, so that a group put back keeps its place
            await self._commit_group()

    async def _commit_group(self) -> None:
        self._some.clear()
        self._hurry.clear()
        if not self._count and not self._saved and not self._receipts:
            return
        receipts, self._receipts = self._receipts, []
        waiting, saved, count = self._waiting, self._saved, self._count
        self._waiting, self._saved, self._count = {lane: [] for lane in Lane}, {}, 0
        trust, correction = self.clock.state(), self._correction
        drafts = [draft for lane in Lane for draft in self._encoder.drafts(lane, waiting[lane], trust)]
        orders, self._orders = self._orders, []
        try:
            await self.store.commit(drafts, {**saved, **self.engine.checkpoint(self._now())})
        except StoreCorrupt:
            self._give(orders)
            raise  # the process ends, and the next start sets the damaged file aside and saves what it can
        except StoreError as exc:
            self._give(orders)  # a valve does not wait for a disk
            if self._correction is not None and self._correction is not correction:
                shift_ms = self._correction.shift_ms
                waiting = {lane: [corrected(each, shift_ms) for each in waiting[lane]] for lane in Lane}
            self._receipts = receipts + self._receipts
            await self._put_back(waiting, saved, count, exc)
            return
        self._give(orders)
        for receipt in receipts:
            _settle(receipt)
        self._room.set()
        self.stats.accepted += count
        self.stats.commits += 1
        if self._failing_since_ms is not None:
            log.warning("store works again", dropped=self.stats.dropped)
            self._failing_since_ms = None

    def _give(self, orders: Sequence[Order]) -> None:
        if orders:
            self.order(orders)

    async def _put_back(
        self, waiting: dict[Lane, list[Record]], saved: dict[str, bytes | None], count: int, exc: StoreError
    ) -> None:
        """Nothing of the group was stored: keep it, in order, before what has come since."""
        if self._failing_since_ms is None:
            self._failing_since_ms = self.clock.now_ms()
            log.error("store refuses, holding records in memory", error=str(exc), hint=exc.hint)
        for lane in Lane:
            self._waiting[lane] = waiting[lane] + self._waiting[lane]
        self._saved = {**saved, **self._saved}
        self._count += count
        self._room.set()
        if self._count >= WAITING_LIMIT:
            self._make_room()
        self._some.set()
        await asyncio.sleep(RETRY_S)

    def _make_room(self) -> None:
        """Drop the oldest tenth of the lowest lane that has anything, and say so."""
        for lane in (Lane.BULK, Lane.TELEMETRY, Lane.BILLING, Lane.EVENT):
            records = self._waiting[lane]
            if not records:
                continue
            dropped = records[: max(1, WAITING_LIMIT // 10)]
            del records[: len(dropped)]
            self._count -= len(dropped)
            self.stats.dropped += len(dropped)
            now_ms = self.clock.now_ms()
            self._waiting[Lane.GAP].append(
                Gap("store_unavailable", self._failing_since_ms or now_ms, now_ms, lane=lane, count=len(dropped))
            )
            self._count += 1
            if lane is Lane.EVENT:
                for receipt in self._receipts:
                    receipt.cancel()  # whoever has it still may say it again
                self._receipts.clear()
            return

    async def _run_timers(self) -> None:
        while True:
            self._timer.clear()
            now_s, due_s = self.clock.monotonic_s(), self.engine.next_timer_s()
            self._timer_due_s = now_s + 3600.0 if due_s is None else due_s
            if self._timer_due_s <= now_s:
                self._apply(self.engine.tick(self._now()))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timer_due_s - now_s):
                    await self._timer.wait()

    def _now(self) -> Instant:
        return Instant(self.clock.monotonic_s(), self.clock.now_ms())


def _settle(receipt: asyncio.Future[None]) -> None:
    if not receipt.done():
        receipt.set_result(None)


def _told(line: Line) -> Event:
    """A line of the rules' journal as an event: what else happened to an alarm than its changes of state."""
    about = {key: value for key, value in line.about.items() if value not in (None, "")}
    device = line.name.partition("@")[2] or None
    return Event(
        uuid7(line.time_ms), f"alarm.{line.event}", line.time_ms, device, Place(), {"alarm": line.name, **about}
    )
