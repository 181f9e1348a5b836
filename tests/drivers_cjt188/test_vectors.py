"""Every published frame in tests/vectors/cjt188.json, against the codec, the decoder and the simulator's encoder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Field
from drivers.cjt188.commands import command
from drivers.cjt188.decode import decode
from drivers.cjt188.frame import Frame, find_frame, request
from drivers.cjt188.simulator import Cjt188SimLine, Cjt188SimMeter, SimValue, SimValve
from drivers_cjt188.rig import spec
from gateway.errors import ProtocolError
from gateway.model import ValueKind
from support.clock import ManualClock

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "cjt188.json").read_text(encoding="utf-8")
)["vectors"]
BY_ID = {vector["id"]: vector for vector in VECTORS}
WHOLE = [vector for vector in VECTORS if vector["checksum_ok"]]
BROKEN = {"188-w-4": "truncated", "188-gas-5": "bad_checksum"}
"""id -> the fault that is found."""
BELIEVED_WRONG: Mapping[str, str] = {}
"""id -> why.  None: the two that do not check are marked so by who published them."""

UCUM = {"kWh": "kW.h"}
NAMES = {
    "current": "volume",
    "settlement": "settlement_volume",
    "settlement_heat": "settlement_energy",
    "heat": "energy",
    "power": "power",
    "flow": "flow",
    "volume": "volume",
    "t_supply": "supply_temperature",
    "t_return": "return_temperature",
    "hours": "hours",
}
"""What the vectors call a field -> what we call it."""


def raw(vector: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(vector["hex"])


def every(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[vector["id"] for vector in vectors])


def test_none_is_missing() -> None:
    assert len(VECTORS) == len(BY_ID) == 30
    assert len(WHOLE) == 28
    assert {vector["id"] for vector in VECTORS if vector not in WHOLE} == set(BROKEN)
    assert sum("expected" in vector for vector in WHOLE) == len(SAID) == 9
    assert Counter(vector["frame"]["ctrl"] for vector in WHOLE) == {
        "01": 8,
        "81": 9,
        "03": 2,
        "83": 1,
        "04": 5,
        "84": 1,
        "15": 1,
        "AA": 1,
    }
    assert set(BELIEVED_WRONG) <= set(BY_ID)
    assert all(vector["source"] for vector in VECTORS)


@every(WHOLE)
def test_a_whole_frame_is_read_and_written_as_published(vector: dict[str, Any]) -> None:
    wire, stated = raw(vector), vector["frame"]
    data = bytes.fromhex(stated["data"])
    frame = Frame(int(stated["t"], 16), stated["addr"].upper(), int(stated["ctrl"], 16), data)
    assert find_frame(wire) == (frame, stated["preamble_fe"], len(wire))
    assert (len(data), frame.sequence) == (stated["len"], int(stated["ser"], 16))
    assert frame.di in (stated["di_bytes"], stated["di_bytes"][2:] + stated["di_bytes"][:2])
    assert frame.di in ("901F", "810A", "A017", "A018")
    assert Frame.from_bytes(wire) == frame
    assert frame.to_bytes(stated["preamble_fe"]) == wire


@every(WHOLE)
def test_a_whole_frame_is_explained_as_published(vector: dict[str, Any]) -> None:
    decoded = decode(raw(vector))
    assert decoded.ok
    (frame,) = decoded.frames
    stated = vector["frame"]
    assert (frame.address, frame.function, frame.error) == (stated["addr"].upper(), stated["ctrl"], None)
    assert frame.direction == ("response" if int(stated["ctrl"], 16) & 0x80 else "request")
    assert frame.items[:2] == (Field("type", stated["t"]), Field("sequence", int(stated["ser"], 16)))
    named = {field.id.removeprefix("901F."): field for field in frame.items}
    expected = vector.get("expected", {})
    assert all(_agrees(named, key, stated_value) for key, stated_value in expected.items())
    assert ("unit_first" in named) == ("unitfirst" in vector["id"] and bool(expected))


def _agrees(named: Mapping[str, Field], key: str, stated: Any) -> bool:
    """Whether the explained frame says what the vector states under *key*; KeyError for a key without a rule."""
    if key == "st":
        return bool(named["status"].value == stated.replace(" ", ""))
    if key in ("time", "time_bcd_le"):
        return named["clock"].value == _iso(stated)
    field = named[NAMES[key]]
    value, unit = stated if isinstance(stated, list) else (stated, field.unit)
    return field.value == value and type(field.value) in (int, float) and field.unit == UCUM.get(unit, unit)


def _iso(digits: str) -> str | None:
    """None for the two clocks that are no time: all zeros, and one whose seconds are 60."""
    if digits in ("00000000000000", "00000000202060"):
        return None
    parts = (digits[:4], *(digits[at : at + 2] for at in range(4, 14, 2)))
    return "{}-{}-{}T{}:{}:{}".format(*parts)


@pytest.mark.parametrize(("id_", "fault"), BROKEN.items(), ids=BROKEN)
def test_a_broken_frame_is_refused_and_its_fault_located(id_: str, fault: str) -> None:
    wire = raw(BY_ID[id_])
    assert find_frame(wire) is None
    with pytest.raises(ProtocolError):
        Frame.from_bytes(wire)
    decoded = decode(wire)
    assert not decoded.frames
    assert decoded.fault is not None
    assert (decoded.fault.code, decoded.fault.offset) == (fault, len(wire) - (2 if fault == "bad_checksum" else 0))


# ---------------------------------------------------------------------- the simulator's encoder

SAID = [vector for vector in WHOLE if vector["frame"]["ctrl"] == "81"]


def _register(vector: Mapping[str, Any]) -> dict[str, SimValue]:
    """What a meter must hold to have sent this answer: taken from the stated values, never from the bytes."""
    held: dict[str, SimValue] = {}
    for key, stated in vector["expected"].items():
        if key == "st":
            held["901F.status"] = stated.replace(" ", "")
        elif key in ("time", "time_bcd_le"):
            held["901F.clock"] = stated
        else:
            held[f"901F.{NAMES[key]}"] = Decimal(str(stated[0] if isinstance(stated, list) else stated))
    return held


@every(SAID)
def test_the_simulator_says_what_the_real_meter_said(vector: dict[str, Any]) -> None:
    stated = vector["frame"]
    address, type_, sequence = stated["addr"].upper(), int(stated["t"], 16), int(stated["ser"], 16)
    meter = Cjt188SimMeter(
        address,
        type_,
        _register(vector).__getitem__,
        preamble=stated["preamble_fe"],
        unit_first="unitfirst" in vector["id"],
    )
    asked = request(type_, address, 0x01, "901F", sequence, low_first=stated["di_bytes"] == "1F90")
    assert Cjt188SimLine([meter]).feed(asked.to_bytes(4)) == [(address, raw(vector))]


def test_the_simulator_says_its_address_as_published() -> None:
    stated = BY_ID["188-ai-2"]["frame"]
    meter = Cjt188SimMeter(stated["addr"], 0x10, {}.__getitem__, preamble=0)
    assert Cjt188SimLine([meter]).feed(raw(BY_ID["188-ai-1"])) == [(stated["addr"], raw(BY_ID["188-ai-2"]))]


PUBLISHED_REQUESTS = {
    "188-ai-3": (False, 0),
    "188-fe-read": (True, 0),
    "188-heat-4-req": (True, 0x12),
    "188-heat-unitfirst-2-req": (False, 1),
    "188-hf-req": (True, 0),
    "188-go-bcast": (False, 0xAA),
    "188-heat-bcast": (True, 0),
    "188-gas-4": (True, 0xFF),
}


PUBLISHED_COMMANDS = {
    "188-valve-open-req": ("open", False),
    "188-valve-close-req": ("closed", False),
    "188-valve-close": ("closed", False),
    "188-gas-0": ("open", True),
}
"""What is written, and whether the low byte of the identifier goes first."""


@pytest.mark.parametrize(("id_", "how"), PUBLISHED_COMMANDS.items(), ids=PUBLISHED_COMMANDS)
def test_valves_are_commanded_as_published(id_: str, how: tuple[str, bool]) -> None:
    stated = BY_ID[id_]["frame"]
    value, low_first = how
    written = spec({"valve": {"kind": ValueKind.STATE, "writable": True}}, stated["addr"], stated["t"])
    told = command(written.points["m.valve"], written.options, UTC, ManualClock())
    asked = request(
        int(stated["t"], 16), stated["addr"], 0x04, told.di, int(stated["ser"], 16), low_first, told.content(value)
    )
    assert asked.to_bytes(stated["preamble_fe"]) == raw(BY_ID[id_])


def test_an_opened_valve_answers_as_published() -> None:
    stated = BY_ID["188-valve-open-rsp"]["frame"]
    meter = Cjt188SimMeter(stated["addr"], 0x10, {}.__getitem__, preamble=4, valve=SimValve(lambda: 0.0))
    answer = (stated["addr"], raw(BY_ID["188-valve-open-rsp"]))
    assert Cjt188SimLine([meter]).feed(raw(BY_ID["188-valve-open-req"])) == [answer]


@pytest.mark.parametrize(("id_", "how"), PUBLISHED_REQUESTS.items(), ids=PUBLISHED_REQUESTS)
def test_requests_are_asked_as_published(id_: str, how: tuple[bool, int]) -> None:
    stated = BY_ID[id_]["frame"]
    low_first, sequence = how
    asked = request(int(stated["t"], 16), stated["addr"].upper(), 0x01, "901F", sequence, low_first)
    assert asked.to_bytes(stated["preamble_fe"]) == raw(BY_ID[id_])
