"""The journal beside the daemon: written soon, kept when the disk refuses, mended from the store after a power cut."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.clock import ClockState
from gateway.envelope import Encoder
from gateway.errors import StoreError
from gateway.identity import IdentityChange
from gateway.meters import files, from_store
from gateway.meters.closing import DEVICE_REPLACED, REPLACED, Change, Closing, Mark, Tracker, midnight_ms
from gateway.meters.files import Files
from gateway.meters.keeper import FLUSH_S, MeterJournal, begun
from gateway.model import Event, Lane, Place, Point, PointId, Reading, Reason, Text, ValueKind, bad_reading
from gateway.quality import RegisterChange
from gateway.remote.chain import Entry
from gateway.store.log import Keeping, Store
from support.clock import LoopClock, ManualClock
from support.virtual_time import run

ZONE = ZoneInfo("Asia/Shanghai")
M1 = midnight_ms(date(2026, 11, 1), ZONE)
HOUR = 3_600_000
POINTS: dict[PointId, Point] = {
    name: Point(name, ValueKind.NUMBER, Text(name, name), 300.0, "kW.h", Lane.BILLING, counter=True)
    for name in ("m-1.energy", "m-2.energy")
}


def good(time_ms: int, value: float, point: str = "m-1.energy") -> Reading:
    return Reading(point, value, time_ms, time_ms)


class Audit:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.refuses = False

    async def write(self, *entries: Entry) -> None:
        if self.refuses:
            raise StoreError("the audit cannot be written")
        self.entries += entries


def journal(directory: Path, clock: ManualClock, **known: Mark) -> MeterJournal:
    tracker = Tracker(POINTS, ZONE, {name.replace("_", "-") + ".energy": mark for name, mark in known.items()})
    return MeterJournal(directory, tracker, Files(directory, ZONE, clock), Audit(), clock)


def written(directory: Path) -> Sequence[Closing]:
    return files.read(directory).batch.closings


def test_a_closing_is_on_disk_half_a_minute_later_and_a_change_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        clock = LoopClock(M1)
        async with journal(tmp_path, clock, m_1=Mark(1.0, M1 - 1)) as kept, asyncio.TaskGroup() as group:
            running = group.create_task(kept.run())
            kept.heard([good(M1 + 1, 1.1), bad_reading("x.y", Reason.NO_ANSWER, M1)])
            await asyncio.sleep(FLUSH_S + 1)
            assert [each.after for each in written(tmp_path)] == [Mark(1.1, M1 + 1)]
            kept.changed(RegisterChange("m-1.energy", 1.1, 0.5, rolled_over=False))
            kept.heard([good(M1 + 2, 0.5)])
            await asyncio.sleep(2)
            assert files.read(tmp_path).batch.changes == [Change("m-1.energy", 1.1, 0.5, M1 + 2, REPLACED)]
            kept.changed(IdentityChange("m-1", "11", "12", expected=False))
            kept.changed(IdentityChange("m-2", None, "12", expected=False))  # the number is only learnt
            kept.heard([good(M1 + 3, 40.0), good(M1 + 24 * HOUR, 41.0)])
            running.cancel()
        assert [each.kind for each in files.read(tmp_path).batch.changes] == [REPLACED, DEVICE_REPLACED]
        assert len(written(tmp_path)) == 2, "what waited is written at the end"

    run(main(), patient=True)


def test_what_the_disk_refuses_waits_and_is_written_later(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "closings-2026-11.log").mkdir()
        async with journal(tmp_path, LoopClock(M1), m_1=Mark(1.0, M1 - 1)) as kept:
            kept.heard([good(M1 + 1, 1.1)])
            await kept.flush()
            (tmp_path / "closings-2026-11.log").rmdir()
            kept.heard([good(M1 + 24 * HOUR, 2.1)])
        assert [each.after.value for each in written(tmp_path)] == [1.1, 2.1]

    run(main(), patient=True)


def test_a_look_is_on_record_before_anything_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        clock = LoopClock(M1)
        async with journal(tmp_path, clock, m_1=Mark(1.0, M1 - 1)) as kept:
            ask = kept.handlers()["meters"]
            audit = kept.audit
            assert isinstance(audit, Audit)
            kept.heard([good(M1 + 1, 1.1)])
            assert await ask({"who": "li", "what": "2026-10"}) == {
                "latest": {"m-1.energy": [1.1, M1 + 1]},
                "waiting": False,
            }
            ((_, kind, who, via, what, result),) = [vars_of(each) for each in audit.entries]
            assert (kind, who, via, what, result) == ("report.meters", "li", "local", {"what": "2026-10"}, "ok")
            assert len(written(tmp_path)) == 1
            audit.refuses = True
            with pytest.raises(StoreError):
                await ask({"who": "li"})

    run(main(), patient=True)


def vars_of(entry: Entry) -> tuple[object, ...]:
    return entry.time_ms, entry.kind, entry.who, entry.via, dict(entry.what), entry.result


def test_while_nobody_knows_the_time_nothing_trusted_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        clock = LoopClock(M1)
        clock.trust = ClockState.UNKNOWN
        async with journal(tmp_path, clock, m_1=Mark(1.0, M1 - 1)) as kept:
            kept.heard([good(M1 + 1, 1.1)])
            await kept._fill()
        assert [each.provisional for each in written(tmp_path)] == [True]

    run(main(), patient=True)


async def stored(directory: Path, *readings: Reading, events: Sequence[Event] = ()) -> None:
    store = Store(directory, budget_bytes=2**26, boot_id="b", uplinks=[], clock=ManualClock(M1), keeping=Keeping())
    encoder = Encoder(POINTS)
    async with store:
        for reading in readings:
            await store.commit(list(encoder.drafts(Lane.BILLING, [reading], ClockState.SYNCED)), {})
        await store.commit(list(encoder.drafts(Lane.EVENT, events, ClockState.SYNCED)), {})


def test_after_a_power_cut_the_store_gives_back_what_was_not_written(tmp_path: Path) -> None:
    """The readings on either side of midnight were committed; the journal was not written any more."""

    async def main() -> None:
        doubtful = [bad_reading("m-1.energy", Reason.NO_ANSWER, M1 - 10)]
        readings = [
            good(M1 - 9000, 9.0),
            good(M1 - 5000, 10.0),
            *doubtful,
            good(M1 + 5000, 10.1),
            good(M1 + 9000, 10.2),
        ]
        await stored(tmp_path, *readings, good(M1 - 60_000, 1.0, "m-2.energy"))
        saved = {"m-1.energy": (9.0, M1 - 9000), "m-2.energy": (1.0, M1 - 60_000)}  # as they were a minute before
        known = begun(tmp_path, saved)
        assert known == {"m-1.energy": Mark(10.2, M1 + 9000), "m-2.energy": Mark(1.0, M1 - 60_000)}
        clock = ManualClock(M1 + 20_000)
        tracker = Tracker(POINTS, ZONE, known)
        for _ in range(2):  # and the second start finds it written
            async with MeterJournal(tmp_path, tracker, Files(tmp_path, ZONE, clock), Audit(), clock) as kept:
                await kept._fill()
        assert list(written(tmp_path)) == [Closing("m-1.energy", Mark(10.0, M1 - 5000), Mark(10.1, M1 + 5000))]

    asyncio.run(main())


def test_the_store_is_searched_near_and_then_far(tmp_path: Path) -> None:
    async def main() -> None:
        await stored(
            tmp_path,
            good(M1 - 20 * HOUR, 1.0, "m-2.energy"),
            good(M1 - 3000, 10.0),
            good(M1, 10.1),
            good(M1 + 10, 10.2),
            good(M1 + 25 * HOUR, 3.0, "m-2.energy"),
            events=[
                Event(
                    "0",
                    "register.replaced",
                    M1 + 5,
                    "m-1",
                    Place(),
                    {"point": "m-1.energy", "before": 9.0, "after": 1.0},
                ),
                Event(
                    "1",
                    "register.rolled_over",
                    M1 - 5,
                    "m-1",
                    Place(),
                    {"point": "m-1.energy", "before": 9.0, "after": 1.0},
                ),
                Event("2", "gateway.started", M1 + 5, None, Place()),
            ],
        )

    asyncio.run(main())
    found = from_store.around(tmp_path, {"m-1.energy", "m-2.energy", "m-3.energy"}, M1)
    assert found == [
        Closing("m-1.energy", Mark(10.0, M1 - 3000), Mark(10.1, M1)),
        Closing("m-2.energy", Mark(1.0, M1 - 20 * HOUR), Mark(3.0, M1 + 25 * HOUR)),
    ]
    assert [each.kind for each in from_store.changes(tmp_path, M1, M1 + HOUR)] == [REPLACED]
    with pytest.raises(StoreError):
        from_store.around(tmp_path / "nowhere", {"m-1.energy"}, M1)
    assert begun(tmp_path / "nowhere", {"m-1.energy": (1.0, 5)}) == {"m-1.energy": Mark(1.0, 5)}
