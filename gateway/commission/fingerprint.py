"""Which profile fits a device that a scan has met?  Each is tried on it, and what it answers is judged.

profiles of the protocol ──▶ driver ──▶ two single points ──▶ all refused or absurd: no further
                                                        └──▶ its requests, the richest first ──▶ credit per point

A point earns credit when its value says something (a voltage of 231 V), little when it is 0, nothing when the device
has no value, and loses when it is refused or impossible.  The score of a profile is what its points earned, times the
share of what they could have: a profile that is part of a richer one earns less, one that asks for more than there is
loses its share.  None of this ever touches a reading that counts; it only proposes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any, TypeVar

from pydantic import ValidationError

from drivers.base import DeviceSpec, Driver, Found, Link, OpenedElsewhere, PointSpec, ProtocolType, SerialFormat
from gateway.clock import Clock
from gateway.config.explain import parse
from gateway.config.models import ProfilePoint
from gateway.config.profiles import Profile, Profiles
from gateway.errors import ConfigError, DeviceUnreachable, DriverError, LineLost, ProtocolError
from gateway.model import Point, PointId, Reading, Reason, Text, Value, ValueKind

T = TypeVar("T")

ADDRESS_KEYS = ("unit_id", "address", "primary", "secondary")
"""By these a device is told from the others on its line; they say nothing of what it is."""
SHOWN = 3
"""So many profiles are worth telling of."""
PER_BATCH, PER_PROFILE, PER_DEVICE = 6, 16, 160
"""Requests that one batch (a refused range is divided), one profile, one device may cost."""
CLEAR_LEAD = 0.8
"""The second best must stay under this share of the best, or nobody knows."""
LEAST = 0.1
"""A score under this is none."""
ENOUGH_SHARE, ENOUGH_TELLING = 0.3, 2
"""A profile of which less than this comes true, or fewer points say anything, is a guess."""

_TELLING = {"V": (80.0, 500.0), "Hz": (45.0, 65.0), "Cel": (-40.0, 120.0), "%": (0.0, 100.0), "%[LEL]": (0.0, 100.0)}
"""Values of such a unit that are hardly met by accident; 0 is, and so is anything under 1 % of the range's end."""
_POSSIBLE = {
    "V": (0.0, 40_000.0), "A": (-1e5, 1e5), "W": (-1e8, 1e8), "kW": (-1e5, 1e5), "V.A": (-1e8, 1e8),
    "kV.A": (-1e5, 1e5), "Hz": (0.0, 1000.0), "Cel": (-100.0, 1000.0), "%": (-1.0, 1000.0), "%[LEL]": (-10.0, 110.0),
    "kW.h": (-1e9, 1e9), "m3": (-1e9, 1e9), "m3/h": (-1e6, 1e6), "bar": (-1.0, 1000.0), "deg": (-360.0, 360.0),
    "[ppm]": (0.0, 1e6),
}  # fmt: skip
_SMALLEST, _LARGEST = 1e-6, 1e11
"""A float whose words are exchanged, or that is none, is mostly far outside."""


@dataclass(frozen=True, slots=True)
class Match:
    """How one profile did."""

    profile: str
    name: Text
    points: int
    """Of the profile, without those that are read on demand only: that may cost the device something."""
    asked: int
    answered: int
    """Points with a possible value."""
    telling: int
    """Points whose value is hardly met by accident, or at least is not 0."""
    against: int
    """Points that were refused, or impossible."""
    score: float
    share: float
    """0..1: of what the points could have earned."""

    def as_json(self) -> dict[str, Any]:
        return {
            "profile": self.profile,
            "score": round(self.score, 1),
            "share": round(self.share, 2),
            "points": self.points,
            "asked": self.asked,
            "answered": self.answered,
            "against": self.against,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a device seems to be."""

    matches: tuple[Match, ...]
    """The best first."""
    requests: int
    """What finding out has cost."""

    @property
    def best(self) -> Match | None:
        return self.matches[0] if self.matches else None

    @property
    def sure(self) -> bool:
        """Whether the best one stands out and is no guess."""
        if not self.matches:
            return False
        best, second = self.matches[0], self.matches[1].score if len(self.matches) > 1 else 0.0
        enough = best.share >= ENOUGH_SHARE and best.telling >= ENOUGH_TELLING
        return enough and second < CLEAR_LEAD * best.score


@dataclass(slots=True)
class Fingerprint:
    """Tries the profiles of one protocol on devices of one line."""

    type_: ProtocolType
    candidates: Sequence[Profile]
    clock: Clock
    zone: tzinfo = UTC
    timeout_s: float | None = None
    """None: the protocol's own; these devices do answer, and profiles ask for more than a search does."""

    async def identify(self, link: Link, found: Found) -> Verdict:
        """Raises LineLost."""
        asking = _Asking(link)
        matches = []
        for profile in _likely_first(self.candidates, found):
            driver = self._driver(profile, found, asking)
            if driver is not None and asking.spent < PER_DEVICE:
                matches.append(await _try(profile, driver, asking, found))
        ranked = sorted((match for match in matches if match.score >= LEAST), key=lambda match: -match.score)
        return Verdict(tuple(ranked[:SHOWN]), asking.spent)

    def _driver(self, profile: Profile, found: Found, link: Link) -> Driver | None:
        """None where the profile contradicts what the search has seen, or its driver refuses the combination."""
        defaults = profile.model.device
        said = {key: value for key, value in found.entry.items() if key not in ADDRESS_KEYS}
        if any(key in defaults and defaults[key] != value for key, value in said.items()):
            return None
        try:
            options = parse(self.type_.device_options, {**defaults, **found.entry})
            points = {
                _id(name): PointSpec(_point(_id(name), point), profile.options[self.type_.name][name])
                for name, point in profile.model.points.items()
            }
            timeout_s = self.timeout_s or self.type_.default_timeout_s
            return self.type_.make(DeviceSpec(_DEVICE, options, points, timeout_s, self.zone), link, self.clock)
        except (ValidationError, ConfigError):
            return None


def candidates(profiles: Profiles, type_: ProtocolType) -> list[Profile]:
    """Every sound profile, shipped or the site's own, that may be read with the protocol."""
    loaded = (profiles.get(name) for name in profiles.names)
    return [profile for profile in loaded if profile is not None and type_.name in profile.types]


_DEVICE = "scanned"


def _id(name: str) -> PointId:
    return f"{_DEVICE}.{name}"


def _point(id_: PointId, model: ProfilePoint) -> Point:
    return Point(
        id_,
        ValueKind(model.kind),
        Text(model.name.zh, model.name.en),
        60.0,
        unit=model.unit,
        states=tuple(model.states),
        minimum=model.minimum,
        maximum=model.maximum,
        counter=model.counter,
    )


def _likely_first(profiles: Sequence[Profile], found: Found) -> list[Profile]:
    return sorted(profiles, key=lambda profile: not _names_maker(profile, found))


def _names_maker(profile: Profile, found: Found) -> bool:
    maker = profile.model.manufacturer
    return bool(maker) and str(maker).casefold() in found.identity.casefold()


# ---------------------------------------------------------------------- asking


class _Enough(DeviceUnreachable):
    """The requests allowed for a batch are spent."""


@dataclass(slots=True)
class _Memory:
    received: bytes
    failure: DriverError | None


@dataclass(slots=True)
class _Asking(OpenedElsewhere):
    """drivers/base.py: Link.  Asks no question twice, and not more questions than allowed."""

    link: Link
    spent: int = 0
    last_answer: bytes = b""
    _limit: int = 0
    _known: dict[bytes, _Memory] = field(default_factory=dict)

    def allow(self, requests: int) -> None:
        self._limit = self.spent + requests

    async def exchange(
        self,
        request: bytes,
        parse: Callable[[bytes], T | None],
        *,
        peer: Hashable,
        timeout_s: float,
        embargo_s: float = 0.0,
        gap_characters: float = 0.0,
        serial: SerialFormat | None = None,
        once: bool = False,
    ) -> T:
        known = self._known.get(request)
        if known is not None:
            return self._again(known, parse)
        if self.spent >= self._limit:
            raise _Enough("enough has been asked")
        self.spent += 1
        try:
            frame = await self.link.exchange(
                request,
                parse,
                peer=peer,
                timeout_s=timeout_s,
                embargo_s=embargo_s,
                gap_characters=gap_characters,
                serial=serial,
                once=once,
            )
        except LineLost:
            raise
        except DriverError as exc:
            self._known[request] = _Memory(b"", exc)
            raise
        self.last_answer = self.link.last_answer
        self._known[request] = _Memory(self.last_answer, None)
        return frame

    async def collect(
        self, request: bytes, *, timeout_s: float, silence_s: float, serial: SerialFormat | None = None
    ) -> bytes:
        return await self.link.collect(request, timeout_s=timeout_s, silence_s=silence_s, serial=serial)

    def _again(self, known: _Memory, parse: Callable[[bytes], T | None]) -> T:
        if known.failure is not None:
            raise known.failure
        frame = parse(known.received)
        if frame is None:
            raise ProtocolError("the answer fits another question only", known.received)
        self.last_answer = known.received
        return frame


async def _try(profile: Profile, driver: Driver, asking: _Asking, found: Found) -> Match:
    points = {_id(name): point for name, point in profile.model.points.items() if not point.on_demand}
    batches = sorted(driver.batches(list(points)), key=len, reverse=True)
    judged: dict[PointId, _Judgement] = {}
    started = asking.spent
    for probe in _probes(batches) if batches else ():
        judged |= await _ask(driver, [probe], points, asking)
    if any(each.credit > 0 for each in judged.values()):
        for batch in batches:
            if asking.spent - started >= PER_PROFILE:
                break
            judged |= await _ask(driver, batch, points, asking)
    return _match(profile, len(points), judged, found)


def _probes(batches: Sequence[Sequence[PointId]]) -> list[PointId]:
    """Two points from different requests, or from the two ends of the only one."""
    return list(dict.fromkeys([batches[0][0], batches[-1][-1]]))


async def _ask(
    driver: Driver, batch: Sequence[PointId], points: dict[PointId, ProfilePoint], asking: _Asking
) -> dict[PointId, _Judgement]:
    asking.allow(PER_BATCH)
    try:
        readings = await driver.poll(batch)
    except LineLost:
        raise
    except DriverError:
        return {point: _Judgement(-1.0, _most(points[point])) for point in batch}
    return {reading.point: _judge(reading, points[reading.point]) for reading in readings}


# ---------------------------------------------------------------------- judging


@dataclass(frozen=True, slots=True)
class _Judgement:
    credit: float
    possible: float
    """The most that the point could have earned."""


def _match(profile: Profile, points: int, judged: dict[PointId, _Judgement], found: Found) -> Match:
    earned = sum(each.credit for each in judged.values())
    possible = sum(each.possible for each in judged.values())
    share = max(0.0, earned / possible) if possible else 0.0
    bonus = 1.25 if _names_maker(profile, found) else 1.0
    name = profile.model.name
    return Match(
        profile.model.id,
        Text(name.zh, name.en),
        points=points,
        asked=len(judged),
        answered=sum(each.credit > 0 for each in judged.values()),
        telling=sum(each.credit >= 0.5 for each in judged.values()),
        against=sum(each.credit < 0 for each in judged.values()),
        score=max(0.0, earned) * share * bonus,
        share=share,
    )


def _most(point: ProfilePoint) -> float:
    match point.kind:
        case "number":
            return 1.0 if point.unit in _TELLING or _bounded(point) else 0.5
        case "boolean":
            return 0.2
        case _:
            return 0.5


def _bounded(point: ProfilePoint) -> bool:
    return point.minimum is not None and point.maximum is not None


def _judge(reading: Reading, point: ProfilePoint) -> _Judgement:
    if reading.value is None:
        return _Judgement(0.0 if reading.reason is Reason.NO_VALUE else -1.0, _most(point))
    return _Judgement(_credit(reading.value, point), _most(point))


def _credit(value: Value, point: ProfilePoint) -> float:
    if isinstance(value, bool):
        return 0.2 if value else 0.1
    if isinstance(value, str):
        readable = bool(value.strip()) and value.isprintable()
        return _most(point) if readable or point.kind == "state" else 0.0
    if not _is_possible(value, point):
        return -1.0
    if value == 0:
        return 0.0 if point.unit == "V" else 0.1
    telling = _TELLING.get(point.unit or "")
    if telling is None:
        return _most(point)
    low, high = telling
    return 1.0 if low <= value <= high and abs(value) >= high / 100 else 0.1


def _is_possible(value: float, point: ProfilePoint) -> bool:
    low, high = _POSSIBLE.get(point.unit or "", (-_LARGEST, _LARGEST))
    low = low if point.minimum is None else point.minimum
    high = high if point.maximum is None else point.maximum
    if not math.isfinite(value) or not low <= value <= high or 0 < abs(value) < _SMALLEST:
        return False
    return not (point.counter and value < 0)
