from __future__ import annotations

import pytest

from drivers.base import Fault, Field
from drivers.dlt645.decode import decode
from drivers.dlt645.frame import Frame

REQUEST = Frame("000000190101", 0x11, bytes.fromhex("00010102"))
ANSWER = Frame("000000190101", 0x91, bytes.fromhex("000101024422"))


def fields(control: int, data: str) -> tuple[Field, ...]:
    decoded = decode(Frame("000000190101", control, bytes.fromhex(data)).to_bytes())
    assert decoded.ok
    return decoded.frames[0].items


def test_a_conversation_is_explained_frame_by_frame() -> None:
    decoded = decode(b"\x00\xfe" + REQUEST.to_bytes(4) + ANSWER.to_bytes(2) + b"\xff\x00")
    assert decoded.ok
    request, answer = decoded.frames
    assert (request.direction, request.function, request.items) == ("request", "11", (Field("02010100", None, "V"),))
    assert (answer.direction, answer.function, answer.items) == ("response", "91", (Field("02010100", 224.4, "V"),))


def test_a_damaged_frame_between_two_good_ones_is_located() -> None:
    damaged = bytearray(ANSWER.to_bytes())
    damaged[-3] ^= 0x01
    good = ANSWER.to_bytes()
    decoded = decode(good + bytes(damaged) + good)
    assert len(decoded.frames) == 2
    assert not decoded.ok
    assert decoded.fault is not None
    assert (decoded.fault.code, decoded.fault.offset) == ("bad_checksum", len(good) + len(damaged) - 2)


@pytest.mark.parametrize("kept", [1, 5, 8, 11, 17])
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


@pytest.mark.parametrize("noise", [b"", b"\xfe" * 20, b"\x01\x02\x03"])
def test_bytes_without_a_frame_say_so(noise: bytes) -> None:
    decoded = decode(noise)
    assert not decoded.ok
    assert decoded.fault == Fault("no_frame", "没有找到帧 no frame in these bytes", 0)


def test_a_refusal_is_an_explained_frame_and_no_fault() -> None:
    decoded = decode(Frame("000000190101", 0xD1, b"\x06").to_bytes())
    assert decoded.ok
    error = decoded.frames[0].error
    assert error is not None
    assert error.code == "06"
    assert "not authorised" in error.text
    assert decoded.frames[0].items == ()


@pytest.mark.parametrize(
    ("control", "data", "expected"),
    [
        (0x91, "00000100 FFFFFFFF", (Field("00010000", None, "kW.h"),)),
        (0x91, "00000100", (Field("00010000", None),)),
        (0x91, "00000100 0102", (Field("00010000", "01 02"),)),
        (0x91, "78563412 0A0B", (Field("12345678", "0A 0B"),)),
        (0x91, "00 01", (Field("0100", None),)),
        (
            0x91,
            "00000101 345612 51220605 17",
            (Field("01010000", 12.5634, "kW"), Field("01010000.time", "2017-05-06T22:51:00")),
        ),
        (0x91, "00FF0102 0323 0000 00", (Field("0201FF00", "03 23 00 00 00"),)),
        (0xB1, "00FF0100 01000000 02000000", (Field("00010000", 0.01, "kW.h"), Field("00010100", 0.02, "kW.h"))),
        (0x12, "00FF0100 01", (Field("0001FF00", None), Field("sequence", 1))),
        (0x13, "", ()),
        (0x15, "010119000000", (Field("04000401", "000000190101"),)),
        (0x16, "99999999", (Field("freeze_at", "99999999"),)),
        (0x14, "0101", (Field("data", "01 01"),)),
        (0x1C, "02", (Field("data", "02"),)),
        (0x08, "512210", (Field("data", "51 22 10"),)),
        (0x17, "08", (Field("baud", 2400, "Bd"),)),
        (0x97, "0C", (Field("data", "0C"),)),
        (0x91, "11B6 2302", (Field("B611", 223, "V"),)),  # 1997 identifier, 2007 control code
        (0x81, "1FB6 2302 AA 2202", (Field("B611", 223, "V"), Field("B612", 222, "V"))),
        (0x81, "32C0 010119000000", (Field("C032", "000000190101"),)),
        (0x81, "10", (Field("data", "10"),)),
    ],
)
def test_what_the_data_mean(control: int, data: str, expected: tuple[Field, ...]) -> None:
    assert fields(control, data) == expected


def test_a_password_is_not_shown() -> None:
    written = fields(0x14, "01010004 02 123456 11111111 04100518")
    assert [field.id for field in written] == ["04000101", "04000101.weekday", "password_level", "operator"]
    assert not any("123456" in str(field.value) or "563412" in str(field.value) for field in written)
