"""ChirpStack v4, JSON over MQTT: uplinks, joins, battery levels, and downlinks that are never repeated.  Pure.

    application/<application>/device/<devEui>/event/up       {"deduplicationId", "time", "deviceInfo": {"devEui"},
                                                              "devAddr", "fCnt", "fPort", "data", "object", "rxInfo"}
                                              /event/join    {"deduplicationId", "time", "devAddr"}
                                              /event/status  {"margin", "batteryLevel", "externalPowerSource"}
                                              /event/ack     {"queueItemId", "acknowledged"}
                                              /event/txack   {"queueItemId"}
                                              /event/log     {"level", "code", "description", "context"}
                                              /command/down  {"id", "devEui", "confirmed", "fPort", "data"}    <- we

Earlier versions of v4 publish join and status, retained, under /state/.  A field that is zero may be left out.
Source: chirpstack/src/integration/mqtt.rs and api/proto/integration/integration.proto of chirpstack/chirpstack.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from drivers.base import DeviceSpec, Happening, HubSpec
from drivers.json_mapping.payload import (
    MISSING,
    Json,
    Unreadable,
    believed,
    clean,
    look_up,
    parse,
    plain,
    steps,
    time_of,
)
from drivers.json_mapping.reading import Times, by_address, reading_of
from drivers.json_mapping.records import number_at, reaches, tagged, unwrap
from drivers.mqtt_client.packet import Message
from drivers.mqtt_south.config import ChirpstackHubOptions, ChirpstackPointOptions
from drivers.mqtt_south.dialect import MOST_BYTES, Command, Heard, Said, Stranger, to_json
from drivers.mqtt_south.memory import Notes
from gateway.errors import DeviceRejected
from gateway.model import PointId, Reading, Value

_MOST_IDS = 16
_LATE = 16
"""An uplink whose time is not known is late, and not of a device that has begun anew, by fewer counts than this."""
_EVENTS = ("up", "join", "status", "ack", "txack", "log")


@dataclass(frozen=True, slots=True)
class Topic:
    application: str
    dev_eui: str
    event: str


class Chirpstack:
    def __init__(self, spec: HubSpec) -> None:
        options: ChirpstackHubOptions = spec.options
        self._prefix = options.prefix
        self._application = options.application
        self._zone = spec.zone
        self._of: dict[str, DeviceSpec] = by_address(spec, lambda device: device.options.address)

    @property
    def filters(self) -> Sequence[str]:
        one = f"{self._prefix}/{self._application or '+'}/device/+"
        return [f"{one}/event/+", f"{one}/state/+"]

    def most_bytes(self, topic: str) -> int:
        return MOST_BYTES

    def device_of(self, topic: str) -> str | None:
        found = self._topic(topic)
        device = None if found is None else self._of.get(found.dev_eui)
        return None if device is None else device.id

    def _topic(self, topic: str) -> Topic | None:
        if not topic.startswith(self._prefix + "/"):
            return None
        match topic[len(self._prefix) + 1 :].split("/"):
            case [application, "device", dev_eui, "event" | "state", event]:
                return Topic(application, dev_eui.lower(), event)
        return None

    def hear(self, message: Message, now_ms: int, notes: Callable[[str], Notes]) -> Heard:
        topic = self._topic(message.topic)
        if topic is None or topic.event not in _EVENTS:
            return ()
        device = self._of.get(topic.dev_eui)
        document = _document(message.payload)
        if device is None:
            return (Stranger(clean(topic.dev_eui), _introduced(document)),)
        fault = _fault(document, topic)
        if fault or document is None:
            return (Stranger(topic.dev_eui, f"configured as {device.id}, but {fault}"),)
        before = {**notes(device.id), "app": topic.application}
        sent_ms = believed(time_of(document.get("time"), self._zone), now_ms)
        match topic.event:
            case "up":
                return _up(device, document, before, sent_ms, now_ms)
            case "join" if not message.retained:
                return _join(device, document, before, sent_ms, now_ms)
            case "status":
                times = Times(sent_ms or now_ms, now_ms, old=message.retained and sent_ms is None)
                return (Said(device.id, list(_meta(device, _battery(document), times)), notes=before),)
            case "log":
                return (_log(device, document, before, sent_ms or now_ms),)
        return ()  # ack and txack confirm commands, and are no sign that the device has sent a value

    # ------------------------------------------------------------------ commands

    def command(self, device: str, point: PointId, value: Value, notes: Notes) -> Command:
        spec = next(each for each in self._of.values() if each.id == device)
        options: ChirpstackPointOptions = spec.points[point].options
        application = self._application or notes.get("app")
        code = options.down.get(_word(value))
        if code is None or not options.fport:
            raise DeviceRejected(f"{point}: the profile has no downlink for {value!r}", 0)
        if not isinstance(application, str):
            raise DeviceRejected(
                f"{point}: the device has not been heard yet, so its application is unknown",
                0,
                hint="name the application in the line / 请在线路上写明 application",
            )
        dev_eui = spec.options.address
        item = str(uuid.uuid4())
        down = {
            "id": item,
            "devEui": dev_eui,
            "confirmed": options.confirmed,
            "fPort": options.fport[0],
            "data": base64.b64encode(bytes.fromhex(code)).decode("ascii"),
        }
        topic = f"{self._prefix}/{application}/device/{dev_eui}/command/down"
        return Command(topic, to_json(down), _Confirmation(self, dev_eui, item, options.confirmed))


@dataclass(frozen=True, slots=True)
class _Confirmation:
    """An acknowledgement by the device, or (unconfirmed) the word of a gateway that it has been sent."""

    dialect: Chirpstack
    dev_eui: str
    item: str
    confirmed: bool

    def __call__(self, message: Message) -> bool:
        topic = self.dialect._topic(message.topic)
        if topic is None or topic.dev_eui != self.dev_eui:
            return False
        document = _document(message.payload)
        if document is None:
            return False
        if topic.event == "log" and look_up(document, ("context", "queue_item_id")) == self.item:
            raise DeviceRejected(f"ChirpStack: {clean(str(document.get('description', '')))}", 0)
        if document.get("queueItemId") != self.item:
            return False
        if topic.event == "ack" and not document.get("acknowledged"):
            raise DeviceRejected("the device did not acknowledge the downlink", 0)
        return topic.event == ("ack" if self.confirmed else "txack")


def _word(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _document(payload: bytes) -> Mapping[str, Json] | None:
    try:
        document = parse(payload)
    except Unreadable:
        return None
    return document if isinstance(document, Mapping) else None


def _introduced(document: Mapping[str, Json] | None) -> str:
    info = {} if document is None else document.get("deviceInfo")
    words = [info.get("deviceProfileName"), info.get("deviceName")] if isinstance(info, Mapping) else []
    return " ".join(clean(word) for word in words if isinstance(word, str)) or "not configured"


def _fault(document: Mapping[str, Json] | None, topic: Topic) -> str:
    """Why a message of a configured device is not taken."""
    if document is None:
        return "its messages are no JSON: set json to true in ChirpStack's MQTT integration"
    inside = look_up(document, ("deviceInfo", "devEui"))
    if inside is not MISSING and str(inside).lower() != topic.dev_eui:
        return "a message on its topic is of another device"
    return ""


# ---------------------------------------------------------------------- uplinks


def _up(device: DeviceSpec, document: Mapping[str, Json], before: Notes, sent_ms: int | None, now_ms: int) -> Heard:
    after = _counted(document, before, sent_ms)
    if after is None:
        return ()
    times = Times(sent_ms or now_ms, now_ms)
    readings = [*_data(device, document, times), *_meta(device, _radio(document), times)]
    return (Said(device.id, readings, notes=after),)


def _counted(document: Mapping[str, Json], before: Notes, sent_ms: int | None) -> Notes | None:
    """What to remember of this uplink; None where it has been heard already.

    A counter that goes back belongs to a device that has begun anew without a join (ABP), or to an uplink that comes
    late; the network server's time tells them apart.
    """
    id_ = document.get("deduplicationId")
    ids = list(before.get("ids", ()))
    if isinstance(id_, str) and id_ in ids:
        return None
    count, address = document.get("fCnt", 0), _dev_addr(document)
    if isinstance(count, bool) or not isinstance(count, int):
        count = 0
    last, last_ms = before.get("fcnt", -1), before.get("sent_ms", 0)
    if address == before.get("addr") and count <= last:
        newer = last - count >= _LATE if sent_ms is None else sent_ms > last_ms
        if count == last or not newer:
            return None
    ids = [*ids, id_[:64]][-_MOST_IDS:] if isinstance(id_, str) else ids
    return {**before, "ids": ids, "fcnt": count, "addr": address, "sent_ms": sent_ms or last_ms}


def _dev_addr(document: Mapping[str, Json]) -> str | None:
    address = document.get("devAddr")
    return clean(address)[:16] if isinstance(address, str) else None


def _data(device: DeviceSpec, document: Mapping[str, Json], times: Times) -> Iterator[Reading]:
    decoded = document.get("object")
    record = unwrap(document.get("data"))
    tags = tagged(record or b"", device.options.tags)
    for spec in device.points.values():
        options: ChirpstackPointOptions = spec.options
        if options.fport and document.get("fPort") not in options.fport:
            continue
        of_tag = record if options.tag is None else tags.get(options.tag)
        raw = _raw(options, decoded, of_tag)
        if raw is not MISSING:
            yield reading_of(spec, raw, times)


def _raw(options: ChirpstackPointOptions, decoded: Json, record: bytes | None) -> Json:
    """By the server's codec where there is one, else from the bytes."""
    if options.path is not None and decoded:
        found = look_up(decoded, steps(options.path))
        if found is not MISSING:
            return found
    if options.layout is not None and record is not None and reaches(record, options.layout):
        return number_at(record, options.layout)
    return MISSING


def _radio(document: Mapping[str, Json]) -> Mapping[str, Json]:
    """Of the gateway that heard it best."""
    heard = document.get("rxInfo")
    heard = [each for each in heard if isinstance(each, Mapping)] if isinstance(heard, list) else []
    best: Mapping[str, Json] = max(heard, key=_strength, default={})
    return {
        "rssi": best.get("rssi", MISSING),
        "snr": best.get("snr", MISSING),
        "fcnt": document.get("fCnt", 0),
        "fport": document.get("fPort", MISSING),
    }


def _strength(heard: Mapping[str, Json]) -> float:
    rssi = heard.get("rssi")
    return rssi if isinstance(rssi, int | float) else -1000.0


def _battery(document: Mapping[str, Json]) -> Mapping[str, Json]:
    external = document.get("externalPowerSource") is True
    known = not external and document.get("batteryLevelUnavailable") is not True
    return {
        "margin": document.get("margin", 0),
        "external_power": external,
        "battery": document.get("batteryLevel", 0) if known else MISSING,
    }


def _meta(device: DeviceSpec, known: Mapping[str, Json], times: Times) -> Iterator[Reading]:
    for spec in device.points.values():
        raw = known.get(spec.options.meta, MISSING) if spec.options.meta else MISSING
        if raw is not MISSING:
            yield reading_of(spec, raw, times)


# ---------------------------------------------------------------------- what else happens


def _join(device: DeviceSpec, document: Mapping[str, Json], before: Notes, sent_ms: int | None, now_ms: int) -> Heard:
    """The counter begins anew."""
    id_ = document.get("deduplicationId")
    ids = list(before.get("ids", ()))
    if isinstance(id_, str) and id_ in ids:
        return ()
    address = _dev_addr(document)
    ids = [*ids, id_[:64]][-_MOST_IDS:] if isinstance(id_, str) else ids
    after = {**before, "ids": ids, "fcnt": -1, "addr": address, "sent_ms": sent_ms or before.get("sent_ms", 0)}
    told = Happening("lorawan.joined", sent_ms or now_ms, {"dev_addr": address})
    return (Said(device.id, (), [told], notes=after),)


def _log(device: DeviceSpec, document: Mapping[str, Json], before: Notes, time_ms: int) -> Said:
    attributes = {key: plain(document.get(key)) for key in ("level", "code", "description")}
    return Said(device.id, (), [Happening("lorawan.log", time_ms, attributes)], notes=before)
