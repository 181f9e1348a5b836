"""The store: what is accepted is on disk, numbered, and stays until every uplink has it or there is no room left.

    pipeline ──commit──▶ one thread, one connection, one transaction ──▶ store.db
    uplinks  ◀──after──┘        wait_for_commit ◀── counter ──┘

See README.md for the layout of the file and the invariants.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar, cast

import aiosqlite
import structlog

from gateway.clock import Clock
from gateway.envelope import Draft, Envelope
from gateway.errors import StoreCorrupt, StoreError, StoreFull
from gateway.model import Lane
from gateway.store import lock, recovery
from gateway.store.database import translated
from gateway.store.disk import Disk
from gateway.store.lanes import Cursors, LaneStats, StoreStats
from gateway.store.rows import Row
from gateway.store.salvage import note_epoch
from gateway.store.writer import Keeping, Writer

__all__ = ["Keeping", "LaneStats", "Store", "StoreStats"]

log = structlog.get_logger()

T = TypeVar("T")

TEND_S = 20.0
"""So often files that were removed are noticed even when nothing is committed."""
FORGET_S = 600.0
"""So often rows are deleted for their age."""
_NO_STATE: Mapping[str, bytes | None] = MappingProxyType({})
_KEEPING = Keeping()


class _Worker(aiosqlite.Connection):
    """aiosqlite's thread.  A whole transaction goes over in one hop: aiosqlite's own methods take one per statement,
    which costs more than the transaction itself."""

    stopped: asyncio.Future[object] | None = None
    """Done when the thread has nothing more to do with the loop."""

    def stop(self) -> asyncio.Future[object] | None:
        self.stopped = super().stop()
        return self.stopped

    async def gone(self) -> None:
        """After a failed start, for which aiosqlite does not wait."""
        if self.stopped is not None:
            await self.stopped

    async def call(self, act: Callable[[], T]) -> T:
        return cast(T, await self._execute(act))  # type: ignore[no-untyped-call]


class Store:
    """An append-only log of envelopes, one numbered lane per priority.  Used as an async context manager, once."""

    epoch: str
    """Known once entered.  A new one begins only when the store was lost or had to be replaced."""

    def __init__(
        self,
        directory: Path,
        *,
        budget_bytes: int,
        boot_id: str,
        uplinks: Sequence[str],
        clock: Clock,
        keeping: Keeping = _KEEPING,
    ) -> None:
        self._directory = directory
        self._budget_bytes = budget_bytes
        self._boot_id = boot_id
        self._uplinks = tuple(uplinks)
        self._clock = clock
        self._keeping = keeping
        self._cursors: Cursors = {}
        self._commits = 0
        self._committed = asyncio.Event()
        self._suspect = False
        self._held: dict[Lane, int] = {}
        self._handed: dict[Lane, int] = {}
        self._writer: Writer
        self.recovery: recovery.Recovery | None = None
        """What happened to the store found at the start, if that could not be used."""

    async def __aenter__(self) -> Self:
        """Raises StoreLocked, StoreError."""
        self._loop = asyncio.get_running_loop()
        self._lock = self._take_directory()
        self._worker = _Worker(self._start, iter_chunk_size=64)
        entered = False
        try:
            await self._worker
            entered = True
        finally:
            if not entered:
                await self._worker.gone()
                os.close(self._lock)
        self.epoch = self._writer.epoch
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._call(Writer.flush)
        except StoreError as fault:
            log.warning("cursors not saved, envelopes will be sent again", error=str(fault))
        finally:
            await self._worker.call(self._writer.close)
            await self._worker.close()
            os.close(self._lock)

    # ------------------------------------------------------------------ write

    async def commit(
        self, drafts: Sequence[Draft], state: Mapping[str, bytes | None] = _NO_STATE
    ) -> Sequence[Envelope]:
        """Accept all of it or nothing: returns when it is on disk.

        Each draft becomes the next envelope of its lane; *state* changes saved key-values, None deletes.
        Raises StoreFull, StoreCorrupt, StoreError; the store can be used afterwards.  When the caller is cancelled,
        the transaction may happen nevertheless.
        """
        if not drafts and not state:
            return ()
        return await self._call(lambda writer: writer.commit(drafts, state))

    async def acknowledge(self, uplink: str, upto: Mapping[Lane, int]) -> None:
        """The uplink has delivered everything up to these.  Never goes back.

        On disk with the next commit or the end at the latest; a lost cursor costs duplicates, nothing else.
        """
        for lane, seq in upto.items():
            known = min(seq, self.last_seq(lane))
            self._cursors[uplink, lane] = max(self._cursors[uplink, lane], known)

    # ------------------------------------------------------------------ hold back (see restamp.py)

    def hold(self, first: Mapping[Lane, int]) -> None:
        """From these numbers on the lanes end for those who read, until ``release``.  Before anybody reads."""
        self._held = dict(first)

    def release(self, *lanes: Lane) -> None:
        """What was held may leave."""
        for lane in lanes:
            self._held.pop(lane, None)
        self._announce()

    def held(self) -> Mapping[Lane, int]:
        """How many envelopes are held back; lanes of which none is are absent."""
        counts = {lane: self._writer.lanes[lane].last.seq - self.last_seq(lane) for lane in self._held}
        return {lane: count for lane, count in counts.items() if count}

    async def rewrite(
        self, lane: Lane, after: int, limit: int, change: Callable[[Row], Row | None]
    ) -> tuple[int | None, int]:
        """Correct rows that nobody has been given by ``after`` yet, the next *limit* of them, in one transaction.

        Returns where to go on, None at the end, and how many were changed.  Raises StoreError.
        """
        return await self._call(
            lambda writer: writer.rewrite(lane, max(after, self._handed.get(lane, 0)), limit, change)
        )

    # ------------------------------------------------------------------ read

    async def state(self) -> Mapping[str, bytes]:
        return await self._call(Writer.state)

    async def after(self, lane: Lane, seq: int, limit: int) -> Sequence[Envelope]:
        """The next envelopes, at most *limit*; empty only when there are none.

        Numbers may be missing: what was evicted or is damaged has been announced on the gap lane.
        """
        end = self.last_seq(lane) if lane in self._held else None
        return await self._call(lambda writer: self._hand_out(writer.after(lane, seq, limit, end), lane))

    def cursor(self, uplink: str, lane: Lane) -> int:
        """Up to where the uplink has acknowledged everything; 0 is nothing."""
        return self._cursors[uplink, lane]

    def last_seq(self, lane: Lane) -> int:
        """The last one that may be read; 0 before the first."""
        held = self._writer.lanes[lane]
        if lane not in self._held:
            return held.last.seq
        return min(held.last.seq, max(self._held[lane] - 1, held.trimmed.seq))

    def first_seq(self, lane: Lane) -> int:
        """The lowest that ``after`` can still return; one more than ``last_seq`` when the lane is empty."""
        return self._writer.lanes[lane].trimmed.seq + 1

    async def wait_for_commit(self, seen: int) -> int:
        """The number of commits as soon as it is larger than *seen*.

        Call it with what it returned last (0 at first) and read in between: nothing can be missed.
        """
        while self._commits <= seen:
            await self._committed.wait()
        return self._commits

    async def stats(self) -> StoreStats:
        return await self._call(Writer.stats)

    # ------------------------------------------------------------------ care

    async def tend(self) -> None:
        """Look after the files until cancelled.  Raises StoreCorrupt when they are damaged, removed or replaced."""
        due_s = self._clock.monotonic_s()
        while True:
            await asyncio.sleep(TEND_S)
            try:
                await self._call(Writer.check_files)
                if self._clock.monotonic_s() >= due_s:
                    due_s = self._clock.monotonic_s() + FORGET_S
                    await self.forget_old()
            except StoreCorrupt:
                raise
            except StoreError as fault:
                log.warning("old envelopes not deleted", error=fault.advice())

    async def forget_old(self) -> None:
        """Delete what every uplink has and is older than is to be kept.  Raises StoreError."""
        while await self._call(Writer.forget_old):
            pass  # a step at a time, so that commits come in between

    # ------------------------------------------------------------------ the thread

    async def _call(self, act: Callable[[Writer], T]) -> T:
        return await self._worker.call(partial(self._guarded, act))

    def _guarded(self, act: Callable[[Writer], T]) -> T:
        """Runs in the thread.  After an error of the disk the same handle is not trusted again."""
        try:
            if self._suspect:
                self._writer.check_files()  # opened again, SQLite would make a new file in the place of a removed one
                self._writer.close()
                self._writer = self._open_writer()
                self._writer.settle()
                self._suspect = False
            return act(self._writer)
        except sqlite3.Error as exc:
            fault = translated(exc)
            self._suspect = not isinstance(fault, StoreFull)
            self._note_damage(fault)
            raise fault from exc
        except StoreCorrupt as fault:
            self._note_damage(fault)
            raise

    def _hand_out(self, envelopes: Sequence[Envelope], lane: Lane) -> Sequence[Envelope]:
        """Runs in the thread, so that no row is corrected after it has been given to somebody."""
        if envelopes:
            self._handed[lane] = max(envelopes[-1].seq, self._handed.get(lane, 0))
        return envelopes

    def _note_damage(self, fault: StoreError) -> None:
        if isinstance(fault, StoreCorrupt):
            recovery.remember_damage(self._directory, str(fault))

    def _start(self) -> sqlite3.Connection:
        """Runs in the thread."""
        disk = self._disk = Disk(self._directory, self._budget_bytes, self._clock)
        try:
            return self._prepare()
        except StoreError:
            if not disk.release_ballast():
                raise
        return self._prepare()

    def _prepare(self) -> sqlite3.Connection:
        self.recovery = recovery.prepare(self._directory, self._disk.limits, self._uplinks, self._clock)
        try:
            self._writer = self._open_writer()
        except sqlite3.Error as exc:
            raise translated(exc) from exc
        note_epoch(self._directory, self._writer.epoch)
        self._disk.hold_ballast()
        return self._writer.connection

    def _open_writer(self) -> Writer:
        return Writer(
            self._directory / recovery.FILE,
            self._disk,
            boot_id=self._boot_id,
            uplinks=self._uplinks,
            cursors=self._cursors,
            clock=self._clock,
            on_commit=self._on_commit,
            keeping=self._keeping,
        )

    def _on_commit(self) -> None:
        """Runs in the thread."""
        self._loop.call_soon_threadsafe(self._announce)

    def _announce(self) -> None:
        self._commits += 1
        self._committed.set()
        self._committed = asyncio.Event()

    def _take_directory(self) -> int:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return lock.acquire(self._directory)
        except OSError as exc:
            raise StoreError(
                f"the store's directory cannot be used: {exc}",
                hint="check store.path: the directory must belong to the gateway's user and must not be read-only",
            ) from exc
