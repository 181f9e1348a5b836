"""Nothing lost and nothing doubled, with a real mosquitto that keeps what is not acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from drivers.base import Report
from drivers.mqtt_south.hub import ZIGBEE2MQTT, MqttHub
from drivers.mqtt_south.simulator import SimClient
from drivers.mqtt_south.zigbee2mqtt import Zigbee2Mqtt
from drivers_mqtt_south.site import asynchronous, collect, device, hub_spec, local_broker, make, until, values
from gateway.errors import LineLost
from support.broker import Broker
from support.clock import ManualClock

METER = [device("m1", ZIGBEE2MQTT, {"energy": {"kind": "number"}}, address="meter")]


class Meter(SimClient):
    async def say(self, state: Mapping[str, Any]) -> None:
        await self.publish("zigbee2mqtt/meter", state)


@contextlib.asynccontextmanager
async def metered(*config: str) -> AsyncIterator[tuple[Broker, Meter]]:
    async with local_broker(*config) as running, Meter("127.0.0.1", running.port, "sim-meter") as meter:
        yield running, meter


def energies(reports: list[Report]) -> list[object]:
    return [reading.value for report in reports for reading in report.readings]


@asynchronous
async def test_what_is_said_while_we_are_down_comes_later() -> None:
    async with metered() as (running, meter):
        hub = make(ZIGBEE2MQTT, running.port, METER)
        async with hub:
            pass
        for number in range(5):
            await meter.say({"energy": number})
        async with hub:
            assert energies(await collect(hub, lambda got: len(got) >= 5)) == [0, 1, 2, 3, 4]


@asynchronous
async def test_what_was_taken_and_never_stored_is_said_again_to_the_next_process() -> None:
    async with metered() as (running, meter):
        async with make(ZIGBEE2MQTT, running.port, METER) as dying:
            await meter.say({"energy": 1})
            assert energies(await collect(dying, lambda got: len(got) >= 1, store=False)) == [1]
            await meter.say({"energy": 2})
        async with make(ZIGBEE2MQTT, running.port, METER) as next_:
            assert energies(await collect(next_, lambda got: len(got) >= 2)) == [1, 2]
        async with make(ZIGBEE2MQTT, running.port, METER) as third:
            await meter.say({"energy": 3})
            assert energies(await collect(third, lambda got: len(got) >= 1)) == [3]


@asynchronous
async def test_what_is_on_disk_and_was_not_acknowledged_is_not_reported_twice() -> None:
    """Killed between the commit and the acknowledgement: only the memory that was committed knows."""
    async with metered() as (running, meter):
        async with make(ZIGBEE2MQTT, running.port, METER) as dying:
            await meter.say({"energy": 1})
            (committed,) = await collect(dying, lambda got: len(got) >= 1, store=False)
            assert committed.memory is not None
        async with make(ZIGBEE2MQTT, running.port, METER, {"m1": committed.memory}) as next_:
            await meter.say({"energy": 1})  # the same words again, and meant
            await meter.say({"energy": 2})
            assert energies(await collect(next_, lambda got: len(got) >= 2)) == [1, 2]
        await until(lambda: "Received DISCONNECT from compound-gateway-south" in running.log.rpartition("PUBACK")[2])
        assert running.log.count("Received PUBACK from compound-gateway-south") == 3


@asynchronous
async def test_an_acknowledgement_waits_for_the_disk_and_keeps_the_order() -> None:
    async with metered() as (running, meter), make(ZIGBEE2MQTT, running.port, METER) as hub:
        await meter.say({"energy": 1})
        (first,) = await collect(hub, lambda got: len(got) >= 1, store=False)
        await meter.publish("zigbee2mqtt/nobody", b"{}")  # needs no disk, and waits behind the other
        await until(lambda: "nobody" in hub.strangers)
        assert "Received PUBACK from compound-gateway-south" not in running.log
        await hub.stored([first])
        await until(lambda: running.log.count("Received PUBACK from compound-gateway-south") >= 2)


@asynchronous
async def test_a_broker_that_dies_is_a_lost_line_and_the_hub_opens_again() -> None:
    async with local_broker(persistence=True) as running:
        hub = make(ZIGBEE2MQTT, running.port, METER)
        async with hub:
            await running.kill()
            with pytest.raises(LineLost):
                await hub.receive()
        with pytest.raises(LineLost):
            await hub.__aenter__()
        await running.start()
        async with hub, Meter("127.0.0.1", running.port, "sim-meter") as meter:
            await meter.say({"energy": 9})
            assert energies(await collect(hub, lambda got: 9 in energies(got)))[-1] == 9


@asynchronous
async def test_reports_that_were_taken_before_the_line_broke_are_not_doubled_by_the_next_opening() -> None:
    async with metered() as (running, meter):
        hub = make(ZIGBEE2MQTT, running.port, METER)
        async with hub:
            await meter.say({"energy": 1})
            taken = await collect(hub, lambda got: len(got) >= 1, store=False)
        async with hub:
            await hub.stored(taken)  # too late to acknowledge it
            await meter.say({"energy": 2})
            assert energies(await collect(hub, lambda got: len(got) >= 1)) == [2]


@asynchronous
async def test_what_waited_in_the_hub_when_it_was_closed_is_said_again() -> None:
    async with metered() as (running, meter):
        hub = make(ZIGBEE2MQTT, running.port, METER)
        async with hub:
            await meter.say({"energy": 1})
            await meter.publish("zigbee2mqtt/nobody", b"{}")
            await until(lambda: "nobody" in hub.strangers)  # so the one before has been heard, too
        async with hub:
            assert energies(await collect(hub, lambda got: len(got) >= 1)) == [1]


@asynchronous
async def test_a_connection_that_is_given_up_while_it_opens_leaves_nothing() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        hub = make(ZIGBEE2MQTT, server.sockets[0].getsockname()[1], METER)
        opening = asyncio.create_task(hub.__aenter__())
        await asyncio.sleep(0.05)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        server.close()
        await asyncio.sleep(0.05)


@asynchronous
async def test_a_message_larger_than_allowed_is_passed_over_and_the_next_one_heard() -> None:
    async with metered() as (running, meter), make(ZIGBEE2MQTT, running.port, METER) as hub:
        await meter.publish("zigbee2mqtt/meter", b'{"energy": 1, "x": "' + b"x" * 300_000 + b'"}')
        await meter.say({"energy": 2})
        assert energies(await collect(hub, lambda got: len(got) >= 1)) == [2]
        assert "larger" in hub.strangers["zigbee2mqtt/meter"]


@asynchronous
async def test_a_device_that_says_too_much_keeps_its_newest_and_says_so_and_the_others_are_heard() -> None:
    devices = [*METER, device("quiet", ZIGBEE2MQTT, {"energy": {"kind": "number"}}, address="quiet")]
    async with (
        local_broker("max_inflight_messages 200") as running,
        Meter("127.0.0.1", running.port, "sim-meter") as meter,
    ):
        spec = hub_spec(ZIGBEE2MQTT, running.port, devices)
        async with MqttHub(spec, ManualClock(), Zigbee2Mqtt(spec), burst=3) as hub:
            for number in range(30):
                await meter.say({"energy": number})
            await meter.publish("zigbee2mqtt/quiet", {"energy": 7})
            reports = await collect(hub, lambda got: values(got).get("m1.energy") == 29)
            assert values(reports)["quiet.energy"] == 7
            told = [each for report in reports for each in report.happenings]
            assert [each.kind for each in told] == ["device.thinned"]
            heard = len(energies(reports)) - 1
            assert told[0].attributes == {"dropped": 30 - heard}
            assert 4 <= heard < 30


@asynchronous
async def test_what_was_held_back_when_the_hub_was_closed_is_said_again_and_once() -> None:
    async with metered() as (running, meter):
        spec = hub_spec(ZIGBEE2MQTT, running.port, METER)
        hub = MqttHub(spec, ManualClock(), Zigbee2Mqtt(spec), burst=1)
        async with hub:
            await meter.say({"energy": 1})
            await meter.say({"energy": 2})
            await meter.publish("zigbee2mqtt/nobody", b"{}")
            await until(lambda: "nobody" in hub.strangers)
            assert energies(await collect(hub, lambda got: len(got) >= 1)) == [1]
        async with hub:
            assert energies(await collect(hub, lambda got: len(got) >= 1)) == [2]
            await meter.say({"energy": 3})
            assert energies(await collect(hub, lambda got: len(got) >= 1)) == [3]


@asynchronous
async def test_a_wrong_password_tells_what_to_check(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "password").write_text("wrong\n", "utf-8")
    async with local_broker("password_file /dev/null") as running:
        hub = make(ZIGBEE2MQTT, running.port, METER, username="gw", password_file=str(folder / "password"))
        with pytest.raises(LineLost, match=r"not authorised|wrong user") as caught:
            await hub.__aenter__()
        assert caught.value.hint
        (folder / "password").unlink()
        with pytest.raises(LineLost, match="cannot be read"):
            await hub.__aenter__()
