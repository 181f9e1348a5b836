"""An uplink as the daemon builds it, with everything around it that a test wants to look at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.config.models import UplinkModel
from gateway.envelope import Envelope
from gateway.uplink.contract import Identity, Topics
from gateway.uplink.dialect import Dialect, Outgoing, Reply, Request, Subject
from gateway.uplink.dialects.native import Native
from gateway.uplink.log import Log
from gateway.uplink.mqtt import MqttUplink
from gateway.uplink.status import Limits
from support.clock import ManualClock
from support.memory_store import MemoryStore

IDENTITY = Identity("site-1", "gw-1", "0.1.0", "sha256:" + "0" * 64, "boot-1")
TOPICS = Topics("site-1", "gw-1")
CATALOG = b'{"v":1,"devices":[]}'
QUICK = Limits(tick_s=0.05, first_pause_s=0.05, drain_s=2.0)


@dataclass
class Rig:
    store: MemoryStore
    uplink: MqttUplink
    clock: ManualClock
    quarantined: list[tuple[Envelope, str]] = field(default_factory=list)

    def delivered(self) -> bool:
        return all(self.store.cursor("main", lane) == self.store.last_seq(lane) for lane in self.store.lanes)

    async def until_delivered(self, timeout_s: float = 20.0) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not self.delivered():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not delivered: {self.store.cursors}, {self.uplink.status}") from None


class Listed(Native):
    """Our own dialect, with a catalog that is known byte for byte."""

    def catalog(self) -> Sequence[Outgoing]:
        return [Outgoing(TOPICS.catalog, CATALOG, retain=True)]


def subject_of(store: Log | None = None, clock: ManualClock | None = None) -> tuple[Log, Subject]:
    log = store or MemoryStore()
    return log, Subject(
        uplink="main",
        identity=IDENTITY,
        devices=(),
        commandable=frozenset(),
        destinations=("main",),
        epoch=lambda: log.epoch,
        clock=clock or ManualClock(),
        started_ms=lambda: 1_767_225_600_000,
    )


def build(
    port: int,
    store: Log | None = None,
    *,
    limits: Limits = QUICK,
    dialect: Dialect | None = None,
    on_request: Callable[[Request], Awaitable[Reply]] | None = None,
    **config: Any,
) -> Rig:
    model = UplinkModel(**{"id": "main", "host": "127.0.0.1", "port": port, **config})
    store = store or MemoryStore()
    quarantined: list[tuple[Envelope, str]] = []
    clock = ManualClock()
    uplink = MqttUplink(
        model,
        store,
        dialect or Listed(subject_of(store, clock)[1], compress=model.compress),
        clock,
        on_quarantine=lambda envelope, reason: quarantined.append((envelope, reason)),
        on_request=on_request,
        limits=limits,
        jitter=lambda: 0.05,
    )
    return Rig(store, uplink, clock, quarantined)


@contextlib.asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[asyncio.Task[None]]:
    """The uplink's task; stopped in an orderly way at the end."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.uplink.run())
        try:
            yield task
        finally:
            task.cancel()
