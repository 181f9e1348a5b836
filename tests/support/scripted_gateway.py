"""A gateway reduced to what a platform sees of it: it sends numbered envelopes until the receipts cover all of them.

It believes receipts only; PUBACKs mean nothing to it.  When no receipt comes it sends the oldest open envelope again,
and when the answer does not cover what was sent, everything that is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


class ScriptedGateway:
    """*log*: sequence number -> (topic, payload), all of one lane."""

    def __init__(self, client: mqtt.Client, log: Mapping[int, tuple[str, bytes]], probe_s: float) -> None:
        self.log = log
        self._probe_s = probe_s
        self._lane = next(iter(log.values()))[0].split("/")[4]
        self.receipts: list[dict[str, Any]] = []
        self.taken_back: set[int] = set()
        """Confirmed first and called missing later: of one ingester that would be a lie, of several a late word."""
        self.acked = 0
        """PUBACKs of the broker."""
        self.connected = asyncio.Event()
        self._client = client
        self._settled: set[int] = set()
        self._news = asyncio.Event()

    @property
    def open(self) -> list[int]:
        return sorted(self.log.keys() - self._settled)

    @property
    def named(self) -> list[list[list[int]]]:
        """What each receipt has called missing."""
        return [receipt["missing"] for receipt in self.receipts]

    def send(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._client.publish(*self.log[number], qos=1)

    async def until_acked(self, count: int) -> None:
        async with asyncio.timeout(30):
            while self.acked < count:
                await asyncio.sleep(0.01)

    async def until_receipted(self, limit_s: float = 60.0) -> None:
        try:
            async with asyncio.timeout(limit_s):
                while self.open:
                    await self._one_round()
        except TimeoutError:
            raise AssertionError(f"open: {self.open[:20]}, last receipts: {self.receipts[-3:]}") from None

    async def _one_round(self) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(self._probe_s):
                await self._news.wait()
            return
        except TimeoutError:
            self.send(self.open[:1])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._news.wait()
            self.send(self.open)

    def heard(self, payload: bytes) -> None:
        receipt = json.loads(payload)
        if receipt["lane"] != self._lane:
            return
        self.receipts.append(receipt)
        missing = {number for first, last in receipt["missing"] for number in range(first, last + 1)}
        self.taken_back |= missing & self._settled
        self._settled |= {number for number in self.log if number <= receipt["upto"]} - missing
        self.send(sorted(missing & self.log.keys()))
        self._news.set()


@contextlib.asynccontextmanager
async def scripted_gateway(
    port: int, root: str, log: Mapping[int, tuple[str, bytes]], *, probe_s: float = 0.4
) -> AsyncIterator[ScriptedGateway]:
    """Connected and listening for receipts; comes back when the broker does, with a session that knows nothing."""
    loop = asyncio.get_running_loop()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="gateway", protocol=mqtt.MQTTv5)
    client.reconnect_delay_set(1, 1)
    gateway = ScriptedGateway(client, log, probe_s)

    def tell(function: Any, *args: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(function, *args)

    def acked(*_: object) -> None:
        gateway.acked += 1

    client.on_connect = lambda client, *_: client.subscribe(f"{root}/receipt", qos=1)
    client.on_subscribe = lambda *_: tell(gateway.connected.set)
    client.on_disconnect = lambda *_: tell(gateway.connected.clear)
    client.on_publish = lambda *_: tell(acked)
    client.on_message = lambda _client, _userdata, message: tell(gateway.heard, message.payload)
    await asyncio.to_thread(client.connect, "127.0.0.1", port)
    client.loop_start()
    try:
        async with asyncio.timeout(20):
            await gateway.connected.wait()
        yield gateway
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)
