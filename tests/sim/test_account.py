"""The account, against the plainest model there is: sets of numbers."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.messages import ReceiptMessage
from gateway.model import Lane
from gateway.sim.account import MOST_NAMED, Account, Receipt, Stream
from gateway.spans import Spans

NUMBERS = st.integers(1, 40)
SPANS = st.lists(st.tuples(NUMBERS, st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=12)
STREAM = Stream("s", "g", "e", Lane.BILLING)


def numbers(spans: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in spans for number in range(first, last + 1)}


@given(SPANS, st.integers(0, 60))
def test_spans_are_a_set(spans: list[tuple[int, int]], upto: int) -> None:
    model, made = numbers(spans), Spans(spans)
    assert numbers(list(made)) == model
    assert numbers(list(made.holes(upto))) == set(range(1, upto + 1)) - model
    assert {number for number in range(60) if number in made} == model
    assert made.last == max(model, default=0)
    rows = list(made)
    assert all(left[1] + 1 < right[0] for left, right in itertools.pairwise(rows)), "rows that touch are one"
    assert made == Spans((number, number) for number in model)


def test_nothing_is_added_by_a_span_that_ends_before_it_begins() -> None:
    spans = Spans([(3, 4)])
    spans.add(9, 8)
    assert list(spans) == [(3, 4)]


@given(SPANS, SPANS, st.integers(0, 60))
def test_a_receipt_covers_exactly_what_is_settled(
    stored: list[tuple[int, int]], announced: list[tuple[int, int]], named_upto: int
) -> None:
    account = Account(Spans(stored), Spans(announced))
    settled = numbers(stored) | numbers(announced)
    receipt = account.receipt(named_upto)
    missing = numbers(list(receipt.missing))
    assert missing.isdisjoint(settled)
    assert missing | (settled & set(range(receipt.upto + 1))) == set(range(1, receipt.upto + 1)), "nothing forgotten"
    assert all(last <= named_upto for _, last in receipt.missing), "what may still be on its way is not named"
    unnamed = set(range(1, max(settled, default=0) + 1)) - settled - missing
    assert receipt.upto == min(unnamed, default=max(settled, default=0) + 1) - 1, "and as far as can be said"


def test_holes_are_named_only_when_they_are_old_enough() -> None:
    account = Account(Spans([(1, 4), (7, 9), (12, 12)]), Spans([(5, 5)]))
    assert account.receipt(0) == Receipt(5)
    assert account.receipt(9) == Receipt(9, ((6, 6),))
    assert account.receipt(12) == Receipt(12, ((6, 6), (10, 11)))
    assert account.missing(14) == [(6, 6), (10, 11), (13, 14)]


def test_a_receipt_names_so_many_holes_and_no_more() -> None:
    account = Account(Spans((number, number) for number in range(2, 1000, 2)))
    receipt = account.receipt(1000)
    assert len(receipt.missing) == MOST_NAMED
    assert receipt.upto == 2 * MOST_NAMED
    assert receipt.missing[-1] == (2 * MOST_NAMED - 1, 2 * MOST_NAMED - 1)


def test_the_message() -> None:
    said: ReceiptMessage = {"epoch": "e", "lane": Lane.BILLING, "upto": 9, "missing": [[6, 6]]}
    assert Receipt(9, ((6, 6),)).message(STREAM) == said
    assert Receipt(9, ((6, 6),)).message(STREAM, rate=2.5) == {**said, "rate": 2.5}
