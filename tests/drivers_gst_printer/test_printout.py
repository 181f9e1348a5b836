"""The printed records: those that others captured, and what must hold for any stream."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gst_printer.decode import decode
from drivers.gst_printer.panel import MOST_ADDRESSES, Panel, from_memory
from drivers.gst_printer.printout import MOST_LINE_BYTES, MOST_LINES, Printed, Printout, meaning

VECTORS: list[dict[str, Any]] = [
    vector
    for vector in json.loads((Path(__file__).parent.parent / "vectors" / "fire.json").read_text("utf-8"))["vectors"]
    if vector["protocol"].startswith("GST9000")
]
RAW = {vector["id"]: bytes.fromhex(vector["hex"]) for vector in VECTORS}
EVERYTHING = b"".join(RAW.values())


def read(data: bytes) -> list[Printed]:
    printout = Printout()
    return [*printout.feed(data), *printout.flush()]


def test_none_is_missing() -> None:
    assert sorted(RAW) == ["gst9000-fault-1", "gst9000-fire-1", "gst9000-fire-2", "gst9000-reset"]


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_a_published_record_is_read(vector: dict[str, Any]) -> None:
    expected = vector["expected"]
    (record,) = read(RAW[vector["id"]])
    assert record.event == expected["event"]
    assert record.first == expected.get("first", False)
    assert (record.loop, record.number) == (expected.get("loop"), expected.get("device"))
    lines = [line.strip() for line in expected["text"].split("\n")]
    texts = [lines[0], lines[1], record.what, *(text for text in (record.place, record.component) if text)]
    assert texts == lines
    assert record.time == lines[0]


def test_a_fault_whose_place_is_called_fire_alarm_is_no_fire() -> None:
    (record,) = read(RAW["gst9000-fault-1"])
    assert "火警" in record.place
    assert Panel().heard(record).points() == {"fault": True}


@given(st.lists(st.integers(0, len(EVERYTHING)), max_size=12))
def test_a_stream_that_is_cut_anywhere_gives_the_same_records(cuts: list[int]) -> None:
    whole = read(EVERYTHING)
    assert len(whole) == 4
    printout, found, edges = Printout(), [], [0, *sorted(cuts), len(EVERYTHING)]
    for begin, end in itertools.pairwise(edges):
        found += printout.feed(EVERYTHING[begin:end])
    assert [*found, *printout.flush()] == whole


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(sorted(RAW.values()))), max_size=8))
def test_any_bytes_are_read_within_bounds(parts: list[bytes]) -> None:
    printout = Printout()
    for part in parts:
        for record in printout.feed(part):
            assert record.what
            assert len(record.component) <= MOST_LINES * (MOST_LINE_BYTES + 1)
        assert len(printout._line) <= MOST_LINE_BYTES
    list(printout.flush())
    assert not printout.waiting


def test_an_endless_line_is_cut_and_the_next_record_is_read() -> None:
    records = read(b"x" * 1_000_000 + b"\n\n" + RAW["gst9000-fire-1"])
    assert [record.event for record in records] == ["other", "fire"]
    assert len(records[0].what) == MOST_LINE_BYTES


def test_a_record_that_is_not_ended_ends_with_the_next() -> None:
    cut = RAW["gst9000-fire-1"][:-2]
    assert [record.event for record in read(cut + b"\n" + RAW["gst9000-reset"])] == ["fire", "reset"]
    assert [record.what for record in read(cut)] == ["首次火警"]


def test_words() -> None:
    words = {
        "首次火警": ("fire", False),
        "火警后续": ("fire", False),
        "火警撤消": ("fire", True),
        "故障恢复": ("fault", True),
        "屏蔽解除": ("shielded", True),
        "系统复位": ("reset", False),
        "联动反馈": ("feedback", False),
        "自检": ("other", False),
    }
    assert {word: meaning(word) for word in words} == words


# ---------------------------------------------------------------------- what is known


def said(event: str, number: int = 1, over: bool = False) -> Printed:
    return Printed(event, event, over, loop=1, number=number)


def test_only_a_reset_ends_a_fire() -> None:
    panel = Panel()
    assert panel.points() == {}
    for record in (said("fire"), said("fire", 2), said("fire", 2), said("fire", over=True)):
        panel = panel.heard(record)
    assert panel.points() == {"fire": True, "active_fires": 2}
    panel = panel.heard(Printed("reset", "系统复位"))
    assert panel.points()["fire"] is False
    assert panel.points()["active_fires"] == 0
    assert from_memory(dict(panel.active)) == panel


def test_another_state_ends_for_the_device_that_says_so() -> None:
    panel = Panel().heard(said("fault", over=True))
    assert panel.points() == {}  # others may be at fault: nobody knows
    for record in (said("fault", 1), said("fault", 2), said("fault", 1, over=True)):
        panel = panel.heard(record)
    assert panel.points() == {"fault": True}
    assert panel.heard(said("fault", 2, over=True)).points() == {"fault": False}
    shielded = panel.heard(said("shielded")).heard(Printed("reset", "系统复位"))
    assert shielded.points()["shielded"] is True
    assert shielded.points()["fault"] is False


def test_what_is_remembered_is_bounded() -> None:
    panel = Panel()
    for number in range(MOST_ADDRESSES + 10):
        panel = panel.heard(said("fire", number))
    assert panel.points()["active_fires"] == MOST_ADDRESSES


def test_decode_shows_every_record() -> None:
    decoded = decode(EVERYTHING)
    assert decoded.ok
    assert [frame.address for frame in decoded.frames] == ["004-004", "", "006-007", "004-002"]
    nothing = decode(b"\n\n")
    assert nothing.fault is not None
    assert not nothing.ok
