"""Many gateways' uplinks in one process: the product's own uplink and dialect, over a log in memory.

    load.py ──▶ log.py ──▶ gateway.uplink.mqtt ══▶ broker ══▶ a platform, or count.py
                  ▲                 │
                  └── cursor ◀──────┘  PUBACK, or the platform's receipt

What is simulated is the compound and the disk; connections, order, windows, back-off and receipts are the real ones.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.clock import Clock
from gateway.config.models import TlsModel, UplinkModel
from gateway.envelope import Encoder, Envelope
from gateway.ids import uuid7
from gateway.model import Device
from gateway.sim.account import Stream
from gateway.sim.fleet.load import Load, encoder, meters
from gateway.sim.fleet.log import FleetLog
from gateway.uplink.contract import Identity
from gateway.uplink.dialect import Subject
from gateway.uplink.dialects.native import Native
from gateway.uplink.mqtt import MqttUplink
from gateway.uplink.status import Limits

_UPLINK = "main"
SITE = "fleet-"
"""Beginning of the sites' ids: nobody else's gateways are counted, let alone confirmed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """*brokers*: (host, port) of each node; the gateways are dealt out to them in turn."""

    brokers: tuple[tuple[str, int], ...]
    gateways: int
    sites: int = 1
    first: int = 1
    """Number of the first gateway: two processes against one broker need different ones."""
    rate: float = 1.0
    """Envelopes a second of each gateway."""
    readings: int = 20
    envelopes: int | None = None
    """Each gateway makes so many and no more."""
    delivery: Literal["receipt", "puback"] = "receipt"
    protocol: Literal["mqtt5", "mqtt311"] = "mqtt5"
    spread_s: float = 5.0
    """The gateways start at random instants of this time, as boxes do after a power cut."""
    capacity: int = 10_000
    """Envelopes that a gateway keeps."""
    seed: int = 1
    username: str | None = None
    password_file: Path | None = None
    cafile: Path | None = None

    def site(self, number: int) -> str:
        return f"{SITE}{1 + (number - 1) % self.sites}"


@dataclass(frozen=True, slots=True)
class Totals:
    """Of all gateways, now."""

    connected: int
    made: int
    sent: int
    """Envelopes handed to the broker, repetitions included."""
    acknowledged: int
    """PUBACKs."""
    confirmed: int | None
    """By the platform's receipts; None without them."""
    waiting: int
    """In the gateways' logs."""
    withheld: int
    """Not made, because a gateway's log was full."""
    quarantined: int
    connections: int
    """Accepted since the start."""
    error: str
    """Of one gateway that is not connected."""


class Member:
    """One gateway."""

    def __init__(
        self, plan: Plan, number: int, devices: tuple[Device, ...], encode: Encoder, clock: Clock, limits: Limits | None
    ) -> None:
        dice = random.Random(f"{plan.seed}/{number}")
        now_ms = clock.now_ms()
        self.site, self.gateway = plan.site(number), f"g{number}"
        boot_id = uuid7(now_ms)
        self.log = FleetLog(uuid7(now_ms), boot_id, plan.capacity)
        subject = Subject(
            uplink=_UPLINK,
            identity=Identity(self.site, self.gateway, "0.0.0-fleet", "sha256:" + "0" * 64, boot_id),
            devices=devices,
            commandable=frozenset(),
            destinations=(_UPLINK,),
            epoch=lambda: self.log.epoch,
            clock=clock,
            started_ms=lambda: now_ms,
        )
        host, port = plan.brokers[(number - plan.first) % len(plan.brokers)]
        model = UplinkModel(
            id=_UPLINK,
            host=host,
            port=port,
            delivery=plan.delivery,
            protocol=plan.protocol,
            username=plan.username,
            password_file=plan.password_file,
            tls=TlsModel(ca=plan.cafile) if plan.cafile is not None else None,
            allow_plaintext=plan.username is None,  # simulated readings may be read by anybody, a password may not
        )
        self.uplink = MqttUplink(
            model, self.log, Native(subject), clock, on_quarantine=self._given_up, limits=limits, jitter=dice.random
        )
        self.quarantined = 0
        self.withheld = 0
        self._load = Load(devices, encode, f"{plan.seed}/{number}/load")
        self._clock = clock
        self._plan = plan
        self._delay_s = dice.random() * plan.spread_s
        self._producing: asyncio.Task[None] | None = None
        self._silenced = False

    @property
    def made(self) -> int:
        return sum(self.log.last.values())

    def silence(self) -> None:
        """Make nothing more; what has been made is still delivered."""
        self._silenced = True
        if self._producing is not None:
            self._producing.cancel()

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.sleep(self._delay_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.uplink.run())
            if not self._silenced:
                self._producing = group.create_task(self._produce())

    async def _produce(self) -> None:
        loop = asyncio.get_running_loop()
        due_s, made = loop.time(), 0
        while self._plan.envelopes is None or made < self._plan.envelopes:
            if self.log.append(self._load.draft(self._clock.now_ms())):
                made += 1
            else:
                self.withheld += 1
            due_s += 1 / self._plan.rate
            await asyncio.sleep(max(0.0, due_s - loop.time()))

    def _given_up(self, envelope: Envelope, reason: str) -> None:
        self.quarantined += 1


class Fleet:
    """``run`` works until it is cancelled; then every gateway says goodbye, as it does when its box shuts down."""

    def __init__(self, plan: Plan, clock: Clock, *, limits: Limits | None = None) -> None:
        devices = meters(plan.readings)
        encode = encoder(devices)
        self._plan = plan
        self.members = [
            Member(plan, number, devices, encode, clock, limits)
            for number in range(plan.first, plan.first + plan.gateways)
        ]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for member in self.members:
                group.create_task(member.run())

    def silence(self) -> None:
        for member in self.members:
            member.silence()

    @property
    def complete(self) -> bool:
        """With ``envelopes``: whether all of them have been made."""
        each = self._plan.envelopes
        return each is not None and all(member.made >= each for member in self.members)

    @property
    def totals(self) -> Totals:
        seen = [(member, member.uplink.status) for member in self.members]
        waiting = sum(member.log.waiting for member in self.members)
        made = sum(member.made for member in self.members)
        return Totals(
            connected=sum(status.connected for _, status in seen),
            made=made,
            sent=sum(status.sent for _, status in seen),
            acknowledged=sum(status.acknowledged for _, status in seen),
            confirmed=made - waiting if self._plan.delivery == "receipt" else None,
            waiting=waiting,
            withheld=sum(member.withheld for member in self.members),
            quarantined=sum(member.quarantined for member in self.members),
            connections=sum(status.reconnects + (status.since_ms is not None) for _, status in seen),
            error=next((status.error for _, status in seen if status.error), ""),
        )

    @property
    def given_out(self) -> Mapping[Stream, tuple[int, int]]:
        """Of each stream the last number, and the last one that the gateway has forgotten, believing it delivered."""
        return {
            Stream(member.site, member.gateway, member.log.epoch, lane): (last, member.log.cursor(_UPLINK, lane))
            for member in self.members
            for lane, last in member.log.last.items()
        }
