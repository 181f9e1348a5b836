"""Zigbee2MQTT, ChirpStack and boxes of JSON on a real mosquitto, for the contract that every hub must keep."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from drivers.base import Hub
from drivers.mqtt_south.hub import CHIRPSTACK, MQTT_JSON, ZIGBEE2MQTT
from drivers.mqtt_south.simulator import SimBoxes, SimBridge, SimNetworkServer
from drivers_mqtt_south.site import device, local_broker, make


class HubRig(Protocol):
    hub: Hub
    device: str

    async def say(self, number: int) -> None: ...

    async def garbage(self) -> None: ...

    async def stranger(self) -> None: ...


class ZigbeeRig:
    device = "plug"
    devices = ("plug",)

    def __init__(self, hub: Hub, bridge: SimBridge) -> None:
        self.hub = hub
        self._bridge = bridge

    async def say(self, number: int) -> None:
        await self._bridge.say("plug 1", {"power": number, "state": "ON"})

    async def garbage(self) -> None:
        for payload in (b"\xff\x00{", b"[" * 5000, b'{"power": 1e999}'):
            await self._bridge.publish("zigbee2mqtt/plug 1", payload)

    async def stranger(self) -> None:
        await self._bridge.publish("zigbee2mqtt/plug 2", {"power": 7})


@contextlib.asynccontextmanager
async def zigbee() -> AsyncIterator[HubRig]:
    plug = device(
        "plug",
        ZIGBEE2MQTT,
        {
            "power": {"kind": "number"},
            "relay": {
                "kind": "state",
                "states": ["closed", "open"],
                "property": "state",
                "values": {"ON": "closed", "OFF": "open"},
            },
        },
        address="plug 1",
    )
    async with local_broker() as running:
        exposed = {"plug 1": ["numeric:power", "binary:state"]}
        async with SimBridge("127.0.0.1", running.port, devices=exposed) as bridge:
            yield ZigbeeRig(make(ZIGBEE2MQTT, running.port, [plug]), bridge)


class ChirpstackRig:
    device = "bin"
    devices = ("bin",)
    eui = "24e124136b502217"

    def __init__(self, hub: Hub, server: SimNetworkServer) -> None:
        self.hub = hub
        self._server = server

    async def say(self, number: int) -> None:
        await self._server.uplink(self.eui, bytes((number,)))

    async def garbage(self) -> None:
        for payload in (b"\x0a\x24\x08", b'{"deviceInfo": {"devEui": "x"}}', b"[" * 5000, b"null"):
            await self._server.publish(f"application/a/device/{self.eui}/event/up", payload)

    async def stranger(self) -> None:
        await self._server.uplink("24e124136b502299", b"\x01")


@contextlib.asynccontextmanager
async def chirpstack() -> AsyncIterator[HubRig]:
    points = {"fill": {"kind": "number", "byte": 0}, "rssi": {"kind": "number", "meta": "rssi"}}
    async with local_broker() as running, SimNetworkServer("127.0.0.1", running.port) as server:
        one = device("bin", CHIRPSTACK, points, address=ChirpstackRig.eui)
        yield ChirpstackRig(make(CHIRPSTACK, running.port, [one]), server)


class BoxRig:
    device = "locker"
    devices = ("locker",)

    def __init__(self, hub: Hub, boxes: SimBoxes) -> None:
        self.hub = hub
        self._boxes = boxes

    async def say(self, number: int) -> None:
        if number % 2:
            await self._boxes.status("L1", {"free": number})
        else:
            await self._boxes.event("L1", {"type": "open", "cell": number, "phone": "13800000000"})

    async def garbage(self) -> None:
        for payload in (b"\xff", b"[" * 5000, b'{"id": "L2", "free": 3}', b'{"id": "L1", "free": NaN}'):
            await self._boxes.publish("lockers/L1/status", payload)

    async def stranger(self) -> None:
        await self._boxes.status("L2", {"free": 1})


@contextlib.asynccontextmanager
async def boxes() -> AsyncIterator[HubRig]:
    events = [{"kind": "locker.opened", "topic": "event", "when": {"type": "open"}, "personal": {"user": "phone"}}]
    points = {"free": {"kind": "number", "path": "free", "topic": "status"}}
    async with local_broker() as running, SimBoxes("127.0.0.1", running.port, "lockers") as simulated:
        one = device(
            "locker", MQTT_JSON, points, address="L1", topic="lockers/{address}/+", identity="id", events=events
        )
        yield BoxRig(make(MQTT_JSON, running.port, [one]), simulated)


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[HubRig]]]]:
    yield "zigbee2mqtt", zigbee
    yield "chirpstack", chirpstack
    yield "mqtt-json", boxes
