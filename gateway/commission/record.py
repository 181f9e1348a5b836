"""Bytes with their times: as they are heard, and as a capture keeps them.

A capture is a text file of JSON lines.  The first is the header, every other one piece of the stream:

    {"format": "capture/1", "version": "0.1.0", "line": "meters-1", "wire": "/dev/ttyUSB0", "serial": [2400, "E", 8, 1],
     "started_ms": 1767225600000}
    [0, "tx", "68010119000000681104333434351916"]
    [152, "rx", "fefefefe680101190000006891063334343577551e16"]
    [9120, "lost", "3"]

The numbers count milliseconds from started_ms (UTC).  ``tx`` is what the gateway sent, ``rx`` what came back, ``bus``
what was heard in passing, from either side; ``lost`` says that so many pieces could not be kept up with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from drivers.base import SerialFormat
from gateway.errors import GatewayError

FORMAT = "capture/1"
TX, RX, BUS, LOST = "tx", "rx", "bus", "lost"
LONGEST_LINE = 256 * 1024
"""Characters; a piece of the stream is a few hundred bytes."""


class CaptureFault(GatewayError):
    """A file that is no capture, or has been damaged."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that came or went together."""

    at_ms: int
    """UTC."""
    direction: str
    """``tx``, ``rx``, or ``bus`` where nobody can know."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """What a source has to say since it was last asked; often nothing but that time has passed."""

    now_ms: int
    chunks: tuple[Chunk, ...] = ()
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """Where and how a capture was made."""

    version: str
    line: str | None
    wire: str
    """Port or host:port."""
    serial: SerialFormat | None
    started_ms: int


@dataclass(slots=True)
class Recorder:
    """Writes a capture; every line is on its way to the disk when the call returns."""

    file: IO[str]
    header: Header
    chunks: int = 0
    data_bytes: int = 0
    written: int = 0
    """Characters."""

    def begin(self) -> None:
        header, serial = self.header, self.header.serial
        self._line(
            {
                "format": FORMAT,
                "version": header.version,
                "line": header.line,
                "wire": header.wire,
                "serial": [serial.baud, serial.parity, serial.data_bits, serial.stop_bits] if serial else None,
                "started_ms": header.started_ms,
            }
        )

    def take(self, heard: Heard) -> None:
        if heard.lost:
            self._line([heard.now_ms - self.header.started_ms, LOST, str(heard.lost)])
        for chunk in heard.chunks:
            self.chunks += 1
            self.data_bytes += len(chunk.data)
            self._line([chunk.at_ms - self.header.started_ms, chunk.direction, chunk.data.hex()])

    def _line(self, value: object) -> None:
        text = json.dumps(value, ensure_ascii=False) + "\n"
        self.file.write(text)
        self.file.flush()
        self.written += len(text)


@dataclass(frozen=True, slots=True)
class Capture:
    """A capture read back."""

    header: Header
    records: tuple[Heard, ...]
    cut_off: bool = False
    """The last line was not written to its end: the recorder was killed or the disk was full."""

    @property
    def chunks(self) -> Iterator[Chunk]:
        return (chunk for record in self.records for chunk in record.chunks)


def read_capture(path: Path) -> Capture:
    """Raises CaptureFault, with the number of the line."""
    try:
        with path.open(encoding="utf-8") as file:
            return parse_capture(file, str(path))
    except OSError as exc:
        raise CaptureFault(f"读不到 {path}：{exc.strerror} / cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise CaptureFault(f"{path} 不是文本文件 / {path} is not a text file", hint=_HINT) from exc


_HINT = "用 gateway capture 录制 / captures are made by gateway capture"


def parse_capture(file: IO[str], name: str) -> Capture:
    """*name*: of the file, for what is said about it.  Raises CaptureFault."""
    header: Header | None = None
    records: list[Heard] = []
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        try:
            value = json.loads(line)
            if header is None:
                header = _header(value)
            else:
                records.append(_record(value, header.started_ms))
        except (ValueError, KeyError, TypeError, IndexError):
            if header is not None and not line.endswith("\n") and len(line) < LONGEST_LINE:
                return Capture(header, tuple(records), cut_off=True)
            what = ("不是捕获文件", "this is no capture") if header is None else ("无法读取", "cannot be read")
            raise CaptureFault(f"{name}:{number}: {what[0]} / {what[1]}", hint=_HINT) from None
    if header is None:
        raise CaptureFault(f"{name}: 空文件 / the file is empty", hint=_HINT)
    return Capture(header, tuple(records))


def _header(value: Any) -> Header:
    if value["format"] != FORMAT:
        raise ValueError(value["format"])
    serial = value["serial"]
    format_ = SerialFormat(int(serial[0]), str(serial[1]), int(serial[2]), int(serial[3])) if serial else None
    return Header(str(value["version"]), value["line"], str(value["wire"]), format_, int(value["started_ms"]))


def _record(value: Any, started_ms: int) -> Heard:
    at, direction, text = value
    at_ms = started_ms + int(at)
    if direction == LOST:
        return Heard(at_ms, lost=int(text))
    if direction not in (TX, RX, BUS):
        raise ValueError(direction)
    return Heard(at_ms, (Chunk(at_ms, direction, bytes.fromhex(text)),))
