"""The installer's pages of lifts, gas and JSON over HTTP: examples are sites that are accepted, lists complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from drivers.code_tables import MESSAGES, SERVICE_MODES, Table
from drivers.http_push.config import HttpJsonOptions
from gateway.actions import actions_of
from gateway.config.faults import Report
from gateway.config.load import check, load
from gateway.config.profiles import Profile, Profiles, shipped_profiles

ROOT = Path(__file__).parents[2]
PAGES = {
    name: (ROOT / "docs" / "devices" / f"{name}.md").read_text(encoding="utf-8") for name in ("lift", "gas", "http")
}
LIBRARY = ROOT / "rules" / "library"
HEAD = "format: site/1\nsite: {id: jiayuan, name: {zh: 佳园, en: Jiayuan}}\ngateway: {id: gw1}\n"


def example(name: str) -> str:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGES[name], re.DOTALL)
    return str(block)


def site(name: str, directory: Path, *packs: str) -> Path:
    (directory / "site.yaml").write_text(HEAD + example(name), encoding="utf-8")
    (directory / "rules").mkdir()
    for pack in packs:
        text = (LIBRARY / f"{pack}.yaml").read_text(encoding="utf-8")
        (directory / "rules" / f"{pack}.yaml").write_text(text, encoding="utf-8")
    return directory


def profile(name: str) -> Profile:
    report = Report()
    found = Profiles(Path("nowhere"), report).get(name)
    assert found is not None, report.faults
    return found


def profiles_of(*kinds: str) -> set[str]:
    names = {path.stem for path in shipped_profiles().glob("*.yaml")}
    return {name for name in names if profile(name).model.kind in kinds}


@pytest.mark.parametrize(("name", "devices"), [("lift", 6), ("gas", 6), ("http", 4)])
def test_the_example_is_a_site(name: str, devices: int, tmp_path: Path) -> None:
    directory = site(name, tmp_path)
    assert [fault for fault in check(directory) if not fault.warning] == []
    assert sum(len(line.devices) for line in load(directory).lines) == devices


def test_every_lift_of_the_example_is_watched_by_the_rules_that_its_points_allow(tmp_path: Path) -> None:
    watches = load(site("lift", tmp_path, "lift")).rules.watches
    placed = {(watch.rule.id, watch.device) for watch in watches}
    for device in ("lift-1", "lift-4"):
        assert ("lift_entrapment", device) in placed
    for rule in ("lift_entrapment_derived", "lift_entrapment_fault"):
        assert {device for each, device in placed if each == rule} == {"lift-1", "lift-2", "lift-3"}, rule
    assert {("lift_fault", f"lift-{number}") for number in (1, 2, 3, 4)} <= placed
    assert {("lift_drive_trip", "drive-4"), ("lift_silent", "lift-5")} <= placed


def test_the_page_of_lifts_is_complete() -> None:
    page = PAGES["lift"]
    named = profiles_of("lift", "lift_drive")
    assert len(named) >= 8
    for word in (*named, *SERVICE_MODES, *Table):
        assert f"`{word}`" in page, word
    for code in MESSAGES:
        assert re.search(rf"(?<!\d){code} \D", page), code
    points = {point for name in named - {"lift_box_a", "bacnet_lift"} for point in profile(name).model.points}
    assert [point for point in sorted(points) if f"`{point}`" not in page] == []
    rules = re.findall(r"^- id: (lift_entrapment\w*)", (LIBRARY / "lift.yaml").read_text("utf-8"), re.M)
    assert len(rules) == 3
    assert [rule for rule in rules if f"| `{rule}` |" not in page] == []


def test_the_valve_of_the_kitchen_is_closed_by_the_pack_and_opened_by_nothing(tmp_path: Path) -> None:
    config = load(site("gas", tmp_path, "gas"))
    placed = {(watch.rule.id, watch.device) for watch in config.rules.watches}
    assert placed >= {
        ("gas_kitchen", "kitchen"),
        ("gas_controller_high", "panel"),
        ("gas_controller_fault", "panel"),
        ("gas_high", "det_a"),
        ("gas_fault", "det_b"),
        ("gas_home", "flat-101"),
        ("gas_home_fault", "flat-101"),
        ("gas_home_defect", "flat-102"),
    }
    actions = actions_of([plan.device for line in config.lines for plan in line.devices])["kitchen"]
    assert {"close", "start", "stop"} <= set(actions)
    assert not {"open", "release"} & set(actions)
    assert profile("relay_gas_kitchen").model.points["valve"].commands == ["closed"]
    assert "fan" not in re.findall(r"allow_write: \[(.*?)\]", example("gas"))[0].split(", ")


def test_the_page_of_gas_names_its_profiles_and_the_page_of_outputs() -> None:
    named = profiles_of("gas_detector", "gas_controller", "gas_monitor", "gas_alarm", "gas_valve")
    assert len(named) >= 7
    assert [name for name in named if f"`{name}`" not in PAGES["gas"]] == []
    assert "(../outputs.md)" in PAGES["gas"]


def test_the_page_of_http_names_every_key() -> None:
    keys = set(HttpJsonOptions.model_fields) - {"address"}
    assert len(keys) == 11
    assert [key for key in keys if f"`{key}`" not in PAGES["http"]] == []
    shared = {path.stem for path in shipped_profiles().glob("*.yaml") if "http-json" in profile(path.stem).types}
    assert len(shared) == 9
    assert set(re.findall(r"profile: (\w+)", example("http"))) <= shared
