from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.cjt188.decode import decode
from drivers.cjt188.frame import ANY_TYPE, SHAPE, WILDCARD, Frame, answers, find_frame, request
from drivers.cjt188.simulator import Cjt188SimLine
from drivers_cjt188.rig import heat, water
from gateway.errors import ProtocolError

WHO = "00001000000192"
REQUEST = request(0x10, WHO, 0x01, "901F", 7)


def answer(data: str = "901F07 00", control: int = 0x81, type_: int = 0x10, address: str = WHO) -> Frame:
    return Frame(type_, address, control, bytes.fromhex(data))


addresses = st.text("0123456789ABCDEF", min_size=14, max_size=14)
frames = st.builds(Frame, st.integers(0, 255), addresses, st.integers(0, 255), st.binary(max_size=255))
# Bytes that look like parts of a frame, so that the parser is led astray as often as possible.
treacherous = st.lists(st.sampled_from([0x68, 0x16, 0xFE, 0x00, 0x10, 0x81, 0x90, 0x1F]), max_size=80).map(bytes)
noises = st.one_of(st.binary(max_size=400), treacherous)


@given(frames, st.integers(0, 20))
def test_what_is_written_is_read_back(frame: Frame, preamble: int) -> None:
    wire = frame.to_bytes(preamble)
    assert find_frame(wire) == (frame, preamble, len(wire))
    assert Frame.from_bytes(wire) == frame


@given(frames, st.binary(max_size=40).filter(lambda noise: 0x68 not in noise), st.binary(max_size=40))
def test_a_frame_is_found_behind_noise_without_a_start(frame: Frame, before: bytes, after: bytes) -> None:
    wire = frame.to_bytes()
    assert find_frame(before + wire + after) == (frame, len(before), len(before) + len(wire))


@given(noises, frames)
def test_no_noise_hides_a_frame_for_good(noise: bytes, frame: Frame) -> None:
    """Whatever stands before it, the frame is found, or one that the noise makes up together with it."""
    stream = noise + frame.to_bytes()
    found = find_frame(stream)
    assert found is not None
    assert found[1] <= len(noise)
    assert SHAPE.fault_at(stream, found[1]) is None


@given(noises)
def test_any_bytes_can_be_looked_at(noise: bytes) -> None:
    found = find_frame(noise)
    assert found is None or noise[found[1] : found[2]] == found[0].to_bytes()
    decoded = decode(noise)
    assert decoded.ok == (bool(decoded.frames) and decoded.fault is None)
    assert bool(decoded.frames) or decoded.fault is not None
    assert all(len(wire) >= 13 for _, wire in Cjt188SimLine([water(), heat()]).feed(noise))


@given(frames)
def test_any_frame_can_be_explained_and_answered(frame: Frame) -> None:
    decoded = decode(frame.to_bytes())
    assert decoded.ok
    assert (decoded.frames[0].error is not None) == (frame.control & 0xC0 == 0xC0)
    for meter in (water(), heat()):
        said = meter.answer(frame)
        assert said is None or said.is_answer


@given(st.binary(max_size=60))
def test_any_data_of_an_answer_can_be_explained(content: bytes) -> None:
    for data in (b"\x90\x1f\x00" + content, b"\x20\xd1\x00" + content):
        assert decode(Frame(0x20, WHO, 0x81, data).to_bytes()).ok


@given(frames, st.data())
def test_one_flipped_bit_is_always_noticed(frame: Frame, data: st.DataObject) -> None:
    wire = bytearray(frame.to_bytes())
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProtocolError):
        Frame.from_bytes(bytes(wire))


@pytest.mark.parametrize("unit", [b"\x68", b"\x68\xfe", b"\x68" + b"\x00" * 9 + b"\xff", bytes(range(256))])
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


@pytest.mark.parametrize("wire", ["", "FE FE", "68", "16", "68 10", answer().to_bytes().hex() + "00"])
def test_what_is_not_exactly_one_frame_is_a_protocol_error(wire: str) -> None:
    with pytest.raises(ProtocolError):
        Frame.from_bytes(bytes.fromhex(wire))


@pytest.mark.parametrize(
    ("data", "di", "sequence", "content"),
    [
        ("901F 07 0102", "901F", 7, "0102"),
        ("1F90 07 0102", "901F", 7, "0102"),
        ("20D1 07", "D120", 7, ""),
        ("D120 07", "D120", 7, ""),
        ("0A81 07", "810A", 7, ""),
        ("1234 07", "1234", 7, ""),
        ("901F", "901F", None, ""),
        ("90", "", None, ""),
    ],
)
def test_the_identifier_may_stand_in_either_order(data: str, di: str, sequence: int | None, content: str) -> None:
    frame = answer(data)
    assert (frame.di, frame.sequence, frame.content.hex()) == (di, sequence, content)


@pytest.mark.parametrize(
    ("frame", "fits"),
    [
        (answer(), True),
        (answer("1F9007 00"), True),
        (answer("07 0001", 0xC1), True),
        (answer("06 0001", 0xC1), False),
        (answer("07", 0xC1), False),
        (answer("0001", 0xC3), False),
        (answer("901F06 00"), False),
        (answer("D12007 00"), False),
        (answer("901F"), False),
        (answer(control=0x01), False),
        (answer(control=0x83), False),
        (answer(control=0xA1), False),
        (answer(type_=0x11), False),
        (answer(address="00001000000193"), False),
    ],
)
def test_an_answer_fits_in_everything_it_repeats(frame: Frame, fits: bool) -> None:
    assert answers(frame, REQUEST) == fits


def test_wildcards_and_meters_that_count_for_themselves() -> None:
    asked = request(ANY_TYPE, WILDCARD, 0x01, "901F", 7)
    assert answers(answer(type_=0x25, address="11110059200991"), asked)
    assert not answers(answer("901F96 00"), asked)
    assert answers(answer("901F96 00"), asked, any_sequence=True)
    assert not answers(answer("D12096 00"), asked, any_sequence=True)
