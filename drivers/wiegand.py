"""Wiegand: the bits that a card reader gives, as facility and card number.  Pure; no I/O, nothing kept.

    26 bits   0 01011010 0000000101000100 0
              │ facility └ card         │ └ makes the ones of the second half odd
              └ makes the ones of the first half even

Layouts and parity masks: the table of default Wiegand formats in the manual of ZKTeco's Thor terminal; 38 bits, and
the numbers behind three 26-bit strings: tests/vectors/access.json.  No public 34-bit string with a known number was
found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from drivers.base import Decoded, DecodedFrame, Fault, Field

Printing: TypeAlias = Literal["facility_card", "joined", "decimal10", "hex"]
"""How the number stands on the card, which is how people know it."""

LONGEST = 128
"""Bits; longer ones are no card."""
SHORTEST = 4
_EM41XX_BYTES = 5
_JOINABLE_BITS = 16
_TEXT = frozenset(b"01")
_PAIRS: Mapping[int, str] = {0x00: "00", 0x01: "01", 0x10: "10", 0x11: "11"}
"""What a text of bits becomes when it is read as hexadecimal."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which bits are the facility and which the card, and the parity of the two halves, parity bits included."""

    name: str
    facility: tuple[int, int]
    """Index of the first bit, and of the one behind the last."""
    card: tuple[int, int]
    bits: int
    even_first: bool = True

    def parity_ok(self, bits: str) -> bool:
        half = self.bits // 2
        first, second = bits[:half].count("1") % 2, bits[half:].count("1") % 2
        return (first, second) == ((0, 1) if self.even_first else (1, 0))


LAYOUTS: Mapping[str, Layout] = {
    each.name: each
    for each in (
        Layout("26", (1, 9), (9, 25), 26),
        Layout("34", (1, 9), (9, 33), 34),
        Layout("34b", (1, 17), (17, 33), 34),
        Layout("36", (1, 19), (19, 35), 36),
        Layout("36a", (1, 17), (17, 33), 36, even_first=False),
        Layout("37", (4, 14), (20, 36), 37),
        Layout("38", (1, 13), (13, 37), 38),
        Layout("50", (1, 17), (17, 49), 50),
    )
}
"""34b: a facility of 16 bits before a card of 16; 37: the six bits between are the site's."""


@dataclass(frozen=True, slots=True)
class Card:
    """One reading.  Never shows its number by itself."""

    layout: str
    facility: int
    card: int
    raw: int
    """All data bits as one number."""

    def __repr__(self) -> str:
        return f"Card({self.layout})"

    def printed(self, how: Printing) -> str:
        """As people read it from the card: ``090,00324``, ``9000324``, ``0005898564``, ``5A0144``.

        joined: facility times 100000 plus card, as UHPPOTE controllers say it; that, and facility_card, only where a
        layout says what they are and the card has 16 bits: otherwise two cards could have one number.
        """
        if how == "hex":
            return f"{self.raw:X}"
        layout = LAYOUTS.get(self.layout)
        joinable = self.layout == "em41xx" or (layout is not None and layout.card[1] - layout.card[0] == _JOINABLE_BITS)
        if how == "decimal10" or not joinable:
            return f"{self.raw:010}"
        return (
            f"{self.facility:03},{self.card:05}" if how == "facility_card" else f"{self.facility * 100_000 + self.card}"
        )


def read(bits: str, layout: str = "auto", *, reverse_bytes: bool = False) -> Card | None:
    """*bits*: of 0 and 1, as they came.  None where the parity or the number of bits is wrong.

    auto: the first layout of that many bits whose parity is right; bits of 32 or another number without a layout are
    one number without parity.
    reverse_bytes: the reader gives the number's bytes the other way round (many do with a Mifare UID).
    """
    if layout != "auto":
        return _read(bits, LAYOUTS[layout], reverse_bytes) if LAYOUTS[layout].bits == len(bits) else None
    fitting = [each for each in LAYOUTS.values() if each.bits == len(bits)]
    found = (_read(bits, each, reverse_bytes) for each in fitting)
    if fitting:
        return next((card for card in found if card is not None), None)
    return plain(bits, reverse_bytes=reverse_bytes)


def plain(bits: str, *, reverse_bytes: bool = False) -> Card | None:
    """All bits as one number, without parity."""
    if not SHORTEST <= len(bits) <= LONGEST:
        return None
    raw = _turned(int(bits, 2), len(bits)) if reverse_bytes else int(bits, 2)
    return Card(str(len(bits)), raw >> 16 & 0xFF, raw & 0xFFFF, raw)


def _read(bits: str, layout: Layout, reverse_bytes: bool) -> Card | None:
    if not layout.parity_ok(bits):
        return None
    raw = int(bits[1:-1], 2)
    if reverse_bytes:
        raw = _turned(raw, layout.bits - 2)
        bits = f"0{raw:0{layout.bits - 2}b}0"
    facility, card = (int(bits[slice(*where)], 2) for where in (layout.facility, layout.card))
    return Card(layout.name, facility, card, raw)


def _turned(number: int, bits: int) -> int:
    """Its bytes in the other order; a number that is not of whole bytes stays as it is."""
    size, rest = divmod(bits, 8)
    return number if rest else int.from_bytes(number.to_bytes(size, "big")[::-1], "big")


def em41xx(identity: bytes, *, mirrored: bool = False) -> Card:
    """The five bytes of an EM41xx tag; its number is the last three.  *mirrored*: each byte came last bit first.

    Raises ValueError for another number of bytes.
    """
    if len(identity) != _EM41XX_BYTES:
        raise ValueError("an EM41xx tag has five bytes")
    if mirrored:
        identity = bytes(int(f"{byte:08b}"[::-1], 2) for byte in identity)
    raw = int.from_bytes(identity[2:], "big")
    return Card("em41xx", raw >> 16, raw & 0xFFFF, raw)


def with_parity(facility: int, card: int, layout: str = "26") -> str:
    """The bits that a reader gives.  Raises ValueError for numbers that do not fit."""
    shape = LAYOUTS[layout]
    bits = ["0"] * shape.bits
    for number, (first, end) in ((facility, shape.facility), (card, shape.card)):
        if not 0 <= number < 1 << (end - first):
            raise ValueError(f"{number} does not fit into {end - first} bits")
        bits[first:end] = f"{number:0{end - first}b}"
    half = shape.bits // 2
    ones = bits[1:half].count("1") % 2, bits[half:-1].count("1") % 2
    bits[0] = str(ones[0] ^ (not shape.even_first))
    bits[-1] = str(ones[1] ^ shape.even_first)
    return "".join(bits)


# ---------------------------------------------------------------------- gateway decode wiegand


def decode(data: bytes) -> Decoded:
    """Bits as text (``0010110…``), the five bytes of an EM41xx tag, or a number of bits and then the bits, first first.

    A text of an even number of bits may have been taken for hexadecimal on its way here.
    """
    bits = _bits(data)
    if bits is not None:
        return _explained(bits)
    if len(data) == _EM41XX_BYTES:
        return Decoded((_frame(em41xx(data), "40", parity=None),))
    text = "不是韦根位串，也不是 5 字节的 EM41xx / neither bits nor the five bytes of an EM41xx tag"
    return Decoded((), Fault("not_wiegand", text)) if data else Decoded()


def _bits(data: bytes) -> str | None:
    text = data.strip()
    if SHORTEST <= len(text) <= LONGEST and set(text) <= _TEXT:
        return text.decode("ascii")
    if 2 * len(data) >= min(each.bits for each in LAYOUTS.values()) and set(data) <= _PAIRS.keys():
        return "".join(_PAIRS[byte] for byte in data) if 2 * len(data) <= LONGEST else None
    if data and SHORTEST <= data[0] <= LONGEST and len(data) == 1 + -(-data[0] // 8):
        return "".join(f"{byte:08b}" for byte in data[1:])[: data[0]]
    return None


def _explained(bits: str) -> Decoded:
    fitting = [each for each in LAYOUTS.values() if each.bits == len(bits)]
    cards = [card for each in fitting if (card := _read(bits, each, False)) is not None]
    if cards:
        return Decoded(tuple(_frame(card, str(len(bits)), parity=True) for card in cards))
    whole = plain(bits)
    if fitting or whole is None:
        return Decoded((), Fault("bad_parity", f"{len(bits)} 位，校验错误 / {len(bits)} bits with wrong parity"))
    return Decoded((_frame(whole, str(len(bits)), parity=None),))


def _frame(card: Card, bits: str, parity: bool | None) -> DecodedFrame:
    said: Sequence[tuple[str, int | str | bool | None]] = (
        ("bits", bits),
        ("parity", parity),
        ("facility", card.facility),
        ("card", card.card),
        ("joined", card.printed("joined")),
        ("decimal10", card.printed("decimal10")),
        ("hex", card.printed("hex")),
    )
    return DecodedFrame("response", "", card.layout, tuple(Field(name, value) for name, value in said))
