"""The UHPPOTE packet: 64 bytes, integers little endian, dates in BCD, no checksum, no authentication.  Pure.

An event as a controller pushes it (serial number 405419896, event 75312, card 10058400 refused at door 4):

    17 20 00 00 78 37 2A 18 30 26 01 00 03 01 04 02 A0 7A 99 00 20 24 11 10 12 34 56 06 01 00 01 01 ...
     0  1  2  3 └ serial ─┘ └ index ──┘ 12 13 14 15 └ card ───┘ └ 20: when ────────┘ 27 └ 28: doors open
     │  │  └ 0 ┘                        │  │  │  direction: 1 in, 2 out              reason
     │  function                        │  │  door
     17, of firmware 6.62 also 19       │  granted
                                        type: 1 card, 2 door, 3 alarm; in answers 0 no such event, FF overwritten

Requests and answers carry the same function; an answer says what it answers by function and serial number alone.
Layouts: the decoders and encoders of uhppoted 0.9.1.1 (MIT), which this module asks; the generic frame is ours.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from uhppoted import decode, encode

from gateway.errors import ProtocolError

SIZE = 64
START, START_V6_62 = 0x17, 0x19

STATUS, SET_TIME, OPEN_DOOR = 0x20, 0x30, 0x40
SET_LISTENER, GET_LISTENER, CONTROLLER, EVENT = 0x90, 0x92, 0x94, 0xB0

FUNCTIONS = frozenset(
    bytes.fromhex(
        "20 30 32 40 50 52 54 58 5A 5C 80 82 84 86 88 8A 8C 8E 90 92 94 96 98 A0 A2 A4 A6 A8 AA AC B0 B2 B4 C8"
    )
)
MAGIC = 0x55AAAA55
"""Stands in requests that change or delete much."""

NO_EVENT, OVERWRITTEN = 0x00, 0xFF
"""Types in the answer to a question for an event."""

_HEAD = struct.Struct("<BBHI")


@dataclass(frozen=True, slots=True)
class Frame:
    """One packet.  *body*: its bytes 8 to 63; may hold a card's number, so it never shows itself."""

    function: int
    controller: int
    body: bytes = field(default=bytes(SIZE - _HEAD.size), repr=False)
    start: int = START
    reserved: int = 0

    def to_bytes(self) -> bytes:
        return _HEAD.pack(self.start, self.function, self.reserved, self.controller) + self.body

    @classmethod
    def from_bytes(cls, data: bytes) -> Frame:
        """Raises ProtocolError, without the bytes: they may name a person."""
        if len(data) != SIZE:
            raise ProtocolError(f"a UHPPOTE packet has {SIZE} bytes, not {len(data)}")
        start, function, reserved, controller = _HEAD.unpack_from(data)
        if start != START and (start, function) != (START_V6_62, STATUS):
            raise ProtocolError(f"a UHPPOTE packet begins with 17, not {start:02X}")
        return cls(function, controller, data[_HEAD.size :], start, reserved)


def find_frame(data: bytes, at: int = 0) -> tuple[Frame, int, int] | None:
    """The first packet in data[at:] and where it begins and ends: a start, a known function, two zeros."""
    for begin in range(at, len(data) - SIZE + 1):
        if (
            data[begin] in (START, START_V6_62)
            and data[begin + 1] in FUNCTIONS
            and data[begin + 2 : begin + 4] == b"\0\0"
        ):
            try:
                return Frame.from_bytes(data[begin : begin + SIZE]), begin, begin + SIZE
            except ProtocolError:
                continue
    return None


# ---------------------------------------------------------------------- what stands in answers


@dataclass(frozen=True, slots=True)
class Record:
    """One event of the controller's memory."""

    index: int
    type: int
    granted: bool
    door: int
    direction: int
    card: int = field(repr=False)
    time: datetime.datetime | None
    """Local, by the controller's clock; None where its BCD is none."""
    reason: int
    mark: bytes = b""
    """All of it but the card, 12 bytes: tells it from another event that has got the same index later."""


@dataclass(frozen=True, slots=True)
class Status:
    """What function 20h says, asked for or pushed."""

    controller: int
    index: int
    """Of its latest event; 0 when it has none."""
    open: tuple[bool, ...]
    """Of doors 1 to 4."""
    buttons: tuple[bool, ...]
    relays: tuple[bool, ...]
    inputs: int
    system_error: int
    special: int
    sequence: int
    clock: datetime.datetime | None
    """Local."""


def status(frame: Frame) -> Status:
    """Raises ProtocolError."""
    found = _library(decode.event, frame)
    day, moment = found.system_date, found.system_time
    return Status(
        controller=found.controller,
        index=found.event_index,
        open=(found.door_1_open, found.door_2_open, found.door_3_open, found.door_4_open),
        buttons=(found.door_1_button, found.door_2_button, found.door_3_button, found.door_4_button),
        relays=tuple(bool(found.relays >> bit & 1) for bit in range(4)),
        inputs=found.inputs,
        system_error=found.system_error,
        special=found.special_info,
        sequence=found.sequence_no,
        clock=None if day is None or moment is None else datetime.datetime.combine(day, moment),
    )


def record(frame: Frame) -> Record:
    """Raises ProtocolError."""
    found = _library(decode.get_event_response, frame)
    return Record(
        index=found.index,
        type=found.event_type,
        granted=found.access_granted,
        door=found.door,
        direction=found.direction,
        card=found.card,
        time=found.timestamp,
        reason=found.reason,
        mark=frame.body[4:8] + frame.body[12:20],
    )


def listener(frame: Frame) -> tuple[str, int, int]:
    """Address, port and seconds between pushes.  Raises ProtocolError."""
    found = _library(decode.get_listener_response, frame)
    return str(found.address), found.port, found.interval


@dataclass(frozen=True, slots=True)
class Identity:
    """What a controller says of itself."""

    controller: int
    address: str
    netmask: str
    gateway: str
    mac: str
    version: str
    date: datetime.date | None


def identity(frame: Frame) -> Identity:
    """Raises ProtocolError."""
    found = _library(decode.get_controller_response, frame)
    return Identity(
        controller=found.controller,
        address=str(found.ip_address),
        netmask=str(found.subnet_mask),
        gateway=str(found.gateway),
        mac=found.mac_address,
        version=found.version,
        date=found.date,
    )


def confirmed(frame: Frame) -> bool:
    """Whether a command's answer says that it has been carried out."""
    return frame.body[0] == 1


def set_clock(frame: Frame) -> datetime.datetime | None:
    """What the clock shows after it was set.  Raises ProtocolError."""
    found: datetime.datetime | None = _library(decode.set_time_response, frame).datetime
    return found


def _library(decoder: Callable[[bytes], Any], frame: Frame) -> Any:
    try:
        return decoder(frame.to_bytes())
    except ValueError as exc:
        raise ProtocolError(f"function {frame.function:02X}: {exc}") from exc


# ---------------------------------------------------------------------- requests


def ask_status(controller: int) -> bytes:
    return bytes(encode.get_status_request(controller))


def ask_event(controller: int, index: int) -> bytes:
    return bytes(encode.get_event_request(controller, index))


def ask_listener(controller: int) -> bytes:
    return bytes(encode.get_listener_request(controller))


def ask_controller(controller: int = 0) -> bytes:
    """0: whoever hears it."""
    return bytes(encode.get_controller_request(controller))


def open_door(controller: int, door: int) -> bytes:
    return bytes(encode.open_door_request(controller, door))


def tell_listener(controller: int, address: str, port: int, every_s: int) -> bytes:
    return bytes(encode.set_listener_request(controller, IPv4Address(address), port, every_s))


def tell_time(controller: int, moment: datetime.datetime) -> bytes:
    """*moment*: local."""
    return bytes(encode.set_time_request(controller, moment))
