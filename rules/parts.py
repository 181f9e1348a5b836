"""The moving parts of the engine: live values that grow stale, clocks that run while nothing is heard, one runner for
each alarm, and the queue of everybody's timers."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from typing import Protocol, TypeAlias

from gateway.model import Device, Point, Reading, Value, ValueKind
from rules import journal
from rules.alarm import Alarm
from rules.definition import Rule, Watch
from rules.program import Condition

STALE_INTERVALS = 3
NEVER = math.inf

Known: TypeAlias = float | bool | str


class Timer(Protocol):
    queued_s: float
    """When its live entry in the queue is due; infinity when it has none."""

    @property
    def due_s(self) -> float: ...


class Queue:
    """Timers by due time.  A timer that moves later keeps its entry; the entry is renewed when it comes up."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._serial = 0

    def push(self, timer: Timer) -> None:
        due_s = timer.due_s
        if due_s >= timer.queued_s:
            return
        timer.queued_s = due_s
        self._serial += 1
        heapq.heappush(self._heap, (due_s, self._serial, timer))

    def next_s(self) -> float:
        heap = self._heap
        while heap:
            queued_s, _, timer = heap[0]
            if queued_s == timer.queued_s and timer.due_s <= queued_s:
                return queued_s
            heapq.heappop(heap)
            if queued_s == timer.queued_s:
                timer.queued_s = NEVER
                self.push(timer)
        return NEVER

    def pop_due(self, now_s: float) -> list[Timer]:
        """All timers that are due at exactly *now_s*."""
        due: list[Timer] = []
        while self.next_s() == now_s:
            timer = heapq.heappop(self._heap)[2]
            timer.queued_s = NEVER
            due.append(timer)
        return due


class Origin:
    """One point: its newest reading, and who is interested."""

    __slots__ = ("ages", "cells", "good_s", "is_number", "newest_s", "point", "silences", "stale_s", "value")

    def __init__(self, point: Point, started_s: float) -> None:
        self.point = point
        self.is_number = point.kind is ValueKind.NUMBER
        self.stale_s = STALE_INTERVALS * point.interval_s
        self.value: Known | None = None
        self.newest_s = -NEVER
        self.good_s = started_s
        """When the newest usable value was measured; until there is one, when the engine started."""
        self.cells: tuple[Cell, ...] = ()
        self.ages: tuple[Elapsed, ...] = ()
        self.silences: tuple[Elapsed, ...] = ()
        """Of its device."""

    def usable(self, reading: Reading) -> Known | None:
        """The value as the conditions want it; None when it must not be believed."""
        value = reading.value
        if reading.reason is not None or value is None:
            return None
        match self.point.kind:
            case ValueKind.NUMBER:
                return _number(value)
            case ValueKind.BOOLEAN:
                return None if isinstance(value, str) or value not in (0, 1) else bool(value)
            case ValueKind.STATE:
                return value if isinstance(value, str) and value in self.point.states else None
            case ValueKind.TEXT:
                return value if isinstance(value, str) else None


def _number(value: Value) -> float | None:
    if isinstance(value, str | bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


class Cell:
    """The live value of a point as long as it is younger than *limit_s*."""

    __slots__ = ("limit_s", "origin", "queued_s", "readers", "value")

    def __init__(self, origin: Origin, limit_s: float) -> None:
        self.origin = origin
        self.limit_s = limit_s
        self.value: Known | None = None
        self.readers: list[Runner] = []
        self.queued_s = NEVER

    @property
    def due_s(self) -> float:
        return NEVER if self.value is None else self.origin.newest_s + self.limit_s

    def expire(self) -> None:
        self.value = None


class Elapsed:
    """True once nothing has been heard for *limit_s*; None while the first word or the limit is awaited."""

    __slots__ = ("counts_from_start", "limit_s", "queued_s", "readers", "since_s", "value")

    def __init__(self, limit_s: float, started_s: float, *, counts_from_start: bool) -> None:
        self.limit_s = limit_s
        self.counts_from_start = counts_from_start
        self.since_s = started_s
        self.value: bool | None = None
        self.readers: list[Runner] = []
        self.queued_s = NEVER

    @property
    def due_s(self) -> float:
        waiting = self.value is False or (self.value is None and self.counts_from_start)
        return self.due_if_quiet_s if waiting else NEVER

    @property
    def due_if_quiet_s(self) -> float:
        return self.since_s + self.limit_s

    def expire(self) -> None:
        self.value = True


class Runner:
    """One alarm at work: its condition, the cells that it reads, and its state."""

    __slots__ = (
        "alarm",
        "device",
        "due_s",
        "inputs",
        "key",
        "last",
        "messaged",
        "probe",
        "queued_s",
        "rule",
        "saved",
        "starving",
        "watch",
    )

    def __init__(self, watch: Watch, device: Device | None) -> None:
        self.watch = watch
        self.rule: Rule = watch.rule
        self.device = device
        """Whose place and label the alarm bears."""
        self.key = journal.key(watch.rule.id, watch.device)
        self.inputs: tuple[Cell | Elapsed, ...] = ()
        self.starving: tuple[tuple[Cell, float], ...] = ()
        """Inputs and how long each may be without a usable value; empty where the rule just holds."""
        self.messaged: Mapping[str, Origin] = {}
        self.alarm = Alarm(basis=watch.rule.basis)
        self.probe: Condition = watch.program.when
        self.last: object = None
        self.saved = False
        self.due_s = NEVER
        self.queued_s = NEVER


LOOK_AGAIN = object()
"""As the last answer of a condition: whatever it says next, it must be looked at."""
