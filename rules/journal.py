"""What one alarm leaves in the journal: a small JSON object under ``alarm/<rule>@<device>``, version 1.

{"v":1,"state":"unack","id":…,"count":2,"reason":"condition","since":utc_ms,"basis":…,"known":true,"by":"",
 "held":[elapsed_s,mark_s,running]|null,"clearing":…,"message":[zh,en],"priority":"high"}

mark_s is a reading of the monotonic clock of the run that wrote it.  The key ``engine`` holds the same run's last
sign of life, {"v":1,"alive":monotonic_s}; together they tell how long a delay had run when the power went.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from gateway.model import AlarmState, Priority, Text
from rules.alarm import Alarm, Pause, Stopwatch

ALIVE_KEY = "engine"
DESK_KEY = "notices"
TRIAL_PREFIX, PROVED_PREFIX = "trial/", "proved/"
"""Before the name of an alarm: a proof test under way, and the last one."""
_PREFIX = "alarm/"
_VERSION = 1
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Proof:
    """The last proof test of an alarm's actions."""

    time_ms: int
    """UTC."""
    who: str
    with_output: bool
    """Whether something was really moved."""
    failed: tuple[str, ...] = ()
    """What was sent and not confirmed."""


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


def named(text: str) -> tuple[str, str | None]:
    """(rule, device) of the key of an alarm.  Raises ValueError for any other."""
    parsed = parse_key(text)
    if parsed is None:
        raise ValueError(f"{text} is not the key of an alarm")
    return parsed


def alive_record(monotonic_s: float) -> bytes:
    return _encode({"v": _VERSION, "alive": monotonic_s}).encode()


def read_alive(record: bytes | None) -> float:
    """Minus infinity without a record: then no delay is credited with time it may not have run."""
    if record is None:
        return -math.inf
    return _number(_object(record), "alive")


def trial_record(effects: object | None) -> bytes | None:
    return None if effects is None else _encode({"v": _VERSION, "effects": effects}).encode()


def read_trial(record: bytes) -> object:
    """Raises Unreadable."""
    return _object(record).get("effects")


def proved_record(proof: Proof) -> bytes:
    about = {"t": proof.time_ms, "by": proof.who, "output": proof.with_output, "failed": list(proof.failed)}
    return _encode({"v": _VERSION, **about}).encode()


def read_proved(record: bytes) -> Proof:
    """Raises Unreadable."""
    found = _object(record)
    failed = found.get("failed", [])
    if not isinstance(failed, list):
        raise Unreadable("failed is not a list")
    return Proof(int(_number(found, "t")), str(found.get("by", "")), bool(found.get("output")), tuple(map(str, failed)))


def desk_record(record: object | None, as_of_s: float) -> bytes | None:
    """What is left to be told (notices.py), and the monotonic instant it counts from; None when nothing is."""
    return None if record is None else _encode({"v": _VERSION, "as_of": as_of_s, "desk": record}).encode()


def read_desk(record: bytes | None) -> tuple[object | None, float]:
    """Raises Unreadable."""
    if record is None:
        return None, -math.inf
    found = _object(record)
    return found.get("desk"), _number(found, "as_of")


def alarm_record(alarm: Alarm, priority: Priority, effects: list[object] | None = None) -> bytes:
    """effects: what effects.py wants to find again."""
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
            **_beside(alarm),
            **({} if effects is None else {"effects": effects}),
        }
    ).encode()


def _beside(alarm: Alarm) -> dict[str, object]:
    """What stands beside the state, as far as there is any: most alarms have nothing of it."""
    found: dict[str, object] = {
        "raises": list(alarm.raises_s),
        "chattering": alarm.chattering,
        "shelf": _pause_out(alarm.shelf),
        "outage": _pause_out(alarm.outage),
        "suppressed": alarm.suppressed,
    }
    return {"begun": alarm.begun} | {key: value for key, value in found.items() if value}


def read_alarm(record: bytes) -> tuple[Alarm, Priority, object | None]:
    """The alarm, its priority, and what effects.py left.  Raises Unreadable."""
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
            raises_s=tuple(float(raised_s) for raised_s in found.get("raises", ())),
            chattering=bool(found.get("chattering")),
            shelf=_pause_in(found.get("shelf")),
            outage=_pause_in(found.get("outage")),
            suppressed=bool(found.get("suppressed")),
            begun=bool(found.get("begun", True)),
        )
        return alarm, Priority(found["priority"]), found.get("effects")
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


def _pause_out(pause: Pause | None) -> list[object] | None:
    return None if pause is None else [pause.by, pause.until_ms, pause.reason]


def _pause_in(found: Any) -> Pause | None:
    """Its end on the monotonic clock is not known yet: ``alarm.restored`` reckons it."""
    if not found:
        return None
    by, until_ms, reason = found
    return Pause(str(by), math.inf, None if until_ms is None else int(until_ms), str(reason))
