"""JSON Schema of the rule format as far as this version goes, for completion and red underlines in an editor.

The check itself does not use it: it gives better places and reasons.
"""

from __future__ import annotations

from typing import Any

from gateway.model import Priority
from rules.alarm import NoData
from rules.reader import FORMAT, PLACES
from rules.rule import Mode

_TEXT = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {"zh": {"type": "string"}, "en": {"type": "string"}},
        },
    ]
}
_PART = r"[0-9]+(\.[0-9]+)?\s*(ms|s|min|h|d)"
_DURATION = {
    "anyOf": [{"type": "string", "pattern": rf"^\s*({_PART}\s*)+$"}, {"const": 0}],
    "description": "时长，如 90s、3 min、1 h 30 min / a duration",
}
_CONDITION = {
    "type": "string",
    "minLength": 1,
    "maxLength": 500,
    "description": "条件，如 gas1.lel >= 10 %LEL / a condition",
}
_WORDS = {"anyOf": [{"type": ["string", "integer"]}, {"type": "array", "items": {"type": ["string", "integer"]}}]}


def json_schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Alarm rules, format {FORMAT}",
        "type": "object",
        "additionalProperties": False,
        "required": ["format", "rules"],
        "properties": {
            "format": {"const": FORMAT},
            "site": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"id": {"type": "string"}, "name": _TEXT, "timezone": {"type": "string"}},
            },
            "rules": {"type": "array", "items": {"$ref": "#/$defs/rule"}},
        },
        "$defs": {"rule": _rule()},
    }


def _rule() -> dict[str, Any]:
    within = {"zh": {"type": "string"}, "en": {"type": "string"}, "within": _DURATION}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "when"],
        "properties": {
            "id": {"type": "string", "pattern": r"^[^\W\d]\w*$", "maxLength": 64},
            "name": _TEXT,
            "note": _TEXT,
            "mode": _choice(Mode, Mode.LIVE),
            "for_each": {
                "type": "object",
                "additionalProperties": False,
                "required": ["type"],
                "properties": dict.fromkeys(("type", *PLACES), _WORDS),
                "description": "type: 设备类型或 any / the kind of device, or any",
            },
            "when": _CONDITION,
            "clear_when": _CONDITION,
            "deadband": {"type": ["string", "number"], "description": "如 2 °C / such as 2 °C"},
            "for": _DURATION,
            "clear_after": _DURATION,
            "priority": _choice(Priority, Priority.MEDIUM),
            "ack": {"enum": ["required", "auto"], "default": "required"},
            "if_no_data": _choice(NoData, NoData.HOLD),
            "no_data_after": _DURATION,
            "backlog": {"const": "ignore"},
            "message": _TEXT,
            "response": {"type": "object", "additionalProperties": False, "properties": within},
        },
    }


def _choice(words: type[Mode] | type[Priority] | type[NoData], default: Mode | Priority | NoData) -> dict[str, Any]:
    return {"enum": [str(word) for word in words], "default": str(default)}
