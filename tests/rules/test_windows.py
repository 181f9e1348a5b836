"""The past of a point: every function against a list of all samples, and what the list cannot say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import AlarmState, Device, Place, Point, Reading, Reason, Text, Value, ValueKind, bad_reading
from rules.alarm import Instant
from rules.check import Checked, Comparison, Const, Input, Load, Source
from rules.definition import read_rules
from rules.engine import Engine
from rules.faults import RuleFault
from rules.inputs import Cell, Derived, Elapsed, Inputs, Lasting
from rules.program import expression
from rules.rule import RuleSet
from rules.timers import Queue
from rules.windows import CELLS, Hours, Span, Statistics

BASE_S, BASE_MS = 1_000_000.0, 1_767_225_600_000  # the beginning of a UTC hour
HOUR_S, DAY_S, WEEK_S = 3600.0, 86_400.0, 604_800.0


def point(name: str, unit: str | None = None, interval_s: float = math.inf, **more: object) -> Point:
    made = Point(name, ValueKind.NUMBER, Text(name, name), interval_s, unit)
    return replace(made, **more)  # type: ignore[arg-type]


def instant(t: float) -> Instant:
    return Instant(BASE_S + t, BASE_MS + round(t * 1000))


def reading(name: str, value: Value | None, t: float, now: float | None = None) -> Reading:
    """Measured at *t*, received at *now*."""
    received_ms = BASE_MS + round((t if now is None else now) * 1000)
    if value is None:
        return replace(bad_reading(name, Reason.NO_VALUE, received_ms), source_time_ms=BASE_MS + round(t * 1000))
    return Reading(name, value, BASE_MS + round(t * 1000), received_ms)


class Site:
    """Inputs with the timers that an engine would run."""

    def __init__(self, *points: Point, started: float = 0.0) -> None:
        self.points = {each.id: each for each in points}
        self.queue = Queue()
        self.inputs = Inputs(self.points, {}, self.queue, BASE_S + started)

    def past(self, name: str, function: str, span: float, test: Checked | None = None) -> Derived:
        periods = int(span) if function in ("same_hour", "usual") else 0
        limit_s = 0.0 if periods else span
        slot = self.inputs.slot(Input(Source.PAST, "as written", limit_s, function, periods, test), name, None)
        assert isinstance(slot, Derived)
        return slot

    def take(self, t: float, **values: Value | None) -> list[object]:
        """Points of device a by their names."""
        return self.receive([reading(f"a.{name}", value, t) for name, value in values.items()], t)

    def receive(self, readings: Sequence[Reading], now: float) -> list[object]:
        self._run(now, before=True)
        touched = self.inputs.take(readings, instant(now))
        self._run(now)
        return touched

    def wait(self, t: float) -> None:
        self._run(t)

    def _run(self, t: float, *, before: bool = False) -> None:
        now_s = BASE_S + t
        while (due_s := self.queue.next_s()) < now_s or (due_s == now_s and not before):
            for timer in self.queue.pop_due(due_s):
                assert isinstance(timer, Cell | Derived | Elapsed)
                timer.expire()


# ---------------------------------------------------------------------- against a list

WINDOW_S = 1000.0  # cells of a second: with whole seconds nothing is rounded


@dataclass(frozen=True)
class Sample:
    t: int
    late: int
    value: float | None

    @property
    def now(self) -> int:
        return self.t + self.late


_VALUES = st.none() | st.integers(0, 1000).map(float) | st.sampled_from([0.0, 1.0, 5.0, 1e6])
_SAMPLES = st.lists(
    st.builds(Sample, st.integers(0, 4000), st.just(0) | st.just(0) | st.integers(0, 2500), _VALUES),
    min_size=1,
    max_size=60,
    unique_by=lambda sample: sample.t,
)
_MOMENTS = st.lists(st.integers(0, 8000), max_size=12)


class Listed:
    """All samples, looked through each time."""

    def __init__(self, samples: Sequence[Sample], interval_s: float) -> None:
        self.samples = samples
        self.interval_s = interval_s

    def known(self, now: float) -> list[tuple[int, float]]:
        return sorted((s.t, s.value) for s in self.samples if s.now <= now and s.value is not None)

    def window(self, now: float) -> list[tuple[int, float]]:
        return [(t, value) for t, value in self.known(now) if t + WINDOW_S > now]

    def covered(self, count: int) -> bool:
        return count >= 1 and (math.isinf(self.interval_s) or count >= 0.8 * WINDOW_S / self.interval_s)

    def statistic(self, answer: Callable[[list[float]], float], now: float) -> float | None:
        values = [value for _, value in self.window(now)]
        return answer(values) if self.covered(len(values)) else None

    def steps(self, step: Callable[[float, float], float], now: float) -> tuple[int, float, float] | None:
        """How many samples, the sum of the steps, the time from the first to the last."""
        inside = self.window(now)
        if not self.covered(len(inside)):
            return None
        older = [each for each in self.known(now) if each[0] + WINDOW_S <= now]
        if older and inside[0][0] - older[-1][0] <= 3 * self.interval_s:
            inside = [older[-1], *inside]
        total = sum(step(a, b) for (_, a), (_, b) in pairwise(inside))
        return len(inside), total, inside[-1][0] - inside[0][0]

    def ago(self, now: float) -> float | None:
        limit_s = WINDOW_S / 10 if math.isinf(self.interval_s) else 3 * self.interval_s
        then = [(t, value) for t, value in self.known(now) if t + WINDOW_S <= now]
        return then[-1][1] if then and then[-1][0] + WINDOW_S + limit_s > now else None


def replay(
    samples: Sequence[Sample], moments: Sequence[int], slots: Mapping[str, Derived], site: Site
) -> list[tuple[int, dict[str, object]]]:
    """What the slots say after each arrival and at each moment."""
    seen: list[tuple[int, dict[str, object]]] = []
    arrivals: dict[int, list[Sample]] = {}
    for sample in samples:
        arrivals.setdefault(sample.now, []).append(sample)
    for now in sorted({*arrivals, *moments}):
        if now in arrivals:
            site.receive([reading("a.x", s.value, s.t, now) for s in arrivals[now]], now)
        else:
            site.wait(now)
        seen.append((now, {name: slot.value for name, slot in slots.items()}))
    return seen


def agrees(found: object, expected: float | None) -> bool:
    if expected is None or found is None:
        return found is expected
    return isinstance(found, float) and math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-6)


@settings(max_examples=150)
@given(_SAMPLES, _MOMENTS, st.sampled_from([math.inf, 40.0, 250.0]))
def test_plain_windows(samples: list[Sample], moments: list[int], interval_s: float) -> None:
    site = Site(point("a.x", "V", interval_s))
    answers: dict[str, Callable[[list[float]], float]] = {
        "avg": statistics.fmean,
        "min": min,
        "max": max,
        "sum": math.fsum,
        "count": lambda values: float(len(values)),
    }
    slots = {function: site.past("a.x", function, WINDOW_S) for function in answers}
    listed = Listed(samples, interval_s)
    for now, values in replay(samples, moments, slots, site):
        for function, answer in answers.items():
            assert agrees(values[function], listed.statistic(answer, now)), (now, function)


def _counter(old: float, new: float) -> float:
    return new - old if new >= old else new


def _total(old: float, new: float) -> float:
    return new if new < old / 2 else new - old


def _gauge(old: float, new: float) -> float:
    return new - old


@settings(max_examples=150)
@given(
    _SAMPLES,
    _MOMENTS,
    st.sampled_from([math.inf, 40.0, 250.0]),
    st.sampled_from([("m3", True, _counter), ("kW.h", False, _total), ("V", False, _gauge)]),
)
def test_increase_and_rate(
    samples: list[Sample],
    moments: list[int],
    interval_s: float,
    kind: tuple[str, bool, Callable[[float, float], float]],
) -> None:
    unit, counter, step = kind
    site = Site(point("a.x", unit, interval_s, counter=counter))
    slots = {function: site.past("a.x", function, WINDOW_S) for function in ("increase", "rate")}
    listed = Listed(samples, interval_s)
    for now, values in replay(samples, moments, slots, site):
        steps = listed.steps(step, now)
        known = steps is not None and steps[0] >= 2
        quiet = math.isinf(interval_s) and not listed.window(now) and listed.known(now)
        increase, rate = (steps[1], steps[1] / steps[2]) if known and steps else ((0.0, 0.0) if quiet else (None, None))
        assert agrees(values["increase"], increase), now
        assert agrees(values["rate"], rate), now


@settings(max_examples=100)
@given(_SAMPLES, _MOMENTS, st.sampled_from([math.inf, 40.0, 250.0]))
def test_counting_how_often_a_condition_becomes_true(
    samples: list[Sample], moments: list[int], interval_s: float
) -> None:
    site = Site(point("a.x", "V", interval_s))
    slots = {"count": site.past("a.x", "count", WINDOW_S, Comparison(">", Load(0), Const(500.0)))}
    listed = Listed(samples, interval_s)
    for now, values in replay(samples, moments, slots, site):
        steps = listed.steps(lambda old, new: float(new > 500.0 >= old), now)
        quiet = math.isinf(interval_s) and not listed.window(now) and bool(listed.known(now))
        expected = 0.0 if quiet else None if steps is None else steps[1]
        assert agrees(values["count"], expected), now


@settings(max_examples=150)
@given(_SAMPLES, _MOMENTS, st.sampled_from([math.inf, 40.0, 250.0]))
def test_some_time_ago(samples: list[Sample], moments: list[int], interval_s: float) -> None:
    site = Site(point("a.x", "V", interval_s))
    slots = {"ago": site.past("a.x", "ago", WINDOW_S)}
    listed = Listed(samples, interval_s)
    for now, values in replay(samples, moments, slots, site):
        assert values["ago"] == listed.ago(now), now


_HOURLY = st.lists(
    st.builds(
        Sample,
        st.integers(-5 * 168 * 2, 0).map(lambda half: half * 1800 + 60),
        st.just(0) | st.integers(0, 200_000),
        _VALUES,
    ),
    max_size=60,
    unique_by=lambda sample: sample.t,
)


@settings(max_examples=100)
@given(_HOURLY, st.integers(0, 400).map(lambda half: half * 1800), st.integers(1, 4), st.integers(1, 28), st.booleans())
def test_the_same_hour(samples: list[Sample], now: int, weeks: int, days: int, restarted: bool) -> None:
    site = Site(point("a.x", "kW"), started=-6 * WEEK_S)
    slots = {"same_hour": site.past("a.x", "same_hour", weeks), "usual": site.past("a.x", "usual", days)}
    replay([s for s in samples if s.now <= now], [now], slots, site)
    if restarted:
        records = site.inputs.history_records(instant(now))
        site = Site(point("a.x", "kW"), started=now)
        slots = {"same_hour": site.past("a.x", "same_hour", weeks), "usual": site.past("a.x", "usual", days)}
        assert site.inputs.restore(records) == ()
    site.receive([reading("a.x", 1.0, now)], now)  # the running hour itself never counts
    by_hour: dict[int, list[float]] = {}
    for sample in samples:
        if sample.value is not None and sample.now <= now:
            by_hour.setdefault(sample.t // 3600, []).append(sample.value)
    for name, period_h, periods, answer in (
        ("same_hour", 168, weeks, statistics.fmean),
        ("usual", 24, days, statistics.median),
    ):
        hours = (now // 3600 - back * period_h for back in range(1, periods + 1))
        means = [statistics.fmean(by_hour[hour]) for hour in hours if hour in by_hour]
        expected = float(answer(means)) if 2 * len(means) >= periods else None
        assert agrees(slots[name].value, expected), name


# ---------------------------------------------------------------------- examples


def test_case_c11_bad_and_nan_are_no_samples() -> None:
    site = Site(point("a.temp", "Cel"))
    average = site.past("a.temp", "avg", 300.0)
    site.take(0, temp=31.0)
    assert average.value == 31.0
    site.take(10, temp=None)
    site.take(20, temp=math.nan)
    assert average.value == 31.0
    site.take(70, temp=29.0)
    assert average.value == 30.0
    site.wait(299.999)
    assert average.value == 30.0
    site.wait(300)
    assert average.value == 29.0
    site.wait(370)
    assert average.value is None  # not zero


def test_case_x2_missing_history_is_unknown() -> None:
    site = Site(point("a.one", "kW"), point("a.two", "kW"))
    one, two = (site.past(name, "ago", WEEK_S) for name in ("a.one", "a.two"))
    site.take(0, one=10.0)
    site.take(WEEK_S, one=16.0, two=500.0)
    assert (one.value, two.value) == (10.0, None)


def test_four_fifths_of_the_samples_are_enough() -> None:
    site = Site(point("a.x", "V", 60.0))
    average = site.past("a.x", "avg", 300.0)
    for t in (0, 60, 120):
        site.take(t, x=30.1)
    assert average.value is None
    site.take(180, x=30.1)
    assert average.value == 30.1
    site.wait(299)
    assert average.value == 30.1
    site.wait(300)  # the first one leaves, nothing has come since
    assert average.value is None


def test_a_huge_sample_leaves_no_trace() -> None:
    site = Site(point("a.x", "V"))
    average = site.past("a.x", "avg", 100.0)
    site.take(0, x=1e300)
    site.take(50, x=0.1)
    site.take(60, x=0.3)
    site.wait(100)
    assert average.value == 0.2


def test_an_overflowing_sum_is_unknown() -> None:
    site = Site(point("a.x", "V"))
    total = site.past("a.x", "sum", 100.0)
    site.take(0, x=1.7e308)
    site.take(1, x=1.7e308)
    assert total.value is None
    site.wait(100)
    assert total.value == 1.7e308


def test_a_whole_hour_of_consumption() -> None:
    site = Site(point("a.total", "kW.h", 900.0, counter=True))
    increase, rate = site.past("a.total", "increase", HOUR_S), site.past("a.total", "rate", HOUR_S)
    for quarter in range(5):
        site.take(quarter * 900, total=1000.0 + quarter * 0.1)
    assert increase.value == 0.4  # five samples, the first at the very beginning of the hour
    assert rate.value == pytest.approx(0.4 / 3600)
    site.take(4500, total=0.05)  # a new meter
    assert increase.value == 0.35


def test_a_fall_of_a_gauge_is_a_fall() -> None:
    site = Site(point("a.temp", "Cel"), point("a.tank", "L"))
    rate = site.past("a.temp", "rate", 60.0)
    tank = site.past("a.tank", "increase", 60.0)
    site.take(0, temp=20.1, tank=1000.0)
    site.take(10, temp=20.0, tank=990.0)
    assert rate.value == -0.01
    assert tank.value == -10.0


def test_changes_of_a_contact_that_reports_changes_only() -> None:
    site = Site(point("a.open", kind=ValueKind.BOOLEAN))
    count = site.past("a.open", "count", 60.0, Load(0))
    for t, value in ((0, False), (10, True), (20, False), (30, True), (40, True)):
        site.take(t, open=value)
    assert count.value == 2.0
    site.wait(70)
    assert count.value == 1.0
    site.wait(90)
    assert count.value == 0.0
    site.wait(DAY_S)
    assert count.value == 0.0


def test_the_same_sample_twice_counts_once_and_two_at_one_time_count_both() -> None:
    site = Site(point("a.x", "V"))
    count, total = site.past("a.x", "count", 100.0), site.past("a.x", "sum", 100.0)
    site.take(0, x=1.0)
    site.receive([reading("a.x", 1.0, 0, 5)], 5)
    site.take(10, x=3.0)
    site.receive([reading("a.x", 1.0, 0, 12), reading("a.x", 4.0, 10, 12)], 12)
    assert (count.value, total.value) == (3.0, 8.0)


def test_late_and_old_samples_go_into_windows_but_never_become_the_live_value() -> None:
    site = Site(point("a.x", "V"))
    most = site.past("a.x", "max", HOUR_S)
    cell = site.inputs.cell("a.x", None)
    site.receive([reading("a.x", 5.0, 0, 600)], 600)  # ten minutes old: backlog
    assert (cell.value, most.value) == (None, 5.0)
    site.take(700, x=1.0)
    site.receive([reading("a.x", 9.0, 650, 701)], 701)
    assert (cell.value, most.value) == (1.0, 9.0)
    site.receive([reading("a.x", 99.0, -3000, 702)], 702)  # out of the window already
    assert most.value == 9.0


def test_who_reads_is_told_only_when_the_value_changes() -> None:
    site = Site(point("a.x", "V"))
    most = site.past("a.x", "max", 100.0)
    most.readers.append("reader")
    assert site.take(0, x=5.0) == ["reader"]
    assert site.take(10, x=4.0) == []
    assert site.take(20, x=6.0) == ["reader"]


def test_equal_questions_share_one_slot() -> None:
    site = Site(point("a.x", "V"), point("a.y", "V"))
    _, measure, faults = expression("count(a.x > 1 V, 1 h)", site.points.get)
    assert measure is not None
    assert faults == ()
    slots = []
    for text in ("count(a.x > 1 V, 1 h)", "count(a.x > 1000 mV, 60 min)", "count(a.x > 2 V, 1 h)"):
        (wanted,), _, _ = expression(text, site.points.get)
        slots.append(site.inputs.slot(wanted, wanted.name, None))
    assert slots[0] is slots[1] is not slots[2]
    assert site.past("a.x", "avg", 60.0) is not site.past("a.y", "avg", 60.0)


def test_a_running_site_is_asked_for_one_value() -> None:
    site = Site(point("a.temp", "Cel"))
    inputs, measure, _ = expression("avg(a.temp, 5 min) * 2", site.points.get)
    assert measure is not None
    slots = [site.inputs.slot(each, each.name, None) for each in inputs]
    site.take(0, temp=31.0)
    site.take(70, temp=29.0)
    assert measure.read(slots) == 60.0
    assert measure.unit.symbol == "°C"


# ---------------------------------------------------------------------- bounded memory


def test_memory_is_bounded_and_what_it_costs_is_a_thousandth_of_the_window() -> None:
    span = Span[float](1000.0, lambda old, new: old + new, lambda old, new: old + new)
    for tenth in range(100_000):
        span.add(tenth / 10, 1.0)
        span.drop(tenth / 10)
        assert len(span.cells) <= CELLS + 1
    whole = span.whole
    assert whole is not None
    assert 10_000 <= whole <= 10_010


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 1500)), max_size=120, unique_by=lambda each: each[0]))
def test_dense_samples_leave_at_most_a_cell_too_late(arrivals: list[tuple[int, int]]) -> None:
    """(when measured, how late), in tenths of a second"""
    width_s = 10.0
    series = Statistics("count", 100.0, math.inf)
    series._span._width_s = width_s  # so that cells have many samples here
    seen: list[float] = []
    for tenths, late in sorted(arrivals, key=sum):
        t, now = tenths / 10, (tenths + late) / 10
        seen.append(t)
        series.add(Instant(t, 0), 1.0)
        found = series.read(Instant(now, 0)) or 0.0
        fewest = sum(1 for each in seen if each + 100.0 > now)
        assert fewest <= found <= sum(1 for each in seen if each + 100.0 + width_s > now)


def test_hours_are_dropped_by_number_so_that_a_wrong_clock_forgets_nothing_else() -> None:
    hours = Hours(math.inf)
    for hour in range(1000):
        hours.add(hour * 3_600_000, 1.0)
    assert len(hours.sums) == 720
    hours.add(10**9 * 3_600_000, 1.0)
    assert len(hours.sums) == 720
    assert hours.mean(999) == 1.0


# ---------------------------------------------------------------------- across a restart


def test_hours_survive_a_restart_and_only_what_changed_is_written() -> None:
    site = Site(point("a.power", "kW", 900.0))
    usual = site.past("a.power", "usual", 2)
    for quarter in range(4 * 25):
        site.take(quarter * 900, power=float(quarter // 4))
    now = 25 * HOUR_S - 900
    assert usual.value == 0.0  # the hour from midnight, yesterday
    records = site.inputs.history_records(instant(now))
    assert sorted(records) == ["history/a.power/6"]  # one day; its 25th hour still runs
    assert max(map(len, records.values())) < 600
    assert site.inputs.history_records(instant(now)) == {}
    site.take(25 * HOUR_S, power=7.0)
    assert sorted(site.inputs.history_records(instant(25 * HOUR_S))) == ["history/a.power/7"]

    heir = Site(point("a.power", "kW", 900.0), started=now)
    again = heir.past("a.power", "usual", 2)
    assert heir.inputs.restore({**records, "history/a.other/6": b"{}", "engine": b"x"}) == ()
    heir.take(now, power=24.0)
    assert again.value == 0.0
    heir.wait(25 * HOUR_S)
    assert again.value == 1.0


@pytest.mark.parametrize("record", [b"", b"[]", b'{"v":2}', b'{"v":1,"unit":"kW","day":1,"hours":[[0]]}', b"\xff"])
def test_a_damaged_record_is_named_and_left_out(record: bytes) -> None:
    site = Site(point("a.power", "kW"))
    site.past("a.power", "usual", 2)
    assert site.inputs.restore({"history/a.power/3": record}) == ("history/a.power/3",)


def test_hours_in_another_unit_are_not_taken_over() -> None:
    site = Site(point("a.power", "kW"))
    site.past("a.power", "usual", 1)
    site.take(0, power=5.0)
    records = site.inputs.history_records(instant(2 * HOUR_S))
    heir = Site(point("a.power", "W"), started=DAY_S)
    usual = heir.past("a.power", "usual", 1)
    assert heir.inputs.restore(records) == ()
    heir.take(DAY_S, power=5.0)
    assert usual.value is None


def test_windows_are_filled_from_stored_readings_without_touching_live_values() -> None:
    site = Site(point("a.x", "V", 60.0), point("a.t", "kW.h", 60.0), started=600)
    average = site.past("a.x", "avg", 300.0)
    before = site.past("a.x", "ago", 300.0)
    increase = site.past("a.t", "increase", 300.0)
    cell = site.inputs.cell("a.x", None)
    assert site.inputs.needs(instant(600)) == {"a.x": 480.0, "a.t": 480.0}
    stored = [reading(name, float(t), t) for t in range(0, 660, 60) for name in ("a.x", "a.t")]
    site.inputs.preload(reversed(stored), instant(600))
    assert (cell.value, average.value, before.value, increase.value) == (None, 480.0, 300.0, 300.0)
    site.take(660, x=660.0)
    site.inputs.preload(stored, instant(660))  # what came by itself is not counted again
    site.take(661, x=660.0)
    assert cell.value == 660.0
    assert average.value == statistics.fmean([420, 480, 540, 600, 660, 660])
    site.wait(1300)
    assert average.value is None


def test_stored_readings_complete_the_journaled_hours() -> None:
    site = Site(point("a.power", "kW"))
    site.past("a.power", "same_hour", 4)
    for hour in range(10):
        site.take(hour * HOUR_S, power=1.0)
    records = site.inputs.history_records(instant(9 * HOUR_S))  # nine of them are over
    heir = Site(point("a.power", "kW"), started=11 * HOUR_S)
    heir.past("a.power", "same_hour", 4)
    assert heir.inputs.needs(instant(11 * HOUR_S)) == {"a.power": 673 * HOUR_S}
    heir.inputs.restore(records)
    assert heir.inputs.needs(instant(11 * HOUR_S)) == {"a.power": 3 * HOUR_S}
    heir.inputs.preload([reading("a.power", 3.0, hour * HOUR_S) for hour in (7, 8, 9, 10)], instant(11 * HOUR_S))
    hours = heir.inputs.origin("a.power").hours
    assert hours is not None
    assert [hours.mean(BASE_MS // 3_600_000 + hour) for hour in (7, 8, 9, 10)] == [1.0, 1.0, 3.0, 3.0]


def test_other_rules_inherit_what_is_known() -> None:
    old, new = Site(point("a.x", "kW", 60.0)), Site(point("a.x", "kW", 60.0), started=300)
    for site in (old, new):
        site.past("a.x", "avg", 300.0)
        site.past("a.x", "usual", 1)
        site.inputs.lasting("a.x", 1000.0)
    for t in range(0, 360, 60):
        old.take(t, x=float(t))
    new.inputs.inherit(old.inputs, instant(300))
    average = new.past("a.x", "avg", 300.0)
    assert average.value == 180.0
    assert new.inputs.lasting("a.x", 1000.0).value == 300.0
    assert new.past("a.x", "sum", 300.0).value is None
    new.take(360, x=0.0)
    assert average.value == 168.0
    new.wait(420)
    assert average.value == 180.0  # 180, 240, 300 and 0
    hours = new.inputs.origin("a.x").hours
    assert hours is not None
    assert hours.sums[BASE_MS // 3_600_000] == (7, 900.0)


def test_a_point_with_another_unit_begins_anew() -> None:
    old, new = Site(point("a.x", "kW")), Site(point("a.x", "W"))
    for site in (old, new):
        site.past("a.x", "avg", 300.0)
        site.inputs.lasting("a.x", 1000.0)
    old.take(0, x=5.0)
    new.inputs.inherit(old.inputs, instant(0))
    assert new.past("a.x", "avg", 300.0).value is None
    assert new.inputs.lasting("a.x", 1000.0).value is None


# ---------------------------------------------------------------------- other inputs


def test_a_lasting_value_outlives_bad_readings_for_its_time() -> None:
    site = Site(point("a.warning", kind=ValueKind.STATE, interval_s=60.0, states=("red", "none")))
    slot = site.inputs.slot(Input(Source.VALUE, "warning", 6 * HOUR_S), "a.warning", None)
    assert isinstance(slot, Lasting)
    site.take(0, warning="red")
    site.take(60, warning=None)
    site.wait(6 * HOUR_S - 1)
    assert slot.value == "red"
    site.wait(6 * HOUR_S)
    assert slot.value is None
    site.take(7 * HOUR_S, warning="none")
    assert slot.value == "none"
    site.wait(13 * HOUR_S)
    assert slot.value is None


def test_a_lasting_value_is_found_in_stored_readings() -> None:
    site = Site(point("a.warning", kind=ValueKind.STATE, states=("red", "none")), started=3600)
    slot = site.inputs.lasting("a.warning", 6 * HOUR_S)
    assert site.inputs.needs(instant(3600)) == {"a.warning": 6 * HOUR_S}
    site.inputs.preload([reading("a.warning", "red", 0)], instant(3600))
    assert slot.value == "red"
    site.wait(6 * HOUR_S)
    assert slot.value is None


def test_the_silence_of_another_device() -> None:
    own = Device("a", "thing", Text("", ""), Place(), "test", (point("a.x"),))
    inputs = Inputs({"a.x": own.points[0]}, {"a": own}, Queue(), BASE_S)
    slot = inputs.slot(Input(Source.SILENT, "valve", 60.0), "a", None)
    assert isinstance(slot, Elapsed)
    inputs.take([reading("a.x", 1.0, 5)], instant(5))
    assert (slot.value, slot.since_s) == (False, BASE_S + 5)


def test_an_alarm_is_no_input_of_the_site() -> None:
    with pytest.raises(ValueError, match=r"alarm\(fire\)"):
        Site().inputs.slot(Input(Source.ALARM, "fire"), "fire", None)


# ---------------------------------------------------------------------- in rules

SITE = (
    Device(
        "lvl1",
        "water_level",
        Text("地库", "basement"),
        Place(building="B1"),
        "test",
        (point("lvl1.level", "cm", 60.0), point("lvl1.flow", "m3/h", 60.0)),
        {"pump": "p1"},
    ),
    Device(
        "lvl2", "water_level", Text("", ""), Place(), "test", (point("lvl2.level", "cm"), point("lvl2.flow", "m3/h"))
    ),
    Device("p1", "pump", Text("", ""), Place(), "test", (point("p1.running", kind=ValueKind.BOOLEAN),)),
    Device(
        "weather",
        "weather",
        Text("", ""),
        Place(),
        "test",
        (point("weather.rainstorm", kind=ValueKind.STATE, states=("red", "orange", "none")),),
    ),
)
POINTS = {each.id: each for device in SITE for each in device.points}
LIMIT = {
    "default": "20 cm",
    "cases": [
        {"when": "weather.rainstorm == red", "use": "8 cm"},
        {"when": "weather.rainstorm == orange", "use": "0.12 m"},
    ],
    "expires_after": "6 h",
}


def bound(*rules: Mapping[str, object]) -> tuple[RuleSet, tuple[RuleFault, ...]]:
    named = [{"name": {"zh": "水", "en": "water"}, "for_each": {"type": "water_level"}, **rule} for rule in rules]
    return read_rules({"format": "rules/1", "rules": named}, SITE)


def engine(rules: RuleSet) -> Engine:
    return Engine(rules, POINTS, SITE, new_id=str, started=instant(0))


def test_a_limit_follows_the_weather_warning_while_it_counts() -> None:
    message = {"zh": "{level}（{limit}）", "en": "{level} (limit {limit}), {value}"}
    rules, faults = bound({"id": "water", "values": {"limit": LIMIT}, "when": "level > limit", "message": message})
    assert not faults
    running = engine(rules)

    def state(t: float, **values: Value) -> AlarmState:
        running.observe([reading(name.replace("_", "."), value, t) for name, value in values.items()], instant(t))
        running.tick(instant(t))
        return running.alarm("water", "lvl1").state

    assert state(0, lvl1_level=15.0) is AlarmState.NORMAL
    assert state(10, weather_rainstorm="red") is AlarmState.UNACK
    for t in range(60, 6 * 3600, 60):
        assert state(t, lvl1_level=15.0) is AlarmState.UNACK
    assert state(6 * 3600 + 10, lvl1_level=15.0) is AlarmState.RTN_UNACK
    (watch,) = [each for each in rules.watches if each.device == "lvl1"]
    assert sorted(watch.program.measures) == ["limit", "value"]


def test_an_alarm_about_a_window_ends_by_time_alone() -> None:
    rules, faults = bound({"id": "high", "when": "max(level, 5 min) > 10 cm", "ack": "auto"})
    assert not faults
    running = engine(rules)
    running.observe([reading("lvl2.level", 11.0, 0)], instant(0))
    running.observe([reading("lvl2.level", 1.0, 100)], instant(100))
    assert running.alarm("high", "lvl2").state is AlarmState.UNACK
    due_s = running.next_timer_s()
    assert due_s == BASE_S + 300
    running.tick(instant(300))
    assert running.alarm("high", "lvl2").state is AlarmState.NORMAL


def test_faults_and_warnings_keep_their_places_in_the_file() -> None:
    wrong = {"default": "20 cm", "cases": [{"when": "weather.rainstrom == red", "use": "8 kW"}]}
    _, faults = bound(
        {"id": "a", "when": "avg(level, 2 min) > 10 cm"},
        {"id": "b", "when": "level > limit", "values": {"limit": wrong}},
        {"id": "c", "when": "level > 10 cm", "values": {"unused": {**LIMIT, "default": "20 kW"}}},
    )
    values = ("rules", 1, "values", "limit", "cases", 0)
    assert sorted({(each.code, each.path, each.offset) for each in faults}, key=str) == sorted(
        [
            ("W-WINDOW", ("rules", 0, "when"), 11),
            ("E-POINT", (*values, "when"), 0),
            ("E-UNIT", (*values, "use"), None),
            ("E-UNIT", ("rules", 2, "values", "unused", "cases", 0, "use"), None),
            ("E-UNIT", ("rules", 2, "values", "unused", "cases", 1, "use"), None),
        ],
        key=str,
    )
    assert [each.code for each in faults].count("W-WINDOW") == 1


def test_devices_without_the_role_are_not_watched() -> None:
    rules, (warning,) = bound({"id": "quiet", "when": "silent(pump) > 5 min and silent(weather) > 1 h"})
    assert [(each.device, each.targets) for each in rules.watches] == [("lvl1", ("p1", "weather"))]
    assert (warning.code, "lvl2" in warning.en, "pump" in warning.en) == ("W-NOMATCH", True, True)
