from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import ClockState
from gateway.envelope import MAX_ITEMS_BYTES, Draft, Encoder, Envelope, corrected, made_ms, payload, reading_item
from gateway.model import (
    AlarmChange,
    AlarmState,
    Event,
    Gap,
    Lane,
    Place,
    Point,
    Priority,
    Quality,
    Reading,
    Reason,
    Text,
    ValueKind,
    bad_reading,
)

POINT = Point("m-1.能", ValueKind.NUMBER, Text("电", "e"), 60.0, "kW.h")
PLAIN = Point("m-1.state", ValueKind.STATE, Text("状态", "state"), 60.0, states=("open", "closed"))
ENCODER = Encoder({p.id: p for p in (POINT, PLAIN)})


def draft(*records: Reading | Event | Gap | AlarmChange, clock: ClockState = ClockState.SYNCED) -> Draft:
    (only,) = ENCODER.drafts(Lane.TELEMETRY, records, clock)
    return only


@given(
    value=st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.booleans(), st.text()),
    time_ms=st.integers(0, 2**45),
    raw=st.binary(max_size=20),
)
def test_the_fast_encoding_of_a_reading_says_what_the_plain_one_says(
    value: float | int | bool | str, time_ms: int, raw: bytes
) -> None:
    for reading in (
        Reading(POINT.id, value, time_ms, time_ms),
        Reading(POINT.id, value, time_ms, time_ms, Quality.UNCERTAIN, Reason.BACKWARDS, raw),
        bad_reading(POINT.id, Reason.NO_ANSWER, time_ms, raw),
    ):
        (item,) = json.loads(draft(reading).items)
        assert item == reading_item(reading, POINT.unit)


def test_a_point_without_a_unit_has_none_and_doubtful_time_is_marked() -> None:
    reading = Reading(PLAIN.id, "open", 6, 6)
    assert json.loads(draft(reading, clock=ClockState.UNKNOWN).items) == [
        {"p": "m-1.state", "t": 6, "v": "open", "q": "good", "c": "unknown"}
    ]


def test_a_time_that_the_devices_own_clock_gave_does_not_depend_on_ours_and_is_not_marked() -> None:
    reading = Reading(PLAIN.id, "open", 5, 6)
    assert json.loads(draft(reading, clock=ClockState.UNKNOWN).items) == [
        {"p": "m-1.state", "t": 5, "v": "open", "q": "good"}
    ]
    moved = corrected(reading, 1000)
    assert isinstance(moved, Reading)
    assert (moved.source_time_ms, moved.gateway_time_ms) == (5, 1006)


@pytest.mark.parametrize("clock", [ClockState.UNKNOWN, ClockState.HOLDOVER])
def test_everything_else_is_marked_too_and_nothing_while_the_clock_is_good(clock: ClockState) -> None:
    change = AlarmChange(
        "id", "rule", None, Place(), AlarmState.UNACK, Priority.HIGH, 1, 7, "condition", Text("气", "gas")
    )
    records = (Event("id", "gate.opened", 7, None, Place()), change, Gap("line_lost", 5, 7, point="m.p"))
    for record in records:
        assert json.loads(draft(record, clock=clock).items)[0]["c"] == str(clock)
        assert "c" not in json.loads(draft(record).items)[0]
        assert made_ms(record) == 7
        assert made_ms(corrected(record, 1000)) == 1007


def test_alarms_events_and_gaps_have_the_contracts_shape() -> None:
    place = Place(building="3#", room="1201")
    change = AlarmChange(
        "id-1",
        "gas_high",
        "gas-1",
        place,
        AlarmState.UNACK,
        Priority.CRITICAL,
        2,
        7,
        "condition",
        Text("气", "gas"),
        {"a": 1},
    )
    event = Event("id-2", "door.opened", 8, None, Place(), {"by": "button"})
    seqs = Gap("store_full", 1, 9, Lane.TELEMETRY, 4, 6, 120)
    points = Gap("no_answer", 1, 9, point="m-1.energy")
    alarm, happened, dropped, unread = json.loads(draft(change, event, seqs, points).items)
    assert alarm == {
        "id": "id-1",
        "rule": "gas_high",
        "device": "gas-1",
        "place": {"building": "3#", "room": "1201"},
        "state": "unack",
        "priority": "critical",
        "count": 2,
        "t": 7,
        "reason": "condition",
        "message": {"zh": "气", "en": "gas"},
        "values": {"a": 1},
    }
    assert happened == {
        "id": "id-2", "kind": "door.opened", "t": 8, "device": None, "place": {}, "attributes": {"by": "button"}
    }  # fmt: skip
    assert dropped == {
        "lane": "telemetry", "from_seq": 4, "to_seq": 6, "count": 120, "reason": "store_full", "from_ms": 1, "to_ms": 9
    }  # fmt: skip
    assert unread == {"point": "m-1.energy", "reason": "no_answer", "from_ms": 1, "to_ms": 9}


def test_many_records_are_divided_in_order_and_every_envelope_stays_under_the_limit() -> None:
    readings = [Reading(POINT.id, n, n, n) for n in range(5000)]
    drafts = list(ENCODER.drafts(Lane.TELEMETRY, readings, ClockState.SYNCED))
    assert len(drafts) > 3
    assert all(len(d.items) <= MAX_ITEMS_BYTES + 2 for d in drafts)
    assert [item["v"] for d in drafts for item in json.loads(d.items)] == list(range(5000))
    assert drafts[0].from_ms == 0
    assert sum(d.count for d in drafts) == 5000


def test_two_sendings_differ_only_in_time_and_replay() -> None:
    envelope = Envelope("e1", Lane.ALARM, 7, "b1", b'[{"id":1}]', 1, 2, 3)
    first = json.loads(payload(envelope, "site", "gw", 10, replay=False))
    again = json.loads(payload(envelope, "site", "gw", 99, replay=True))
    assert first == {
        "v": 1, "site": "site", "gateway": "gw", "epoch": "e1", "lane": "alarm", "seq": 7, "boot_id": "b1",
        "sent_ms": 10, "replay": False, "items": [{"id": 1}],
    }  # fmt: skip
    assert again == first | {"sent_ms": 99, "replay": True}
