"""Asking one device now, with the bytes of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from drivers.base import Field, Link
from drivers_contract.wire import Chunk, MemoryLine
from gateway.errors import LineLost
from gateway.field import RawReading, read_raw
from gateway.model import PointId, Quality, Reading, Reason, Value
from support.clock import ManualClock
from support.virtual_time import run

NOW_MS = ManualClock().now_ms()


@dataclass
class Plain:
    """Answers each point with the number of bytes of its own question."""

    link: Link

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        return [points]

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        text = ",".join(points)
        value: Value = await self.link.exchange(
            text.encode(), lambda received: len(received) if received.endswith(b"!") else None, peer=1, timeout_s=1.0
        )
        return [Reading(point, value, NOW_MS, NOW_MS) for point in points]


class Explained(Plain):
    def interpretations(self, point: PointId, answer: bytes) -> Sequence[Field]:
        return [Field("text", answer.decode()), Field("of", point, "V")]


def echoing() -> MemoryLine:
    replies = {b"a.x": b"a.x!", b"a.y": b"a.y!!", b"a.noise": b"\x00\x01", b"a.silent": b""}
    return MemoryLine(lambda request: [Chunk(0.01, replies[request])] if replies[request] else [])


def read(
    driver_type: type[Plain], points: Sequence[PointId], lost: bool = False
) -> tuple[list[RawReading], MemoryLine]:
    line = echoing()

    async def main() -> list[RawReading]:
        async with line:
            if lost:
                line._fail("unplugged")
            return await read_raw(driver_type(line), line, points, ManualClock())

    return run(main()), line


def test_each_point_is_read_alone_so_that_the_bytes_are_its_own() -> None:
    found, line = read(Explained, ["a.x", "a.y"])
    assert line.requests == [b"a.x", b"a.y"]
    assert [(each.reading.point, each.reading.value, each.raw) for each in found] == [
        ("a.x", 4, b"a.x!"),
        ("a.y", 5, b"a.y!!"),
    ]
    assert found[1].interpretations == (Field("text", "a.y!!"), Field("of", "a.y", "V"))
    item = found[1].item("V")
    assert (item["p"], item["v"], item["u"], item["raw"]) == ("a.y", 5, "V", b"a.y!!".hex())
    assert item["interpretations"] == [["text", "a.y!!", None], ["of", "a.y", "V"]]


def test_a_driver_that_cannot_explain_gives_the_bytes() -> None:
    ((only,), _) = read(Plain, ["a.x"])
    assert (only.raw, only.interpretations) == (b"a.x!", ())


def test_what_is_no_answer_is_a_bad_reading_with_the_bytes_that_came() -> None:
    found, _ = read(Explained, ["a.x", "a.noise", "a.silent", "a.y"])
    assert [each.reading.quality for each in found] == [Quality.GOOD, Quality.BAD, Quality.BAD, Quality.GOOD]
    assert [each.reading.reason for each in found[1:3]] == [Reason.BAD_FRAME, Reason.NO_ANSWER]
    assert [each.raw for each in found] == [b"a.x!", b"\x00\x01", b"", b"a.y!!"], "none has another one's bytes"
    assert [len(each.interpretations) for each in found] == [2, 0, 0, 2]


def test_a_lost_line_ends_it() -> None:
    with pytest.raises(LineLost):
        read(Plain, ["a.x"], lost=True)
