"""What has come of one lane's numbers, and the receipt that follows from it.  Pure.

The demonstration's ledger and the reference platform keep the same account.  A number is *settled* when its envelope is
stored or when a gap record says that it will never come.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from gateway.messages import ReceiptMessage
from gateway.model import Lane

Span: TypeAlias = tuple[int, int]
"""First and last number, both included."""
MOST_NAMED = 100
"""Holes that one receipt names; the rest wait for the next one."""


class Spans:
    """A set of whole numbers that mostly stand in long rows.  Memory grows with the rows, not with the numbers."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for span in spans:
            self.add(*span)

    def __iter__(self) -> Iterator[Span]:
        """In order, disjoint, and with at least one number between two of them."""
        return zip(self._firsts, self._lasts, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Spans({list(self)!r})"

    def __contains__(self, number: int) -> bool:
        place = bisect_left(self._lasts, number)
        return place < len(self._firsts) and self._firsts[place] <= number

    @property
    def last(self) -> int:
        """The highest number; 0 when there is none."""
        return self._lasts[-1] if self._lasts else 0

    def add(self, first: int, last: int | None = None) -> None:
        """*first* to *last*; only *first* without it."""
        last = first if last is None else last
        if last < first:
            return
        begin = bisect_left(self._lasts, first - 1)  # the first row that touches or follows
        end = begin
        while end < len(self._firsts) and self._firsts[end] <= last + 1:
            first, last = min(first, self._firsts[end]), max(last, self._lasts[end])
            end += 1
        self._firsts[begin:end], self._lasts[begin:end] = [first], [last]

    def holes(self, upto: int) -> Iterator[Span]:
        """The numbers from 1 to *upto* that are not in it."""
        following = 1
        for first, last in self:
            if following > upto:
                return
            if first > following:
                yield following, min(first - 1, upto)
            following = last + 1
        if following <= upto:
            yield following, upto


class Stream(NamedTuple):
    """One sequence of numbers, for ever."""

    site: str
    gateway: str
    epoch: str
    lane: Lane


class Receipt(NamedTuple):
    """*upto*: every number up to it is settled, or stands in *missing*."""

    upto: int
    missing: tuple[Span, ...] = ()

    def message(self, stream: Stream, rate: float | None = None) -> ReceiptMessage:
        message: ReceiptMessage = {"epoch": stream.epoch, "lane": stream.lane, "upto": self.upto}
        message["missing"] = [list(span) for span in self.missing]
        if rate is not None:
            message["rate"] = rate
        return message


@dataclass(slots=True)
class Account:
    """One stream's.  *announced*: by gap records."""

    stored: Spans = field(default_factory=Spans)
    announced: Spans = field(default_factory=Spans)

    @property
    def last(self) -> int:
        """The highest number known of."""
        return max(self.stored.last, self.announced.last)

    def missing(self, upto: int | None = None) -> Sequence[Span]:
        """What is not settled up to *upto*; without it up to the highest number known of."""
        settled = Spans(self.stored)
        for span in self.announced:
            settled.add(*span)
        return list(settled.holes(self.last if upto is None else upto))

    def receipt(self, named_upto: int) -> Receipt:
        """*named_upto*: a hole up to this number is a loss and is named; a higher one may still be on its way."""
        named: list[Span] = []
        for first, last in self.missing():
            if last > named_upto or len(named) == MOST_NAMED:
                return Receipt(first - 1, tuple(named))
            named.append((first, last))
        return Receipt(self.last, tuple(named))
