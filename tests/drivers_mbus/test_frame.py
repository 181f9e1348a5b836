from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.mbus.frame import Frame, fault_at, find_frame
from gateway.errors import ProtocolError

REQUEST = Frame(0x7B, 5)
ANSWER = Frame(0x08, 5, 0x72, bytes.fromhex("78034911770 40E160A000000 0C7878034911".replace(" ", "")))
BYTE = st.integers(0, 255)
FRAMES = st.one_of(
    st.builds(Frame, BYTE, BYTE),
    st.builds(Frame, BYTE, BYTE, BYTE, st.binary(max_size=252)),
)


def test_frames_stand_on_the_wire_as_the_standard_shows_them() -> None:
    assert REQUEST.to_bytes().hex(" ") == "10 7b 05 80 16"
    assert Frame(0x53, 0xFE, 0x51, b"\x01\x7a\x08").to_bytes().hex(" ") == "68 06 06 68 53 fe 51 01 7a 08 25 16"


@given(FRAMES, st.binary(max_size=40), st.binary(max_size=40))
def test_a_frame_is_read_as_it_was_written_whatever_follows_it(frame: Frame, before: bytes, behind: bytes) -> None:
    wire = frame.to_bytes()
    assert Frame.from_bytes(wire) == frame
    assert find_frame(wire + behind) == (frame, 0, len(wire))
    if not any(byte in before for byte in b"\x10\x68"):
        assert find_frame(before + wire) == (frame, len(before), len(before) + len(wire))


@given(st.binary(max_size=600))
def test_any_bytes_are_searched_without_fault(noise: bytes) -> None:
    at = 0
    while (found := find_frame(noise, at)) is not None:
        frame, start, end = found
        assert frame.to_bytes() == noise[start:end]
        at = end


@given(FRAMES, st.data())
def test_one_wrong_bit_is_seen(frame: Frame, data: st.DataObject) -> None:
    wire = bytearray(frame.to_bytes())
    at = data.draw(st.integers(0, len(wire) - 1))
    wire[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProtocolError):
        Frame.from_bytes(bytes(wire))


def test_a_start_among_noise_costs_one_byte() -> None:
    wire = ANSWER.to_bytes()
    for noise in (b"\x68", b"\x10", b"\x68\x13\x13\x68", b"\x10\x5b", wire[:-1], b"\x68" * 9):
        assert find_frame(noise + wire) == (ANSWER, len(noise), len(noise) + len(wire))


@pytest.mark.parametrize("unit", [b"\x68", b"\x10", b"\x68\xff\xff\x68", b"\x68\x10", bytes(range(256))])
def test_the_work_grows_with_the_length_and_no_faster(unit: bytes) -> None:
    class Counting(bytes):
        looked_at = 0

        def __getitem__(self, key):  # type: ignore[no-untyped-def]
            got = super().__getitem__(key)
            Counting.looked_at += len(got) if isinstance(got, bytes) else 1
            return got

    stream = Counting(unit * (8000 // len(unit)))
    assert find_frame(stream) is None
    assert Counting.looked_at <= 300 * len(stream)


@pytest.mark.parametrize(
    ("wire", "code", "offset"),
    [
        ("00", "no_frame", 0),
        ("68 00 00 68 08 16", "no_frame", 0),
        ("68 13 14", "no_frame", 0),
        ("68 13 13 67", "no_frame", 0),
        ("68", "truncated", 1),
        ("68 13", "truncated", 2),
        ("68 03 03 68 08 01 70", "truncated", 7),
        ("10 7B 05 80", "truncated", 4),
        ("10 7B 05 81 16", "bad_checksum", 3),
        ("10 7B 05 80 17", "bad_end", 4),
        ("68 03 03 68 08 01 70 78 16", "bad_checksum", 7),
        ("68 03 03 68 08 01 70 79 17", "bad_end", 8),
    ],
)
def test_what_is_no_frame_says_why_and_where(wire: str, code: str, offset: int) -> None:
    fault = fault_at(bytes.fromhex(wire), 0)
    assert fault is not None
    assert (fault.code, fault.offset) == (code, offset)


def test_bytes_behind_a_frame_are_not_that_frame() -> None:
    with pytest.raises(ProtocolError, match="behind"):
        Frame.from_bytes(ANSWER.to_bytes() + b"\x00")


@pytest.mark.parametrize(
    ("frame", "is_request", "is_response"),
    [
        (REQUEST, True, False),
        (ANSWER, False, True),
        (Frame(0x38, 5, 0x72), False, True),  # access demand, data flow
        (Frame(0x08, 5), False, False),
        (Frame(0x53, 5, 0x51), True, False),
    ],
)
def test_who_speaks(frame: Frame, is_request: bool, is_response: bool) -> None:
    assert (frame.is_request, frame.is_response) == (is_request, is_response)
