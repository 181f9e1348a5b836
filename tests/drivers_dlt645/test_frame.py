from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlt645.decode import decode
from drivers.dlt645.frame import SHAPE, WILDCARD, Frame, address_matches, answers, error_text, find_frame
from gateway.errors import ProtocolError

REQUEST = Frame("000000190101", 0x11, bytes.fromhex("00010102"))
ANSWER = Frame("000000190101", 0x91, bytes.fromhex("000101024422"))

addresses = st.text("0123456789", min_size=12, max_size=12)
frames = st.builds(Frame, addresses, st.integers(0, 255), st.binary(max_size=255))
# Bytes that look like parts of a frame, so that the parser is led astray as often as possible.
treacherous = st.lists(st.sampled_from([0x68, 0x16, 0xFE, 0x00, 0x33, 0x91, 0x0A]), max_size=80).map(bytes)


@given(frames, st.integers(0, 20))
def test_what_is_written_is_read_back(frame: Frame, preamble: int) -> None:
    wire = frame.to_bytes(preamble)
    assert find_frame(wire) == (frame, preamble, len(wire))
    assert Frame.from_bytes(wire) == frame


@given(frames, st.binary(max_size=40).filter(lambda noise: 0x68 not in noise), st.binary(max_size=40))
def test_a_frame_is_found_behind_noise_without_a_start(frame: Frame, before: bytes, after: bytes) -> None:
    wire = frame.to_bytes()
    assert find_frame(before + wire + after) == (frame, len(before), len(before) + len(wire))


@given(st.one_of(st.binary(max_size=400), treacherous), frames)
def test_no_noise_hides_a_frame_for_good(noise: bytes, frame: Frame) -> None:
    """Whatever stands before it, the frame is found, or one that the noise makes up together with it."""
    stream = noise + frame.to_bytes()
    found = find_frame(stream)
    assert found is not None
    assert found[1] <= len(noise)
    assert SHAPE.fault_at(stream, found[1]) is None


@given(st.one_of(st.binary(max_size=400), treacherous))
def test_any_bytes_can_be_looked_at(noise: bytes) -> None:
    found = find_frame(noise)
    assert found is None or noise[found[1] : found[2]] == found[0].to_bytes()
    decoded = decode(noise)
    assert decoded.ok == (bool(decoded.frames) and decoded.fault is None)
    assert bool(decoded.frames) or decoded.fault is not None


@given(frames, st.data())
def test_one_flipped_bit_is_always_noticed(frame: Frame, data: st.DataObject) -> None:
    wire = bytearray(frame.to_bytes())
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProtocolError):
        Frame.from_bytes(bytes(wire))


@pytest.mark.parametrize("unit", [b"\x68", b"\x68\xfe", b"\x68" + b"\x00" * 6 + b"\x68\x91\xff", bytes(range(256))])
def test_the_work_grows_with_the_length_and_no_faster(unit: bytes) -> None:
    """Counted in bytes looked at: a candidate costs at most the longest frame, whatever follows it."""

    class Counting(bytes):
        looked_at = 0

        def __getitem__(self, key):  # type: ignore[no-untyped-def,override]
            got = super().__getitem__(key)
            Counting.looked_at += len(got) if isinstance(got, bytes) else 1
            return got

    stream = Counting(unit * (8000 // len(unit)))
    assert find_frame(stream) is None
    assert Counting.looked_at <= 300 * len(stream)


def test_a_checksum_may_be_any_of_the_landmarks() -> None:
    for checksum in (0x00, 0x16, 0x68):
        filler = next(n for n in range(256) if Frame("000000000000", 0x91, bytes((n,))).to_bytes()[-2] == checksum)
        wire = Frame("000000000000", 0x91, bytes((filler,))).to_bytes()
        assert wire[-2] == checksum
        assert find_frame(b"\x68" + wire + wire) == (Frame.from_bytes(wire), 1, 1 + len(wire))


def test_an_address_may_be_full_of_starts() -> None:
    frame = Frame("686868686868", 0x11, b"\x35\x35")
    assert find_frame(frame.to_bytes(3)) == (frame, 3, 3 + len(frame.to_bytes()))


@pytest.mark.parametrize(
    ("frame", "is_answer"),
    [
        (ANSWER, True),
        (REQUEST, False),  # its own echo
        (Frame("000000190102", 0x91, ANSWER.data), False),  # another meter
        (Frame("000000190101", 0x91, bytes.fromhex("000201024422")), False),  # another identifier
        (Frame("000000190101", 0x92, ANSWER.data), False),  # another function
        (Frame("000000190101", 0xB1, ANSWER.data), True),  # more follows
        (Frame("000000190101", 0xD1, b"\x02"), True),  # refused: repeats no identifier
        (Frame("000000190102", 0xD1, b"\x02"), False),
        (Frame("000000190101", 0x91, b"\x00\x01"), False),  # cut short
    ],
)
def test_only_the_answer_answers(frame: Frame, is_answer: bool) -> None:
    assert answers(frame, REQUEST) is is_answer


def test_an_answer_to_what_follows_repeats_the_identifier_only() -> None:
    request = Frame("000000190101", 0x12, bytes.fromhex("00010102 01"))
    assert answers(Frame("000000190101", 0x92, bytes.fromhex("00010102 4422 01")), request)


@pytest.mark.parametrize(
    ("asked", "answered", "matches"),
    [
        (WILDCARD, "000000190101", True),
        (WILDCARD, WILDCARD, True),  # some meters echo the wildcard
        ("AAAAAAAA0101", "000000190101", True),
        ("AAAAAAAA0102", "000000190101", False),
        ("000000190101", WILDCARD, False),
        ("A00000190101", "000000190101", False),
    ],
)
def test_wildcards_stand_for_pairs(asked: str, answered: str, matches: bool) -> None:
    assert address_matches(asked, answered) is matches


def test_an_error_byte_is_named_bit_by_bit() -> None:
    assert error_text(0x02) == "无请求数据 no such data"
    assert error_text(0x06) == "无请求数据 no such data; 密码错或未授权 wrong password or not authorised"
    assert error_text(0xFE).count(";") == 6
    assert "no reason" in error_text(0x00)


def test_bytes_behind_a_frame_are_not_that_frame() -> None:
    with pytest.raises(ProtocolError, match="behind"):
        Frame.from_bytes(ANSWER.to_bytes() + b"\x00")


@pytest.mark.parametrize("raw", [b"", b"\xfe", b"\xfe\xfe\xfe\xfe"])
def test_nothing_but_a_preamble_is_no_frame(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        Frame.from_bytes(raw)
