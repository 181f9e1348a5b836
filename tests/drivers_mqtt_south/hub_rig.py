"""Zigbee2MQTT, ChirpStack and boxes of JSON on a real mosquitto, for the contract that every hub must keep."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from drivers.base import Hub
from drivers.mqtt_south.hub import ZIGBEE2MQTT
from drivers.mqtt_south.simulator import SimBridge
from drivers_mqtt_south.site import device, local_broker, make


class HubRig(Protocol):
    hub: Hub
    device: str

    async def say(self, number: int) -> None: ...

    async def garbage(self) -> None: ...

    async def stranger(self) -> None: ...


class ZigbeeRig:
    device = "plug"

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


def hub_rigs() -> Iterator[tuple[str, Callable[[], AbstractAsyncContextManager[HubRig]]]]:
    yield "zigbee2mqtt", zigbee
