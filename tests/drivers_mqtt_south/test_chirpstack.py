"""ChirpStack on a real mosquitto: uplinks once each, whatever is repeated; downlinks once each, whatever is lost."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from drivers.mqtt_south.hub import CHIRPSTACK, MqttHub
from drivers.mqtt_south.simulator import SimNetworkServer
from drivers_mqtt_south.site import NOW_MS, asynchronous, collect, device, local_broker, make, until, values
from gateway.errors import DeviceRejected, DeviceUnreachable
from gateway.model import Quality

EUI = "24e124136b502217"
LITTLE = {"format": "u32", "order": "little"}
METER: Mapping[str, Mapping[str, Any]] = {
    "volume": {
        "kind": "number",
        "path": "water",
        "fport": 2,
        "byte": 1,
        "format": "u32",
        "order": "little",
        "scale": 0.001,
    },
    "leak": {"kind": "boolean", "fport": 2, "byte": 0, "mask": 0x02},
    "rssi": {"kind": "number", "meta": "rssi"},
    "battery": {"kind": "number", "meta": "battery"},
    "valve": {
        "kind": "state",
        "states": ["open", "closed"],
        "fport": 5,
        "byte": 0,
        "values": {"0": "closed", "1": "open"},
        "down": {"closed": "0500", "open": "0501"},
    },
}


def sent(age_s: float) -> str:
    """As ChirpStack writes it, with nanoseconds."""
    return datetime.fromtimestamp(NOW_MS / 1000 - age_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789+00:00")


@contextlib.asynccontextmanager
async def site(*, timeout_s: float = 5.0, **more: Any) -> AsyncIterator[tuple[SimNetworkServer, MqttHub]]:
    devices = [device("w1", CHIRPSTACK, METER, address=EUI.upper(), timeout_s=timeout_s)]
    async with local_broker() as running, SimNetworkServer("127.0.0.1", running.port) as server:
        yield server, make(CHIRPSTACK, running.port, devices, **more)


@asynchronous
async def test_the_codec_of_the_server_speaks_first_and_else_the_bytes() -> None:
    async with site() as (server, hub), hub:
        await server.uplink(EUI, fport=2, decoded={"water": 1234500})
        reports = await collect(hub, lambda got: len(got) >= 1)
        assert values(reports) == {"w1.volume": 1234.5, "w1.rssi": -61}
        await server.uplink(EUI, bytes.fromhex("02 40 E2 01 00"), fport=2, time=sent(60))
        (report,) = await collect(hub, lambda got: len(got) >= 1)
    assert values([report]) == {"w1.leak": True, "w1.volume": 123.456, "w1.rssi": -61}
    assert {reading.source_time_ms for reading in report.readings} == {NOW_MS - 60_000 + 123}


@asynchronous
async def test_another_port_and_a_short_record_say_nothing_of_a_point() -> None:
    async with site() as (server, hub), hub:
        await server.uplink(EUI, bytes.fromhex("0240"), fport=2)
        await server.uplink(EUI, bytes.fromhex("0140E20100"), fport=3)
        reports = await collect(hub, lambda got: len(got) >= 2)
    assert values(reports[:1]) == {"w1.leak": True, "w1.rssi": -61}
    assert values(reports[1:]) == {"w1.rssi": -61}


@asynchronous
async def test_an_uplink_is_taken_once_also_over_a_restart() -> None:
    devices = [device("w1", CHIRPSTACK, METER, address=EUI)]
    async with local_broker() as running, SimNetworkServer("127.0.0.1", running.port) as server:
        async with make(CHIRPSTACK, running.port, devices) as hub:
            first = await server.uplink(EUI, b"\x01", fport=5)
            await server.again(EUI)  # the same deduplicationId
            await server.uplink(EUI, b"\x00", fport=5)
            reports = await collect(hub, lambda got: len(got) >= 2)
            assert [values([each])["w1.valve"] for each in reports] == ["open", "closed"]
        assert reports[1].memory is not None
        async with make(CHIRPSTACK, running.port, devices, {"w1": reports[1].memory}) as hub:
            await server.event(EUI, "up", first | {"deduplicationId": "another"})  # heard late by a second gateway
            await server.uplink(EUI, b"\x01", fport=5)
            reports = await collect(hub, lambda got: len(got) >= 1)
            assert [values([each])["w1.valve"] for each in reports] == ["open"]


@asynchronous
async def test_a_join_begins_the_counter_anew_and_is_told() -> None:
    async with site() as (server, hub), hub:
        for _ in range(3):
            await server.uplink(EUI, b"\x01", fport=5)
        await server.join(EUI)
        await server.uplink(EUI, b"\x00", fport=5)
        reports = await collect(hub, lambda got: len(got) >= 5)
    assert values(reports)["w1.valve"] == "closed"
    assert [each.kind for report in reports for each in report.happenings] == ["lorawan.joined"]


@pytest.mark.parametrize(("age_s", "taken"), [(10, True), (90, False)])
@asynchronous
async def test_a_counter_that_goes_back_without_a_join_is_told_by_its_time(age_s: float, taken: bool) -> None:
    async with site() as (server, hub), hub:
        server.counters[EUI] = 100
        await server.uplink(EUI, b"\x01", fport=5, time=sent(60))
        server.counters[EUI] = 3
        await server.uplink(EUI, b"\x00", fport=5, time=sent(age_s))
        server.counters[EUI] = 200
        await server.uplink(EUI, b"", fport=9, time=sent(1))
        reports = await collect(hub, lambda got: values(got[-1:]) == {"w1.rssi": -61})
    assert len(reports) == (3 if taken else 2)
    assert values(reports)["w1.valve"] == ("closed" if taken else "open")


@asynchronous
async def test_the_battery_is_what_the_server_was_told() -> None:
    async with site() as (server, hub), hub:
        await server.event(EUI, "status", {"margin": 10, "batteryLevel": 87.4})
        await server.event(EUI, "status", {"batteryLevelUnavailable": True})
        reports = await collect(hub, lambda got: len(got) >= 2)
    assert [values([each]) for each in reports] == [{"w1.battery": 87.4}, {}]


@asynchronous
async def test_a_message_of_another_device_on_its_topic_is_refused_and_strangers_are_listed() -> None:
    async with site() as (server, hub), hub:
        await server.uplink(EUI, b"\x01", fport=5, deviceInfo={"devEui": "24e124136b502218"})
        assert (await collect(hub, lambda got: True)) == []
        await server.uplink("24e124136b502218", b"\x01", fport=5)
        await until(lambda: len(hub.strangers) == 2)
        assert "another device" in hub.strangers[EUI]
        assert hub.strangers["24e124136b502218"] == "sim profile sim 2218"


@asynchronous
async def test_a_downlink_is_done_when_the_device_has_acknowledged_it() -> None:
    async with site() as (server, hub), hub:
        with pytest.raises(DeviceRejected, match="not been heard"):
            await hub.carry_out("w1", "w1.valve", "closed", 5.0)
        await server.uplink(EUI, b"\x01", fport=5)
        await collect(hub, lambda got: len(got) >= 1)
        await hub.carry_out("w1", "w1.valve", "closed", 5.0)
        with pytest.raises(DeviceRejected, match="no downlink"):
            await hub.carry_out("w1", "w1.volume", 3, 5.0)
    (down,) = server.downlinks
    assert (down["data"], down["fPort"], down["confirmed"], down["devEui"]) == ("BQA=", 5, True, EUI)


@asynchronous
async def test_a_downlink_without_an_acknowledgement_is_refused_or_unknown_and_sent_once() -> None:
    async with site(application="7b6f0a3c-2f3a-4c59-9c1e-3d7f6f0b1a22") as (server, hub), hub:
        server.acknowledging = False
        with pytest.raises(DeviceRejected, match="did not acknowledge"):
            await hub.carry_out("w1", "w1.valve", "closed", 5.0)
        server.acknowledging = None
        with pytest.raises(DeviceUnreachable):
            await hub.carry_out("w1", "w1.valve", "closed", 0.2)
        await until(lambda: len(server.downlinks) == 2)
        await server.uplink(EUI, b"\x01", fport=5)
        await collect(hub, lambda got: len(got) >= 1)
        assert len(server.downlinks) == 2


@asynchronous
async def test_what_was_sent_while_we_were_away_has_its_own_time() -> None:
    async with site() as (server, hub):
        async with hub:
            pass
        await server.uplink(EUI, b"\x01", fport=5, time=sent(3 * 3600))
        async with hub:
            (report,) = await collect(hub, lambda got: len(got) >= 1)
    (reading, *_) = report.readings
    assert reading.source_time_ms == NOW_MS - 3 * 3_600_000 + 123
    assert reading.quality is Quality.GOOD
