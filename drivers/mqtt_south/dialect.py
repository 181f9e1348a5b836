"""What the three ways of speaking have in common: what a message becomes, and what a command is.  Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from drivers.base import DeviceSpec, Happening, HubSpec, PointSpec
from drivers.mqtt_south.config import ValueOptions
from drivers.mqtt_south.memory import Notes
from drivers.mqtt_south.packet import Message
from drivers.mqtt_south.payload import Meaning, Unfit, value_of
from gateway.errors import ConfigError
from gateway.model import PointId, Quality, Reading, Reason, Value, bad_reading

MOST_BYTES = 65536
FRESH_MS = 5 * 60_000
"""A state that was kept for us counts as new when it is not older than this."""
_MOST_RAW = 64


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


def by_address(spec: HubSpec, key: Callable[[DeviceSpec], Any]) -> dict[Any, DeviceSpec]:
    """Raises ConfigError where two devices have one address: nobody could tell which of them speaks."""
    found: dict[Any, DeviceSpec] = {}
    for device in spec.devices.values():
        other = found.setdefault(key(device), device)
        if other is not device:
            raise ConfigError(
                f"line {spec.id}: {other.id} and {device.id} have the same address",
                hint="one of the two entries is wrong / 两个设备条目的地址相同，其中一个有误",
            )
    return found


def meaning_of(options: ValueOptions) -> Meaning:
    return Meaning(options.values, options.scale, options.offset, options.steps, options.clamp)


@dataclass(frozen=True, slots=True)
class Times:
    """When it was, as far as it is known, and what that makes of a reading."""

    source_ms: int
    now_ms: int
    old: bool = False
    """A value that was kept for us, nobody knows since when: what was, and perhaps no longer is."""


def reading_of(spec: PointSpec, raw: Any, times: Times) -> Reading:
    """A value that does not fit becomes a bad reading with that value, unless it is personal."""
    point = spec.point
    try:
        value = value_of(point, raw, meaning_of(spec.options))
    except Unfit as exc:
        return bad_reading(point.id, exc.reason, times.now_ms, b"" if point.personal else _shown(raw))
    if times.old:
        return Reading(
            point.id, value, times.source_ms, times.now_ms, quality=Quality.UNCERTAIN, reason=Reason.NO_ANSWER
        )
    return Reading(point.id, value, times.source_ms, times.now_ms)


def all_bad(device: DeviceSpec, reason: Reason, now_ms: int) -> Said:
    return Said(device.id, [bad_reading(point, reason, now_ms) for point in device.points])


def same(one: Value, other: Value) -> bool:
    """Whether a state confirms a command: numbers may have lost digits on their way."""
    if isinstance(one, bool | str) or isinstance(other, bool | str):
        return one == other and isinstance(one, bool) == isinstance(other, bool)
    return abs(one - other) <= 1e-6 * max(abs(one), abs(other), 1.0)


def to_json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _shown(raw: Any) -> bytes:
    return b"" if isinstance(raw, Mapping | list) else str(raw)[:_MOST_RAW].encode("utf-8", "replace")
