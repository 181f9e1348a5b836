from __future__ import annotations

import pytest

from drivers.base import Fault, Field
from drivers.cjt188.decode import decode
from drivers.cjt188.frame import Frame, request

WHO = "00001000000192"
REQUEST = request(0x10, WHO, 0x01, "901F", 1)
ANSWER = Frame(0x10, WHO, 0x81, bytes.fromhex("901F01 002222002C 000000002C 00000000000000 0100"))


def closed(di: str) -> Field:
    return Field(f"{di}.valve", "closed")


def low(di: str) -> Field:
    return Field(f"{di}.battery", "low")


def fields(control: int, data: str) -> tuple[Field, ...]:
    """Without type and sequence number."""
    decoded = decode(Frame(0x10, WHO, control, bytes.fromhex(data)).to_bytes())
    assert decoded.ok
    return decoded.frames[0].items[2:]


def test_a_conversation_is_explained_frame_by_frame() -> None:
    decoded = decode(b"\x00\xfe" + REQUEST.to_bytes(4) + ANSWER.to_bytes(2) + b"\xff\x00")
    assert decoded.ok
    asked, answered = decoded.frames
    assert (asked.direction, asked.address, asked.function) == ("request", WHO, "01")
    assert asked.items == (Field("type", "10"), Field("sequence", 1), Field("901F", None))
    assert (answered.direction, answered.address, answered.function) == ("response", WHO, "81")
    assert answered.items[2:] == (
        Field("901F.volume", 2222.0, "m3"),
        Field("901F.settlement_volume", 0.0, "m3"),
        Field("901F.clock", None),
        Field("901F.status", "0100"),
        Field("901F.valve", "closed"),
        Field("901F.battery", "good"),
    )


def test_a_damaged_frame_between_two_good_ones_is_located() -> None:
    damaged = bytearray(ANSWER.to_bytes())
    damaged[-3] ^= 0x01
    good = ANSWER.to_bytes()
    decoded = decode(good + bytes(damaged) + good)
    assert len(decoded.frames) == 2
    assert not decoded.ok
    assert decoded.fault is not None
    assert (decoded.fault.code, decoded.fault.offset) == ("bad_checksum", len(good) + len(damaged) - 2)


@pytest.mark.parametrize("kept", [1, 2, 8, 11, 20, 34])
def test_a_frame_that_is_cut_off_is_truncated(kept: int) -> None:
    wire = b"\xfe\xfe" + ANSWER.to_bytes()[:kept]
    decoded = decode(REQUEST.to_bytes() + wire)
    assert len(decoded.frames) == 1
    assert decoded.fault is not None
    assert (decoded.fault.code, decoded.fault.offset) == ("truncated", len(REQUEST.to_bytes()) + len(wire))


def test_a_wrong_end_is_located() -> None:
    wire = ANSWER.to_bytes()[:-1] + b"\x17"
    fault = decode(wire).fault
    assert fault is not None
    assert (fault.code, fault.offset) == ("bad_end", len(wire) - 1)


@pytest.mark.parametrize("noise", [b"", b"\xfe" * 20, b"\x01\x02\x03", b"\x68\x00\x01"])
def test_bytes_without_a_frame_say_so(noise: bytes) -> None:
    decoded = decode(noise)
    assert not decoded.ok
    assert decoded.fault == Fault("no_frame", "没有找到帧 no frame in these bytes", 0)


@pytest.mark.parametrize(("data", "said"), [("01 0001", "00 01"), ("01", "-"), ("", "-")])
def test_a_refusal_is_an_explained_frame_and_no_fault(data: str, said: str) -> None:
    decoded = decode(Frame(0x10, WHO, 0xC1, bytes.fromhex(data)).to_bytes())
    assert decoded.ok
    (frame,) = decoded.frames
    assert frame.error is not None
    assert frame.error.code == "C1"
    assert frame.error.text.endswith(f"the meter refused; ST {said}")
    assert [field.id for field in frame.items] == (["type", "sequence"] if len(data) > 2 else ["type"])


@pytest.mark.parametrize(
    ("control", "data", "expected"),
    [
        (0x81, "20D100 0023010029", (Field("D120.volume", 123.0, "L"),)),
        (0x81, "D12000 002301002D", (Field("D120.volume", 1230.0, "m3"),)),
        (0x81, "D12000 FFFFFFFF2C", (Field("D120.volume", None),)),
        (0x81, "D12000 0023010005", (Field("D120.volume", None),)),  # kW.h is no unit of a volume
        (0x81, "D12000 0023010000", (Field("D120.volume", None),)),
        (0x81, "901F00 0102", (Field("901F", "01 02"),)),
        (0x81, "0681AA 01", (Field("8106", "01"),)),
        (0x83, "810A00", (Field("810A", None),)),
        (0x04, "A01701 55", (Field("A017", "55"), Field("A017.valve", "open"))),
        (0x04, "17A001 99", (Field("A017", "99"), Field("A017.valve", "close"))),
        (0x04, "A01701 00", (Field("A017", "00"), Field("A017.valve", None))),
        (0x84, "A01701 0500", (Field("A017.status", "0500"), closed("A017"), low("A017"))),
        (0x95, "18A001 0500", (Field("A018.status", "0500"), closed("A018"), low("A018"))),
        (0x16, "A01601 563412002C", (Field("A016", 1234.56, "m3"),)),
        (0x16, "A01601 5634120005", (Field("A016", 1234.56, "kW.h"),)),
        (0x16, "A01601 563412FF2C", (Field("A016", None, "m3"),)),
        (0x81, "D27F00 0023010029", (Field("D27F.volume", 123.0, "L"),)),
        (
            0x81,
            "00D300 33221005062620 563412002C 7856000035 801500 123456",
            (
                Field("D300.clock", "2026-06-05T10:22:33"),
                Field("D300.volume", 1234.56, "m3"),
                Field("D300.flow", 0.5678, "m3/h"),
                Field("D300.temperature", 15.8, "Cel"),
                Field("D300.pressure", "12 34 56"),
            ),
        ),
        (0x04, "15A0FF 40501216071520", (Field("A015", "2015-07-16T12:50:40"),)),
        (0x15, "18A0FF 05000000000000", (Field("A018", "00000000000005"),)),
        (0x01, "20D100", (Field("D120", None),)),
    ],
)
def test_what_the_data_mean(control: int, data: str, expected: tuple[Field, ...]) -> None:
    assert fields(control, data) == expected


def test_data_without_a_sequence_number_are_shown_as_they_are() -> None:
    (frame,) = decode(Frame(0x10, WHO, 0x81, b"\x90\x1f").to_bytes()).frames
    assert frame.items == (Field("type", "10"), Field("data", "90 1F"))
