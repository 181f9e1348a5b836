"""Keeps to what households have agreed to while the gateway runs, and puts every change of it on record.

configuration ─▶ consented() ─▶ the rest of the daemon        at the start: who has not agreed is not there
                 ConsentWatch ─▶ audit, event care.consent    then, once a minute: has a consent begun or ended?
                              └▶ renew()                      the daemon starts anew inside its process, without them
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Protocol

import structlog

from gateway.clock import Clock
from gateway.config.load import Configuration
from gateway.consent import lapsed, steps
from gateway.errors import StoreError
from gateway.ids import uuid7
from gateway.model import Event, Place
from gateway.remote.chain import Entry

log = structlog.get_logger()

EVERY_S = 60.0
STATE_KEY = "consents"


class Audit(Protocol):
    async def write(self, *entries: Entry) -> None:
        """On disk when it returns.  Raises StoreError."""


class Journal(Protocol):
    def note(self, *records: Event) -> None: ...

    def remember(self, key: str, value: bytes | None) -> None: ...


def today_of(config: Configuration, clock: Clock) -> date:
    """On the site's calendar."""
    return datetime.fromtimestamp(clock.now_ms() / 1000, config.site.zone).date()


def consented(config: Configuration, today: date) -> Configuration:
    """Without what a household has not, or no longer, agreed to: not asked, not heard, not judged.

    The device itself stays known, so that a rule which names it does not become a fault overnight.
    """
    out = lapsed(config.consents, today)
    if not out:
        return config
    log.warning("devices at rest: their household's consent is over or has not begun", devices=sorted(out))
    lines = tuple(
        replace(line, devices=tuple(plan for plan in line.devices if plan.device.id not in out))
        for line in config.lines
    )
    rules = replace(config.rules, watches=tuple(each for each in config.rules.watches if each.device not in out))
    return replace(config, lines=lines, rules=rules)


@dataclass(slots=True)
class ConsentWatch:
    config: Configuration
    audit: Audit
    journal: Journal
    clock: Clock
    saved: Mapping[str, bytes]
    renew: Callable[[], None] | None
    """Start anew with the same configuration; None where nobody can."""
    started: date
    """The day for which the configuration was cut."""
    _known: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        try:
            known = json.loads(self.saved.get(STATE_KEY, b"{}"))
        except ValueError:
            known = {}
        self._known = known if isinstance(known, dict) else {}

    async def run(self) -> None:
        while True:
            today = today_of(self.config, self.clock)
            await self._tell(today)
            if lapsed(self.config.consents, today) != lapsed(self.config.consents, self.started):
                self._renew(today)
            await asyncio.sleep(EVERY_S)

    async def _tell(self, today: date) -> None:
        now = {device: consent.as_item(today) for device, consent in self.config.consents.items()}
        found = list(steps(self._known, now))
        if not found:
            return
        now_ms = self.clock.now_ms()
        said = {device: now.get(device) or self._known.get(device, {}) for device, _ in found}
        entries = [
            Entry(now_ms, "care.consent", "", "config", {"device": device, **said[device]}, str(step))
            for device, step in found
        ]
        try:
            await self.audit.write(*entries)
        except StoreError as exc:
            log.error("a change of a household's consent is not in the audit; trying again", error=exc.advice())
            return
        # the number or name of the paper stays here: it may say whose it is
        for device, step in found:
            about = {key: said[device].get(key) for key in ("by", "since", "until")}
            place = self._place(device)
            self.journal.note(
                Event(uuid7(now_ms), "care.consent", now_ms, device, place, {"result": str(step), **about})
            )
        self._known = now
        self.journal.remember(STATE_KEY, json.dumps(now, ensure_ascii=False).encode())

    def _renew(self, today: date) -> None:
        if self.renew is None:
            log.error("a household's consent has begun or ended, and nobody can start the gateway anew")
            self.started = today
            return
        log.info("starting anew: a household's consent has begun or ended")
        self.renew()

    def _place(self, device: str) -> Place:
        try:
            return self.config.device(device).place
        except KeyError:
            return Place()
