"""What the daemon does about time: asks the kernel whether it is known, and puts right what was stamped before.

    every second: clock.check ──┬─ synchronised ─▶ pipeline.correct ─▶ restamp what has not left ─▶ release
                                │                  ─▶ event clock.synchronised, together with the end of Pending
                                ├─ set by a person ─▶ pipeline.correct ─▶ a new timeline ─▶ event clock.set
                                └─ clock_wait over ─▶ release, marked
    every hour, at the stop: clock.floor

See clock.py for the timeline and store/restamp.py for the rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import structlog

from gateway.clock import ClockState, GatewayClock, keep
from gateway.errors import StoreCorrupt, StoreError
from gateway.ids import uuid7
from gateway.model import Event, Lane, Place, Value
from gateway.pipeline import Pipeline
from gateway.store.log import Store
from gateway.store.restamp import HELD, STATE_KEY, Pending, continued, extended, restamp_lane

log = structlog.get_logger()

LOOK_S = 1.0
FLOOR_S = 3600.0
RETRY_S = 5.0
"""After the store refused to correct rows; what is held stays held until it has, or ``clock_wait`` is over."""


class ClockFigures(TypedDict):
    clock: ClockState
    clock_shift_ms: int | None
    """By how much what was stamped before the synchronisation was wrong; None where nothing was."""
    held: dict[str, int]
    """Lane -> envelopes that wait for the time."""


@dataclass(slots=True)
class Timekeeper:
    clock: GatewayClock
    store: Store
    pipeline: Pipeline
    directory: Path
    boot_id: str
    """Of this start of the daemon."""
    wait_s: float
    """So long after the first start in this boot of the kernel data that is not urgent waits for the time."""
    on_change: Callable[[ClockState], None] = lambda _: None
    """Called when the state has changed, and at the latest a second after the kernel has."""
    _pending: Pending | None = field(init=False, default=None)
    _state: ClockState = field(init=False, default=ClockState.UNKNOWN)
    _floor_due_s: float = field(init=False, default=0.0)
    _retry_s: float = field(init=False, default=0.0)

    async def begin(self, saved: Mapping[str, bytes]) -> None:
        """Decide what is held back; before anybody reads the store.  *saved*: the store's state.  Raises StoreError."""
        self._state = self.clock.state()
        known = self._state is not ClockState.UNKNOWN
        earlier = {key: value for key, value in saved.items() if key.startswith(STATE_KEY)}
        old_boots = [key for key in earlier if key != self._key]
        pending = Pending.from_bytes(earlier.get(self._key, b""), self.store.epoch)
        if pending is None and not known:
            in_vain = any(_released(earlier[key], self.store.epoch) for key in old_boots)
            pending = Pending(self.store.epoch, self.clock.since_boot_ms(), released=in_vain or self.wait_s <= 0)
        if pending is not None:
            last = await self._last_seqs()
            self._pending = continued(pending, self.boot_id, self.clock.offset_ms(), last, known=known)
        changes: dict[str, bytes | None] = dict.fromkeys(old_boots)
        if self._pending is not None:
            changes[self._key] = self._pending.to_bytes()
            self.store.hold(self._pending.first_held())
        await self.store.commit((), changes)
        await self._save_floor()
        self._say_how_it_starts()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(LOOK_S)

    async def end(self) -> None:
        await self._save_floor()

    def figures(self) -> ClockFigures:
        """For health."""
        correction = self.clock.correction
        return {
            "clock": self.clock.state(),
            "clock_shift_ms": None if correction is None else correction.shift_ms,
            "held": {str(lane): count for lane, count in self.store.held().items()},
        }

    # ------------------------------------------------------------------ inside

    @property
    def _key(self) -> str:
        return STATE_KEY + self.clock.boot_id

    async def _look(self) -> None:
        correction = self.clock.check()
        if correction is not None:
            self.pipeline.correct(correction)  # nothing may come between these two
        for step in (self._catch_up, self._give_up_in_time):
            try:
                await step()
            except StoreCorrupt:
                raise  # the process ends, and the next start salvages what it can
            except StoreError as exc:
                log.warning("times not corrected yet, the store refuses", error=exc.advice())
                self._retry_s = self.clock.monotonic_s() + RETRY_S
        self._tell_of_state()
        if correction is not None or self.clock.monotonic_s() >= self._floor_due_s:
            await self._save_floor()

    async def _catch_up(self) -> None:
        pending = self._pending
        if pending is None or self.clock.monotonic_s() < self._retry_s:
            return
        if self.clock.state() is not ClockState.UNKNOWN:
            await self._restamp(pending)
        elif pending.timelines[-1].offset_ms != self.clock.offset_ms():
            await self._extend(pending)

    async def _restamp(self, pending: Pending) -> None:
        """The time is known: everything that has not left is corrected, and leaves."""
        offset_ms, counts = self.clock.offset_ms(), 0
        for lane in Lane:
            if lane in HELD:
                self._tell_of_state()  # what may have left meanwhile is done; the uplinks need not wait for the rest
            counts += await restamp_lane(self.store, pending, lane, offset_ms)
        self._pending = None
        for timeline in pending.timelines:
            for start in timeline.starts:
                self._note("clock.synchronised", start, offset_ms - timeline.offset_ms, restamped=counts)
        self.pipeline.remember(self._key, None)
        self.store.release(*Lane)
        log.info("clock synchronised", shift_ms=offset_ms - pending.timelines[-1].offset_ms, restamped=counts)

    async def _extend(self, pending: Pending) -> None:
        """Somebody has set the wall clock.  What was collected before keeps its own distance from the truth.

        Asking the store comes first: what the pipeline commits from now on, with the new times, is behind the question.
        """
        last, offset_ms = await self._last_seqs(), self.clock.offset_ms()
        self._pending = extended(pending, self.boot_id, offset_ms, last)
        await self.store.commit((), {self._key: self._pending.to_bytes()})
        shift_ms = offset_ms - pending.timelines[-1].offset_ms
        self._note("clock.set", self.boot_id, shift_ms)
        log.warning("the wall clock was set, and the kernel does not call it synchronised", shift_ms=shift_ms)

    async def _give_up_in_time(self) -> None:
        """Noted before anything leaves: what may have left is never changed, by no later start either."""
        pending = self._pending
        if pending is None or pending.released or self._waited_s(pending) < self.wait_s:
            return
        released = pending.after_release()
        await self.store.commit((), {self._key: released.to_bytes()})
        self._pending = released
        self.store.release(*Lane)
        log.warning(
            "the time is still not known: what was held leaves, marked",
            hint="check the box's time synchronisation (timedatectl, chronyc); without any set gateway.clock_wait: 0 s",
        )

    def _note(self, kind: str, start: str, shift_ms: int, **more: int) -> None:
        now_ms = self.clock.now_ms()
        about: dict[str, Value | None] = {"boot_id": start, "shift_ms": shift_ms, **more}
        self.pipeline.note(Event(uuid7(now_ms), kind, now_ms, None, Place(), about))

    def _waited_s(self, pending: Pending) -> float:
        return (self.clock.since_boot_ms() - pending.since_boot_ms) / 1000

    async def _last_seqs(self) -> Mapping[Lane, int]:
        return {lane: stats.last_seq for lane, stats in (await self.store.stats()).lanes.items()}

    def _tell_of_state(self) -> None:
        state = self.clock.state()
        if state is not self._state:
            log.info("clock", state=str(state), before=str(self._state))
            self._state = state
            self.on_change(state)

    async def _save_floor(self) -> None:
        self._floor_due_s = self.clock.monotonic_s() + FLOOR_S
        memory = self.clock.memory()
        try:
            await asyncio.to_thread(keep, self.directory, memory)
        except OSError as exc:
            log.warning("the time cannot be saved for the next start", error=str(exc))

    def _say_how_it_starts(self) -> None:
        if self._state is not ClockState.UNKNOWN or self._pending is None:
            return
        log.warning(
            "the time is not known yet; times are provisional",
            held=[] if self._pending.released else [str(lane) for lane in self._pending.first_held()],
            at_most_s=max(0.0, self.wait_s - self._waited_s(self._pending)),
            behind_s=max(0, self.clock.behind_floor_ms()) // 1000,
        )


def _released(saved: bytes, epoch: str) -> bool:
    """A boot of the kernel that waited in vain: there may be nobody to tell the time here."""
    pending = Pending.from_bytes(saved, epoch)
    return pending is not None and pending.released
