"""The eviction decision against a trivial second implementation that deletes row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import ClockState
from gateway.envelope import Encoder
from gateway.model import Gap, Lane
from gateway.store.retention import EVICTION_ORDER, Cuts, Extent, announcements, cuts, merged


@dataclass(frozen=True)
class Rows:
    """One lane: the sizes of its rows and how many of them, from the oldest, every uplink has."""

    lane: Lane
    trimmed: int
    sizes: tuple[int, ...]
    acknowledged: int
    share: int = 0
    droppable: int | None = None
    """How many rows may be dropped before the next must be thinned."""

    def extent(self) -> Extent:
        return Extent(
            self.lane,
            self.trimmed,
            self.trimmed + self.acknowledged,
            self.trimmed + len(self.sizes),
            self._size,
            self.share,
            None if self.droppable is None else self.trimmed + self.droppable,
        )

    def over_share(self, index: int) -> bool:
        return sum(self.sizes[index : self.acknowledged]) > self.share

    def may_drop(self, index: int) -> bool:
        return self.droppable is None or index < self.droppable

    def _size(self, seq: int) -> int:
        assert self.trimmed < seq <= self.trimmed + len(self.sizes), "asked for a row that is not there"
        return sum(self.sizes[: seq - self.trimmed])


def row_by_row(lanes: list[Rows], needed: int) -> Cuts:
    result: dict[Lane, int] = {}
    passes: list[Callable[[Rows, int], bool]] = [
        lambda rows, index: index < rows.acknowledged and rows.over_share(index),
        lambda rows, index: index < rows.acknowledged and not rows.over_share(index),
        lambda rows, index: index >= rows.acknowledged,
    ]
    for wanted in passes:
        for lane in EVICTION_ORDER:
            rows = next(rows for rows in lanes if rows.lane is lane)
            for index, size in enumerate(rows.sizes):
                if needed > 0 and wanted(rows, index):
                    if not rows.may_drop(index):
                        return Cuts(result, lane)
                    needed -= size
                    result[lane] = rows.trimmed + index + 1
    return Cuts(result)


@st.composite
def lane_rows(draw: st.DrawFn, lane: Lane) -> Rows:
    sizes = draw(st.lists(st.integers(1, 1000), max_size=12))
    acknowledged = draw(st.integers(0, len(sizes)))
    droppable = draw(st.none() | st.integers(acknowledged, len(sizes))) if lane is Lane.TELEMETRY else None
    return Rows(lane, draw(st.integers(0, 50)), tuple(sizes), acknowledged, draw(st.integers(0, 4000)), droppable)


@given(st.tuples(*(lane_rows(lane) for lane in Lane)), st.integers(-10, 30_000))
def test_cuts_are_those_of_the_trivial_implementation(lanes: tuple[Rows, ...], needed: int) -> None:
    assert cuts([rows.extent() for rows in lanes], needed) == row_by_row(list(lanes), needed)


@given(st.tuples(*(lane_rows(lane) for lane in Lane)), st.integers(1, 30_000))
def test_what_is_waited_for_goes_in_order_and_no_share_is_touched_early(lanes: tuple[Rows, ...], needed: int) -> None:
    found = cuts([rows.extent() for rows in lanes], needed)
    kept = {rows.lane: rows.sizes[found.upto.get(rows.lane, rows.trimmed) - rows.trimmed :] for rows in lanes}
    waiting = {rows.lane: rows.sizes[rows.acknowledged :] for rows in lanes}
    suffering = [lane for lane in EVICTION_ORDER if len(kept[lane]) < len(waiting[lane])]
    for rows in lanes:
        history = sum(rows.sizes[: rows.acknowledged])
        left = sum(kept[rows.lane]) - sum(waiting[rows.lane])
        others_exceed = any(
            sum(kept[other.lane]) - sum(waiting[other.lane]) > other.share for other in lanes if other is not rows
        )
        if others_exceed:
            biggest = max(rows.sizes, default=0)
            assert left >= min(history, rows.share - biggest), "a share was broken into while another had more"
        if suffering:
            assert left <= 0, "history was kept while somebody's data went"
    for lane in EVICTION_ORDER[: EVICTION_ORDER.index(suffering[-1])] if suffering else ():
        assert not kept[lane] or lane is found.thin, "something lower was left"


def test_eviction_order_is_complete() -> None:
    assert sorted(EVICTION_ORDER) == sorted(Lane)


def test_few_look_ups_decide_over_many_rows() -> None:
    asked: list[int] = []

    def size(seq: int) -> int:
        asked.append(seq)
        return seq * 100

    assert cuts([Extent(Lane.BULK, 0, 0, 1_000_000, size)], 12_345_678) == Cuts({Lane.BULK: 123_457})
    assert len(asked) < 30


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_neighbouring_gaps_become_one(lengths: list[int]) -> None:
    gaps, seq = [], 1
    for length in lengths:
        gaps.append(Gap("store_full", seq, seq + length, Lane.BULK, seq, seq + length - 1, length))
        seq += length
    assert merged(gaps) == [Gap("store_full", 1, gaps[-1].to_ms, Lane.BULK, 1, seq - 1, sum(lengths))]


def test_gaps_apart_stay_apart() -> None:
    apart = [
        Gap("store_full", 0, 1, Lane.BULK, 1, 2, 2),
        Gap("store_full", 0, 1, Lane.BULK, 4, 5, 2),
        Gap("store_full", 0, 1, Lane.EVENT, 3, 3, 1),
    ]
    assert set(merged(apart)) == set(apart)
    assert len(merged(apart)) == 3


def test_what_a_gap_envelope_said_can_be_said_again() -> None:
    """Only what it said of sequence numbers: they are what a platform counts."""
    gaps = [Gap("store_full", 1, 2, Lane.BULK, 3, 4, 5), Gap("store_damaged", 1, 2, Lane.EVENT, 3, 3)]
    (envelope,) = Encoder({}).drafts(Lane.GAP, [*gaps, Gap("line_lost", 1, 2, point="d.x")], ClockState.SYNCED)
    assert announcements(envelope.items) == gaps
