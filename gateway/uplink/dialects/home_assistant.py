"""Home Assistant, by MQTT discovery of whole devices.  Pure, read-only: there is no command topic.  See README.md.

What Home Assistant shows is now, not what was: of every point only the newest reading is published, retained.
Source: Home Assistant, "MQTT" (device discovery payload, availability, birth message), "MQTT sensor",
"MQTT binary sensor".
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from gateway.config.models import HomeAssistantModel
from gateway.envelope import Envelope
from gateway.model import Device, Lane, Point, Text, ValueKind
from gateway.uplink.contract import Topics, client_id
from gateway.uplink.dialect import Asked, Heard, Hello, Incoming, Introduce, Outgoing, Reply, Subject
from gateway.uplink.dialects.common import (
    READINGS,
    Item,
    Latest,
    encoded,
    health_values,
    items_of,
    json_object,
)
from gateway.uplink.dialects.ha_units import binary_class, platform, rule_class, sensor

Language: TypeAlias = Literal["zh", "en"]
ONLINE, OFFLINE = b"online", b"offline"

_SLUG = re.compile(r"[^a-z0-9]+")
_OBJECT_ID = re.compile(r"[A-Za-z0-9_-]+")
_POINT_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_OWN = ""  # stands for the gateway itself where a device's id would; no device has an empty one
_VALUE = "{{ value_json.v }}"
# a state of more than 255 characters is refused
_SHORT_VALUE = "{{ none if value_json.v is none else (value_json.v | string)[:255] }}"
_BOOLEAN = "{{ none if value_json.v is none else ('ON' if value_json.v else 'OFF') }}"
_ACTIVE = "{{ 'ON' if value_json.active else 'OFF' }}"
_FIGURES: tuple[tuple[str, Text, Mapping[str, str]], ...] = (
    ("uptime_s", Text("运行时间", "Uptime"), {"unit_of_measurement": "s", "device_class": "duration"}),
    ("accepted", Text("已存储记录", "Records stored"), {"state_class": "total_increasing"}),
    ("dropped", Text("已丢弃记录", "Records dropped"), {"state_class": "total_increasing"}),
    ("loop_lag_ms", Text("最大延迟", "Worst delay"), {"unit_of_measurement": "ms", "device_class": "duration"}),
    ("alarms", Text("当前报警数", "Alarms now"), {"state_class": "measurement"}),
)


class HomeAssistant:
    """*language*: of names; where a name is missing in it, the other one, and then the id."""

    receipts = False

    def __init__(self, subject: Subject, model: HomeAssistantModel, *, language: Language = "zh") -> None:
        identity = subject.identity
        self._subject = subject
        self._prefix = model.prefix
        self._language = language
        self._node = f"{identity.site}_{identity.gateway}"
        self._unique = f"{identity.site}.{identity.gateway}"
        self._root = Topics(identity.site, identity.gateway).root + "ha/"
        self._devices = {device.id: device for device in subject.devices}
        self._points = {point.id for device in subject.devices for point in device.points}
        labels = Counter(self._name(device.label, device.id) for device in subject.devices)
        self._shared = {label for label, count in labels.items() if count > 1}
        # Kept from one connection to the next: a broker that has lost its retained messages gets them back.
        self._latest = Latest()
        self._reachable: dict[str, bool] = {}
        self._alarms: dict[tuple[str, str], Item] = {}
        self._gone: dict[str, Outgoing] = {}
        self._cleaning = False

    # ------------------------------------------------------------------ what is said of ourselves

    def hello(self) -> Hello:
        self._cleaning = False
        return Hello(
            client_id(self._subject.identity, self._subject.uplink),
            (
                f"{self._prefix}/status",
                f"{self._prefix}/device/{self._node}/+/config",
                f"{self._prefix}/binary_sensor/{self._node}/+/config",
            ),
            will=Outgoing(self._status, OFFLINE, retain=True),
        )

    def introduce(self) -> Sequence[Outgoing]:
        config = Outgoing(f"{self._prefix}/device/{self._node}/config", encoded(self._gateway_config()), retain=True)
        return [config, Outgoing(self._status, ONLINE, retain=True)]

    def catalog(self) -> Sequence[Outgoing]:
        """Discovery before states: where the broker keeps nothing, a state without its sensor is lost."""
        self._cleaning = False
        gone, self._gone = self._gone, {}
        configs = (
            Outgoing(self._config_topic(device.id), encoded(self._device_config(device)), retain=True)
            for device in self._subject.devices
        )
        alarms = (self._alarm_config(device, rule) for device, rule in self._alarms)
        return [*gone.values(), *configs, *alarms, *self._known_states()]

    def health(self, snapshot: Mapping[str, Any]) -> Sequence[Outgoing]:
        return [Outgoing(self._root + "health", encoded(health_values(snapshot)))]

    def farewell(self) -> Sequence[Outgoing]:
        return [Outgoing(self._status, OFFLINE, retain=True)]

    # ------------------------------------------------------------------ envelopes

    def encode(self, envelope: Envelope, *, sent_ms: int, replay: bool) -> Sequence[Outgoing]:
        """Events and gaps have no place there; they count as delivered."""
        if envelope.lane is Lane.ALARM:
            return list(self._encode_alarms(items_of(envelope)))
        if envelope.lane not in READINGS:
            return ()
        known = (item for item in items_of(envelope) if item["p"] in self._points)
        news = self._latest.take(known, self._subject.clock.now_ms())
        states = [self._state(device, name, item) for device, said in news.items() for name, item in said.items()]
        return [*self._availability(news), *states]

    def _availability(self, devices: Iterable[str]) -> Iterator[Outgoing]:
        """Only what has changed."""
        for device in devices:
            answers = self._latest.answers(device)
            if answers is not None and answers != self._reachable.get(device):
                self._reachable[device] = answers
                yield self._available(device, answers)

    def _encode_alarms(self, items: Iterable[Item]) -> Iterator[Outgoing]:
        for item in items:
            if item["priority"] == "journal":
                continue  # a rule on trial alarms nobody
            key = (item["device"] or _OWN, item["rule"])
            if key[0] and key[0] not in self._devices:
                continue  # late news of a device that is not ours any more
            if key not in self._alarms:
                self._alarms[key] = item
                yield self._alarm_config(*key)
            self._alarms[key] = item
            yield self._alarm_state(*key)

    def _known_states(self) -> Iterator[Outgoing]:
        for device, answers in self._reachable.items():
            yield self._available(device, answers)
        for device, known in self._latest.all().items():
            for name, item in known.items():
                yield self._state(device, name, item)
        for key in self._alarms:
            yield self._alarm_state(*key)

    # ------------------------------------------------------------------ states

    @property
    def _status(self) -> str:
        return self._root + "status"

    def _state_topic(self, device: str, name: str) -> str:
        return f"{self._root}device/{device}/{name}"

    def _availability_topic(self, device: str) -> str:
        return f"{self._root}available/{device}"

    def _state(self, device: str, name: str, item: Item) -> Outgoing:
        """A value that is not there is null, which the templates make ``unknown``."""
        said = {key: item[key] for key in ("v", "q", "r", "t") if key in item}
        return Outgoing(self._state_topic(device, name), encoded(said), retain=True)

    def _available(self, device: str, answers: bool) -> Outgoing:
        return Outgoing(self._availability_topic(device), ONLINE if answers else OFFLINE, retain=True)

    def _alarm_topic(self, device: str, rule: str) -> str:
        return "/".join([self._root + "alarm", *([device] if device else []), _object_id(rule)])

    def _alarm_state(self, device: str, rule: str) -> Outgoing:
        item = self._alarms[device, rule]
        said = {
            "active": item["state"] in ("unack", "acked"),
            **{key: item[key] for key in ("state", "priority", "count", "t", "reason", "message")},
        }
        return Outgoing(self._alarm_topic(device, rule), encoded(said), retain=True)

    # ------------------------------------------------------------------ discovery

    def _config_topic(self, device: str) -> str:
        return f"{self._prefix}/device/{self._node}/{device}/config"

    def _identifier(self, device: str) -> str:
        return f"{self._unique}.{device}" if device else self._unique

    def _name(self, text: Text, otherwise: str) -> str:
        first, second = (text.zh, text.en) if self._language == "zh" else (text.en, text.zh)
        return first or second or otherwise

    def _origin(self) -> dict[str, str]:
        return {"name": "Compound Gateway", "sw": self._subject.identity.version}

    def _gateway_device(self) -> dict[str, Any]:
        identity = self._subject.identity
        name = self._name(Text(f"{identity.site} 网关 {identity.gateway}", f"{identity.site} {identity.gateway}"), "")
        return {"ids": [self._unique], "name": name, "mdl": "Compound Gateway", "sw": identity.version}

    def _device(self, device: Device) -> dict[str, Any]:
        label = self._name(device.label, device.id)
        return {
            "ids": [self._identifier(device.id)],
            "name": f"{label} {device.id}" if label in self._shared else label,
            "mdl": device.kind,
            "via_device": self._unique,
        }

    def _device_config(self, device: Device) -> dict[str, Any]:
        """A device is there only while the gateway is there too."""
        return {
            "dev": self._device(device),
            "o": self._origin(),
            "cmps": {point.name: self._component(device, point) for point in device.points},
            "availability": [{"topic": self._status}, {"topic": self._availability_topic(device.id)}],
            "availability_mode": "all",
            "qos": 1,
        }

    def _component(self, device: Device, point: Point) -> dict[str, Any]:
        topic = self._state_topic(device.id, point.name)
        component: dict[str, Any] = {
            "p": platform(point),
            "unique_id": f"{self._identifier(device.id)}.{point.name}",
            "default_entity_id": f"{platform(point)}.{_slug(self._node, device.id, point.name)}",
            "name": self._name(point.label, point.name),
            "state_topic": topic,
            "json_attributes_topic": topic,
            "value_template": _VALUE,
        }
        match point.kind:
            case ValueKind.BOOLEAN:
                component["value_template"] = _BOOLEAN
                _put(component, device_class=binary_class(point.name))
            case ValueKind.STATE:
                component |= {"device_class": "enum", "options": list(point.states)}
            case ValueKind.TEXT:
                component["value_template"] = _SHORT_VALUE
            case ValueKind.NUMBER:
                kind = sensor(point, device.kind)
                _put(
                    component,
                    unit_of_measurement=kind.unit,
                    device_class=kind.device_class,
                    state_class=kind.state_class,
                )
        if point.identity:
            component["entity_category"] = "diagnostic"
        return component

    def _gateway_config(self) -> dict[str, Any]:
        connected = {
            "p": "binary_sensor",
            "unique_id": f"{self._unique}.connected",
            "default_entity_id": f"binary_sensor.{_slug(self._node, 'connected')}",
            "name": self._name(Text("连接", "Connection"), ""),
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": self._status,
            "payload_on": ONLINE.decode(),
            "payload_off": OFFLINE.decode(),
        }
        figures = {
            key: {
                "p": "sensor",
                "unique_id": f"{self._unique}.{key}",
                "default_entity_id": f"sensor.{_slug(self._node, key)}",
                "name": self._name(name, key),
                "entity_category": "diagnostic",
                "state_topic": self._root + "health",
                "value_template": f"{{{{ value_json.{key} }}}}",
                "availability": [{"topic": self._status}],
                **more,
            }
            for key, name, more in _FIGURES
        }
        return {
            "dev": self._gateway_device(),
            "o": self._origin(),
            "cmps": {"connected": connected, **figures},
            "qos": 1,
        }

    def _alarm_config(self, device: str, rule: str) -> Outgoing:
        """By itself, not in its device's message: which rules there are shows only when they speak.

        It does not follow the device's availability: an alarm about a silent device must be seen.
        """
        topic = self._alarm_topic(device, rule)
        known = self._devices.get(device)
        about = self._gateway_device() if known is None else self._device(known)
        config = {
            "dev": about,
            "o": self._origin(),
            "unique_id": f"{self._unique}.{device}.alarm.{rule}",
            "default_entity_id": f"binary_sensor.{_slug(self._node, device, _object_id(rule))}",
            "name": rule,
            "device_class": rule_class(rule),
            "state_topic": topic,
            "json_attributes_topic": topic,
            "value_template": _ACTIVE,
            "availability": [{"topic": self._status}],
            "qos": 1,
        }
        return Outgoing(self._alarm_config_topic(device, rule), encoded(config), retain=True)

    def _alarm_config_topic(self, device: str, rule: str) -> str:
        return f"{self._prefix}/binary_sensor/{self._node}/{_hashed(device, rule)}/config"

    # ------------------------------------------------------------------ what comes back

    def hear(self, message: Incoming) -> Sequence[Heard]:
        if message.topic == f"{self._prefix}/status":
            # a retained one was said before we came, and we have just introduced ourselves
            return [Introduce()] if message.payload == ONLINE and not message.retained else ()
        if not message.retained or not message.payload:
            return ()  # our own discovery, coming by
        removals = self._removals(message)
        self._gone |= {outgoing.topic: outgoing for outgoing in removals}
        if not removals or self._cleaning:
            return ()
        self._cleaning = True  # until the next catalogue has taken all of them along
        return [Introduce()]

    def _removals(self, message: Incoming) -> Sequence[Outgoing]:
        """What the broker still keeps of a device that is not ours any more, each with an empty message."""
        parts = message.topic.removeprefix(self._prefix + "/").split("/")
        if len(parts) != 4 or parts[1] != self._node or parts[3] != "config" or not _OBJECT_ID.fullmatch(parts[2]):
            return ()
        if parts[0] == "device" and parts[2] in self._devices:
            return ()
        config = json_object(message.payload) or {}
        if parts[0] == "device":
            return self._removed_device(message.topic, parts[2], config)
        identifier = _first_identifier(config)
        device = identifier.removeprefix(self._unique + ".")
        if parts[0] != "binary_sensor" or identifier in ("", self._unique, device) or device in self._devices:
            return ()
        state = config.get("state_topic")
        ours = re.escape(self._root) + r"alarm/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+"
        topics = [message.topic, *([state] if isinstance(state, str) and re.fullmatch(ours, state) else [])]
        return [Outgoing(topic, b"", retain=True) for topic in topics]

    def _removed_device(self, topic: str, device: str, config: Mapping[str, Any]) -> Sequence[Outgoing]:
        components = config.get("cmps")
        names = [name for name in components if _POINT_NAME.fullmatch(name)] if isinstance(components, dict) else []
        topics = [topic, self._availability_topic(device), *(self._state_topic(device, name) for name in names)]
        return [Outgoing(each, b"", retain=True) for each in topics]

    def answer(self, asked: Asked, reply: Reply) -> Sequence[Outgoing]:
        """Nobody can ask."""
        return ()


def _put(component: dict[str, Any], **keys: str | None) -> None:
    component |= {key: value for key, value in keys.items() if value is not None}


def _slug(*parts: str) -> str:
    return "_".join(slug for part in parts if (slug := _SLUG.sub("_", part.lower()).strip("_")))


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _object_id(text: str) -> str:
    """Rules may have Chinese ids, which topics and discovery may not."""
    return text if _OBJECT_ID.fullmatch(text) else f"r-{_hashed(text)}"


def _first_identifier(config: Mapping[str, Any]) -> str:
    described = config.get("dev")
    found = described.get("ids") if isinstance(described, dict) else None
    first = found[0] if isinstance(found, list) and found else found
    return first if isinstance(first, str) else ""
