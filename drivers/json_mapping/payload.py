"""JSON from others: read within limits, looked up by path, and made a value of a point.  Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, TypeAlias

from gateway.model import Point, Reason, Value, ValueKind

Json: TypeAlias = Any

MOST_TEXT = 256
"""Characters of a text point or an attribute; the rest is cut off."""
_MOST_DIGITS = 30
_WORDS = {"true": True, "on": True, "1": True, "yes": True, "false": False, "off": False, "0": False, "no": False}
PAST_MS = 7 * 86_400_000
"""How long ago a server that keeps its clock may have received what it tells us now."""
AHEAD_MS = 5 * 60_000


class Unreadable(ValueError):
    """A payload that is not JSON, or has what no JSON of a device has."""


class Unfit(ValueError):
    """A value that its point cannot have.  *reason*: what the reading says."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def parse(payload: bytes) -> Json:
    """Raises Unreadable: not UTF-8, not JSON, NaN or infinity, a number of more than 30 digits, nested too deeply."""
    try:
        return json.loads(payload.decode("utf-8"), parse_constant=_no_constant, parse_int=_int, parse_float=_float)
    except (ValueError, RecursionError) as exc:
        raise Unreadable(str(exc) or type(exc).__name__) from exc


def _no_constant(name: str) -> Json:
    raise Unreadable(f"{name} is no JSON")


def _int(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise Unreadable(f"a number of {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise Unreadable(f"{digits[:_MOST_DIGITS]} is too large")
    return value


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()
"""What ``look_up`` returns where a path leads nowhere; None is a null that the device has sent."""


def steps(path: str) -> tuple[str, ...]:
    """``a.b.0`` or, where a key has a dot in it, the JSON pointer ``/a.x/b/0`` (RFC 6901)."""
    if path.startswith("/"):
        return tuple(step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/"))
    return tuple(path.split("."))


def look_up(document: Json, path: Sequence[str]) -> Json:
    for step in path:
        if isinstance(document, Mapping) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isascii() and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return MISSING
    return document


def key_of(raw: Json) -> str | None:
    """How a raw value is written in ``values:`` and ``when:``, whose keys are texts; None for lists and objects."""
    match raw:
        case bool():
            return "true" if raw else "false"
        case int():
            return str(raw)
        case float():
            return str(int(raw)) if raw.is_integer() else repr(raw)
        case str():
            return raw
        case None:
            return "null"
    return None


def plain(raw: Json) -> Value | None:
    """A scalar as an attribute of an event; None for null, lists and objects."""
    match raw:
        case bool() | float():
            return raw
        case int():
            return _exact(raw)
        case str():
            return clean(raw)
    return None


def _exact(number: int) -> int | float:
    """Nobody downstream need hold more than 64 bits."""
    return number if abs(number) < 2**53 else float(number)


def clean(text: str) -> str:
    """Without what UTF-8 cannot hold (half of a surrogate pair) and without control characters; not too long."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(character if character.isprintable() else " " for character in whole[:MOST_TEXT]).strip()


@dataclass(frozen=True, slots=True)
class Meaning:
    """How raw values become a point's.  *values*: raw value as ``key_of`` writes it -> value; ``*`` is every other."""

    values: Mapping[str, Value]
    scale: float = 1.0
    offset: float = 0.0
    steps: Sequence[tuple[float, bool | str]] = ()
    clamp: tuple[float, float] | None = None


PLAIN = Meaning({})


def value_of(point: Point, raw: Json, meaning: Meaning = PLAIN) -> Value:
    """Raises Unfit."""
    key = key_of(raw)
    if key is None:
        raise Unfit(Reason.BAD_FRAME, "a list or an object")
    if key in meaning.values:
        return meaning.values[key]
    if raw is None:
        raise Unfit(Reason.NO_VALUE, "null")
    if "*" in meaning.values:
        return meaning.values["*"]
    if meaning.steps:
        return _step(_number(raw, meaning), meaning.steps)
    match point.kind:
        case ValueKind.NUMBER:
            return _number(raw, meaning)
        case ValueKind.BOOLEAN:
            if meaning.values or key.lower() not in _WORDS:
                raise Unfit(Reason.OUT_OF_RANGE, f"{key[:40]!r} is neither true nor false")
            return _WORDS[key.lower()]
        case ValueKind.STATE:
            if key not in point.states or meaning.values:
                raise Unfit(Reason.OUT_OF_RANGE, f"{key[:40]!r} is none of its states")
            return key
        case ValueKind.TEXT:
            return clean(key)


def _step(number: float, steps: Sequence[tuple[float, bool | str]]) -> Value:
    for bound, word in steps:
        if number < bound:
            return word
    raise Unfit(Reason.OUT_OF_RANGE, f"{number} is above every step")


def _number(raw: Json, meaning: Meaning) -> float | int:
    if isinstance(raw, str):
        try:
            raw = float(raw.strip())
        except ValueError:
            raise Unfit(Reason.OUT_OF_RANGE, "a text that is no number") from None
    if isinstance(raw, bool) or not math.isfinite(raw):
        raise Unfit(Reason.OUT_OF_RANGE, "no number")
    if (meaning.scale, meaning.offset) != (1.0, 0.0):
        raw = _twelve_digits(raw * meaning.scale + meaning.offset)
    elif meaning.values:
        raise Unfit(Reason.OUT_OF_RANGE, "a code that is not in values")
    if meaning.clamp is not None:
        raw = min(max(raw, meaning.clamp[0]), meaning.clamp[1])
    return _exact(raw) if isinstance(raw, int) else float(raw)


def _twelve_digits(value: float) -> float:
    """0.1 times 3 is 0.3."""
    return float(f"{value:.12g}")


def raw_of(value: Value, meaning: Meaning) -> Json:
    """What a command sends for *value*: the first raw value that means it, else the value unscaled."""
    for key, meant in meaning.values.items():
        if key != "*" and meant == value and isinstance(meant, bool) == isinstance(value, bool):
            return _typed(key)
    if isinstance(value, bool | str) or (meaning.scale, meaning.offset) == (1.0, 0.0):
        return value
    return _twelve_digits((value - meaning.offset) / meaning.scale)


def _typed(key: str) -> Json:
    """``true`` -> True, ``1`` -> 1, ``ON`` -> "ON"."""
    if key in ("true", "false"):
        return key == "true"
    if key.removeprefix("-").isdecimal() and key.isascii():
        return int(key)
    return key


def time_of(raw: Json, zone: tzinfo) -> int | None:
    """UTC milliseconds from ISO 8601 (without an offset: in *zone*), or seconds or milliseconds since 1970."""
    if isinstance(raw, str):
        try:
            written = datetime.fromisoformat(_at_most_microseconds(raw.strip()))
        except ValueError:
            return _of_digits(raw)
        aware = written if written.tzinfo else written.replace(tzinfo=zone)
        try:
            return round(aware.astimezone(UTC).timestamp() * 1000)
        except (OverflowError, ValueError):
            return None
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 < raw < 1e14:
        return None
    return round(raw * 1000 if raw < 1e11 else raw)


def _of_digits(raw: str) -> int | None:
    return time_of(int(raw), UTC) if raw.isascii() and raw.isdecimal() and len(raw) <= 15 else None


def _at_most_microseconds(written: str) -> str:
    """ChirpStack writes nanoseconds, which Python does not read."""
    head, dot, tail = written.partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}.{tail[: min(digits, 6)]:0<6}{tail[digits:]}" if dot and digits else written


def believed(time_ms: int | None, now_ms: int, *, past_ms: int = PAST_MS, ahead_ms: int = AHEAD_MS) -> int | None:
    """*time_ms*, unless it is too far from now to be right."""
    if time_ms is None or not now_ms - past_ms <= time_ms <= now_ms + ahead_ms:
        return None
    return time_ms
