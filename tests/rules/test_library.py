"""The shipped rule packs: each passes the tests beside it and fits its devices; every rule is raised by a test."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rules
from gateway.cli.main import main
from gateway.config.case_files import read_case_file, read_text
from gateway.config.yaml12 import load_yaml
from gateway.model import Device, Place, Point, Text, ValueKind
from rules.casefile import Case, Expect, read_plant
from rules.caseplay import play
from rules.definition import read_rules
from rules.faults import RuleFault
from rules.lints import lints
from rules.plain import Reader
from rules.rule import RuleSet
from rules.units import of_point

LIBRARY = Path(rules.__file__).parent / "library"
PROFILES = Path(rules.__file__).parent.parent / "config" / "devices"
PACKS = sorted(LIBRARY.glob("*.yaml"))
OWN = LIBRARY.parent / "self.yaml"
FILES = [read_case_file(path) for path in sorted((LIBRARY / "tests").glob("*.yaml"))]
CASES = [case for file in FILES for case in file.cases]
RULES, CASES_WRITTEN = 140, 161

ACTIONS = {
    "valve-1": frozenset({"close"}),
    "valve-2": frozenset({"close"}),
    "siren-1": frozenset({"start", "stop"}),
    "door-1": frozenset({"hold_door", "release_door"}),
    "speaker-1": frozenset({"no_ebike"}),
    "breaker-1": frozenset({"open"}),
    "a-speaker": frozenset(
        {"please_close_door", "move_your_car", "rainstorm_orange", "rainstorm_red", "typhoon_orange", "typhoon_red"}
    ),
    "a-camera": frozenset({"snapshot"}),
    "a-drain_pump": frozenset({"start"}),
}
"""What can be sent to the devices of ``compound``."""
READ_S = 120.0
"""What the tests read seldom to be short is read so often at least."""
LIFE_SAFETY = ("fire", "gas", "lift")
"""Packs in shadow as a whole; of the others single rules are."""


def read(path: Path) -> Any:
    document = load_yaml(path.read_text(encoding="utf-8"), path.name)
    assert not document.faults
    return document.data


def entries() -> list[Any]:
    return [entry for path in PACKS for entry in read(path)["rules"]]


def joined(devices: Sequence[Device] | None, **keys: Any) -> tuple[RuleSet, tuple[RuleFault, ...]]:
    return read_rules({"format": "rules/1", "rules": entries()}, devices, **keys)


def compound() -> tuple[Device, ...]:
    """One device of every kind: those of library_devices.yaml, and of the others what the packs' own tests have."""
    reader = Reader([])
    plant = read_plant(reader, read(Path(__file__).parent / "library_devices.yaml"))
    assert reader.faults == []
    points, roles = of_cases()
    described = [completed(device, points.get(device.kind, {}), {}) for device in plant.devices()]
    known = {device.kind for device in described}
    bare = [
        Device(f"a-{kind}", kind, Text("", ""), Place(building="B1"), "test", ())
        for kind in points
        if kind not in known
    ]
    return (*described, *(completed(device, points[device.kind], roles[device.kind]) for device in bare))


def of_cases() -> tuple[dict[str, dict[str, Point]], dict[str, dict[str, str]]]:
    """The points, and the roles, that the packs' own tests give each kind of device."""
    points: dict[str, dict[str, Point]] = {}
    roles: dict[str, dict[str, str]] = {}
    for case in CASES:
        kinds = {device.id: device.kind for device in case.devices}
        for device in case.devices:
            points.setdefault(device.kind, {}).update({point.name: point for point in device.points})
            roles.setdefault(device.kind, {}).update(
                {role: f"a-{kinds[to]}" for role, to in device.roles.items() if to in kinds}
            )
    return points, roles


def completed(device: Device, points: Mapping[str, Point], roles: Mapping[str, str]) -> Device:
    mine = {point.name for point in device.points}
    more = (
        replace(
            point,
            id=f"{device.id}.{name}",
            interval_s=READ_S if READ_S < point.interval_s < math.inf else point.interval_s,
        )
        for name, point in points.items()
        if name not in mine
    )
    return replace(device, points=(*device.points, *more), roles={**roles, **device.roles})


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_pack(case: Case) -> None:
    result = play(case, read_text)
    assert result.refused == ()
    assert result.differences == ()
    assert result.checks == sum(isinstance(action, Expect) for _, action in case.steps) > 0


def test_every_rule_of_every_pack_is_raised_by_a_test() -> None:
    assert [fault for file in FILES for fault in file.faults] == []
    assert {path.stem for path in PACKS} | {"self"} == {file.path.stem for file in FILES}
    assert len(CASES) == CASES_WRITTEN
    raised = {change.rule for case in CASES for change in play(case, read_text).changes}
    parents = {"fire", "power_lost", "bus_down"}
    assert raised | parents == {entry["id"] for entry in [*entries(), *read(OWN)["rules"]]} | parents


LONG = pytest.mark.long  # each mistake is played through all cases of its pack
MISTAKES = [
    ("care", 26),
    ("ebike_shed", 50),
    ("fire", 51),
    ("self", 8),
    pytest.param("gas", 129, marks=LONG),
    pytest.param("lift", 113, marks=LONG),
    pytest.param("power", 103, marks=LONG),
]


@pytest.mark.parametrize(("pack", "count"), MISTAKES)
def test_no_mistake_in_a_pack_goes_unnoticed(pack: str, count: int) -> None:
    path = LIBRARY / "tests" / f"{pack}.yaml"
    result = CliRunner().invoke(main, ["rules", "test", str(path), "--mutate", "--json"])
    found = json.loads(result.stdout)
    assert found["survived"] == []
    assert found["mutants"] == count


def test_packs_load_without_devices_and_share_no_id() -> None:
    made, faults = joined(None)
    assert faults == ()
    assert len(made.rules) == RULES


def test_packs_fit_a_compound_with_every_kind_of_device() -> None:
    devices = compound()
    made, faults = joined(devices, actions=ACTIONS)
    assert faults == ()
    assert list(lints(made, devices)) == []
    assert {watch.rule.id for watch in made.watches} == {rule.id for rule in made.rules}


def test_no_pack_is_refused_because_of_a_shipped_profile() -> None:
    """A device without a point is left out; a point of another kind or unit would refuse the whole rule."""
    _, faults = joined([*compound(), *of_profiles()])
    assert [fault for fault in faults if fault.is_error] == []


def of_profiles() -> Iterator[Device]:
    for path in sorted(PROFILES.glob("*.yaml")):
        profile = read(path)
        points = tuple(_point(f"{path.stem}.{name}", given) for name, given in profile["points"].items())
        yield Device(path.stem, profile["kind"], Text("", ""), Place(), "test", points)


def _point(point_id: str, given: Any) -> Point:
    kind = ValueKind(given.get("kind", "number"))
    return Point(point_id, kind, Text("", ""), 60.0, given.get("unit"), states=tuple(given.get("states", ())))


def test_life_safety_ships_in_shadow_until_somebody_signs_it_off() -> None:
    for pack in LIFE_SAFETY:
        assert {entry.get("mode") for entry in read(LIBRARY / f"{pack}.yaml")["rules"]} == {"shadow"}, pack
    acting = {entry["id"]: entry.get("mode") for entry in entries() if "on_alarm" in entry}
    shadow = {"gas_kitchen", "gas_zone_leak", "shed_smoke", "ebike_in_lift"}
    assert {rule for rule, mode in acting.items() if mode == "shadow"} == shadow
    harmless = {
        send["send"].partition(".")[0]
        for entry in entries()
        for send in entry.get("on_alarm", ())
        if entry["id"] not in shadow
    }
    assert harmless == {"speaker", "camera", "broadcast", "pump"}, "what acts from the first day shuts nothing off"


def test_every_rule_speaks_both_languages_and_says_what_to_do_and_where_its_limit_comes_from() -> None:
    for path in PACKS:
        for entry in read(path)["rules"]:
            for key in ("name", "message", "response", *(("note",) if path.stem != "risk" else ())):
                assert all(entry[key][language].strip() for language in ("zh", "en")), (entry["id"], key)
            assert entry["response"]["within"], entry["id"]


def test_messages_about_people_show_the_place_and_nothing_measured() -> None:
    messages = [text for entry in read(LIBRARY / "care.yaml")["rules"] for text in entry["message"].values()]
    assert len(messages) == 12
    assert {hole for text in messages for hole in _holes(text)} == {"where", "silent"}


def _holes(text: str) -> set[str]:
    return {part.partition("}")[0] for part in text.split("{")[1:]}


def test_the_names_of_kinds_and_points_are_written_down() -> None:
    """So that later profiles follow: README.md of the library has every kind that a rule is for."""
    table = (LIBRARY / "README.md").read_text(encoding="utf-8")
    kinds = {kind for entry in entries() for kind in _kinds(entry["for_each"]["type"])}
    assert len(kinds) >= 40
    assert {kind for kind in kinds if f"`{kind}`" not in table} == set()


def _kinds(written: str | list[str]) -> list[str]:
    return [written] if isinstance(written, str) else written


def test_the_rules_know_the_units_of_every_shipped_device_profile() -> None:
    points = [point for path in sorted(PROFILES.glob("*.yaml")) for point in read(path)["points"].values()]
    units = {point["unit"] for point in points if "unit" in point}
    assert len(units) > 10
    assert {unit for unit in units if of_point(unit) is None} == set()
