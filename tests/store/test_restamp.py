"""Correcting what was stamped before the time was known: the pure part, and the rows of a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import ClockState
from gateway.envelope import Draft, Encoder, Envelope
from gateway.errors import StoreFull
from gateway.model import Event, Gap, Lane, Place, Point, Quality, Reading, Reason, Text, ValueKind
from gateway.store import restamp
from gateway.store.log import Store
from gateway.store.reader import opened
from gateway.store.restamp import Pending, Timeline, continued, extended, restamp_lane, restamped
from gateway.store.rows import Row
from store.rig import everything, store

POINT = Point("m.能", ValueKind.NUMBER, Text("电", "e"), 60.0, "kW.h")
ENCODER = Encoder({POINT.id: POINT})
OLD, OFFSET, TRUE = 1_790_000_000_000, 1_789_999_960_000, 1_795_000_000_000
SHIFT = TRUE - OFFSET


def draft(lane: Lane, *records: Reading | Event | Gap, clock: ClockState = ClockState.UNKNOWN) -> Draft:
    (only,) = ENCODER.drafts(lane, records, clock)
    return only


def reading(number: int, *, own_ms: int | None = None) -> Reading:
    made_ms = OLD + number
    return Reading(POINT.id, number / 7, made_ms if own_ms is None else own_ms, made_ms)


def row_of(draft: Draft) -> Row:
    return Row(1, "boot", draft.items, draft.count, draft.from_ms, draft.to_ms, draft.count, 500, 0)


def items(envelope: Envelope | Row) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(envelope.items)
    return found


# ---------------------------------------------------------------------- one row


@given(
    st.lists(
        st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.booleans(), st.text()), min_size=1
    ),
    st.integers(-(2**40), 2**40),
    st.binary(max_size=9),
)
def test_a_corrected_row_is_byte_for_byte_what_a_good_clock_would_have_written(
    values: list[float | int | bool | str], shift_ms: int, raw: bytes
) -> None:
    def row(shift_ms: int, clock: ClockState) -> Row:
        readings = [
            Reading(POINT.id, value, OLD + shift_ms + n, OLD + shift_ms + n, Quality.UNCERTAIN, Reason.JUMP, raw)
            for n, value in enumerate(values)
        ]
        return row_of(draft(Lane.BILLING, *readings, clock=clock))

    before, wanted = row(0, ClockState.UNKNOWN), row(shift_ms, ClockState.SYNCED)
    assert restamped(before, shift_ms) == wanted
    assert restamped(wanted, shift_ms) is None, "never twice"


def test_events_and_gaps_too_and_a_devices_own_time_is_left_alone() -> None:
    event = draft(Lane.EVENT, Event("id", "gate.opened", OLD + 5, None, Place(), {"note": '"c":"unknown"'}))
    corrected = restamped(row_of(event), SHIFT)
    assert corrected is not None
    assert items(corrected)[0]["t"] == corrected.from_ms == OLD + 5 + SHIFT
    assert items(corrected)[0]["attributes"] == {"note": '"c":"unknown"'}
    gap = restamped(row_of(draft(Lane.GAP, Gap("line_lost", OLD, OLD + 9, point="m.能"))), SHIFT)
    assert gap is not None
    assert (items(gap)[0]["from_ms"], items(gap)[0]["to_ms"]) == (OLD + SHIFT, OLD + 9 + SHIFT)
    mixed = restamped(row_of(draft(Lane.BILLING, reading(1), reading(2, own_ms=77))), SHIFT)
    assert mixed is not None
    assert [item["t"] for item in items(mixed)] == [OLD + 1 + SHIFT, 77]
    assert (mixed.from_ms, mixed.to_ms) == (77, OLD + 1 + SHIFT)
    assert restamped(row_of(draft(Lane.BILLING, reading(2, own_ms=77))), SHIFT) is None


@pytest.mark.parametrize("clock", [ClockState.HOLDOVER, ClockState.SYNCED])
def test_what_was_stamped_with_a_known_clock_stays(clock: ClockState) -> None:
    words = Event("id", "note", OLD, None, Place(), {"text": ',"c":"unknown"'})
    assert restamped(row_of(draft(Lane.EVENT, words, clock=clock)), SHIFT) is None


# ---------------------------------------------------------------------- what is known of a boot


LAST = dict.fromkeys(Lane, 10)


def begun(offset_ms: int = OFFSET, last: Mapping[Lane, int] = LAST) -> Pending:
    return continued(Pending("epoch", 40_000), "start-1", offset_ms, last, known=False)


def test_what_is_pending_survives_writing_and_damage_is_nothing() -> None:
    pending = extended(begun(), "start-1", OFFSET + 5, dict.fromkeys(Lane, 20))
    assert Pending.from_bytes(pending.to_bytes(), "epoch") == pending
    assert Pending.from_bytes(pending.to_bytes(), "another epoch") is None
    for cut in range(len(pending.to_bytes())):
        assert Pending.from_bytes(pending.to_bytes()[:cut], "epoch") is None
    assert Pending.from_bytes(b'{"epoch":"epoch","since_boot_ms":1,"released":0,"timelines":[5]}', "epoch") is None


def test_urgent_lanes_of_an_earlier_start_are_never_changed_and_held_ones_are() -> None:
    again = continued(begun(), "start-2", OFFSET, dict.fromkeys(Lane, 50), known=False)
    (timeline,) = again.timelines
    assert timeline.starts == ("start-1", "start-2")
    assert (timeline.first[Lane.ALARM], timeline.first[Lane.BILLING]) == (51, 11)
    assert again.shift_ms(Lane.ALARM, 50, TRUE) is None
    assert again.shift_ms(Lane.BILLING, 11, TRUE) == SHIFT
    known = continued(begun(), "start-2", TRUE, dict.fromkeys(Lane, 50), known=True)
    assert known.shift_ms(Lane.EVENT, 60, TRUE) is None
    assert known.first_held() == dict.fromkeys(restamp.HELD, 11)


def test_nothing_that_was_released_is_changed_by_a_later_start() -> None:
    again = continued(begun().after_release(), "start-2", OFFSET, dict.fromkeys(Lane, 50), known=False)
    assert again.first_held() == {}
    assert again.shift_ms(Lane.BILLING, 50, TRUE) is None
    assert again.shift_ms(Lane.BILLING, 51, TRUE) == SHIFT


def test_a_clock_that_somebody_set_parts_two_timelines() -> None:
    pending = extended(begun(), "start-1", OFFSET + 1000, dict.fromkeys(Lane, 20))
    assert [pending.shift_ms(Lane.BILLING, seq, TRUE) for seq in (10, 11, 20, 21)] == [
        None, SHIFT, SHIFT, SHIFT - 1000
    ]  # fmt: skip
    assert pending.first_held()[Lane.BILLING] == 11


def test_the_list_of_starts_is_bounded() -> None:
    pending = begun()
    for number in range(100):
        pending = continued(pending, f"start-{number}", OFFSET, LAST, known=False)
    assert len(pending.timelines) == 1
    assert pending.timelines[0].starts[-1] == "start-99"
    assert len(pending.timelines[0].starts) == 16


# ---------------------------------------------------------------------- in a store


def pending_of(opened: Store) -> Pending:
    return Pending(opened.epoch, 0, timelines=(Timeline(OFFSET, dict.fromkeys(Lane, 1), ("start",)),))


def test_held_lanes_end_where_they_are_held_and_urgent_ones_do_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with store(tmp_path) as opened:
            await opened.commit([draft(lane, reading(1), clock=ClockState.SYNCED) for lane in Lane])
            opened.hold({Lane.BILLING: 2, Lane.BULK: 2})
            await opened.commit([draft(lane, reading(2)) for lane in Lane])
            assert {lane: opened.last_seq(lane) for lane in Lane} == {
                lane: 1 if lane in (Lane.BILLING, Lane.BULK) else 2 for lane in Lane
            }
            assert [len(await everything(opened, lane)) for lane in (Lane.BILLING, Lane.ALARM)] == [1, 2]
            assert opened.held() == {Lane.BILLING: 1, Lane.BULK: 1}
            await opened.acknowledge("main", {Lane.BILLING: 2})
            assert opened.cursor("main", Lane.BILLING) == 1, "nobody has been given the second"
            seen = await opened.wait_for_commit(0)
            opened.release(Lane.BILLING)
            assert await opened.wait_for_commit(seen) > seen, "whoever waits looks again"
            assert [len(await everything(opened, lane)) for lane in (Lane.BILLING, Lane.BULK)] == [2, 1]

    asyncio.run(main())


def test_what_is_corrected_keeps_its_number_and_the_store_stays_sound(tmp_path: Path) -> None:
    async def main() -> None:
        async with store(tmp_path) as opened:
            for number in range(100):
                await opened.commit([draft(lane, reading(number)) for lane in (Lane.BILLING, Lane.EVENT)])
            pending = pending_of(opened)
            assert await restamp_lane(opened, pending, Lane.BILLING, TRUE) == 100
            assert await restamp_lane(opened, pending, Lane.BILLING, TRUE) == 0, "again changes nothing"
            found = await everything(opened, Lane.BILLING)
            assert [each.seq for each in found] == list(range(1, 101))
            assert [items(each) for each in found] == [
                [{"p": POINT.id, "u": "kW.h", "t": OLD + n + SHIFT, "v": n / 7, "q": "good"}] for n in range(100)
            ]
            assert [each.from_ms for each in found] == [OLD + n + SHIFT for n in range(100)]
            (mark,) = await opened.commit([draft(Lane.BILLING, reading(100), clock=ClockState.SYNCED)])
            assert mark.seq == 101

    asyncio.run(main())
    with opened(tmp_path) as reader:
        assert list(reader.verify(lambda lane, more: None)) == []


def test_what_somebody_has_been_given_is_never_changed(tmp_path: Path) -> None:
    async def main() -> None:
        async with store(tmp_path) as opened:
            await opened.commit([draft(Lane.EVENT, reading(n)) for n in range(10)])
            given = await opened.after(Lane.EVENT, 0, 4)
            assert await restamp_lane(opened, pending_of(opened), Lane.EVENT, TRUE) == 6
            found = await everything(opened, Lane.EVENT)
            assert found[:4] == given
            assert ["c" in items(each)[0] for each in found] == [True] * 4 + [False] * 6

    asyncio.run(main())


def test_a_kill_in_the_middle_leaves_each_row_old_or_new_and_the_rest_is_done_later(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    async def main() -> None:
        async with store(tmp_path) as opened:
            await opened.commit([draft(Lane.BILLING, reading(n)) for n in range(100)])
            pending, rewrite = pending_of(opened), opened.rewrite

            class Dying:
                calls = 0

                async def rewrite(self, *arguments: Any) -> tuple[int | None, int]:
                    self.calls += 1
                    if self.calls > 3:
                        raise Killed
                    return await rewrite(*arguments)

            with pytest.raises(Killed):
                await restamp_lane(Dying(), pending, Lane.BILLING, TRUE)
        async with store(tmp_path) as opened:
            assert await restamp_lane(opened, pending, Lane.BILLING, TRUE) == 100 - 3 * restamp.CHUNK_ROWS
            assert [items(each)[0]["t"] for each in await everything(opened, Lane.BILLING)] == [
                OLD + n + SHIFT for n in range(100)
            ]

    asyncio.run(main())


def test_rows_that_were_evicted_while_held_are_announced_and_hold_nobody_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with store(tmp_path, budget_bytes=2 * 2**20) as opened:
            opened.hold({Lane.BILLING: 1})
            big = [draft(Lane.BILLING, *(reading(n) for n in range(500)))]
            for _ in range(60):
                await opened.commit(big)
            stats = (await opened.stats()).lanes[Lane.BILLING]
            assert stats.evicted > 0
            assert (await opened.after(Lane.BILLING, 0, 50), opened.last_seq(Lane.BILLING)) == ((), stats.evicted)
            assert await restamp_lane(opened, pending_of(opened), Lane.BILLING, TRUE) == stats.envelopes
            opened.release(Lane.BILLING)
            found = await everything(opened, Lane.BILLING)
            assert [each.seq for each in found] == list(range(stats.evicted + 1, 61))

    asyncio.run(main())


def test_rows_that_were_thinned_while_held_are_corrected_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with store(tmp_path, budget_bytes=2 * 2**20) as opened:
            opened.hold({Lane.TELEMETRY: 1})
            big = [draft(Lane.TELEMETRY, *(reading(n) for n in range(500)))]
            for _ in range(60):
                await opened.commit(big)
            assert (await opened.stats()).lanes[Lane.TELEMETRY].thinned_items > 0
            await restamp_lane(opened, pending_of(opened), Lane.TELEMETRY, TRUE)
            opened.release(Lane.TELEMETRY)
            found = await everything(opened, Lane.TELEMETRY)
            assert found
            assert all(b'"c":"unknown"' not in each.items for each in found)

    asyncio.run(main())


def test_a_refusing_store_changes_nothing_and_may_be_asked_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with store(tmp_path) as opened:
            await opened.commit([draft(Lane.BILLING, reading(1))])

            def refuse(row: Row) -> Row | None:
                raise StoreFull("full", hint="")

            with pytest.raises(StoreFull):
                await opened.rewrite(Lane.BILLING, 0, 10, refuse)
            assert await restamp_lane(opened, pending_of(opened), Lane.BILLING, TRUE) == 1

    asyncio.run(main())
