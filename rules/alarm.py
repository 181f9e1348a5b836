"""The state machine of one alarm.  Pure: the same alarm, condition and instant always give the same answer.

    condition true for on_s     every state that is not active -> unack (count + 1)
    acknowledged                unack -> acked; rtn_unack -> normal; latched_unack -> latched_acked
    condition over for off_s    unack -> rtn_unack (normal if no acknowledgement is asked for); acked -> normal;
                                of a latched alarm unack -> latched_unack; acked -> latched_acked
    reset                       latched_acked -> normal, and nothing else
    condition unknown           nothing, and the delays stand still; if_no_data may decide after its limit

States after ISA-18.2; ``pending`` is shown while the on-delay of a normal alarm runs.  Whether people are told and
devices are moved is not decided here: a shelf, a suppression and an outage stand beside the state.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace

from gateway.model import AlarmState, Text

FORGET_S = 3600.0
"""A delay that stood still for so long is forgotten."""

CONDITION, NO_DATA, ACK, RESET = "condition", "no_data", "ack", "reset"
RULE_CHANGED, RULE_DELETED, RULE_OFF = "rule_changed", "rule_deleted", "rule_off"
SHADOW, AGAIN = "shadow", "again"
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
class Chatter:
    """*raises* within *within_s* are chatter: then the alarm stays on until *calm_s* without the condition."""

    raises: int
    within_s: float
    calm_s: float


@dataclass(frozen=True, slots=True)
class Timing:
    """What a rule says about delays, missing data, acknowledgement and reset."""

    on_s: float = 0.0
    off_s: float = 0.0
    no_data: NoData = NoData.HOLD
    auto_ack: bool = False
    latched: bool = False
    """Over is not enough: it must also be acknowledged and reset by hand."""
    chatter: Chatter | None = None


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
class Pause:
    """A shelf, or out of service: people are not told (and out of service nothing is moved), until it ends."""

    by: str
    until_s: float
    """Monotonic; infinity for one that only a person ends."""
    until_ms: int | None
    """The same on the wall clock, which is what counts after a restart."""
    reason: str = ""


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
    raises_s: tuple[float, ...] = ()
    """When it was last raised (monotonic), as far as chatter needs it."""
    chattering: bool = False
    shelf: Pause | None = None
    outage: Pause | None = None
    """Out of service."""
    suppressed: bool = False
    begun: bool = False
    """Whether the actions of this occurrence have begun, and people were told as far as they may be."""

    @property
    def active(self) -> bool:
        return self.state in (AlarmState.UNACK, AlarmState.ACKED)

    @property
    def latched(self) -> bool:
        return self.state in (AlarmState.LATCHED_UNACK, AlarmState.LATCHED_ACKED)

    @property
    def quiet(self) -> bool:
        """Nobody is told at present."""
        return self.suppressed or self.shelf is not None or self.outage is not None

    @property
    def inert(self) -> bool:
        """Nothing is moved at present."""
        return self.suppressed or self.outage is not None

    @property
    def shown(self) -> AlarmState:
        waiting = self.state is AlarmState.NORMAL and self.held is not None
        return AlarmState.PENDING if waiting else self.state

    def due_s(self, timing: Timing) -> float:
        """The next instant at which time alone changes something; infinity when there is none."""
        due_s = min(_until_s(self.shelf), _until_s(self.outage))
        if self.active:
            return due_s if self.clearing is None else min(due_s, self.clearing.due_s(_off_s(self, timing)))
        return due_s if self.held is None else min(due_s, self.held.due_s(timing.on_s))


def _until_s(pause: Pause | None) -> float:
    return math.inf if pause is None else pause.until_s


def step(
    alarm: Alarm,
    condition: bool | None,
    timing: Timing,
    basis: str,
    now: Instant,
    *,
    starved: bool = False,
    early: bool = False,
) -> tuple[Alarm, str | None]:
    """What follows at *now* from *condition*: the alarm, and the reason if it must be announced.

    starved: an input has had no usable value for longer than the rule allows.
    basis: fingerprint of the condition as it is now; an active alarm raised by another one ends without delay.
    early: a delay that ends at this very instant has not ended yet: other inputs of the same instant may follow.
    """
    if alarm.known is not (condition is not None):
        alarm = replace(alarm, known=condition is not None)
    if condition is None:
        return _unknown(alarm, timing, basis, now, starved, early)
    if alarm.active:
        return _still_true(alarm, basis) if condition else _over(alarm, timing, basis, now, early)
    if condition:
        return _became_true(alarm, timing, basis, now, early)
    return _dropped(alarm, now), None


_ACKNOWLEDGED = {
    AlarmState.UNACK: AlarmState.ACKED,
    AlarmState.RTN_UNACK: AlarmState.NORMAL,
    AlarmState.LATCHED_UNACK: AlarmState.LATCHED_ACKED,
}


def acknowledged(alarm: Alarm, who: str, now: Instant) -> Alarm:
    """The same alarm where there is nothing to acknowledge."""
    state = _ACKNOWLEDGED.get(alarm.state)
    return alarm if state is None else replace(alarm, state=state, acked_by=who, since_ms=now.utc_ms)


def reset(alarm: Alarm, now: Instant) -> Alarm:
    """Of an alarm that is LATCHED_ACKED."""
    return replace(alarm, state=AlarmState.NORMAL, since_ms=now.utc_ms)


def reminded(alarm: Alarm, now: Instant) -> Alarm:
    """An active alarm that was quiet and is quiet no more: it needs somebody's eyes again."""
    if alarm.state is not AlarmState.ACKED:
        return alarm
    return replace(alarm, state=AlarmState.UNACK, acked_by="", since_ms=now.utc_ms)


def restored(alarm: Alarm, alive_s: float, basis: str, now: Instant) -> Alarm:
    """The alarm of an earlier run, last alive at *alive_s* of that run's clock; the time in between is not counted.

    Delays stand still until the inputs are seen; a delay that belongs to another condition is dropped.  A shelf ends
    when the wall clock says so.
    """
    alarm = replace(
        alarm,
        shelf=_carried_pause(alarm.shelf, now),
        outage=_carried_pause(alarm.outage, now),
        raises_s=tuple(now.monotonic_s - max(0.0, alive_s - raised_s) for raised_s in alarm.raises_s)
        if math.isfinite(alive_s)
        else (),
    )
    if not alarm.active and alarm.basis != basis:
        return replace(_dropped(alarm, now), basis=basis)
    return replace(
        alarm,
        held=_carried(alarm.held, alive_s, now, running=alarm.active),
        clearing=_carried(alarm.clearing, alive_s, now, running=False),
    )


def _carried(watch: Stopwatch | None, alive_s: float, now: Instant, *, running: bool) -> Stopwatch | None:
    """One that stood still has stood still for as long as before: it is forgotten in time."""
    if watch is None:
        return None
    stood_s = 0.0 if watch.running or running or not math.isfinite(alive_s) else max(0.0, alive_s - watch.mark_s)
    return Stopwatch(watch.read_s(alive_s), now.monotonic_s - stood_s, running)


def _carried_pause(pause: Pause | None, now: Instant) -> Pause | None:
    if pause is None or pause.until_ms is None:
        return pause
    return replace(pause, until_s=now.monotonic_s + max(0.0, (pause.until_ms - now.utc_ms) / 1000))


def _has_ended(watch: Stopwatch, limit_s: float, now: Instant, early: bool) -> bool:
    due_s = watch.due_s(limit_s)
    return due_s < now.monotonic_s or (due_s == now.monotonic_s and (not early or not limit_s))


def _became_true(alarm: Alarm, timing: Timing, basis: str, now: Instant, early: bool) -> tuple[Alarm, str | None]:
    held = (alarm.held or Stopwatch(0.0, now.monotonic_s, True)).started(now.monotonic_s)
    if _has_ended(held, timing.on_s, now, early):
        return _raised(alarm, held, CONDITION, timing, basis, now), CONDITION
    begins = alarm.held is None and alarm.state is AlarmState.NORMAL
    since_ms = now.utc_ms if begins else alarm.since_ms
    return replace(alarm, held=held, basis=basis, since_ms=since_ms), None


def _raised(alarm: Alarm, held: Stopwatch, reason: str, timing: Timing, basis: str, now: Instant) -> Alarm:
    raises_s, chattering = _chatter(alarm, timing, now)
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
        raises_s=raises_s,
        chattering=chattering,
        begun=False,
    )


def _chatter(alarm: Alarm, timing: Timing, now: Instant) -> tuple[tuple[float, ...], bool]:
    chatter = timing.chatter
    if chatter is None:
        return (), False
    raises_s = (*alarm.raises_s, now.monotonic_s)[-chatter.raises :]
    many = len(raises_s) == chatter.raises and now.monotonic_s - raises_s[0] <= chatter.within_s
    return raises_s, alarm.chattering or many


def _off_s(alarm: Alarm, timing: Timing) -> float:
    return max(timing.off_s, timing.chatter.calm_s) if timing.chatter and alarm.chattering else timing.off_s


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


def _over(alarm: Alarm, timing: Timing, basis: str, now: Instant, early: bool) -> tuple[Alarm, str | None]:
    if alarm.basis != basis:
        return _cleared(alarm, timing, basis, now), RULE_CHANGED
    clearing = (alarm.clearing or Stopwatch(0.0, now.monotonic_s, True)).started(now.monotonic_s)
    if _has_ended(clearing, _off_s(alarm, timing), now, early):
        return _cleared(alarm, timing, basis, now), CONDITION
    return replace(alarm, clearing=clearing), None


def _cleared(alarm: Alarm, timing: Timing, basis: str, now: Instant) -> Alarm:
    seen = alarm.state is AlarmState.ACKED
    if timing.latched:
        state = AlarmState.LATCHED_ACKED if seen else AlarmState.LATCHED_UNACK
    else:
        state = AlarmState.NORMAL if seen or timing.auto_ack else AlarmState.RTN_UNACK
    return replace(alarm, state=state, held=None, clearing=None, since_ms=now.utc_ms, basis=basis, chattering=False)


def _unknown(
    alarm: Alarm, timing: Timing, basis: str, now: Instant, starved: bool, early: bool
) -> tuple[Alarm, str | None]:
    if starved and timing.no_data is NoData.ALARM and not alarm.active:
        return _raised(alarm, Stopwatch(0.0, now.monotonic_s, True), NO_DATA, timing, basis, now), NO_DATA
    if starved and timing.no_data is NoData.CLEAR:
        return (_cleared(alarm, timing, basis, now), NO_DATA) if alarm.active else (_dropped(alarm, now), None)
    if alarm.active:
        clearing = _frozen(alarm.clearing, now, early)
        return alarm if clearing is alarm.clearing else replace(alarm, clearing=clearing), None
    held = _frozen(alarm.held, now, early)
    if held is None:
        return _dropped(alarm, now), None
    return alarm if held is alarm.held else replace(alarm, held=held), None


def _frozen(watch: Stopwatch | None, now: Instant, early: bool) -> Stopwatch | None:
    if watch is None or (not watch.running and _has_ended(watch, FORGET_S, now, early)):
        return None
    return watch.stopped(now.monotonic_s)
