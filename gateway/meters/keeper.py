"""Writes down what billing counters show at midnight, for longer than the store keeps its readings.

pipeline ──heard──▶ Tracker ──take──▶ Files (one thread, synced)     gateway report meters ◀── files, and what is latest
quality ──changed─▶    ▲
store ─────────────────┘ once, after the start: what a power cut has kept from being written down
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import structlog

from gateway.clock import Clock, ClockState
from gateway.errors import StoreError
from gateway.identity import IdentityChange
from gateway.local_api import Handler
from gateway.meters import files, from_store
from gateway.meters.closing import REPLACED, ROLLED_OVER, Batch, Closing, Mark, Tracker, day_of, midnight_ms
from gateway.meters.files import Files
from gateway.model import PointId, Reading
from gateway.quality import Change, RegisterChange
from gateway.remote.chain import Entry

log = structlog.get_logger()

FLUSH_S = 30.0
BEHIND_S = 1.0
"""The reading that shows a change comes so soon behind it."""
PRUNE_S = 3600.0
MOST_WAITING = 200_000
"""Closings that are held while the disk takes nothing: some days of a large compound."""
LONGEST_WORD = 200


class Audit(Protocol):
    async def write(self, *entries: Entry) -> None:
        """On disk when it returns.  Raises StoreError."""


@dataclass(slots=True)
class MeterJournal:
    """Used as an async context manager, once."""

    directory: Path
    tracker: Tracker
    files: Files
    audit: Audit
    clock: Clock
    thread: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "meters"))
    _urgent: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _writing: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)
    _failing: bool = field(init=False, default=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.flush()
        self.thread.shutdown(wait=True)

    def heard(self, readings: Sequence[Reading]) -> None:
        """Readings have been taken, of whatever points."""
        self.tracker.heard(readings, trusted=self.clock.state() is not ClockState.UNKNOWN)

    def changed(self, change: Change) -> None:
        """Told before the reading that shows it."""
        if isinstance(change, RegisterChange):
            kind = ROLLED_OVER if change.rolled_over else REPLACED
            self.tracker.changed(change.point, change.before, change.after, kind)
            self._urgent.set()
        elif isinstance(change, IdentityChange) and not change.expected and change.before is not None:
            self.tracker.replaced(change.device)

    def handlers(self) -> Mapping[str, Handler]:
        """``{"op": "meters", "who", "what"}``: somebody is about to see households' consumption."""
        return {"meters": self._look}

    async def run(self) -> None:
        await self._fill()
        loop = asyncio.get_running_loop()
        prune_due_s = loop.time() + PRUNE_S
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._urgent.wait()
            if self._urgent.is_set():
                self._urgent.clear()
                await asyncio.sleep(BEHIND_S)
            await self.flush()
            if loop.time() >= prune_due_s:
                prune_due_s = loop.time() + PRUNE_S
                await self._prune()

    async def flush(self) -> None:
        async with self._writing:
            await self._flush(self.tracker.take())

    async def _flush(self, batch: Batch) -> None:
        if not batch:
            return
        try:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self.thread, self.files.append, batch))
        except StoreError as exc:
            dropped = self.tracker.put_back(batch, MOST_WAITING)
            if not self._failing or dropped:
                log.error("what meters showed at midnight waits in memory", error=exc.advice(), dropped=dropped)
            self._failing = True
            return
        if self._failing:
            self._failing = False
            log.warning("what meters showed at midnight is written down again")

    async def _prune(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self.thread, self.files.prune)
        except StoreError as exc:
            log.warning("the journal of the meters was not shortened", error=exc.advice())

    async def _fill(self) -> None:
        """The closings of the last midnight that were found and lost with the power, out of the store."""
        if self.clock.state() is ClockState.UNKNOWN:
            return
        zone, now_ms = self.tracker.zone, self.clock.now_ms()
        instant_ms = midnight_ms(day_of(now_ms, zone), zone)
        seen = {point for point, mark in self.tracker.known.items() if mark.time_ms >= instant_ms}
        if not seen:
            return
        try:
            found = await asyncio.to_thread(_lost, self.directory, seen, instant_ms, self.files)
        except StoreError as exc:
            log.warning("whether closings of meters were lost is not known", error=exc.advice())
            return
        if found:
            log.info("closings of meters recovered from the store", closings=len(found))
            async with self._writing:
                await self._flush(Batch(found))

    async def _look(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """On record before anything is told.  Raises StoreError where it cannot be."""
        who, what = (str(request.get(key, ""))[:LONGEST_WORD] for key in ("who", "what"))
        await self.audit.write(Entry(self.clock.now_ms(), "report.meters", who, "local", {"what": what}, "ok"))
        await self.flush()
        latest = {point: [mark.value, mark.time_ms] for point, mark in self.tracker.latest().items()}
        return {"latest": latest, "waiting": self._failing}


def _lost(directory: Path, points: set[PointId], instant_ms: int, journal: Files) -> list[Closing]:
    """Those of *points* that were read after the midnight and have no closing of it.  Runs in a thread."""
    found = files.read(directory, files.month_of(instant_ms, journal.zone)).batch.closings
    missing = points - {each.point for each in found if each.brackets(instant_ms) and not each.provisional}
    return from_store.around(directory, missing, instant_ms) if missing else []


def begun(directory: Path, registers: Mapping[PointId, tuple[float, int]]) -> Mapping[PointId, Mark]:
    """What the counters showed last, as far as the store knows; blocking, quick.

    registers: as they were saved, some minutes before the end if that was a sudden one.
    """
    known = {point: Mark(value, at_ms) for point, (value, at_ms) in registers.items()}
    try:
        return from_store.latest(directory, known)
    except StoreError as exc:
        log.warning("the last minutes of the meters are not known", error=exc.advice())
        return known
