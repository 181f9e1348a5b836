"""The platform's side: writes down every value that arrives, and answers what ThingsBoard's server would answer.

python -m tests.bench.peer.ledger PORT   says [] when it listens, then obeys:

    "status"                          -> what has arrived so far
    {"mark": counts}                  -> the same; the first value read later than these is timed
    {"from": counts, "to": counts}    -> how many values that the field gave in between have never arrived

Its session outlives its connection and the broker's restart, so what the broker has acknowledged reaches it.
A value is named by its register and by the count that it carries; see field.py.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

USER = "platform"
LIMITS = {
    "maxPayloadSize": 65536,
    "maxInflightMessages": 100,
    "payloadType": "JSON",
    "rateLimits": {"messages": "", "telemetryMessages": "", "telemetryDataPoints": ""},
    "gatewayRateLimits": {"messages": "", "telemetryMessages": "", "telemetryDataPoints": ""},
}
"""What ThingsBoard Community Edition answers to getSessionLimits with its own defaults: no rate limits."""
RPC, RPC_ANSWER = "v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"
OWN_ATTRIBUTES, OWN_ANSWER = "v1/devices/me/attributes/request/", "v1/devices/me/attributes/response/"
ATTRIBUTES, ATTRIBUTES_ANSWER = "v1/gateway/attributes/request", "v1/gateway/attributes/response"


class Ledger:
    """Called by paho's thread and by ours; one lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._seen: defaultdict[tuple[str, str], bytearray] = defaultdict(lambda: bytearray(1024))
        """(device, register) -> for each count 1 when it has arrived."""
        self._values = self._distinct = self._repeated = self._messages = self._bytes = 0
        self._marked: Mapping[tuple[str, str], int] = {}
        self._first_s: float | None = None
        self._last_s = 0.0

    def mark(self, counts: Mapping[str, Sequence[int]]) -> None:
        with self.lock:
            self._first_s = None
            self._marked = {
                (f"d{port}", f"v{n}"): count for port, each in counts.items() for n, count in enumerate(each)
            }

    def note(self, topic: str, payload: bytes, *, again: bool) -> None:
        """*again*: the broker says that it may have sent us this before, which is nobody's duplicate."""
        with self.lock:
            before = self._distinct
            self._messages += 1
            self._bytes += len(payload)
            for device, register, count in values(topic, payload):
                self._note_value(device, register, count, again)
            if self._distinct > before:
                self._last_s = time.monotonic()

    def _note_value(self, device: str, register: str, count: int, again: bool) -> None:
        seen = self._seen[device, register]
        if count >= len(seen):
            seen.extend(bytes(count + 1024 - len(seen)))
        self._values += 1
        if seen[count]:
            self._repeated += not again
        else:
            seen[count] = 1
            self._distinct += 1
            # Not what the broker has kept for us while it was stopped: that was read before.
            if self._first_s is None and count > self._marked.get((device, register), 0):
                self._first_s = time.monotonic()

    def status(self) -> Mapping[str, Any]:
        with self.lock:
            return {
                "values": self._values,
                "distinct": self._distinct,
                "repeated": self._repeated,
                "messages": self._messages,
                "bytes": self._bytes,
                "devices": len({device for device, _ in self._seen}),
                "first_s": self._first_s,
                "last_s": self._last_s,
            }

    def missing(self, start: Mapping[str, Sequence[int]], end: Mapping[str, Sequence[int]]) -> int:
        with self.lock:
            return sum(
                last - first - self._arrived(f"d{port}", f"v{n}", first, last)
                for port, counts in end.items()
                for n, (first, last) in enumerate(zip(start[port], counts, strict=True))
            )

    def _arrived(self, device: str, register: str, first: int, last: int) -> int:
        return sum(self._seen[device, register][first + 1 : last + 1])


def values(topic: str, payload: bytes) -> Iterator[tuple[str, str, int]]:
    """(device, register, count) of each value in a message of either product."""
    if topic == "v1/gateway/telemetry":
        for device, entries in json.loads(payload).items():
            for entry in entries:
                for register, count in entry["values"].items():
                    yield device, register, count
    elif topic.startswith("compound/") and topic.split("/")[4] == "telemetry":
        for item in json.loads(payload)["items"]:
            if item["v"] is not None:  # else the device has not answered
                device, _, register = item["p"].partition(".")
                yield device, register, item["v"]


def answer(client: mqtt.Client, topic: str, payload: bytes) -> None:
    """What a gateway waits for before it sends."""
    if topic.startswith(RPC) and json.loads(payload).get("method") == "getSessionLimits":
        client.publish(RPC_ANSWER + topic.removeprefix(RPC), json.dumps(LIMITS), qos=1)
    elif topic.startswith(OWN_ATTRIBUTES):
        client.publish(OWN_ANSWER + topic.removeprefix(OWN_ATTRIBUTES), "{}", qos=1)
    elif topic == ATTRIBUTES:
        asked = json.loads(payload)
        client.publish(ATTRIBUTES_ANSWER, json.dumps({"id": asked["id"], "device": asked["device"], "values": {}}))


def subscriber(ledger: Ledger, subscribed: threading.Event) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="ledger", protocol=mqtt.MQTTv5)
    client.username_pw_set(USER)
    # Quicker than any gateway under test comes back, so that the first value after an outage is timed.
    client._reconnect_min_delay = client._reconnect_max_delay = 0.05  # type: ignore[assignment]

    def on_message(client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        ledger.note(message.topic, payload, again=message.dup)
        answer(client, message.topic, payload)

    client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = on_message
    return client


def main(port: int) -> None:
    # A ledger that has stopped writing would look like a loss.
    threading.excepthook = lambda failure: (threading.__excepthook__(failure), os._exit(1))
    ledger, subscribed = Ledger(), threading.Event()
    client = subscriber(ledger, subscribed)
    lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    lasting.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", port, clean_start=False, properties=lasting)
    client.loop_start()
    if not subscribed.wait(10):
        sys.exit("the broker does not answer")
    _say([])
    for line in sys.stdin:
        _say(_obey(ledger, json.loads(line)))
    client.disconnect()
    client.loop_stop()


def _obey(ledger: Ledger, command: Any) -> Any:
    if command == "status":
        return ledger.status()
    if "mark" in command:
        ledger.mark(command["mark"])
        return ledger.status()
    return ledger.missing(command["from"], command["to"])


def _say(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
