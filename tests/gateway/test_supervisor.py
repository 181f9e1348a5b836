"""The supervisor in virtual time: exact instants, no waiting."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self

import pytest
from structlog.testing import capture_logs

from gateway.errors import DeviceUnreachable, DriverError, LineLost, ProtocolError
from gateway.model import Gap, Point, Quality, Reading, Record, Text, ValueKind
from gateway.quality import QualityGate, RegisterChange
from gateway.schedule import Job
from gateway.supervisor import Line
from support.clock import LoopClock
from support.reports import untaken
from support.virtual_time import run

Step = float | Exception


class FakeLine:
    """A connection that opens, or refuses as often as it was told to."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.last_answer = b"\x2a"
        self.log: list[tuple[str, float]] = []

    async def __aenter__(self) -> Self:
        self.log.append(("open", now_s()))
        if self.refusals:
            self.refusals -= 1
            raise LineLost("no such port")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.log.append(("close", now_s()))


class ScriptedDriver:
    """Answers from a script: a number is a value after that many seconds, an exception is raised; then 0.1 s each."""

    def __init__(self, name: str, script: list[Step], clock: LoopClock) -> None:
        self.name, self.script, self.clock = name, script, clock

    def batches(self, points: Sequence[str]) -> Sequence[Sequence[str]]:
        return [[point] for point in points]

    async def poll(self, points: Sequence[str]) -> Sequence[Reading]:
        step = self.script.pop(0) if self.script else 0.1
        if isinstance(step, Exception):
            await asyncio.sleep(0.5)
            raise step
        await asyncio.sleep(step)
        now_ms = self.clock.now_ms()
        return [Reading(point, 1.0, now_ms, now_ms) for point in points]


def now_s() -> float:
    return round(asyncio.get_running_loop().time(), 2)


Seen = list[tuple[float, str, str]]


def play(
    scripts: dict[str, list[Step]],
    seconds: float,
    *,
    interval_s: float = 1.0,
    points: int = 1,
    connection: FakeLine | None = None,
    during: Callable[[Line], Awaitable[Any]] | None = None,
    driver: type[ScriptedDriver] = ScriptedDriver,
    stall_s: float = 30.0,
) -> tuple[Seen, FakeLine, Line]:
    """Run one line for *seconds*; returns (time, point, quality or 'gap:reason') of all that was published."""
    connection = connection or FakeLine()
    clock = LoopClock()
    seen: Seen = []

    async def publish(records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, Reading):
                what = record.quality if record.quality is Quality.GOOD else f"{record.quality}:{record.reason}"
                seen.append((now_s(), record.point, str(what)))
            elif isinstance(record, Gap):
                seen.append((now_s(), str(record.point), f"gap:{record.reason}:{record.to_ms - record.from_ms}"))

    async def main() -> Line:
        drivers = {name: driver(name, script, clock) for name, script in scripts.items()}
        jobs = [Job(name, tuple(f"{name}.p{i}" for i in range(points)), interval_s) for name in scripts]
        gate = QualityGate({p: Point(p, ValueKind.NUMBER, Text("x", "x"), 1.0) for job in jobs for p in job.points})
        line = Line(
            "L1",
            connection,
            drivers,
            jobs,
            publish,
            clock,
            random.Random(7),
            gate,
            lambda change: None,
            untaken,
            stall_s=stall_s,
        )
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                group.create_task(line.run())
                if during is not None:
                    await during(line)
        except TimeoutError:
            return line
        raise AssertionError("the line ended by itself")

    line = run(main())
    return seen, connection, line


def values(seen: Seen) -> list[tuple[float, str]]:
    return [(t, what) for t, _, what in seen]


def test_polls_on_the_grid_and_never_drifts() -> None:
    seen, _, _ = play({"d": [0.3, 0.4, 0.1]}, 3.5)
    assert values(seen) == [(0.3, "good"), (1.4, "good"), (2.1, "good"), (3.1, "good")]


def test_a_late_poll_skips_ticks_and_keeps_the_grid() -> None:
    seen, _, line = play({"d": [2.5]}, 4.5)
    assert values(seen) == [(2.5, "good"), (3.1, "good"), (4.1, "good")]
    assert line.skipped() == 2


def test_silence_marks_every_point_once_and_the_return_announces_the_gap() -> None:
    with capture_logs() as logs:
        seen, _, _ = play({"d": [DeviceUnreachable("silent"), DeviceUnreachable("silent")]}, 9.0, points=2)
    assert seen[:2] == [(0.5, "d.p0", "bad:no_answer"), (0.5, "d.p1", "bad:no_answer")]
    back = [entry for entry in seen if entry[2].startswith("gap")]
    assert [(point, what.split(":")[1]) for _, point, what in back] == [("d.p0", "no_answer"), ("d.p1", "no_answer")]
    assert [what for _, _, what in seen[4:]] == ["good"] * (len(seen) - 4)
    assert len(seen) > 6
    assert [entry["event"] for entry in logs if "device" in entry] == ["device does not answer", "device answers again"]


def test_noise_gets_a_second_chance_at_once() -> None:
    seen, _, line = play({"d": [ProtocolError("garbage", b"\x00")]}, 0.9)
    assert values(seen) == [(0.6, "good")]
    assert line.stats.failures == 0


def test_noise_twice_is_a_failure_with_its_reason() -> None:
    seen, _, _ = play({"d": [ProtocolError("x", b"\x01"), ProtocolError("x", b"\x02")]}, 1.2)
    assert values(seen) == [(1.0, "bad:bad_frame")]


def test_a_failure_in_the_middle_keeps_what_was_read_and_ends_the_turn() -> None:
    seen, _, line = play({"d": [0.1, DeviceUnreachable("gone"), 0.1]}, 1.5, points=3)
    assert seen[0] == (0.1, "d.p0", "good")
    assert [what for _, _, what in seen[1:]] == ["bad:no_answer"] * 3
    assert line.stats.polls == 2


def test_one_dead_device_delays_the_others_by_its_probes_only() -> None:
    scripts: dict[str, list[Step]] = {"dead": [DeviceUnreachable("x")] * 100, "a": [], "b": []}
    seen, _, _ = play(scripts, 60.0)
    for name in ("a", "b"):
        assert len([1 for _, point, what in seen if point == f"{name}.p0" and what == "good"]) >= 57


def test_a_line_that_cannot_be_opened_is_tried_for_ever_and_said_once() -> None:
    with capture_logs() as logs:
        seen, line, _ = play({"a": [], "b": []}, 8.0, connection=FakeLine(refusals=4))
    assert [(p, w) for _, p, w in seen[:2]] == [("a.p0", "bad:line_lost"), ("b.p0", "bad:line_lost")]
    assert [what for what, _ in line.log].count("open") == 5
    assert [entry["event"] for entry in logs if entry["event"].startswith("line")] == ["line lost", "line open"]
    assert [w for _, _, w in seen].count("good") >= 2


def test_a_lost_line_is_reopened_and_its_devices_asked_at_once() -> None:
    seen, line, _ = play({"a": [0.1, LineLost("unplugged")], "b": []}, 5.0)
    assert ("a.p0", "bad:line_lost") in [(p, w) for _, p, w in seen]
    assert [what for what, _ in line.log].count("open") == 2
    recovered = min(t for t, p, w in seen if p == "b.p0" and w == "good" and t > 1.6)
    assert recovered < 3.0


def test_a_line_that_is_up_but_silent_is_opened_anew() -> None:
    _, line, _ = play({"a": [DeviceUnreachable("x")] * 50}, 60.0)
    assert [what for what, _ in line.log].count("open") >= 2


def test_a_driver_that_hangs_is_a_silent_device() -> None:
    seen, _, _ = play({"d": [1000.0]}, 6.0, stall_s=5.0)
    assert values(seen) == [(5.0, "bad:no_answer")]


def test_a_bug_in_a_driver_costs_its_device_and_not_the_line() -> None:
    with capture_logs() as logs:
        seen, _, _ = play({"buggy": [ZeroDivisionError("bug"), ZeroDivisionError("bug")], "ok": []}, 3.0)
    assert ("buggy.p0", "bad:bad_frame") in [(p, w) for _, p, w in seen]
    assert [w for _, p, w in seen if p == "ok.p0"].count("good") >= 2
    assert any(entry["event"] == "driver failed" for entry in logs)


def test_cancel_closes_the_line_at_once() -> None:
    _, line, _ = play({"d": [99.0]}, 2.0)
    assert line.log == [("open", 0.0), ("close", 2.0)]


def test_a_command_is_served_between_two_exchanges() -> None:
    answers: list[tuple[float, str]] = []

    async def command(line: Line) -> None:
        async def act() -> str:
            await asyncio.sleep(0.05)
            return "written"

        await asyncio.sleep(0.45)
        answers.append((now_s(), await line.request(act)))
        answers[-1] = (now_s(), answers[-1][1])

    play({"d": [0.3, 0.3, 0.3]}, 3.0, points=3, during=command)
    assert answers == [(0.65, "written")]


def test_a_command_that_fails_raises_to_its_caller_and_polling_goes_on() -> None:
    caught: list[DriverError] = []

    async def command(line: Line) -> None:
        async def act() -> None:
            raise DeviceUnreachable("nobody home")

        await asyncio.sleep(0.5)
        with pytest.raises(DeviceUnreachable) as info:
            await line.request(act)
        caught.append(info.value)

    seen, _, _ = play({"d": []}, 3.0, during=command)
    assert caught
    assert len(seen) == 3


def test_a_command_to_a_closed_line_fails_at_once() -> None:
    async def command(line: Line) -> None:
        await asyncio.sleep(0.1)

        async def act() -> None:
            raise AssertionError("must not run")

        with pytest.raises(LineLost):
            await line.request(act)

    play({"d": []}, 1.0, connection=FakeLine(refusals=100), during=command)


class Register(ScriptedDriver):
    """Its script holds the register's values, one per poll."""

    async def poll(self, points: Sequence[str]) -> Sequence[Reading]:
        await asyncio.sleep(0.05)
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        now_ms = self.clock.now_ms()
        return [Reading(point, step, now_ms, now_ms) for point in points]


def register(values: list[Step], seconds: float) -> tuple[list[tuple[float | None, str, bytes]], list[RegisterChange]]:
    """(value, reason, raw) of what is published of a counter read once a second, and the changes announced."""
    seen: list[tuple[float | None, str, bytes]] = []
    changes: list[RegisterChange] = []
    clock = LoopClock()

    async def publish(records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, Reading):
                assert not isinstance(record.value, str)
                seen.append((record.value, str(record.reason or "good"), record.raw))

    async def main() -> None:
        point = Point("d.e", ValueKind.NUMBER, Text("x", "x"), 1.0, counter=True)
        line = Line(
            "L1",
            FakeLine(),
            {"d": Register("d", values, clock)},
            [Job("d", ("d.e",), 1.0)],
            publish,
            clock,
            random.Random(7),
            QualityGate({"d.e": point}),
            changes.append,
            untaken,
        )
        task = asyncio.create_task(line.run())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())
    return seen, changes


def test_a_doubtful_counter_is_read_again_at_once_and_the_second_answer_counts() -> None:
    seen, changes = register([10.0, 1.0, 11.0, 12.0], 2.5)
    assert seen == [(10.0, "good", b""), (11.0, "good", b""), (12.0, "good", b"")]
    assert not changes


def test_a_counter_that_stays_doubtful_is_published_as_such_with_its_frame() -> None:
    seen, _ = register([10.0, 1.0, 1.0, 12.0], 2.5)
    assert seen == [(10.0, "good", b""), (1.0, "backwards", b"\x2a"), (12.0, "good", b"")]


def test_a_doubtful_counter_that_cannot_be_read_again_is_not_lost() -> None:
    seen, _ = register([10.0, 1.0, DeviceUnreachable("gone"), 12.0], 2.5)
    assert seen == [(10.0, "good", b""), (1.0, "backwards", b"\x2a"), (12.0, "good", b"")]


def test_a_replaced_meter_is_believed_in_the_end_and_announced() -> None:
    seen, changes = register([500.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.0], 4.5)
    assert [reason for _, reason, _ in seen] == ["good", "backwards", "backwards", "good", "good"]
    assert changes == [RegisterChange("d.e", 500.0, 5.0, rolled_over=False)]


def test_a_long_job_gives_way_to_a_frequent_one_between_two_exchanges() -> None:
    seen: Seen = []
    clock = LoopClock()

    async def publish(records: Sequence[Record]) -> None:
        seen.extend((now_s(), record.point, "") for record in records if isinstance(record, Reading))

    async def main() -> None:
        drivers = {name: ScriptedDriver(name, [], clock) for name in ("long", "fast")}
        jobs = [Job("long", tuple(f"long.p{i}" for i in range(30)), 60.0), Job("fast", ("fast.p",), 1.0)]
        gate = QualityGate({p: Point(p, ValueKind.NUMBER, Text("x", "x"), 1.0) for job in jobs for p in job.points})
        line = Line(
            "L", FakeLine(), drivers, jobs, publish, clock, random.Random(7), gate, lambda change: None, untaken
        )
        task = asyncio.create_task(line.run())
        await asyncio.sleep(5.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())
    fast = [t for t, point, _ in seen if point == "fast.p"]
    assert all(n + 0.1 <= t <= n + 0.21 for n, t in enumerate(fast)), "one exchange of the other at most"
    assert len(fast) == 5
    assert [point for _, point, _ in seen if point != "fast.p"] == [f"long.p{i}" for i in range(30)]


def test_opening_a_silent_line_anew_becomes_rarer() -> None:
    _, line, _ = play({"a": [DeviceUnreachable("x")] * 2000}, 3000.0)
    opened = [t for what, t in line.log if what == "open"]
    gaps = [b - a for a, b in itertools.pairwise(opened)]
    assert 15.0 <= gaps[0] < 35.0
    assert all(later > earlier for earlier, later in itertools.pairwise(gaps[:5]))
    assert max(gaps) < 700.0


def test_a_line_on_which_somebody_answers_is_not_opened_anew() -> None:
    _, line, state = play({"dead": [DeviceUnreachable("x")] * 500, "alive": []}, 300.0)
    assert [what for what, _ in line.log].count("open") == 1
    assert state.stats.rebuilt == 0


def test_the_figures_of_a_line_tell_who_costs_what() -> None:
    _, _, line = play({"dead": [DeviceUnreachable("x")] * 500, "alive": []}, 120.0)
    dead, alive = line.stats.devices["dead"], line.stats.devices["alive"]
    assert alive.percentile_s(0.5) == pytest.approx(1.0)
    assert alive.wasted_s == 0.0
    assert alive.silent_since_s is None
    assert dead.wasted_s == pytest.approx(0.5 * dead.failures)
    assert dead.silent_since_s == pytest.approx(0.5)


def test_the_achieved_period_is_that_of_one_job_even_where_two_have_the_same_interval() -> None:
    clock = LoopClock()

    async def publish(records: Sequence[Record]) -> None:
        return

    async def main() -> Line:
        jobs = [Job("d", ("d.spare",), 10.0, spare=True), Job("d", ("d.p",), 10.0), Job("d", ("d.slow",), 60.0)]
        gate = QualityGate({p: Point(p, ValueKind.NUMBER, Text("x", "x"), 1.0) for job in jobs for p in job.points})
        drivers = {"d": ScriptedDriver("d", [], clock)}
        line = Line(
            "L", FakeLine(), drivers, jobs, publish, clock, random.Random(7), gate, lambda change: None, untaken
        )
        task = asyncio.create_task(line.run())
        await asyncio.sleep(300.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return line

    stats = run(main()).stats.devices["d"]
    assert stats.period_s == 10.0
    assert stats.percentile_s(0.5) == pytest.approx(10.0, abs=0.2)
