"""Whether one JSON Schema says of a message all that an older one said; and the schema that knows no unknown field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Schema = dict[str, Any]
FROZEN = Path(__file__).parent / "v1"
_FREE = frozenset({"description", "examples", "$defs", "$schema", "$ref", "properties", "required", "items"})


def frozen() -> dict[str, Schema]:
    """File name -> the schema others have built against."""
    return {file.name: json.loads(file.read_text("utf-8")) for file in sorted(FROZEN.glob("*.schema.json"))}


def breaks(old: Schema, new: Schema, *, sent: bool) -> list[str]:
    """What somebody who relies on *old* could not bear in *new*.  *sent*: by the gateway; else received by it."""
    return list(_compare(old, new, old, new, "$", sent))


def _compare(old: Schema, new: Schema, before: Schema, after: Schema, place: str, sent: bool) -> Iterator[str]:
    """*before*, *after*: the whole documents, for the references."""
    old, new = _resolved(old, before), _resolved(new, after)
    yield from _promises(old, new, place, sent)
    for key in sorted((old.keys() | new.keys()) - _FREE):
        if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
            yield from _compare(old[key], new[key], before, after, f"{place}.{key}", sent)
        elif _plain(old.get(key), before) != _plain(new.get(key), after):
            yield f"{place}: {key} was {old.get(key)!r}, is {new.get(key)!r}"
    if ("items" in old) != ("items" in new):
        yield f"{place}: items"
    elif "items" in old:
        yield from _compare(old["items"], new["items"], before, after, f"{place}[]", sent)
    for name, schema in old.get("properties", {}).items():
        if name in new.get("properties", {}):
            yield from _compare(schema, new["properties"][name], before, after, f"{place}.{name}", sent)


def _promises(old: Schema, new: Schema, place: str, sent: bool) -> Iterator[str]:
    for name in old.get("properties", {}):
        if name not in new.get("properties", {}):
            yield f"{place}.{name}: removed"
    was, now = set(old.get("required", [])), set(new.get("required", []))
    for name in sorted(now - was):
        yield f"{place}.{name}: required now"
    for name in sorted(was - now if sent else ()):
        yield f"{place}.{name}: no longer promised"


def _resolved(schema: Schema, document: Schema) -> Schema:
    if "$ref" not in schema:
        return schema
    target: Any = document
    for step in schema["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return {**target, **{key: value for key, value in schema.items() if key not in ("$ref", "$defs", "$schema")}}


def _plain(value: Any, document: Schema) -> Any:
    """*value* with its references replaced, and without words for people."""
    if isinstance(value, list):
        return [_plain(each, document) for each in value]
    if isinstance(value, dict):
        found = _resolved(value, document)
        return {key: _plain(each, document) for key, each in found.items() if key not in ("description", "examples")}
    return value


def closed(schema: Any) -> Any:
    """The same schema, but a field it does not describe is a fault."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tight = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and schema.get("type") == "object":
        tight["additionalProperties"] = False
    return tight
