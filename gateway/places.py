"""Where things are: district, community, grid cell, building, entrance, floor, room; and lists by place.  Pure.

    site ─▶ district ─▶ community ─▶ grid ─▶ building ─▶ unit (entrance) ─▶ floor ─▶ room
            one of each for the site  └─────────── a device's Place ───────────┘

An entrance, a floor and a room mean nothing without their building: room 101 of building 3 is not that of building 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TypeVar

from gateway.model import Place, Text

T = TypeVar("T")

LEVELS: Mapping[str, Text] = {
    "grid": Text("网格", "grid cell"),
    "building": Text("楼栋", "building"),
    "unit": Text("单元", "entrance"),
    "floor": Text("楼层", "floor"),
    "room": Text("房间", "room"),
}
"""From the large to the small: the fields of Place."""
ABOVE: Mapping[str, tuple[str, ...]] = {
    "grid": ("grid",),
    "building": ("building",),
    "unit": ("building", "unit"),
    "floor": ("building", "unit", "floor"),
    "room": ("building", "unit", "room"),
}
"""What must be said to name a place of this level.  The grid cell follows from the building, a floor from its room."""
NOWHERE = Text("未写位置", "no place")


@dataclass(frozen=True, slots=True)
class Division:
    """A district or a community; *code*: 6 or 12 digits of the statistical divisions."""

    name: Text
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """What the site says of one place."""

    place: Place
    """What names it (ABOVE), and what follows from it: the grid cell of a building, the floor of a room."""
    level: str
    name: Text | None = None
    address_code: str | None = None
    """Of the official standard addresses, as the authority wrote it."""


@dataclass(frozen=True)
class Places:
    """What a site says of its places; empty where it says nothing."""

    district: Division | None = None
    community: Division | None = None
    named: tuple[Named, ...] = ()

    def of(self, place: Place, level: str) -> Named | None:
        """What is said of the *level* of *place*."""
        return self._by_key.get(key_of(place, level))

    def listed(self, level: str, building: str | None = None) -> Sequence[str]:
        """The words of the places of *level* that are named; of entrances, those of *building*."""
        return self._listed.get((level, building), ())

    def completed(self, place: Place) -> Place:
        """With what follows from the smallest place that is known: what *place* itself says stays."""
        said = {level: getattr(place, level) for level in LEVELS}
        for level in ("room", "unit", "building"):
            known = self.of(place, level)
            if known is not None:
                follows = {name: getattr(known.place, name) for name in LEVELS}
                said = {name: said[name] if said[name] is not None else follows[name] for name in LEVELS}
        return Place(**said)

    def address_code(self, place: Place) -> str | None:
        """Of the smallest level that has one."""
        for level in reversed(tuple(LEVELS)):
            known = self.of(place, level)
            if known is not None and known.address_code is not None:
                return known.address_code
        return None

    def text(self, place: Place, level: str) -> Text:
        """What people call the *level* of *place*: ``3号楼 1单元``; levels above it included, but the grid cell."""
        known = reached(place, level)
        if known is None:
            return NOWHERE
        words = [self._word(place, each) for each in ABOVE[known] if getattr(place, each) is not None]
        return Text(" ".join(word.zh for word in words), " ".join(word.en for word in words))

    def _word(self, place: Place, level: str) -> Text:
        known, written = self.of(place, level), getattr(place, level)
        if known is not None and known.name is not None:
            return known.name
        return _PLAIN[level](written)

    def kept(self, wanted: Callable[[Named], bool]) -> Places:
        return Places(self.district, self.community, tuple(each for each in self.named if wanted(each)))

    @cached_property
    def _listed(self) -> Mapping[tuple[str, str | None], Sequence[str]]:
        found: dict[tuple[str, str | None], dict[str, None]] = {}
        for each in self.named:
            inside = each.place.building if each.level == "unit" else None
            found.setdefault((each.level, inside), {})[getattr(each.place, each.level)] = None
        return {key: tuple(words) for key, words in found.items()}

    @cached_property
    def _by_key(self) -> Mapping[tuple[str | None, ...] | None, Named]:
        return {key_of(each.place, each.level): each for each in reversed(self.named)}


NO_PLACES = Places()

_PLAIN: Mapping[str, Callable[[str], Text]] = {
    "grid": lambda word: Text(f"网格 {word}", f"grid cell {word}"),
    "building": lambda word: Text(_counted(word, "栋"), f"building {word}"),
    "unit": lambda word: Text(_counted(word, "单元"), f"entrance {word}"),
    "floor": lambda word: Text(_counted(word, "层"), f"floor {word}"),
    "room": lambda word: Text(word, word),
}
"""Of a place that the site gives no name."""


def _counted(word: str, measure: str) -> str:
    """``3`` becomes ``3栋``; ``3号楼`` and ``S1`` stay as they are."""
    return word + measure if word.isdecimal() else word


def reached(place: Place, level: str) -> str | None:
    """*level*, or the next one above it that *place* says: what a whole building shares stands under the building."""
    upwards = list(reversed(tuple(LEVELS)))
    return next((each for each in upwards[upwards.index(level) :] if getattr(place, each) is not None), None)


def key_of(place: Place, level: str) -> tuple[str | None, ...] | None:
    """What tells two places of *level* apart; None where *place* does not reach down to it."""
    if getattr(place, level) is None:
        return None
    return (level, *(getattr(place, each) for each in ABOVE[level]))


def place_of(said: Mapping[str, str]) -> Place:
    """From the item of a message; levels that are not ours are left out."""
    return Place(**{level: said[level] for level in LEVELS if level in said})


def lies_in(place: Place, wanted: Place) -> bool:
    """Every level that *wanted* says agrees."""
    return all(getattr(wanted, each.name) in (None, getattr(place, each.name)) for each in fields(Place))


def grouped(items: Iterable[T], level: str, place: Callable[[T], Place]) -> Sequence[tuple[Place, Sequence[T]]]:
    """*items* by their place down to *level*, in order of the places; what lies nowhere stands last."""
    groups: dict[Place, list[T]] = {}
    for item in items:
        where = place(item)
        known = reached(where, level)
        said = {} if known is None else {each: getattr(where, each) for each in ABOVE[known]}
        groups.setdefault(Place(**said), []).append(item)
    return sorted(groups.items(), key=lambda group: _order(group[0]))


def _order(place: Place) -> tuple[object, ...]:
    """Buildings, then what lies in none, then what lies nowhere."""
    words = (place.building, place.unit, place.floor, place.room, place.grid)
    return (not any(words), place.building is None, *map(natural, words))


def natural(word: str | None) -> tuple[tuple[int, int, str], ...]:
    """Sorts 2 before 10, and A2 before A10."""
    parts: list[tuple[int, int, str]] = []
    run = ""
    for character in f"{word or ''}\0":
        digit = "0" <= character <= "9"
        if run and digit != run[-1].isdecimal():
            parts.append((0, int(run), "") if run.isdecimal() and run.isascii() else (1, 0, run))
            run = ""
        run += character
    return tuple(parts)


def parse_place(text: str) -> Place:
    """``building=3,unit=1`` -> where that is.  Raises ValueError."""
    said: dict[str, str] = {}
    for part in text.split(","):
        level, equals, word = (each.strip() for each in part.partition("="))
        if level not in LEVELS or not equals or not word or level in said:
            raise ValueError(text)
        said[level] = word
    return Place(**said)
