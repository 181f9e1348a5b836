"""What an application data unit says (clause 8.2).  Pure; whatever it holds, something readable comes of it.

    type | count | object [time] | object [time] ...

An object may be followed by a six-byte time: length decides (count * size, or count * (size + 6)).  Makers deviate, and
a fire must not be lost over it, so what does not add up is read as far as it goes:

- more objects announced than there are, or fewer: those that are there are read;
- the text of a component carries tags (type, length, value) and not a text;
- ADUs of one byte (a greeting), types from 128 on, types that the standard reserves: kept as they are.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from drivers.gb26875 import tables
from drivers.gb26875.frame import local_time

TEXT_BYTES = 31
_TIME = 6
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufffd]")


@dataclass(frozen=True, slots=True)
class SystemState:
    system_type: int
    system_address: int
    state: int
    time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class ComponentState:
    system_type: int
    system_address: int
    component_type: int
    address: int
    """Four bytes, low byte first."""
    state: int
    text: str = ""
    raw_text: bytes = b""
    """The text field where it holds no text."""
    tags: tuple[bytes, ...] = ()
    """The values of the tags that it holds instead."""
    time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Analog:
    system_type: int
    system_address: int
    component_type: int
    address: int
    analog_type: int
    raw: int
    """In steps of the type."""
    time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """Somebody has pressed something.  *system_type* is None where it was on the transmission device itself."""

    bits: int
    operator: int
    system_type: int | None = None
    system_address: int | None = None
    time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class DeviceState:
    """Of the transmission device; its heartbeat, too."""

    state: int
    time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Info:
    """What a panel or the device says of itself: version, configuration, clock."""

    what: str
    text: str
    time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """Something else, as it came.  *text*: what can be read in it."""

    data: bytes
    text: str = ""


Record: TypeAlias = SystemState | ComponentState | Analog | Operation | DeviceState | Info | Raw


@dataclass(frozen=True, slots=True)
class Adu:
    type: int | None
    """None for an empty one."""
    count: int | None
    """As it is announced; None for an ADU of one byte."""
    records: Sequence[Record]
    odd: bool = False
    """It deviates from the standard."""


def address_parts(address: int) -> tuple[int, int]:
    """Loop and number.  A captured D9 00 06 00 is number 217 of loop 6: no panel has 217 loops."""
    return address >> 16, address & 0xFFFF


def text_in(field: bytes) -> str | None:
    """A field padded with zeros or blanks as text; None where it holds something else."""
    body = field.rstrip(b"\0 ")
    try:
        text = body.decode("gb18030")
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text.strip()


def readable(data: bytes) -> str:
    """What can be read among other bytes: runs that decode and hold at least two characters of a word."""
    text = data.decode("gb18030", errors="replace")
    return " ".join(run.strip() for run in _CONTROL.split(text) if _worth_showing(run))[:200]


def _worth_showing(run: str) -> bool:
    return len(re.findall(r"[\u4e00-\u9fffA-Za-z0-9]", run)) >= 2


def parse(adu: bytes, like_component: frozenset[int] = frozenset()) -> Adu:
    """*like_component*: makers' own types that have the layout of type 2."""
    if len(adu) < 2:
        return Adu(adu[0] if adu else None, None, (Raw(adu),), odd=True)
    kind, count, body = adu[0], adu[1], adu[2:]
    layout = _LAYOUTS.get(tables.COMPONENT_STATE if kind in like_component else kind)
    if layout is not None:
        size, read = layout
        pieces, odd = _pieces(body, count, size)
        found = [read(piece, time) for piece, time in pieces]
        return Adu(kind, count, found or (Raw(adu, readable(body)),), odd)
    if kind == tables.SYSTEM_CONFIG:
        return _config(adu, "system_config", 2)
    if kind == tables.DEVICE_CONFIG:
        return _config(adu, "device_config", 0)
    return Adu(kind, count, (Raw(adu, readable(body)),))


_Piece: TypeAlias = tuple[bytes, datetime.datetime | None]


def _pieces(body: bytes, count: int, size: int) -> tuple[list[_Piece], bool]:
    """The objects that are there, with their times, and whether something does not add up."""
    timed = size + _TIME
    if len(body) == count * timed:
        stride, odd = timed, False
    elif len(body) == count * size:
        stride, odd = size, False
    else:
        stride, odd = (timed if _looks_timed(body, size) else size), True
    starts = range(0, len(body) - size + 1, stride)
    return [(body[at : at + size], _time_in(body[at + size : at + timed], stride > size)) for at in starts], odd


def _looks_timed(body: bytes, size: int) -> bool:
    """Behind each whole object stands a time, or six zeros."""
    timed = size + _TIME
    tags = [body[at + size : at + timed] for at in range(0, len(body) - timed + 1, timed)]
    return bool(tags) and all(not any(tag) or local_time(tag) is not None for tag in tags)


def _time_in(tag: bytes, there: bool) -> datetime.datetime | None:
    return local_time(tag) if there and len(tag) == _TIME else None


def _config(adu: bytes, what: str, head: int) -> Adu:
    """One or several texts behind their length; a cut one is shown as far as it goes."""
    at, texts = 2, []
    while at + head < len(adu):
        length = adu[at + head]
        begin = at + head + 1
        texts.append(text_in(adu[begin : begin + length]) or readable(adu[begin : begin + length]))
        at = begin + length
        if len(texts) == adu[1]:
            break
    return Adu(adu[0], adu[1], [Info(what, text) for text in texts] or (Raw(adu),), odd=at != len(adu))


def _number(piece: bytes) -> int:
    return int.from_bytes(piece, "little")


def _system(piece: bytes, time: datetime.datetime | None) -> Record:
    return SystemState(piece[0], piece[1], _number(piece[2:4]), time)


def _component(piece: bytes, time: datetime.datetime | None) -> Record:
    field = piece[9:]
    text = text_in(field)
    return ComponentState(
        piece[0],
        piece[1],
        piece[2],
        _number(piece[3:7]),
        _number(piece[7:9]),
        text or "",
        field if text is None else b"",
        _tags(field) if text is None else (),
        time,
    )


def _tags(field: bytes) -> tuple[bytes, ...]:
    """Six bytes of address, a number, then (tag, length, value): as far as they fit the field."""
    found: list[bytes] = []
    at = 7
    while at + 2 <= len(field) and field[at + 1] and at + 2 + field[at + 1] <= len(field):
        found.append(field[at + 2 : at + 2 + field[at + 1]])
        at += 2 + field[at + 1]
    return tuple(found)


def _analog(piece: bytes, time: datetime.datetime | None) -> Record:
    value = int.from_bytes(piece[8:10], "little", signed=True)
    return Analog(piece[0], piece[1], piece[2], _number(piece[3:7]), piece[7], value, time)


def _operation(piece: bytes, time: datetime.datetime | None) -> Record:
    return Operation(piece[2], piece[3], piece[0], piece[1], time)


def _device_operation(piece: bytes, time: datetime.datetime | None) -> Record:
    return Operation(piece[0], piece[1], time=time)


def _device_state(piece: bytes, time: datetime.datetime | None) -> Record:
    return DeviceState(piece[0], time)


def _version(piece: bytes, time: datetime.datetime | None) -> Record:
    return Info("version", f"{piece[2]}.{piece[3]}", time)


def _device_version(piece: bytes, time: datetime.datetime | None) -> Record:
    return Info("device_version", f"{piece[0]}.{piece[1]}", time)


def _component_config(piece: bytes, time: datetime.datetime | None) -> Record:
    loop, number = address_parts(_number(piece[3:7]))
    return Info("component_config", f"{piece[2]} {loop}-{number} {text_in(piece[7:]) or ''}".strip(), time)


def _clock(piece: bytes, time: datetime.datetime | None) -> Record:
    told = local_time(piece[-_TIME:])
    return Info("clock", "" if told is None else told.isoformat(), time)


_LAYOUTS: Mapping[int, tuple[int, Callable[[bytes, datetime.datetime | None], Record]]] = {
    tables.SYSTEM_STATE: (4, _system),
    tables.COMPONENT_STATE: (40, _component),
    tables.ANALOG: (10, _analog),
    tables.OPERATION: (4, _operation),
    tables.VERSION: (4, _version),
    tables.COMPONENT_CONFIG: (38, _component_config),
    tables.SYSTEM_TIME: (8, _clock),
    tables.DEVICE_STATE: (1, _device_state),
    tables.DEVICE_OPERATION: (2, _device_operation),
    tables.DEVICE_VERSION: (2, _device_version),
    tables.DEVICE_TIME: (6, _clock),
}
