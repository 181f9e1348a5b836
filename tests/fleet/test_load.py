"""What a simulated gateway says keeps the contract, and looks like a compound."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import jsonschema

from contract.compare import closed
from gateway.envelope import MAX_ITEMS_BYTES, Draft, Envelope, payload
from gateway.ids import uuid7
from gateway.model import AlarmState, Lane
from gateway.sim.fleet.load import MOST_READINGS, Load, encoder, meters
from gateway.sim.platform.arrival import read
from gateway.uplink.asyncapi import CHANNELS, MESSAGES, schema

NOW_MS = 1_767_225_600_000
EPOCH = uuid7(NOW_MS)
COUNT = 2000


def drafts(seed: str, count: int = COUNT, readings: int = 4) -> list[Draft]:
    devices = meters(readings)
    load = Load(devices, encoder(devices), seed)
    return [load.draft(NOW_MS + 60_000 * number) for number in range(count)]


def test_every_lane_as_often_as_in_a_compound() -> None:
    lanes = Counter(draft.lane for draft in drafts("1"))
    assert lanes[Lane.TELEMETRY] > 0.8 * COUNT
    assert 0.05 * COUNT < lanes[Lane.BILLING] < 0.15 * COUNT
    assert 0 < lanes[Lane.ALARM] < 0.02 * COUNT
    assert 0 < lanes[Lane.EVENT] < 0.03 * COUNT


def test_the_same_seed_says_the_same() -> None:
    def heard(seed: str) -> list[tuple[Lane, bytes]]:
        random_ids = (Lane.ALARM, Lane.EVENT)
        return [(each.lane, b"" if each.lane in random_ids else each.items) for each in drafts(seed, 100)]

    assert heard("1") == heard("1") != heard("2")


def test_every_message_keeps_the_schema() -> None:
    seen = set()
    for number, draft in enumerate(drafts("1", 1000), 1):
        envelope = Envelope(EPOCH, draft.lane, number, EPOCH, draft.items, draft.count, 0, 0)
        body = payload(envelope, "fleet-1", "g1", NOW_MS, replay=False)
        shape = MESSAGES[CHANNELS[draft.lane].message].shape
        assert shape is not None
        if draft.lane not in seen or draft.lane in (Lane.ALARM, Lane.EVENT):
            jsonschema.validate(json.loads(body), closed(schema(shape)))
        assert read(f"compound/v1/fleet-1/g1/{draft.lane}", body).seq == number
        seen.add(draft.lane)
    assert seen == {Lane.ALARM, Lane.EVENT, Lane.BILLING, Lane.TELEMETRY}


def test_an_alarm_is_raised_before_it_is_over() -> None:
    alarms: list[dict[str, Any]] = [json.loads(draft.items)[0] for draft in drafts("1") if draft.lane is Lane.ALARM]
    assert len(alarms) > 2
    for raised, over in zip(alarms[::2], alarms[1::2], strict=False):
        assert (raised["state"], over["state"]) == (AlarmState.UNACK, AlarmState.NORMAL)
        assert raised["id"] == over["id"]


def test_registers_only_rise_and_rise_by_the_power() -> None:
    devices = meters(1)
    load = Load(devices, encoder(devices), "1")
    energy_kwh, power_w = [], []
    while len(energy_kwh) < 200 or len(power_w) < 200:
        at_ms = NOW_MS + 60_000 * max(len(energy_kwh), len(power_w))
        draft = load.draft(at_ms)
        if draft.lane is Lane.BILLING:
            energy_kwh.append((at_ms, json.loads(draft.items)[0]["v"]))
        elif draft.lane is Lane.TELEMETRY:
            power_w.append(json.loads(draft.items)[0]["v"])
    values = [value for _, value in energy_kwh]
    assert values == sorted(values)
    hours = (energy_kwh[-1][0] - energy_kwh[0][0]) / 3_600_000
    mean_w = (values[-1] - values[0]) * 1000 / hours
    assert min(power_w) < mean_w < max(power_w)


def test_the_largest_envelope_is_one() -> None:
    assert max(len(draft.items) for draft in drafts("1", 50, MOST_READINGS)) <= MAX_ITEMS_BYTES
