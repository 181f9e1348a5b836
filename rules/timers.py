"""The queue of everybody's timers."""

from __future__ import annotations

import heapq
import math
from typing import Protocol

NEVER = math.inf


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
