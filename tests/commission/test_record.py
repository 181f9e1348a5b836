from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import SerialFormat
from gateway.commission.record import (
    BUS,
    RX,
    TX,
    CaptureFault,
    Chunk,
    Header,
    Heard,
    Recorder,
    parse_capture,
    read_capture,
)

HEADER = Header("1.2.3", "meters-1", "/dev/ttyUSB0", SerialFormat(2400, "E"), 1_767_225_600_000)


def recorded(path: Path, *heard: Heard, header: Header = HEADER) -> Path:
    with path.open("w", encoding="utf-8") as file:
        recorder = Recorder(file, header)
        recorder.begin()
        for each in heard:
            recorder.take(each)
    return path


def test_the_file_is_what_its_description_shows(tmp_path: Path) -> None:
    start = HEADER.started_ms
    heard = (
        Heard(start, (Chunk(start, TX, b"\x68\x16"),)),
        Heard(start + 152, (Chunk(start + 150, RX, b"\xfe"), Chunk(start + 152, RX, b"\x16"))),
        Heard(start + 9120, lost=3),
    )
    path = recorded(tmp_path / "c", *heard)
    assert path.read_text(encoding="utf-8").splitlines() == [
        '{"format": "capture/1", "version": "1.2.3", "line": "meters-1", "wire": "/dev/ttyUSB0", '
        '"serial": [2400, "E", 8, 1], "started_ms": 1767225600000}',
        '[0, "tx", "6816"]',
        '[150, "rx", "fe"]',
        '[152, "rx", "16"]',
        '[9120, "lost", "3"]',
    ]
    capture = read_capture(path)
    assert capture.header == HEADER
    assert list(capture.chunks) == [chunk for each in heard for chunk in each.chunks]
    assert [each.lost for each in capture.records] == [0, 0, 0, 3]
    assert not capture.cut_off


@given(
    st.lists(st.tuples(st.integers(-5, 10**7), st.sampled_from((TX, RX, BUS)), st.binary(max_size=300))),
    st.sampled_from((None, SerialFormat(9600), SerialFormat(300, "O", 7, 2))),
)
def test_what_is_written_is_read_back(pieces: list[tuple[int, str, bytes]], serial: SerialFormat | None) -> None:
    header = Header("0", None, "10.0.0.1:4001", serial, 1000)
    chunks = [Chunk(1000 + at, direction, data) for at, direction, data in pieces]
    text = io.StringIO()
    recorder = Recorder(text, header)
    recorder.begin()
    for chunk in chunks:
        recorder.take(Heard(chunk.at_ms, (chunk,)))
    assert recorder.data_bytes == sum(len(data) for _, _, data in pieces)
    assert recorder.written == len(text.getvalue())
    text.seek(0)
    assert read(text) == (header, chunks)


def read(text: io.StringIO) -> tuple[Header, list[Chunk]]:
    capture = parse_capture(text, "text")
    return capture.header, list(capture.chunks)


def test_a_capture_whose_writer_was_killed_is_used_up_to_there(tmp_path: Path) -> None:
    start = HEADER.started_ms
    path = recorded(tmp_path / "c", *(Heard(start + n, (Chunk(start + n, BUS, b"\x01\x02\x03"),)) for n in range(3)))
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:-6], encoding="utf-8")
    capture = read_capture(path)
    assert capture.cut_off
    assert len(list(capture.chunks)) == 2


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"", "empty"),
        (b"{}\n", ":1:"),
        (b'{"format": "capture/9"}\n', ":1:"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"68 10 16\n", ":1:"),
        (b"[]\n", ":1:"),
    ],
)
def test_what_is_no_capture_is_refused(tmp_path: Path, content: bytes, where: str) -> None:
    path = tmp_path / "c"
    path.write_bytes(content)
    with pytest.raises(CaptureFault) as caught:
        read_capture(path)
    assert where in str(caught.value)
    assert " / " in str(caught.value), "in two languages"


@pytest.mark.parametrize("line", ['[0, "up", "00"]', '[0, "tx", "0"]', '["a", "tx", "00"]', "[0]", "null", "{"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = recorded(tmp_path / "c")
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(CaptureFault, match=f"{path}:2:"):
        read_capture(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CaptureFault, match="No such file"):
        read_capture(tmp_path / "c")
