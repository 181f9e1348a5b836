from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.kpi import DAY_MS, FEWEST_ALARMS, PERIOD_MS, Kpis, Verdict, kpis

Line = tuple[int, str, str, str]
MIN_MS = 60_000


def up(time_ms: int, name: str = "a", priority: str = "low") -> Line:
    return time_ms, "raise", name, priority


def line(time_ms: int, event: str, name: str = "a", priority: str = "low") -> Line:
    return time_ms, event, name, priority


def value(found: Kpis, name: str) -> float | None:
    return found.figures[name].value


def verdict(found: Kpis, name: str) -> Verdict:
    return found.figures[name].verdict


def test_nothing_happened() -> None:
    found = kpis([], from_ms=0, to_ms=7 * DAY_MS)
    assert (found.raises, found.top, found.chattering, found.fleeting, found.stale) == (0, (), (), (), ())
    assert {name for name, figure in found.figures.items() if figure.verdict is Verdict.BAD} == set()
    assert (value(found, "per_day_mean"), value(found, "top_ten_share"), value(found, "low_share")) == (0, None, None)
    assert kpis([]).as_json() == kpis([], from_ms=0, to_ms=0).as_json()
    assert kpis([], to_ms=5).from_ms == 5


def test_the_load() -> None:
    lines = [up(number * MIN_MS, f"a{number}") for number in range(12)]  # 10 and 2 in a period
    lines += [up(DAY_MS + number, f"b{number}") for number in range(11)]
    found = kpis(lines, from_ms=0, to_ms=2 * DAY_MS)
    assert found.raises == 23
    assert (value(found, "per_day_mean"), value(found, "per_day_max")) == (11.5, 12)
    assert value(found, "per_10min_mean") == pytest.approx(23 / 288)
    assert value(found, "per_10min_max") == 11
    assert value(found, "busy_10min_share") == pytest.approx(1 / 288)
    assert verdict(found, "per_10min_max") is Verdict.BAD
    assert verdict(found, "busy_10min_share") is Verdict.GOOD


@pytest.mark.parametrize(
    ("raises", "expected"),
    [(75, Verdict.GOOD), (76, Verdict.WARNING), (150, Verdict.WARNING), (151, Verdict.BAD)],
)
def test_half_the_target_is_a_warning(raises: int, expected: Verdict) -> None:
    found = kpis([up(number) for number in range(raises)], from_ms=0, to_ms=DAY_MS)
    figure = found.figures["per_day_mean"]
    assert (figure.target, figure.warning, figure.verdict) == (150, 75, expected)


def test_a_short_span_is_not_blown_up_to_a_day() -> None:
    found = kpis([up(0), up(1000), up(2000)])
    assert (found.from_ms, found.to_ms) == (0, 2000)
    assert (value(found, "per_day_mean"), value(found, "per_10min_mean"), value(found, "per_10min_max")) == (3, 3, 3)


@pytest.mark.parametrize(("last_ms", "most"), [(PERIOD_MS - 1, 2), (PERIOD_MS, 2), (PERIOD_MS + 1, 1)])
def test_the_very_end_belongs_to_the_last_period(last_ms: int, most: int) -> None:
    assert value(kpis([up(0), up(last_ms, "b")], from_ms=0, to_ms=last_ms), "per_10min_max") == most


def test_what_is_outside_the_span_or_only_for_the_journal_does_not_count() -> None:
    lines = [up(99), up(100), up(200, "b"), up(201), up(150, "c", "journal")]
    found = kpis(lines, from_ms=100, to_ms=200)
    assert found.top == (("a", 1), ("b", 1))
    with pytest.raises(ValueError, match="ends"):
        kpis([], from_ms=2, to_ms=1)


def test_top_ten() -> None:
    lines = [up(number, f"a{number % 20:02}") for number in range(50)]
    found = kpis(lines)
    assert found.top[0] == ("a00", 3)
    assert len(found.top) == 10
    assert value(found, "top_ten_share") == 30 / 50
    assert verdict(found, "top_ten_share") is Verdict.NONE  # of twenty alarms ten are half
    even = kpis([up(number, f"a{number}") for number in range(FEWEST_ALARMS)])
    assert verdict(even, "top_ten_share") is Verdict.WARNING
    uneven = kpis([up(number, f"a{number}") for number in range(FEWEST_ALARMS)] + [up(0)] * 20)
    assert verdict(uneven, "top_ten_share") is Verdict.BAD


@pytest.mark.parametrize(
    ("times_s", "chatters"),
    [((0, 30, 60), True), ((0, 30, 60.001), False), ((0, 100, 130, 160), True), ((0, 1), False)],
)
def test_chattering(times_s: tuple[float, ...], chatters: bool) -> None:
    found = kpis([up(round(time_s * 1000)) for time_s in times_s])
    assert found.chattering == (("a",) if chatters else ())
    assert verdict(found, "chattering") is (Verdict.BAD if chatters else Verdict.GOOD)


def test_the_engine_found_it_chattering() -> None:
    assert kpis([up(0), line(1, "chatter_on")]).chattering == ("a",)


@pytest.mark.parametrize(
    ("lines", "fleeting"),
    [
        ([up(0), line(10_000, "clear")], ("a",)),
        ([up(0), line(10_001, "clear")], ()),
        ([up(0), line(5_000, "ack"), line(6_000, "clear")], ()),
        ([up(0), line(5_000, "ack", "b"), line(6_000, "clear")], ("a",)),
        ([line(5, "clear")], ()),
        ([each for second in range(3) for each in (up(second * 9000), line(second * 9000 + 1, "clear"))], ()),
    ],
)
def test_fleeting(lines: list[Line], fleeting: tuple[str, ...]) -> None:
    found = kpis(lines, from_ms=0)
    assert found.fleeting == fleeting
    assert value(found, "fleeting") == len(fleeting)


@pytest.mark.parametrize(
    ("lines", "stale"),
    [
        ([up(0), line(DAY_MS, "clear")], ()),
        ([up(10), line(DAY_MS + 10, "clear")], ()),
        ([up(0), line(DAY_MS + 1, "clear")], ("a",)),
        ([up(0), line(DAY_MS + 1, "retire")], ("a",)),
        ([up(0)], ("a",)),
        ([line(2 * DAY_MS, "clear")], ("a",)),  # on since before the span
        ([up(0), line(1, "clear"), line(2 * DAY_MS, "clear")], ()),
        ([line(1, "clear"), line(2 * DAY_MS, "clear")], ()),
        ([up(0), up(2 * DAY_MS), line(2 * DAY_MS + 1, "clear")], ("a",)),
    ],
)
def test_stale(lines: list[Line], stale: tuple[str, ...]) -> None:
    assert kpis(lines, from_ms=0, to_ms=3 * DAY_MS).stale == stale


def test_stale_alarms_are_counted_by_day() -> None:
    lines = [
        each for day in range(3) for each in (up(day * DAY_MS, f"a{day}"), line((day + 2) * DAY_MS, "clear", f"a{day}"))
    ]
    assert value(kpis(lines), "stale_on_a_day") == 1
    lines = [up(number, f"a{number}") for number in range(5)]
    found = kpis(lines, to_ms=2 * DAY_MS)
    assert (value(found, "stale_on_a_day"), verdict(found, "stale_on_a_day")) == (5, Verdict.BAD)


def of_priorities(**counts: int) -> Kpis:
    return kpis([up(0, f"{priority}{n}", priority) for priority, count in counts.items() for n in range(count)])


def test_priorities() -> None:
    found = of_priorities(critical=1, high=4, medium=15, low=80)
    assert [value(found, f"{name}_share") for name in ("urgent", "medium", "low")] == [0.05, 0.15, 0.80]
    assert {verdict(found, f"{name}_share") for name in ("urgent", "medium")} == {Verdict.GOOD}
    found = of_priorities(critical=6, high=4, medium=31, low=59)
    assert [verdict(found, f"{name}_share") for name in ("urgent", "medium")] == [Verdict.WARNING, Verdict.BAD]
    assert verdict(of_priorities(critical=19), "urgent_share") is Verdict.NONE
    assert verdict(of_priorities(critical=20), "urgent_share") is Verdict.BAD


def test_time_to_acknowledge() -> None:
    lines = [each for n in range(20) for each in (up(0, f"a{n}"), line((n + 1) * 1000, "ack", f"a{n}"))]
    lines += [line(900_000, "ack", "a0"), line(900_000, "ack", "stranger"), up(900_000, "b")]
    found = kpis(lines)
    assert (value(found, "acknowledged_median_s"), value(found, "acknowledged_p95_s")) == (10, 19)
    assert verdict(found, "acknowledged_p95_s") is Verdict.GOOD
    assert value(found, "never_acknowledged") == 1
    again = kpis([up(0), up(5000), line(7000, "ack")])
    assert value(again, "acknowledged_median_s") == 2


@pytest.mark.parametrize(
    ("lines", "floods", "share"),
    [
        ([line(100, "flood_on", "", ""), line(200, "flood_off", "", "")], 1, 0.1),
        ([line(100, "flood_on", "", "")], 1, 0.9),
        ([line(100, "flood_off", "", "")], 1, 0.1),
        ([line(0, "flood_on", "", ""), line(1, "flood_off", "", ""), line(9, "flood_off", "", "")], 1, 0.001),
        ([line(0, "flood_on", "", ""), line(5, "flood_on", "", ""), line(9, "flood_off", "", "")], 1, 0.009),
        ([], 0, 0.0),
    ],
)
def test_floods(lines: list[Line], floods: int, share: float) -> None:
    found = kpis(lines, from_ms=0, to_ms=1000)
    assert (value(found, "floods"), value(found, "flood_share")) == (floods, share)


def test_as_json() -> None:
    found = json.loads(json.dumps(kpis([up(0), line(5, "clear")]).as_json()))
    assert set(found) == {"from_ms", "to_ms", "raises", "figures", "top", "chattering", "fleeting", "stale"}
    assert found["figures"]["fleeting"] == {"value": 1, "target": 0, "warning": 0, "verdict": "bad"}
    assert found["top"] == [["a", 1]]


EVENTS = st.sampled_from(["raise", "clear", "ack", "chatter_on", "flood_on", "flood_off", "retire", "pending"])
LINES = st.lists(
    st.tuples(
        st.integers(0, 3 * DAY_MS), EVENTS, st.sampled_from("abc"), st.sampled_from(["critical", "low", "journal", ""])
    )
)


@given(LINES)
def test_any_lines(lines: list[Line]) -> None:
    found = kpis(lines)
    shares: list[Any] = [figure.value for name, figure in found.figures.items() if name.endswith("_share")]
    assert all(0 <= share <= 1 for share in shares if share is not None)
    assert sum(count for _, count in found.top) == found.raises
    json.dumps(found.as_json(), allow_nan=False)
