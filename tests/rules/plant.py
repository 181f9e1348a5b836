"""Devices and points as tests write them down: ``points: {gas1.lel: {unit: '%LEL'}}`` makes the device gas1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.model import Device, Place, Point, Text, ValueKind

UCUM = {"°C": "Cel", "%LEL": "%[LEL]", "kWh": "kW.h"}
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    match = re.fullmatch(r"(-?[\d.]+)\s*(ms|s|min|h|d)", text)
    assert match, text
    return float(match[1]) * _SECONDS[match[2]]


def devices_of(case: Mapping[str, Any]) -> tuple[Device, ...]:
    """``points: {gas1.lel: {...}}`` makes the device gas1; ``devices:`` says more about it."""
    described: dict[str, dict[str, Any]] = {name: dict(given or {}) for name, given in case.get("devices", {}).items()}
    points: dict[str, list[Point]] = {name: [] for name in described}
    for point_id, given in case.get("points", {}).items():
        points.setdefault(point_id.partition(".")[0], []).append(_point(point_id, given or {}))
    generated: Mapping[str, Any] = case.get("generate", {"count": 0})
    for index in range(generated["count"]):
        name = f"{generated['prefix']}{index}"
        described[name] = {"type": generated["type"], "building": f"B{index % generated['buildings']}"}
        points[name] = [_point(f"{name}.{point}", given) for point, given in generated["points"].items()]
    return tuple(_device(name, described.get(name, {}), tuple(points[name])) for name in points)


def _device(name: str, given: Mapping[str, Any], points: tuple[Point, ...]) -> Device:
    place = Place(**{level: given.get(level) for level in ("building", "unit", "floor", "room")})
    return Device(name, given.get("type", "thing"), Text(name, name), place, "test", points, given.get("roles", {}))


def _point(point_id: str, given: Mapping[str, Any]) -> Point:
    kind = ValueKind.BOOLEAN if given.get("type") == "bool" else ValueKind.NUMBER
    states = tuple(given.get("values", ()))
    unit: str | None = given.get("unit")
    period = seconds(given["period"]) if "period" in given else float("inf")
    return Point(
        point_id,
        ValueKind.STATE if states else kind,
        Text(point_id, point_id),
        period,
        unit and UCUM.get(unit, unit),
        states=states,
    )
