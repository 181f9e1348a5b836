from __future__ import annotations

import json
import logging
import random
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.modbus import codec, framing
from drivers.modbus.codec import Answer, Request
from gateway.errors import ProtocolError

READ = codec.read_request(1, 3, 0, 3)
# 01 03 | 06 | 01EF 0144 0004 | B5 59: a soil sensor's captured answer to READ
ANSWER = bytes.fromhex("01 03 06 01 EF 01 44 00 04 B5 59")
REFUSAL = bytes.fromhex("01 83 02 C0 F1")
FOREIGN = bytes.fromhex("11 03 06 AE 41 56 52 43 40 49 AD")  # unit 17, the same function and count


def rtu_answer(request: Request, data: bytes, *, line_echoes: bool = False) -> Answer | None:
    return framing.RTU.answer(request, sent(request), data, line_echoes=line_echoes)


def tcp_answer(request: Request, transaction: int, data: bytes) -> Answer | None:
    return framing.TCP.answer(request, framing.TCP.frame(request, transaction), data)


def ascii_answer(request: Request, data: bytes, *, line_echoes: bool = False) -> Answer | None:
    return framing.ASCII.answer(request, framing.ASCII.frame(request, 0), data, line_echoes=line_echoes)


def sent(request: Request) -> bytes:
    return framing.RTU.frame(request, 0)


def rtu(unit: int, pdu: bytes) -> bytes:
    return bytes((unit,)) + pdu + codec.crc16(bytes((unit,)) + pdu)


def tcp(transaction: int, unit: int, pdu: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


# ---------------------------------------------------------------------- requests

REQUESTS = [  # captured by others, see tests/vectors/modbus.json
    (codec.read_request(1, 1, 117, 5), "01 01 00 75 00 05 ED D3"),
    (codec.read_request(1, 2, 196, 22), "01 02 00 C4 00 16 B8 39"),
    (codec.read_request(17, 3, 124, 2), "11 03 00 7C 00 02 07 43"),
    (codec.read_request(1, 4, 0, 2), "01 04 00 00 00 02 71 CB"),
    (codec.write_request(1, 5, 0, [1]), "01 05 00 00 FF 00 8C 3A"),
    (codec.write_request(1, 5, 1, [0]), "01 05 00 01 00 00 9C 0A"),
    (codec.write_request(1, 15, 19, [1, 0, 1, 1, 0, 0, 1, 1, 1, 0]), "01 0F 00 13 00 0A 02 CD 01 72 CB"),
    (codec.write_request(1, 16, 1, [10, 258]), "01 10 00 01 00 02 04 00 0A 01 02 92 30"),
    (codec.write_request(1, 5, 7, [0]), "01 05 00 07 00 00 7C 0B"),
]


def test_requests_are_those_that_others_captured() -> None:
    assert [sent(request) for request, _ in REQUESTS] == [bytes.fromhex(text) for _, text in REQUESTS]


def test_a_request_on_an_ascii_line() -> None:
    request = codec.read_request(0, 3, 124, 2)
    assert framing.ASCII.frame(request, 0) == b":0003007C00027F\r\n"  # vector mb-ascii-0


def test_a_mask_write_is_the_standards_example() -> None:
    """6.16: the register's 12h becomes 17h with AND F2h and OR 25h; what 25h says outside the mask 0Dh is not ours."""
    assert codec.mask_request(1, 4, 0xFF0D, 0x0025).pdu == bytes.fromhex("16 00 04 00 F2 00 25")
    assert codec.mask_request(1, 4, 0xFF0D, 0x0025).echo_confirms


def test_a_request_over_tcp() -> None:
    # the example of the standard's clause 6.3 behind a header: read registers 107..109
    request = codec.read_request(0x11, 3, 0x6B, 3)
    assert framing.TCP.frame(request, 0x0102) == bytes.fromhex("01 02 00 00 00 06 11 03 00 6B 00 03")


@pytest.mark.parametrize(("function", "count"), [(1, 2001), (2, 0), (3, 126), (4, 0)])
def test_a_count_outside_the_standard_is_our_own_error(function: int, count: int) -> None:
    with pytest.raises(ProtocolError, match="no such request"):
        codec.read_request(1, function, 0, count)


# ---------------------------------------------------------------------- answers


def test_registers() -> None:
    assert rtu_answer(READ, ANSWER) == Answer(ANSWER, [495, 324, 4], [], pdu=ANSWER[1:-2])


def test_bits_are_as_many_as_were_asked_for() -> None:
    answer = rtu_answer(codec.read_request(1, 1, 0, 20), bytes.fromhex("01 01 03 01 00 0A ED 89"))
    assert answer is not None
    assert [place for place, bit in enumerate(answer.bits) if bit] == [0, 17, 19]
    assert len(answer.bits) == 20


def test_an_exception() -> None:
    answer = rtu_answer(READ, REFUSAL)
    assert answer is not None
    error = codec.refusal(answer.exception or 0)
    assert error.code == 2
    assert "illegal data address" in str(error)
    assert error.hint


def test_every_code_of_the_standard_has_a_name() -> None:
    assert set(codec.EXCEPTIONS) == {1, 2, 3, 4, 5, 6, 7, 8, 10, 11}
    assert "outside the standard" in str(codec.refusal(99))


NOISE = bytes.fromhex("00 FF 01 03 06 01")
BEFORE = {
    "nothing": b"",
    "noise": NOISE,
    "an echo": sent(READ),
    "noise and an echo": NOISE + sent(READ),
    "a foreign frame": FOREIGN,
    "a foreign exception": rtu(2, b"\x83\x02"),
    "the right unit with another function": rtu(1, b"\x04\x06" + bytes(6)),
    "fewer registers": rtu(1, b"\x03\x04" + bytes(4)),
    "more registers": rtu(1, b"\x03\x08" + bytes(8)),
    "a bad checksum": ANSWER[:-1] + b"\x00",
    "a piece of itself": ANSWER[:7],
}


@pytest.mark.parametrize("before", BEFORE)
def test_what_stands_before_an_answer_is_passed_over(before: str) -> None:
    for wanted in (ANSWER, REFUSAL):
        answer = rtu_answer(READ, BEFORE[before] + wanted + b"\x00")
        assert answer is not None
        assert answer.frame == wanted


@pytest.mark.parametrize("before", BEFORE)
def test_what_is_not_the_answer_is_no_answer(before: str) -> None:
    assert rtu_answer(READ, BEFORE[before]) is None


STALE = {
    "an earlier transaction": tcp(6, 1, ANSWER[1:-2]),
    "another unit": tcp(7, 2, ANSWER[1:-2]),
    "another function": tcp(7, 1, b"\x04\x06" + bytes(6)),
    "fewer registers": tcp(7, 1, b"\x03\x04" + bytes(4)),
    "a length that disagrees": struct.pack(">HHHB", 7, 0, 8, 1) + ANSWER[1:-2],
    "another protocol": struct.pack(">HHHB", 7, 1, 9, 1) + ANSWER[1:-2],
    "noise": NOISE,
}


@pytest.mark.parametrize("before", STALE)
def test_over_tcp_only_the_transaction_asked_counts(before: str) -> None:
    right = tcp(7, 1, ANSWER[1:-2])
    assert tcp_answer(READ, 7, STALE[before]) is None
    assert tcp_answer(READ, 7, STALE[before] + right) == Answer(right, [495, 324, 4], [], pdu=ANSWER[1:-2])
    refused = tcp_answer(READ, 7, STALE[before] + tcp(7, 1, b"\x83\x0b"))
    assert refused is not None
    assert refused.exception == 11


@pytest.mark.parametrize("line_echoes", [False, True])
@pytest.mark.parametrize("request_", [request for request, _ in REQUESTS if request.function >= 5], ids=lambda r: r.pdu)
def test_a_write_is_confirmed_by_its_own_answer_only(request_: Request, line_echoes: bool) -> None:
    answer = rtu(1, request_.pdu[:5])
    on_the_line = (sent(request_) if line_echoes else b"") + answer
    assert rtu_answer(request_, on_the_line, line_echoes=line_echoes) is not None
    assert tcp_answer(request_, 9, tcp(9, 1, request_.pdu[:5])) is not None
    other = rtu(1, request_.pdu[:4] + bytes((request_.pdu[4] ^ 1,)))
    assert rtu_answer(request_, other, line_echoes=line_echoes) is None


def test_where_the_adapter_echoes_the_first_copy_of_a_single_write_confirms_nothing() -> None:
    request = codec.write_request(1, 6, 3, [20])
    for noise in (b"", b"\xff"):
        assert rtu_answer(request, noise + sent(request), line_echoes=True) is None
        assert rtu_answer(request, noise + sent(request) + sent(request), line_echoes=True) is not None


def test_the_beginning_of_an_echo_that_checks_like_a_confirmation_is_none() -> None:
    """01 10 addr 00 02 | 04 hh: where byte count and first data byte happen to be the CRC of what stands before."""
    found = 0
    for address in range(0x10000):
        crc = codec.crc16(b"\x01\x10" + address.to_bytes(2, "big") + b"\x00\x02")
        if crc[0] == 4:
            request = codec.write_request(1, 16, address, [crc[1] << 8, 0])
            echo = sent(request)
            assert codec.crc16(echo[:6]) == echo[6:8]
            assert all(rtu_answer(request, echo[:size]) is None for size in range(1, len(echo) + 1))
            assert rtu_answer(request, echo + echo[:8]) is not None
            found += 1
    assert found > 100


ALL = [request for request, _ in REQUESTS]


@settings(deadline=None)
@given(st.sampled_from(ALL), st.binary(max_size=300))
def test_random_bytes_are_no_answer(request_: Request, data: bytes) -> None:
    assert rtu_answer(request_, data) is None
    assert tcp_answer(request_, 7, data) is None
    assert ascii_answer(request_, data) is None


@settings(deadline=None)
@given(st.sampled_from(ALL), st.binary(max_size=40), st.integers(0, 255), st.integers(0, 15))
def test_one_changed_byte_makes_it_no_answer(request_: Request, noise: bytes, new: int, place: int) -> None:
    good = rtu(request_.unit_id, request_.answer_head + bytes((request_.answer_size or 0) - len(request_.answer_head)))
    assert rtu_answer(request_, noise + good) is not None
    place %= len(good)
    if good[place] != new:
        assert rtu_answer(request_, good[:place] + bytes((new,)) + good[place + 1 :]) is None


@settings(deadline=None)
@given(st.sampled_from(ALL), st.binary(max_size=40), st.integers(0, 255), st.integers(0, 60))
def test_one_changed_character_makes_it_no_answer(request_: Request, noise: bytes, new: int, place: int) -> None:
    pdu = request_.answer_head + bytes((request_.answer_size or 0) - len(request_.answer_head))
    good = framing.ascii_line(bytes((request_.unit_id,)) + pdu)
    assert ascii_answer(request_, noise + good) is not None
    assert ascii_answer(request_, noise + good.lower()) is not None
    place %= len(good)
    if good[place : place + 1] not in (bytes((new,)), bytes((new,)).upper()):
        assert ascii_answer(request_, good[:place] + bytes((new,)) + good[place + 1 :]) is None


def test_a_long_stream_of_near_misses_is_passed_over_quickly() -> None:
    chance = random.Random(1)
    data = b"".join(b"\x01\x03\x06" + chance.randbytes(8) for _ in range(1000))
    begin = time.process_time()
    answer = rtu_answer(READ, data + ANSWER)
    assert answer is not None
    assert time.process_time() - begin < 0.5


# ---------------------------------------------------------------------- ASCII

ASCII_READ = codec.read_request(0, 3, 124, 2)
ASCII_ANSWERS = {  # vectors mb-ascii-1 and mb-ascii-2
    b":000304008D008EDE\r\n": ([141, 142], None),
    b":0083027B\r\n": ([], 2),
}
ASCII_BEFORE = {
    "nothing": b"",
    "noise": b"\x00:\xff0003:",
    "an echo": b":0003007C00027F\r\n",
    "another unit": b":0103040000000000F8\r\n",
    "fewer registers": b":000302008D6E\r\n",
    "a bad checksum": b":000304008D008EDF\r\n",
    "no line end": b":000304008D008EDE",
    "a piece of itself": b":000304008D",
    "small letters that are no hex": b":000304008D008EDg\r\n",
    "spaces between": b":0003 04 008D008EDE\r\n",
}


@pytest.mark.parametrize("before", ASCII_BEFORE)
def test_on_an_ascii_line_only_the_answer_is_one(before: str) -> None:
    assert ascii_answer(ASCII_READ, ASCII_BEFORE[before]) is None
    for frame, (registers, exception) in ASCII_ANSWERS.items():
        answer = ascii_answer(ASCII_READ, ASCII_BEFORE[before] + frame + b":")
        assert answer is not None
        assert (answer.frame, list(answer.registers), answer.exception) == (frame, registers, exception)


def test_an_ascii_answer_in_small_letters_is_one_too() -> None:
    answer = ascii_answer(ASCII_READ, b":000304008d008ede\r\n")
    assert answer is not None
    assert answer.registers == [141, 142]


# ---------------------------------------------------------------------- captured answers of others

VECTORS = [
    bytes.fromhex(vector["hex"])
    for vector in json.loads((Path(__file__).parents[1] / "vectors" / "modbus.json").read_text(encoding="utf-8"))[
        "vectors"
    ]
    if vector["protocol"] == "Modbus RTU"
]


def question(frame: bytes) -> Request | None:
    """What a captured answer answers, where it shows; None for a request."""
    unit_id, pdu = frame[0], frame[1:-2]
    match pdu[0]:
        case 1 | 2 | 3 | 4 if len(pdu) == 2 + pdu[1]:
            return codec.read_request(unit_id, pdu[0], 0, pdu[1] * 8 if pdu[0] < 3 else pdu[1] // 2)
        case 0x83:
            return codec.read_request(unit_id, 3, 0, 1)
        case 5 if pdu[3:] in (b"\xff\x00", b"\x00\x00"):
            return codec.write_request(unit_id, 5, pdu[2], [pdu[3]])
        case 15 | 16 if len(pdu) == 5:
            return codec.write_request(unit_id, pdu[0], pdu[2], [0] * pdu[4])
        case 0x2B:
            return codec.identity_requests(unit_id)[0]
    return None


def test_every_captured_answer_is_found_in_every_framing() -> None:
    found = 0
    for frame in VECTORS:
        request = question(frame)
        if request is None:
            continue
        answer = rtu_answer(request, NOISE + frame)
        assert answer is not None, frame.hex(" ")
        assert answer.frame == frame
        for other in (
            ascii_answer(request, b"\xff:" + framing.ascii_line(frame[:-2])),
            tcp_answer(request, 7, NOISE + tcp(7, frame[0], frame[1:-2])),
        ):
            assert other is not None
            assert (other.pdu, other.registers, other.bits) == (answer.pdu, answer.registers, answer.bits)
        found += 1
    assert (found, len(VECTORS)) == (22, 34)


# ---------------------------------------------------------------------- answers of any length


def test_a_device_tells_what_it_is() -> None:
    identify, report = codec.identity_requests(4)
    answer = rtu_answer(identify, bytes.fromhex("04 2B 0E 01 81 00 01 01 00 06 66 6F 6F 62 61 72 D7 3B"))  # mb-py-15
    assert answer is not None
    assert codec.identity(answer) == "foobar"
    # the example of 6.21, with its printed lengths: "Company identification", "Product code XX", "V2.11"
    objects = b"\x00\x16Company identification" + b"\x01\x0fProduct code XX" + b"\x02\x05V2.11"
    answer = rtu_answer(identify, b"\xff" + rtu(4, b"\x2b\x0e\x01\x01\x00\x00\x03" + objects) + b"\x00")
    assert answer is not None
    assert codec.identity(answer) == "Company identification Product code XX V2.11"
    assert rtu_answer(identify, sent(identify)) is None
    assert rtu_answer(report, sent(report)) is None


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"PM5560\xff", "PM5560"),
        (b"\x02\xffXMC-2 V1.2", "XMC-2 V1.2"),
        (b"\x0a\xff", "0a ff"),
        (b"A1", "A1"),
        (b"", ""),
    ],
)
def test_a_server_id_is_text_where_it_has_some(data: bytes, told: str) -> None:
    _, report = codec.identity_requests(4)
    answer = rtu_answer(report, sent(report) + rtu(4, bytes((17, len(data))) + data))
    assert answer is not None
    assert codec.identity(answer) == told


def test_a_refused_identity_is_none() -> None:
    identify, _ = codec.identity_requests(4)
    answer = rtu_answer(identify, rtu(4, b"\xab\x01"))
    assert answer is not None
    assert codec.identity(answer) == ""


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=20))
def test_any_beginning_of_an_identity_is_measured_without_an_error(data: bytes) -> None:
    size = codec.measured(b"\x2b" + data)
    assert size is None or size >= 7
    assert codec.measured(b"\x11" + data) == 2 + data[0]


def test_checksum() -> None:
    assert codec.crc16(bytes.fromhex("12 34 23 45 34 56 45 67")) == bytes.fromhex("E2 DB")


def test_pymodbus_does_not_log_our_parsing(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("pymodbus.logging")
    before = logger.level
    try:
        with caplog.at_level(logging.DEBUG):
            codec.quiet_pymodbus()
            rtu_answer(READ, ANSWER[:-1] + b"\x00" + ANSWER)
            tcp_answer(READ, 7, tcp(7, 1, ANSWER[1:-2]))
        assert not caplog.records
    finally:
        logger.setLevel(before)
