"""What the site's rules can see of its vehicles: points of the cameras, and a device for the areas.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from gateway.model import Device, Place, Point, Text, ValueKind
from gateway.vehicles.config import VehiclesModel
from gateway.vehicles.lists import Word

DEVICE = "vehicles"
KIND = "vehicle_areas"
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


def area_device(model: VehiclesModel) -> Device:
    points = []
    for name, area in model.areas.items():
        inside = Text(f"{name} 在场车辆", f"vehicles inside {name}")
        points.append(Point(f"{DEVICE}.inside_{name}", ValueKind.NUMBER, inside, INTERVAL_S, minimum=0))
        if area.capacity is not None:
            free = Text(f"{name} 空余车位", f"free places in {name}")
            points.append(Point(f"{DEVICE}.free_{name}", ValueKind.NUMBER, free, INTERVAL_S, minimum=0))
    return Device(DEVICE, KIND, Text("车辆", "vehicles"), Place(), "", tuple(points))
