"""The shipped profiles: published payloads become the values that their source says."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from drivers.base import DeviceSpec, HubSpec, PointSpec
from drivers.mqtt_client.packet import Message
from drivers.mqtt_south.dialect import Said
from drivers.mqtt_south.hub import CHIRPSTACK, MQTT_JSON, ZIGBEE2MQTT, MqttHub
from drivers_mqtt_south.site import NOW_MS
from gateway.config.faults import Report
from gateway.config.profiles import Profile, Profiles, shipped_profiles
from gateway.model import Point, Quality, Reason, Text, Value, ValueKind
from support.clock import ManualClock

TYPES = {type_.name: type_ for type_ in (ZIGBEE2MQTT, CHIRPSTACK, MQTT_JSON)}
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "elevator.json").read_text("utf-8"))["vectors"]
EUI = "24e124136b502217"


def profile(name: str) -> Profile:
    found = Profiles(Path("nowhere"), Report()).get(name)
    assert found is not None
    return found


def ours() -> list[str]:
    names = sorted(path.stem for path in shipped_profiles().glob("*.yaml"))
    return [name for name in names if set(profile(name).types) & set(TYPES)]


NAMES = ours()


def hub_of(name: str, **entry: Any) -> tuple[str, MqttHub]:
    """(protocol, a hub that is never opened with one device ``d`` of the profile)."""
    loaded = profile(name)
    (protocol,) = set(loaded.types) & set(TYPES)
    type_ = TYPES[protocol]
    points = {}
    for key, model in loaded.model.points.items():
        declared = Point(
            f"d.{key}",
            ValueKind(model.kind),
            Text(model.name.zh, model.name.en),
            loaded.model.every,
            model.unit,
            states=tuple(model.states),
            personal=model.personal,
        )
        points[declared.id] = PointSpec(declared, loaded.options[protocol][key])
    options = type_.device_options.model_validate({**loaded.model.device, **entry})
    device = DeviceSpec("d", options, points, 5.0)
    assert type_.hub is not None
    assert type_.hub_options is not None
    spec = HubSpec("h", type_.hub_options.model_validate({"broker": "127.0.0.1:1883"}), {"d": device})
    hub = type_.hub(spec, ManualClock(NOW_MS))
    assert isinstance(hub, MqttHub)
    return protocol, hub


def hear(hub: MqttHub, topic: str, body: Any, **more: Any) -> Said:
    (said,) = hub._dialect.hear(Message(topic, json.dumps(body).encode(), **more), NOW_MS, lambda device: {})
    assert isinstance(said, Said)
    return said


def read(said: Said) -> dict[str, Value | Reason | None]:
    return {reading.point[2:]: reading.reason if reading.value is None else reading.value for reading in said.readings}


@dataclass(frozen=True)
class Golden:
    """A payload of the source, and the values that it prints."""

    profile: str
    values: Mapping[str, Value]
    data: str = ""
    fport: int = 85
    body: Mapping[str, Any] = field(default_factory=dict)
    tail: str = ""


GOLDEN = [
    # Milesight-IoT/SensorDecoders, the example of each README
    Golden("lorawan_door_ws301", {"contact": "open", "battery": 100}, "017564 030001 040001"),
    Golden(
        "lorawan_bin_em310_udl", {"battery": 92, "distance": 2116, "tilted": True, "fill": 0}, "01755C 03824408 040001"
    ),
    Golden(
        "lorawan_leak_em300_zld",
        {"battery": 92, "temperature": 30.8, "humidity": 50.5, "leak": False},
        "01755C 03673401 046865 050000",
    ),
    Golden("lorawan_level_em500_swl", {"battery": 100, "level": 2}, "017564 03770200"),
    Golden(
        "lorawan_smoke_gs524n", {"smoke": False, "status": "test", "battery": 100, "temperature": 28}, "221E64001C40"
    ),
    Golden(
        "lorawan_water_meter_em300_di", {"battery": "good"}, "01755C 03673401 046865 20CE9E74466310015D020000010000"
    ),
    Golden("lorawan_water_meter_em300_di", {"volume": 2.56}, "05C800010000"),
    # TheThingsNetwork/lorawan-devices, tps110-0292-codec.yaml
    Golden("lorawan_parking_tps110", {"vehicle": True}, "01", fport=1),
    Golden("lorawan_parking_tps110", {"vehicle": True, "temperature": -1}, "01FF", fport=2),
    # with the codec of the source in ChirpStack
    Golden(
        "lorawan_door_ws301",
        {"contact": "closed", "tamper": True},
        body={"magnet_status": "close", "tamper_status": "uninstalled"},
    ),
    Golden(
        "lorawan_bin_em310_udl",
        {"distance": 250, "fill": 75, "tilted": False},
        body={"distance": 250, "position": "normal"},
    ),
    # zigbee2mqtt.io, device pages
    Golden(
        "zigbee_gas_jt_bz_01aq",
        {"status": "alarm", "concentration": 12, "working": True, "linked_alarm": True, "link_quality": 120},
        body={"gas": True, "gas_density": 12, "state": "work", "linkage_alarm_state": True, "linkquality": 120},
    ),
    Golden(
        "zigbee_gas_jt_bz_01aq", {"status": "normal", "working": False}, body={"gas": False, "state": "preparation"}
    ),
    Golden(
        "zigbee_door_mccgq11lm",
        {"contact": "open", "battery": 97},
        body={"contact": False, "battery": 97, "voltage": 3005},
    ),
    Golden("zigbee_water_leak", {"leak": True}, body={"water_leak": True}),
    Golden("zigbee_smoke", {"smoke": False}, body={"smoke": False, "smoke_density": 0}),
    Golden("zigbee_sos_button", {"sos": True}, body={"action": "emergency"}),
    Golden("zigbee_sos_button", {"sos": False}, body={"action": ""}),
    Golden(
        "zigbee_socket",
        {"relay": "closed", "power": 61.4, "current": 0.28, "voltage": 230, "energy": 1.23},
        body={"state": "ON", "power": 61.4, "current": 0.28, "voltage": 230, "energy": 1.23},
    ),
    Golden("zigbee_climate", {"temperature": 21.35, "humidity": 44.2}, body={"temperature": 21.35, "humidity": 44.2}),
    # our own layouts
    Golden(
        "json_waste_bin",
        {"fill": 80, "temperature": 21, "battery": 60},
        body={"id": "b7", "fill": 80, "temp": 21, "battery": 60},
    ),
    Golden("json_flood_sensor", {"level": 12.5}, body={"id": "b7", "level": 12.5}),
    Golden("json_ebike_shed", {"smoke": True, "temperature": 31}, body={"id": "b7", "smoke": 1, "temperature": 31}),
    Golden(
        "json_ebike_charger",
        {"current": 1.25, "relay": "closed"},
        body={"id": "b7", "current": 1250, "relay": 1},
        tail="status",
    ),
    Golden(
        "json_parcel_locker",
        {"free": 12, "power": "mains"},
        body={"id": "b7", "free": 12, "power": "mains"},
        tail="status",
    ),
    Golden("json_sos_unit", {"sos": True}, body={"id": "b7", "type": "sos", "button": 1}, tail="event"),
    Golden(
        "json_lift_camera", {"ebike": True, "confidence": 0.94}, body={"id": "b7", "ebike": True, "confidence": 0.94}
    ),
    Golden(
        "json_water_zone",
        {"flow": 3.2, "pressure": 0.36, "volume": 81250.5},
        body={"id": "b7", "flow": 3.2, "pressure": 0.36, "volume": 81250.5},
    ),
    Golden(
        "json_smart_home",
        {"gas": False, "door": "open", "temperature": 22},
        body={"id": "b7", "sensors": {"gas": False}, "door": "open", "climate": {"temperature": 22}},
    ),
    Golden(
        "lift_json",
        {"service_mode": "fire_return", "message_code": 44, "passenger": False, "car_state": "running", "floor": "B1"},
        body={"id": "b7", "mode": 3, "code": 44, "passenger": 0, "running": 1, "floor": "B1"},
        tail="status",
    ),
    Golden(
        "lift_platform_a",
        {"message_code": 4, "vendor_code": "04", "passenger": True, "service_mode": "normal"},
        body={"id": "b7", "code": "04", "passenger": True, "mode": 1},
    ),
    Golden("lift_platform_a", {"message_code": 8, "vendor_code": "77"}, body={"id": "b7", "code": "77"}),
    Golden(
        "json_sensor",
        {"temperature": 21.5, "humidity": 40, "alarm": False},
        body={"id": "b7", "temperature": 21.5, "humidity": 40, "alarm": 0},
    ),
    Golden("lorawan_level_generic", {"level": 40, "battery": 88}, body={"level": 40, "battery": 88}),
]


def test_every_profile_has_a_golden_payload() -> None:
    assert len(NAMES) == 28
    assert {golden.profile for golden in GOLDEN} | {"lift_box_a"} == set(NAMES)


@pytest.mark.parametrize("golden", GOLDEN, ids=[f"{at}-{golden.profile}" for at, golden in enumerate(GOLDEN)])
def test_a_payload_becomes_its_values(golden: Golden) -> None:
    protocol, hub = hub_of(golden.profile, address=EUI if golden.profile.startswith("lorawan") else "b7")
    if protocol == "chirpstack":
        data = base64.b64encode(bytes.fromhex(golden.data)).decode()
        body: Any = {"fPort": golden.fport, "data": data, "object": golden.body}
        topic = f"application/a/device/{EUI}/event/up"
    else:
        body = golden.body
        topic = hub._dialect.filters[0] if protocol == "mqtt-json" else "zigbee2mqtt/b7"
        topic = topic.replace("+", "b7", 1).replace("+", golden.tail)
    found = read(hear(hub, topic, body))
    assert {key: found.get(key) for key in golden.values} == golden.values
    assert not [key for key, value in found.items() if isinstance(value, Reason)]


@pytest.mark.parametrize("name", NAMES)
def test_home_and_person_are_marked_and_nothing_dangerous_can_be_written(name: str) -> None:
    model = profile(name).model
    if model.kind in ("smart_home", "care_home"):
        assert all(point.personal for key, point in model.points.items() if key not in ("battery", "link_quality"))
    if model.kind in ("lift", "gas_alarm", "smoke_detector"):
        assert not any(point.writable for point in model.points.values())


# ---------------------------------------------------------------------- the lift monitor's records

BOX = {
    "direction": "direction",
    "speed": "speed_dms",
    "floor": "floor",
    "box_battery": "battery",
    "temperature": "temperature",
    "status_raw": "status",
}
"""Point -> the field of the vector that it is, unchanged."""
WORDS: Mapping[str, tuple[str, Mapping[int, Value]]] = {
    "service_mode": ("mode", {0: "normal", 1: "inspection", 2: "out_of_service"}),
    "car_state": ("run", {0: "stopped", 1: "running"}),
    "door_closed": ("door_closed", {0: False, 1: True}),
    "in_door_zone": ("level", {0: True, 1: False}),
    "passenger": ("people", {0: False}),
    "power": ("power", {0: "mains", 1: "battery"}),
    "car_door_locked": ("car_lock", {0: True, 1: False}),
}


def test_the_records_of_the_lift_monitor_decode_as_published() -> None:
    records = [vector for vector in VECTORS if vector["kind"] == "real-log"]
    assert (len(VECTORS), len(records)) == (5, 2)
    for vector in records:
        _, hub = hub_of("lift_box_a", address="L-07")
        said = hear(hub, "lift/L-07/status", {"TY": "M", "ST": "S", "D": vector["input"]})
        found, expected = read(said), vector["expected"]
        assert {point: found[point] for point in BOX} == {point: expected[key] for point, key in BOX.items()}
        for point, (key, words) in WORDS.items():
            assert found[point] == words[expected[key]]
    assert found["entrapment"] is False
    assert found["message_code"] == 0


def test_a_status_that_the_table_does_not_have_is_no_value_and_stays_raw() -> None:
    _, hub = hub_of("lift_box_a", address="L-07")
    said = hear(hub, "lift/L-07/status", {"TY": "M", "ST": "S", "D": VECTORS[0]["input"]})
    assert VECTORS[0]["expected"]["status"] == 21
    bad = {reading.point: reading for reading in said.readings if reading.quality is Quality.BAD}
    assert set(bad) == {"d.entrapment", "d.trapped_where", "d.message_code"}
    assert bad["d.entrapment"].reason is Reason.OUT_OF_RANGE
    assert bad["d.entrapment"].raw == b"21"
    assert read(said)["status_raw"] == 21


def test_a_personal_value_that_does_not_fit_is_not_kept_as_raw_bytes() -> None:
    _, hub = hub_of("json_smart_home", address="h")
    (reading,) = hear(hub, "home/h/state", {"id": "h", "door": "somebody is at home"}).readings
    assert (reading.quality, reading.raw) == (Quality.BAD, b"")


def test_the_box_is_believed_about_the_time_only_near_ours() -> None:
    _, hub = hub_of("lift_box_a", address="L-07")
    record = bytearray(base64.b64decode(VECTORS[1]["input"]))
    for seconds, expected_ms in ((NOW_MS // 1000 - 30, NOW_MS - 30_000), (NOW_MS // 1000 - 86_400, NOW_MS)):
        record[:4] = seconds.to_bytes(4, "little")
        said = hear(hub, "lift/L-07/status", {"TY": "M", "ST": "S", "D": base64.b64encode(record).decode()})
        assert {reading.source_time_ms for reading in said.readings} == {expected_ms}


def test_the_service_modes_are_those_of_the_published_table() -> None:
    (table,) = [vector for vector in VECTORS if vector["id"] == "lift-codes-24476"]
    _, hub = hub_of("lift_json", address="L-07")
    words = {}
    for code in table["expected"]["service_mode"]:
        words[code] = read(hear(hub, "lift/L-07/status", {"id": "L-07", "mode": int(code)}))["service_mode"]
    assert len(words) == 8
    assert {code: str(word).replace("_", " ") for code, word in words.items()} == {
        code: text.removesuffix(" operation") for code, text in table["expected"]["service_mode"].items()
    }
