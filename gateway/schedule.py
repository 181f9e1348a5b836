"""Which device is asked next on one line.  Pure: time is a parameter, monotonic seconds and UTC milliseconds.

Jobs with an interval have a fixed grid, ``origin + n * interval``, origins spread over the interval so that devices
read equally often are not all due at once.  Jobs at fixed times of day follow the wall clock.  Of the jobs that are
due, the one whose interval ends first goes first; a turn is one exchange, and a long job goes on only while nothing
more urgent is due.  A turn that comes late skips grid points and never shifts them.

    due?  ──▶ periodic and fixed times, earliest deadline first
          ──▶ nothing due: spare jobs, if one exchange fits before the next periodic one and their share allows
          ──▶ silent devices: a probe after a back-off, within their share, or while nobody is kept waiting
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo

from gateway.model import PointId


@dataclass(frozen=True, slots=True)
class Job:
    """Points of one device that are read together."""

    device: str
    points: tuple[PointId, ...]
    interval_s: float
    """Between two reads; for fixed times the usual distance between them."""
    at: tuple[time, ...] = ()
    """Local times of day at which the points are read, instead of an interval."""
    spare: bool = False
    """Read only while the line would otherwise be idle, at most once per interval."""


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
SPARE_SHARE = 0.25
"""Part of the line's time that spare jobs may take, so that an idle line stays ready for commands."""
FIXED_TIME_PATIENCE_S = 60.0
"""A fixed time counts as an interval of so many seconds when it competes with others."""
_FARTHEST_MS = 26 * 3600 * 1000
"""The next of daily times is never farther away than this, daylight saving included; if it is, the clock was wrong."""
_WALL_CLOCK_CHECK_S = 20.0
"""The wall clock may be set at any moment; a fixed time that it has passed is noticed so late at most."""


def next_occurrence_ms(times: Sequence[time], after_ms: int, zone: tzinfo) -> int:
    """The first of *times* (local, at least one) later than *after_ms*, as UTC milliseconds.

    A local time that daylight saving skips or repeats occurs once.
    """
    today = datetime.fromtimestamp(after_ms / 1000, zone).date()
    found = (
        round(datetime.combine(today + timedelta(days=days), each, zone).timestamp() * 1000)
        for days in (-1, 0, 1, 2)
        for each in times
    )
    return min(each for each in found if each > after_ms)


@dataclass(slots=True)
class _Share:
    """A part of the line's time, earned as time passes and spent by exchanges."""

    share: float
    at_s: float
    credit_s: float = 0.0
    """Negative after a costly exchange, until it has been earned back."""

    def spend(self, now_s: float, seconds: float) -> None:
        """Never more owed than this one exchange: finding out that many have died, and probing while the line was idle,
        must not put off by a quarter of an hour the question whether the last of them is back."""
        self._earn(now_s)
        self.credit_s = max(self.credit_s - seconds, -seconds)

    def allows(self, now_s: float) -> bool:
        self._earn(now_s)
        return self.credit_s >= 0.0

    def _earn(self, now_s: float) -> None:
        self.credit_s = min(self.credit_s + self.share * (now_s - self.at_s), 1.0)
        self.at_s = now_s


@dataclass(slots=True)
class _Slot:
    job: Job
    origin_s: float
    """Where the job's grid begins."""
    due_s: float
    """When it is due next; meaningless for a fixed time until that has come."""
    target_ms: int | None = None
    """Of a job at fixed times: the wall-clock instant it waits for; None when it is due for another reason."""
    exchange_s: float = 0.3
    """What one exchange of it took lately."""
    skipped: int = 0

    def deadline_s(self) -> float:
        return self.due_s + (FIXED_TIME_PATIENCE_S if self.job.at else self.job.interval_s)

    def done(self, now_s: float) -> None:
        """On to the next grid point; the first read came at once, off the grid."""
        interval_s = self.job.interval_s
        late = math.floor((now_s - self.due_s) / interval_s)
        self.skipped += max(late, 0)
        self.due_s = self._grid_after(max(now_s, self.due_s + interval_s / 2))

    def missed(self, now_s: float) -> None:
        """The device was silent: the grid goes on without it, a fixed time stays due."""
        if not self.job.at:
            self.due_s = self._grid_after(now_s)

    def _grid_after(self, instant_s: float) -> float:
        """The first grid point that is later than *instant_s*, give or take rounding."""
        interval_s = self.job.interval_s
        return self.origin_s + (math.floor((instant_s - self.origin_s) / interval_s + 1e-9) + 1) * interval_s


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
    zone: tzinfo = UTC
    phase_s: float = 0.0
    """Where this line's grids begin after the start, so that many lines do not all ask in the same instant."""
    _slots: dict[Job, _Slot] = field(init=False)
    _regular: Sequence[_Slot] = field(init=False)
    _spare: Sequence[_Slot] = field(init=False)
    _fixed: Sequence[_Slot] = field(init=False)
    """Of the regular ones those at fixed times."""
    _silent: dict[str, _Silent] = field(init=False, default_factory=dict)
    _resting: dict[str, float] = field(init=False, default_factory=dict)
    """Device -> until when it is left alone although it answers."""
    _probe_time: _Share = field(init=False)
    _spare_time: _Share = field(init=False)

    def __post_init__(self) -> None:
        origins = dict(_spread(self.jobs, self.start_s + self.phase_s))
        self._slots = {job: _Slot(job, origins[job], self.start_s) for job in self.jobs}
        self._regular = [slot for slot in self._slots.values() if not slot.job.spare]
        self._spare = [slot for slot in self._slots.values() if slot.job.spare]
        self._fixed = [slot for slot in self._regular if slot.job.at]
        self._probe_time = _Share(PROBE_SHARE, self.start_s)
        self._spare_time = _Share(SPARE_SHARE, self.start_s)

    def next(self, now_s: float, now_ms: int = 0) -> Job | float:
        """The job to do one exchange of, or how many seconds to wait before asking again (infinity: nothing to do)."""
        waits = [*self._look_at_the_wall_clock(now_s, now_ms), *self._rests(now_s)]
        healthy = self._most_urgent(self._regular, now_s)
        probe = min(self._probes(), key=lambda slot: self._silent[slot.job.device].retry_s, default=None)
        if probe is not None and self._may_probe(probe, healthy, now_s):
            return probe.job
        if healthy is not None and healthy.due_s <= now_s:
            return healthy.job
        spare = self._most_urgent(self._spare, now_s)
        if spare is not None and self._may_use_spare_time(spare, healthy, now_s):
            return spare.job
        if healthy is not None:
            waits.append(healthy.due_s - now_s)
        if spare is not None:
            waits.append(max(spare.due_s - now_s, 0.05))
        if probe is not None:
            waits.append(max(self._silent[probe.job.device].retry_s - now_s, 0.05))
        return min(waits, default=math.inf)

    def exchanged(self, job: Job, now_s: float, spent_s: float) -> None:
        """One exchange of *job* was answered; more are to come."""
        slot = self._slots[job]
        slot.exchange_s = spent_s
        if job.spare:
            self._spare_time.spend(now_s, spent_s)
        self._readmit(job.device, now_s)

    def succeeded(self, job: Job, now_s: float, now_ms: int = 0) -> None:
        """All of *job* was read."""
        self._readmit(job.device, now_s)
        slot = self._slots[job]
        if job.at:
            slot.target_ms = next_occurrence_ms(job.at, now_ms, self.zone)
            slot.due_s = math.inf
        else:
            slot.done(now_s)

    def rest(self, device: str, until_s: float) -> None:
        """Ask others until then: a late answer of *device* could be taken for that to its next question."""
        self._resting[device] = until_s

    def failed(self, job: Job, now_s: float, spent_s: float) -> None:
        """*job*'s device did not answer; finding out took *spent_s* of the line."""
        self._probe_time.spend(now_s, spent_s)
        before = self._silent.get(job.device)
        failures = 1 if before is None else before.failures + 1
        retry_s = now_s + max(self.backoff.delay_s(failures, self.rng), 2.2 * spent_s)
        self._silent[job.device] = _Silent(failures, max(retry_s, self._resting.get(job.device, 0.0)), spent_s)
        for slot in self._of(job.device):
            slot.missed(now_s)

    def line_restored(self, now_s: float) -> None:
        """The connection was reopened: whoever was silent because of it is asked at once."""
        for silent in self._silent.values():
            silent.retry_s = now_s
        self._probe_time.credit_s = max(self._probe_time.credit_s, 0.0)

    def silent(self) -> frozenset[str]:
        return frozenset(self._silent)

    def skipped(self) -> int:
        """Grid points passed over because the line was busy."""
        return sum(slot.skipped for slot in self._slots.values())

    # ------------------------------------------------------------------ inside

    def _look_at_the_wall_clock(self, now_s: float, now_ms: int) -> Iterable[float]:
        """Fixed times that have come are due; how long to wait for the others.

        A target that a wrong clock has set too far away is set anew.
        """
        for slot in self._fixed:
            if slot.target_ms is None:
                continue
            if slot.target_ms - now_ms > _FARTHEST_MS:
                slot.target_ms = next_occurrence_ms(slot.job.at, now_ms, self.zone)
            if slot.target_ms <= now_ms:
                slot.target_ms, slot.due_s = None, now_s
            else:
                yield min((slot.target_ms - now_ms) / 1000, _WALL_CLOCK_CHECK_S)

    def _rests(self, now_s: float) -> Iterable[float]:
        """How long those who rest will do so; whose rest is over is awake again."""
        for device, until_s in list(self._resting.items()):
            if until_s <= now_s:
                del self._resting[device]
            else:
                yield until_s - now_s

    def _readmit(self, device: str, now_s: float) -> None:
        if self._silent.pop(device, None) is not None:
            for slot in self._of(device):
                slot.due_s = min(slot.due_s, now_s)  # the device is back: read all of it now
                slot.target_ms = None

    def _most_urgent(self, slots: Sequence[_Slot], now_s: float) -> _Slot | None:
        """Of the jobs that are due the one whose interval ends first; of those that are not, the next one due."""
        absent = self._silent.keys() | self._resting.keys()
        slots = [slot for slot in slots if slot.due_s < math.inf and slot.job.device not in absent]
        due = [slot for slot in slots if slot.due_s <= now_s]
        return min(due, key=_Slot.deadline_s) if due else min(slots, key=_due, default=None)

    def _of(self, device: str) -> Iterable[_Slot]:
        return (slot for slot in self._slots.values() if slot.job.device == device)

    def _probes(self) -> Iterable[_Slot]:
        """One slot per silent device: its most frequent job."""
        if not self._silent:
            return ()
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
        nobody_waits = healthy is None or healthy.due_s - now_s >= silent.cost_s
        return nobody_waits or self._probe_time.allows(now_s)

    def _may_use_spare_time(self, slot: _Slot, healthy: _Slot | None, now_s: float) -> bool:
        if slot.due_s > now_s or not self._spare_time.allows(now_s):
            return False
        return healthy is None or healthy.due_s - now_s >= slot.exchange_s


def _due(slot: _Slot) -> float:
    return slot.due_s


def _spread(jobs: Sequence[Job], start_s: float) -> Iterable[tuple[Job, float]]:
    """Where each job's grid begins: those of one interval, which would be due together for ever, evenly apart."""
    groups: dict[float, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.interval_s, []).append(job)
    for interval_s, group in groups.items():
        yield from ((job, start_s + interval_s * index / len(group)) for index, job in enumerate(group))
