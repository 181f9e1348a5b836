from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.bucket import Bucket


@given(st.integers(1, 20), st.lists(st.floats(0, 30), max_size=60))
def test_no_bucket_gives_more_than_its_rate(burst: int, pauses: list[float]) -> None:
    bucket, now_s, taken = Bucket(burst / 60.0, burst), 1000.0, list[float]()
    for pause_s in pauses:
        now_s += pause_s
        if bucket.take(now_s):
            taken.append(now_s)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) * burst / 60.0 + 1e-6


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    bucket = Bucket(2 / 60.0, 2)
    assert [bucket.take(at_s) for at_s in (100.0, 100.0, 50.0, 60.0)] == [True, True, False, False]


def test_without_a_burst_of_its_own_a_second_s_worth_may_go_at_once() -> None:
    bucket = Bucket(10.0)
    assert sum(bucket.take(5.0) for _ in range(20)) == 10
    assert bucket.wait_s() == 0.1
    bucket.rate = 0.5
    assert bucket.ready(7.0)
    bucket.spend()
    assert bucket.wait_s() == 2.0
