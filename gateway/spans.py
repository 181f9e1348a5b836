"""A set of whole numbers that mostly stand in long rows: what has arrived, what is settled, what is missing.  Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""First and last number, both included."""


class Spans:
    """Memory grows with the rows, not with the numbers."""

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

    def take_run_after(self, number: int) -> int:
        """Remove what is at or below *number*, and the row that goes on from it; its end, else *number* itself."""
        while self._firsts and self._firsts[0] <= number + 1:
            number = max(number, self._lasts[0])
            del self._firsts[0], self._lasts[0]
        return number
