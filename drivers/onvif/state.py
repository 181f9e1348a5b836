"""What a camera's notifications say of motion, tampering and inputs.  Pure.

A camera tells of each of its rules and inputs apart; there is motion while one of them says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from drivers.onvif.config import PointOptions
from drivers.onvif.soap import Notification

BELIEVED_MS: Final = 5 * 60 * 1000
"""A camera's time stamp counts while it is so near to the gateway's clock."""
MOST_SOURCES: Final = 64
_TOPICS: Final = (
    ("motion", re.compile(r"RuleEngine/(CellMotionDetector|MotionRegionDetector)/Motion|VideoSource/MotionAlarm")),
    ("tamper", re.compile(r"RuleEngine/TamperDetector/Tamper|VideoSource/GlobalSceneChange(/\w+)?")),
    ("input", re.compile(r"Device/Trigger/DigitalInput")),
)
_YES, _NO = ("true", "1", "active", "on"), ("false", "0", "inactive", "off")
_NUMBERS: Final = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Change:
    kind: str
    """``motion``, ``tamper``, ``input``."""
    token: str
    """Of an input, its name; of others, the rule and source."""
    on: bool | None
    """None: the camera no longer has it."""
    time_ms: int


@dataclass(frozen=True, slots=True)
class State:
    """The latest of every source: (kind, token) -> whether, and since when."""

    held: Mapping[tuple[str, str], tuple[bool, int]] = field(default_factory=dict)

    def after(self, change: Change) -> State:
        key = (change.kind, change.token)
        others = {each: value for each, value in self.held.items() if each != key}
        if change.on is None:
            return replace(self, held=others)
        if len(others) >= MOST_SOURCES:
            return self
        return replace(self, held=others | {key: (change.on, change.time_ms)})

    def cleared(self, before_ms: int) -> State:
        """Motion that nobody has confirmed since then is over."""
        old = {
            key: (False, since)
            for key, (on, since) in self.held.items()
            if key[0] == "motion" and on and since < before_ms
        }
        return replace(self, held={**self.held, **old}) if old else self

    def of(self, options: PointOptions) -> bool | None:
        """What the point says; None while the camera has told nothing of it."""
        if options.says == "input":
            return self._input(options)
        told = [on for (kind, _), (on, _) in self.held.items() if kind == options.says]
        return any(told) if told else None

    def _input(self, options: PointOptions) -> bool | None:
        tokens = sorted((token for kind, token in self.held if kind == "input"), key=_natural)
        token = options.token
        if token is None and options.number <= len(tokens):
            token = tokens[options.number - 1]
        found = self.held.get(("input", token or ""))
        return None if found is None else found[0]


def changes(notifications: Iterable[Notification], now_ms: int) -> list[Change]:
    return [change for each in notifications if (change := _change(each, now_ms)) is not None]


def _change(each: Notification, now_ms: int) -> Change | None:
    kind = next((kind for kind, topic in _TOPICS if topic.fullmatch(each.topic)), None)
    if kind is None:
        return None
    source = each.source.get("InputToken", "") if kind == "input" else ""
    token = source or "/".join([each.topic, *each.source.values()])
    time_ms = instant_ms(each.time, now_ms)
    if each.operation == "Deleted":
        return Change(kind, token, None, time_ms)
    said = next((value.lower() for value in each.data.values()), "")
    if said not in (*_YES, *_NO):
        return None
    return Change(kind, token, said in _YES, time_ms)


def instant_ms(written: str, now_ms: int) -> int:
    try:
        found = datetime.fromisoformat(written.replace("Z", "+00:00"))
        instant = round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return now_ms
    return instant if abs(instant - now_ms) <= BELIEVED_MS else now_ms


def _natural(token: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isascii() and part.isdecimal() else (-1, part) for part in _NUMBERS.split(token)]
