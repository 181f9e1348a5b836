"""The store's promises to an uplink, in memory: a fleet of hundreds has no disk of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from gateway.envelope import Draft, Envelope
from gateway.model import Lane


class FleetLog:
    """Forgets what its uplink has settled.  When *capacity* envelopes wait, nothing more is taken: unlike a real store
    it evicts nothing, so that every number it ever gave out can be asked for at the end."""

    def __init__(self, epoch: str, boot_id: str, capacity: int) -> None:
        self._epoch = epoch
        self._boot_id = boot_id
        self._capacity = capacity
        self._lanes: dict[Lane, dict[int, Envelope]] = {}
        self._last: dict[Lane, int] = {}
        self._cursors: dict[Lane, int] = {}
        self._commits = 0
        self._committed = asyncio.Event()

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def waiting(self) -> int:
        """Envelopes that are not settled."""
        return sum(map(len, self._lanes.values()))

    @property
    def last(self) -> Mapping[Lane, int]:
        """The last number of each lane that has any; numbers begin with 1 and none is left out."""
        return self._last

    def append(self, draft: Draft) -> bool:
        """Commit one envelope.  False: full."""
        if self.waiting >= self._capacity:
            return False
        lane, seq = draft.lane, self.last_seq(draft.lane) + 1
        self._lanes.setdefault(lane, {})[seq] = Envelope(
            self._epoch, lane, seq, self._boot_id, draft.items, draft.count, draft.from_ms, draft.to_ms
        )
        self._last[lane] = seq
        self._commits += 1
        committed, self._committed = self._committed, asyncio.Event()
        committed.set()
        return True

    async def after(self, lane: Lane, seq: int, limit: int) -> Sequence[Envelope]:
        first = max(seq, self._cursors.get(lane, 0)) + 1
        rows = self._lanes.get(lane, {})
        return [rows[number] for number in range(first, min(first + limit, self.last_seq(lane) + 1))]

    def cursor(self, uplink: str, lane: Lane) -> int:
        return self._cursors.get(lane, 0)

    def last_seq(self, lane: Lane) -> int:
        return self._last.get(lane, 0)

    async def acknowledge(self, uplink: str, upto: Mapping[Lane, int]) -> None:
        for lane, seq in upto.items():
            rows = self._lanes[lane]
            for number in range(self._cursors.get(lane, 0) + 1, seq + 1):
                del rows[number]
            self._cursors[lane] = seq

    async def wait_for_commit(self, seen: int) -> int:
        while self._commits <= seen:
            await self._committed.wait()
        return self._commits
