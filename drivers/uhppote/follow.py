"""Following one controller's events: every one once, in the order of their indices, over whatever happens.

    a push, the minute, the start ──▶ is there more than was taken? ── B0h taken+1, taken+2, … ──▶ emit, with memory
                                         │ status: the index is lower than what was taken, or the record that was
                                         │ taken last is another one now
                                         └──▶ the controller has begun anew: said, and followed from its first event

A push is only a hint that there is something to fetch.  So nothing can come twice, a push that was lost costs nothing
but time, and whoever forges pushes can do no more than make the gateway ask.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from drivers.uhppote.frame import NO_EVENT, OVERWRITTEN, Record

_LAYOUT = struct.Struct(">BII12s")
_VERSION = 1
_NO_MARK = bytes(12)


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """How far a controller has been followed; a later one compares greater.  Goes to disk with every event."""

    epoch: int = 0
    """How often the controller has begun anew."""
    index: int = 0
    record: bytes = _NO_MARK
    """``Record.mark`` of that event; zeros where it was not looked at."""

    def to_bytes(self) -> bytes:
        return _LAYOUT.pack(_VERSION, self.epoch, self.index, self.record)

    @classmethod
    def from_bytes(cls, data: bytes) -> Mark | None:
        """None for what is no mark of ours."""
        if len(data) != _LAYOUT.size or data[0] != _VERSION:
            return None
        _, epoch, index, record = _LAYOUT.unpack(data)
        return cls(epoch, index, record)


@dataclass(frozen=True, slots=True)
class Lost:
    """Events that will never be had: overwritten before they were fetched."""

    first: int
    last: int
    reason: str
    """``overwritten``, or ``missing`` where the controller has no such event."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The controller's memory has begun anew."""

    taken: int
    """The index that had been taken."""
    index: int
    """The controller's latest now."""


@dataclass(frozen=True, slots=True)
class Begun:
    """Met for the first time: followed from here on."""

    index: int


Step: TypeAlias = Record | Lost | Restarted | Begun


class Source(Protocol):
    """The controller's answers.  Both raise DriverError."""

    async def latest(self) -> int:
        """Index of its latest event."""

    async def event(self, index: int) -> Record: ...


class Follower:
    """*emit* is awaited with each step and the mark that says that it has been taken; it may wait for room."""

    def __init__(
        self, source: Source, emit: Callable[[Step, Mark], Awaitable[None]], mark: Mark | None, history: bool = False
    ) -> None:
        """*mark*: None for a controller that was never met; *history*: then take what it remembers, too."""
        self._source = source
        self._emit = emit
        self.mark = mark
        self._history = history
        self._compared = False
        self.latest = 0 if mark is None else mark.index
        """The highest index that the controller is known to have."""

    @property
    def missing(self) -> int:
        """Events that are known to be there and have not been taken."""
        return 0 if self.mark is None else max(0, self.latest - self.mark.index)

    async def catch_up(self, hint: int = 0) -> None:
        """Take all that there is.  *hint*: an index that the controller is said to have; 0 for none.

        Raises DriverError; the next call goes on where this one ended.
        """
        if self.mark is None or not self._compared or hint <= self.mark.index:
            await self._compare()
        else:
            self.latest = hint
        assert self.mark is not None
        while self.mark.index < self.latest:
            await self._next(self.mark)

    async def _compare(self) -> None:
        """Find out what is new, and whether this is still the memory that was followed."""
        latest = await self._source.latest()
        if self.mark is None:
            await self._take(Begun(latest), Mark(0, 0 if self._history else latest))
        elif await self._is_another(self.mark, latest):
            await self._take(Restarted(self.mark.index, latest), Mark(self.mark.epoch + 1, 0))
        self._compared = True
        self.latest = latest

    async def _is_another(self, mark: Mark, latest: int) -> bool:
        if mark.index == 0:
            return False
        if latest >= mark.index and (self._compared or mark.record == _NO_MARK):
            return False
        found = await self._source.event(mark.index)
        if found.type == OVERWRITTEN:
            return latest < mark.index
        if found.type == NO_EVENT:
            return True
        return mark.record not in (_NO_MARK, found.mark)

    async def _next(self, mark: Mark) -> None:
        index = mark.index + 1
        found = await self._source.event(index)
        if found.type == OVERWRITTEN:
            last = await self._last_overwritten(index, self.latest)
            await self._take(Lost(index, last, "overwritten"), Mark(mark.epoch, last))
        elif found.type == NO_EVENT:
            await self._look_again(mark, index)
        else:
            await self._take(found, Mark(mark.epoch, index, found.mark))

    async def _last_overwritten(self, low: int, high: int) -> int:
        """*low* is overwritten; what is overwritten is always the oldest.  At most 32 questions."""
        if (await self._source.event(high)).type == OVERWRITTEN:
            return high
        while high - low > 1:
            middle = (low + high) // 2
            if (await self._source.event(middle)).type == OVERWRITTEN:
                low = middle
            else:
                high = middle
        return low

    async def _look_again(self, mark: Mark, index: int) -> None:
        """The controller says that there is no such event: the hint was wrong, or there is a hole in its memory."""
        self.latest = await self._source.latest()
        if index > self.latest:
            self._compared = self._compared and self.latest >= mark.index
            return
        if (await self._source.event(index)).type == NO_EVENT:
            await self._take(Lost(index, index, "missing"), Mark(mark.epoch, index))

    async def _take(self, step: Step, mark: Mark) -> None:
        await self._emit(step, mark)
        self.mark = mark
