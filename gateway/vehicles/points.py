"""What the site's rules can see of its vehicles: points of the cameras, and a device for each area.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gateway.model import Device, Place, Point, PointId, Text, ValueKind
from gateway.vehicles.config import VehiclesModel
from gateway.vehicles.lists import Word

PREFIX = "vehicles-"
"""Begins the ids of the areas' devices."""
KIND = "vehicle_area"
NOBODY = "none"
"""The word of a camera's ``list`` while no vehicle has just been seen."""
INTERVAL_S = 60.0
"""So often everything is said again."""


def of_camera(camera: str) -> tuple[Point, ...]:
    words = (NOBODY, *(word.value for word in Word))
    return (
        Point(f"{camera}.list", ValueKind.STATE, Text("车辆所属名单", "list of the vehicle"), INTERVAL_S, states=words),
        Point(f"{camera}.sure", ValueKind.BOOLEAN, Text("识别可靠", "surely read"), INTERVAL_S),
        Point(f"{camera}.may_open", ValueKind.BOOLEAN, Text("可放行", "may be let in"), INTERVAL_S),
    )


CALM: Mapping[str, str | bool] = {"list": NOBODY, "sure": False, "may_open": False}
"""Names of a camera's points -> their values while no vehicle has just been seen."""


def with_lists(devices: Iterable[Device], model: VehiclesModel | None) -> tuple[Device, ...]:
    """*devices*, the cameras at the gates with the points that the lists give them."""
    cameras = set() if model is None else {gate.camera for gate in model.gates}
    return tuple(
        replace(device, points=(*device.points, *of_camera(device.id))) if device.id in cameras else device
        for device in devices
    )


def area_devices(model: VehiclesModel) -> tuple[Device, ...]:
    return tuple(_area(name, area.capacity) for name, area in model.areas.items())


def _area(name: str, capacity: int | None) -> Device:
    id_ = f"{PREFIX}{name}"
    inside = Point(f"{id_}.inside", ValueKind.NUMBER, Text("在场车辆", "vehicles inside"), INTERVAL_S, minimum=0)
    free = Point(f"{id_}.free", ValueKind.NUMBER, Text("空余车位", "free places"), INTERVAL_S, minimum=0)
    points = (inside,) if capacity is None else (inside, free)
    return Device(id_, KIND, Text(f"停车区 {name}", f"parking area {name}"), Place(), "", points)


def point_of(camera: str | None, name: str) -> PointId:
    """Of a value of ``Vehicles``: ``list`` of a camera, ``inside_garage`` of none."""
    what, _, area = name.partition("_")
    return f"{PREFIX}{area}.{what}" if what in ("inside", "free") else f"{camera}.{name}"
