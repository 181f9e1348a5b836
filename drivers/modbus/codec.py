"""The one seam to pymodbus: requests become bytes, bytes become the answer to one request or nothing.

pymodbus (3.16.1) supplies the PDU classes, the framing and the CRC.  Its clients and transports are not used:
they return another register's value after a late reply on a serial line, and compare neither the function nor
the length of a reply with what was asked.  Here an answer has to begin exactly as the request demands:

    RTU   unit | function, byte count or echo | data            | CRC
    TCP   transaction, 0, length, unit | function, byte count or echo | data

Whatever stands before it (noise, an adapter's echo, frames of others, answers to earlier transactions) is passed
over.  Nothing here waits or keeps state.

Source: Modbus Application Protocol V1.1b3, clauses 6 and 7; Modbus over Serial Line V1.02, 2.5.1;
Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadCoilsResponse,
    ReadDiscreteInputsRequest,
    ReadDiscreteInputsResponse,
    WriteMultipleCoilsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from gateway.errors import DeviceRejected, ProtocolError

_READS: Final = {
    1: (ReadCoilsRequest, ReadCoilsResponse),
    2: (ReadDiscreteInputsRequest, ReadDiscreteInputsResponse),
    3: (ReadHoldingRegistersRequest, ReadHoldingRegistersResponse),
    4: (ReadInputRegistersRequest, ReadInputRegistersResponse),
}
_RTU: Final = FramerRTU(DecodePDU(is_server=False))
_TCP: Final = FramerSocket(DecodePDU(is_server=False))
_MBAP: Final = struct.Struct(">HHHB")
_REFUSED = 0x80
"""Added to the function code of an exception response."""
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
GATEWAY_NO_PATH, GATEWAY_NO_ANSWER = 10, 11

EXCEPTIONS: Final = {
    1: ("illegal function", "this device does not know the function: check the point's table or write_function"),
    2: ("illegal data address", "check the point's address (0-based) and table against the manual"),
    3: ("illegal data value", "the value, or the number of registers in one request (max_registers), is too large"),
    4: ("server device failure", "the device failed while it worked on the request: look at the device itself"),
    5: ("acknowledge", "the device needs long for this: ask again later"),
    6: ("server device busy", "the device is busy with another command: ask again later"),
    7: ("negative acknowledge", "the device cannot carry out the programming function"),
    8: ("memory parity error", "the device's memory is damaged"),
    10: ("gateway path unavailable", "the converter has no way to this unit: check its port settings and load"),
    11: ("gateway target device failed to respond", "the unit behind the converter is silent: power, wiring, unit_id"),
}
"""Code -> the standard's name (7 from the 1996 edition) and what a person can do."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready for either framing, and the beginning and size that an answer to it must have."""

    unit_id: int
    function: int
    count: int
    """Registers or bits asked for; of a write, written."""
    pdu: bytes
    answer_head: bytes
    """Function and byte count of a read; everything of a write, whose answer repeats it."""
    answer_size: int
    """Bytes of the answer's PDU."""
    rtu: bytes = field(repr=False)
    """The whole frame for a serial line."""

    @property
    def echo_confirms(self) -> bool:
        """Whether the device's answer is byte for byte the request (functions 5 and 6)."""
        return self.answer_head == self.pdu


@dataclass(frozen=True, slots=True)
class Answer:
    frame: bytes
    registers: Sequence[int] = ()
    bits: Sequence[bool] = ()
    """As many as were asked for."""
    exception: int | None = None
    after_echo: bool = False
    """The adapter had sent the request back first."""


def quiet_pymodbus() -> None:
    """Its framers log every byte at DEBUG and formats at ERROR what we report ourselves."""
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


# ---------------------------------------------------------------------- requests


def read_request(unit_id: int, function: int, address: int, count: int) -> Request:
    """function: 1 to 4.  Raises ProtocolError for an address or count that the standard does not allow."""
    size = (count + 7) // 8 if function < 3 else 2 * count
    pdu = _READS[function][0](dev_id=unit_id, address=address, count=count)
    return _request(unit_id, pdu, count, bytes((function, size & 0xFF)), 2 + size)


def write_request(unit_id: int, function: int, address: int, values: Sequence[int]) -> Request:
    """function: 5, 6, 15 or 16; values: 0..65535 each, of coils 0 or 1.  Raises ProtocolError as read_request does."""
    pdu: ModbusPDU
    match function:
        case 5:
            pdu = WriteSingleCoilRequest(dev_id=unit_id, address=address, bits=[bool(values[0])])
        case 6:
            pdu = WriteSingleRegisterRequest(dev_id=unit_id, address=address, registers=list(values[:1]))
        case 15:
            pdu = WriteMultipleCoilsRequest(dev_id=unit_id, address=address, bits=[bool(value) for value in values])
        case _:
            pdu = WriteMultipleRegistersRequest(dev_id=unit_id, address=address, registers=list(values))
    return _request(unit_id, pdu, len(values), None, 5)


def _request(unit_id: int, message: ModbusPDU, count: int, head: bytes | None, size: int) -> Request:
    try:
        pdu = message.function_code.to_bytes(1, "big") + message.encode()
        rtu = _RTU.encode(pdu, unit_id, 0)
    except (ModbusException, ValueError, struct.error, OverflowError) as exc:
        raise ProtocolError(f"no such request: {exc}") from exc
    return Request(unit_id, message.function_code, count, pdu, pdu[:5] if head is None else head, size, rtu)


def tcp_frame(request: Request, transaction_id: int) -> bytes:
    return _TCP.encode(request.pdu, request.unit_id, transaction_id)


# ---------------------------------------------------------------------- answers


def rtu_answer(request: Request, data: bytes, *, line_echoes: bool = False) -> Answer | None:
    """The frame in *data* that answers *request*, or None while there is none.

    line_echoes: whether the adapter is known to send back what it transmits.  It matters only where the answer
    equals the request: the first copy is then the adapter's and proves nothing.
    """
    start = 0
    if (line_echoes or not request.echo_confirms) and (echo := data.find(request.rtu)) >= 0:
        start = echo + len(request.rtu)
    unit = request.unit_id.to_bytes(1, "big")
    found = _checked(data, start, unit + request.answer_head, request.answer_size + 3)
    if found is None:
        found = _checked(data, start, unit + bytes((request.function | _REFUSED,)), 5)
    return None if found is None else _understood(request, *found, after_echo=start > 0)


def _checked(data: bytes, start: int, head: bytes, size: int) -> tuple[bytes, bytes] | None:
    """Frame and PDU of the first that begins with *head*, is *size* bytes long and whose CRC is right."""
    at = data.find(head, start)
    while 0 <= at <= len(data) - size:
        frame = data[at : at + size]
        _, _, _, pdu = _RTU.decode(frame)
        if pdu:
            return frame, pdu
        at = data.find(head, at + 1)
    return None


def tcp_answer(request: Request, transaction_id: int, data: bytes) -> Answer | None:
    """The frame in *data* that answers *request* sent as *transaction_id*, or None while there is none."""
    for length, head in (
        (request.answer_size, request.answer_head),
        (2, bytes((request.function | _REFUSED,))),
    ):
        at = data.find(_MBAP.pack(transaction_id, 0, length + 1, request.unit_id) + head)
        if 0 <= at <= len(data) - _MBAP.size - length:
            frame = data[at : at + _MBAP.size + length]
            _, _, _, pdu = _TCP.decode(frame)
            return _understood(request, frame, pdu, after_echo=False)
    return None


def _understood(request: Request, frame: bytes, pdu: bytes, *, after_echo: bool) -> Answer:
    if pdu[0] & _REFUSED:
        return Answer(frame, exception=pdu[1], after_echo=after_echo)
    if request.function not in _READS:
        return Answer(frame, after_echo=after_echo)
    message = _READS[request.function][1]()
    try:
        message.decode(pdu[1:])
    except (ModbusException, ValueError, IndexError, struct.error) as exc:  # lengths were checked: a bug in pymodbus
        raise ProtocolError(f"pymodbus could not decode a sound answer: {exc}", frame) from exc
    return Answer(frame, message.registers, message.bits[: request.count], after_echo=after_echo)


def refusal(code: int) -> DeviceRejected:
    """The error for an exception response."""
    name, hint = EXCEPTIONS.get(code, ("exception code outside the standard", "see the device's manual"))
    return DeviceRejected(f"the device refused: {name} (exception {code})", code, hint=hint)


# ---------------------------------------------------------------------- checksum


def crc16(data: bytes) -> bytes:
    """The two bytes as they follow on the wire, low byte first."""
    return FramerRTU.compute_CRC(data).to_bytes(2, "big")
