"""A hub against real agents on loopback: pysnmp's own engine at the far end, in all versions."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.base import Report
from drivers.snmp.config import DeviceOptions, parse_oid
from drivers.snmp.device import MOST_ROWS, SnmpDevice
from drivers.snmp.engine import Answer, Credentials
from drivers.snmp.hub import MOST_TRAPS_PER_S, SNMP, SnmpHub, read_credentials
from drivers.snmp.simulator import COMMUNITY, SimAgent
from drivers.snmp.values import Bound
from drivers_snmp.net import (
    ABSENT,
    ALARMS,
    CHARGE,
    MINUTES,
    ON_BATTERY,
    SOURCE,
    V3,
    VALUES,
    Secrets,
    device_spec,
    hub_of,
    send_from,
    until,
    ups,
)
from gateway.errors import DeviceUnreachable, LineLost, ProtocolError
from gateway.model import Reading, Reason
from support.clock import ManualClock

VERSIONS = [Credentials("1", community=COMMUNITY), Credentials("2c", community=COMMUNITY), V3]
EVERY_VERSION = pytest.mark.parametrize("who", VERSIONS, ids=[each.version for each in VERSIONS])


async def polled(device: SnmpDevice, points: Sequence[str]) -> dict[str, object]:
    """Point name -> its value, or why there is none."""
    found: list[Reading] = []
    for batch in device.batches(points):
        found += await device.poll(batch)
    return {each.point.partition(".")[2]: each.reason or each.value for each in found}


GOOD = {
    "charge": 87,
    "minutes": 42,
    "on_battery": False,
    "description": "Sim UPS",
    "absent": Reason.REFUSED,
    "overload": True,
    "battery_bad": False,
}


@EVERY_VERSION
def test_every_point_is_read_in_every_version(who: Credentials) -> None:
    async def scene() -> None:
        async with ups(who) as (agent, hub, spec):
            device = SNMP.make(spec, hub, ManualClock())
            assert isinstance(device, SnmpDevice)
            assert await polled(device, list(spec.points)) == GOOD
            agent.values[SOURCE] = 5
            del agent.values[f"{ALARMS}.5"]
            assert await polled(device, list(spec.points)) == GOOD | {"on_battery": True, "overload": False}

    asyncio.run(scene())


@EVERY_VERSION
def test_a_notification_is_reported(who: Credentials) -> None:
    async def scene() -> None:
        async with ups(who) as (agent, hub, spec):
            await polled(SnmpDevice(spec, hub, ManualClock()), ["u.charge"])  # version 3 learns the agent's engine
            agent.notify(ON_BATTERY, ("127.0.0.1", hub.trap_port), {MINUTES: 7})
            (report,) = await asyncio.wait_for(hub.receive(), 10)
            (happening,) = report.happenings
            assert (report.device, happening.kind) == ("u", "snmp.trap")
            assert happening.time_ms == ManualClock().now_ms()
            translated = {"1": "1.3.6.1.2.1.33.2.0.1"}  # RFC 3584, 3.1
            assert happening.attributes["trap"] == translated.get(who.version, ON_BATTERY)
            assert happening.attributes["name"] == "upsTrapOnBattery"
            assert f"{MINUTES}=7" in str(happening.attributes["details"])

    asyncio.run(scene())


def test_an_inform_that_comes_again_is_a_sign_of_life() -> None:
    async def scene() -> None:
        async with ups() as (agent, hub, _spec):
            agent.notify(ON_BATTERY, ("127.0.0.1", hub.trap_port), inform=True)
            first = await asyncio.wait_for(hub.receive(), 10)
            assert [each.happenings[0].kind for each in first] == ["snmp.trap"]
            key = next(iter(hub._recent))
            hub._trap("127.0.0.1", *hub_name(hub), int(str(key[1])), trap_bindings(key))
            assert await hub.receive() == [Report("u")]

    asyncio.run(scene())


def hub_name(hub: SnmpHub) -> tuple[str, str]:
    assert hub._engine is not None
    return hub._engine.name_of("u")


def trap_bindings(key: tuple[object, ...]) -> list[Bound]:
    uptime = key[3]
    assert isinstance(uptime, int)
    return [
        Bound(parse_oid("1.3.6.1.2.1.1.3.0"), uptime),
        Bound(parse_oid("1.3.6.1.6.3.1.1.4.1.0"), parse_oid(ON_BATTERY)),
    ]


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (None, Credentials("2c", community=b"wrong")),
        (V3, replace(V3, auth_key=b"wrong-key")),
        (V3, replace(V3, auth=None, priv=None)),
        (V3, Credentials("2c", community=COMMUNITY)),
    ],
    ids=["community", "key", "level", "version"],
)
def test_a_notification_with_other_credentials_is_a_strangers(own: Credentials | None, other: Credentials) -> None:
    async def scene() -> None:
        async with ups(own) as (agent, hub, spec):
            await polled(SnmpDevice(spec, hub, ManualClock()), ["u.charge"])
            async with SimAgent(VALUES, other) as impostor:
                impostor.notify(ON_BATTERY, ("127.0.0.1", hub.trap_port))
                await until(lambda: hub.strangers)
            assert "not the device's" in hub.strangers["127.0.0.1"]
            agent.notify(ON_BATTERY, ("127.0.0.1", hub.trap_port))
            assert len(await asyncio.wait_for(hub.receive(), 10)) == 1

    asyncio.run(scene())


def test_notifications_beyond_the_rate_are_not_even_parsed() -> None:
    async def scene() -> None:
        async with ups() as (_agent, hub, _spec):
            heard = 0

            def count(*_: object) -> None:
                nonlocal heard
                heard += 1

            assert hub._engine is not None
            hub._engine.heard = count  # type: ignore[method-assign]
            for _ in range(3 * MOST_TRAPS_PER_S):
                hub._notified(b"x", ("127.0.0.1", 1))
            assert heard == MOST_TRAPS_PER_S

    asyncio.run(scene())


def test_a_silent_agent_is_unreachable_and_asked_twice() -> None:
    async def scene() -> None:
        async with ups() as (agent, hub, spec):
            seen = agent.questions
            agent.silent = True
            heard: list[bytes] = []
            agent._socket._heard = lambda data, _peer: heard.append(data)
            with pytest.raises(DeviceUnreachable, match="no answer"):
                await SnmpDevice(replace(spec, timeout_s=0.2), hub, ManualClock()).poll(["u.charge"])
            assert len(heard) == 2
            assert agent.questions == seen

    asyncio.run(scene())


def test_a_lost_question_costs_half_the_patience() -> None:
    async def scene() -> None:
        async with ups() as (agent, hub, spec):
            hear, first = agent._socket._heard, True

            def lose_one(data: bytes, peer: tuple[str, int]) -> None:
                nonlocal first
                if not first:
                    hear(data, peer)
                first = False

            agent._socket._heard = lose_one
            (reading,) = await SnmpDevice(spec, hub, ManualClock()).poll(["u.charge"])
            assert reading.value == 87

    asyncio.run(scene())


def test_wrong_keys_are_said_to_be_wrong() -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            secrets = Secrets(Path(folder))
            async with SimAgent(VALUES, V3) as agent:
                options = secrets.options(agent)
                (Path(folder) / "auth").write_text("another-key\n", encoding="ascii")
                spec = device_spec("u", options, timeout_s=1.0)
                async with hub_of({"u": spec}) as hub:
                    with pytest.raises(ProtocolError) as caught:
                        await SnmpDevice(spec, hub, ManualClock()).poll(["u.charge"])
        assert "keys" in caught.value.hint
        assert "another-key" not in caught.value.advice()

    asyncio.run(scene())


def test_a_card_that_is_exchanged_is_found_again() -> None:
    """Another engine id at the same address, boots and time begun anew."""

    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            secrets = Secrets(Path(folder))
            async with SimAgent(VALUES, V3) as first:
                options, port = secrets.options(first), first._socket.port
                spec = device_spec("u", options, timeout_s=1.0)
                hub = await hub_of({"u": spec}).__aenter__()
                device = SnmpDevice(spec, hub, ManualClock())
                assert (await polled(device, ["u.charge"]))["charge"] == 87
            with tempfile.TemporaryDirectory() as state, contextlib.ExitStack() as undo:
                undo.callback(setattr, tempfile, "tempdir", tempfile.tempdir)
                tempfile.tempdir = state  # pysnmp keeps an engine's boots there
                again = SimAgent(VALUES | {CHARGE: 12}, V3, ("127.0.0.1", port), b"\x80\x00\x00\x00\x05other")
                async with again:
                    with contextlib.suppress(DeviceUnreachable, ProtocolError):
                        await polled(device, ["u.charge"])
                    found = await polled(device, ["u.charge"])
            await hub.__aexit__(None, None, None)
            assert found["charge"] == 12

    asyncio.run(scene())


def test_answers_too_big_are_asked_for_in_halves() -> None:
    async def scene() -> None:
        async with ups() as (agent, hub, spec):
            agent.most_bindings = 2
            found = await polled(SnmpDevice(spec, hub, ManualClock()), ["u.charge", "u.minutes", "u.on_battery"])
            assert found == {"charge": 87, "minutes": 42, "on_battery": False}

    asyncio.run(scene())


def test_batches_hold_every_point_once_and_no_more_than_the_agent_takes() -> None:
    async def scene() -> None:
        async with ups(max_oids=2) as (_agent, hub, spec):
            batches = SnmpDevice(spec, hub, ManualClock()).batches(list(spec.points))
            assert sorted(point for batch in batches for point in batch) == sorted(spec.points)
            assert [len(batch) for batch in batches] == [2, 2, 1, 2]
            assert batches[-1] == ["u.overload", "u.battery_bad"]

    asyncio.run(scene())


def test_an_unreadable_file_concerns_its_device_alone() -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            secrets = Secrets(Path(folder))
            async with SimAgent(VALUES) as agent:
                good = device_spec("g", secrets.options(agent))
                bad = device_spec("b", secrets.options(agent, community_file=Path(folder) / "bad"))
                gone = device_spec("x", secrets.options(agent, community_file=Path(folder) / "gone"))
                async with hub_of({"g": good, "b": bad, "x": gone}) as hub:
                    assert (await polled(SnmpDevice(good, hub, ManualClock()), ["g.charge"]))["charge"] == 87
                    for spec, file in ((bad, "bad"), (gone, "gone")):
                        with pytest.raises(DeviceUnreachable, match=file):
                            await SnmpDevice(spec, hub, ManualClock()).poll([f"{spec.id}.charge"])

    asyncio.run(scene())


def test_a_name_that_leads_nowhere_is_asked_for_again() -> None:
    async def scene() -> None:
        with tempfile.TemporaryDirectory() as folder:
            secrets = Secrets(Path(folder))
            async with SimAgent(VALUES) as agent:
                port = agent._socket.port
                named = device_spec("n", secrets.options(agent, address=f"localhost:{port}"))
                lost = device_spec("l", secrets.options(agent, address=f"no-such-host.invalid:{port}"))
                async with hub_of({"n": named, "l": lost}) as hub:
                    assert (await polled(SnmpDevice(named, hub, ManualClock()), ["n.charge"]))["charge"] == 87
                    with pytest.raises(DeviceUnreachable, match="no address"):
                        await SnmpDevice(lost, hub, ManualClock()).poll(["l.charge"])

    asyncio.run(scene())


def test_answers_from_elsewhere_are_not_taken() -> None:
    async def scene() -> None:
        async with ups() as (_agent, hub, spec):
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("127.0.0.1", 0))
                probe.setblocking(False)
                assert hub._engine is not None
                hub._engine.place("u", probe.getsockname())
                task = asyncio.ensure_future(
                    SnmpDevice(replace(spec, timeout_s=0.5), hub, ManualClock()).poll(["u.charge"])
                )
                _question, back = await loop.sock_recvfrom(probe, 2048)
                send_from("127.0.0.1", b"\x30\x00", ("127.0.0.1", back[1]))
                with pytest.raises(DeviceUnreachable):
                    await task
            assert any("not asked" in what for what in hub.strangers.values())

    asyncio.run(scene())


def test_a_closed_hub_is_a_lost_line_and_opens_again() -> None:
    async def scene() -> None:
        async with ups() as (agent, hub, spec):
            device = SnmpDevice(spec, hub, ManualClock())
            await hub.__aexit__(None, None, None)
            with pytest.raises(LineLost):
                await device.poll(["u.charge"])
            with pytest.raises(LineLost):
                await hub.receive()
            await hub.__aenter__()
            assert (await polled(device, ["u.charge"]))["charge"] == 87
            agent.notify(ON_BATTERY, ("127.0.0.1", hub.trap_port))
            assert len(await asyncio.wait_for(hub.receive(), 10)) == 1

    asyncio.run(scene())


class Scripted:
    """A hub that gives prepared answers."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[object, ...]] = []

    async def get(self, _device: str, oids: Sequence[tuple[int, ...]], _timeout_s: float) -> Answer:
        self.asked.append(tuple(oids))
        return self.answers.pop(0)

    async def rows(self, _device: str, after: tuple[int, ...], most: int, _timeout_s: float) -> Answer:
        self.asked.append((after, most))
        return self.answers.pop(0)


def scripted(*answers: Answer) -> tuple[Scripted, SnmpDevice]:
    hub = Scripted(*answers)
    options = DeviceOptions(address="10.0.0.5", community_file=Path("c"))
    return hub, SnmpDevice(device_spec("u", options), hub, ManualClock())


def test_an_answer_about_something_else_is_no_answer() -> None:
    hub, device = scripted(Answer(0, 0, (Bound(parse_oid(MINUTES), 42),)))
    with pytest.raises(ProtocolError, match="does not hold"):
        asyncio.run(device.poll(["u.charge"]))
    assert len(hub.asked) == 1


def test_what_version_1_lacks_is_not_asked_for_with_every_poll() -> None:
    charge, absent = parse_oid(CHARGE), parse_oid(ABSENT)
    answer = Answer(0, 0, (Bound(charge, 87),))
    hub, device = scripted(Answer(2, 2, ()), answer, answer)

    async def scene() -> None:
        for _ in range(2):
            readings = await device.poll(["u.charge", "u.absent"])
            assert [each.reason or each.value for each in readings] == [87, Reason.REFUSED]

    asyncio.run(scene())
    assert hub.asked == [(charge, absent), (charge,), (charge,)]


def test_an_error_about_nothing_is_a_refusal_of_the_whole() -> None:
    _hub, device = scripted(Answer(16, 0, ()))
    with pytest.raises(ProtocolError, match="authorizationError"):
        asyncio.run(device.poll(["u.charge"]))


def test_a_table_that_never_ends_is_left() -> None:
    column = parse_oid(ALARMS)
    pages = [Answer(0, 0, tuple(Bound((*column, 16 * page + n), 1) for n in range(16))) for page in range(1, 9)]
    hub, device = scripted(*pages)
    (reading,) = asyncio.run(device.poll(["u.overload"]))
    assert reading.value is False
    assert len(hub.asked) == MOST_ROWS // 16


def test_a_table_that_goes_round_in_circles_is_a_fault() -> None:
    column = parse_oid(ALARMS)
    page = Answer(0, 0, (Bound((*column, 1), 1),))
    _hub, device = scripted(page, page)
    with pytest.raises(ProtocolError, match="ascend"):
        asyncio.run(device.poll(["u.overload"]))


def test_credentials_do_not_show_their_secrets() -> None:
    with tempfile.TemporaryDirectory() as folder:
        secrets = Secrets(Path(folder))
        options = DeviceOptions(address="10.0.0.5", community_file=secrets.folder / "community")
        found = read_credentials(options)
        assert found.community == b"compound"
        assert "compound" not in repr(found)


def test_a_notification_below_the_devices_security_level_is_nobodys() -> None:
    async def scene() -> None:
        async with ups(V3) as (_agent, hub, _spec):
            name, level = hub_name(hub)
            assert level == "authPriv"
            hub._trap("127.0.0.1", name, "noAuthNoPriv", 7, trap_bindings((0, 0, 0, 5)))
            hub._trap("127.0.0.1", name, level, 8, trap_bindings((0, 0, 0, 6)))
            assert len(await hub.receive()) == 1

    asyncio.run(scene())
