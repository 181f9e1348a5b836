"""Who may do what, how often, and what nobody may do from afar.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from gateway.config.models import RemoteKeyModel
from gateway.model import Device, Point
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
