"""The published documents: current, sound in themselves, and true of what the builders make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contract.compare import breaks, closed, frozen
from gateway.clock import ClockState
from gateway.envelope import Encoder, Envelope, alarm_item, event_item, gap_item, payload, reading_item
from gateway.ids import uuid7
from gateway.model import (
    AlarmChange,
    AlarmState,
    Device,
    Event,
    Gap,
    Lane,
    Place,
    Point,
    Priority,
    Quality,
    Reading,
    Reason,
    Record,
    Text,
    ValueKind,
)
from gateway.uplink import contract
from gateway.uplink.asyncapi import CHANNELS, DOCUMENTS, FILE, MESSAGES, document, files, schema
from gateway.uplink.contract import Identity, State, Topics

ROOT = Path(__file__).parent.parent.parent
SCHEMA = ROOT / "config" / "schema"
NOW_MS = 1_767_225_600_000
IDENTITY = Identity("site-1", "gw-1", "0.1.0", "sha256:" + "0" * 64, uuid7(NOW_MS))
GAS = Point("gas-1.lel", ValueKind.NUMBER, Text("浓度", "Level"), 1.0, "%[LEL]", minimum=0.0, maximum=100.0)
VALVE = Point("gas-1.valve", ValueKind.STATE, Text("阀", "Valve"), 1.0, states=("open", "closed"), writable=True)
DEVICE = Device(
    "gas-1", "gas_detector", Text("燃气", "Gas"), Place(building="3", room="101"), "modbus-rtu", (GAS, VALVE)
)


def validate(message: str, payload_: bytes, *, strictly: bool = True) -> None:
    shape = MESSAGES[message].shape
    assert shape is not None
    wanted = schema(shape)
    jsonschema.Draft202012Validator(closed(wanted) if strictly else wanted).validate(json.loads(payload_))


def test_the_committed_files_are_current() -> None:
    made = files()
    for name, text in made.items():
        assert (SCHEMA / name).read_text("utf-8") == text, "python -m gateway.uplink.asyncapi config/schema"
    there = {f"messages/{file.name}" for file in (SCHEMA / "messages").iterdir()}
    assert there | {FILE} == set(made), "a message that no longer exists"
    assert len(made) == 15


def test_every_schema_is_one() -> None:
    for message in MESSAGES.values():
        if message.shape is not None:
            jsonschema.Draft202012Validator.check_schema(schema(message.shape))


# ---------------------------------------------------------------------- the AsyncAPI document (3.0.0, spec of 2023-12)


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for each in value.values() for found in references(each)]
    return [found for each in value for found in references(each)] if isinstance(value, list) else []


def look_up(root: Any, reference: str) -> Any:
    assert reference.startswith("#/"), f"{reference}: the document must stand alone"
    for step in reference.removeprefix("#/").split("/"):
        root = root[step]
    return root


def published() -> Any:
    return yaml.safe_load((SCHEMA / FILE).read_text("utf-8"))


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    root = published()
    found = references(root)
    for reference in found:
        assert isinstance(look_up(root, reference), dict)
    assert len(found) > 140


def test_the_asyncapi_document_keeps_the_rules_of_its_version() -> None:
    """Its official JSON Schema is larger than all of ours; these are the rules that a table of channels can break."""
    root = published()
    assert root["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(root["info"])
    for server in root["servers"].values():
        assert {"host", "protocol"} <= set(server)
    for name, channel in root["channels"].items():
        assert channel["messages"], name
        named = {part[1:-1] for part in channel["address"].split("/") if part.startswith("{")}
        assert named == set(channel["parameters"]), name
    used = set()
    for name, operation in root["operations"].items():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        used.add(channel.rpartition("/")[2])
        assert operation["messages"], name
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/"), "an operation's message is one of its channel"
    assert used == set(root["channels"]), "a channel that nobody speaks on"
    for schema_ in root["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema_)


def test_the_addresses_are_those_of_the_code() -> None:
    topics = Topics("{site}", "{gateway}")
    addresses = {name: channel["address"] for name, channel in document()["channels"].items()}
    assert addresses["status"] == topics.status
    assert (addresses["catalog"], addresses["health"], addresses["receipt"]) == (
        topics.catalog,
        topics.health,
        topics.receipt,
    )
    assert {lane: addresses[lane] for lane in Lane} == topics.lanes
    assert addresses["reply"] == topics.reply("{id}")
    assert addresses["command"] == topics.commands.replace("+", "{id}")
    assert topics.command_id(addresses["rebirth"]) == "rebirth"
    assert {name for name, channel in CHANNELS.items() if channel.retain} == {
        *("status", "catalog", "config_desired", "config_reported")
    }


# ---------------------------------------------------------------------- the builders, against the schemas

TIMES = st.integers(NOW_MS, NOW_MS + 10**9)
VALUES = st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
PLACES = st.builds(Place, st.none() | st.text(), st.none() | st.text(), room=st.none() | st.text())
NAMES = st.none() | st.just("gas-1")
TEXTS = st.builds(Text, st.text(), st.text())


def reading(point: str, time_ms: int, value: float | None, reason: Reason, raw: bytes, good: bool) -> Reading:
    if value is None:
        return Reading(point, None, time_ms, time_ms, Quality.BAD, reason, raw)
    doubt = (Quality.GOOD, None) if good else (Quality.UNCERTAIN, reason)
    return Reading(point, value, time_ms, time_ms, *doubt, raw)


READINGS = st.builds(
    reading,
    st.sampled_from([GAS.id, VALVE.id]),
    TIMES,
    st.none() | st.floats(-100, 100),
    st.sampled_from(Reason),
    st.binary(max_size=8),
    st.booleans(),
)
EVENTS = st.builds(Event, TIMES.map(uuid7), st.text(), TIMES, NAMES, PLACES, st.dictionaries(st.text(), VALUES))
ALARMS = st.builds(
    AlarmChange,
    TIMES.map(uuid7),
    st.text(),
    NAMES,
    PLACES,
    st.sampled_from([state for state in AlarmState if state is not AlarmState.PENDING]),
    st.sampled_from(Priority),
    st.integers(1, 10**6),
    TIMES,
    st.text(),
    TEXTS,
    st.dictionaries(st.text(), VALUES),
)
GAPS = st.builds(
    lambda reason, time_ms, lane, seq, count: Gap(reason, time_ms, time_ms + 1, lane, seq, seq + 3, count),
    st.text(),
    TIMES,
    st.sampled_from(Lane),
    st.integers(1, 10**9),
    st.none() | st.integers(0, 100),
) | st.builds(lambda reason, time_ms: Gap(reason, time_ms, time_ms, point=GAS.id), st.text(), TIMES)
RECORDS: dict[Lane, st.SearchStrategy[Any]] = {
    Lane.ALARM: ALARMS,
    Lane.EVENT: EVENTS,
    Lane.GAP: GAPS,
    Lane.BILLING: READINGS,
    Lane.TELEMETRY: READINGS,
    Lane.BULK: READINGS,
}


@given(st.data(), st.sampled_from(Lane), st.sampled_from(ClockState), st.booleans())
def test_every_envelope_is_as_described_and_has_no_field_that_is_not(
    data: st.DataObject, lane: Lane, clock: ClockState, replay: bool
) -> None:
    records: list[Record] = data.draw(st.lists(RECORDS[lane], min_size=1, max_size=4))
    encoder = Encoder({point.id: point for point in DEVICE.points})
    for seq, draft in enumerate(encoder.drafts(lane, records, clock), 1):
        ids = uuid7(NOW_MS), lane, seq, IDENTITY.boot_id
        envelope = Envelope(*ids, draft.items, draft.count, draft.from_ms, draft.to_ms)
        body = payload(envelope, "site-1", "gw-1", NOW_MS, replay=replay)
        validate(lane if lane in MESSAGES else "readings", body)


def test_an_envelope_of_the_wrong_kind_is_refused() -> None:
    """Else the test above could not fail."""
    gap = Gap("store_full", NOW_MS, NOW_MS, Lane.BILLING, 1, 2)
    made = Envelope(uuid7(NOW_MS), Lane.GAP, 1, IDENTITY.boot_id, json.dumps([gap_item(gap)]).encode(), 1, 0, 0)
    validate("gap", payload(made, "site-1", "gw-1", NOW_MS, replay=False))
    with pytest.raises(jsonschema.ValidationError):
        validate("readings", payload(made, "site-1", "gw-1", NOW_MS, replay=False))


def test_status_catalog_and_reply() -> None:
    for state in State:
        validate("status", contract.status_payload(IDENTITY, state, uuid7(NOW_MS), NOW_MS, ClockState.UNKNOWN))
    validate("catalog", contract.catalog_payload(IDENTITY, [DEVICE], ["main"], {VALVE.id}))
    for status in ("ok", "rejected", "failed", "expired", "unknown"):
        validate("reply", contract.reply_payload("c-1", status, "", ""))
    with pytest.raises(jsonschema.ValidationError):
        validate("reply", contract.reply_payload("c-1", "done", "", ""))


def test_unknown_fields_are_allowed() -> None:
    shape = MESSAGES["receipt"].shape
    assert shape is not None
    message = {"epoch": uuid7(NOW_MS), "lane": "alarm", "upto": 7, "missing": [[2, 3]], "rate": 5.0, "new": {}}
    jsonschema.validate(message, schema(shape))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(message, closed(schema(shape)))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**message, "missing": [[2]]}, schema(shape))


def test_the_item_builders_are_those_of_the_envelopes() -> None:
    """``reading_item`` serves people; what it says must not differ from what is sent."""
    encoder = Encoder({point.id: point for point in DEVICE.points})
    doubtful = Reading(GAS.id, 3.5, NOW_MS, NOW_MS, Quality.UNCERTAIN, Reason.JUMP, b"\x01")
    (draft,) = encoder.drafts(Lane.TELEMETRY, [doubtful], ClockState.SYNCED)
    assert json.loads(draft.items) == [reading_item(doubtful, GAS.unit)]
    event = Event(uuid7(NOW_MS), "x", NOW_MS, None, Place())
    assert set(event_item(event)) == {"id", "kind", "t", "device", "place", "attributes"}
    change = AlarmChange(
        *(uuid7(NOW_MS), "r", None, Place(), AlarmState.UNACK, Priority.HIGH, 1, NOW_MS, "condition", Text("", ""))
    )
    assert alarm_item(change)["message"] == {"zh": "", "en": ""}


# ---------------------------------------------------------------------- evolution


RECEIVED = ("receipt", "command", "config_desired", "command_document", "config_document")


def test_nothing_that_others_rely_on_has_gone() -> None:
    shapes = {**{name: message.shape for name, message in MESSAGES.items() if message.shape}, **DOCUMENTS}
    old = frozen()
    assert len(old) == 14
    for name, before in old.items():
        message = name.removesuffix(".schema.json")
        shape = shapes.get(message)
        assert shape is not None, f"the message {message} is gone"
        assert breaks(before, schema(shape), sent=message not in RECEIVED) == [], "see tests/contract/README.md"
    assert {f"{name}.schema.json" for name in shapes} == set(old), "a new message: see tests/contract/README.md"


def variant(**change: Any) -> dict[str, Any]:
    old: dict[str, Any] = {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": "string", "enum": ["x", "y"]}, "b": {"$ref": "#/$defs/B"}},
        "$defs": {"B": {"type": "object", "properties": {"c": {"type": "array", "items": {"type": "integer"}}}}},
    }
    return old | change


def deeper(items: dict[str, Any]) -> dict[str, Any]:
    return {"B": {"type": "object", "properties": {"c": {"type": "array", "items": items}}}}


A, B = variant()["properties"].values()
CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [  # the change, what it breaks when sent, when received
    ({}, [], []),
    ({"properties": {"a": A, "b": B, "new": {"type": "string"}}}, [], []),
    ({"description": "new words", "properties": {"a": {**A, "description": "x"}, "b": B}}, [], []),
    ({"properties": {"a": A}}, ["$.b: removed"], ["$.b: removed"]),
    ({"required": ["a", "b"]}, ["$.b: required now"], ["$.b: required now"]),
    ({"required": []}, ["$.a: no longer promised"], []),
    ({"properties": {"a": {**A, "enum": ["x"]}, "b": B}}, *[["$.a: enum was ['x', 'y'], is ['x']"]] * 2),
    ({"properties": {"a": {**A, "pattern": "z"}, "b": B}}, *[["$.a: pattern was None, is 'z'"]] * 2),
    ({"$defs": deeper({"type": "string"})}, *[["$.b.c[]: type was 'integer', is 'string'"]] * 2),
    ({"$defs": {"B": {"type": "object", "properties": {}}}}, ["$.b.c: removed"], ["$.b.c: removed"]),
]


@pytest.mark.parametrize(("change", "sent", "received"), CASES)
def test_the_comparison_sees_what_breaks(change: dict[str, Any], sent: list[str], received: list[str]) -> None:
    assert breaks(variant(), variant(**change), sent=True) == sent
    assert breaks(variant(), variant(**change), sent=False) == received
