"""Simulated meters on a real wire, and drivers for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from drivers.base import DeviceSpec, Driver, Link, PointSpec, SerialFormat
from drivers.mbus.config import MbusOptions, MbusPointOptions
from drivers.mbus.driver import MbusMeter
from drivers.mbus.simulator import MbusSimLine, MbusSimMeter, SimRecord
from drivers.transport import ByteLine, SerialLink, TcpLink
from drivers_contract.rigs import Factory, Rig
from drivers_contract.wire import pty_wire, tcp_wire
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

PRIMARY, SECONDARY = 5, "11490378"

ENERGY = SimRecord(b"\x0c", b"\x06", 1234)
VOLUME = SimRecord(b"\x04", b"\x13", 54321)
FLOW = SimRecord(b"\x0b", b"\x3b", -25)
FLOW_TEMPERATURE = SimRecord(b"\x0a", b"\x5a", 715)
LAST_VOLUME = SimRecord(b"\x44", b"\x13", 50000)
REFUSED_POWER = SimRecord(b"\x02", b"\xab\x05", 0)
"""Record error 05: function not implemented."""
NO_PRESSURE = SimRecord(b"\x02", b"\xe9\x15", 0)
"""Record error 15: no data available."""
RECORDS = (ENERGY, VOLUME, FLOW, FLOW_TEMPERATURE, LAST_VOLUME, REFUSED_POWER, NO_PRESSURE)

POINTS: Mapping[str, Mapping[str, Any]] = {
    "energy": {"quantity": "energy"},
    "volume": {"quantity": "volume"},
    "flow": {"quantity": "flow"},
    "flow_temperature": {"quantity": "flow_temperature"},
    "last_volume": {"quantity": "volume", "storage": 1},
    "id": {"quantity": "id", "kind": ValueKind.TEXT},
    "refused": {"quantity": "power"},
}
VALUES = {
    "energy": 1234,
    "volume": 54.321,
    "flow": -0.025,
    "flow_temperature": 71.5,
    "last_volume": 50,
    "id": SECONDARY,
}


def sim_meter(
    *telegrams: Sequence[SimRecord],
    primary: int = PRIMARY,
    id: str = SECONDARY,  # noqa: A002
    status: int = 0,
) -> MbusSimMeter:
    """All but the last of *telegrams* say that more follows."""
    sim = MbusSimMeter(primary, lambda: (), id, 0x0477, 14, 0x16)
    last = len(telegrams) - 1
    built = [sim.variable(records, status=status, more=n < last) for n, records in enumerate(telegrams)]
    sim.telegrams = lambda: built
    return sim


def spec(points: Mapping[str, Mapping[str, Any]], timeout_s: float = 0.2, **device: Any) -> DeviceSpec:
    """points: name -> point options, with the kind and the states among them."""
    options = MbusOptions(**(device or {"primary": PRIMARY}))
    return DeviceSpec("m", options, {f"m.{name}": point(f"m.{name}", each) for name, each in points.items()}, timeout_s)


def point(id: str, written: Mapping[str, Any]) -> PointSpec:  # noqa: A002
    options = dict(written)
    kind = options.pop("kind", ValueKind.NUMBER)
    states, writable = options.pop("states", ()), options.pop("writable", False)
    its_point = Point(id, kind, Text(id, id), 60.0, states=states, writable=writable)
    return PointSpec(its_point, MbusPointOptions(**options))


def meter(link: Link, points: Mapping[str, Mapping[str, Any]] = POINTS, **kwargs: Any) -> MbusMeter:
    return MbusMeter(spec(points, **kwargs), link, ManualClock())


@dataclass
class MeterRig:
    driver: Driver
    link: ByteLine
    points: Sequence[str]
    refused: str
    silent_driver: Driver
    unplug: Callable[[], None]
    plug: Callable[[], Awaitable[None]]


def _rig(
    link: ByteLine, device: Mapping[str, Any], unplug: Callable[[], None], plug: Callable[[], Awaitable[None]]
) -> Rig:
    silent = meter(link, timeout_s=0.15, **{key: _NOBODY[key] for key in device if key in _NOBODY})
    points = [f"m.{name}" for name in POINTS if name != "refused"]
    return MeterRig(meter(link, **device), link, points, "m.refused", silent, unplug, plug)


_NOBODY: Mapping[str, Any] = {"primary": 99, "secondary": "99999999"}


def _respond(split: bool) -> Callable[[bytes], Sequence[bytes]]:
    telegrams = (RECORDS[:3], RECORDS[3:]) if split else (RECORDS,)
    line = MbusSimLine([sim_meter(*telegrams), sim_meter((VOLUME,), primary=6, id="11490379")])
    return lambda data: [answer for _, answer in line.feed(data)]


@asynccontextmanager
async def _serial(split: bool, **device: Any) -> AsyncIterator[Rig]:
    async with pty_wire(_respond(split)) as wire:

        async def plug() -> None:
            wire.plug()

        async with SerialLink(str(wire.path), SerialFormat(2400, "E")) as link:
            yield _rig(link, device, wire.unplug, plug)


@asynccontextmanager
async def _tcp(split: bool, **device: Any) -> AsyncIterator[Rig]:
    async with tcp_wire(_respond(split)) as wire, TcpLink("127.0.0.1", wire.port) as link:
        yield _rig(link, device, wire.unplug, wire.plug)


def contract_rigs() -> Iterator[tuple[str, Factory]]:
    yield "mbus-serial", lambda: _serial(False, primary=PRIMARY)
    yield "mbus-tcp", lambda: _tcp(False, primary=PRIMARY)
    yield "mbus-tcp-two-telegrams", lambda: _tcp(True, primary=PRIMARY)
    yield "mbus-tcp-secondary", lambda: _tcp(False, secondary=SECONDARY)
    yield "mbus-tcp-without-reset", lambda: _tcp(False, primary=PRIMARY, reset=False)
