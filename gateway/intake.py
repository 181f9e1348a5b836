"""What devices say by themselves becomes what the gateway keeps: readings as they are, happenings as events.

    Report ─▶ readings ─────────────────────────▶ pipeline: one transaction, with how far the driver has come
           ─▶ happenings ─▶ pseudonyms, place ─▶ events ┘

Nobody's card or plate goes any further than this file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from drivers.base import Happening, Report
from gateway.clock import Clock
from gateway.ids import uuid7
from gateway.model import Event, Place, Record, Value
from gateway.pseudonyms import Pseudonyms

MEMORY_KEY = "driver/"
"""Begins the keys under which the store keeps how far a driver has come with a device."""

Look = Callable[[str, Happening, Mapping[str, str]], tuple[Sequence[Record], Mapping[str, Value]]]
"""Device, what has happened, the pseudonyms in it -> further records and attributes (what a vehicle list says)."""


@dataclass(slots=True)
class Intake:
    take_records: Callable[[Sequence[Record], Mapping[str, bytes | None]], asyncio.Future[None]]
    """The pipeline's ``take``."""
    places: Mapping[str, Place]
    pseudonyms: Pseudonyms
    clock: Clock
    plain: frozenset[str] = frozenset()
    """Personal attributes that the site's policy keeps as they are."""
    looks: Mapping[str, Look] = field(default_factory=dict)
    """Kind of happening -> who else looks at it before it is written down."""

    def take(self, reports: Sequence[Report]) -> asyncio.Future[None]:
        """Done when all of it is on disk."""
        records: list[Record] = []
        saved: dict[str, bytes | None] = {}
        for report in reports:
            records += report.readings
            for happening in report.happenings:
                records += self._records(report.device, happening)
            if report.memory is not None:
                saved[MEMORY_KEY + report.device] = report.memory
        return self.take_records(records, saved)

    def _records(self, device: str, happening: Happening) -> Sequence[Record]:
        veiled = {name: self.pseudonyms.of(name, text) for name, text in happening.personal.items()}
        look = self.looks.get(happening.kind)
        records, more = look(device, happening, veiled) if look is not None else ((), {})
        kept = {name: happening.personal[name] if name in self.plain else veiled[name] for name in veiled}
        place = self.places.get(device, Place())
        attributes = {**happening.attributes, **kept, **more}
        event = Event(uuid7(self.clock.now_ms()), happening.kind, happening.time_ms, device, place, attributes)
        return [event, *records]


def memory_of(saved: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Device -> how far its driver had come, of what the store has kept."""
    return {key.removeprefix(MEMORY_KEY): value for key, value in saved.items() if key.startswith(MEMORY_KEY)}
