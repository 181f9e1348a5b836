"""The state machine of one alarm.  Pure: the same alarm, condition and instant always give the same answer.

    condition true for on_s     normal, rtn_unack -> unack (count + 1)
    acknowledged                unack -> acked; rtn_unack -> normal
    condition over for off_s    unack -> rtn_unack (normal if no acknowledgement is asked for); acked -> normal
    condition unknown           nothing, and the delays stand still; if_no_data may decide after its limit

States after ISA-18.2; ``pending`` is shown while the on-delay of a normal alarm runs.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

from gateway.model import AlarmState, Text

FORGET_S = 3600.0
"""A delay that stood still for so long is forgotten."""

CONDITION, NO_DATA, ACK = "condition", "no_data", "ack"
RULE_CHANGED, RULE_DELETED, RULE_OFF = "rule_changed", "rule_deleted", "rule_off"
SHADOW = "shadow"
NO_TEXT = Text("", "")


@dataclass(frozen=True, slots=True)
class Instant:
    """One instant on both clocks.  Durations use the monotonic one; the other is for people and platforms."""

    monotonic_s: float
    utc_ms: int


class NoData(enum.StrEnum):
    HOLD = "hold"
    CLEAR = "clear"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Timing:
    """What a rule says about delays, missing data and acknowledgement."""

    on_s: float = 0.0
    off_s: float = 0.0
    no_data: NoData = NoData.HOLD
    auto_ack: bool = False
    latched: bool = False
    """Over is not enough: it must also be acknowledged and reset by hand."""


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """*elapsed_s* had passed at *mark_s* (monotonic), when it was last started or stopped."""

    elapsed_s: float
    mark_s: float
    running: bool

    def read_s(self, now_s: float) -> float:
        return self.elapsed_s + max(0.0, now_s - self.mark_s) if self.running else self.elapsed_s

    def due_s(self, limit_s: float) -> float:
        """When it will show *limit_s*; when it stands still, when it may be forgotten."""
        return self.mark_s + (limit_s - self.elapsed_s) if self.running else self.mark_s + FORGET_S

    def started(self, now_s: float) -> Stopwatch:
        return self if self.running else Stopwatch(self.elapsed_s, now_s, True)

    def stopped(self, now_s: float) -> Stopwatch:
        return Stopwatch(self.read_s(now_s), now_s, False) if self.running else self


@dataclass(frozen=True, slots=True)
class Alarm:
    """Everything that must survive a restart."""

    state: AlarmState = AlarmState.NORMAL
    """Never PENDING here: see ``shown``."""
    held: Stopwatch | None = None
    """How long the condition has been true; the on-delay while inactive."""
    clearing: Stopwatch | None = None
    """How long it has been over; the off-delay while active."""
    id: str = ""
    """Of the occurrence."""
    count: int = 0
    reason: str = CONDITION
    """Why it was raised."""
    since_ms: int = 0
    """When the shown state began, UTC."""
    basis: str = ""
    """Fingerprint of the condition it was judged by."""
    known: bool = False
    """Whether the condition was known when last looked at."""
    acked_by: str = ""
    message: Text = NO_TEXT

    @property
    def active(self) -> bool:
        return self.state in (AlarmState.UNACK, AlarmState.ACKED)

    @property
    def shown(self) -> AlarmState:
        waiting = self.state is AlarmState.NORMAL and self.held is not None
        return AlarmState.PENDING if waiting else self.state

    def due_s(self, timing: Timing) -> float:
        """The next instant at which time alone changes something; infinity when there is none."""
        if self.active:
            return math.inf if self.clearing is None else self.clearing.due_s(timing.off_s)
        return math.inf if self.held is None else self.held.due_s(timing.on_s)


def step(
    alarm: Alarm, condition: bool | None, timing: Timing, basis: str, now: Instant, *, starved: bool = False
) -> tuple[Alarm, str | None]:
    """What follows at *now* from *condition*: the alarm, and the reason if it must be announced.

    starved: an input has had no usable value for longer than the rule allows.
    basis: fingerprint of the condition as it is now; an active alarm raised by another one ends without delay.
    """
    if alarm.known is not (condition is not None):
        alarm = replace(alarm, known=condition is not None)
    if condition is None:
        return _unknown(alarm, timing, basis, now, starved)
    if alarm.active:
        return _still_true(alarm, basis) if condition else _over(alarm, timing, basis, now)
    if condition:
        return _became_true(alarm, timing, basis, now)
    return _dropped(alarm, now), None


def acknowledged(alarm: Alarm, who: str, now: Instant) -> Alarm:
    match alarm.state:
        case AlarmState.UNACK:
            return replace(alarm, state=AlarmState.ACKED, acked_by=who, since_ms=now.utc_ms)
        case AlarmState.RTN_UNACK:
            return replace(alarm, state=AlarmState.NORMAL, acked_by=who, since_ms=now.utc_ms)
    return alarm


def restored(alarm: Alarm, alive_s: float, basis: str, now: Instant) -> Alarm:
    """The alarm of an earlier run, last alive at *alive_s* of that run's clock; the time in between is not counted.

    Delays stand still until the inputs are seen; a delay that belongs to another condition is dropped.
    """
    if not alarm.active and alarm.basis != basis:
        return replace(alarm, held=None, basis=basis)
    return replace(
        alarm,
        held=_carried(alarm.held, alive_s, now, running=alarm.active),
        clearing=_carried(alarm.clearing, alive_s, now, running=False),
    )


def _carried(watch: Stopwatch | None, alive_s: float, now: Instant, *, running: bool) -> Stopwatch | None:
    return None if watch is None else Stopwatch(watch.read_s(alive_s), now.monotonic_s, running)


def _became_true(alarm: Alarm, timing: Timing, basis: str, now: Instant) -> tuple[Alarm, str | None]:
    held = (alarm.held or Stopwatch(0.0, now.monotonic_s, True)).started(now.monotonic_s)
    if held.due_s(timing.on_s) <= now.monotonic_s:
        return _raised(alarm, held, CONDITION, basis, now), CONDITION
    begins = alarm.held is None and alarm.state is AlarmState.NORMAL
    since_ms = now.utc_ms if begins else alarm.since_ms
    return replace(alarm, held=held, basis=basis, since_ms=since_ms), None


def _raised(alarm: Alarm, held: Stopwatch, reason: str, basis: str, now: Instant) -> Alarm:
    return replace(
        alarm,
        state=AlarmState.UNACK,
        held=held,
        clearing=None,
        count=alarm.count + 1,
        reason=reason,
        since_ms=now.utc_ms,
        basis=basis,
        acked_by="",
    )


def _dropped(alarm: Alarm, now: Instant) -> Alarm:
    if alarm.held is None:
        return alarm
    since_ms = now.utc_ms if alarm.state is AlarmState.NORMAL else alarm.since_ms
    return replace(alarm, held=None, since_ms=since_ms)


def _still_true(alarm: Alarm, basis: str) -> tuple[Alarm, str | None]:
    if alarm.reason == NO_DATA:
        return replace(alarm, reason=CONDITION, clearing=None, basis=basis), CONDITION
    if alarm.clearing is None and alarm.basis == basis:
        return alarm, None
    return replace(alarm, clearing=None, basis=basis), None


def _over(alarm: Alarm, timing: Timing, basis: str, now: Instant) -> tuple[Alarm, str | None]:
    if alarm.basis != basis:
        return _cleared(alarm, timing, basis, now), RULE_CHANGED
    clearing = (alarm.clearing or Stopwatch(0.0, now.monotonic_s, True)).started(now.monotonic_s)
    if clearing.due_s(timing.off_s) <= now.monotonic_s:
        return _cleared(alarm, timing, basis, now), CONDITION
    return replace(alarm, clearing=clearing), None


def _cleared(alarm: Alarm, timing: Timing, basis: str, now: Instant) -> Alarm:
    unseen = alarm.state is AlarmState.UNACK and not timing.auto_ack
    state = AlarmState.RTN_UNACK if unseen else AlarmState.NORMAL
    return replace(alarm, state=state, held=None, clearing=None, since_ms=now.utc_ms, basis=basis)


def _unknown(alarm: Alarm, timing: Timing, basis: str, now: Instant, starved: bool) -> tuple[Alarm, str | None]:
    if starved and timing.no_data is NoData.ALARM and not alarm.active:
        return _raised(alarm, Stopwatch(0.0, now.monotonic_s, True), NO_DATA, basis, now), NO_DATA
    if starved and timing.no_data is NoData.CLEAR:
        return (_cleared(alarm, timing, basis, now), NO_DATA) if alarm.active else (_dropped(alarm, now), None)
    if alarm.active:
        clearing = _frozen(alarm.clearing, now)
        return alarm if clearing is alarm.clearing else replace(alarm, clearing=clearing), None
    held = _frozen(alarm.held, now)
    if held is None:
        return _dropped(alarm, now), None
    return alarm if held is alarm.held else replace(alarm, held=held), None


def _frozen(watch: Stopwatch | None, now: Instant) -> Stopwatch | None:
    if watch is None or (not watch.running and watch.due_s(0.0) <= now.monotonic_s):
        return None
    return watch.stopped(now.monotonic_s)
