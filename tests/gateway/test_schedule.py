from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.schedule import PROBE_SHARE, SPARE_SHARE, Backoff, Job, LineSchedule, next_occurrence_ms


def line(jobs: list[Job], backoff: Backoff | None = None) -> LineSchedule:
    return LineSchedule(jobs, 0.0, random.Random(1), backoff or Backoff(jitter=0.0))


def job(name: str, interval_s: float) -> Job:
    return Job(name, (f"{name}.p",), interval_s)


def drive(
    schedule: LineSchedule, seconds: float, cost_s: dict[str, float], dead: set[str]
) -> list[tuple[float, str, bool]]:
    """Play the line: (start, device, answered) of every turn, each taking its device's cost."""
    now, turns = 0.0, []
    while now < seconds:
        turn = schedule.next(now)
        if not isinstance(turn, Job):
            now += min(turn, seconds)
            continue
        answered = turn.device not in dead
        turns.append((now, turn.device, answered))
        now += cost_s[turn.device]
        if answered:
            schedule.exchanged(turn, now, cost_s[turn.device])
            schedule.succeeded(turn, now)
        else:
            schedule.failed(turn, now, cost_s[turn.device])
    return turns


def test_a_late_turn_skips_grid_points_and_keeps_the_grid() -> None:
    a = job("a", 1.0)
    schedule = line([a])
    assert schedule.next(0.0) is a
    schedule.succeeded(a, 2.5)
    assert schedule.next(2.5) == 0.5
    assert schedule.next(3.0) is a
    assert schedule.skipped() == 2


def test_the_job_whose_interval_ends_first_goes_first() -> None:
    slow, fast = job("slow", 10.0), job("fast", 1.0)
    turns = drive(line([slow, fast]), 3.5, {"slow": 0.3, "fast": 0.1}, set())
    assert [(round(t, 1), d) for t, d, _ in turns] == [
        (0.0, "fast"),
        (0.1, "slow"),
        (1.0, "fast"),
        (2.0, "fast"),
        (3.0, "fast"),
    ]


def test_a_silent_device_is_probed_with_growing_pauses_and_readmitted_at_once() -> None:
    dead, alive = job("dead", 1.0), job("alive", 5.0)
    schedule = line([dead, alive], Backoff(first_s=2.0, cap_s=20.0, jitter=0.0))
    turns = drive(schedule, 60.0, {"dead": 1.0, "alive": 0.1}, {"dead"})
    probes = [t for t, d, _ in turns if d == "dead"]
    pauses = [round(b - a - 1.0, 1) for a, b in itertools.pairwise(probes)]
    assert len(pauses) >= 4
    assert all(a <= b + 0.2 for a, b in itertools.pairwise(pauses))
    assert schedule.silent() == {"dead"}
    schedule.succeeded(dead, 61.0)
    assert not schedule.silent()
    wait = schedule.next(61.0)
    assert isinstance(wait, Job) or wait <= 1.0


def test_on_a_saturated_line_one_dead_device_of_ten_costs_the_others_less_than_ten_percent() -> None:
    jobs = [job(f"d{i}", 10.0) for i in range(10)]
    cost = {f"d{i}": 1.0 for i in range(10)} | {"d0": 3.0}
    horizon = 4000.0
    turns = drive(line(jobs), horizon, cost, {"d0"})
    healthy = len([1 for t, d, _ in turns if d != "d0"])
    spent = sum(cost[d] for _, d, answered in turns if not answered)
    assert spent <= (PROBE_SHARE * horizon) + 10.0
    # nine devices of 1 s each want a turn every 10 s: all of them fit into 90 % of the line
    assert healthy >= 0.95 * 9 * horizon / 10.0


def test_an_idle_line_probes_without_counting_the_share() -> None:
    dead, alive = job("dead", 1.0), job("alive", 100.0)
    turns = drive(
        line([dead, alive], Backoff(first_s=2.0, cap_s=2.0, jitter=0.0)), 90.0, {"dead": 1.0, "alive": 0.1}, {"dead"}
    )
    assert len([1 for _, d, _ in turns if d == "dead"]) > 20


def test_what_was_probed_while_the_line_was_idle_does_not_delay_the_question_whether_it_is_back() -> None:
    """Debt grew with every probe of an idle line; one that came back when the line was busy again waited 17 min."""
    backoff = Backoff(first_s=2.0, cap_s=2.0, jitter=0.0)
    dead, busy = [job(f"dead{i}", 10.0) for i in range(5)], job("busy", 10.0)
    schedule = line([*dead, busy], backoff)
    turns = drive(schedule, 300.0, {"busy": 0.1} | {each.device: 1.5 for each in dead}, {each.device for each in dead})
    assert sum(1 for _, device, _ in turns if device != "busy") > 50
    now_s = max(at for at, _, _ in turns) + 20.0
    waited_s = 0.0
    while schedule.next(now_s + waited_s) is busy:  # never done: the line has no idle moment any more
        waited_s += 0.5
    assert waited_s <= 1.5 / PROBE_SHARE


def test_a_restored_line_asks_everybody_at_once() -> None:
    a = job("a", 10.0)
    schedule = line([a], Backoff(first_s=50.0, cap_s=50.0, jitter=0.0))
    schedule.failed(a, 1.0, 1.0)
    assert not isinstance(schedule.next(2.0), Job)
    schedule.line_restored(2.0)
    assert schedule.next(2.0) is a


def test_nothing_to_do_waits_for_ever() -> None:
    assert line([]).next(0.0) == math.inf


@settings(max_examples=100, deadline=None)
@given(
    intervals=st.lists(st.sampled_from([1.0, 2.0, 5.0, 10.0]), min_size=1, max_size=8),
    cost=st.floats(0.01, 0.3),
    dead=st.sets(st.integers(0, 7)),
)
def test_every_healthy_device_gets_its_turns_on_its_grid(intervals: list[float], cost: float, dead: set[int]) -> None:
    jobs = [job(f"d{i}", interval) for i, interval in enumerate(intervals)]
    silent = {f"d{i}" for i in dead if i < len(jobs)}
    turns = drive(line(jobs), 200.0, {j.device: cost for j in jobs}, silent)
    assert all(b[0] >= a[0] + cost - 1e-9 for a, b in itertools.pairwise(turns)), "two turns overlap"
    load = sum(cost / j.interval_s for j in jobs)
    for j in jobs:
        mine = [t for t, d, _ in turns if d == j.device]
        if j.device not in silent and load < 0.6:
            assert len(mine) >= 0.9 * 200.0 / j.interval_s - 1
        assert j.device not in silent or mine, "a silent device must be probed"


# ---------------------------------------------------------------------- turns of one exchange


def test_a_long_job_gives_way_between_its_exchanges_and_goes_on_afterwards() -> None:
    long, fast = job("long", 60.0), job("fast", 1.0)
    schedule = line([long, fast])
    schedule.succeeded(fast, 0.1)
    turns = []
    now, left = 0.1, 5  # exchanges of 0.5 s
    while left:
        turn = schedule.next(now)
        assert isinstance(turn, Job), "the long job is due until it is finished"
        turns.append(turn.device)
        if turn is fast:
            now += 0.1
            schedule.succeeded(fast, now)
        else:
            now, left = now + 0.5, left - 1
            schedule.exchanged(long, now, 0.5)
    schedule.succeeded(long, now)
    assert turns == ["long", "long", "fast", "long", "long", "fast", "long"]
    assert schedule.next(now) != long


def test_who_rests_is_asked_nothing_and_the_others_go_on() -> None:
    a, b = job("a", 1.0), job("b", 1.0)
    schedule = line([a, b])
    schedule.rest("a", 3.0)
    assert schedule.next(0.0) is b
    schedule.succeeded(b, 0.1)
    assert not isinstance(schedule.next(0.2), Job)
    assert schedule.next(3.0) is a


def test_a_silent_device_that_must_rest_is_not_probed_before() -> None:
    a = job("a", 1.0)
    schedule = line([a], Backoff(first_s=0.1, cap_s=0.1, jitter=0.0))
    schedule.rest("a", 9.0)
    schedule.failed(a, 1.0, 0.2)
    assert not isinstance(schedule.next(8.9), Job)
    assert schedule.next(9.0) is a


# ---------------------------------------------------------------------- the grid


def test_all_are_read_at_once_after_the_start_and_spread_evenly_from_then_on() -> None:
    jobs = [job(f"d{i}", 60.0) for i in range(6)]
    turns = drive(line(jobs), 300.0, {j.device: 0.5 for j in jobs}, set())
    first = {d: t for t, d, _ in reversed(turns)}
    assert max(first.values()) <= 3.0
    later = [t for t, _, _ in turns if t > 120.0]
    assert all(round(b - a, 6) == 10.0 for a, b in itertools.pairwise(later)), "one every ten seconds"


@settings(max_examples=200, deadline=None)
@given(
    intervals=st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=1, max_size=6),
    phase_s=st.floats(0.0, 1.0),
    cost_s=st.floats(0.001, 0.05),
)
def test_the_grid_never_shifts(intervals: list[float], phase_s: float, cost_s: float) -> None:
    jobs = [job(f"d{i}", interval) for i, interval in enumerate(intervals)]
    schedule = LineSchedule(jobs, 0.0, random.Random(1), phase_s=phase_s)
    turns = drive(schedule, 60.0, {j.device: cost_s for j in jobs}, set())
    for j in jobs:
        mine = [t for t, d, _ in turns if d == j.device]
        gaps = [b - a for a, b in itertools.pairwise(mine)]
        queue_s = len(jobs) * cost_s + 1e-6  # the first reads are all due at once, and wait for each other
        assert abs(gaps[0] - j.interval_s) <= 0.5 * j.interval_s + queue_s, "from the first read to the grid"
        assert all(abs(gap - j.interval_s) <= queue_s for gap in gaps[1:])


# ---------------------------------------------------------------------- spare time


def spare(name: str, interval_s: float) -> Job:
    return Job(name, (f"{name}.p",), interval_s, spare=True)


def test_spare_jobs_fill_what_is_left_up_to_their_share_and_delay_nobody() -> None:
    fast, slow = job("fast", 1.0), spare("slow", 0.001)
    turns = drive(line([fast, slow]), 200.0, {"fast": 0.3, "slow": 0.2}, set())
    starts = [t for t, d, _ in turns if d == "fast"]
    assert all(abs((b - a) - 1.0) < 1e-6 for a, b in itertools.pairwise(starts[1:])), "the periodic one keeps its grid"
    spent = 0.2 * len([1 for _, d, _ in turns if d == "slow"])
    assert 0.9 * SPARE_SHARE <= spent / 200.0 <= 1.05 * SPARE_SHARE


def test_a_full_line_has_no_spare_time() -> None:
    turns = drive(line([job("a", 1.0), spare("b", 10.0)]), 100.0, {"a": 0.95, "b": 0.2}, set())
    assert {d for _, d, _ in turns} == {"a"}


# ---------------------------------------------------------------------- fixed times of day

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")


def utc_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def fixed(*times: str) -> Job:
    return Job("m", ("m.p",), 86400.0, tuple(time.fromisoformat(each) for each in times))


def play_wall_clock(schedule: LineSchedule, clock: Callable[[float], int], seconds: float) -> list[int]:
    """UTC ms of every read, with *clock* from monotonic seconds to wall time."""
    now, reads = 0.0, []
    while now < seconds:
        turn = schedule.next(now, clock(now))
        if isinstance(turn, Job):
            reads.append(clock(now))
            schedule.succeeded(turn, now, clock(now))
            now += 0.5
        else:
            assert turn <= 20.0, "the wall clock may be set at any time"
            now += max(turn, 0.001)
    return reads


def test_a_fixed_time_is_read_at_the_start_and_then_once_each_day_at_its_minute() -> None:
    start = utc_ms("2026-11-27T10:00:00+08:00")
    schedule = LineSchedule([fixed("00:05")], 0.0, random.Random(1), zone=SHANGHAI)
    reads = play_wall_clock(schedule, lambda s: start + round(s * 1000), 3 * 86400.0)
    assert reads[0] == start
    wanted = [utc_ms(f"2026-11-{day}T00:05:00+08:00") for day in (28, 29, 30)]
    assert [round((a - b) / 1000) for a, b in zip(reads[1:], wanted, strict=True)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("start", "days"),
    [("2026-03-28T12:00:00+01:00", 3), ("2026-10-24T12:00:00+02:00", 3)],
    ids=["02:30 does not exist", "02:30 comes twice"],
)
def test_daylight_saving_reads_once_a_day(start: str, days: int) -> None:
    begin = utc_ms(start)
    schedule = LineSchedule([fixed("02:30")], 0.0, random.Random(1), zone=BERLIN)
    reads = play_wall_clock(schedule, lambda s: begin + round(s * 1000), days * 86400.0)
    assert len(reads) == 1 + days


@pytest.mark.parametrize("zone", [SHANGHAI, BERLIN], ids=str)
@pytest.mark.parametrize(
    "first", ["2026-03-28", "2026-10-24", "2028-02-27", "2027-02-27", "2026-12-30"],
    ids=["spring forward", "fall back", "leap day", "no leap day", "year end"],
)  # fmt: skip
def test_each_fixed_time_comes_exactly_once_on_each_day_of_the_calendar(first: str, zone: ZoneInfo) -> None:
    times = ("00:00", "00:05", "02:30", "12:00", "23:59:30")
    begin = datetime.fromisoformat(first).replace(tzinfo=zone) - timedelta(seconds=15)
    days = [date.fromisoformat(first) + timedelta(days=n) for n in range(4)]
    end = datetime.combine(days[-1] + timedelta(days=1), time(0), zone) - timedelta(seconds=10)
    begin_ms = round(begin.timestamp() * 1000)
    schedule = LineSchedule([fixed(*times)], 0.0, random.Random(1), zone=zone)
    reads = play_wall_clock(
        schedule, lambda s: begin_ms + round(s * 1000), end.timestamp() - begin.timestamp()
    )  # fmt: skip
    local = [datetime.fromtimestamp(each / 1000, zone) for each in reads[1:]]
    skipped = date(2026, 3, 29) if zone is BERLIN else None
    wanted = [
        (day, "03:30:00" if day == skipped and each == "02:30" else time.fromisoformat(each).isoformat())
        for day in days
        for each in times
    ]
    assert [(each.date(), each.strftime("%H:%M:%S")) for each in local] == wanted


@pytest.mark.parametrize("step_s", [-3600, 3600, 90, -90, 5 * 31_557_600, -5 * 31_557_600])
@pytest.mark.parametrize("at", ["before", "after"])
def test_a_step_of_the_clock_never_makes_a_burst_and_the_days_after_it_are_regular(step_s: int, at: str) -> None:
    """Read at noon; the clock is set half an hour before or after that."""
    begin = utc_ms("2026-11-27T10:00:00+08:00")
    step_at_s = 1.5 * 3600 if at == "before" else 2.5 * 3600

    def clock(seconds: float) -> int:
        return begin + round(seconds * 1000) + (step_s * 1000 if seconds >= step_at_s else 0)

    reads = play_wall_clock(
        LineSchedule([fixed("12:00")], 0.0, random.Random(1), zone=SHANGHAI), clock, 3.5 * 86400
    )  # fmt: skip
    after = [each for each in reads if each >= clock(step_at_s) and each <= clock(3.5 * 86400)]
    noons = [each for each in after if abs((each - utc_ms("2026-11-27T12:00:00+08:00")) % 86_400_000) < 1000]
    assert len(reads) <= 2 + 4 + 1
    assert len(noons) >= 3, "once each day from the step on"


def test_a_box_that_learns_the_time_late_reads_at_once_what_it_has_missed_and_then_on_time() -> None:
    """1970 until the network is there, then 2026."""
    start, synced_s = 0, 600.0
    real = utc_ms("2026-11-27T10:00:00+08:00")

    def clock(seconds: float) -> int:
        return start + round(seconds * 1000) if seconds < synced_s else real + round((seconds - synced_s) * 1000)

    schedule = LineSchedule([fixed("00:05")], 0.0, random.Random(1), zone=SHANGHAI)
    reads = play_wall_clock(schedule, clock, 86400.0)
    assert len(reads) == 3
    assert real <= reads[1] <= real + 20_000
    assert abs(reads[2] - utc_ms("2026-11-28T00:05:00+08:00")) < 1000


def test_a_clock_that_was_years_ahead_does_not_stop_the_daily_read() -> None:
    wrong, right = utc_ms("2036-01-01T00:00:00+08:00"), utc_ms("2026-11-27T10:00:00+08:00")

    def clock(seconds: float) -> int:
        return (wrong if seconds < 60.0 else right) + round(seconds * 1000)

    schedule = LineSchedule([fixed("00:05")], 0.0, random.Random(1), zone=SHANGHAI)
    reads = play_wall_clock(schedule, clock, 86400.0)
    assert any(abs(each - utc_ms("2026-11-28T00:05:00+08:00")) < 1000 for each in reads)


def test_a_fixed_time_that_found_the_device_silent_is_made_up_for_on_its_return() -> None:
    start = utc_ms("2026-11-27T00:04:00+08:00")
    daily = fixed("00:05")
    schedule = LineSchedule(
        [daily], 0.0, random.Random(1), Backoff(first_s=30.0, cap_s=30.0, jitter=0.0), zone=SHANGHAI
    )
    schedule.succeeded(daily, 0.0, start)
    assert schedule.next(60.0, start + 60_000) is daily
    schedule.failed(daily, 61.0, 1.0)
    turn = schedule.next(92.0, start + 92_000)
    assert turn is daily, "probed after its back-off"
    schedule.succeeded(daily, 93.0, start + 93_000)
    assert not isinstance(schedule.next(94.0, start + 94_000), Job)


@given(
    st.integers(0, 4_000_000_000_000),
    st.lists(st.times().map(lambda t: t.replace(microsecond=0)), min_size=1, max_size=4),
    st.sampled_from([SHANGHAI, BERLIN, UTC]),
)
def test_the_next_occurrence_is_later_and_not_farther_than_a_day(now_ms: int, times: list[time], zone: tzinfo) -> None:
    following = next_occurrence_ms(times, now_ms, zone)
    assert now_ms < following <= now_ms + 26 * 3600 * 1000
