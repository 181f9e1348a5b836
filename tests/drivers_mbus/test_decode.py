from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Decoded, Fault, Field
from drivers.mbus.decode import decode
from drivers.mbus.frame import Frame
from drivers.mbus.simulator import SimRecord
from drivers_mbus.rig import LAST_VOLUME, RECORDS, VOLUME, sim_meter

NKE, REQUEST = Frame(0x40, 5), Frame(0x7B, 5)


def answer(*records: SimRecord, more: bool = False) -> bytes:
    content = sim_meter(records).variable(records, more=more)
    return Frame(0x08, 5, content[0], content[1:]).to_bytes()


def test_a_conversation_is_explained_frame_by_frame() -> None:
    decoded = decode(NKE.to_bytes() + b"\xe5" + REQUEST.to_bytes() + answer(VOLUME, LAST_VOLUME))
    assert decoded.ok
    assert [(frame.direction, frame.function) for frame in decoded.frames] == [
        ("request", "40"),
        ("response", "E5"),
        ("request", "7B"),
        ("response", "08"),
    ]
    assert decoded.frames[3].address == "5"
    assert decoded.frames[3].items == (
        Field("id", "11490378"),
        Field("manufacturer", "ACW"),
        Field("version", 14),
        Field("medium", "cold water"),
        Field("access", 0),
        Field("status", "00"),
        Field("volume", 54.321, "m3"),
        Field("volume s1 t0", 50, "m3"),
    )


@pytest.mark.parametrize(
    ("dib", "vib", "name"),
    [
        (b"\x04", b"\x13", "volume"),
        (b"\x84\x10", b"\x13", "volume s0 t1"),
        (b"\x84\x40", b"\x13", "volume s0 t0 u1"),
        (b"\x14", b"\x2b", "power maximum"),
        (b"\x54", b"\xab\x3b", "power positive s1 t0 maximum"),
    ],
)
def test_a_record_is_named_by_what_it_is_found_by(dib: bytes, vib: bytes, name: str) -> None:
    items = decode(answer(SimRecord(dib, vib, 1))).frames[0].items
    assert [field.id for field in items[6:]] == [name]


def test_records_that_are_alike_are_counted() -> None:
    items = decode(answer(VOLUME, VOLUME, VOLUME)).frames[0].items
    assert [field.id for field in items[6:]] == ["volume", "volume #2", "volume #3"]


def test_a_record_error_is_shown_with_its_code() -> None:
    items = {field.id: field.value for field in decode(answer(*RECORDS)).frames[0].items}
    assert (items["power"], items["pressure"]) == ("error 05", "error 15")


def test_that_more_follows_is_shown() -> None:
    assert decode(answer(VOLUME, more=True)).frames[0].items[-1] == Field("more_follows", True)


def test_a_damaged_frame_between_two_good_ones_is_located() -> None:
    damaged = bytearray(answer(VOLUME))
    damaged[-3] ^= 0x01
    good = answer(VOLUME)
    decoded = decode(good + bytes(damaged) + good)
    assert len(decoded.frames) == 2
    assert decoded.fault is not None
    assert (decoded.fault.code, decoded.fault.offset) == ("bad_checksum", len(good) + len(damaged) - 2)


@pytest.mark.parametrize("kept", [1, 2, 5, 8, 11, 17])
def test_a_frame_that_is_cut_off_is_truncated(kept: int) -> None:
    wire = b"\x00" + answer(VOLUME)[:kept]
    decoded = decode(REQUEST.to_bytes() + wire)
    assert len(decoded.frames) == 1
    assert decoded.fault is not None
    assert (decoded.fault.code, decoded.fault.offset) == ("truncated", 5 + len(wire))


@pytest.mark.parametrize("noise", [b"", b"\x00" * 20, b"\x01\x02\x03", b"\x10", b"\xe5\x00"])
def test_bytes_without_a_frame_say_so(noise: bytes) -> None:
    assert decode(noise) == Decoded((), Fault("no_frame", "没有找到帧 no frame in these bytes", 0))


@pytest.mark.parametrize(
    ("control", "ci", "data", "expected"),
    [
        (0x53, 0x51, "01 7A 08", (Field("ci", "51"), Field("bus_address", 8))),
        (0x73, 0x51, "04 6D 1E 08 5F 31", (Field("ci", "51"), Field("time", "2026-01-31T08:30:00"))),
        (0x73, 0x51, "04 6D 1E", (Field("ci", "51"), Field("data", "04 6D 1E"))),  # cut off
        (0x53, 0x52, "78 03 49 F1 77 04 FF 16", (Field("ci", "52"), Field("select", "F14903780477FF16"))),
        (0x53, 0x52, "78 03", (Field("ci", "52"), Field("data", "78 03"))),
        (0x73, 0x50, "", (Field("ci", "50"),)),
        (0x73, 0xBB, "", (Field("ci", "BB"),)),
    ],
)
def test_what_a_master_says_is_explained(control: int, ci: int, data: str, expected: tuple[Field, ...]) -> None:
    (frame,) = decode(Frame(control, 0xFE, ci, bytes.fromhex(data)).to_bytes()).frames
    assert (frame.direction, frame.address, frame.function) == ("request", "254", f"{control:02X}")
    assert frame.items == expected


@given(st.binary(max_size=400))
def test_any_bytes_are_explained(noise: bytes) -> None:
    decoded = decode(noise)
    assert decoded.ok or decoded.fault is not None


@given(st.binary(max_size=240))
def test_any_data_of_an_answer_are_explained(data: bytes) -> None:
    decoded = decode(Frame(0x08, 5, 0x72, data).to_bytes())
    (frame,) = decoded.frames
    names = [field.id for field in frame.items]
    assert len(set(names)) == len(names)
