"""Commands while the daemon is stopped: the line is opened here, and the audit is written into the store from here.

Commands ──▶ DirectLine ──▶ wire        whoever holds the store's lock is the daemon for as long:
    └──────▶ StoreAudit ──▶ store       nobody else can be talking on its lines
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from drivers.base import Driver
from drivers.device_link import DeviceLink
from drivers.transport import ByteLine
from gateway import local_api
from gateway.app import store_replaced
from gateway.clock import Clock
from gateway.commands import Commands
from gateway.config.load import Configuration
from gateway.envelope import Encoder
from gateway.errors import DriverError, StoreError
from gateway.field import drivers_on, links_on, open_line
from gateway.identity import Identities
from gateway.ids import uuid7
from gateway.model import Event, Lane, Point, PointId, Reading, Record
from gateway.quality import QualityGate
from gateway.remote.audit_log import AuditLog
from gateway.remote.trail import Trail, anchor_in
from gateway.store.log import Keeping, Store

log = structlog.get_logger()


@asynccontextmanager
async def commands_without_daemon(config: Configuration, device: str, clock: Clock) -> AsyncIterator[Commands]:
    """For the points of one device.  Raises StoreLocked when a daemon runs after all, StoreError."""
    _refuse_strangers(config.store.path)
    store = Store(
        config.store.path,
        budget_bytes=config.store.budget,
        boot_id=uuid7(clock.now_ms()),
        uplinks=[uplink.id for uplink in config.uplinks],
        clock=clock,
        keeping=Keeping(config.store.shares.parts()),
    )
    async with store:
        audit = StoreAudit(store, config.points, clock)
        if store.recovery is not None:
            await audit.record(store_replaced(store.recovery, clock.now_ms()))
        trail = await _trail(config, store, audit, clock)
        plan = next(line for line in config.lines if any(each.device.id == device for each in line.devices))
        connection = open_line(plan)
        links = links_on(plan, connection)
        points = {id_: point for id_, point in config.points.items() if point.device == device}
        demanded = {each.device.id: each.serial_number for each in plan.devices if each.serial_number is not None}
        identities = Identities(demanded)
        line = DirectLine(connection, links, drivers_on(plan, links, clock), QualityGate(points, identities), audit)
        places = {each.id: each.place for each in config.devices}
        try:
            async with trail:
                await line.identify(device)
                yield Commands(points, places, config.allow_write, {device: line}, trail, clock, identities.wrong)
        finally:
            try:
                await audit.flush()
            except StoreError as exc:  # what was sent is sent, and its outcome is still to be told
                log.error("the audit could not be completed", error=exc.advice())


async def _trail(config: Configuration, store: Store, audit: StoreAudit, clock: Clock) -> Trail:
    files = AuditLog(config.store.path, clock, config.audit.keep, config.audit.budget)
    return Trail(files, audit, clock, anchor_in(await store.state()))


@dataclass(frozen=True, slots=True)
class DirectLine:
    """A line of our own (commands.Bus), open only while it is used."""

    connection: ByteLine
    links: Mapping[str, DeviceLink]
    drivers: Mapping[str, Driver]
    gate: QualityGate
    audit: StoreAudit

    async def command(self, device: str, action: Callable[[], Awaitable[None]]) -> None:
        async with self.connection:
            with self.links[device].repeating_nothing():
                await action()

    async def read(self, device: str, points: Sequence[PointId]) -> Sequence[Reading]:
        driver = self.drivers[device]
        async with self.connection:
            readings = [reading for batch in driver.batches(points) for reading in await driver.poll(batch)]
        now_s = asyncio.get_running_loop().time()
        settled, _ = self.gate.settle(readings, now_s, self.connection.last_answer)
        self.audit.keep(settled)
        return settled

    async def identify(self, device: str) -> None:
        """Find out whether it is the device that the site means, where the site says which that is."""
        point = self.gate.serial_number_of(device)
        if point is not None and device in self.gate.identities.expected:
            with suppress(DriverError):  # who does not answer takes no command either
                await self.read(device, [point])


@dataclass(slots=True)
class StoreAudit:
    """Records straight into the store (trail.Journal); readings wait for the next event or the end."""

    store: Store
    points: Mapping[PointId, Point]
    clock: Clock
    _waiting: dict[Lane, list[Record]] = field(init=False, default_factory=dict)
    _saved: dict[str, bytes | None] = field(init=False, default_factory=dict)

    def keep(self, readings: Sequence[Reading]) -> None:
        for reading in readings:
            self._waiting.setdefault(self.points[reading.point].lane, []).append(reading)

    def note(self, *records: Event) -> None:
        self._waiting.setdefault(Lane.EVENT, []).extend(records)

    def remember(self, key: str, value: bytes | None) -> None:
        self._saved[key] = value

    async def record(self, event: Event) -> None:
        self.note(event)
        await self.flush()

    async def flush(self) -> None:
        """Raises StoreError; everything is kept then."""
        encoder, trust = Encoder(self.points), self.clock.state()
        lanes = [lane for lane in Lane if lane in self._waiting]
        drafts = [draft for lane in lanes for draft in encoder.drafts(lane, self._waiting[lane], trust)]
        await self.store.commit(drafts, self._saved)
        self._waiting, self._saved = {}, {}


def _refuse_strangers(directory: Path) -> None:
    """Files that another user leaves in the store are files that the daemon cannot open."""
    if not directory.is_dir():
        return
    owner = directory.stat().st_uid
    if owner != os.geteuid():
        name = local_api.user_name(owner)
        raise StoreError(f"the store belongs to the user {name}", hint=f"run this as that user: sudo -u {name} …")
