"""What one line has done with its time: the figures behind "why is meter 12 late".  Pure; times are monotonic."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

KEPT_PERIODS = 128
"""So many of a device's latest periods make its percentiles."""
_SLICE_S = 5.0
_SLICES = 12


@dataclass(slots=True)
class DeviceStats:
    """One device, since the start."""

    period_s: float
    """The shortest interval it is configured for."""
    polls: int = 0
    failures: int = 0
    cost_s: float = 0.0
    """Time of the line spent on it."""
    wasted_s: float = 0.0
    """Of that, on questions without an answer."""
    silent_since_s: float | None = None
    _read_at_s: float | None = None
    _periods: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_PERIODS))

    def read(self, now_s: float) -> None:
        """Its most frequent job is done."""
        if self._read_at_s is not None:
            self._periods.append(now_s - self._read_at_s)
        self._read_at_s = now_s

    def percentile_s(self, share: float) -> float | None:
        """The achieved period that *share* (0..1) of the latest ones do not exceed; None before there are two reads."""
        return _percentile(sorted(self._periods), share)


@dataclass(slots=True)
class LineStats:
    """The line as a whole."""

    polls: int = 0
    failures: int = 0
    busy_s: float = 0.0
    opened: int = 0
    rebuilt: int = 0
    """Of the openings, those because the line was up and nobody on it answered."""
    open: bool = False
    devices: dict[str, DeviceStats] = field(default_factory=dict)
    _first_s: float | None = None
    """When the line was used for the first time."""
    _slices: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_SLICES + 1))
    """(number of the five-second slice, busy seconds in it)"""

    def spent(self, device: str, now_s: float, seconds: float, *, answered: bool) -> None:
        """One exchange with *device* has taken *seconds* until now."""
        self.polls += 1
        self.failures += not answered
        self._busy(now_s, seconds)
        stats = self.devices[device]
        stats.polls += 1
        stats.failures += not answered
        stats.cost_s += seconds
        stats.wasted_s += 0.0 if answered else seconds

    def served(self, now_s: float, seconds: float) -> None:
        """A request from outside the schedule (a read now, a command, a scan) took *seconds*."""
        self._busy(now_s, seconds)

    def busy_1m(self, now_s: float) -> float:
        """Share of the last minute (or of the time since the first use) that the line was in use, 0..1."""
        if self._first_s is None:
            return 0.0
        oldest = math.floor(now_s / _SLICE_S) - _SLICES
        span_s = min(max(now_s - self._first_s, _SLICE_S), _SLICES * _SLICE_S)
        return min(sum(seconds for number, seconds in self._slices if number > oldest) / span_s, 1.0)

    def _busy(self, now_s: float, seconds: float) -> None:
        self.busy_s += seconds
        if self._first_s is None:
            self._first_s = now_s - seconds
        number = math.floor(now_s / _SLICE_S)
        if self._slices and self._slices[-1][0] == number:
            seconds += self._slices.pop()[1]
        self._slices.append((number, seconds))


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """Nearest rank."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None
