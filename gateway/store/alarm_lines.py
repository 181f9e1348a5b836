"""What happened to the alarms, from the envelopes of a store: the lines that rules/kpi.py counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.model import AlarmState, Lane, Priority
from gateway.store.reader import Reader

Line = tuple[int, str, str, str]
"""UTC milliseconds, event, alarm, priority."""

_ACTIVE = frozenset({AlarmState.UNACK, AlarmState.ACKED})
_RETIRED = frozenset({"rule_deleted", "rule_off"})
_SPOKEN = frozenset({"alarm.chatter_on", "alarm.flood_on", "alarm.flood_off"})


def alarm_lines(reader: Reader, since_ms: int) -> Iterator[Line]:
    """Of every alarm that a rule has announced, and of the floods.  An order across lanes is not kept."""
    seen: dict[str, tuple[int, bool]] = {}
    for row in reader.rows(Lane.ALARM, since_ms):
        for item in json.loads(row.items):
            yield from _steps(item, seen)
    for row in reader.rows(Lane.EVENT, since_ms):
        for item in json.loads(row.items):
            if item.get("kind") in _SPOKEN:
                name = item["attributes"].get("alarm") or ""
                yield item["t"], str(item["kind"]).removeprefix("alarm."), name, Priority.HIGH.value


def _steps(item: Mapping[str, Any], seen: dict[str, tuple[int, bool]]) -> Iterator[Line]:
    """One change of state; what it is follows from the one before."""
    name = item["rule"] if item["device"] is None else f"{item['rule']}@{item['device']}"
    count, was_active = seen.get(name, (0, False))
    active = item["state"] in _ACTIVE
    seen[name] = (item["count"], active)
    if active and item["count"] > count:
        yield item["t"], "raise", name, item["priority"]
    elif item["reason"] == "ack":
        yield item["t"], "ack", name, item["priority"]
    elif was_active and not active:
        yield item["t"], "retire" if item["reason"] in _RETIRED else "clear", name, item["priority"]
