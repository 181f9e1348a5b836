"""JSON as data: topics, paths, events with persons in them, commands, on a real mosquitto."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from drivers.base import Report
from drivers.mqtt_south.config import CommandOptions, JsonOptions, JsonPointOptions
from drivers.mqtt_south.hub import MQTT_JSON, MqttHub
from drivers.mqtt_south.mapped import Mapped
from drivers.mqtt_south.simulator import SimBoxes
from drivers_mqtt_south.site import NOW_MS, asynchronous, collect, device, hub_spec, local_broker, make, until, values
from gateway.errors import DeviceRejected, DeviceUnreachable
from gateway.model import Quality, Reason

POINTS: Mapping[str, Mapping[str, Any]] = {
    "free": {"kind": "number", "path": "cells.free", "topic": "status"},
    "first": {"kind": "text", "path": "/cells/list/0/a.b", "topic": "status"},
    "relay": {
        "kind": "state",
        "states": ["closed", "open"],
        "path": "relay",
        "topic": "status",
        "values": {"1": "closed", "0": "open"},
        "command": {"topic": "lockers/{address}/set", "payload": {"relay": "{value}", "by": "gateway"}},
    },
    "limit": {
        "kind": "number",
        "path": "limit",
        "scale": 0.1,
        "command": {"topic": "lockers/{address}/set", "payload": {"limit": "{value}"}},
    },
}
EVENTS = [
    {
        "kind": "locker.opened",
        "topic": "event",
        "when": {"type": "open"},
        "attributes": {"cell": "cell", "detail": "detail"},
        "constants": {"lock": "front"},
        "personal": {"user": "who.phone", "holder": "who.name"},
    }
]


@contextlib.asynccontextmanager
async def site(**more: Any) -> AsyncIterator[tuple[SimBoxes, MqttHub]]:
    entry = {"topic": "lockers/{address}/+", "identity": "id", "time": {"path": "t"}, "events": EVENTS, **more}
    async with local_broker() as running, SimBoxes("127.0.0.1", running.port, "lockers") as boxes:
        yield boxes, make(MQTT_JSON, running.port, [device("l1", MQTT_JSON, POINTS, address="L1", **entry)])


async def one(hub: MqttHub) -> Report:
    (report,) = await collect(hub, lambda got: len(got) >= 1)
    return report


@asynchronous
async def test_paths_reach_into_objects_and_lists_and_keys_with_dots() -> None:
    async with site() as (boxes, hub), hub:
        body = json.dumps({"id": "L1", "cells": {"free": 7, "list": [{"a.b": "x\ud800\n"}]}, "limit": 33})
        await boxes.publish("lockers/L1/status", body)
        report = await one(hub)
    assert values([report]) == {"l1.free": 7, "l1.first": "x?", "l1.limit": 3.3}


@asynchronous
async def test_a_person_appears_in_nothing_but_personal() -> None:
    async with site() as (boxes, hub), hub:
        who = {"phone": "13812345678", "name": "somebody"}
        await boxes.event("L1", {"type": "open", "cell": 12, "who": who, "detail": {"phone": "13812345678"}})
        report = await one(hub)
        await boxes.event("L1", {"type": "open", "cell": 13, "who": {"phone": None}})
        nobody = await one(hub)
        await boxes.event("L9", {"type": "open", "cell": 1, "who": who})
        await until(lambda: "L9" in hub.strangers)
        assert "138" not in json.dumps(dict(hub.strangers))
    (told,) = report.happenings
    assert told.kind == "locker.opened"
    assert told.attributes == {"cell": 12, "detail": None, "lock": "front"}
    assert told.personal == {"user": "13812345678", "holder": "somebody"}
    assert nobody.happenings[0].personal == {}
    assert report.memory is not None
    assert b"138" not in report.memory
    assert "138" not in repr(report.readings)


@asynchronous
async def test_a_retained_event_is_old_and_a_retained_state_uncertain() -> None:
    async with site() as (boxes, hub):
        await boxes.event("L1", {"type": "open", "cell": 12, "limit": 5}, retained=True)
        async with hub:
            report = await one(hub)
            assert report.happenings == []
            (reading,) = report.readings
            assert (reading.value, reading.quality) == (0.5, Quality.UNCERTAIN)
            await boxes.status("L1", {"limit": 6, "t": NOW_MS - 1000}, retained=False)
            assert (await one(hub)).readings[0].quality is Quality.GOOD


@asynchronous
async def test_the_time_of_the_box_is_taken_within_its_limits() -> None:
    async with site(time={"path": "t", "within_s": 3600}) as (boxes, hub), hub:
        taken = []
        for said in (
            NOW_MS - 60_000,
            NOW_MS // 1000 - 60,
            "2026-01-01T08:00:00+08:00",
            NOW_MS - 7_200_000,
            "soon",
            True,
        ):
            await boxes.status("L1", {"limit": 1, "t": said})
            taken.append((await one(hub)).readings[0].source_time_ms - NOW_MS)
    assert taken == [-60_000, -60_000, 0, 0, 0, 0]


@asynchronous
async def test_a_payload_that_names_another_device_is_refused() -> None:
    async with site() as (boxes, hub), hub:
        await boxes.publish("lockers/L1/status", {"id": "L2", "limit": 1})
        await boxes.publish("lockers/L1/status", {"limit": 1})
        await until(lambda: "L1" in hub.strangers)
        assert "another device" in hub.strangers["L1"]
        await boxes.status("L1", {"limit": 2})
        assert values([await one(hub)]) == {"l1.limit": 0.2}


@asynchronous
async def test_a_command_is_filled_in_and_confirmed_by_the_state() -> None:
    async with site() as (boxes, hub), hub:
        await hub.carry_out("l1", "l1.relay", "open", 5.0)
        await hub.carry_out("l1", "l1.limit", 2.5, 5.0)
        sent = [json.loads(message.payload) for message in boxes.heard]
        assert sent == [{"relay": 0, "by": "gateway"}, {"limit": 25}]
        with pytest.raises(DeviceRejected, match="no command"):
            await hub.carry_out("l1", "l1.free", 1, 5.0)
        boxes.deaf = True
        with pytest.raises(DeviceUnreachable):
            await hub.carry_out("l1", "l1.relay", "closed", 0.1)


@asynchronous
async def test_a_bare_value_is_the_whole_payload() -> None:
    points = {
        "level": {"kind": "number", "path": "$", "topic": "level"},
        "pump": {"kind": "boolean", "path": "$", "topic": "pump"},
    }
    sensors = [device("s1", MQTT_JSON, points, address="a", topic="x/{address}/#")]
    async with local_broker() as running, SimBoxes("127.0.0.1", running.port, "x") as boxes:
        hub = make(MQTT_JSON, running.port, sensors)
        async with hub:
            for topic, payload in (("level", "12.5"), ("pump", "ON"), ("level", "full"), ("pump", '{"x": 1}')):
                await boxes.publish(f"x/a/{topic}", payload)
            reports = await collect(hub, lambda got: len(got) >= 4)
    assert [values([report]) for report in reports] == [
        {"s1.level": 12.5},
        {"s1.pump": True},
        {"s1.level": Reason.OUT_OF_RANGE},
        {"s1.pump": Reason.BAD_FRAME},
    ]


FILTERS = [
    (["a/{address}/status", "a/{address}/#"], ["a/+/#"]),
    (["a/{address}/status", "b/{address}/status"], ["a/+/status", "b/+/status"]),
    (["a/+/{address}", "a/{address}/+"], ["a/+/+"]),
    (["a/{address}", "a/{address}/#"], ["a/+/#"]),
    (["{address}/up", "+/{address}"], ["+/+"]),
]


@pytest.mark.parametrize(("patterns", "filters"), FILTERS)
def test_no_filter_lies_within_another(patterns: list[str], filters: list[str]) -> None:
    devices = [
        device(f"d{at}", MQTT_JSON, {"x": {"kind": "number", "path": "x"}}, address=f"A{at}", topic=pattern)
        for at, pattern in enumerate(patterns)
    ]
    mapped = Mapped(hub_spec(MQTT_JSON, 1883, devices))
    assert list(mapped.filters) == filters
    for at, pattern in enumerate(patterns):
        topic = pattern.replace("{address}", f"A{at}").replace("+", "z").replace("#", "y/z")
        assert mapped.device_of(topic) == f"d{at}"


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (JsonOptions, {"address": "a/b", "topic": "x/{address}"}),
        (JsonOptions, {"address": "a", "topic": "x/y"}),
        (JsonOptions, {"address": "a", "topic": "x/{address}/{address}"}),
        (JsonOptions, {"address": "a", "topic": "x/p{address}"}),
        (JsonOptions, {"address": "a", "topic": "x/#/{address}"}),
        (JsonOptions, {"address": "+", "topic": "x/{address}"}),
        (JsonOptions, {"address": "a", "topic": "x/{address}", "time": {"record": "D"}}),
        (JsonOptions, {"address": "a", "topic": "x/{address}", "events": [{"kind": "locker.opened"}]}),
        (JsonOptions, {"address": "a", "topic": "x/{address}", "events": [{"kind": "Opened", "when": {"a": 1}}]}),
        (JsonPointOptions, {}),
        (JsonPointOptions, {"path": "a", "record": "b", "byte": 0}),
        (JsonPointOptions, {"record": "b"}),
        (JsonPointOptions, {"path": "a..b"}),
        (JsonPointOptions, {"path": "a", "scale": 0}),
        (JsonPointOptions, {"path": "a", "mask": 1}),
        (JsonPointOptions, {"record": "b", "byte": 0, "mask": 0x100}),
        (CommandOptions, {"topic": "x/y"}),
        (CommandOptions, {"topic": "x/{address}/#"}),
    ],
)
def test_what_contradicts_itself_is_a_fault(model: Any, data: Any) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(data)
