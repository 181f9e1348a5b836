"""The real brokers, one after the other, with a real subscriber."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from gateway.sim.broker import AMQTT, Broker, BrokerKind, mosquitto
from gateway.sim.ledger import Ledger, Subscriber
from gateway.sim.relay import Relay
from support.broker import missing


def kind_called(name: str) -> BrokerKind:
    if name == "amqtt":
        return AMQTT
    found = mosquitto()
    if found is None:
        missing("mosquitto")
    assert found is not None
    return found


def publish(port: int, numbers: range) -> None:
    """As a gateway would: QoS 1, waiting for the broker's word."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for seq in numbers:
        message = {"epoch": "e", "lane": "telemetry", "seq": seq, "items": []}
        client.publish("root/telemetry", json.dumps(message), qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("name", ["amqtt", "mosquitto"])
def test_an_outage_loses_nothing_that_was_acknowledged(name: str, tmp_path: Path) -> None:
    kind = kind_called(name)

    async def scenario() -> Ledger:
        ledger = Ledger()
        async with (
            Broker(kind, tmp_path) as broker,
            Subscriber(broker.host, broker.port, kind.mqtt, "root", ledger, name="ledger") as subscriber,
            Relay(broker.host, broker.port) as relay,
        ):
            await asyncio.to_thread(publish, relay.port, range(1, 50))
            await relay.cut()
            await subscriber.quiet(0.2, 5)
            await broker.kill()
            assert not broker.running
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", relay.port)
            await broker.start()
            await subscriber.wait_ready()
            await relay.open()
            await asyncio.to_thread(publish, relay.port, range(45, 100))
            await subscriber.quiet(0.2, 5)
        return ledger

    ledger = asyncio.run(scenario())
    assert (ledger.envelopes, ledger.duplicates, ledger.lost()) == (99, 5, 0)


@pytest.mark.parametrize("name", ["amqtt", "mosquitto"])
def test_the_broker_ends_with_us_and_frees_its_port(name: str, tmp_path: Path) -> None:
    kind = kind_called(name)

    async def scenario() -> tuple[int, int]:
        async with Broker(kind, tmp_path) as broker:
            assert broker._child is not None
            return broker.port, broker._child.pid

    port, pid = asyncio.run(scenario())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(asyncio.open_connection("127.0.0.1", port))
