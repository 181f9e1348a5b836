"""The M-Bus frame (link layer).  Pure; knows addresses and control fields, not what the data mean.

An answer captured from a cold water meter (primary address 8), the middle left out:

    68 3C 3C 68 08 08 72 78 03 49 11 77 04 0E 16 0A 00 00 00 … 75 13 D3 16
     0  1  2  3  4  5  6  7                                        │  └ end
     │  └──┤  │  │  │  └ CI: what the data are                     └ sum of bytes 4 .. here, mod 256
     start │  │  │  └ address
           │  │  └ control: D6 from the master, D5 FCB / ACD, D4 FCV / DFC, D3..D0 function
           │  start again
           length of control .. data, twice

A request without data is short: 10 C A checksum 16.  E5 alone acknowledges.  Data may hold 68h, 10h and 16h, so
nothing is a landmark but the whole; whatever does not fit costs one byte, never more.
Source: EN 13757-2:2018, 5.3 and 5.7 (IEC 60870-5-2, format class FT 1.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.base import Fault
from gateway.errors import ProtocolError

SHORT_START, LONG_START, END = 0x10, 0x68, 0x16
ACK = b"\xe5"
SHORT, OVERHEAD = 5, 6
"""Bytes of a short frame; bytes of a long one around what its length counts."""
LONGEST = OVERHEAD + 255

SND_NKE, SND_UD, REQ_UD2, RSP_UD = 0x40, 0x53, 0x5B, 0x08
FCB = 0x20
"""Toggled by the master with each new request: an unchanged bit asks for the last answer again."""

SEND_DATA, SELECT, APPLICATION_RESET = 0x51, 0x52, 0x50
"""CI fields of SND_UD."""

MOST_PRIMARY, SELECTED = 250, 253
"""The highest address a meter may be given; whoever has been selected by its identification."""

_FROM_MASTER, _ACD_DFC = 0x40, 0x30


@dataclass(frozen=True, slots=True)
class Frame:
    """A short frame where *ci* is None, otherwise a control (no data) or long frame (up to 252 bytes of data)."""

    control: int
    address: int
    ci: int | None = None
    data: bytes = b""

    @property
    def is_request(self) -> bool:
        return bool(self.control & _FROM_MASTER)

    @property
    def is_response(self) -> bool:
        """RSP_UD, whatever it says of access demand (ACD) and data flow (DFC)."""
        return self.ci is not None and self.control & ~_ACD_DFC == RSP_UD

    def to_bytes(self) -> bytes:
        if self.ci is None:
            body = bytes((self.control, self.address))
            return b"\x10%b%c\x16" % (body, sum(body) & 0xFF)
        body = bytes((self.control, self.address, self.ci)) + self.data
        return b"\x68%c%c\x68%b%c\x16" % (len(body), len(body), body, sum(body) & 0xFF)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Frame:
        """Exactly one frame.  Raises ProtocolError."""
        fault = fault_at(raw, 0)
        if fault is not None:
            raise ProtocolError(fault.text, raw)
        if len(raw) != _size_at(raw, 0):
            raise ProtocolError("bytes behind the frame", raw)
        return _frame_at(raw, 0)


def fault_at(buffer: bytes, start: int) -> Fault | None:
    """Why no complete frame begins at *start*; None when one does."""
    head = buffer[start : start + 4]
    if not _may_begin(head):
        return Fault("no_frame", "这里不是帧头 no frame begins here", start)
    if len(head) < 4 or len(buffer) < start + _size_at(buffer, start):
        return Fault("truncated", "帧不完整 the frame is cut off", len(buffer))
    check = start + _size_at(buffer, start) - 2
    expected = sum(buffer[start + (1 if head[0] == SHORT_START else 4) : check]) & 0xFF
    if buffer[check] != expected:
        text = f"校验和错误 checksum is {buffer[check]:02X}, should be {expected:02X}"
        return Fault("bad_checksum", text, check)
    if buffer[check + 1] != END:
        return Fault("bad_end", f"结束符错误 the frame ends in {buffer[check + 1]:02X}, not 16", check + 1)
    return None


def find_frame(buffer: bytes, start: int = 0) -> tuple[Frame, int, int] | None:
    """The first whole frame at or after *start*, with the indexes of its first byte and of the byte behind it."""
    for at in range(start, len(buffer)):
        if buffer[at] in (SHORT_START, LONG_START) and fault_at(buffer, at) is None:
            return _frame_at(buffer, at), at, at + _size_at(buffer, at)
    return None


def is_acknowledgement(received: bytes) -> bool:
    """Whether *received* ends in an E5 that is not part of a long frame still arriving: a late answer may hold one."""
    if not received.endswith(ACK):
        return False
    at = 0
    while (start := received.find(LONG_START, at)) >= 0 and start + 4 <= len(received):
        fault = fault_at(received, start)
        if fault is not None and fault.code == "truncated":
            return False
        at = start + (_size_at(received, start) if fault is None else 1)
    return True


def _may_begin(head: bytes) -> bool:
    """Whether up to four bytes can be the first of a frame: a length of 3 or more, given twice."""
    if not head or head[0] == SHORT_START:
        return bool(head)
    lengths = head[1:3]
    return (
        head[0] == LONG_START
        and all(length >= 3 for length in lengths)
        and len(set(lengths)) < 2
        and head[3:] in (b"", b"\x68")
    )


def _size_at(buffer: bytes, start: int) -> int:
    return SHORT if buffer[start] == SHORT_START else OVERHEAD + buffer[start + 1]


def _frame_at(buffer: bytes, start: int) -> Frame:
    """The frame that fault_at() has found to be whole."""
    if buffer[start] == SHORT_START:
        return Frame(buffer[start + 1], buffer[start + 2])
    end = start + 4 + buffer[start + 1]
    return Frame(buffer[start + 4], buffer[start + 5], buffer[start + 6], bytes(buffer[start + 7 : end]))
