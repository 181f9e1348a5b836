"""Nothing that reads a wire falls over, hangs or swells, whatever comes: any bytes, and published frames gone wrong.

The promises stand in targets.py; atheris_frames.py tries the same for hours, with coverage.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.registry import decoders, protocol, protocols
from tests.fuzz.targets import DRIVERS, Target, corpus, targets

TARGETS = targets()
CORPUS = corpus()
MOST = 4096
CPU_S = 1.0
"""For 4 KiB, of this thread; the slowest takes 50 ms on the machine on which it was measured."""
every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())


@st.composite
def gone_wrong(draw: st.DrawFn) -> bytes:
    """Published frames, one behind the other, cut, stretched, mixed up and overwritten."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(CORPUS), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        data[at:end] = draw(st.one_of(st.binary(max_size=12), st.just(bytes(data[at:end]) * 2)))
    return bytes(data[:MOST])


anything = st.one_of(gone_wrong(), gone_wrong(), st.binary(max_size=64), st.binary(min_size=64, max_size=MOST))


def test_every_parser_there_is_stands_here() -> None:
    assert {name.partition(":")[2] for name in TARGETS if name.startswith("decode:")} == set(decoders())
    framed = {file.parent.name for file in DRIVERS.glob("*/frame.py")}
    assert {name.partition(":")[2] for name in TARGETS if name.startswith("frame:")} == framed
    asked = {name for name in protocols() if protocol(name).hub is None}  # a hub's tests fuzz what it hears
    assert {name.partition(":")[2] for name in TARGETS if name.startswith("driver:")} >= asked
    assert len(CORPUS) > 200


@every_target
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=anything)
def test_nothing_falls_over(target: Target, data: bytes) -> None:
    target(data)


@every_target
def test_every_published_frame_is_read_and_every_prefix_of_it(target: Target) -> None:
    for raw in CORPUS:
        target(raw)
    chance = random.Random(1)
    for raw in chance.sample(CORPUS, 20):
        for end in range(min(len(raw), 64)):
            target(raw[:end])


# ---------------------------------------------------------------------- bounded work and memory


def hard() -> Iterator[tuple[str, bytes]]:
    """What makes a reader that looks for a beginning everywhere work hardest: 4 KiB of beginnings."""
    chance = random.Random(7)
    yield "starts", b"\x68" * MOST
    yield "short starts", b"\x10" * MOST
    yield "lengths of M-Bus", b"\x68\xff\xff\x68" * (MOST // 4)
    yield "heads of DL/T 645", bytes.fromhex("68 010000000000 68 91 08") * (MOST // 10)
    yield "heads of CJ/T 188", bytes.fromhex("68 10 01000000000000 81 16") * (MOST // 11)
    yield "heads of RTU answers", b"\x07\x03\x14" * (MOST // 3)
    yield "heads of RTU requests", bytes.fromhex("01 10 0000 0001 02") * (MOST // 7)
    yield "MBAP headers", bytes.fromhex("0001 0000 0006") * (MOST // 6)
    yield "colons", b":0103" * (MOST // 5)
    yield "wake-ups", b"\xfe" * MOST
    yield "endless DIF", b"\x72" + bytes(12) + b"\x84" * (MOST - 13)
    yield "endless VIF", b"\x72" + bytes(12) + b"\x04" + b"\xfc" * (MOST - 14)
    yield "records without data", b"\x72" + bytes(MOST - 1)
    yield "random", chance.randbytes(MOST)
    yield "published", b"".join(chance.choices(CORPUS, k=400))[:MOST]


HARD = dict(hard())
SWELLING = ("starts", "MBAP headers", "records without data", "random")
"""Of those what makes most out of its bytes; tracing memory is slow."""


@every_target
def test_the_work_for_four_kilobytes_is_bounded(target: Target) -> None:
    for name, data in HARD.items():
        started_s = time.thread_time()
        target(data)
        took_s = time.thread_time() - started_s
        assert took_s < CPU_S, f"{name}: {took_s:.3f} s"


@every_target
def test_the_memory_for_four_kilobytes_is_bounded(target: Target) -> None:
    for name in SWELLING:
        target(HARD[name])  # what is built once (tables) does not count
    tracemalloc.start()
    try:
        for name in SWELLING:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            target(HARD[name])
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < 8 * 2**20, f"{name}: {(peak - before) / 2**20:.1f} MiB"
    finally:
        tracemalloc.stop()
