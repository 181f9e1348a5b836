"""The pipeline with the real rules and a store that does as it is told, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from gateway.clock import Correction
from gateway.envelope import Draft, Envelope
from gateway.errors import StoreCorrupt, StoreFull
from gateway.ids import uuid7
from gateway.model import Device, Event, Lane, Place, Point, Reading, Reason, Text, ValueKind, bad_reading
from gateway.pipeline import GROUP_RECORDS, WAITING_LIMIT, Pipeline
from rules.definition import read_rules
from rules.engine import Engine, Instant
from support.clock import LoopClock
from support.virtual_time import run

RULES = {
    "format": "rules/1",
    "rules": [
        {
            "id": "gas_high",
            "when": "gas1.lel >= 10 %LEL",
            "for": "3s",
            "priority": "critical",
            "message": {"zh": "燃气 {gas1.lel}", "en": "gas {gas1.lel}"},
        }
    ],
}


def point(device: str, name: str, unit: str, lane: Lane = Lane.TELEMETRY) -> Point:
    return Point(f"{device}.{name}", ValueKind.NUMBER, Text(name, name), 10.0, unit, lane)


DEVICES = (
    Device("gas1", "gas_detector", Text("燃气", "gas"), Place(), "test", (point("gas1", "lel", "%[LEL]"),)),
    Device("m1", "power_meter", Text("表", "meter"), Place(), "test", (point("m1", "energy", "kW.h", Lane.BILLING),)),
)
POINTS = {p.id: p for d in DEVICES for p in d.points}


class FakeStore:
    """Numbers envelopes like the real one; *refusing* makes every commit fail."""

    def __init__(self) -> None:
        self.commits: list[tuple[float, list[Draft], dict[str, bytes | None]]] = []
        self.refusing = False
        self.cost_s = 0.0

    async def commit(self, drafts: Sequence[Draft], state: Mapping[str, bytes | None]) -> Sequence[Envelope]:
        await asyncio.sleep(self.cost_s)
        if self.refusing:
            raise StoreFull("disk full", hint="make room")
        self.commits.append((round(asyncio.get_running_loop().time(), 2), list(drafts), dict(state)))
        return []

    def items(self, lane: Lane) -> list[dict[str, Any]]:
        return [item for _, drafts, _ in self.commits for d in drafts if d.lane is lane for item in json.loads(d.items)]


def play(script: Callable[[Pipeline, LoopClock], Awaitable[None]], store: FakeStore | None = None) -> FakeStore:
    store = store or FakeStore()

    async def main() -> None:
        clock = LoopClock()
        rules, faults = read_rules(RULES, DEVICES)
        assert not faults
        engine = Engine(rules, POINTS, DEVICES, new_id=uuid7, started=Instant(clock.monotonic_s(), clock.now_ms()))
        pipeline = Pipeline(store, engine, POINTS, clock)
        task = asyncio.ensure_future(pipeline.run())
        await script(pipeline, clock)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), task.exception()
        await pipeline.drain()

    run(main())
    return store


def reading(clock: LoopClock, point_id: str, value: float) -> Reading:
    return Reading(point_id, value, clock.now_ms(), clock.now_ms())


def test_readings_wait_for_company_and_go_to_their_lanes() -> None:
    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        await pipeline.submit([reading(clock, "m1.energy", 1.0)])
        await asyncio.sleep(0.1)
        await pipeline.submit([reading(clock, "gas1.lel", 2.0)])
        await asyncio.sleep(1.0)

    store = play(script)
    assert [(t, [d.lane for d in drafts]) for t, drafts, _ in store.commits] == [(0.2, [Lane.BILLING, Lane.TELEMETRY])]
    assert store.items(Lane.BILLING) == [{"p": "m1.energy", "u": "kW.h", "t": 1767225600000, "v": 1.0, "q": "good"}]


def test_an_alarm_is_committed_at_once_with_the_reading_that_caused_it_and_its_journal() -> None:
    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        await pipeline.submit([reading(clock, "gas1.lel", 12.0)])
        await asyncio.sleep(2.9)
        await pipeline.submit([reading(clock, "gas1.lel", 13.0)])
        await asyncio.sleep(0.15)

    store = play(script)
    at, drafts, state = next(c for c in store.commits if any(b'"unack"' in d.items for d in c[1]))
    assert at == 3.0  # when `for` ends, not when the next group would be due
    assert {d.lane for d in drafts} == {Lane.ALARM, Lane.EVENT, Lane.TELEMETRY}, "the notice is an event"
    assert any(value is not None and b"unack" in value for value in state.values())
    (alarm,) = [item for item in store.items(Lane.ALARM) if item["state"] == "unack"]
    assert (alarm["rule"], alarm["priority"], alarm["count"]) == ("gas_high", "critical", 1)


def test_acknowledging_is_journaled_and_published() -> None:
    store = FakeStore()

    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        for value in (12.0, 12.5):
            await pipeline.submit([reading(clock, "gas1.lel", value)])
            await asyncio.sleep(3.1)
        await pipeline.attend(lambda engine, now: engine.acknowledge("gas_high", None, "li", now))
        assert b"acked" in (store.commits[-1][2]["alarm/gas_high"] or b""), "on disk when the call returns"
        with pytest.raises(KeyError):
            await pipeline.attend(lambda engine, now: engine.acknowledge("gas_low", None, "li", now))

    play(script, store)
    assert [item["state"] for item in store.items(Lane.ALARM)][-1] == "acked"


def test_an_impossible_number_is_stored_as_doubtful_and_raises_no_alarm() -> None:
    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        await pipeline.submit([bad_reading("gas1.lel", Reason.NO_ANSWER, clock.now_ms())])
        await asyncio.sleep(5)

    store = play(script)
    (item,) = store.items(Lane.TELEMETRY)
    assert (item["v"], item["q"], item["r"]) == (None, "bad", "no_answer")
    assert not store.items(Lane.ALARM)


def test_a_full_group_does_not_wait() -> None:
    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        await pipeline.submit([reading(clock, "m1.energy", float(n)) for n in range(GROUP_RECORDS)])
        await asyncio.sleep(0.05)

    assert play(script).commits[0][0] == 0.0


def test_a_slow_store_makes_producers_wait_and_loses_nothing() -> None:
    store = FakeStore()
    store.cost_s = 5.0

    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        for batch in range(15):
            await pipeline.submit([reading(clock, "m1.energy", batch * 2000.0 + n) for n in range(2000)])
        assert asyncio.get_running_loop().time() >= 5.0
        assert pipeline.waiting() <= WAITING_LIMIT + 2000
        await asyncio.sleep(30)

    play(script, store)
    assert [item["v"] for item in store.items(Lane.BILLING)] == [float(n) for n in range(30000)]


def test_a_store_that_refuses_for_a_while_loses_nothing_and_delays_no_rule() -> None:
    store = FakeStore()
    store.refusing = True

    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        for value in (12.0, 12.5, 12.6):
            await pipeline.submit([reading(clock, "gas1.lel", value)])
            await asyncio.sleep(3)
        assert [str(alarm.state) for alarm in pipeline.engine.alarms()] == ["unack"]
        assert not store.commits
        store.refusing = False
        await asyncio.sleep(5)

    play(script, store)
    assert [item["v"] for item in store.items(Lane.TELEMETRY)] == [12.0, 12.5, 12.6]
    assert [item["state"] for item in store.items(Lane.ALARM)][-1] == "unack"
    assert not store.items(Lane.GAP)


def test_a_store_that_refuses_for_long_costs_the_oldest_telemetry_and_says_so() -> None:
    store = FakeStore()
    store.refusing = True

    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        await pipeline.submit([reading(clock, "m1.energy", 7.0)])
        for batch in range(30):
            await pipeline.submit([reading(clock, "gas1.lel", n / 1000) for n in range(1000)])
            await asyncio.sleep(1)
            assert pipeline.waiting() <= WAITING_LIMIT + 1000, batch
        store.refusing = False
        await asyncio.sleep(5)

    play(script, store)
    gaps = store.items(Lane.GAP)
    assert gaps
    assert {(gap["lane"], gap["reason"]) for gap in gaps} == {("telemetry", "store_unavailable")}
    assert sum(gap["count"] for gap in gaps) + len(store.items(Lane.TELEMETRY)) == 30_000
    assert len(store.items(Lane.BILLING)) == 1


def test_a_damaged_store_ends_the_pipeline_so_that_the_next_start_can_replace_it() -> None:
    class Damaged(FakeStore):
        async def commit(self, drafts: Sequence[Draft], state: Mapping[str, bytes | None]) -> Sequence[Envelope]:
            raise StoreCorrupt("page 7")

    async def main() -> None:
        clock = LoopClock()
        rules, _ = read_rules(RULES, DEVICES)
        engine = Engine(rules, POINTS, DEVICES, new_id=uuid7, started=Instant(0.0, clock.now_ms()))
        pipeline = Pipeline(Damaged(), engine, POINTS, clock)
        await pipeline.submit([reading(clock, "m1.energy", 1.0)])
        with pytest.raises(ExceptionGroup) as info:
            await pipeline.run()
        assert info.group_contains(StoreCorrupt)

    run(main())


def stopped_while_committing(cost_s: float, limit_s: float) -> tuple[list[float], float]:
    """When what was committed, and how long it took until the pipeline was at rest."""
    store = FakeStore()
    store.cost_s = cost_s

    async def main() -> float:
        loop, clock = asyncio.get_running_loop(), LoopClock()
        engine = Engine(
            read_rules(RULES, DEVICES)[0], POINTS, DEVICES, new_id=uuid7, started=Instant(0.0, clock.now_ms())
        )
        pipeline = Pipeline(store, engine, POINTS, clock)
        task = asyncio.ensure_future(pipeline.run())
        await pipeline.submit([reading(clock, "m1.energy", 1.0)])
        await asyncio.sleep(0.5)  # the group is on its way to the disk
        await pipeline.submit([reading(clock, "m1.energy", 2.0)])
        began_s = loop.time()
        async with pipeline.at_rest(limit_s):
            took_s = loop.time() - began_s
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await pipeline.drain()
        return took_s

    took_s = run(main())
    return [item["v"] for _, drafts, _ in store.commits for draft in drafts for item in json.loads(draft.items)], took_s


def test_stopping_waits_for_the_group_that_is_on_its_way_and_then_commits_the_rest() -> None:
    values, took_s = stopped_while_committing(cost_s=2.0, limit_s=10.0)
    assert values == [1.0, 2.0]
    assert took_s == pytest.approx(1.7, abs=0.1)


def test_a_disk_that_hangs_does_not_keep_the_daemon_from_stopping() -> None:
    values, took_s = stopped_while_committing(cost_s=1000.0, limit_s=10.0)
    assert took_s == pytest.approx(10.0)
    assert values == [2.0], "what hangs is lost to us; the store may still write it"


def test_a_group_that_was_on_its_way_when_the_clock_was_corrected_and_came_back_is_corrected_once() -> None:
    store = FakeStore()

    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        store.refusing, store.cost_s = True, 0.5
        begun_ms = clock.now_ms()
        await pipeline.submit([reading(clock, "m1.energy", 1.0)])
        await asyncio.sleep(0.4)  # the group is on its way
        pipeline.correct(Correction(86_400_000, begun_ms - 1000, clock.now_ms()))
        clock.wall_ms += 86_400_000
        await asyncio.sleep(2.0)
        assert not store.commits
        store.refusing = False
        await asyncio.sleep(3.0)
        (item,) = store.items(Lane.BILLING)
        assert item["t"] == begun_ms + 86_400_000

    play(script, store)


def happened(clock: LoopClock, kind: str) -> Event:
    return Event(uuid7(clock.now_ms()), kind, clock.now_ms(), "m1", Place())


def test_a_receipt_is_given_when_it_is_on_disk_together_with_what_was_to_be_saved() -> None:
    store = FakeStore()

    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        store.refusing = True
        receipt = pipeline.take([happened(clock, "door.opened"), reading(clock, "gas1.lel", 1.0)], {"driver/m1": b"7"})
        await asyncio.sleep(5.0)
        assert not receipt.done()
        assert pipeline.latest["gas1.lel"].value == 1.0, "the rules do not wait for the disk"
        store.refusing = False
        await receipt
        (_, drafts, state) = store.commits[-1]
        assert {draft.lane for draft in drafts} == {Lane.EVENT, Lane.TELEMETRY}
        assert state["driver/m1"] == b"7"

    play(script, store)


def test_a_sign_of_life_gets_its_receipt_though_nothing_is_to_be_stored() -> None:
    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        async with asyncio.timeout(1.0):
            await pipeline.take([], {})

    play(script)


def test_events_that_make_room_cost_their_receipts() -> None:
    store = FakeStore()

    async def script(pipeline: Pipeline, clock: LoopClock) -> None:
        store.refusing = True
        first = pipeline.take([happened(clock, "door.opened")], {})
        await asyncio.sleep(1.5)
        pipeline.take([happened(clock, "door.opened") for _ in range(WAITING_LIMIT)], {})
        await asyncio.sleep(0.1)
        assert first.cancelled()
        store.refusing = False
        await asyncio.sleep(3.0)

    play(script, store)
    assert [item["reason"] for item in store.items(Lane.GAP)] == ["store_unavailable"]
