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


def test_who_is_thrown_out_by_another_client_waits_longer_each_time() -> None:
    backoff = Backoff()
    pauses = [backoff.delay_s(5.0, rejected=False, fought=True, jitter=0.0) for _ in range(8)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert backoff.contested
    backoff.reset()
    assert backoff.delay_s(5.0, rejected=False, fought=True, jitter=0.0) == 1.0


def test_connections_accepted_and_soon_broken_look_like_a_fight_after_a_few() -> None:
    backoff = Backoff()
    pauses = [backoff.delay_s(1.0, rejected=False, broke=True, worked=True, jitter=0.5) for _ in range(8)]
    assert pauses == [0.5, 0.5, 0.5, 0.5, 0.5, 1.5, 3.0, 6.0]
    assert backoff.contested
    assert backoff.delay_s(1.0, rejected=False, broke=True, jitter=0.5) == 12.0, "the other one was quick this time"


def test_a_broker_that_acknowledges_nothing_before_it_breaks_is_no_fight() -> None:
    backoff = Backoff()
    assert {backoff.delay_s(1.0, rejected=False, broke=True, jitter=0.5) for _ in range(50)} == {0.5}
    assert not backoff.contested


def test_a_broker_that_is_away_between_two_short_connections_is_no_fight() -> None:
    backoff = Backoff()
    for _ in range(50):
        assert backoff.delay_s(1.0, rejected=False, broke=True, worked=True, jitter=0.5) == 0.5
        assert backoff.delay_s(1.0, rejected=False, jitter=0.5) == 0.5
    assert not backoff.contested
