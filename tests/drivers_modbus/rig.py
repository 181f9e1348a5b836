"""Lines and devices for the Modbus tests, and the rigs that the contract suite runs every driver on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from drivers.base import DeviceSpec, Driver, Link, PointSpec, ProtocolType, SerialFormat
from drivers.modbus.config import PointOptions, RtuOptions, Table, TcpOptions
from drivers.modbus.driver import ASCII, RTU, TCP, ModbusDevice
from drivers.modbus.simulator import AsciiLine, ModbusBank, RtuLine, SimUnit, TcpStream
from drivers.transport import ByteLine, SerialLink, TcpLink
from drivers_contract.rigs import Factory, Rig
from drivers_contract.wire import pty_wire, tcp_wire
from gateway.model import Point, PointId, Text, Value, ValueKind
from support.clock import ManualClock

Replies = Iterable[tuple[float, bytes]]
"""Seconds after the request, and the bytes that arrive then."""


class FakeLine(ByteLine):
    """A line whose far end is a function; time is the loop's, so it runs in virtual time."""

    def __init__(self, respond: Callable[[bytes], Replies]) -> None:
        super().__init__("fake")
        self.respond = respond
        self.requests: list[bytes] = []
        self._timers: list[asyncio.TimerHandle] = []

    async def _open(self) -> None: ...

    def _close(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _send(self, request: bytes, serial: SerialFormat | None) -> float:
        self.requests.append(request)
        loop = asyncio.get_running_loop()
        self._timers += [loop.call_later(delay, self._received, data) for delay, data in self.respond(request)]
        return 0.0

    def _quiet_s(self) -> float:
        return 0.05

    def _gap_s(self, characters: float) -> float:
        return 0.0


def device(
    protocol: ProtocolType,
    link: Link,
    points: Mapping[str, Mapping[str, Any]],
    *,
    unit_id: int = 1,
    timeout_s: float = 0.5,
    **options: Any,
) -> ModbusDevice:
    """A driver for device ``d`` with *points*: name -> point options."""
    model = TcpOptions if protocol is TCP else RtuOptions
    specs = {
        f"d.{name}": PointSpec(Point(f"d.{name}", ValueKind.NUMBER, Text(name, name), 60.0), PointOptions(**keys))
        for name, keys in points.items()
    }
    made = protocol.make(DeviceSpec("d", model(unit_id=unit_id, **options), specs, timeout_s), link, ManualClock())
    assert isinstance(made, ModbusDevice)
    return made


def holding(address: int, **keys: Any) -> dict[str, Any]:
    return {"table": "holding", "address": address, **keys}


def unit(**tables: Mapping[int, int]) -> SimUnit:
    """A device with these tables; the names are those of Table."""
    made = SimUnit()
    for name, cells in tables.items():
        made.tables[Table(name)].update(cells)
    return made


FarEnd = RtuLine | AsciiLine | TcpStream
FAR_ENDS: Mapping[str, Callable[[ModbusBank], FarEnd]] = {
    RTU.name: RtuLine,
    ASCII.name: AsciiLine,
    TCP.name: TcpStream,
}


def answered_by(far_end: FarEnd) -> Callable[[bytes], Sequence[bytes]]:
    return lambda data: [frame for _, frame in far_end.feed(data)]


# ---------------------------------------------------------------------- for tests/drivers_contract


@dataclass
class ModbusRig:
    driver: Driver
    link: ByteLine
    points: Sequence[PointId]
    refused: PointId
    silent_driver: Driver
    unplug: Callable[[], None]
    plug: Callable[[], Coroutine[Any, Any, None]]


_POINTS: Mapping[str, Mapping[str, Any]] = {
    "voltage": holding(0, scale=0.1),
    "energy": holding(1, type="u32", scale=0.01),
    "power": {"table": "input", "address": 0, "type": "float32"},
    "state": holding(3, enum={0: "stopped", 1: "running"}),
    "alarm": holding(4, type="bit", bit=3),
    "relay": {"table": "coil", "address": 7},
    "float_switch": {"table": "discrete", "address": 2},
    "missing": holding(5),
}
_VALUES: Mapping[str, Value] = {
    "voltage": 230.2,
    "energy": 12345.67,
    "power": 1.5,
    "state": "running",
    "alarm": True,
    "relay": False,
    "float_switch": True,
}


def _bank() -> ModbusBank:
    made = SimUnit()
    for name, value in _VALUES.items():
        made.place(PointOptions(**_POINTS[name]), value)
    return ModbusBank({1: made})


def _rig(
    protocol: ProtocolType, link: ByteLine, unplug: Callable[[], None], plug: Callable[[], Coroutine[Any, Any, None]]
) -> Rig:
    silent = device(protocol, link, _POINTS, unit_id=9, timeout_s=0.15)
    points = [f"d.{name}" for name in _VALUES]
    return ModbusRig(device(protocol, link, _POINTS), link, points, "d.missing", silent, unplug, plug)


@asynccontextmanager
async def _serial(protocol: ProtocolType) -> AsyncIterator[Rig]:
    async with pty_wire(answered_by(FAR_ENDS[protocol.name](_bank()))) as wire:

        async def plug() -> None:
            wire.plug()

        assert protocol.serial is not None
        async with SerialLink(str(wire.path), protocol.serial) as link:
            yield _rig(protocol, link, wire.unplug, plug)


@asynccontextmanager
async def _tcp(protocol: ProtocolType) -> AsyncIterator[Rig]:
    far_end = FAR_ENDS[protocol.name](_bank())
    async with tcp_wire(answered_by(far_end)) as wire, TcpLink("127.0.0.1", wire.port) as link:
        yield _rig(protocol, link, wire.unplug, wire.plug)


def contract_rigs() -> Iterator[tuple[str, Factory]]:
    yield "modbus-tcp", lambda: _tcp(TCP)
    yield "modbus-rtu", lambda: _serial(RTU)
    yield "modbus-rtu-over-tcp", lambda: _tcp(RTU)
    yield "modbus-ascii", lambda: _serial(ASCII)
    yield "modbus-ascii-over-tcp", lambda: _tcp(ASCII)
