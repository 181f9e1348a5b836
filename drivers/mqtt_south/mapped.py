"""Any device that publishes JSON, as its profile describes it: topics, paths, codes, records, events, commands.  Pure.

    lift/L-07/status   {"TY": "M", "ST": "S", "D": "lpPuYAEAAAEAAQAAAQBcAAAAACY="}
    pattern: lift/{address}/status        record: D, byte: 15, format: u8, values: {"0": normal, "1": inspection}

Nothing of a payload is taken that the profile does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from drivers.base import DeviceSpec, Happening, HubSpec, PointSpec
from drivers.mqtt_south.config import (
    EventOptions,
    JsonHubOptions,
    JsonOptions,
    JsonPointOptions,
    TimeOptions,
)
from drivers.mqtt_south.dialect import (
    FRESH_MS,
    MOST_BYTES,
    Command,
    Heard,
    Said,
    Stranger,
    Times,
    by_address,
    meaning_of,
    reading_of,
    same,
    to_json,
)
from drivers.mqtt_south.memory import Notes
from drivers.mqtt_south.packet import Message
from drivers.mqtt_south.payload import (
    MISSING,
    Json,
    Unfit,
    Unreadable,
    believed,
    clean,
    key_of,
    look_up,
    parse,
    plain,
    raw_of,
    steps,
    time_of,
    value_of,
)
from drivers.mqtt_south.records import Layout, Type, number_at, reaches, unwrap
from gateway.errors import DeviceRejected
from gateway.model import PointId, Value

WHOLE = "$"
"""The path that means the payload itself, which then need not be JSON."""
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
            address = _address(parts, levels)
            if address is None:
                continue
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
        document = _document(device, message)
        if document is MISSING:
            return (Stranger(address, f"configured as {device.id}, but its message is no JSON"),)
        if options.identity is not None and key_of(look_up(document, steps(options.identity))) != address:
            return (Stranger(address, f"configured as {device.id}, but a message on its topic is of another device"),)
        times = self._times(options.time, document, message.retained, now_ms)
        records = _Records(document)
        found = ((spec, _raw(spec, message.topic, document, records)) for spec in device.points.values())
        readings = [reading_of(spec, raw, times) for spec, raw in found if raw is not MISSING]
        happenings = [] if message.retained else list(_happenings(options.events, message.topic, document, times))
        if message.retained and not readings:
            return ()
        return (Said(device.id, readings, happenings),)

    def _times(self, options: TimeOptions | None, document: Json, retained: bool, now_ms: int) -> Times:
        if options is None:
            return Times(now_ms, now_ms, old=retained)
        if options.path is not None:
            said_ms = time_of(look_up(document, steps(options.path)), self._zone)
        else:
            layout = Layout(options.byte or 0, Type.U32, options.order)
            said_ms = time_of(_Records(document).number(options.record or "", layout), self._zone)
        within_ms = round(options.within_s * 1000)
        source_ms = believed(said_ms, now_ms, past_ms=within_ms, ahead_ms=within_ms)
        if source_ms is None:
            return Times(now_ms, now_ms, old=retained)
        return Times(source_ms, now_ms, old=retained and now_ms - source_ms > FRESH_MS)

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


def _address(pattern: Sequence[str], levels: Sequence[str]) -> str | None:
    """What stands for the address; None where the topic does not match."""
    if pattern[-1] == "#":
        pattern, levels = pattern[:-1], levels[: len(pattern) - 1]
    if len(pattern) != len(levels):
        return None
    if any(part not in (_ADDRESS, "+", level) for part, level in zip(pattern, levels, strict=True)):
        return None
    return levels[pattern.index(_ADDRESS)]


def _within(inner: str, outer: str) -> bool:
    """Whether every topic that *inner* matches is matched by *outer*."""
    inside, around = inner.split("/"), outer.split("/")
    for at, part in enumerate(around):
        if part == "#":
            return True
        if at >= len(inside) or inside[at] == "#" or part not in ("+", inside[at]):
            return False
    return len(inside) == len(around)


def _ends_with(topic: str, tail: str | None) -> bool:
    return tail is None or topic == tail or topic.endswith("/" + tail)


# ---------------------------------------------------------------------- payloads


class _Records:
    """The records of one payload, unwrapped once each."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._records: dict[str, bytes | None] = {}

    def number(self, path: str, layout: Layout) -> Json:
        if path not in self._records:
            wrapped = self._document if path == WHOLE else look_up(self._document, steps(path))
            self._records[path] = unwrap(wrapped)
        record = self._records[path]
        return MISSING if record is None or not reaches(record, layout) else number_at(record, layout)


def _document(device: DeviceSpec, message: Message) -> Json:
    """A payload that is no JSON is a text where a point is the whole payload; else MISSING."""
    try:
        return parse(message.payload)
    except Unreadable:
        whole = any(WHOLE in (spec.options.path, spec.options.record) for spec in device.points.values())
        if not whole:
            return MISSING
    try:
        return message.payload.decode("utf-8").strip()
    except UnicodeDecodeError:
        return MISSING


def _raw(spec: PointSpec, topic: str, document: Json, records: _Records) -> Json:
    options: JsonPointOptions = spec.options
    if not _ends_with(topic, options.topic) or not _matches(document, options.when):
        return MISSING
    if options.layout is not None:
        return records.number(options.record or "", options.layout)
    return document if options.path == WHOLE else look_up(document, steps(options.path or ""))


def _matches(document: Json, when: Mapping[str, Any]) -> bool:
    for path, wanted in when.items():
        found = look_up(document, steps(path))
        if found is MISSING or (found is None if wanted == "*" else key_of(found) != key_of(wanted)):
            return False
    return True


def _happenings(events: Sequence[EventOptions], topic: str, document: Json, times: Times) -> Iterator[Happening]:
    for event in events:
        if not _ends_with(topic, event.topic) or not _matches(document, event.when):
            continue
        attributes = {name: plain(look_up(document, steps(path))) for name, path in event.attributes.items()}
        named = {name: key_of(look_up(document, steps(path))) for name, path in event.personal.items()}
        personal = {name: clean(text) for name, text in named.items() if text and text != "null"}
        yield Happening(event.kind, times.source_ms, {**attributes, **event.constants}, personal)


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
    document = _document(device, message)
    raw = MISSING if document is MISSING else _raw(spec, message.topic, document, _Records(document))
    try:
        return raw is not MISSING and same(value_of(spec.point, raw, meaning_of(spec.options)), value)
    except Unfit:
        return False
