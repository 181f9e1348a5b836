"""ThingsBoard's MQTT gateway API.  Pure.  What maps to what: README.md.

Source: ThingsBoard reference, "MQTT Gateway API" and "MQTT Device API".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gateway.envelope import Envelope
from gateway.model import Lane
from gateway.uplink.contract import client_id
from gateway.uplink.dialect import Asked, Heard, Hello, Incoming, Outgoing, Reply, Subject
from gateway.uplink.dialects.common import (
    READINGS,
    Form,
    Item,
    Values,
    alarm_values,
    asked,
    device_values,
    encoded,
    event_values,
    fitted,
    health_values,
    items_of,
    json_object,
    merged,
    packed,
    reading_values,
    reply_values,
    request_id,
    split_point,
)

LIMIT_BYTES = 8196
"""The largest message that ThingsBoard's own gateway sends, unless it is told otherwise."""

CONNECT = "v1/gateway/connect"
DISCONNECT = "v1/gateway/disconnect"
TELEMETRY = "v1/gateway/telemetry"
ATTRIBUTES = "v1/gateway/attributes"
RPC = "v1/gateway/rpc"
OWN_TELEMETRY = "v1/devices/me/telemetry"
OWN_ATTRIBUTES = "v1/devices/me/attributes"
OWN_RPC = "v1/devices/me/rpc/request/"
OWN_RPC_RESPONSE = "v1/devices/me/rpc/response/"

_RPC_ID = re.compile(r"[A-Za-z0-9-]{1,48}")
_LONGEST_NAME = 255  # characters of a device's name on the platform
_OWN = ""  # stands for the gateway itself where a device's name would; no device has an empty one


def _telemetry_opening(device: str) -> bytes:
    return encoded(device) + b":["


def _attributes_opening(device: str) -> bytes:
    return encoded(device) + b":{"


_TELEMETRY_FORM = Form(b"{", _telemetry_opening, b"]", b"}")
_ATTRIBUTES_FORM = Form(b"{", _attributes_opening, b"}", b"}")
_OWN_TELEMETRY_FORM = Form(b"[", lambda _: b"", b"", b"]")
_OWN_ATTRIBUTES_FORM = Form(b"{", lambda _: b"", b"", b"}")


class ThingsBoard:
    """One connection, many devices.  The access token is the user name of the uplink's configuration."""

    receipts = False

    def __init__(self, subject: Subject, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._subject = subject
        self._limit_bytes = limit_bytes
        self._prefix = f"{subject.identity.site}.{subject.identity.gateway}."

    def name(self, device: str) -> str:
        """A device's name on the platform, where names are unique among all customers' devices."""
        return self._prefix + device

    # ------------------------------------------------------------------ what is said of ourselves

    def hello(self) -> Hello:
        return Hello(client_id(self._subject.identity, self._subject.uplink), (RPC, OWN_RPC + "+"))

    def introduce(self) -> Sequence[Outgoing]:
        identity = self._subject.identity
        own = {
            "site": identity.site,
            "gateway": identity.gateway,
            "version": identity.version,
            "config": identity.config_digest,
            "bootId": identity.boot_id,
            "epoch": self._subject.epoch(),
            "startedMs": self._subject.started_ms(),
        }
        connects = (
            Outgoing(CONNECT, encoded({"device": self.name(device.id), "type": device.kind}))
            for device in self._subject.devices
        )
        return [*self._attributes([(None, own)]), *connects]

    def catalog(self) -> Sequence[Outgoing]:
        return list(self._attributes((device.id, device_values(device)) for device in self._subject.devices))

    def health(self, snapshot: Mapping[str, Any]) -> Sequence[Outgoing]:
        time_ms = snapshot.get("t", self._subject.clock.now_ms())
        figures = [(None, time_ms, {key: value}) for key, value in health_values(snapshot).items()]
        return list(self._telemetry(figures))

    def farewell(self) -> Sequence[Outgoing]:
        return [Outgoing(DISCONNECT, encoded({"device": self.name(device.id)})) for device in self._subject.devices]

    # ------------------------------------------------------------------ envelopes

    def encode(self, envelope: Envelope, *, sent_ms: int, replay: bool) -> Sequence[Outgoing]:
        items = items_of(envelope)
        if envelope.lane in READINGS:
            return list(self._telemetry((split_point(item["p"])[0], item["t"], reading_values(item)) for item in items))
        if envelope.lane is Lane.EVENT:
            return list(self._telemetry((item["device"], item["t"], event_values(item)) for item in items))
        if envelope.lane is Lane.GAP:
            return list(self._telemetry(map(_gap, items)))
        changes = self._telemetry((item["device"], item["t"], alarm_values(item)) for item in items)
        # The state as it is now stays readable on the device: a time series that has been thinned has forgotten it.
        states = [(item["device"], {f"alarmState_{item['rule']}": item["state"]}) for item in items]
        return [*changes, *self._attributes(states)]

    def _telemetry(self, groups: Iterable[tuple[str | None, int, Values]]) -> Iterator[Outgoing]:
        theirs: dict[str, list[tuple[int, Values]]] = {}
        ours: list[tuple[int, Values]] = []
        for device, time_ms, values in groups:
            said = ours if device is None else theirs.setdefault(self.name(device), [])
            said.append((time_ms, values))
        for message in packed(self._entries(theirs, _TELEMETRY_FORM), _TELEMETRY_FORM, self._limit_bytes):
            yield Outgoing(TELEMETRY, message)
        entries = self._entries({_OWN: ours}, _OWN_TELEMETRY_FORM)
        for message in packed(entries, _OWN_TELEMETRY_FORM, self._limit_bytes):
            yield Outgoing(OWN_TELEMETRY, message)

    def _entries(self, devices: Mapping[str, Sequence[tuple[int, Values]]], form: Form) -> Iterator[tuple[str, bytes]]:
        for name, said in devices.items():
            room_bytes = form.room(name, self._limit_bytes)
            for time_ms, groups in merged(said):
                head = b'{"ts":%d,"values":' % time_ms
                for text in fitted(groups, encoded, room_bytes - len(head) - 1):
                    yield name, head + text + b"}"

    def _attributes(self, devices: Iterable[tuple[str | None, Values]]) -> Iterator[Outgoing]:
        theirs: dict[str, dict[str, Any]] = {}
        ours: dict[str, Any] = {}
        for device, values in devices:  # one value for each key: the last one said
            (ours if device is None else theirs.setdefault(self.name(device), {})).update(values)
        for message in packed(self._pairs(theirs, _ATTRIBUTES_FORM), _ATTRIBUTES_FORM, self._limit_bytes):
            yield Outgoing(ATTRIBUTES, message)
        for message in packed(self._pairs({_OWN: ours}, _OWN_ATTRIBUTES_FORM), _OWN_ATTRIBUTES_FORM, self._limit_bytes):
            yield Outgoing(OWN_ATTRIBUTES, message)

    def _pairs(self, devices: Mapping[str, Values], form: Form) -> Iterator[tuple[str, bytes]]:
        for name, values in devices.items():
            room_bytes = form.room(name, self._limit_bytes)
            pairs = [{key: value} for key, value in values.items()]
            texts = fitted(pairs, lambda group: encoded(group)[1:-1], room_bytes) if pairs else ()
            yield from ((name, text) for text in texts)

    # ------------------------------------------------------------------ commands

    def hear(self, message: Incoming) -> Sequence[Heard]:
        """Shared attributes are not subscribed to, and not obeyed where the platform sends them all the same."""
        if message.topic == RPC:
            return self._hear_for_device(message)
        if message.topic.startswith(OWN_RPC):
            return self._hear_for_gateway(message, message.topic.removeprefix(OWN_RPC))
        return ()

    def _hear_for_device(self, message: Incoming) -> Sequence[Heard]:
        outer = json_object(message.payload)
        data = None if outer is None else outer.get("data")
        if outer is None or not isinstance(data, dict):
            return ()
        device, rpc, method = outer.get("device"), data.get("id"), data.get("method")
        # our own answers come by on the same topic where a broker is not ThingsBoard: they have no method
        if not isinstance(device, str) or not isinstance(method, str) or not _is_rpc_id(rpc):
            return ()
        if len(device) > _LONGEST_NAME:
            return ()
        named = request_id("gw-", str(rpc))
        return [asked(self._subject.uplink, named, method, data.get("params"), message, (device, rpc))]

    def _hear_for_gateway(self, message: Incoming, rpc: str) -> Sequence[Heard]:
        call = json_object(message.payload)
        if call is None or not _RPC_ID.fullmatch(rpc) or not isinstance(method := call.get("method"), str):
            return ()
        named = request_id("me-", rpc)
        return [asked(self._subject.uplink, named, method, call.get("params"), message, (None, rpc))]

    def answer(self, asked: Asked, reply: Reply) -> Sequence[Outgoing]:
        device, rpc = asked.context
        if device is None:
            (text,) = fitted([reply_values(reply)], encoded, self._limit_bytes)
            return [Outgoing(OWN_RPC_RESPONSE + rpc, text)]

        def build(values: Values) -> bytes:
            return encoded({"device": device, "id": rpc, "data": values})

        (text,) = fitted([reply_values(reply)], build, self._limit_bytes)
        return [Outgoing(RPC, text)]


def _is_rpc_id(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63) or (
        isinstance(value, str) and _RPC_ID.fullmatch(value) is not None
    )


def _gap(item: Item) -> tuple[str | None, int, Values]:
    """Of a point: on its device.  Of a lane: the gateway's own."""
    if "point" not in item:
        return None, item["from_ms"], {"gapOfLane": dict(item)}
    device, name = split_point(item["point"])
    return device, item["from_ms"], {name + "Gap": {key: item[key] for key in ("from_ms", "to_ms", "reason")}}
