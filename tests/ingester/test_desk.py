"""When receipts go out, and that they never say too much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Lane
from gateway.sim.account import Account, Receipt, Stream
from gateway.sim.platform.desk import Desk, Patience
from gateway.sim.platform.storage import Stored
from gateway.spans import Spans

PATIENCE = Patience(envelopes=10, seconds=1.0, hole_s=5.0)
LANE = Stream("s", "g", "e", Lane.BILLING)
OTHER = LANE._replace(lane=Lane.ALARM)


def stored(*spans: tuple[int, int], fresh: int = 0, duplicates: int = 0, stream: Stream = LANE) -> Stored:
    return Stored(
        {stream: Account(Spans(spans))},
        {stream: fresh} if fresh else {},
        {stream: duplicates} if duplicates else {},
    )


def test_a_receipt_is_due_after_a_second() -> None:
    desk = Desk(PATIENCE)
    assert (desk.due(0.0), desk.next_s()) == ({}, None)
    desk.committed(stored((1, 3), fresh=3), 10.0)
    assert (desk.due(10.9), desk.next_s()) == ({}, 11.0)
    assert desk.due(11.0) == {LANE: Receipt(3)}
    desk.said(LANE, Receipt(3))
    assert (desk.due(20.0), desk.next_s()) == ({}, None)


def test_or_after_so_many_envelopes() -> None:
    desk = Desk(PATIENCE)
    desk.committed(stored((1, 9), fresh=9), 10.0)
    assert desk.due(10.0) == {}
    desk.committed(stored((1, 10), fresh=1), 10.1)
    assert desk.due(10.1) == {LANE: Receipt(10)}


def test_or_at_once_when_a_duplicate_asks() -> None:
    desk = Desk(PATIENCE)
    desk.committed(stored((1, 7), duplicates=1), 10.0)
    assert desk.due(10.0) == {LANE: Receipt(7)}
    desk.said(LANE, Receipt(7))
    assert desk.due(99.0) == {}


def test_what_could_not_be_said_stays_due() -> None:
    desk = Desk(PATIENCE)
    desk.committed(stored((1, 7), duplicates=1), 10.0)
    assert desk.due(10.0) == desk.due(11.0) == {LANE: Receipt(7)}


def test_a_hole_is_named_when_it_is_old_and_only_once() -> None:
    desk = Desk(PATIENCE)
    desk.committed(stored((1, 3), (6, 8), fresh=6), 10.0)
    assert desk.missing == 2
    assert desk.due(11.0) == {LANE: Receipt(3)}
    desk.said(LANE, Receipt(3))
    assert (desk.due(14.9), desk.next_s()) == ({}, 15.0)
    assert desk.due(15.0) == {LANE: Receipt(8, ((4, 5),))}
    desk.said(LANE, Receipt(8, ((4, 5),)))
    assert desk.due(20.0) == {}, "nothing new to say"
    desk.committed(stored((1, 8), fresh=2), 21.0)
    assert desk.due(22.0) == {LANE: Receipt(8)}
    desk.said(LANE, Receipt(8))
    assert (desk.missing, desk.next_s()) == (0, None)


def test_a_hole_that_fills_in_time_is_never_named() -> None:
    desk = Desk(PATIENCE)
    desk.committed(stored((1, 1), (3, 3), fresh=2), 10.0)
    desk.committed(stored((1, 3), fresh=1), 14.0)
    assert desk.due(15.0) == {LANE: Receipt(3)}


def test_a_young_hole_waits_for_its_own_time() -> None:
    desk = Desk(PATIENCE)
    desk.committed(stored((1, 1), (3, 3), fresh=2), 10.0)
    desk.committed(stored((1, 1), (3, 3), (5, 5), fresh=1), 14.0)
    assert desk.due(15.0) == {LANE: Receipt(3, ((2, 2),))}
    desk.said(LANE, Receipt(3, ((2, 2),)))
    assert desk.due(19.9) == {}
    assert desk.due(20.0) == {LANE: Receipt(5, ((2, 2), (4, 4)))}


def test_another_ingester_may_have_filled_the_hole() -> None:
    desk = Desk(PATIENCE)
    desk.committed(stored((1, 1), (3, 3), fresh=2), 10.0)
    desk.said(LANE, Receipt(1))
    assert desk.doubtful(14.9) == []
    assert desk.doubtful(15.0) == [LANE]
    desk.learned({LANE: Account(Spans([(1, 3)]))})
    assert desk.due(15.0) == {LANE: Receipt(3)}
    desk.said(LANE, Receipt(3))
    assert (desk.missing, desk.next_s()) == (0, None)


def test_streams_do_not_wait_for_each_other() -> None:
    desk = Desk(PATIENCE)
    desk.committed(stored((1, 1), fresh=1), 10.0)
    desk.committed(stored((1, 1), duplicates=1, stream=OTHER), 10.0)
    assert desk.due(10.0) == {OTHER: Receipt(1)}
    desk.said(OTHER, Receipt(1))
    assert desk.due(11.0) == {LANE: Receipt(1)}


STEPS = st.lists(st.tuples(st.integers(1, 30), st.floats(0, 3), st.booleans()), max_size=40)


@given(STEPS)
def test_whatever_comes_a_receipt_is_true_and_in_the_end_complete(steps: list[tuple[int, float, bool]]) -> None:
    """Random numbers at random times; *heard*: whether the broker takes the receipt."""
    desk, account, now_s = Desk(PATIENCE), Account(), 0.0
    told: Receipt | None = None
    for number, pause_s, heard in steps:
        duplicate = number in account.stored
        account.stored.add(number)
        snapshot = Account(Spans(account.stored))
        desk.committed(Stored({LANE: snapshot}, {} if duplicate else {LANE: 1}, {LANE: 1} if duplicate else {}), now_s)
        now_s += pause_s
        for receipt in desk.due(now_s).values():
            missing = {n for first, last in receipt.missing for n in range(first, last + 1)}
            assert all(n in account.stored or n in missing for n in range(1, receipt.upto + 1))
            assert not any(n in account.stored for n in missing)
            if heard:
                desk.said(LANE, receipt)
                told = receipt
    while (next_s := desk.next_s()) is not None and now_s < 1000:
        now_s = max(now_s, next_s)
        for receipt in desk.due(now_s).values():
            desk.said(LANE, receipt)
            told = receipt
    if steps:
        assert told == account.receipt(account.last), "every hole is named at last"
