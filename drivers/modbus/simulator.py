"""Modbus devices as their bytes look from outside.  Bytes in, bytes out; only ``serve_tcp`` touches the network.

    bytes ──RtuLine / AsciiLine / TcpStream (framing)──▶ ModbusBank.answer (unit, PDU) ──▶ SimUnit (tables)

Shares no code with the driver's parsing but the checksums and, for typed values, values.py; tests hold it against
pymodbus' own clients.  Source: Modbus Application Protocol V1.1b3, clause 6.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

from drivers.modbus import values
from drivers.modbus.codec import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, crc16
from drivers.modbus.config import MAX_READ_BITS, PointOptions, Table
from drivers.modbus.framing import ascii_body, ascii_line
from drivers.modbus.values import Order
from gateway.errors import ProtocolError
from gateway.model import Value

Cell: TypeAlias = int | Callable[[], int]
"""What stands at one address: 0..65535, of a bit table 0 or 1; or what computes it when asked."""

_READ_TABLE: Final = {1: Table.COIL, 2: Table.DISCRETE, 3: Table.HOLDING, 4: Table.INPUT}
_MASK_WRITE, _REPORT_SERVER_ID, _IDENTIFY = 22, 17, 43
_WRITE_TABLE: Final = {5: Table.COIL, 6: Table.HOLDING, 15: Table.COIL, 16: Table.HOLDING}
_MAX_READ: Final = {1: MAX_READ_BITS, 2: MAX_READ_BITS, 3: 125, 4: 125}
_MAX_WRITE: Final = {15: 1968, 16: 123}
_SIZE_OF_OTHERS: Final = {7: 1, 11: 1, 12: 1, 17: 1, 22: 7, 24: 3, 43: 4}
"""Requests that are not 5 bytes long; of functions that are refused too: a real device tells their end by silence."""
_MAX_FRAME = 256
_MAX_LINE = 513
BROADCAST = 0


class _Refused(Exception):
    """The exception code a request earns."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class SimUnit:
    """One device: it has the addresses that stand in its tables and refuses all others."""

    tables: Mapping[Table, MutableMapping[int, Cell]] = field(default_factory=lambda: {table: {} for table in Table})
    max_registers: int = 125
    """More in one request are refused as an illegal value."""
    on_write: Callable[[Table, int, int], None] | None = None
    """Told of every address written, after the fact."""
    exceptions: deque[int] = field(default_factory=deque)
    """Codes that the next requests are refused with, whatever they ask; 0 lets one through."""
    identity: Mapping[int, str] = field(default_factory=dict)
    """Objects of function 43/14 (0 vendor, 1 product code, 2 revision ...); without any the function is refused."""
    server_id: bytes = b""
    """What function 17 answers; without any the function is refused."""

    def place(self, options: PointOptions, source: Value | Callable[[], Value], order: Order = Order.ABCD) -> None:
        """Put a typed value, or what computes it, where a profile's point will look for it.

        Bits and bitfields leave the rest of their register as it is.  Raises ValueError for a fixed value that
        does not fit; a computed one raises when it is asked for.
        """
        table = self.tables[options.table]
        layout = options.layout(order)
        encode = partial(values.encoded, layout, registers=options.count)
        for part in range(options.count):
            address = options.address + part
            cell: Cell = partial(_part, encode, source, part) if callable(source) else encode(source)[part]
            if options.is_part:
                cell = _merged(table.get(address, 0), values.own_bits(layout)[part], cell)
            table[address] = cell

    def read(self, table: Table, first: int, count: int) -> list[int]:
        """Raises _Refused for an address that is not there."""
        cells = self.tables[table]
        try:
            found = [cells[address] for address in range(first, first + count)]
        except KeyError:
            raise _Refused(ILLEGAL_ADDRESS) from None
        return [cell() if callable(cell) else cell for cell in found]

    def write(self, table: Table, first: int, new: Sequence[int]) -> None:
        """Raises _Refused, and then has written nothing."""
        cells = self.tables[table]
        if any(address not in cells for address in range(first, first + len(new))):
            raise _Refused(ILLEGAL_ADDRESS)
        for address, value in enumerate(new, first):
            cells[address] = value
            if self.on_write is not None:
                self.on_write(table, address, value)


@dataclass(slots=True)
class ModbusBank:
    """The units behind one line or one TCP port.  Ids that are not there stay silent."""

    units: dict[int, SimUnit] = field(default_factory=dict)
    on_request: Callable[[int, bytes], None] | None = None
    """Told unit id and PDU of every request that reached the bank, present units and absent ones."""

    def answer(self, unit_id: int, pdu: bytes) -> bytes | None:
        """The PDU a unit answers with; None for silence."""
        if self.on_request is not None:
            self.on_request(unit_id, pdu)
        unit = self.units.get(unit_id)
        if unit is None:
            return None
        try:
            if code := unit.exceptions.popleft() if unit.exceptions else 0:
                raise _Refused(code)
            return _execute(unit, pdu)
        except _Refused as refused:
            return bytes((pdu[0] | 0x80, refused.code))

    def hear(self, request: bytes) -> list[bytes]:
        """Unit and PDU of a request on a serial line -> unit and PDU of the answer, if there is one."""
        unit_id, pdu = request[0], request[1:]
        if unit_id == BROADCAST and BROADCAST not in self.units:
            for each in self.units:  # a write to everybody; nobody answers
                self.answer(each, pdu)
            return []
        answer = self.answer(unit_id, pdu)
        return [] if answer is None else [request[:1] + answer]


class RtuLine:
    """The units of a bank as they hear a serial line, on which other protocols may be spoken too."""

    def __init__(self, bank: ModbusBank) -> None:
        self.bank = bank
        self._heard = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Any piece of what the master sends -> unit id and frame of each answer that is due."""
        self._heard += data
        answers: list[tuple[int, bytes]] = []
        while (found := _find_rtu_request(bytes(self._heard))) is not None:
            at, end = found
            request = bytes(self._heard[at : end - 2])
            del self._heard[:end]
            answers += [(body[0], body + crc16(body)) for body in self.bank.hear(request)]
        del self._heard[:-_MAX_FRAME]
        return answers

    def silence(self) -> None:
        """The line was quiet for longer than a frame may pause: what was begun will not be completed."""
        self._heard.clear()


class AsciiLine:
    """The units of a bank as they hear a serial line in ASCII framing."""

    def __init__(self, bank: ModbusBank) -> None:
        self.bank = bank
        self._heard = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """As RtuLine.feed."""
        self._heard += data
        answers: list[tuple[int, bytes]] = []
        while (end := self._heard.find(b"\r\n")) >= 0:
            line = bytes(self._heard[: end + 2])
            del self._heard[: end + 2]
            request = ascii_body(line[max(line.rfind(b":"), 0) :])  # a colon begins a frame, whatever came before
            if request is not None:
                answers += [(body[0], ascii_line(body)) for body in self.bank.hear(request)]
        del self._heard[:-_MAX_LINE]
        return answers

    def silence(self) -> None:
        """As RtuLine.silence."""
        self._heard.clear()


class TcpStream:
    """The units of a bank as they hear one TCP connection."""

    def __init__(self, bank: ModbusBank) -> None:
        self.bank = bank
        self._heard = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """As RtuLine.feed.  Raises ProtocolError for a stream that is not Modbus TCP: hang up."""
        self._heard += data
        answers: list[tuple[int, bytes]] = []
        while len(self._heard) >= 8:
            transaction_id, protocol, length, unit_id = struct.unpack_from(">HHHB", self._heard)
            if protocol or not 2 <= length <= 254:
                raise ProtocolError("not Modbus TCP", bytes(self._heard))
            if len(self._heard) < 6 + length:
                break
            pdu = bytes(self._heard[7 : 6 + length])
            del self._heard[: 6 + length]
            answer = self.bank.answer(unit_id, pdu)
            if answer is not None:
                header = struct.pack(">HHHB", transaction_id, 0, len(answer) + 1, unit_id)
                answers.append((unit_id, header + answer))
        return answers


@asynccontextmanager
async def serve_tcp(
    bank: ModbusBank,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    stream: Callable[[ModbusBank], RtuLine | AsciiLine | TcpStream] = TcpStream,
) -> AsyncIterator[int]:
    """Serve *bank* while the context is open; yields the port.  stream: RtuLine or AsciiLine behind a converter."""
    connections: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(stream(bank), connections), host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for transport in list(connections):
            transport.abort()
        await server.wait_closed()


class _Connection(asyncio.Protocol):
    def __init__(self, stream: RtuLine | AsciiLine | TcpStream, connections: set[asyncio.Transport]) -> None:
        self._stream = stream
        self._connections = connections
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        try:
            answers = self._stream.feed(data)
        except ProtocolError:
            self._transport.abort()
            return
        for _, frame in answers:
            self._transport.write(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        self._connections.discard(self._transport)


# ---------------------------------------------------------------------- requests


def _find_rtu_request(data: bytes) -> tuple[int, int] | None:
    """Begin and end of the first whole request; what stands before it is noise or somebody else's."""
    for at in range(len(data) - 3):
        size = _request_size(data[at + 1 : at + 8])
        end = at + 1 + size + 2
        if size and end <= len(data) and crc16(data[at : end - 2]) == data[end - 2 : end]:
            return at, end
    return None


def _request_size(pdu: bytes) -> int:
    """Bytes of the request that begins like this; 0 while it cannot be told.  Unknown functions count as 5."""
    if pdu[0] & 0x80:
        return 0
    if pdu[0] in (15, 16):
        return 6 + pdu[5] if len(pdu) > 5 else 0
    return _SIZE_OF_OTHERS.get(pdu[0], 5)


def _execute(unit: SimUnit, pdu: bytes) -> bytes:
    function = pdu[0]
    if function in _READ_TABLE:
        return _execute_read(unit, pdu)
    if function in _WRITE_TABLE:
        return _execute_write(unit, pdu)
    if function == _MASK_WRITE:
        return _execute_mask_write(unit, pdu)
    if function == _IDENTIFY and unit.identity:
        return _execute_identify(unit, pdu)
    if function == _REPORT_SERVER_ID and unit.server_id:
        return bytes((function, len(unit.server_id))) + unit.server_id
    raise _Refused(ILLEGAL_FUNCTION)


def _execute_read(unit: SimUnit, pdu: bytes) -> bytes:
    function = pdu[0]
    first, count = _words(pdu)
    limit = _MAX_READ[function] if function < 3 else unit.max_registers
    if not 1 <= count <= limit or len(pdu) != 5:
        raise _Refused(ILLEGAL_VALUE)
    found = unit.read(_READ_TABLE[function], first, count)
    data = _packed(found) if function < 3 else struct.pack(f">{count}H", *found)
    return bytes((function, len(data))) + data


def _execute_write(unit: SimUnit, pdu: bytes) -> bytes:
    first, second = _words(pdu)
    match pdu[0]:
        case 5:
            if second not in (0x0000, 0xFF00):
                raise _Refused(ILLEGAL_VALUE)
            new = [int(second != 0)]
        case 6:
            new = [second]
        case 15:
            _check_data(pdu, second, (second + 7) // 8)
            new = [pdu[6 + bit // 8] >> bit % 8 & 1 for bit in range(second)]
        case _:
            _check_data(pdu, second, 2 * second)
            new = list(struct.unpack_from(f">{second}H", pdu, 6))
    unit.write(_WRITE_TABLE[pdu[0]], first, new)
    return pdu[:5]


def _execute_mask_write(unit: SimUnit, pdu: bytes) -> bytes:
    """6.16: (current AND and_mask) OR (or_mask AND NOT and_mask)."""
    if len(pdu) != 7:
        raise _Refused(ILLEGAL_VALUE)
    address, keep, new = struct.unpack_from(">HHH", pdu, 1)
    (current,) = unit.read(Table.HOLDING, address, 1)
    unit.write(Table.HOLDING, address, [current & keep | new & ~keep & 0xFFFF])
    return pdu


def _execute_identify(unit: SimUnit, pdu: bytes) -> bytes:
    """6.21, for objects that fit into one answer: read code 1 gives objects 0 to 2, codes 2 and 3 the others too."""
    if len(pdu) != 4 or pdu[1] != 0x0E or pdu[2] not in (1, 2, 3):
        raise _Refused(ILLEGAL_VALUE)
    found = {number: text for number, text in unit.identity.items() if number >= pdu[3] and (pdu[2] > 1 or number < 3)}
    objects = b"".join(bytes((number, len(text))) + text.encode("ascii") for number, text in found.items())
    return pdu[:3] + bytes((pdu[2], 0, 0, len(found))) + objects


def _words(pdu: bytes) -> tuple[int, int]:
    if len(pdu) < 5:
        raise _Refused(ILLEGAL_VALUE)
    first, second = struct.unpack_from(">HH", pdu, 1)
    return first, second


def _check_data(pdu: bytes, count: int, size: int) -> None:
    if not 1 <= count <= _MAX_WRITE[pdu[0]] or len(pdu) != 6 + size or pdu[5] != size:
        raise _Refused(ILLEGAL_VALUE)


def _packed(bits: Sequence[int]) -> bytes:
    whole = sum(bool(bit) << place for place, bit in enumerate(bits))
    return whole.to_bytes((len(bits) + 7) // 8, "little")


# ---------------------------------------------------------------------- typed values


def _part(encode: Callable[[Value], Sequence[int]], source: Callable[[], Value], part: int) -> int:
    return encode(source())[part]


def _merged(below: Cell, own: int, cell: Cell) -> Cell:
    """A register with a point's *own* bits over what was there."""

    def merged() -> int:
        return (below() if callable(below) else below) & ~own | (cell() if callable(cell) else cell)

    return merged if callable(below) or callable(cell) else merged()
