"""JSON Schema of the rule format, for completion and red underlines in an editor.  Keys and words in both languages.

The check itself does not use it: it gives better places and reasons.
"""

from __future__ import annotations

import enum
from typing import Any

from gateway.model import Priority
from rules.alarm import NoData
from rules.aliases import KEYS, WORDS
from rules.reader import FOR_EACH_KEYS, FORMAT
from rules.rule import Group, Mode, While

_TEXT = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {key: {"type": "string"} for key in ("zh", "en", "中文", "英文")},
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


_SEND = {"type": "string", "pattern": r"^[^\s.]+\.[^\s.]+$", "description": "设备.动作 / device.action"}
_QUANTITY = {"type": ["string", "number"], "description": "如 2 °C / such as 2 °C"}
_RATE = {"type": "string", "description": "如 1 per 10 min / such as 1 per 10 min"}
_COUNT = {"type": "integer", "minimum": 1}


def json_schema() -> dict[str, Any]:
    schema = _object(
        {
            "format": {"const": FORMAT},
            "site": _site(),
            "schedules": {"type": "object", "additionalProperties": {"$ref": "#/$defs/schedule"}},
            "limits": _object({"max_raises_per_day": {"type": "integer", "minimum": 0, "maximum": 1_000_000}}),
            "rules": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/rule"}, {"$ref": "#/$defs/job"}]}},
        },
        required=("format", "rules"),
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Alarm rules, format {FORMAT}",
        **schema,
        "$defs": {"rule": _rule(), "job": _job(), "action": _action(), "schedule": _schedule()},
    }


_NAMES = {key: alias for alias, key in KEYS.items()}


def _object(properties: dict[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """A mapping whose keys may be written in Chinese as well."""
    both = dict(properties)
    both |= {_NAMES[key]: value for key, value in properties.items() if key in _NAMES}
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": both}
    needed = [{"anyOf": [{"required": [key]}, {"required": [_NAMES.get(key, key)]}]} for key in required]
    return schema | ({"allOf": needed} if needed else {})


def _site() -> dict[str, Any]:
    flood = _object({"start": _COUNT, "end": _COUNT, "within": _DURATION, "summary_every": _DURATION})
    return _object(
        {
            "id": {"type": "string"},
            "name": _TEXT,
            "timezone": {"type": "string", "description": "如 Asia/Shanghai / such as Asia/Shanghai"},
            "languages": _WORDS,
            "group_by": _choice(Group, Group.NONE),
            "group_wait": _DURATION,
            "flood": flood,
            "repeat": {"type": "object", "additionalProperties": _DURATION},
        }
    )


def _schedule() -> dict[str, Any]:
    daily = {"type": "string", "description": "如 22:00-06:00 / such as 22:00-06:00"}
    words = {"type": "string"}
    return _object({"daily": daily, "weekdays": words, "except": words})


def _action() -> dict[str, Any]:
    confirm = _object({"point": {"type": "string"}, "is": {}, "within": _DURATION}, required=("point", "is", "within"))
    return _object(
        {
            "send": _SEND,
            "hold": {"type": "boolean"},
            "while": _choice(While, None),
            "confirm": confirm,
            "tries": {"type": "integer", "minimum": 1, "maximum": 10},
            "else": {"type": "array", "items": _SEND},
            "at_most": _RATE,
            "at_most_for": _DURATION,
            "keep": _DURATION,
            "optional": {"type": "boolean"},
        },
        required=("send",),
    )


def _job() -> dict[str, Any]:
    return _object(
        {
            "id": _ID,
            "name": _TEXT,
            "note": _TEXT,
            "mode": _choice(Mode, Mode.LIVE),
            "at": {"type": "string", "description": '如 "02:30" / such as "02:30"'},
            "on_alarm": _ACTIONS,
        },
        required=("id", "at"),
    )


_ID = {"type": "string", "pattern": r"^[^\W\d]\w*$", "maxLength": 64}
_ACTIONS = {"type": "array", "items": {"$ref": "#/$defs/action"}}


def _values() -> dict[str, Any]:
    case = _object({"when": _CONDITION, "use": _QUANTITY}, required=("when", "use"))
    value = _object(
        {"default": _QUANTITY, "cases": {"type": "array", "items": case}, "expires_after": _DURATION},
        required=("default",),
    )
    return {"type": "object", "additionalProperties": value}


def _rule() -> dict[str, Any]:
    truth = {"type": "boolean"}
    words = {"type": "string"}
    chatter = _object({"raises": _COUNT, "within": _DURATION, "calm": _DURATION}, required=("raises", "within", "calm"))
    escalation = _object({"after": _DURATION, "to": words}, required=("after", "to"))
    reset = _object({"who": _WORDS, "reason": _among("required", "optional")})
    return _object(
        {
            "id": _ID,
            "name": _TEXT,
            "note": _TEXT,
            "mode": _choice(Mode, Mode.LIVE),
            "for_each": _object(dict.fromkeys(FOR_EACH_KEYS, _WORDS), required=("type",))
            | {"description": "type: 设备类型或 any / the kind of device, or any"},
            "values": _values(),
            "when": _CONDITION,
            "clear_when": _CONDITION,
            "deadband": _QUANTITY,
            "for": _DURATION,
            "clear_after": _DURATION,
            "only_during": {"anyOf": [words, {"$ref": "#/$defs/schedule"}]},
            "priority": _choice(Priority, Priority.MEDIUM),
            "latch": truth,
            "reset": reset,
            "ack": _among("required", "auto"),
            "shelve": {"anyOf": [_among("never"), _DURATION]},
            "bad_counts_as": _among("none", "vote"),
            "if_no_data": _choice(NoData, NoData.HOLD),
            "no_data_after": _DURATION,
            "act_on_no_data": truth,
            "suppress_when": _CONDITION,
            "wait_for_parent": _DURATION,
            "chatter": chatter,
            "backlog": _among("ignore", "record"),
            "escalate": {"type": "array", "items": escalation},
            "notify": _WORDS,
            "on_alarm": _ACTIONS,
            "on_clear": _ACTIONS,
            "on_ack": _ACTIONS,
            "on_reset": _ACTIONS,
            "message": _TEXT,
            "response": _object({"zh": words, "en": words, "within": _DURATION}),
        },
        required=("id", "when"),
    )


def _choice(words: type[enum.StrEnum], default: str | None) -> dict[str, Any]:
    schema = _among(*(str(word) for word in words))
    return schema if default is None else schema | {"default": str(default)}


def _among(*words: str) -> dict[str, Any]:
    chinese = [zh for zh, en in WORDS.items() if en in words]
    return {"enum": [*words, *chinese]}
