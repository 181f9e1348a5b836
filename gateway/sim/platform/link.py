"""One connection to the broker: paho in its own thread.

A link is used once, so that no acknowledgement of an old connection can be taken for one of the next.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.errors import GatewayError

_SESSION_S = 7 * 86400
"""How long an MQTT 5 broker keeps what comes while nobody is here."""
_UNSUPPORTED_VERSION = 0x84
_MOST_QUEUED = 1000
"""Receipts that may wait for the broker."""


class LinkFailed(GatewayError):
    """There is no connection, or there is none any more.  *version*: perhaps another MQTT version would do."""

    def __init__(self, message: str, *, version: bool = False) -> None:
        super().__init__(message)
        self.version = version


@dataclass(frozen=True, slots=True)
class Options:
    """*name*: of the MQTT session; two ingesters need two names.  *window*: messages that may wait for their commit.

    *patience_s*: for each of connecting, CONNACK and SUBACK.
    """

    host: str
    port: int
    name: str
    filters: tuple[str, ...]
    window: int = 500
    patience_s: float = 10.0
    username: str | None = None
    password: str | None = None
    cafile: Path | None = None


class Delivery(NamedTuple):
    topic: str
    payload: bytes
    settle: Callable[[], None]
    """To be called once, when the message is stored or given up: the broker may forget it, and there is room again."""


class Link:
    """``async with`` it (LinkFailed); *on_delivery* is then called on the event loop, in the order of arrival."""

    def __init__(
        self, options: Options, on_delivery: Callable[[Delivery], None], room: threading.Semaphore, *, five: bool
    ) -> None:
        """*room*: for messages that are not settled; it outlives the link, as they do."""
        self._options = options
        self._on_delivery = on_delivery
        self._five = five
        self._loop = asyncio.get_running_loop()
        self._room = room
        self._closing = threading.Event()
        self._connack: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._suback: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        """Why the connection has ended."""
        self._client = self._new_client()

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
            await self._subscribe()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._close()

    def publish(self, topic: str, payload: bytes) -> bool:
        """QoS 1.  False: not now."""
        return self._client.publish(topic, payload, qos=1).rc is MQTTErrorCode.MQTT_ERR_SUCCESS

    def _new_client(self) -> paho.Client:
        options = self._options
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.name,
            protocol=paho.MQTTv5 if self._five else paho.MQTTv311,
            clean_session=None if self._five else False,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_queued_messages_set(_MOST_QUEUED)
        if options.username is not None:
            client.username_pw_set(options.username, options.password)
        if options.cafile is not None:
            client.tls_set(str(options.cafile))
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        client.on_message = self._message
        return client

    async def _connect(self) -> None:
        properties = None
        if self._five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho types all but this
            properties.SessionExpiryInterval = _SESSION_S
            properties.ReceiveMaximum = self._options.window
        self._client.connect_timeout = self._options.patience_s
        try:
            await asyncio.to_thread(
                self._client.connect,
                self._options.host,
                self._options.port,
                keepalive=30,
                clean_start=False if self._five else paho.MQTT_CLEAN_START_FIRST_ONLY,
                properties=properties,
            )
        except (OSError, ValueError) as exc:
            raise LinkFailed(f"{self._options.host}:{self._options.port}: {exc}") from exc
        self._client.loop_start()
        await self._either(self._connack)
        if not self._connack.done():  # some brokers of MQTT 3.1.1 refuse a CONNECT of MQTT 5 so, some with silence
            raise LinkFailed("the broker does not answer CONNECT", version=True)
        code = self._connack.result()
        if code.is_failure:
            raise LinkFailed(f"the broker refuses: {code}", version=code.value == _UNSUPPORTED_VERSION)

    async def _subscribe(self) -> None:
        self._client.subscribe([(each, 1) for each in self._options.filters])
        await self._either(self._suback)
        if not self._suback.done():
            raise LinkFailed(self.lost.result() if self.lost.done() else "the broker does not answer SUBSCRIBE")
        refused = [str(code) for code in self._suback.result() if code.is_failure]
        if refused:
            raise LinkFailed(f"the broker refuses the subscription: {refused[0]}")

    async def _either(self, answer: asyncio.Future[Any]) -> None:
        """Until the answer is there, the connection is lost, or patience is."""
        waits = (answer, self.lost)
        await asyncio.wait(waits, timeout=self._options.patience_s, return_when=asyncio.FIRST_COMPLETED)

    async def _close(self) -> None:
        self._closing.set()
        client = self._client
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)
        # Without this circle of references paho closes its sockets when the last one goes.
        client.on_connect = client.on_subscribe = client.on_disconnect = client.on_message = None
        if not self.lost.done():
            self.lost.set_result("closed")

    # paho calls these in its own thread

    def _connected(
        self, client: paho.Client, userdata: object, flags: object, code: ReasonCode, properties: object
    ) -> None:
        self._tell(_resolve, self._connack, code)

    def _subscribed(
        self, client: paho.Client, userdata: object, mid: int, codes: list[ReasonCode], properties: object
    ) -> None:
        self._tell(_resolve, self._suback, codes)

    def _disconnected(
        self, client: paho.Client, userdata: object, flags: object, code: ReasonCode, properties: object
    ) -> None:
        self._tell(_resolve, self.lost, f"the connection is lost: {code}")

    def _message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        """Waits while too much is uncommitted: then nobody reads the socket, and TCP holds the broker back.

        Receive Maximum alone would do for MQTT 5 only.
        """
        while not self._room.acquire(timeout=0.1):
            if self._closing.is_set():
                return
        mid, qos = message.mid, message.qos

        def settle() -> None:
            self._room.release()
            client.ack(mid, qos)

        self._tell(self._on_delivery, Delivery(message.topic, bytes(message.payload), settle))

    def _tell(self, function: Callable[..., object], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)


def _resolve(future: asyncio.Future[object], result: object) -> None:
    if not future.done():
        future.set_result(result)
