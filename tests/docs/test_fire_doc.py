"""The installer's page of fire panels: its examples are accepted, its lists are complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from drivers.base import ProtocolType
from drivers.registry import protocol
from gateway.config.faults import Report
from gateway.config.profiles import Profile, Profiles
from gateway.config.yaml12 import load_yaml

PAGE = (Path(__file__).parents[2] / "docs" / "devices" / "fire.md").read_text(encoding="utf-8")
SITE, POINTS = (load_yaml(block, "fire.md").data for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
OF_THE_SITE = ("id", "profile", "line", "name", "place")
"""Keys of a device entry that are not its protocol's."""


def profile(name: str) -> Profile:
    report = Report()
    found = Profiles(Path("nowhere"), report).get(name)
    assert found is not None, report.faults
    return found


def others(entry: dict[str, Any], *known: str) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in known}


def test_the_lines_are_accepted() -> None:
    hubs = [line for line in SITE["lines"] if "protocol" in line]
    for line in hubs:
        options = protocol(line["protocol"]).hub_options
        assert options is not None
        options.model_validate(others(line, "id", "protocol"))
    assert [line["protocol"] for line in hubs] == ["gb26875", "gst-printer"]


def test_the_devices_are_accepted() -> None:
    lines = {line["id"]: line.get("protocol", "modbus-rtu") for line in SITE["lines"]}
    for device in SITE["devices"]:
        type_: ProtocolType = profile(device["profile"]).types[lines[device["line"]]]
        type_.device_options.model_validate(others(device, *OF_THE_SITE))
    assert len(SITE["devices"]) == 4


def test_a_point_of_ones_own_is_accepted() -> None:
    (point,) = POINTS["points"].values()
    protocol("gb26875").point_options.model_validate(others(point, "name", "unit"))


def test_every_point_and_every_event_is_on_the_page() -> None:
    drivers = Path(__file__).parents[2] / "drivers"
    code = "".join((drivers / name).read_text("utf-8") for name in ("gb26875/reports.py", "gst_printer/hub.py"))
    kinds = set(re.findall(r'"(fire\.[a-z]+)"', code))
    assert len(kinds) == 8
    points = {point for name in ("gb26875_panel", "gst9000_printer") for point in profile(name).model.points}
    for word in kinds | points:
        assert f"`{word}`" in PAGE, word
