"""A set of whole numbers kept as runs, and a token bucket: what the window counts with.  Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Ranges:
    """Whole numbers, in disjoint runs that do not touch.  As small as there are runs, however long they are."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, first: int, last: int) -> None:
        """All of first .. last; nothing when last < first."""
        if last < first:
            return
        low = bisect_left(self._ends, first - 1)
        high = bisect_right(self._starts, last + 1)
        if low < high:
            first, last = min(first, self._starts[low]), max(last, self._ends[high - 1])
        self._starts[low:high] = [first]
        self._ends[low:high] = [last]

    def __contains__(self, number: int) -> bool:
        place = bisect_left(self._ends, number)
        return place < len(self._ends) and self._starts[place] <= number

    def take_run_after(self, number: int) -> int:
        """Remove what is at or below *number*, and the run that goes on from it; its end, else *number* itself."""
        while self._starts and self._starts[0] <= number + 1:
            number = max(number, self._ends[0])
            del self._starts[0], self._ends[0]
        return number

    def runs(self) -> list[tuple[int, int]]:
        return list(zip(self._starts, self._ends, strict=True))


class Bucket:
    """How much may go now: *rate* a second, and up to one second's worth at once."""

    __slots__ = ("_at_s", "_tokens", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._tokens = max(1.0, rate)
        self._at_s: float | None = None

    def ready(self, now_s: float) -> bool:
        """*now_s*: monotonic."""
        if self._at_s is not None:
            self._tokens = min(max(1.0, self.rate), self._tokens + (now_s - self._at_s) * self.rate)
        self._at_s = now_s
        return self._tokens >= 1.0

    def take(self) -> None:
        self._tokens -= 1.0

    def wait_s(self) -> float:
        """From the last ``ready`` until the next may go."""
        return max(0.0, (1.0 - self._tokens) / self.rate)
