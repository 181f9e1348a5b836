"""The installer's page of fire panels: its example is a site that is accepted, its lists are complete."""

from __future__ import annotations

import re
from pathlib import Path

from drivers.registry import protocol
from gateway.config.faults import Report
from gateway.config.load import check
from gateway.config.profiles import Profile, Profiles
from gateway.config.yaml12 import load_yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "devices" / "fire.md").read_text(encoding="utf-8")
SITE, POINTS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
HEAD = "format: site/1\nsite: {id: jiayuan, name: {zh: 佳园, en: Jiayuan}}\ngateway: {id: gw1}\n"
PROFILES = ("gb26875_panel", "gst9000_printer", "fire_contacts_io_8ch")


def profile(name: str) -> Profile:
    report = Report()
    found = Profiles(Path("nowhere"), report).get(name)
    assert found is not None, report.faults
    return found


def test_the_example_is_a_site_without_fault(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(HEAD + SITE, encoding="utf-8")
    assert check(tmp_path) == []


def test_a_fault_in_it_is_said(tmp_path: Path) -> None:
    for right, wrong, words in (
        ("B2 23 96 60 40 01", "B2 23 96", "six bytes"),
        ("listen: 0.0.0.0:26875", "listen: here", "host:port"),
        ("9600 8N1", "96 8N1", "9600 8N1"),
    ):
        assert right in SITE
        (tmp_path / "site.yaml").write_text(HEAD + SITE.replace(right, wrong, 1), encoding="utf-8")
        assert any(words in fault.message.en for fault in check(tmp_path)), words


def test_a_point_of_ones_own_is_accepted() -> None:
    (point,) = load_yaml(POINTS, "fire.md").data["points"].values()
    options = {key: value for key, value in point.items() if key not in ("name", "unit")}
    protocol("gb26875").point_options.model_validate(options)


def test_every_profile_every_point_and_every_event_is_on_the_page() -> None:
    drivers = ("gb26875/reports.py", "gst_printer/hub.py")
    code = "".join((ROOT / "drivers" / name).read_text("utf-8") for name in drivers)
    kinds = set(re.findall(r'"(fire\.[a-z]+)"', code))
    assert len(kinds) == 8
    points = {point for name in PROFILES for point in profile(name).model.points}
    for word in (*kinds, *points, *PROFILES):
        assert f"`{word}`" in PAGE, word
