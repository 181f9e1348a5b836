"""The log in memory keeps the store's promises: it is played against tests/support/memory_store.py."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.envelope import Draft
from gateway.model import Lane
from gateway.sim.fleet.log import FleetLog
from support.memory_store import MemoryStore

LANES = st.sampled_from([Lane.ALARM, Lane.TELEMETRY])
CAPACITY = 12


def draft(lane: Lane) -> Draft:
    return Draft(lane, b"[]", 1, 0, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), LANES, st.just(0), st.just(0)),
        st.tuples(st.just("acknowledge"), LANES, st.integers(1, 3), st.just(0)),
        st.tuples(st.just("after"), LANES, st.integers(0, 15), st.integers(1, 5)),
    ),
    max_size=60,
)


@given(STEPS)
def test_like_a_store_that_forgets_what_is_acknowledged(steps: Sequence[tuple[str, Lane, int, int]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: Sequence[tuple[str, Lane, int, int]]) -> None:
    log, model = FleetLog("epoch-1", "boot-1", CAPACITY), MemoryStore()
    for what, lane, number, limit in steps:
        if what == "append":
            full = sum(len(rows) for rows in model.lanes.values()) >= CAPACITY
            assert log.append(draft(lane)) is not full
            if not full:
                last = model.last_seq(lane)
                model.append(lane)
                assert log.last_seq(lane) == model.last_seq(lane) == last + 1
        elif what == "acknowledge" and (upto := log.cursor("main", lane) + number) <= log.last_seq(lane):
            await log.acknowledge("main", {lane: upto})
            await model.acknowledge("main", {lane: upto})
            keep = model.lanes[lane][-1]
            model.drop(lane, 1, upto)
            if not model.lanes[lane]:  # the model takes its last number from its rows
                model.lanes[lane].append(keep)
        elif what == "after":
            wanted = [
                each for each in await model.after(lane, number, limit + 1) if each.seq > model.cursor("main", lane)
            ]
            got = await log.after(lane, number, limit)
            assert [each.seq for each in got] == [each.seq for each in wanted][:limit]
            assert all((each.lane, each.epoch, each.boot_id) == (lane, "epoch-1", "boot-1") for each in got)
        assert log.cursor("main", lane) == model.cursor("main", lane)
        waiting = sum(log.last_seq(each) - log.cursor("main", each) for each in Lane)
        assert log.waiting == waiting


def test_a_waiting_uplink_is_woken_by_each_commit() -> None:
    async def main() -> None:
        log = FleetLog("epoch-1", "boot-1", CAPACITY)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(log.wait_for_commit(0))
            await asyncio.sleep(0)
            assert not waiting.done()
            log.append(draft(Lane.ALARM))
            assert await waiting == 1
        assert await log.wait_for_commit(0) == 1
        log.append(draft(Lane.ALARM))
        assert await log.wait_for_commit(1) == 2

    asyncio.run(main())


def test_a_full_log_takes_nothing_and_gives_out_no_number() -> None:
    async def main() -> None:
        log = FleetLog("epoch-1", "boot-1", 2)
        assert [log.append(draft(Lane.TELEMETRY)) for _ in range(3)] == [True, True, False]
        assert log.last_seq(Lane.TELEMETRY) == 2
        await log.acknowledge("main", {Lane.TELEMETRY: 1})
        assert log.append(draft(Lane.TELEMETRY))
        assert log.last == {Lane.TELEMETRY: 3}

    asyncio.run(main())
