"""What the dialects share: items out of an envelope, JSON that fits a platform's limit, what is known of a device.

Names that we add beside those of points (``energyQuality``, ``alarmState``) hold a capital letter: a point's own name
cannot (``ProfileFile.points``), so none of them ever hides a point.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from gateway.envelope import Envelope, json_text
from gateway.model import Device, Lane, Place, Quality, Reason
from gateway.uplink.dialect import Asked, Incoming, Reply, Request

Item: TypeAlias = Mapping[str, Any]
Values: TypeAlias = Mapping[str, Any]

READINGS = frozenset({Lane.BILLING, Lane.TELEMETRY, Lane.BULK})
"""Lanes whose items are readings."""

REBIRTH = b'{"command":"rebirth"}'
"""What the desk is asked when a platform wants everything announced anew; it needs no signature."""

CUT = "cutShort"
"""True beside values of which something was left out, because not even one of them fitted into a message."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
_SILENT = frozenset({Reason.NO_ANSWER, Reason.LINE_LOST})
_AHEAD_MS = 5_000


# ---------------------------------------------------------------------- JSON


def encoded(document: Any) -> bytes:
    """Half a surrogate pair, which JSON can name and UTF-8 cannot carry, becomes a question mark."""
    return json_text(document).encode("utf-8", "replace")


def json_object(payload: bytes) -> dict[str, Any] | None:
    """None for everything that is not a JSON object: strangers write these."""
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def items_of(envelope: Envelope) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(envelope.items)
    return items


def split_point(point: str) -> tuple[str, str]:
    device, _, name = point.partition(".")
    return device, name


# ---------------------------------------------------------------------- a reading, an event, an alarm as plain values


def reading_values(item: Item) -> dict[str, Any]:
    """The value under the point's name where there is one; beside it only what is not as it should be."""
    _, name = split_point(item["p"])
    values: dict[str, Any] = {} if item["v"] is None else {name: item["v"]}
    if item["q"] != Quality.GOOD:
        values[name + "Quality"] = item["q"]
        values[name + "Reason"] = item.get("r", "")
    if "c" in item:
        values["gatewayClock"] = item["c"]
    return values


def event_values(item: Item) -> dict[str, Any]:
    values = {"eventKind": item["kind"], "eventId": item["id"], "eventAttributes": item["attributes"]}
    return values if item["device"] is not None or not item["place"] else values | {"eventPlace": item["place"]}


def alarm_values(item: Item) -> dict[str, Any]:
    values = {
        "alarmRule": item["rule"],
        "alarmState": item["state"],
        "alarmActive": item["state"] in ("unack", "acked"),
        "alarmPriority": item["priority"],
        "alarmId": item["id"],
        "alarmCount": item["count"],
        "alarmReason": item["reason"],
        "alarmMessageZh": item["message"]["zh"],
        "alarmMessageEn": item["message"]["en"],
        "alarmValues": item["values"],
    }
    return values if item["device"] is not None or not item["place"] else values | {"alarmPlace": item["place"]}


def place_values(place: Place) -> dict[str, str]:
    levels = ("grid", "building", "unit", "floor", "room")
    return {f"place{level.title()}": text for level in levels if (text := getattr(place, level)) is not None}


def device_values(device: Device) -> dict[str, Any]:
    """What is to be known of a device and does not change with every reading."""
    values: dict[str, Any] = {
        "nameZh": device.label.zh,
        "nameEn": device.label.en,
        "kind": device.kind,
        "protocol": device.protocol,
        **place_values(device.place),
    }
    for point in device.points:
        values[point.name + "NameZh"] = point.label.zh
        values[point.name + "NameEn"] = point.label.en
        if point.unit:
            values[point.name + "Unit"] = point.unit
        if point.personal:
            values[point.name + "Personal"] = True
    return values


def health_values(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a health message, flat; of lists only how many there are, so that no device is named."""
    values: dict[str, Any] = {}
    for key in ("uptime_s", "clock", "accepted", "dropped", "disk_free_bytes", "loop_lag_ms"):
        if _plain(snapshot.get(key)):
            values[key] = snapshot[key]
    if temperatures := [each for each in _list(snapshot.get("temperatures_c")) if _plain(each)]:
        values["temperature_c"] = max(temperatures)
    values["alarms"] = len(_list(snapshot.get("alarms")))
    store = _mapping(snapshot.get("store"))
    for key in ("bytes", "budget_bytes", "evicted", "damaged"):
        if _plain(store.get(key)):
            values["store_" + key] = store[key]
    for lane, stats in _mapping(store.get("lanes")).items():
        if _plain(envelopes := _mapping(stats).get("envelopes")):
            values[f"lane_{lane}_envelopes"] = envelopes
    for line, stats in _mapping(snapshot.get("lines")).items():
        known = _mapping(stats)
        values |= {
            f"line_{line}_{key}": known[key] for key in ("open", "busy_1m", "failures") if _plain(known.get(key))
        }
        values[f"line_{line}_silent"] = len(_list(known.get("silent")))
    return values


def reply_values(reply: Reply) -> dict[str, Any]:
    values: dict[str, Any] = {"status": reply.status, "code": reply.code, "detail": reply.detail}
    return values if reply.result is None else values | {"result": reply.result}


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# ---------------------------------------------------------------------- messages within a limit


@dataclass(frozen=True, slots=True)
class Form:
    """How fragments become one message: ``head opening fragment,fragment closing , opening … closing tail``."""

    head: bytes
    opening: Callable[[str], bytes]
    closing: bytes
    tail: bytes
    most_devices: int = 1_000_000_000

    def room(self, device: str, limit_bytes: int) -> int:
        """Bytes that one fragment of *device* may have in a message of its own."""
        return limit_bytes - len(self.head) - len(self.opening(device)) - len(self.closing) - len(self.tail)


def packed(fragments: Iterable[tuple[str, bytes]], form: Form, limit_bytes: int) -> Iterator[bytes]:
    """Messages as full as the limit allows, fragments in their order.  A fragment has to fit into ``Form.room``."""
    message: dict[str, list[bytes]] = {}
    size = frame = len(form.head) + len(form.tail)
    for device, fragment in fragments:
        more = len(fragment) + 1 + (0 if device in message else len(form.opening(device)) + len(form.closing) + 1)
        too_many = device not in message and len(message) >= form.most_devices
        if message and (too_many or size + more > limit_bytes):
            yield _joined(message, form)
            message, size = {}, frame
            more = len(fragment) + 1 + len(form.opening(device)) + len(form.closing) + 1
        message.setdefault(device, []).append(fragment)
        size += more
    if message:
        yield _joined(message, form)


def _joined(message: Mapping[str, Sequence[bytes]], form: Form) -> bytes:
    devices = (form.opening(device) + b",".join(parts) + form.closing for device, parts in message.items())
    return form.head + b",".join(devices) + form.tail


def fitted(groups: Sequence[Values], build: Callable[[Values], bytes], room_bytes: int) -> Iterator[bytes]:
    """All groups in as few fragments as have room; a group stays together, and is cut short only where it alone is
    too large."""
    text = build({key: value for group in groups for key, value in group.items()})
    if len(text) <= room_bytes:
        yield text
    elif len(groups) > 1:
        middle = len(groups) // 2
        yield from fitted(groups[:middle], build, room_bytes)
        yield from fitted(groups[middle:], build, room_bytes)
    else:
        yield _cut_short(groups[0], build, room_bytes)


def _cut_short(group: Values, build: Callable[[Values], bytes], room_bytes: int) -> bytes:
    values = dict(group)
    while len(text := build(values | {CUT: True})) > room_bytes and values:
        largest = max(values, key=lambda key: len(encoded(values[key])))
        value = values[largest]
        if isinstance(value, str) and len(value) > 8:
            values[largest] = value[: len(value) // 2] + "…"
        else:
            del values[largest]
    return text


def merged(groups: Iterable[tuple[int, Values]]) -> list[tuple[int, list[Values]]]:
    """Groups of one device by time.  One that says again what its time already holds begins anew: nothing is lost."""
    entries: list[tuple[int, list[Values]]] = []
    open_entries: dict[int, tuple[list[Values], set[str]]] = {}
    for time_ms, group in groups:
        said, keys = open_entries.get(time_ms, ([], set()))
        if not said or not keys.isdisjoint(group.keys() - {"gatewayClock"}):
            said, keys = [], set()
            open_entries[time_ms] = said, keys
            entries.append((time_ms, said))
        said.append(group)
        keys.update(group)
    return entries


# ---------------------------------------------------------------------- what is known of a device just now


class Latest:
    """The newest reading of every point, whatever order envelopes come in: what is late goes after what happens now."""

    def __init__(self) -> None:
        self._items: dict[str, dict[str, Item]] = {}

    def take(self, items: Iterable[Item], now_ms: int) -> dict[str, dict[str, Item]]:
        """Device -> point name -> its newest reading among *items*, without those that are older than what is known."""
        news: dict[str, dict[str, Item]] = {}
        for item in items:
            device, name = split_point(item["p"])
            known = self._items.setdefault(device, {})
            before = known.get(name)
            # a time that lies ahead came from a clock that was wrong; it must not hide what follows
            if before is None or item["t"] >= before["t"] or before["t"] > now_ms + _AHEAD_MS:
                known[name] = item
                news.setdefault(device, {})[name] = item
        return news

    def all(self) -> Mapping[str, Mapping[str, Item]]:
        return self._items

    def answers(self, device: str) -> bool | None:
        """Whether the device can be reached, by its newest readings; None when there is none yet."""
        known = self._items.get(device)
        return None if not known else any(item.get("r") not in _SILENT for item in known.values())


# ---------------------------------------------------------------------- commands


def request_id(prefix: str, text: str) -> str:
    """A request's id of what the platform calls it; what is no id becomes one that says nothing."""
    wanted = prefix + text
    if _ID.fullmatch(wanted):
        return wanted
    return prefix + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def asked(uplink: str, named: str, method: str, document: Any, message: Incoming, context: Any) -> Asked:
    """A command as the desk reads it.

    named: what the platform calls its call.  A signed document names itself, and whoever signed it could not know what
    the platform would call it.  document: our own signed document, as an object or as its text; where it is neither,
    the message goes on as it came, so that the desk rejects it and says so in its audit.
    """
    body = message.payload
    if method == "rebirth":
        body = REBIRTH
    elif method == "command" and isinstance(document, str):
        body = document.encode("utf-8", "replace")
    elif method == "command" and isinstance(document, dict):
        body = encoded({key: text for key, text in document.items() if isinstance(text, str)})
    return Asked(Request(uplink, _own_name(body) or named, body, message.retained), context)


def _own_name(body: bytes) -> str | None:
    """The id that a signed document gives itself.  Nothing is believed here: the desk looks at the signature."""
    text = (json_object(body) or {}).get("signed")
    inner = json_object(text.encode("utf-8", "replace")) if isinstance(text, str) else None
    found = None if inner is None else inner.get("id")
    return found if isinstance(found, str) and _ID.fullmatch(found) else None
