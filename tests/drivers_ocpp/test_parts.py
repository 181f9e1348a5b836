"""Messages, ledger and meaning: pure, and any bytes at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.base import DeviceSpec, PointSpec
from drivers.ocpp import schema
from drivers.ocpp.config import DeviceOptions, HubOptions, PointOptions
from drivers.ocpp.decode import decode
from drivers.ocpp.ledger import CONNECTORS, LAST_NUMBER, MOST_SEEN, MOST_STARTS, Ledger, key_of
from drivers.ocpp.meaning import AHEAD_MS, BEHIND_MS, instant_ms, measured, said, samples, word_of
from drivers.ocpp.message import Call, Error, FrameError, Result, parse
from gateway.model import Point, Reason, Text, ValueKind

NOW = 1_767_225_600_000  # 2026-01-01T00:00:00Z
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def test_the_messages_of_the_specification() -> None:
    call = parse('[2,"19223201","BootNotification",{"chargePointVendor":"VendorX","chargePointModel":"SingleSocket"}]')
    assert call == Call(
        "19223201", "BootNotification", {"chargePointVendor": "VendorX", "chargePointModel": "SingleSocket"}
    )
    assert parse('[3,"19223201",{"interval":300}]') == Result("19223201", {"interval": 300})
    assert parse('[4,"162376037","NotSupported","SetDisplay is not implemented",{}]') == Error(
        "162376037", "NotSupported", "SetDisplay is not implemented"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "[2]",
        '[2,"1","Heartbeat"]',
        '[2,"1","Heartbeat",[]]',
        '[2,"","Heartbeat",{}]',
        '[2,"' + 37 * "x" + '","Heartbeat",{}]',
        '[2,1,"Heartbeat",{}]',
        '[true,"1","Heartbeat",{}]',
        '[9,"1","Heartbeat",{}]',
        '[2,"1","Heart beat",{}]',
        '[2,"1","Heartbeat",{"a":NaN}]',
        '[2,"1","Heartbeat",' + 13 * '{"a":' + "1" + 13 * "}" + "]",
        "[" * 100_000,
    ],
    ids=range(16),
)
def test_what_is_no_message(text: str) -> None:
    with pytest.raises(FrameError):
        parse(text)


@given(st.one_of(st.text(max_size=80), JSON.map(json.dumps)))
def test_any_text_is_a_message_or_refused(text: str) -> None:
    try:
        message = parse(text)
    except FrameError:
        return
    assert parse(message.to_text()) == message


@settings(max_examples=300)
@given(st.sampled_from([*schema.FROM_CHARGER, "Reset", "X"]), st.dictionaries(st.text(max_size=12), JSON, max_size=4))
def test_any_payload_is_right_or_refused_without_its_values(action: str, payload: dict[str, Any]) -> None:
    fault = schema.fault_of_call(action, payload)
    if fault is None:
        assert action in ("Heartbeat", "DataTransfer", "Authorize") or payload
    else:
        assert all(key not in fault[1] for key in payload if len(key) > 3)


def test_a_fault_names_the_place_and_not_the_card() -> None:
    card = "04A2B3C4D5E6F708192A3B4C"
    told = {"connectorId": 1, "idTag": card, "meterStart": 0, "timestamp": "2026-01-01T00:00:00Z"}
    assert schema.fault_of_call("StartTransaction", told) == ("TypeConstraintViolation", "maxLength: idTag")
    told = {"connectorId": 1, "idTag": "A", "timestamp": "2026-01-01T00:00:00Z"}
    assert schema.fault_of_call("StartTransaction", told) == ("OccurenceConstraintViolation", "required: ")
    assert schema.fault_of_call("Reset", {}) == ("NotImplemented", "")
    assert card not in repr(decode(f'[2,"1","Authorize",{{"idTag":"{card[:20]}"}}]'.encode()))


def test_captured_lines_are_explained() -> None:
    both = decode(b'[2,"1","Heartbeat",{}]\n[3,"1",{"currentTime":"2026-01-01T00:00:00Z"}]\n')
    assert both.ok
    assert [each.function for each in both.frames] == ["Heartbeat", "result"]
    broken = decode(b'[2,"1","Heartbeat",{}]\n\xff')
    assert broken.fault is not None
    assert broken.fault.offset == 23
    assert not decode(b"").ok


# ---------------------------------------------------------------------- the ledger

LEDGERS = st.builds(
    Ledger,
    st.integers(0, LAST_NUMBER),
    st.none(),
    st.lists(st.tuples(st.text(max_size=16), st.integers(0, 2**31 - 1)), max_size=4).map(tuple),
    st.lists(st.text(max_size=16), max_size=4).map(tuple),
)


@given(LEDGERS, st.booleans())
def test_a_ledger_survives_the_disk(ledger: Ledger, running: bool) -> None:
    ledger = ledger.started("k", 3, 1200) if running else ledger
    assert Ledger.from_bytes(ledger.to_bytes()) == ledger


@given(st.one_of(st.binary(max_size=60), JSON.map(lambda value: json.dumps(value).encode())))
def test_other_bytes_are_no_ledger(data: bytes) -> None:
    try:
        Ledger.from_bytes(data)
    except ValueError:
        return
    assert json.loads(data)[0] == 1


def test_transaction_ids_differ_and_say_their_connector() -> None:
    ledger, ids = Ledger(), []
    for number in range(100):
        ledger = ledger.started(key_of(number), 2, 0)
        assert ledger.open is not None
        ids.append(ledger.open.id)
    assert len(set(ids)) == 100
    assert {each % CONNECTORS for each in ids} == {2}
    assert len(ledger.starts) == MOST_STARTS
    assert ledger.id_of(key_of(99)) == ids[-1]
    assert replace(ledger, number=LAST_NUMBER).started("k", 63, 0).number == 1
    assert (LAST_NUMBER * CONNECTORS + 63) < 2**31


def test_what_was_seen_is_bounded() -> None:
    ledger = Ledger()
    for number in range(200):
        ledger = ledger.saw(key_of(number))
    assert len(ledger.seen) == MOST_SEEN
    assert ledger.has(key_of(199))
    assert not ledger.has(key_of(0))
    assert len(ledger.started("k", 1, 0).to_bytes()) < 4096


# ---------------------------------------------------------------------- the meaning


def spec_of(says: str, unit: str | None, phase: str | None = None, states: tuple[str, ...] = ()) -> DeviceSpec:
    kind = ValueKind.STATE if states else ValueKind.NUMBER
    point = Point("d.x", kind, Text("x", "x"), 60.0, unit=unit, states=states)
    options = PointOptions(says=says, phase=phase)  # type: ignore[arg-type]
    return DeviceSpec("d", None, {"d.x": PointSpec(point, options)}, 1.0)


def sampled(value: str, measurand: str | None = None, **more: str) -> dict[str, str]:
    return {"value": value} | ({} if measurand is None else {"measurand": measurand}) | more


CURRENTS = [sampled(value, "Current.Import", phase=phase, unit="A") for value, phase in (("6", "L1"), ("9", "L2-N"))]
POWERS = [sampled("1.5", "Power.Active.Import", phase=phase, unit="kW") for phase in ("L1", "L2", "L3")]


@pytest.mark.parametrize(
    ("values", "says", "unit", "phase", "value"),
    [
        ([sampled("12345")], "energy", "kW.h", None, 12.345),  # the default measurand, in Wh
        ([sampled("12.5", "Energy.Active.Import.Register", unit="kWh")], "energy", "kW.h", None, 12.5),
        ([sampled("7", "Energy.Active.Export.Register")], "energy", "kW.h", None, None),
        (CURRENTS, "current", "A", None, 9.0),  # the most loaded phase
        (CURRENTS, "current", "A", "L1", 6.0),
        (CURRENTS, "current", "A", "L3", None),
        (POWERS, "power", "W", None, 4500.0),
        (POWERS[:2], "power", "W", None, None),  # two of three: no sum
        ([sampled("86", "Temperature", unit="Fahrenheit", location="Body")], "temperature", "Cel", None, 30.0),
        ([sampled("300.15", "Temperature", unit="K")], "temperature", "Cel", None, 27.0),
        ([sampled("NaN", "Voltage")], "voltage", "V", None, None),
        ([sampled("1_0", "Voltage")], "voltage", "V", None, None),
        ([sampled("230", "Voltage", unit="mV")], "voltage", "V", None, None),
        ([sampled("230", "Voltage", format="SignedData")], "voltage", "V", None, None),
        ([sampled("80", "SoC", unit="Percent", location="EV")], "soc", "%", None, None),
        ([sampled("400", "Voltage", phase="L1-L2")], "voltage", "V", None, None),
    ],
)
def test_what_is_measured(
    values: list[dict[str, str]], says: str, unit: str, phase: str | None, value: float | None
) -> None:
    found = measured(spec_of(says, unit, phase), samples(values), NOW, NOW)
    assert [each.value for each in found] == ([] if value is None else [value])


@given(st.lists(st.dictionaries(st.sampled_from(["value", "measurand", "unit", "phase"]), st.text(max_size=12))))
def test_any_sampled_values_are_readings_or_nothing(values: list[dict[str, str]]) -> None:
    measured(spec_of("energy", "kW.h"), samples(values), NOW, NOW)


@pytest.mark.parametrize(
    ("written", "believed"),
    [
        ("2025-12-31T23:00:00Z", True),
        ("2025-12-31T23:00:00.123Z", True),
        ("2026-01-01T07:00:00+08:00", True),
        ("2025-12-31T23:00:00", True),  # no zone: UTC, as OCPP-J 1.6 asks for
        ("1970-01-01T00:00:00Z", False),
        ("2026-01-01T01:00:00Z", False),
        ("9999-12-31T23:59:59-12:00", False),
        ("yesterday", False),
        (None, False),
        (7, False),
    ],
)
def test_which_times_are_believed(written: object, believed: bool) -> None:
    assert (instant_ms(written, NOW) != NOW) is believed


@given(st.one_of(st.text(max_size=30), st.datetimes().map(lambda each: each.isoformat())))
def test_any_time_is_near_the_present(written: str) -> None:
    assert NOW - BEHIND_MS <= instant_ms(written, NOW) <= NOW + AHEAD_MS


def test_words_are_those_of_the_profile() -> None:
    assert [
        word_of(each) for each in ("SuspendedEVSE", "SuspendedEV", "NoError", "GroundFailure", "EVDisconnected")
    ] == [
        "suspended_evse",
        "suspended_ev",
        "no_error",
        "ground_failure",
        "evdisconnected",
    ]
    (unknown,) = said(spec_of("state", None, states=("available",)), "state", "flying", NOW, NOW)
    assert unknown.reason is Reason.OUT_OF_RANGE


def test_every_word_of_the_specification_is_in_the_profile() -> None:
    properties = schema.get_validator(2, "StatusNotification", "1.6").schema["properties"]
    profile = (Path(__file__).parents[2] / "config" / "devices" / "ocpp_connector.yaml").read_text(encoding="utf-8")
    words = [word_of(each) for name in ("status", "errorCode") for each in properties[name]["enum"]]
    assert len(words) == 25
    assert [each for each in words if f"{each}," not in profile and f"{each}]" not in profile] == []


# ---------------------------------------------------------------------- the configuration


@pytest.mark.parametrize(
    ("model", "keys", "wrong"),
    [
        (HubOptions, {"listen": "0.0.0.0:9000"}, "authorize"),
        (HubOptions, {"listen": "0.0.0.0:9000", "authorize": "listed"}, "cards_file"),
        (HubOptions, {"listen": "0.0.0.0:9000", "authorize": "all", "key_file": "k"}, "go together"),
        (DeviceOptions, {"charge_point": "CP-1"}, "password_file"),
        (DeviceOptions, {"charge_point": "a/b", "without_password": True}, "letters"),
        (DeviceOptions, {"charge_point": "CP", "without_password": True, "connector": 64}, "less than"),
        (PointOptions, {"says": "state", "phase": "L1"}, "phase"),
    ],
)
def test_configurations_that_cannot_be_meant(model: Any, keys: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError, match=wrong):
        model.model_validate(keys)
