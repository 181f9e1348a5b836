"""The community's risk as one of the devices: what rules/risk/ makes of the readings is a reading again.

readings that the pipeline takes ──▶ RiskModel ──at once when it changes, else once a minute──▶ readings ──▶ pipeline
                                                 └──▶ event community.risk_changed, record in the store
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from gateway.clock import Clock
from gateway.ids import uuid7
from gateway.local_api import Handler
from gateway.model import Device, Event, Place, Reading, Value
from rules.alarm import Instant
from rules.risk.definition import Definition
from rules.risk.explain import Teller, as_document
from rules.risk.model import Assessment, RiskModel, Unreadable

log = structlog.get_logger()

EVERY_S = 60.0
KEY = "risk"
"""Under which the store keeps the record of the model."""
CHANGED = "community.risk_changed"
_LONGEST = 500
"""Characters of an event's text."""


class Keeper(Protocol):
    """What is asked of the pipeline."""

    async def submit(self, records: Sequence[Reading]) -> None: ...

    def note(self, *records: Event) -> None: ...

    def remember(self, key: str, value: bytes | None) -> None: ...


@dataclass(slots=True)
class RiskWatch:
    device: Device
    model: RiskModel
    keeper: Keeper
    clock: Clock
    _before: Assessment = field(init=False)
    _some: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._before = self.model.state(self._now())

    def heard(self, readings: Sequence[Reading]) -> None:
        """Readings have been taken, of whatever points."""
        if self.model.observe(readings, self._now()):
            self._some.set()

    def keep(self) -> None:
        """Save what a restart needs, with the pipeline's next group."""
        self.keeper.remember(KEY, self.model.record(self._now()))

    def handlers(self) -> Mapping[str, Handler]:
        """``{"op": "risk"}``: the assessment with its reasons."""
        return {"risk": self._answer}

    async def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return as_document(self.model.definition, self.model.state(self._now()))

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            self._some.clear()
            state = self.model.state(self._now())
            changed = state.shown != self._before.shown
            if changed or loop.time() >= due_s:
                due_s = loop.time() + EVERY_S
                await self._tell(state)
            timer_s, now_s = self.model.next_timer_s(), self.clock.monotonic_s()
            wait_s = due_s - loop.time()
            if timer_s is not None:
                wait_s = min(wait_s, timer_s - now_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(wait_s, 0.0)):
                    await self._some.wait()

    async def _tell(self, state: Assessment) -> None:
        before, self._before = self._before, state
        if _levels(state) != _levels(before):
            self.keeper.note(self._changed(before, state))
        self.keep()
        values: list[Value] = [state.level.word, *(each.level.word for each in state.hazards), bool(state.blind)]
        now_ms = self.clock.now_ms()
        await self.keeper.submit(
            [Reading(point.id, value, now_ms, now_ms) for point, value in zip(self.device.points, values, strict=True)]
        )

    def _changed(self, before: Assessment, state: Assessment) -> Event:
        now_ms = self.clock.now_ms()
        reasons = Teller(self.model.definition, state).reasons()
        about: dict[str, Value | None] = {
            "level": state.level.word,
            "before": before.level.word,
            "hazards": ", ".join(f"{each.hazard}={each.level.word}" for each in state.hazards),
            "drivers": ", ".join(f"{each.cause.point}={each.cause.value}" for each in state.drivers)[:_LONGEST],
            "blind": len(state.blind),
            "zh": reasons.zh[:_LONGEST],
            "en": reasons.en[:_LONGEST],
        }
        return Event(uuid7(now_ms), CHANGED, now_ms, self.device.id, Place(), about)

    def _now(self) -> Instant:
        return Instant(self.clock.monotonic_s(), self.clock.now_ms())


def _levels(state: Assessment) -> tuple[object, ...]:
    return (state.level, *(each.level for each in state.hazards))


def model_of(definition: Definition, saved: Mapping[str, bytes], clock: Clock) -> RiskModel:
    """As it was at the last stop, where that can be read."""
    started = Instant(clock.monotonic_s(), clock.now_ms())
    try:
        return RiskModel(definition, started, saved.get(KEY))
    except Unreadable as exc:
        log.warning("record of the risk unreadable, it begins anew", error=str(exc))
        return RiskModel(definition, started)
