"""What a device that repeats itself until it is answered has said already.  Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
MOST_KNOWN = 512


@dataclass(slots=True)
class Known(Generic[T]):
    receipt: T | None
    """None: on disk since before the start."""
    heard_s: float
    lasting: bool
    """It has a number or a time of its own, so that the same again is never a new one."""


@dataclass(slots=True)
class Repetitions(Generic[T]):
    """Of one device.  *receipt* is whatever the caller wants to find again with a message that repeats another."""

    again_s: float
    """A message that is not lasting, and comes again within this time, is the same one."""
    known: OrderedDict[Hashable, Known[T]] = field(default_factory=OrderedDict)

    def find(self, mark: Hashable, now_s: float) -> Known[T] | None:
        found = self.known.get(mark)
        if found is not None and not found.lasting and now_s - found.heard_s > self.again_s:
            return None
        return found

    def remember(self, mark: Hashable, receipt: T | None, now_s: float, *, lasting: bool) -> None:
        self.known[mark] = Known(receipt, now_s, lasting)
        self.known.move_to_end(mark)
        if len(self.known) > MOST_KNOWN:
            self.known.popitem(last=False)
