"""Reads what SQLite does not tell: whether a damaged write-ahead log lost transactions that were on disk.

SQLite replays the log up to the first frame that does not check and silently forgets the rest.  After a power cut that
is right for the one transaction being written; after bit rot it drops commits that had been accepted, and their
sequence numbers would be given away a second time.  Format: SQLite "WAL-mode file format", 1-3.  Pure.
"""

from __future__ import annotations

import struct

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = (0x377F0682, 0x377F0683)


def lost_commits(wal: bytes, valid_frames: int) -> int:
    """How many commit marks of the log's present generation stand behind the *valid_frames* that SQLite accepted.

    One may belong to the transaction that a power cut tore: each is synced before the next is begun.  Two are damage.
    An unreadable header hides the whole log; then every mark counts double.
    """
    if len(wal) < _HEADER.size + _FRAME.size:
        return 0
    page_bytes = _HEADER.unpack_from(wal)[2]
    whole = _header_checks(wal)
    if not whole:
        page_bytes = 4096
    first = _FRAME.unpack_from(wal, _HEADER.size)
    salts = _HEADER.unpack_from(wal)[4:6] if whole else first[2:4]
    marks = 0
    for number, offset in enumerate(range(_HEADER.size, len(wal) - _FRAME.size + 1, _FRAME.size + page_bytes)):
        _, pages_after_commit, *found = _FRAME.unpack_from(wal, offset)
        if number >= valid_frames and tuple(found[:2]) == tuple(salts) and pages_after_commit:
            marks += 1
    return marks if whole else 2 * marks


def _header_checks(wal: bytes) -> bool:
    magic, *_, sum_1, sum_2 = _HEADER.unpack_from(wal)
    if magic not in _MAGIC:
        return False
    words = struct.unpack_from(">6I" if magic & 1 else "<6I", wal)
    a = b = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        a = (a + even + b) & 0xFFFFFFFF
        b = (b + odd + a) & 0xFFFFFFFF
    return (a, b) == (sum_1, sum_2)
