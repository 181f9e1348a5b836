"""One row of a lane's table: how it is sealed against bit rot, and how much of the file it takes.  Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import NamedTuple

from gateway.envelope import Draft, Envelope
from gateway.model import Lane

PAGE_BYTES = 4096
_USABLE = PAGE_BYTES - 8
"""What is left of a leaf page for cells after its header."""
_INLINE_LIMIT = PAGE_BYTES - 35
_OVERFLOW_MINIMUM = (PAGE_BYTES - 12) * 32 // 255 - 23
"""Payload up to the limit stays in the leaf page; a longer one leaves at least the minimum there and goes on in
overflow pages of its own (SQLite database file format, 1.6, cell payload overflow)."""
_ROW_OVERHEAD = 56
"""Upper bound of the columns beside boot_id and items, with the record header and the cell pointer."""


class Row(NamedTuple):
    """In the order of the columns, so that a row is both the parameters and the result of a statement."""

    seq: int
    boot_id: str
    items: bytes
    records: int
    from_ms: int
    to_ms: int
    total_records: int
    total_bytes: int
    crc: int
    thinned: int = 0
    """How often every second reading was taken out of it."""


COLUMNS = ", ".join(Row._fields)
VALUES = f"({COLUMNS}) VALUES ({', '.join('?' * len(Row._fields))})"
"""Of a statement that inserts a row."""
_ADDED_IN_2 = ("thinned",)


def columns(version: int) -> str:
    """What to select from a file of this schema version, which may be older than the program."""
    return (
        COLUMNS if version >= 2 else ", ".join(f"0 AS {name}" if name in _ADDED_IN_2 else name for name in Row._fields)
    )


def seal(epoch: str, lane: Lane, row: Row) -> int:
    """CRC-32 over everything the row says and where it belongs; as in version 1 for a row that is not thinned."""
    head = f"{epoch} {lane} {row.seq} {row.boot_id} {row.records} {row.from_ms} {row.to_ms} "
    head += f"{row.total_records} {row.total_bytes} "
    if row.thinned:
        head += f"{row.thinned} "
    return zlib.crc32(row.items, zlib.crc32(head.encode()))


def sealed(epoch: str, lane: Lane, row: Row) -> Row:
    return row._replace(crc=seal(epoch, lane, row))


def intact(epoch: str, lane: Lane, row: Row) -> bool:
    """A flipped bit may have changed the type of a column too."""
    return isinstance(row.items, bytes) and seal(epoch, lane, row) == row.crc


def envelope(epoch: str, lane: Lane, row: Row) -> Envelope:
    return Envelope(epoch, lane, row.seq, row.boot_id, row.items, row.records, row.from_ms, row.to_ms)


def footprint(boot_id: str, items: bytes) -> int:
    """Bytes of the file that a row takes, if its neighbours are like it."""
    local, overflow = _split(len(items) + len(boot_id) + _ROW_OVERHEAD)
    return _USABLE // (_USABLE // local) + overflow * PAGE_BYTES


def pages_for(drafts: Iterable[Draft], boot_id: str) -> int:
    """Upper bound of the pages that appending these drafts can add to the file."""
    inline: dict[Lane, list[int]] = {}
    overflow = 0
    for draft in drafts:
        local, more = _split(len(draft.items) + len(boot_id) + _ROW_OVERHEAD)
        inline.setdefault(draft.lane, []).append(local)
        overflow += more
    # Appended rows start a new leaf only when they do not fit: two neighbouring leaves hold more than one page's worth.
    leaves = sum(min(len(sizes), 2 * sum(sizes) // _USABLE + 1) for sizes in inline.values())
    interior = sum(2 + len(sizes) // 100 for sizes in inline.values())
    return overflow + leaves + interior


def local_bytes(payload: int) -> int:
    """How much of a row's content stays in its leaf page."""
    return _split(payload)[0]


def _split(payload: int) -> tuple[int, int]:
    """Bytes in the leaf page, overflow pages."""
    if payload <= _INLINE_LIMIT:
        return payload, 0
    rest = PAGE_BYTES - 4
    local = _OVERFLOW_MINIMUM + (payload - _OVERFLOW_MINIMUM) % rest
    if local > _INLINE_LIMIT:
        local = _OVERFLOW_MINIMUM
    return local, -(-(payload - local) // rest)
