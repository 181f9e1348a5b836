"""What the site makes of vehicles that its cameras see: who it is, who is inside, for how long.  Pure.

    vehicle.seen ─▶ known? (lists) ─▶ the same again? ─▶ which gate, which way? ─▶ stays ─▶ outcomes
                      exact only         dedupe_ms          settings                 bounded

**Nothing here opens a barrier**, and only one value may be used by a rule that does: ``may_open``, which is true for a
vehicle whose very own plate is on a list now, read surely and in a colour that such a plate has.  That a plate looks
like one of a list is told to people (``looks_like``) and changes neither the word nor ``may_open``; it only helps to
find, of a vehicle that leaves, the entry that was misread.

Time comes with each call.  What is kept (stays, passages, anonymous vehicles) is bounded; the least recent is forgotten
first.  It goes to disk in parts, of which a vehicle changes one or two (``changes``), so that a passage costs some
kilobytes and not all that is known.
"""

from __future__ import annotations

import enum
import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gateway.model import Value
from gateway.plates import Colour, PlateClass, colour_fits
from gateway.vehicles.lists import Lists, Word
from gateway.vehicles.pseudonym import is_pseudonym

_LISTED = (Word.ALLOW, Word.VISITOR)
_VERSION = 1
MOST_RECENT = 2000
PARTS = 64


class Way(enum.StrEnum):
    ENTER = "enter"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Gate:
    """What one camera looks at."""

    name: str
    area: str
    way: Way | None = None
    """Which way every vehicle goes that it sees; None: *ways* says it."""
    ways: Mapping[str, Way] = field(default_factory=dict)
    """The camera's word for a direction -> way."""
    listed_only: bool = False
    """Only vehicles that a list lets in are believed to have entered: a barrier keeps the others out."""


@dataclass(frozen=True, slots=True)
class Settings:
    gates: Mapping[str, Gate]
    """By camera."""
    capacity: Mapping[str, int | None]
    """By area."""
    min_confidence: float = 0.8
    dedupe_ms: int = 30_000
    overstay_ms: Mapping[Word, int] = field(default_factory=dict)
    """How long a vehicle of this word may stay."""
    forget_ms: int = 30 * 86_400_000
    """A stay without an end is taken for a missed exit after this time."""
    most: int = 20_000
    """Stays, and passages remembered."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Something to tell: an event of the camera's gate, and the values of points that follow from it."""

    kind: str
    """``vehicle.entered``, ``.left``, ``.denied``, ``.unknown``, ``.overstay``; ``.known`` of a listed vehicle of which
    nothing else is to be told: its way is not known, or the same passage has been read better."""
    time_ms: int
    camera: str | None
    pseudonym: str | None
    name: str | None
    """What events call the vehicle, as ``seen`` was told."""
    attributes: Mapping[str, Value | None]
    values: Mapping[str, Value]


_Key: TypeAlias = tuple[str, str]
"""Area, pseudonym."""


@dataclass(slots=True)
class _Stay:
    since_ms: int
    gate: str
    word: Word
    name: str
    told: bool = False
    """That it has stayed too long."""


@dataclass(frozen=True, slots=True)
class _Sighting:
    time_ms: int
    camera: str
    gate: Gate
    way: Way | None
    pseudonym: str | None
    name: str | None
    word: Word
    sure: bool
    alike: Sequence[str]
    attributes: Mapping[str, Value | None]


class Vehicles:
    def __init__(self, settings: Settings, lists: Lists, kept: Iterable[bytes] = ()) -> None:
        """*kept*: what ``changes`` gave, the latest of each part; what cannot be read is as if it were not there."""
        self._settings = settings
        self._lists = lists
        self._stays: OrderedDict[_Key, _Stay] = OrderedDict()
        self._passed: OrderedDict[_Key, int] = OrderedDict()
        self._anonymous: dict[str, int] = {}
        self._recent: OrderedDict[tuple[str, str, str], tuple[int, bool]] = OrderedDict()
        """(gate, way, pseudonym) -> when last, and whether surely."""
        self._touched: set[int] = set()
        """Parts that are not on disk as they are."""
        for part in kept:
            self._restore(part)
        self._settle()

    def use(self, lists: Lists) -> None:
        """From now on; nothing is judged anew."""
        self._lists = lists

    def seen(
        self,
        time_ms: int,
        camera: str,
        pseudonym: str | None,
        plate_class: PlateClass,
        colour: Colour,
        confidence: float | None,
        direction: str,
        alike: Sequence[str] = (),
        *,
        fake: bool = False,
        name: str | None = None,
    ) -> list[Outcome]:
        """A vehicle before a camera; nothing comes of it where no gate has this camera, or of a repetition.

        pseudonym: None for a vehicle without a plate.
        alike: pseudonyms of ``gateway.plates.variants`` of the plate.
        fake: the camera took it for a picture of a plate.
        name: what events call it; by default its pseudonym.
        """
        gate = self._settings.gates.get(camera)
        if gate is None:
            return []
        certain = not fake and confidence is not None and confidence >= self._settings.min_confidence
        sure = certain and pseudonym is not None and colour_fits(plate_class, colour) is not False
        way = gate.way or gate.ways.get(direction)
        word = Word.UNLICENSED if pseudonym is None else self._lists.word(pseudonym, time_ms)
        again, better = self._again(gate, way, pseudonym, time_ms, sure=sure)
        if again and not better:
            return []
        attributes: dict[str, Value | None] = {
            "gate": gate.name,
            "area": gate.area,
            "way": way,
            "list": word.value,
            "plate_class": plate_class.value,
            "sure": sure,
        }
        if again:
            attributes["repeated"] = True
        if word is Word.UNKNOWN and (like := self._looks_like(alike, time_ms)) is not None:
            attributes["looks_like"] = like.value
        sighting = _Sighting(time_ms, camera, gate, way, pseudonym, name or pseudonym, word, sure, alike, attributes)
        moved = [] if again else self._move(sighting)
        return [*self._judge(sighting), *moved] or [self._outcome("vehicle.known", sighting, {})]

    def tick(self, now_ms: int) -> list[Outcome]:
        """What comes of time alone: vehicles that stay too long, once each; stays that are given up."""
        found = []
        for (area, pseudonym), stay in list(self._stays.items()):
            stayed_ms = now_ms - stay.since_ms
            limit_ms = self._settings.overstay_ms.get(stay.word)
            if stayed_ms >= self._settings.forget_ms:
                del self._stays[area, pseudonym]
                self._touch(pseudonym)
            elif limit_ms is not None and stayed_ms >= limit_ms and not stay.told:
                stay.told = True
                self._touch(pseudonym)
                attributes = {"area": area, "gate": stay.gate, "list": stay.word.value, "dwell_s": stayed_ms // 1000}
                found.append(
                    Outcome("vehicle.overstay", now_ms, None, pseudonym, stay.name, attributes, self._inside(area))
                )
        return found

    def values(self) -> Mapping[str, Value]:
        """Of every area: ``inside_garage``, and ``free_garage`` where it has a capacity."""
        return {name: value for area in self._settings.capacity for name, value in self._inside(area).items()}

    def inside(self, area: str) -> int:
        return sum(each == area for each, _ in self._stays) + self._anonymous.get(area, 0)

    # ------------------------------------------------------------------ judging

    def _judge(self, sighting: _Sighting) -> Iterator[Outcome]:
        if sighting.word is Word.DENY:
            yield self._outcome("vehicle.denied", sighting, {})
        elif sighting.word not in _LISTED:
            yield self._outcome("vehicle.unknown", sighting, {})

    def _looks_like(self, alike: Sequence[str], time_ms: int) -> Word | None:
        words = {self._lists.word(each, time_ms) for each in alike}
        return next((word for word in (Word.DENY, *_LISTED) if word in words), None)

    def _again(
        self, gate: Gate, way: Way | None, pseudonym: str | None, time_ms: int, *, sure: bool
    ) -> tuple[bool, bool]:
        """Whether it repeats what was just seen, and whether it is the first of these that is sure."""
        if pseudonym is None:
            return False, False  # two vehicles without plates cannot be told apart
        key = (gate.name, way or "", pseudonym)
        before = self._recent.get(key)
        again = before is not None and abs(time_ms - before[0]) < self._settings.dedupe_ms
        was_sure = again and before is not None and before[1]
        latest_ms = time_ms if before is None else max(time_ms, before[0])
        self._touch(pseudonym)
        self._recent[key] = (latest_ms, sure or was_sure)
        self._recent.move_to_end(key)
        _shorten(self._recent, MOST_RECENT)
        return again, sure and not was_sure

    def _outcome(self, kind: str, sighting: _Sighting, more: Mapping[str, Value | None]) -> Outcome:
        values: dict[str, Value] = {
            "list": sighting.word.value,
            "sure": sighting.sure,
            "may_open": sighting.sure and sighting.word in _LISTED,
            **self._inside(sighting.gate.area),
        }
        attributes = {**sighting.attributes, **more}
        return Outcome(kind, sighting.time_ms, sighting.camera, sighting.pseudonym, sighting.name, attributes, values)

    def _inside(self, area: str) -> dict[str, Value]:
        inside, capacity = self.inside(area), self._settings.capacity.get(area)
        found: dict[str, Value] = {f"inside_{area}": inside}
        if capacity is not None:
            found[f"free_{area}"] = max(0, capacity - inside)
        return found

    # ------------------------------------------------------------------ who is inside

    def _move(self, sighting: _Sighting) -> list[Outcome]:
        if sighting.way is Way.ENTER:
            kept_out = sighting.word is Word.DENY or (sighting.gate.listed_only and sighting.word not in _LISTED)
            return [] if kept_out else [self._enter(sighting)]
        return [self._leave(sighting)] if sighting.way is Way.LEAVE else []

    def _enter(self, sighting: _Sighting) -> Outcome:
        area, pseudonym = sighting.gate.area, sighting.pseudonym
        if pseudonym is None:
            self._anonymous[area] = min(self._anonymous.get(area, 0) + 1, self._settings.most)
            self._touch(None)
            return self._outcome("vehicle.entered", sighting, {})
        key = (area, pseudonym)
        if self._is_late(key, sighting.time_ms):
            return self._outcome("vehicle.entered", sighting, {"late": True})
        more: dict[str, Value | None] = {"missed": "left"} if key in self._stays else {}
        self._stays.pop(key, None)
        self._stays[key] = _Stay(sighting.time_ms, sighting.gate.name, sighting.word, sighting.name or pseudonym)
        self._shorten(self._stays)
        self._pass(key, sighting.time_ms)
        return self._outcome("vehicle.entered", sighting, more)

    def _leave(self, sighting: _Sighting) -> Outcome:
        area, pseudonym = sighting.gate.area, sighting.pseudonym
        if pseudonym is None:
            known = self._anonymous.get(area, 0)
            self._anonymous[area] = max(0, known - 1)
            self._touch(None)
            return self._outcome("vehicle.left", sighting, {} if known else {"missed": "entered"})
        key = (area, pseudonym)
        if self._is_late(key, sighting.time_ms):
            return self._outcome("vehicle.left", sighting, {"late": True})
        stay, more = self._end_of_stay(key, sighting.alike)
        self._pass(key, sighting.time_ms)
        if stay is not None:
            more["dwell_s"] = max(0, sighting.time_ms - stay.since_ms) // 1000
        return self._outcome("vehicle.left", sighting, more)

    def _end_of_stay(self, key: _Key, alike: Sequence[str]) -> tuple[_Stay | None, dict[str, Value | None]]:
        stay = self._stays.pop(key, None)
        if stay is not None:
            return stay, {}
        candidates = sorted({each for each in alike if (key[0], each) in self._stays})
        if len(candidates) == 1:
            self._touch(candidates[0])
            return self._stays.pop((key[0], candidates[0])), {"paired": "alike"}
        return None, {"missed": "entered"}

    def _is_late(self, key: _Key, time_ms: int) -> bool:
        """Told after something that happened later: it changes nothing of who is inside."""
        return time_ms < self._passed.get(key, time_ms)

    def _pass(self, key: _Key, time_ms: int) -> None:
        self._passed[key] = time_ms
        self._passed.move_to_end(key)
        self._touch(key[1])
        self._shorten(self._passed)

    # ------------------------------------------------------------------ over a start

    def changes(self) -> Mapping[str, bytes]:
        """The parts that have changed since this was asked last, by their names."""
        touched, self._touched = sorted(self._touched), set()
        return {f"{part:02}": self._part(part) for part in touched}

    def _touch(self, pseudonym: str | None) -> None:
        self._touched.add(_part_of(pseudonym))

    def _part(self, part: int) -> bytes:
        document = {
            "version": _VERSION,
            "stays": [
                [*key, stay.since_ms, stay.gate, stay.word, stay.name, stay.told]
                for key, stay in self._stays.items()
                if _part_of(key[1]) == part
            ],
            "passed": [[*key, time_ms] for key, time_ms in self._passed.items() if _part_of(key[1]) == part],
            "anonymous": self._anonymous if part == _part_of(None) else {},
            "recent": [[*key, *last] for key, last in self._recent.items() if _part_of(key[2]) == part],
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")

    def _restore(self, kept: bytes) -> None:
        try:
            document = json.loads(kept) if kept else {}
        except (ValueError, RecursionError):
            return
        if not isinstance(document, dict) or document.get("version") != _VERSION:
            return
        stay_types = (str, str, int, str, str, str, bool)
        for area, pseudonym, since_ms, gate, word, name, told in _rows(document, "stays", stay_types):
            if is_pseudonym(pseudonym) and word in list(Word):
                self._stays[area, pseudonym] = _Stay(since_ms, gate, Word(word), name, told)
        for area, pseudonym, time_ms in _rows(document, "passed", (str, str, int)):
            self._passed[area, pseudonym] = time_ms
        for gate, way, pseudonym, time_ms, sure in _rows(document, "recent", (str, str, str, int, bool)):
            self._recent[gate, way, pseudonym] = (time_ms, sure)
        anonymous = document.get("anonymous")
        for area, count in anonymous.items() if isinstance(anonymous, dict) else ():
            if type(count) is int and 0 <= count <= self._settings.most:
                self._anonymous[area] = count

    def _settle(self) -> None:
        """The parts come in any order: the least recent stands first again."""
        self._stays = OrderedDict(sorted(self._stays.items(), key=lambda each: each[1].since_ms))
        self._passed = OrderedDict(sorted(self._passed.items(), key=lambda each: each[1]))
        self._recent = OrderedDict(sorted(self._recent.items(), key=lambda each: each[1][0]))
        self._shorten(self._stays)
        self._shorten(self._passed)
        _shorten(self._recent, MOST_RECENT)

    def _shorten(self, kept: OrderedDict[_Key, Any]) -> None:
        while len(kept) > self._settings.most:
            (_, pseudonym), _ = kept.popitem(last=False)
            self._touch(pseudonym)


def _part_of(pseudonym: str | None) -> int:
    """Pseudonyms end in hexadecimal digits of a hash, which spread evenly."""
    return 0 if pseudonym is None else int(pseudonym[-2:], 16) % PARTS


def _shorten(kept: OrderedDict[Any, Any], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)


def _rows(document: Mapping[str, Any], name: str, types: Sequence[type]) -> Iterator[Sequence[Any]]:
    rows = document.get(name)
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, list) and [type(each) for each in row] == list(types):
            yield row
