"""Who is told what, and when.

    announce(alarm) ──┬─ critical; no groups; flood and high ──▶ one notice at once
                      └─ else ──▶ collected per group ──┬─ group_wait after the first ─────────────▶ one notice
                                                        └─ flood, told before: every summary_every ─▶ a summary
    not over() ──▶ repeated by priority once it was told; escalated to the next person

Pure like the engine, which pushes the desk into its queue of timers after every call.  Only what is said is limited:
every raise counts for the flood, and the table of alarms is never cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from gateway.model import Place, Priority, Text
from rules.alarm import Instant
from rules.journal import Unreadable
from rules.output import Notice, Output, Told
from rules.rule import Escalation, Flood, Group, Mode, Rule, Site
from rules.timers import NEVER, Queue

SHOWN = 20
"""So many alarms stand in a notice by name; its count is the true one."""
_SHORTEST_REPEAT_S = 1.0
_URGENCY = tuple(Priority)
_VERSION = 1

Key: TypeAlias = tuple[str, tuple[str, ...]]
"""Group, and whom its rules name: nobody is told of what is not theirs, and nobody is forgotten."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An alarm as it is told."""

    name: str
    rule: Rule
    place: Place
    kind: str
    """Of the device; empty without one."""
    message: Text
    id: str


class _Raises:
    """Whether there is a flood.  Of all raises only the newest few can decide that; the others are not kept."""

    __slots__ = ("_counts", "_end", "_leave_s", "_start", "_within_s", "on", "queued_s")
    rank = serial = 0

    def __init__(self, flood: Flood | None) -> None:
        self._counts = flood is not None
        flood = flood or Flood()
        self._start = max(1, flood.start)
        self._end = max(1, min(flood.end, self._start))
        self._within_s = flood.within_s
        self._leave_s: deque[float] = deque(maxlen=self._start)
        self.on = False
        self.queued_s = NEVER

    @property
    def due_s(self) -> float:
        return self._leave_s[-self._end] if self.on else NEVER

    def add(self, now_s: float) -> bool:
        """True when this raise begins a flood."""
        if not self._counts:
            return False
        self._leave_s.append(now_s + self._within_s)
        if self.on or len(self._leave_s) < self._start or self._leave_s[0] <= now_s:
            return False
        self.on = True
        return True

    def left_s(self, now_s: float) -> list[float]:
        """How long each raise still counts, the oldest first."""
        return [leave_s - now_s for leave_s in self._leave_s if leave_s > now_s]

    def resume(self, leave_s: Iterable[float], on: bool) -> None:
        self._leave_s.extend(leave_s)
        self.on = on and len(self._leave_s) >= self._end


class _Bundle:
    """Alarms that wait to be told together."""

    __slots__ = ("due_s", "entries", "key", "over", "queued_s", "serial", "summary")
    rank = 1

    def __init__(self, key: Key, serial: int, due_s: float, *, summary: bool) -> None:
        self.key = key
        self.serial = serial
        self.due_s = due_s
        self.summary = summary
        self.entries: dict[str, Entry] = {}
        self.over: set[str] = set()
        self.queued_s = NEVER


class _Reminder:
    """What is still to be said of an alarm until somebody acknowledges it or it is over."""

    __slots__ = ("apart", "entry", "every_s", "passed", "queued_s", "repeat_s", "serial", "since_s", "steps")
    rank = 2

    def __init__(self, entry: Entry, serial: int, since_s: float, every_s: float) -> None:
        self.entry = entry
        self.serial = serial
        self.since_s = since_s
        self.every_s = every_s
        self.steps = sorted(entry.rule.escalate, key=lambda step: step.after_s)
        self.passed = 0
        """Of the steps."""
        self.repeat_s = NEVER
        """When it is repeated; nothing is repeated before it was told."""
        self.apart = True
        """Told by itself and not in a group: so are its repeats."""
        self.queued_s = NEVER

    @property
    def due_s(self) -> float:
        if self.passed >= len(self.steps):
            return self.repeat_s
        return min(self.repeat_s, self.since_s + self.steps[self.passed].after_s)

    def told(self, now_s: float, *, apart: bool) -> None:
        self.apart = apart
        self.repeat_s = now_s + max(self.every_s, _SHORTEST_REPEAT_S) if self.every_s > 0 else NEVER

    def escalations(self, now_s: float) -> Iterator[Escalation]:
        """The steps that are due; each is given once."""
        while self.passed < len(self.steps) and self.since_s + self.steps[self.passed].after_s <= now_s:
            self.passed += 1
            yield self.steps[self.passed - 1]

    def stop(self) -> None:
        self.passed = len(self.steps)
        self.repeat_s = NEVER


_Timer: TypeAlias = _Raises | _Bundle | _Reminder


class Desk:
    """One per engine; a timer that the engine pushes after every call.  No call may be earlier than the last one."""

    def __init__(self, site: Site) -> None:
        self.queued_s = NEVER
        self.revision = 0
        """Rises when ``record`` is worth writing: when a group was told, and else as soon as a sixteenth of it is new,
        so that a storm does not write the whole record for each of its alarms."""
        self._site = site
        self._raises = _Raises(site.flood)
        self._queue = Queue()
        self._bundles: dict[Key, _Bundle] = {}
        self._waiting: dict[str, _Bundle] = {}
        self._reminders: dict[str, _Reminder] = {}
        self._told_s: dict[Key, float] = {}
        """When each group was told last, in this flood."""
        self._serial = 0
        self._unwritten = 0
        self.as_of_s = 0.0
        """The instant of the last call, from which the times of ``record`` count."""

    @property
    def due_s(self) -> float:
        return self._queue.next_s()

    @property
    def flooded(self) -> bool:
        return self._raises.on

    # ------------------------------------------------------------------ what the engine calls

    def raised(self, now: Instant, output: Output) -> None:
        """A live alarm was raised, whether or not anybody is told: it counts for the flood."""
        self.as_of_s = now.monotonic_s
        begins = self._raises.add(now.monotonic_s)
        if begins:
            output.line("flood_on", "", now.utc_ms)
        self._queue.push(self._raises)
        self._changed(at_once=begins)

    def announce(self, entry: Entry, now: Instant, output: Output) -> None:
        """An alarm wants to be told: at its raise, or when a shelf or a suppression ends."""
        self.as_of_s = now.monotonic_s
        if entry.rule.priority is Priority.JOURNAL or entry.rule.mode is not Mode.LIVE:
            return
        self._forget(entry.name)
        reminder = self._remind(entry, now.monotonic_s)
        if self._waits(entry.rule.priority):
            self._collect(entry, now.monotonic_s)
        else:
            self._tell_one(entry, reminder, now, output)

    def over(self, name: str, now: Instant) -> None:
        """Acknowledged, cleared or muted: nobody is reminded.  A group that still waits tells it all the same."""
        self.as_of_s = now.monotonic_s
        self._forget(name)
        if name in self._waiting:
            self._waiting[name].over.add(name)

    def expire(self, now: Instant, output: Output) -> None:
        self.as_of_s = now.monotonic_s
        while due := self._take_due(now.monotonic_s):
            again: dict[object, list[_Reminder]] = {}
            for timer in due:
                match timer:
                    case _Raises():
                        self._ebb(now, output)
                    case _Bundle():
                        self._tell_group(timer, now, output)
                    case _Reminder():
                        self._escalate(timer, now, output)
                        if timer.repeat_s <= now.monotonic_s:
                            about = timer.entry.name if timer.apart else self._key(timer.entry)
                            again.setdefault(about, []).append(timer)
            for reminders in again.values():
                self._repeat(reminders, now, output)
            for timer in due:
                self._queue.push(timer)

    # ------------------------------------------------------------------ journal

    def record(self) -> object | None:
        """What a restart must know, as JSON; None when there is nothing.  Times in it are distances from *as_of_s*.

        {"v":1,"flood":[on,[left_s,…]],"told":[[group,[to,…],ago_s],…],
         "waiting":[[group,[to,…],summary,left_s,[name,…]],…],
         "open":[[name,ago_s,passed,repeat_left_s|null,apart],…]}
        """
        now_s, left_s = self.as_of_s, self._raises.left_s(self.as_of_s)
        if not (left_s or self._raises.on or self._bundles or self._reminders):
            return None
        return {
            "v": _VERSION,
            "flood": [self._raises.on, left_s],
            "told": [[group, list(to), now_s - told_s] for (group, to), told_s in self._told_s.items()],
            "waiting": [
                [group, list(to), bundle.summary, _left(bundle.due_s, now_s), list(bundle.entries)]
                for (group, to), bundle in self._bundles.items()
            ],
            "open": [
                [name, now_s - each.since_s, each.passed, _left(each.repeat_s, now_s), each.apart]
                for name, each in self._reminders.items()
            ],
        }

    def restore(
        self, record: object | None, now: Instant, entries: Mapping[str, Entry], *, lived_s: float = 0.0
    ) -> None:
        """Continue where an earlier desk stood; this one must be new.  Raises Unreadable, and is then as it was.

        entries: the alarms that want somebody: on, not acknowledged, not muted.  What the record says of others is
        dropped; one that the record does not know is reminded of from now on.
        lived_s: how long the earlier run went on after its desk's *as_of_s*, as far as is known.
        """
        saved = _Saved() if record is None else _read(record)
        now_s = self.as_of_s = now.monotonic_s

        def due_s(left_s: float) -> float:
            return now_s + max(0.0, left_s - lived_s)

        self._raises.resume(map(due_s, saved.left_s), saved.flooded)
        self._queue.push(self._raises)
        if self._raises.on:
            self._told_s = {key: now_s - lived_s - ago_s for key, ago_s in saved.told.items()}
        for waiting in saved.waiting:
            members = [entries[name] for name in waiting.names if name in entries]
            self._resume_group(waiting, members, due_s(waiting.left_s))
        for name, entry in _in_order(entries, saved.open):
            reminder = self._remind(entry, now_s)
            if reminder is not None:
                self._resume_reminder(reminder, saved.open.get(name), now_s, lived_s)

    def _resume_group(self, waiting: _Waiting, members: Sequence[Entry], due_s: float) -> None:
        if not members:
            return
        bundle = self._open_bundle(waiting.key, due_s, summary=waiting.summary)
        for entry in members:
            bundle.entries[entry.name] = entry
            self._waiting[entry.name] = bundle

    def _resume_reminder(self, reminder: _Reminder, kept: _Open | None, now_s: float, lived_s: float) -> None:
        if kept is None:
            if reminder.entry.name not in self._waiting:
                reminder.told(now_s, apart=True)
        else:
            reminder.passed = kept.passed
            reminder.apart = kept.apart
            reminder.since_s = now_s - lived_s - kept.ago_s
            if kept.passed < len(reminder.steps):  # not in the past, even if that moment was missed
                reminder.since_s = max(reminder.since_s, now_s - reminder.steps[kept.passed].after_s)
            if kept.repeat_left_s is not None and reminder.every_s > 0:
                reminder.repeat_s = now_s + max(0.0, kept.repeat_left_s - lived_s)
        self._queue.push(reminder)

    def _changed(self, *, at_once: bool = False) -> None:
        self._unwritten += 1
        if at_once or self._unwritten * 16 > len(self._reminders) + len(self._waiting):
            self.revision += 1
            self._unwritten = 0

    # ------------------------------------------------------------------ who waits, who is reminded of

    def _waits(self, priority: Priority) -> bool:
        if self._site.group_by is Group.NONE or priority is Priority.CRITICAL:
            return False
        return not (self._raises.on and priority is Priority.HIGH)

    def _key(self, entry: Entry) -> Key:
        return group_of(self._site.group_by, entry.place, entry.kind), entry.rule.notify

    def _collect(self, entry: Entry, now_s: float) -> None:
        key = self._key(entry)
        bundle = self._bundles.get(key)
        if bundle is None:
            due_s, told_s = now_s + self._site.group_wait_s, self._told_s.get(key)
            if told_s is not None and self._site.flood is not None:
                due_s = max(due_s, told_s + self._site.flood.summary_every_s)
            bundle = self._open_bundle(key, due_s, summary=told_s is not None)
        bundle.entries[entry.name] = entry
        bundle.over.discard(entry.name)
        self._waiting[entry.name] = bundle
        self._changed()

    def _open_bundle(self, key: Key, due_s: float, *, summary: bool) -> _Bundle:
        bundle = self._bundles[key] = _Bundle(key, self._next(), due_s, summary=summary)
        self._queue.push(bundle)
        return bundle

    def _remind(self, entry: Entry, now_s: float) -> _Reminder | None:
        every_s = self._site.repeat_s.get(entry.rule.priority, 0.0)
        if every_s <= 0 and not entry.rule.escalate:
            return None
        reminder = self._reminders[entry.name] = _Reminder(entry, self._next(), now_s, every_s)
        self._queue.push(reminder)
        self._changed()
        return reminder

    def _forget(self, name: str) -> None:
        reminder = self._reminders.pop(name, None)
        if reminder is not None:
            reminder.stop()
            self._changed()

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _take_due(self, now_s: float) -> list[_Timer]:
        """In an order that a restart does not change."""
        due: list[_Timer] = []
        while (due_s := self._queue.next_s()) <= now_s:
            for timer in self._queue.pop_due(due_s):
                assert isinstance(timer, _Timer)
                due.append(timer)
        return sorted(due, key=lambda timer: (timer.rank, timer.serial))

    # ------------------------------------------------------------------ what is said

    def _tell_one(self, entry: Entry, reminder: _Reminder | None, now: Instant, output: Output) -> None:
        self._withdraw(entry.name)
        output.line("notify", entry.name, now.utc_ms)
        output.notices.append(self._notice("alarm", [entry], now))
        if reminder is not None:
            reminder.told(now.monotonic_s, apart=True)
            self._queue.push(reminder)

    def _withdraw(self, name: str) -> None:
        """It waited in a group and is told by itself after all, since a flood has begun."""
        bundle = self._waiting.pop(name, None)
        if bundle is None:
            return
        del bundle.entries[name]
        bundle.over.discard(name)
        if not bundle.entries:
            bundle.due_s = NEVER
            del self._bundles[bundle.key]

    def _tell_group(self, bundle: _Bundle, now: Instant, output: Output) -> None:
        entries = list(bundle.entries.values())
        kind = "summary" if bundle.summary else "group"
        output.line("notify_group", bundle.key[0], now.utc_ms)
        output.notices.append(self._notice(kind, entries, now, active=len(entries) - len(bundle.over)))
        bundle.due_s = NEVER
        del self._bundles[bundle.key]
        for entry in entries:
            del self._waiting[entry.name]
            reminder = self._reminders.get(entry.name)
            if reminder is not None:
                reminder.told(now.monotonic_s, apart=False)
                self._queue.push(reminder)
        if self._raises.on:
            self._told_s[bundle.key] = now.monotonic_s
        self._changed(at_once=True)

    def _escalate(self, reminder: _Reminder, now: Instant, output: Output) -> None:
        for step in reminder.escalations(now.monotonic_s):
            output.line("escalate", reminder.entry.name, now.utc_ms, to=step.to)
            output.notices.append(self._notice("escalation", [reminder.entry], now, to=(step.to,)))
            self._changed()

    def _repeat(self, reminders: Sequence[_Reminder], now: Instant, output: Output) -> None:
        """What was told together is repeated together."""
        entries = [reminder.entry for reminder in reminders]
        if len(entries) == 1:
            output.line("repeat", entries[0].name, now.utc_ms)
        else:
            output.line("repeat_group", self._key(entries[0])[0], now.utc_ms)
        output.notices.append(self._notice("repeat", entries, now))
        for reminder in reminders:
            reminder.told(now.monotonic_s, apart=reminder.apart)
            self._changed()

    def _ebb(self, now: Instant, output: Output) -> None:
        self._raises.on = False
        self._told_s.clear()
        output.line("flood_off", "", now.utc_ms)
        for bundle in self._bundles.values():
            bundle.due_s = min(bundle.due_s, now.monotonic_s + self._site.group_wait_s)
            self._queue.push(bundle)
        self._changed(at_once=True)

    def _notice(
        self,
        kind: str,
        entries: Sequence[Entry],
        now: Instant,
        *,
        to: tuple[str, ...] | None = None,
        active: int | None = None,
    ) -> Notice:
        """*entries* are of one group, the first-out first."""
        group, everybody = self._key(entries[0])
        return Notice(
            kind=kind,
            to=everybody if to is None else to,
            alarms=tuple(
                Told(entry.name, entry.id, entry.rule.priority, entry.place, entry.message)
                for entry in islice(entries, SHOWN)
            ),
            count=len(entries),
            group=group,
            time_ms=now.utc_ms,
            priority=min((entry.rule.priority for entry in entries), key=_URGENCY.index),
            active=len(entries) if active is None else active,
        )


def group_of(by: Group, place: Place, kind: str) -> str:
    """The group as it is named to people, ``B7 2`` for a unit; empty for alarms that have none."""
    match by:
        case Group.NONE:
            return ""
        case Group.TYPE:
            return kind
        case Group.BUILDING:
            levels: tuple[str | None, ...] = (place.building,)
        case Group.UNIT:
            levels = (place.building, place.unit)
        case Group.FLOOR:
            levels = (place.building, place.unit, place.floor)
    return " ".join(level for level in levels if level) if levels[-1] else ""


# ---------------------------------------------------------------------- reading the journal


class _Waiting(NamedTuple):
    key: Key
    summary: bool
    left_s: float
    names: tuple[str, ...]


class _Open(NamedTuple):
    ago_s: float
    passed: int
    repeat_left_s: float | None
    apart: bool


@dataclass(frozen=True, slots=True)
class _Saved:
    flooded: bool = False
    left_s: tuple[float, ...] = ()
    told: Mapping[Key, float] = field(default_factory=dict)
    waiting: tuple[_Waiting, ...] = ()
    open: Mapping[str, _Open] = field(default_factory=dict)


def _read(record: Any) -> _Saved:
    """Raises Unreadable."""
    try:
        if record["v"] != _VERSION:
            raise ValueError("not of version 1")
        flooded, left_s = record["flood"]
        return _Saved(
            flooded=bool(flooded),
            left_s=tuple(map(_number, left_s)),
            told={(str(group), _words(to)): _number(ago_s) for group, to, ago_s in record["told"]},
            waiting=tuple(
                _Waiting((str(group), _words(to)), bool(summary), _number(left), _words(names))
                for group, to, summary, left, names in record["waiting"]
            ),
            open={
                str(name): _Open(
                    _number(ago_s), max(0, int(passed)), None if left is None else _number(left), bool(apart)
                )
                for name, ago_s, passed, left, apart in record["open"]
            },
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise Unreadable(f"notices: {exc!r}") from exc


def _number(found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < NEVER:
        raise ValueError(f"{found!r} is not a time")
    return float(found)


def _words(found: object) -> tuple[str, ...]:
    if not isinstance(found, list):
        raise TypeError(f"{found!r} is not a list")
    return tuple(map(str, found))


def _left(due_s: float, now_s: float) -> float | None:
    return None if due_s == NEVER else max(0.0, due_s - now_s)


def _in_order(entries: Mapping[str, Entry], kept: Mapping[str, _Open]) -> Iterator[tuple[str, Entry]]:
    """As they were announced; those that the record does not know come last."""
    yield from ((name, entries[name]) for name in kept if name in entries)
    yield from ((name, entry) for name, entry in entries.items() if name not in kept)
