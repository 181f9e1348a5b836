"""What speaks MQTT inside the compound: Zigbee2MQTT, ChirpStack and boxes with JSON, at a broker of their own.

things.py (what each says now) ──▶ bridge, network server, boxes ══▶ broker (child process) ══▶ gateway
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from drivers.mqtt_south.simulator import SimBoxes, SimBridge, SimClient, SimNetworkServer
from gateway.sim.broker import Broker, BrokerKind, best_kind
from gateway.sim.systems.rhythm import iso_now, repeating
from gateway.sim.systems.things import BOXES, CHARGER, LORAWAN, PARCEL_S, ZIGBEE, Thing, Turned
from gateway.sim.world import Burst

JSON_LINE = "boxes"
SAY_S = 4.0
"""Real ones speak every hour or so; who plays wants to see something."""
EVERY = "10s"
_NO_PHONE = "10000000000"
"""Nobody has this number."""


class Radio:
    protocols = ("zigbee2mqtt", "chirpstack", "mqtt-json")
    packs = (
        "care",
        "ebike_shed",
        "gas",
        "home",
        "parcel",
        "waste",
        "water",
    )

    def __init__(self, kind: BrokerKind | None = None) -> None:
        """*kind*: None for the best that there is."""
        self._kind = kind
        self._turned = Turned()
        self._started_s = 0.0
        self._parcels = 0
        self._broker: Broker | None = None
        self._zigbee: SimBridge
        self._lorawan: SimNetworkServer
        self._boxes: SimClient
        self._chargers: SimBoxes
        self._stack = AsyncExitStack()

    @property
    def port(self) -> int:
        """Of the broker."""
        assert self._broker is not None
        return self._broker.port

    async def __aenter__(self) -> Self:
        self._started_s = asyncio.get_running_loop().time()
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-radio-"))
            self._broker = await stack.enter_async_context(Broker(self._kind or best_kind(), Path(directory)))
            where = (self._broker.host, self.port)
            # All of them connect before the gateway does: amqtt sends everybody who connects the retained messages that
            # others have subscribed to, and to a box they would be commands.
            exposes = {thing.address: _exposed(thing) for thing in ZIGBEE}
            self._zigbee = await stack.enter_async_context(SimBridge(*where, devices=exposes))
            self._lorawan = await stack.enter_async_context(SimNetworkServer(*where))
            self._boxes = await stack.enter_async_context(SimClient(*where, "sim-boxes"))
            self._chargers = await stack.enter_async_context(SimBoxes(*where, "charger"))
            await stack.enter_async_context(repeating(SAY_S, self.say))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def lines(self) -> Sequence[dict[str, Any]]:
        broker = f"127.0.0.1:{self.port}"
        return [
            {"id": "zigbee", "protocol": "zigbee2mqtt", "broker": broker},
            {"id": "lorawan", "protocol": "chirpstack", "broker": broker},
            {"id": JSON_LINE, "protocol": "mqtt-json", "broker": broker},
        ]

    def devices(self) -> Sequence[dict[str, Any]]:
        return list(self._devices())

    def _devices(self) -> Iterator[dict[str, Any]]:
        for each in ZIGBEE:
            yield {**_entry(each, "zigbee"), "address": each.address}
        for uplink in LORAWAN:
            yield {**_entry(uplink, "lorawan"), "address": uplink.address}
        for box in BOXES:
            yield {**_entry(box, JSON_LINE), "address": box.address.split("/")[1]}
        yield {**_entry(CHARGER, JSON_LINE), "address": CHARGER.address}

    # ------------------------------------------------------------------ what can be made to happen

    async def leak_flat(self, leaks: bool = True) -> None:
        """Water on the bath's floor of flat 101."""
        await self._turn(flat_leaks=leaks)

    async def leak_gas_flat(self, leaks: bool = True) -> None:
        await self._turn(flat_gas=leaks)

    async def smoke_in_shed(self, smokes: bool = True) -> None:
        await self._turn(shed_smokes=smokes)

    async def fill_bin(self, full: bool = True) -> None:
        await self._turn(bin_full=full)

    async def burst_pipe(self, rise_s: float, fall_s: float, peak_cm: float) -> None:
        """In the basement of building 1, from now on."""
        await self._turn(burst=Burst(self._t(), rise_s, fall_s, peak_cm))

    async def shut_pipe(self) -> None:
        """The burst pipe is shut off; the water runs away."""
        if self._turned.burst is not None:
            await self._turn(burst=self._turned.burst.shut(self._t()))

    async def press_sos(self) -> None:
        """The button at the bed of flat 101; it says nothing when it is let go."""
        button = next(each for each in ZIGBEE if each.id.startswith("sos"))
        await self._zigbee.say(button.address, {"action": "emergency"})
        del self._zigbee.states[button.address]["action"]

    async def call_for_help(self) -> None:
        """The SOS unit of flat 102."""
        await self._boxes.publish(
            "care/C102/event", {"id": "C102", "time": iso_now(), "type": "sos", "button": "pendant"}
        )

    async def force_locker(self) -> None:
        await self._boxes.publish("lockers/K1/event", {"id": "K1", "time": iso_now(), "type": "forced", "cell": 7})

    async def _turn(self, **what: Any) -> None:
        self._turned = replace(self._turned, **what)
        await self.say()

    # ------------------------------------------------------------------ what they say

    async def say(self) -> None:
        """Everything, once."""
        t, turned = self._t(), self._turned
        for each in ZIGBEE:
            await self._zigbee.say(each.address, {**each.says(t, turned), "last_seen": iso_now()})
        for uplink in LORAWAN:
            fport, data = uplink.says(t, turned)
            await self._lorawan.uplink(uplink.address, data, fport=fport, time=iso_now())
        for box in BOXES:
            await self._boxes.publish(box.address, _signed(box.address.split("/")[1], box.says(t, turned)))
        await self._charge(t)
        await self._parcel(t)

    async def _charge(self, t: float) -> None:
        """What a command has switched off stays off."""
        relay = self._chargers.states.get(CHARGER.address, {}).get("relay", 1)
        drawn = {} if int(relay) else {"current": 0, "power": 0}
        await self._chargers.status(
            CHARGER.address, {**CHARGER.says(t, self._turned), **drawn, "relay": relay, "time": iso_now()}
        )

    async def _parcel(self, t: float) -> None:
        if math.floor(t / PARCEL_S) <= self._parcels:
            return
        self._parcels += 1
        brought = self._parcels % 2 == 1
        body = {"type": "store", "cell": 12} if brought else {"type": "open", "cell": 12, "by": "code"}
        await self._boxes.publish("lockers/K1/event", _signed("K1", {**body, "phone": _NO_PHONE}))

    def _t(self) -> float:
        return asyncio.get_running_loop().time() - self._started_s


def _entry(thing: Thing[Any], line: str) -> dict[str, Any]:
    return {
        "id": thing.id,
        "profile": thing.profile,
        "line": line,
        "name": {"zh": thing.name.zh, "en": thing.name.en},
        "place": dict(thing.place),
        "every": EVERY,
        **thing.more,
    }


def _exposed(thing: Thing[Any]) -> list[str]:
    """As Zigbee2MQTT lists it: ``numeric:power``."""
    kinds = {bool: "binary", str: "enum"}
    state = {**thing.says(0.0, Turned()), **({"action": ""} if thing.id.startswith("sos") else {})}
    return [f"{kinds.get(type(value), 'numeric')}:{key}" for key, value in state.items()]


def _signed(address: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"id": address, "time": iso_now(), **body}
