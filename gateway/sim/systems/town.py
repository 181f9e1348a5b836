"""Everything that the virtual compound has beside its meters, by name: what scenarios turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.sim.systems.charging import Charging
from gateway.sim.systems.doors import Doors
from gateway.sim.systems.fire import Fire
from gateway.sim.systems.gate import Gate
from gateway.sim.systems.lifts import Lifts
from gateway.sim.systems.power import Power
from gateway.sim.systems.radio import Radio
from gateway.sim.systems.signs import Signs
from gateway.sim.systems.system import System, installs
from gateway.sim.systems.weather import Weather


@dataclass(frozen=True, slots=True)
class Town:
    doors: Doors = field(default_factory=Doors)
    fire: Fire = field(default_factory=Fire)
    radio: Radio = field(default_factory=Radio)
    lifts: Lifts = field(init=False)
    gate: Gate = field(default_factory=Gate)
    power: Power = field(default_factory=Power)
    charging: Charging = field(default_factory=Charging)
    weather: Weather = field(default_factory=Weather)
    signs: Signs = field(default_factory=Signs)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lifts", Lifts(self.radio))

    @property
    def all(self) -> Sequence[System]:
        return (
            self.doors,
            self.fire,
            self.radio,
            self.lifts,
            self.gate,
            self.power,
            self.charging,
            self.weather,
            self.signs,
        )

    @property
    def systems(self) -> Sequence[System]:
        """Those for which everything is installed."""
        return [system for system in self.all if not installs(system)]

    @property
    def left_out(self) -> Mapping[str, str]:
        """The others, by name, and the command that would bring what they need."""
        return {type(system).__name__.lower(): how for system in self.all if (how := installs(system))}
