"""A token bucket: how much may go now.  Pure."""

from __future__ import annotations


class Bucket:
    """*rate* a second over time, and at most *burst* at once; one second's worth without it.

    now_s, everywhere: monotonic.
    """

    __slots__ = ("_at_s", "_burst", "_tokens", "rate")

    def __init__(self, rate: float, burst: float | None = None) -> None:
        self.rate = rate
        self._burst = burst
        self._tokens = self._most()
        self._at_s: float | None = None

    def ready(self, now_s: float) -> bool:
        """Whether one may go."""
        if self._at_s is not None:
            self._tokens = min(self._most(), self._tokens + max(0.0, now_s - self._at_s) * self.rate)
        self._at_s = now_s
        return self._tokens >= 1.0

    def spend(self) -> None:
        """One goes, as ``ready`` has allowed."""
        self._tokens -= 1.0

    def take(self, now_s: float) -> bool:
        """One goes, if it may."""
        if not self.ready(now_s):
            return False
        self.spend()
        return True

    def wait_s(self) -> float:
        """From the last ``ready`` until the next may go."""
        return max(0.0, (1.0 - self._tokens) / self.rate)

    def _most(self) -> float:
        return max(1.0, self.rate) if self._burst is None else self._burst
