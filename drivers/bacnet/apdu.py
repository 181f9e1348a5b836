"""BACnet/IP as far as a reader needs it: ReadProperty(Multiple), I-Am, unconfirmed COV.  Pure.

81 0A 00 11   01 04        00 05 07 0E   0C 00 00 00 01   1E 09 55 1F
BVLL, length  NPDU, reply  APDU: RPM #7  analog-input,1   [ present-value ]

Source: ANSI/ASHRAE 135-2020, clauses 6.2 (NPDU), 20.1 (APDU), 20.2 (encoding), annex J (BVLL).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

READ_PROPERTY, READ_PROPERTY_MULTIPLE = 12, 14
I_AM, COV = 0, 2
_UNICAST, _BROADCAST, _FORWARDED = 0x0A, 0x0B, 0x04
_CONFIRMED, _UNCONFIRMED, _COMPLEX_ACK, _ERROR, _REJECT, _ABORT = 0, 1, 3, 5, 6, 7
_MAX_APDU_1476: Final = 0x05
LONGEST: Final = 1500
MOST_VALUES: Final = 256
BROADCAST_NETWORK: Final = 0xFFFF

ObjectId: TypeAlias = tuple[int, int]
"""Type, instance."""


class ApduError(ValueError):
    """Not BACnet/IP, or not as the standard has it."""


@dataclass(frozen=True, slots=True)
class Station:
    """A device behind a router: its network and its address there."""

    network: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Bits:
    """A bit string; bit 0 is the first."""

    bits: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Enumerated:
    number: int


Primitive: TypeAlias = "bool | int | float | bytes | str | Bits | Enumerated | ObjectId | None"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One property, or one element of an array."""

    object: ObjectId
    property: int
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Error class and code of one property."""

    error_class: int
    code: int


@dataclass(frozen=True, slots=True)
class Ack:
    invoke_id: int
    values: tuple[tuple[Wanted, Primitive | Refused], ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """The whole request is not answered.  *kind*: ``error``, ``reject`` or ``abort``."""

    invoke_id: int
    kind: str
    code: int
    error_class: int = 0


@dataclass(frozen=True, slots=True)
class Announced:
    """I-Am."""

    instance: int
    vendor: int


@dataclass(frozen=True, slots=True)
class Changed:
    """An unconfirmed COV notification."""

    device: int
    values: tuple[tuple[Wanted, Primitive | Refused], ...]


Message: TypeAlias = Ack | Failure | Announced | Changed


# ---------------------------------------------------------------------- what is sent


def read(invoke_id: int, wanted: Sequence[Wanted], station: Station | None = None) -> bytes:
    """ReadPropertyMultiple."""
    body = b"".join(b"\x0c" + _object(each.object) + b"\x1e" + _property(each, 0) + b"\x1f" for each in wanted)
    return _confirmed(invoke_id, READ_PROPERTY_MULTIPLE, body, station)


def read_one(invoke_id: int, wanted: Wanted, station: Station | None = None) -> bytes:
    """ReadProperty, for devices that know no other."""
    return _confirmed(invoke_id, READ_PROPERTY, b"\x0c" + _object(wanted.object) + _property(wanted, 1), station)


def who_is() -> bytes:
    """To everybody on this network and those behind its routers."""
    return _bvll(_BROADCAST, bytes((0x01, 0x20, 0xFF, 0xFF, 0x00, 0xFF)) + bytes((0x10, 0x08)))


def _confirmed(invoke_id: int, service: int, body: bytes, station: Station | None) -> bytes:
    apdu = bytes((_CONFIRMED << 4, _MAX_APDU_1476, invoke_id, service)) + body
    if station is None:
        return _bvll(_UNICAST, b"\x01\x04" + apdu)
    destination = struct.pack(">HB", station.network, len(station.mac)) + station.mac
    return _bvll(_UNICAST, b"\x01\x24" + destination + b"\xff" + apdu)


def _bvll(function: int, npdu: bytes) -> bytes:
    return struct.pack(">BBH", 0x81, function, 4 + len(npdu)) + npdu


def _object(id_: ObjectId) -> bytes:
    return (id_[0] << 22 | id_[1]).to_bytes(4, "big")


def _property(wanted: Wanted, first_tag: int) -> bytes:
    index = b"" if wanted.index is None else _context(first_tag + 1, wanted.index)
    return _context(first_tag, wanted.property) + index


def _context(tag: int, number: int) -> bytes:
    data = number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")
    return bytes((tag << 4 | 0x08 | len(data),)) + data


# ---------------------------------------------------------------------- what comes


def parse(data: bytes) -> tuple[Message, Station | None] | None:
    """A message and the station behind a router that sent it; None for a kind that is none of ours.

    Raises ApduError.
    """
    if len(data) < 4 or data[0] != 0x81 or len(data) > LONGEST or struct.unpack_from(">H", data, 2)[0] != len(data):
        raise ApduError("no BACnet/IP")
    if data[1] not in (_UNICAST, _BROADCAST, _FORWARDED):
        return None
    try:
        station, apdu = _network(data[10 if data[1] == _FORWARDED else 4 :])
        message = None if apdu is None else _application(apdu)
    except (IndexError, struct.error) as exc:
        raise ApduError("cut off") from exc
    return None if message is None else (message, station)


def _network(npdu: bytes) -> tuple[Station | None, bytes | None]:
    """Who sent it behind a router, and the APDU; None of a message between routers."""
    if npdu[0] != 1:
        raise ApduError("NPDU version")
    control, at = npdu[1], 2
    if control & 0x20:
        at += 3 + npdu[at + 2]
    station = None
    if control & 0x08:
        network, size = struct.unpack_from(">HB", npdu, at)
        station = Station(network, npdu[at + 3 : at + 3 + size])
        at += 3 + size
    if control & 0x20:
        at += 1  # hop count
    return station, None if control & 0x80 else npdu[at:]


def _application(apdu: bytes) -> Message | None:
    kind = apdu[0] >> 4
    if kind == _COMPLEX_ACK:
        return _ack(apdu)
    if kind == _ERROR:
        codes = [each.value for each in _tags(apdu[3:]) if isinstance(each.value, Enumerated)]
        numbers = [each.number for each in codes] + [0, 0]
        return Failure(apdu[1], "error", numbers[1], numbers[0])
    if kind in (_REJECT, _ABORT):
        return Failure(apdu[1], "reject" if kind == _REJECT else "abort", apdu[2])
    if kind == _UNCONFIRMED and apdu[1] == I_AM:
        return _i_am(apdu[2:])
    if kind == _UNCONFIRMED and apdu[1] == COV:
        return _cov(apdu[2:])
    return None


def _ack(apdu: bytes) -> Message | None:
    if apdu[0] & 0x08:
        raise ApduError("segmented, which was not asked for")
    if apdu[2] == READ_PROPERTY_MULTIPLE:
        return Ack(apdu[1], tuple(_multiple(_Reader(apdu[3:]))))
    if apdu[2] == READ_PROPERTY:
        return Ack(apdu[1], (_single(_Reader(apdu[3:])),))
    return None


def _i_am(body: bytes) -> Announced:
    values = [each.value for each in _tags(body) if not each.context]
    if len(values) < 4 or not isinstance(values[0], tuple) or values[0][0] != 8 or not isinstance(values[3], int):
        raise ApduError("I-Am")
    return Announced(values[0][1], values[3])


def _cov(body: bytes) -> Changed:
    reader = _Reader(body)
    reader.unsigned(0)
    device = _object_of(reader.context(1))
    object_ = _object_of(reader.context(2))
    reader.unsigned(3)
    reader.opening(4)
    found = []
    while not reader.closes(4):
        wanted = reader.reference(object_, 0)
        reader.opening(2)
        found.append((wanted, reader.value(2)))
        reader.skip_context(3)
        reader.bound(len(found))
    return Changed(device[1], tuple(found))


def _multiple(reader: _Reader) -> Iterator[tuple[Wanted, Primitive | Refused]]:
    count = 0
    while reader.left:
        object_ = _object_of(reader.context(0))
        reader.opening(1)
        while not reader.closes(1):
            wanted = reader.reference(object_, 2)
            yield wanted, reader.result()
            count += 1
            reader.bound(count)


def _single(reader: _Reader) -> tuple[Wanted, Primitive | Refused]:
    wanted = reader.reference(_object_of(reader.context(0)), 1)
    reader.opening(3)
    return wanted, reader.value(3)


def _object_of(data: bytes) -> ObjectId:
    if len(data) != 4:
        raise ApduError("an object identifier has four bytes")
    number = int.from_bytes(data, "big")
    return number >> 22, number & 0x3FFFFF


@dataclass(frozen=True, slots=True)
class _Tag:
    number: int
    context: bool
    opens: bool
    closes: bool
    value: Primitive
    """Of an application tag."""
    data: bytes
    end: int


def _tag(data: bytes, at: int) -> _Tag:
    first = data[at]
    number, context, length = first >> 4, bool(first & 0x08), first & 0x07
    at += 1
    if number == 15:
        number, at = data[at], at + 1
    if context and length in (6, 7):
        return _Tag(number, True, length == 6, length == 7, None, b"", at)
    if number == 1 and not context:
        return _Tag(1, False, False, False, bool(length), b"", at)
    if length == 5:
        length, at = data[at], at + 1
        if length == 254:
            length, at = struct.unpack_from(">H", data, at)[0], at + 2
        elif length == 255:
            raise ApduError("longer than a datagram")
    content = data[at : at + length]
    if len(content) != length:
        raise ApduError("cut off")
    return _Tag(number, context, False, False, None if context else _primitive(number, content), content, at + length)


def _tags(data: bytes) -> Iterator[_Tag]:
    at = 0
    while at < len(data):
        tag = _tag(data, at)
        yield tag
        at = tag.end


def _primitive(number: int, data: bytes) -> Primitive:
    """The value of an application tag; dates, times and what is reserved as bytes."""
    match number:
        case 0:
            return None
        case 2:
            return int.from_bytes(data, "big")
        case 3:
            return int.from_bytes(data, "big", signed=True)
        case 4 if len(data) == 4:
            return float(struct.unpack(">f", data)[0])
        case 5 if len(data) == 8:
            return float(struct.unpack(">d", data)[0])
        case 7 if data:
            return _text(data)
        case 8 if data:
            bits = [bool(byte >> shift & 1) for byte in data[1:] for shift in range(7, -1, -1)]
            return Bits(tuple(bits[: max(0, len(bits) - data[0])]))
        case 9:
            return Enumerated(int.from_bytes(data, "big"))
        case 12:
            return _object_of(data)
    return data


def _text(data: bytes) -> str:
    encoding = {0: "utf-8", 3: "utf-32-be", 4: "utf-16-be", 5: "latin-1"}.get(data[0], "utf-8")
    return data[1:].decode(encoding, errors="replace")


class _Reader:
    """Tags one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def bound(self, count: int) -> None:
        if count > MOST_VALUES:
            raise ApduError("too many values")

    def _next(self) -> _Tag:
        tag = _tag(self._data, self._at)
        self._at = tag.end
        return tag

    def _peek(self) -> _Tag:
        return _tag(self._data, self._at)

    def context(self, number: int) -> bytes:
        tag = self._next()
        if not tag.context or tag.opens or tag.closes or tag.number != number:
            raise ApduError(f"context tag {number} expected")
        return tag.data

    def unsigned(self, number: int) -> int:
        return int.from_bytes(self.context(number), "big")

    def skip_context(self, number: int) -> None:
        tag = self._peek()
        if tag.context and tag.number == number and not tag.opens and not tag.closes:
            self._at = tag.end

    def opening(self, number: int) -> None:
        tag = self._next()
        if not tag.opens or tag.number != number:
            raise ApduError(f"opening tag {number} expected")

    def closes(self, number: int) -> bool:
        """Whether the closing tag comes now; then it is passed."""
        tag = self._peek()
        if tag.closes and tag.number == number:
            self._at = tag.end
            return True
        return False

    def reference(self, object_: ObjectId, first_tag: int) -> Wanted:
        property_ = self.unsigned(first_tag)
        tag = self._peek()
        index = None
        if tag.context and not tag.opens and not tag.closes and tag.number == first_tag + 1:
            index = self.unsigned(first_tag + 1)
        return Wanted(object_, property_, index)

    def result(self) -> Primitive | Refused:
        tag = self._next()
        if tag.opens and tag.number == 4:
            return self.value(4)
        if tag.opens and tag.number == 5:
            numbers = [self._next().value for _ in range(2)]
            if not self.closes(5):
                raise ApduError("error of a property")
            codes = [each.number if isinstance(each, Enumerated) else 0 for each in numbers]
            return Refused(codes[0], codes[1])
        raise ApduError("neither value nor error")

    def value(self, closing: int) -> Primitive:
        """The first of what stands before the closing tag, if it is a primitive; the rest is passed."""
        first = self._peek()
        depth, count = 0, 0
        while depth > 0 or not self.closes(closing):
            tag = self._next()
            depth += tag.opens - tag.closes
            count += 1
            self.bound(count)
            if depth < 0:
                raise ApduError("closed before it was opened")
        return first.value if not first.context else None
