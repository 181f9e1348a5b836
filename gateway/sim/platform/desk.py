"""When a receipt is due.  Pure: it is told what was committed and what time it is (monotonic seconds)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.sim.account import Account, Receipt, Stream
from gateway.sim.platform.storage import Stored


@dataclass(frozen=True, slots=True)
class Patience:
    envelopes: int = 100
    """A receipt at the latest after so many new ones,"""
    seconds: float = 1.0
    """or after so long."""
    hole_s: float = 5.0
    """A number that has not come so long after a higher one is named as missing; until then it may be on its way
    (over another broker node, to another ingester, in a later batch)."""


class _Entry:
    """A stream with something to say or with a hole.  *mark*: the highest number known at *mark_s*."""

    __slots__ = ("account", "mark", "mark_s", "named_upto", "said", "unsaid", "unsaid_s", "urgent")

    def __init__(self, account: Account, now_s: float) -> None:
        self.account = account
        self.mark, self.mark_s, self.named_upto = account.last, now_s, 0
        self.said: Receipt | None = None
        self.unsaid = 0
        self.unsaid_s: float | None = None
        self.urgent = False


class Desk:
    """Remembers only streams that have something to say or a hole: its memory does not grow with what has come."""

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._entries: dict[Stream, _Entry] = {}

    @property
    def missing(self) -> int:
        """Numbers that are not settled, below ones that are."""
        return sum(last - first + 1 for entry in self._entries.values() for first, last in entry.account.missing())

    def committed(self, stored: Stored, now_s: float) -> None:
        for stream, account in stored.accounts.items():
            entry = self._entries.setdefault(stream, _Entry(account, now_s))
            entry.account = account
            entry.unsaid += stored.fresh.get(stream, 0)
            entry.urgent |= stream in stored.duplicates  # the gateway asks what has become of it
            if entry.unsaid_s is None:
                entry.unsaid_s = now_s

    def doubtful(self, now_s: float) -> Sequence[Stream]:
        """Whose holes are about to be named: another ingester may have filled them since."""
        return [
            stream
            for stream, entry in self._entries.items()
            if now_s >= entry.mark_s + self._patience.hole_s and entry.account.missing()
        ]

    def learned(self, accounts: Mapping[Stream, Account]) -> None:
        for stream, account in accounts.items():
            self._entries[stream].account = account

    def due(self, now_s: float) -> Mapping[Stream, Receipt]:
        """What should be said now.  It stays due until ``said``."""
        return dict(self._due(now_s))

    def said(self, stream: Stream, receipt: Receipt) -> None:
        entry = self._entries[stream]
        entry.said, entry.unsaid, entry.unsaid_s, entry.urgent = receipt, 0, None, False
        if not entry.account.missing():
            del self._entries[stream]

    def next_s(self) -> float | None:
        """When ``due`` should be asked again, if nothing is committed before; None: never."""
        times = [time_s for entry in self._entries.values() for time_s in self._times(entry)]
        return min(times, default=None)

    def _due(self, now_s: float) -> Iterator[tuple[Stream, Receipt]]:
        for stream, entry in self._entries.items():
            ripe = self._ripen(entry, now_s)
            if not ripe and not self._pressing(entry, now_s):
                continue
            receipt = entry.account.receipt(entry.named_upto)
            if entry.unsaid_s is not None or receipt != entry.said:
                yield stream, receipt

    def _pressing(self, entry: _Entry, now_s: float) -> bool:
        if entry.unsaid_s is None:
            return False
        waited = now_s >= entry.unsaid_s + self._patience.seconds  # the very sum that next_s tells: rounding
        return entry.urgent or waited or entry.unsaid >= self._patience.envelopes

    def _ripen(self, entry: _Entry, now_s: float) -> bool:
        """Whether more holes may be named than before."""
        if now_s < entry.mark_s + self._patience.hole_s:
            return False
        entry.named_upto, entry.mark, entry.mark_s = entry.mark, entry.account.last, now_s
        return True

    def _times(self, entry: _Entry) -> Iterator[float]:
        if entry.unsaid_s is not None:
            yield entry.unsaid_s + self._patience.seconds
        if entry.account.missing():
            yield entry.mark_s + self._patience.hole_s
