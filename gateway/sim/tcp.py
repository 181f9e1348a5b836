"""Modbus TCP devices that can be silent, slow or late.  Pure framing comes from the Modbus simulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from drivers.modbus.simulator import ModbusBank, TcpStream
from gateway.errors import ProtocolError
from gateway.sim.faults import FaultBoard


@dataclass(slots=True)
class _Field:
    bank: ModbusBank
    devices: Mapping[int, str]
    """Unit id -> device id."""
    line: str
    faults: FaultBoard
    connections: set[_Connection] = field(default_factory=set)


@asynccontextmanager
async def serve(bank: ModbusBank, devices: Mapping[int, str], line: str, faults: FaultBoard) -> AsyncIterator[int]:
    """Serve *bank* on loopback as the configured line *line*; yields the port.  Serial faults do not apply here."""
    field_ = _Field(bank, devices, line, faults)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(field_), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in tuple(field_.connections):
            connection.abort()
        await server.wait_closed()


class _Connection(asyncio.Protocol):
    def __init__(self, field_: _Field) -> None:
        self._field = field_
        self._stream = TcpStream(field_.bank)
        self._transport: asyncio.Transport | None = None
        self._waiting: list[asyncio.TimerHandle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._field.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            answers = self._stream.feed(data)
        except ProtocolError:
            self.abort()
            return
        for unit_id, frame in answers:
            self._answer(self._field.devices[unit_id], frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._field.connections.discard(self)
        for timer in self._waiting:
            timer.cancel()

    def abort(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def _answer(self, device: str, frame: bytes) -> None:
        assert self._transport is not None
        faults = self._field.faults
        fault = faults.device(device)
        if fault.silent or faults.line(self._field.line).dead:
            return
        if not fault.delay_s:
            self._transport.write(frame)
            return
        loop = asyncio.get_running_loop()
        self._waiting = [timer for timer in self._waiting if timer.when() > loop.time()]
        self._waiting.append(loop.call_later(fault.delay_s, self._transport.write, frame))
