"""Which device is asked next on one line.  Pure: time is a parameter, seconds of any monotonic clock.

Every job has a fixed grid, ``start + n * interval``; a turn that comes late skips grid points and never shifts them.
Of the jobs that are due, the one whose interval ends first goes first.  A device that does not answer leaves the
grid; it is probed after a back-off, and probes together may spend only a small share of the line, unless the line
would be idle anyway.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.model import PointId


@dataclass(frozen=True, slots=True)
class Job:
    """Points of one device that are read together."""

    device: str
    points: tuple[PointId, ...]
    interval_s: float


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a silent device is left alone: doubling from *first_s* to *cap_s*, each time ± *jitter*."""

    first_s: float = 2.0
    cap_s: float = 60.0
    jitter: float = 0.2

    def delay_s(self, failures: int, rng: random.Random) -> float:
        return min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 30)) * rng.uniform(
            1 - self.jitter, 1 + self.jitter
        )


PROBE_SHARE = 0.05
"""Part of a busy line that questions to silent devices may take."""


@dataclass(slots=True)
class _Slot:
    job: Job
    due_s: float
    skipped: int = 0


@dataclass(slots=True)
class _Silent:
    failures: int
    retry_s: float
    cost_s: float
    """What the last attempt cost; the next one is expected to cost the same."""


@dataclass(slots=True)
class LineSchedule:
    jobs: Sequence[Job]
    start_s: float
    rng: random.Random
    backoff: Backoff = field(default_factory=Backoff)
    _slots: dict[Job, _Slot] = field(init=False)
    _silent: dict[str, _Silent] = field(init=False, default_factory=dict)
    _credit_s: float = field(init=False, default=0.0)
    """Probe time earned and not yet spent; negative while the line recovers from a costly silence."""
    _credit_at_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._slots = {job: _Slot(job, self.start_s) for job in self.jobs}
        self._credit_at_s = self.start_s

    def next(self, now_s: float) -> Job | float:
        """The job to do now, or how many seconds to wait before asking again (infinity: nothing to do)."""
        healthy = self._most_urgent(now_s)
        probe = min(self._probes(), key=lambda slot: self._silent[slot.job.device].retry_s, default=None)
        if probe is not None and self._may_probe(probe, healthy, now_s):
            return probe.job
        if healthy is not None and healthy.due_s <= now_s:
            return healthy.job
        waits = [slot.due_s - now_s for slot in (healthy,) if slot is not None]
        if probe is not None:
            waits.append(max(self._silent[probe.job.device].retry_s - now_s, 0.05))
        return min(waits, default=math.inf)

    def succeeded(self, job: Job, now_s: float) -> None:
        """*job* was read.  Its device is back on the grid if it was not."""
        slot = self._slots[job]
        if self._silent.pop(job.device, None) is not None:
            for other in self._of(job.device):
                other.due_s = min(other.due_s, now_s)  # the device is back: read all of it now
        missed = math.floor((now_s - slot.due_s) / job.interval_s)
        slot.skipped += max(missed, 0)
        slot.due_s += (max(missed, 0) + 1) * job.interval_s

    def failed(self, job: Job, now_s: float, spent_s: float) -> None:
        """*job*'s device did not answer; finding out took *spent_s* of the line."""
        self._earn(now_s)
        # Never more owed than this one attempt: finding out that many have died, and probing while the line was idle,
        # must not put off by a quarter of an hour the question whether the last of them is back.
        self._credit_s = max(self._credit_s - spent_s, -spent_s)
        before = self._silent.get(job.device)
        failures = 1 if before is None else before.failures + 1
        # never sooner than a late answer could still arrive
        delay_s = max(self.backoff.delay_s(failures, self.rng), 2.2 * spent_s)
        self._silent[job.device] = _Silent(failures, now_s + delay_s, spent_s)
        for slot in self._of(job.device):
            slot.due_s = _grid_after(slot, now_s)

    def line_restored(self, now_s: float) -> None:
        """The connection was reopened: whoever was silent because of it is asked at once."""
        for silent in self._silent.values():
            silent.retry_s = now_s
        self._credit_s = max(self._credit_s, 0.0)

    def silent(self) -> frozenset[str]:
        return frozenset(self._silent)

    def skipped(self) -> int:
        """Grid points passed over because the line was busy."""
        return sum(slot.skipped for slot in self._slots.values())

    def _most_urgent(self, now_s: float) -> _Slot | None:
        """Of the jobs that are due the one whose interval ends first; of those that are not, the next one due."""
        slots = [slot for slot in self._slots.values() if slot.job.device not in self._silent]
        due = [slot for slot in slots if slot.due_s <= now_s]
        return min(due, key=_deadline) if due else min(slots, key=_due, default=None)

    def _of(self, device: str) -> Iterable[_Slot]:
        return (slot for slot in self._slots.values() if slot.job.device == device)

    def _probes(self) -> Iterable[_Slot]:
        """One slot per silent device: its most frequent job."""
        best: dict[str, _Slot] = {}
        for slot in self._slots.values():
            device = slot.job.device
            if device in self._silent and (device not in best or slot.job.interval_s < best[device].job.interval_s):
                best[device] = slot
        return best.values()

    def _may_probe(self, slot: _Slot, healthy: _Slot | None, now_s: float) -> bool:
        silent = self._silent[slot.job.device]
        if now_s < silent.retry_s:
            return False
        if healthy is None or healthy.due_s - now_s >= silent.cost_s:
            return True  # nobody is kept waiting
        self._earn(now_s)
        return self._credit_s >= 0.0

    def _earn(self, now_s: float) -> None:
        self._credit_s = min(self._credit_s + PROBE_SHARE * (now_s - self._credit_at_s), 1.0)
        self._credit_at_s = now_s


def _due(slot: _Slot) -> float:
    return slot.due_s


def _deadline(slot: _Slot) -> float:
    return slot.due_s + slot.job.interval_s


def _grid_after(slot: _Slot, now_s: float) -> float:
    missed = math.floor((now_s - slot.due_s) / slot.job.interval_s)
    return slot.due_s + (max(missed, -1) + 1) * slot.job.interval_s
