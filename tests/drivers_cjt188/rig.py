"""Simulated meters on a real wire, and drivers for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from drivers.base import DeviceSpec, Driver, Link, PointSpec, SerialFormat
from drivers.cjt188.config import Cjt188Options, Cjt188PointOptions
from drivers.cjt188.driver import Cjt188Meter
from drivers.cjt188.simulator import Cjt188SimLine, Cjt188SimMeter, SimValue
from drivers.transport import ByteLine, SerialLink, TcpLink
from drivers_contract.rigs import Factory, Rig
from drivers_contract.wire import pty_wire, tcp_wire
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

WATER = "11110012345678"
HEAT = "42590008210438"
WATER_VALUES: Mapping[str, SimValue] = {
    "901F.volume": Decimal("1234.56"),
    "901F.settlement_volume": Decimal("1200.00"),
    "901F.clock": "20260605102233",
    "901F.status": "0500",
    "D120.volume": Decimal("1200.00"),
    "D121.volume": Decimal("1100.50"),
}
HEAT_VALUES: Mapping[str, SimValue] = {
    "901F.settlement_energy": Decimal("5000.00"),
    "901F.energy": Decimal("5328.19"),
    "901F.power": Decimal("12.34"),
    "901F.flow": Decimal("0.5678"),
    "901F.volume": Decimal("1833.42"),
    "901F.supply_temperature": Decimal("55.03"),
    "901F.return_temperature": Decimal("39.10"),
    "901F.hours": Decimal(2761),
    "901F.clock": "20150331235726",
    "901F.status": "0008",
}
STATES = {"valve": ("open", "closed", "abnormal"), "battery": ("good", "low")}
POINTS: Mapping[str, Any] = {
    "volume": {"unit": "m3"},
    "settlement_volume": {"unit": "m3"},
    "clock": {"kind": ValueKind.TEXT},
    "status": {"kind": ValueKind.TEXT},
    "valve": {"kind": ValueKind.STATE},
    "battery": {"kind": ValueKind.STATE},
    "month1": {"field": "volume", "di": "D120", "unit": "m3"},
}
HEAT_POINTS: Mapping[str, Any] = {
    "energy": {"unit": "kW.h"},
    "settlement_energy": {"unit": "kW.h"},
    "power": {"unit": "kW"},
    "flow": {"unit": "m3/h"},
    "volume": {"unit": "m3"},
    "supply_temperature": {"unit": "Cel"},
    "return_temperature": {"unit": "Cel"},
    "hours": {"unit": "h"},
    "clock": {"kind": ValueKind.TEXT},
    "status": {"kind": ValueKind.TEXT},
}


def spec(
    points: Mapping[str, Any],
    address: str = WATER,
    type: str = "10",  # noqa: A002
    timeout_s: float = 0.2,
    **options: Any,
) -> DeviceSpec:
    """points: name -> point options, with kind, unit, states and writable among them; its name is its field."""
    return DeviceSpec(
        "m",
        Cjt188Options(address=address, type=type, **options),
        {f"m.{name}": _point(name, written) for name, written in points.items()},
        timeout_s,
    )


def _point(name: str, written: Mapping[str, Any]) -> PointSpec:
    options = {"field": name} | dict(written)
    kind, unit = options.pop("kind", ValueKind.NUMBER), options.pop("unit", None)
    states = options.pop("states", STATES.get(options["field"], ()) if kind is ValueKind.STATE else ())
    writable = options.pop("writable", False)
    point = Point(f"m.{name}", kind, Text(name, name), 60.0, unit=unit, states=states, writable=writable)
    return PointSpec(point, Cjt188PointOptions(**options))


def meter(link: Link, points: Mapping[str, Any] = POINTS, **kwargs: Any) -> Cjt188Meter:
    return Cjt188Meter(spec(points, **kwargs), link, ManualClock())


def water(**options: Any) -> Cjt188SimMeter:
    return Cjt188SimMeter(WATER, 0x10, WATER_VALUES.__getitem__, **options)


def heat(**options: Any) -> Cjt188SimMeter:
    return Cjt188SimMeter(HEAT, 0x20, HEAT_VALUES.__getitem__, **options)


def answered_by(line: Cjt188SimLine) -> Callable[[bytes], Sequence[bytes]]:
    return lambda data: [answer for _, answer in line.feed(data)]


@dataclass
class MeterRig:
    driver: Driver
    link: ByteLine
    points: Sequence[str]
    refused: str
    silent_driver: Driver
    unplug: Callable[[], None]
    plug: Callable[[], Awaitable[None]]


def _rig(link: ByteLine, heats: bool, unplug: Callable[[], None], plug: Callable[[], Awaitable[None]]) -> Rig:
    points, who = (HEAT_POINTS, {"address": HEAT, "type": "20"}) if heats else (POINTS, {"address": WATER})
    points = {**points, "refused": {"field": "volume", "di": "D12B", "unit": "m3"}}
    silent = meter(link, points, **(who | {"address": "00000000000404"}), timeout_s=0.15)
    good = [f"m.{name}" for name in points if name != "refused"]
    return MeterRig(meter(link, points, **who), link, good, "m.refused", silent, unplug, plug)


def _line() -> Cjt188SimLine:
    return Cjt188SimLine([water(di_order="high_first"), heat(unit_first=True)])


@asynccontextmanager
async def _serial(heats: bool) -> AsyncIterator[Rig]:
    async with pty_wire(answered_by(_line())) as wire:

        async def plug() -> None:
            wire.plug()

        async with SerialLink(str(wire.path), SerialFormat(2400, "E")) as link:
            yield _rig(link, heats, wire.unplug, plug)


@asynccontextmanager
async def _tcp(heats: bool) -> AsyncIterator[Rig]:
    async with tcp_wire(answered_by(_line())) as wire, TcpLink("127.0.0.1", wire.port) as link:
        yield _rig(link, heats, wire.unplug, wire.plug)


def contract_rigs() -> Iterator[tuple[str, Factory]]:
    yield "cjt188-serial-water", lambda: _serial(heats=False)
    yield "cjt188-tcp-heat", lambda: _tcp(heats=True)
