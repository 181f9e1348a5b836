"""A limit with a name, as a rule writes it under ``values``."""

from __future__ import annotations

from dataclasses import dataclass

from rules.syntax import Node
from rules.units import Unit


@dataclass(frozen=True, slots=True)
class Case:
    """``{when: weather.rainstorm == red, use: 8 cm}``"""

    when: Node
    use: tuple[float, Unit]
    index: int


@dataclass(frozen=True, slots=True)
class NamedValue:
    """The first case whose condition is true gives the value; none of them, the default."""

    name: str
    default: tuple[float, Unit]
    cases: tuple[Case, ...] = ()
    expires_after_s: float | None = None
    """How long what a case reads counts after it was last heard; None: as long as everywhere else."""
