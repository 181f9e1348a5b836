from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.model import AlarmState, Lane, Reason, Text, bad_reading
from gateway.uplink.dialect import Asked, Incoming, Reply
from gateway.uplink.dialects.common import REBIRTH
from gateway.uplink.dialects.iotda import LIMIT_BYTES, MOST_DEVICES, Iotda
from support.clock import ManualClock
from uplink.dialects.small_site import DEVICES, IOTDA, NOW_MS, POINTS, SECRET, Log, alarm, documents, reading, subject

ROOT = "$oc/devices/64a1_gw1/"
COMMAND = ROOT + "sys/commands/request_id="
REPORT = ROOT + "sys/gateway/sub_devices/properties/report"


def iotda(clock: ManualClock | None = None) -> Iotda:
    return Iotda(subject(clock=clock), IOTDA, lambda: SECRET)


def test_the_password_is_made_anew_for_each_hour() -> None:
    """Expected: printf gateway-secret | openssl dgst -sha256 -hmac 2026010100, and the same with 2026010101."""
    clock = ManualClock(NOW_MS)
    gateway = iotda(clock)
    hello = gateway.hello()
    assert (hello.client_id, hello.username) == ("64a1_gw1_0_0_2026010100", "64a1_gw1")
    assert hello.password == "971e8ffe58a3137bc13a299f6bbfc054c98d2c1887f556bd9ccca49f5f0e77f9"
    clock.advance(3600)
    hello = gateway.hello()
    assert hello.client_id == "64a1_gw1_0_0_2026010101"
    assert hello.password == "4af4512eac56754110886a259afd8865296223b291953d7de6e884355d74cd0d"


def test_no_report_and_no_status_names_more_than_a_hundred_devices() -> None:
    many = [
        replace(DEVICES[1], id=f"w-{n}", points=(replace(DEVICES[1].points[0], id=f"w-{n}.volume"),))
        for n in range(250)
    ]
    points = {point.id: point for device in many for point in device.points}
    gateway = Iotda(subject(many), IOTDA, lambda: SECRET)
    envelope = Log(points).envelope(Lane.BILLING, *(reading(point, 1.0) for point in points))
    reports = [m for m in gateway.encode(envelope, sent_ms=NOW_MS, replay=False) if m.topic == REPORT]
    assert [len(document["devices"]) for document in documents(reports)] == [100, 100, 50]
    introduced = documents(gateway.introduce())
    told = [len(each["services"][0]["paras"]["device_statuses"]) for each in introduced]
    assert told == [MOST_DEVICES, MOST_DEVICES, 50]


def test_a_device_that_falls_silent_is_offline_until_it_answers() -> None:
    gateway, log = iotda(), Log(POINTS)

    def statuses(*records: object) -> list[str]:
        envelope = log.envelope(Lane.TELEMETRY, *records)  # type: ignore[arg-type]
        said = [m for m in gateway.encode(envelope, sent_ms=NOW_MS, replay=False) if m.topic.endswith("events/up")]
        return [
            f"{each['device_id']} {each['status']}"
            for document in documents(said)
            for each in document["services"][0]["paras"]["device_statuses"]
        ]

    assert statuses(reading("gas-1.concentration", 1.0, -9000)) == []
    assert statuses(bad_reading("gas-1.concentration", Reason.NO_ANSWER, NOW_MS - 5000)) == ["64a1_kitchen OFFLINE"]
    introduced = documents(gateway.introduce())[0]["services"][0]["paras"]["device_statuses"]
    assert {each["device_id"]: each["status"] for each in introduced}["64a1_kitchen"] == "OFFLINE"
    # late news from before does not wake it
    assert statuses(reading("gas-1.concentration", 1.0, -7000)) == []
    assert statuses(reading("gas-1.status", "normal", -1000)) == ["64a1_kitchen ONLINE"]


def test_one_point_without_an_answer_does_not_make_a_device_silent() -> None:
    gateway, log = iotda(), Log(POINTS)
    first = log.envelope(
        Lane.TELEMETRY, reading("gas-1.status", "normal"), bad_reading("gas-1.concentration", Reason.NO_ANSWER, NOW_MS)
    )
    assert [m.topic for m in gateway.encode(first, sent_ms=NOW_MS, replay=False)] == [REPORT]


@pytest.mark.parametrize(
    ("time_ms", "said"),
    [
        (NOW_MS + 7, "2026-01-01T00:00:00.007Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (-5, "1970-01-01T00:00:00.000Z"),
        (10**18, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_keep_their_milliseconds_and_stay_sayable(time_ms: int, said: str) -> None:
    envelope = Log(POINTS).envelope(Lane.TELEMETRY, reading("lift-1.energy", 1.0, time_ms - NOW_MS))
    (document,) = documents(iotda().encode(envelope, sent_ms=NOW_MS, replay=False))
    assert document["devices"][0]["services"][0]["event_time"] == said


def test_readings_of_a_device_that_is_configured_no_more_still_arrive() -> None:
    envelope = Log(POINTS).envelope(Lane.TELEMETRY, reading("lift-1.energy", 1.0))
    gateway = Iotda(subject(DEVICES[:1]), IOTDA, lambda: SECRET)
    (document,) = documents(gateway.encode(envelope, sent_ms=NOW_MS, replay=True))
    (device,) = document["devices"]
    assert (device["device_id"], device["services"][0]["service_id"]) == ("64a1_gw1_lift-1", "unknown")


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        (b'{"command_name":"open_valve","paras":{"value":1}}', None),
        (b'{"command_name":"command","paras":{}}', None),
        (b'{"command_name":"command","paras":{"document":"{}"}}', b"{}"),
        (b'{"command_name":"rebirth"}', REBIRTH),
    ],
)
def test_a_command_reaches_the_desk_and_its_answer_the_request(payload: bytes, body: bytes | None) -> None:
    gateway = iotda()
    (heard,) = gateway.hear(Incoming(COMMAND + "4f1a-7", payload))
    assert isinstance(heard, Asked)
    assert (heard.request.id, heard.request.body) == ("4f1a-7", payload if body is None else body)
    (answer,) = gateway.answer(heard, Reply("expired", "too_late", "ten minutes ago"))
    assert answer.topic == ROOT + "sys/commands/response/request_id=4f1a-7"
    assert json.loads(answer.payload)["result_code"] == 3
    assert gateway.hear(Incoming(answer.topic, answer.payload)) == ()


def test_a_signed_document_is_known_by_the_id_it_gives_itself() -> None:
    signed = json.dumps({"signed": json.dumps({"id": "c-2026-1"}), "key": "ops", "sig": ""})
    call = {"command_name": "command", "paras": {"document": signed}}
    gateway = iotda()
    (heard,) = gateway.hear(Incoming(COMMAND + "4f1a-7", json.dumps(call).encode()))
    assert isinstance(heard, Asked)
    assert (heard.request.id, heard.request.body) == ("c-2026-1", signed.encode())
    assert gateway.answer(heard, Reply("ok"))[0].topic.endswith("request_id=4f1a-7")


def test_a_long_request_id_becomes_an_id_of_ours_and_is_answered_by_its_own() -> None:
    gateway, long = iotda(), "r" * 128
    (heard,) = gateway.hear(Incoming(COMMAND + long, b'{"command_name":"x"}'))
    assert isinstance(heard, Asked)
    assert len(heard.request.id) <= 48
    assert gateway.answer(heard, Reply("ok"))[0].topic.endswith(long)


def test_what_is_not_a_command_for_this_gateway_is_not_heard() -> None:
    gateway = iotda()
    for topic in ("$oc/devices/other/sys/commands/request_id=1", ROOT + "sys/properties/set/request_id=1", COMMAND):
        assert gateway.hear(Incoming(topic, b'{"command_name":"command","paras":{"document":"{}"}}')) == ()


def test_no_message_is_too_large() -> None:
    envelope = Log(POINTS).envelope(Lane.TELEMETRY, *(reading("soil-1.temperature", float(n), n) for n in range(500)))
    messages = Iotda(subject(), IOTDA, lambda: SECRET, limit_bytes=5000).encode(envelope, sent_ms=NOW_MS, replay=False)
    assert max(len(message.payload) for message in messages) <= 5000 < LIMIT_BYTES
    services = [
        service for document in documents(messages) for each in document["devices"] for service in each["services"]
    ]
    assert [service["properties"]["temperature"] for service in services] == [float(n) for n in range(500)]


def test_a_flood_of_alarms_is_no_flood_of_messages() -> None:
    """The platform takes 50 messages a second of one connection."""
    many = [replace(DEVICES[2], id=f"gas-{n}", points=()) for n in range(150)]
    envelope = Log({}).envelope(Lane.ALARM, *(alarm(AlarmState.UNACK, n, device.id) for n, device in enumerate(many)))
    gateway = Iotda(subject(many), IOTDA, lambda: SECRET)
    (flood,) = documents(gateway.encode(envelope, sent_ms=NOW_MS, replay=False))
    assert "object_device_id" not in flood
    assert [item["device"] for item in flood["content"]["items"]] == [device.id for device in many]
    assert len(gateway.catalog()) == 1


def test_alarms_of_a_few_devices_are_said_of_each_of_them() -> None:
    log = Log(POINTS)
    few = log.envelope(
        Lane.ALARM, *(alarm(AlarmState.UNACK, n, name) for n, name in enumerate(["gas-1", "pump-1", "gas-1", None]))
    )
    told = [
        (each.get("object_device_id"), len(each["content"]["items"]))
        for each in documents(iotda().encode(few, sent_ms=0, replay=False))
    ]
    assert told == [("64a1_kitchen", 2), ("64a1_gw1_pump-1", 1), (None, 1)]


def test_an_alarm_that_no_message_can_hold_is_cut_and_says_so() -> None:
    long = alarm(AlarmState.UNACK, 0, message=Text("长" * 9000, "long"))
    gateway = Iotda(subject(), IOTDA, lambda: SECRET, limit_bytes=2000)
    (message,) = gateway.encode(Log(POINTS).envelope(Lane.ALARM, long), sent_ms=NOW_MS, replay=False)
    assert len(message.payload) <= 2000
    (item,) = json.loads(message.payload)["content"]["items"]
    assert (item["rule"], item["state"], item["cutShort"]) == ("gas_high", "unack", True)
