"""Captured Modbus bytes explained (``gateway decode modbus-rtu``, ``modbus-tcp``, ``modbus-ascii``).  Never raises.

A Modbus frame does not say whether it is a request or a response.  The rule, applied to each frame in turn:

1. The length decides where it can.  A read request has 8 bytes (RTU), a response 5 + byte count; a response to
   function 15 or 16 has 8, a request 9 + byte count; an exception (function + 80h) is a response.
2. Where both lengths fit (functions 1 and 2 with a byte count of 3; 5, 6 and 22, whose response repeats the
   request) or none is known, the frame before it decides: after a request of the same unit and function comes
   its response.
3. Otherwise functions 1 and 2 at the very beginning are a response, and everything else is a request.

An RTU frame of a function whose length is not known here (8, 2B/0D, a vendor's own) is recognised where a frame
may begin, by a CRC that fits; in the midst of noise only known functions are looked for.

Registers and bits of a response are numbered from the address of the request before it, or from 0 without one.

Source: Modbus Application Protocol V1.1b3, clause 6; Modbus over Serial Line V1.02, 2.5.1 (RTU) and 2.5.2 (ASCII).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.modbus.codec import EXCEPTIONS, UNKNOWN, crc16

REQUEST, RESPONSE = "request", "response"
MAX_PDU = 253
_CRC = 2
_FIXED_REQUEST = {1: 5, 2: 5, 3: 5, 4: 5, 5: 5, 6: 5, 7: 1, 11: 1, 12: 1, 17: 1, 22: 7, 24: 3}
_FIXED_RESPONSE = {5: 5, 6: 5, 7: 2, 11: 5, 15: 5, 16: 5, 22: 7}
_COUNT_AT_REQUEST = {15: 5, 16: 5, 20: 1, 21: 1, 23: 9}
_COUNT_AT_RESPONSE = {1: 1, 2: 1, 3: 1, 4: 1, 12: 1, 17: 1, 20: 1, 21: 1, 23: 1}
_MAX_UNIT_RTU = 247
_HEX_DIGITS = frozenset(b"0123456789ABCDEFabcdef")


@dataclass(frozen=True, slots=True)
class _Shape:
    direction: str
    size: int
    """Bytes of the PDU."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A frame whose bounds are known."""

    at: int
    end: int
    unit_id: int
    pdu: bytes
    direction: str


# ---------------------------------------------------------------------- entry points


def decode_rtu(data: bytes) -> Decoded:
    found: list[_Found] = []
    fault: Fault | None = None
    at = 0
    while at < len(data):
        frame = _rtu_frame(data, at, found[-1] if found else None)
        if frame is None:
            after = _next_rtu_frame(data, at + 1, found[-1] if found else None)
            fault = fault or _rtu_fault(data, at, after)
            at = len(data) if after is None else after.at
            continue
        found.append(frame)
        at = frame.end
    return Decoded(tuple(_explained(found)), fault or _length_fault(found, 2) or _nothing(data))


def decode_tcp(data: bytes) -> Decoded:
    found: list[_Found] = []
    fault: Fault | None = None
    at = 0
    while at < len(data):
        problem = _mbap_fault(data, at)
        if problem is None:
            found.append(_tcp_frame(data, at, found[-1] if found else None))
            at = found[-1].end
            continue
        fault = fault or problem
        after = next((place for place in range(at + 1, len(data)) if _is_known_tcp_frame(data, place)), len(data))
        if after < len(data) and fault is problem:
            fault = Fault("noise", f"{after - at} 字节不是报文 {after - at} bytes that are no frame", at)
        at = after
    frames = tuple(_explained(found))
    return Decoded(frames, fault or _length_fault(found, 4) or _nothing(data))


def decode_ascii(data: bytes) -> Decoded:
    """Frames as they stand on an ASCII line: ``:``, pairs of hex digits, LRC, CR LF."""
    found: list[_Found] = []
    fault: Fault | None = None
    at = 0
    while at < len(data):
        start = data.find(b":", at)
        end = len(data) if start < 0 else data.find(b"\n", start) + 1 or len(data)
        frame = None if start != at else _ascii_frame(data, at, end, found[-1] if found else None)
        if isinstance(frame, _Found):
            found.append(frame)
        else:
            fault = fault or frame or Fault("noise", "报文前有其他字符 characters that are no frame", at)
        at = end if start == at or start < 0 else start
    return Decoded(tuple(_explained(found)), fault or _nothing(data))


def _ascii_frame(data: bytes, at: int, end: int, before: _Found | None) -> _Found | Fault:
    """The frame of the line ``data[at:end]``, which begins with a colon."""
    line = data[at + 1 : end]
    if not line.endswith(b"\r\n"):
        return Fault("truncated", "报文不完整 the frame does not end in CR LF", len(data[:end]))
    digits = line[:-2]
    if len(digits) % 2 or len(digits) < 6 or not _HEX_DIGITS.issuperset(digits):
        return Fault("bad_characters", "不是成对的十六进制字符 not pairs of hex digits", at + 1)
    body = bytes.fromhex(digits.decode("ascii"))
    if sum(body) & 0xFF:
        want = -sum(body[:-1]) & 0xFF
        return Fault("bad_checksum", f"LRC 错误 LRC is {body[-1]:02X}, should be {want:02X}", end - 4)
    unit_id, pdu = body[0], body[1:-1]
    directions = [shape.direction for shape in _shapes(pdu) if shape.size == len(pdu)]
    return _Found(at, end, unit_id, pdu, _direction(directions, unit_id, pdu, before))


def _nothing(data: bytes) -> Fault | None:
    return None if data else Fault("no_frame", "没有报文 no bytes", 0)


# ---------------------------------------------------------------------- RTU: where frames begin and end


def _rtu_frame(data: bytes, at: int, before: _Found | None, *, known_only: bool = False) -> _Found | None:
    """The frame that begins exactly at *at* and whose CRC is right."""
    if len(data) - at < 4:
        return None
    shapes = _shapes(data[at + 1 : at + 1 + MAX_PDU])
    sizes = [shape.size for shape in shapes] + ([] if known_only else _other_sizes(len(data) - at, known=bool(shapes)))
    size = next((size for size in sizes if _crc_is_right(data, at, size)), None)
    if size is None:
        return None
    pdu = data[at + 1 : at + 1 + size]
    directions = [shape.direction for shape in shapes if shape.size == size]
    return _Found(at, at + 1 + size + _CRC, data[at], pdu, _direction(directions, data[at], pdu, before))


def _next_rtu_frame(data: bytes, start: int, before: _Found | None) -> _Found | None:
    """Functions of our own table only: in noise, sixteen bits of CRC alone would find frames that are none."""
    frames = (_rtu_frame(data, at, before, known_only=True) for at in range(start, len(data) - 3))
    return next((frame for frame in frames if frame is not None and frame.unit_id <= _MAX_UNIT_RTU), None)


def _crc_is_right(data: bytes, at: int, size: int) -> bool:
    end = at + 1 + size
    return end + _CRC <= len(data) and crc16(data[at:end]) == data[end : end + _CRC]


def _other_sizes(available: int, *, known: bool) -> list[int]:
    """Sizes that only the CRC can prove: all of the bytes, and of a function we do not know any part of them."""
    longest = min(available - 1 - _CRC, MAX_PDU)
    return [longest] if known else [longest, *range(1, longest)]


def _rtu_fault(data: bytes, at: int, after: _Found | None) -> Fault:
    rest = data[at:] if after is None else data[at : after.at]
    ends = sorted(1 + shape.size + _CRC for shape in _shapes(rest[1:]))
    beyond = [end for end in ends if end > len(rest)]
    if len(rest) in ends or (after is None and ends and not beyond):
        end = len(rest) if len(rest) in ends else ends[-1]
        want, have = crc16(rest[: end - _CRC]).hex(" "), rest[end - _CRC : end].hex(" ")
        return Fault("bad_checksum", f"CRC 错误 CRC is {have}, should be {want}", at + end - _CRC)
    if after is not None:
        return Fault("noise", f"{len(rest)} 字节不是报文 {len(rest)} bytes that are no frame", at)
    if beyond or len(rest) < 4:
        return _truncated(data, at, beyond[0] if beyond else 4)
    return Fault("bad_checksum", f"CRC 错误 function {rest[1]:02X}: no length gives a right CRC", at)


def _truncated(data: bytes, at: int, need: int) -> Fault:
    have = len(data) - at
    return Fault("truncated", f"报文不完整 the frame ends after {have} of at least {need} bytes", len(data))


# ---------------------------------------------------------------------- TCP: the MBAP header


def _mbap_fault(data: bytes, at: int) -> Fault | None:
    """Why no frame stands at *at*; None when a whole one does."""
    if len(data) - at < 8:
        return _truncated(data, at, 8)
    _, protocol, length = struct.unpack_from(">HHH", data, at)
    if protocol:
        return Fault("bad_header", f"协议标识错误 protocol identifier is {protocol:#06x}, must be 0", at + 2)
    if not 2 <= length <= MAX_PDU + 1:
        return Fault("bad_length", f"长度错误 length field says {length}, must be 2..{MAX_PDU + 1}", at + 4)
    if len(data) - at < 6 + length:
        return _truncated(data, at, 6 + length)
    return None


def _tcp_frame(data: bytes, at: int, before: _Found | None) -> _Found:
    (length,) = struct.unpack_from(">H", data, at + 4)
    pdu = data[at + 7 : at + 6 + length]
    directions = [shape.direction for shape in _shapes(pdu) if shape.size == len(pdu)]
    unit_id = data[at + 6]
    return _Found(at, at + 6 + length, unit_id, pdu, _direction(directions, unit_id, pdu, before))


def _is_known_tcp_frame(data: bytes, at: int) -> bool:
    return _mbap_fault(data, at) is None and _fits(_tcp_frame(data, at, None).pdu)


def _fits(pdu: bytes) -> bool:
    return len(pdu) in (shape.size for shape in _shapes(pdu))


def _length_fault(found: list[_Found], offset: int) -> Fault | None:
    """The first frame whose length is not what its function demands.  offset: where in it the length is said."""
    for frame in found:
        sizes = sorted({shape.size for shape in _shapes(frame.pdu)})
        if sizes and len(frame.pdu) not in sizes:
            wanted = " or ".join(str(size + 1) for size in sizes)
            text = f"长度错误 {len(frame.pdu) + 1} bytes from the unit on, function {frame.pdu[0]:02X} needs {wanted}"
            return Fault("bad_length", text, frame.at + offset)
    return None


# ---------------------------------------------------------------------- request or response


def _shapes(pdu: bytes) -> list[_Shape]:
    """What a PDU that begins like this can be, with its size; empty for a function that is not in the tables."""
    if not pdu:
        return []
    function = pdu[0]
    if function & 0x80:
        return [_Shape(RESPONSE, 2)] if 1 <= function & 0x7F <= 0x2B else []
    if function == 0x2B:
        return _device_identification_shapes(pdu)
    shapes = []
    if function in _COUNT_AT_RESPONSE and len(pdu) > 1 and _byte_count_fits(function, pdu[1]):
        shapes.append(_Shape(RESPONSE, _COUNT_AT_RESPONSE[function] + 1 + pdu[1]))
    if function in _FIXED_REQUEST:
        shapes.append(_Shape(REQUEST, _FIXED_REQUEST[function]))
    if (at := _COUNT_AT_REQUEST.get(function)) is not None and len(pdu) > at:
        shapes.append(_Shape(REQUEST, at + 1 + pdu[at]))
    if function in _FIXED_RESPONSE:
        shapes.append(_Shape(RESPONSE, _FIXED_RESPONSE[function]))
    if function == 24 and len(pdu) > 2:
        shapes.append(_Shape(RESPONSE, 3 + int.from_bytes(pdu[1:3], "big")))
    return [shape for shape in shapes if shape.size <= MAX_PDU]


def _byte_count_fits(function: int, byte_count: int) -> bool:
    """A read answers at least one byte, and two for each register."""
    return byte_count > 0 and not (function in (3, 4, 23) and byte_count % 2)


def _device_identification_shapes(pdu: bytes) -> list[_Shape]:
    """Function 2B/0E: a request of 4 bytes, a response with a list of objects (6.21).  Others by their CRC only."""
    if len(pdu) < 2 or pdu[1] != 0x0E:
        return []
    shapes = [_Shape(REQUEST, 4)]
    if len(pdu) >= 7:
        at = 7
        for _ in range(pdu[6]):
            at += 2 + (pdu[at + 1] if at + 1 < len(pdu) else MAX_PDU)
        shapes.append(_Shape(RESPONSE, at))
    return [shape for shape in shapes if shape.size <= MAX_PDU]


def _direction(possible: list[str], unit_id: int, pdu: bytes, before: _Found | None) -> str:
    asked = _asked_by(before, unit_id, pdu[0])
    if len(set(possible)) == 1 and pdu[0] in (*_FIXED_REQUEST, *_FIXED_RESPONSE, *_COUNT_AT_REQUEST, 0x2B):
        return possible[0]
    if pdu[0] & 0x80 or asked:
        return RESPONSE
    if pdu[0] in (1, 2) and before is None:
        return RESPONSE
    return REQUEST


def _asked_by(before: _Found | None, unit_id: int, function: int) -> bool:
    return (
        before is not None
        and before.direction == REQUEST
        and before.unit_id == unit_id
        and before.pdu[0] == function & 0x7F
    )


# ---------------------------------------------------------------------- what stands in a frame


def _explained(found: list[_Found]) -> Iterator[DecodedFrame]:
    before: _Found | None = None
    for frame in found:
        asked = before if before is not None and _asked_by(before, frame.unit_id, frame.pdu[0]) else None
        yield _explain(frame, asked)
        before = frame


def _explain(frame: _Found, request: _Found | None) -> DecodedFrame:
    function = frame.pdu[0]
    told = DecodedFrame(frame.direction, str(frame.unit_id), f"{function & 0x7F:02X}")
    if function & 0x80:
        code = frame.pdu[1] if len(frame.pdu) > 1 else 0
        name, _ = EXCEPTIONS.get(code, UNKNOWN)
        return replace(told, error=Fault(f"{code:02X}", name))
    try:
        items = tuple(_items(frame, request))
    except (struct.error, IndexError):  # shorter than its function demands; decode_tcp reports the length
        items = (_rest(frame.pdu),)
    return replace(told, items=items)


def _items(frame: _Found, request: _Found | None) -> Iterator[Field]:
    pdu = frame.pdu
    first, count = struct.unpack_from(">HH", request.pdu, 1) if request and len(request.pdu) >= 5 else (0, None)
    match pdu[0], frame.direction:
        case ((1 | 2 | 3 | 4), "request"):
            yield from _pair(pdu, "count")
        case ((1 | 2), _):
            yield from _bits(pdu[2 : 2 + pdu[1]], first, count, "coil" if pdu[0] == 1 else "input")
        case ((3 | 4), _):
            yield from _registers(pdu[2 : 2 + pdu[1]], first)
        case 5, _:
            yield from _pair(pdu, "value")
            address, value = struct.unpack_from(">HH", pdu, 1)
            if value in (0x0000, 0xFF00):
                yield Field(f"coil {address}", int(value != 0))
        case 6, _:
            address, value = struct.unpack_from(">HH", pdu, 1)
            yield Field("address", address)
            yield Field(f"register {address}", value)
        case ((15 | 16), "response"):
            yield from _pair(pdu, "count")
        case 15, _:
            yield from _pair(pdu, "count")
            address, bits = struct.unpack_from(">HH", pdu, 1)
            yield from _bits(pdu[6 : 6 + pdu[5]], address, bits, "coil")
        case 16, _:
            yield from _pair(pdu, "count")
            yield from _registers(pdu[6 : 6 + pdu[5]], struct.unpack_from(">H", pdu, 1)[0])
        case 22, _:
            for name, value in zip(("address", "and_mask", "or_mask"), struct.unpack_from(">HHH", pdu, 1), strict=True):
                yield Field(name, value)
        case 23, "request":
            names = ("read_address", "read_count", "write_address", "write_count")
            for name, value in zip(names, struct.unpack_from(">HHHH", pdu, 1), strict=True):
                yield Field(name, value)
            yield from _registers(pdu[10 : 10 + pdu[9]], struct.unpack_from(">H", pdu, 5)[0])
        case 23, _:
            yield from _registers(pdu[2 : 2 + pdu[1]], first)
        case 0x2B, "response" if pdu[1] == 0x0E:
            yield from _identification(pdu)
        case _:
            if len(pdu) > 1:
                yield _rest(pdu)


def _pair(pdu: bytes, second: str) -> Iterator[Field]:
    address, number = struct.unpack_from(">HH", pdu, 1)
    yield Field("address", address)
    yield Field(second, number)


def _registers(data: bytes, first: int) -> Iterator[Field]:
    for place, (value,) in enumerate(struct.iter_unpack(">H", data[: len(data) // 2 * 2])):
        yield Field(f"register {first + place}", value)


def _bits(data: bytes, first: int, count: int | None, name: str) -> Iterator[Field]:
    """*count* None: nobody said how many of the last byte's bits were asked for, so all of them."""
    for place in range(len(data) * 8 if count is None else min(count, len(data) * 8)):
        yield Field(f"{name} {first + place}", data[place // 8] >> place % 8 & 1)


def _identification(pdu: bytes) -> Iterator[Field]:
    yield Field("conformity", pdu[3])
    at = 7
    for _ in range(pdu[6]):
        number, size = pdu[at], pdu[at + 1]
        yield Field(f"object {number}", pdu[at + 2 : at + 2 + size].decode("ascii", "replace"))
        at += 2 + size


def _rest(pdu: bytes) -> Field:
    return Field("data", pdu[1:].hex(" "))
