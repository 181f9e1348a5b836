"""Answers that lie: one thing in the frame is another than what was asked for, and the checksum is right all the same.

One ``Forge`` (faults.py) per protocol; whoever builds a simulated line gives it to the line with the devices.
"""

from __future__ import annotations

import random
import struct
from dataclasses import replace

from drivers.cjt188 import frame as cjt188_frame
from drivers.dlt645 import frame as dlt645_frame
from drivers.mbus import frame as mbus_frame
from drivers.modbus.codec import crc16
from drivers.modbus.framing import ascii_body, ascii_line
from gateway.sim.faults import Twist

_WAKE_UP = b"\xfe"
_MOST_WAKE_UPS = 13
_MOST_EXTRA = 8
_MOST_DATA = 252
_FUNCTIONS = (1, 2, 3, 4, 16, 0x83)
_MBAP = struct.Struct(">HHHB")


def dlt645(answer: bytes, twist: Twist, chance: random.Random) -> bytes:
    body = answer.lstrip(_WAKE_UP)
    preamble = len(answer) - len(body)
    frame = dlt645_frame.Frame.from_bytes(body)
    match twist:
        case Twist.PREAMBLE:
            preamble = chance.randint(0, _MOST_WAKE_UPS)
        case Twist.ADDRESS:
            frame = replace(frame, address=_other_digits(frame.address, chance))
        case Twist.FUNCTION:
            frame = replace(frame, control=frame.control ^ chance.randint(1, 0x1F))
        case Twist.REFERENCE if len(frame.data) >= 4:
            frame = replace(frame, data=_one_byte_other(frame.data, chance.randrange(4), chance))
        case Twist.SHORT | Twist.LONG:
            frame = replace(frame, data=_resized(frame.data, twist, chance))
    return frame.to_bytes(preamble)


def cjt188(answer: bytes, twist: Twist, chance: random.Random) -> bytes:
    body = answer.lstrip(_WAKE_UP)
    preamble = len(answer) - len(body)
    frame = cjt188_frame.Frame.from_bytes(body)
    match twist:
        case Twist.PREAMBLE:
            preamble = chance.randint(0, _MOST_WAKE_UPS)
        case Twist.ADDRESS:
            frame = replace(frame, address=_other_digits(frame.address, chance))
        case Twist.FUNCTION:
            frame = replace(frame, control=frame.control ^ chance.randint(1, 0x1F))
        case Twist.REFERENCE:
            sequence = 0 if frame.refused else 2
            frame = replace(frame, data=_one_byte_other(frame.data, sequence, chance))
        case Twist.SHORT | Twist.LONG:
            frame = replace(frame, data=_resized(frame.data, twist, chance))
    return frame.to_bytes(preamble)


def mbus(answer: bytes, twist: Twist, chance: random.Random) -> bytes:
    """An acknowledgement has nothing that could be wrong; an answer does not say what it answers.

    Another meter has another identification too: the first four bytes of every answer's header.
    """
    if answer == mbus_frame.ACK:
        return answer
    frame = mbus_frame.Frame.from_bytes(answer)
    match twist:
        case Twist.ADDRESS:
            frame = replace(
                frame,
                address=(frame.address + chance.randint(1, 255)) % 256,
                data=_other_identification(frame.data, chance),
            )
        case Twist.FUNCTION:
            frame = replace(frame, control=frame.control ^ chance.randint(1, 0x0F))
        case Twist.SHORT | Twist.LONG:
            frame = replace(frame, data=_resized(frame.data, twist, chance))
    return frame.to_bytes()


def modbus_rtu(answer: bytes, twist: Twist, chance: random.Random) -> bytes:
    """An answer does not say what it answers, and nothing stands before it."""
    body = _modbus(answer[0], answer[1:-2], twist, chance)
    return body + crc16(body)


def modbus_ascii(answer: bytes, twist: Twist, chance: random.Random) -> bytes:
    """As RTU, in hex digits."""
    body = ascii_body(answer)
    return answer if body is None else ascii_line(_modbus(body[0], body[1:], twist, chance))


def modbus_tcp(answer: bytes, twist: Twist, chance: random.Random) -> bytes:
    """The length in the header is right for what follows."""
    transaction, protocol, _, unit = _MBAP.unpack_from(answer)
    if twist is Twist.REFERENCE:
        transaction = (transaction + chance.randint(1, 0xFFFF)) % 0x10000
    body = _modbus(unit, answer[_MBAP.size :], twist, chance)
    return _MBAP.pack(transaction, protocol, len(body), body[0]) + body[1:]


def _modbus(unit: int, pdu: bytes, twist: Twist, chance: random.Random) -> bytes:
    """Unit and PDU.  A length that is wrong is said to be right: the byte count fits the data, as often as not."""
    match twist:
        case Twist.ADDRESS:
            unit = chance.choice([other for other in range(1, 248) if other != unit])
        case Twist.FUNCTION:
            pdu = bytes((chance.choice([code for code in _FUNCTIONS if code != pdu[0]]),)) + pdu[1:]
        case Twist.SHORT | Twist.LONG:
            data = _resized(pdu[2:], twist, chance)
            count = chance.choice((len(data) & 0xFF, pdu[1]))
            pdu = bytes((pdu[0], count)) + data
    return bytes((unit,)) + pdu


def _other_digits(address: str, chance: random.Random) -> str:
    """The address with one decimal digit changed."""
    at = chance.randrange(2, len(address))
    digit = chance.choice([digit for digit in "0123456789" if digit != address[at]])
    return address[:at] + digit + address[at + 1 :]


def _other_identification(data: bytes, chance: random.Random) -> bytes:
    digits = data[:4].hex()
    return bytes.fromhex(_other_digits(digits, chance)) + data[4:] if digits.isdecimal() else data


def _one_byte_other(data: bytes, at: int, chance: random.Random) -> bytes:
    return data[:at] + bytes((data[at] ^ chance.randint(1, 255),)) + data[at + 1 :]


def _resized(data: bytes, twist: Twist, chance: random.Random) -> bytes:
    """No longer than a frame of any protocol can hold."""
    if twist is Twist.LONG:
        return (data + chance.randbytes(chance.randint(1, _MOST_EXTRA)))[: max(_MOST_DATA, len(data))]
    return data[: -chance.randint(1, len(data))] if data else data
