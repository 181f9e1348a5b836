"""Devices behind a TCP port: Modbus TCP, or any serial protocol behind a converter.

No speed and no collisions: whatever is said arrives in the order in which it was said, and nothing is changed on the
way.  Otherwise the same faults as on a serial line.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from drivers.modbus.simulator import ModbusBank, TcpStream
from gateway.errors import ProtocolError
from gateway.sim import forge
from gateway.sim.faults import FaultBoard, Twist, Utterance, burst, deliver
from gateway.sim.line import SAME_INSTANT_S, Responder, Told, forge_of


class SimStream:
    """The far end of one connection.  *out* is given every byte that goes to the gateway.  Timers, no task.

    checked: whether the protocol has a checksum of its own; Modbus TCP has none and relies on TCP's.
    """

    def __init__(
        self,
        name: str,
        responder: Responder,
        faults: FaultBoard,
        out: Callable[[bytes], None],
        *,
        chance: random.Random,
        checked: bool = True,
        told: Told | None = None,
    ) -> None:
        self.name = name
        self._responder = responder
        self._faults = faults
        self._out = out
        self._chance = chance
        self._checked = checked
        self._told = told
        self._timers: list[asyncio.TimerHandle] = []
        self._free_s = -1.0
        """Until then somebody speaks."""
        self._dirt: asyncio.TimerHandle | None = None
        self._dirt_s = -1.0

    def close(self) -> None:
        for timer in (*self._timers, self._dirt):
            if timer is not None:
                timer.cancel()

    def heard(self, data: bytes) -> None:
        """Raises ProtocolError for a stream that is not the responder's protocol: hang up."""
        fault = self._faults.line(self.name)
        if fault.dirty_per_s and self._dirt is None:
            self._plan_dirt(fault.dirty_per_s)
        answers = self._responder.feed(data)
        if fault.echo and self._checked:  # only a serial line can echo, behind a converter
            self._out(data)
        if not fault.dead:
            for device, wanted in answers:
                said = deliver(
                    wanted, self._faults.device(device), self._chance, forge_of(self._responder), checked=self._checked
                )
                if said is not None:
                    self._say(device, wanted, said)

    def _say(self, device: str, wanted: bytes, said: Utterance) -> None:
        loop = asyncio.get_running_loop()
        self._timers = [timer for timer in self._timers if timer.when() > loop.time()]
        self._at(loop.time() + said.after_s, self._begin, device, wanted, said, loop.time())

    def _begin(self, device: str, wanted: bytes, said: Utterance, asked_s: float) -> None:
        """One frame never stands within another: who is still speaking is waited for."""
        at_s = max(asyncio.get_running_loop().time(), self._free_s + SAME_INSTANT_S)
        for pause_s, data in said.pieces:
            at_s += pause_s
            self._at(at_s, self._out, data)
        self._free_s = at_s
        if self._told is not None:
            self._at(at_s, self._tell, device, wanted, said.clean, asked_s)
        if said.again_s is not None:
            again = replace(said, again_s=None)
            self._at(at_s + said.again_s, self._begin, device, wanted, again, asked_s)

    def _tell(self, device: str, wanted: bytes, clean: bool, asked_s: float) -> None:
        assert self._told is not None
        self._told(device, wanted, clean and self._dirt_s < asked_s)

    def _at(self, at_s: float, what: Callable[..., object], *arguments: object) -> None:
        """Now, if it is time: an answer without delay costs no turn of the loop."""
        loop = asyncio.get_running_loop()
        if at_s <= loop.time():
            what(*arguments)
        else:
            self._timers.append(loop.call_at(at_s, what, *arguments))

    def _plan_dirt(self, per_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._dirt = loop.call_later(self._chance.expovariate(per_s), self._be_dirty)

    def _be_dirty(self) -> None:
        self._dirt = None
        now = asyncio.get_running_loop().time()
        fault = self._faults.line(self.name)
        if fault.dirty_per_s:
            if (
                self._checked or now > self._free_s + SAME_INSTANT_S
            ):  # without a checksum, what is changed inside could not be told
                self._dirt_s = now
                self._out(burst(self._chance))
            self._plan_dirt(fault.dirty_per_s)


@dataclass(frozen=True, slots=True)
class ModbusUnits:
    """The units of a bank on one connection, under our device ids (line.py: Responder, Forging)."""

    stream: TcpStream
    devices: Mapping[int, str]

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        return [(self.devices[unit_id], answer) for unit_id, answer in self.stream.feed(data)]

    def silence(self) -> None:
        """Frames say how long they are."""

    def forge(self, answer: bytes, twist: Twist, chance: random.Random) -> bytes:
        return forge.modbus_tcp(answer, twist, chance)


@asynccontextmanager
async def serve(
    bank: ModbusBank, devices: Mapping[int, str], line: str, faults: FaultBoard, *, seed: int = 0
) -> AsyncIterator[int]:
    """Serve *bank* (unit id -> device id) by Modbus TCP on loopback as the configured line *line*; yields the port."""
    async with converter(lambda: ModbusUnits(TcpStream(bank), devices), line, faults, seed=seed, checked=False) as port:
        yield port


@asynccontextmanager
async def converter(
    devices: Callable[[], Responder],
    line: str,
    faults: FaultBoard,
    *,
    seed: int = 0,
    checked: bool = True,
    told: Told | None = None,
) -> AsyncIterator[int]:
    """A port on loopback behind which every connection meets *devices()*; yields its number."""
    field_ = _Field(devices, line, faults, random.Random(f"{seed} {line}"), checked, told)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(field_), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in tuple(field_.connections):
            connection.abort()
        await server.wait_closed()


@dataclass(slots=True)
class _Field:
    devices: Callable[[], Responder]
    line: str
    faults: FaultBoard
    chance: random.Random
    checked: bool
    told: Told | None
    connections: set[_Connection] = field(default_factory=set)


class _Connection(asyncio.Protocol):
    def __init__(self, field_: _Field) -> None:
        self._field = field_
        self._stream = SimStream(
            field_.line,
            field_.devices(),
            field_.faults,
            self._write,
            chance=field_.chance,
            checked=field_.checked,
            told=field_.told,
        )
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._field.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._stream.heard(data)
        except ProtocolError:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._field.connections.discard(self)
        self._stream.close()

    def abort(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)
