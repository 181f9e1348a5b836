"""The DL/T 645 frame, the same in 1997 and 2007.  Pure; knows addresses and control codes, not what the data mean.

An answer captured from a single-phase meter (address 000000190101, phase A voltage, 224.4 V):

    FE FE FE FE │ 68 01 01 19 00 00 00 68 91 06 33 34 34 35 77 55 1E 16
     preamble   │  0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17
    0 to 13 seen│  │  └ address, low ─┘  │  │  │  └ data, +33h ───┘  │  └ end
     in answers │ start    pair first  start│  length (data only)   sum of bytes 0..15, mod 256
                │                        control: D7 answer, D6 refused, D5 more follows, D4..D0 function

An address, the data and the checksum may all hold 68h and 16h, so nothing is a landmark but the whole: a start, the
second start 7 bytes on, and a checksum that fits.  Whatever does not fit costs one byte, never more.
Source: DL/T 645-2007, clause 5 (frame), annex B (error word); DL/T 645-1997, clause 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.summed_frames import Shape, sealed

SHAPE = Shape(length_at=9, second_start_at=7)
OVERHEAD = SHAPE.overhead
"""Bytes of a frame without data."""
LONGEST = OVERHEAD + 255

READ, READ_FOLLOWING, READ_ADDRESS = 0x11, 0x12, 0x13
BROADCAST_TIME, WRITE, WRITE_ADDRESS, FREEZE = 0x08, 0x14, 0x15, 0x16
CHANGE_BAUD, CHANGE_PASSWORD, CLEAR_DEMAND, CLEAR_METER, CLEAR_EVENTS, RELAY = 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C
READ_1997, READ_FOLLOWING_1997, READ_AGAIN_1997, WRITE_1997, WRITE_ADDRESS_1997 = 0x01, 0x02, 0x03, 0x04, 0x0A
"""Function codes (control, D4..D0)."""

_OF_1997 = frozenset((*range(0x01, 0x08), *range(0x09, 0x11)))
"""Function codes that only DL/T 645-1997 has; 08h, the broadcast time, is in both."""

WILDCARD = "AA" * 6
"""Any one meter answers, and says its own address."""
BROADCAST = "99" * 6
"""All meters obey, none answers."""

_ANSWER, _REFUSED, _MORE, _FUNCTION = 0x80, 0x40, 0x20, 0x1F
_ADD_33H = bytes((i + 0x33) & 0xFF for i in range(256))
_SUBTRACT_33H = bytes((i - 0x33) & 0xFF for i in range(256))

_ERROR_BITS = (
    "其他错误 other error",
    "无请求数据 no such data",
    "密码错或未授权 wrong password or not authorised",
    "通信速率不能更改 baud rate cannot be changed",
    "年时区数超 too many yearly zones",
    "日时段数超 too many daily slots",
    "费率数超 too many tariffs",
    "保留位 reserved bit",
)
_ERROR_BITS_1997 = (
    "非法数据 illegal data",
    "数据标识错 no such identifier",
    "密码错 wrong password",
    "保留位 reserved bit",
    *_ERROR_BITS[4:],
)
NOT_AUTHORISED = 0x04
"""The bit of an error byte that speaks of passwords and rights, in both standards."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame without its preamble.

    address: 12 digits as printed on the meter, high pair first; ``A`` stands for a wildcard.
    data: 0..255 bytes as the standard's tables show them, that is after 33h has been taken away.
    """

    address: str
    control: int
    data: bytes = b""

    @property
    def is_answer(self) -> bool:
        return bool(self.control & _ANSWER)

    @property
    def refused(self) -> bool:
        """An error answer; its data is the error byte."""
        return self.control & (_ANSWER | _REFUSED) == _ANSWER | _REFUSED

    @property
    def more_follows(self) -> bool:
        return self.control & (_ANSWER | _REFUSED | _MORE) == _ANSWER | _MORE

    @property
    def function(self) -> int:
        return self.control & _FUNCTION

    def to_bytes(self, preamble: int = 0) -> bytes:
        address = bytes.fromhex(self.address)[::-1]
        length = len(self.data)
        body = b"\x68%b\x68%c%c%b" % (address, self.control, length, self.data.translate(_ADD_33H))
        return sealed(body, preamble)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Frame:
        """Exactly one frame, after any number of FE bytes.  Raises ProtocolError."""
        return _frame_at(SHAPE.only(raw), 0)


def find_frame(buffer: bytes, start: int = 0) -> tuple[Frame, int, int] | None:
    """The first whole frame at or after *start*, with the indexes of its first byte and of the byte behind it."""
    found = SHAPE.find(buffer, start)
    return None if found is None else (_frame_at(buffer, found[0]), *found)


def answers(frame: Frame, request: Frame, repeated: int = 4) -> bool:
    """Whether *frame* is what the meter says to *request*: its address, its function, the identifier asked for.

    repeated: so many of the request's first data bytes (the identifier) stand in the answer too.  A refusal repeats
    none; address and function must do.  A request for what follows ends in a sequence number, which the answer carries
    elsewhere.
    """
    return (
        frame.is_answer
        and not (frame.control ^ request.control) & _FUNCTION
        and address_matches(request.address, frame.address)
        and (frame.refused or frame.data.startswith(request.data[:repeated]))
    )


def address_matches(asked: str, answered: str) -> bool:
    """Whether a meter called *answered* is meant by *asked*, whose AA pairs stand for any pair."""
    if asked == answered:
        return True
    pairs = range(0, 12, 2)
    return all(asked[i : i + 2] in ("AA", answered[i : i + 2]) for i in pairs)


def error_text(code: int, function: int = READ) -> str:
    """The bits of an error byte by name; the standards number them alike and name three of them differently."""
    names = _ERROR_BITS_1997 if function in _OF_1997 else _ERROR_BITS
    return "; ".join(text for bit, text in enumerate(names) if code >> bit & 1) or "未说明原因 no reason given"


def _frame_at(buffer: bytes, start: int) -> Frame:
    """The frame that has been found to be whole."""
    data_end = start + 10 + buffer[start + 9]
    address = buffer[start + 1 : start + 7][::-1].hex().upper()
    return Frame(address, buffer[start + 8], bytes(buffer[start + 10 : data_end]).translate(_SUBTRACT_33H))
