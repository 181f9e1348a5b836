"""docs/devices/environment.md: its example passes the check together with the shipped packs, and their actions fit."""

from __future__ import annotations

from pathlib import Path

from gateway.actions import actions_of
from gateway.config.load import check, load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "devices" / "environment.md").read_text(encoding="utf-8")
PACKS = ("gas.yaml", "environment.yaml", "water.yaml")


def blocks() -> list[str]:
    return [part.partition("```")[0] for part in PAGE.split("```yaml\n")[1:]]


def site(directory: Path) -> Path:
    text, rules = blocks()
    (directory / "site.yaml").write_text(text, encoding="utf-8")
    (directory / "rules").mkdir()
    (directory / "rules" / "gas_contacts.yaml").write_text(rules, encoding="utf-8")
    return directory


def test_the_example_passes_the_check(tmp_path: Path) -> None:
    assert check(site(tmp_path)) == []


def test_with_the_shipped_packs_nothing_but_missing_devices_is_found(tmp_path: Path) -> None:
    directory = site(tmp_path)
    for pack in PACKS:
        content = (ROOT / "rules" / "library" / pack).read_text(encoding="utf-8")
        (directory / "rules" / pack).write_text(content, encoding="utf-8")
    faults = check(directory)
    assert {fault.code for fault in faults if not fault.warning} == set()
    placed = {(watch.rule.id, watch.device) for watch in load(directory).rules.watches}
    assert {
        ("gas_high", "det_a"),
        ("gas_home", "flat_gas"),
        ("gas_kitchen", "kitchen_valve"),
        ("pm25_high", "air"),
        ("heat_outdoor", "mast"),
        ("gas_contact_fault", "flat_gas"),
        ("basement_water", "basement"),
        ("basement_water_storm", "basement"),
        ("river_high", "river"),
    } <= placed


def test_the_kitchen_valve_can_be_closed_and_never_opened(tmp_path: Path) -> None:
    config = load(site(tmp_path))
    table = actions_of([plan.device for line in config.lines for plan in line.devices])
    assert {"close", "start", "stop", "fan_on", "fan_off"} <= set(table["kitchen_valve"])
    assert not {"open", "released"} & set(table["kitchen_valve"])
