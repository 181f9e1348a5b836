"""What the platform sees of this gateway: topics, payloads, and what the broker's reason codes ask of us.  Pure.

The envelope itself is in gateway/envelope.py, because the store keeps it in the form in which it is sent.
Reason codes: MQTT Version 5.0 (OASIS Standard, 7 March 2019), clause 2.4 and the tables of 3.2.2.2, 3.4.2.1, 3.14.2.1.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from gateway.clock import ClockState
from gateway.envelope import VERSION, json_text, place_item, text_item
from gateway.messages import (
    CatalogDevice,
    CatalogMessage,
    CatalogPlace,
    CatalogPoint,
    DivisionItem,
    ReplyMessage,
    StatusMessage,
)
from gateway.messages import State as State
from gateway.model import Device, Lane, Point, PointId
from gateway.places import Division, Named, Places


@dataclass(frozen=True, slots=True)
class Identity:
    """Who speaks.  *config_digest*: ``sha256:`` and 64 hex digits; *boot_id* names this start of the daemon."""

    site: str
    gateway: str
    version: str
    config_digest: str
    boot_id: str


class Topics:
    """Every topic of one gateway, spelled once."""

    def __init__(self, site: str, gateway: str) -> None:
        self.root = f"compound/v1/{site}/{gateway}/"
        self.status = self.root + "status"
        self.catalog = self.root + "catalog"
        self.health = self.root + "health"
        self.receipt = self.root + "receipt"
        self.desired = self.root + "config/desired"
        self.reported = self.root + "config/reported"
        self.commands = self.root + "command/+"
        self.lanes: Mapping[Lane, str] = {lane: self.root + lane for lane in Lane}

    def reply(self, command_id: str) -> str:
        return f"{self.root}reply/{command_id}"

    def command_id(self, topic: str) -> str | None:
        """The last level of a command topic; None for any other topic."""
        prefix = self.root + "command/"
        return topic[len(prefix) :] if topic.startswith(prefix) else None


def client_id(identity: Identity, uplink: str) -> str:
    """One per uplink: two connections with the same id would throw each other out for ever."""
    return f"{identity.site}-{identity.gateway}-{uplink}"


def status_payload(identity: Identity, state: State, epoch: str, since_ms: int, clock: ClockState) -> bytes:
    """*since_ms*: start of the daemon that *boot_id* names, so that a late will of an older boot is recognised."""
    message: StatusMessage = {
        "v": VERSION,
        "state": state,
        "boot_id": identity.boot_id,
        "epoch": epoch,
        "since_ms": since_ms,
        "version": identity.version,
        "config": identity.config_digest,
        "clock": clock,
    }
    return json_bytes(message)


def catalog_payload(
    identity: Identity,
    devices: Iterable[Device],
    destinations: Sequence[str],
    commandable: Set[PointId] = frozenset(),
    places: Places | None = None,
) -> bytes:
    """The data-sharing list.

    destinations: ids of the uplinks; every point goes to each of them.  commandable: the points that the site lets
    commands write.
    """
    message: CatalogMessage = {
        "v": VERSION,
        "site": identity.site,
        "gateway": identity.gateway,
        "config": identity.config_digest,
        "destinations": list(destinations),
        "devices": [_device_item(device, commandable) for device in devices],
    }
    if places is not None:
        _add_places(message, places)
    return json_bytes(message)


def _add_places(message: CatalogMessage, places: Places) -> None:
    if places.district is not None:
        message["district"] = _division_item(places.district)
    if places.community is not None:
        message["community"] = _division_item(places.community)
    if places.named:
        message["places"] = [_named_item(each) for each in places.named]


def _division_item(division: Division) -> DivisionItem:
    item: DivisionItem = {"name": text_item(division.name)}
    if division.code is not None:
        item["code"] = division.code
    return item


def _named_item(named: Named) -> CatalogPlace:
    item: CatalogPlace = {"level": named.level, "place": place_item(named.place)}
    if named.name is not None:
        item["name"] = text_item(named.name)
    if named.address_code is not None:
        item["address_code"] = named.address_code
    return item


def _device_item(device: Device, commandable: Set[PointId]) -> CatalogDevice:
    return {
        "id": device.id,
        "kind": device.kind,
        "name": text_item(device.label),
        "place": place_item(device.place),
        "protocol": device.protocol,
        "points": [_point_item(point, point.id in commandable) for point in device.points],
    }


def _point_item(point: Point, writable: bool) -> CatalogPoint:
    item: CatalogPoint = {
        "id": point.id,
        "kind": point.kind,
        "name": text_item(point.label),
        "lane": point.lane,
        "interval_s": point.interval_s,
        "personal": point.personal,
        "counter": point.counter,
        "writable": writable,
    }
    if point.unit is not None:
        item["unit"] = point.unit
    if point.minimum is not None:
        item["minimum"] = point.minimum
    if point.maximum is not None:
        item["maximum"] = point.maximum
    if point.states:
        item["states"] = list(point.states)
    return item


def reply_payload(command_id: str, status: str, code: str, detail: str, result: object = None) -> bytes:
    """*status*: ok, rejected, failed, expired or unknown.  *result*: what a command gave, where it gives anything."""
    message: ReplyMessage = {"id": command_id, "status": status, "code": code, "detail": detail}
    if result is not None:
        message["result"] = result
    return json_bytes(message)


HEALTH_BYTES = 60 * 1024
"""Of a health message; a line takes some 190, and a large compound has hundreds."""


def health_payload(snapshot: Mapping[str, Any]) -> bytes:
    """*snapshot* as it is if it fits; else without the lines that are well, then without what still does not fit.

    ``left_out`` counts what is missing.
    """
    body = json_bytes(snapshot)
    if len(body) <= HEALTH_BYTES:
        return body
    lines = {name: line for name, line in snapshot["lines"].items() if not line["open"] or line["silent"]}
    alarms = list(snapshot["alarms"])
    while True:
        left_out = len(snapshot["lines"]) - len(lines) + len(snapshot["alarms"]) - len(alarms)
        body = json_bytes({**snapshot, "lines": lines, "alarms": alarms, "left_out": left_out})
        if len(body) <= HEALTH_BYTES or not (lines or alarms):
            return body
        alarms = alarms[: len(alarms) // 2]
        lines = dict(list(lines.items())[: len(lines) // 2])


def json_bytes(item: Mapping[str, object]) -> bytes:
    return json_text(item).encode()


def packet_size(topic: str, payload: bytes) -> int:
    """Bytes of a QoS 1 PUBLISH without properties, as Maximum Packet Size counts them (3.3.1, 3.3.2)."""
    remaining = 2 + len(topic.encode()) + 2 + 1 + len(payload)
    length_bytes = 1 + (remaining > 127) + (remaining > 16_383) + (remaining > 2_097_151)
    return 1 + length_bytes + remaining


class Verdict(enum.Enum):
    """What one PUBACK means for its envelope."""

    DONE = "done"
    RETRY = "retry"  # the same envelope may be accepted later
    QUARANTINE = "quarantine"  # the same envelope will never be accepted


_PUBACK: Mapping[int, Verdict] = {
    0x00: Verdict.DONE,
    # No matching subscribers: the broker has taken it.  Brokers that consume by rules, without a subscription,
    # answer so for every message, so holding data back here would stop them for ever.  Counted in the status.
    0x10: Verdict.DONE,
    0x80: Verdict.RETRY,  # unspecified error
    0x83: Verdict.RETRY,  # implementation specific error
    0x87: Verdict.QUARANTINE,  # not authorized
    0x90: Verdict.QUARANTINE,  # topic name invalid
    0x91: Verdict.RETRY,  # packet identifier in use
    0x97: Verdict.RETRY,  # quota exceeded
    0x99: Verdict.QUARANTINE,  # payload format invalid
}

NO_SUBSCRIBERS = 0x10
TOPIC_REFUSALS = frozenset({0x87, 0x90})
"""Quarantine codes that speak of the topic, not of this envelope: a mistake in the broker's rights, often mended soon.
The lane is then probed with one envelope at a time and growing pauses, and an envelope is given up only after several
refusals, so a wrong access list costs a few announced envelopes instead of the whole backlog."""


def puback_verdict(code: int) -> Verdict:
    """A code the standard does not list is retried: that loses nothing."""
    return _PUBACK.get(code, Verdict.DONE if code < 0x80 else Verdict.RETRY)


_PERSON: Mapping[int, str] = {
    0x81: "the broker calls our CONNECT malformed: is this an MQTT 5 broker?",
    0x82: "the broker calls our CONNECT a protocol error: is this an MQTT 5 broker?",
    0x84: "the broker does not speak MQTT 5; enable it there, or name a broker that does",
    0x85: "the broker does not accept this client id; register the gateway on the platform",
    0x86: "check username and password_file of this uplink",
    0x87: "check username, password_file and the rights of this gateway on the broker",
    0x8A: "the broker has banned this client; ask the platform's operator",
    0x8C: "the broker wants another authentication method; ask the platform's operator",
    0x90: "the broker refuses the topic of the will; check site.id, gateway.id and the rights on the broker",
    0x95: "the broker's maximum packet size is too small for the will; raise it to 64 KiB",
    0x99: "the broker refuses the will's payload; it must accept JSON on the status topic",
    0x9A: "the broker does not support retained messages, which status and catalog need",
    0x9B: "the broker does not support QoS 1, without which nothing can be delivered safely",
    0x9C: "the broker points to another server; name that one in this uplink",
    0x9D: "the broker has moved; name the new one in this uplink",
}
"""CONNACK codes that another attempt does not change, and what to do about each."""


def connack_hint(code: int) -> str | None:
    """What a person has to do; None when it is enough to try again."""
    return _PERSON.get(code)


BLAMELESS_DISCONNECTS = frozenset({0x04, 0x89, 0x8B, 0x8D, 0x8E, 0x97, 0x98, 0x9C, 0x9D, 0x9F, 0xA0})
"""DISCONNECT codes with a reason of their own (busy, shutting down, taken over, rate ...): no envelope is to blame."""

SESSION_TAKEN_OVER = 0x8E
