"""A hub with boxes, made as the core makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.http_options import HttpHubOptions
from drivers.http_push.config import HttpJsonOptions, HttpJsonPointOptions
from drivers.http_push.hub import HttpJsonHub
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

NOW_MS = 1_767_225_600_000
LIFT: Mapping[str, Mapping[str, Any]] = {
    "floor": {"kind": "text", "path": "floor"},
    "runs": {"kind": "number", "path": "runs"},
    "passenger": {"kind": "boolean", "path": "passenger"},
}


def point(id_: str, kind: str, *, states: Sequence[str] = (), personal: bool = False, **options: Any) -> PointSpec:
    declared = Point(id_, ValueKind(kind), Text("点", "point"), 60.0, states=tuple(states), personal=personal)
    return PointSpec(declared, HttpJsonPointOptions.model_validate(options))


def box(id_: str, points: Mapping[str, Mapping[str, Any]] = LIFT, **options: Any) -> DeviceSpec:
    """*points*: name -> keyword arguments of ``point``."""
    specs = [point(f"{id_}.{name}", **each) for name, each in points.items()]
    settings = HttpJsonOptions.model_validate({"address": id_, **options})
    return DeviceSpec(id_, settings, {spec.point.id: spec for spec in specs}, 1.0)


def hub_of(
    *devices: DeviceSpec, memory: Mapping[str, bytes] | None = None, clock: ManualClock | None = None, **options: Any
) -> HttpJsonHub:
    listen = HttpHubOptions.model_validate({"listen": "127.0.0.1:1", **options})
    hub = HttpJsonHub(
        HubSpec("boxes", listen, {each.id: each for each in devices}, memory or {}), clock or ManualClock(NOW_MS)
    )
    hub._server._address = ("127.0.0.1", 0)  # the configuration rightly refuses port 0
    return hub
