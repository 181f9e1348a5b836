"""Any device that publishes JSON, as its profile describes it: topics, paths, codes, records, events, commands.  Pure.

What a payload says is read by json_mapping/mapping.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.json_mapping.mapping import (
    Records,
    document_of,
    happenings_of,
    matched,
    raw_of_point,
    readings_of,
    times_of,
)
from drivers.json_mapping.payload import MISSING, Json, Unfit, clean, key_of, look_up, raw_of, steps, value_of
from drivers.json_mapping.reading import by_address, meaning_of, same
from drivers.mqtt_client.packet import Message
from drivers.mqtt_south.config import JsonHubOptions, JsonOptions, JsonPointOptions
from drivers.mqtt_south.dialect import MOST_BYTES, Command, Heard, Said, Stranger, to_json
from drivers.mqtt_south.memory import Notes
from gateway.errors import DeviceRejected
from gateway.model import PointId, Value

_ADDRESS = "{address}"


class Mapped:
    def __init__(self, spec: HubSpec) -> None:
        options: JsonHubOptions = spec.options
        assert isinstance(options, JsonHubOptions)
        self._zone = spec.zone
        self._of: dict[tuple[str, str], DeviceSpec] = by_address(
            spec, lambda device: (device.options.topic, device.options.address)
        )
        self._patterns = [
            (pattern, pattern.split("/")) for pattern in dict.fromkeys(pattern for pattern, _ in self._of)
        ]

    @property
    def filters(self) -> Sequence[str]:
        """A filter within another would bring its messages twice."""
        wanted = dict.fromkeys(pattern.replace(_ADDRESS, "+") for pattern, _ in self._patterns)
        return [each for each in wanted if not any(_within(each, other) for other in wanted if other != each)]

    def most_bytes(self, topic: str) -> int:
        return MOST_BYTES

    def device_of(self, topic: str) -> str | None:
        device, _ = self._find(topic)
        return None if device is None else device.id

    def _find(self, topic: str) -> tuple[DeviceSpec | None, str]:
        """The device, or the address of one that nobody has configured."""
        stranger = ""
        levels = topic.split("/")
        for pattern, parts in self._patterns:
            found = matched(parts, levels)
            if found is None:
                continue
            address = found["address"]
            device = self._of.get((pattern, address))
            if device is not None:
                return device, address
            stranger = stranger or address
        return None, stranger

    def hear(self, message: Message, now_ms: int, notes: Callable[[str], Notes]) -> Heard:
        device, address = self._find(message.topic)
        if device is None:
            return (Stranger(clean(address), f"not configured; {clean(message.topic)}"),) if address else ()
        options: JsonOptions = device.options
        document = document_of(device, message.payload)
        if document is MISSING:
            return (Stranger(address, f"configured as {device.id}, but its message is no JSON"),)
        if options.identity is not None and key_of(look_up(document, steps(options.identity))) != address:
            return (Stranger(address, f"configured as {device.id}, but a message on its topic is of another device"),)
        times = times_of(options.time, document, self._zone, now_ms, retained=message.retained)
        readings = readings_of(device, message.topic, document, times)
        happenings = [] if message.retained else list(happenings_of(options.events, message.topic, document, times))
        if message.retained and not readings:
            return ()
        return (Said(device.id, readings, happenings),)

    # ------------------------------------------------------------------ commands

    def command(self, device: str, point: PointId, value: Value, notes: Notes) -> Command:
        spec = next(each for each in self._of.values() if each.id == device)
        of_point = spec.points[point]
        options: JsonPointOptions = of_point.options
        if options.command is None:
            raise DeviceRejected(f"{point}: the profile has no command for it", 0)
        raw = raw_of(value, meaning_of(options))
        payload = _filled(options.command.payload, raw)
        body = payload.encode("utf-8") if isinstance(payload, str) else to_json(payload)
        topic = options.command.topic.replace(_ADDRESS, spec.options.address)

        def answered(message: Message) -> bool:
            return self._find(message.topic)[0] is spec and _shows(spec, of_point, message, value)

        return Command(topic, body, answered)


# ---------------------------------------------------------------------- topics


def _within(inner: str, outer: str) -> bool:
    """Whether every topic that *inner* matches is matched by *outer*."""
    inside, around = inner.split("/"), outer.split("/")
    for at, part in enumerate(around):
        if part == "#":
            return True
        if at >= len(inside) or inside[at] == "#" or part not in ("+", inside[at]):
            return False
    return len(inside) == len(around)


def _filled(template: Any, raw: Json) -> Any:
    """Each text ``{value}`` becomes the value with its type; inside a longer text, its words."""
    match template:
        case "{value}":
            return raw if not isinstance(raw, float) or not raw.is_integer() else int(raw)
        case str():
            return template.replace("{value}", key_of(raw) or "")
        case Mapping():
            return {key: _filled(each, raw) for key, each in template.items()}
        case list():
            return [_filled(each, raw) for each in template]
    return template


def _shows(device: DeviceSpec, spec: PointSpec, message: Message, value: Value) -> bool:
    document = document_of(device, message.payload)
    raw = MISSING if document is MISSING else raw_of_point(spec, message.topic, document, Records(document))
    try:
        return raw is not MISSING and same(value_of(spec.point, raw, meaning_of(spec.options)), value)
    except Unfit:
        return False
