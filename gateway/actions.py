"""What can be sent to a device by name (``valve.close``), and which write of which point that is.  Pure.

Said by the profile or the device entry (``actions``), or plain from a writable point:

    state, words open | closed      open, close, and each word itself
    boolean lamp                    lamp_on, lamp_off
    boolean pump_start              pump_start_on, pump_start_off; and start, stop

What two points of a device would answer to is offered by neither; a profile can say which one is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TypeAlias

from gateway.model import Device, Point, PointId, Value, ValueKind

Write: TypeAlias = tuple[PointId, Value]
Table: TypeAlias = Mapping[str, Mapping[str, Write]]
"""Device -> action -> what is written."""

_ACTION = re.compile(r"[a-z][a-z0-9_]{0,47}")
_VERB = {
    "closed": "close",
    "opened": "open",
    "started": "start",
    "running": "start",
    "stopped": "stop",
    "locked": "lock",
    "unlocked": "unlock",
}


def actions_of(devices: Sequence[Device]) -> Table:
    return {device.id: actions for device in devices if (actions := {**_implied(device), **device.actions})}


def available(devices: Sequence[Device], allowed: Set[PointId]) -> Mapping[str, frozenset[str]]:
    """Device -> actions that a rule may order: those whose point the site lets be written (``allow_write``)."""
    return {
        device: frozenset(action for action, (point, _) in actions.items() if point in allowed)
        for device, actions in actions_of(devices).items()
    }


def _implied(device: Device) -> dict[str, Write]:
    found: dict[str, list[Write]] = {}
    for point in device.points:
        for action, value in _offers(point) if point.writable else ():
            found.setdefault(action, []).append((point.id, value))
    return {action: writes[0] for action, writes in found.items() if len(set(writes)) == 1}


def _offers(point: Point) -> Iterator[tuple[str, Value]]:
    if point.kind is ValueKind.BOOLEAN:
        yield f"{point.name}_on", True
        yield f"{point.name}_off", False
        if point.name.endswith("_start"):
            yield "start", True
            yield "stop", False
    if point.kind is not ValueKind.STATE or _is_contact(point):
        return
    for word in point.commands or point.states:
        if _ACTION.fullmatch(word):
            yield word, word
            yield _VERB.get(word, word), word


def _is_contact(point: Point) -> bool:
    """A closed contact supplies, a closed valve cuts off: "close" must not mean both, so a profile has to say it."""
    return any(part.rstrip("0123456789") in ("relay", "contact", "contactor") for part in point.name.split("_"))
