"""What the three ways of speaking have in common: what a message becomes, and what a command is.  Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from drivers.base import DeviceSpec, Happening
from drivers.mqtt_client.packet import Message
from drivers.mqtt_south.memory import Notes
from gateway.model import PointId, Reading, Reason, Value, bad_reading

MOST_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Said:
    """What one device has said; without readings and happenings a sign of life."""

    device: str
    readings: Sequence[Reading] = ()
    happenings: Sequence[Happening] = ()
    notes: Notes | None = None
    """None where they stay as they are."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """Something to show to people: who is not configured, or what is wrong with one that is."""

    address: str
    what: str


Heard: TypeAlias = Sequence[Said | Stranger]


@dataclass(frozen=True, slots=True)
class Command:
    topic: str
    payload: bytes
    answered: Callable[[Message], bool]
    """Whether a message is the confirmation.  Raises DeviceRejected when it is a refusal."""


class Dialect(Protocol):
    @property
    def filters(self) -> Sequence[str]:
        """What to subscribe to; no two of them match the same topic."""

    def most_bytes(self, topic: str) -> int:
        """The largest payload that is read."""

    def device_of(self, topic: str) -> str | None:
        """The configured device that alone speaks there."""

    def hear(self, message: Message, now_ms: int, notes: Callable[[str], Notes]) -> Heard:
        """*notes*: device -> what was last kept of it.  Raises nothing, whatever the payload."""

    def command(self, device: str, point: PointId, value: Value, notes: Notes) -> Command:
        """Raises DeviceRejected for what cannot be sent."""


def all_bad(device: DeviceSpec, reason: Reason, now_ms: int) -> Said:
    return Said(device.id, [bad_reading(point, reason, now_ms) for point in device.points])


def to_json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
