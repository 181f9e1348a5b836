"""What an alarm does to devices.  Pure, like the engine that drives it.

    fire ─▶ order ─▶ confirmed ─▶ (hold) ─▶ somebody undoes it ─▶ reassert: again from the order
              │ not within `within`
              ├─▶ next try, up to `tries`
              └─▶ unconfirmed ─▶ `else`: other orders

    while, at_most_for: at their end the opposite order.  The end of a hold orders nothing: nothing opens by itself.

Lines: ``command`` for every order (``would_send`` in shadow, without the order), ``confirmed``, ``reassert``,
``unconfirmed``, ``fallback``, ``limited``, ``refused``.

An alarm that is normal gives no order of its ``on_alarm`` actions any more: a try that is under way may still be
confirmed, and is ``unconfirmed`` otherwise.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.model import AlarmState, PointId, Value
from rules.alarm import Instant
from rules.inputs import Cell
from rules.journal import Unreadable
from rules.output import Order, Output
from rules.rule import Action, Hook, While
from rules.timers import NEVER
from rules.windows import Known

_OPPOSITE = {
    "start": "stop",
    "stop": "start",
    "on": "off",
    "off": "on",
    "enable": "disable",
    "disable": "enable",
    "lock": "unlock",
    "unlock": "lock",
    "hold": "release",
    "hold_door": "release_door",  # and not the other way: no door is held by itself
    "open": "close",  # and not the other way: nothing is opened by itself
}
_SUFFIX = {"_on": "_off", "_off": "_on", "_start": "_stop", "_stop": "_start"}
_NORMAL = frozenset({"normal", "pending"})
_ACTIVE = frozenset({"unack", "acked"})
_UNACKED = frozenset({"unack", "rtn_unack", "latched_unack"})
_TOLERANCE = 0.002
"""Of a number that confirms: devices keep set points in steps."""
_VERSION = 1


def opposite(action: str) -> str | None:
    """What undoes *action*; None where nothing may do so by itself, or nobody knows."""
    known = _OPPOSITE.get(action)
    if known is not None:
        return known
    return next((action.removesuffix(end) + other for end, other in _SUFFIX.items() if action.endswith(end)), None)


def faults_of(action: str) -> tuple[str, str] | None:
    """Why *action* cannot have an end (``while``, ``at_most_for``); Chinese and English."""
    if opposite(action) is not None:
        return None
    if is_closing(action):
        return (
            f'while、at_most_for 到期要发相反动作，而 "{action}" 之后不会自动打开',
            f'while and at_most_for end with the opposite action, and nothing opens by itself after "{action}"',
        )
    known = ", ".join(sorted(_OPPOSITE))
    return (
        f'while、at_most_for 到期要发相反动作，"{action}" 没有；有的是：{known}',
        f'while and at_most_for end with the opposite action, and "{action}" has none; these have one: {known}',
    )


def is_closing(action: str) -> bool:
    """Whether it shuts something off; closing beats everything else."""
    return action in ("close", "closed") or action.startswith("close_")


def device_of(send: str) -> str:
    return send.partition(".")[0]


def action_of(send: str) -> str:
    return send.partition(".")[2]


class Arbiter:
    """Who holds which device, and who keeps what running.  One for all alarms of an engine."""

    def __init__(self) -> None:
        self._claims: dict[str, dict[object, tuple[str, str]]] = {}
        self._users: dict[str, dict[object, str]] = {}

    def holds(self) -> Mapping[str, tuple[str, str]]:
        """Device -> (alarm, ``device.action``); of several the one that closes."""
        return {device: next(iter(self._in_order(device))) for device, claims in self._claims.items() if claims}

    def _in_order(self, device: str) -> Sequence[tuple[str, str]]:
        claims = self._claims.get(device, {}).values()
        return sorted(claims, key=lambda claim: not is_closing(action_of(claim[1])))

    def against(self, send: str) -> str | None:
        """The alarm that refuses *send*, because it holds the device with another action."""
        if is_closing(action_of(send)):
            return None
        return next((name for name, held in self._in_order(device_of(send)) if held != send), None)

    def claim(self, owner: object, name: str, send: str) -> None:
        self._claims.setdefault(device_of(send), {})[owner, send] = (name, send)

    def release(self, owner: object, send: str) -> None:
        claims = self._claims.get(device_of(send), {})
        claims.pop((owner, send), None)
        if not claims:
            self._claims.pop(device_of(send), None)

    def use(self, owner: object, name: str, send: str) -> None:
        self._users.setdefault(send, {})[owner] = name

    def unuse(self, owner: object, send: str) -> None:
        users = self._users.get(send, {})
        users.pop(owner, None)
        if not users:
            self._users.pop(send, None)

    def user(self, send: str, besides: str) -> str | None:
        """Another alarm that keeps *send* running."""
        return next((name for name in self._users.get(send, {}).values() if name != besides), None)


class _Phase(enum.StrEnum):
    IDLE = "idle"
    TRYING = "trying"  # an order was given and is not confirmed
    VERIFYING = "verifying"  # the same, of an earlier run: nobody knows whether it left
    HELD = "held"  # confirmed, and to stay so
    FAILED = "failed"  # all tries: it may still come about


@dataclass(slots=True, eq=False)
class _Effect:
    """One action at work.  Times are monotonic."""

    action: Action
    cell: Cell | None
    phase: _Phase = _Phase.IDLE
    attempt: int = 0
    since_s: float = 0.0
    """The last order; of VERIFYING when waiting began."""
    begun_s: float | None = None
    """The order that must be answered by its opposite."""
    reasserted_s: float | None = None
    claimed: tuple[str, ...] = ()
    fired_s: tuple[float, ...] = ()
    blind: bool = False
    """All tries have failed, and nothing was seen since: once it can be seen again, it is held as ever."""
    orphaned: bool = False
    """The rule does not have it any more: it only waits for its end."""

    @property
    def within_s(self) -> float:
        return NEVER if self.action.confirm is None else self.action.confirm.within_s

    @property
    def lasts(self) -> bool:
        return self.action.during is not None or self.action.at_most_for_s is not None

    @property
    def ends_s(self) -> float:
        limit_s = self.action.at_most_for_s
        return NEVER if self.begun_s is None or limit_s is None else self.begun_s + limit_s

    @property
    def late_s(self) -> float:
        """When the present phase is over by time alone."""
        match self.phase:
            case _Phase.TRYING:
                return self.since_s + self.within_s
            case _Phase.VERIFYING:
                assert self.cell is not None
                return self.since_s + max(self.within_s, self.cell.limit_s)
            case _Phase.HELD if self.shown() is False:
                return self.may_reassert_s
        return NEVER

    @property
    def may_reassert_s(self) -> float:
        return -NEVER if self.reasserted_s is None else self.reasserted_s + self.within_s

    def shown(self) -> bool | None:
        """Whether it has come about; None while that is unknown."""
        if self.cell is None or self.action.confirm is None or self.cell.value is None:
            return None
        return _agree(self.action.confirm.value, self.cell.value)

    def recent(self, now_s: float) -> tuple[float, ...]:
        """Fires that count for ``at_most``."""
        rate = self.action.at_most
        return () if rate is None else tuple(at_s for at_s in self.fired_s if now_s < at_s + rate.within_s)

    def rest(self) -> None:
        self.phase, self.attempt, self.reasserted_s, self.blind = _Phase.IDLE, 0, None, False


class Effects:
    """All actions of one alarm.  A timer, and a reader of the cells that confirm them.

    The engine calls ``moved`` before ``fire`` where one step does both, and puts this timer into its queue again after
    every call.  Without *actions*, and with what a deleted or switched off rule has left (``restore``), it only ends
    what still runs.
    """

    def __init__(
        self, name: str, actions: Sequence[Action], cells: Mapping[PointId, Cell], arbiter: Arbiter, *, shadow: bool
    ) -> None:
        self.name = name
        self.shadow = shadow
        self.queued_s = NEVER
        self.due_s = NEVER
        self._arbiter = arbiter
        self._effects = [
            _Effect(action, None if action.confirm is None else cells[action.confirm.point]) for action in actions
        ]
        self._state: AlarmState = AlarmState.NORMAL
        self._now_s = -NEVER
        self._wake_s = NEVER
        for effect in self._effects:
            if effect.cell is not None and self not in effect.cell.readers:
                effect.cell.readers.append(self)

    # ------------------------------------------------------------------ what the engine says

    def fire(self, hook: Hook, now: Instant, output: Output) -> None:
        if hook is Hook.ALARM and self._normal:
            self._state = AlarmState.UNACK
        for effect in self._effects:
            if effect.action.hook is hook and not effect.orphaned:
                self._begin(effect, now, output)
        self._settle(now)

    def moved(self, state: AlarmState, now: Instant, output: Output) -> None:
        self._state = state
        for effect in self._effects if self._normal else ():
            self._release(effect)
            if effect.phase in (_Phase.HELD, _Phase.FAILED):
                effect.rest()
        for effect in self._effects:
            during = effect.action.during
            if effect.begun_s is not None and during is not None and not _holds(during, state):
                self._undo(effect, now, output)
        self._settle(now)

    def look(self, now: Instant, output: Output) -> None:
        for effect in self._effects:
            self._look(effect, now, output)
        self._settle(now)

    def expire(self, now: Instant, output: Output) -> None:
        if self._wake_s <= now.monotonic_s:
            self._wake_s = NEVER
            for effect in tuple(self._effects):
                self._resume(effect, now, output)
        for effect in self._effects:
            if effect.ends_s <= now.monotonic_s:
                self._undo(effect, now, output, at_any_rate=True)
            elif effect.late_s <= now.monotonic_s:
                self._late(effect, now, output)
        self._settle(now)

    # ------------------------------------------------------------------ the journal

    def record(self) -> list[object] | None:
        """[version, monotonic time, shadow, state, effects]; times inside are seconds elapsed by then."""
        effects = [self._entry(effect) for effect in self._effects if self._busy(effect)]
        return [_VERSION, self._now_s, self.shadow, str(self._state), effects] if effects else None

    def restore(self, record: object, now: Instant, alive_s: float | None = None) -> None:
        """Go on where another run has stopped.

        alive_s: that run's last sign of life, on its own clock: until then its durations ran.  Without it they are
        credited with what had elapsed when the record was made.  Raises journal.Unreadable.
        """
        try:
            mark_s, was_shadow, state, entries = _parts(record)
            ran_s = 0.0 if alive_s is None else max(0.0, alive_s - mark_s)
            found = [_effect(entry, now.monotonic_s - ran_s) for entry in entries]
        except (TypeError, ValueError, LookupError) as exc:
            raise Unreadable(f"effects: {exc!r}") from exc
        self._state = state
        for old in found:
            if was_shadow is self.shadow:
                self._inherit(old)
            elif self.shadow:
                self._orphan(old)
        self._now_s = self._wake_s = now.monotonic_s
        self._settle(now)

    def _inherit(self, old: _Effect) -> None:
        key = (old.action.hook, old.action.send)
        effect = next(
            (each for each in self._effects if (each.action.hook, each.action.send) == key and not self._busy(each)),
            None,
        )
        if effect is None:
            self._orphan(old)
            return
        if effect.cell is not None:
            effect.phase = _Phase.VERIFYING if old.phase is _Phase.TRYING else old.phase
            if effect.phase is _Phase.HELD and not effect.action.hold:
                effect.phase = _Phase.IDLE
        effect.attempt, effect.since_s, effect.reasserted_s = old.attempt, old.since_s, old.reasserted_s
        effect.fired_s, effect.blind = old.fired_s, effect.phase is _Phase.FAILED
        for send in old.claimed:
            if effect.action.hold or is_closing(action_of(send)):
                self._claim(effect, send)
        if effect.lasts and old.begun_s is not None:
            self._last(effect, old.begun_s)

    def _orphan(self, old: _Effect) -> None:
        """The rule orders it no more; what it has begun must end all the same, in shadow too: it was begun live."""
        if old.begun_s is not None:
            old.orphaned, old.phase, old.claimed = True, _Phase.IDLE, ()
            self._effects.append(old)

    def _entry(self, effect: _Effect) -> list[object]:
        now_s = self._now_s
        times = (effect.since_s, effect.begun_s, effect.reasserted_s)
        return [
            str(effect.action.hook),
            effect.action.send,
            str(effect.phase),
            effect.attempt,
            *(None if at_s is None else now_s - at_s for at_s in times),
            [now_s - at_s for at_s in effect.recent(now_s)],
            list(effect.claimed),
        ]

    def _busy(self, effect: _Effect) -> bool:
        waits = effect.phase is not _Phase.IDLE or effect.begun_s is not None
        return bool(waits or effect.claimed or effect.recent(self._now_s))

    # ------------------------------------------------------------------ one action

    @property
    def _normal(self) -> bool:
        return self._state in _NORMAL

    def _begin(self, effect: _Effect, now: Instant, output: Output) -> None:
        action = effect.action
        if action.during is not None and not _holds(action.during, self._state):
            return
        recent = effect.recent(now.monotonic_s)
        if action.at_most is not None and len(recent) >= action.at_most.count:
            output.line("limited", self.name, now.utc_ms, send=action.send)
            return
        if not self._order(effect, now, output, attempt=1):
            return
        effect.fired_s = (*recent, now.monotonic_s) if action.at_most is not None else ()
        if effect.lasts and effect.begun_s is None:  # an end that was promised is not put off
            self._last(effect, now.monotonic_s)
        if action.hold or is_closing(action_of(action.send)):
            self._claim(effect, action.send)
        effect.reasserted_s = None
        self._await(effect, now, output)

    def _await(self, effect: _Effect, now: Instant, output: Output) -> None:
        if effect.cell is None or self.shadow:
            return
        effect.phase = _Phase.TRYING
        self._look(effect, now, output)

    def _look(self, effect: _Effect, now: Instant, output: Output) -> None:
        shown = effect.shown()
        if effect.phase is _Phase.FAILED and shown is None:
            effect.blind = True
        if shown is None or effect.phase is _Phase.IDLE:
            return
        if shown:
            if effect.phase is not _Phase.HELD:
                self._confirmed(effect, now, output)
        elif effect.phase is _Phase.VERIFYING:
            self._again(effect, now, output, effect.attempt)
        elif self._to_be_held(effect) and effect.may_reassert_s <= now.monotonic_s:
            self._reassert(effect, now, output)

    @staticmethod
    def _to_be_held(effect: _Effect) -> bool:
        """Another value than the wanted one is to be set right."""
        return effect.phase is _Phase.HELD or (effect.blind and effect.action.hold)

    def _confirmed(self, effect: _Effect, now: Instant, output: Output) -> None:
        output.line("confirmed", self.name, now.utc_ms, send=effect.action.send)
        if effect.action.hold and not self._normal:
            effect.phase, effect.attempt = _Phase.HELD, 0
        else:
            effect.rest()

    def _reassert(self, effect: _Effect, now: Instant, output: Output) -> None:
        """Unless another alarm has closed what this one holds open: then this hold is over for good."""
        send = effect.action.send
        if self._refused(send, now, output):
            self._release(effect)
            effect.rest()
            return
        output.line("reassert", self.name, now.utc_ms, send=send)
        effect.reasserted_s, effect.blind = now.monotonic_s, False
        self._order(effect, now, output, attempt=1)
        self._await(effect, now, output)

    def _late(self, effect: _Effect, now: Instant, output: Output) -> None:
        if effect.phase is _Phase.HELD:
            self._reassert(effect, now, output)
        elif effect.phase is _Phase.VERIFYING:
            self._again(effect, now, output, effect.attempt)
        else:
            self._again(effect, now, output, effect.attempt + 1)

    def _again(self, effect: _Effect, now: Instant, output: Output, attempt: int) -> None:
        over = effect.action.hook is Hook.ALARM and self._normal
        if over or attempt > effect.action.tries:
            self._failed(effect, now, output, others=not over)
        elif self._order(effect, now, output, attempt=attempt):
            self._await(effect, now, output)
        else:
            self._release(effect)
            effect.rest()

    def _failed(self, effect: _Effect, now: Instant, output: Output, *, others: bool) -> None:
        output.line("unconfirmed", self.name, now.utc_ms, send=effect.action.send)
        effect.phase, effect.blind = _Phase.FAILED, effect.shown() is None
        for send in effect.action.otherwise if others else ():
            output.line("fallback", self.name, now.utc_ms, send=send)
            if self._send(send, now, output) and is_closing(action_of(send)):
                self._claim(effect, send)
        if self._normal:
            effect.rest()

    def _undo(self, effect: _Effect, now: Instant, output: Output, *, at_any_rate: bool = False) -> None:
        """at_any_rate: even if another alarm keeps the same running; a time limit protects people."""
        send = effect.action.send
        self._ended(effect)
        self._release(effect)
        effect.rest()
        answer = opposite(action_of(send))
        if answer is None:
            return
        send_back = f"{device_of(send)}.{answer}"
        user = None if at_any_rate or self.shadow else self._arbiter.user(send, self.name)
        if user is not None:
            output.line("refused", self.name, now.utc_ms, send=send_back, by=user)
            return
        self._send(send_back, now, output, live=effect.orphaned)

    def _resume(self, effect: _Effect, now: Instant, output: Output) -> None:
        """The first look after a restart."""
        if effect.orphaned:
            if effect.begun_s is not None:
                self._undo(effect, now, output)
            self._effects.remove(effect)
        elif effect.phase is not _Phase.VERIFYING:
            return  # what is held is looked at when its point is seen
        elif effect.shown() is None:
            effect.since_s = now.monotonic_s
        else:  # the rules were changed, the gateway runs on: the try under way has the rest of its time
            effect.phase = _Phase.TRYING
            self._look(effect, now, output)

    # ------------------------------------------------------------------ orders

    def _order(self, effect: _Effect, now: Instant, output: Output, *, attempt: int) -> bool:
        """Give the effect's own order, unless it is refused."""
        if not self._send(effect.action.send, now, output, attempt=attempt, keep_s=effect.action.keep_s):
            return False
        effect.attempt, effect.since_s = attempt, now.monotonic_s
        return True

    def _send(
        self,
        send: str,
        now: Instant,
        output: Output,
        *,
        attempt: int = 1,
        keep_s: float | None = None,
        live: bool = False,
    ) -> bool:
        if self.shadow and not live:
            output.line("would_send", self.name, now.utc_ms, send=send)
            self._supersede(send)
            return True
        if self._refused(send, now, output):
            return False
        output.line("command", self.name, now.utc_ms, send=send, attempt=attempt)
        output.orders.append(Order(send, self.name, attempt, now.utc_ms, keep_s))
        self._supersede(send)
        return True

    def _refused(self, send: str, now: Instant, output: Output) -> bool:
        by = self._arbiter.against(send)
        if by is not None:
            output.line("refused", self.name, now.utc_ms, send=send, by=by)
        return by is not None

    def _supersede(self, send: str) -> None:
        """What this alarm has begun with the opposite order has its answer."""
        for effect in self._effects:
            other = effect.action.send
            if device_of(other) != device_of(send) or action_of(send) == action_of(other):
                continue
            if opposite(action_of(other)) == action_of(send) or opposite(action_of(send)) == action_of(other):
                self._ended(effect)
                self._release(effect)
                effect.rest()

    def _claim(self, effect: _Effect, send: str) -> None:
        if self.shadow or self._normal or send in effect.claimed:
            return
        effect.claimed = (*effect.claimed, send)
        self._arbiter.claim(effect, self.name, send)

    def _release(self, effect: _Effect) -> None:
        for send in effect.claimed:
            self._arbiter.release(effect, send)
        effect.claimed = ()

    def _last(self, effect: _Effect, begun_s: float) -> None:
        effect.begun_s = begun_s
        if not self.shadow:
            self._arbiter.use(effect, self.name, effect.action.send)

    def _ended(self, effect: _Effect) -> None:
        effect.begun_s = None
        self._arbiter.unuse(effect, effect.action.send)

    def _settle(self, now: Instant) -> None:
        self._now_s = now.monotonic_s
        due_s = min((min(effect.ends_s, effect.late_s) for effect in self._effects), default=NEVER)
        self.due_s = max(self._now_s, min(self._wake_s, due_s))


def _holds(during: While, state: AlarmState) -> bool:
    """``unack`` is until somebody acknowledges, also when the cause is gone by then: sirens call people."""
    return state in (_UNACKED if during is While.UNACK else _ACTIVE)


def _agree(wanted: Value, shown: Known) -> bool:
    if isinstance(wanted, str | bool) or isinstance(shown, str | bool):
        return type(wanted) is type(shown) and wanted == shown
    return math.isclose(wanted, shown, rel_tol=_TOLERANCE, abs_tol=1e-9)


def _parts(record: Any) -> tuple[float, bool, AlarmState, list[Any]]:
    version, mark_s, shadow, state, entries = record
    if version != _VERSION:
        raise ValueError("not of version 1")
    return float(mark_s), bool(shadow), AlarmState(state), list(entries)


def _effect(entry: Any, mark_s: float) -> _Effect:
    hook, send, phase, attempt, since, begun, reasserted, fired, claimed = entry
    begun_s = None if begun is None else mark_s - float(begun)
    reasserted_s = None if reasserted is None else mark_s - float(reasserted)
    return _Effect(
        Action(Hook(hook), str(send)),
        None,
        _Phase(phase),
        int(attempt),
        mark_s - float(since),
        begun_s,
        reasserted_s,
        fired_s=tuple(mark_s - float(each) for each in fired),
        claimed=tuple(str(each) for each in claimed),
    )
