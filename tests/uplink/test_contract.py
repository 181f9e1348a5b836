"""The shapes the platform relies on, spelled out as it sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.clock import ClockState
from gateway.model import Device, Lane, Place, Point, Text, ValueKind
from gateway.uplink import contract
from gateway.uplink.contract import HEALTH_BYTES, State, Topics, Verdict, health_payload
from uplink.rig import IDENTITY


def test_topics() -> None:
    topics = Topics("site-1", "gw-1")
    root = "compound/v1/site-1/gw-1/"
    assert (topics.status, topics.catalog, topics.health) == (root + "status", root + "catalog", root + "health")
    assert (topics.receipt, topics.commands, topics.reply("c1")) == (
        root + "receipt",
        root + "command/+",
        root + "reply/c1",
    )
    assert set(topics.lanes.values()) == {
        root + tail for tail in ("alarm", "event", "gap", "billing", "telemetry", "bulk")
    }
    assert topics.command_id(root + "command/rebirth") == "rebirth"
    assert topics.command_id(root + "receipt") is None


def test_no_topic_is_deeper_than_seven_separators() -> None:
    topics = Topics("s" * 48, "g" * 48)
    everything = [topics.status, topics.catalog, topics.health, topics.receipt, topics.commands, topics.reply("x")]
    assert max(topic.count("/") for topic in [*everything, *topics.lanes.values()]) <= 7


@pytest.mark.parametrize("state", list(State))
def test_status(state: State) -> None:
    body = contract.status_payload(IDENTITY, state, "epoch-1", 1_767_225_600_000, ClockState.HOLDOVER)
    assert json.loads(body) == {
        "v": 1,
        "state": str(state),
        "boot_id": "boot-1",
        "epoch": "epoch-1",
        "since_ms": 1_767_225_600_000,
        "version": "0.1.0",
        "config": "sha256:" + "0" * 64,
        "clock": "holdover",
    }


def test_catalog() -> None:
    meter = Device(
        "m-1",
        "power_meter",
        Text("电表", "Power meter"),
        Place(building="3", unit="1", floor="12", room="1201"),
        "dlt645",
        (
            Point(
                "m-1.energy",
                ValueKind.NUMBER,
                Text("电能", "Energy"),
                900.0,
                "kW.h",
                Lane.BILLING,
                minimum=0.0,
                counter=True,
                personal=True,
            ),
            Point(
                "m-1.relay",
                ValueKind.STATE,
                Text("继电器", "Relay"),
                60.0,
                states=("open", "closed"),
                writable=True,
            ),
        ),
    )
    said = json.loads(contract.catalog_payload(IDENTITY, [meter], ["main"]))
    assert not said["devices"][0]["points"][1].pop("writable"), "what the site does not allow cannot be written"
    said = json.loads(contract.catalog_payload(IDENTITY, [meter], ["main"], {"m-1.relay"}))
    assert said == {
        "v": 1,
        "site": "site-1",
        "gateway": "gw-1",
        "config": "sha256:" + "0" * 64,
        "destinations": ["main"],
        "devices": [
            {
                "id": "m-1",
                "kind": "power_meter",
                "name": {"zh": "电表", "en": "Power meter"},
                "place": {"building": "3", "unit": "1", "floor": "12", "room": "1201"},
                "protocol": "dlt645",
                "points": [
                    {
                        "id": "m-1.energy",
                        "kind": "number",
                        "name": {"zh": "电能", "en": "Energy"},
                        "lane": "billing",
                        "interval_s": 900.0,
                        "unit": "kW.h",
                        "minimum": 0.0,
                        "personal": True,
                        "counter": True,
                        "writable": False,
                    },
                    {
                        "id": "m-1.relay",
                        "kind": "state",
                        "name": {"zh": "继电器", "en": "Relay"},
                        "lane": "telemetry",
                        "interval_s": 60.0,
                        "states": ["open", "closed"],
                        "personal": False,
                        "counter": False,
                        "writable": True,
                    },
                ],
            }
        ],
    }


def test_reply() -> None:
    body = contract.reply_payload("c1", "rejected", "unsupported", "why")
    assert json.loads(body) == {"id": "c1", "status": "rejected", "code": "unsupported", "detail": "why"}


# MQTT Version 5.0, 3.4.2.1: every code a PUBACK may carry.
PUBACK_CODES = {
    0x00: Verdict.DONE,
    0x10: Verdict.DONE,
    0x80: Verdict.RETRY,
    0x83: Verdict.RETRY,
    0x87: Verdict.QUARANTINE,
    0x90: Verdict.QUARANTINE,
    0x91: Verdict.RETRY,
    0x97: Verdict.RETRY,
    0x99: Verdict.QUARANTINE,
}


def test_every_puback_code_of_the_standard_has_its_verdict() -> None:
    assert {code: contract.puback_verdict(code) for code in PUBACK_CODES} == PUBACK_CODES


def test_an_unknown_puback_code_loses_nothing() -> None:
    assert {contract.puback_verdict(code) for code in range(0x80, 0x100) if code not in PUBACK_CODES} == {Verdict.RETRY}


# MQTT Version 5.0, 3.2.2.2: every refusal a CONNACK may carry; True: a person has to act.
CONNACK_CODES = {
    0x80: False,
    0x81: True,
    0x82: True,
    0x83: False,
    0x84: True,
    0x85: True,
    0x86: True,
    0x87: True,
    0x88: False,
    0x89: False,
    0x8A: True,
    0x8C: True,
    0x90: True,
    0x95: True,
    0x97: False,
    0x99: True,
    0x9A: True,
    0x9B: True,
    0x9C: True,
    0x9D: True,
    0x9F: False,
}


def test_every_connack_code_of_the_standard_is_classed() -> None:
    assert {code: contract.connack_hint(code) is not None for code in CONNACK_CODES} == CONNACK_CODES


@pytest.mark.parametrize("payload_bytes", [0, 98, 99, 16_000, 16_400, 2_100_000])
def test_packet_size_is_what_goes_over_the_wire(payload_bytes: int) -> None:
    topic = "a/b/c"
    remaining = 2 + 5 + 2 + 1 + payload_bytes
    length = len(f"{remaining:b}") // 7 + bool(len(f"{remaining:b}") % 7)  # 7 bits per length byte
    assert contract.packet_size(topic, b"x" * payload_bytes) == 1 + length + remaining


def test_a_health_message_of_a_large_compound_fits_and_says_what_it_leaves_out() -> None:
    def line(number: int) -> dict[str, Any]:
        return {"open": number != 7, "silent": ["m-9"] if number == 9 else [], "filler": "x" * 180}

    small = {"lines": {"bus-1": line(1)}, "alarms": [], "v": 1}
    assert json.loads(health_payload(small)) == small
    large = {"lines": {f"bus-{n}": line(n) for n in range(1000)}, "alarms": [{"n": 1}], "v": 1}
    body = health_payload(large)
    assert len(body) <= HEALTH_BYTES
    found = json.loads(body)
    assert (set(found["lines"]), found["alarms"], found["left_out"]) == ({"bus-7", "bus-9"}, [{"n": 1}], 998)
    storm = {"lines": {f"bus-{n}": line(7) for n in range(1000)}, "alarms": [{"text": "y" * 900}] * 500, "v": 1}
    body = health_payload(storm)
    found = json.loads(body)
    assert len(body) <= HEALTH_BYTES
    assert found["lines"]
    assert found["alarms"]
    assert found["left_out"] == 1500 - len(found["lines"]) - len(found["alarms"])
