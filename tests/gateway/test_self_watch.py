from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.clock import ClockState
from gateway.model import Reading
from gateway.self_watch import EVERY_S, HELD_S, Findings, SelfWatch, own_device
from support.clock import LoopClock
from support.virtual_time import run


@dataclass
class Status:
    faults: Sequence[str] = ()
    needs_person: bool = False
    quarantined: int = 0


def test_what_happens_once_is_shown_for_an_hour() -> None:
    findings = Findings()

    def refused(count: int, now_s: float) -> bool:
        up = {"main": Status(quarantined=count)}
        return findings.values(up, 0, ClockState.SYNCED, now_s, failing=False)["delivery_refused"]

    assert not refused(0, 0.0)
    assert refused(1, 10.0)
    assert refused(1, 10.0 + HELD_S - 1)
    assert not refused(1, 10.0 + HELD_S)
    assert refused(2, 20.0 + HELD_S)


def test_what_lasts_is_shown_as_long_as_it_lasts() -> None:
    findings = Findings()
    quiet = ("delivery_refused", "uplink_fault", "store_fault", "clock_unknown", "output_fault", "config_refused")
    fine = dict.fromkeys(quiet, False)
    assert findings.values({"a": Status()}, 0, ClockState.HOLDOVER, 0.0, failing=False) == fine
    bad = findings.values({"a": Status(), "b": Status(["x"])}, 0, ClockState.UNKNOWN, 1.0, failing=True)
    assert bad == {**fine, "uplink_fault": True, "store_fault": True, "clock_unknown": True}
    assert findings.values({"b": Status(needs_person=True)}, 0, ClockState.SYNCED, 2.0, failing=False)["uplink_fault"]
    assert findings.values({}, 3, ClockState.SYNCED, 3.0, failing=False)["store_fault"]
    unsure = findings.values({}, 3, ClockState.SYNCED, 4.0, failing=False, lost_commands=1, config_refused=True)
    assert (unsure["output_fault"], unsure["config_refused"]) == (True, True)
    assert not findings.values({}, 3, ClockState.SYNCED, 4.0 + HELD_S, failing=False, lost_commands=1)["output_fault"]


def test_once_a_minute_and_at_once_when_told() -> None:
    async def main() -> list[float]:
        at_s: list[float] = []
        loop = asyncio.get_running_loop()

        async def look(findings: Findings) -> Mapping[str, bool]:
            return findings.values({}, 0, ClockState.SYNCED, loop.time(), failing=False)

        async def submit(readings: Sequence[Reading]) -> None:
            assert [reading.point for reading in readings] == [point.id for point in device.points]
            at_s.append(loop.time())

        device = own_device("gw-1")
        watch = SelfWatch(device, look, submit, LoopClock())
        start_s = loop.time()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(watch.run())
            await asyncio.sleep(EVERY_S + 5)
            watch.hurry()
            await asyncio.sleep(1)
            task.cancel()
        return [round(at - start_s) for at in at_s]

    assert run(main()) == [0, 60, 65]
