"""Telemetry that nobody fetches: every second reading goes, and every second again, before the oldest is dropped."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import ClockState
from gateway.envelope import MAX_ITEMS_BYTES, Envelope
from gateway.model import Lane, Reading
from gateway.store.log import Store
from gateway.store.reader import opened
from gateway.store.thinning import LEVELS, Standing, halved, joined, packed, readings
from store.rig import ENCODER, MIB, POINTS, announced, draft, drafts, everything, minute, reading, store

NASTY = '"},{"p":"m-1.power","q":"bad","raw":"'
Item = Mapping[str, Any]

some_readings = st.lists(
    st.builds(
        reading,
        st.integers(0, 3),
        st.integers(0, 2**40),
        st.sampled_from([0, 0, 0, 0, 1, 2]),
        st.sampled_from([1.5, NASTY, "中\\", ""]),
    ),
    max_size=60,
)


def encoded(found: Sequence[Reading]) -> list[bytes]:
    return [part for one in ENCODER.drafts(Lane.TELEMETRY, found, ClockState.SYNCED) for part in readings(one.items)]


def runs(items: Sequence[Item]) -> list[list[int]]:
    """Of each point, the places of its readings, one list per stretch of the same quality."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        places[item["p"]].append(place)
    return [
        list(run)
        for of_point in places.values()
        for _, run in groupby(of_point, key=lambda place: (items[place]["q"], items[place].get("r")))
    ]


@given(some_readings)
def test_of_every_run_the_first_the_last_and_every_second_stay(found: list[Reading]) -> None:
    parts = encoded(found)
    (kept,), _ = halved([parts], (), {})
    items = [json.loads(joined([part]))[0] for part in parts]
    remaining = iter(kept)
    stays, following = [], next(remaining, None)
    for place, part in enumerate(parts):
        if part is following:
            stays.append(place)
            following = next(remaining, None)
    assert following is None, "what stays is what was there, in order"
    for run in runs(items):
        left = [run.index(place) for place in run if place in stays]
        last = len(run) - 1
        assert left == sorted({*range(0, len(run), 2), last})


@given(some_readings, st.lists(st.integers(1, 20), min_size=1, max_size=10))
def test_in_pieces_is_the_same_as_at_once(found: list[Reading], sizes: list[int]) -> None:
    parts = encoded(found)
    at_once, _ = halved([parts], (), {})
    pieces: list[bytes] = []
    standing: Mapping[bytes, Standing] = {}
    place = 0
    while place < len(parts):
        size = sizes[place % len(sizes)]
        (kept,), standing = halved([parts[place : place + size]], [parts[place + size :]], standing)
        pieces += kept
        place += size
    assert pieces == at_once[0]


@given(some_readings)
def test_readings_are_told_apart_whatever_they_say(found: list[Reading]) -> None:
    for one in ENCODER.drafts(Lane.TELEMETRY, found, ClockState.HOLDOVER):
        parts = readings(one.items)
        assert len(parts) == one.count
        assert joined(parts) == one.items
    again = [joined(group) for group in packed([encoded(found)[:7], encoded(found)[7:]])]
    assert [item for items in again for item in json.loads(items)] == [
        item for one in ENCODER.drafts(Lane.TELEMETRY, found, ClockState.SYNCED) for item in json.loads(one.items)
    ]


def test_packed_envelopes_stay_below_the_limit() -> None:
    parts = encoded([reading(1, t, value="x" * 700) for t in range(300)])
    groups = packed([parts])
    assert [part for group in groups for part in group] == parts
    assert len(groups) == 4
    assert all(len(joined(group)) <= MAX_ITEMS_BYTES for group in groups)


@pytest.mark.parametrize("items", [b"", b"[]", b'[{"id":"1","kind":"door"}]', b'[{"p": "d.x", "t": 1}]'])
def test_what_is_not_made_of_readings_has_none(items: bytes) -> None:
    assert readings(items) == []


# ---------------------------------------------------------------------- in the store


async def pour(log: Store, minutes: range) -> None:
    for start in range(minutes.start, minutes.stop, 5):
        await log.commit([one for t in range(start, min(start + 5, minutes.stop)) for one in minute(t)])


def items_of(envelopes: Sequence[Envelope]) -> list[Item]:
    return [item for envelope in envelopes for item in json.loads(envelope.items)]


async def balance(log: Store, accepted: int) -> dict[str, int]:
    """Every number is there or announced, every reading is there or counted; returns what was counted, by reason."""
    held = await everything(log, Lane.TELEMETRY)
    gone: set[int] = set()
    counted: dict[str, int] = defaultdict(int)
    for gap in await announced(log):
        assert gap["lane"] == "telemetry"
        run = set(range(int(str(gap["from_seq"])), int(str(gap["to_seq"])) + 1))
        assert not gone & run
        gone |= run
        counted[str(gap["reason"])] += int(str(gap["count"]))
    assert gone | {envelope.seq for envelope in held} == set(range(1, log.last_seq(Lane.TELEMETRY) + 1))
    assert log.first_seq(Lane.TELEMETRY) == held[0].seq == max(gone, default=0) + 1
    items = items_of(held)
    assert len(items) + sum(counted.values()) == accepted
    assert len({(item["p"], item["t"]) for item in items}) == len(items), "a reading came twice"
    stats = (await log.stats()).lanes[Lane.TELEMETRY]
    assert (stats.thinned_items, stats.evicted_items) == (counted["thinned"], counted["store_full"])
    return counted


def test_it_is_thinned_before_it_is_dropped_and_everything_is_accounted_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, budget_bytes=2 * MIB) as log:
            await pour(log, range(900))
            counted = await balance(log, 900 * len(POINTS))
            assert counted["thinned"] > 10_000
            assert counted["store_full"] == 0
            items = items_of(await everything(log, Lane.TELEMETRY))
            assert {item["t"] for item in items} >= {0, 899 * 60_000}
            bad = {(item["p"], item["t"] // 60_000) for item in items if item["q"] == "bad"}
            expected = {
                (f"m-{number}.power", t)
                for t in range(900)
                for number in range(len(POINTS))
                if (t + number) % 100 == 99
            }
            assert bad == expected, "every failure is still to be seen"
            by_point: dict[str, list[int]] = defaultdict(list)
            for item in items:
                by_point[item["p"]].append(item["t"] // 60_000)
            steps = [b - a for times in by_point.values() for a, b in pairwise(sorted(times))]
            assert max(steps) <= 2**LEVELS
        with opened(tmp_path) as reader:
            assert not list(reader.verify(lambda lane, rows: None))

    asyncio.run(scenario())


def test_what_was_thinned_three_times_is_dropped(tmp_path: Path) -> None:
    async def scenario() -> None:
        for start in range(0, 6000, 1500):  # over restarts, too
            async with store(tmp_path, budget_bytes=MIB) as log:
                await pour(log, range(start, start + 1500))
                counted = await balance(log, (start + 1500) * len(POINTS))
        assert counted["store_full"] > 0
        with opened(tmp_path) as reader:
            levels = [row.thinned for row in reader.rows(Lane.TELEMETRY)]
        assert set(levels) <= set(range(LEVELS + 1))
        assert max(levels) >= 2

    asyncio.run(scenario())


def test_bulk_goes_before_telemetry_is_thinned_and_billing_after_all_of_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, budget_bytes=2 * MIB) as log:
            await log.commit(drafts(Lane.BULK, range(40), 9000))
            await log.commit(drafts(Lane.BILLING, range(10), 9000))
            while not (await log.stats()).lanes[Lane.TELEMETRY].thinned_items:
                await pour(log, range(log.last_seq(Lane.TELEMETRY), log.last_seq(Lane.TELEMETRY) + 5))
            assert not await everything(log, Lane.BULK)
            for mark in range(200):
                await log.commit([draft(Lane.ALARM, mark, 9000)])
                stats = (await log.stats()).lanes
                assert not stats[Lane.BILLING].evicted or not stats[Lane.TELEMETRY].envelopes
            assert stats[Lane.BILLING].evicted > 0

    asyncio.run(scenario())


def test_what_every_uplink_has_is_not_thinned_but_dropped(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, budget_bytes=MIB) as log:
            for start in range(0, 1000, 20):
                await pour(log, range(start, start + 20))
                await log.acknowledge("main", {Lane.TELEMETRY: log.last_seq(Lane.TELEMETRY)})
            assert await announced(log) == []
            assert (await log.stats()).lanes[Lane.TELEMETRY].thinned_items == 0

    asyncio.run(scenario())


def test_what_a_start_salvages_stays_thinned(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, budget_bytes=MIB) as log:
            await pour(log, range(1000))
            before = items_of(await everything(log, Lane.TELEMETRY))
        with opened(tmp_path) as reader:
            levels = [row.thinned for row in reader.rows(Lane.TELEMETRY)]
        (tmp_path / "store.damaged").write_text("for the test")
        async with store(tmp_path, budget_bytes=4 * MIB) as log:
            assert items_of(await everything(log, Lane.TELEMETRY)) == before
        with opened(tmp_path) as reader:
            assert [row.thinned for row in reader.rows(Lane.TELEMETRY)] == levels
            assert any(levels)

    asyncio.run(scenario())
