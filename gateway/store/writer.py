"""The writer: everything that happens on the one writing connection, in the one thread that owns it.

A transaction works on a copy of what is known of the lanes; the copy replaces it when COMMIT has returned.  So the
event loop may read ``lanes`` and ``cursors`` at any time, and a transaction that fails leaves nothing behind.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import structlog

from gateway.clock import Clock
from gateway.envelope import Draft, Encoder, Envelope
from gateway.errors import StoreCorrupt, StoreFull
from gateway.model import Gap, Lane
from gateway.store.database import code_of, connect, pragma
from gateway.store.disk import Disk, used_bytes
from gateway.store.lanes import (
    Cursors,
    Held,
    Mark,
    StoreStats,
    cursor_crc,
    load_cursors,
    load_epoch,
    load_lanes,
    state_crc,
    survey,
)
from gateway.store.retention import Extent, announcements, cuts, merged
from gateway.store.rows import COLUMNS, PAGE_BYTES, Row, envelope, footprint, intact, pages_for, sealed

log = structlog.get_logger()

_EVICTION_SHARE = 64
"""An eviction frees this part of the file beyond what is needed, so that it is rare and its announcements are few."""
_GAP_PAGES = 4
"""Room for the announcement of an eviction."""
_START_AGAIN = "start the daemon again: it salvages what it can"


class Writer:
    def __init__(
        self,
        path: Path,
        disk: Disk,
        *,
        boot_id: str,
        uplinks: Sequence[str],
        cursors: Cursors,
        clock: Clock,
        on_commit: Callable[[], None],
    ) -> None:
        """*cursors*: acknowledged so far, shared with the event loop, which raises them; filled here from the file.

        Raises sqlite3.Error, StoreCorrupt.
        """
        self._path = path
        self._disk = disk
        self._boot_id = boot_id
        self._uplinks = tuple(uplinks)
        self._clock = clock
        self._on_commit = on_commit
        self._encoder = Encoder({})
        self._cursors = cursors
        self.connection = connect(path, disk.limits)
        opened = False
        try:
            self.epoch = load_epoch(self.connection)
            self.lanes: Mapping[Lane, Held] = load_lanes(self.connection, self.epoch)
            self._saved_cursors = self._adopt_cursors()
            opened = True
        finally:
            if not opened:
                self.connection.close()

    def _adopt_cursors(self) -> Cursors:
        """Forget uplinks that are no longer configured; a new one starts at 0."""
        saved = load_cursors(self.connection, self.epoch)
        for gone in {uplink for uplink, _ in saved} - set(self._uplinks):
            self.connection.execute("DELETE FROM cursor WHERE uplink = ?", (gone,))
        for uplink in self._uplinks:
            for lane in Lane:
                key = uplink, lane
                self._cursors[key] = max(saved.get(key, 0), self._cursors.get(key, 0))
        return {key: seq for key, seq in saved.items() if key in self._cursors}

    # ------------------------------------------------------------------ write

    def commit(self, drafts: Sequence[Draft], state: Mapping[str, bytes | None]) -> Sequence[Envelope]:
        """Raises StoreFull, StoreCorrupt, sqlite3.Error."""
        try:
            return self._transaction(drafts, state, ())
        except sqlite3.OperationalError as exc:
            if code_of(exc) != sqlite3.SQLITE_FULL or not self._disk.release_ballast():
                raise
        # The blocks just freed let the log be emptied; from now on evictions make room inside the file.
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return self._transaction(drafts, state, ())

    def flush(self) -> None:
        """Make the cursors durable."""
        if self._changed_cursors():
            self._transaction((), {}, ())

    def _transaction(
        self, drafts: Sequence[Draft], state: Mapping[str, bytes | None], graves: Sequence[tuple[Lane, Row]]
    ) -> Sequence[Envelope]:
        connection = self.connection
        self._check_file()
        lanes = dict(self.lanes)
        cursors = self._changed_cursors()
        connection.execute("BEGIN IMMEDIATE")
        try:
            gaps = self._make_room(lanes, self._pages_needed(drafts, state))
            rows = [self._append(lanes, draft) for draft in (*drafts, *self._announcement(gaps))]
            self._insert(rows)
            self._bury(lanes, graves)
            self._save(state, cursors)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.rollback()
        self.lanes = lanes
        self._saved_cursors |= cursors
        self._on_commit()
        for gap in gaps:
            log.warning("store full, envelopes dropped", lane=str(gap.lane), first=gap.from_seq, last=gap.to_seq)
        self._disk.hold_ballast()
        return [envelope(self.epoch, lane, row) for lane, row in rows[: len(drafts)]]

    def rewrite(
        self, lane: Lane, after: int, limit: int, change: Callable[[Row], Row | None]
    ) -> tuple[int | None, int]:
        """Let *change* correct rows in place, the next *limit* after *after*, in one transaction; see restamp.py.

        Returns where to go on, None at the end, and how many it changed.  Damaged rows are left to ``after``.
        """
        rows = [
            Row._make(values)
            for values in self.connection.execute(
                f"SELECT {COLUMNS} FROM {lane} WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            )
        ]
        changes = [change(row) for row in rows if intact(self.epoch, lane, row) and row.items]
        changed = [sealed(self.epoch, lane, row) for row in changes if row is not None]
        if changed:
            self._replace(lane, changed)
        return rows[-1].seq if len(rows) == limit else None, len(changed)

    def _replace(self, lane: Lane, rows: Sequence[Row]) -> None:
        self._check_file()
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            self.connection.executemany(
                f"UPDATE {lane} SET items = ?, from_ms = ?, to_ms = ?, crc = ? WHERE seq = ?",
                [(row.items, row.from_ms, row.to_ms, row.crc, row.seq) for row in rows],
            )
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.rollback()
        self._on_commit()

    def _check_file(self) -> None:
        """SQLite would go on writing into a file that somebody has deleted, and all of it would be lost at the end."""
        if not self._path.exists():
            raise StoreCorrupt(f"{self._path} has been removed", hint="start the daemon again: it makes a new store")

    def _changed_cursors(self) -> Cursors:
        return {key: seq for key, seq in self._cursors.copy().items() if seq != self._saved_cursors.get(key)}

    def _append(self, lanes: dict[Lane, Held], draft: Draft) -> tuple[Lane, Row]:
        held = lanes[draft.lane]
        last = Mark(
            held.last.seq + 1,
            held.last.items + draft.count,
            held.last.bytes + footprint(self._boot_id, draft.items),
        )
        lanes[draft.lane] = replace(held, last=last)
        row = Row(
            last.seq, self._boot_id, draft.items, draft.count, draft.from_ms, draft.to_ms, last.items, last.bytes, 0
        )
        return draft.lane, sealed(self.epoch, draft.lane, row)

    def _insert(self, rows: Sequence[tuple[Lane, Row]]) -> None:
        by_lane: dict[Lane, list[Row]] = defaultdict(list)
        for lane, row in rows:
            by_lane[lane].append(row)
        for lane, lane_rows in by_lane.items():
            self.connection.executemany(f"INSERT INTO {lane} ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", lane_rows)

    def _save(self, state: Mapping[str, bytes | None], cursors: Cursors) -> None:
        for key, value in state.items():
            if value is None:
                self.connection.execute("DELETE FROM state WHERE key = ?", (key,))
            else:
                self.connection.execute(
                    "INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (key, value, state_crc(key, value))
                )
        self.connection.executemany(
            "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?)",
            [(uplink, lane, seq, cursor_crc(self.epoch, uplink, lane, seq)) for (uplink, lane), seq in cursors.items()],
        )

    # ------------------------------------------------------------------ make room

    def _pages_needed(self, drafts: Sequence[Draft], state: Mapping[str, bytes | None]) -> int:
        state_bytes = sum(len(key) + len(value or b"") + 32 for key, value in state.items())
        return pages_for(drafts, self._boot_id) + 2 * state_bytes // PAGE_BYTES + len(self._uplinks) + 2

    def _make_room(self, lanes: dict[Lane, Held], needed_pages: int) -> Sequence[Gap]:
        """Trim *lanes*, in the file and in place, until the pages fit; raises StoreFull when they never will."""
        size = pragma(self.connection, "page_count")
        capacity = min(self._disk.limits.file_pages, size + self._disk.spare_pages())
        if self._used_pages() + needed_pages <= capacity:
            return ()
        goal = capacity - needed_pages - _GAP_PAGES
        gaps: list[Gap] = []
        surplus = self._used_pages() - goal + capacity // _EVICTION_SHARE
        while surplus > 0:
            trims = cuts([self._extent(lane, held) for lane, held in lanes.items()], surplus * PAGE_BYTES)
            if not trims:
                raise StoreFull(
                    f"no room for {needed_pages} pages of {PAGE_BYTES} bytes",
                    hint="free space on the disk, or raise store.budget",
                )
            for lane, upto in trims.items():
                gaps += self._trim(lanes, lane, upto)
            surplus = self._used_pages() - goal
        return merged(gaps)

    def _used_pages(self) -> int:
        return pragma(self.connection, "page_count") - pragma(self.connection, "freelist_count")

    def _extent(self, lane: Lane, held: Held) -> Extent:
        def size(seq: int) -> int:
            return self._mark(lane, held, seq).bytes - held.trimmed.bytes

        return Extent(lane, held.trimmed.seq, self._acknowledged(lane, held), held.last.seq, size)

    def _acknowledged(self, lane: Lane, held: Held) -> int:
        """Up to where every uplink has; without uplinks nobody waits for anything."""
        lowest = min((self._cursors[uplink, lane] for uplink in self._uplinks), default=held.last.seq)
        return min(max(lowest, held.trimmed.seq), held.last.seq)

    def _mark(self, lane: Lane, held: Held, seq: int) -> Mark:
        for known in (held.trimmed, held.last):
            if seq == known.seq:
                return known
        row = self._row(lane, seq)
        return Mark(seq, row.total_records, row.total_bytes)

    def _row(self, lane: Lane, seq: int) -> Row:
        found = self.connection.execute(f"SELECT {COLUMNS} FROM {lane} WHERE seq = ?", (seq,)).fetchone()
        if found is None or not intact(self.epoch, lane, row := Row._make(found)):
            raise StoreCorrupt(f"{lane} {seq} is damaged", hint=_START_AGAIN)
        return row

    def _trim(self, lanes: dict[Lane, Held], lane: Lane, upto: int) -> Sequence[Gap]:
        """Delete the rows up to *upto*; what somebody still waited for is to be announced."""
        held = lanes[lane]
        after = replace(held, trimmed=self._mark(lane, held, upto))
        gaps: list[Gap] = []
        first_lost = self._acknowledged(lane, held) + 1
        if first_lost <= upto:
            first, last = self._row(lane, first_lost), self._row(lane, upto)
            items = last.total_records - first.total_records + first.records
            gaps.append(Gap("store_full", first.from_ms, last.to_ms, lane, first_lost, upto, items))
            gaps += self._announced_in(lane, first_lost, upto)
            after = replace(
                after, evicted=held.evicted + upto - first_lost + 1, evicted_items=held.evicted_items + items
            )
        self.connection.execute(f"DELETE FROM {lane} WHERE seq <= ?", (upto,))
        self._save_lane(lane, after)
        lanes[lane] = after
        return gaps

    def _announced_in(self, lane: Lane, first: int, last: int) -> Sequence[Gap]:
        if lane is not Lane.GAP:
            return ()
        return [gap for seq in range(first, last + 1) for gap in announcements(self._row(lane, seq).items or b"[]")]

    def _save_lane(self, lane: Lane, held: Held) -> None:
        mark = held.trimmed
        self.connection.execute(
            "INSERT OR REPLACE INTO lane VALUES (?, ?, ?, ?, ?, ?, ?)",
            (lane, mark.seq, mark.items, mark.bytes, held.evicted, held.evicted_items, held.damaged),
        )

    def _announcement(self, gaps: Sequence[Gap]) -> Iterator[Draft]:
        return self._encoder.drafts(Lane.GAP, gaps, self._clock.state())

    # ------------------------------------------------------------------ read

    def after(self, lane: Lane, seq: int, limit: int, end: int | None = None) -> Sequence[Envelope]:
        """*end*: the last number to look at, where that is not the last one there is.

        Raises StoreCorrupt, sqlite3.Error; StoreFull when damage was found and cannot be announced.
        """
        while seq < (last := self.lanes[lane].last.seq if end is None else end):
            rows = self.connection.execute(
                f"SELECT {COLUMNS} FROM {lane} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (seq, last, limit)
            ).fetchall()
            good, seq = self._checked(lane, seq, rows, limit, last)
            # An empty row stands for a damaged one that has been announced.
            envelopes = [envelope(self.epoch, lane, row) for row in good if row.items]
            if envelopes:
                return envelopes
        return ()

    def state(self) -> Mapping[str, bytes]:
        good = {}
        for key, value, crc in self.connection.execute("SELECT key, value, crc FROM state"):
            if state_crc(key, value) == crc:
                good[key] = value
            else:
                log.error("saved state is damaged and ignored", key=key)
        return good

    def stats(self) -> StoreStats:
        lanes = survey(self.connection, self.lanes, self._cursors, self._uplinks)
        return StoreStats(self.epoch, lanes, used_bytes(self._path.parent), self._disk.limits.budget_bytes)

    def _checked(self, lane: Lane, seq: int, found: Sequence[Any], limit: int, end: int) -> tuple[Sequence[Row], int]:
        """The intact rows, and up to where they reach; the others, up to *end*, are replaced and announced first."""
        held = self.lanes[lane]
        rows = map(Row._make, found)
        good = {row.seq: row for row in rows if intact(self.epoch, lane, row)}
        first = max(seq, held.trimmed.seq) + 1
        last = max(end, held.trimmed.seq) if len(found) < limit else max(good, default=first + limit - 1)
        if len(good) != last - first + 1:
            self._replace_damaged(lane, good, first, last, limit)
        # Sorted: the pages of a damaged table may come in any order.
        return [good[number] for number in sorted(good)], last

    def _replace_damaged(self, lane: Lane, good: Mapping[int, Row], first: int, last: int, limit: int) -> None:
        if last - first + 1 - len(good) > limit:
            raise StoreCorrupt(f"rows of lane {lane} are missing", hint=_START_AGAIN)
        missing = [number for number in range(first, last + 1) if number not in good]
        gaps: list[Gap] = []
        graves: list[tuple[Lane, Row]] = []
        for _, run in groupby(enumerate(missing), key=lambda pair: pair[1] - pair[0]):
            numbers = [number for _, number in run]
            gap, grave = self._grave(lane, good, numbers[0], numbers[-1])
            gaps.append(gap)
            graves += [(lane, sealed(self.epoch, lane, grave._replace(seq=number))) for number in numbers]
        log.error("damaged envelopes found", lane=str(lane), seqs=missing)
        self._transaction(list(self._announcement(gaps)), {}, graves)

    def _grave(self, lane: Lane, good: Mapping[int, Row], first: int, last: int) -> tuple[Gap, Row]:
        """The announcement of the damaged rows first..last, and what is put in their place.

        What they contained follows from the totals of their neighbours.
        """
        held = self.lanes[lane]
        through, to_ms = held.last, self._clock.now_ms()
        if last != held.last.seq:
            heir = good.get(last + 1) or self._row(lane, last + 1)
            size = footprint(heir.boot_id, heir.items) if heir.items else 0
            through, to_ms = Mark(last, heir.total_records - heir.records, heir.total_bytes - size), heir.from_ms
        from_ms = min(good[first - 1].to_ms, to_ms) if first - 1 in good else to_ms
        lost_items = through.items - self._mark(lane, held, first - 1).items
        gap = Gap("store_damaged", from_ms, to_ms, lane, first, last, lost_items)
        return gap, Row(0, self._boot_id, b"", 0, from_ms, to_ms, through.items, through.bytes, 0)

    def _bury(self, lanes: dict[Lane, Held], graves: Sequence[tuple[Lane, Row]]) -> None:
        for lane, row in graves:
            if row.seq <= lanes[lane].trimmed.seq:
                continue
            self.connection.execute(
                f"INSERT OR REPLACE INTO {lane} ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )
            lanes[lane] = replace(lanes[lane], damaged=lanes[lane].damaged + 1)
        for lane in {lane for lane, _ in graves}:
            self._save_lane(lane, lanes[lane])

    def close(self) -> None:
        self.connection.close()
