"""What the page knows from the configuration: names and places, and what it must keep to itself.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo

from gateway.config.load import Configuration
from gateway.model import Device, Point, PointId, Text
from gateway.places import NO_PLACES, Places


@dataclass(frozen=True, slots=True)
class Catalog:
    """A device or point that is not in it (the daemon has read a newer configuration) is shown without a name, and
    counts as personal."""

    site: Text
    gateway: str
    devices: Mapping[str, Device]
    points: Mapping[PointId, Point]
    speaking: frozenset[tuple[str, str | None]]
    """Alarms (rule, device) whose message cannot contain the value of a personal point."""
    zone: tzinfo = UTC
    places: Places = NO_PLACES

    @classmethod
    def of(cls, config: Configuration) -> Catalog:
        points = config.points
        return cls(
            site=Text(config.site.name.zh, config.site.name.en),
            gateway=config.gateway.id,
            devices={device.id: device for device in config.watched},
            points=points,
            speaking=frozenset(
                (watch.rule.id, watch.device)
                for watch in config.rules.watches
                if not any(target in points and points[target].personal for target in watch.targets)
                and not any(points[point].personal for point in watch.shown.values())
            ),
            zone=config.site.zone,
            places=config.places,
        )
