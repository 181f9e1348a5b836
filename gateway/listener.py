"""What the devices of one hub say, from the hub to the disk, and the confirmation back.

    hub.receive ──▶ gate ──▶ take (rules, pipeline) ──▶ on disk? ──▶ hub.stored
                      └──▶ Hearing: who is silent, which values are told again

Rules see a report at once, whether or not the disk takes it.  Reports that wait for the disk are bounded; then the hub
is left unread, and it makes its devices wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from drivers.base import Report
from gateway.clock import Clock
from gateway.errors import DeviceUnreachable, DriverError, LineLost
from gateway.hearing import Hearing, told_again
from gateway.line_stats import LineStats
from gateway.model import Gap, PointId, Reading, Reason, Record
from gateway.quality import reason_of, unreadable

log = structlog.get_logger()

MOST_UNCONFIRMED = 10_000
"""Reports that have been taken and are not on disk."""
MIND_S = 1.0
"""Silence and values to be repeated are looked at no more often than this."""

Take = Callable[[Sequence[Report]], "asyncio.Future[None]"]
"""Takes reports; the future is done when they are on disk, and cancelled when they are lost before that."""


class Heard(Protocol):
    """What is needed of a hub that is open."""

    async def receive(self) -> Sequence[Report]: ...

    async def stored(self, reports: Sequence[Report]) -> None: ...


@dataclass(slots=True)
class Listener:
    line: str
    hub: Heard
    hearing: Hearing
    points: Container[PointId]
    """All that are configured on the line; a device may also say by itself what it is asked for otherwise."""
    settle: Callable[[Sequence[Reading]], Sequence[Reading]]
    """The quality gate's last look."""
    take: Take
    publish: Callable[[Sequence[Record]], Awaitable[None]]
    clock: Clock
    stats: LineStats
    _unconfirmed: deque[tuple[asyncio.Future[None], Sequence[Report]]] = field(init=False, default_factory=deque)
    _count: int = field(init=False, default=0)
    _confirm: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _room: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _changed: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _since_s: dict[str, tuple[float, Reason]] = field(init=False, default_factory=dict)
    """Of the silent devices: since when, and why."""
    _unknown: set[PointId] = field(init=False, default_factory=set)

    async def run(self) -> None:
        """While the hub is open.  Raises LineLost, and whatever else the hub does."""
        self._unconfirmed.clear()
        self._count = 0
        self._room.set()
        self.hearing.begin(asyncio.get_running_loop().time())
        await first_of(self._listen(), self._confirm_stored(), self._mind())

    async def lost(self, exc: DriverError) -> None:
        """The hub could not be opened, or is gone."""
        now_s = asyncio.get_running_loop().time()
        await self._mark(self.hearing.lost(), exc, now_s)

    async def alive(self, *devices: str) -> None:
        """They have said something, or answered a question; whoever was silent is so no longer."""
        now_s = asyncio.get_running_loop().time()
        returned = [device for device in devices if self.hearing.heard(device, now_s)]
        gaps = [gap for device in returned for gap in self._back(device, now_s)]
        if gaps:
            await self.publish(gaps)

    # ------------------------------------------------------------------ in

    async def _listen(self) -> None:
        while True:
            await self._room.wait()
            reports = await self.hub.receive()
            await self.heard(reports)

    async def heard(self, reports: Sequence[Report]) -> None:
        """Take *reports*; they are confirmed to the hub when they are on disk."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        await self.alive(*(report.device for report in reports))
        taken = [replace(report, readings=self._settled(report.readings)) for report in reports]
        for report in taken:
            self.hearing.said(report.readings, now_s)
        self._changed.set()
        on_disk = self.take(taken)
        self._unconfirmed.append((on_disk, reports))
        self._count += len(reports)
        if self._count >= MOST_UNCONFIRMED:
            self._room.clear()
        self._confirm.set()

    def _settled(self, readings: Sequence[Reading]) -> Sequence[Reading]:
        known = [reading for reading in readings if self._is_known(reading.point)]
        return self.settle(known) if known else ()

    def _is_known(self, point: PointId) -> bool:
        if point in self.points:
            return True
        if point not in self._unknown:
            self._unknown.add(point)
            log.error("a driver reports a point that is not configured", line=self.line, point=point)
        return False

    async def _confirm_stored(self) -> None:
        while True:
            while not self._unconfirmed:
                self._confirm.clear()
                await self._confirm.wait()
            on_disk, reports = self._unconfirmed[0]
            try:
                await asyncio.shield(on_disk)
            except asyncio.CancelledError:
                if not on_disk.cancelled():
                    raise  # we are
                raise LineLost(f"{self.line}: the disk lost what was said; the devices shall say it again") from None
            self._unconfirmed.popleft()
            self._count -= len(reports)
            self._room.set()
            await self.hub.stored(reports)

    # ------------------------------------------------------------------ silence, and what still counts

    async def _mind(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            wait_s = max(self.hearing.next_s() - loop.time(), MIND_S)
            timer = loop.call_later(min(wait_s, 3600.0), self._changed.set)
            try:
                await self._changed.wait()
            finally:
                timer.cancel()
            now_s = loop.time()
            if self.hearing.next_s() > now_s:
                continue
            due = self.hearing.due(now_s)
            if due.repeat:
                await self.publish(told_again(due.repeat, self.clock.now_ms()))
            await self._mark(due.silent, DeviceUnreachable("nothing has been heard of it"), now_s)

    async def _mark(self, devices: Sequence[str], exc: DriverError, now_s: float) -> None:
        for device in devices:
            sent = self.hearing.devices[device]
            if isinstance(exc, DeviceUnreachable):
                log.warning("device is silent", device=device, line=self.line, after_s=sent.silent_after_s)
            self._since_s[device] = (now_s, reason_of(exc))
            self.stats.devices[device].silent_since_s = now_s
            await self.publish(unreadable(sent.points, exc, self.clock.now_ms()))

    def _back(self, device: str, now_s: float) -> list[Gap]:
        since_s, reason = self._since_s.pop(device, (now_s, Reason.NO_ANSWER))
        self.stats.devices[device].silent_since_s = None
        log.info("device is heard again", device=device, line=self.line)
        now_ms = self.clock.now_ms()
        from_ms = now_ms - round(1000 * (now_s - since_s))
        return [Gap(reason, from_ms, now_ms, point=point) for point in self.hearing.devices[device].points]


async def first_of(*endless: Awaitable[None]) -> None:
    """Run all until one ends or raises; the others are cancelled, and what it raised is raised."""
    tasks = [asyncio.ensure_future(each) for each in endless]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
