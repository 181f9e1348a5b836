from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sim.faults import (
    HEALTHY,
    SILENT,
    DeviceFault,
    FaultBoard,
    Twist,
    Utterance,
    deliver,
    late,
    lying,
    noisy,
    often_late,
    slow,
    wrong_checksum,
)

answers = st.binary(min_size=2, max_size=60)
seeds = st.integers(0, 1000)
shares = st.floats(0.0, 1.0)


def said(answer: bytes, fault: DeviceFault, seed: int) -> Utterance:
    utterance = deliver(answer, fault, random.Random(seed))
    assert utterance is not None
    return utterance


@given(answers, seeds)
def test_a_healthy_slow_or_late_device_says_what_it_means(answer: bytes, seed: int) -> None:
    for fault in (HEALTHY, slow(0.5), late(1.0)):
        assert said(answer, fault, seed).data == answer
        assert said(answer, fault, seed).after_s == fault.delay_s
        assert said(answer, fault, seed).clean == (fault is HEALTHY)
    assert late(1.0).delay_s > 1.0
    assert deliver(answer, SILENT, random.Random(seed)) is None
    assert deliver(answer, DeviceFault(drop=1.0), random.Random(seed)) is None


@given(answers, seeds)
def test_what_is_late_is_so_by_up_to_three_time_outs(answer: bytes, seed: int) -> None:
    utterance = said(answer, often_late(1.0, 0.5), seed)
    assert utterance.data == answer
    assert 0.5 <= utterance.after_s <= 1.5
    assert not utterance.clean


@given(answers, seeds)
def test_a_wrong_checksum_changes_the_checksum_byte_only(answer: bytes, seed: int) -> None:
    spoilt = said(answer, wrong_checksum(), seed).data
    assert spoilt[:-2] + spoilt[-1:] == answer[:-2] + answer[-1:]
    assert spoilt[-2] != answer[-2]


def test_the_checksum_of_an_answer_of_one_byte_is_that_byte() -> None:
    assert said(b"\xe5", wrong_checksum(), 1).data not in (b"\xe5", b"")
    assert len(said(b"\xe5", wrong_checksum(), 1).data) == 1


@given(answers, seeds, st.integers(1, 64))
def test_noise_adds_bytes_and_takes_none_away(answer: bytes, seed: int, most: int) -> None:
    dirty = said(answer, noisy(1.0, most), seed).data
    added = len(dirty) - len(answer)
    assert 1 <= added <= most
    assert any(dirty[:at] + dirty[at + added :] == answer for at in range(len(answer) + 1))


@given(answers, seeds)
def test_without_a_checksum_nothing_is_changed_inside(answer: bytes, seed: int) -> None:
    fault = DeviceFault(noise=1.0, spoil=1.0)
    utterance = deliver(answer, fault, random.Random(seed), checked=False)
    assert utterance is not None
    assert utterance.data.startswith(answer) or utterance.data.endswith(answer)


@given(answers, seeds)
def test_a_dripping_answer_comes_byte_by_byte_with_pauses(answer: bytes, seed: int) -> None:
    utterance = said(answer, DeviceFault(drip=1.0, pause_s=0.01), seed)
    assert utterance.data == answer
    assert [len(data) for _, data in utterance.pieces] == [1] * len(answer)
    assert all(0.0 <= pause <= 0.01 for pause, _ in utterance.pieces)
    assert not utterance.clean


def test_what_is_said_twice_says_when() -> None:
    assert said(b"answer", DeviceFault(twice=1.0, twice_s=0.2), 1) == Utterance(0.0, ((0.0, b"answer"),), False, 0.2)


def test_a_lie_is_made_by_the_protocols_forge_and_is_never_late_as_well() -> None:
    def forge(answer: bytes, twist: Twist, chance: random.Random) -> bytes:
        return twist.encode() + answer

    told = deliver(b"!", lying(Twist.SHORT), random.Random(1), forge)
    assert told is not None
    assert (told.data, told.clean) == (b"short!", False)
    fault = DeviceFault(twist=1.0, late=1.0, late_s=(1.0, 1.0))
    told = deliver(b"!", fault, random.Random(1), forge)
    assert told is not None
    assert (told.data, told.after_s) == (b"!", 1.0)


@pytest.mark.parametrize("field", ["drop", "late", "noise", "spoil", "twist", "twice", "drip"])
def test_the_share_of_faulty_answers_is_the_one_asked_for(field: str) -> None:
    chance = random.Random(7)
    fault = DeviceFault(**{field: 0.3}, late_s=(1.0, 1.0))  # type: ignore[arg-type]
    faulty = 0
    for _ in range(2000):
        utterance = deliver(b"0123456789", fault, chance, lambda answer, twist, chance: b"x")
        faulty += utterance is None or not utterance.clean
    assert 540 < faulty < 660


@given(answers, seeds, st.builds(DeviceFault, drop=shares, late=shares, noise=shares, spoil=shares, twice=shares))
def test_the_same_seed_gives_the_same_faults(answer: bytes, seed: int, fault: DeviceFault) -> None:
    assert deliver(answer, fault, random.Random(seed)) == deliver(answer, fault, random.Random(seed))


def test_one_fault_on_a_line_does_not_hide_the_other() -> None:
    board = FaultBoard()
    board.kill_line("l", dead=True)
    assert board.line("l").dead
    board.kill_line("l", dead=False)
    assert not board.line("l").dead
    assert not board.line("other").dead
