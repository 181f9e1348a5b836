"""Meters on a bus as their bytes look from outside.  Pure: bytes in, bytes out, no time.

A meter answers with telegrams given as bytes (published frames are played as they are) or built by ``variable``,
whose encoder works from the value's decimal digits and shares nothing with the readers in records.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from drivers.mbus import frame
from drivers.mbus.frame import ACK, Frame, find_frame

_RESPONSE, _SELECT, _VARIABLE = 0x08, frame.SELECT, 0x72
_SND_UD_ANY_FCB = frame.SND_UD & ~frame.FCB
_REQ_ANY_FCB = frame.REQ_UD2 & ~frame.FCB
_TEST = 254


@dataclass(frozen=True, slots=True)
class SimRecord:
    """One record, by its fields as the standard writes them.

    dib, vib: DIF and VIF with their extensions.  The DIF's kind of data says how *value* is encoded: the number on the
    wire (9..C, E: BCD; 1..4, 6, 7: integer), which is the value divided by the VIF's power of ten.
    """

    dib: bytes
    vib: bytes
    value: int | bytes = b""

    def to_bytes(self) -> bytes:
        """Raises ValueError or OverflowError for a number that does not fit."""
        return self.dib + self.vib + (self.value if isinstance(self.value, bytes) else self._number(self.value))

    def _number(self, number: int) -> bytes:
        kind = self.dib[0] & 0x0F
        if kind in _BCD_BYTES:
            return _bcd(number, _BCD_BYTES[kind])
        return number.to_bytes(_INTEGER_BYTES[kind], "little", signed=True)


_BCD_BYTES = {0x9: 1, 0xA: 2, 0xB: 3, 0xC: 4, 0xE: 6}
_INTEGER_BYTES = {0x1: 1, 0x2: 2, 0x3: 3, 0x4: 4, 0x6: 6, 0x7: 8}


def _bcd(number: int, size: int) -> bytes:
    digits = f"F{-number:0{2 * size - 1}d}" if number < 0 else f"{number:0{2 * size}d}"
    if len(digits) != 2 * size:
        raise ValueError(f"{number} does not fit into {2 * size} digits")
    return bytes.fromhex(digits)[::-1]


def on_wire(value: Decimal, exponent: int) -> int:
    """The whole number a meter sends for *value* in the VIF's unit; digits beyond its resolution are cut off."""
    return int(value.scaleb(-exponent))


Telegrams = Callable[[], Sequence[bytes]]
"""The present answer: the data of one RSP_UD (CI and what follows) or of several, all but the last ending in 1Fh."""


@dataclass(slots=True)
class MbusSimMeter:
    """One meter: obeys SND_NKE and selection, answers REQ_UD2, repeats itself where FCB has not changed."""

    primary: int
    telegrams: Telegrams
    id: str = "00000000"
    manufacturer: int = 0
    version: int = 0
    medium: int = 0
    told: Callable[[int, bytes], None] | None = None
    """Told CI and data of every SND_UD that it acknowledges."""
    heeds_fcb: bool = True
    """False: it says its first telegram whatever the bit, and counts it as a new one."""
    selected: bool = field(default=False, init=False)
    access: int = field(default=0, init=False)
    _last_fcb: int | None = field(default=None, init=False)
    _next: int = field(default=-1, init=False)

    def answer(self, request: Frame) -> bytes | None:
        """None where a meter stays silent."""
        if request.address == frame.SELECTED and request.ci == _SELECT:
            return self._select(request.data)
        if not self._is_meant(request.address):
            return None
        if request.control == frame.SND_NKE:
            self.selected = self.selected and request.address != frame.SELECTED
            self._last_fcb, self._next = None, -1
            return ACK
        if request.control & ~frame.FCB == _REQ_ANY_FCB and request.ci is None:
            return self._data(request.control & frame.FCB)
        return self._obey(request) if request.control & ~frame.FCB == _SND_UD_ANY_FCB else None

    def _obey(self, request: Frame) -> bytes:
        if self.told is not None:
            self.told(request.ci or 0, request.data)
        return ACK

    def _is_meant(self, address: int) -> bool:
        return address in (self.primary, _TEST) or (address == frame.SELECTED and self.selected)

    def _select(self, data: bytes) -> bytes | None:
        own = self.header()
        self.selected = len(data) == len(own) and _is_selected(data, own)
        self._last_fcb, self._next = None, -1
        return ACK if self.selected else None

    def _data(self, fcb: int) -> bytes:
        telegrams = self.telegrams()
        if not self.heeds_fcb:
            self.access = self.access + 1 & 0xFF
            self._next = 0
        elif fcb != self._last_fcb:
            self._next = (self._next + 1) % len(telegrams)
        self._last_fcb = fcb
        content = telegrams[self._next % len(telegrams)]
        return Frame(_RESPONSE, self.primary, content[0], content[1:]).to_bytes()

    def header(self) -> bytes:
        """Identification, manufacturer, version, medium: what a selection compares."""
        return (
            bytes.fromhex(self.id)[::-1] + self.manufacturer.to_bytes(2, "little") + bytes((self.version, self.medium))
        )

    def variable(self, records: Sequence[SimRecord], *, status: int = 0, more: bool = False) -> bytes:
        """A telegram of the variable structure (CI 72h) with this meter's header."""
        body = b"".join(record.to_bytes() for record in records)
        return (
            bytes((_VARIABLE,)) + self.header() + bytes((self.access, status, 0, 0)) + body + (b"\x1f" if more else b"")
        )


def _is_selected(asked: bytes, own: bytes) -> bool:
    """F stands for any digit of the number; maker, version and medium have no wildcard but all ones.

    Source: EN 13757-3, selection of slaves.
    """
    number = all(_fits(*each) for each in zip(asked[:4], own[:4], strict=True))
    fields = ((asked[4:6], own[4:6]), (asked[6:7], own[6:7]), (asked[7:], own[7:]))
    return number and all(wanted in (b"\xff" * len(is_), is_) for wanted, is_ in fields)


def _fits(asked: int, own: int) -> bool:
    """Whether a byte of a selection fits: each nibble that is not F."""
    return all(asked >> shift & 15 in (15, own >> shift & 15) for shift in (0, 4))


class MbusSimLine:
    """Meters on one pair of wires."""

    def __init__(self, meters: Sequence[MbusSimMeter]) -> None:
        self.meters = tuple(meters)
        self._received = bytearray()

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Bytes from the master, in any portions; what each meter addressed by them puts on the wire."""
        self._received += data
        answers: list[tuple[str, bytes]] = []
        while (found := find_frame(bytes(self._received))) is not None:
            request, _, end = found
            del self._received[:end]
            said = ((meter, meter.answer(request)) for meter in self.meters)
            answers += [(str(meter.primary), answer) for meter, answer in said if answer is not None]
        del self._received[: -frame.LONGEST]
        return answers


def played(telegram: bytes) -> Telegrams:
    """Always the same published frame."""
    published = Frame.from_bytes(telegram)
    content = bytes((published.ci or 0,)) + published.data
    return lambda: (content,)
