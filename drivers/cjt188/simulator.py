"""A meter, and a line of meters, as their bytes look from outside.  Pure: bytes in, bytes out; time is asked for.

The encoder works from decimal text, digit by digit, and shares nothing with the readers in items.py but the layouts;
tests hold it against captured frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TypeAlias

from drivers.cjt188 import frame, items
from drivers.cjt188.frame import Frame, find_frame
from drivers.cjt188.items import Layout, Part, Sort

SimValue: TypeAlias = Decimal | str | None
"""A number in the meter's own unit; digits from the high end for a clock (``20170109172006``), bytes in the order of
the wire for the status (``0004``); None for a field that holds no value."""

Values: TypeAlias = Callable[[str], SimValue]
"""``901F.volume`` -> its present value.  Raises LookupError for what the meter does not have."""

UNIT_CODES: Mapping[str, int] = {"energy": 0x05, "power": 0x17, "flow": 0x35, "volume": 0x2C}
"""kW.h, kW, m3/h and m3: what the captured meters send."""

_NOT_SUPPORTED = b"\x00\x01"
"""Status of a refusal.  No document at hand assigns its bits."""
_WRITES = (frame.WRITE, frame.WRITE_ADDRESS, frame.WRITE_REGISTER)


@dataclass(slots=True)
class SimValve:
    """A valve with a motor: until that has run, the status says what it said before."""

    now: Callable[[], float]
    """Seconds, of any origin."""
    motor_s: float = 20.0
    closed: bool = False
    jammed: bool = False
    """It cannot be moved: abnormal when the motor should have been there."""
    codes: tuple[int, int] = (0x55, 0x99)
    """What opens, what closes."""
    _told: bool = field(default=False, init=False)
    _arrives: float = field(default=-math.inf, init=False)
    _abnormal: bool = field(default=False, init=False)

    def command(self, code: int) -> bool:
        """Whether the code is known; the motor runs from now on, also when it had been running."""
        if code not in self.codes:
            return False
        self.bits()
        self._told, self._arrives = code == self.codes[1], self.now() + self.motor_s
        return True

    def bits(self) -> int:
        """D1 and D0 of the status: 0 open, 1 closed, 3 abnormal."""
        if -math.inf < self._arrives <= self.now():
            self._abnormal = self.jammed and self._told != self.closed
            self.closed = self.closed if self.jammed else self._told
            self._arrives = -math.inf
        return 3 if self._abnormal else int(self.closed)


@dataclass(frozen=True, slots=True)
class Cjt188SimMeter:
    """One meter: answers what it has, refuses what it has not."""

    address: str
    type: int
    values: Values
    preamble: int = 2
    unit_first: bool = False
    di_order: str = "any"
    """``high_first`` or ``low_first``: identifiers in the other order are not understood, and not answered."""
    sequence: int | None = None
    """Sent in every answer instead of the request's."""
    answer_type: int | None = None
    """Sent in every answer instead of its type."""
    units: Mapping[str, int] | None = None
    """Unit codes by dimension, where they are not UNIT_CODES."""
    valve: SimValve | None = None
    """None: valve commands are refused, and the status says what *values* say."""
    set_clock: Callable[[str], None] | None = None
    """Told the digits of a clock that is written (``20170109172006``); None: refused."""

    def answer(self, request: Frame) -> Frame | None:
        """None where a meter stays silent: not meant, an answer of another, a broadcast, a code it does not know."""
        if request.is_answer or request.sequence is None or not self._is_meant(request):
            return None
        if request.control == frame.READ_ADDRESS:
            return self._good(request, b"") if request.di == frame.ADDRESS_DI else self._refusal(request)
        if request.control == frame.READ:
            return self._read(request)
        if request.control == frame.WRITE and self._obeys(request):
            return self._good(request, self._status("0000"))
        return self._refusal(request) if request.control in _WRITES else None

    def _obeys(self, request: Frame) -> bool:
        content = request.content
        if request.di == frame.VALVE_DI and self.valve is not None and len(content) == 1:
            return self.valve.command(content[0])
        if request.di == frame.CLOCK_DI and self.set_clock is not None and len(content) == Sort.CLOCK.size:
            self.set_clock(content[::-1].hex())
            return True
        return False

    def _status(self, said: str) -> bytes:
        """What *values* say, but for the bits of a valve that there is."""
        raw = bytearray.fromhex(said)
        if self.valve is not None:
            raw[0] = raw[0] & 0xFC | self.valve.bits()
        return bytes(raw)

    def _is_meant(self, request: Frame) -> bool:
        high_first = request.data[:2] == bytes.fromhex(request.di)
        return (
            request.type in (frame.ANY_TYPE, self.type)
            and request.address in (frame.WILDCARD, self.address)
            and self.di_order in ("any", "high_first" if high_first else "low_first")
        )

    def _read(self, request: Frame) -> Frame:
        layouts = items.expected(request.di, self.type)
        if not layouts:
            return self._refusal(request)
        try:
            return self._good(request, self._encoded(request.di, layouts[0]))
        except LookupError:
            return self._refusal(request)

    def _encoded(self, di: str, layout: Layout) -> bytes:
        """Raises LookupError for what *values* lacks, ValueError for what cannot be said."""
        units = {**UNIT_CODES, **(self.units or {})}
        return b"".join(self._field(part, self.values(f"{di}.{part.name}"), units) for part in layout.parts)

    def _field(self, part: Part, value: SimValue, units: Mapping[str, int]) -> bytes:
        if part.sort is Sort.STATUS and isinstance(value, str):
            return self._status(value)
        return encode(part, value, units.get(part.dimension, 0), self.unit_first)

    def _good(self, request: Frame, content: bytes) -> Frame:
        return self._frame(request, 0x80, request.data[:2] + self._serial_of(request) + content)

    def _refusal(self, request: Frame) -> Frame:
        return self._frame(request, 0xC0, self._serial_of(request) + _NOT_SUPPORTED)

    def _frame(self, request: Frame, bits: int, data: bytes) -> Frame:
        type_ = self.type if self.answer_type is None else self.answer_type
        return Frame(type_, self.address, bits | request.control, data)

    def _serial_of(self, request: Frame) -> bytes:
        return request.data[2:3] if self.sequence is None else bytes((self.sequence,))


class Cjt188SimLine:
    """Meters on one pair of wires."""

    def __init__(self, meters: Sequence[Cjt188SimMeter]) -> None:
        self.meters = tuple(meters)
        self._received = bytearray()

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Bytes from the master, in any portions; what each meter addressed by them puts on the wire.

        A wildcard reaches every meter: several answers then, which a real wire would garble.
        """
        self._received += data
        answers: list[tuple[str, bytes]] = []
        while (found := find_frame(bytes(self._received))) is not None:
            request, _, end = found
            del self._received[:end]
            answers += self._answers(request)
        del self._received[: -frame.LONGEST]
        return answers

    def _answers(self, request: Frame) -> list[tuple[str, bytes]]:
        said = ((meter, meter.answer(request)) for meter in self.meters)
        return [(meter.address, answer.to_bytes(meter.preamble)) for meter, answer in said if answer is not None]


# ---------------------------------------------------------------------------------------------- encoding


def encode(part: Part, value: SimValue, unit: int, unit_first: bool) -> bytes:
    """One field.  Raises ValueError for what cannot be said in it."""
    digits_size = part.sort.size - (part.sort is Sort.QUANTITY)
    raw = b"\xff" * digits_size if value is None else _said(part, value, digits_size)
    if part.sort is not Sort.QUANTITY:
        return raw
    return bytes((unit,)) + raw if unit_first else raw + bytes((unit,))


def _said(part: Part, value: Decimal | str, size: int) -> bytes:
    digits = value if isinstance(value, str) else _digits(part, value, size)
    if len(digits) != 2 * size:
        raise ValueError(f"{value} does not fit into {part.name}")
    raw = bytes.fromhex(digits)
    return raw if part.sort is Sort.STATUS else raw[::-1]


def _digits(part: Part, value: Decimal, size: int) -> str:
    """The value's digits without its point, filled up with zeros."""
    if value < 0:
        raise ValueError(f"{part.name}: {value} cannot be said")
    step = Decimal(1).scaleb(-part.decimals)
    return str(value.quantize(step, ROUND_HALF_EVEN)).replace(".", "").zfill(2 * size)
