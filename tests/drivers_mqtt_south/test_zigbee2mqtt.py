"""Zigbee2MQTT on a real mosquitto: states, availability, the bridge's word, commands."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from drivers.mqtt_client.packet import Message
from drivers.mqtt_south.hub import ZIGBEE2MQTT, MqttHub
from drivers.mqtt_south.simulator import SimBridge
from drivers_mqtt_south.site import NOW_MS, asynchronous, collect, device, local_broker, make, until, values
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, LineLost
from gateway.model import Quality, Reason

RELAY: Mapping[str, Any] = {
    "kind": "state",
    "states": ["closed", "open"],
    "property": "state",
    "values": {"ON": "closed", "OFF": "open"},
}
PLUG = {"power": {"kind": "number"}, "relay": RELAY}
DOOR = {
    "contact": {"kind": "state", "states": ["open", "closed"], "values": {"true": "closed", "false": "open"}},
    "battery": {"kind": "number"},
}
BUTTON = {"sos": {"kind": "boolean", "property": "action", "values": {"emergency": True}, "pulse_s": 0.05}}
EXPOSED = {"plug": ["numeric:power", "binary:state"], "3F/door": ["binary:contact", "numeric:battery"]}


def iso(age_s: float) -> str:
    return datetime.fromtimestamp(NOW_MS / 1000 - age_s, UTC).isoformat()


@contextlib.asynccontextmanager
async def site(*, timeout_s: float = 5.0) -> AsyncIterator[tuple[SimBridge, MqttHub]]:
    devices = [
        device("p1", ZIGBEE2MQTT, PLUG, address="plug", timeout_s=timeout_s),
        device("d1", ZIGBEE2MQTT, DOOR, address="3F/door"),
    ]
    async with local_broker() as running, SimBridge("127.0.0.1", running.port, devices=EXPOSED) as bridge:
        yield bridge, make(ZIGBEE2MQTT, running.port, devices)


@asynchronous
async def test_a_state_becomes_readings_and_a_missing_key_nothing() -> None:
    async with site() as (bridge, hub), hub:
        await bridge.say("3F/door", {"contact": False, "linkquality": 100})
        await bridge.say("plug", {"power": 12.5, "state": "ON"})
        reports = await collect(hub, lambda got: len(got) >= 2)
    assert values(reports) == {"d1.contact": "open", "p1.power": 12.5, "p1.relay": "closed"}
    assert all(reading.quality is Quality.GOOD for report in reports for reading in report.readings)


@asynchronous
async def test_null_is_no_value_and_an_unknown_word_is_out_of_range() -> None:
    async with site() as (bridge, hub), hub:
        await bridge.say("plug", {"power": None, "state": "TOGGLE"})
        reports = await collect(hub, lambda got: len(got) >= 1)
    assert values(reports) == {"p1.power": Reason.NO_VALUE, "p1.relay": Reason.OUT_OF_RANGE}


@asynchronous
async def test_what_was_kept_is_uncertain_unless_it_was_seen_just_now() -> None:
    async with site() as (bridge, hub):
        await bridge.say("plug", {"power": 1}, retained=True)
        await bridge.say("3F/door", {"contact": True, "last_seen": iso(60)}, retained=True)
        async with hub:
            reports = await collect(hub, lambda got: len(values(got)) >= 2)
        of = {reading.point: reading for report in reports for reading in report.readings}
        assert of["p1.power"].quality is Quality.UNCERTAIN
        assert of["p1.power"].reason is Reason.NO_ANSWER
        assert of["d1.contact"].quality is Quality.GOOD
        assert of["d1.contact"].source_time_ms == NOW_MS - 60_000


OLD = [(7200, Quality.UNCERTAIN, 7200), (9 * 86_400, Quality.UNCERTAIN, 0), (-3600, Quality.GOOD, 0)]
"""Age by last_seen; more than a week is old, and nobody knows how old; an hour ahead of us is no time at all."""


@pytest.mark.parametrize(("age_s", "quality", "taken_s"), OLD)
@asynchronous
async def test_what_the_bridge_remembers_after_its_start_is_old_by_last_seen(
    age_s: float, quality: Quality, taken_s: int
) -> None:
    async with site() as (bridge, hub), hub:
        await bridge.say("3F/door", {"contact": True, "last_seen": iso(age_s)})
        (report,) = await collect(hub, lambda got: len(got) >= 1)
    (reading,) = report.readings
    assert (reading.value, reading.quality) == ("closed", quality)
    assert reading.source_time_ms == NOW_MS - taken_s * 1000


@pytest.mark.parametrize("plain", [True, False])
@asynchronous
async def test_offline_makes_all_points_bad_at_once(plain: bool) -> None:
    async with site() as (bridge, hub), hub:
        await bridge.available("plug", False, plain=plain)
        reports = await collect(hub, lambda got: len(got) >= 1)
        assert values(reports) == {"p1.power": Reason.NO_ANSWER, "p1.relay": Reason.NO_ANSWER}
        await bridge.available("plug", True, plain=plain)
        (alive,) = await collect(hub, lambda got: len(got) >= 1)
        assert (alive.device, alive.readings) == ("p1", ())


@asynchronous
async def test_a_retained_online_is_no_sign_of_life() -> None:
    async with site() as (bridge, hub):
        await bridge.available("plug", True)
        async with hub:
            await bridge.say("plug", {"power": 1})
            reports = await collect(hub, lambda got: len(got) >= 1)
    assert [values([report]) for report in reports] == [{"p1.power": 1}]


@asynchronous
async def test_a_retained_state_confirms_no_command() -> None:
    async with site() as (bridge, hub), hub:
        bridge.deaf = True
        writing = asyncio.create_task(hub.carry_out("p1", "p1.relay", "open", 5.0))
        await until(lambda: len(bridge.heard) == 1)
        hub._confirm(Message("zigbee2mqtt/plug", b'{"state": "OFF"}', retained=True))
        await asyncio.sleep(0)
        assert not writing.done()
        hub._confirm(Message("zigbee2mqtt/plug", b'{"state": "OFF"}'))
        await writing


@asynchronous
async def test_a_bridge_that_goes_takes_all_its_devices_along() -> None:
    async with site() as (bridge, hub), hub:
        await bridge.online(False)
        reports = await collect(hub, lambda got: len(got) >= 2)
    assert set(values(reports).values()) == {Reason.LINE_LOST}
    assert len(values(reports)) == 4


@asynchronous
async def test_points_that_are_not_exposed_are_refused_and_strangers_introduced() -> None:
    async with site() as (bridge, hub), hub:
        bridge.devices = {"plug": ["binary:state", "binary:power"], "lamp": ["numeric:brightness"]}
        await bridge.list_devices()
        reports = await collect(hub, lambda got: len(got) >= 1)
        assert values(reports) == {"p1.power": Reason.REFUSED}
        strangers = hub.strangers
    assert "power" in strangers["plug"]
    assert "Sim S1" in strangers["lamp"]
    assert "knows no device" in strangers["3F/door"]


@asynchronous
async def test_a_command_is_confirmed_by_the_state_that_comes_back() -> None:
    async with site() as (bridge, hub), hub:
        driver = ZIGBEE2MQTT.make(hub._spec.devices["p1"], hub, hub._clock)
        await driver.write("p1.relay", "open")  # type: ignore[attr-defined]
        assert bridge.states["plug"]["state"] == "OFF"
        assert [message.payload for message in bridge.heard] == [b'{"state":"OFF"}']


@asynchronous
async def test_a_refusal_of_the_bridge_is_a_refusal() -> None:
    async with site() as (bridge, hub), hub:
        bridge.refusing = True
        with pytest.raises(DeviceRejected, match="Delivery failed"):
            await hub.carry_out("p1", "p1.relay", "open", 5.0)


@asynchronous
async def test_silence_after_a_command_is_unreachable_and_it_is_sent_once() -> None:
    async with site() as (bridge, hub), hub:
        bridge.deaf = True
        with pytest.raises(DeviceUnreachable, match="no confirmation"):
            await hub.carry_out("p1", "p1.relay", "open", 0.2)
        await until(lambda: len(bridge.heard) == 1)
        await bridge.say("plug", {"power": 1})
        await collect(hub, lambda got: len(got) >= 1)
        assert len(bridge.heard) == 1


@asynchronous
async def test_a_command_under_way_ends_with_the_line() -> None:
    async with site() as (bridge, hub):
        bridge.deaf = True
        async with hub:
            writing = asyncio.create_task(hub.carry_out("p1", "p1.relay", "open", 5.0))
            await until(lambda: len(bridge.heard) == 1)
        with pytest.raises(LineLost):
            await writing
        with pytest.raises(LineLost):
            await hub.carry_out("p1", "p1.relay", "open", 5.0)


@asynchronous
async def test_a_button_is_released_after_its_pulse_also_over_a_restart() -> None:
    devices = [device("b1", ZIGBEE2MQTT, BUTTON, address="button")]
    async with local_broker() as running, SimBridge("127.0.0.1", running.port) as bridge:
        async with make(ZIGBEE2MQTT, running.port, devices) as hub:
            await bridge.say("button", {"action": "emergency"})
            reports = await collect(hub, lambda got: len(got) >= 2)
            assert [report.readings[0].value for report in reports] == [True, False]
            assert reports[0].memory is not None
        async with make(ZIGBEE2MQTT, running.port, devices, {"b1": reports[0].memory}) as hub:
            (released,) = await collect(hub, lambda got: len(got) >= 1)
            assert released.readings[0].value is False


def test_two_devices_of_one_name_are_a_fault_of_the_configuration() -> None:
    devices = [device(each, ZIGBEE2MQTT, PLUG, address="plug") for each in ("a", "b")]
    with pytest.raises(ConfigError, match="same address"):
        make(ZIGBEE2MQTT, 1883, devices)
