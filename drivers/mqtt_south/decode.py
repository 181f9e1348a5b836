"""Explains a captured payload under the words a profile must use: the path of every value, and the records inside.

Give it the payload itself, or a whole MQTT PUBLISH packet as it was on the wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.mqtt_south import packet
from drivers.mqtt_south.packet import Kind, Malformed, Message
from drivers.mqtt_south.payload import Json, Unreadable, parse, plain
from drivers.mqtt_south.records import unwrap

_DEEPEST = 16
_MOST_FIELDS = 500
_SHORTEST_RECORD = 4


def decode(data: bytes) -> Decoded:
    message = _message(data)
    try:
        document = parse(message.payload)
    except Unreadable as exc:
        return Decoded(fault=Fault("not_json", f"不是 JSON / no JSON: {exc}", _offset(exc)))
    fields = []
    for number, found in enumerate(_fields("", document, 0)):
        if number >= _MOST_FIELDS:
            break
        fields.append(found)
    return Decoded((DecodedFrame("response", message.topic, "", tuple(fields)),))


def _message(data: bytes) -> Message:
    """The PUBLISH that the bytes are, exactly; else a message that has them as its payload."""
    try:
        if data[:1] and data[0] >> 4 == Kind.PUBLISH:
            length = packet.remaining_length(data[1 : 1 + packet.MOST_LENGTH_BYTES])
            if length is not None and length <= len(data):
                return packet.parse_publish(data[0], data[len(data) - length :])
    except Malformed:
        pass
    return Message("", data)


def _offset(exc: Unreadable) -> int | None:
    position = getattr(exc.__cause__, "pos", None)
    return position if isinstance(position, int) else None


def _fields(path: str, document: Json, depth: int) -> Iterator[Field]:
    if isinstance(document, Mapping) and depth < _DEEPEST:
        for key, value in document.items():
            yield from _fields(_joined(path, key), value, depth + 1)
    elif isinstance(document, list) and depth < _DEEPEST:
        for index, value in enumerate(document):
            yield from _fields(_joined(path, str(index)), value, depth + 1)
    else:
        yield Field(path or "$", plain(document))
        yield from _record(path, document)


def _joined(path: str, key: str) -> str:
    """A dotted path; a JSON pointer from the first key on that has a dot or a slash in it."""
    if path.startswith("/") or "." in key or "/" in key or not key:
        before = path if path.startswith("/") else "".join(f"/{step}" for step in path.split(".") if step)
        return f"{before}/{key.replace('~', '~0').replace('/', '~1')}"
    return f"{path}.{key}" if path else key


def _record(path: str, document: Any) -> Iterator[Field]:
    """A text that may be a record in base64: as hex."""
    record = unwrap(document)
    if record is None or len(record) < _SHORTEST_RECORD or (isinstance(document, str) and document.isalnum()):
        return
    yield Field(f"{path} (record)", record.hex(" "))
