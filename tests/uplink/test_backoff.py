from __future__ import annotations

from gateway.uplink.backoff import Backoff


def test_the_ceiling_doubles_to_two_minutes_for_ever() -> None:
    backoff = Backoff()
    delays = [backoff.delay_s(rejected=False, jitter=0.5) for _ in range(2000)]
    assert delays[:9] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert set(delays[9:]) == {60.0}


def test_jitter_covers_the_whole_range() -> None:
    assert Backoff().delay_s(rejected=False, jitter=0.0) == 0.0
    backoff = Backoff()
    for _ in range(9):
        backoff.delay_s(rejected=False, jitter=0.0)
    assert backoff.delay_s(rejected=False, jitter=0.999) > 119


def test_success_starts_again() -> None:
    backoff = Backoff()
    for _ in range(9):
        backoff.delay_s(rejected=True, jitter=0.5)
    backoff.reset()
    assert backoff.delay_s(rejected=True, jitter=0.5) == 0.5


def test_after_five_refusals_at_most_one_attempt_a_minute() -> None:
    backoff = Backoff()
    delays = [backoff.delay_s(rejected=True, jitter=0.0) for _ in range(8)]
    assert delays == [0.0] * 5 + [60.0] * 3
    assert backoff.delay_s(rejected=True, jitter=0.999) < 120
