from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.model import AlarmState, Lane, Text
from gateway.remote.signature import opened, seal
from gateway.uplink.dialect import Asked, Incoming, Reply, Request
from gateway.uplink.dialects.common import REBIRTH
from gateway.uplink.dialects.thingsboard import LIMIT_BYTES, ThingsBoard
from uplink.dialects.small_site import DEVICES, NOW_MS, POINTS, Log, alarm, documents, reading, subject

RPC = "v1/gateway/rpc"


def test_what_a_key_signed_comes_through_as_it_was_signed() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    document = {
        "kind": "command",
        "id": "c-2026-1",
        "command": "write",
        "point": "m-1-1-101.relay",
        "value": "open",
        "note": '水表 "1"',
    }
    sealed = seal(document, "ops", private)
    public = {"ops": private.public_key().public_bytes_raw()}
    board = ThingsBoard(subject())
    for params in (json.loads(sealed), sealed.decode()):
        call = {"device": "jiayuan.gw1.m-1-1-101", "data": {"id": 3, "method": "command", "params": params}}
        (heard,) = board.hear(Incoming(RPC, json.dumps(call).encode()))
        assert isinstance(heard, Asked)
        assert opened(heard.request.body, public, 8192).document == document
        # whoever signed it could not know that the platform would call it 3
        assert heard.request.id == "c-2026-1"
        assert json.loads(board.answer(heard, Reply("ok"))[0].payload)["id"] == 3


@pytest.mark.parametrize(
    ("payload", "request_id", "body"),
    [
        (b'{"device":"d","data":{"id":1,"method":"setValve","params":true}}', "gw-1", None),
        (b'{"device":"d","data":{"id":1,"method":"command"}}', "gw-1", None),
        (b'{"device":"d","data":{"id":1,"method":"rebirth","params":{}}}', "gw-1", REBIRTH),
        (b'{"device":"d","data":{"id":"a-b","method":"command","params":"{}"}}', "gw-a-b", b"{}"),
    ],
)
def test_whatever_else_is_asked_reaches_the_desk_as_it_came(
    payload: bytes, request_id: str, body: bytes | None
) -> None:
    (heard,) = ThingsBoard(subject()).hear(Incoming(RPC, payload, retained=True))
    assert isinstance(heard, Asked)
    assert heard.request == Request("main", request_id, payload if body is None else body, retained=True)


def test_a_call_of_the_gateway_itself_is_answered_where_it_came_from() -> None:
    board = ThingsBoard(subject())
    (heard,) = board.hear(Incoming("v1/devices/me/rpc/request/12", b'{"method":"rebirth","params":{}}'))
    assert isinstance(heard, Asked)
    assert (heard.request.id, heard.request.body) == ("me-12", REBIRTH)
    (answer,) = board.answer(heard, Reply("ok", result={"sent": 6}))
    assert answer.topic == "v1/devices/me/rpc/response/12"
    assert json.loads(answer.payload) == {"status": "ok", "code": "", "detail": "", "result": {"sent": 6}}


def test_its_own_answers_are_not_taken_for_calls() -> None:
    """A broker that is not ThingsBoard sends them back, for call and answer share one topic."""
    board = ThingsBoard(subject())
    (heard,) = board.hear(Incoming(RPC, b'{"device":"d","data":{"id":1,"method":"x"}}'))
    assert isinstance(heard, Asked)
    (answer,) = board.answer(heard, Reply("rejected", "malformed", "method x"))
    assert board.hear(Incoming(answer.topic, answer.payload)) == ()
    assert board.hear(Incoming(RPC, b'{"device":"d","data":{"id":1}}')) == ()


def test_shared_attributes_change_nothing() -> None:
    board = ThingsBoard(subject())
    for topic in ("v1/gateway/attributes", "v1/devices/me/attributes"):
        assert board.hear(Incoming(topic, b'{"device":"d","data":{"relay":"open"},"relay":"open"}')) == ()


def test_an_answer_that_is_too_long_is_cut_and_says_so() -> None:
    board = ThingsBoard(subject())
    (heard,) = board.hear(Incoming(RPC, b'{"device":"d","data":{"id":1,"method":"command","params":"{}"}}'))
    assert isinstance(heard, Asked)
    (answer,) = board.answer(heard, Reply("ok", "", "x" * 20_000, list(range(9000))))
    assert len(answer.payload) <= LIMIT_BYTES
    told = json.loads(answer.payload)["data"]
    assert told["status"] == "ok"
    assert told["cutShort"] is True


def test_a_text_that_no_message_can_hold_is_cut_and_says_so() -> None:
    board = ThingsBoard(subject())
    envelope = Log(POINTS).envelope(
        Lane.TELEMETRY, reading("m-1-1-101.serial", "表" * 5000), reading("gas-1.status", "fault")
    )
    messages = board.encode(envelope, sent_ms=NOW_MS, replay=False)
    assert max(len(message.payload) for message in messages) <= LIMIT_BYTES
    said = {name: value for document in documents(messages) for name, value in document.items()}
    (entry,) = said["jiayuan.gw1.m-1-1-101"]
    assert entry["values"]["cutShort"] is True
    assert entry["values"]["serial"].endswith("…")
    assert said["jiayuan.gw1.gas-1"][0]["values"] == {"status": "fault"}


def test_an_alarm_with_a_long_story_fits() -> None:
    board = ThingsBoard(subject())
    long = alarm(AlarmState.UNACK, 0, message=Text("长" * 9000, "long " * 3000))
    messages = board.encode(Log(POINTS).envelope(Lane.ALARM, long), sent_ms=NOW_MS, replay=False)
    assert max(len(message.payload) for message in messages) <= LIMIT_BYTES
    values = documents(messages)[0]["jiayuan.gw1.gas-1"][0]["values"]
    assert (values["alarmRule"], values["alarmState"], values["cutShort"]) == ("gas_high", "unack", True)


def test_attributes_of_many_devices_are_shared_out() -> None:
    many = [
        replace(DEVICES[0], id=f"m-{n}", points=tuple(replace(p, id=f"m-{n}.{p.name}") for p in DEVICES[0].points))
        for n in range(100)
    ]
    messages = ThingsBoard(subject(many)).catalog()
    assert len(messages) > 5
    assert max(len(message.payload) for message in messages) <= LIMIT_BYTES
    units = {
        name: True for document in documents(messages) for name, value in document.items() if "energyUnit" in value
    }
    assert len(units) == 100


def test_the_state_that_an_alarm_has_now_stays_readable() -> None:
    board = ThingsBoard(subject())
    envelope = Log(POINTS).envelope(Lane.ALARM, alarm(AlarmState.UNACK, 1), alarm(AlarmState.NORMAL, 2))
    *_, attributes = board.encode(envelope, sent_ms=NOW_MS, replay=False)
    assert attributes.payload == b'{"jiayuan.gw1.gas-1":{"alarmState_gas_high":"normal"}}'
