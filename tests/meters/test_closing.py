"""Brackets of midnights out of a stream of readings: nothing invented, nothing lost, and on disk as it was."""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import ClockState
from gateway.errors import StoreError
from gateway.meters import files
from gateway.meters.closing import (
    DEVICE_REPLACED,
    REPLACED,
    ROLLED_OVER,
    Batch,
    Change,
    Closing,
    Mark,
    Tracker,
    day_of,
    midnight_ms,
)
from gateway.meters.files import Files, decode, encode, month_of
from gateway.model import Lane, Point, Quality, Reading, Reason, Text, ValueKind, bad_reading
from support.clock import ManualClock

SHANGHAI = ZoneInfo("Asia/Shanghai")
M1 = midnight_ms(date(2026, 11, 1), SHANGHAI)
DAY = 86_400_000
HOUR = 3_600_000


def counter(name: str) -> Point:
    text = Text(name, name)
    return Point(name, ValueKind.NUMBER, text, 300.0, "kW.h", Lane.BILLING, counter=True, personal=True)


POINTS = {name: counter(name) for name in ("m-1.energy", "m-2.energy")}


def good(time_ms: int, value: float, point: str = "m-1.energy") -> Reading:
    return Reading(point, value, time_ms, time_ms)


def tracker(**known: Mark) -> Tracker:
    return Tracker(POINTS, SHANGHAI, {"m-1.energy": known["known"]} if known else {})


def heard(follower: Tracker, *readings: Reading, trusted: bool = True) -> Batch:
    follower.heard(readings, trusted=trusted)
    return follower.take()


def test_the_readings_on_either_side_of_midnight() -> None:
    follower = tracker()
    first = heard(follower, good(M1 - 600_000, 10.0))
    assert first.closings == (Closing("m-1.energy", None, Mark(10.0, M1 - 600_000)),), "the first one ever is told"
    assert not heard(follower, good(M1 - 300_000, 10.1), good(M1 - 1, 10.2))
    (closing,) = heard(follower, good(M1, 10.3)).closings
    assert (closing.before, closing.after) == (Mark(10.2, M1 - 1), Mark(10.3, M1))
    assert closing.brackets(M1)
    assert not closing.brackets(M1 - 1)
    assert not heard(follower, good(M1 + 300_000, 10.4))


def test_a_meter_out_of_reach_for_days_leaves_one_bracket_around_all_of_them() -> None:
    follower = tracker(known=Mark(10.0, M1 - HOUR))
    (closing,) = heard(
        follower, bad_reading("m-1.energy", Reason.NO_ANSWER, M1 + HOUR), good(M1 + 3 * DAY, 20.0)
    ).closings
    assert [closing.brackets(M1 + day * DAY) for day in (-1, 0, 1, 2, 3, 4)] == [False, True, True, True, True, False]
    assert (closing.bad, closing.hole_s) == (1, 3 * 86400 + 3600)


def test_doubtful_readings_close_nothing_and_are_counted() -> None:
    follower = tracker(known=Mark(10.0, M1 - 300_000))
    doubt = Reading("m-1.energy", 9.0, M1 + 1, M1 + 1, Quality.UNCERTAIN, Reason.BACKWARDS)
    assert not heard(follower, doubt, good(M1 + 2, 5.0, "m-9.energy"))
    (closing,) = heard(follower, good(M1 + 300_000, 10.1)).closings
    assert (closing.after, closing.uncertain, closing.bad, closing.hole_s) == (Mark(10.1, M1 + 300_000), 1, 0, 0)
    (following,) = heard(follower, good(M1 + DAY - 1, 11.0), good(M1 + DAY, 11.0)).closings
    assert following.uncertain == 0, "counted once"


def test_times_that_nobody_trusts_are_kept_apart() -> None:
    follower = tracker(known=Mark(10.0, M1 - HOUR))
    assert heard(follower, good(M1 - DAY, 10.2), trusted=False).closings[0].provisional
    batch = heard(follower, good(M1 - DAY + HOUR, 10.3), good(M1 + 1, 10.4), trusted=False)
    assert [(each.before, each.provisional) for each in batch.closings] == [(Mark(10.3, M1 - DAY + HOUR), True)]
    (closing,) = heard(follower, good(M1 + HOUR, 10.5)).closings
    assert (closing.before, closing.provisional) == (Mark(10.0, M1 - HOUR), False)
    assert follower.latest() == {"m-1.energy": Mark(10.5, M1 + HOUR)}


def test_a_clock_that_is_set_back_over_midnight_closes_it_twice() -> None:
    follower = tracker(known=Mark(10.0, M1 - 1000))
    assert len(heard(follower, good(M1 + 1000, 10.1)).closings) == 1
    assert not heard(follower, good(M1 - 900, 10.2))
    (again,) = heard(follower, good(M1 + 100, 10.3)).closings
    assert (again.before, again.after) == (Mark(10.2, M1 - 900), Mark(10.3, M1 + 100))


@pytest.mark.parametrize("kind", [REPLACED, ROLLED_OVER])
def test_a_change_of_the_register_carries_the_time_of_its_reading(kind: str) -> None:
    follower = tracker(known=Mark(99.0, M1 - HOUR))
    follower.changed("m-1.energy", 99.0, 1.5, kind)
    follower.changed("m-9.energy", 1.0, 2.0, kind)
    assert not follower.take()
    assert heard(follower, good(M1 - 300, 1.5)).changes == (Change("m-1.energy", 99.0, 1.5, M1 - 300, kind),)
    assert not heard(follower, good(M1 - 200, 1.6))


def test_another_meter_is_another_register_though_nobody_has_seen_it_jump() -> None:
    follower = tracker(known=Mark(99.0, M1 - HOUR))
    follower.replaced("m-1")
    follower.replaced("m-2")
    assert heard(follower, good(M1 - 300, 120.0)).changes == (
        Change("m-1.energy", 99.0, 120.0, M1 - 300, DEVICE_REPLACED),
    )
    assert heard(follower, good(M1 - 300, 5.0, "m-2.energy")).changes == (), "there was none before"


def test_what_cannot_be_written_comes_back_and_the_oldest_goes_when_it_is_too_much() -> None:
    follower = tracker(known=Mark(1.0, M1 - 1))
    batch = heard(follower, *(good(M1 + day * DAY, float(day)) for day in range(5)))
    assert len(batch.closings) == 5
    follower.heard([good(M1 + 6 * DAY, 9.0)], trusted=True)
    assert follower.put_back(batch, 4) == 2
    assert [each.after.value for each in follower.take().closings] == [2.0, 3.0, 4.0, 9.0]


STREAM = st.lists(st.tuples(st.integers(1, 40 * HOUR), st.booleans()), max_size=40)


@given(STREAM)
def test_every_midnight_has_the_last_reading_before_it_and_the_first_after(steps: list[tuple[int, bool]]) -> None:
    """Against the plain search through all readings."""
    follower, time_ms, goods, found = tracker(), M1, [], []
    for value, (step_ms, fine) in enumerate(steps):
        time_ms += step_ms
        reading = good(time_ms, float(value)) if fine else bad_reading("m-1.energy", Reason.NO_ANSWER, time_ms)
        goods += [time_ms] if fine else []
        found += heard(follower, reading).closings
    for day in range((time_ms - M1) // DAY + 1):
        instant = M1 + day * DAY
        before, after = [t for t in goods if t < instant], [t for t in goods if t >= instant]
        around = [each for each in found if each.before is not None and each.brackets(instant)]
        if before and after:
            (closing,) = around
            assert closing.before is not None
            assert (closing.before.time_ms, closing.after.time_ms) == (before[-1], after[0])
        else:
            assert around == []


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (SHANGHAI, date(2026, 11, 1), 24),
        (ZoneInfo("Europe/Berlin"), date(2026, 3, 29), 23),
        (ZoneInfo("Europe/Berlin"), date(2026, 10, 25), 25),
        (ZoneInfo("America/Santiago"), date(2026, 9, 6), 23),  # there the clock jumps over midnight itself
        (UTC, date(2026, 2, 28), 24),
    ],
)
def test_days_are_as_long_as_the_zone_makes_them(zone: tzinfo, day: date, hours: int) -> None:
    start = midnight_ms(day, zone)
    assert midnight_ms(date.fromordinal(day.toordinal() + 1), zone) - start == hours * HOUR
    assert day_of(start, zone) == day
    assert day_of(start - 1, zone) < day
    assert datetime.fromtimestamp(start / 1000, zone).date() == day


# ---------------------------------------------------------------------- on disk

MARKS = st.builds(Mark, st.floats(0, 1e9, allow_nan=False), st.integers(0, 2**41))
NAMES = st.sampled_from(["m-1.energy", "m-2.energy", "水-3.volume"])
COUNTS = st.integers(0, 1000)
CLOSINGS = st.builds(Closing, NAMES, st.none() | MARKS, MARKS, COUNTS, COUNTS, COUNTS, st.booleans())
CHANGES = st.builds(
    Change, NAMES, st.floats(0, 1e9), st.floats(0, 1e9), st.integers(0, 2**41), st.sampled_from([REPLACED, ROLLED_OVER])
)


@given(st.lists(CLOSINGS, max_size=8), st.lists(CHANGES, max_size=3))
def test_what_is_written_is_read(closings: list[Closing], changes: list[Change]) -> None:
    line = encode(Batch(closings, changes))
    assert line.count(b"\n") == 1
    found = decode(line)
    assert found is not None
    assert sorted(map(repr, found.closings)) == sorted(map(repr, closings))
    assert list(found.changes) == changes


@given(st.binary(max_size=60))
def test_any_other_bytes_are_no_batch(line: bytes) -> None:
    assert decode(line) is None


@given(st.data())
def test_one_wrong_byte_is_noticed(data: st.DataObject) -> None:
    line = bytearray(encode(Batch([Closing("m-1.energy", None, Mark(1.0, M1))])))
    place = data.draw(st.integers(0, len(line) - 2))
    wrong = data.draw(st.integers(1, 255))
    line[place] ^= wrong
    found = decode(bytes(line))
    # the CRC itself may be written in capitals, which is the same number
    assert found is None or bytes(line[:8]).lower() == encode(found)[:8]


def closing(time_ms: int, value: float = 1.0) -> Closing:
    return Closing("m-1.energy", Mark(value, time_ms - 1), Mark(value, time_ms))


def journal(directory: Path, clock: ManualClock, **limits: int) -> Files:
    return Files(directory, SHANGHAI, clock, **limits)


def test_a_torn_line_costs_itself_and_nothing_else(tmp_path: Path) -> None:
    written = journal(tmp_path, ManualClock(M1))
    written.append(Batch([closing(M1)]))
    file = tmp_path / "closings-2026-11.log"
    whole = file.read_bytes()
    for kept in range(1, len(whole)):
        file.write_bytes(whole + whole[:kept])
        written.append(Batch([closing(M1 + DAY)]))
        found = files.read(tmp_path)
        values = [each.after.time_ms for each in found.batch.closings]
        if kept == len(whole) - 1:  # all but the end of the line: it counts
            assert (values, found.damaged) == ([M1, M1, M1 + DAY], 0)
        else:
            assert (values, found.damaged) == ([M1, M1 + DAY], 1)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_a_month_by_the_sites_own_days(tmp_path: Path) -> None:
    written = journal(tmp_path, ManualClock(M1))
    written.append(Batch([closing(M1 - 1), closing(M1)], [Change("m-1.energy", 1.0, 2.0, M1 - 5, REPLACED)]))
    assert [month for month, _ in files.files_of(tmp_path)] == ["2026-10", "2026-11"]
    assert len(files.read(tmp_path).batch.closings) == 2
    assert [each.after.time_ms for each in files.read(tmp_path, "2026-11").batch.closings] == [M1]
    assert [
        each.after.time_ms for each in files.read(tmp_path, keep=lambda each: each.brackets(M1)).batch.closings
    ] == [M1]
    asked: list[tuple[str, int]] = []
    found = files.read(tmp_path, enough=lambda month, batch: bool(asked.append((month, len(batch.closings))) or True))
    assert (asked, len(found.batch.closings)) == ([("2026-10", 1)], 1)


def test_a_month_goes_when_it_has_been_too_old_for_a_day(tmp_path: Path) -> None:
    clock = ManualClock(M1)
    written = journal(tmp_path, clock)
    for month in range(20):
        written.append(Batch([closing(M1 - month * 30 * DAY)]))
    there = [month for month, _ in files.files_of(tmp_path)]
    sizes = []
    for _ in range(24 * 8):
        written.prune()
        clock.advance(3600)
        sizes.append(len(files.files_of(tmp_path)))
    assert (sizes[23], sizes[24]) == (len(there), len(there) - 1), "one month a day, and none on the first"
    left = [month for month, _ in files.files_of(tmp_path)]
    assert left == [month for month in there if month >= month_of(M1 - 423 * DAY, SHANGHAI)], "400 days stay"


def test_a_clock_that_may_be_wrong_removes_nothing(tmp_path: Path) -> None:
    clock = ManualClock(M1)
    written = journal(tmp_path, clock)
    written.append(Batch([closing(M1 - 600 * DAY)]))
    clock.trust = ClockState.HOLDOVER
    for _ in range(48):
        written.prune()
        clock.advance(3600)
    clock.trust = ClockState.SYNCED
    written.prune()
    clock.wall_ms -= 500 * DAY  # it was years ahead, and is set right within the day
    clock.advance(86400)
    written.prune()
    assert len(files.files_of(tmp_path)) == 1


def test_over_its_budget_the_oldest_month_goes_and_the_newest_stays(tmp_path: Path) -> None:
    written = journal(tmp_path, ManualClock(M1), budget_bytes=10)
    written.append(Batch([closing(M1 - 1), closing(M1)]))
    written.prune()
    written.prune()
    assert [month for month, _ in files.files_of(tmp_path)] == ["2026-11"]


def test_a_disk_that_takes_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "closings-2026-11.log").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        journal(tmp_path, ManualClock(M1)).append(Batch([closing(M1)]))
    with pytest.raises(StoreError, match="cannot be read"):
        files.read(tmp_path)
