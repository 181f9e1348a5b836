"""Finds rows in a file that SQLite can no longer read: page by page, whatever the tree above them has become.

A row proves itself: its checksum covers the epoch, the lane and its number.  So pages need not be reachable, nor in
use; a leaf that was freed may still hold rows that were deleted, and to deliver those again costs duplicates.
Format: SQLite database file format, 1.5 (b-tree pages), 1.6 (overflow), 2.1 (records), and 4.1 (log).  Only reads.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from gateway.model import Lane
from gateway.store.lanes import Cursors, cursor_crc, state_crc
from gateway.store.rows import PAGE_BYTES, Row, intact, local_bytes

_TABLE_LEAF, _INDEX_LEAF = 0x0D, 0x0A
_LOG_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)
"""By serial type."""
_ROW_COLUMNS = (9, 10)
"""In schema version 1, and from 2 on."""
_LARGEST_PAYLOAD = 2**20
_PAGES_AT_A_TIME = 64

Value = int | str | bytes | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell is: the file, the offset of the page in it, and the cell's own in the page."""

    descriptor: int
    page_at: int
    cell_at: int


@dataclass(slots=True)
class Carving:
    """What has been found and checks."""

    rows: dict[Lane, dict[int, Place]] = field(default_factory=lambda: {lane: {} for lane in Lane})
    cursors: Cursors = field(default_factory=dict)
    state: dict[str, bytes] = field(default_factory=dict)


class Carver:
    """Reads ``store.db`` and its log, if there is one.  Used as a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        with ExitStack() as stack:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, self._file)
            self._log: int | None = None
            with suppress(OSError):
                self._log = os.open(path.with_name(path.name + "-wal"), os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, self._log)
            self._logged = dict(self._frames())  # page number -> offset of its latest content
            self._stack = stack.pop_all()

    def __enter__(self) -> Carver:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def epochs(self) -> set[str]:
        """What the file may call its epoch."""
        found = set()
        for _, _, page in self._pages():
            if page[0] == _INDEX_LEAF and b"epoch" in page:
                records = [self._values(page, at) for at in _cells(page)]
                found |= {str(values[1]) for values in records if len(values) == 2 and values[0] == "epoch"}
        return found

    def search(self, epoch: str, expired: Callable[[], bool]) -> Carving:
        """Everything; or what has been found when *expired* says that it is time."""
        found = Carving()
        for number, (descriptor, page_at, page) in enumerate(self._pages()):
            if number % _PAGES_AT_A_TIME == 0 and expired():
                break
            for at in _cells(page):
                if page[0] == _INDEX_LEAF:
                    _note(found, self._values(page, at), epoch)
                elif row := self._row(page, at):
                    for lane in Lane:
                        if intact(epoch, lane, row):
                            found.rows[lane][row.seq] = Place(descriptor, page_at, at)
        return found

    def row(self, place: Place) -> Row | None:
        return self._row(os.pread(place.descriptor, PAGE_BYTES, place.page_at), place.cell_at)

    # ------------------------------------------------------------------ pages

    def _pages(self) -> Iterator[tuple[int, int, bytes]]:
        """Every leaf: the file it is in, its offset there, its content.  Those of the log come last: they are newer."""
        size = os.fstat(self._file).st_size
        places = [(self._file, at) for at in range(0, size - PAGE_BYTES + 1, PAGE_BYTES)]
        places += [(self._log, at) for _, at in self._frames() if self._log is not None]
        for descriptor, at in places:
            with suppress(OSError):
                page = os.pread(descriptor, PAGE_BYTES, at)
                if len(page) == PAGE_BYTES and page[0] in (_TABLE_LEAF, _INDEX_LEAF):
                    yield descriptor, at, page

    def _frames(self) -> Iterator[tuple[int, int]]:
        """Page number and offset of its content, of each frame written since the log was last emptied."""
        if self._log is None:
            return
        step = _FRAME_HEADER_BYTES + PAGE_BYTES
        salts = b""
        for at in range(_LOG_HEADER_BYTES, os.fstat(self._log).st_size - step + 1, step):
            with suppress(OSError):
                head = os.pread(self._log, _FRAME_HEADER_BYTES, at)
                salts = salts or head[8:16]
                if head[8:16] == salts:
                    yield int.from_bytes(head[:4]), at + _FRAME_HEADER_BYTES

    def _overflow(self, number: int) -> bytes:
        at = self._logged.get(number)
        if at is not None and self._log is not None:
            return os.pread(self._log, PAGE_BYTES, at)
        return os.pread(self._file, PAGE_BYTES, (number - 1) * PAGE_BYTES) if number else b""

    # ------------------------------------------------------------------ cells

    def _row(self, page: bytes, at: int) -> Row | None:
        length, at = _varint(page, at)
        seq, at = _varint(page, at)
        values = self._record(page, at, length)
        if len(values) not in _ROW_COLUMNS or values[0] is not None:
            return None
        return Row(seq, *values[1:])  # type: ignore[arg-type]  # the checksum finds out what they are

    def _values(self, page: bytes, at: int) -> Sequence[Value]:
        length, at = _varint(page, at)
        return self._record(page, at, length)

    def _record(self, page: bytes, at: int, length: int) -> Sequence[Value]:
        """The columns; none when it makes no sense."""
        try:
            return _columns(self._payload(page, at, length))
        except (IndexError, OSError, struct.error, UnicodeDecodeError):
            return ()

    def _payload(self, page: bytes, at: int, length: int) -> bytes:
        if length > _LARGEST_PAYLOAD:
            return b""
        local = local_bytes(length) if page[0] == _TABLE_LEAF else length
        parts, missing = [page[at : at + local]], length - local
        following = page[at + local : at + local + 4]
        while missing > 0:
            more = self._overflow(struct.unpack(">I", following)[0])
            parts.append(more[4 : 4 + missing])
            if len(more) < PAGE_BYTES:
                break
            following, missing = more[:4], missing - (PAGE_BYTES - 4)
        return b"".join(parts)


def _cells(page: bytes) -> Sequence[int]:
    """Where the page says its cells are."""
    count = min(int.from_bytes(page[3:5]), (PAGE_BYTES - 8) // 4)
    offsets = struct.unpack_from(f">{count}H", page, 8)
    return [
        at for at in offsets if 8 + 2 * count <= at < PAGE_BYTES - 20 or (page[0] == _INDEX_LEAF and at < PAGE_BYTES)
    ]


def _columns(payload: bytes) -> Sequence[Value]:
    header, at = _varint(payload, 0)
    kinds = []
    while at < header:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Value] = []
    for kind in kinds:
        size = (kind - 12) // 2 if kind >= 12 else _INTEGER_BYTES[kind] if kind < 7 else 0
        raw = payload[at : at + size]
        if len(raw) < size or kind in (7, 10, 11):
            return ()
        at += size
        values.append(_value(kind, raw))
    return values


def _value(kind: int, raw: bytes) -> Value:
    if kind == 0:
        return None
    if kind in (8, 9):
        return kind - 8
    if kind < 7:
        return int.from_bytes(raw, signed=True)
    return raw.decode() if kind % 2 else raw


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number there and where it ends.  Raises IndexError."""
    value = 0
    for length in range(1, 9):
        byte = data[at + length - 1]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + length
    return value << 8 | data[at + 8], at + 9


def _note(found: Carving, values: Sequence[Value], epoch: str) -> None:
    """A cursor or a saved value that checks."""
    match values:
        case [str(uplink), str(lane), int(seq), int(crc)] if cursor_crc(epoch, uplink, lane, seq) == crc:
            key = uplink, Lane(lane)
            found.cursors[key] = max(seq, found.cursors.get(key, 0))
        case [str(key), bytes(value), int(crc)] if state_crc(key, value) == crc:
            found.state[key] = value
