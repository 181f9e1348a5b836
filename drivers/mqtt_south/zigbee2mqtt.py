"""Zigbee2MQTT: one retained-or-not state a device, its availability, and what the bridge says of itself.  Pure.

    <base>/<friendly name>               {"contact": false, "battery": 97, "linkquality": 120, "last_seen": "..."}
    <base>/<friendly name>/availability  {"state": "online"}, or plain online
    <base>/<friendly name>/set           {"state": "ON"}                                        <- we
    <base>/bridge/state                  {"state": "online"}, or plain online
    <base>/bridge/devices                everything that has joined, and what it exposes
    <base>/bridge/logging                {"level": "error", "message": "Publish 'set' 'state' to 'lamp' failed: ..."}

Source: zigbee2mqtt.io, guide/usage/mqtt_topics_and_messages and guide/usage/exposes; lib/extension/publish.ts for the
words of a refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.json_mapping.payload import (
    AHEAD_MS,
    MISSING,
    Json,
    Unfit,
    Unreadable,
    believed,
    clean,
    look_up,
    parse,
    raw_of,
    steps,
    time_of,
    value_of,
)
from drivers.json_mapping.reading import FRESH_MS, Times, by_address, meaning_of, reading_of, same
from drivers.mqtt_client.packet import Message
from drivers.mqtt_south.config import ZigbeeHubOptions, ZigbeePointOptions
from drivers.mqtt_south.dialect import MOST_BYTES, Command, Heard, Said, Stranger, all_bad, to_json
from drivers.mqtt_south.memory import Notes
from gateway.errors import DeviceRejected
from gateway.model import PointId, Reason, Value, ValueKind, bad_reading

MOST_DEVICES_BYTES = 4 * 1024 * 1024
"""``bridge/devices`` has some 3 to 20 kB a device."""
_MOST_LISTED = 500
_DEEPEST = 6


class Zigbee2Mqtt:
    def __init__(self, spec: HubSpec) -> None:
        options: ZigbeeHubOptions = spec.options
        self._base = options.prefix + "/"
        self._zone = spec.zone
        self._of: dict[str, DeviceSpec] = by_address(spec, lambda device: device.options.address)

    @property
    def filters(self) -> Sequence[str]:
        """A friendly name with a slash in it needs filters of its own."""
        tails = ["+", "+/availability", "bridge/devices", "bridge/logging", "bridge/state"]
        for name in self._of:
            if "/" in name:
                tails += [name, f"{name}/availability"]
        return [self._base + tail for tail in tails]

    def most_bytes(self, topic: str) -> int:
        return MOST_DEVICES_BYTES if topic == self._base + "bridge/devices" else MOST_BYTES

    def device_of(self, topic: str) -> str | None:
        name = topic.removeprefix(self._base).removesuffix("/availability")
        device = self._of.get(name)
        return None if device is None else device.id

    def hear(self, message: Message, now_ms: int, notes: Callable[[str], Notes]) -> Heard:
        tail = message.topic.removeprefix(self._base)
        if tail == message.topic:
            return ()
        if tail == "bridge/state":
            return self._bridge(message, now_ms)
        if tail == "bridge/devices":
            return list(self._devices(message, now_ms))
        name = tail.removesuffix("/availability")
        device = self._of.get(name)
        if device is None:
            return () if "bridge" in tail.split("/") else (Stranger(clean(name), "not configured"),)
        if tail != name:
            return self._availability(device, message, now_ms)
        return self._state(device, message, now_ms)

    # ------------------------------------------------------------------ one device

    def _state(self, device: DeviceSpec, message: Message, now_ms: int) -> Heard:
        try:
            state = parse(message.payload)
        except Unreadable:
            state = None
        if not isinstance(state, Mapping):
            what = f"configured as {device.id}, but its state is no JSON object: set output to json in Zigbee2MQTT"
            return (Stranger(device.options.address, what),)
        times = self._times(state, message.retained, now_ms)
        found = ((spec, look_up(state, _path(spec))) for spec in device.points.values())
        readings = [reading_of(spec, raw, times) for spec, raw in found if raw is not MISSING]
        return (Said(device.id, readings),) if readings or not message.retained else ()

    def _times(self, state: Mapping[str, Json], retained: bool, now_ms: int) -> Times:
        """``last_seen`` is the bridge's clock.  After a start the bridge says again what it remembers, as if new."""
        seen_ms = time_of(state.get("last_seen"), self._zone)
        if seen_ms is None or seen_ms > now_ms + AHEAD_MS:
            return Times(now_ms, now_ms, old=retained)
        return Times(believed(seen_ms, now_ms) or now_ms, now_ms, old=now_ms - seen_ms > FRESH_MS)

    def _availability(self, device: DeviceSpec, message: Message, now_ms: int) -> Heard:
        match _word(message.payload):
            case "offline":
                return (all_bad(device, Reason.NO_ANSWER, now_ms),)
            case "online" if not message.retained:
                return (Said(device.id),)
        return ()

    # ------------------------------------------------------------------ the bridge

    def _bridge(self, message: Message, now_ms: int) -> Heard:
        if _word(message.payload) != "offline":
            return ()
        return [all_bad(device, Reason.LINE_LOST, now_ms) for device in self._of.values()]

    def _devices(self, message: Message, now_ms: int) -> Iterator[Said | Stranger]:
        try:
            listed = parse(message.payload)
        except Unreadable:
            return
        if not isinstance(listed, list):
            return
        met = set()
        for entry in listed[:_MOST_LISTED]:
            name = entry.get("friendly_name") if isinstance(entry, Mapping) else None
            if not isinstance(name, str) or entry.get("type") == "Coordinator":
                continue
            met.add(name)
            device = self._of.get(name)
            if device is None:
                yield Stranger(clean(name), _introduced(entry))
            else:
                yield from _compared(device, entry, now_ms)
        if len(listed) <= _MOST_LISTED:
            for name in self._of.keys() - met:
                yield Stranger(name, f"configured as {self._of[name].id}, but the bridge knows no device of this name")

    # ------------------------------------------------------------------ commands

    def command(self, device: str, point: PointId, value: Value, notes: Notes) -> Command:
        spec = next(each for each in self._of.values() if each.id == device)
        name = spec.options.address
        of_point = spec.points[point]
        path = _path(of_point)
        if len(path) != 1:
            raise DeviceRejected(f"{point}: only a property at the top of the state can be set", 0)
        refusals = [f"'{path[0]}' to '{name}' failed", f"Entity '{name}' is unknown"]

        def answered(message: Message) -> bool:
            if message.topic == self._base + "bridge/logging":
                _refused(message.payload, refusals)
                return False
            return message.topic == self._base + name and _shows(of_point, message.payload, value)

        payload = to_json({path[0]: raw_of(value, meaning_of(of_point.options))})
        return Command(f"{self._base}{name}/set", payload, answered)


def _path(spec: PointSpec) -> Sequence[str]:
    options: ZigbeePointOptions = spec.options
    return steps(options.property) if options.property else (spec.point.name,)


def _word(payload: bytes) -> str:
    """``online`` as text, as a JSON text, or as ``{"state": "online"}``."""
    try:
        document = parse(payload)
    except Unreadable:
        return payload[:16].decode("ascii", "replace").strip()
    state = document.get("state") if isinstance(document, Mapping) else document
    return state if isinstance(state, str) else ""


def _refused(payload: bytes, refusals: Sequence[str]) -> None:
    try:
        line = parse(payload)
    except Unreadable:
        return
    if not isinstance(line, Mapping) or line.get("level") != "error":
        return
    text = str(line.get("message", ""))
    if any(each in text for each in refusals):
        raise DeviceRejected(f"Zigbee2MQTT: {clean(text)}", 0)


def _shows(spec: PointSpec, payload: bytes, value: Value) -> bool:
    try:
        raw = look_up(parse(payload), _path(spec))
        return raw is not MISSING and same(value_of(spec.point, raw, meaning_of(spec.options)), value)
    except (Unreadable, Unfit):
        return False


def _introduced(entry: Mapping[str, Json]) -> str:
    definition = entry.get("definition")
    known = definition if isinstance(definition, Mapping) else {}
    words = [known.get("vendor"), known.get("model") or entry.get("model_id"), known.get("description")]
    told = " ".join(clean(word) for word in words if isinstance(word, str))
    return f"{told or 'unknown device'}; {clean(str(entry.get('ieee_address', '')))}"


def _compared(device: DeviceSpec, entry: Mapping[str, Json], now_ms: int) -> Iterator[Said | Stranger]:
    """Points that the device does not have, or has as another type, would otherwise be waited for in vain."""
    definition = entry.get("definition")
    exposes = definition.get("exposes") if isinstance(definition, Mapping) else None
    if not isinstance(exposes, list):
        return
    types = dict(_properties(exposes, 0))
    wrong = [spec for spec in device.points.values() if not _exposed(spec, types)]
    if wrong:
        names = ", ".join(spec.point.name for spec in wrong)
        yield Stranger(device.options.address, f"configured as {device.id}, but it does not expose: {names}")
        yield Said(device.id, [bad_reading(spec.point.id, Reason.REFUSED, now_ms) for spec in wrong])


def _properties(exposes: Sequence[Any], depth: int) -> Iterator[tuple[str, str]]:
    """(property, type) of all, also of those inside a switch or a lock; of a composite the whole."""
    for each in exposes if depth < _DEEPEST else ():
        if not isinstance(each, Mapping):
            continue
        name, type_ = each.get("property"), each.get("type")
        if isinstance(name, str) and isinstance(type_, str):
            yield name, type_
        features = each.get("features")
        if isinstance(features, list) and not isinstance(name, str):
            yield from _properties(features, depth + 1)


def _exposed(spec: PointSpec, types: Mapping[str, str]) -> bool:
    options: ZigbeePointOptions = spec.options
    type_ = types.get(_path(spec)[0])
    if type_ is None:
        return _path(spec)[0] in ("linkquality", "last_seen")  # of every device, not always exposed
    if type_ not in ("binary", "numeric") or options.values or options.steps:
        return True
    return (type_ == "numeric") == (spec.point.kind is ValueKind.NUMBER) or spec.point.kind is ValueKind.TEXT
