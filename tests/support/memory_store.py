"""The store's promises to an uplink, kept in memory: committed envelopes, cursors, a commit counter."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from gateway.envelope import Envelope
from gateway.errors import StoreError
from gateway.model import Lane


class MemoryStore:
    def __init__(self, epoch: str = "epoch-1") -> None:
        self.epoch = epoch
        self.lanes: dict[Lane, list[Envelope]] = {lane: [] for lane in Lane}
        self.cursors: dict[tuple[str, Lane], int] = {}
        self.acknowledgements: list[dict[Lane, int]] = []
        self.page_sizes: list[int] = []
        self.unreadable = False
        self._commits = 0
        self._committed = asyncio.Event()

    def append(
        self, lane: Lane, count: int = 1, *, items: bytes | None = None, filler_bytes: int = 0
    ) -> list[Envelope]:
        """Commit *count* envelopes at once; each holds its own number, so that a mix-up is seen."""
        new: list[Envelope] = []
        for _ in range(count):
            seq = self.last_seq(lane) + 1
            body = items or json.dumps([{"lane": lane, "n": seq, "fill": "x" * filler_bytes}]).encode()
            new.append(Envelope(self.epoch, lane, seq, "boot-1", body, 1, 1_000 + seq, 1_000 + seq))
            self.lanes[lane].append(new[-1])
        self._commits += 1
        self._committed.set()
        self._committed = asyncio.Event()
        return new

    def drop(self, lane: Lane, from_seq: int, to_seq: int) -> None:
        """As eviction does: these numbers will never be read again."""
        self.lanes[lane] = [one for one in self.lanes[lane] if not from_seq <= one.seq <= to_seq]

    async def after(self, lane: Lane, seq: int, limit: int) -> Sequence[Envelope]:
        await asyncio.sleep(0)  # the real one asks another thread
        if self.unreadable:
            raise StoreError("disk I/O error", hint="look at the disk")
        rows = self.lanes[lane]
        first = bisect_right(rows, seq, key=lambda row: row.seq)
        page = rows[first : first + limit]
        self.page_sizes.append(len(page))
        return page

    def cursor(self, uplink: str, lane: Lane) -> int:
        return self.cursors.get((uplink, lane), 0)

    def last_seq(self, lane: Lane) -> int:
        return self.lanes[lane][-1].seq if self.lanes[lane] else 0

    async def acknowledge(self, uplink: str, upto: Mapping[Lane, int]) -> None:
        await asyncio.sleep(0)
        self.acknowledgements.append(dict(upto))
        for lane, seq in upto.items():
            assert seq > self.cursor(uplink, lane), "a cursor never stands still or goes back"
            self.cursors[uplink, lane] = seq

    async def wait_for_commit(self, seen: int) -> int:
        while self._commits <= seen:
            await self._committed.wait()
        return self._commits
