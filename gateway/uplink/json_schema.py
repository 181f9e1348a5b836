"""TypedDicts become JSON Schemas.  Only what the messages need; anything else is a TypeError, never a loose schema.

The keywords used mean the same in draft 07 (AsyncAPI's own) and in draft 2020-12.
"""

from __future__ import annotations

import enum
import inspect
import types
from collections.abc import Mapping
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from gateway.messages import Is

Schema = dict[str, Any]
_PLAIN: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


class Definitions:
    """Collects what the schemas refer to.  *prefix*: where the definitions will stand in the document."""

    def __init__(self, prefix: str) -> None:
        self.schemas: dict[str, Schema] = {}
        self._prefix = prefix

    def ref(self, shape: type) -> Schema:
        """A reference to a TypedDict, which is then among ``schemas``."""
        if shape.__name__ not in self.schemas:
            self.schemas[shape.__name__] = {}  # its place, before what it refers to
            self.schemas[shape.__name__] |= self._object(shape)
        return {"$ref": self._prefix + shape.__name__}

    def _object(self, shape: type) -> Schema:
        hints = get_type_hints(shape, include_extras=True)
        # Not __required_keys__: with annotations as texts Python 3.11 does not see NotRequired there.
        total: bool = shape.__total__  # type: ignore[attr-defined]
        required = [name for name, hint in hints.items() if total and get_origin(hint) is not NotRequired]
        schema: Schema = {"type": "object", "description": inspect.cleandoc(shape.__doc__ or "")}
        if required:
            schema["required"] = required
        schema["properties"] = {name: self._of(hint) for name, hint in hints.items()}
        return schema

    def _of(self, hint: Any) -> Schema:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is NotRequired:
            return self._of(arguments[0])
        if origin is Annotated:
            schema = self._of(arguments[0])
            for word in arguments[1:]:  # a description nearer to the field comes later
                schema |= _said(word)
            return schema
        if origin is Literal:
            return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
        if origin in (Union, types.UnionType):
            return self._union(arguments)
        if origin is list:
            return {"type": "array", "items": self._of(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self._of(arguments[1])}
        return self._named(hint)

    def _named(self, hint: Any) -> Schema:
        if hint is Any:
            return {}
        if is_typeddict(hint):
            return self.ref(hint)
        if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
            return {"type": "string", "enum": [str(member) for member in hint]}
        if hint in _PLAIN:
            return {"type": _PLAIN[hint]}
        raise TypeError(f"no schema for {hint!r}")

    def _union(self, members: tuple[Any, ...]) -> Schema:
        schemas = [self._of(member) for member in members]
        kinds = [schema["type"] for schema in schemas if list(schema) == ["type"]]
        if len(kinds) != len(schemas):
            return {"anyOf": schemas}
        if "number" in kinds and "integer" in kinds:
            kinds.remove("integer")
        return {"type": kinds}


def _said(word: object) -> Schema:
    if not isinstance(word, Is):
        raise TypeError(f"an annotation that is no {Is.__name__}: {word!r}")
    schema: Schema = {}
    if word.says:
        schema["description"] = word.says
    if word.pattern is not None:
        schema["pattern"] = word.pattern
    if word.minimum is not None:
        schema["minimum"] = word.minimum
    if word.length is not None:
        schema |= {"minItems": word.length, "maxItems": word.length}
    if word.only:
        schema["enum"] = [str(each) for each in word.only]
    if word.known:
        schema["examples"] = [str(each) for each in word.known]
    return schema
