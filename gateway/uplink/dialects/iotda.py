"""Huawei Cloud IoTDA: a gateway with sub-devices, over MQTT.  Pure.  What maps to what: README.md.

Source: Huawei Cloud, IoTDA API Reference, "MQTT(S) API on the device side": CONNECT authentication (iot_06_v5_3009),
Gateway Reporting Device Properties in Batches (3006), Device Reporting a Message (3016), Platform Delivering a Command
(3014), Gateway Updating Child Device Status (3022).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.config.models import IotdaModel
from gateway.envelope import Envelope
from gateway.model import Lane
from gateway.uplink.dialect import Asked, Heard, Hello, Incoming, Outgoing, Reply, Subject
from gateway.uplink.dialects.common import (
    READINGS,
    Form,
    Item,
    Latest,
    Values,
    asked,
    device_values,
    encoded,
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

MOST_DEVICES = 100
"""Sub-devices in one report, and in one update of their status."""
LIMIT_BYTES = 60 * 1024
"""Of one message.  The platform takes 1 MB, and 1 MB a second of one connection."""
MOST_MESSAGES = 10
"""Of one envelope of alarms, events or gaps: the platform takes 50 messages a second of one connection."""
UNKNOWN_KIND = "unknown"
"""The service of a device that the configuration has no more, whose readings were still waiting."""

_REQUEST = re.compile(r"sys/commands/request_id=([A-Za-z0-9_-]{1,128})")
_RESULT_CODES: Mapping[str, int] = {"ok": 0, "rejected": 1, "failed": 2, "expired": 3, "unknown": 4}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_300_799_999  # 9999-12-31: what the format can say


class Iotda:
    """*secret*: the gateway's own, as the platform has given it out; asked for anew for each connection."""

    receipts = False

    def __init__(
        self, subject: Subject, model: IotdaModel, secret: Callable[[], str], *, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self._subject = subject
        self._gateway = model.device_id
        self._sub_devices = model.sub_devices
        self._secret = secret
        self._limit_bytes = limit_bytes
        self._kinds = {device.id: device.kind for device in subject.devices}
        self._root = f"$oc/devices/{model.device_id}/"
        self._properties = Form(b'{"devices":[', _properties_opening, b"]}", b"]}", MOST_DEVICES)
        # Kept from one connection to the next: who is silent is known before the first reading of the new one.
        self._latest = Latest()
        self._reachable: dict[str, bool] = {}

    def sub_device(self, device: str) -> str:
        """A device's id on the platform."""
        return self._sub_devices.get(device, f"{self._gateway}_{device}")

    # ------------------------------------------------------------------ what is said of ourselves

    def hello(self) -> Hello:
        """The password holds for this hour; the 0 before the hour asks the platform not to compare it with its own
        clock, for a box may have to say something before it knows the time."""
        hour = _time(self._subject.clock.now_ms()).strftime("%Y%m%d%H")
        password = hmac.new(hour.encode(), self._secret().encode(), hashlib.sha256).hexdigest()
        return Hello(
            f"{self._gateway}_0_0_{hour}",
            (self._root + "sys/commands/#",),
            username=self._gateway,
            password=password,
        )

    def introduce(self) -> Sequence[Outgoing]:
        """Online is what is not known to be silent."""
        states = {device.id: self._reachable.get(device.id, True) for device in self._subject.devices}
        return list(self._statuses(states))

    def catalog(self) -> Sequence[Outgoing]:
        """A product's model is written on the platform; this tells whoever writes it what there is."""
        devices = (
            {"device": device.id, "deviceId": self.sub_device(device.id), **device_values(device)}
            for device in self._subject.devices
        )
        return list(self._messages("catalog", None, devices))

    def health(self, snapshot: Mapping[str, Any]) -> Sequence[Outgoing]:
        time = _event_time(snapshot.get("t", self._subject.clock.now_ms()))

        def build(values: Values) -> bytes:
            return encoded({"services": [{"service_id": "gateway", "properties": values, "event_time": time}]})

        figures = [{key: value} for key, value in health_values(snapshot).items()]
        topic = self._root + "sys/properties/report"
        return [Outgoing(topic, text) for text in fitted(figures, build, self._limit_bytes)]

    def farewell(self) -> Sequence[Outgoing]:
        return list(self._statuses({device.id: False for device in self._subject.devices}))

    def _statuses(self, states: Mapping[str, bool]) -> Iterator[Outgoing]:
        every = [
            {"device_id": self.sub_device(device), "status": "ONLINE" if online else "OFFLINE"}
            for device, online in states.items()
        ]
        for first in range(0, len(every), MOST_DEVICES):
            event = {
                "service_id": "$sub_device_manager",
                "event_type": "sub_device_update_status",
                "event_time": _time(self._subject.clock.now_ms()).strftime("%Y%m%dT%H%M%SZ"),
                "paras": {"device_statuses": every[first : first + MOST_DEVICES]},
            }
            yield Outgoing(self._root + "sys/events/up", encoded({"services": [event]}))

    # ------------------------------------------------------------------ envelopes

    def encode(self, envelope: Envelope, *, sent_ms: int, replay: bool) -> Sequence[Outgoing]:
        items = items_of(envelope)
        if envelope.lane in READINGS:
            return [*self._changed(items), *self._report(items)]
        name = {Lane.ALARM: "alarm", Lane.EVENT: "event", Lane.GAP: "gap"}[envelope.lane]
        return list(self._said(name, items))

    def _changed(self, items: Iterable[Item]) -> Iterator[Outgoing]:
        """Devices that have fallen silent or answer again."""
        news = self._latest.take(items, self._subject.clock.now_ms())
        states = {device: self._latest.answers(device) for device in news if device in self._kinds}
        changed = {
            device: answers
            for device, answers in states.items()
            if answers is not None and answers != self._reachable.get(device, True)
        }
        self._reachable |= changed
        yield from self._statuses(changed)

    def _report(self, items: Iterable[Item]) -> Iterator[Outgoing]:
        by_device: dict[str, list[tuple[int, Values]]] = {}
        for item in items:
            said = by_device.setdefault(split_point(item["p"])[0], [])
            said.append((item["t"], reading_values(item)))
        for message in packed(self._services(by_device), self._properties, self._limit_bytes):
            yield Outgoing(self._root + "sys/gateway/sub_devices/properties/report", message)

    def _services(self, devices: Mapping[str, Sequence[tuple[int, Values]]]) -> Iterator[tuple[str, bytes]]:
        for device, said in devices.items():
            name = self.sub_device(device)
            room_bytes = self._properties.room(name, self._limit_bytes)
            service = encoded(self._kinds.get(device, UNKNOWN_KIND))
            for time_ms, groups in merged(said):
                head = b'{"service_id":' + service + b',"properties":'
                tail = b',"event_time":"' + _event_time(time_ms).encode() + b'"}'
                for text in fitted(groups, encoded, room_bytes - len(head) - len(tail)):
                    yield name, head + text + tail

    def _said(self, name: str, items: Iterable[Item]) -> Iterator[Outgoing]:
        """By device; all in one, as the gateway's own, where that were too many.  Messages need no product model, and
        the platform's rules forward them as they come."""
        by_device: dict[str | None, list[Item]] = {}
        for item in items:
            device = split_point(item["point"])[0] if "point" in item else item.get("device")
            by_device.setdefault(device, []).append(item)
        if len(by_device) > MOST_MESSAGES:
            by_device = {None: [item for said in by_device.values() for item in said]}
        for device, said in by_device.items():
            yield from self._messages(name, device, said)

    def _messages(self, name: str, device: str | None, items: Iterable[Item]) -> Iterator[Outgoing]:
        about = {} if device is None else {"object_device_id": self.sub_device(device)}
        head = encoded({**about, "name": name})[:-1] + b',"content":{"items":['
        form = Form(head, lambda _: b"", b"", b"]}}")
        room_bytes = form.room("", self._limit_bytes)
        fragments = (("", text) for item in items for text in fitted([item], encoded, room_bytes))
        for message in packed(fragments, form, self._limit_bytes):
            yield Outgoing(self._root + "sys/messages/up", message)

    # ------------------------------------------------------------------ commands

    def hear(self, message: Incoming) -> Sequence[Heard]:
        """Properties that the platform sets, messages and its own events are not subscribed to, and not obeyed."""
        if not message.topic.startswith(self._root):
            return ()
        found = _REQUEST.fullmatch(message.topic.removeprefix(self._root))
        call = None if found is None else json_object(message.payload)
        if found is None or call is None or not isinstance(method := call.get("command_name"), str):
            return ()
        paras = call.get("paras")
        document = paras.get("document") if isinstance(paras, dict) else None
        named = request_id("", found[1])
        return [asked(self._subject.uplink, named, method, document, message, (found[1], method[:64]))]

    def answer(self, asked: Asked, reply: Reply) -> Sequence[Outgoing]:
        request, method = asked.context

        def build(values: Values) -> bytes:
            code = _RESULT_CODES.get(reply.status, _RESULT_CODES["unknown"])
            return encoded({"result_code": code, "response_name": method, "paras": values})

        (text,) = fitted([reply_values(reply)], build, self._limit_bytes)
        return [Outgoing(self._root + f"sys/commands/response/request_id={request}", text)]


def _properties_opening(device: str) -> bytes:
    return b'{"device_id":' + encoded(device) + b',"services":['


def _time(time_ms: int) -> datetime:
    """A clock that was wrong may have said anything; what the format cannot say becomes its first or last instant."""
    return _EPOCH + timedelta(milliseconds=min(max(time_ms, 0), _LAST_MS))


def _event_time(time_ms: int) -> str:
    return _time(time_ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{min(max(time_ms, 0), _LAST_MS) % 1000:03d}Z"
