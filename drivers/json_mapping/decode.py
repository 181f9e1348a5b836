"""Shows a payload under the words a profile must use: the path of every value, and the records inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from drivers.base import Decoded, DecodedFrame, Fault, Field
from drivers.json_mapping.payload import Json, Unreadable, parse, plain
from drivers.json_mapping.records import unwrap

_DEEPEST = 16
_MOST_FIELDS = 500
_SHORTEST_RECORD = 4


def decode_payload(topic: str, payload: bytes) -> Decoded:
    try:
        document = parse(payload)
    except Unreadable as exc:
        return Decoded(fault=Fault("not_json", f"不是 JSON / no JSON: {exc}", _offset(exc)))
    fields = tuple(islice(_fields("", document, 0), _MOST_FIELDS))
    return Decoded((DecodedFrame("response", topic, "", fields),))


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
