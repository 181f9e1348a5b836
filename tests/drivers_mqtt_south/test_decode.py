"""``gateway decode`` shows payloads under the paths that a profile must use."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drivers.json_mapping.payload import MISSING, look_up, plain, steps
from drivers.mqtt_client import packet
from drivers.mqtt_client.packet import Message
from drivers.mqtt_south.decode import decode
from drivers.registry import decoder

LIFT = b'{"TY":"M","ST":"S","D":"lpPuYAEAAAEAAQAAAQBcAAAAACY="}'


def test_a_payload_and_its_record_are_shown() -> None:
    found = decode(LIFT)
    assert found.ok
    assert [(each.id, each.value) for each in found.frames[0].items] == [
        ("TY", "M"),
        ("ST", "S"),
        ("D", "lpPuYAEAAAEAAQAAAQBcAAAAACY="),
        ("D (record)", "96 93 ee 60 01 00 00 01 00 01 00 00 01 00 5c 00 00 00 00 26"),
    ]


def test_a_whole_packet_is_shown_with_its_topic() -> None:
    found = decode(packet.publish(Message("lift/L-07/status", LIFT, 1, packet_id=7)))
    assert found.frames[0].address == "lift/L-07/status"
    assert len(found.frames[0].items) == 4


def test_what_is_no_json_is_a_fault_with_its_place() -> None:
    found = decode(b'{"a": 1,}')
    assert not found.ok
    assert found.fault is not None
    assert found.fault.offset is not None
    assert all(decoder(name)(b"\xff").fault for name in ("zigbee2mqtt", "chirpstack", "mqtt-json"))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_result(data: bytes) -> None:
    assert decode(data).ok or decode(data).fault


KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=5)


@given(
    st.recursive(
        st.integers(-(10**20), 10**20) | st.booleans(),
        lambda each: st.dictionaries(KEYS, each, min_size=1, max_size=3),
        max_leaves=6,
    )
)
def test_every_path_shown_leads_to_its_value(document: Any) -> None:
    for field in decode(json.dumps(document).encode()).frames[0].items:
        found = document if field.id == "$" and not isinstance(document, dict) else look_up(document, steps(field.id))
        assert found is not MISSING
        assert plain(found) == field.value
