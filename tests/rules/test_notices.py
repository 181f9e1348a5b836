from __future__ import annotations

import copy
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Place, Priority, Text
from rules.alarm import Instant, Timing
from rules.journal import Unreadable
from rules.notices import SHOWN, Desk, Entry, group_of
from rules.output import Notice, Output
from rules.rule import Escalation, Flood, Group, Mode, Rule, Site
from rules.timers import NEVER

CALM = Flood(start=1000)
B7 = Place(building="B7", unit="2", floor="12")
B8 = Place(building="B8", unit="2", floor="12")


def rule(
    priority: Priority = Priority.MEDIUM,
    *,
    escalate: tuple[tuple[float, str], ...] = (),
    notify: tuple[str, ...] = (),
    mode: Mode = Mode.LIVE,
) -> Rule:
    return Rule(
        id="r",
        name=Text("名", "name"),
        note=Text("", ""),
        mode=mode,
        priority=priority,
        timing=Timing(),
        no_data_after_s=None,
        basis="",
        message=((), ()),
        response=Text("", ""),
        response_within_s=None,
        escalate=tuple(Escalation(after_s, to) for after_s, to in escalate),
        notify=notify,
    )


def entry(name: str, of: Rule | None = None, place: Place = B7, *, kind: str = "door", number: int = 1) -> Entry:
    return Entry(name, of or rule(), place, kind, Text(f"{name}开", f"{name} open"), f"{name}#{number}")


class Stage:
    """A desk and its clock: timers run at their own instants, as the engine runs them."""

    def __init__(self, site: Site, start_s: float = 0.0) -> None:
        self.desk = Desk(site)
        self.site = site
        self.now_s = start_s
        self.start_s = start_s
        self.notices: list[Notice] = []
        self.log: list[tuple[float, str]] = []

    def at(self, now_s: float) -> Instant:
        return Instant(now_s, round((now_s - self.start_s) * 1000))

    def _took(self, output: Output) -> None:
        assert [*output.alarms, *output.orders, *output.saved] == []
        self.notices += output.notices
        self.log += [(line.time_ms / 1000, str(line)) for line in output.lines]

    def until(self, t_s: float) -> None:
        """Including the timers due then."""
        end_s = self.start_s + t_s
        while (due_s := self.desk.due_s) <= end_s:
            assert due_s >= self.now_s
            self.now_s = due_s
            output = Output()
            self.desk.expire(self.at(due_s), output)
            assert self.desk.due_s > due_s
            self._took(output)
        self.now_s = end_s

    def raises(self, t_s: float, what: Entry) -> None:
        self._arrive(t_s)
        output = Output()
        self.desk.raised(self.at(self.now_s), output)
        self.desk.announce(what, self.at(self.now_s), output)
        self._took(output)

    def announces(self, t_s: float, what: Entry) -> None:
        self._arrive(t_s)
        output = Output()
        self.desk.announce(what, self.at(self.now_s), output)
        self._took(output)

    def over(self, t_s: float, name: str) -> None:
        self._arrive(t_s)
        self.desk.over(name, self.at(self.now_s))

    def _arrive(self, t_s: float) -> None:
        """Inputs come before the timers due at the same instant."""
        end_s = self.start_s + t_s
        while self.desk.due_s < end_s:
            self.until(self.desk.due_s - self.start_s)
        self.now_s = end_s

    def said(self) -> list[tuple[float, str]]:
        found, self.log = self.log, []
        return found


# ---------------------------------------------------------------------- timelines


@dataclass(frozen=True)
class Step:
    t_s: float
    does: str
    """``raise``, ``announce``, ``over``, ``until``"""
    what: Entry | str = ""


@dataclass(frozen=True)
class Timeline:
    about: str
    site: Site
    steps: tuple[Step, ...]
    said: tuple[tuple[float, str], ...]


def up(t_s: float, name: str, of: Rule | None = None, place: Place = B7) -> Step:
    return Step(t_s, "raise", entry(name, of, place))


CRITICAL, HIGH, LOW = rule(Priority.CRITICAL), rule(Priority.HIGH), rule(Priority.LOW)
GROUPED = Site(group_by=Group.BUILDING, flood=CALM)
FLOODED = Site(group_by=Group.BUILDING, flood=Flood(start=3, end=2, within_s=600, summary_every_s=60))
NAGGING = Site(flood=CALM, repeat_s={Priority.CRITICAL: 300.0, Priority.HIGH: 1800.0})

TIMELINES = [
    Timeline(
        "without groups every announcement is told at once, low ones too",
        Site(flood=CALM),
        (up(0, "a"), up(0, "b", LOW), Step(3, "over", "a"), up(4, "a"), Step(900, "until")),
        ((0, "notify a"), (0, "notify b"), (4, "notify a")),
    ),
    Timeline(
        "five seconds after the first, one notice per building; critical ones do not wait",
        GROUPED,
        (up(0, "a", HIGH), up(1, "b", place=B8), up(4.9, "c"), up(4.9, "d", CRITICAL), Step(60, "until")),
        ((4.9, "notify d"), (5, "notify_group B7"), (6, "notify_group B8")),
    ),
    Timeline(
        "an alarm that comes at the very end of the wait is in, the next one begins another",
        GROUPED,
        (up(0, "a"), up(5, "b"), Step(5, "until"), up(5, "c"), Step(60, "until")),
        ((5, "notify_group B7"), (10, "notify_group B7")),
    ),
    Timeline(
        "what is over in the meantime is told all the same",
        GROUPED,
        (up(0, "a"), Step(1, "over", "a"), Step(60, "until")),
        ((5, "notify_group B7"),),
    ),
    Timeline(
        "without a wait the notice goes with the timers of the same instant",
        replace(GROUPED, group_wait_s=0.0),
        (up(1, "a"), up(1, "b"), Step(1, "until"), up(1, "c"), Step(9, "until")),
        ((1, "notify_group B7"), (1, "notify_group B7")),
    ),
    Timeline(
        "repeated by priority until it is over",
        NAGGING,
        (
            up(0, "a", CRITICAL),
            up(1, "b", HIGH),
            up(2, "c"),
            Step(900, "over", "a"),
            Step(4000, "over", "b"),
            up(5000, "c"),
        ),
        (
            (0, "notify a"),
            (1, "notify b"),
            (2, "notify c"),
            (300, "repeat a"),
            (600, "repeat a"),
            (1801, "repeat b"),
            (3601, "repeat b"),
            (5000, "notify c"),
        ),
    ),
    Timeline(
        "not more often than every second",
        Site(flood=CALM, repeat_s={Priority.MEDIUM: 0.25}),
        (up(0, "a"), Step(2.5, "until")),
        ((0, "notify a"), (1, "repeat a"), (2, "repeat a")),
    ),
    Timeline(
        "announced again, it begins anew",
        NAGGING,
        (up(0, "a", CRITICAL), Step(200, "announce", entry("a", CRITICAL)), Step(600, "until")),
        ((0, "notify a"), (200, "notify a"), (500, "repeat a")),
    ),
    Timeline(
        "told together, repeated together; the wait comes first",
        replace(GROUPED, repeat_s={Priority.MEDIUM: 60.0, Priority.LOW: 0.0}),
        (up(0, "a"), up(1, "b"), up(2, "c", LOW), Step(70, "over", "a"), Step(130, "until")),
        ((5, "notify_group B7"), (65, "repeat_group B7"), (125, "repeat b")),
    ),
    Timeline(
        "escalation counts from the announcement, even while the group waits",
        replace(GROUPED, group_wait_s=60.0),
        (
            up(0, "a", rule(escalate=((30, "captain"), (0, "deputy"), (90, "manager")))),
            Step(80, "over", "a"),
            Step(99, "until"),
        ),
        ((0, "escalate a"), (30, "escalate a"), (60, "notify_group B7")),
    ),
    Timeline(
        "journal rules and rules on trial are told to nobody",
        replace(NAGGING, repeat_s=dict.fromkeys(Priority, 10.0)),
        (
            up(0, "a", rule(Priority.JOURNAL, escalate=((1, "x"),))),
            up(0, "b", rule(mode=Mode.SHADOW)),
            Step(99, "until"),
        ),
        (),
    ),
    Timeline(
        "in a flood high ones go singly, a group once at its time and then in summaries",
        FLOODED,
        (
            up(0, "a"),
            up(1, "b", CRITICAL),
            up(2, "c", HIGH, B8),
            up(3, "d", LOW, B8),
            up(10, "e"),
            up(20, "f"),
            up(66, "g"),
            up(200, "h"),
            Step(300, "until"),
        ),
        (
            (1, "notify b"),
            (2, "flood_on"),
            (2, "notify c"),
            (5, "notify_group B7"),
            (8, "notify_group B8"),
            (65, "notify_group B7"),
            (125, "notify_group B7"),
            (205, "notify_group B7"),
        ),
    ),
    Timeline(
        "the flood ends when the last but one raise leaves; what waits for a summary waits no longer",
        replace(FLOODED, flood=Flood(3, 2, 30.0, 600.0)),
        (*(up(t, f"a{t}") for t in (0, 1, 2)), up(9, "b"), Step(38, "until"), up(38, "c"), Step(99, "until")),
        ((2, "flood_on"), (5, "notify_group B7"), (32, "flood_off"), (37, "notify_group B7"), (43, "notify_group B7")),
    ),
    Timeline(
        "a new flood knows nothing of the last one",
        replace(FLOODED, flood=Flood(2, 1, 10.0, 600.0)),
        (up(0, "a"), up(0, "b"), Step(30, "until"), up(30, "c"), up(31, "d"), Step(99, "until")),
        (
            (0, "flood_on"),
            (5, "notify_group B7"),
            (10, "flood_off"),
            (31, "flood_on"),
            (35, "notify_group B7"),
            (41, "flood_off"),
        ),
    ),
    Timeline(
        "a high alarm that waited is told by itself when it is announced again in a flood, and once",
        replace(FLOODED, flood=Flood(2, 1, 100.0, 60.0)),
        (up(0, "a", HIGH), up(1, "a", HIGH), Step(60, "until")),
        ((1, "flood_on"), (1, "notify a")),
    ),
]


def play(timeline: Timeline) -> Stage:
    stage = Stage(timeline.site)
    for step in timeline.steps:
        match step.does, step.what:
            case "raise", Entry() as what:
                stage.raises(step.t_s, what)
            case "announce", Entry() as what:
                stage.announces(step.t_s, what)
            case "over", str(name):
                stage.over(step.t_s, name)
            case _:
                stage.until(step.t_s)
    return stage


@pytest.mark.parametrize("timeline", TIMELINES, ids=[each.about for each in TIMELINES])
def test_timeline(timeline: Timeline) -> None:
    without_ebb = [each for each in play(timeline).log if each[0] <= timeline.steps[-1].t_s]
    assert tuple(without_ebb) == timeline.said


def test_all_timelines_ran() -> None:
    assert len(TIMELINES) == 15


# ---------------------------------------------------------------------- what a notice holds


def test_a_group_notice_names_the_first_out_and_counts_all() -> None:
    stage = Stage(GROUPED)
    for number in range(SHOWN + 5):
        stage.raises(number / 10, entry(f"a{number}", HIGH if number == SHOWN else LOW))
    stage.over(3, "a7")
    stage.over(3, "a8")
    stage.raises(4, entry("a0", number=2))
    stage.raises(4, entry("a8", number=2))
    stage.until(5)
    [notice] = stage.notices
    assert (notice.kind, notice.to, notice.group, notice.time_ms) == ("group", (), "B7", 5000)
    assert [told.name for told in notice.alarms] == [f"a{number}" for number in range(SHOWN)]
    assert (notice.count, notice.active) == (SHOWN + 5, SHOWN + 4)
    assert notice.priority is Priority.HIGH
    assert notice.alarms[0].id == "a0#2"
    assert notice.alarms[0].message == Text("a0开", "a0 open")


def test_people_named_by_a_rule_are_told_of_its_alarms_only() -> None:
    stage = Stage(GROUPED)
    plumber = rule(notify=("plumber",), escalate=((20, "manager"),))
    for what in (entry("a", plumber), entry("b"), entry("c", plumber)):
        stage.raises(0, what)
    stage.until(20)
    assert [(each.kind, each.to, [told.name for told in each.alarms]) for each in stage.notices] == [
        ("group", ("plumber",), ["a", "c"]),
        ("group", (), ["b"]),
        ("escalation", ("manager",), ["a"]),
        ("escalation", ("manager",), ["c"]),
    ]


def test_summary_is_called_so() -> None:
    stage = Stage(FLOODED)
    for number in range(4):
        stage.raises(number, entry(f"a{number}"))
    stage.raises(10, entry("late"))
    stage.until(100)
    assert [(each.kind, each.count) for each in stage.notices] == [("group", 4), ("summary", 1)]


@pytest.mark.parametrize(
    ("by", "place", "kind", "group"),
    [
        (Group.NONE, B7, "door", ""),
        (Group.BUILDING, B7, "door", "B7"),
        (Group.BUILDING, Place(unit="2"), "door", ""),
        (Group.UNIT, B7, "door", "B7 2"),
        (Group.UNIT, Place(building="B7"), "door", ""),
        (Group.FLOOR, B7, "door", "B7 2 12"),
        (Group.FLOOR, Place(building="B7", floor="12"), "door", "B7 12"),
        (Group.TYPE, Place(), "door", "door"),
        (Group.TYPE, B7, "", ""),
    ],
)
def test_groups(by: Group, place: Place, kind: str, group: str) -> None:
    assert group_of(by, place, kind) == group


# ---------------------------------------------------------------------- floods


@pytest.mark.parametrize(
    ("flood", "raises_s", "said"),
    [
        (Flood(3, 2, 10), (0, 1, 10), []),  # the first one leaves at the instant at which the third comes
        (Flood(3, 2, 10), (0, 1, 9.5), [(9.5, "flood_on"), (11, "flood_off")]),
        (Flood(3, 3, 10), (0, 1, 2), [(2, "flood_on"), (10, "flood_off")]),
        (Flood(3, 2, 10), (0, 0, 0), [(0, "flood_on"), (10, "flood_off")]),
        (Flood(3, 2, 10), (0, 1, 2, 11), [(2, "flood_on"), (12, "flood_off")]),  # one leaves, one comes: still two
        (Flood(1, 1, 10), (0, 5), [(0, "flood_on"), (15, "flood_off")]),
        (Flood(2, 1, 0), (0, 0, 0), []),
        (Flood(3, 9, 10), (0, 1, 2), [(2, "flood_on"), (10, "flood_off")]),  # an end above the start means the start
    ],
)
def test_flood_edges(flood: Flood, raises_s: Sequence[float], said: list[tuple[float, str]]) -> None:
    stage = Stage(Site(flood=flood))
    for t_s in raises_s:
        stage._arrive(t_s)
        output = Output()
        stage.desk.raised(stage.at(t_s), output)
        stage._took(output)
    stage.until(1000)
    assert stage.said() == said


def storm(stage: Stage) -> None:
    """Case C15: 5000 alarms of 40 buildings within a second, and a critical one among them."""
    power = rule(Priority.MEDIUM)
    for number in range(5000):
        if number == 2500:
            stage.raises(10.5, entry("gas", CRITICAL))
        stage.raises(10 + number / 5000, entry(f"pm{number}", power, Place(building=f"B{number % 40}")))


def test_storm() -> None:
    stage = Stage(Site(group_by=Group.BUILDING, flood=Flood()))
    storm(stage)
    count = Counter(line.split()[0] for _, line in stage.log)
    assert count == {"flood_on": 1, "notify": 1}
    assert (10.5, "notify gas") in stage.log
    stage.until(17)
    count = Counter(line.split()[0] for _, line in stage.log)
    assert count == {"flood_on": 1, "notify": 1, "notify_group": 40}
    assert sum(notice.count for notice in stage.notices) == 5001
    stage.until(680)
    assert stage.log[-1] == (610.999, "flood_off")
    assert len(stage.log) == 43
    assert stage.desk.revision < 500


def test_cost_of_a_storm() -> None:
    """CPU time of this thread, not time on the wall: other work on the machine does not count."""
    desk, output = Desk(Site(group_by=Group.BUILDING, flood=Flood(), repeat_s={Priority.MEDIUM: 60.0})), Output()
    entries = [entry(f"pm{number}", place=Place(building=f"B{number % 40}")) for number in range(5000)]
    begin_s = time.thread_time()
    for number, what in enumerate(entries):
        now = Instant(number / 5000, 0)
        desk.raised(now, output)
        desk.announce(what, now, output)
    assert time.thread_time() - begin_s < 1.0  # 0.06 s; the margin is for instrumented and slow machines


# ---------------------------------------------------------------------- restart


def restarted(stage: Stage, entries: Mapping[str, Entry], *, lived_s: float = 0.0) -> Stage:
    record = json.loads(json.dumps(stage.desk.record()))
    heir = Stage(stage.site, start_s=1_000_000.0)
    heir.desk.restore(record, heir.at(heir.now_s), entries, lived_s=lived_s)
    return heir


def test_restart_continues_with_what_had_elapsed() -> None:
    gas = entry("gas", rule(Priority.CRITICAL, escalate=((120, "captain"), (400, "manager"))))
    stage = Stage(replace(GROUPED, repeat_s={Priority.CRITICAL: 300.0}))
    stage.raises(0, gas)
    stage.until(130)
    stage.raises(200, entry("a"))
    stage.raises(202, entry("b"))
    heir = restarted(stage, {"gas": gas, "a": entry("a"), "b": entry("b")})
    heir.until(500)
    assert heir.log == [(3, "notify_group B7"), (98, "repeat gas"), (198, "escalate gas"), (398, "repeat gas")]
    assert heir.notices[0].count == 2


def test_restart_after_the_record_was_made() -> None:
    gas = entry("gas", rule(Priority.CRITICAL, escalate=((120, "captain"), (400, "manager"))))
    stage = Stage(replace(GROUPED, repeat_s={Priority.CRITICAL: 300.0}))
    stage.raises(0, gas)
    heir = restarted(stage, {"gas": gas}, lived_s=100.0)
    heir.until(500)
    assert heir.log == [(20, "escalate gas"), (200, "repeat gas"), (300, "escalate gas"), (500, "repeat gas")]
    late = restarted(stage, {"gas": gas}, lived_s=350.0)
    late.until(100)
    assert late.log == [(0, "escalate gas"), (0, "repeat gas")]


def test_restart_in_a_flood() -> None:
    stage = Stage(FLOODED)
    for number in range(3):
        stage.raises(number, entry(f"a{number}"))
    stage.until(10)
    assert stage.desk.as_of_s == 5.0
    heir = restarted(stage, {}, lived_s=stage.now_s - stage.desk.as_of_s)
    assert heir.desk.flooded
    heir.raises(0, entry("b"))
    heir.until(700)
    assert heir.log == [(55, "notify_group B7"), (592, "flood_off")]
    assert heir.notices[0].kind == "summary"
    after = restarted(stage, {}, lived_s=10_000.0)
    after.until(0)
    assert after.log == [(0, "flood_off")]


def test_alarms_that_are_over_are_forgotten_and_unknown_ones_are_followed_from_now() -> None:
    stage = Stage(NAGGING)
    stage.raises(0, entry("a", CRITICAL))
    stage.until(100)
    heir = restarted(stage, {"b": entry("b", CRITICAL), "c": entry("c")})
    heir.until(400)
    assert heir.log == [(300, "repeat b")]


def test_what_was_told_together_is_repeated_together_after_a_restart() -> None:
    stage = Stage(replace(GROUPED, repeat_s={Priority.MEDIUM: 60.0}))
    entries = {name: entry(name) for name in "ab"}
    for what in entries.values():
        stage.raises(0, what)
    stage.until(5)
    heir = restarted(stage, entries)
    heir.until(60)
    assert heir.log == [(60, "repeat_group B7")]


def test_what_still_waits_is_not_repeated_even_if_repeats_are_new() -> None:
    stage = Stage(replace(GROUPED, group_wait_s=60.0))
    stage.raises(0, entry("a"))
    stage.site = replace(stage.site, repeat_s={Priority.MEDIUM: 50.0})
    heir = restarted(stage, {"a": entry("a")})
    heir.until(110)
    assert heir.log == [(60, "notify_group B7"), (110, "repeat a")]


def test_nothing_to_remember() -> None:
    stage = Stage(Site(flood=CALM))
    stage.announces(0, entry("a"))
    assert stage.desk.record() is None
    stage.raises(1, entry("b"))
    stage.until(601)
    assert stage.desk.record() is not None  # the last call was before the raise left
    stage.over(601, "b")
    assert stage.desk.record() is None
    heir = restarted(stage, {})
    assert heir.desk.due_s == NEVER


GOOD = {
    "v": 1,
    "flood": [False, []],
    "told": [],
    "waiting": [["B7", [], False, 3.0, ["a"]]],
    "open": [["a", 1, 0, 2, True]],
}


def damaged() -> Iterator[object]:
    for key in GOOD:
        yield {name: value for name, value in GOOD.items() if name != key}
        yield GOOD | {key: 7}
    yield from ([], "x", 1, True, GOOD | {"flood": [False, [-1]]}, GOOD | {"flood": [False, [True]]})
    for at in (0, 1, 2, 3, 4):
        row = copy.copy(GOOD["open"])
        yield GOOD | {"open": [[*row[0][:at], *row[0][at + 1 :]]]}  # type: ignore[index]
    yield GOOD | {"open": [["a", float("nan"), 0, 2, True]]}
    yield GOOD | {"waiting": [["B7", "ab", False, 3.0, ["a"]]]}


DAMAGED = list(damaged())


@pytest.mark.parametrize("record", DAMAGED)
def test_damaged_record(record: object) -> None:
    desk = Desk(NAGGING)
    with pytest.raises(Unreadable, match=r"^notices: "):
        desk.restore(record, Instant(0, 0), {"a": entry("a", CRITICAL)})
    assert desk.due_s == NEVER
    desk.restore(GOOD, Instant(0, 0), {"a": entry("a", CRITICAL)})
    assert desk.due_s == 2.0


def test_all_damages_ran() -> None:
    assert len(DAMAGED) == 23


# ---------------------------------------------------------------------- for all histories

NAMES = [f"a{number}" for number in range(8)]
RULES = [
    rule(Priority.CRITICAL, escalate=((7, "x"), (20, "y"))),
    rule(Priority.HIGH, notify=("plumber",)),
    rule(Priority.MEDIUM, escalate=((30, "x"),)),
    rule(Priority.LOW),
    rule(Priority.JOURNAL),
]
PLACES = [B7, B8, Place()]
ACTS = st.tuples(st.integers(0, 9), st.sampled_from(["raise", "announce", "over"]), st.sampled_from(NAMES))
SITES = st.builds(
    Site,
    group_by=st.sampled_from([Group.NONE, Group.BUILDING, Group.TYPE]),
    group_wait_s=st.sampled_from([0.0, 5.0]),
    flood=st.builds(
        Flood,
        st.integers(1, 4),
        st.integers(1, 4),
        st.sampled_from([0.0, 12.0, 40.0]),
        st.sampled_from([0.0, 15.0]),
    ),
    repeat_s=st.fixed_dictionaries(
        {}, optional={each: st.sampled_from([0.0, 0.25, 11.0, 30.0]) for each in Priority if each is not Priority.LOW}
    ),
)


def entry_of(name: str, number: int) -> Entry:
    index = NAMES.index(name)
    return entry(name, RULES[index % len(RULES)], PLACES[index % len(PLACES)], number=number)


def perform(stage: Stage, acts: Sequence[tuple[int, str, str]], begin_s: float = 0.0) -> dict[str, int]:
    """How often each alarm was announced."""
    t_s, announced = begin_s, Counter[str]()
    for pause_s, act, name in acts:
        t_s += pause_s
        if act == "over":
            stage.over(t_s, name)
            continue
        announced[name] += 1
        what = entry_of(name, announced[name])
        if act == "raise":
            stage.raises(t_s, what)
        else:
            stage.announces(t_s, what)
    stage.until(t_s + 100)
    return announced


FIRST = ("alarm", "group", "summary")


@settings(max_examples=150, deadline=None)
@given(SITES, st.lists(ACTS, max_size=40))
def test_every_announcement_is_told_once(site: Site, acts: list[tuple[int, str, str]]) -> None:
    """Where an alarm is announced again while it waits, the newest announcement stands for both."""
    stage = Stage(site)
    announced = perform(stage, acts)
    told = Counter(each.id for notice in stage.notices if notice.kind in FIRST for each in notice.alarms)
    assert set(told.values()) <= {1}
    for name, count in announced.items():
        is_told = RULES[NAMES.index(name) % len(RULES)].priority is not Priority.JOURNAL
        assert told[f"{name}#{count}"] == int(is_told)
        if site.group_by is Group.NONE and is_told:
            assert all(told[f"{name}#{number}"] == 1 for number in range(1, count + 1))
    if site.group_by is Group.NONE:
        assert not any(notice.kind in ("group", "summary") for notice in stage.notices)


@settings(max_examples=150, deadline=None)
@given(SITES, st.lists(ACTS, max_size=40))
def test_nobody_is_reminded_of_what_is_over(site: Site, acts: list[tuple[int, str, str]]) -> None:
    stage, t_s, wanting = Stage(site), 0.0, set[str]()
    for pause_s, act, name in [*acts, (200, "over", "a0")]:
        t_s += pause_s
        stage._arrive(t_s)
        reminded = {
            told.name for each in stage.notices if each.kind in ("repeat", "escalation") for told in each.alarms
        }
        assert reminded <= wanting
        stage.notices.clear()
        if act == "over":
            stage.over(t_s, name)
            wanting.discard(name)
        else:
            stage.announces(t_s, entry_of(name, 1))
            wanting.add(name)
        stage.until(t_s)
        stage.notices = [each for each in stage.notices if each.kind in ("repeat", "escalation")]


@settings(max_examples=150, deadline=None)
@given(SITES, st.lists(ACTS, max_size=25), st.lists(ACTS, max_size=15))
def test_a_restart_changes_nothing(
    site: Site, before: list[tuple[int, str, str]], after: list[tuple[int, str, str]]
) -> None:
    """All that was announced still wants somebody, so that the heir knows all that it must tell."""
    before = [each for each in before if each[1] != "over"]
    stage, known, t_s = Stage(site), dict[str, Entry](), 0.0
    for number, (pause_s, act, name) in enumerate(before):
        t_s += pause_s
        known[name] = entry_of(name, number)
        (stage.raises if act == "raise" else stage.announces)(t_s, known[name])
        stage.until(t_s)
    wanting = {name: what for name, what in known.items() if what.rule.priority is not Priority.JOURNAL}
    heir = restarted(stage, wanting)
    stage.notices.clear()
    stage.log.clear()
    perform(heir, after)
    perform(stage, after, begin_s=t_s)
    shift_ms = round(t_s * 1000)
    assert heir.log == [(round(at_s - t_s, 3), line) for at_s, line in stage.log]
    assert heir.notices == [replace(each, time_ms=each.time_ms - shift_ms) for each in stage.notices]
