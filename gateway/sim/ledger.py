"""The platform's side of the bargain: a subscriber that counts what arrives and says what is missing.

It knows nothing of the gateway's insides.  Completeness is proved from the numbers in the envelopes alone, as any
platform can do it: per (epoch, lane) the sequence runs 1, 2, 3 ...; a number that never came and was not announced on
``gap`` is a loss.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.model import AlarmState, Lane
from gateway.sim.account import Account
from gateway.sim.broker import BrokerFailed, MqttVersion

Stream = tuple[str, str]
"""(epoch, lane)"""
_ENVELOPES = frozenset(str(lane) for lane in Lane)


@dataclass(frozen=True, slots=True)
class Raised:
    """One occurrence of an alarm, as announced."""

    id: str
    rule: str
    device: str | None
    priority: str
    zh: str
    en: str
    t_ms: int


@dataclass(slots=True)
class Ledger:
    """The account.  Pure: feed it messages, ask it for the balance."""

    readings: int = 0
    duplicates: int = 0
    """Envelopes that came again, as they may after a reconnect."""
    contradictions: list[tuple[str, str, int]] = field(default_factory=list)
    """(epoch, lane, seq) that came twice with different content, which the contract forbids."""
    malformed: list[str] = field(default_factory=list)
    """Topics of messages that are not what the contract promises."""
    gaps: list[dict[str, Any]] = field(default_factory=list)
    alarms: dict[str, Raised] = field(default_factory=dict)
    """By id, in the order they were raised."""
    active: dict[str, str] = field(default_factory=dict)
    """Id of every alarm that is not normal -> state."""
    latest: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Newest reading per point."""
    status: dict[str, Any] = field(default_factory=dict)
    health: dict[str, Any] = field(default_factory=dict)
    _digests: dict[Stream, dict[int, bytes]] = field(default_factory=dict)
    _accounts: dict[Stream, Account] = field(default_factory=dict)

    @property
    def envelopes(self) -> int:
        return sum(len(numbers) for numbers in self._digests.values())

    def receive(self, topic: str, payload: bytes) -> None:
        """One message.  *topic*: its last level says what it is; unknown ones are ignored, as the contract asks."""
        kind = topic.rsplit("/", 1)[-1]
        if kind not in _ENVELOPES and kind not in ("status", "health"):
            return
        try:
            message = json.loads(payload)
            if kind in _ENVELOPES:
                self._envelope(kind, message)
                return
        except (ValueError, KeyError, TypeError):
            self.malformed.append(topic)
            return
        if kind == "status":
            self.status = message
        else:
            self.health = message

    def _envelope(self, lane: str, message: Mapping[str, Any]) -> None:
        if message["lane"] != lane:
            raise ValueError("the topic and the envelope name different lanes")
        stream, seq, items = (message["epoch"], lane), int(message["seq"]), message["items"]
        content = hashlib.sha256(json.dumps(items, sort_keys=True).encode()).digest()
        seen = self._digests.setdefault(stream, {})
        if seq in seen:
            self.duplicates += 1
            if seen[seq] != content:
                self.contradictions.append((*stream, seq))
            return
        seen[seq] = content
        self._account(stream).stored.add(seq)
        for item in items:
            self._item(stream, item)

    def _item(self, stream: Stream, item: dict[str, Any]) -> None:
        epoch, lane = stream
        if lane == Lane.ALARM:
            self._alarm(item)
        elif lane == Lane.GAP:
            self.gaps.append(item)
            if item.get("from_seq") is not None:
                self._account((epoch, item["lane"])).announced.add(item["from_seq"], item["to_seq"])
        elif "p" in item:
            self.readings += 1
            newest = self.latest.get(item["p"])
            if newest is None or item["t"] >= newest["t"]:
                self.latest[item["p"]] = item

    def _alarm(self, item: Mapping[str, Any]) -> None:
        if item["state"] == AlarmState.UNACK:
            text = item["message"]
            self.alarms[item["id"]] = Raised(
                item["id"], item["rule"], item["device"], item["priority"], text["zh"], text["en"], item["t"]
            )
        if item["state"] in (AlarmState.NORMAL, AlarmState.PENDING):
            self.active.pop(item["id"], None)
        else:
            self.active[item["id"]] = item["state"]

    def _account(self, stream: Stream) -> Account:
        return self._accounts.setdefault(stream, Account())

    def missing(self, last: Mapping[Stream, int] | None = None) -> list[tuple[str, str, int]]:
        """(epoch, lane, seq) of every number that never came and that no gap record announced.

        last: the highest number given out in each stream, as the gateway's store knows it; without it the highest
        that came, and then a loss at the very end cannot be seen.
        """
        known = {stream: account.last for stream, account in self._accounts.items()}
        for stream, highest in (last or {}).items():
            known[stream] = max(known.get(stream, 0), highest)
        return [
            (*stream, seq)
            for stream, highest in known.items()
            for first, end in self._accounts.get(stream, Account()).missing(highest)
            for seq in range(first, end + 1)
        ]

    def lost(self, last: Mapping[Stream, int] | None = None) -> int:
        """How many envelopes the platform should have and has not; *last* as in ``missing``."""
        return len(self.missing(last))


class Subscriber:
    """``async with Subscriber(...)``: fills a ledger from a broker, through a session that survives disconnections."""

    connect_timeout_s = 20.0

    def __init__(self, host: str, port: int, mqtt: MqttVersion, root: str, ledger: Ledger, *, name: str) -> None:
        self._address = (host, port)
        self._root = root
        self._ledger = ledger
        self._five = mqtt == "5"
        self._ready = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=paho.MQTTv5 if self._five else paho.MQTTv311,
            clean_session=None if self._five else False,
        )
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._message
        self._client.reconnect_delay_set(1, 1)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        if self._five:
            session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho types all but this
            session.SessionExpiryInterval = 3600
            self._client.connect_async(*self._address, keepalive=20, clean_start=False, properties=session)
        else:
            self._client.connect_async(*self._address, keepalive=20)
        self._client.loop_start()
        try:
            await self.wait_ready()
        except (BrokerFailed, asyncio.CancelledError):
            self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stop()

    async def wait_ready(self) -> None:
        """Until the subscription stands (again).  Raises BrokerFailed."""
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                await self._ready.wait()
        except TimeoutError:
            raise BrokerFailed("the ledger cannot subscribe at the broker") from None

    async def quiet(self, for_s: float, limit_s: float) -> None:
        """Until nothing new has come for *for_s* seconds, at most *limit_s*."""
        assert self._loop is not None
        end = self._loop.time() + limit_s
        count = -1
        while count != self._count() and self._loop.time() < end:
            count = self._count()
            await asyncio.sleep(for_s)

    async def complete(self, last: Mapping[Stream, int], limit_s: float) -> None:
        """Until nothing is missing up to *last* (as in ``Ledger.missing``), at most *limit_s*."""
        assert self._loop is not None
        end = self._loop.time() + limit_s
        while self._ledger.missing(last) and self._loop.time() < end:  # noqa: ASYNC110 (no event says it)
            await asyncio.sleep(0.1)

    def _count(self) -> int:
        return self._ledger.envelopes + self._ledger.duplicates

    def _stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    # paho calls these in its own thread

    def _connected(
        self, client: paho.Client, userdata: object, flags: paho.ConnectFlags, code: ReasonCode, properties: object
    ) -> None:
        if not code.is_failure:
            client.subscribe(f"{self._root}/#", qos=1)

    def _disconnected(
        self, client: paho.Client, userdata: object, flags: object, code: ReasonCode, properties: object
    ) -> None:
        self._tell(self._ready.clear)

    def _subscribed(
        self, client: paho.Client, userdata: object, mid: int, codes: list[ReasonCode], properties: object
    ) -> None:
        if not any(code.is_failure for code in codes):
            self._tell(self._ready.set)

    def _message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        self._tell(self._ledger.receive, message.topic, message.payload)

    def _tell(self, function: Callable[..., object], *args: object) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)
