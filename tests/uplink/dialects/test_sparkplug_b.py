"""The Sparkplug B dialect under the eyes of a host that knows the standard."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.clock import ClockState
from gateway.config.models import SparkplugModel
from gateway.envelope import Encoder, Envelope
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
    bad_reading,
)
from gateway.uplink.contract import Identity
from gateway.uplink.dialect import Asked, Attend, Incoming, Introduce, Outgoing, Reply, Request, Subject
from gateway.uplink.dialects.sparkplug_b import NotBorn, SparkplugB
from gateway.uplink.dialects.sparkplug_payload import DataType, Metric, Payload, Property, decode, encode
from support.clock import ManualClock
from tests.uplink.dialects.sparkplug_checker import Arrival, Host, Violation

IDENTITY = Identity("site-1", "gw-1", "0.1.0", "sha256:" + "0" * 64, "boot-1")
NOW_MS = ManualClock().wall_ms
PLACE = Place(grid="3", building="1", floor="B1")


def _point(device: str, name: str, kind: ValueKind = ValueKind.NUMBER, **more: Any) -> Point:
    return Point(f"{device}.{name}", kind, Text(f"{name}（中）", name), 60.0, **more)


def _device(name: str, kind: str, *points: Point) -> Device:
    return Device(name, kind, Text(f"{name}（中）", name), PLACE, "modbus-rtu", points)


DEVICES = (
    _device(
        "m-1",
        "power_meter",
        _point("m-1", "energy", unit="kW.h", lane=Lane.BILLING, counter=True, personal=True),
        _point("m-1", "power", unit="kW", minimum=-5.0, maximum=40.0),
        _point("m-1", "serial", ValueKind.TEXT, identity=True),
    ),
    _device(
        "pump-1",
        "pump",
        _point("pump-1", "running", ValueKind.BOOLEAN),
        _point("pump-1", "mode", ValueKind.STATE, states=("auto", "manual"), writable=True),
        _point("pump-1", "alarm", ValueKind.BOOLEAN),  # a name of ours but for its folder
    ),
)
POINTS = {point.id: point for device in DEVICES for point in device.points}
STRANGER = _point("x-9", "level")
ENCODER = Encoder({**POINTS, STRANGER.id: STRANGER})


def subject(clock: ManualClock | None = None, devices: Sequence[Device] = DEVICES) -> Subject:
    return Subject(
        "scada",
        IDENTITY,
        devices,
        frozenset({"pump-1.mode"}),
        ("main", "scada"),
        lambda: "epoch-1",
        clock or ManualClock(),
        lambda: NOW_MS,
    )


def envelope(*records: Record, lane: Lane = Lane.TELEMETRY, clock: ClockState = ClockState.SYNCED) -> Envelope:
    (draft,) = ENCODER.drafts(lane, records, clock)
    return Envelope("epoch-1", lane, 1, "boot-1", draft.items, draft.count, draft.from_ms, draft.to_ms)


def good(point: str, value: Any, time_ms: int = NOW_MS) -> Reading:
    return Reading(point, value, time_ms, time_ms)


def alarm(device: str | None, time_ms: int = NOW_MS, state: AlarmState = AlarmState.UNACK) -> AlarmChange:
    text = Text("燃气泄漏", "Gas leak")
    return AlarmChange("019b", "gas_leak", device, PLACE, state, Priority.CRITICAL, 1, time_ms, "condition", text, {})


def event(device: str | None, time_ms: int = NOW_MS) -> Event:
    return Event("019c", "card", time_ms, device, PLACE, {"card": "12"})


class Rig:
    """The dialect, joined to a watching host as the uplink joins it to a broker."""

    def __init__(self, primary_host: str | None = None, devices: Sequence[Device] = DEVICES) -> None:
        self.clock = ManualClock()
        self.dialect = SparkplugB(
            subject(self.clock, devices), SparkplugModel(group="compound", primary_host=primary_host)
        )
        self.host = Host("compound", "gw-1", primary=primary_host is not None)

    def connect(self) -> None:
        will = self.dialect.hello().will
        assert will is not None
        self.host.connects(will.topic, will.payload, will.qos, will.retain)
        self.send(self.dialect.introduce())

    def send(self, messages: Iterable[Outgoing]) -> list[Outgoing]:
        found = list(messages)
        for message in found:
            see(self.host, message)
        return found

    def deliver(self, *records: Record, replay: bool = False, lane: Lane = Lane.TELEMETRY) -> list[Outgoing]:
        return self.send(self.dialect.encode(envelope(*records, lane=lane), sent_ms=self.clock.wall_ms, replay=replay))

    def hears(self, topic: str, *metrics: Metric, retained: bool = False) -> Sequence[Any]:
        body = encode(Payload(self.clock.wall_ms, metrics))
        return self.dialect.hear(Incoming(f"spBv1.0/compound/{topic}", body, retained))

    def state(self, online: object, timestamp: object) -> Sequence[Any]:
        body = json.dumps({"online": online, "timestamp": timestamp}).encode()
        return self.dialect.hear(Incoming("spBv1.0/STATE/scada-1", body, True))


@pytest.fixture
def rig() -> Rig:
    found = Rig()
    found.connect()
    return found


def topics(messages: Iterable[Outgoing]) -> list[str]:
    return [message.topic.removeprefix("spBv1.0/compound/") for message in messages]


def only(message: Sequence[Outgoing]) -> Metric:
    ((found,),) = (decode(one.payload).metrics for one in message)
    return found


# ---------------------------------------------------------------------- births and deaths


def test_hello_names_what_the_node_listens_to() -> None:
    hello = Rig("scada-1").dialect.hello()
    assert hello.client_id == "site-1-gw-1-scada"
    assert hello.subscriptions == ("spBv1.0/compound/NCMD/gw-1", "spBv1.0/compound/DCMD/gw-1/+")
    assert hello.states == ("spBv1.0/STATE/scada-1",)
    assert not hello.attended
    assert Rig().dialect.hello().subscriptions == hello.subscriptions[:2]


def test_births_carry_every_metric_with_name_type_alias_and_unit(rig: Rig) -> None:
    assert rig.host.births == 1
    assert rig.host.alive == {"m-1", "pump-1"}
    names = {(known.device, known.name): known.datatype for known in rig.host.known.values()}
    assert {point.id for point in POINTS.values()} <= {f"{device}.{name}" for device, name in names}
    assert names["m-1", "energy"] == DataType.DOUBLE
    assert names["pump-1", "running"] == DataType.BOOLEAN
    assert names["pump-1", "mode"] == names["m-1", "serial"] == DataType.STRING
    energy = rig.host.properties["m-1", "energy"]
    assert {key: item.value for key, item in energy.items()} == {
        "nameZh": "energy（中）",
        "nameEn": "energy",
        "engUnit": "kW.h",
        "personal": True,
        "Quality": 500,
    }
    assert rig.host.live["m-1", "energy"].value is None
    assert rig.host.properties["m-1", "power"]["engHigh"].value == 40.0
    assert rig.host.properties["pump-1", "mode"]["states"].value == "auto,manual"
    shown = {name: rig.host.live[None, f"Properties/{name}"].value for name in ("Version", "Config", "Clock", "Epoch")}
    assert shown == {"Version": "0.1.0", "Config": IDENTITY.config_digest, "Clock": "synced", "Epoch": "epoch-1"}
    assert rig.host.live["m-1", "Properties/Kind"].value == "power_meter"
    assert json.loads(str(rig.host.live["m-1", "Properties/Place"].value)) == {
        "grid": "3",
        "building": "1",
        "floor": "B1",
    }


def test_the_next_birth_says_the_latest_value(rig: Rig) -> None:
    rig.deliver(good("m-1.energy", 12.5), alarm("m-1"))
    rig.deliver(good("m-1.energy", 11.0, NOW_MS - 5000), replay=True)
    aliases = dict(rig.host.known)
    rig.host.disconnects()
    rig.connect()
    assert rig.host.known == aliases, "aliases are stable"
    assert rig.host.live["m-1", "energy"] == ("m-1", "energy", NOW_MS, 12.5, 192, False)
    assert json.loads(str(rig.host.live["m-1", "Gateway/Alarm"].value))["rule"] == "gas_leak"


def test_birth_numbers_go_round(rig: Rig) -> None:
    for _ in range(256):
        rig.host.disconnects()
        rig.connect()
    assert rig.host.bd_seq == 0


def test_sequence_numbers_go_round(rig: Rig) -> None:
    numbers = [decode(rig.deliver(good("m-1.power", float(index)))[0].payload).seq for index in range(260)]
    assert numbers[:3] == [3, 4, 5]
    assert numbers[252:255] == [255, 0, 1]


def test_farewell_is_the_death_of_the_will(rig: Rig) -> None:
    (death,) = rig.send(rig.dialect.farewell())
    assert (death.topic, death.qos, death.retain) == ("spBv1.0/compound/NDEATH/gw-1", 1, False)
    with pytest.raises(NotBorn):
        rig.deliver(good("m-1.power", 1.0))


def test_nothing_is_lost_silently_before_the_births() -> None:
    rig = Rig()
    rig.dialect.hello()
    with pytest.raises(NotBorn):
        rig.dialect.encode(envelope(good("m-1.power", 1.0)), sent_ms=NOW_MS, replay=False)
    assert rig.dialect.health({}) == ()


def test_a_thousand_devices_do_not_collide() -> None:
    rig = Rig(devices=[_device(f"m-{index}", "power_meter", _point(f"m-{index}", "energy")) for index in range(1000)])
    rig.connect()
    assert len(rig.host.alive) == 1000
    assert len({known[:2] for known in rig.host.known.values()}) == len(rig.host.known) == 12 + 1000 * 9


# ---------------------------------------------------------------------- data


def test_one_message_a_device_in_the_order_of_time(rig: Rig) -> None:
    messages = rig.deliver(
        good("m-1.power", 3, NOW_MS + 2), good("pump-1.running", True), good("m-1.energy", 7.5, NOW_MS + 1)
    )
    assert topics(messages) == ["DDATA/gw-1/m-1", "DDATA/gw-1/pump-1"]
    assert rig.host.arrivals == [
        ("m-1", "energy", NOW_MS + 1, 7.5, 192, False),
        ("m-1", "power", NOW_MS + 2, 3.0, 192, False),
        ("pump-1", "running", NOW_MS, True, 192, False),
    ]


def test_late_data_are_historical_and_change_no_display(rig: Rig) -> None:
    rig.deliver(good("m-1.power", 2.0, NOW_MS - 9), replay=True)
    assert rig.host.arrivals == [("m-1", "power", NOW_MS - 9, 2.0, 192, True)]
    assert rig.host.live["m-1", "power"].value is None


def test_a_display_catches_up_with_the_next_health_message(rig: Rig) -> None:
    rig.deliver(good("m-1.power", 2.0, NOW_MS - 9), good("m-1.power", 3.0, NOW_MS - 5), replay=True)
    rig.deliver(alarm("m-1"), replay=True)
    rig.deliver(good("m-1.energy", 1.0, NOW_MS - 9), replay=True)
    rig.deliver(good("m-1.energy", 2.0))
    assert topics(rig.send(rig.dialect.health({"v": 1}))) == ["DDATA/gw-1/m-1", "NDATA/gw-1"]
    assert rig.host.live["m-1", "power"].value == 3.0
    assert "gas_leak" in str(rig.host.live["m-1", "Gateway/Alarm"].value)
    assert topics(rig.send(rig.dialect.health({"v": 1}))) == ["NDATA/gw-1"], "once"
    rig.deliver(good("m-1.power", 4.0, NOW_MS), replay=True)
    rig.send(rig.dialect.introduce())
    assert topics(rig.send(rig.dialect.health({"v": 1}))) == ["NDATA/gw-1"], "the birth has said it"


def test_two_values_of_one_time_travel_apart(rig: Rig) -> None:
    messages = rig.deliver(alarm("m-1"), alarm("m-1", state=AlarmState.ACKED), good("m-1.power", 1.0, NOW_MS + 1))
    assert topics(messages) == ["DDATA/gw-1/m-1"] * 2
    states = [json.loads(str(found.value))["state"] for found in rig.host.arrivals if found.name == "Gateway/Alarm"]
    assert states == ["unack", "acked"]


def test_quality_is_said_when_it_is_not_good_and_taken_back(rig: Rig) -> None:
    def said(reading: Reading) -> dict[str, Any]:
        return {key: item.value for key, item in only(rig.deliver(reading)).properties.items()}

    doubtful = Reading("m-1.power", 99.0, NOW_MS, NOW_MS, Quality.UNCERTAIN, Reason.OUT_OF_RANGE)
    assert said(doubtful) == {"Quality": 500, "Reason": "out_of_range", "Clock": None}
    assert rig.host.live["m-1", "power"].value == 99.0
    assert said(good("m-1.power", 4.0)) == {"Quality": 192, "Reason": None, "Clock": None}
    assert said(good("m-1.power", 5.0)) == {}
    assert said(bad_reading("m-1.power", Reason.NO_VALUE, NOW_MS)) == {
        "Quality": 0,
        "Reason": "no_value",
        "Clock": None,
    }
    assert rig.host.live["m-1", "power"][3:5] == (None, 0)
    rig.send(rig.dialect.introduce())
    assert rig.host.live["m-1", "power"][3:5] == (None, 0)
    assert said(good("m-1.power", 6.0))["Quality"] == 192, "the birth had said it"


def test_the_first_good_value_takes_back_that_nothing_was_known(rig: Rig) -> None:
    assert rig.host.live["m-1", "power"].quality == 500
    rig.deliver(good("m-1.power", 5.0))
    assert rig.host.live["m-1", "power"].quality == 192


def test_a_clock_that_nobody_has_set_is_said(rig: Rig) -> None:
    unset = envelope(good("m-1.power", 5.0), clock=ClockState.UNKNOWN)
    metric = only(rig.send(rig.dialect.encode(unset, sent_ms=NOW_MS, replay=False)))
    assert metric.properties["Clock"].value == "unknown"
    rig.clock.trust = ClockState.HOLDOVER
    rig.send(rig.dialect.health({}))
    assert rig.host.live[None, "Properties/Clock"].value == "holdover"


def test_the_datatype_of_the_birth_is_kept(rig: Rig) -> None:
    rig.deliver(good("m-1.energy", 2**60), good("m-1.power", True), good("pump-1.running", 1), good("m-1.serial", "7"))
    found = {(arrival.name, arrival.value, arrival.quality) for arrival in rig.host.arrivals}
    assert found == {("energy", float(2**60), 192), ("power", None, 0), ("running", None, 0), ("serial", "7", 192)}
    rig.deliver(good("m-1.energy", 10**400))
    assert rig.host.live["m-1", "energy"][3:5] == (None, 0)


def test_points_outside_the_catalog_are_skipped_and_counted(rig: Rig) -> None:
    assert rig.deliver(good(STRANGER.id, 1.0)) == []
    assert rig.deliver(good(STRANGER.id, 1.0), good("m-1.power", 1.0)) != []
    assert rig.dialect.skipped == 2


def test_events_alarms_and_gaps_arrive_as_they_are(rig: Rig) -> None:
    rig.deliver(alarm("m-1"), alarm(None), lane=Lane.ALARM)
    rig.deliver(event("pump-1"), event("x-9"), lane=Lane.EVENT)
    gaps = (Gap("full", 1, 2, Lane.BULK, 5, 9, 5), Gap("offline", 3, 4, point="m-1.power"))
    rig.deliver(*gaps, lane=Lane.GAP)
    where = [(arrival.device, arrival.name) for arrival in rig.host.arrivals]
    assert where == [
        ("m-1", "Gateway/Alarm"),
        (None, "Gateway/Alarm"),
        ("pump-1", "Gateway/Event"),
        (None, "Gateway/Event"),
        (None, "Gateway/Gap"),
        (None, "Gateway/Gap"),
    ]
    items = [json.loads(str(arrival.value)) for arrival in rig.host.arrivals]
    assert items[0]["message"] == {"zh": "燃气泄漏", "en": "Gas leak"}
    assert items[3]["device"] == "x-9"
    assert items[4] == {
        "lane": "bulk",
        "from_seq": 5,
        "to_seq": 9,
        "count": 5,
        "reason": "full",
        "from_ms": 1,
        "to_ms": 2,
    }


# ---------------------------------------------------------------------- devices that cannot be reached


def silence(device: Device, time_ms: int = NOW_MS, reason: Reason = Reason.NO_ANSWER) -> list[Reading]:
    return [bad_reading(point.id, reason, time_ms) for point in device.points]


def test_a_silent_device_dies_and_is_born_again(rig: Rig) -> None:
    meter = DEVICES[0]
    assert topics(rig.deliver(good("m-1.power", 1.0), *silence(meter, NOW_MS + 1)[:2])) == [
        "DDATA/gw-1/m-1",
        "DDEATH/gw-1/m-1",
    ], "the third point was never read"
    assert rig.host.deaths == ["m-1"]
    assert rig.deliver(*silence(meter, NOW_MS + 2, Reason.LINE_LOST)) == [], "its death has said it"
    assert topics(rig.deliver(alarm("m-1"), event("m-1"))) == ["NDATA/gw-1"], "a dead device says nothing"
    assert topics(rig.deliver(good("m-1.power", 2.0, NOW_MS + 9))) == ["DBIRTH/gw-1/m-1", "DDATA/gw-1/m-1"]
    assert rig.host.live["m-1", "power"][3:5] == (2.0, 192)
    assert rig.host.live["m-1", "energy"][3:5] == (None, 0)


def test_one_point_without_an_answer_is_no_death(rig: Rig) -> None:
    rig.deliver(good("m-1.energy", 1.0), bad_reading("m-1.power", Reason.NO_ANSWER, NOW_MS))
    assert rig.host.deaths == []


def test_dead_devices_are_not_born_with_the_others(rig: Rig) -> None:
    rig.deliver(*silence(DEVICES[0]))
    rig.send(rig.dialect.introduce())
    assert rig.host.alive == {"pump-1"}


def test_late_data_of_a_dead_device_arrive(rig: Rig) -> None:
    rig.deliver(*silence(DEVICES[0]))
    late = [rig.deliver(good("m-1.power", float(age), NOW_MS - age), replay=True) for age in (3, 2)]
    assert [topics(messages) for messages in late] == [
        ["DBIRTH/gw-1/m-1", "DDATA/gw-1/m-1"],
        ["DDATA/gw-1/m-1"],
    ], "it is not buried after each"
    assert topics(rig.send(rig.dialect.health({}))) == ["NDATA/gw-1", "DDEATH/gw-1/m-1"]


# ---------------------------------------------------------------------- commands


def signed(name: object = "cmd-7") -> str:
    return json.dumps({"signed": json.dumps({"kind": "write", "id": name}), "key": "ops", "sig": "AA=="})


@pytest.mark.parametrize("by_alias", [False, True])
@pytest.mark.parametrize("device", [None, "pump-1"])
def test_a_signed_command_is_asked(rig: Rig, device: str | None, by_alias: bool) -> None:
    (alias,) = (alias for alias, known in rig.host.known.items() if known[:2] == (device, "Gateway/Command"))
    metric = Metric(alias=alias, value=signed()) if by_alias else Metric("Gateway/Command", value=signed())
    topic = "NCMD/gw-1" if device is None else f"DCMD/gw-1/{device}"
    assert rig.hears(topic, metric) == [Asked(Request("scada", "cmd-7", signed().encode()))]
    assert rig.hears(topic, metric, retained=True)[0].request.retained


@pytest.mark.parametrize("name", [None, 7, "", "a b", "x" * 49, "命令"])
def test_an_id_that_is_none_is_replaced(rig: Rig, name: object) -> None:
    (asked,) = rig.hears("NCMD/gw-1", Metric("Gateway/Command", value=signed(name)))
    assert asked.request.id.startswith("sp-")
    assert len(asked.request.id) == 35


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"signed": 3}', '{"signed": "\\ud800"}', "[" * 100_000])
def test_rubbish_is_asked_too_so_that_it_is_audited(rig: Rig, text: str) -> None:
    (asked,) = rig.hears("NCMD/gw-1", Metric("Gateway/Command", value=text))
    assert asked.request.body == text.encode()


def test_a_plain_write_is_handed_on_unsigned_once(rig: Rig) -> None:
    metrics = (Metric("mode", value="manual"), Metric("running", value=True), Metric(alias=999, value=1))
    (asked,) = rig.hears("DCMD/gw-1/pump-1", *metrics)
    assert decode(asked.request.body).metrics == metrics
    (elsewhere,) = rig.hears("DCMD/gw-1/x-9", *metrics)
    assert elsewhere == asked
    (reading,) = rig.hears("NCMD/gw-1", Metric("Gateway/Command", value=7.0))
    assert b"Gateway/Command" in reading.request.body


def test_an_alias_of_another_device_is_no_command(rig: Rig) -> None:
    (alias,) = (alias for alias, known in rig.host.known.items() if known[:2] == ("m-1", "Gateway/Command"))
    (asked,) = rig.hears("DCMD/gw-1/pump-1", Metric(alias=alias, value=signed()))
    assert asked.request.id != "cmd-7"


def test_the_answer_is_a_metric_of_the_node(rig: Rig) -> None:
    asked = Asked(Request("scada", "cmd-7", b""))
    rig.send(rig.dialect.answer(asked, Reply("ok", detail="written")))
    rig.send(rig.dialect.answer(asked, Reply("ok", result={"value": "手动"})))
    items = [json.loads(str(arrival.value)) for arrival in rig.host.arrivals]
    assert items[0] == {"id": "cmd-7", "status": "ok", "code": "", "detail": "written"}
    assert items[1]["result"] == {"value": "手动"}
    assert {arrival[:2] for arrival in rig.host.arrivals} == {(None, "Gateway/Reply")}


def test_a_rebirth_is_introduced_again(rig: Rig) -> None:
    rebirth = Metric("Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True)
    assert rig.hears("NCMD/gw-1", rebirth) == [Introduce()]
    rig.host.asks_for_rebirth()
    rig.send(rig.dialect.introduce())
    assert rig.host.births == 2
    assert rig.hears("NCMD/gw-1", rebirth, retained=True) == []
    assert rig.hears("NCMD/gw-1", Metric("Node Control/Rebirth", value=False)) == []
    (asked,) = rig.hears("DCMD/gw-1/m-1", rebirth)
    assert isinstance(asked, Asked), "of a node only"


def test_what_makes_no_sense_is_counted(rig: Rig) -> None:
    assert rig.dialect.hear(Incoming("spBv1.0/compound/NCMD/gw-1", b"\xff")) == ()
    assert rig.dialect.malformed == 1
    assert rig.dialect.hear(Incoming("spBv1.0/compound/NCMD/gw-2", b"\xff")) == ()
    assert rig.dialect.hear(Incoming("spBv1.0/STATE/scada-1", b"\xff")) == ()
    assert rig.dialect.malformed == 1


# ---------------------------------------------------------------------- the primary host


def test_births_wait_for_the_primary_host() -> None:
    rig = Rig("scada-1")
    rig.connect()
    assert not rig.host.births
    assert not rig.dialect.present
    assert rig.hears("NCMD/gw-1", Metric("Node Control/Rebirth", value=True)) == []
    assert rig.state(True, 1000) == (Attend(True), Introduce())
    rig.host.changes_state(True)
    rig.send(rig.dialect.introduce())
    assert rig.dialect.present
    assert rig.host.alive == {"m-1", "pump-1"}
    assert rig.state(True, 1500) == ()
    assert rig.state(False, 1499) == (), "a late will"
    assert rig.dialect.present
    assert rig.state(False, 1500) == (Attend(False),)
    assert not rig.dialect.present
    assert rig.dialect.introduce() == ()
    assert rig.dialect.answer(Asked(Request("scada", "a", b"")), Reply("ok")) == ()
    with pytest.raises(NotBorn):
        rig.deliver(good("m-1.power", 1.0))
    assert rig.state(True, 1499) == ()
    assert rig.state(True, 1501.5) == (Attend(True), Introduce())


def test_a_host_that_is_away_from_the_start_is_said() -> None:
    rig = Rig("scada-1")
    rig.connect()
    assert rig.state(False, 1000) == (Attend(False),)
    assert rig.state(False, 1001) == ()


def test_with_every_connection_the_host_has_to_show_itself_again() -> None:
    rig = Rig("scada-1")
    rig.connect()
    rig.state(True, 5000)
    rig.dialect.hello()
    assert not rig.dialect.present
    assert rig.state(True, 10) == (Attend(True), Introduce()), "its clock was set back"


@pytest.mark.parametrize(
    "body",
    [
        b"ONLINE",
        b"\xff",
        b"[]",
        b"{}",
        b'{"online":true}',
        b'{"online":1,"timestamp":5}',
        b'{"online":true,"timestamp":"5"}',
        b'{"online":true,"timestamp":true}',
        b'{"online":true,"timestamp":-1}',
        b'{"online":true,"timestamp":NaN}',
        b'{"online":true,"timestamp":1e999}',
        b"[" * 100_000,
    ],
)
def test_a_state_that_makes_no_sense_changes_nothing(body: bytes) -> None:
    rig = Rig("scada-1")
    rig.connect()
    assert rig.dialect.hear(Incoming("spBv1.0/STATE/scada-1", body)) == ()
    assert rig.dialect.malformed == 1
    assert rig.state(True, 0) == (Attend(True), Introduce())


# ---------------------------------------------------------------------- the checker itself


NBIRTH, METER, PUMP, DATA = range(4)  # the messages of ``conversation``

# What is violated -> which message is changed, the changed metric's name (None: of a DATA message), and to what.
VIOLATIONS: dict[str, tuple[int, str | None, dict[str, Any]]] = {
    "payloads-nbirth-qos": (NBIRTH, None, {"qos": 1}),
    "payloads-ddata-retain": (DATA, None, {"retain": True}),
    "payloads-nbirth-timestamp": (NBIRTH, None, {"timestamp": None}),
    "payloads-sequence-num-zero-nbirth": (NBIRTH, None, {"seq": 1}),
    "payloads-sequence-num-incrementing": (DATA, None, {"seq": 4}),
    "payloads-sequence-num-always-included": (METER, None, {"seq": None}),
    "payloads-nbirth-bdseq": (NBIRTH, None, {"metrics": ()}),
    "message-flow-edge-node-birth-publish-nbirth-payload-bdSeq": (NBIRTH, "bdSeq", {"value": 1}),
    "operational-behavior-data-commands-rebirth-value": (NBIRTH, "Node Control/Rebirth", {"value": True}),
    "operational-behavior-data-commands-rebirth-datatype": (NBIRTH, "Node Control/Rebirth", {"datatype": 12}),
    "operational-behavior-data-commands-rebirth-name-aliases": (NBIRTH, "Node Control/Rebirth", {"alias": 77}),
    "payloads-alias-uniqueness": (PUMP, "running", {"alias": 1}),
    "payloads-alias-birth-requirement": (METER, "energy", {"alias": None}),
    "payloads-metric-datatype-req": (METER, "energy", {"datatype": None}),
    "case-sensitivity-metric-names": (METER, "energy", {"name": "POWER"}),
    "operational-behavior-data-publish-dbirth-order": (METER, "energy", {"timestamp": NOW_MS + 1}),
    "payloads-propertyset-quality-value-type": (METER, "energy", {"properties": {"Quality": Property(4, 192)}}),
    "payloads-propertyset-quality-value-value": (METER, "energy", {"properties": {"Quality": Property(3, 64)}}),
    "payloads-name-birth-data-requirement": (DATA, None, {"timestamp": None}),
    "payloads-alias-data-cmd-requirement": (DATA, None, {"name": "power"}),
    "payloads-metric-datatype-not-req": (DATA, None, {"datatype": 10}),
    "payloads-metric-datatype-value": (DATA, None, {"value": "1.0"}),
    "operational-behavior-data-publish-dbirth": (DATA, None, {"alias": 1}),
}


def conversation() -> tuple[Host, list[Outgoing]]:
    """A host before the births, and what it will see."""
    dialect = SparkplugB(subject(), SparkplugModel(group="compound"))
    will = dialect.hello().will
    assert will is not None
    host = Host("compound", "gw-1")
    host.connects(will.topic, will.payload, will.qos, will.retain)
    messages = [*dialect.introduce()]
    messages += dialect.encode(envelope(good("m-1.power", 1.0)), sent_ms=NOW_MS, replay=False)
    return host, messages


def see(host: Host, message: Outgoing) -> None:
    host.sees(message.topic, message.payload, message.qos, message.retain)


def changed(message: Outgoing, name: str | None, change: dict[str, Any]) -> Outgoing:
    outer = {key: change.pop(key) for key in ("qos", "retain") if key in change}
    body = decode(message.payload)
    if change.keys() <= {"seq", "metrics"} or (change == {"timestamp": None} and body.seq == 0):
        body = replace(body, **change)
    else:
        metrics = (replace(metric, **change) if metric.name == name else metric for metric in body.metrics)
        body = replace(body, metrics=tuple(metrics))
    return replace(message, payload=encode(body), **outer)


@pytest.mark.parametrize("statement", VIOLATIONS)
def test_the_checker_sees(statement: str) -> None:
    index, name, change = VIOLATIONS[statement]
    host, messages = conversation()
    messages[index] = changed(messages[index], name, dict(change))
    for message in messages[:index]:
        see(host, message)
    with pytest.raises(Violation) as caught:
        see(host, messages[index])
    assert caught.value.statement == statement


@pytest.mark.parametrize(
    ("order", "statement"),
    [
        ((METER,), "message-flow-device-birth-publish-nbirth-wait"),
        ((NBIRTH, DATA), "payloads-ddata-order"),
        ((DATA,), "payloads-ddata-order"),
    ],
)
def test_the_checker_sees_a_wrong_order(order: Sequence[int], statement: str) -> None:
    host, messages = conversation()
    *before, last = (changed(messages[index], None, {"seq": seq}) for seq, index in enumerate(order))
    for message in before:
        see(host, message)
    with pytest.raises(Violation) as caught:
        see(host, last)
    assert caught.value.statement == statement


def test_the_checker_sees_another_will() -> None:
    host, _ = conversation()
    dialect = SparkplugB(subject(), SparkplugModel(group="compound"))
    will = dialect.hello().will
    assert will is not None
    with pytest.raises(Violation, match="will-message-payload-bdSeq"):
        host.connects(will.topic, will.payload, will.qos, will.retain)
    with pytest.raises(Violation, match="payloads-ndeath-will-message-qos"):
        host.connects(will.topic, will.payload, 0, will.retain)


def test_the_checker_sees_data_instead_of_a_rebirth() -> None:
    host, (birth, message, *_) = conversation()
    see(host, birth)
    host.asks_for_rebirth()
    with pytest.raises(Violation, match="rebirth-action-1"):
        see(host, message)


# ---------------------------------------------------------------------- anything in any order

_VALUES: dict[ValueKind, st.SearchStrategy[Any]] = {
    ValueKind.NUMBER: st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-10, 10),
    ValueKind.BOOLEAN: st.booleans(),
    ValueKind.STATE: st.sampled_from(["auto", "manual"]),
    ValueKind.TEXT: st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
}
_ages = st.integers(-5, 5)
_devices = st.sampled_from([None, "m-1", "pump-1", "x-9"])


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    point = draw(st.sampled_from([*POINTS.values(), STRANGER]))
    time_ms = NOW_MS + draw(_ages)
    value = draw(_VALUES[point.kind])
    match draw(st.sampled_from(["good", "uncertain", "bad"])):
        case "good":
            return good(point.id, value, time_ms)
        case "uncertain":
            return Reading(point.id, value, time_ms, time_ms, Quality.UNCERTAIN, Reason.JUMP)
        case _:
            return bad_reading(point.id, draw(st.sampled_from([Reason.NO_ANSWER, Reason.NO_VALUE])), time_ms)


silences = st.builds(silence, st.sampled_from(DEVICES), _ages.map(lambda age: NOW_MS + age))
changes = st.builds(alarm, _devices, _ages.map(lambda age: NOW_MS + age)) | st.builds(event, _devices)
records = st.lists(readings() | changes, min_size=1, max_size=6) | silences


class Conversation(RuleBasedStateMachine):
    """The host raises as soon as anything is against the standard; what must arrive is counted besides."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.connected = False
        self.state_ms = 1000
        self.latest: dict[str, Reading] = {}

    @initialize(primary=st.booleans())
    def begin(self, primary: bool) -> None:
        self.rig = Rig("scada-1" if primary else None)

    @property
    def born(self) -> bool:
        return self.connected and self.rig.dialect.present

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        self.rig.host.online = False
        self.rig.connect()
        self.connected = True
        assert self.rig.host.born == self.born

    @precondition(lambda self: self.connected)
    @rule(goodbye=st.booleans())
    def disconnect(self, goodbye: bool) -> None:
        if goodbye:
            self.rig.send(self.rig.dialect.farewell())
        self.rig.host.disconnects()
        self.connected = False

    @precondition(lambda self: self.born)
    @rule(records=records, replay=st.booleans())
    def deliver(self, records: list[Record], replay: bool) -> None:
        alive = set(self.rig.host.alive)
        before = len(self.rig.host.arrivals)
        self.rig.deliver(*records, replay=replay)
        found = self.rig.host.arrivals[before:]
        assert {arrival.historical for arrival in found} <= {replay}
        items = [record for record in records if isinstance(record, AlarmChange | Event)]
        told = [arrival.time_ms for arrival in found if arrival.name.startswith("Gateway/")]
        assert sorted(told) == sorted(item.time_ms for item in items)
        for device in DEVICES:
            of_it = [record for record in records if isinstance(record, Reading) and record.point in points_of(device)]
            self.arrived(device, of_it, found, silent=device.id not in alive and not replay)
            self.remember(of_it, replay)

    def arrived(self, device: Device, readings: list[Reading], found: list[Arrival], *, silent: bool) -> None:
        """*silent*: the host need not be told again that the device cannot be reached."""
        if silent and all(reading.reason is Reason.NO_ANSWER for reading in readings):
            readings = []
        wanted = Counter(seen_as(reading) for reading in readings)
        values = [arrival for arrival in found if arrival.device == device.id and "/" not in arrival.name]
        assert wanted == Counter((f"{one.device}.{one.name}", *one[2:5]) for one in values)

    def remember(self, readings: list[Reading], replay: bool) -> None:
        for reading in sorted(readings, key=lambda reading: reading.source_time_ms):
            before = self.latest.get(reading.point)
            if not replay or before is None or before.source_time_ms <= reading.source_time_ms:
                self.latest[reading.point] = reading

    @precondition(lambda self: self.connected)
    @rule()
    def ask_for_rebirth(self) -> None:
        heard = self.rig.hears("NCMD/gw-1", Metric("Node Control/Rebirth", value=True))
        assert list(heard) == ([Introduce()] if self.born else [])
        if heard:
            self.rig.host.asks_for_rebirth()
            self.rig.send(self.rig.dialect.introduce())
            assert not self.rig.host.rebirth_due
            self.display_is_current()

    @precondition(lambda self: self.connected and self.rig.host.primary)
    @rule(online=st.booleans(), step_ms=st.integers(-3, 3))
    def change_state(self, online: bool, step_ms: int) -> None:
        was = self.rig.dialect.present
        heard = self.rig.state(online, self.state_ms + step_ms)
        self.state_ms += max(0, step_ms)
        for one in heard:
            if isinstance(one, Attend):
                assert one.present is online
                self.rig.host.changes_state(online)
            else:
                self.rig.send(self.rig.dialect.introduce())
                assert self.rig.host.born
        assert self.rig.dialect.present is (online if heard else was)

    @precondition(lambda self: self.connected)
    @rule()
    def say_health(self) -> None:
        messages = self.rig.send(self.rig.dialect.health({"v": 1}))
        assert bool(messages) == self.born
        if messages:
            self.display_is_current()

    def display_is_current(self) -> None:
        for device in DEVICES:
            latest = {point: found for point, found in self.latest.items() if point in points_of(device)}
            dead = bool(latest) and all(reading.reason is Reason.NO_ANSWER for reading in latest.values())
            assert (device.id in self.rig.host.alive) is not dead
            for point, reading in {} if dead else latest.items():
                shown = self.rig.host.live[device.id, POINTS[point].name]
                assert (point, *shown[2:5]) == seen_as(reading)

    @precondition(lambda self: self.connected)
    @rule()
    def answer(self) -> None:
        messages = self.rig.send(self.rig.dialect.answer(Asked(Request("scada", "a", b"")), Reply("ok")))
        assert bool(messages) == self.born

    @rule(milliseconds=st.integers(0, 100))
    def wait(self, milliseconds: int) -> None:
        self.rig.clock.advance(milliseconds / 1000)


def points_of(device: Device) -> set[str]:
    return {point.id for point in device.points}


def seen_as(reading: Reading) -> tuple[str, int, Any, int]:
    quality = {Quality.GOOD: 192, Quality.UNCERTAIN: 500, Quality.BAD: 0}[reading.quality]
    return reading.point, reading.source_time_ms, reading.value, quality


Conversation.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestConversation = Conversation.TestCase
