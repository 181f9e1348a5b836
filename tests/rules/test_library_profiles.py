"""Every pack loads without an error on every site of shipped profiles, and every rule has somebody to watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import rules
from gateway.actions import available
from gateway.config.yaml12 import load_yaml
from gateway.model import Device
from rules.definition import read_rules
from rules.faults import RuleFault
from rules.rule import RuleSet
from tests.rules.shipped import NAMES, devices

LIBRARY = Path(rules.__file__).parent / "library"
PACKS = sorted(path.stem for path in LIBRARY.glob("*.yaml"))
PACKS_SHIPPED, PROFILES_SHIPPED = 20, 99
"""At least so many, so that a directory that is not found does not pass."""

THREE_PHASES = ("acrel_adl3000", "dlt645_1997_three_phase", "dlt645_three_phase", "eastron_sdm630")
KIND_OF_THE_ENTRY: Mapping[str, Sequence[str]] = {
    "feeder_meter": THREE_PHASES,
    "transformer_meter": ("dlt645_three_phase", "eastron_sdm630"),
    "lane_camera": ("plate_camera",),
    "parking_camera": ("plate_camera",),
    "roof_hatch": ("zigbee_door_mccgq11lm", "waveshare_modbus_io_8ch_door"),
    "fire_door": ("zigbee_door_mccgq11lm", "waveshare_modbus_io_8ch_door"),
    "switch_room": ("xy_md02", "zigbee_climate"),
    "cabinet": ("xy_md02",),
    "river_level": ("siyb_radar_60ghz", "dfrobot_sen0676_radar"),
    "water_zone": ("mbus_water",),
    "charging_socket": ("zigbee_socket", "ocpp_connector"),
}
"""Kinds that a device entry gives (``kind:``), as the README of the library says."""
ROLES: Mapping[str, Mapping[str, str]] = {
    "json_flood_sensor": {"weather": "cap_warnings"},
    "json_sos_unit": {"water": "cjt188_water_cold", "power": "dlt645_single_phase"},
    "uhppote_door": {"speaker": "http_speaker"},
    "cap_warnings": {"broadcast": "axis_speaker"},
    "json_ebike_shed": {"supply": "json_ebike_charger"},
}
ACTIONS = {"json_ebike_charger": {"open": ("json_ebike_charger.relay", "open")}}
"""What an entry says (``actions:``): which way a contact is safe no name can tell."""
AREAS = {"class_1", "class_2"}
_EVENTS = "meters tell it as a DL/T 645 event; no profile has it as a point"
_QUALITY = "no instrument with a public register list"
NOBODY: Mapping[str, str] = {
    **dict.fromkeys(("gas_zone_leak",), "a place with its own detectors and valves, made by the site"),
    **dict.fromkeys(("co_alarm", "co_long", "co_fault"), "no profile of a carbon monoxide detector"),
    **dict.fromkeys(("pipe_frost", "pipe_freezing"), "no profile of a clamp-on probe"),
    "co2_high": "no profile of a carbon dioxide sensor",
    "bus_down": "no serial server tells whether it is online",
    **dict.fromkeys(("meter_cover_open", "meter_magnetic", "meter_clock_drift"), _EVENTS),
    "transformer_hot": "no meter measures the winding",
    **dict.fromkeys(("earth_leakage", "cable_hot"), "no profile of an electrical fire detector"),
    **dict.fromkeys(("cabinet_fan_fault", "cabinet_mains_lost", "cabinet_door_open"), "inputs that the site wires"),
    **dict.fromkeys(("vehicle_denied", "parking_full"), "the section vehicles makes these points"),
    **dict.fromkeys(("night_leak",), "a zone's households and pressure are the site's"),
    **dict.fromkeys(("chlorine_low", "chlorine_high", "turbidity_high", "ph_out_of_range"), _QUALITY),
    **{f"community_risk_{word}": "the section risk makes the device" for word in ("blue", "yellow", "orange", "red")},
    "community_risk_blind": "the section risk makes the device",
}
"""Rules that watch nothing on any site of shipped profiles, and why they are there."""


@cache
def pack(name: str) -> Any:
    document = load_yaml((LIBRARY / f"{name}.yaml").read_text(encoding="utf-8"), name)
    assert not document.faults
    return document.data


def errors(faults: Sequence[RuleFault], data: Any) -> list[str]:
    ids = [entry["id"] for entry in data["rules"]]
    return [f"{ids[int(fault.path[1])]}: {fault.code} {fault.en}" for fault in faults if fault.is_error]


def bound(data: Any, site: Sequence[Device]) -> tuple[RuleSet, tuple[RuleFault, ...]]:
    writable = {point.id for device in site for point in device.points if point.writable}
    return read_rules(data, site, available(site, writable))


def as_configured() -> list[Device]:
    """One device of every profile, one more for every kind and area that an entry may say, and a kitchen."""
    found = [
        replace(device, roles=ROLES.get(name, {}), actions=device.actions | ACTIONS.get(name, {}))
        for name, device in devices().items()
    ]
    for kind, names in KIND_OF_THE_ENTRY.items():
        found += [_renamed(devices()[name], f"{kind}-{name}", kind=kind) for name in names]
    found += [_renamed(devices()["renke_noise"], f"noise-{area}", area=area) for area in sorted(AREAS)]
    roles = {"a": "pemtech_pt495", "b": "pemtech_pt495", "valve": "kitchen", "siren": "kitchen"}
    return [*found, _renamed(devices()["relay_gas_kitchen"], "kitchen", kind="gas_kitchen", roles=roles)]


def _renamed(device: Device, name: str, **changes: Any) -> Device:
    points = tuple(replace(point, id=f"{name}.{point.name}") for point in device.points)
    actions = {word: (f"{name}.{at.partition('.')[2]}", value) for word, (at, value) in device.actions.items()}
    return replace(device, id=name, points=points, actions=actions, **changes)


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_has_no_error_with_any_profile_alone(name: str) -> None:
    data, tried = pack(name), 0
    for device in devices().values():
        _, faults = bound(data, [device])
        assert errors(faults, data) == [], device.id
        tried += 1
    for kind, names in KIND_OF_THE_ENTRY.items():
        for each in names:
            _, faults = bound(data, [replace(devices()[each], kind=kind)])
            assert errors(faults, data) == [], (kind, each)
            tried += 1
    assert tried == len(NAMES) + sum(map(len, KIND_OF_THE_ENTRY.values())) >= PROFILES_SHIPPED


def test_all_packs_together_have_no_error_on_one_big_site() -> None:
    assert len(PACKS) >= PACKS_SHIPPED
    data = {"format": "rules/1", "rules": [entry for name in PACKS for entry in pack(name)["rules"]]}
    bare = list(devices().values())
    for site in (bare, as_configured()):
        made, faults = bound(data, site)
        assert errors(faults, data) == []
        assert len(made.rules) == len(data["rules"])


def test_every_rule_watches_a_shipped_profile_or_says_why_not() -> None:
    """A new kind that no profile has is seen here; so is an exception that is none any more."""
    data = {"format": "rules/1", "rules": [entry for name in PACKS for entry in pack(name)["rules"]]}
    made, _ = bound(data, as_configured())
    watched = {watch.rule.id for watch in made.watches}
    assert sorted({entry["id"] for entry in data["rules"]} - watched) == sorted(NOBODY)


def test_every_profile_that_a_rule_watches_stands_in_the_readme() -> None:
    text = (LIBRARY / "README.md").read_text(encoding="utf-8")
    data = {"format": "rules/1", "rules": [entry for name in PACKS for entry in pack(name)["rules"]]}
    made, _ = bound(data, list(devices().values()))
    watched = {watch.device for watch in made.watches} & set(NAMES)
    assert len(watched) >= 80
    assert sorted(name for name in watched if f"`{name}`" not in text) == []
    assert sorted(kind for kind in KIND_OF_THE_ENTRY if f"`kind: {kind}`" not in text) == []


def test_a_role_that_is_given_is_used() -> None:
    data = {"format": "rules/1", "rules": [entry for name in PACKS for entry in pack(name)["rules"]]}
    made, _ = bound(data, as_configured())
    sent = {(watch.device, action.send) for watch in made.watches for action in watch.actions}
    assert {
        ("uhppote_door", "http_speaker.please_close_door"),
        ("cap_warnings", "axis_speaker.rainstorm_red"),
        ("json_ebike_shed", "json_ebike_charger.open"),
        ("kitchen", "kitchen.close"),
    } <= sent
    assert not [send for device, send in sent if device == "lorawan_door_ws301"], "it has no speaker"


def test_a_fault_would_be_noticed() -> None:
    data = {"format": "rules/1", "rules": [{"id": "r", "for_each": {"type": "door"}, "when": "moving_day == true"}]}
    _, faults = bound(data, [devices()["zigbee_door_mccgq11lm"]])
    assert [line.partition(" unknown")[0] for line in errors(faults, data)] == ["r: E-POINT"]
