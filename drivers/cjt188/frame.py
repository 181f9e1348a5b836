"""The CJ/T 188 frame, the same in 2004 and 2018.  Pure; knows addresses and control codes, not what the data mean.

An answer captured from a cold water meter (address 00000010000192, 2222.00 m3):

    68 10 92 01 00 10 00 00 00 81 16 90 1F 01 00 22 22 00 2C ... 00 FE 16
     0  1  2  3  4  5  6  7  8  9 10 11 12 13 14                   33 34
     │  │  └ address, low pair ┘  │  │  └DI─┘  │  └ data to 32 ... │  └ end
     │  type of meter      first  │  length    sequence            sum of bytes 0..32, mod 256
     start                        control: D7 answer, D6 refused, D5 more follows, D4..D0 function

Zero to thirteen FE were seen before answers.  Nothing is added to the data, and there is no second start: a candidate
is a start with a checksum and an end that fit, and whatever does not fit costs one byte, never more.  The order of the
two identifier bytes is the meter's own: 90 1F in some, 1F 90 in others, whatever edition they are built to.
Source: CJ/T 188-2004, clause 7; the order of the identifier from captured frames (tests/vectors/cjt188.json).
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.summed_frames import Shape, sealed

SHAPE = Shape(length_at=10)
OVERHEAD = SHAPE.overhead
"""Bytes of a frame without data."""
LONGEST = OVERHEAD + 255

READ, READ_ADDRESS = 0x01, 0x03
WRITE, WRITE_ADDRESS, WRITE_REGISTER = 0x04, 0x15, 0x16
"""Control codes of requests."""

DATA_DI, ADDRESS_DI = "901F", "810A"
VALVE_DI, CLOCK_DI, REGISTER_DI, NEW_ADDRESS_DI = "A017", "A015", "A016", "A018"
"""What is read, and what is written.  The last two are decoded, never sent: they change what a meter bills."""

WILDCARD = "AA" * 7
"""The only meter on the line answers, and says its own address."""
BROADCAST = "99" * 7
"""All meters obey, none answers."""
ANY_TYPE = 0xAA

_ANSWER, _REFUSED = 0x80, 0x40
_HEAD = 3
"""Identifier and sequence number."""
_HIGH_BYTES = (0x81, 0x90, 0x91, 0xA0, 0xA1, 0xD1, 0xD2, 0xD3, 0xD4)
"""Of the identifiers there are; none of them is the low byte of another."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame without its preamble.

    type: what the meter measures (10h cold water, 20h heat, 30h gas ...), or ANY_TYPE.
    address: 14 digits, high pair first: 4 of the vendor's code, 10 of the meter's number.
    data: identifier, sequence number and what follows them, in the order of the wire; 0..255 bytes.
    """

    type: int
    address: str
    control: int
    data: bytes = b""

    @property
    def is_answer(self) -> bool:
        return bool(self.control & _ANSWER)

    @property
    def refused(self) -> bool:
        """An error answer; its data are sequence number and status (ST), without an identifier."""
        return self.control & (_ANSWER | _REFUSED) == _ANSWER | _REFUSED

    @property
    def di(self) -> str:
        """Four hex digits, high byte first whichever way it was sent; empty where there is none."""
        pair = self.data[:2]
        if self.refused or len(pair) < 2:
            return ""
        swapped = pair[0] not in _HIGH_BYTES and pair[1] in _HIGH_BYTES
        return (pair[::-1] if swapped else pair).hex().upper()

    @property
    def sequence(self) -> int | None:
        """The sequence number (SER); None where there is none."""
        at = 0 if self.refused else 2
        return self.data[at] if len(self.data) >= _HEAD else None

    @property
    def content(self) -> bytes:
        """What follows the sequence number: the data of an answer, the status of a refusal."""
        return self.data[1:] if self.refused else self.data[_HEAD:]

    def to_bytes(self, preamble: int = 0) -> bytes:
        address = bytes.fromhex(self.address)[::-1]
        body = b"\x68%c%b%c%c%b" % (self.type, address, self.control, len(self.data), self.data)
        return sealed(body, preamble)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Frame:
        """Exactly one frame, after any number of FE bytes.  Raises ProtocolError."""
        return _frame_at(SHAPE.only(raw), 0)


def request(
    type_: int, address: str, control: int, di: str, sequence: int, low_first: bool = False, content: bytes = b""
) -> Frame:
    """A question about *di* (four hex digits, high byte first), or with *content* a command."""
    identifier = bytes.fromhex(di)
    head = (identifier[::-1] if low_first else identifier) + bytes((sequence,))
    return Frame(type_, address, control, head + content)


def find_frame(buffer: bytes, start: int = 0) -> tuple[Frame, int, int] | None:
    """The first whole frame at or after *start*, with the indexes of its first byte and of the byte behind it."""
    found = SHAPE.find(buffer, start)
    return None if found is None else (_frame_at(buffer, found[0]), *found)


def answers(frame: Frame, asked: Frame, any_sequence: bool = False) -> bool:
    """Whether *frame* is what the meter says to *asked*: its type, address, function, identifier and sequence number.

    A refusal repeats no identifier; the identifier of an answer may stand in either order.  An answer with D5 set
    (more follows) is none: no document at hand says how to ask for the rest.
    any_sequence: for meters that answer with a number of their own.
    """
    return (
        frame.control in (asked.control | _ANSWER, asked.control | _ANSWER | _REFUSED)
        and asked.type in (ANY_TYPE, frame.type)
        and asked.address in (WILDCARD, frame.address)
        and (frame.refused or frame.di == asked.di)
        and frame.sequence is not None
        and (any_sequence or frame.sequence == asked.sequence)
    )


def _frame_at(buffer: bytes, start: int) -> Frame:
    """The frame that has been found to be whole."""
    address = buffer[start + 2 : start + 9][::-1].hex().upper()
    data = bytes(buffer[start + 11 : start + 11 + buffer[start + 10]])
    return Frame(buffer[start + 1], address, buffer[start + 9], data)
