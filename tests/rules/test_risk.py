"""The risk model: whole nights from risk_cases.yaml, and what must hold whatever happens."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.explain import parse
from gateway.config.faults import Report
from gateway.config.models import RiskModel as Section
from gateway.config.risk import read_risk
from gateway.config.yaml12 import load_yaml
from gateway.model import Quality, Reading, Reason, Text, Value
from rules.alarm import Instant
from rules.casefile import read_plant
from rules.plain import Reader, seconds_of
from rules.risk.definition import COLOURS, Definition, Hazard, Input, Level, Scale, combined, shifted
from rules.risk.explain import Teller, as_document, steps, what_if
from rules.risk.model import Assessment, RiskModel, Unreadable

FILE = Path(__file__).parent / "risk_cases.yaml"
DATA: dict[str, Any] = load_yaml(FILE.read_text(encoding="utf-8"), FILE.name).data
BASE_S, BASE_MS = 500.0, 1_767_225_600_000


def night() -> Definition:
    document, report = load_yaml(FILE.read_text(encoding="utf-8"), FILE.name), Report()
    devices = read_plant(Reader([]), DATA).devices()
    found = read_risk(document, parse(Section, DATA["risk"]), devices, {each.id for each in devices}, report)
    assert report.faults == []
    return found


def reading(point: str, value: Value | None, now: Instant) -> Reading:
    if value is None:
        return Reading(point, None, now.utc_ms, now.utc_ms, Quality.BAD, Reason.NO_ANSWER)
    return Reading(point, value, now.utc_ms, now.utc_ms)


# ---------------------------------------------------------------------- nights


class Player:
    def __init__(self) -> None:
        self.definition = night()
        self.offset_s = BASE_S
        self.model = RiskModel(self.definition, self.at(0.0))
        self.expectations = 0

    def at(self, t: float) -> Instant:
        return Instant(t + self.offset_s, BASE_MS + round(t * 1000))

    def play(self, step: Mapping[str, Any]) -> None:
        now = self.at(seconds_of(step["t"]))
        match step:
            case {"set": values}:
                self.model.observe([self.read(point, value, now) for point, value in values.items()], now)
            case {"restart": {"down": down}}:
                record = self.model.record(now)
                self.offset_s = 7.0 - seconds_of(step["t"]) - seconds_of(down)  # the new run's clock begins at 7 s
                self.model = RiskModel(self.definition, self.at(seconds_of(step["t"]) + seconds_of(down)), record)
            case {"expect": expected}:
                self.compare(expected, self.model.state(now), step)

    def read(self, point: str, value: Any, now: Instant) -> Reading:
        if point == "weather.typhoon_until":
            return reading(point, BASE_MS / 1000 + value, now)
        return reading(point, None if value == "bad" else value, now)

    def compare(self, expected: Mapping[str, Any], state: Assessment, step: Mapping[str, Any]) -> None:
        found: dict[str, Any] = {
            "risk": state.level.word,
            **{each.hazard: each.level.word for each in state.hazards},
            "blind": len(state.blind),
            "because": [driver.cause.point for driver in state.drivers],
            "without": [driver.without.word for driver in state.drivers],
            "raised_by": list(state.raised_by),
            "holds": [each.point for each in state.blind if each.holds],
            "falls": {each.hazard: round(each.falls_in_s, 3) for each in state.hazards if each.falls_in_s is not None},
        }
        wanted = dict(expected)
        if "falls" in wanted:
            wanted["falls"] = {hazard: seconds_of(text) for hazard, text in wanted["falls"].items()}
        assert {key: found[key] for key in wanted} == wanted, step
        self.expectations += 1


@pytest.mark.parametrize("case", DATA["cases"], ids=[case["id"] for case in DATA["cases"]])
def test_night(case: dict[str, Any]) -> None:
    player = Player()
    for step in case["steps"]:
        player.play(step)
    assert player.expectations == sum("expect" in step for step in case["steps"]) >= 3


def test_all_nights_were_played() -> None:
    assert len(DATA["cases"]) == 9


def test_when_a_warning_expires_is_a_number_of_seconds() -> None:
    text = FILE.read_text(encoding="utf-8").replace("until: weather.typhoon_until", "until: p1.level")
    document, report, devices = load_yaml(text, FILE.name), Report(), read_plant(Reader([]), DATA).devices()
    section = parse(Section, document.data["risk"])
    read_risk(document, section, devices, {each.id for each in devices}, report)
    (fault,) = report.faults
    assert (fault.code, fault.message.en) == ("E-TYPE", "p1.level is no number of UTC seconds")


def test_a_kind_may_be_looked_for_in_one_place_only() -> None:
    text = FILE.read_text(encoding="utf-8").replace("measures: level,", 'measures: level, place: {building: "2"},')
    document, report, devices = load_yaml(text, FILE.name), Report(), read_plant(Reader([]), DATA).devices()
    section = parse(Section, document.data["risk"])
    found = read_risk(document, section, devices, {each.id for each in devices}, report)
    water = found.hazards[0].inputs[-1]
    assert (water.id, [scale.point for scale in water.scales]) == ("pump.level@2", ["p2.level"])
    assert water.scales[0].steps == ((Level.YELLOW, 0.8), (Level.ORANGE, 1.0), (Level.RED, 1.3)), "in the point's unit"


# ---------------------------------------------------------------------- what must hold

LEVELS = st.sampled_from(list(Level))


def small(raise_when: int = 2) -> Definition:
    """Two hazards of their own and one that shares a point; short times, so that random ones meet them."""

    def hazard(id_: str, *inputs: Input) -> Hazard:
        return Hazard(id_, Text(id_, id_), inputs, (0.0, 20.0, 30.0, 40.0, 50.0))

    steps = tuple((level, float(level) * 10) for level in COLOURS)
    words: dict[Value, Level] = {level.word: level for level in Level}

    def local(point: str, delay_s: float = 0.0, stale_s: float = 60.0) -> Input:
        return Input(point, Text(point, point), (Scale(point, "cm", stale_s, steps),), delay_s)

    warning = Input(
        "w.rain", Text("w", "w"), (Scale("w.rain", None, 60.0, words=words, shift=1),), official=True, expires_s=90.0
    )
    pair = Input("k.n", Text("k", "k"), (Scale("a.n", None, 60.0, steps), Scale("b.n", None, 45.0, steps)), 5.0)
    return Definition(
        (hazard("flood", warning, local("p.level", 15.0)), hazard("wind", local("m.gust"), pair), hazard("x", warning)),
        raise_when,
        hold_s=100.0,
    )


NUMBERS = ("p.level", "m.gust", "a.n", "b.n")
MOVES = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 4.0, 15.0, 20.0, 31.0, 61.0, 130.0]),
        st.dictionaries(
            st.sampled_from([*NUMBERS, "w.rain"]), st.one_of(st.none(), st.integers(0, 4)), min_size=0, max_size=3
        ),
    ),
    min_size=1,
    max_size=25,
)
"""After so long, these points at these levels; None for a bad reading."""


def values(move: Mapping[str, int | None], now: Instant) -> list[Reading]:
    def value(point: str, level: int | None) -> Value | None:
        return None if level is None else Level(level).word if point == "w.rain" else level * 10.0 + 1

    return [reading(point, value(point, level), now) for point, level in move.items()]


@given(st.dictionaries(st.sampled_from(["flood", "wind", "x"]), LEVELS, min_size=1), st.data())
def test_a_higher_hazard_never_makes_a_lower_composite(levels: dict[str, Level], data: st.DataObject) -> None:
    one = data.draw(st.sampled_from(sorted(levels)))
    worse = levels | {one: Level(min(4, levels[one] + data.draw(st.integers(0, 4))))}
    for definition in (small(0), small(2), small(3)):
        assert combined(definition, levels)[0] <= combined(definition, worse)[0]


@settings(max_examples=120, deadline=None)
@given(MOVES, st.data())
def test_worse_inputs_never_lower_the_level_at_any_time(
    moves: list[tuple[float, dict[str, int | None]]], data: st.DataObject
) -> None:
    mild, bad = (RiskModel(small(), Instant(0.0, 0)) for _ in range(2))
    t = 0.0
    for wait_s, move in moves:
        t += wait_s
        now = Instant(t, round(t * 1000))
        worse = {
            point: None if level is None else min(4, level + data.draw(st.integers(0, 2)))
            for point, level in move.items()
        }
        mild.observe(values(move, now), now)
        bad.observe(values(worse, now), now)
        low, high = mild.state(now), bad.state(now)
        assert low.level <= high.level
        assert all(one.level <= other.level for one, other in zip(low.hazards, high.hazards, strict=True))


def run_finely(model: RiskModel, until_s: float, now_s: float) -> list[tuple[float, Assessment]]:
    """Every state between, at the instants at which the model says that something may happen."""
    found = []
    while (due_s := model.next_timer_s()) is not None and due_s <= until_s:
        assert due_s > now_s, "a timer that is due already would be a busy loop"
        now_s = due_s
        now = Instant(due_s, round(due_s * 1000))
        model.tick(now)
        found.append((due_s, model.state(now)))
    return found


@settings(max_examples=120, deadline=None)
@given(MOVES)
def test_down_one_colour_at_a_time_and_never_faster_than_the_calm_time(
    moves: list[tuple[float, dict[str, int | None]]],
) -> None:
    definition = small()
    model = RiskModel(definition, Instant(0.0, 0))
    states, t = [(0.0, model.state(Instant(0.0, 0)))], 0.0
    for wait_s, move in moves:
        states += run_finely(model, t + wait_s, t)
        t += wait_s
        now = Instant(t, round(t * 1000))
        model.observe(values(move, now), now)
        states.append((t, model.state(now)))
    states += run_finely(model, t + 1000.0, t)
    falls_s = []
    for (_, before), (at_s, after) in pairwise(states):
        assert after.level >= before.level - 1
        if after.level < before.level:
            assert not falls_s or at_s - falls_s[-1] >= 20.0  # the shortest calm time
            falls_s.append(at_s)
        elif after.level > before.level:
            falls_s.clear()
    for index, hazard in enumerate(definition.hazards):
        reached_s = 0.0
        for (_, before), (at_s, after) in pairwise(states):
            was, is_ = before.hazards[index].level, after.hazards[index].level
            if is_ < was:
                assert is_ == was - 1
                assert at_s - reached_s >= hazard.calm_s[was]
            if is_ != was or after.hazards[index].reason >= is_:
                reached_s = at_s
    # only a sensor that nobody hears any more could keep it up, and that is forgotten
    assert states[-1][1].level is Level.NONE


@settings(max_examples=120, deadline=None)
@given(MOVES, st.integers(0, 24))
def test_a_restart_at_any_step_ends_in_the_same_state(
    moves: list[tuple[float, dict[str, int | None]]], at: int
) -> None:
    """Without downtime: what an outage adds is in risk_cases.yaml."""
    whole = halved = RiskModel(small(), Instant(0.0, 0))
    halved = RiskModel(small(), Instant(0.0, 0))
    t, shift_s = 0.0, 0.0
    for index, (wait_s, move) in enumerate(moves):
        t += wait_s
        now, other = Instant(t, round(t * 1000)), Instant(t + shift_s, round(t * 1000))
        whole.observe(values(move, now), now)
        halved.observe(values(move, other), other)
        if index == at % len(moves):
            record = halved.record(other)
            shift_s = 4096.0
            other = Instant(t + shift_s, round(t * 1000))
            halved = RiskModel(small(), other, record)
        assert whole.state(now) == halved.state(other)
    end_s = t + 35.0
    now, other = Instant(end_s, round(end_s * 1000)), Instant(end_s + shift_s, round(end_s * 1000))
    assert whole.state(now) == halved.state(other)


@settings(max_examples=60, deadline=None)
@given(MOVES)
def test_it_does_not_matter_how_often_anybody_looks(moves: list[tuple[float, dict[str, int | None]]]) -> None:
    seldom, often = (RiskModel(small(), Instant(0.0, 0)) for _ in range(2))
    t = 0.0
    for wait_s, move in moves:
        for part in range(7):
            often.tick(Instant(t + wait_s * part / 7, round((t + wait_s * part / 7) * 1000)))
        t += wait_s
        now = Instant(t, round(t * 1000))
        seldom.observe(values(move, now), now)
        often.observe(values(move, now), now)
    assert seldom.state(now) == often.state(now)


# ---------------------------------------------------------------------- single rules


@pytest.mark.parametrize(
    ("level", "shift", "expected"),
    [
        (Level.NONE, 1, Level.NONE),
        (Level.BLUE, 1, Level.YELLOW),
        (Level.RED, 1, Level.RED),
        (Level.BLUE, -1, Level.NONE),
        (Level.RED, -1, Level.RED),
    ],
)
def test_exposure(level: Level, shift: int, expected: Level) -> None:
    assert shifted(level, shift) is expected


def test_hazards_that_share_a_point_do_not_raise_each_other() -> None:
    orange = {"flood": Level.ORANGE, "wind": Level.NONE, "x": Level.ORANGE}
    assert combined(small(), orange) == (Level.ORANGE, ())
    assert combined(small(), orange | {"wind": Level.ORANGE}) == (Level.RED, ("flood", "wind"))
    blue = dict.fromkeys(orange, Level.BLUE)
    assert combined(small(), blue) == (Level.BLUE, ())


def test_small_numbers_can_be_the_bad_ones() -> None:
    scale = Scale("p.t", "Cel", 60.0, ((Level.BLUE, 0.0), (Level.RED, -10.0)), low=True)
    assert [scale.level(value) for value in (1.0, 0.0, -10.0, float("nan"), "cold")] == [0, 1, 4, None, None]


def test_old_readings_decide_nothing() -> None:
    model, now = RiskModel(small(), Instant(0.0, 0)), Instant(1000.0, 1_000_000)
    old = Reading("m.gust", 45.0, now.utc_ms - 301_000, now.utc_ms)
    assert not model.observe([old], now)
    assert model.observe([reading("m.gust", 21.0, now)], now)
    earlier = Reading("m.gust", 45.0, now.utc_ms - 1000, now.utc_ms)
    assert not model.observe([earlier], now)
    assert model.state(now).level is Level.YELLOW


def test_a_doubtful_value_is_no_evidence() -> None:
    model, now = RiskModel(small(), Instant(0.0, 0)), Instant(1.0, 1000)
    doubtful = Reading("m.gust", 45.0, now.utc_ms, now.utc_ms, Quality.UNCERTAIN, Reason.JUMP)
    model.observe([doubtful], now)
    assert model.state(now).level is Level.NONE
    model.observe([reading("m.gust", 45.0, now)], now)
    model.observe([doubtful], Instant(2.0, 2000))
    state = model.state(Instant(2.0, 2000))
    assert (state.level, state.drivers) == (Level.RED, ())
    assert [each.point for each in state.blind if each.holds] == ["m.gust"]


def test_what_changes_no_level_costs_no_judgement() -> None:
    model = RiskModel(small(), Instant(0.0, 0))
    assert model.observe([reading("m.gust", 21.0, Instant(1.0, 1000))], Instant(1.0, 1000))
    assert not model.observe([reading("m.gust", 22.0, Instant(2.0, 2000))], Instant(2.0, 2000))
    assert not model.observe([reading("else.where", 22.0, Instant(2.0, 2000))], Instant(2.0, 2000))
    assert model.state(Instant(2.0, 2000)).drivers[0].cause.value == 22.0


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[]",
        b'{"v":2}',
        b'{"v":1,"alive":0,"utc":0,"hazards":{"flood":{}},"level":0,"since":0,"fell":null}',
        b'{"v":1,"alive":0,"utc":0,"hazards":{},"fell":null,"level":9,"since":0}',
        b'{"v":1,"alive":0,"utc":0,"hazards":[],"level":0,"since":0}',
    ],
)
def test_a_damaged_record_is_said_to_be_one(record: bytes) -> None:
    with pytest.raises(Unreadable):
        RiskModel(small(), Instant(0.0, 0), record)


def test_a_record_of_another_definition_keeps_what_is_still_there() -> None:
    now = Instant(10.0, 10_000)
    before = RiskModel(small(), Instant(0.0, 0))
    before.observe(values({"m.gust": 4, "w.rain": 2}, now), now)
    fewer = Definition(small().hazards[1:2])
    after = RiskModel(fewer, now, before.record(now)).state(now)
    assert [(each.hazard, each.level) for each in after.hazards] == [("wind", Level.RED)]


# ---------------------------------------------------------------------- explanation


def test_what_if_needs_no_delay_and_calls_the_rest_blind() -> None:
    state = what_if(night(), {"p1.level": 105.0, "weather.typhoon": "yellow", "gauge.rain": None})
    assert state.level is Level.RED
    assert state.raised_by == ("flood", "wind")
    assert len(state.blind) == 7


def test_the_explanation_in_both_languages() -> None:
    definition = night()
    state = what_if(definition, {"p1.level": 105.0, "weather.typhoon": "none", "mast.gust": 3.0})
    document = as_document(definition, state)
    english, chinese = document["text"]["en"], document["text"]["zh"]
    assert english[0] == "community risk: orange; 6 blind"
    assert chinese[0] == "社区风险：橙色；6 个测点无数据"
    assert "  because p1.level = 105 cm (orange); without it: none" in english
    assert "  依据 p1.level = 105 cm（橙色）；若无此项：无" in chinese
    assert "  would raise it: pump.level ≥ 130 cm → red" in english
    assert "  会升级：mast.gust ≥ 28.5 m/s → 红色" in chinese
    assert "  blind: p2.level (flooding), never heard" in english
    assert len(english) == len(chinese)
    assert {(each["input"], each["value"], each["makes"]) for each in document["would_raise"]} >= {
        ("weather.rainstorm", "red", "red"),
        ("weather.typhoon", "yellow", "red"),
        ("smoke_detector.smoke", True, "red"),
    }
    assert Teller(definition, state).reasons() == Text("p1.level = 105 cm（橙色）", "p1.level = 105 cm (orange)")


def test_whatever_is_said_to_raise_it_does() -> None:
    definition, given_ = night(), {"p1.level": 85.0, "mast.gust": 15.0, "gas1.concentration": 0.0}
    state, tried = what_if(definition, given_), 0
    for step in steps(definition, state):
        after = what_if(definition, given_ | {step.cause.point: step.cause.value})
        assert after.level is step.makes > state.level, step
        tried += 1
    assert tried == 7


def test_a_held_hazard_says_by_what_and_how_long() -> None:
    definition = night()
    model = RiskModel(definition, Instant(0.0, 0))
    for t, value in ((0.0, 40.0), (5.0, 40.0), (65.0, 0.0)):
        now = Instant(t, round(t * 1000))
        model.observe([reading("gas1.concentration", value, now)], now)
    now = Instant(125.0, 125_000)
    teller = Teller(definition, model.state(now))
    gas = "gas: red, made by gas1.concentration = 40 %LEL (red); orange after 9 min more calm"
    assert f"  {gas}" in [line.en for line in teller.lines()]
    assert gas in teller.reasons().en


def test_the_composite_falls_colour_by_colour_also_over_a_restart() -> None:
    """Two hazards leave yellow together: of the orange that they made, yellow is left for its calm time."""
    two = Definition(small().hazards[:2], hold_s=0.0)
    model, t = RiskModel(two, Instant(0.0, 0)), 0.0
    for t, level in ((0.0, 2), (15.0, 2), (20.0, 0)):
        now = Instant(t, round(t * 1000))
        model.observe(values({"p.level": level, "m.gust": level}, now), now)
    assert model.state(now).level is Level.ORANGE
    fallen = Instant(50.0, 50_000)
    state = model.state(fallen)
    assert (state.level, {each.level for each in state.hazards}) == (Level.YELLOW, {Level.BLUE})
    assert Teller(two, state).headline().en.startswith("community risk: yellow (going down colour by colour)")
    model = RiskModel(two, fallen, model.record(fallen))
    assert model.state(Instant(69.0, 69_000)).level is Level.YELLOW
    # at 70 s both hazards fall from blue to none; the composite stands at yellow until 80 s, and at blue for 20 s more
    assert model.state(Instant(79.0, 79_000)).level is Level.YELLOW
    assert model.state(Instant(80.0, 80_000)).level is Level.BLUE
    assert model.state(Instant(100.0, 100_000)).level is Level.NONE
