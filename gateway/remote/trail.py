"""Where everything that somebody did goes: into the hash-chained audit, and as an event to the platforms.

Commands, Desk ──record──▶ audit.log (one thread, synced) ──▶ pipeline: event and anchor in one transaction
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Protocol, Self

import structlog

from gateway.clock import Clock
from gateway.errors import StoreError
from gateway.ids import uuid7
from gateway.model import Event, Place
from gateway.remote.audit_log import AuditLog
from gateway.remote.chain import Anchor, Entry, entry_of

log = structlog.get_logger()

ANCHOR_KEY = "audit/head"
FIRST_ANCHOR_S = 60.0
ANCHOR_S = 86400.0
"""So often the platforms are told how far the audit goes: what a thief of the box cannot take back."""


class Journal(Protocol):
    """Where events and saved state go (pipeline.Pipeline)."""

    def note(self, *records: Event) -> None: ...

    async def record(self, event: Event) -> None:
        """On disk when it returns.  Raises StoreError."""

    def remember(self, key: str, value: bytes | None) -> None: ...


def anchor_in(saved: Mapping[str, bytes]) -> Anchor | None:
    return Anchor.from_bytes(saved.get(ANCHOR_KEY, b""))


@dataclass(slots=True)
class Trail:
    """Used as an async context manager, once, inside the store's.  It is commands.Audit."""

    log: AuditLog
    journal: Journal
    clock: Clock
    saved: Anchor | None
    """How far the audit went when the daemon stopped, as the store knows it."""
    thread: Executor = field(default_factory=lambda: ThreadPoolExecutor(1, "audit"))
    """One thread: what is handed to it happens in that order."""
    _under_way: set[asyncio.Future[Anchor]] = field(init=False, default_factory=set)
    _anchor: Anchor | None = field(init=False, default=None)

    async def __aenter__(self) -> Self:
        """An audit that cannot be opened refuses commands, and nothing else: alarms do not depend on it."""
        await asyncio.wait({self._submit(partial(self.log.open, self.saved))})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.settled()
        self.thread.submit(self.log.close)
        self.thread.shutdown(wait=True)

    def note(self, *events: Event) -> None:
        self._submit(partial(self.log.append, [entry_of(event) for event in events]))
        self.journal.note(*events)

    async def record(self, event: Event) -> None:
        """On disk in both places when it returns.  Raises StoreError; the event is kept then, if that is possible."""
        trouble: StoreError | None = None
        try:
            await self.write(entry_of(event))
        except StoreError as exc:
            trouble = exc
        await self.journal.record(event)
        if trouble is not None:
            raise trouble

    async def write(self, *entries: Entry) -> None:
        """Into the audit only: what the platforms learn in another way.  Raises StoreError."""
        await asyncio.shield(self._submit(partial(self.log.append, entries)))

    async def settled(self) -> None:
        """Until nothing is on its way to the disk."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def run(self) -> None:
        await asyncio.sleep(FIRST_ANCHOR_S)
        while True:
            if self._anchor is not None:
                now_ms = self.clock.now_ms()
                self.journal.note(Event(uuid7(now_ms), "audit.anchor", now_ms, None, Place(), self._anchor._asdict()))
            await asyncio.sleep(ANCHOR_S)

    def _submit(self, act: Callable[[], Anchor]) -> asyncio.Future[Anchor]:
        """In order, and to its end even when the caller is cancelled."""
        future = asyncio.get_running_loop().run_in_executor(self.thread, act)
        self._under_way.add(future)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: asyncio.Future[Anchor]) -> None:
        self._under_way.discard(future)
        trouble = future.exception()
        if isinstance(trouble, StoreError):
            log.error("the audit lacks a line", error=trouble.advice())
        elif trouble is not None:
            raise trouble  # a bug: the loop's exception handler says it, as nobody may be waiting
        elif future.result() != self._anchor:
            self._anchor = future.result()
            self.journal.remember(ANCHOR_KEY, self._anchor.to_bytes())
