"""Bytes <-> frames of GB/T 26875.3-2011, clause 6.6.  Pure.

A captured frame (github dgiot/dgiot, dgiot_gb26875_decoder.erl, test/0), component in fire:

    40 40  00 00  01 01  18 0D 11 16 0A 14  00 .. 00  06 05 04 03 02 01  30 00  02  02 01 .. 14  68  23 23
    start  serial ver    ss mm hh DD MM YY  source    destination        length cmd ADU          sum end
    0      2      4      6                  12        18                 24     26  27

Numbers are low byte first.  The time is plain binary, not BCD.  The sum runs from the serial to the ADU's last byte.
The version is two bytes that makers fill as they like (01 01, 01 20, 10 00 have been seen): it is never looked at.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from drivers.base import Fault
from gateway.errors import ProtocolError

START, END = b"@@", b"##"
HEAD = 27
"""Bytes in front of the ADU."""
OVERHEAD = HEAD + 3
MOST_ADU = 1024
LONGEST = OVERHEAD + MOST_ADU
NO_TIME = bytes(6)

CONTROL, SEND, CONFIRM, REQUEST, ANSWER, DENY = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class Frame:
    serial: int
    command: int
    source: bytes
    """Six bytes as they are on the wire; so is *destination*."""
    destination: bytes
    adu: bytes = b""
    version: bytes = b"\x01\x01"
    time: bytes = NO_TIME

    def to_bytes(self) -> bytes:
        body = b"%b%b%b%b%b%b%c%b" % (
            self.serial.to_bytes(2, "little"),
            self.version,
            self.time,
            self.source,
            self.destination,
            len(self.adu).to_bytes(2, "little"),
            self.command,
            self.adu,
        )
        return b"%b%b%c%b" % (START, body, sum(body) & 0xFF, END)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Exactly one frame.  Raises ProtocolError."""
        fault = fault_at(raw, 0)
        if fault is not None:
            raise ProtocolError(fault.text, raw)
        if len(raw) != OVERHEAD + _length(raw, 0):
            raise ProtocolError("bytes behind the frame", raw)
        return cls._at(raw, 0)

    @classmethod
    def _at(cls, data: bytes, at: int) -> Self:
        return cls(
            serial=int.from_bytes(data[at + 2 : at + 4], "little"),
            version=data[at + 4 : at + 6],
            time=data[at + 6 : at + 12],
            source=data[at + 12 : at + 18],
            destination=data[at + 18 : at + 24],
            command=data[at + 26],
            adu=data[at + HEAD : at + HEAD + _length(data, at)],
        )

    def reply(self, command: int, time: bytes = NO_TIME, adu: bytes = b"") -> Frame:
        """What goes back to whoever sent this one: the same serial, addresses exchanged."""
        return Frame(self.serial, command, self.destination, self.source, adu, self.version, time)


def _length(data: bytes, at: int) -> int:
    return int.from_bytes(data[at + 24 : at + 26], "little")


def fault_at(data: bytes, at: int) -> Fault | None:
    """Why data[at:] does not begin with a frame; ``truncated`` where it still may, once more has come."""
    here = data[at : at + 2]
    if here != START[: len(here)] or not here:
        return Fault("no_start", "没有 40 40 / no 40 40", at)
    if len(data) < at + HEAD:
        return Fault("truncated", "帧不完整 / the frame is cut off", len(data))
    length = _length(data, at)
    if length > MOST_ADU:
        return Fault("bad_length", f"应用数据单元长度 {length} 超过 {MOST_ADU} / the ADU's length", at + 24)
    end = at + OVERHEAD + length
    if len(data) < end:
        return Fault("truncated", "帧不完整 / the frame is cut off", len(data))
    if data[end - 2 : end] != END:
        return Fault("no_end", "没有 23 23 / no 23 23 where the length says", end - 2)
    total = sum(data[at + 2 : end - 3]) & 0xFF
    if data[end - 3] != total:
        return Fault("bad_checksum", f"校验和应为 {total:02X} / the checksum should be {total:02X}", end - 3)
    return None


def find_frame(data: bytes, at: int = 0) -> tuple[Frame, int, int] | None:
    """The first whole frame at or behind *at*, where it begins and where it ends."""
    at = data.find(START, at)
    while at >= 0:
        if fault_at(data, at) is None:
            return Frame._at(data, at), at, at + OVERHEAD + _length(data, at)
        at = data.find(START, at + 1)
    return None


class Splitter:
    """Frames out of a stream.  However the stream is cut, the same frames come of it: each as soon as it is whole.

    What has begun like a frame is waited for, and whoever reads decides for how long; a whole frame behind such a
    beginning counts at once, so that a stray byte in front of a fire does not hold it up.  Holds less than one frame.
    """

    def __init__(self) -> None:
        self._held = b""
        self.skipped = 0
        """Bytes since the latest frame that belong to none."""

    @property
    def waiting(self) -> bool:
        """A frame has begun."""
        return bool(self._held)

    def feed(self, data: bytes) -> Sequence[Frame]:
        held, at, frames = self._held + data, 0, []
        while (found := _first_whole(held, at)) is not None:
            begin, at = found
            frames.append(Frame._at(held, begin))
            self.skipped = 0
        kept = _first_begun(held, at)
        self.skipped += kept - at
        self._held = held[kept:]
        return frames


def _first_whole(data: bytes, at: int) -> tuple[int, int] | None:
    """Begin and end of the frame behind *at* whose last byte comes first."""
    best: tuple[int, int] | None = None
    begin = data.find(START, at)
    while begin >= 0 and (best is None or begin < best[1]):
        if fault_at(data, begin) is None:
            end = begin + OVERHEAD + _length(data, begin)
            best = (begin, end) if best is None or end < best[1] else best
        begin = data.find(START, begin + 1)
    return best


def _first_begun(data: bytes, at: int) -> int:
    """Where something begins behind *at* that may yet become a frame; the end of *data* when nothing does."""
    begin = data.find(START, at)
    while begin >= 0:
        fault = fault_at(data, begin)
        if fault is not None and fault.code == "truncated":
            return begin
        begin = data.find(START, begin + 1)
    return len(data) - data.endswith(START[:1]) if len(data) > at else len(data)


def text_of(address: bytes) -> str:
    """An address as the configuration writes it: its bytes as they are on the wire, ``B2239660400B``."""
    return address.hex().upper()


def local_time(raw: bytes) -> datetime.datetime | None:
    """ss mm hh DD MM YY as local time.  None for all zero and for what is no time."""
    second, minute, hour, day, month, year = raw
    try:
        return datetime.datetime(2000 + year, month, day, hour, minute, second)  # noqa: DTZ001  the site's local time
    except ValueError:
        return None


def packed_time(moment: datetime.datetime) -> bytes:
    """*moment* as ss mm hh DD MM YY; all zero for a year that has no place in it."""
    if not 2000 <= moment.year < 2256:
        return NO_TIME
    return bytes((moment.second, moment.minute, moment.hour, moment.day, moment.month, moment.year - 2000))
