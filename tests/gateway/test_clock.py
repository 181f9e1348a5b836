"""The daemon's timeline before, at and after the first synchronisation; the kernel is a fake."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import (
    FLOOR_FILE,
    STEP_PATIENCE_S,
    ClockState,
    Correction,
    GatewayClock,
    LinuxKernel,
    Memory,
    built_ms,
    keep,
    provisional_start_ms,
    recall,
)
from support.clock import FakeKernel

BUILT = 1_790_000_000_000
TODAY = 1_795_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR


def clock_of(kernel: FakeKernel, memory: Memory | None = None) -> GatewayClock:
    return GatewayClock(memory or Memory(), kernel, floor_ms=BUILT)


def test_before_the_first_synchronisation_steps_do_not_matter_and_then_there_is_one_shift() -> None:
    kernel = FakeKernel(wall_ms=0)
    clock = clock_of(kernel)
    assert (clock.now_ms(), clock.state()) == (BUILT, ClockState.UNKNOWN)
    kernel.advance(10)
    kernel.set_wall(TODAY)  # as an NTP client does, before the kernel is told
    assert (clock.check(), clock.now_ms(), clock.state()) == (None, BUILT + 10_000, ClockState.UNKNOWN)
    kernel.advance(5)
    kernel.synchronised = True
    assert clock.state() is ClockState.UNKNOWN, "only check() switches"
    correction = clock.check()
    assert correction is not None
    assert correction.shift_ms == TODAY + 5_000 - (BUILT + 15_000)
    assert (clock.now_ms(), clock.state(), clock.check()) == (TODAY + 5_000, ClockState.SYNCED, None)


def test_afterwards_it_is_the_wall_clock_with_its_steps_and_the_kernels_word() -> None:
    kernel = FakeKernel(wall_ms=TODAY)
    kernel.synchronised = True
    clock = clock_of(kernel)
    assert (clock.check(), clock.correction, clock.state()) == (None, None, ClockState.SYNCED)
    kernel.set_wall(TODAY - HOUR)
    assert clock.now_ms() == TODAY - HOUR
    kernel.synchronised = False
    assert (clock.state(), clock.check(), clock.now_ms()) == (ClockState.HOLDOVER, None, TODAY - HOUR)


def test_a_machine_that_is_never_told_follows_its_wall_clock_as_ever() -> None:
    kernel = FakeKernel(wall_ms=TODAY)
    clock = clock_of(kernel)
    for _ in range(100):
        kernel.advance(900)
        assert clock.check() is None
    assert (clock.now_ms(), clock.state()) == (kernel.wall, ClockState.UNKNOWN)


def test_a_step_that_nobody_calls_synchronised_is_followed_when_it_has_lasted() -> None:
    kernel = FakeKernel(wall_ms=TODAY)
    clock = clock_of(kernel)
    kernel.advance(1000)
    kernel.set_wall(kernel.wall + 3 * HOUR)
    assert clock.check() is None
    kernel.advance(STEP_PATIENCE_S - 1)
    assert clock.check() is None
    kernel.set_wall(kernel.wall + HOUR)  # again, and the patience begins anew
    assert clock.check() is None
    kernel.advance(STEP_PATIENCE_S)
    correction = clock.check()
    assert correction is not None
    assert correction.shift_ms == 4 * HOUR
    assert (clock.now_ms(), clock.state(), clock.check()) == (kernel.wall, ClockState.UNKNOWN, None)
    kernel.synchronise(kernel.wall - HOUR)
    second = clock.check()
    assert second is not None
    assert second.shift_ms == -HOUR


@pytest.mark.parametrize("wall_ms", [0, BUILT - DAY])
def test_nobody_is_followed_to_before_what_is_certain(wall_ms: int) -> None:
    kernel = FakeKernel(wall_ms=TODAY)
    clock = clock_of(kernel)
    kernel.set_wall(wall_ms)
    for _ in range(10):
        assert clock.check() is None
        kernel.advance(STEP_PATIENCE_S)
    assert clock.now_ms() == TODAY + 10 * round(STEP_PATIENCE_S * 1000)
    assert clock.behind_floor_ms() > 0


def test_a_second_start_in_the_same_boot_goes_on_with_the_same_timeline(tmp_path: Path) -> None:
    kernel = FakeKernel(wall_ms=0)
    first = clock_of(kernel)
    kernel.advance(50)
    keep(tmp_path, first.memory())
    kernel.advance(7)
    second = clock_of(kernel, recall(tmp_path))
    assert second.now_ms() == first.now_ms() == BUILT + 57_000
    keep(tmp_path, second.memory())
    rebooted = FakeKernel(wall_ms=0, boot_id="boot-2")
    assert clock_of(rebooted, recall(tmp_path)).now_ms() == BUILT + 57_000, "and the next boot not before it"


def test_who_was_synchronised_in_this_boot_is_in_holdover_after_a_start(tmp_path: Path) -> None:
    kernel = FakeKernel(wall_ms=0)
    first = clock_of(kernel)
    kernel.synchronise(TODAY)
    first.check()
    keep(tmp_path, first.memory())
    kernel.synchronised = False
    second = clock_of(kernel, recall(tmp_path))
    assert (second.state(), second.now_ms()) == (ClockState.HOLDOVER, TODAY)
    rebooted = clock_of(FakeKernel(wall_ms=0, boot_id="boot-2"), recall(tmp_path))
    assert (rebooted.state(), rebooted.now_ms()) == (ClockState.UNKNOWN, TODAY)


@pytest.mark.parametrize(
    ("wall_ms", "seen_ms", "start_ms"),
    [
        (0, 0, BUILT),
        (0, TODAY, TODAY),
        (TODAY, 0, TODAY),
        (TODAY, TODAY - HOUR, TODAY),
        (TODAY, TODAY + HOUR, TODAY + HOUR),
        (TODAY, TODAY + 400 * DAY, TODAY),  # one bad reading of the RTC must not last for ever
    ],
)
def test_where_a_boots_timeline_begins(wall_ms: int, seen_ms: int, start_ms: int) -> None:
    assert provisional_start_ms(wall_ms, BUILT, seen_ms) == start_ms


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "5", '{"seen_ms": "x"}', '{"seen_ms": 1.5}', '{"seen": 5}', '{"boot_id": 7}', "\xff", "null"],
)
def test_a_damaged_floor_is_none(tmp_path: Path, damage: str) -> None:
    (tmp_path / FLOOR_FILE).write_text(damage, encoding="latin-1")
    assert recall(tmp_path) == Memory()
    assert recall(tmp_path / "absent") == Memory()


@given(st.integers(0, 2**45), st.integers(0, 2**45), st.none() | st.integers(0, 2**45))
def test_what_is_kept_comes_back(seen_ms: int, known_ms: int, offset_ms: int | None) -> None:
    memory = Memory(seen_ms, known_ms, "boot", offset_ms, 7)
    with tempfile.TemporaryDirectory() as folder:
        keep(Path(folder), memory)
        assert recall(Path(folder)) == memory
        assert [file.name for file in Path(folder).iterdir()] == [FLOOR_FILE]
        assert len((Path(folder) / FLOOR_FILE).read_text().splitlines()) == 1
        assert json.loads((Path(folder) / FLOOR_FILE).read_text())["seen_ms"] == seen_ms


@given(st.integers(-10 * DAY, 10 * 365 * DAY), st.integers(0, HOUR), st.integers(0, 5000), st.integers(0, 5000))
def test_a_stamp_on_its_way_is_told_from_one_taken_afterwards(
    shift_ms: int, unknown_ms: int, before_ms: int, after_ms: int
) -> None:
    last_ms = TODAY + unknown_ms
    correction = Correction(shift_ms, TODAY, last_ms)
    now_ms = last_ms + shift_ms + after_ms
    old_ms = max(TODAY, last_ms - before_ms)
    assert correction.concerns(old_ms, now_ms) or abs(shift_ms) <= before_ms + after_ms
    assert not correction.concerns(now_ms, now_ms)


def test_the_real_kernel_answers() -> None:
    kernel = LinuxKernel()
    clock = GatewayClock(Memory(), kernel)
    assert abs(clock.now_ms() - kernel.wall_ms()) < 5_000
    assert kernel.since_boot_ms() >= kernel.monotonic_s() * 1000 - 5
    assert len(kernel.boot_id()) == 36
    assert clock.state() in (ClockState.SYNCED, ClockState.UNKNOWN)
    assert 1_700_000_000_000 < built_ms() <= kernel.wall_ms()
