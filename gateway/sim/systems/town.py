"""Everything that the virtual compound has beside its meters, by name: what scenarios turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.sim.systems.doors import Doors
from gateway.sim.systems.fire import Fire
from gateway.sim.systems.lifts import Lifts
from gateway.sim.systems.radio import Radio
from gateway.sim.systems.system import System


@dataclass(frozen=True, slots=True)
class Town:
    doors: Doors = field(default_factory=Doors)
    fire: Fire = field(default_factory=Fire)
    radio: Radio = field(default_factory=Radio)
    lifts: Lifts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lifts", Lifts(self.radio))

    @property
    def systems(self) -> Sequence[System]:
        return (
            self.doors,
            self.fire,
            self.radio,
            self.lifts,
        )
