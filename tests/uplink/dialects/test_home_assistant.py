from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.config.models import HomeAssistantModel
from gateway.model import (
    AlarmState,
    Device,
    Lane,
    Place,
    Point,
    Priority,
    Quality,
    Reading,
    Reason,
    Text,
    ValueKind,
    bad_reading,
)
from gateway.uplink.dialect import Incoming, Introduce, Outgoing
from gateway.uplink.dialects.ha_units import rule_class, sensor
from gateway.uplink.dialects.home_assistant import HomeAssistant, Language
from support.clock import ManualClock
from uplink.dialects.small_site import DEVICES, NOW_MS, POINTS, Log, alarm, day, everything, reading, readings, subject

SCHEMA = Draft202012Validator(json.loads((Path(__file__).parent / "home_assistant.schema.json").read_text("utf-8")))
PROFILES = Path(__file__).parents[3] / "config" / "devices"
ROOT = "compound/v1/jiayuan/gw1/ha/"

ALLOWED_UNITS = {  # as Home Assistant's documentation lists them for each device class of a sensor
    "apparent_power": {"VA"},
    "battery": {"%"},
    "current": {"A", "mA"},
    "distance": {"mm", "cm", "m", "km", "in", "ft", "yd", "mi"},
    "duration": {"ms", "s", "min", "h", "d"},
    "energy": {"Wh", "kWh", "MWh", "MJ", "GJ"},
    "frequency": {"Hz", "kHz", "MHz", "GHz"},
    "gas": {"m³", "ft³", "CCF"},
    "humidity": {"%"},
    "illuminance": {"lx"},
    "moisture": {"%"},
    "power": {"W", "kW"},
    "power_factor": {"%", None},
    "pressure": {"Pa", "hPa", "kPa", "bar", "cbar", "mbar", "mmHg", "inHg", "psi"},
    "reactive_power": {"var"},
    "signal_strength": {"dB", "dBm"},
    "speed": {"m/s", "km/h", "mm/s", "mph", "kn"},
    "temperature": {"°C", "°F", "K"},
    "voltage": {"V", "mV"},
    "volume": {"mL", "L", "m³"},
    "volume_flow_rate": {"m³/h", "L/min"},
    "volume_storage": {"mL", "L", "m³"},
    "water": {"L", "m³"},
    "weight": {"g", "kg", "mg", "µg"},
}


def home(
    devices: tuple[Device, ...] = DEVICES, clock: ManualClock | None = None, language: Language = "zh"
) -> HomeAssistant:
    return HomeAssistant(subject(devices, clock=clock), HomeAssistantModel(), language=language)


def discovery(messages: list[Outgoing]) -> list[Any]:
    return [json.loads(each.payload) for each in messages if each.topic.endswith("/config") and each.payload]


def said(dialect: HomeAssistant, lane: Lane, *records: Any) -> dict[str, Any]:
    """Topic -> payload, without the root."""
    messages = dialect.encode(Log(POINTS).envelope(lane, *records), sent_ms=NOW_MS, replay=False)
    return {
        each.topic.removeprefix(ROOT): each.payload.decode()
        if each.payload in (b"online", b"offline")
        else json.loads(each.payload)
        for each in messages
    }


# ---------------------------------------------------------------------- discovery


def test_discovery_is_what_home_assistant_documents() -> None:
    configs = discovery(everything(home(), day()))
    for config in configs:
        SCHEMA.validate(config)
    # the gateway and six devices; two alarms when they were first seen; and all of them again
    assert len(configs) == 7 + 2 + 9


def test_the_schema_refuses_what_home_assistant_would_refuse() -> None:
    (config,) = (each for each in discovery(list(home().catalog())) if each["dev"]["name"] == "水泵房")
    SCHEMA.validate(config)
    for damage in (
        lambda c: c["cmps"]["level"].pop("unique_id"),
        lambda c: c["cmps"]["level"].update(object_id="level"),
        lambda c: c["cmps"]["level"].update(device_class="energy"),
        lambda c: c["cmps"]["high_water"].update(unit_of_measurement="m"),
        lambda c: c.pop("o"),
        lambda c: c["dev"].pop("ids"),
    ):
        wrong = json.loads(json.dumps(config))
        damage(wrong)
        assert not SCHEMA.is_valid(wrong)


names = st.text("abcdefghij0123456789_-", min_size=1, max_size=12)


@st.composite
def devices(draw: st.DrawFn) -> Device:
    ident = draw(names)
    points = []
    for n in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(ValueKind))
        unit = draw(st.sampled_from(["kW.h", "m3", "%", "Cel", "{x}", "1", "kV.A{reactive}", "furlong", None]))
        states = ("open", "closed") if kind is ValueKind.STATE else ()
        label = Text(draw(st.text(max_size=5)), draw(st.text(max_size=5)))
        points.append(Point(f"{ident}.p{n}", kind, label, 60.0, unit, states=states, counter=draw(st.booleans())))
    return Device(
        ident,
        draw(st.sampled_from(["gas_meter", "pump"])),
        Text(draw(st.text(max_size=5)), ""),
        Place(),
        "x",
        tuple(points),
    )


@given(st.lists(devices(), max_size=4, unique_by=lambda device: device.id))
def test_discovery_of_any_site_keeps_to_the_schema_and_repeats_no_id(site: list[Device]) -> None:
    configs = discovery(everything(home(tuple(site)), []))
    for config in configs:
        SCHEMA.validate(config)
    once = configs[: len(configs) // 2]
    ids = [component["unique_id"] for config in once for component in config["cmps"].values()]
    assert len(ids) == len(set(ids))
    device_ids = [config["dev"]["ids"][0] for config in once]
    assert len(device_ids) == len(set(device_ids)) == len(site) + 1


def test_every_unit_of_the_shipped_profiles_suits_its_class() -> None:
    ran = 0
    for file in sorted(PROFILES.glob("*.yaml")):
        profile = yaml.safe_load(file.read_text("utf-8"))
        for name, point in profile["points"].items():
            if point.get("kind", "number") != "number":
                continue
            unit = point.get("unit")
            known = sensor(
                Point(f"x.{name}", ValueKind.NUMBER, Text("", ""), 1.0, unit, counter=bool(point.get("counter"))),
                profile["kind"],
            )
            where = f"{file.name} {name}: {unit} -> {known}"
            assert known.device_class is None or known.unit in ALLOWED_UNITS[known.device_class], where
            assert unit in (None, "1") or known.unit is not None, where
            assert not known.unit or not re.search(r"[\[\]{}]", known.unit), where
            ran += 1
    assert ran > 150


def test_a_counter_of_each_medium_has_the_class_of_its_medium() -> None:
    def counter(unit: str, kind: str, *, counter: bool = True) -> tuple[str | None, str | None]:
        known = sensor(Point("x.total", ValueKind.NUMBER, Text("", ""), 1.0, unit, counter=counter), kind)
        return known.device_class, known.state_class

    assert counter("m3", "water_meter") == ("water", "total_increasing")
    assert counter("m3", "gas_meter") == ("gas", "total_increasing")
    assert counter("m3", "heat_meter") == ("volume", "total_increasing")
    assert counter("kW.h", "power_meter") == ("energy", "total_increasing")
    assert counter("kW.h", "power_meter", counter=False) == ("energy", "total")
    assert counter("m3", "water_meter", counter=False) == ("volume_storage", "measurement")


@pytest.mark.parametrize(
    ("rule", "device_class"),
    [
        ("gas_high", "gas"),
        ("gas_fault", "problem"),
        ("basement_water_high", "moisture"),
        ("pump_not_running", "problem"),
        ("fire_lane_blocked", "problem"),
        ("meter_silent", "problem"),
        ("水浸", "problem"),
    ],
)
def test_an_alarm_shows_what_is_wrong(rule: str, device_class: str) -> None:
    assert rule_class(rule) == device_class


def test_names_are_in_the_chosen_language_and_told_apart_by_the_id() -> None:
    twin = replace(DEVICES[2], id="gas-2", points=tuple(replace(p, id=f"gas-2.{p.name}") for p in DEVICES[2].points))
    nameless = replace(DEVICES[3], label=Text("", "Pump room"))
    site = (DEVICES[2], twin, nameless, DEVICES[4])
    for language, wanted in (
        ("zh", ["厨房燃气 gas-1", "厨房燃气 gas-2", "Pump room", "电梯电表"]),
        ("en", ["Kitchen gas gas-1", "Kitchen gas gas-2", "Pump room", "Lift meter"]),
    ):
        configs = discovery(list(home(site, language=language).catalog()))  # type: ignore[arg-type]
        assert [config["dev"]["name"] for config in configs] == wanted


# ---------------------------------------------------------------------- states


def test_a_state_is_the_newest_reading_whatever_comes_late() -> None:
    dialect = home()
    assert (
        said(dialect, Lane.TELEMETRY, reading("gas-1.concentration", 2.0, -1000))["device/gas-1/concentration"]["v"]
        == 2.0
    )
    assert said(dialect, Lane.TELEMETRY, reading("gas-1.concentration", 9.0, -2000)) == {}
    newer = said(
        dialect, Lane.TELEMETRY, reading("gas-1.concentration", 3.0, -500), reading("gas-1.concentration", 1.0, -700)
    )
    assert newer == {"device/gas-1/concentration": {"v": 3.0, "q": "good", "t": NOW_MS - 500}}


@given(readings(most=30))
def test_of_many_readings_the_newest_of_each_point_is_published(records: list[Reading]) -> None:
    newest: dict[str, Reading] = {}
    for each in records:
        if each.point not in newest or each.source_time_ms >= newest[each.point].source_time_ms:
            newest[each.point] = each
    states = {
        topic: state for topic, state in said(home(), Lane.TELEMETRY, *records).items() if topic.startswith("device/")
    }
    assert {topic.removeprefix("device/").replace("/", "."): (type(s["v"]), s["v"]) for topic, s in states.items()} == {
        point: (type(each.value), each.value) for point, each in newest.items()
    }


def test_a_clock_that_was_ahead_does_not_stop_the_states() -> None:
    dialect = home()
    assert said(dialect, Lane.TELEMETRY, reading("gas-1.concentration", 2.0, 10**11))
    assert (
        said(dialect, Lane.TELEMETRY, reading("gas-1.concentration", 3.0, 0))["device/gas-1/concentration"]["v"] == 3.0
    )


def test_a_device_is_available_while_anything_of_it_answers() -> None:
    dialect, topic = home(), "available/gas-1"
    silent = bad_reading("gas-1.concentration", Reason.NO_ANSWER, NOW_MS)
    assert said(dialect, Lane.TELEMETRY, silent)[topic] == "offline"
    assert said(dialect, Lane.TELEMETRY, reading("gas-1.status", "normal"))[topic] == "online"
    doubtful = Reading("gas-1.status", "fault", NOW_MS + 1, NOW_MS + 1, Quality.UNCERTAIN, Reason.JUMP)
    assert topic not in said(dialect, Lane.TELEMETRY, doubtful)
    lost = bad_reading("gas-1.status", Reason.LINE_LOST, NOW_MS + 2)
    news = said(dialect, Lane.TELEMETRY, lost)
    assert news[topic] == "offline"
    assert news["device/gas-1/status"]["v"] is None


def test_when_home_assistant_starts_everything_known_is_said_again() -> None:
    dialect = home()
    said(dialect, Lane.TELEMETRY, reading("gas-1.concentration", 2.0))
    said(dialect, Lane.ALARM, alarm(AlarmState.UNACK, 0))
    assert dialect.hear(Incoming("homeassistant/status", b"online")) == [Introduce()]
    assert dialect.hear(Incoming("homeassistant/status", b"online", retained=True)) == ()
    assert dialect.hear(Incoming("homeassistant/status", b"offline")) == ()
    messages = [*dialect.introduce(), *dialect.catalog()]
    topics = [each.topic for each in messages]
    assert all(each.retain for each in messages)
    for state, config in (
        ("available/gas-1", "device/jiayuan_gw1/gas-1/config"),
        ("device/gas-1/concentration", "device/jiayuan_gw1/gas-1/config"),
        ("alarm/gas-1/gas_high", "binary_sensor/jiayuan_gw1/6037b960540443e6/config"),
    ):
        assert topics.index("homeassistant/" + config) < topics.index(ROOT + state)


def test_an_alarm_is_announced_once_and_follows_its_states() -> None:
    dialect = home()
    active = {}
    for step in (AlarmState.UNACK, AlarmState.ACKED, AlarmState.NORMAL, AlarmState.RTN_UNACK):
        news = said(dialect, Lane.ALARM, alarm(step, 0))
        active[step] = news["alarm/gas-1/gas_high"]["active"]
        assert any(topic.endswith("/config") for topic in news) == (step is AlarmState.UNACK)
    assert list(active.values()) == [True, True, False, False]


def test_a_rule_on_trial_alarms_nobody() -> None:
    assert said(home(), Lane.ALARM, alarm(AlarmState.UNACK, 0, priority=Priority.JOURNAL)) == {}


def test_what_is_left_of_a_device_that_is_gone_leaves_no_trace() -> None:
    dialect = home(DEVICES[:2])
    assert said(dialect, Lane.TELEMETRY, reading("gas-1.concentration", 1.0)) == {}
    assert said(dialect, Lane.ALARM, alarm(AlarmState.UNACK, 0)) == {}


# ---------------------------------------------------------------------- devices that are gone


def retained(messages: list[Outgoing]) -> dict[str, bytes]:
    """What a broker keeps."""
    kept: dict[str, bytes] = {}
    for each in messages:
        if each.retain:
            kept[each.topic] = each.payload
    return {topic: payload for topic, payload in kept.items() if payload}


def test_a_device_that_is_configured_no_more_is_removed_with_all_that_was_kept_of_it() -> None:
    before = home()
    kept = retained(everything(before, day()))
    after = home(tuple(device for device in DEVICES if device.id != "gas-1"))
    after.hello()
    heard = [what for topic, payload in kept.items() for what in after.hear(Incoming(topic, payload, retained=True))]
    assert heard == [Introduce()]
    removed = {each.topic for each in after.catalog() if each.payload == b""}
    assert removed == {topic for topic in kept if "gas-1" in topic or topic.endswith("6037b960540443e6/config")}
    assert all(each.payload for each in after.catalog())


def test_its_own_discovery_coming_by_means_nothing() -> None:
    dialect = home()
    for topic, payload in retained(everything(dialect, day())).items():
        assert list(dialect.hear(Incoming(topic, payload))) == []
        assert list(dialect.hear(Incoming(topic, payload, retained=True))) == []


def test_nobody_can_have_other_topics_emptied() -> None:
    dialect = home()
    forged = {
        "dev": {"ids": ["jiayuan.gw1.x"]},
        "state_topic": "compound/v1/jiayuan/gw1/status",
        "cmps": {"../x": {}, "ok": {}},
    }
    for topic in (
        "homeassistant/device/jiayuan_gw1/x/config",
        "homeassistant/device/other_gw/x/config",
        "homeassistant/binary_sensor/jiayuan_gw1/x/config",
        "homeassistant/sensor/jiayuan_gw1/x/config",
    ):
        dialect.hear(Incoming(topic, json.dumps(forged).encode(), retained=True))
    assert {each.topic for each in dialect.catalog() if not each.payload} == {
        "homeassistant/device/jiayuan_gw1/x/config",
        "homeassistant/binary_sensor/jiayuan_gw1/x/config",
        ROOT + "available/x",
        ROOT + "device/x/ok",
    }
