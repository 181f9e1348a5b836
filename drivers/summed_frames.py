"""Frames of the Chinese meter standards (DL/T 645, CJ/T 188): start, head with a length, data, sum, end.  Pure.

    68 …  L  data[L]  CS  16        CS: sum mod 256 of everything before it; FE bytes in front are not part of it

An address, the data and the sum may all hold 68h and 16h, so nothing is a landmark but the whole.  Whatever does not
fit costs one byte, never more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from drivers.base import Decoded, DecodedFrame, Fault
from gateway.errors import ProtocolError

F = TypeVar("F")

START, END = 0x68, 0x16
WAKE_UP = 0xFE


@dataclass(frozen=True, slots=True)
class Shape:
    """Where one standard's frames have what."""

    length_at: int
    """Index of the byte that counts the data behind it."""
    second_start_at: int | None = None

    @property
    def overhead(self) -> int:
        """Bytes of a frame without data."""
        return self.length_at + 3

    def fault_at(self, buffer: bytes, start: int) -> Fault | None:
        """Why no complete frame begins at *start*; None when one does."""
        second = self.second_start_at
        if start >= len(buffer) or buffer[start] != START:
            return Fault("no_frame", "这里不是帧头 no frame begins here", start)
        if second is not None and len(buffer) > start + second and buffer[start + second] != START:
            return Fault("no_frame", "这里不是帧头 no frame begins here", start)
        head = start + self.length_at + 1
        if len(buffer) < head or len(buffer) < start + self.overhead + buffer[head - 1]:
            return Fault("truncated", "帧不完整 the frame is cut off", len(buffer))
        check = head + buffer[head - 1]
        expected = sum(buffer[start:check]) & 0xFF
        if buffer[check] != expected:
            text = f"校验和错误 checksum is {buffer[check]:02X}, should be {expected:02X}"
            return Fault("bad_checksum", text, check)
        if buffer[check + 1] != END:
            return Fault("bad_end", f"结束符错误 the frame ends in {buffer[check + 1]:02X}, not 16", check + 1)
        return None

    def find(self, buffer: bytes, start: int = 0) -> tuple[int, int] | None:
        """The first whole frame at or after *start*: the indexes of its first byte and of the byte behind it."""
        at = buffer.find(START, start)
        while at >= 0:
            if self.fault_at(buffer, at) is None:
                return at, at + self.overhead + buffer[at + self.length_at]
            at = buffer.find(START, at + 1)
        return None

    def only(self, raw: bytes) -> bytes:
        """Exactly one frame, after any number of FE bytes, without them.  Raises ProtocolError."""
        body = raw.lstrip(bytes((WAKE_UP,)))
        fault = self.fault_at(body, 0)
        if fault is not None:
            raise ProtocolError(fault.text, raw)
        if len(body) != self.overhead + body[self.length_at]:
            raise ProtocolError("bytes behind the frame", raw)
        return body


def sealed(body: bytes, preamble: int) -> bytes:
    """*body*, from the start to the last data byte, as it goes onto the wire."""
    return b"%b%b%c%c" % (b"\xfe" * preamble, body, sum(body) & 0xFF, END)


def decoded(
    data: bytes,
    find_frame: Callable[[bytes, int], tuple[F, int, int] | None],
    explain: Callable[[F], DecodedFrame],
    damage: Callable[[bytes, int, int], Fault | None],
) -> Decoded:
    """Every frame of either direction.  Stray bytes around frames are allowed, a damaged frame is a fault.

    damage: what is wrong with the first thing in data[start:end] that looks like a frame.
    """
    frames: list[DecodedFrame] = []
    fault: Fault | None = None
    at = 0
    while (found := find_frame(data, at)) is not None:
        each, start, end = found
        fault = fault or damage(data, at, start)
        frames.append(explain(each))
        at = end
    fault = fault or damage(data, at, len(data))
    if not frames and fault is None:
        fault = Fault("no_frame", "没有找到帧 no frame in these bytes", 0)
    return Decoded(tuple(frames), fault)
