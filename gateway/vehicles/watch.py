"""``Vehicles`` beside the daemon's intake: what a camera's happening becomes when the lists have looked at it.

    Happening vehicle.seen ─▶ look ─▶ Vehicles.seen ─▶ events (vehicle.entered ...), readings; list, sure, may_open
    the time, now and then ─▶ tick ─▶ Vehicles.tick ─▶ events (vehicle.overstay), readings

The plate itself is used here for its pseudonyms, and forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from drivers.base import Happening
from gateway.clock import Clock
from gateway.ids import uuid7
from gateway.model import Event, Place, PointId, Reading, Record, Value
from gateway.plates import Colour, classify, normalise
from gateway.vehicles.core import Outcome, Vehicles
from gateway.vehicles.pseudonym import alike_of, pseudonym_of

SEEN = "vehicle.seen"
PointOf: TypeAlias = Callable[[str | None, str], PointId | None]
"""Camera (None: the site as a whole) and the name of a value -> the point that it is, if there is one."""
_SAID = ("list", "sure", "may_open")


@dataclass(frozen=True, slots=True)
class VehicleWatch:
    vehicles: Vehicles
    key: bytes
    """Of the lists."""
    places: Mapping[str, Place]
    point_of: PointOf
    clock: Clock

    def look(
        self, device: str, happening: Happening, veiled: Mapping[str, str]
    ) -> tuple[Sequence[Record], Mapping[str, Value]]:
        """A ``Look`` of gateway/intake.py: further records, and what the lists say for the event itself."""
        plate, said = normalise(happening.personal.get("plate", "")), happening.attributes
        confidence = said.get("confidence")
        outcomes = self.vehicles.seen(
            happening.time_ms,
            device,
            pseudonym_of(self.key, plate),
            classify(plate),
            _colour(said.get("colour")),
            None if isinstance(confidence, bool | str) else confidence,
            str(said.get("direction", "")),
            alike_of(self.key, plate),
            fake=said.get("fake_plate") is True,
            name=veiled.get("plate"),
        )
        told: dict[str, Value] = {}
        for outcome in outcomes:
            told |= {name: outcome.values[name] for name in _SAID}
        return list(self._records(outcomes)), told

    def tick(self) -> Sequence[Record]:
        return list(self._records(self.vehicles.tick(self.clock.now_ms())))

    def _records(self, outcomes: Sequence[Outcome]) -> Iterator[Record]:
        for outcome in outcomes:
            attributes = dict(outcome.attributes)
            if outcome.name is not None:
                attributes["plate"] = outcome.name
            place = self.places.get(outcome.camera or "", Place())
            event_id = uuid7(self.clock.now_ms())
            yield Event(event_id, outcome.kind, outcome.time_ms, outcome.camera, place, attributes)
        if outcomes:
            yield from self._readings(outcomes[-1])

    def _readings(self, latest: Outcome) -> Iterator[Reading]:
        now_ms = self.clock.now_ms()
        for name, value in latest.values.items():
            for owner in dict.fromkeys((latest.camera, None)):
                point = self.point_of(owner, name)
                if point is not None:
                    yield Reading(point, value, latest.time_ms, now_ms)


def _colour(said: Value | None) -> Colour:
    return Colour(said) if isinstance(said, str) and said in list(Colour) else Colour.UNKNOWN
