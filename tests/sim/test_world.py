from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sim.world import (
    GAS_CHANNELS,
    PUMPS,
    SWITCH_ON,
    WATER_KWH_PER_M3_K,
    Burst,
    Layout,
    Leak,
    build,
    calendar,
    settled,
)

layouts = st.builds(Layout, st.integers(1, 3), st.integers(1, 3), st.integers(1, 12))
seeds = st.integers(0, 10_000)
instants = st.floats(0, 30 * 86_400)


@given(layouts, seeds)
def test_every_home_has_its_own_place(layout: Layout, seed: int) -> None:
    homes = list(layout.homes())
    assert len(set(homes)) == len(homes) == layout.buildings * layout.entrances * layout.households
    assert len({(home.building, home.entrance, home.room) for home in homes}) == len(homes)


@given(seeds, instants)
def test_the_same_seed_is_the_same_compound(seed: int, t: float) -> None:
    one, two = build(Layout(2, 1, 4), seed), build(Layout(2, 1, 4), seed)
    assert [one.household(home, t) for home in one.loads] == [two.household(home, t) for home in two.loads]
    assert one.building(2, t) == two.building(2, t)
    assert one.pump_room(t) == two.pump_room(t)


@given(seeds, instants, st.floats(0, 86_400))
def test_registers_never_run_backwards_and_count_what_the_rate_says(seed: int, t: float, later: float) -> None:
    world = build(Layout(1, 1, 3), seed)
    heating = [each.load for each in world.heatings.values()]
    for load in (*world.loads.values(), *world.commons, *world.draws.values(), *heating):
        rise = load.total(t + later) - load.total(t)
        assert rise >= -1e-9
        peak = load.base + sum(2 * swing.mean for swing in load.swings)
        assert rise <= peak * later / 3600 + 1e-6
        step = (load.total(t + 1) - load.total(t)) * 3600
        assert abs(step - (load.rate(t) + load.rate(t + 1)) / 2) < 0.01


@given(seeds, instants)
def test_a_household_is_an_ordinary_one(seed: int, t: float) -> None:
    world = build(Layout(1, 2, 4), seed)
    for home in world.loads:
        now = world.household(home, t)
        assert abs(now.power_kw - now.voltage_v * now.current_a * now.power_factor / 1000) < 1e-9
        assert 0 < now.power_kw < 4
        assert 198 <= now.voltage_v <= 235.4, "GB/T 12325: 220 V +7 % -10 %"
        assert 0.85 <= now.power_factor <= 1
    assert 49.8 <= world.frequency_hz(t) <= 50.2


@given(seeds, instants)
def test_a_household_draws_what_a_household_draws(seed: int, t: float) -> None:
    world = build(Layout(1, 2, 4), seed)
    for draw in world.draws.values():
        assert 0 <= draw.rate(t) < 0.1
        assert 0.1 < draw.total(t + 86_400) - draw.total(t) < 1.0, "m3 a day"


@given(seeds, instants, st.integers(1, 60), st.floats(1, 86_400))
def test_heat_is_what_the_water_loses_between_supply_and_return(
    seed: int, t: float, households: int, later: float
) -> None:
    world = build(Layout(1, 2, households), seed)
    for stairs in world.layout.stairs():
        now, then = world.heat(*stairs, t), world.heat(*stairs, t + later)
        spread_k = now.supply_c - now.return_c
        assert 1.4 * households < now.power_kw < 5 * households
        assert 30 < now.return_c < now.supply_c - 10 < 60
        assert abs(now.power_kw - now.flow_m3h * spread_k * WATER_KWH_PER_M3_K) < 1e-6
        rise_kwh, rise_m3 = then.energy_kwh - now.energy_kwh, then.volume_m3 - now.volume_m3
        assert rise_kwh > 0
        assert abs(rise_kwh - rise_m3 * spread_k * WATER_KWH_PER_M3_K) < 1e-4


@given(instants, st.floats(0, 40 * 86_400))
def test_a_settlement_is_the_begin_of_the_month_and_never_goes_back(t: float, later: float) -> None:
    begin = calendar(settled(t))
    assert (begin.day, begin.hour, begin.minute, begin.second) == (1, 0, 0, 0)
    assert 0 <= t - settled(t) < 31 * 86_400
    assert settled(t) <= settled(t + later)
    assert calendar(0.0) == SWITCH_ON


@given(layouts, seeds, instants)
def test_a_building_is_the_sum_of_its_households_and_its_common_load(layout: Layout, seed: int, t: float) -> None:
    world = build(layout, seed)
    for number in range(1, layout.buildings + 1):
        meter, common = world.building(number, t), world.commons[number - 1]
        loads = [load for home, load in world.loads.items() if home.building == number]
        assert abs(meter.power_kw - common.rate(t) - sum(load.rate(t) for load in loads)) < 1e-6
        assert abs(meter.energy_kwh - common.total(t) - sum(load.total(t) for load in loads)) < 1e-4


@given(seeds, instants)
def test_pumps_run_when_and_only_when_water_falls(seed: int, t: float) -> None:
    world = build(Layout(1, 1, 1), seed)
    now, next_second = world.pump_room(t), world.pump_room(t + 1)
    assert 6 <= now.level_cm <= 14
    assert len(now.running) == PUMPS
    assert [current > 1 for current in now.currents_a] == list(now.running)
    if now.running == next_second.running:
        assert any(now.running) == (next_second.level_cm < now.level_cm)
        assert (now.pressure_bar > 1) == any(now.running)


def test_every_pump_takes_its_turn() -> None:
    world = build(Layout(1, 1, 1), 1)
    ran = {world.pump_room(t).running for t in range(0, 4 * 2160, 30)}
    assert ran == {(False, False), (True, False), (False, True)}


def test_a_leak_rises_stays_and_goes() -> None:
    world = build(Layout(1, 1, 1), 1)
    leaking = world.with_leak(Leak(2, start_s=100, rise_s=10, hold_s=20, fall_s=10, peak_lel=30))
    assert [leaking.gas_lel(2, t) > 10 for t in (99, 102, 106, 120, 134, 139, 150)] == [0, 0, 1, 1, 1, 0, 0]
    assert max(leaking.gas_lel(2, t) for t in range(200)) < 32
    quiet = [channel for channel in range(GAS_CHANNELS) if channel != 2]
    assert all(leaking.gas_lel(channel, 115) == world.gas_lel(channel, 115) for channel in quiet)
    assert all(0 <= world.gas_lel(channel, t) < 2 for channel in range(GAS_CHANNELS) for t in range(0, 5000, 50))


def test_a_burst_floods_the_pump_room_until_it_is_shut() -> None:
    world = replace(build(Layout(1, 1, 1), 1), burst=Burst(1000.0, rise_s=720, fall_s=540, peak_cm=36))
    dry = build(Layout(1, 1, 1), 1)
    assert world.pump_room(999.0) == dry.pump_room(999.0)
    flooded = world.pump_room(2000.0)
    assert flooded.level_cm == pytest.approx(dry.pump_room(2000.0).level_cm + 36)
    assert flooded.running == (True, True)
    assert flooded.currents_a[0] > 0
    assert world.burst is not None
    shut = replace(world, burst=world.burst.shut(2400.0))
    assert shut.pump_room(2000.0) == flooded, "what was is not changed"
    assert shut.pump_room(3000.0) == dry.pump_room(3000.0)
