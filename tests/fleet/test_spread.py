"""How a fleet comes back after an outage, by the uplink's own back-off (reliability catalogue, B19)."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gateway.uplink.backoff import Backoff

GATEWAYS = 5000


def most_in_a_second(outage_s: float) -> float:
    """The largest share of the gateways that arrives within one second, when each retries until the broker is back."""
    arrivals = Counter(int(_back_s(outage_s, random.Random(number)) - outage_s) for number in range(GATEWAYS))
    assert arrivals.total() == GATEWAYS
    return max(arrivals.values()) / GATEWAYS


def _back_s(outage_s: float, dice: random.Random) -> float:
    backoff, now_s = Backoff(), 0.0
    while now_s < outage_s:
        now_s += max(0.05, backoff.delay_s(now_s, rejected=False, jitter=dice.random()))
    return now_s


@pytest.mark.parametrize("outage_s", [1800.0, 3600.0, 8 * 3600.0])
def test_after_a_long_outage_fewer_than_five_in_a_hundred_come_in_a_second(outage_s: float) -> None:
    assert most_in_a_second(outage_s) < 0.05


def test_after_a_short_outage_data_flow_at_once_and_the_broker_bears_it() -> None:
    """The other goal: values flow again within two seconds.  Both cannot be had, and docs/scale.md says so."""
    assert most_in_a_second(60.0) > 0.3
    assert all(_back_s(60.0, random.Random(number)) - 60.0 <= 2.1 for number in range(200))
