"""What the risk of a compound is made of, and how levels are put together.  Pure; time is the matter of model.py."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

from gateway.model import PointId, Text, Value

DEVICE = "community"
"""The device whose points the result is, and its kind."""


class Level(enum.IntEnum):
    """The four colours of the Emergency Response Law, and none of them."""

    NONE = 0
    BLUE = 1
    YELLOW = 2
    ORANGE = 3
    RED = 4

    @property
    def word(self) -> str:
        return self.name.lower()


COLOURS = (Level.BLUE, Level.YELLOW, Level.ORANGE, Level.RED)
BY_WORD = {level.word: level for level in Level}


@dataclass(frozen=True, slots=True)
class Scale:
    """How one point's value becomes a level."""

    point: PointId
    unit: str | None
    """UCUM; *steps* are in it."""
    stale_s: float
    """A value older than this is no evidence."""
    steps: tuple[tuple[Level, float], ...] = ()
    """The colours that numbers have, the mildest first."""
    low: bool = False
    """Whether small numbers are the bad ones."""
    words: Mapping[Value, Level] = field(default_factory=dict)
    """The levels of every state the point may have, or of true and false."""
    shift: int = 0
    """Colours that this compound is more exposed than the district; -1 where it is less."""

    def level(self, value: Value | None) -> Level | None:
        """None for a value that cannot be judged."""
        if self.words:
            found = None if value is None else self.words.get(value)
            return None if found is None else shifted(found, self.shift)
        if isinstance(value, str) or value is None or not math.isfinite(value):
            return None
        reached = [level for level, limit in self.steps if (value <= limit if self.low else value >= limit)]
        return shifted(max(reached, default=Level.NONE), self.shift)


def shifted(level: Level, shift: int) -> Level:
    """*level* for this compound.  Nothing stays nothing, and a red is never made less."""
    if level in (Level.NONE, Level.RED):
        return level
    return Level(min(Level.RED, level + shift))


@dataclass(frozen=True, slots=True)
class Input:
    """One thing that a hazard is judged by: the worst of its points counts."""

    id: str
    """Unique in its hazard, and as people wrote it: ``weather.rainstorm``, ``pump.level``."""
    label: Text
    scales: tuple[Scale, ...]
    delay_s: float = 0.0
    """So long a level must last before it counts; it ends at once."""
    official: bool = False
    """A warning that counts until it expires, heard of or not."""
    expires_s: float = 0.0
    """Of an official one: after it was last heard, where nothing else says when."""
    until: PointId | None = None
    """Of an official one: the point that says when it expires, in UTC seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Hazard:
    id: str
    label: Text
    inputs: tuple[Input, ...]
    calm_s: tuple[float, ...]
    """By level, none included: after so long without reason the next colour below takes over."""


@dataclass(frozen=True)
class Definition:
    hazards: tuple[Hazard, ...]
    raise_when: int = 2
    """So many independent hazards of the highest colour raise it by one; 0 for never."""
    raise_from: Level = Level.YELLOW
    """Below it nothing is raised."""
    hold_s: float = 7200.0
    """A sensor that has gone silent keeps the level from falling for so long."""

    @cached_property
    def points(self) -> frozenset[PointId]:
        """All that is read."""
        scales = {scale.point for _, each in self.inputs() for scale in each.scales}
        return frozenset(scales | {each.until for _, each in self.inputs() if each.until is not None})

    def inputs(self) -> Iterator[tuple[Hazard, Input]]:
        for hazard in self.hazards:
            for each in hazard.inputs:
                yield hazard, each

    @cached_property
    def related(self) -> frozenset[tuple[str, str]]:
        """Pairs of hazards that share a point: one thing must not count twice."""
        read: dict[str, set[PointId]] = {}
        for hazard, each in self.inputs():
            read.setdefault(hazard.id, set()).update(scale.point for scale in each.scales)
        pairs = ((one, other) for one in read for other in read if one != other)
        return frozenset(pair for pair in pairs if read[pair[0]] & read[pair[1]])


def combined(definition: Definition, levels: Mapping[str, Level]) -> tuple[Level, tuple[str, ...]]:
    """The composite of the hazards' levels, and the hazards that raise it above the highest of them.

    Never falls when one of the levels rises: what is raised is raised by one, and the next colour is one more.
    """
    highest = max(levels.values(), default=Level.NONE)
    if highest is Level.RED or highest < definition.raise_from or definition.raise_when < 2:
        return highest, ()
    worst = [hazard for hazard, level in levels.items() if level == highest]
    together = _independent(definition, worst)
    return (Level(highest + 1), together) if together else (highest, ())


def _independent(definition: Definition, hazards: Sequence[str]) -> tuple[str, ...]:
    """``raise_when`` of *hazards* that share no point with each other, where there are so many."""
    for chosen in combinations(hazards, definition.raise_when):
        if not any(pair in definition.related for pair in combinations(chosen, 2)):
            return chosen
    return ()
