"""The shipped rule packs: each passes the tests beside it, and every rule is raised by one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rules
from gateway.config.case_files import read_case_file, read_text
from gateway.config.yaml12 import load_yaml
from rules.casefile import Case, Expect
from rules.caseplay import play
from rules.definition import read_rules
from rules.units import of_point

LIBRARY = Path(rules.__file__).parent / "library"
PROFILES = Path(rules.__file__).parent.parent / "config" / "devices"
PACKS = sorted(LIBRARY.glob("*.yaml"))
FILES = [read_case_file(path) for path in sorted((LIBRARY / "tests").glob("*.yaml"))]
CASES = [case for file in FILES for case in file.cases]


def read(path: Path) -> Any:
    document = load_yaml(path.read_text(encoding="utf-8"), path.name)
    assert not document.faults
    return document.data


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_pack(case: Case) -> None:
    result = play(case, read_text)
    assert result.refused == ()
    assert result.differences == ()
    assert result.checks == sum(isinstance(action, Expect) for _, action in case.steps) > 0


def test_every_rule_of_every_pack_is_raised_by_a_test() -> None:
    assert [fault for file in FILES for fault in file.faults] == []
    assert [path.stem for path in PACKS] == ["gas", "meters", "risk", "water"]
    assert len(CASES) == 7
    raised = {change.rule for case in CASES for change in play(case, read_text).changes}
    assert raised == {entry["id"] for path in PACKS for entry in read(path)["rules"]}


def test_packs_load_without_devices_and_share_no_id() -> None:
    joined = [entry for path in PACKS for entry in read(path)["rules"]]
    made, faults = read_rules({"format": "rules/1", "rules": joined}, None)
    assert faults == ()
    assert len(made.rules) == 14


def test_gas_rules_ship_in_shadow_until_somebody_signs_them_off() -> None:
    assert {entry["mode"] for entry in read(LIBRARY / "gas.yaml")["rules"]} == {"shadow"}


def test_the_rules_know_the_units_of_every_shipped_device_profile() -> None:
    points = [point for path in sorted(PROFILES.glob("*.yaml")) for point in read(path)["points"].values()]
    units = {point["unit"] for point in points if "unit" in point}
    assert len(units) > 10
    assert {unit for unit in units if of_point(unit) is None} == set()
