"""What must outlive a power cut about one connector: transaction ids, and what has been taken already.  Pure.

A charger repeats a message until it is answered, after a new connection or a new start of its own too.  A message is
known again by what it is about, never by its card.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

MOST_STARTS, MOST_SEEN = 16, 64
CONNECTORS = 64
LAST_NUMBER = (1 << 31) // CONNECTORS - 1
"""Transaction ids are signed 32-bit numbers: number * 64 + connector, so that an id says which connector it is of."""


@dataclass(frozen=True, slots=True)
class Open:
    """A transaction that has begun and not ended."""

    id: int
    meter_start_wh: int


@dataclass(frozen=True, slots=True)
class Ledger:
    number: int = 0
    """Of the latest transaction."""
    open: Open | None = None
    starts: tuple[tuple[str, int], ...] = ()
    """Key of a StartTransaction -> the id it was given."""
    seen: tuple[str, ...] = ()
    """Keys of other messages that have been taken."""

    def to_bytes(self) -> bytes:
        opened = None if self.open is None else [self.open.id, self.open.meter_start_wh]
        return json.dumps([1, self.number, opened, self.starts, self.seen], separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Ledger:
        """Raises ValueError for what ``to_bytes`` has not made."""
        try:
            version, number, opened, starts, seen = json.loads(data)
            if version != 1:
                raise ValueError("another version")
            found = None if opened is None else Open(int(opened[0]), int(opened[1]))
            return cls(int(number), found, tuple((str(k), int(i)) for k, i in starts), tuple(map(str, seen)))
        except (TypeError, IndexError, RecursionError, UnicodeDecodeError) as exc:
            raise ValueError("not a ledger") from exc

    def id_of(self, key: str) -> int | None:
        return dict(self.starts).get(key)

    def started(self, key: str, connector: int, meter_start_wh: int) -> Ledger:
        number = self.number % LAST_NUMBER + 1
        transaction = Open(number * CONNECTORS + connector, meter_start_wh)
        starts = (*self.starts, (key, transaction.id))[-MOST_STARTS:]
        return replace(self, number=number, open=transaction, starts=starts)

    def stopped(self, transaction: int) -> Ledger:
        return replace(self, open=None) if self.open is not None and self.open.id == transaction else self

    def has(self, key: str) -> bool:
        return key in self.seen

    def saw(self, key: str) -> Ledger:
        return replace(self, seen=(*self.seen, key)[-MOST_SEEN:])


def key_of(*parts: object) -> str:
    """Short, and the same for a repetition."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()
