"""Meters of DL/T 645-1997, and those between the editions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from drivers.dlt645.encoding import SimValue
from drivers.dlt645.frame import Frame, find_frame
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers_contract.wire import Chunk, MemoryLine
from drivers_dlt645.rig import ADDRESS, meter, spec
from gateway.errors import ConfigError, DeviceUnreachable
from gateway.model import Reading, Reason, ValueKind
from support.virtual_time import run

VECTORS = {
    vector["id"]: vector
    for vector in json.loads((Path(__file__).parent.parent / "vectors" / "dlt645.json").read_text(encoding="utf-8"))[
        "vectors"
    ]
}
VALUES: dict[str, SimValue] = {
    **{f"901{n}": Decimal(1000 + n) for n in range(5)},
    "9020": Decimal("0.01"),
    "B611": Decimal(223),
    "B612": Decimal(222),
    "B613": Decimal(221),
    "C032": "000000190101",
}
ENERGIES = {f"t{n}": f"901{n}" for n in range(5)}
VOLTAGES = {f"l{n}": f"B61{n}" for n in (1, 2, 3)}


def answer(data: str, control: int = 0x81, address: str = ADDRESS) -> bytes:
    return Frame(address, control, bytes.fromhex(data)).to_bytes(2)


def replying(*replies: Sequence[Chunk]) -> MemoryLine:
    left = list(replies)
    return MemoryLine(lambda request: left.pop(0) if left else [])


def said(*frames: bytes) -> MemoryLine:
    return replying(*([Chunk(0.1, each)] for each in frames))


def simulated(edition: str = "1997", **options: Any) -> MemoryLine:
    sim = Dlt645SimLine([Dlt645SimMeter(ADDRESS, VALUES.__getitem__, edition=edition, **options)])
    return MemoryLine(lambda request: [Chunk(0.05, each) for _, each in sim.feed(request)])


def asked(line: MemoryLine) -> list[tuple[int, str]]:
    """Control code and data of every request so far."""
    found = (find_frame(request) for request in line.requests)
    return [(each[0].control, each[0].data.hex().upper()) for each in found if each]


def poll(line: MemoryLine, points: dict[str, Any], edition: str = "1997", **options: Any) -> list[Reading]:
    async def main() -> list[Reading]:
        async with line:
            driver = meter(line, points, timeout_s=1.5, edition=edition, **options)
            batches = driver.batches([f"m.{name}" for name in points])
            return [reading for batch in batches for reading in await driver.poll(batch)]

    return run(main())


# ---------------------------------------------------------------------- captured


@pytest.mark.parametrize(
    ("vector", "di"),
    [
        (vector["id"], vector["expected"]["di"])
        for vector in VECTORS.values()
        if vector["protocol"].endswith("1997") and "expected" in vector
    ],
)
def test_captured_answers_are_read(vector: str, di: str) -> None:
    frame, expected = VECTORS[vector]["frame"], VECTORS[vector]["expected"]
    line = said(bytes.fromhex(VECTORS[vector]["hex"]))
    (reading,) = poll(line, {"it": di}, address=frame["addr"])
    assert reading.value == expected["value"]
    assert asked(line) == [(0x01, bytes.fromhex(di)[::-1].hex().upper())]


def test_the_question_is_the_captured_one() -> None:
    wire = bytes.fromhex(VECTORS["645-97-js-va-req"]["hex"])
    line = said(bytes.fromhex(VECTORS["645-97-js-va"]["hex"]))
    poll(line, {"voltage": "B611"}, address=Frame.from_bytes(wire).address, preamble=0)
    assert line.requests == [wire]


def test_the_mixed_dialect_asks_as_captured() -> None:
    wire = bytes.fromhex(VECTORS["645-07-pm-3"]["hex"])
    address = Frame.from_bytes(wire).address
    line = said(answer("11B6 2302", 0x91, address))
    (reading,) = poll(line, {"voltage": "B611"}, "mixed", address=address, preamble=0)
    assert (reading.value, line.requests) == (223, [wire])


# ---------------------------------------------------------------------- blocks


@pytest.mark.parametrize("edition", ["1997", "mixed"])
@pytest.mark.parametrize("separators", [False, True])
def test_blocks_are_read_with_and_without_separators(edition: str, separators: bool) -> None:
    line = simulated(edition, separators=separators)
    readings = poll(line, {**ENERGIES, **VOLTAGES}, edition)
    assert [reading.value for reading in readings] == [1000.0, 1001.0, 1002.0, 1003.0, 1004.0, 223, 222, 221]
    control = 0x11 if edition == "mixed" else 0x01
    assert asked(line) == [(control, "1F90"), (control, "1FB6")]


@pytest.mark.parametrize("data", ["1FB6 2302 AA 2202 AA 2102 AA", "1FB6 2302 2202 2102 AA"])
def test_a_separator_may_stand_behind_the_last_member(data: str) -> None:
    assert [reading.value for reading in poll(said(answer(data)), VOLTAGES)] == [223, 222, 221]


def test_a_meter_without_blocks_is_asked_singly() -> None:
    line = simulated(blocks=False)
    assert [reading.value for reading in poll(line, VOLTAGES)] == [223, 222, 221]
    assert [data for _, data in asked(line)] == ["1FB6", "11B6", "12B6", "13B6"]


@pytest.mark.parametrize("separators", [False, True])
@pytest.mark.parametrize("most_data", [2 + 3, 2 + 4, 2 + 5, 2 + 11])
@pytest.mark.parametrize("edition", ["1997", "mixed"])
def test_a_block_in_several_frames_is_put_together(edition: str, most_data: int, separators: bool) -> None:
    line = simulated(edition, most_data=most_data, separators=separators)
    readings = poll(line, ENERGIES, edition)
    assert [reading.value for reading in readings] == [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]
    following = 0x12 if edition == "mixed" else 0x02
    assert {control for control, _ in asked(line)[1:]} == {following}


def test_a_continuation_that_was_lost_is_never_asked_for_twice() -> None:
    """02h carries no number: asked again, the meter would say the next portion, and the parts would not fit."""

    async def main() -> None:
        first = [Chunk(0.1, answer("1090 0000", 0xA1))]
        late = [Chunk(1.7, answer("1090 0002", 0x82))]
        line = replying(first, late, first, [Chunk(0.1, answer("1090 0003", 0x82))])
        async with line:
            driver = meter(line, {"total": "9010"}, timeout_s=1.5, edition="1997")
            with pytest.raises(DeviceUnreachable):
                await driver.poll(["m.total"])
            assert [control for control, _ in asked(line)] == [0x01, 0x02]
            (reading,) = await driver.poll(["m.total"])  # waits until nothing late can come
            assert reading.value == 30000.0

    run(main())


# ---------------------------------------------------------------------- what an answer must be


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (answer("02", 0xC1), Reason.REFUSED),
        (answer("1090 FFFFFFFF"), Reason.NO_VALUE),
        (answer("1090 5634120000"), Reason.BAD_FRAME),
        (answer("1090 AA341200"), Reason.NO_VALUE),
    ],
)
def test_an_answer_without_a_number_is_a_bad_reading(wire: bytes, reason: Reason) -> None:
    (reading,) = poll(said(wire), {"energy": "9010"})
    assert (reading.value, reading.reason) == (None, reason)


@pytest.mark.parametrize("wire", [answer("1190 56341200"), answer("1090 56341200", 0x91), answer("1090 563412", 0x01)])
def test_an_answer_to_something_else_is_none(wire: bytes) -> None:
    good = answer("1090 78563412")
    (reading,) = poll(replying([Chunk(0.1, wire), Chunk(0.2, good)]), {"energy": "9010"})
    assert reading.value == 123456.78


@pytest.mark.parametrize("asked_as", ["AA" * 6, "AAAAAAAA0101"])
def test_a_meter_may_repeat_the_wildcards_it_was_asked_with(asked_as: str) -> None:
    (reading,) = poll(simulated(echoes_wildcards=True), {"energy": "9010"}, address=asked_as)
    assert reading.value == 1000.0


def test_wildcards_in_an_answer_do_not_answer_a_number() -> None:
    line = replying([Chunk(0.1, answer("1090 99999999", address="AA" * 6)), Chunk(0.2, answer("1090 00000001"))])
    (reading,) = poll(line, {"energy": "9010"})
    assert reading.value == 10000.0


def test_the_other_quantities_have_the_formats_of_the_table() -> None:
    points = {
        "current": ("B621", "21B6 5012", 12.5),
        "power": ("B630", "30B6 345612", 12.5634),
        "reactive": ("B640", "40B6 3412", 12.34),
        "factor": ("B650", "50B6 8509", 0.985),
        "last_month": ("9410", "1094 56341200", 1234.56),
        "date": ({"di": "C010", "kind": ValueKind.TEXT}, "10C0 05050626", "2026-06-05"),
        "time": ({"di": "C011", "kind": ValueKind.TEXT}, "11C0 512210", "10:22:51"),
        "status": ({"di": "C020", "kind": ValueKind.TEXT}, "20C0 A5", "A5"),
        "number": ({"di": "C032", "kind": ValueKind.TEXT}, "32C0 010119000000", "000000190101"),
    }
    for name, (point, data, value) in points.items():
        (reading,) = poll(said(answer(data)), {name: point})
        assert reading.value == value, name


@pytest.mark.parametrize(
    ("edition", "di"), [("2007", "9010"), ("1997", "00010000"), ("mixed", "00010000")], ids=["2007", "1997", "mixed"]
)
def test_an_identifier_of_the_other_edition_is_a_fault_of_the_profile(edition: str, di: str) -> None:
    with pytest.raises(ConfigError, match=f"not one of edition {edition}"):
        meter(said(), {"it": di}, edition=edition)
    assert spec({"it": di}).points["m.it"].options.di == di
