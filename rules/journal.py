"""What one alarm leaves in the journal: a small JSON object under ``alarm/<rule>@<device>``, version 1.

{"v":1,"state":"unack","id":…,"count":2,"reason":"condition","since":utc_ms,"basis":…,"known":true,"by":"",
 "held":[elapsed_s,mark_s,running]|null,"clearing":…,"message":[zh,en],"priority":"high"}

mark_s is a reading of the monotonic clock of the run that wrote it.  The key ``engine`` holds the same run's last
sign of life, {"v":1,"alive":monotonic_s}; together they tell how long a delay had run when the power went.
"""

from __future__ import annotations

import json
import math
from typing import Any

from gateway.model import AlarmState, Priority, Text
from rules.alarm import Alarm, Stopwatch

ALIVE_KEY = "engine"
_PREFIX = "alarm/"
_VERSION = 1
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class Unreadable(ValueError):
    """A record that this version did not write, or that is damaged."""


def key(rule: str, device: str | None) -> str:
    return f"{_PREFIX}{rule}" if device is None else f"{_PREFIX}{rule}@{device}"


def parse_key(text: str) -> tuple[str, str | None] | None:
    """(rule, device), or None when it is not the key of an alarm."""
    if not text.startswith(_PREFIX):
        return None
    rule, at, device = text[len(_PREFIX) :].partition("@")
    return rule, device if at else None


def alive_record(monotonic_s: float) -> bytes:
    return _encode({"v": _VERSION, "alive": monotonic_s}).encode()


def read_alive(record: bytes | None) -> float:
    """Minus infinity without a record: then no delay is credited with time it may not have run."""
    if record is None:
        return -math.inf
    return _number(_object(record), "alive")


def alarm_record(alarm: Alarm, priority: Priority) -> bytes:
    return _encode(
        {
            "v": _VERSION,
            "state": str(alarm.state),
            "id": alarm.id,
            "count": alarm.count,
            "reason": alarm.reason,
            "since": alarm.since_ms,
            "basis": alarm.basis,
            "known": alarm.known,
            "by": alarm.acked_by,
            "held": _watch_out(alarm.held),
            "clearing": _watch_out(alarm.clearing),
            "message": [alarm.message.zh, alarm.message.en],
            "priority": str(priority),
        }
    ).encode()


def read_alarm(record: bytes) -> tuple[Alarm, Priority]:
    """Raises Unreadable."""
    found = _object(record)
    try:
        alarm = Alarm(
            state=AlarmState(found["state"]),
            held=_watch_in(found["held"]),
            clearing=_watch_in(found["clearing"]),
            id=str(found["id"]),
            count=int(found["count"]),
            reason=str(found["reason"]),
            since_ms=int(found["since"]),
            basis=str(found["basis"]),
            known=bool(found["known"]),
            acked_by=str(found["by"]),
            message=Text(str(found["message"][0]), str(found["message"][1])),
        )
        return alarm, Priority(found["priority"])
    except (KeyError, TypeError, ValueError, IndexError) as exc:
        raise Unreadable(f"alarm record: {exc!r}") from exc


def _object(record: bytes) -> dict[str, Any]:
    try:
        found = json.loads(record)
    except ValueError as exc:
        raise Unreadable("not JSON") from exc
    if not isinstance(found, dict) or found.get("v") != _VERSION:
        raise Unreadable("not of version 1")
    return found


def _number(found: dict[str, Any], name: str) -> float:
    value = found.get(name)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise Unreadable(f"{name} is not a number")
    return float(value)


def _watch_out(watch: Stopwatch | None) -> list[object] | None:
    return None if watch is None else [watch.elapsed_s, watch.mark_s, watch.running]


def _watch_in(found: Any) -> Stopwatch | None:
    if found is None:
        return None
    elapsed_s, mark_s, running = found
    return Stopwatch(float(elapsed_s), float(mark_s), bool(running))
