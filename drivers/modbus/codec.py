"""Requests and answers without their framing, and the one seam to pymodbus.

pymodbus (3.16.1) supplies the PDU classes and the CRC.  Its clients, framers and transports are not used: they return
another register's value after a late reply on a serial line, and compare neither the function nor the length of a
reply with what was asked.  Here a request knows how its answer must begin and how long it must be; framing.py finds it.

    function, byte count or echo | data          a request's ``answer_head``, ``answer_size``

Nothing here waits or keeps state.  Source: Modbus Application Protocol V1.1b3, clauses 6 and 7.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadCoilsResponse,
    ReadDiscreteInputsRequest,
    ReadDiscreteInputsResponse,
    WriteMultipleCoilsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.register_message import (
    MaskWriteRegisterRequest,
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
REFUSED = 0x80
"""Added to the function code of an exception response."""
REPORT_SERVER_ID, IDENTIFY = 17, 0x2B
_READ_IDENTIFICATION = bytes((IDENTIFY, 0x0E, 1, 0))  # basic objects, from the first (6.21)
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, ACKNOWLEDGE = 1, 2, 3, 5
NOBODY_THERE: Final = (10, 11)
"""A converter's words for a unit that it cannot reach."""

EXCEPTIONS: Final = {
    1: (
        "非法功能码 illegal function",
        "设备不认识该功能码，检查测点的 table 与 write_function / "
        "this device does not know the function: check the point's table or write_function",
    ),
    2: (
        "非法数据地址 illegal data address",
        "对照说明书检查测点的 address（从 0 起）与 table / "
        "check the point's address (0-based) and table against the manual",
    ),
    3: (
        "非法数据值 illegal data value",
        "值或一次读取的寄存器数（max_registers）过大 / "
        "the value, or the number of registers in one request (max_registers), is too large",
    ),
    4: (
        "设备故障 server device failure",
        "设备执行请求时出错，请查看设备本身 / "
        "the device failed while it worked on the request: look at the device itself",
    ),
    5: ("已接受，处理中 acknowledge", "设备需要较长时间，请稍后再读 / the device needs long for this: ask again later"),
    6: (
        "设备忙 server device busy",
        "设备正在执行其他命令，请稍后再试 / the device is busy with another command: ask again later",
    ),
    7: (
        "不能执行 negative acknowledge",
        "设备不能执行该编程功能 / the device cannot carry out the programming function",
    ),
    8: ("存储器校验错误 memory parity error", "设备存储器损坏 / the device's memory is damaged"),
    10: (
        "网关路径不可用 gateway path unavailable",
        "转换器没有到该站号的通路，检查其端口设置与负载 / "
        "the converter has no way to this unit: check its port settings and load",
    ),
    11: (
        "网关后的设备无应答 gateway target device failed to respond",
        "转换器后的设备无应答，检查供电、接线、unit_id / "
        "the unit behind the converter is silent: power, wiring, unit_id",
    ),
}
"""Code -> the standard's name (7 from the 1996 edition) and what a person can do."""

UNKNOWN: Final = ("标准之外的异常码 exception code outside the standard", "见设备说明书 / see the device's manual")


@dataclass(frozen=True, slots=True)
class Request:
    """One request, ready for any framing, and the beginning and size that an answer to it must have."""

    unit_id: int
    function: int
    count: int
    """Registers or bits asked for; of a write, written."""
    pdu: bytes
    answer_head: bytes
    """Function and byte count of a read; everything of a write, whose answer repeats it."""
    answer_size: int | None
    """Bytes of the answer's PDU; None where only the answer says how long it is (``measured``)."""

    @property
    def echo_confirms(self) -> bool:
        """Whether the device's answer is byte for byte the request (functions 5, 6 and 22)."""
        return self.answer_head == self.pdu and self.answer_size == len(self.pdu)

    def size(self, answer: bytes) -> int | None:
        """Bytes that the answer's PDU has whose beginning *answer* is; None while that cannot be told."""
        if answer[:1] == bytes((self.function | REFUSED,)):
            return 2
        return measured(answer) if self.answer_size is None else self.answer_size


@dataclass(frozen=True, slots=True)
class Answer:
    frame: bytes
    registers: Sequence[int] = ()
    bits: Sequence[bool] = ()
    """As many as were asked for."""
    exception: int | None = None
    after_echo: bool = False
    """The adapter had sent the request back first."""
    pdu: bytes = b""


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


def mask_request(unit_id: int, address: int, mask: int, bits: int) -> Request:
    """Function 22: the device itself changes the register's bits in *mask* to those of *bits*, and no others."""
    keep = ~mask & 0xFFFF
    pdu = MaskWriteRegisterRequest(dev_id=unit_id, address=address, and_mask=keep, or_mask=bits)
    return _request(unit_id, pdu, 1, None, 7)


def identity_requests(unit_id: int) -> tuple[Request, Request]:
    """Functions 43/14 (device identification) and 17 (report server id): the answers are of any length."""
    identify = Request(unit_id, IDENTIFY, 0, _READ_IDENTIFICATION, _READ_IDENTIFICATION[:3], None)
    return identify, Request(unit_id, REPORT_SERVER_ID, 0, b"\x11", b"\x11", None)


def _request(unit_id: int, message: ModbusPDU, count: int, head: bytes | None, size: int) -> Request:
    try:
        pdu = message.function_code.to_bytes(1, "big") + message.encode()
    except (ModbusException, ValueError, struct.error, OverflowError) as exc:
        raise ProtocolError(f"no such request: {exc}") from exc
    return Request(unit_id, message.function_code, count, pdu, pdu[:size] if head is None else head, size)


# ---------------------------------------------------------------------- answers


def understood(request: Request, frame: bytes, pdu: bytes, *, after_echo: bool = False) -> Answer:
    """What a PDU says that begins and ends as *request* demands."""
    if pdu[0] & REFUSED:
        return Answer(frame, exception=pdu[1], after_echo=after_echo, pdu=pdu)
    if request.function not in _READS:
        return Answer(frame, after_echo=after_echo, pdu=pdu)
    message = _READS[request.function][1]()
    try:
        message.decode(pdu[1:])
    except (ModbusException, ValueError, IndexError, struct.error) as exc:  # lengths were checked: a bug in pymodbus
        raise ProtocolError(f"pymodbus could not decode a sound answer: {exc}", frame) from exc
    return Answer(frame, message.registers, message.bits[: request.count], after_echo=after_echo, pdu=pdu)


def measured(pdu: bytes) -> int | None:
    """Bytes of an answer to function 17 or 43/14, of which *pdu* is the beginning; None while it does not say."""
    if pdu[0] == REPORT_SERVER_ID:
        return 2 + pdu[1] if len(pdu) > 1 else None
    at = 7
    for _ in range(pdu[6] if len(pdu) > 6 else 0):
        if at + 1 >= len(pdu):
            return None
        at += 2 + pdu[at + 1]
    return at if len(pdu) > 6 else None


def identity(answer: Answer) -> str:
    """What the answer to one of ``identity_requests`` tells of the device, for people; empty for a refusal."""
    if answer.exception is not None:
        return ""
    if answer.pdu[0] == REPORT_SERVER_ID:
        return _text(answer.pdu[2:])
    words, at = [], 7
    for _ in range(answer.pdu[6]):
        words.append(_text(answer.pdu[at + 2 : at + 2 + answer.pdu[at + 1]]))
        at += 2 + answer.pdu[at + 1]
    return " ".join(word for word in words if word)


def _text(data: bytes) -> str:
    """The text, or what is text in it (a server id is "device specific": texts among numbers), else hex."""
    whole = data.strip(b"\0 ")
    if whole.isascii() and whole.decode("ascii").isprintable():
        return whole.decode("ascii")
    words = "".join(chr(byte) if 0x20 < byte < 0x7F else " " for byte in data).split()
    return " ".join(word for word in words if len(word) > 2) or data.hex(" ")


def refusal(code: int) -> DeviceRejected:
    """The error for an exception response."""
    name, hint = EXCEPTIONS.get(code, UNKNOWN)
    return DeviceRejected(f"设备拒绝 the device refused: {name} (exception {code})", code, hint=hint)


# ---------------------------------------------------------------------- checksum


def crc16(data: bytes) -> bytes:
    """The two bytes as they follow on the wire, low byte first."""
    return FramerRTU.compute_CRC(data).to_bytes(2, "big")
