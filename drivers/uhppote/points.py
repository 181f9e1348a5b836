"""From a controller's status to the values of points.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivers.base import DeviceSpec, PointSpec
from drivers.uhppote.config import OF_A_DOOR, PointOptions
from drivers.uhppote.frame import Status
from gateway.errors import ConfigError
from gateway.model import PointId, Reading, Reason, Value, ValueKind, bad_reading

HELD, FORCED = 37, 38
"""Reasons of events that mark a door until it is seen closed."""

Flags = Mapping[tuple[int, int], bool]
"""(door, HELD or FORCED) -> whether the door is; a door of which nothing is known is not there."""


@dataclass
class Latch:
    """Which doors stand open by force, or for too long.  The controller says when it begins; closing ends it."""

    _flags: dict[tuple[int, int], bool] = field(default_factory=dict)

    def happened(self, door: int, reason: int) -> bool:
        """Whether the event is one that marks its door."""
        if reason not in (HELD, FORCED):
            return False
        self._flags[door, reason] = True
        return True

    def seen(self, doors_open: Sequence[bool]) -> None:
        self._flags.update(self._closed(doors_open))

    def after(self, doors_open: Sequence[bool]) -> Flags:
        return {**self._flags, **self._closed(doors_open)}

    def _closed(self, doors_open: Sequence[bool]) -> Flags:
        return {
            (door, reason): False
            for door, is_open in enumerate(doors_open, 1)
            if not is_open
            for reason in (HELD, FORCED)
        }


@dataclass(frozen=True, slots=True)
class View:
    """How a controller stands, as far as it and the hub can tell."""

    status: Status
    flags: Flags
    offset_ms: int | None
    missing: int

    def values(self, device: DeviceSpec) -> Mapping[PointId, Value | None]:
        """Of the device's points that a status tells; None where nothing is known."""
        return {
            point: self._value(spec, device.options.door)
            for point, spec in device.points.items()
            if spec.options.field != "release"
        }

    def _value(self, spec: PointSpec, of_device: int | None) -> Value | None:
        options: PointOptions = spec.options
        door = options.door or of_device
        status = self.status
        match options.field, door:
            case "contact", int():
                is_open = status.open[door - 1]
                return spec.point.states[is_open] if spec.point.kind is ValueKind.STATE else is_open
            case "button", int():
                return status.buttons[door - 1]
            case "relay", int():
                return status.relays[door - 1]
            case "held", int():
                return self.flags.get((door, HELD))
            case "forced", int():
                return self.flags.get((door, FORCED))
            case "clock_offset", _:
                return None if self.offset_ms is None else round(self.offset_ms / 1000)
            case "event_index", _:
                return status.index
            case "events_missing", _:
                return self.missing
            case "system_error", _:
                return status.system_error
            case "inputs", _:
                return status.inputs
            case "special", _:
                return status.special
        return None


def marked(device: DeviceSpec, door: int, reason: int) -> Sequence[PointId]:
    """The device's points that show what an event of this *reason* begins."""
    field = {HELD: "held", FORCED: "forced"}.get(reason)
    return [
        point
        for point, spec in device.points.items()
        if spec.options.field == field and (spec.options.door or device.options.door) == door
    ]


def readings(values: Mapping[PointId, Value | None], now_ms: int) -> Sequence[Reading]:
    return [
        bad_reading(point, Reason.NO_VALUE, now_ms) if value is None else Reading(point, value, now_ms, now_ms)
        for point, value in values.items()
    ]


def check(spec: DeviceSpec) -> None:
    """Raises ConfigError for a point that cannot show what it should."""
    for id_, each in spec.points.items():
        of_door = each.options.field in OF_A_DOOR
        if of_door and each.options.door is None and spec.options.door is None:
            raise ConfigError(f"{id_}: 须写明 door / which door?", hint="door: 1 至/to 4")
        kind = each.point.kind
        states = kind is ValueKind.STATE and each.options.field == "contact" and len(each.point.states) == 2
        if not states and kind is not (ValueKind.BOOLEAN if of_door else ValueKind.NUMBER):
            raise ConfigError(
                f"{id_}: 类型与 {each.options.field} 不符 / kind {kind} does not suit {each.options.field}",
                hint="contact: boolean, states [closed, open]; button, relay, forced, held, release: boolean; "
                "控制器的测点 those of the controller: number",
            )
