"""What the platform asks of its database.  tests/ingester/test_storage.py holds every one to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import GatewayError
from gateway.sim.account import Account, Stream
from gateway.sim.platform.arrival import Arrival
from gateway.spans import Span


class StorageUnavailable(GatewayError):
    """The database does not take it at present.  Nothing of the batch is stored; the same batch may be tried again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a committed batch has changed."""

    accounts: Mapping[Stream, Account]
    """Of every stream that the batch touched or announced something of, after the commit."""
    fresh: Mapping[Stream, int]
    """Envelopes that were new."""
    duplicates: Mapping[Stream, int]
    readings: int = 0
    """Rows added."""
    gaps: int = 0
    """Gap records, with numbers, that were new."""
    contradictions: int = 0
    """Of the duplicates, those with other items than the first had, which the contract forbids."""


class Storage(Protocol):
    async def store(self, batch: Sequence[Arrival]) -> Stored:
        """All of it or nothing; when it returns, it is committed.

        Every envelope is kept once, however often and in whatever order it comes, and so are its readings.
        Raises StorageUnavailable.
        """

    async def accounts(self, streams: Sequence[Stream]) -> Mapping[Stream, Account]:
        """As they stand now, with what other writers have added.  Raises StorageUnavailable."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Sorted:
    """A batch without what is in it twice, in the order of the keys: two writers never lock each other out."""

    envelopes: Mapping[tuple[Stream, int], Arrival]
    repeated: Sequence[Arrival]
    """What stood in the batch before, by name."""
    stored: Mapping[Stream, Sequence[Span]]
    announced: Mapping[Stream, Sequence[Span]]

    @property
    def streams(self) -> Sequence[Stream]:
        return sorted(self.stored.keys() | self.announced.keys())


def sort(batch: Sequence[Arrival]) -> Sorted:
    first: dict[tuple[Stream, int], Arrival] = {}
    repeated = []
    announced: dict[Stream, list[Span]] = {}
    for arrival in batch:
        if first.setdefault((arrival.stream, arrival.seq), arrival) is not arrival:
            repeated.append(arrival)
        for stream, span in arrival.announced:
            announced.setdefault(stream, []).append(span)
    stored: dict[Stream, list[Span]] = {}
    for stream, seq in first:
        stored.setdefault(stream, []).append((seq, seq))
    return Sorted(dict(sorted(first.items())), repeated, stored, announced)


def summed(
    work: Sorted, fresh: set[tuple[Stream, int]], accounts: Mapping[Stream, Account], contradictions: int
) -> Stored:
    """*fresh*: the names that were new."""
    new: dict[Stream, int] = {}
    old: dict[Stream, int] = {}
    for name in work.envelopes:
        counts = new if name in fresh else old
        counts[name[0]] = counts.get(name[0], 0) + 1
    for arrival in work.repeated:
        old[arrival.stream] = old.get(arrival.stream, 0) + 1
        contradictions += arrival.items != work.envelopes[arrival.stream, arrival.seq].items
    added = [work.envelopes[name] for name in fresh]
    readings, gaps = sum(len(each.readings) for each in added), sum(len(each.announced) for each in added)
    return Stored(accounts, new, old, readings, gaps, contradictions)
