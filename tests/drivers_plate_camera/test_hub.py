"""Cameras push over real connections; the test is the core."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import ValidationError

from drivers.base import Report
from drivers.http_options import HttpHubOptions
from drivers.plate_camera import hub as hub_module
from drivers.plate_camera.config import PlateCameraOptions
from drivers.plate_camera.hub import LATE_MS, PlateCameraHub, believed_ms
from drivers.plate_camera.memory import MOST_KEPT
from drivers.plate_camera.messages import Dialect
from drivers.plate_camera.simulator import HOSTILE, Answered, PlateCameraSim, body_of
from drivers.registry import protocol
from drivers_plate_camera.hub_rig import hub_rigs
from drivers_plate_camera.site import NOW_MS, device, hub_of
from gateway.errors import LineLost
from support import virtual_time
from support.certificates import Authority
from support.clock import ManualClock
from support.descriptors import nothing_new_since, open_descriptors


def at_end(test: Coroutine[Any, Any, None], *, virtual: bool = False) -> None:
    async def whole() -> None:
        before = open_descriptors()
        await test
        assert await nothing_new_since(before)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    if virtual:
        virtual_time.run(whole())
    else:
        asyncio.run(whole())


def camera_of(hub: PlateCameraHub, serial: str = "cam-1", path: str = "", **more: Any) -> PlateCameraSim:
    scheme = more.pop("scheme", "http")
    return PlateCameraSim(f"{scheme}://127.0.0.1:{hub.port}/{path}", serial, **more)


@asynccontextmanager
async def storing(hub: PlateCameraHub) -> AsyncIterator[list[Report]]:
    """A core that stores everything at once."""
    kept: list[Report] = []

    async def store() -> None:
        while True:
            reports = await hub.receive()
            kept.extend(reports)
            await hub.stored(reports)

    task = asyncio.ensure_future(store())
    try:
        yield kept
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def plates(reports: Sequence[Report]) -> list[str | None]:
    return [happening.personal.get("plate") for report in reports for happening in report.happenings]


@pytest.mark.parametrize("dialect", Dialect)
def test_a_vehicle_is_an_event_and_readings(dialect: Dialect) -> None:
    async def test() -> None:
        hub = hub_of(device("gate-in", serial="cam-1"))
        async with hub, camera_of(hub, dialect=dialect) as camera, storing(hub) as kept:
            answered = await camera.passes("皖A·16552", time_ms=NOW_MS - 2000, pictures=2)
        assert (answered.status, answered.tries) == (200, 1)
        [report] = kept
        [happening] = report.happenings
        assert (report.device, happening.kind, happening.time_ms) == ("gate-in", "vehicle.seen", NOW_MS - 2000)
        assert happening.personal == {"plate": "皖A16552"}
        said = happening.attributes
        assert (said["plate_class"], said["colour"], said["confidence"]) == ("civil", "blue", 0.96)
        assert (said["source_time"], said["dialect"]) == (NOW_MS - 2000, dialect)
        assert "low_confidence" not in said
        assert "unknown" not in said.values()
        values = {reading.point: reading.value for reading in report.readings}
        assert values.pop("gate-in.direction") in ("left", "forward", "obverse")
        assert values == {
            "gate-in.seen_count": 1,
            "gate-in.confidence": 0.96,
            "gate-in.plate_class": "civil",
            "gate-in.colour": "blue",
            "gate-in.emergency_vehicle": False,
        }
        assert "16552" not in repr(report.readings) + repr(said) + repr(report.memory) + repr(hub.strangers)

    at_end(test())


def test_the_camera_is_answered_only_when_it_is_on_disk_and_told_once() -> None:
    async def test() -> None:
        async with hub_of(device("gate-in", serial="cam-1")) as hub, camera_of(hub) as first, camera_of(hub) as again:
            body = body_of(Dialect.VZENITH, "cam-1", "皖A16552", time_ms=NOW_MS)
            asking = [asyncio.ensure_future(each.push(*body)) for each in (first, again)]
            reports = await hub.receive()
            assert plates(reports) == ["皖A16552"]
            while hub._server.connections < 2:
                await asyncio.sleep(0.001)
            assert not any(task.done() for task in asking)
            await hub.stored(reports)
            assert [(await task).status for task in asking] == [200, 200]
            assert (await first.push(*body)).status == 200  # long after: its answer got lost
            assert hub._inbox._reports == type(hub._inbox._reports)()

    at_end(test())


def test_a_disk_that_takes_too_long() -> None:
    async def test() -> None:
        async with hub_of(device("gate-in", serial="cam-1")) as hub, camera_of(hub, tries=1) as camera:
            body = body_of(Dialect.VZENITH, "cam-1", "皖A16552", time_ms=NOW_MS)
            assert (await camera.push(*body)).status == 503
            assert (await camera.push(*body)).status == 503
            reports = await hub.receive()
            assert plates(reports) == ["皖A16552"]  # once
            await hub.stored(reports)
            assert (await camera.push(*body)).status == 200

    at_end(test(), virtual=True)


def test_nothing_is_lost_or_doubled_over_a_start() -> None:
    async def test() -> None:
        bodies = [body_of(Dialect.VZENITH, "cam-1", "皖A16552", number=n, time_ms=NOW_MS + n) for n in range(50)]
        memory: dict[str, bytes] = {}
        hub = hub_of(device("gate-in", serial="cam-1"))
        async with hub, camera_of(hub) as camera, storing(hub) as kept:
            for body in bodies[:-1]:
                await camera.push(*body)
        assert len(kept) == 49
        memory["gate-in"] = kept[-1].memory or b""
        assert len(memory["gate-in"]) == 9 + 9 * MOST_KEPT

        hub = hub_of(device("gate-in", serial="cam-1"), memory=memory)
        async with hub, camera_of(hub) as camera, storing(hub) as kept:
            for body in bodies[-MOST_KEPT:]:
                assert (await camera.push(*body)).status == 200
        assert len(kept) == 1
        assert {reading.value for reading in kept[0].readings if reading.point.endswith("seen_count")} == {50}

    at_end(test())


def test_what_was_not_stored_when_the_hub_closed_is_told_again() -> None:
    async def test() -> None:
        hub = hub_of(device("gate-in", serial="cam-1"))
        body = body_of(Dialect.VZENITH, "cam-1", "皖A16552", time_ms=NOW_MS)
        async with hub, camera_of(hub, tries=1) as camera:
            asking = asyncio.ensure_future(camera.push(*body))
            await hub.receive()
        assert (await asking).status == 0
        async with hub, camera_of(hub) as camera, storing(hub) as kept:
            assert (await camera.push(*body)).status == 200
        assert plates(kept) == ["皖A16552"]
        assert [reading.value for reading in kept[0].readings if reading.point.endswith("seen_count")] == [1]

    at_end(test())


def test_without_number_and_time_only_what_comes_at_once_is_a_repetition() -> None:
    async def test() -> None:
        tree = {"AlarmInfoPlate": {"serialno": "cam-1", "result": {"PlateResult": {"license": "皖A16552"}}}}
        body = json.dumps(tree).encode(), "application/json"
        async with hub_of(device("gate-in", serial="cam-1")) as hub, camera_of(hub) as camera, storing(hub) as kept:
            for _ in range(3):
                await camera.push(*body)
            assert len(kept) == 1
            await asyncio.sleep(11)
            await camera.push(*body)
            assert len(kept) == 2
        assert kept[0].happenings[0].time_ms == NOW_MS
        assert len(kept[1].memory or b"") == 9  # such marks would mean a passage of long ago

    at_end(test(), virtual=True)


def test_heartbeats_are_signs_of_life_and_few() -> None:
    async def test() -> None:
        async with hub_of(device("gate-in", serial="cam-1")) as hub, camera_of(hub) as camera, storing(hub) as kept:
            began_s = asyncio.get_running_loop().time()
            for _ in range(25):
                assert (await camera.heartbeat()).status == 200
            elapsed_s = asyncio.get_running_loop().time() - began_s
        assert elapsed_s >= 24  # a camera that polls without a pause is slowed down
        assert len(kept) == 1 + int(elapsed_s / 10)
        assert all(report == Report("gate-in") for report in kept)

    at_end(test(), virtual=True)


def test_contacts_and_staying_vehicles_are_points() -> None:
    async def test() -> None:
        async with hub_of(device("gate-in", serial="cam-1")) as hub, camera_of(hub) as camera, storing(hub) as kept:
            await camera.input(1, True)
            await camera.input(2, True)  # no point asks for it
            await camera.passes("皖A16552", triggerType=64)
            await camera.passes("皖A16552", triggerType=65)
            await camera.passes("皖A1655警", type=5)
        values = [{reading.point: reading.value for reading in report.readings} for report in kept]
        assert values[:2] == [{"gate-in.input1": True}, {}]
        assert [each.get("gate-in.vehicle") for each in values[2:]] == [True, False, None]
        assert [each["gate-in.emergency_vehicle"] for each in values[2:]] == [False, False, True]
        assert kept[2].happenings[0].attributes["trigger"] == "stays"

    at_end(test())


def test_doubts_are_marked() -> None:
    async def test() -> None:
        sure = device("gate-in", serial="cam-1", min_confidence=0.9)
        async with hub_of(sure) as hub, camera_of(hub) as camera, storing(hub) as kept:
            await camera.passes("皖A16552", confidence=89, colorType=5)
            await camera.passes("_无_")
            await camera.passes("皖A16552", is_fake_plate=1)
        said = [report.happenings[0].attributes for report in kept]
        assert (said[0]["low_confidence"], said[0]["colour_contradicts"]) == (True, True)
        assert said[1]["plate_class"] == "unlicensed"
        assert kept[1].happenings[0].personal == {}
        assert said[2]["fake_plate"] is True
        emergency = [reading.value for report in kept for reading in report.readings if "emergency" in reading.point]
        assert emergency == [False, False, False]

    at_end(test())


def test_times() -> None:
    minute_ms = 60_000
    assert believed_ms(None, NOW_MS, late=False) == NOW_MS
    for off_ms, believed in (
        (-5 * minute_ms, True),
        (-6 * minute_ms, False),
        (5 * minute_ms, True),
        (6 * minute_ms, False),
    ):
        assert (believed_ms(NOW_MS + off_ms, NOW_MS, late=False) == NOW_MS + off_ms) is believed
    assert believed_ms(NOW_MS - LATE_MS, NOW_MS, late=True) == NOW_MS - LATE_MS
    assert believed_ms(NOW_MS - LATE_MS - 1, NOW_MS, late=True) == NOW_MS
    assert believed_ms(NOW_MS + 6 * minute_ms, NOW_MS, late=True) == NOW_MS


def test_what_a_camera_has_kept_is_marked_and_goes_on() -> None:
    async def test() -> None:
        async with hub_of(device("gate-in", serial="cam-1")) as hub, camera_of(hub) as camera, storing(hub) as kept:
            answered = await camera.passes("皖A16552", time_ms=NOW_MS - 3_600_000, late=True)
        assert json.loads(answered.body)["Response_AlarmInfoPlate"]["ContinuePushOffline"]["continue"] == 1
        assert kept[0].happenings[0].time_ms == NOW_MS - 3_600_000
        assert kept[0].happenings[0].attributes["late"] is True

    at_end(test())


# ---------------------------------------------------------------------- who may speak


def secret(folder: Path, name: str, word: str) -> Path:
    (folder / name).write_text(word + "\n")
    return folder / name


def test_strangers_are_listed_and_not_reported() -> None:
    async def test() -> None:
        hub = hub_of(device("gate-in", serial="cam-1"))
        async with hub, camera_of(hub, "cam-2", tries=1) as camera, storing(hub) as kept:
            assert (await camera.passes("皖A16552")).status == 403
            assert (await camera.heartbeat()).status == 403
            assert hub.strangers == {"127.0.0.1": "vzenith: cam-2"}
            assert (await camera.push(b"{}", "application/json")).status == 400
        assert kept == []

    at_end(test())


def test_everything_that_is_configured_must_agree(tmp_path: Path) -> None:
    token = secret(tmp_path, "token", "a-long-token")
    password = secret(tmp_path, "password", "secret-word")

    async def test() -> None:
        hub = hub_of(
            device("by-token", token_file=token),
            device("by-password", serial="cam-2", peer="127.0.0.1", user="cam", password_file=password),
            device("elsewhere", peer="192.0.2.7", serial="cam-1"),
        )
        right = ("cam", "secret-word")
        tried: list[tuple[int, str]] = []
        async with hub, storing(hub) as kept:
            for serial, path, credentials in (
                ("cam-9", "plates/a-long-token/x", None),
                ("cam-9", "plates/a-long-tokem/x", None),
                ("cam-2", "", right),
                ("cam-2", "", None),
                ("cam-2", "", ("cam", "secret-work")),
                ("cam-2", "", ("cam2", "secret-word")),
                ("cam-1", "", right),
            ):
                async with camera_of(hub, serial, path, credentials=credentials, tries=1) as camera:
                    answered = await camera.passes("皖A16552")
                    tried.append((answered.status, kept[-1].device if answered.status == 200 else ""))
        assert tried == [(200, "by-token"), (401, ""), (200, "by-password"), (401, ""), (401, ""), (401, ""), (403, "")]
        assert "a-long-token" not in repr(hub.strangers)

    at_end(test())


def test_hostile_messages_end_nothing_and_are_not_repeated() -> None:
    async def test() -> None:
        async with hub_of(device("gate-in", serial="cam-1")) as hub, camera_of(hub) as camera, storing(hub) as kept:
            for name in HOSTILE:
                answered = await camera.hostile(name)
                assert (answered.status, answered.body) in ((400, b""), (413, b"")), name
            assert kept == []
            assert len(hub.strangers) == 1
            assert (await camera.passes("皖A16552")).status == 200
        assert plates(kept) == ["皖A16552"]

    at_end(test())


def test_only_known_addresses_are_listened_to_at_all() -> None:
    async def test() -> None:
        async with hub_of(device("elsewhere", peer="192.0.2.7")) as hub, camera_of(hub, tries=1) as camera:
            assert (await camera.push(b"x" * 100, "text/plain")).status == 403
            async with aiohttp.ClientSession() as session, session.get(camera.url) as response:
                assert response.status == 405

    at_end(test())


def test_a_secret_that_is_missing_or_short_stops_the_line(tmp_path: Path) -> None:
    for file in (tmp_path / "none", secret(tmp_path, "short", "abc")):
        with pytest.raises(LineLost, match=file.name):
            asyncio.run(hub_of(device("gate-in", token_file=file)).__aenter__())


def test_over_tls(tmp_path: Path) -> None:
    import ssl

    authority = Authority(tmp_path)
    issued = authority.issue("box", "IP:127.0.0.1")
    trusting = ssl.create_default_context(cafile=str(authority.ca))

    async def test() -> None:
        hub = hub_of(device("gate-in", serial="cam-1"), certificate=issued.certificate, key=issued.key)
        async with hub, storing(hub) as kept:
            async with camera_of(hub, scheme="https", ssl=trusting) as camera:
                assert (await camera.passes("皖A16552", pictures=20)).status == 200
            await asyncio.sleep(0.01)
        assert plates(kept) == ["皖A16552"]

    at_end(test())


def test_configuration() -> None:
    for wrong in ({}, {"user": "a", "serial": "b"}, {"peer": "gate.local"}, {"serial": "a", "colour": "b"}):
        with pytest.raises(ValidationError):
            PlateCameraOptions.model_validate(wrong)
    assert PlateCameraOptions.model_validate({"peer": "192.168.1.10"}).min_confidence == 0.8
    for wrong in ({}, {"listen": "8090"}, {"listen": "10.0.0.1:8090", "key": "x"}):
        with pytest.raises(ValidationError):
            HttpHubOptions.model_validate(wrong)


def test_the_protocol_is_registered() -> None:
    found = protocol("plate-camera")
    assert found is hub_module.PLATE_CAMERA
    assert found.sends
    assert found.make(device("x", serial="a"), None, ManualClock()).batches(["x.seen_count"]) == []


# ---------------------------------------------------------------------- the rig


@pytest.mark.parametrize(("name", "rig"), list(hub_rigs()), ids=[name for name, _ in hub_rigs()])
def test_the_rig(name: str, rig: Any) -> None:
    async def test() -> None:
        async with rig() as made:
            for _ in range(2):
                async with made.hub as hub:
                    for number in range(3):
                        await made.say(number)
                    waiting = asyncio.ensure_future(hub.receive())
                    assert len(await waiting) == 3
                    empty = asyncio.ensure_future(hub.receive())
                    await asyncio.sleep(0)
                    empty.cancel()
                    await asyncio.gather(empty, return_exceptions=True)
                    await made.garbage()
                    await made.stranger()
                    await made.say(3)
                    [report] = await hub.receive()
                    assert (report.device, len(report.happenings)) == (made.device, 1)
                    await hub.stored([report])
                    assert hub.strangers
                await made.hang_up()

    at_end(test())


def test_a_full_queue_is_no_loss() -> None:
    async def test() -> None:
        hub = hub_of(device("gate-in", serial="cam-1"))
        hub._inbox._most = 1
        async with hub, camera_of(hub, tries=1) as camera:
            bodies = [body_of(Dialect.VZENITH, "cam-1", "皖A16552", number=n, time_ms=NOW_MS) for n in range(2)]
            asking = [asyncio.ensure_future(camera.push(*body)) for body in bodies]
            answered: Answered = await next(asyncio.as_completed(asking))
            assert answered.status == 503
            reports = list(await hub.receive())
            await hub.stored(reports)
            statuses = [(await task).status for task in asking]
            assert sorted(statuses) == [200, 503]
            refused = bodies[statuses.index(503)]
            asking = [asyncio.ensure_future(camera.push(*refused))]
            reports += await hub.receive()
            await hub.stored(reports[1:])
            assert (await asking[0]).status == 200
            assert plates(reports) == ["皖A16552"] * 2

    at_end(test())
