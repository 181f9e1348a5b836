"""Every published frame in tests/vectors/mbus.json, against the codec, the reader, the decoder and the simulator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from drivers.mbus import records
from drivers.mbus.decode import decode
from drivers.mbus.frame import Frame, find_frame
from drivers.mbus.records import Function, Record
from drivers.mbus.simulator import MbusSimLine, MbusSimMeter, played
from gateway.errors import ProtocolError

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "mbus.json").read_text(encoding="utf-8")
)["vectors"]
REAL = [vector for vector in VECTORS if vector["kind"] == "real-frame"]
NEGATIVE = {vector["id"].removeprefix("mbus-"): vector for vector in VECTORS if vector["kind"] == "negative"}

BELIEVED_WRONG: Mapping[tuple[str, int], str] = {
    ("ACW_Itron-BM-plus-m", 2): "2000-00-00: day and month 0 are no date; the meter has had no settlement day yet",
    ("itron_bm_+m", 2): "as above",
    ("siemens_wfh21", 3): "2000-00-00: as above",
    ("REL-Relay-Padpuls2", 1): "1900-01-00: day 0 is no date; the clock has not been set",
    ("ELS_Elster-F96-Plus", 4): "DDEBBD is no BCD but a mark for no value: the published 13131113 counts D as 13",
    ("ELS_Elster-F96-Plus", 5): "digits B, D, E: as above",
    ("abb_f95", 2): "digits B, D, E: as above",
    ("abb_f95", 3): "digits B, D, E: as above",
}
"""(frame, record) -> why our value differs from the published one."""

# published quantity and unit -> ours, and what a value of ours is multiplied with to be theirs
QUANTITIES: Mapping[tuple[str | None, str | None], tuple[str, float]] = {
    ("Energy", "Wh"): ("energy", 1e3),
    ("Energy", "J"): ("energy_joule", 1e6),
    ("Volume", "m^3"): ("volume", 1),
    ("Power", "W"): ("power", 1e3),
    ("Volume flow", "m^3/h"): ("flow", 1),
    ("Flow temperature", "°C"): ("flow_temperature", 1),
    ("Return temperature", "°C"): ("return_temperature", 1),
    ("External temperature", "°C"): ("external_temperature", 1),
    ("Temperature difference", "K"): ("temperature_difference", 1),
    ("Voltage", "V"): ("voltage", 1),
    ("Current", "A"): ("current", 1),
    ("On time", "s"): ("on_time", 1),
    ("Operating time", "s"): ("operating_time", 1),
    ("Averaging Duration", "s"): ("averaging_duration", 1),
    ("Actuality Duration", "s"): ("actuality_duration", 1),
    ("Time point (date)", "-"): ("date", 1),
    ("Time point (date & time)", "-"): ("time", 1),
    ("Fabrication No", None): ("fabrication_number", 1),
    ("(Enhanced) Identification", None): ("identification", 1),
    ("H.C.A.", "Units for H.C.A."): ("heat_cost", 1),
    ("Error flags", None): ("error_flags", 1),
    ("Firmware version", None): ("firmware_version", 1),
    ("Software version", None): ("software_version", 1),
    ("Customer location", None): ("customer_location", 1),
    ("Digital Input", None): ("digital_input", 1),
    ("Digital Output", None): ("digital_output", 1),
    ("Reset counter", None): ("resets", 1),
    ("Special supplier information", None): ("supplier_information", 1),
    ("Medium", None): ("device_type", 1),
    ("Model / Version", None): ("model", 1),
    ("Parameter set identification", None): ("parameter_set", 1),
    ("Manufacturer specific", None): ("manufacturer_specific", 1),
    (None, "kWh"): ("energy", 1),  # the fixed structure
    (None, "l"): ("volume", 1e3),
    (None, "reserved but historic"): ("volume", 1e3),
}
FUNCTIONS = {
    "Instantaneous value": Function.INSTANTANEOUS,
    "Maximum value": Function.MAXIMUM,
    "Minimum value": Function.MINIMUM,
    "Value during error state": Function.ERROR,
    "Actual value": Function.INSTANTANEOUS,
}
NOT_RECORDS = ("Manufacturer specific", "More records follow")


def name(vector: Mapping[str, Any]) -> str:
    return str(vector["id"]).removeprefix("mbus-test-frames-")


def raw(vector: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(vector["hex"])


def stated_records(vector: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Makers' data and the mark that more follows are no records of ours; a VIF of the maker's own is one."""
    return [each for each in vector["expected"]["records"] if each["Function"] not in NOT_RECORDS]


every_real = pytest.mark.parametrize("vector", REAL, ids=name)


def test_none_is_missing() -> None:
    assert len(VECTORS) == len({vector["id"] for vector in VECTORS}) == 69
    assert (len(REAL), len(NEGATIVE)) == (49, 20)
    assert sum(len(stated_records(vector)) for vector in REAL) == 548
    assert all(vector["source"] for vector in VECTORS)
    known = {name(vector): len(stated_records(vector)) for vector in REAL}
    assert all(index < known[frame] for frame, index in BELIEVED_WRONG)


@every_real
def test_a_frame_is_read_and_written_as_published(vector: dict[str, Any]) -> None:
    wire = raw(vector)
    frame = Frame.from_bytes(wire)
    assert frame.is_response
    assert frame.to_bytes() == wire
    assert find_frame(b"\x68\x10" + wire) == (frame, 2, len(wire) + 2)


@every_real
def test_the_header_says_what_was_published(vector: dict[str, Any]) -> None:
    frame, slave = Frame.from_bytes(raw(vector)), vector["expected"]["slave"]
    header = records.parse(frame.ci or 0, frame.data).header
    assert header is not None
    assert header.id == slave["Id"].zfill(8)
    assert header.access == int(slave["AccessNumber"])
    assert f"{header.status:02X}" == slave["Status"]
    assert records.medium_text(header.medium)[:3] == MEDIA.get(slave["Medium"], slave["Medium"].lower())[:3]
    if "Manufacturer" in slave:
        assert (header.manufacturer, header.version) == (slave["Manufacturer"], int(slave["Version"]))
        assert f"{header.signature:04X}" == slave["Signature"]


MEDIA = {"Breaker: Electricity": "breaker"}


@every_real
def test_every_record_says_what_was_published(vector: dict[str, Any]) -> None:
    frame = Frame.from_bytes(raw(vector))
    telegram = records.parse(frame.ci or 0, frame.data)
    assert telegram.fault is None
    stated = vector["expected"]["records"]
    assert telegram.more_follows == any(each["Function"] == "More records follow" for each in stated)
    ours = [record for record in telegram.records if record.quantity != "manufacturer_data"]
    differing = {
        (name(vector), index)
        for index, (record, published) in enumerate(zip(ours, stated_records(vector), strict=True))
        if not agrees(record, published)
    }
    assert differing == {key for key in BELIEVED_WRONG if key[0] == name(vector)}


def agrees(record: Record, stated: Mapping[str, Any]) -> bool:
    quantity, factor = _expected_quantity(stated)
    where = (
        record.storage == int(stated.get("StorageNumber", record.storage))
        and record.tariff == int(stated.get("Tariff", 0))
        and record.subunit == int(stated.get("Device", 0))
        and record.function is FUNCTIONS[stated["Function"]]
    )
    return where and record.quantity == quantity and _same_value(record.value, stated["Value"], factor)


def _expected_quantity(stated: Mapping[str, Any]) -> tuple[str, float]:
    key = stated.get("Quantity"), stated["Unit"]
    if key in QUANTITIES:
        return QUANTITIES[key]
    if key == ("Reserved", "Reserved"):
        return "vif FD 7C", 1
    return f"text:{key[0]}", 1


def _same_value(ours: object, stated: str, factor: float) -> bool:
    """Published numbers have six decimals, published times an unfounded Z; a name of digits keeps its zeros here."""
    if isinstance(ours, str):
        return ours == stated.removesuffix("Z") or (ours.isdecimal() and int(ours) == float(stated))
    if not isinstance(ours, (int, float)):
        return False
    return float(stated) == pytest.approx(ours * factor, rel=1e-12, abs=5.1e-7)


@every_real
def test_it_is_explained_with_a_name_for_each_record(vector: dict[str, Any]) -> None:
    decoded = decode(b"\xe5" + raw(vector))
    assert decoded.ok
    acknowledged, frame = decoded.frames
    assert acknowledged.function == "E5"
    names = [field.id for field in frame.items]
    assert len(set(names)) == len(names)
    assert len(names) >= 4 + len(stated_records(vector))


@every_real
def test_the_simulator_plays_it(vector: dict[str, Any]) -> None:
    wire = raw(vector)
    frame = Frame.from_bytes(wire)
    line = MbusSimLine([MbusSimMeter(frame.address, played(wire))])
    assert line.feed(Frame(0x40, frame.address).to_bytes()) == [(str(frame.address), b"\xe5")]
    ((who, answer),) = line.feed(Frame(0x7B, frame.address).to_bytes())
    assert who == str(frame.address)
    assert Frame.from_bytes(answer).data == frame.data


# ---------------------------------------------------------------------- what a parser must not take for readings

REFUSALS = {
    "error-frames-application_busy": 8,
    "error-frames-buffer_too_long": 2,
    "error-frames-error": 0,
    "error-frames-too_many_difes": 5,
    "error-frames-too_many_records": 3,
    "error-frames-too_many_vifes": 6,
    "error-frames-unimplemented_ci": 1,
}
BROKEN = {
    "error-frames-premature_end_of_data1": "record_cut_off",
    "error-frames-premature_end_of_data2": "record_cut_off",
    "error-frames-premature_end_of_dif1": "record_cut_off",
    "error-frames-premature_end_of_dif2": "record_cut_off",
    "error-frames-too_long_var_vif": "record_cut_off",
    "error-frames-too_many_dife": "too_long",
    "error-frames-too_short_header": "short_header",
    "unsupported-frames-invalid_length2": "bad_length",
}
NO_FRAME = ("unsupported-frames-invalid_length", "unsupported-frames-manual_frame1")
REQUESTS = ("unsupported-frames-manual_frame4", "unsupported-frames-manual_frame6")
"""Valid, from a master: explained, and no answer to anything."""
GOOD_AFTER_ALL = ("unsupported-frames-svm_f22_telegram2",)
"""Only 1Fh and makers' data: no record, and more follows.  Nothing in it is against the standard."""


def test_every_negative_has_its_verdict() -> None:
    verdicts = [*REFUSALS, *BROKEN, *NO_FRAME, *REQUESTS, *GOOD_AFTER_ALL]
    assert sorted(verdicts) == sorted(NEGATIVE)
    assert len(verdicts) == 20


@pytest.mark.parametrize("id_", REFUSALS)
def test_a_refusal_is_no_fault_of_the_frame(id_: str) -> None:
    decoded = decode(raw(NEGATIVE[id_]))
    assert decoded.ok
    error = decoded.frames[0].error
    assert error is not None
    assert error.code == f"{REFUSALS[id_]:02X}"
    assert decoded.frames[0].items == ()


@pytest.mark.parametrize("id_", BROKEN)
def test_broken_data_are_a_fault(id_: str) -> None:
    wire = raw(NEGATIVE[id_])
    frame = Frame.from_bytes(wire)
    fault = records.parse(frame.ci or 0, frame.data).fault
    assert fault is not None
    assert fault.code == BROKEN[id_]
    decoded = decode(wire)
    assert not decoded.ok
    assert decoded.fault is not None
    assert decoded.fault.offset == 7 + (fault.offset or 0)


@pytest.mark.parametrize("id_", NO_FRAME)
def test_what_is_no_frame_is_refused(id_: str) -> None:
    wire = raw(NEGATIVE[id_])
    assert find_frame(wire) is None
    assert not decode(wire).ok
    with pytest.raises(ProtocolError):
        Frame.from_bytes(wire)


@pytest.mark.parametrize("id_", REQUESTS)
def test_a_request_is_no_answer(id_: str) -> None:
    decoded = decode(raw(NEGATIVE[id_]))
    assert decoded.ok
    assert [frame.direction for frame in decoded.frames] == ["request"]
    assert not Frame.from_bytes(raw(NEGATIVE[id_])).is_response


@pytest.mark.parametrize("id_", GOOD_AFTER_ALL)
def test_makers_data_with_more_to_follow_are_allowed(id_: str) -> None:
    frame = Frame.from_bytes(raw(NEGATIVE[id_]))
    telegram = records.parse(frame.ci or 0, frame.data)
    assert (telegram.fault, telegram.more_follows) == (None, True)
    assert [record.quantity for record in telegram.records] == ["manufacturer_data"]
