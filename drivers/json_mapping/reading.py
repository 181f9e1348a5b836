"""What becomes of a value that was said: a reading, good, old or bad.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.json_mapping.options import ValueOptions
from drivers.json_mapping.payload import Meaning, Unfit, value_of
from gateway.errors import ConfigError
from gateway.model import Quality, Reading, Reason, Value, bad_reading

FRESH_MS = 5 * 60_000
"""A state that was kept for us counts as new when it is not older than this."""
_MOST_RAW = 64


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


def same(one: Value, other: Value) -> bool:
    """Whether a state confirms a command: numbers may have lost digits on their way."""
    if isinstance(one, bool | str) or isinstance(other, bool | str):
        return one == other and isinstance(one, bool) == isinstance(other, bool)
    return abs(one - other) <= 1e-6 * max(abs(one), abs(other), 1.0)


def _shown(raw: Any) -> bytes:
    return b"" if isinstance(raw, Mapping | list) else str(raw)[:_MOST_RAW].encode("utf-8", "replace")
