"""What reaches the page, and above all what does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config.load import load
from gateway.web import view
from gateway.web.catalog import Catalog
from tests.web.rig import CATALOG, NOW_MS, PORTS, TEXT, alarm, device, lane, line, status, uplink

EXAMPLE = Path(__file__).parents[2] / "config" / "examples" / "jiayuan"
CANARY = "canary"
RULES = """format: rules/1
rules:
- {id: told, name: {zh: 电压, en: Voltage}, for_each: {type: power_meter}, when: voltage > 250 V, priority: low,
   message: {zh: "{where} {voltage}", en: "{where} {voltage}"}}
- {id: reads, name: {zh: 功率, en: Power}, for_each: {type: power_meter}, when: power > 8 kW, priority: low,
   message: {zh: 高, en: high}}
- {id: says, name: {zh: 电压, en: Voltage}, for_each: {type: power_meter}, when: voltage < 150 V, priority: low,
   message: {zh: "{energy}", en: "{energy}"}}
- {id: mute, name: {zh: 无应答, en: Silent}, for_each: {type: power_meter}, when: silent() > 60 s, priority: low,
   message: {zh: "{where} {held}", en: "{where} {held}"}}
"""
SITE = """format: site/1
site: {id: s, name: {zh: 小区, en: Compound}}
gateway: {id: gw-1}
lines: [{id: bus, serial: /dev/ttyS1}]
devices: [{id: m-1, profile: dlt645_single_phase, line: bus, address: "1"}]
"""


def overview(**figures: Any) -> dict[str, Any]:
    return view.overview(CATALOG, status(**figures), PORTS)


def test_the_rules_that_may_speak_are_those_that_cannot_name_a_households_value(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    (tmp_path / "rules" / "r.yaml").write_text(RULES, encoding="utf-8")
    speaking = Catalog.of(load(tmp_path)).speaking
    assert {each for each in speaking if not each[0].startswith("gateway_")} == {("told", "m-1"), ("mute", "m-1")}


def test_names_points_and_zone_come_from_the_configuration() -> None:
    config = load(EXAMPLE)
    catalog = Catalog.of(config)
    assert catalog.site.zh == "佳园小区"
    assert catalog.gateway == "gw1"
    assert catalog.devices.keys() == {device.id for device in config.watched}
    assert {id_ for id_, point in catalog.points.items() if point.personal}
    assert str(catalog.zone) == "Asia/Shanghai"


def test_an_alarm_that_may_speak_does_and_another_has_its_name_only() -> None:
    shown = overview(
        alarms=[alarm("voltage_low"), alarm("power_high"), alarm("gas_high", None), alarm("gas_high", "x")]
    )
    assert [each["message"]["en"] for each in shown["alarms"]] == [
        *("message of voltage_low", "name of power_high", "message of gas_high", "name of gas_high")
    ]
    silent = overview(alarms=[alarm("voltage_low", message=TEXT)])
    assert silent["alarms"][0]["message"]["en"] == "name of voltage_low"


def test_nobodys_name_and_no_value_is_shown() -> None:
    told = alarm("voltage_low", acked_by=CANARY, values={"m-1.energy": CANARY}, reason=CANARY)
    assert CANARY not in json.dumps(overview(alarms=[told]))


def with_canaries(value: Any) -> Any:
    """The same, with a field more in every object."""
    if isinstance(value, dict):
        return {key: with_canaries(each) for key, each in value.items()} | {CANARY: CANARY}
    return [with_canaries(each) for each in value] if isinstance(value, list) else value


def test_a_field_that_the_page_does_not_know_does_not_come_through() -> None:
    whole = status(alarms=[alarm("voltage_low")])
    grown = {key: with_canaries(value) for key, value in whole.items() if key not in ("lines", "uplinks", "store")}
    grown["lines"] = {"bus": {**line(devices={"m-1": device() | {CANARY: CANARY}}), CANARY: CANARY}}
    grown["uplinks"] = {"platform": uplink() | {CANARY: CANARY}}
    grown["store"] = whole["store"] | {"lanes": {"alarm": lane() | {CANARY: CANARY}}, CANARY: CANARY, "epoch": CANARY}
    texts = ("name", "message", "response", "place")  # texts of the alarm itself, shown as they are
    grown["alarms"] = [{**alarm("voltage_low"), CANARY: CANARY}]
    shown = view.overview(CATALOG, grown | {CANARY: CANARY}, PORTS)
    assert CANARY not in json.dumps(shown)
    assert set(texts) <= shown["alarms"][0].keys()


def test_the_most_urgent_alarm_stands_first_then_what_nobody_has_seen_then_the_latest() -> None:
    shown = overview(
        alarms=[
            alarm("e", priority="low"),
            alarm("d", priority="high", state="rtn_unack"),
            alarm("c", priority="high", state="acked"),
            alarm("b", priority="high", since_ms=NOW_MS - 50),
            alarm("a", priority="high", since_ms=NOW_MS - 20),
            alarm("0", priority="critical", state="acked"),
            alarm("f", priority="new in a later version"),
        ]
    )
    assert [each["rule"] for each in shown["alarms"]] == ["0", "a", "b", "c", "d", "e", "f"]


def test_a_silent_device_stands_first_with_what_it_costs_its_line() -> None:
    dead = device(polls=12, failures=4, cost_s=7.0, wasted_s=6.0, silent_s=30.0, p50_s=None, p95_s=None)
    slow = device(p50_s=12.5, p95_s=30.0)
    bus = line(devices={"m-1": device(), "slow": slow, "m-2": dead}, silent=["m-2"], members=3, failures=4)
    (shown,) = overview(lines={"bus": bus})["lines"]
    assert [each["id"] for each in shown["devices"]] == ["m-2", "slow", "m-1"]
    assert (shown["silent"], shown["late"], shown["wasted"]) == (1, 1, 0.06)
    first = shown["devices"][0]
    assert (first["wasted_s"], first["wasted"], first["cost"], first["in_vain_s"]) == (6.0, 0.06, 0.07, 1.5)
    assert shown["devices"][1]["late"]
    assert not first["late"], "silent says it already"


@pytest.mark.parametrize(("p50_s", "late"), [(None, False), (10.0, False), (12.0, False), (12.1, True)])
def test_late_is_a_fifth_more_than_configured(p50_s: float | None, late: bool) -> None:
    (shown,) = overview(lines={"bus": line(devices={"m-1": device(p50_s=p50_s, p95_s=99.0)})})["lines"]
    assert shown["devices"][0]["late"] is late


def test_a_port_is_written_as_people_write_it() -> None:
    tcp = {"id": "pumps", "where": "192.0.2.1:502", "format": None}
    lines = {"bus": line(), "pumps": line(), "new": line()}
    shown = view.overview(CATALOG, status(lines=lines), [*PORTS, tcp])["lines"]
    assert [each["port"] for each in shown] == ["/dev/ttyS1 2400 8E1", "192.0.2.1:502", ""]


def test_a_device_of_a_newer_configuration_is_shown_without_a_name() -> None:
    (shown,) = overview(lines={"bus": line(devices={"new": device()})})["lines"]
    assert (shown["devices"][0]["id"], shown["devices"][0]["name"], shown["devices"][0]["place"]) == ("new", TEXT, {})


def test_what_waits_for_an_uplink_is_counted_over_the_lanes() -> None:
    shown = overview(uplinks={"platform": uplink(), "idle": uplink(since_ms=None, connected=False, error="refused")})
    platform, idle = shown["uplinks"]
    assert (platform["waiting"], platform["waiting_since_ms"]) == (2, NOW_MS - 40_000)
    assert (idle["waiting"], idle["waiting_since_ms"], idle["since"], idle["error"]) == (0, None, None, "refused")
    assert [(each["id"], each["waiting"], each["oldest"]) for each in shown["store"]["lanes"]] == [
        ("alarm", 2, "01-15 07:59:10"),
        ("telemetry", 0, None),
    ]


def test_a_diagnosis_has_no_value_and_no_personal_point() -> None:
    items = [
        {"p": "m-1.energy", "t": NOW_MS, "v": 4711, "q": "good", "u": "kW.h"},
        {"p": "m-1.voltage", "t": NOW_MS - 5000, "v": 230.5, "q": "uncertain", "r": "jump", "u": "V"},
        {"p": "m-1.of_a_newer_configuration", "t": NOW_MS, "v": 4711, "q": "good"},
    ]
    shown = view.diagnosis(CATALOG, "m-1", items, NOW_MS)
    assert shown["hidden"] == 2
    assert shown["points"] == [
        {"id": "voltage", "name": {"zh": "电压", "en": "Voltage"}, "quality": "uncertain", "reason": "jump", "age_s": 5,
         "interval_s": 15.0}
    ]  # fmt: skip
    assert "4711" not in json.dumps(shown)
    assert "230.5" not in json.dumps(shown)
