"""Devices and hubs for the BACnet tests."""

from __future__ import annotations

import socket
from typing import Any

from drivers.bacnet.config import DeviceOptions, HubOptions, PointOptions
from drivers.bacnet.hub import BacnetHub
from drivers.base import DeviceSpec, HubSpec, PointSpec
from gateway.model import Point, Text, ValueKind
from support.clock import ManualClock

POINTS: dict[str, tuple[ValueKind, dict[str, Any]]] = {
    "temperature": (ValueKind.NUMBER, {"object": "analog-input,1"}),
    "tenths": (ValueKind.NUMBER, {"object": "analog-input,1", "scale": 10}),
    "fault": (ValueKind.BOOLEAN, {"object": "analog-input,1", "property": "status-flags", "bit": 1}),
    "alarm": (ValueKind.BOOLEAN, {"object": "binary-input,1"}),
    "mode": (ValueKind.STATE, {"object": "multi-state-input,1", "map": {1: "off", 2: "auto", 3: "on"}}),
    "name": (ValueKind.TEXT, {"object": "analog-input,1", "property": "object-name"}),
    "absent": (ValueKind.NUMBER, {"object": "analog-input,99"}),
    "floor": (ValueKind.NUMBER, {"object": "lift,1", "property": "car-position"}),
    "car_mode": (
        ValueKind.STATE,
        {"object": "lift,1", "property": "car-mode", "map": {1: "normal"}, "other": "unknown"},
    ),
    "front": (
        ValueKind.BOOLEAN,
        {"object": "lift,1", "property": "car-door-status", "index": 1, "map": {0: True}, "other": False},
    ),
    "rear": (
        ValueKind.BOOLEAN,
        {"object": "lift,1", "property": "car-door-status", "index": 2, "map": {0: True}, "other": False},
    ),
    "passenger": (ValueKind.BOOLEAN, {"object": "lift,1", "property": "passenger-alarm"}),
}


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def device_spec(device: str, address: str, timeout_s: float = 5.0, **options: Any) -> DeviceSpec:
    points = {}
    for name, (kind, keys) in POINTS.items():
        point = Point(f"{device}.{name}", kind, Text(name, name), 60.0)
        points[point.id] = PointSpec(point, PointOptions(**keys))
    return DeviceSpec(device, DeviceOptions(address=address, **options), points, timeout_s)


def hub_of(spec: DeviceSpec, port: int, **options: Any) -> BacnetHub:
    keys = {"listen": f"127.0.0.1:{port}"} | options
    return BacnetHub(HubSpec("bms", HubOptions(**keys), {spec.id: spec}), ManualClock())
