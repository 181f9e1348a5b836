"""Bits and numbers of cards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import wiegand
from drivers.wiegand import LAYOUTS, Card, decode, em41xx, read, with_parity

BITS = "00101101000000001010001000"


def test_one_wrong_bit_is_noticed_wherever_it_is() -> None:
    for at, bit in enumerate(BITS):
        assert read(BITS[:at] + ("1" if bit == "0" else "0") + BITS[at + 1 :]) is None


@given(st.sampled_from(sorted(LAYOUTS)), st.data())
def test_numbers_and_back(name: str, data: st.DataObject) -> None:
    layout = LAYOUTS[name]
    facility = data.draw(st.integers(0, (1 << (layout.facility[1] - layout.facility[0])) - 1))
    card = data.draw(st.integers(0, (1 << (layout.card[1] - layout.card[0])) - 1))
    bits = with_parity(facility, card, name)
    assert len(bits) == layout.bits
    found = read(bits, name)
    assert found is not None
    assert (found.facility, found.card) == (facility, card)
    assert any(
        field.value == card for each in decode(bits.encode()).frames for field in each.items if field.id == "card"
    )
    with pytest.raises(ValueError, match="does not fit"):
        with_parity(1 << 20, card, name)


def test_eight_layouts_of_which_the_one_with_odd_parity_first_is_36a() -> None:
    assert sorted(LAYOUTS) == ["26", "34", "34b", "36", "36a", "37", "38", "50"]
    assert [name for name, each in LAYOUTS.items() if not each.even_first] == ["36a"]


def test_how_a_number_is_printed() -> None:
    card = read(BITS)
    assert card is not None
    assert card.printed("facility_card") == "090,00324"
    assert card.printed("joined") == "9000324"
    assert card.printed("decimal10") == "0005898564"
    assert card.printed("hex") == "5A0144"
    assert "324" not in repr(card)


def test_two_cards_never_have_one_number() -> None:
    """Facility 1 with card 200000 and facility 3 with card 0 would be the same when joined."""
    one, other = (read(with_parity(*numbers, "34"), "34") for numbers in ((1, 200_000), (3, 0)))
    assert one is not None
    assert other is not None
    assert one.printed("joined") != other.printed("joined")


def test_a_mifare_number_read_the_other_way_round() -> None:
    bits = f"{0x04A1B2C3:032b}"
    forward, back = read(bits), read(bits, reverse_bytes=True)
    assert forward is not None
    assert back is not None
    assert (forward.printed("hex"), back.printed("hex")) == ("4A1B2C3", "C3B2A104")
    assert forward.printed("decimal10") == forward.printed("joined") == f"{0x04A1B2C3:010}"
    assert read(with_parity(0x12, 0x3456), reverse_bytes=True) == Card("26", 0x56, 0x3412, 0x563412)


def test_an_em41xx_tag() -> None:
    assert em41xx(bytes.fromhex("2A00244870")) == Card("em41xx", 36, 18544, 2377840)
    with pytest.raises(ValueError, match="five bytes"):
        em41xx(b"1234")


def test_decoding_bits_as_they_come() -> None:
    packed = bytes((26,)) + int(BITS.ljust(32, "0"), 2).to_bytes(4, "big")
    told = [decode(data).frames[0].items for data in (BITS.encode(), bytes.fromhex(BITS), packed)]
    assert told[0] == told[1] == told[2]
    assert {field.id: field.value for field in told[0]}["facility"] == 90
    assert decode(b"0" * 26).fault is not None
    assert decode(bytes.fromhex("2A00244870")).frames[0].items[3].value == 18544
    assert decode(b"\xff\xff").fault is not None
    assert decode(b"") == wiegand.Decoded()


@given(st.binary(max_size=200))
def test_any_bytes_are_explained_or_a_fault(data: bytes) -> None:
    found = decode(data)
    assert found.frames or found.fault or not data
