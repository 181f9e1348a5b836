"""The writer: everything that happens on the one writing connection, in the one thread that owns it.

A transaction works on a copy of what is known of the lanes; the copy replaces it when COMMIT has returned.  So the
event loop may read ``lanes`` and ``cursors`` at any time, and a transaction that fails leaves nothing behind.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import groupby, takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog

from gateway.clock import Clock, ClockState
from gateway.envelope import Draft, Encoder, Envelope
from gateway.errors import StoreCorrupt, StoreError, StoreFull
from gateway.model import Gap, Lane
from gateway.store.ageing import Cutoff, Doubt, judged, old_prefix, probe_seq
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
from gateway.store.rows import COLUMNS, PAGE_BYTES, VALUES, Row, envelope, footprint, intact, pages_for, sealed
from gateway.store.thinning import LEVELS, Standing, halved, joined, packed, readings

log = structlog.get_logger()

_EVICTION_SHARE = 64
"""An eviction frees this part of the file beyond what is needed, so that it is rare and its announcements are few."""
_GAP_PAGES = 4
"""Room for the announcement of an eviction."""
_THINNED_LANE = Lane.TELEMETRY
_THINNING_BYTES = 2**20
"""Thinned at once: takes about 20 ms on the development machine, so an alarm is not held up noticeably."""
_THINNING_ROWS = 1000
_AGED_ROWS = 500
"""Deleted for their age at once."""
_PROBES = 3
_START_AGAIN = "start the daemon again: it salvages what it can"


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept for how long, and what for when there is no room."""

    shares: Mapping[Lane, float] = field(default_factory=dict)
    """Lane -> part of the file, 0..1, that its acknowledged rows may keep under pressure."""
    age_s: float | None = None
    """Acknowledged rows are deleted when they are older; None: when their room is needed."""


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
        keeping: Keeping,
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
        self._keeping = keeping
        self._standing: dict[int, Mapping[bytes, Standing]] = {}
        self._doubts: dict[Lane, Doubt] = {}
        self._encoder = Encoder({})
        self._cursors = cursors
        self.connection = connect(path, disk.limits)
        opened = False
        try:
            self.epoch = load_epoch(self.connection)
            self.lanes: Mapping[Lane, Held] = load_lanes(self.connection, self.epoch)
            self._saved_cursors = self._adopt_cursors()
            self._files = self._present_files()
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
        self,
        drafts: Sequence[Draft],
        state: Mapping[str, bytes | None],
        graves: Sequence[tuple[Lane, Row]],
        aged: Mapping[Lane, int] = MappingProxyType({}),
    ) -> Sequence[Envelope]:
        connection = self.connection
        self.check_files()
        lanes = dict(self.lanes)
        cursors = self._changed_cursors()
        connection.execute("BEGIN IMMEDIATE")
        try:
            for lane, upto in aged.items():
                self._trim(lanes, lane, upto)
            gaps = () if aged else self._make_room(lanes, self._pages_needed(drafts, state))
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
            log.warning("no room", done=gap.reason, lane=str(gap.lane), first=gap.from_seq, last=gap.to_seq)
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
        self.check_files()
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

    def check_files(self) -> None:
        """SQLite would go on writing into files that somebody has deleted, and all of it would be lost at the end.

        Raises StoreCorrupt, StoreError.
        """
        found = self._present_files()
        for path, identity in self._files.items():
            if found.get(path) != identity:
                what = "replaced" if path in found else "removed"
                raise StoreCorrupt(f"{path} has been {what}", hint="start the daemon again: it makes a new store")

    def _present_files(self) -> Mapping[Path, tuple[int, int]]:
        """Each file that holds what is accepted -> device and inode."""
        found = {}
        for path in (self._path, self._path.with_name(self._path.name + "-wal")):
            try:
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as exc:
                raise StoreError(f"{path} cannot be looked at: {exc}", hint="look at the disk") from exc
            found[path] = status.st_dev, status.st_ino
        return found

    def settle(self) -> None:
        """Bring what the log holds into the file, which fails while the disk cannot sync.  Raises sqlite3.Error.

        A transaction that was refused because it could not be synced is in the log all the same, and appears when the
        file is opened again.  Writing more before the disk works would add one with every attempt, until copies of the
        same records have pushed out everything else.
        """
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _changed_cursors(self) -> Cursors:
        return {key: seq for key, seq in self._cursors.copy().items() if seq != self._saved_cursors.get(key)}

    def _append(self, lanes: dict[Lane, Held], draft: Draft, boot_id: str = "", thinned: int = 0) -> tuple[Lane, Row]:
        """*boot_id*: of records that another start of the daemon made."""
        held, boot = lanes[draft.lane], boot_id or self._boot_id
        last = Mark(held.last.seq + 1, held.last.items + draft.count, held.last.bytes + footprint(boot, draft.items))
        lanes[draft.lane] = replace(held, last=last)
        content = (draft.items, draft.count, draft.from_ms, draft.to_ms)
        return draft.lane, sealed(
            self.epoch, draft.lane, Row(last.seq, boot, *content, last.items, last.bytes, 0, thinned)
        )

    def _insert(self, rows: Sequence[tuple[Lane, Row]]) -> None:
        by_lane: dict[Lane, list[Row]] = defaultdict(list)
        for lane, row in rows:
            by_lane[lane].append(row)
        for lane, lane_rows in by_lane.items():
            self.connection.executemany(f"INSERT INTO {lane} {VALUES}", lane_rows)

    def _save(self, state: Mapping[str, bytes | None], cursors: Cursors) -> None:
        for key, value in state.items():
            if value is None:
                self.connection.execute("DELETE FROM state WHERE key = ?", (key,))
            else:
                self.connection.execute(
                    "INSERT OR REPLACE INTO state (key, value, crc) VALUES (?, ?, ?)",
                    (key, value, state_crc(key, value)),
                )
        self.connection.executemany(
            "INSERT OR REPLACE INTO cursor (uplink, lane, seq, crc) VALUES (?, ?, ?, ?)",
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
        goal, spare = capacity - needed_pages - _GAP_PAGES, capacity // _EVICTION_SHARE
        gaps: list[Gap] = []
        thinnings = 2 + 4 * needed_pages * PAGE_BYTES // self._thinning_bytes()
        surplus = self._used_pages() - goal + spare
        while surplus > 0:
            extents = [self._extent(lane, held, thinnings > 0) for lane, held in lanes.items()]
            found = cuts(extents, surplus * PAGE_BYTES)
            if not found.upto and found.thin is None:
                raise StoreFull(
                    f"no room for {needed_pages} pages of {PAGE_BYTES} bytes",
                    hint="free space on the disk, or raise store.budget",
                )
            for lane, upto in found.upto.items():
                gaps += self._trim(lanes, lane, upto)
            surplus = self._used_pages() - goal
            if found.thin is not None and found.thin not in found.upto and surplus > 0:
                gaps.append(self._thin(lanes, found.thin))
                thinnings -= 1
                surplus = self._used_pages() - goal
                if surplus > 0 and not thinnings:  # content that cannot be thinned is dropped, and that rarely
                    surplus += spare
        return merged(gaps)

    def _used_pages(self) -> int:
        return pragma(self.connection, "page_count") - pragma(self.connection, "freelist_count")

    def _extent(self, lane: Lane, held: Held, may_thin: bool) -> Extent:
        def size(seq: int) -> int:
            return self._mark(lane, held, seq).bytes - held.trimmed.bytes

        acknowledged = self._acknowledged(lane, held)
        share_bytes = int(self._keeping.shares.get(lane, 0.0) * self._disk.limits.file_pages * PAGE_BYTES)
        droppable = self._thinned_out(lane, held, acknowledged) if may_thin and lane is _THINNED_LANE else None
        return Extent(lane, held.trimmed.seq, acknowledged, held.last.seq, size, share_bytes, droppable)

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

    # ------------------------------------------------------------------ thin

    def _thinning_bytes(self) -> int:
        return min(_THINNING_BYTES, self._disk.limits.file_pages * PAGE_BYTES // 16)

    def _thinned_out(self, lane: Lane, held: Held, after: int) -> int:
        """Up to where, at least, the rows behind *after* cannot be thinned further."""
        run = self._intact_run(lane, after, self._thinning_bytes(), _THINNING_ROWS) if after < held.last.seq else ()
        return after + sum(1 for _ in takewhile(lambda row: not _thinnable(row), run))

    def _thin(self, lanes: dict[Lane, Held], lane: Lane) -> Gap:
        """Replace the oldest rows that somebody still waits for by half of their readings, at the lane's end."""
        rows, ahead = self._oldest_waiting(lane, self._acknowledged(lane, lanes[lane]))
        level, last = rows[0].thinned, rows[-1]
        self.connection.execute(f"DELETE FROM {lane} WHERE seq <= ?", (last.seq,))
        lanes[lane] = replace(lanes[lane], trimmed=Mark(last.seq, last.total_records, last.total_bytes))
        halves = [
            (boot_id, draft)
            for boot_id, run in groupby(rows, key=lambda row: row.boot_id)
            for draft in self._halves(lane, level, list(run), ahead)
        ]
        self._insert([self._append(lanes, draft, boot_id, level + 1) for boot_id, draft in halves])
        dropped = sum(row.records for row in rows) - sum(draft.count for _, draft in halves)
        lanes[lane] = replace(lanes[lane], thinned_items=lanes[lane].thinned_items + dropped)
        self._save_lane(lane, lanes[lane])
        return Gap("thinned", *_span_ms(rows), lane, rows[0].seq, last.seq, dropped)

    def _oldest_waiting(self, lane: Lane, after: int) -> tuple[Sequence[Row], Sequence[Row]]:
        """The next rows behind *after* that were thinned equally often, not many; and about as many that follow."""
        found = self._intact_run(lane, after, 2 * self._thinning_bytes(), 2 * _THINNING_ROWS)
        count = size = 0
        for row in found[:_THINNING_ROWS]:
            if count and (row.thinned != found[0].thinned or size >= self._thinning_bytes() or not _thinnable(row)):
                break
            count, size = count + 1, size + len(row.items)
        return found[:count], found[count:]

    def _intact_run(self, lane: Lane, after: int, limit_bytes: int, limit_rows: int) -> Sequence[Row]:
        """The next rows, at least one, until one is damaged.  Raises StoreCorrupt when that is the first."""
        rows = [self._row(lane, after + 1)]
        size = len(rows[0].items)
        for values in self.connection.execute(
            f"SELECT {COLUMNS} FROM {lane} WHERE seq > ? ORDER BY seq LIMIT ?", (after + 1, limit_rows)
        ):
            row = Row._make(values)
            if size >= limit_bytes or not intact(self.epoch, lane, row):
                break
            rows.append(row)
            size += len(row.items)
        return rows

    def _halves(self, lane: Lane, level: int, rows: Sequence[Row], ahead: Sequence[Row]) -> Iterator[Draft]:
        kept, self._standing[level] = halved(
            [readings(row.items) for row in rows],
            (readings(row.items) for row in ahead if _made_of_readings(row)),
            self._standing.get(level, {}),
        )
        for group in packed(kept):
            yield Draft(lane, joined(group), len(group), *_span_ms(rows))

    # ------------------------------------------------------------------ grow old

    def forget_old(self) -> bool:
        """Delete some of what every uplink has and is too old; whether there may be more to delete at once.

        Raises StoreCorrupt, StoreFull, sqlite3.Error.
        """
        if self._keeping.age_s is None or self._clock.state() is not ClockState.SYNCED:
            self._doubts.clear()
            return False
        now_ms = self._clock.now_ms()
        cutoff = Cutoff(now_ms - round(self._keeping.age_s * 1000), now_ms)
        more = False
        for lane, held in self.lanes.items():
            upto = self._aged(lane, held, cutoff)
            if upto is not None:
                self._transaction((), {}, (), {lane: upto})
                more = more or upto - held.trimmed.seq >= _AGED_ROWS
        return more

    def _aged(self, lane: Lane, held: Held, cutoff: Cutoff) -> int | None:
        """Up to where the lane's rows are too old and may go."""
        acknowledged = self._acknowledged(lane, held)
        probe = probe_seq(held.trimmed.seq, held.last.seq)
        unusual = any(cutoff.old(to_ms) for _, to_ms in self._times(lane, probe - 1, acknowledged, _PROBES))
        known = self._doubts.pop(lane, None)
        allowed, doubt = judged(unusual, known, self._clock.monotonic_s())
        if doubt is not None:
            self._doubts[lane] = doubt
        if doubt is not None and known is None:
            log.warning("much is too old at once, looked at again before it is deleted", lane=str(lane))
        return old_prefix(self._times(lane, held.trimmed.seq, acknowledged, _AGED_ROWS), cutoff) if allowed else None

    def _times(self, lane: Lane, after: int, upto: int, limit: int) -> Sequence[tuple[int, int]]:
        return self.connection.execute(
            f"SELECT seq, to_ms FROM {lane} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (after, upto, limit)
        ).fetchall()

    def _announced_in(self, lane: Lane, first: int, last: int) -> Sequence[Gap]:
        if lane is not Lane.GAP:
            return ()
        return [gap for seq in range(first, last + 1) for gap in announcements(self._row(lane, seq).items or b"[]")]

    def _save_lane(self, lane: Lane, held: Held) -> None:
        mark = held.trimmed
        self.connection.execute(
            "INSERT OR REPLACE INTO lane (name, seq, total_records, total_bytes, evicted, evicted_records, damaged,"
            " thinned_records) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (lane, *astuple(mark), held.evicted, held.evicted_items, held.damaged, held.thinned_items),
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
            self.connection.execute(f"INSERT OR REPLACE INTO {lane} {VALUES}", row)
            lanes[lane] = replace(lanes[lane], damaged=lanes[lane].damaged + 1)
        for lane in {lane for lane, _ in graves}:
            self._save_lane(lane, lanes[lane])

    def close(self) -> None:
        self.connection.close()


def _thinnable(row: Row) -> bool:
    return row.thinned < LEVELS and _made_of_readings(row)


def _made_of_readings(row: Row) -> bool:
    """Not so a row that stands for a damaged one: it is empty."""
    return len(readings(row.items)) == row.records > 0


def _span_ms(rows: Sequence[Row]) -> tuple[int, int]:
    return min(row.from_ms for row in rows), max(row.to_ms for row in rows)
