"""A door is open for its moment and no longer, whatever happens in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.errors import DeviceRejected, DeviceUnreachable, LineLost
from gateway.remote.desk import Desk
from gateway.remote.doors import PULSE_KEY
from gateway.uplink.dialect import Reply
from remote.rig import DOOR, LAMP, Rig
from support.virtual_time import run

KEY = PULSE_KEY + DOOR.id
ARGS = {"point": DOOR.id, "reason": "courier"}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def play(rig: Rig, script: Callable[[Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        async with rig.daemon() as desk:
            await script(desk)

    run(main(), grace_s=0.0)


async def begun(rig: Rig) -> None:
    while not rig.wire.writes:
        await asyncio.sleep(0.01)


def switched(rig: Rig) -> list[tuple[float, object]]:
    """(seconds since the first, value)"""
    first = rig.wire.writes[0][0]
    return [(round(at - first, 1), value) for at, point, value in rig.wire.writes if point == DOOR.id]


def test_a_door_is_on_for_its_moment_and_known_on_disk_for_as_long(rig: Rig) -> None:
    kept: list[bool] = []
    rig.wire.on_write = lambda: kept.append(KEY in rig.disk.state)

    async def script(desk: Desk) -> None:
        assert await desk.handle(rig.request("door.release", ARGS)) == Reply(
            "ok", "confirmed", "", {"read_back": False}
        )
        assert switched(rig) == [(0.0, True), (3.1, False)]
        assert kept == [True, True]
        await asyncio.sleep(1.0)
        assert KEY not in rig.disk.state
        done = next(entry for entry in rig.audited() if entry["kind"] == "command.done")
        assert (done["what"]["point"], done["result"]) == (DOOR.id, "ok")

    play(rig, script)


def test_who_walks_away_does_not_leave_the_door_open(rig: Rig) -> None:
    """The uplink's connection breaks, and its tasks with it."""

    async def script(desk: Desk) -> None:
        asking = asyncio.ensure_future(desk.handle(rig.request("door.release", ARGS)))
        await begun(rig)
        await asyncio.sleep(0.5)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert switched(rig)[1][1] is False
        assert switched(rig)[1][0] < 1.0
        await asyncio.sleep(3.0)
        assert KEY not in rig.disk.state

    play(rig, script)


def test_the_daemon_stops_and_the_pulse_ends_at_once(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        asking = asyncio.ensure_future(desk.handle(rig.request("door.release", ARGS)))
        await begun(rig)
        await asyncio.sleep(0.5)
        desk.stop()
        rig.commands.stop()
        await rig.commands.ended()
        assert (await asking).status == "ok"
        assert switched(rig)[1] == (0.5, False)

    play(rig, script)


def test_a_killed_daemon_leaves_it_on_and_the_next_one_switches_it_off(rig: Rig) -> None:
    async def killed(desk: Desk) -> None:
        asking = asyncio.ensure_future(desk.handle(rig.request("door.release", ARGS)))
        await begun(rig)
        await asyncio.sleep(0.5)
        rig.left = dict(rig.disk.state)  # type: ignore[attr-defined]
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    async def started(desk: Desk) -> None:
        await asyncio.sleep(2.9)
        assert [each[1:] for each in rig.wire.writes] == [(DOOR.id, False)]
        await asyncio.sleep(1.0)
        assert KEY not in rig.disk.state
        assert "door.reset" in rig.disk.kinds()

    play(rig, killed)
    rig.disk.state = rig.left  # type: ignore[attr-defined]
    rig.wire.writes.clear()
    rig.wire.shown[DOOR.id] = True
    play(rig, started)
    assert rig.wire.shown[DOOR.id] is False


@pytest.mark.parametrize(
    ("trouble", "expected", "written"),
    [
        (DeviceRejected("illegal", 2), ("rejected", "refused"), [True]),
        (DeviceUnreachable("silent"), ("unknown", "no_answer"), [True, False]),
        (LineLost("unplugged"), ("unknown", "line_lost"), [True, False]),
    ],
)
def test_a_release_that_is_not_confirmed_is_ended_all_the_same(
    rig: Rig, trouble: Exception, expected: tuple[str, str], written: list[bool]
) -> None:
    async def script(desk: Desk) -> None:
        rig.wire.fails[True] = trouble
        reply = await desk.handle(rig.request("door.release", ARGS))
        assert (reply.status, reply.code) == expected
        assert [value for _, value in switched(rig)][: len(written)] == written

    play(rig, script)


def test_an_end_that_fails_is_tried_until_the_relay_reads_off(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        rig.wire.fails[False] = DeviceUnreachable("silent")
        reply = await desk.handle(rig.request("door.release", ARGS))
        assert (reply.status, reply.code) == ("unknown", "not_at_rest")
        await asyncio.sleep(10.0)
        tries = len(rig.wire.writes)
        assert 3 <= tries <= 8, "again and again, ever more rarely"
        assert KEY in rig.disk.state
        rig.wire.fails.clear()
        await asyncio.sleep(20.0)
        assert rig.wire.shown[DOOR.id] is False
        assert KEY not in rig.disk.state
        done = len(rig.wire.writes)
        await asyncio.sleep(200.0)
        assert len(rig.wire.writes) == done

    play(rig, script)


def test_a_second_release_meanwhile_is_refused_and_disturbs_nothing(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        asking = asyncio.ensure_future(desk.handle(rig.request("door.release", ARGS)))
        await begun(rig)
        second = await desk.handle(rig.request("door.release", ARGS))
        assert (second.status, second.code) == ("rejected", "busy")
        assert KEY in rig.disk.state
        assert (await asking).status == "ok"
        assert [value for _, value in switched(rig)] == [True, False]

    play(rig, script)


def test_a_release_that_is_refused_beforehand_leaves_nothing_behind(rig: Rig) -> None:
    async def script(desk: Desk) -> None:
        rig.commands.stop()
        reply = await desk.handle(rig.request("door.release", ARGS))
        assert (reply.status, reply.code) == ("rejected", "stopping")
        await asyncio.sleep(1.0)
        assert KEY not in rig.disk.state
        assert rig.wire.writes == []

    play(rig, script)


def test_a_relay_that_is_no_longer_configured_is_forgotten(rig: Rig) -> None:
    rig.disk.state[PULSE_KEY + "gone.relay1"] = b"1"
    rig.disk.state[PULSE_KEY + LAMP.id] = b"1"

    async def script(desk: Desk) -> None:
        await asyncio.sleep(5.0)
        assert not [key for key in rig.disk.state if key.startswith(PULSE_KEY)]
        assert [each[1:] for each in rig.wire.writes] == [(LAMP.id, False)]

    play(rig, script)
