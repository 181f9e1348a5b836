"""Simulated bridges, network servers and boxes: they publish to a real broker what the real ones would."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from drivers.mqtt_client.packet import Message
from drivers.mqtt_client.session import Dial, Session, Ticket
from gateway.errors import DeviceUnreachable, LineLost


class SimClient:
    """A client of the broker; ``async with`` it."""

    def __init__(self, host: str, port: int, client_id: str) -> None:
        self._dial = Dial(host, port, client_id, clean=True, most_bytes=lambda topic: 4 * 1024 * 1024)
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self.heard: list[Message] = []

    filters: Sequence[str] = ()

    async def __aenter__(self) -> Self:
        self._session = await Session(self._dial).__aenter__()
        self._task = asyncio.get_running_loop().create_task(self._listen(self._session))
        if self.filters:
            await self._session.subscribe(self.filters)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if session is not None:
            await session.__aexit__(None, None, None)

    async def publish(self, topic: str, payload: Any, *, retained: bool = False) -> None:
        """*payload*: bytes as they are, a text in UTF-8, anything else as JSON."""
        if not isinstance(payload, bytes):
            payload = (payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)).encode("utf-8")
        if self._session is None:
            raise LineLost("the simulator is closed")
        await self._session.publish(topic, payload, retained=retained)

    async def _listen(self, session: Session) -> None:
        async with asyncio.TaskGroup() as answers:
            try:
                await session.run(lambda message, ticket: self._take(message, ticket, answers))
            except LineLost:
                return

    async def _take(self, message: Message, ticket: Ticket, answers: asyncio.TaskGroup) -> None:
        """Answers beside the reading: a publish waits for its own acknowledgement."""
        self.heard.append(message)
        ticket.done()
        answers.create_task(self._answer_safely(message))

    async def _answer_safely(self, message: Message) -> None:
        try:
            await self.answer(message)
        except DeviceUnreachable:
            return  # the broker has gone

    async def answer(self, message: Message) -> None:
        """What it does about a message that it has subscribed to."""


class SimBridge(SimClient):
    """Zigbee2MQTT with some devices."""

    def __init__(
        self, host: str, port: int, *, base: str = "zigbee2mqtt", devices: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """*devices*: friendly name -> what it exposes, ``"numeric:power"``."""
        super().__init__(host, port, f"sim-bridge-{base}")
        self._base = base
        self.devices = dict(devices or {})
        self.states: dict[str, dict[str, Any]] = {}
        self.refusing = False
        self.deaf = False
        self.filters = [f"{base}/+/set"]

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self.online()
        return self

    async def online(self, up: bool = True) -> None:
        state = {"state": "online" if up else "offline"}
        await self.publish(f"{self._base}/bridge/state", state, retained=True)
        if up:
            await self.list_devices()

    async def list_devices(self) -> None:
        entries: list[Any] = [{"type": "Coordinator", "friendly_name": "Coordinator"}]
        for number, (name, exposes) in enumerate(self.devices.items()):
            features = [dict(zip(("type", "property"), each.split(":"), strict=True)) for each in exposes]
            entries.append(
                {
                    "type": "EndDevice",
                    "friendly_name": name,
                    "ieee_address": f"0x00158d00{number:08x}",
                    "definition": {"vendor": "Sim", "model": "S1", "description": "Simulated", "exposes": features},
                }
            )
        await self.publish(f"{self._base}/bridge/devices", entries, retained=True)

    async def say(self, name: str, state: Mapping[str, Any], *, retained: bool = False) -> None:
        """All of its state so far, and this."""
        whole = self.states.setdefault(name, {})
        whole.update(state)
        await self.publish(f"{self._base}/{name}", whole, retained=retained)

    async def available(self, name: str, up: bool, *, plain: bool = False) -> None:
        word = "online" if up else "offline"
        await self.publish(f"{self._base}/{name}/availability", word if plain else {"state": word}, retained=True)

    async def answer(self, message: Message) -> None:
        name = message.topic.removeprefix(self._base + "/").removesuffix("/set")
        if self.deaf:
            return
        wanted = json.loads(message.payload)
        if self.refusing:
            words = f"z2m: Publish 'set' '{next(iter(wanted))}' to '{name}' failed: 'Error: Delivery failed for {name}'"
            await self.publish(f"{self._base}/bridge/logging", {"level": "error", "message": words})
        else:
            await self.say(name, wanted)


class SimNetworkServer(SimClient):
    """ChirpStack with one application."""

    def __init__(self, host: str, port: int, *, application: str = "7b6f0a3c-2f3a-4c59-9c1e-3d7f6f0b1a22") -> None:
        super().__init__(host, port, f"sim-chirpstack-{application[:8]}")
        self._application = application
        self.filters = [f"application/{application}/device/+/command/down"]
        self.counters: dict[str, int] = {}
        self.addresses: dict[str, str] = {}
        self.last: dict[str, dict[str, Any]] = {}
        self.downlinks: list[dict[str, Any]] = []
        self.acknowledging: bool | None = True
        """Whether devices acknowledge downlinks; None: nothing is heard of them."""

    async def join(self, dev_eui: str) -> None:
        self.addresses[dev_eui] = f"01{len(self.addresses) + sum(self.counters.values()):06x}"
        self.counters[dev_eui] = 0
        await self.event(dev_eui, "join", {"devAddr": self.addresses[dev_eui]})

    async def uplink(
        self, dev_eui: str, data: bytes = b"", *, fport: int = 1, decoded: Any = None, **more: Any
    ) -> dict[str, Any]:
        """What was published.  *more*: further keys, or other values of those there are."""
        count = self.counters.get(dev_eui, 0)
        self.counters[dev_eui] = count + 1
        body = {
            "devAddr": self.addresses.get(dev_eui, "00bd4c1a"),
            "adr": True,
            "dr": 5,
            "fPort": fport,
            "confirmed": False,
            "data": base64.b64encode(data).decode("ascii"),
            "rxInfo": [{"gatewayId": "a1", "rssi": -97, "snr": 4.5}, {"gatewayId": "a2", "rssi": -61, "snr": 9.8}],
        }
        if count:  # zero is left out
            body["fCnt"] = count
        if decoded is not None:
            body["object"] = decoded
        return await self.event(dev_eui, "up", body | more)

    async def event(self, dev_eui: str, event: str, body: Mapping[str, Any]) -> dict[str, Any]:
        info = {"tenantName": "sim", "deviceProfileName": "sim profile", "deviceName": f"sim {dev_eui[-4:]}"}
        whole = {"deduplicationId": str(uuid.uuid4()), "deviceInfo": {**info, "devEui": dev_eui}, **body}
        self.last[dev_eui] = whole
        await self.again(dev_eui, event)
        return whole

    async def again(self, dev_eui: str, event: str = "up") -> None:
        """The very same once more."""
        await self.publish(f"application/{self._application}/device/{dev_eui}/event/{event}", self.last[dev_eui])

    async def answer(self, message: Message) -> None:
        down = json.loads(message.payload)
        self.downlinks.append(down)
        if self.acknowledging is None:
            return
        await self.event(down["devEui"], "txack", {"queueItemId": down["id"]})
        if down["confirmed"]:
            body = {"queueItemId": down["id"]} | ({"acknowledged": True} if self.acknowledging else {})
            await self.event(down["devEui"], "ack", body)


class SimBoxes(SimClient):
    """Boxes that publish JSON and obey ``<prefix>/<address>/set``; their state is on ``<prefix>/<address>/status``."""

    def __init__(self, host: str, port: int, prefix: str) -> None:
        super().__init__(host, port, f"sim-boxes-{prefix}")
        self._prefix = prefix
        self.filters = [f"{prefix}/+/set"]
        self.states: dict[str, dict[str, Any]] = {}
        self.deaf = False

    async def status(self, address: str, body: Mapping[str, Any], *, retained: bool = False) -> None:
        """All of its state so far, and this."""
        whole = self.states.setdefault(address, {"id": address})
        whole.update(body)
        await self.publish(f"{self._prefix}/{address}/status", whole, retained=retained)

    async def event(self, address: str, body: Mapping[str, Any], *, retained: bool = False) -> None:
        await self.publish(f"{self._prefix}/{address}/event", {"id": address, **body}, retained=retained)

    async def lift_record(self, address: str, fields: Sequence[int], time_s: int) -> None:
        """The record of lift monitor A: seconds since 1970, then one byte a field, from the version on."""
        record = time_s.to_bytes(4, "little") + bytes(each & 0xFF for each in fields)
        body = {"TY": "M", "ST": "S", "D": base64.b64encode(record).decode("ascii")}
        await self.publish(f"{self._prefix}/{address}/status", body)

    async def answer(self, message: Message) -> None:
        if not self.deaf:
            await self.status(message.topic.split("/")[-2], json.loads(message.payload))
