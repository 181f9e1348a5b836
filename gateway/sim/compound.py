"""The virtual compound as a field of wires: simulated devices on real pseudo terminals and TCP ports.

    world (formulas) ──▶ DL/T 645 meters ──▶ one RS-485 line per entrance, 2400 8E1
                    ├──▶ CJ/T 188 meters ──▶ cold water: one RS-485 line per building, 2400 8E1
                    ├──▶ M-Bus meters    ──▶ heat: one bus for the entrances (up to 250), 2400 8E1
                    ├──▶ SDM630 meters   ──▶ Modbus TCP, one unit id per building
                    ├──▶ gas controller  ──▶ RS-485 line of its own, Modbus RTU, 9600 8N1
                    └──▶ pump room PLC   ──▶ Modbus TCP
    systems/ (doors, fire ...) ──▶ each on its own sockets, as systems/system.py says

site.py writes the configuration with which a gateway reads all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self, TypeVar

from drivers.base import SerialFormat
from drivers.cjt188.simulator import Cjt188SimLine
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers.mbus.frame import MOST_PRIMARY
from drivers.mbus.simulator import MbusSimLine
from drivers.modbus.config import PointOptions
from drivers.modbus.simulator import ModbusBank, RtuLine, SimUnit
from drivers.modbus.values import Order
from gateway.config.explain import parse
from gateway.config.models import ProfileFile
from gateway.config.profiles import shipped_profiles
from gateway.config.yaml12 import read_yaml
from gateway.sim import forge, tcp
from gateway.sim.devices import (
    Moment,
    Served,
    Sheet,
    View,
    gas_sheet,
    heat_meter,
    meter_address,
    meter_values,
    pump_sheet,
    sdm630,
    unit_of,
    unserved,
    water_address,
    water_meter,
)
from gateway.sim.faults import FaultBoard, Forge, honest
from gateway.sim.line import Responder, SimLine
from gateway.sim.systems.system import System
from gateway.sim.world import Burst, Home, Layout, Leak, build

_T = TypeVar("_T")

METER_FORMAT = SerialFormat(2400, "E")
"""Of electricity, water and heat meters."""
GAS_FORMAT = SerialFormat(9600)
TIME_SCALE = 60.0
"""A second of the spectator is a minute in the compound, so that registers and pumps visibly move."""
BUILDINGS, PUMPS, GAS, HEAT = "tcp-buildings", "tcp-pumps", "rs485-gas", "mbus-heat"
"""Line ids; the meter lines are rs485-<building>-<entrance> and rs485-water-<building>."""


def meter_id(home: Home) -> str:
    return f"m-{home.building}-{home.entrance}-{home.room}"


def entrance_line(home: Home) -> str:
    return f"rs485-{home.building}-{home.entrance}"


def water_id(home: Home) -> str:
    return f"w-{home.building}-{home.entrance}-{home.room}"


def water_line(home: Home) -> str:
    return f"rs485-water-{home.building}"


@dataclass(frozen=True, slots=True)
class HeatPlace:
    """Where an entrance's heat meter hangs."""

    stairs: tuple[int, int]
    """Building and entrance."""
    line: str
    primary: int

    @property
    def device(self) -> str:
        return "h-{}-{}".format(*self.stairs)


def heat_places(layout: Layout) -> Iterator[HeatPlace]:
    """A bus has only so many primary addresses: the next meters hang on ``mbus-heat-2``, and so on."""
    for index, stairs in enumerate(layout.stairs()):
        bus, place = divmod(index, MOST_PRIMARY)
        yield HeatPlace(stairs, HEAT if bus == 0 else f"{HEAT}-{bus + 1}", place + 1)


@dataclass(frozen=True, slots=True)
class Bus:
    """One kind of device on a simulated line: what its protocol's simulator says, under our device ids."""

    hear: Callable[[bytes], Sequence[tuple[Hashable, bytes]]]
    devices: Mapping[Hashable, str]
    forget: Callable[[], None] = lambda: None
    forge: Forge = honest

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        return [(self.devices[owner], answer) for owner, answer in self.hear(data)]

    def silence(self) -> None:
        self.forget()


class Compound:
    """``async with Compound(layout) as compound``: the whole field works until the context ends."""

    def __init__(
        self,
        layout: Layout,
        *,
        seed: int = 1,
        time_scale: float = TIME_SCALE,
        served: Served = unserved,
        systems: Sequence[System] = (),
    ) -> None:
        """*systems*: what there is beside meters, gas and pumps."""
        self.layout = layout
        self.systems = systems
        self.view = View(build(layout, seed), self.time, served)
        self.faults = FaultBoard()
        self.serial: dict[str, SimLine] = {}
        """Line id -> the line, while the context is open; the electricity meters' lines first."""
        self.tcp: dict[str, int] = {}
        """Line id -> port on 127.0.0.1."""
        self._seed = seed
        self.time_scale = time_scale
        self._started_s = 0.0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._started_s = asyncio.get_running_loop().time()
        async with AsyncExitStack() as stack:
            for line, homes in _grouped(self.layout.homes(), entrance_line).items():
                await self._open_serial(stack, line, METER_FORMAT, self._meters(homes))
            await self._open_utilities(stack)
            moment = Moment(self.view)
            gas = _profiled("gas-1", "gas_controller_4ch", gas_sheet, moment)
            await self._open_serial(stack, GAS, GAS_FORMAT, _rtu(gas, "gas-1", moment))
            units = {n: sdm630(f"bm-{n}", n, moment) for n in range(1, self.layout.buildings + 1)}
            await self._open_tcp(stack, BUILDINGS, units, {n: f"bm-{n}" for n in units}, moment)
            pumps = _profiled("pumps-1", "pump_room_plc", pump_sheet, moment)
            await self._open_tcp(stack, PUMPS, {1: pumps}, {1: "pumps-1"}, moment)
            for system in self.systems:
                await stack.enter_async_context(system)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def time(self) -> float:
        """World time now."""
        return (asyncio.get_running_loop().time() - self._started_s) * self.time_scale

    def leak_gas(self, channel: int, peak_lel: float, rise_s: float, hold_s: float, fall_s: float) -> None:
        """From now on; *channel* 0..3, durations in the spectator's seconds."""
        scale = self.time_scale
        leak = Leak(channel, self.time(), rise_s * scale, hold_s * scale, fall_s * scale, peak_lel)
        self.view.world = self.view.world.with_leak(leak)

    def burst_pipe(self, rise_s: float, fall_s: float, peak_cm: float) -> None:
        """In the pump room's basement, from now on; durations in the spectator's seconds."""
        scale = self.time_scale
        burst = Burst(self.time(), rise_s * scale, fall_s * scale, peak_cm)
        self.view.world = replace(self.view.world, burst=burst)

    def shut_pipe(self) -> None:
        burst = self.view.world.burst
        if burst is not None:
            self.view.world = replace(self.view.world, burst=burst.shut(self.time()))

    @property
    def meter_lines(self) -> list[str]:
        """Those of the electricity meters."""
        return list(_grouped(self.layout.homes(), entrance_line))

    async def _open_utilities(self, stack: AsyncExitStack) -> None:
        for line, homes in _grouped(self.layout.homes(), water_line).items():
            await self._open_serial(stack, line, METER_FORMAT, self._water_meters(homes))
        for line, places in _grouped(heat_places(self.layout), lambda place: place.line).items():
            await self._open_serial(stack, line, METER_FORMAT, self._heat_meters(places))

    def _meters(self, homes: Sequence[Home]) -> Responder:
        meters = [Dlt645SimMeter(meter_address(home), meter_values(meter_id(home), home, self.view)) for home in homes]
        devices: dict[Hashable, str] = {meter_address(home): meter_id(home) for home in homes}
        return Bus(Dlt645SimLine(meters).feed, devices, forge=forge.dlt645)

    def _water_meters(self, homes: Sequence[Home]) -> Responder:
        meters = [water_meter(water_id(home), home, self.view) for home in homes]
        devices: dict[Hashable, str] = {water_address(home): water_id(home) for home in homes}
        return Bus(Cjt188SimLine(meters).feed, devices, forge=forge.cjt188)

    def _heat_meters(self, places: Sequence[HeatPlace]) -> Responder:
        meters = [heat_meter(place.device, place.stairs, place.primary, self.view) for place in places]
        devices: dict[Hashable, str] = {str(place.primary): place.device for place in places}
        return Bus(MbusSimLine(meters).feed, devices, forge=forge.mbus)

    async def _open_serial(self, stack: AsyncExitStack, name: str, serial: SerialFormat, responder: Responder) -> None:
        line = SimLine(name, serial, [responder], self.faults, seed=self._seed)
        self.serial[name] = await stack.enter_async_context(line)

    async def _open_tcp(
        self, stack: AsyncExitStack, name: str, units: dict[int, SimUnit], devices: Mapping[int, str], moment: Moment
    ) -> None:
        bank = ModbusBank(units, on_request=moment.begin)
        self.tcp[name] = await stack.enter_async_context(tcp.serve(bank, devices, name, self.faults))


def _grouped(members: Iterable[_T], key: Callable[[_T], str]) -> dict[str, list[_T]]:
    """In the order in which they come."""
    groups: dict[str, list[_T]] = {}
    for member in members:
        groups.setdefault(key(member), []).append(member)
    return groups


def _rtu(unit: SimUnit, device: str, moment: Moment) -> Responder:
    line = RtuLine(ModbusBank({1: unit}, on_request=moment.begin))
    return Bus(line.feed, {1: device}, line.silence, forge.modbus_rtu)


def _profiled(device: str, profile: str, sheet: Sheet, moment: Moment) -> SimUnit:
    """A unit whose registers stand where the shipped profile says."""
    path = shipped_profiles() / f"{profile}.yaml"
    document, _ = read_yaml(path, str(path))
    model = parse(ProfileFile, document.data)
    places = {name: parse(PointOptions, point.model_extra or {}) for name, point in model.points.items()}
    return unit_of(device, places, Order(model.device.get("word_order", "ABCD")), sheet, moment)
