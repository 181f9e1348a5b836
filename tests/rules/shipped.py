"""One device of every shipped profile, as a site would have it, for trying rules on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from gateway.config.faults import Report
from gateway.config.profiles import Profile, Profiles, shipped_profiles
from gateway.model import Device, Place, Point, Text, ValueKind

NAMES = tuple(sorted(path.stem for path in shipped_profiles().glob("*.yaml")))


@cache
def devices() -> Mapping[str, Device]:
    """Profile -> a device of its kind, with the profile's id; its roles are still to be given."""
    report = Report()
    profiles = Profiles(Path("nowhere"), report)
    found = {name: profile for name in NAMES if (profile := profiles.get(name)) is not None}
    assert report.faults == []
    return {name: _device(name, profile) for name, profile in found.items()}


def _device(name: str, profile: Profile) -> Device:
    model = profile.model
    prefix = f"{name}."
    points = tuple(
        Point(
            id=prefix + point,
            kind=ValueKind(given.kind),
            label=Text(given.name.zh, given.name.en),
            interval_s=given.every or model.every or 60.0,
            unit=given.unit,
            states=tuple(given.states),
            counter=given.counter,
            writable=given.writable,
            commands=tuple(given.commands),
        )
        for point, given in model.points.items()
    )
    actions = {word: (prefix + action.point, action.value) for word, action in model.actions.items()}
    return Device(name, model.kind, Text("", ""), Place(building="B1"), "test", points, actions=actions)
