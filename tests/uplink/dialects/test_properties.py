"""What holds for every dialect, whatever it is given."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.config.models import HomeAssistantModel
from gateway.model import Lane, Reading
from gateway.uplink.dialect import Asked, Dialect, Incoming, Outgoing, Reply
from gateway.uplink.dialects.home_assistant import HomeAssistant
from gateway.uplink.dialects.iotda import Iotda
from gateway.uplink.dialects.thingsboard import ThingsBoard
from uplink.dialects.small_site import (
    IOTDA,
    NOW_MS,
    POINTS,
    SECRET,
    Log,
    day,
    dialects,
    everything,
    readings,
    subject,
)

ALL = ("thingsboard", "home_assistant", "iotda")
HEARD = {
    "thingsboard": (
        "v1/gateway/rpc",
        "v1/devices/me/rpc/request/7",
        "v1/gateway/attributes",
        "v1/devices/me/attributes",
    ),
    "home_assistant": (
        "homeassistant/status",
        "homeassistant/device/jiayuan_gw1/gone/config",
        "homeassistant/device/jiayuan_gw1/gas-1/config",
        "homeassistant/binary_sensor/jiayuan_gw1/x/config",
    ),
    "iotda": ("$oc/devices/64a1_gw1/sys/commands/request_id=1", "$oc/devices/64a1_gw1/sys/events/down"),
}
keys = st.sampled_from(
    ("device", "data", "id", "method", "params", "paras", "document", "command_name", "signed", "dev", "ids", "cmps")
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
payloads = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(keys, json_values, max_size=6).map(lambda value: json.dumps(value).encode()),
)


def values_of(name: str, messages: list[Outgoing]) -> Counter[tuple[str, str, int, Any]]:
    """(device, point, time, value) of everything that was said; times of IoTDA have the same milliseconds."""
    found: Counter[tuple[str, str, int, Any]] = Counter()
    for message in messages:
        document = json.loads(message.payload)
        if name == "thingsboard" and message.topic == "v1/gateway/telemetry":
            for device, entries in document.items():
                for entry in entries:
                    found.update(of_entry(device.split(".")[2], entry["ts"], entry["values"]))
        elif name == "iotda" and message.topic.endswith("properties/report"):
            for each in document["devices"]:
                device = "gas-1" if each["device_id"] == "64a1_kitchen" else each["device_id"].split("_", 2)[2]
                for service in each["services"]:
                    found.update(of_entry(device, milliseconds(service["event_time"]), service["properties"]))
    return found


def of_entry(device: str, time_ms: int, values: dict[str, Any]) -> list[tuple[str, str, int, Any]]:
    return [
        (device, name, time_ms, (type(value).__name__, value))
        for name, value in values.items()
        if f"{device}.{name}" in POINTS
    ]


def milliseconds(text: str) -> int:
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{3})Z", text)
    assert found is not None, text
    return round(datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()) * 1000 + int(found[2])


def limited(name: str, limit_bytes: int) -> Dialect:
    of = subject()
    return (
        ThingsBoard(of, limit_bytes=limit_bytes)
        if name == "thingsboard"
        else Iotda(of, IOTDA, lambda: SECRET, limit_bytes=limit_bytes)
    )


@pytest.mark.parametrize("name", ["thingsboard", "iotda"])
@given(records=readings(), limit_bytes=st.integers(400, 9000))
def test_every_reading_with_a_value_is_said_once_and_no_message_is_too_large(
    name: str, records: list[Reading], limit_bytes: int
) -> None:
    dialect = limited(name, limit_bytes)
    messages = list(dialect.encode(Log(POINTS).envelope(Lane.TELEMETRY, *records), sent_ms=NOW_MS, replay=False))
    assert all(len(message.payload) <= limit_bytes for message in messages)
    expected = Counter(
        (*each.point.split("."), each.source_time_ms, (type(each.value).__name__, each.value))
        for each in records
        if each.value is not None
    )
    assert values_of(name, messages) == expected


@pytest.mark.parametrize("name", ["thingsboard", "iotda"])
@given(records=readings(most=8))
def test_two_readings_of_one_point_at_one_time_are_both_said(name: str, records: list[Reading]) -> None:
    dialect = limited(name, 8196)
    twice = [each for each in records for _ in range(2)]
    messages = list(dialect.encode(Log(POINTS).envelope(Lane.BULK, *twice), sent_ms=NOW_MS, replay=True))
    counts = values_of(name, messages)
    assert sum(counts.values()) == 2 * sum(each.value is not None for each in records)


@pytest.mark.parametrize("name", ALL)
@given(records=readings(most=20))
def test_an_envelope_sent_again_is_the_same(name: str, records: list[Reading]) -> None:
    """But for what tells of a device that has just fallen silent, or come back."""
    dialect = dialects(subject())[name]
    envelope = Log(POINTS).envelope(Lane.TELEMETRY, *records)
    first = dialect.encode(envelope, sent_ms=NOW_MS, replay=False)
    again = dialect.encode(envelope, sent_ms=NOW_MS + 5, replay=True)
    news = ("/available/", "sys/events/up")
    lasting = [message for message in first if not any(part in message.topic for part in news)]
    assert sorted(lasting, key=repr) == sorted(again, key=repr)


@pytest.mark.parametrize("name", ALL)
@given(records=readings())
def test_topics_are_legal_and_payloads_are_json(name: str, records: list[Reading]) -> None:
    envelopes = [*day(), Log(POINTS).envelope(Lane.TELEMETRY, *records)]
    messages = everything(dialects(subject())[name], envelopes)
    assert messages
    for message in messages:
        assert re.fullmatch(r"[A-Za-z0-9_$/=-]{1,200}", message.topic), message.topic
        assert message.topic.count("/") <= 7
        assert message.qos == 1
        if message.payload not in (b"online", b"offline"):
            json.loads(message.payload, parse_constant=pytest.fail)


@pytest.mark.parametrize("name", ALL)
def test_an_envelope_of_which_nothing_is_left_says_nothing(name: str) -> None:
    dialect = dialects(subject())[name]
    for lane in Lane:
        assert list(dialect.encode(Log(POINTS).envelope(lane), sent_ms=NOW_MS, replay=False)) == []


@pytest.mark.parametrize("name", ALL)
@given(where=st.integers(0, 3) | st.text(max_size=60), payload=payloads, retained=st.booleans())
@example(where=0, payload=b"[" * 100_000, retained=True)
@example(where=0, payload=b'{"device":"\\ud800","data":{"id":1,"method":"\\ud800","params":"\\udfff"}}', retained=True)
@example(where=0, payload=b'{"command_name":"command","paras":{"document":"\\ud800"}}', retained=False)
@example(
    where=0, payload=b'{"device":"d","data":{"id":1e999,"method":"command","params":{"signed":NaN}}}', retained=False
)
@example(
    where=0,
    payload=b'{"device":"d","data":{"id":1,"method":"command","params":{"signed":"{\\"id\\":7}"}}}',
    retained=False,
)
@example(where=0, payload=b'{"command_name":"command","paras":{"document":{"signed":"\\ud800[["}}}', retained=False)
def test_whatever_is_heard_harms_nothing(name: str, where: int | str, payload: bytes, retained: bool) -> None:
    dialect = dialects(subject())[name]
    topic = where if isinstance(where, str) else HEARD[name][where % len(HEARD[name])]
    for heard in dialect.hear(Incoming(topic, payload, retained)):
        if isinstance(heard, Asked):
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,48}", heard.request.id)
            assert heard.request.retained == retained
            for answer in dialect.answer(heard, Reply("rejected", "malformed", "no", {"a": [1]})):
                json.loads(answer.payload)
                assert not set("+#") & set(answer.topic)
    assert all(message.topic for message in everything(dialect, []))


@pytest.mark.parametrize("name", ALL)
def test_health_that_is_not_as_expected_is_no_reason_to_stop(name: str) -> None:
    dialect = dialects(subject())[name]
    for snapshot in ({}, {"store": None, "lines": [], "alarms": 3, "temperatures_c": ["x"]}, {"lines": {"a": None}}):
        for message in dialect.health(snapshot):
            json.loads(message.payload)


def test_no_dialect_for_home_assistant_has_a_topic_for_commands() -> None:
    dialect = HomeAssistant(subject(), HomeAssistantModel())
    assert not any(
        b"command_topic" in message.payload or b"cmd_t" in message.payload for message in everything(dialect, day())
    )
    assert "command" not in " ".join(dialect.hello().subscriptions)
