"""Any bytes, any JSON, any topic: a result or the codec's own error, and values that their points can have."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from drivers.base import ProtocolType
from drivers.json_mapping.payload import Unreadable, parse, time_of
from drivers.json_mapping.records import Layout, Order, Type, number_at, reaches, tagged, unwrap
from drivers.mqtt_client import packet
from drivers.mqtt_client.packet import Malformed, Message
from drivers.mqtt_south import memory
from drivers.mqtt_south.dialect import Said
from drivers.mqtt_south.hub import CHIRPSTACK, MQTT_JSON, ZIGBEE2MQTT
from drivers_mqtt_south.site import NOW_MS, device, make
from gateway.model import Quality

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
"""Half of surrogate pairs too, which JSON can say and UTF-8 cannot."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
EUI = "24e124136b502217"
POINTS: dict[str, dict[str, Any]] = {
    "number": {"kind": "number"},
    "scaled": {"kind": "number", "scale": 0.1, "offset": 5, "clamp": [0, 100]},
    "flag": {"kind": "boolean"},
    "word": {"kind": "state", "states": ["a", "b"], "values": {"1": "a", "*": "b"}},
    "text": {"kind": "text"},
    "low": {"kind": "boolean", "steps": [[20, True], [1000, False]]},
}


def dialect(type_: ProtocolType) -> Any:
    match type_.name:
        case "zigbee2mqtt":
            entry: dict[str, Any] = {"address": "d"}
            points = {name: {**each, "property": name} for name, each in POINTS.items()}
        case "chirpstack":
            entry = {"address": EUI, "tags": {"0175": 1}}
            points = {name: {**each, "path": name, "byte": at} for at, (name, each) in enumerate(POINTS.items())}
            points["tagged"] = {"kind": "number", "byte": 0, "tag": "0175"}
            points["rssi"] = {"kind": "number", "meta": "rssi"}
        case _:
            events = [
                {"kind": "a.b", "when": {"number": "*"}, "attributes": {"x": "text"}, "personal": {"user": "word"}}
            ]
            entry = {"address": "d", "topic": "x/{address}/#", "time": {"path": "time"}, "events": events}
            points = {name: {**each, "path": name} for name, each in POINTS.items()}
            points["record"] = {"kind": "number", "record": "text", "byte": -2, "format": "u16"}
    return make(type_, 1883, [device("d", type_, points, **entry)])._dialect


DIALECTS = {type_.name: dialect(type_) for type_ in (ZIGBEE2MQTT, CHIRPSTACK, MQTT_JSON)}
TOPICS = {
    "zigbee2mqtt": ["d", "d/availability", "bridge/state", "bridge/devices", "bridge/logging", "other"],
    "chirpstack": [f"a/device/{EUI}/event/{event}" for event in ("up", "join", "status", "ack", "log", "txack", "x")],
    "mqtt-json": ["d/status", "d/a/b", "e/status"],
}
PREFIX = {"zigbee2mqtt": "zigbee2mqtt/", "chirpstack": "application/", "mqtt-json": "x/"}

SHAPED = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys((*POINTS, "time", "last_seen", "state", "data", "rxInfo", "object", "deviceInfo"), JSON),
        "fCnt": st.integers() | JSON,
        "deduplicationId": ANY_TEXT | JSON,
        "devAddr": ANY_TEXT | JSON,
        "batteryLevel": JSON,
        "definition": st.fixed_dictionaries({}, optional={"exposes": JSON}),
        "friendly_name": st.just("d") | JSON,
    },
)


def check(name: str, topic: str, payload: bytes, retained: bool) -> None:
    found = DIALECTS[name].hear(Message(topic, payload, retained=retained), NOW_MS, lambda device: {})
    for each in found:
        if not isinstance(each, Said):
            each.what.encode("utf-8")
            each.address.encode("utf-8")
            continue
        for reading in each.readings:
            if reading.quality is not Quality.BAD:
                assert isinstance(reading.value, bool | int | float | str)
                assert not isinstance(reading.value, float) or math.isfinite(reading.value)
                assert not isinstance(reading.value, int) or abs(reading.value) <= 2**53
                str(reading.value).encode("utf-8")
            assert abs(reading.source_time_ms - NOW_MS) <= 8 * 86_400_000
        for told in each.happenings:
            json.dumps([told.attributes, told.personal], ensure_ascii=False, allow_nan=False).encode("utf-8")
        if each.notes is not None:
            kept = memory.Memory(notes=each.notes)
            assert memory.from_bytes(kept.to_bytes()) == kept


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_payload_is_heard_without_an_error(name: str, data: st.DataObject) -> None:
    topic = PREFIX[name] + data.draw(st.sampled_from(TOPICS[name]) | st.text(max_size=20))
    body = data.draw(SHAPED | st.lists(SHAPED, max_size=3) | JSON)
    payload = data.draw(st.binary(max_size=60) | st.just(json.dumps(body).encode()))
    check(name, topic, payload, data.draw(st.booleans()))


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 65_000,
        b'{"number": ' + b"9" * 60_000 + b"}",
        b'{"number": 1e400}',
        b'{"number": NaN, "flag": -Infinity}',
        b'{"text": "\\ud800", "number": true, "flag": 2, "word": []}',
        b'{"data": "' + b"A" * 60_000 + b'"}',
        b"\xff\xfe",
        b"",
        b'{"number": 99999999999999999999999999999}',
    ],
)
def test_hostile_payloads_of_every_kind(name: str, payload: bytes) -> None:
    for tail in TOPICS[name]:
        check(name, PREFIX[name] + tail, payload, False)


@settings(max_examples=200)
@given(st.binary(max_size=80))
@example(b"[" * 100_000)
def test_json_is_read_or_unreadable(payload: bytes) -> None:
    try:
        parse(payload)
    except Unreadable:
        return


@settings(max_examples=200)
@given(st.integers(0, 255), st.binary(max_size=40))
def test_a_publish_is_read_or_malformed_and_written_back(first: int, body: bytes) -> None:
    try:
        message = packet.parse_publish(first, body)
    except Malformed:
        return
    written = packet.publish(message)
    assert written[2:] == body
    assert written[0] & 0x0F == first & 0x0F


@settings(max_examples=100)
@given(st.integers(0, packet.MOST_LENGTH))
def test_a_length_is_read_back(length: int) -> None:
    coded = bytearray()
    rest = length
    while True:
        rest, digit = divmod(rest, 128)
        coded.append(digit + (128 if rest else 0))
        if not rest:
            break
    assert packet.remaining_length(bytes(coded)) == length
    assert packet.remaining_length(bytes(coded[:-1])) is None


def test_five_bytes_are_no_length() -> None:
    with pytest.raises(Malformed):
        packet.remaining_length(b"\xff\xff\xff\xff\x01")


@settings(max_examples=200)
@given(st.binary(max_size=40), st.integers(-50, 50), st.sampled_from(Type), st.sampled_from(Order))
def test_a_record_gives_a_finite_number_or_none(record: bytes, at: int, type_: Type, order: Order) -> None:
    layout = Layout(at, type_, order)
    if reaches(record, layout):
        number = number_at(record, layout)
        assert number is None or math.isfinite(number)


@settings(max_examples=100)
@given(st.binary(max_size=40), st.dictionaries(st.sampled_from(["0175", "0367", "0000", "ffff"]), st.integers(0, 8)))
def test_tags_end_where_nobody_knows_the_length(record: bytes, lengths: dict[str, int]) -> None:
    for tag, value in tagged(record, lengths).items():
        assert len(value) == lengths[tag]
        assert bytes.fromhex(tag) + value in record


@settings(max_examples=100)
@given(JSON)
def test_a_time_is_a_number_or_none(raw: Any) -> None:
    from datetime import UTC

    found = time_of(raw, UTC)
    assert found is None or isinstance(found, int)


@settings(max_examples=100)
@given(st.text(max_size=30) | JSON)
def test_base64_is_unwrapped_or_none(text: Any) -> None:
    found = unwrap(text)
    assert found is None or isinstance(found, bytes)


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_any_memory_is_read_or_forgotten(data: bytes) -> None:
    assert isinstance(memory.from_bytes(data), memory.Memory)
