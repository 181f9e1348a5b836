"""The Payload message of Sparkplug B: protobuf's wire format, and of the schema what a gateway needs.  Pure.

    Payload        1 timestamp   2 metrics*   3 seq
    Metric         1 name   2 alias   3 timestamp   4 datatype   5 is_historical   7 is_null   9 properties
                   10 int   11 long   12 float   13 double   14 boolean   15 string   16 bytes
    PropertySet    1 keys*   2 values*
    PropertyValue  1 type   2 is_null   3 int   4 long   5 float   6 double   7 boolean   8 string

What else there is (uuid, body, metadata, data sets, templates, extensions) is skipped when read and never written.
Fields are written in the order of their numbers, as Google's own encoder does.
Source: Sparkplug 3.0.0, 6.4 (schema, proto2), and protobuf's "Encoding".
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.errors import GatewayError

Scalar: TypeAlias = int | float | bool | str | bytes


class DataType(enum.IntEnum):
    """Clause 6.4.16."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14


class NotAPayload(GatewayError):
    """The bytes are not a Payload."""


@dataclass(frozen=True, slots=True)
class Property:
    """*value* None: the property is null."""

    type: int
    value: Scalar | None


@dataclass(frozen=True, slots=True)
class Metric:
    """*value* None: ``is_null`` on the wire."""

    name: str | None = None
    alias: int | None = None
    timestamp: int | None = None
    datatype: int | None = None
    is_historical: bool = False
    properties: Mapping[str, Property] = field(default_factory=dict)
    value: Scalar | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    timestamp: int | None = None
    metrics: tuple[Metric, ...] = ()
    seq: int | None = None


# ---------------------------------------------------------------------- writing

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 (groups) are not in the schema
_METRIC_VALUE, _PROPERTY_VALUE = 10, 3  # field numbers of int_value; the other kinds follow in the same order
_INT, _LONG, _FLOAT, _DOUBLE, _BOOLEAN, _STRING, _RAW = range(7)
_SHORT = frozenset({1, 2, 3, 5, 6, 7})
"""Datatypes whose value travels in int_value; other integers travel in long_value."""
_SIGNED: Mapping[int, int] = {DataType.INT8: 32, DataType.INT16: 32, DataType.INT32: 32, DataType.INT64: 64}
"""Bits of the two's complement on the wire."""


def encode(payload: Payload) -> bytes:
    out = bytearray()
    _number(out, 1, payload.timestamp)
    for metric in payload.metrics:
        _chunk(out, 2, _metric(metric))
    _number(out, 3, payload.seq)
    return bytes(out)


def _metric(metric: Metric) -> bytes:
    out = bytearray()
    if metric.name is not None:
        _chunk(out, 1, metric.name.encode())
    _number(out, 2, metric.alias)
    _number(out, 3, metric.timestamp)
    _number(out, 4, metric.datatype)
    if metric.is_historical:
        _number(out, 5, 1)
    if metric.value is None:
        _number(out, 7, 1)
    if metric.properties:
        _chunk(out, 9, _property_set(metric.properties))
    _value(out, _METRIC_VALUE, metric.datatype, metric.value)
    return bytes(out)


def _property_set(properties: Mapping[str, Property]) -> bytes:
    out = bytearray()
    for key in properties:
        _chunk(out, 1, key.encode())
    for item in properties.values():
        value = bytearray()
        _number(value, 1, item.type)
        if item.value is None:
            _number(value, 2, 1)
        _value(value, _PROPERTY_VALUE, item.type, item.value)
        _chunk(out, 2, bytes(value))
    return bytes(out)


def _value(out: bytearray, first: int, datatype: int | None, value: Scalar | None) -> None:
    """*first*: field number of int_value.  Without a datatype, as in DATA, the value's own type decides."""
    match value:
        case None:
            pass
        case bool():
            _number(out, first + _BOOLEAN, int(value))
        case str():
            _chunk(out, first + _STRING, value.encode())
        case bytes():
            _chunk(out, first + _RAW, value)
        case int() if datatype in _SHORT:
            _number(out, first + _INT, value & 0xFFFF_FFFF)
        case int():
            _number(out, first + _LONG, value)
        case float() if datatype == DataType.FLOAT:
            _varint(out, (first + _FLOAT) << 3 | _FIXED32)
            out += struct.pack("<f", value)
        case float():
            _varint(out, (first + _DOUBLE) << 3 | _FIXED64)
            out += struct.pack("<d", value)


def _number(out: bytearray, number: int, value: int | None) -> None:
    if value is not None:
        _varint(out, number << 3 | _VARINT)
        _varint(out, value & 0xFFFF_FFFF_FFFF_FFFF)


def _chunk(out: bytearray, number: int, data: bytes) -> None:
    _varint(out, number << 3 | _BYTES)
    _varint(out, len(data))
    out += data


def _varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


# ---------------------------------------------------------------------- reading

_LONGEST_VARINT = 10
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_SCALARS = {  # kind of value -> its wire type
    _INT: _VARINT,
    _LONG: _VARINT,
    _FLOAT: _FIXED32,
    _DOUBLE: _FIXED64,
    _BOOLEAN: _VARINT,
    _STRING: _BYTES,
    _RAW: _BYTES,
}


def decode(data: bytes) -> Payload:
    """Unknown fields are skipped; of a field that comes twice the last one counts.  Raises NotAPayload."""
    timestamp = seq = None
    metrics: list[Metric] = []
    for number, wire, raw in _fields(data):
        match number, wire, raw:
            case 1, 0, int():
                timestamp = raw
            case 2, 2, bytes():
                metrics.append(_read_metric(raw))
            case 3, 0, int():
                seq = raw
    return Payload(timestamp, tuple(metrics), seq)


def _read_metric(data: bytes) -> Metric:
    name = alias = timestamp = datatype = value = None
    historical = null = False
    properties: dict[str, Property] = {}
    for number, wire, raw in _fields(data):
        match number, wire, raw:
            case 1, 2, bytes():
                name = _text(raw)
            case 2, 0, int():
                alias = raw
            case 3, 0, int():
                timestamp = raw
            case 4, 0, int():
                datatype = raw & 0xFFFF_FFFF
            case 5, 0, int():
                historical = bool(raw)
            case 7, 0, int():
                null = bool(raw)
            case 9, 2, bytes():
                properties |= _read_property_set(raw)
            case _:
                value = _read_value(number - _METRIC_VALUE, wire, raw, value)
    value = None if null else _signed(value, datatype)
    return Metric(name, alias, timestamp, datatype, historical, properties, value)


def _read_property_set(data: bytes) -> dict[str, Property]:
    keys: list[str] = []
    values: list[Property] = []
    for number, wire, raw in _fields(data):
        match number, wire, raw:
            case 1, 2, bytes():
                keys.append(_text(raw))
            case 2, 2, bytes():
                values.append(_read_property(raw))
    if len(keys) != len(values):
        raise NotAPayload(f"a property set has {len(keys)} keys and {len(values)} values")
    return dict(zip(keys, values, strict=True))


def _read_property(data: bytes) -> Property:
    datatype, null = 0, False
    value: Scalar | None = None
    for number, wire, raw in _fields(data):
        match number, wire, raw:
            case 1, 0, int():
                datatype = raw & 0xFFFF_FFFF
            case 2, 0, int():
                null = bool(raw)
            case _ if number < _PROPERTY_VALUE + _RAW:  # properties have no bytes_value; 9 is a nested set
                value = _read_value(number - _PROPERTY_VALUE, wire, raw, value)
    return Property(datatype, None if null else _signed(value, datatype))


def _read_value(kind: int, wire: int, raw: int | bytes, before: Scalar | None) -> Scalar | None:
    """*before* where the field is not a value that we know."""
    if _SCALARS.get(kind) != wire:
        return before
    match kind, raw:
        case 0, int():
            return raw & 0xFFFF_FFFF
        case 4, int():
            return bool(raw)
        case 2, bytes():
            return float(struct.unpack("<f", raw)[0])
        case 3, bytes():
            return float(struct.unpack("<d", raw)[0])
        case 5, bytes():
            return _text(raw)
        case _:
            return raw


def _signed(value: Scalar | None, datatype: int | None) -> Scalar | None:
    bits = None if datatype is None else _SIGNED.get(datatype)
    if bits is None or isinstance(value, bool) or not isinstance(value, int):
        return value
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise NotAPayload(f"a text is not UTF-8: {exc}") from exc


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(field number, wire type, a number or bytes) of one message."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise NotAPayload(f"field number 0 before byte {at}")
        if wire == _VARINT:
            value, at = _read_varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            length, at = _read_varint(data, at)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise NotAPayload(f"wire type {wire} before byte {at}")
        if length > len(data) - at:
            raise NotAPayload(f"{length} bytes announced at byte {at}, {len(data) - at} are there")
        yield number, wire, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number and where it ends."""
    value = 0
    for index in range(_LONGEST_VARINT):
        if at + index >= len(data):
            raise NotAPayload(f"a number is cut off at byte {at + index}")
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + index + 1
    raise NotAPayload(f"a number of more than {_LONGEST_VARINT} bytes at byte {at}")
