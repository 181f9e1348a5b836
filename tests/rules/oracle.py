"""A second reading of the rule semantics: slow, obvious, and written without looking at the engine.

It has no timers and no stopwatches.  It keeps every sample and every verdict of a condition, looks at every instant of
a coarse grid, and works out anew from that history how long a condition has been true, what is stale, who is starved.
Its clock stands still while the box is down, so downtime never counts anywhere; only a shelf is carried over by the
wall clock.  Every duration must be a multiple of the grid, or what happens between its instants is seen too late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

Tree: TypeAlias = tuple[Any, ...]
"""("true", point), (">", point, limit), ("is", point, word), ("not", t), ("and", s, t), ("or", s, t),
("at_least", n, t...), ("alarm", rule)"""
Verdict: TypeAlias = bool | None

FORGOTTEN_S = 3600.0
BACKLOG_S = 300.0
FUTURE_S = 5.0
SHELF_S = 8 * 3600.0
ACTIVE = ("unack", "acked")
LATCHED = ("latched_unack", "latched_acked")


@dataclass(frozen=True)
class PointSpec:
    id: str
    kind: str
    """``bool``, ``number``, ``state``"""
    period_s: float | None
    words: tuple[str, ...] = ("open", "closed")


@dataclass(frozen=True)
class Chatter:
    raises: int
    within_s: float
    calm_s: float


@dataclass(frozen=True)
class RuleSpec:
    id: str
    when: Tree
    clear_when: Tree | None = None
    suppress_when: Tree | None = None
    deadband: float = 0.0
    for_s: float = 0.0
    clear_after_s: float = 0.0
    no_data: str = "hold"
    no_data_after_s: float | None = None
    ack_auto: bool = False
    latch: bool = False
    longest_shelf_s: float = SHELF_S
    """0: never."""
    chatter: Chatter | None = None
    daily: tuple[float, float] | None = None
    """Seconds after local midnight; the second one not included, and on the next day if it is the smaller one."""
    parent_wait_s: float = 0.0
    mode: str = "live"

    @property
    def condition(self) -> tuple[Any, ...]:
        """What makes it another condition when it changes."""
        return self.when, self.clear_when, self.deadband, self.daily


@dataclass(frozen=True)
class JobSpec:
    id: str
    at_s: float


@dataclass(frozen=True)
class Sample:
    point: str
    value: Any
    """None: not to be believed."""
    measured_s: float
    received_s: float


@dataclass
class Pause:
    until_s: float
    until_wall_s: float


@dataclass
class Track:
    """One alarm, and everything its condition has ever been."""

    rule: RuleSpec
    state: str = "normal"
    verdicts: list[tuple[float, Verdict]] = field(default_factory=list)
    """Since when it has been so; each differs from the one before."""
    count: int = 0
    reason: str = "condition"
    acked_by: str = ""
    raised_s: list[float] = field(default_factory=list)
    chatter_s: list[float] = field(default_factory=list)
    """When it was raised, as far as it was watched for chatter."""
    held_at_raise_s: float = 0.0
    condition: tuple[Any, ...] = ()
    """The one it was judged by."""
    known: bool | None = False
    """None: nobody can say, the box has not looked since it started."""
    shelf: Pause | None = None
    outage: Pause | None = None
    suppressed: bool = False
    chattering: bool = False
    told: bool = True
    tell_s: float | None = None
    since_wall_s: float = 0.0
    was_shown: str = "normal"
    gone: bool = False
    """Its rule is: it only waits for its reset."""

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def quiet(self) -> bool:
        return self.suppressed or self.shelf is not None or self.outage is not None

    def say(self, now_s: float, verdict: Verdict) -> None:
        if not self.verdicts or self.verdicts[-1][1] is not verdict:
            self.verdicts.append((now_s, verdict))

    def forget(self, now_s: float) -> None:
        """No delay goes on from here."""
        self.verdicts += [(now_s, False), (now_s, None)]

    def lasted_s(self, wanted: bool, now_s: float, *, timers: bool) -> float | None:
        """How long the verdict has been *wanted*, without a definite opposite.  None: it has not been.

        Unknown stands still; after an hour without interruption everything before it is forgotten.
        """
        total_s, end_s, found = 0.0, now_s, False
        for number, (began_s, verdict) in enumerate(reversed(self.verdicts)):
            lasted_s = end_s - began_s
            if verdict is (not wanted):
                break
            if verdict is None:
                goes_on = number == 0 and timers
                if lasted_s > FORGOTTEN_S or (goes_on and lasted_s == FORGOTTEN_S):
                    break
            else:
                found = True
                total_s += lasted_s
            end_s = began_s
        return total_s if found else None


class Oracle:
    def __init__(self, points: Sequence[PointSpec], rules: Sequence[RuleSpec], zone: str, jobs: Sequence[JobSpec]):
        self.points = {point.id: point for point in points}
        self.zone = ZoneInfo(zone)
        self.jobs = list(jobs)
        self.samples: list[Sample] = []
        """Of this run of the box."""
        self.started_s = 0.0
        self.wall_s = 0.0
        self.ran: dict[str, float] = {}
        self.tracks = {rule.id: Track(rule, condition=rule.condition) for rule in rules if rule.mode != "off"}
        self.lines: list[str] = []
        self.published: list[tuple[str, str, str, bool]] = []
        """(rule, state, reason, whether it only goes into the journal)"""

    # ------------------------------------------------------------------ what happens

    def begin(self, now_s: float, wall_s: float) -> None:
        self.wall_s = self.ran_until_s = wall_s
        for track in self.tracks.values():
            track.since_wall_s = 0.0
            track.say(now_s, None)

    def message(self, now_s: float, wall_s: float, samples: Mapping[str, tuple[Any, float]]) -> None:
        """point -> (value, its time on the wall clock)."""
        self.wall_s = wall_s
        for point, (value, source_wall_s) in samples.items():
            age_s = wall_s - source_wall_s
            age_s = 0.0 if age_s < -FUTURE_S else age_s
            if age_s <= BACKLOG_S:
                self.samples.append(Sample(point, self._believed(point, value), now_s - age_s, now_s))
        self._look(now_s, timers=False, heard=frozenset(samples))

    def timers(self, now_s: float, wall_s: float) -> None:
        self.wall_s = wall_s
        self._look(now_s, timers=True)
        self._run_jobs()

    def ack(self, rule: str, who: str, now_s: float) -> None:
        track = self.tracks[rule]
        after = {"unack": "acked", "rtn_unack": "normal", "latched_unack": "latched_acked"}.get(track.state)
        if after is None:
            return
        self._line("ack", track)
        track.acked_by = who
        self._move(track, after, now_s, "ack")

    def reset(self, rule: str, now_s: float) -> None:
        track = self.tracks[rule]
        if track.state != "latched_acked":
            self._line("reset_refused", track)
            return
        self._line("reset", track)
        self._move(track, "normal", now_s, "reset")
        if track.gone:
            del self.tracks[rule]

    def shelve(self, rule: str, for_s: float, now_s: float) -> None:
        track = self.tracks[rule]
        if for_s > track.rule.longest_shelf_s:
            self._line("shelve_refused", track)
            return
        self._line("shelve", track)
        track.shelf = Pause(now_s + for_s, self.wall_s + for_s)

    def unshelve(self, rule: str, now_s: float) -> None:
        track = self.tracks[rule]
        if track.shelf is not None:
            self._line("unshelve", track)
            track.shelf = None
            self._again(track, now_s)

    def out_of_service(self, rule: str, for_s: float | None, now_s: float) -> None:
        track = self.tracks[rule]
        self._line("out_of_service", track)
        forever = float("inf")
        track.outage = Pause(now_s + (for_s or forever), self.wall_s + (for_s or forever))

    def in_service(self, rule: str, now_s: float) -> None:
        track = self.tracks[rule]
        if track.outage is not None:
            self._line("in_service", track)
            track.outage = None
            self._again(track, now_s)

    def restart(self, now_s: float, wall_s: float) -> None:
        """Down and up again: for us no time has passed, on the wall it has."""
        self.wall_s = self.ran_until_s = wall_s
        self.samples = []
        self.started_s = now_s
        for track in self.tracks.values():
            track.say(now_s, None)
            track.known = None
            if track.tell_s is not None:  # its parent has to be heard again
                track.tell_s = now_s + track.rule.parent_wait_s
            for pause in (track.shelf, track.outage):
                if pause is not None:
                    pause.until_s = now_s + max(0.0, pause.until_wall_s - wall_s)

    def reload(self, rules: Sequence[RuleSpec], now_s: float) -> None:
        new = {rule.id: rule for rule in rules}
        kept = {}
        for name, track in self.tracks.items():
            rule = new.get(name)
            if rule is not None and rule.mode != "off":
                self._replace_rule(track, rule, now_s)
                kept[name] = track
            else:
                self._retire(track, "rule_deleted" if rule is None else "rule_off", now_s)
                if track.state in LATCHED:
                    kept[name] = track
        for rule in rules:
            if rule.mode != "off" and rule.id not in kept:
                kept[rule.id] = Track(rule, condition=rule.condition)
                kept[rule.id].say(now_s, None)
        self.tracks = kept
        self._look(now_s, timers=True)

    # ------------------------------------------------------------------ what is known

    def _believed(self, point: str, value: Any) -> Any:
        spec = self.points[point]
        if value in ("bad", "nan", "inf"):
            return None
        if spec.kind == "state" and value not in spec.words:
            return None
        return value

    def _newest(self, point: str) -> Sample | None:
        """A sample that was measured before one that has come already is late and never the live value."""
        newest = None
        for sample in self.samples:
            if sample.point == point and (newest is None or sample.measured_s >= newest.measured_s):
                newest = sample
        return newest

    def _last_good_s(self, point: str) -> float:
        good_s, newest = self.started_s, None
        for sample in self.samples:
            if sample.point != point or (newest is not None and sample.measured_s < newest.measured_s):
                continue
            newest = sample
            if sample.value is not None:
                good_s = max(good_s, sample.measured_s)
        return good_s

    def _limit_s(self, rule: RuleSpec, point: str) -> float:
        period_s = self.points[point].period_s
        limits = [3 * period_s] if period_s is not None else []
        limits += [rule.no_data_after_s] if rule.no_data_after_s is not None else []
        return min(limits, default=float("inf"))

    def _value(self, rule: RuleSpec, point: str, now_s: float, timers: bool) -> Any:
        newest = self._newest(point)
        if newest is None or newest.value is None:
            return None
        age_s, limit_s = now_s - newest.measured_s, self._limit_s(rule, point)
        arrives_late = newest.received_s == now_s and age_s >= limit_s
        is_stale = age_s > limit_s or (age_s == limit_s and timers) or arrives_late
        return None if is_stale else newest.value

    def _awaited(self, rule: RuleSpec, now_s: float, timers: bool) -> bool:
        """What would suppress it has not been heard since the box started, and need not have been yet."""
        for point in points_of(rule.suppress_when) if rule.suppress_when is not None else ():
            since_s, limit_s = now_s - self.started_s, self._limit_s(rule, point)
            waits = since_s < limit_s or (since_s == limit_s and not timers)
            if self._newest(point) is None and waits:
                return True
        return False

    def _starved(self, rule: RuleSpec, tree: Tree, now_s: float, timers: bool) -> bool:
        for point in points_of(tree):
            if self._value(rule, point, now_s, timers) is None:
                limit_s = rule.no_data_after_s
                if limit_s is None:
                    limit_s = self._limit_s(rule, point)
                without_s = now_s - self._last_good_s(point)
                if without_s > limit_s or (timers and without_s == limit_s):
                    return True
        return False

    def judge(
        self, rule: RuleSpec, tree: Tree, now_s: float, timers: bool, band: float = 0.0, up: bool = True
    ) -> Verdict:
        """Kleene logic.  *band* moves every limit so that the whole stays true for longer; *up*: not under a `not`."""
        kind, *rest = tree
        if kind == "not":
            inner = self.judge(rule, rest[0], now_s, timers, band, not up)
            return None if inner is None else not inner
        if kind in ("and", "or", "at_least"):
            needed = {"and": len(rest), "or": 1}.get(kind) or rest.pop(0)
            found = [self.judge(rule, each, now_s, timers, band, up) for each in rest]
            if found.count(True) >= needed:
                return True
            return None if found.count(True) + found.count(None) >= needed else False
        if kind == "alarm":
            asked = self.tracks.get(rest[0])
            is_told = asked is not None and (asked.rule.mode != "shadow" or rule.mode == "shadow")
            return asked is not None and asked.active and is_told
        value = self._value(rule, rest[0], now_s, timers)
        if value is None:
            return None
        if kind == "true":
            return value is True
        if kind == "is":
            return bool(value == rest[1])
        limit = float(rest[1])
        if not band:
            return {">": value > limit, ">=": value >= limit, "<": value < limit, "<=": value <= limit}[str(kind)]
        if kind in (">", ">="):
            return bool(value >= limit - band if up else value > limit + band)
        return bool(value <= limit + band if up else value < limit - band)

    def _is_open(self, daily: tuple[float, float], timers: bool) -> bool:
        """At the instant at which it opens, that is a timer; at the one at which it closes it is closed."""
        return self._covers(daily, self.wall_s) and (timers or self._covers(daily, self.wall_s - 0.001))

    def _covers(self, daily: tuple[float, float], wall_s: float) -> bool:
        local = datetime.fromtimestamp(wall_s, UTC).astimezone(self.zone)
        second = _second(local)
        start_s, end_s = daily
        return start_s <= second < end_s if start_s < end_s else second >= start_s or second < end_s

    # ------------------------------------------------------------------ what follows

    def _look(self, now_s: float, *, timers: bool, heard: frozenset[str] = frozenset()) -> None:
        """Rules may ask for each other's alarms: until nothing changes any more."""
        for _ in range(20):
            before = self._everything()
            for track in sorted(self.tracks.values(), key=_asks):
                if not track.gone:
                    self._decide(track, now_s, timers)
            if before == self._everything():
                return
        raise RuntimeError("the rules wait for each other")

    def _everything(self) -> object:
        return [
            (t.rule.id, t.state, t.reason, t.suppressed, len(t.verdicts), t.shelf is None) for t in self.tracks.values()
        ]

    def _decide(self, track: Track, now_s: float, timers: bool) -> None:
        rule = track.rule
        own = track.active and track.reason == "condition" and track.condition == rule.condition
        verdict = self.judge(rule, rule.when, now_s, timers, rule.deadband if own else 0.0)
        asked = rule.when
        if own and rule.clear_when is not None:
            asked = ("or", rule.when, ("not", rule.clear_when))
            verdict = self.judge(rule, asked, now_s, timers)
        is_closed = rule.daily is not None and not self._is_open(rule.daily, timers)
        verdict = False if is_closed else verdict
        starved = verdict is None and self._starved(rule, asked, now_s, timers)
        if verdict is not None or track.known is not None:
            track.known = None if is_closed else verdict is not None
        track.say(now_s, verdict)
        if track.active:
            self._while_active(track, verdict, starved, now_s, timers)
        else:
            self._while_inactive(track, verdict, starved, now_s, timers)
        self._show(track, now_s, timers)
        self._beside(track, now_s, timers)

    def _while_inactive(self, track: Track, verdict: Verdict, starved: bool, now_s: float, timers: bool) -> None:
        rule = track.rule
        track.condition = rule.condition
        held_s = track.lasted_s(True, now_s, timers=timers)
        if starved and rule.no_data == "alarm":
            track.verdicts += [(now_s, True), (now_s, None)]  # what was over before does not count
            self._raise(track, "no_data", 0.0, now_s, timers)
        elif starved and rule.no_data == "clear" and held_s is not None:
            track.forget(now_s)
        elif verdict and held_s is not None and _over(held_s, rule.for_s, timers):
            self._raise(track, "condition", held_s, now_s, timers)

    def _while_active(self, track: Track, verdict: Verdict, starved: bool, now_s: float, timers: bool) -> None:
        rule = track.rule
        if verdict:
            track.condition = rule.condition
            if track.reason == "no_data":
                track.reason = "condition"
                self._line("reason", track)
                self._publish(track, "condition")
        elif verdict is False:
            off_s = rule.clear_after_s
            if track.chattering and rule.chatter is not None:
                off_s = max(off_s, rule.chatter.calm_s)
            over_s = track.lasted_s(False, now_s, timers=timers)
            if track.condition != rule.condition:
                self._clear(track, "rule_changed", now_s)
            elif over_s is not None and _over(over_s, off_s, timers):
                self._clear(track, "condition", now_s)
        elif starved and rule.no_data == "clear":
            self._clear(track, "no_data", now_s)

    def _raise(self, track: Track, reason: str, held_s: float, now_s: float, timers: bool) -> None:
        rule = track.rule
        track.count += 1
        track.reason, track.held_at_raise_s, track.acked_by = reason, held_s, ""
        track.condition = rule.condition
        track.raised_s.append(now_s)
        self._line("raise", track)
        self._move(track, "unack", now_s, reason)
        track.chatter_s = [*track.chatter_s, now_s] if rule.chatter is not None else []
        if rule.chatter is not None:
            recent = [raised_s for raised_s in track.chatter_s if now_s - raised_s <= rule.chatter.within_s]
            if len(recent) >= rule.chatter.raises and not track.chattering:
                track.chattering = True
                self._line("chatter_on", track)
        muted = rule.suppress_when is not None and self.judge(rule, rule.suppress_when, now_s, timers) is True
        track.suppressed = muted
        track.told, track.tell_s = True, None
        if track.quiet or rule.mode == "shadow":
            self._line("quiet", track)
        elif rule.parent_wait_s:
            track.told, track.tell_s = False, now_s + rule.parent_wait_s
        else:
            self._line("notify", track)

    def _clear(self, track: Track, reason: str, now_s: float) -> None:
        seen = track.state == "acked"
        after = "normal" if seen or track.rule.ack_auto else "rtn_unack"
        if track.rule.latch:
            after = "latched_acked" if seen else "latched_unack"
        self._line("clear", track)
        if track.chattering:
            track.chattering = False
            self._line("chatter_off", track)
        track.tell_s = None
        track.forget(now_s)
        track.condition = track.rule.condition
        self._move(track, after, now_s, reason)

    def _beside(self, track: Track, now_s: float, timers: bool) -> None:
        rule = track.rule
        if rule.suppress_when is None:
            self._suppress(track, False, now_s)
        else:
            muted = self.judge(rule, rule.suppress_when, now_s, timers)
            if muted is not None or not track.suppressed or not self._awaited(rule, now_s, timers):
                self._suppress(track, muted is True, now_s)
        if timers and track.shelf is not None and track.shelf.until_s <= now_s:
            self.unshelve(rule.id, now_s)
        if timers and track.outage is not None and track.outage.until_s <= now_s:
            self.in_service(rule.id, now_s)
        if timers and track.tell_s is not None and track.tell_s <= now_s:
            track.tell_s = None
            if track.active and not track.quiet and not track.told:
                track.told = True
                self._line("notify", track)

    def _suppress(self, track: Track, muted: bool, now_s: float) -> None:
        if track.suppressed is muted:
            return
        track.suppressed = muted
        if track.active:
            self._line("suppress" if muted else "unsuppress", track)
        if not muted:
            self._again(track, now_s)

    def _again(self, track: Track, now_s: float) -> None:
        """Something that kept it quiet is over."""
        if not track.active or track.quiet or track.rule.mode == "shadow":
            return
        if track.state == "acked":
            track.acked_by = ""
            self._move(track, "unack", now_s, "again")
        track.told = True
        self._line("notify", track)

    def _replace_rule(self, track: Track, rule: RuleSpec, now_s: float) -> None:
        if track.rule.condition != rule.condition and not track.active:
            track.forget(now_s)
            self._show(track, now_s, True)
        if track.tell_s is not None:
            track.tell_s = now_s + rule.parent_wait_s
        track.rule, track.gone = rule, False

    def _retire(self, track: Track, reason: str, now_s: float) -> None:
        if track.gone:
            return
        if track.active:
            self._line("clear", track)
        else:
            track.forget(now_s)
            self._show(track, now_s, True)
        if track.state != "normal" and track.state not in LATCHED:
            track.state = "normal"
            self.published.append((track.rule.id, "normal", reason, track.rule.mode == "shadow"))
        track.gone = True

    # ------------------------------------------------------------------ what is said

    def _run_jobs(self) -> None:
        first = datetime.fromtimestamp(self.ran_until_s, UTC)
        for minute in range(1, int((self.wall_s - self.ran_until_s) // 60) + 1):
            self._run_jobs_of(first + timedelta(minutes=minute))
        self.ran_until_s = max(self.ran_until_s, self.wall_s)

    def _run_jobs_of(self, moment: datetime) -> None:
        """Every minute of the day is looked at: the first one at which the local clock shows that time or more."""
        local = moment.astimezone(self.zone)
        earlier = (moment - timedelta(minutes=1)).astimezone(self.zone)
        for job in self.jobs:
            now_at, before_at = _second(local), _second(earlier)
            due = now_at >= job.at_s and (before_at < job.at_s or earlier.date() != local.date())
            day = local.date().toordinal()
            if due and self.ran.get(job.id) != day:
                self.ran[job.id] = day
                self.lines.append(f"run {job.id}")

    def _move(self, track: Track, state: str, now_s: float, reason: str) -> None:
        track.state = state
        self._publish(track, reason)
        track.since_wall_s = self.wall_s
        if reason in ("ack", "reset"):
            self._show(track, now_s, True)

    def _publish(self, track: Track, reason: str) -> None:
        is_shadow = track.rule.mode == "shadow"
        self.published.append(
            (track.rule.id, track.state, "shadow" if is_shadow and not track.gone else reason, is_shadow)
        )

    def _show(self, track: Track, now_s: float, timers: bool) -> None:
        before, after = track.was_shown, self.shown(track, now_s, timers)
        track.was_shown = after
        if after == "pending" != before:
            self._line("pending", track)
        if before == "pending" != after and not track.active:
            self._line("pending_cancel", track)
        if before != after and "pending" in (before, after):
            track.since_wall_s = self.wall_s

    def _line(self, event: str, track: Track) -> None:
        self.lines.append(f"{event} {track.rule.id}")

    def shown(self, track: Track, now_s: float, timers: bool) -> str:
        waits = track.state == "normal" and track.lasted_s(True, now_s, timers=timers) is not None
        return "pending" if waits else track.state

    def held_s(self, track: Track, now_s: float) -> float:
        if track.active:
            return track.held_at_raise_s + now_s - track.raised_s[-1]
        return track.lasted_s(True, now_s, timers=True) or 0.0


def _over(lasted_s: float, limit_s: float, timers: bool) -> bool:
    """A delay ends when timers run, so inputs of the same instant come before it."""
    return limit_s == 0 or lasted_s > limit_s or (timers and lasted_s == limit_s)


def _asks(track: Track) -> bool:
    """Who asks for other alarms is looked at after them."""
    return "alarm" in str((track.rule.when, track.rule.clear_when, track.rule.suppress_when))


def _second(local: datetime) -> int:
    return local.hour * 3600 + local.minute * 60 + local.second


def points_of(tree: Tree) -> Iterator[str]:
    kind, *rest = tree
    if kind in ("not", "and", "or", "at_least"):
        for each in rest:
            if isinstance(each, tuple):
                yield from points_of(each)
    elif kind != "alarm":
        yield rest[0]
