"""The virtual compound's physics: what every meter and sensor would show at a given instant.

Everything is a closed formula of time, so any instant can be asked in any order, the same seed always gives the
same compound, and an energy register is exactly the integral of the power beside it.

    household curves ──▶ household meters ──┐
    common-area curve ──────────────────────┴──▶ building meter (sum, spread over three phases)
    inflow, pump thresholds ──▶ basement level, pumps        leaks ──▶ gas channels
    draw curves ──▶ households' water meters                 heat curves ──▶ entrances' heat meters

``t`` is always world time: seconds since the compound was switched on, already multiplied by the time scale.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

DAY_S = 86_400.0
GAS_CHANNELS = 4
PUMPS = 2
SWITCH_ON_AT_S = 18 * 3600.0
"""World time 0 is six in the evening, when there is something to see."""
SWITCH_ON = datetime(2026, 1, 12, 18)  # noqa: DTZ001
"""The same instant as the meters' clocks say it, which know no time zone: in winter, when there is heating."""
WATER_KWH_PER_M3_K = 1.163
"""What heats a cubic metre of water by one kelvin."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Size of the compound; every number at least 1, households counted per entrance (two on each floor)."""

    buildings: int = 3
    entrances: int = 2
    households: int = 10

    def homes(self) -> Iterator[Home]:
        for building, entrance in self.stairs():
            for index in range(self.households):
                yield Home(building, entrance, index // 2 + 1, index % 2 + 1)

    def stairs(self) -> Iterator[tuple[int, int]]:
        """Building and entrance, both counted from 1."""
        for building in range(1, self.buildings + 1):
            for entrance in range(1, self.entrances + 1):
                yield building, entrance


@dataclass(frozen=True, slots=True)
class Home:
    """Where one household is."""

    building: int
    entrance: int
    floor: int
    door: int

    @property
    def room(self) -> str:
        return f"{self.floor}{self.door:02}"


@dataclass(frozen=True, slots=True)
class Swing:
    """One rhythm of a consumption: between 0 and twice *mean* once in *period_s*."""

    mean: float
    period_s: float
    phase: float


@dataclass(frozen=True, slots=True)
class Load:
    """Consumption by the hour, in kW or m3/h: a base plus rhythms.  Never negative, so its register never falls."""

    base: float
    swings: tuple[Swing, ...]
    register: float
    """What the register showed at t = 0, in kWh or m3."""

    def rate(self, t: float) -> float:
        now = t + SWITCH_ON_AT_S
        return self.base + sum(s.mean * (1.0 + math.cos(math.tau * now / s.period_s - s.phase)) for s in self.swings)

    def total(self, t: float) -> float:
        return self.register + (self._integral(t) - self._integral(0.0)) / 3600.0

    def _integral(self, t: float) -> float:
        now = t + SWITCH_ON_AT_S
        swung = sum(
            s.mean * (now + s.period_s / math.tau * math.sin(math.tau * now / s.period_s - s.phase))
            for s in self.swings
        )
        return self.base * now + swung


@dataclass(frozen=True, slots=True)
class Heating:
    """An entrance's share of the heating: the valve sets the flow, the radiators always cool it by the same."""

    load: Load
    """kW, kWh."""
    spread_k: float
    """From supply to return."""
    volume_m3: float
    """What the register showed at t = 0."""


@dataclass(frozen=True, slots=True)
class Heat:
    """What an entrance's heat meter shows."""

    power_kw: float
    energy_kwh: float
    flow_m3h: float
    volume_m3: float
    supply_c: float
    return_c: float


@dataclass(frozen=True, slots=True)
class Electrics:
    """What one phase shows.  *current_a* is what *power_kw* needs at this voltage and power factor."""

    voltage_v: float
    current_a: float
    power_kw: float
    power_factor: float


@dataclass(frozen=True, slots=True)
class ThreePhase:
    """What a building's meter shows."""

    phases: tuple[Electrics, Electrics, Electrics]
    energies_kwh: tuple[float, float, float]
    frequency_hz: float

    @property
    def power_kw(self) -> float:
        return sum(phase.power_kw for phase in self.phases)

    @property
    def energy_kwh(self) -> float:
        return sum(self.energies_kwh)


@dataclass(frozen=True, slots=True)
class PumpRoom:
    """The basement's sump: water comes in all the time, pumps take turns in throwing it out."""

    level_cm: float
    running: tuple[bool, ...]
    currents_a: tuple[float, ...]
    pressure_bar: float
    """In the common outlet pipe."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Gas at one channel: rises from nothing to *peak_lel* (%LEL), stays, falls to nothing again."""

    channel: int
    start_s: float
    rise_s: float
    hold_s: float
    fall_s: float
    peak_lel: float

    def lel(self, t: float) -> float:
        since = t - self.start_s
        left = self.rise_s + self.hold_s + self.fall_s - since
        return self.peak_lel * max(0.0, min(1.0, since / self.rise_s, left / self.fall_s))


@dataclass(frozen=True, slots=True)
class Burst:
    """A pipe that bursts in the basement and is shut off later.  Seconds are those of the world or of the spectator."""

    start_s: float
    rise_s: float
    """Until the water stands at *peak_cm*, and no higher."""
    fall_s: float
    """Until all of it has run off."""
    peak_cm: float
    end_s: float = math.inf

    def runs_s(self, t: float) -> float:
        """For how long water has come out."""
        return max(0.0, min(t, self.end_s) - self.start_s)

    def level_cm(self, t: float) -> float:
        """Above what there would be without it."""
        risen, fallen = min(1.0, self.runs_s(t) / self.rise_s), max(0.0, t - self.end_s) / self.fall_s
        return self.peak_cm * max(0.0, risen - fallen)

    def shut(self, t: float) -> Burst:
        return replace(self, end_s=min(t, self.end_s))


@dataclass(frozen=True, slots=True)
class World:
    """The whole compound.  Make it with ``build``."""

    layout: Layout
    loads: dict[Home, Load]
    commons: tuple[Load, ...]
    """Stairs, lifts and pumps of each building."""
    supply_phase: float
    draws: dict[Home, Load]
    """Cold water of each household, m3/h and m3."""
    heatings: dict[tuple[int, int], Heating]
    """By building and entrance."""
    leaks: tuple[Leak, ...] = ()
    burst: Burst | None = None

    def with_leak(self, leak: Leak) -> World:
        return replace(self, leaks=(*self.leaks, leak))

    def frequency_hz(self, t: float) -> float:
        return 50.0 + 0.02 * math.sin(t / 37.0 + self.supply_phase)

    def household(self, home: Home, t: float) -> Electrics:
        return self._electrics(self.phase_of(home), self.loads[home].rate(t), t)

    def phase_of(self, home: Home) -> int:
        """Which of the building's phases (0..2) the household hangs on."""
        return (home.floor * 2 + home.door + home.entrance) % 3

    def building(self, number: int, t: float) -> ThreePhase:
        """*number* counts from 1.  The sum of its households and a third of the common load on each phase."""
        common = self.commons[number - 1]
        powers = [common.rate(t) / 3.0] * 3
        energies = [common.total(t) / 3.0] * 3
        for home, load in self.loads.items():
            if home.building == number:
                phase = self.phase_of(home)
                powers[phase] += load.rate(t)
                energies[phase] += load.total(t)
        one, two, three = (self._electrics(phase, power, t) for phase, power in enumerate(powers))
        return ThreePhase((one, two, three), (energies[0], energies[1], energies[2]), self.frequency_hz(t))

    def heat(self, building: int, entrance: int, t: float) -> Heat:
        """Both counted from 1.  The colder the hour, the hotter the supply."""
        heating = self.heatings[building, entrance]
        load, kwh_per_m3 = heating.load, WATER_KWH_PER_M3_K * heating.spread_k
        supply_c = 58.0 + 5.0 * math.cos(math.tau * (t + SWITCH_ON_AT_S) / DAY_S - _at_hour(6.0))
        return Heat(
            power_kw=load.rate(t),
            energy_kwh=load.total(t),
            flow_m3h=load.rate(t) / kwh_per_m3,
            volume_m3=heating.volume_m3 + (load.total(t) - load.register) / kwh_per_m3,
            supply_c=supply_c,
            return_c=supply_c - heating.spread_k,
        )

    def gas_lel(self, channel: int, t: float) -> float:
        """%LEL at *channel* (0..3), 0..100: what drifts about in clean air, plus every leak."""
        air = 0.6 + 0.4 * math.sin(t / 211.0 + channel)
        return min(100.0, air + sum(leak.lel(t) for leak in self.leaks if leak.channel == channel))

    def pump_room(self, t: float) -> PumpRoom:
        """Level between 6 and 14 cm: 30 minutes of filling, 6 minutes of pumping, each pump in its turn.

        While a burst pipe's water stands in it both pump, without being able to cope.
        """
        low_cm, high_cm, fill_s, drain_s = 6.0, 14.0, 1800.0, 360.0
        cycle, within = divmod(t + fill_s / 2, fill_s + drain_s)
        draining = within >= fill_s
        share = (fill_s + drain_s - within) / drain_s if draining else within / fill_s
        flood_cm = 0.0 if self.burst is None else self.burst.level_cm(t)
        running = tuple(flood_cm > 0 or (draining and int(cycle) % PUMPS == pump) for pump in range(PUMPS))
        ripple = 0.05 * math.sin(t / 3.0)
        return PumpRoom(
            level_cm=low_cm + share * (high_cm - low_cm) + flood_cm,
            running=running,
            currents_a=tuple(7.4 + ripple if on else 0.0 for on in running),
            pressure_bar=1.8 + ripple if any(running) else 0.2,
        )

    def _electrics(self, phase: int, power_kw: float, t: float) -> Electrics:
        sag = min(6.0, 0.25 * power_kw)
        voltage = 226.0 + 3.0 * math.sin(math.tau * t / DAY_S + self.supply_phase + phase) - sag
        factor = 0.88 + 0.1 * power_kw / (power_kw + 1.0)  # small loads are mostly power supplies
        return Electrics(voltage, power_kw * 1000.0 / (voltage * factor), power_kw, factor)


def calendar(t: float) -> datetime:
    """What a meter's clock says at world time *t*."""
    return SWITCH_ON + timedelta(seconds=t)


def settled(t: float) -> float:
    """World time of the latest settlement: the begin of the month."""
    begin = calendar(t).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (begin - SWITCH_ON).total_seconds()


def build(layout: Layout, seed: int) -> World:
    chance = random.Random(seed)
    homes = {home: _household_load(chance) for home in layout.homes()}
    commons = tuple(_common_load(chance) for _ in range(layout.buildings))
    supply_phase = chance.uniform(0, math.tau)
    draws = {home: _water_draw(chance) for home in layout.homes()}
    heatings = {stairs: _heating(layout.households, chance) for stairs in layout.stairs()}
    return World(layout, homes, commons, supply_phase, draws, heatings)


def _at_hour(hour: float) -> float:
    """The phase that puts a daily rhythm's peak there."""
    return math.tau * hour * 3600.0 / DAY_S


def _household_load(chance: random.Random) -> Load:
    evening = _at_hour(chance.gauss(20.0, 1.5))
    return Load(
        base=chance.uniform(0.05, 0.15),
        swings=(
            Swing(chance.uniform(0.1, 0.4), DAY_S, evening),
            Swing(chance.uniform(0.05, 0.2), DAY_S / 2, 2 * evening),
            Swing(
                chance.uniform(0.03, 0.15), chance.uniform(900.0, 1800.0), chance.uniform(0, math.tau)
            ),  # refrigerator
            Swing(chance.uniform(0.02, 0.3), chance.uniform(240.0, 700.0), chance.uniform(0, math.tau)),  # cooking
        ),
        register=round(chance.uniform(500.0, 20_000.0), 2),
    )


def _common_load(chance: random.Random) -> Load:
    return Load(
        base=chance.uniform(0.8, 1.5),
        swings=(
            Swing(chance.uniform(0.3, 0.8), DAY_S, _at_hour(21.0)),  # lighting
            Swing(chance.uniform(0.5, 1.5), chance.uniform(150.0, 400.0), chance.uniform(0, math.tau)),  # lifts
        ),
        register=round(chance.uniform(20_000.0, 90_000.0), 2),
    )


def _water_draw(chance: random.Random) -> Load:
    """0.2 to 0.8 m3 a day, most of it in the evening and in the morning."""
    evening = _at_hour(chance.gauss(20.0, 1.0))
    return Load(
        base=0.0,
        swings=(
            Swing(chance.uniform(0.004, 0.012), DAY_S, evening),
            Swing(chance.uniform(0.002, 0.008), DAY_S / 2, 2 * evening),
            Swing(chance.uniform(0.003, 0.012), chance.uniform(600.0, 2400.0), chance.uniform(0, math.tau)),  # taps
        ),
        register=round(chance.uniform(50.0, 900.0), 2),
    )


def _heating(households: int, chance: random.Random) -> Heating:
    """2 to 5 kW for each household, most before dawn."""
    load = Load(
        base=households * chance.uniform(1.5, 2.5),
        swings=(
            Swing(households * chance.uniform(0.3, 0.9), DAY_S, _at_hour(chance.gauss(5.5, 0.5))),
            Swing(households * chance.uniform(0.02, 0.1), chance.uniform(1200.0, 2400.0), chance.uniform(0, math.tau)),
        ),
        register=round(households * chance.uniform(9_000.0, 30_000.0)),
    )
    spread_k = round(chance.uniform(12.0, 18.0), 1)
    return Heating(load, spread_k, round(load.register / (WATER_KWH_PER_M3_K * spread_k), 2))
