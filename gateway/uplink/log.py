"""What an uplink needs of the store, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.envelope import Envelope
from gateway.model import Lane


class Log(Protocol):
    @property
    def epoch(self) -> str: ...

    async def after(self, lane: Lane, seq: int, limit: int) -> Sequence[Envelope]:
        """At most *limit* committed envelopes with a greater number, ascending; numbers may be missing (dropped)."""

    def cursor(self, uplink: str, lane: Lane) -> int:
        """The last number this uplink has acknowledged; 0 in the beginning."""

    def last_seq(self, lane: Lane) -> int:
        """The last committed number."""

    async def acknowledge(self, uplink: str, upto: Mapping[Lane, int]) -> None: ...

    async def wait_for_commit(self, seen: int) -> int:
        """Return the commit counter as soon as it is greater than *seen*."""
