from __future__ import annotations

import random

import pytest

from gateway.uplink.backoff import Backoff


@pytest.mark.parametrize(("down_s", "ceiling_s"), [(0, 1), (30, 1), (60, 2), (600, 20), (3600, 120), (86400, 120)])
def test_the_ceiling_grows_with_the_outage_between_one_second_and_two_minutes(down_s: float, ceiling_s: float) -> None:
    assert Backoff().delay_s(down_s, rejected=False, jitter=0.5) == pytest.approx(ceiling_s / 2)
    assert Backoff().delay_s(down_s, rejected=False, jitter=0.0) == 0.0


def test_after_an_outage_of_a_minute_the_uplink_is_back_within_two_seconds() -> None:
    chance = random.Random(1)
    for _ in range(200):
        backoff, down_s, attempts = Backoff(), 0.0, 0
        while down_s < 60.0:
            down_s += backoff.delay_s(down_s, rejected=False, jitter=chance.random())
            attempts += 1
        assert down_s < 62.1
        assert attempts < 200


def test_after_five_refusals_at_most_one_attempt_a_minute() -> None:
    backoff = Backoff()
    delays = [backoff.delay_s(0.0, rejected=True, jitter=0.0) for _ in range(8)]
    assert delays == [0.0] * 5 + [60.0] * 3
    assert backoff.delay_s(0.0, rejected=True, jitter=0.999) < 120
    backoff.reset()
    assert backoff.delay_s(0.0, rejected=True, jitter=0.5) == 0.5
