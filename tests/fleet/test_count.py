"""Who counts does not believe the gateways: lost is what they have forgotten and nobody has."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.model import Lane
from gateway.sim.account import Account, Stream
from gateway.sim.fleet.count import Balance, Tally, balance, options
from gateway.sim.fleet.fleet import Plan
from gateway.sim.platform.arrival import read
from gateway.spans import Spans
from ingester.samples import BILLING, announcement, arrival

ONE = Stream("fleet-1", "g1", "epoch-1", Lane.TELEMETRY)
OTHER = ONE._replace(gateway="g2")


def account(*spans: tuple[int, int]) -> Account:
    return Account(Spans(spans))


def test_everything_is_there() -> None:
    assert balance({ONE: (5, 5), OTHER: (3, 0)}, {ONE: account((1, 5)), OTHER: account((1, 3))}) == Balance(8, 8, 0, 0)


def test_lost_is_what_the_gateway_has_forgotten() -> None:
    kept = {ONE: account((1, 2), (6, 7))}  # 3, 4, 5, 8, 9, 10 have not come
    assert balance({ONE: (10, 4)}, kept) == Balance(10, 4, waiting=4, lost=2)
    assert balance({ONE: (10, 10)}, kept) == Balance(10, 4, waiting=0, lost=6)
    assert balance({ONE: (10, 0)}, kept) == Balance(10, 4, waiting=6, lost=0)


def test_a_gateway_of_which_nothing_came() -> None:
    assert balance({ONE: (4, 4), OTHER: (2, 0)}, {}) == Balance(6, 0, waiting=2, lost=4)


def test_streams_of_others_do_not_count() -> None:
    assert balance({ONE: (1, 1)}, {ONE: account((1, 1)), OTHER: account((1, 90))}) == Balance(1, 1, 0, 0)


def test_the_tally_keeps_each_number_once() -> None:
    async def main() -> None:
        tally = Tally()
        first = await tally.store([arrival(1), arrival(2), arrival(2)])
        assert (first.fresh, first.duplicates) == ({BILLING: 2}, {BILLING: 1})
        second = await tally.store([arrival(2), arrival(4), read(*announcement(1, Lane.BILLING, 3, 3))])
        assert second.fresh[BILLING] == 1
        assert second.duplicates == {BILLING: 1}
        (account,) = (await tally.accounts([BILLING])).values()
        assert account.missing() == []
        assert account.missing(5) == [(5, 5)]

    asyncio.run(main())


def test_only_the_fleets_own_sites_are_heard() -> None:
    """Others' gateways would be told that their data are stored."""
    plan = Plan((("127.0.0.1", 1883),), 3, sites=2)
    assert {each.split("/")[2] for each in options(plan, "x").filters} == {"fleet-1", "fleet-2"}
    later = replace(plan, first=2, gateways=1)
    assert {each.split("/")[2] for each in options(later, "x").filters} == {"fleet-2"}
