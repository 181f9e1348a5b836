"""Who may do what, how often, and what nobody may do from afar.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from gateway.config.models import OnlyModel, RemoteKeyModel
from gateway.model import Device, Place, Point
from gateway.remote.signature import public_key

EVERY = "*"
_SHUT: Mapping[str, frozenset[object]] = {
    "valve": frozenset({"closed", "close", "shut", "off", False}),
    "relay": frozenset({"open", "opened", "off", False}),
}
"""What certainly cuts gas off: a valve is named after its way, a relay after its contact."""


@dataclass(frozen=True, slots=True)
class Right:
    """What one key may do."""

    public: bytes
    commands: frozenset[str]
    devices: frozenset[str]
    """Ids, or ``*`` for all, and for what concerns no device."""

    @classmethod
    def of(cls, model: RemoteKeyModel) -> Right:
        return cls(public_key(model.public), frozenset(model.commands), frozenset(model.devices))

    def covers(self, command: str, devices: Set[str]) -> bool:
        return command in self.commands and (EVERY in self.devices or devices <= self.devices)


@dataclass(slots=True)
class Bucket:
    """At most *burst* at once, and *burst* in every *period_s* over time."""

    burst: int
    period_s: float
    _left: float = field(init=False)
    _at_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._left = float(self.burst)

    def take(self, now_s: float) -> bool:
        passed_s = max(0.0, now_s - self._at_s)
        self._left = min(float(self.burst), self._left + passed_s * self.burst / self.period_s)
        self._at_s = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


def opens_gas(device: Device, point: Point, value: object) -> bool:
    """Whether gas could flow after the write: then somebody must stand beside it, whatever profile and site say.

    Of the outlets of a gas device (valves, relays) only what certainly cuts it off is no opening.
    """
    if "gas" not in device.kind.split("_"):
        return False
    words = {word.rstrip("0123456789") for word in (*point.name.split("_"), *device.kind.split("_"))}
    outlets = words & set(_SHUT)
    shut = frozenset.intersection(*(_SHUT[outlet] for outlet in outlets)) if outlets else frozenset()
    return bool(outlets) and not (isinstance(value, (str, bool)) and value in shut)


def visible(only: OnlyModel, *, pseudonyms: bool, device: Device, point: Point) -> bool:
    """Whether a platform may learn what *point* shows: a command must not get around what it is sent otherwise."""
    if point.personal and (pseudonyms or not only.personal):
        return False
    if only.lanes is not None and point.lane not in only.lanes:
        return False
    if only.kinds is not None and device.kind not in only.kinds:
        return False
    if only.devices is not None and device.id not in only.devices:
        return False
    return only.places is None or any(_within(device.place, place.model_dump()) for place in only.places)


def _within(place: Place, levels: Mapping[str, str | None]) -> bool:
    return all(text is None or getattr(place, level) == text for level, text in levels.items())
