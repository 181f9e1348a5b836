"""The platform's side of a test: a plain paho client in its own thread, which writes down everything it receives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


@dataclass(frozen=True, slots=True)
class Received:
    topic: str
    payload: bytes
    retained: bool

    @property
    def json(self) -> Any:
        return json.loads(self.payload)

    @property
    def items(self) -> bytes:
        """The envelope's items as they came over the wire."""
        return self.payload[self.payload.index(b'"items":') :]


class Subscriber:
    def __init__(self, client: mqtt.Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self.lost = threading.Event()
        """Its connection has ended, so everything the broker had sent has been received."""

    @property
    def received(self) -> list[Received]:
        with self._lock:
            return list(self._received)

    def on(self, tail: str) -> list[Received]:
        return [one for one in self.received if one.topic.endswith("/" + tail)]

    def seqs(self, lane: str) -> list[int]:
        return [one.json["seq"] for one in self.on(lane)]

    def publish(self, topic: str, payload: bytes = b"", *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain)

    async def until(self, true: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not true():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not within {timeout_s} s: {what}") from None

    def note(self, message: mqtt.MQTTMessage) -> None:
        with self._lock:
            self._received.append(Received(message.topic, bytes(message.payload), message.retain))


@contextlib.asynccontextmanager
async def subscriber(
    port: int, topic: str = "#", *, qos: int = 1, protocol: int = 5, host: str = "127.0.0.1"
) -> AsyncIterator[Subscriber]:
    """Yields once the subscription is granted.

    *qos* 0 where the broker is killed: with QoS 1 paho closes the socket as soon as one of its own PUBACKs cannot be
    sent any more, and throws away what it has not yet read.
    """
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        protocol=mqtt.MQTTv5 if protocol == 5 else mqtt.MQTTv311,
        reconnect_on_failure=False,
    )
    seen = Subscriber(client)
    granted = threading.Event()
    client.on_connect = lambda client, *_: client.subscribe(topic, qos=qos)
    client.on_subscribe = lambda *_: granted.set()
    client.on_disconnect = lambda *_: seen.lost.set()
    client.on_message = lambda _client, _userdata, message: seen.note(message)
    await asyncio.to_thread(client.connect, host, port)
    client.loop_start()
    try:
        assert await asyncio.to_thread(granted.wait, 10)
        yield seen
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)
