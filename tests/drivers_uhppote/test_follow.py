"""Following a controller's events against a memory of events: no wire, no time."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.uhppote.follow import Begun, Follower, Lost, Mark, Restarted, Step
from drivers.uhppote.frame import NO_EVENT, OVERWRITTEN, Record
from gateway.errors import DeviceUnreachable


class Ring:
    """A controller's memory."""

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.latest_index = 0
        self.generation = 0
        self.holes: set[int] = set()
        self.asked = 0
        self.silent = False

    def add(self, count: int) -> None:
        self.latest_index += count

    def reset(self) -> None:
        self.latest_index, self.generation = 0, self.generation + 1
        self.holes.clear()

    async def latest(self) -> int:
        if self.silent:
            raise DeviceUnreachable("silent")
        return self.latest_index

    async def event(self, index: int) -> Record:
        self.asked += 1
        if self.silent:
            raise DeviceUnreachable("silent")
        type_ = 1
        if index > self.latest_index or index < 1 or index in self.holes:
            type_ = NO_EVENT
        elif index <= self.latest_index - self.size:
            type_ = OVERWRITTEN
        moment = datetime(2026, 1, 1)  # noqa: DTZ001 - a controller's clock has no zone
        mark = f"{self.generation:06}{index:06}".encode()
        return Record(index if type_ else 0, type_, True, 1, 1, 7, moment, 1, mark)


class Taken:
    def __init__(self, ring: Ring, mark: Mark | None = None, history: bool = False) -> None:
        self.steps: list[Step] = []
        self.marks: list[Mark] = []
        self.follower = Follower(ring, self._emit, mark, history)

    async def _emit(self, step: Step, mark: Mark) -> None:
        self.steps.append(step)
        self.marks.append(mark)

    def catch_up(self, hint: int = 0) -> None:
        asyncio.run(self.follower.catch_up(hint))

    @property
    def indices(self) -> list[int]:
        return [step.index for step in self.steps if isinstance(step, Record)]


def test_a_controller_that_is_met_is_followed_from_now_on() -> None:
    ring = Ring()
    ring.add(50)
    taken = Taken(ring)
    taken.catch_up()
    assert taken.steps == [Begun(50)]
    assert taken.marks == [Mark(0, 50)]
    ring.add(3)
    taken.catch_up(53)
    assert taken.indices == [51, 52, 53]
    assert taken.marks[-1].index == 53


def test_what_it_remembers_is_taken_where_the_site_wants_it() -> None:
    ring = Ring()
    ring.add(5)
    taken = Taken(ring, history=True)
    taken.catch_up()
    assert taken.indices == [1, 2, 3, 4, 5]


def test_a_new_follower_goes_on_where_the_last_one_ended() -> None:
    ring = Ring()
    ring.add(5)
    first = Taken(ring, history=True)
    first.catch_up()
    ring.add(2)
    second = Taken(ring, Mark.from_bytes(first.marks[4].to_bytes()))
    second.catch_up()
    assert second.indices == [5, 6, 7]


def test_a_hint_alone_never_makes_an_event() -> None:
    ring = Ring()
    ring.add(5)
    taken = Taken(ring, Mark(0, 5))
    for hint in (9, 4_000_000_000, 3, 5, 0):
        taken.catch_up(hint)
    assert taken.steps == []
    assert taken.follower.missing == 0


def test_what_was_overwritten_is_one_loss_and_found_in_few_questions() -> None:
    ring = Ring(100)
    ring.add(1000)
    first = Taken(ring)
    first.catch_up()
    ring.add(100_000)
    ring.asked = 0
    first.catch_up()
    assert first.steps[1] == Lost(1001, 100_900, "overwritten")
    assert first.indices == list(range(100_901, 101_001))
    assert ring.asked < 100 + 25


def test_all_of_it_overwritten_while_it_is_fetched_is_said_again() -> None:
    ring = Ring(10)
    taken = Taken(ring, Mark(0, 1))

    async def emit(step: Step, mark: Mark) -> None:
        await Taken._emit(taken, step, mark)
        if isinstance(step, Lost) and len(taken.steps) < 4:
            ring.add(100)

    ring.add(200)
    taken.follower = Follower(ring, emit, Mark(0, 1))
    for _ in range(4):
        taken.catch_up()
    covered: list[int] = []
    for step in taken.steps:
        assert isinstance(step, Lost | Record)
        covered += range(step.first, step.last + 1) if isinstance(step, Lost) else [step.index]
    assert sum(isinstance(step, Lost) for step in taken.steps) > 1
    assert covered == list(range(2, ring.latest_index + 1))


def test_a_hole_is_a_loss_of_one() -> None:
    ring = Ring()
    ring.add(5)
    ring.holes.add(3)
    taken = Taken(ring, Mark(0, 1))
    taken.catch_up()
    assert taken.indices == [2, 4, 5]
    assert Lost(3, 3, "missing") in taken.steps


def test_a_reset_is_noticed_by_the_lower_index() -> None:
    ring = Ring()
    ring.add(20)
    taken = Taken(ring, history=True)
    taken.catch_up()
    ring.reset()
    ring.add(3)
    taken.catch_up(3)
    assert taken.steps[-4] == Restarted(20, 3)
    assert taken.indices[-3:] == [1, 2, 3]
    assert taken.marks[-1].epoch == 1
    assert taken.marks == sorted(taken.marks)


def test_a_reset_while_nobody_looked_is_noticed_by_the_record() -> None:
    ring = Ring()
    ring.add(5)
    first = Taken(ring, history=True)
    first.catch_up()
    ring.reset()
    ring.add(30)
    second = Taken(ring, first.marks[-1])
    second.catch_up()
    assert second.steps[0] == Restarted(5, 30)
    assert second.indices == list(range(1, 31))


def test_a_late_answer_with_a_lower_index_is_no_reset() -> None:
    ring = Ring()
    ring.add(20)
    taken = Taken(ring, history=True)
    taken.catch_up()

    class Late(Ring):
        async def latest(self) -> int:
            return 18

        async def event(self, index: int) -> Record:
            return await ring.event(index)

    late = Taken(Late(), taken.marks[-1])
    late.catch_up()
    assert late.steps == []


def test_silence_leaves_everything_as_it_was() -> None:
    ring = Ring()
    ring.add(5)
    taken = Taken(ring, Mark(0, 2))
    ring.silent = True
    with pytest.raises(DeviceUnreachable):
        taken.catch_up()
    assert taken.steps == []
    ring.silent = False
    taken.catch_up()
    assert taken.indices == [3, 4, 5]


@given(st.binary(max_size=40))
def test_a_memory_that_is_none_of_ours_is_none(data: bytes) -> None:
    mark = Mark.from_bytes(data)
    assert mark is None or mark.to_bytes() == data


moves = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 30)),
        st.tuples(st.just("catch up"), st.integers(0, 200)),
        st.tuples(st.just("crash"), st.integers(0, 5)),
        st.tuples(st.just("reset"), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(moves, st.integers(5, 60))
def test_whatever_happens_each_event_is_taken_or_said_to_be_lost(steps: list[tuple[str, int]], size: int) -> None:
    """Of every life of the controller: what was taken and what is lost are its indices in order, from where it was met.

    A crash takes away what had not been stored: so many of the last steps.
    """
    ring = Ring(size)
    taken = Taken(ring)
    taken.catch_up()
    kept: list[tuple[Step, Mark]] = []
    for what, number in steps:
        if what == "add":
            ring.add(number)
        elif what == "catch up":
            taken.catch_up(number)
        elif what == "reset":
            taken.catch_up()  # a reset that hides events nobody had fetched loses them for good
            if ring.latest_index:
                ring.reset()
        else:
            fresh = list(zip(taken.steps, taken.marks, strict=True))
            kept += fresh[: max(len(fresh) - number, 1 if not kept else 0)]
            taken = Taken(ring, kept[-1][1])
    taken.catch_up()
    kept += list(zip(taken.steps, taken.marks, strict=True))
    expected = 1
    for step, mark in kept:
        if isinstance(step, Begun | Restarted):
            expected = 1
        elif isinstance(step, Lost):
            assert step.first == expected
            expected = step.last + 1
        else:
            assert step.index == mark.index == expected
            expected += 1
    assert expected == ring.latest_index + 1
