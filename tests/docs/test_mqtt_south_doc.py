"""The examples in docs/devices/radio.md and mqtt.md are right, and name every profile there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from drivers.mqtt_south.hub import CHIRPSTACK, MQTT_JSON, ZIGBEE2MQTT
from gateway.config.explain import parse
from gateway.config.faults import Report
from gateway.config.profiles import Profiles, shipped_profiles
from gateway.config.yaml12 import load_yaml

DOCS = Path(__file__).parents[2] / "docs" / "devices"
TYPES = {type_.name: type_ for type_ in (ZIGBEE2MQTT, CHIRPSTACK, MQTT_JSON)}
CORE_KEYS = {"id", "profile", "line", "kind", "allow_write"}


def examples(name: str) -> list[Any]:
    text = (DOCS / name).read_text("utf-8")
    found = []
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        document = load_yaml(block, name)
        assert document.faults == ()
        found.append(document.data)
    return found


@pytest.mark.parametrize(("name", "count"), [("radio.md", 5), ("mqtt.md", 11)])
def test_the_site_example_is_right(name: str, count: int) -> None:
    site = examples(name)[0]
    lines = {}
    for line in site["lines"]:
        type_ = TYPES[line["protocol"]]
        assert type_.hub_options is not None
        parse(type_.hub_options, {key: value for key, value in line.items() if key not in ("id", "protocol")})
        lines[line["id"]] = type_
    profiles = Profiles(Path("nowhere"), Report())
    for device in site["devices"]:
        profile = profiles.get(device["profile"])
        assert profile is not None
        type_ = lines[device["line"]]
        assert type_.name in profile.types
        own = {key: value for key, value in device.items() if key not in CORE_KEYS}
        parse(type_.device_options, {**profile.model.device, **own})
        writable = {key for key, point in profile.model.points.items() if point.writable}
        assert set(device.get("allow_write", [])) <= writable
    assert len(site["devices"]) == count


def test_the_profile_example_is_right(tmp_path: Path) -> None:
    text = re.findall(r"```yaml\n(format: profile.*?)```", (DOCS / "mqtt.md").read_text("utf-8"), re.DOTALL)[0]
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "my_locker.yaml").write_text(text, "utf-8")
    report = Report()
    assert Profiles(tmp_path, report).get("my_locker") is not None
    assert report.faults == []


def test_every_profile_and_event_is_documented() -> None:
    texts = "".join((DOCS / name).read_text("utf-8") for name in ("radio.md", "mqtt.md"))
    profiles = Profiles(Path("nowhere"), Report())
    named = 0
    for path in shipped_profiles().glob("*.yaml"):
        profile = profiles.get(path.stem)
        assert profile is not None
        if not set(profile.types) & set(TYPES):
            continue
        named += 1
        assert f"`{path.stem}`" in texts
        for event in profile.model.device.get("events", ()):
            assert event["kind"] in texts
    assert named == 26
    assert all(kind in texts for kind in ("lorawan.joined", "lorawan.log", "device.thinned"))
