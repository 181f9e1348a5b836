"""A hub with cameras, made as the core makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.http_options import HttpHubOptions
from drivers.plate_camera.config import PlateCameraOptions, PlateCameraPointOptions
from drivers.plate_camera.hub import PlateCameraHub
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

NOW_MS = 1_767_225_600_000
VALUES = {
    "seen_count": ValueKind.NUMBER,
    "vehicle": ValueKind.BOOLEAN,
    "emergency_vehicle": ValueKind.BOOLEAN,
    "confidence": ValueKind.NUMBER,
    "plate_class": ValueKind.TEXT,
    "colour": ValueKind.TEXT,
    "direction": ValueKind.TEXT,
    "input1": ValueKind.BOOLEAN,
}


def device(name: str, **options: Any) -> DeviceSpec:
    points = {
        f"{name}.{value}": PointSpec(
            Point(f"{name}.{value}", kind, Text(value, value), 60.0),
            PlateCameraPointOptions.model_validate({"value": value}),
        )
        for value, kind in VALUES.items()
    }
    return DeviceSpec(name, PlateCameraOptions.model_validate(options), points, 1.0)


def hub_of(
    *devices: DeviceSpec, memory: Mapping[str, bytes] | None = None, clock: ManualClock | None = None, **options: Any
) -> PlateCameraHub:
    listen = HttpHubOptions.model_validate({"listen": "127.0.0.1:1", **options})
    hub = PlateCameraHub(
        HubSpec("cams", listen, {each.id: each for each in devices}, memory or {}), clock or ManualClock(NOW_MS)
    )
    hub._server._address = ("127.0.0.1", 0)  # the configuration rightly refuses port 0
    return hub
