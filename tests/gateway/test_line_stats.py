from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.line_stats import DeviceStats, LineStats


def test_the_percentiles_are_those_of_the_achieved_periods() -> None:
    stats = DeviceStats(60.0)
    assert stats.percentile_s(0.5) is None
    now = 0.0
    stats.read(now)
    for period in [60.0] * 18 + [90.0, 300.0]:
        now += period
        stats.read(now)
    assert (stats.percentile_s(0.5), stats.percentile_s(0.95), stats.percentile_s(1.0)) == (60.0, 90.0, 300.0)


def test_what_a_dead_device_costs_is_counted_apart() -> None:
    line = LineStats(devices={"a": DeviceStats(1.0), "b": DeviceStats(1.0)})
    line.spent("a", 1.0, 0.2, answered=True)
    line.spent("b", 2.5, 1.5, answered=False)
    assert (line.polls, line.failures, line.busy_s) == (2, 1, pytest.approx(1.7))
    assert (line.devices["a"].cost_s, line.devices["a"].wasted_s) == (0.2, 0.0)
    assert (line.devices["b"].cost_s, line.devices["b"].wasted_s) == (1.5, 1.5)


def test_the_last_minute_forgets_the_one_before() -> None:
    line = LineStats(devices={"a": DeviceStats(1.0)})
    for second in range(60):
        line.spent("a", float(second), 1.0, answered=True)
        if second == 20:
            assert line.busy_1m(20.0) == pytest.approx(1.0, abs=0.1), "the first minute is not over yet"
    assert line.busy_1m(60.0) == pytest.approx(1.0, abs=0.1)
    assert line.busy_1m(90.0) == pytest.approx(0.5, abs=0.1)
    assert line.busy_1m(121.0) == 0.0


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 1.0)), max_size=60))
def test_the_share_of_the_last_minute_is_never_more_than_all_of_it(steps: list[tuple[float, float]]) -> None:
    line = LineStats(devices={"a": DeviceStats(1.0)})
    now = 0.0
    for pause, spent in steps:
        now += pause + spent
        line.served(now, spent)
        assert 0.0 <= line.busy_1m(now) <= 1.0
