"""A line whose devices speak by themselves, in virtual time: nothing is confirmed before it is on disk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from drivers.base import Happening, Report, Unasked
from drivers.hub import Inbox
from gateway.hearing import Hearing, Sent
from gateway.model import Gap, Point, Quality, Reading, Reason, Record, Text, ValueKind
from gateway.quality import QualityGate
from gateway.schedule import Job
from gateway.supervisor import Line
from support.clock import LoopClock
from support.fake_hub import FakeHub
from support.reports import Taken
from support.virtual_time import run

CONTACT = Point("door.contact", ValueKind.BOOLEAN, Text("门", "door"), 30.0)
POINTS = {CONTACT.id: CONTACT}
SENT = {"door": Sent((CONTACT.id,), 100.0, {CONTACT.id: 30.0})}


class Bench:
    """A line with one door on a fake hub."""

    def __init__(self) -> None:
        self.hub, self.taken = FakeHub(), Taken()
        self.published: list[tuple[float, Record]] = []
        clock = LoopClock()
        self.line = Line(
            "doors",
            self.hub,
            {"door": Unasked()},
            [],
            self._publish,
            clock,
            random.Random(7),
            QualityGate(POINTS),
            lambda change: None,
            self.taken.take,
            Hearing(SENT),
        )

    async def _publish(self, records: Sequence[Record]) -> None:
        now_s = round(asyncio.get_running_loop().time(), 1)
        self.published += [(now_s, record) for record in records]

    def play(self, acts: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            task = asyncio.ensure_future(self.line.run())
            await asyncio.sleep(0.1)
            await acts()
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run(main(), grace_s=0.0)
        assert self.hub.closed == self.hub.opened


def opened(value: bool = True) -> Report:
    return Report("door", [Reading(CONTACT.id, value, 1, 1)])


def test_a_report_is_confirmed_when_it_is_on_disk_and_in_order() -> None:
    bench = Bench()
    first, second = opened(True), opened(False)

    async def acts() -> None:
        bench.taken.hold()
        bench.hub.say(first)
        await asyncio.sleep(1.0)
        bench.hub.say(second)
        await asyncio.sleep(1.0)
        assert len(bench.taken.reports) == 2  # the rules have seen both
        assert bench.hub.confirmed == []
        bench.taken.release()
        await asyncio.sleep(0.1)
        assert bench.hub.confirmed == [first, second]

    bench.play(acts)


def test_what_the_disk_loses_is_asked_for_again() -> None:
    bench = Bench()

    async def acts() -> None:
        bench.taken.hold()
        bench.hub.say(opened())
        await asyncio.sleep(1.0)
        bench.taken.lose()
        await asyncio.sleep(5.0)
        assert bench.hub.confirmed == []
        assert bench.hub.opened == 2

    bench.play(acts)


def test_silence_is_said_once_and_its_end_brings_a_gap() -> None:
    bench = Bench()

    async def acts() -> None:
        bench.hub.say(opened())
        await asyncio.sleep(300.0)
        assert bench.line.silent() == {"door"}
        assert bench.line.stats.devices["door"].silent_since_s is not None
        bench.hub.say(Report("door"))
        await asyncio.sleep(1.0)
        assert bench.line.silent() == frozenset()
        assert bench.line.stats.devices["door"].silent_since_s is None

    bench.play(acts)
    repeats = [at_s for at_s, r in bench.published if isinstance(r, Reading) and r.quality is Quality.GOOD]
    assert [round(at_s) for at_s in repeats] == [30, 60, 90]
    (bad,) = [r for _, r in bench.published if isinstance(r, Reading) and r.quality is Quality.BAD]
    assert bad.reason is Reason.NO_ANSWER
    (gap,) = [r for _, r in bench.published if isinstance(r, Gap)]
    assert gap.point == CONTACT.id
    assert 190_000 < gap.to_ms - gap.from_ms < 210_000


def test_a_hub_that_cannot_open_is_a_lost_line_and_is_tried_again() -> None:
    bench = Bench()
    bench.hub.refuses_to_open = True

    async def acts() -> None:
        await asyncio.sleep(60.0)
        assert not bench.line.stats.open
        bench.hub.refuses_to_open = False
        await asyncio.sleep(5.0)
        assert bench.line.stats.open
        bench.hub.say(opened())
        await asyncio.sleep(0.1)

    bench.play(acts)
    assert bench.hub.confirmed == [opened()]
    (bad,) = [r for _, r in bench.published if isinstance(r, Reading)]
    assert bad.reason is Reason.LINE_LOST


def test_a_bug_of_a_driver_costs_its_line_a_moment() -> None:
    bench = Bench()

    async def acts() -> None:
        bench.hub.bug = ValueError("a bug")
        bench.hub.say(opened(False))  # wakes the call that waits
        await asyncio.sleep(10.0)
        assert bench.hub.opened == 2
        bench.hub.say(opened())
        await asyncio.sleep(0.1)
        assert bench.hub.confirmed[-1] == opened()

    bench.play(acts)


def test_a_point_that_nobody_configured_is_left_out() -> None:
    bench = Bench()
    swipe = Happening("access.granted", 1)

    async def acts() -> None:
        bench.hub.say(Report("door", [Reading("door.other", 1.0, 1, 1)], [swipe]))
        await asyncio.sleep(0.1)

    bench.play(acts)
    assert bench.taken.reports == [Report("door", (), [swipe])]


class Reader(Unasked):
    """A polled device that has also read cards."""

    def __init__(self) -> None:
        self.cards = [Report("reader", happenings=[Happening("access.card", 1)])]

    def batches(self, points: Sequence[str]) -> Sequence[Sequence[str]]:
        return [points]

    async def poll(self, points: Sequence[str]) -> Sequence[Reading]:
        return [Reading(point, True, 1, 1) for point in points]

    def take(self) -> Sequence[Report]:
        cards, self.cards = self.cards, []
        return cards


def test_what_a_polled_device_tells_beside_its_readings_is_taken_once() -> None:
    taken, point = Taken(), Point("reader.online", ValueKind.BOOLEAN, Text("在线", "online"), 1.0)

    async def publish(records: Sequence[Record]) -> None: ...

    async def main() -> None:
        line = Line(
            "bus", FakeHub(), {"reader": Reader()}, [Job("reader", (point.id,), 1.0)], publish, LoopClock(),
            random.Random(7), QualityGate({point.id: point}), lambda change: None, taken.take,
        )  # fmt: skip
        task = asyncio.ensure_future(line.run())
        await asyncio.sleep(5.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main(), grace_s=0.0)
    assert len(taken.reports) == 1


def test_an_answered_question_ends_a_silence_as_a_report_does() -> None:
    bench = Bench()

    async def acts() -> None:
        await asyncio.sleep(150.0)
        assert bench.line.silent() == {"door"}
        assert bench.line._listener is not None
        await bench.line._listener.alive("door")
        assert bench.line.silent() == frozenset()
        assert bench.line.stats.devices["door"].silent_since_s is None

    bench.play(acts)
    assert [r.point for _, r in bench.published if isinstance(r, Gap)] == [CONTACT.id]


def test_an_inbox_is_bounded_and_nobody_is_left_waiting() -> None:
    async def main() -> None:
        inbox = Inbox(most=2)
        inbox.open()
        assert inbox.offer(opened())
        assert inbox.offer(opened())
        assert not inbox.offer(opened())
        assert inbox.refused == 1
        putting = asyncio.ensure_future(inbox.put(opened(False)))
        await asyncio.sleep(0)
        assert not putting.done()
        assert await inbox.take() == [opened(), opened()]
        await putting
        assert await inbox.take() == [opened(False)]

    run(main(), grace_s=0.0)
