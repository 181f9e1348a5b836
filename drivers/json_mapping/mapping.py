"""What a message says, as the profile describes it: paths, codes, records, events.  Pure.

    lift/L-07/status   {"TY": "M", "ST": "S", "D": "lpPuYAEAAAEAAQAAAQBcAAAAACY="}
    pattern: lift/{address}/status        record: D, byte: 15, format: u8, values: {"0": normal, "1": inspection}

The topic of MQTT and the path of an HTTP request are the same thing here.  Nothing of a payload is taken that the
profile does not name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import Any

from drivers.base import DeviceSpec, Happening, PointSpec
from drivers.json_mapping.options import EventOptions, MappedPointOptions, TimeOptions
from drivers.json_mapping.payload import (
    MISSING,
    Json,
    Unreadable,
    believed,
    clean,
    key_of,
    look_up,
    parse,
    plain,
    steps,
    time_of,
)
from drivers.json_mapping.reading import FRESH_MS, Times, reading_of
from drivers.json_mapping.records import Layout, Type, number_at, reaches, unwrap
from gateway.model import Reading

WHOLE = "$"
"""The path that means the payload itself, which then need not be JSON."""


# ---------------------------------------------------------------------- topics


def matched(pattern: Sequence[str], levels: Sequence[str]) -> Mapping[str, str] | None:
    """What stands for each ``{name}`` of the pattern; None where the topic does not match.

    ``+`` is any level, ``#`` at the end any number of them.
    """
    if pattern[-1] == "#":
        pattern, levels = pattern[:-1], levels[: len(pattern) - 1]
    if len(pattern) != len(levels):
        return None
    found: dict[str, str] = {}
    for part, level in zip(pattern, levels, strict=True):
        if part.startswith("{"):
            found[part[1:-1]] = level
        elif part not in ("+", level):
            return None
    return found


def ends_with(topic: str, tail: str | None) -> bool:
    return tail is None or topic == tail or topic.endswith("/" + tail)


# ---------------------------------------------------------------------- payloads


class Records:
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


def document_of(device: DeviceSpec, payload: bytes) -> Json:
    """A payload that is no JSON is a text where a point is the whole payload; else MISSING."""
    try:
        return parse(payload)
    except Unreadable:
        whole = any(WHOLE in (spec.options.path, spec.options.record) for spec in device.points.values())
        if not whole:
            return MISSING
    try:
        return payload.decode("utf-8").strip()
    except UnicodeDecodeError:
        return MISSING


def raw_of_point(spec: PointSpec, topic: str, document: Json, records: Records) -> Json:
    """MISSING where the message says nothing of it."""
    options: MappedPointOptions = spec.options
    if not ends_with(topic, options.topic) or not _matches(document, options.when):
        return MISSING
    if options.layout is not None:
        return records.number(options.record or "", options.layout)
    return document if options.path == WHOLE else look_up(document, steps(options.path or ""))


def readings_of(device: DeviceSpec, topic: str, document: Json, times: Times) -> list[Reading]:
    records = Records(document)
    found = ((spec, raw_of_point(spec, topic, document, records)) for spec in device.points.values())
    return [reading_of(spec, raw, times) for spec, raw in found if raw is not MISSING]


def happenings_of(events: Sequence[EventOptions], topic: str, document: Json, times: Times) -> Iterator[Happening]:
    for event in events:
        if not ends_with(topic, event.topic) or not _matches(document, event.when):
            continue
        attributes = {name: plain(look_up(document, steps(path))) for name, path in event.attributes.items()}
        named = {name: key_of(look_up(document, steps(path))) for name, path in event.personal.items()}
        personal = {name: clean(text) for name, text in named.items() if text and text != "null"}
        yield Happening(event.kind, times.source_ms, {**attributes, **event.constants}, personal)


def times_of(
    options: TimeOptions | None, document: Json, zone: tzinfo, now_ms: int, *, retained: bool = False
) -> Times:
    """The device's own clock where it can be right, else when it was heard."""
    said_ms = None if options is None else said_time_of(options, document, zone)
    within_ms = 0 if options is None else round(options.within_s * 1000)
    source_ms = believed(said_ms, now_ms, past_ms=within_ms, ahead_ms=within_ms)
    if source_ms is None:
        return Times(now_ms, now_ms, old=retained)
    return Times(source_ms, now_ms, old=retained and now_ms - source_ms > FRESH_MS)


def said_time_of(options: TimeOptions, document: Json, zone: tzinfo) -> int | None:
    """UTC milliseconds as the device says them, believable or not."""
    if options.path is not None:
        return time_of(look_up(document, steps(options.path)), zone)
    layout = Layout(options.byte or 0, Type.U32, options.order)
    return time_of(Records(document).number(options.record or "", layout), zone)


def _matches(document: Json, when: Mapping[str, Any]) -> bool:
    for path, wanted in when.items():
        found = look_up(document, steps(path))
        if found is MISSING or (found is None if wanted == "*" else key_of(found) != key_of(wanted)):
            return False
    return True
