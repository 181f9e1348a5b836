"""A meter, and a line of meters, as their bytes look from outside.  Pure: bytes in, bytes out, no time.

The encoder works from the formats' text, digit by digit, and shares nothing with the readers in items.py but the
table, so that a fault in one cannot hide in the other; tests hold it against captured frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TypeAlias

from drivers.dlt645 import frame, items
from drivers.dlt645.frame import Frame, find_frame

SimValue: TypeAlias = Decimal | str | None
"""A number in the item's unit; digits from the high end for everything else (``YYMMDDhhmm`` as ``2606051022``,
``bits16`` as ``0050``, ``ascii6`` as its text); None for a register that holds no value."""

Values: TypeAlias = Callable[[str], SimValue]
"""Identifier -> its present value.  Raises LookupError for one that the meter does not have.

A part with a label is asked for as ``04000101.weekday``."""

_NO_SUCH_DATA, _NOT_AUTHORISED = 0x02, 0x04
_MOST_DATA = 200
_WRITES = range(frame.WRITE, frame.RELAY + 1)
"""Refused, as a meter does that wants a password or an encrypted command."""


@dataclass(slots=True)
class Dlt645SimMeter:
    """One meter: answers what it has, refuses what it has not."""

    address: str
    values: Values
    preamble: int = 4
    blocks: bool = True
    """Whether it knows block identifiers (FF)."""
    most_data: int = _MOST_DATA
    """Data bytes of one answer; longer ones are continued with 12h."""
    _last: tuple[bytes, bytes] = field(default=(b"", b""), init=False)
    """Identifier and data of the last 11h, for the 12h that may follow."""

    def answer(self, request: Frame) -> Frame | None:
        """None where a meter stays silent: not meant, an answer of another, a broadcast, another standard's code."""
        if request.is_answer or not frame.address_matches(request.address, self.address):
            return None
        if request.function == frame.READ_ADDRESS:
            return self._good(request, bytes.fromhex(self.address)[::-1])
        if request.function == frame.READ:
            return self._first(request)
        if request.function == frame.READ_FOLLOWING:
            return self._following(request)
        return self._refusal(request, _NOT_AUTHORISED) if request.function in _WRITES else None

    def _first(self, request: Frame) -> Frame:
        identifier = request.data[:4]
        try:
            data = self._encoded(identifier[::-1].hex().upper())
        except LookupError:
            return self._refusal(request, _NO_SUCH_DATA)
        self._last = identifier, data
        room = self.most_data - len(identifier)
        return self._good(request, identifier + data[:room], more=len(data) > room)

    def _following(self, request: Frame) -> Frame:
        identifier, sequence = request.data[:4], request.data[4:5]
        asked, data = self._last
        room = self.most_data - len(request.data)
        start = self.most_data - len(identifier) + (int.from_bytes(sequence, "big") - 1) * room
        if identifier != asked or start < room or start >= len(data):
            return self._refusal(request, _NO_SUCH_DATA)
        portion = data[start : start + room]
        return self._good(request, identifier + portion + sequence, more=start + room < len(data))

    def _encoded(self, di: str) -> bytes:
        """Raises LookupError."""
        block = items.block(di) if self.blocks and len(di) == 8 else None
        if block is None:
            return self._encoded_item(di)
        members = [self._encoded_member(member, block.item) for member in block.members]
        while members and members[-1] is None:  # a meter sends the tariffs it has
            members.pop()
        if not members:
            raise LookupError(di)
        return b"".join(member or b"\xff" * block.item.size for member in members)

    def _encoded_member(self, di: str, item: items.Item) -> bytes | None:
        try:
            return encode(di, item, self.values)
        except LookupError:
            return None

    def _encoded_item(self, di: str) -> bytes:
        item = items.lookup(di) if len(di) == 8 else None
        if item is None:
            raise LookupError(di)
        return encode(di, item, self.values)

    def _good(self, request: Frame, data: bytes, more: bool = False) -> Frame:
        return Frame(self.address, 0x80 | (0x20 if more else 0) | request.control, data)

    def _refusal(self, request: Frame, code: int) -> Frame:
        return Frame(self.address, 0xC0 | request.control, bytes((code,)))


class Dlt645SimLine:
    """Meters on one pair of wires."""

    def __init__(self, meters: Sequence[Dlt645SimMeter]) -> None:
        self.meters = tuple(meters)
        self._received = bytearray()

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Bytes from the master, in any portions; what each meter addressed by them puts on the wire.

        A wildcard reaches every meter it fits: several answers then, which a real wire would garble.
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


def encode(di: str, item: items.Item, values: Values) -> bytes:
    """The data of an answer.  Raises LookupError for what *values* lacks, ValueError for what cannot be said."""
    names = (f"{di}.{part.label}" if part.label else di for part in item.parts)
    return b"".join(_encode_part(part, values(name)) for name, part in zip(names, item.parts, strict=True))


def _encode_part(part: items.Part, value: SimValue) -> bytes:
    size = _size(part.format)
    if value is None:
        return b"\xff" * size
    if part.format.startswith("ascii"):
        return str(value).encode("ascii").rjust(size, b"\x00")[::-1]
    digits = value if isinstance(value, str) else _digits(part.format, value, part.signed)
    if len(digits) != 2 * size:
        raise ValueError(f"{value} does not fit into {part.format}")
    return bytes.fromhex(digits)[::-1]


def _size(format: str) -> int:  # noqa: A002
    if format.startswith("bits"):
        return int(format.removeprefix("bits")) // 8
    if format.startswith("ascii"):
        return int(format.removeprefix("ascii"))
    return len(format.replace(".", "")) // 2


def _digits(format: str, value: Decimal, signed: bool) -> str:  # noqa: A002
    """The value's digits without its point, filled up with zeros; a minus is 8 added to the first digit."""
    places = len(format.partition(".")[2])
    step = Decimal(1).scaleb(-places)
    digits = str(abs(value).quantize(step, ROUND_HALF_EVEN)).replace(".", "").zfill(2 * _size(format))
    if (signed and digits[0] > "7") or (value < 0 and not signed):
        raise ValueError(f"{value} cannot be said as {format}")
    return f"{int(digits[0]) + 8:X}{digits[1:]}" if value < 0 else digits
