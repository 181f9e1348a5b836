"""OCPP-J 1.6 messages as they stand on a WebSocket.  Pure.

[2,"19223201","Heartbeat",{}]   a question      [3,"19223201",{…}]   its answer     [4,"19223201","code","text",{}]   no
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

CALL, RESULT, ERROR = 2, 3, 4
LONGEST_ID, LONGEST_ACTION = 36, 64
DEEPEST: Final = 12
"""MeterValues is 5 deep."""


class FrameError(ValueError):
    """Not an OCPP message.  Its text holds nothing of the message: there may be a card's number in it."""


@dataclass(frozen=True, slots=True)
class Call:
    id: str
    action: str
    payload: dict[str, Any]

    def to_text(self) -> str:
        return _written([CALL, self.id, self.action, self.payload])


@dataclass(frozen=True, slots=True)
class Result:
    id: str
    payload: dict[str, Any]

    def to_text(self) -> str:
        return _written([RESULT, self.id, self.payload])


@dataclass(frozen=True, slots=True)
class Error:
    id: str
    code: str
    """FormationViolation, NotSupported, NotImplemented, InternalError ... (OCPP-J 1.6, 4.2.3)."""
    description: str = ""

    def to_text(self) -> str:
        return _written([ERROR, self.id, self.code, self.description, {}])


Message: TypeAlias = Call | Result | Error


def parse(text: str) -> Message:
    """Raises FrameError."""
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise FrameError("no JSON") from (None if isinstance(exc, json.JSONDecodeError) else exc)
    if not isinstance(found, list) or len(found) < 3 or not isinstance(found[0], int) or isinstance(found[0], bool):
        raise FrameError("not a list of message type, id and what follows")
    kind, id_ = found[:2]
    if not isinstance(id_, str) or not 0 < len(id_) <= LONGEST_ID or not id_.isprintable():
        raise FrameError("the id is not a text of 1 to 36 characters")
    if kind == CALL and len(found) == 4 and isinstance(found[2], str) and isinstance(found[3], dict):
        return _call(id_, found[2], found[3])
    if kind == RESULT and len(found) == 3 and isinstance(found[2], dict):
        return Result(id_, found[2])
    if kind == ERROR and len(found) == 5 and isinstance(found[2], str) and isinstance(found[3], str):
        return Error(id_, found[2][:LONGEST_ACTION], found[3][:255])
    raise FrameError("the parts do not fit the message type")


def _call(id_: str, action: str, payload: dict[str, Any]) -> Call:
    if not 0 < len(action) <= LONGEST_ACTION or not action.isalnum() or not action.isascii():
        raise FrameError("the action is not a word")
    if _depth(payload) > DEEPEST:
        raise FrameError("nested too deep")
    return Call(id_, action, payload)


def _depth(value: object) -> int:
    depth = 0
    layer: list[Any] = [value]
    while layer and depth <= DEEPEST:
        inner = [each for held in layer for each in (held.values() if isinstance(held, dict) else held)]
        layer = [each for each in inner if isinstance(each, dict | list)]
        depth += 1
    return depth


def _no_constant(_name: str) -> object:
    raise ValueError("NaN and Infinity are no JSON")


def _written(parts: list[Any]) -> str:
    return json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
