"""What has come of one lane's numbers, and the receipt that follows from it.  Pure.

The demonstration's ledger and the reference platform keep the same account.  A number is *settled* when its envelope is
stored or when a gap record says that it will never come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.messages import ReceiptMessage
from gateway.model import Lane
from gateway.spans import Span, Spans

MOST_NAMED = 100
"""Holes that one receipt names; the rest wait for the next one."""


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
