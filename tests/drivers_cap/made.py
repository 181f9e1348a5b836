"""Devices and hubs of the tests: the shipped profile's points."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.cap.config import CapHubOptions, CapOptions
from drivers.cap.hub import CapHub
from gateway.clock import Clock
from gateway.config.faults import Report
from gateway.config.profiles import Profiles
from gateway.model import Point, Text, ValueKind


def device(name: str = "weather", **options: Any) -> DeviceSpec:
    report = Report()
    profile = Profiles(Path("nowhere"), report).get("cap_warnings")
    assert profile is not None, report.faults
    points = {
        f"{name}.{each}": PointSpec(
            Point(
                f"{name}.{each}",
                ValueKind(model.kind),
                Text(model.name.zh, model.name.en),
                profile.model.every,
                states=tuple(model.states),
            ),
            profile.options["cap"][each],
        )
        for each, model in profile.model.points.items()
    }
    return DeviceSpec(name, CapOptions(**(options or {"areas": ["410105"]})), points, 1.0)


def hub(clock: Clock, *devices: DeviceSpec, memory: Mapping[str, bytes] | None = None, **options: Any) -> CapHub:
    made = {each.id: each for each in devices or (device(),)}
    return CapHub(HubSpec("warnings", CapHubOptions(**options), made, memory or {}), clock)
