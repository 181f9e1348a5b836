"""Frames: published ones, and what must hold for any stream."""

from __future__ import annotations

import datetime
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gb26875.decode import decode
from drivers.gb26875.frame import (
    LONGEST,
    MOST_ADU,
    Frame,
    Splitter,
    fault_at,
    find_frame,
    local_time,
    packed_time,
    text_of,
)
from drivers.gb26875.records import parse
from gateway.errors import ProtocolError

VECTORS: list[dict[str, Any]] = [
    vector
    for vector in json.loads((Path(__file__).parent.parent / "vectors" / "fire.json").read_text("utf-8"))["vectors"]
    if vector["protocol"].startswith("GB/T 26875")
]
RAW = {vector["id"]: bytes.fromhex(vector["hex"]) for vector in VECTORS}
NOTED = [vector for vector in VECTORS if "frame" in vector]
"""Those with what their publisher says is in them."""

FRAMES = st.builds(
    Frame,
    serial=st.integers(0, 0xFFFF),
    command=st.integers(0, 255),
    source=st.binary(min_size=6, max_size=6),
    destination=st.binary(min_size=6, max_size=6),
    adu=st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda inner: b"@@##" + inner)),
    version=st.binary(min_size=2, max_size=2),
    time=st.binary(min_size=6, max_size=6),
)


def test_none_is_missing() -> None:
    assert (len(VECTORS), len(NOTED)) == (13, 8)
    assert all(vector["checksum_ok"] for vector in VECTORS)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_a_published_frame_is_read_and_written_again(vector: dict[str, Any]) -> None:
    raw = RAW[vector["id"]]
    frame = Frame.from_bytes(raw)
    assert frame.to_bytes() == raw
    assert decode(raw).ok


@pytest.mark.parametrize("vector", NOTED, ids=[vector["id"] for vector in NOTED])
def test_a_published_frame_holds_what_is_said_of_it(vector: dict[str, Any]) -> None:
    frame, noted = Frame.from_bytes(RAW[vector["id"]]), vector["frame"]
    time = local_time(frame.time)
    assert frame.serial == noted["serial"]
    assert frame.command == noted["cmd"]
    assert ".".join(str(part) for part in frame.version) == noted["version"]
    assert text_of(frame.source) == noted["src"].replace(" ", "").upper()
    assert text_of(frame.destination) == noted["dst"].replace(" ", "").upper()
    assert frame.adu == bytes.fromhex(noted["adu"])
    assert (time.isoformat() if time else None) == noted["time"]
    if "type" in noted:
        adu = parse(frame.adu)
        assert (adu.type, adu.count) == (noted["type"], noted["count"])


@given(FRAMES)
def test_what_is_written_is_read(frame: Frame) -> None:
    raw = frame.to_bytes()
    assert Frame.from_bytes(raw) == frame
    assert find_frame(raw) == (frame, 0, len(raw))
    for wrong in (raw + b"x", raw[:-1], b"x" + raw):
        with pytest.raises(ProtocolError):
            Frame.from_bytes(wrong)


@given(FRAMES, st.data())
def test_one_wrong_byte_is_no_frame(frame: Frame, data: st.DataObject) -> None:
    raw = bytearray(frame.to_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    fault = fault_at(bytes(raw), 0)
    assert fault is not None  # a sum finds every single change, and a length that has changed misses the end marks


PARTS = st.lists(
    st.one_of(
        FRAMES.map(lambda frame: frame.to_bytes()), st.sampled_from(sorted(RAW.values())), st.binary(max_size=50)
    ),
    max_size=6,
)


@given(PARTS, st.lists(st.integers(0, 3000), max_size=20))
def test_a_stream_that_is_cut_anywhere_gives_the_same_frames(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    whole = list(Splitter().feed(stream))
    splitter, found = Splitter(), []
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    for begin, end in itertools.pairwise(edges):
        found += splitter.feed(stream[begin:end])
        assert len(splitter._held) < LONGEST
    assert found == whole


@given(st.lists(FRAMES, min_size=1, max_size=4), st.binary(max_size=30).filter(lambda noise: b"@" not in noise))
def test_frames_among_noise_are_all_found(frames: list[Frame], noise: bytes) -> None:
    stream = noise + noise.join(frame.to_bytes() for frame in frames) + noise
    splitter = Splitter()
    assert list(splitter.feed(stream)) == frames
    assert splitter.skipped == len(noise)
    assert not splitter.waiting


def test_an_extra_start_byte_and_a_broken_frame_cost_nothing_behind_them() -> None:
    good = RAW["gb26875-stm-hb2"]
    broken = bytearray(good)
    broken[-3] ^= 1
    assert len(Splitter().feed(b"@" + good + bytes(broken) + b"@@@" + good)) == 2


def test_a_frame_inside_anothers_data_is_taken_for_itself_however_the_stream_is_cut() -> None:
    inner = Frame.from_bytes(RAW["gb26875-stm-hb2"])
    outer = Frame(1, 2, bytes(6), bytes(6), b"\x80\x01" + inner.to_bytes() + b"\x00")
    stream = outer.to_bytes() + inner.to_bytes()
    bytewise = Splitter()
    found = [frame for byte in stream for frame in bytewise.feed(bytes((byte,)))]
    assert found == list(Splitter().feed(stream)) == [inner, inner]


def test_a_length_that_no_frame_has_is_not_waited_for() -> None:
    splitter = Splitter()
    head = bytearray(RAW["gb26875-stm-hb2"][:27])
    head[24:26] = (MOST_ADU + 1).to_bytes(2, "little")
    assert splitter.feed(bytes(head) + RAW["gb26875-stm-hb2"])[0].adu == b"\x15\x01\x01"
    head[24:26] = MOST_ADU.to_bytes(2, "little")
    assert splitter.feed(bytes(head)) == []
    assert splitter.waiting


@given(st.binary(min_size=6, max_size=6))
def test_times_are_read_or_are_none(raw: bytes) -> None:
    time = local_time(raw)
    assert time is None or packed_time(time) == raw


def test_times_are_plain_binary() -> None:
    assert local_time(bytes.fromhex("180D11160A14")) == datetime.datetime(2020, 10, 22, 17, 13, 24)  # noqa: DTZ001
    assert local_time(bytes(6)) is None
    assert local_time(bytes((0, 0, 0, 31, 2, 24))) is None
    assert packed_time(datetime.datetime(1970, 1, 1)) == bytes(6)  # noqa: DTZ001


def test_decode_says_what_is_broken() -> None:
    good = RAW["gb26875-dgiot-1"]
    codes = {}
    for name, wrong in (
        ("cut", good[:40]),
        ("sum", good[:-3] + b"\x00##"),
        ("end", good[:-2] + b"#$"),
        ("none", b"hello"),
        ("long", good[:24] + b"\xff\xff" + good[26:]),
    ):
        decoded = decode(wrong)
        assert not decoded.ok
        assert decoded.fault is not None
        codes[name] = decoded.fault.code
    assert codes == {
        "cut": "truncated",
        "sum": "bad_checksum",
        "end": "no_end",
        "none": "no_frame",
        "long": "bad_length",
    }
    items = {item.id: item.value for item in decode(good).frames[0].items}
    assert (items["component_zh"], items["loop"], items["number"]) == ("通用", 6, 217)
    assert items["at"] == "2020-08-01T19:18:48"
    assert items["text"] == "Ａ区１层呷哺走廊"
