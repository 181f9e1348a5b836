from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import Decoded, DecodedFrame
from drivers.modbus import codec, values
from drivers.modbus.decode import decode_ascii, decode_rtu, decode_tcp
from drivers.modbus.values import Layout, Type

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "modbus.json").read_text(encoding="utf-8")
)["vectors"]
RTU_VECTORS = [vector for vector in VECTORS if vector["protocol"] == "Modbus RTU"]
TYPED_VECTORS = [vector for vector in VECTORS if vector["protocol"].startswith("Modbus typed registers")]
ASCII_VECTORS = [vector for vector in VECTORS if vector["protocol"] == "Modbus ASCII"]
ASKED = {"mb-fc4-req", "mb-soil-req3", "mb-soil-req4"} | {"mb-py-1", "mb-py-4", "mb-py-13"}
SOIL_SCALES = {"moisture_pct": 0.1, "temperature_c": 0.1, "ec_us_cm": 1.0}


def test_every_vector_is_accounted_for() -> None:
    ids = {vector["id"] for vector in VECTORS}
    assert len(ids) == len(VECTORS) == 45
    assert (len(RTU_VECTORS), len(ASCII_VECTORS), len(TYPED_VECTORS)) == (34, 4, 6)
    assert ids - {v["id"] for v in RTU_VECTORS + ASCII_VECTORS + TYPED_VECTORS} == {"mb-crc-1"}


def registers(frame: DecodedFrame) -> list[int]:
    return [int(item.value or 0) for item in frame.items if item.id.startswith("register")]


def bits(frame: DecodedFrame) -> list[int]:
    return [int(item.value or 0) for item in frame.items if item.id.startswith("coil")]


def as_bytes(flags: list[int]) -> list[int]:
    return [sum(bit << place for place, bit in enumerate(flags[at : at + 8])) for at in range(0, len(flags), 8)]


def seen(frame: DecodedFrame, key: str) -> object:
    """What the decoder says about one key of a vector's expectation."""
    items = {item.id: item.value for item in frame.items}
    match key:
        case "unit":
            return int(frame.address)
        case "fc":
            return int(frame.function, 16)
        case "exception":
            return int(frame.error.code, 16) if frame.error else None
        case "registers":
            return registers(frame)
        case "coils_byte":
            return as_bytes(bits(frame))[0]
        case "coil_bytes" | "bytes":
            return as_bytes(bits(frame))
        case "on":
            return items[f"coil {items['address']}"] == 1
        case "float32_abcd":
            value = values.decode(Layout(Type.FLOAT32), registers(frame))
            return pytest.approx(value, rel=1e-6)
        case "moisture_pct" | "temperature_c" | "ec_us_cm":
            raw = registers(frame)[list(SOIL_SCALES).index(key)]
            return values.decode(Layout(Type.S16, scale=SOIL_SCALES[key]), [raw])
        case _:
            return items[key]


@pytest.mark.parametrize("vector", RTU_VECTORS, ids=lambda vector: vector["id"])
def test_captured_frames_mean_what_their_source_says(vector: dict[str, Any]) -> None:
    decoded = decode_rtu(bytes.fromhex(vector["hex"]))
    assert decoded.ok
    (frame,) = decoded.frames
    assert vector["expected"]
    assert {key: seen(frame, key) for key in vector["expected"]} == vector["expected"]
    if vector["id"] in ASKED or " read " in vector["meaning"]:
        assert frame.direction == "request"
    if "answer" in vector["meaning"] or "exception" in vector["meaning"] or "%" in vector["meaning"]:
        assert frame.direction == "response"


@pytest.mark.parametrize("vector", RTU_VECTORS, ids=lambda vector: vector["id"])
def test_the_same_frames_over_tcp(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["hex"])
    pdu = frame[1:-2]
    over_tcp = decode_tcp(struct.pack(">HHHB", 77, 0, len(pdu) + 1, frame[0]) + pdu)
    assert over_tcp == decode_rtu(frame)


def as_characters(vector: dict[str, Any]) -> bytes:
    """The vectors spell the line end out, as two escapes."""
    text: str = vector["input"]
    return text.replace("\\r\\n", "\r\n").encode("ascii")


@pytest.mark.parametrize("vector", ASCII_VECTORS, ids=lambda vector: vector["id"])
def test_ascii_frames_mean_what_their_source_says(vector: dict[str, Any]) -> None:
    decoded = decode_ascii(as_characters(vector))
    assert decoded.ok, decoded.fault
    (frame,) = decoded.frames
    assert {key: seen(frame, key) for key in vector["expected"]} == vector["expected"]


@pytest.mark.parametrize(
    ("text", "code", "offset"),
    [
        (":0003007C00027E\r\n", "bad_checksum", 13),
        (":0003007C00027F", "truncated", 15),
        (":0003007C0002XX\r\n", "bad_characters", 1),
        (":000\r\n", "bad_characters", 1),
        ("noise:0003007C00027F\r\n", "noise", 0),
        ("nothing", "noise", 0),
        ("", "no_frame", 0),
    ],
)
def test_what_is_wrong_with_an_ascii_line_is_said_with_its_place(text: str, code: str, offset: int) -> None:
    fault = decode_ascii(text.encode()).fault
    assert fault is not None
    assert (fault.code, fault.offset) == (code, offset)


def test_an_ascii_conversation_goes_on_after_a_bad_line() -> None:
    lines = ":0003007C00027F\r\n:000304008D008EDD\r\n:000304008D008EDE\r\n"
    decoded = decode_ascii(lines.encode())
    assert told(decoded) == ["request 0 03", "response 0 03"]
    assert [item.id for item in decoded.frames[1].items] == ["register 124", "register 125"]
    assert decoded.fault is not None
    assert decoded.fault.code == "bad_checksum"


@pytest.mark.parametrize("vector", TYPED_VECTORS, ids=lambda vector: vector["id"])
def test_typed_registers(vector: dict[str, Any]) -> None:
    names = {"UINT": "u", "INT": "s", "FLOAT": "float"}
    name = vector["input"]["type"]
    kind = Type(names[name.rstrip("0123456789")] + name.lstrip("UINTFLOA"))
    assert values.decode(Layout(kind), vector["input"]["registers"]) == pytest.approx(vector["expected"], abs=5e-7)


def test_the_checksum_vector() -> None:
    (vector,) = (vector for vector in VECTORS if vector["id"] == "mb-crc-1")
    assert f"wire bytes {codec.crc16(bytes.fromhex(vector['input'])).hex(' ').upper()}" == vector["expected"]


# ---------------------------------------------------------------------- several frames, faults, directions


def rtu(text: str) -> bytes:
    frame = bytes.fromhex(text)
    return frame + codec.crc16(frame)


def told(decoded: Decoded) -> list[str]:
    return [f"{frame.direction} {frame.address} {frame.function}" for frame in decoded.frames]


def test_a_conversation_is_numbered_by_its_requests() -> None:
    decoded = decode_rtu(
        rtu("01 03 00 64 00 02") + rtu("01 03 04 00 01 00 02") + rtu("01 01 03 05 00 14") + rtu("01 01 03 01 00 0A")
    )
    assert told(decoded) == ["request 1 03", "response 1 03", "request 1 01", "response 1 01"]
    assert [item.id for item in decoded.frames[1].items] == ["register 100", "register 101"]
    coils = [item.id for item in decoded.frames[3].items]
    assert (coils[0], coils[-1], len(coils)) == ("coil 773", "coil 792", 20)
    assert decoded.ok


@pytest.mark.parametrize("pdu", ["05 00 03 FF 00", "06 00 01 00 02", "16 00 04 00 F2 00 25", "08 00 00 A5 37"])
def test_a_frame_and_its_repetition_are_request_and_response(pdu: str) -> None:
    decoded = decode_rtu(rtu("01" + pdu) * 2)
    assert [frame.direction for frame in decoded.frames] == ["request", "response"]
    assert decoded.ok


OTHERS = {
    "01 07": "request 1 07",
    "01 07 6D": "response 1 07",
    "01 11": "request 1 11",
    "01 11 03 41 42 FF": "response 1 11",
    "01 17 00 03 00 02 00 0E 00 01 02 00 FF": "request 1 17",
    "01 17 04 00 FE 0A CD": "response 1 17",
    "01 18 04 DE": "request 1 18",
    "01 2B 0E 01 00": "request 1 2B",
    "01 2B 0D 00 01 02": "request 1 2B",
    "01 41 01 02 03": "request 1 41",
    "01 C1 01": "response 1 41",
}


def test_functions_the_driver_does_not_use_are_framed_by_their_checksum() -> None:
    assert {text: told(decode_rtu(rtu(text))) for text in OTHERS} == {text: [words] for text, words in OTHERS.items()}
    assert all(decode_rtu(rtu(text) + rtu(text)).ok for text in OTHERS)


GOOD = rtu("01 03 04 00 01 00 02")
RTU_FAULTS = [
    (b"", "no_frame", 0, 0),
    (GOOD[:-1] + b"\x00", "bad_checksum", 7, 0),
    (GOOD[:-3], "truncated", 6, 0),
    (GOOD[:3], "truncated", 3, 0),
    (b"\x00\xff\x55" + GOOD, "noise", 0, 1),
    (GOOD + b"\x00\xff\x55\xaa\xaa" + GOOD, "noise", 9, 2),
    (GOOD[:-1] + b"\x00" + GOOD, "bad_checksum", 7, 1),
    (GOOD + GOOD[:4], "truncated", 13, 1),
    (rtu("01 03 06 00 01 00 02"), "bad_length", 2, 1),
    (bytes.fromhex("01 41 01 02 03 00 00"), "bad_checksum", 0, 0),
]


def test_what_is_wrong_with_serial_bytes_is_said_with_its_place() -> None:
    for data, code, offset, frames in RTU_FAULTS:
        decoded = decode_rtu(data)
        assert decoded.fault is not None, data.hex(" ")
        assert (decoded.fault.code, decoded.fault.offset, len(decoded.frames)) == (code, offset, frames), data.hex(" ")
        assert not decoded.ok
    assert len(RTU_FAULTS) == 10


def tcp(pdu: str, *, length: int | None = None, protocol: int = 0) -> bytes:
    data = bytes.fromhex(pdu)
    return struct.pack(">HHHB", 1, protocol, len(data) + 1 if length is None else length, 1) + data


TCP_FAULTS = [
    (b"", "no_frame", 0, 0),
    (tcp("03 04 00 01 00 02")[:-1], "truncated", 12, 0),
    (tcp("03")[:5], "truncated", 5, 0),
    (tcp("03 04 00 01 00 02", protocol=1), "bad_header", 2, 0),
    (tcp("03 04 00 01 00 02", length=0), "bad_length", 4, 0),
    (tcp("03 06 00 01 00 02"), "bad_length", 4, 1),
    (b"\xff\xee\xdd" + tcp("03 04 00 01 00 02"), "noise", 0, 1),
    (tcp("83 02") + tcp("03 04 00 01 00 02")[:-2], "truncated", 20, 1),
]


def test_what_is_wrong_with_tcp_bytes_is_said_with_its_place() -> None:
    for data, code, offset, frames in TCP_FAULTS:
        decoded = decode_tcp(data)
        assert decoded.fault is not None, data.hex(" ")
        assert (decoded.fault.code, decoded.fault.offset, len(decoded.frames)) == (code, offset, frames), data.hex(" ")
    assert len(TCP_FAULTS) == 8


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_explained_without_an_error(data: bytes) -> None:
    for decoded in (decode_rtu(data), decode_tcp(data), decode_ascii(data), decode_ascii(b":" + data)):
        assert decoded.frames or decoded.fault
        assert decoded.fault is None or 0 <= (decoded.fault.offset or 0) <= len(data) + 1


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4))
def test_any_pdu_in_a_sound_frame_is_explained_without_an_error(pdus: list[bytes]) -> None:
    assert all(len(decode_rtu(rtu("01" + pdu.hex())).frames) == 1 for pdu in pdus)
    decode_rtu(b"".join(rtu("01" + pdu.hex()) for pdu in pdus))
    assert len(decode_tcp(b"".join(tcp(pdu.hex()) for pdu in pdus)).frames) == len(pdus)
