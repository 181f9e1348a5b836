"""What each simulated device serves: which of the world's quantities stands under which identifier or register.

Addresses and formats come from the devices' own documents, not from our profiles, wherever there is such a document:
a wrong profile must show.  The gas controller and the pump room's PLC have none (every installer programs his own),
so these two serve exactly what their profile describes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_FLOOR, Decimal
from typing import TypeAlias

from drivers.cjt188.simulator import Cjt188SimMeter
from drivers.dlt645.simulator import SimValue, Values
from drivers.mbus.simulator import MbusSimMeter, SimRecord, on_wire
from drivers.modbus.config import PointOptions, Table
from drivers.modbus.simulator import SimUnit
from drivers.modbus.values import Order, Type
from gateway.model import Value
from gateway.sim.world import GAS_CHANNELS, SWITCH_ON_AT_S, Electrics, Home, ThreePhase, World, calendar, settled

Served: TypeAlias = Callable[[str, str, Value, float], None]
"""Told (device, identifier or register or point, value, world time) of every value that a device hands out."""

Sheet: TypeAlias = Callable[[World, float], Mapping[str, Value]]
"""Everything that one Modbus device shows at a world time: register (``0x0034``) or point name -> value."""


def unserved(device: str, item: str, value: Value, t: float) -> None:
    """For those who keep no record."""


@dataclass(slots=True)
class View:
    """The world as the devices see it now."""

    world: World
    clock: Callable[[], float]
    """World time."""
    served: Served = unserved


# ---------------------------------------------------------------------- DL/T 645 meters


def meter_address(home: Home) -> str:
    """12 digits that a person can find again: building, entrance, floor, door."""
    return f"2026{home.building:02}{home.entrance:02}{home.floor:02}{home.door:02}"


def meter_values(device: str, home: Home, view: View) -> Values:
    """A household's single-phase meter; every status bit is 0: mains, relay closed, no fault."""
    address = meter_address(home)

    def value(di: str) -> SimValue:
        if di in ("04000401", "04000402"):
            return address
        if di.startswith("040005") and "01" <= di[6:] <= "07":
            return "0000"
        t, world = view.clock(), view.world
        number = _meter_items(world.household(home, t), world.loads[home].total(t), world.frequency_hz(t))[di]
        view.served(device, di, number, t)
        return _counted(number) if di.startswith("00") else Decimal(number)

    return value


def _counted(register: float) -> Decimal:
    """A register counts whole hundredths and has not reached the one it is on the way to."""
    return Decimal(register).quantize(Decimal("0.01"), ROUND_FLOOR)


def _meter_items(now: Electrics, energy_kwh: float, frequency_hz: float) -> Mapping[str, float]:
    """Source: DL/T 645-2007, annex A."""
    reactive_kvar, apparent_kva = _reactive(now), now.power_kw / now.power_factor
    return {
        "00000000": energy_kwh,
        "00010000": energy_kwh,
        "00010100": energy_kwh * 0.10,
        "00010200": energy_kwh * 0.30,
        "00010300": energy_kwh * 0.35,
        "00010400": energy_kwh * 0.25,
        "00020000": 0.0,
        "02010100": now.voltage_v,
        "02020100": now.current_a,
        "02030000": now.power_kw,
        "02030100": now.power_kw,
        "02040000": reactive_kvar,
        "02040100": reactive_kvar,
        "02050000": apparent_kva,
        "02050100": apparent_kva,
        "02060000": now.power_factor,
        "02060100": now.power_factor,
        "02800001": now.current_a,
        "02800002": frequency_hz,
        "02800007": 28.0 + 4.0 * now.power_kw,
    }


def _reactive(now: Electrics) -> float:
    return now.power_kw * math.tan(math.acos(now.power_factor))


# ---------------------------------------------------------------------- CJ/T 188 water meters

_COLD_WATER = 0x10
_WATER_VENDOR = "9001"
"""Stands for no maker."""


def water_address(home: Home) -> str:
    """14 digits: vendor's code, year, and where the meter is, as in ``meter_address``."""
    return _WATER_VENDOR + meter_address(home)[2:]


def water_meter(device: str, home: Home, view: View) -> Cjt188SimMeter:
    """A household's cold water meter without a valve; every status bit is 0."""

    def value(item: str) -> Decimal | str:
        t = view.clock()
        draw = view.world.draws[home]
        match item.removeprefix("901F."):
            case "clock":
                return f"{calendar(t):%Y%m%d%H%M%S}"
            case "status":
                return "0000"
            case "volume":
                volume_m3 = draw.total(t)
            case "settlement_volume":
                volume_m3 = draw.total(settled(t))
            case _:
                raise LookupError(item)
        view.served(device, item, volume_m3, t)
        return _counted(volume_m3)

    return Cjt188SimMeter(water_address(home), _COLD_WATER, value)


# ---------------------------------------------------------------------- M-Bus heat meters

_HEAT_MAKER = 0x4D2D
"""SIM, in the letters' five bits each."""
_HEAT_VERSION, _HEAT_MEDIUM = 1, 0x04
_COMMISSIONED_H = 6_000
"""The meters' hours of operation when the compound was switched on."""


def heat_number(building: int, entrance: int) -> str:
    """8 digits, as on the meter's plate: year, building, entrance."""
    return f"2026{building:02}{entrance:02}"


def heat_meter(device: str, stairs: tuple[int, int], primary: int, view: View) -> MbusSimMeter:
    """The heat meter of an entrance (building and entrance, from 1), in one telegram."""

    def telegrams() -> Sequence[bytes]:
        t = view.clock()
        records = []
        for item, (dib, vib, exponent, number) in _heat_items(view.world, stairs, t).items():
            view.served(device, item, number, t)
            records.append(SimRecord(dib, vib, on_wire(Decimal(repr(number)), exponent)))
        return (meter.variable([*records, SimRecord(b"\x04", b"\x6d", _mbus_time(calendar(t)))]),)

    meter = MbusSimMeter(primary, telegrams, heat_number(*stairs), _HEAT_MAKER, _HEAT_VERSION, _HEAT_MEDIUM)
    return meter


def _heat_items(world: World, stairs: tuple[int, int], t: float) -> Mapping[str, tuple[bytes, bytes, int, float]]:
    """DIB, VIB, power of ten of the VIF and value in kWh, m3, kW, m3/h, Celsius, kelvin, hours.

    What counts is cut off at the last digit by ``on_wire``; temperatures are rounded to it.

    Source: EN 13757-3, primary VIFs.
    """
    now = world.heat(*stairs, t)
    month = world.heat(*stairs, settled(t))
    return {
        "energy": (b"\x0c", b"\x06", 0, now.energy_kwh),
        "settlement_energy": (b"\x4c", b"\x06", 0, month.energy_kwh),
        "volume": (b"\x0c", b"\x14", -2, now.volume_m3),
        "power": (b"\x0c", b"\x2b", -3, now.power_kw),
        "flow": (b"\x0c", b"\x3b", -3, now.flow_m3h),
        "supply_temperature": (b"\x0a", b"\x5a", -1, round(now.supply_c, 1)),
        "return_temperature": (b"\x0a", b"\x5e", -1, round(now.return_c, 1)),
        "temperature_difference": (b"\x0a", b"\x62", -1, round(now.supply_c - now.return_c, 1)),
        "operating_time": (b"\x0c", b"\x26", 0, _COMMISSIONED_H + (SWITCH_ON_AT_S + t) // 3600),
    }


def _mbus_time(now: datetime) -> bytes:
    """Date and time, type F.  Source: EN 13757-3, annex A."""
    year = now.year % 100
    return bytes((now.minute, now.hour, now.day | (year & 0x07) << 5, now.month | (year & 0x78) << 1))


# ---------------------------------------------------------------------- Modbus devices


@dataclass(slots=True)
class Moment:
    """One world time for all registers of a request: both halves of a number belong to the same instant."""

    view: View
    _t: float = field(default=0.0, init=False)
    _known: dict[str, Mapping[str, Value]] = field(default_factory=dict, init=False)

    def begin(self, unit_id: int, pdu: bytes) -> None:
        """A request arrives (for ModbusBank.on_request)."""
        self._t = self.view.clock()
        self._known.clear()

    def value(self, device: str, sheet: Sheet, item: str) -> Value:
        if device not in self._known:
            self._known[device] = sheet(self.view.world, self._t)
        value = self._known[device][item]
        self.view.served(device, item, value, self._t)
        return value


def unit_of(device: str, places: Mapping[str, PointOptions], order: Order, sheet: Sheet, moment: Moment) -> SimUnit:
    """A unit that shows *sheet*'s items at *places*.  Raises KeyError for a place that the sheet does not fill."""
    shown = sheet(moment.view.world, 0.0)
    unit = SimUnit()
    for item, options in places.items():
        if item not in shown:
            raise KeyError(f"{device}: the simulation has nothing for {item}")
        unit.place(options, _source(device, sheet, item, moment), order)
    return unit


def _source(device: str, sheet: Sheet, item: str, moment: Moment) -> Callable[[], Value]:
    return lambda: moment.value(device, sheet, item)


_FIRST_SERIAL_NUMBER = 21_000_000


def building_sheet(number: int) -> Sheet:
    """*number*: of the building, from 1."""
    return lambda world, t: _sdm630_items(world.building(number, t))


def sdm630(device: str, number: int, moment: Moment) -> SimUnit:
    """An Eastron SDM630: float32 input registers, high word first; what has no meaning reads 0.  Has a serial number.

    Source: Eastron SDM630 Modbus protocol, input registers (parameter numbers are addresses / 2 + 1).
    """
    sheet = building_sheet(number)
    places = {
        item: PointOptions(table=Table.INPUT, address=int(item, 16), type=Type.FLOAT32)
        for item in sheet(moment.view.world, 0.0)
    }
    unit = unit_of(device, places, Order.ABCD, sheet, moment)
    for address in range(0x0180):
        unit.tables[Table.INPUT].setdefault(address, 0)
    unit.place(PointOptions(table=Table.HOLDING, address=0xFC00, type=Type.U32), _FIRST_SERIAL_NUMBER + number)
    return unit


def _sdm630_items(meter: ThreePhase) -> Mapping[str, float]:
    """V, A, W, VA, var, Hz, kWh."""
    items: dict[int, float] = {}
    for index, phase in enumerate(meter.phases):
        items |= {
            0x00 + 2 * index: phase.voltage_v,
            0x06 + 2 * index: phase.current_a,
            0x0C + 2 * index: phase.power_kw * 1000,
            0x12 + 2 * index: phase.power_kw * 1000 / phase.power_factor,
            0x18 + 2 * index: _reactive(phase) * 1000,
            0x1E + 2 * index: phase.power_factor,
            0x15A + 2 * index: meter.energies_kwh[index],
        }
    for pair, address in (((0, 1), 0xC8), ((1, 2), 0xCA), ((2, 0), 0xCC)):
        items[address] = math.sqrt(3) * sum(meter.phases[index].voltage_v for index in pair) / 2
    apparent_va = sum(phase.power_kw * 1000 / phase.power_factor for phase in meter.phases)
    current_a = sum(phase.current_a for phase in meter.phases)
    items |= {
        0x2A: sum(phase.voltage_v for phase in meter.phases) / 3,
        0x2E: current_a / 3,
        0x30: current_a,
        0x34: meter.power_kw * 1000,
        0x38: apparent_va,
        0x3C: sum(_reactive(phase) for phase in meter.phases) * 1000,
        0x3E: meter.power_kw * 1000 / apparent_va,
        0x46: meter.frequency_hz,
        0x48: meter.energy_kwh,
        0x4A: 0.0,
        0x54: meter.power_kw * 1000,
        0xE0: max(phase.current_a for phase in meter.phases) - min(phase.current_a for phase in meter.phases),
        0xEA: 2.1,
        0xEC: 2.3,
        0xEE: 1.9,
        0x156: meter.energy_kwh,
    }
    return {f"{address:#06x}": value for address, value in items.items()}


def gas_sheet(world: World, t: float) -> Mapping[str, Value]:
    """The illustrative four-channel controller; low alarm from 10 %LEL, high alarm from 25 %LEL."""
    sheet: dict[str, Value] = {}
    for channel in range(GAS_CHANNELS):
        lel = world.gas_lel(channel, t)
        sheet[f"ch{channel + 1}_concentration"] = lel
        sheet[f"ch{channel + 1}_status"] = "alarm_high" if lel >= 25 else "alarm_low" if lel >= 10 else "normal"
    return sheet


def pump_sheet(world: World, t: float) -> Mapping[str, Value]:
    """The illustrative pump room PLC, in automatic mode with nothing broken."""
    now = world.pump_room(t)
    sheet: dict[str, Value] = {
        "level": now.level_cm,
        "pressure": now.pressure_bar,
        "high_water": now.level_cm > 30,
        "mode": "auto",
    }
    for pump, (running, current_a) in enumerate(zip(now.running, now.currents_a, strict=True), 1):
        sheet |= {
            f"pump{pump}_current": current_a,
            f"pump{pump}_running": running,
            f"pump{pump}_start": running,
            f"pump{pump}_overload": False,
            f"pump{pump}_leak": False,
        }
    return sheet
