"""The page for installers, and the profiles that it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from drivers.http_options import HttpHubOptions
from drivers.plate_camera.config import PlateCameraOptions
from drivers.registry import protocol
from gateway.actions import actions_of
from gateway.config.explain import parse
from gateway.config.faults import Report
from gateway.config.load import check, load
from gateway.config.models import DeviceModel, LineModel, SiteFile
from gateway.config.profiles import Profiles
from gateway.vehicles.config import VehiclesModel
from rules.effects import opposite

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "devices" / "vehicles.md").read_text(encoding="utf-8")
[EXAMPLE] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
SITE: dict[str, Any] = yaml.safe_load(EXAMPLE)
CAMERAS = [device for device in SITE["devices"] if device["profile"] == "plate_camera"]


def test_the_line_and_the_cameras_of_the_example() -> None:
    line = {key: value for key, value in SITE["lines"][0].items() if key not in ("id", "protocol")}
    assert SITE["lines"][0]["protocol"] == "plate-camera"
    parse(HttpHubOptions, line)
    assert len(CAMERAS) == 3
    for camera in CAMERAS:
        own = {key: value for key, value in camera.items() if key not in DeviceModel.model_fields}
        parse(PlateCameraOptions, own)


def test_the_vehicles_of_the_example() -> None:
    settings = parse(VehiclesModel, SITE["vehicles"]).settings()
    assert set(settings.gates) <= {camera["id"] for camera in CAMERAS}


def of_this_version() -> dict[str, Any]:
    """The example without what the configuration does not know yet."""
    site = dict(SITE)
    if "vehicles" not in SiteFile.model_fields:
        del site["vehicles"]
    if "protocol" not in LineModel.model_fields:
        site["lines"] = SITE["lines"][1:]
        site["devices"] = [device for device in SITE["devices"] if device not in CAMERAS]
    return site


def test_the_example_passes_the_check(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(of_this_version(), allow_unicode=True), encoding="utf-8")
    assert [fault for fault in check(tmp_path) if fault.code.startswith("E-")] == []


def test_the_barrier_fits_the_shipped_rules_and_can_be_raised(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(of_this_version(), allow_unicode=True), encoding="utf-8")
    (tmp_path / "rules").mkdir()
    pack = yaml.safe_load((ROOT / "rules" / "library" / "vehicles.yaml").read_text(encoding="utf-8"))
    pack["rules"] = [rule for rule in pack["rules"] if rule["for_each"]["type"] == "barrier"]
    assert len(pack["rules"]) == 4
    rules = tmp_path / "rules" / "vehicles.yaml"
    rules.write_text(yaml.safe_dump(pack, allow_unicode=True, sort_keys=False), encoding="utf-8")
    found = check(tmp_path)
    assert not [fault for fault in found if fault.code.startswith("E-")], found
    # the fire pack is not here, and a plate camera takes no snapshots
    said = [fault.message.en for fault in found if fault.code == "W-NOMATCH"]
    assert all("alarm(fire)" in text or "camera.snapshot" in text for text in said), found
    [barrier] = [device for device in load(tmp_path).devices if device.kind == "barrier"]
    actions = actions_of([barrier])["barrier-north"]
    assert opposite("raise_on") == "raise_off"  # so that a rule may say at_most_for
    assert actions == {
        "raise_on": ("barrier-north.raise", True),
        "raise_off": ("barrier-north.raise", False),
    }


def test_the_cameras_profile(tmp_path: Path) -> None:
    report = Report()
    profile = Profiles(tmp_path, report).get("plate_camera")
    assert report.faults == []
    assert profile is not None
    assert profile.types["plate-camera"] is protocol("plate-camera")
    assert {"seen_count", "vehicle", "confidence"} <= set(profile.model.points)


@pytest.mark.parametrize(
    "word", ["low_confidence", "colour_contradicts", "fake_plate", "source_time", "looks_like", "may_open"]
)
def test_the_page_names_what_is_reported(word: str) -> None:
    assert word in PAGE
