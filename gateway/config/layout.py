"""Everything about a kind of device that does not depend on its id: its points, and when each is read.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from drivers.base import ProtocolType
from gateway.config.models import DeviceModel, PointOverride, ProfileFile, ProfilePoint, TextModel
from gateway.config.profiles import Profile
from gateway.identity import CHANGED, CHECK_POINT, SAME
from gateway.model import Lane, Point, Text, ValueKind

SILENT_INTERVALS = 3
"""A device that speaks by itself has gone silent after so many of its shortest intervals."""


@dataclass(frozen=True, slots=True)
class When:
    """When a point is read by schedule."""

    interval_s: float
    at: tuple[time, ...] = ()
    spare: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The points of one kind of device, without the device's id."""

    points: tuple[tuple[str, Mapping[str, Any], BaseModel], ...]
    """(name, what goes into Point beside the id, the protocol's settings)"""
    jobs: tuple[tuple[When, tuple[str, ...]], ...]
    sent: tuple[str, ...] = ()
    """What the device sends by itself."""
    held: tuple[tuple[str, float], ...] = ()
    """Of these, what is told again every so many seconds while the device is heard."""
    silent_after_s: float = 0.0


def as_text(model: TextModel) -> Text:
    return Text(model.zh, model.en)


def lay_out(model: DeviceModel, profile: Profile, type_: ProtocolType) -> Layout:
    points = []
    jobs: dict[When, list[str]] = {}
    sent: dict[str, float] = {}
    held: dict[str, float] = {}
    for name, point in profile.model.points.items():
        change = model.points.get(name)
        if change is not None and change.skip:
            continue
        when = _when(model, profile.model, point, change)
        rating = (change and change.max_per_hour) or point.max_per_hour
        points.append((name, _shared(point, when.interval_s, rating), profile.options[type_.name][name]))
        if _nearest(None if change is None else change.sent, point.sent, default=type_.sends):
            sent[name] = when.interval_s
            if _nearest(None if change is None else change.hold, point.hold, default=point.kind != "number"):
                held[name] = when.interval_s
        elif not _nearest(None if change is None else change.on_demand, point.on_demand, default=False):
            jobs.setdefault(when, []).append(name)
    ordered = sorted(jobs, key=lambda when: (when.interval_s, when.spare, when.at))
    silent_after_s = (
        model.silent_after or profile.model.silent_after or SILENT_INTERVALS * min(sent.values(), default=0)
    )
    return Layout(
        tuple(points),
        tuple((when, tuple(jobs[when])) for when in ordered),
        tuple(sent),
        tuple(held.items()),
        silent_after_s,
    )


def _nearest(*said: bool | None, default: bool) -> bool:
    """The first that says anything."""
    return next((each for each in said if each is not None), default)


def _when(model: DeviceModel, profile: ProfileFile, point: ProfilePoint, change: PointOverride | None) -> When:
    """The nearest word counts: this point here, this point of the profile, this device, the profile."""
    spare = point.spare if change is None or change.spare is None else change.spare
    for at, every_s in ((change and change.at, change and change.every), (point.at, point.every)):
        if at:
            return When(every_s or _longest_gap_s(at), at)
        if every_s:
            return When(every_s, spare=spare)
    return When(model.every or profile.every, spare=spare)


def _longest_gap_s(times: Sequence[time]) -> float:
    """Between two of the *times* of day (in order), the night between the last and the first included."""
    seconds = [each.hour * 3600 + each.minute * 60 + each.second for each in times]
    return float(max(later - earlier for earlier, later in pairwise([*seconds, seconds[0] + 86400])))


def _shared(point: ProfilePoint, interval_s: float, max_per_hour: float | None) -> Mapping[str, Any]:
    return {
        "kind": ValueKind(point.kind),
        "label": as_text(point.name),
        "interval_s": interval_s,
        "unit": point.unit,
        "lane": Lane(point.lane),
        "states": tuple(point.states),
        "minimum": point.minimum,
        "maximum": point.maximum,
        "counter": point.counter,
        "max_per_hour": max_per_hour,
        "writable": point.writable,
        "commands": tuple(point.commands),
        "personal": point.personal,
        "identity": point.identity,
    }


def identity_check(points: Sequence[Point]) -> Iterator[Point]:
    """The point that says whether a device is the one it should be; none where it has no serial number to read."""
    for point in points:
        if point.identity:
            label = Text("编号核对", "identity check")
            yield Point(
                f"{point.device}.{CHECK_POINT}", ValueKind.STATE, label, point.interval_s, states=(SAME, CHANGED)
            )
            return
