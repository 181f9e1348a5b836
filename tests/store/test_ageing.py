"""What every uplink has goes when it is old, and never because a clock is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import ClockState
from gateway.model import Lane
from gateway.store.ageing import CONFIRM_S, Cutoff, Doubt, judged, old_prefix, probe_seq
from gateway.store.log import FORGET_S, Keeping, Store
from store.rig import announced, draft, everything, store
from support import virtual_time
from support.clock import ManualClock, ThreadedLoopClock

DAY_S = 86_400.0
KEEP = Keeping(age_s=90 * DAY_S)
CUTOFF = Cutoff(before_ms=1000, now_ms=5000)
FUTURE_MS = 5000 + 2 * 86_400_000


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], None),
        ([5000, 1], None),
        ([1, 2, 3], 3),
        ([1, 2, 1000, 3], 2),
        ([1, FUTURE_MS, 2, 4000, 3], 3),
        ([FUTURE_MS, FUTURE_MS], None),
    ],
)
def test_the_old_prefix(times: Sequence[int], expected: int | None) -> None:
    assert old_prefix(list(enumerate(times, start=1)), CUTOFF) == expected


@given(st.lists(st.integers(0, 10_000_000_000), max_size=20))
def test_nothing_young_and_nothing_behind_it_ever_goes(times: list[int]) -> None:
    rows = list(enumerate(times, start=1))
    upto = old_prefix(rows, CUTOFF) or 0
    assert not any(CUTOFF.young(to_ms) for seq, to_ms in rows if seq <= upto)
    assert upto == 0 or CUTOFF.old(times[upto - 1])


@given(st.integers(0, 100), st.integers(0, 10_000))
def test_the_probe_stands_just_behind_the_usual_share(trimmed: int, rows: int) -> None:
    going = probe_seq(trimmed, trimmed + rows) - trimmed
    assert going > rows * 0.05 >= going - 1


@given(st.lists(st.tuples(st.floats(0, 4000), st.booleans()), max_size=30))
def test_an_unusual_finding_must_stand_for_an_hour(steps: list[tuple[float, bool]]) -> None:
    doubt: Doubt | None = None
    now_s, since_s = 0.0, None
    for pause_s, unusual in steps:
        now_s += pause_s
        since_s = (now_s if since_s is None else since_s) if unusual else None
        allowed, doubt = judged(unusual, doubt, now_s)
        assert allowed == (since_s is None or now_s - since_s >= CONFIRM_S)


# ---------------------------------------------------------------------- in the store


async def fill(log: Store, clock: ManualClock, rows: int, pause_s: float) -> None:
    """One envelope at a time; nothing grows old meanwhile."""
    for _ in range(rows):
        now_ms = clock.now_ms()
        await log.commit([draft(Lane.EVENT, now_ms), draft(Lane.BILLING, now_ms)])
        clock.advance(pause_s)


async def tended(log: Store, clock: ManualClock, seconds: float) -> None:
    """As ``tend`` does, by the test's clock."""
    for _ in range(round(seconds / FORGET_S)):
        clock.advance(FORGET_S)
        await log.forget_old()


async def held(log: Store, lane: Lane = Lane.EVENT) -> int:
    return len(await everything(log, lane))


def test_old_rows_go_and_only_those_that_every_uplink_has(tmp_path: Path) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with store(tmp_path, clock=clock, keeping=KEEP, uplinks=["a", "b"]) as log:
            await fill(log, clock, 95, DAY_S)
            await log.acknowledge("a", {Lane.EVENT: 95, Lane.BILLING: 95})
            await log.acknowledge("b", {Lane.EVENT: 95, Lane.BILLING: 2})
            clock.wall_ms -= round(2.5 * DAY_S * 1000)
            await log.forget_old()
            assert [await held(log), await held(log, Lane.BILLING)] == [92, 93]
            assert log.first_seq(Lane.EVENT) == 4
            clock.wall_ms += round(DAY_S * 1000)
            await log.forget_old()
            assert [await held(log), await held(log, Lane.BILLING)] == [91, 93]
            assert await announced(log) == []
        async with store(tmp_path, clock=clock, uplinks=["a", "b"]) as log:
            assert (await held(log), log.recovery) == (91, None)

    asyncio.run(main())


def test_a_stepped_clock_deletes_nothing_within_the_hour_and_a_mended_one_nothing_at_all(tmp_path: Path) -> None:
    async def main() -> None:
        clock, step_ms = ManualClock(), round(5 * 365 * DAY_S * 1000)
        async with store(tmp_path, clock=clock, keeping=KEEP) as log:
            await fill(log, clock, 50, 60.0)
            await log.acknowledge("main", {Lane.EVENT: 50, Lane.BILLING: 50})
            clock.wall_ms += step_ms
            await tended(log, clock, CONFIRM_S)
            assert await held(log) == 50
            clock.wall_ms -= step_ms
            await tended(log, clock, 10 * CONFIRM_S)
            assert await held(log) == 50
            clock.wall_ms += step_ms
            await tended(log, clock, CONFIRM_S)
            assert await held(log) == 50
            await tended(log, clock, FORGET_S)
            assert await held(log) == 0, "it is five years later indeed"

    asyncio.run(main())


@pytest.mark.parametrize("trust", [ClockState.UNKNOWN, ClockState.HOLDOVER])
def test_without_a_synchronised_clock_nothing_is_old(tmp_path: Path, trust: ClockState) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with store(tmp_path, clock=clock, keeping=KEEP) as log:
            await fill(log, clock, 100, 2 * DAY_S)
            await log.acknowledge("main", {Lane.EVENT: 100})
            await tended(log, clock, CONFIRM_S)
            clock.trust = trust
            await tended(log, clock, 5 * CONFIRM_S)
            assert await held(log) == 100
            clock.trust = ClockState.SYNCED
            await tended(log, clock, CONFIRM_S)
            assert await held(log) == 100, "the hour begins anew"
            await tended(log, clock, FORGET_S)
            assert await held(log) == 44

    asyncio.run(main())


def test_many_old_rows_go_in_steps(tmp_path: Path) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with store(tmp_path, clock=clock, keeping=KEEP) as log:
            await log.commit([draft(Lane.EVENT, clock.now_ms()) for _ in range(1800)])
            await log.acknowledge("main", {Lane.EVENT: 1800})
            clock.advance(91 * DAY_S)
            await log.forget_old()
            assert await held(log) == 1800
            clock.advance(CONFIRM_S)
            before = await log.wait_for_commit(0)
            await log.forget_old()
            assert await held(log) == 0
            assert await log.wait_for_commit(0) - before == 4

    asyncio.run(main())


def test_the_store_is_tended_while_the_daemon_runs(tmp_path: Path) -> None:
    async def main() -> None:
        clock = ThreadedLoopClock()
        async with store(tmp_path, clock=clock, keeping=KEEP) as log:
            await log.commit([draft(Lane.EVENT, clock.now_ms()) for _ in range(3)])
            await log.acknowledge("main", {Lane.EVENT: 3})
            clock.wall_ms += round(100 * DAY_S * 1000)
            tending = asyncio.create_task(log.tend())
            while await held(log):  # no timeout: virtual time would jump to it while the store's thread works
                await asyncio.sleep(FORGET_S)
            assert asyncio.get_running_loop().time() >= CONFIRM_S
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)

    virtual_time.run(main())
