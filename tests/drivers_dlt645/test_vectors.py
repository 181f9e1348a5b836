"""Every published frame in tests/vectors/dlt645.json, against the codec, the decoder and the simulator's encoder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from drivers.base import DecodedFrame, Found, Search
from drivers.dlt645 import items
from drivers.dlt645.decode import decode
from drivers.dlt645.discovery import discover
from drivers.dlt645.exchange import DIALECTS
from drivers.dlt645.frame import OVERHEAD, Frame, find_frame
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter, SimValue
from drivers_contract.wire import Chunk, MemoryLine
from drivers_dlt645.bus import run
from drivers_dlt645.rig import meter as driver_of
from gateway.errors import ProtocolError
from gateway.model import ValueKind

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "dlt645.json").read_text(encoding="utf-8")
)["vectors"]
BY_ID = {vector["id"]: vector for vector in VECTORS}
WHOLE = [vector for vector in VECTORS if vector["checksum_ok"]]
BROKEN = [vector for vector in VECTORS if not vector["checksum_ok"]]
TRUNCATED = "645-07-cs-trunc"
BELIEVED_WRONG: Mapping[str, str] = {}
"""id -> why.  None: every published value agrees with the standard's tables."""

UCUM = {
    "kWh": "kW.h",
    "kvarh": "kV.A{reactive}.h",
    "kvar": "kV.A{reactive}",
    "kVA": "kV.A",
    "V": "V",
    "A": "A",
    "Hz": "Hz",
}
_RELAY_OPEN = 1 << 4


def raw(vector: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(vector["hex"])


def ids(vectors: list[dict[str, Any]]) -> list[str]:
    return [vector["id"] for vector in vectors]


def test_none_is_missing() -> None:
    assert len(VECTORS) == len(BY_ID) == 80
    assert (len(WHOLE), len(BROKEN)) == (73, 7)
    assert Counter(vector["kind"] for vector in BROKEN) == {"negative": 5, "flagged-bad-checksum": 2}
    assert sum("expected" in vector for vector in WHOLE) == 44
    assert set(BELIEVED_WRONG) <= set(BY_ID)
    assert all(vector["source"] for vector in VECTORS)


@pytest.mark.parametrize("vector", WHOLE, ids=ids(WHOLE))
def test_a_whole_frame_is_read_and_written_as_published(vector: dict[str, Any]) -> None:
    wire, stated = raw(vector), vector["frame"]
    frame = Frame(stated["addr"].upper(), int(stated["ctrl"], 16), bytes.fromhex(stated["data_minus33"]))
    assert find_frame(wire) == (frame, stated["preamble_fe"], len(wire))
    assert len(frame.data) == stated["len"]
    assert Frame.from_bytes(wire) == frame
    assert frame.to_bytes(stated["preamble_fe"]) == wire


@pytest.mark.parametrize("vector", WHOLE, ids=ids(WHOLE))
def test_a_whole_frame_is_explained_as_published(vector: dict[str, Any]) -> None:
    decoded = decode(raw(vector))
    assert decoded.ok
    (frame,) = decoded.frames
    control = int(vector["frame"]["ctrl"], 16)
    assert frame.address == vector["frame"]["addr"].upper()
    assert frame.function == f"{control:02X}"
    assert frame.direction == ("response" if control & 0x80 else "request")
    assert (frame.error is not None) == (control & 0xC0 == 0xC0)
    expected = vector.get("expected", {})
    assert all(_agrees(frame, key, expected) for key in expected)


def _agrees(frame: DecodedFrame, key: str, expected: Mapping[str, Any]) -> bool:
    """Whether the explained frame says what the vector states under *key*; KeyError for a key without a rule."""
    named = {field.id: field.value for field in frame.items}
    stated = expected[key]
    main = frame.items[0].value if frame.items else None
    block = items.block(expected.get("di", "00000000"))
    checks = {
        "di": lambda: list(named) == list(block.members[: len(named)]) if block else frame.items[0].id == stated,
        "value": lambda: main == stated and type(main) in (int, float),
        "values": lambda: [field.value for field in frame.items] == stated,
        "unit": lambda: {field.unit for field in frame.items} == {UCUM.get(stated, stated)},
        "ctrl": lambda: frame.function == stated,
        "error_byte": lambda: frame.error is not None and frame.error.code == stated,
        "ok": lambda: frame.error is None and stated,
        "addr": lambda: named == {"04000401": stated} and frame.address == stated,
        "n1": lambda: named["command"] == stated,
        "password_level": lambda: named["password_level"] == stated,
        "valid_until": lambda: named["valid_until"] == stated.replace("(20)", "20").replace(" ", "T"),
        "status_word": lambda: main == stated,
        "relay_closed": lambda: (not int(str(main), 16) & _RELAY_OPEN) == stated,
        "time": lambda: named == {"time": stated},
        "date": lambda: main == stated,
        "weekday": lambda: named[f"{expected['di']}.weekday"] == stated,
    }
    return bool(checks[key]())


@pytest.mark.parametrize("vector", BROKEN, ids=ids(BROKEN))
def test_a_broken_frame_is_refused_and_its_fault_located(vector: dict[str, Any]) -> None:
    wire = raw(vector)
    assert find_frame(wire) is None
    with pytest.raises(ProtocolError):
        Frame.from_bytes(wire)
    decoded = decode(wire)
    assert not decoded.ok
    assert not decoded.frames
    assert decoded.fault is not None
    if vector["id"] == TRUNCATED:
        assert (decoded.fault.code, decoded.fault.offset) == ("truncated", len(wire))
    else:
        assert (decoded.fault.code, decoded.fault.offset) == ("bad_checksum", len(wire) - 2)
        assert len(wire) == vector["frame"]["preamble_fe"] + OVERHEAD + vector["frame"]["len"]


# ---------------------------------------------------------------------- the simulator's encoder


def _register(vector: Mapping[str, Any]) -> dict[str, SimValue]:
    """What a meter must hold to have sent this answer: taken from the stated values, never from the bytes."""
    expected = vector["expected"]
    if "values" in expected:
        block = items.block(expected["di"])
        assert block is not None
        stated = zip(block.members, expected["values"], strict=False)
        return {di: Decimal(str(value)) for di, value in stated}
    if "value" in expected:
        return {expected["di"]: Decimal(str(expected["value"]))}
    return {expected["di"]: expected["status_word"]} if "status_word" in expected else {}


SAID = [vector for vector in WHOLE if vector["frame"]["ctrl"] in ("91", "93", "81") and "expected" in vector]


def test_enough_answers_are_compared() -> None:
    assert Counter(vector["frame"]["ctrl"] for vector in SAID) == {"91": 23, "93": 6, "81": 6}


@pytest.mark.parametrize("vector", SAID, ids=ids(SAID))
def test_the_simulator_says_what_the_real_meter_said(vector: dict[str, Any]) -> None:
    stated = vector["frame"]
    edition = vector["protocol"][-4:]
    meter = Dlt645SimMeter(
        stated["addr"], _register(vector).__getitem__, preamble=stated["preamble_fe"], edition=edition
    )
    if stated["ctrl"] == "93":
        request = raw(BY_ID["645-07-readaddr"])
    else:
        identifier = bytes.fromhex(stated["data_minus33"])[: DIALECTS[edition].width]
        request = Frame(stated["addr"], int(stated["ctrl"], 16) & 0x1F, identifier).to_bytes(4)
    assert Dlt645SimLine([meter]).feed(request) == [(stated["addr"], raw(vector))]


NAMED = [vector for vector in SAID if vector["frame"]["ctrl"] == "93"]
READ = [vector for vector in SAID if vector not in NAMED]


@pytest.mark.parametrize("vector", NAMED, ids=ids(NAMED))
def test_a_scan_finds_the_real_meter(vector: dict[str, Any]) -> None:
    def respond(request: bytes) -> list[Chunk]:
        return [Chunk(0.1, raw(vector))] if request.endswith(raw(BY_ID["645-07-readaddr"])) else []

    async def main() -> None:
        async with MemoryLine(respond) as line, aclosing(discover(line, Search(0.5))) as scanning:  # type: ignore[type-var]
            found = [each async for each in scanning if isinstance(each, Found)]
        assert found == [Found({"address": vector["expected"]["addr"]}, "DL/T 645-2007")]

    run(main())


@pytest.mark.parametrize("vector", READ, ids=ids(READ))
def test_the_driver_reads_what_the_real_meter_said(vector: dict[str, Any]) -> None:
    registers = {di: value for di, value in _register(vector).items() if value is not None}
    points = {
        di: {"di": di, "kind": ValueKind.TEXT} if isinstance(value, str) else di for di, value in registers.items()
    }

    async def main() -> None:
        async with MemoryLine(lambda request: [Chunk(0.1, raw(vector))]) as line:
            driver = driver_of(line, points, address=vector["frame"]["addr"], edition=vector["protocol"][-4:])
            (batch,) = driver.batches([f"m.{di}" for di in points])
            for reading in await driver.poll(batch):
                wanted = registers[reading.point[2:]]
                assert reading.value == (wanted if isinstance(wanted, str) else float(wanted))
            assert len(line.requests) == 1

    run(main())


def test_the_simulator_refuses_as_published() -> None:
    vector = BY_ID["645-07-cs-err02"]
    meter = Dlt645SimMeter(vector["frame"]["addr"], {}.__getitem__, preamble=0)
    request = Frame(vector["frame"]["addr"], 0x11, bytes.fromhex("00000100")).to_bytes()
    assert Dlt645SimLine([meter]).feed(request) == [(vector["frame"]["addr"], raw(vector))]
