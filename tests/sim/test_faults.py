from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.sim.faults import HEALTHY, SILENT, FaultBoard, deliver, late, noisy, slow, wrong_checksum

answers = st.binary(min_size=2, max_size=60)
seeds = st.integers(0, 1000)


@given(answers, seeds)
def test_a_healthy_slow_or_late_device_says_what_it_means(answer: bytes, seed: int) -> None:
    for fault in (HEALTHY, slow(0.5), late(1.0)):
        assert deliver(answer, fault, random.Random(seed)) == answer
    assert late(1.0).delay_s > 1.0
    assert deliver(answer, SILENT, random.Random(seed)) is None


@given(answers, seeds)
def test_a_wrong_checksum_changes_the_checksum_byte_only(answer: bytes, seed: int) -> None:
    spoilt = deliver(answer, wrong_checksum(), random.Random(seed))
    assert spoilt is not None
    assert spoilt[:-2] + spoilt[-1:] == answer[:-2] + answer[-1:]
    assert spoilt[-2] != answer[-2]


@given(answers, seeds)
def test_noise_adds_bytes_and_takes_none_away(answer: bytes, seed: int) -> None:
    dirty = deliver(answer, noisy(1.0), random.Random(seed))
    assert dirty is not None
    added = len(dirty) - len(answer)
    assert 1 <= added <= 6
    assert any(dirty[:at] + dirty[at + added :] == answer for at in range(len(answer) + 1))


def test_the_share_of_noisy_answers_is_the_one_asked_for() -> None:
    chance = random.Random(7)
    dirty = sum(deliver(b"0123456789", noisy(0.3), chance) != b"0123456789" for _ in range(2000))
    assert 540 < dirty < 660


def test_one_fault_on_a_line_does_not_hide_the_other() -> None:
    board = FaultBoard()
    board.kill_line("l", dead=True)
    assert board.line("l").dead
    board.kill_line("l", dead=False)
    assert not board.line("l").dead
    assert not board.line("other").dead
