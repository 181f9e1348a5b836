from __future__ import annotations

import itertools
import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.schedule import PROBE_SHARE, Backoff, Job, LineSchedule


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
    """Debt once grew with every probe of an idle line: one that came back when the line was busy again waited 17 min."""
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
