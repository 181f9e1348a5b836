"""Settlement days, freezes, events and status words: sizes from public collectors and the standard's tables."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from drivers.base import Explaining, Field
from drivers.dlt645 import formats, items, status
from drivers.dlt645.config import Dlt645PointOptions
from drivers.dlt645.decode import decode
from drivers.dlt645.driver import Dlt645Meter
from drivers.dlt645.frame import Frame
from drivers_contract.wire import Chunk, MemoryLine
from drivers_dlt645.rig import ADDRESS, meter
from gateway.errors import ConfigError
from gateway.model import Reading, Reason, ValueKind
from support.virtual_time import run

TEXT = {"kind": ValueKind.TEXT}


def read(point: Any, data: str) -> Reading:
    reply = Frame(ADDRESS, 0x91, bytes.fromhex(data)).to_bytes(4)

    async def main() -> Reading:
        async with MemoryLine(lambda request: [Chunk(0.1, reply)]) as line:
            (reading,) = await meter(line, {"it": point}, timeout_s=1.5).poll(["m.it"])
            return reading

    return run(main())


@pytest.mark.parametrize(
    ("di", "sizes"),
    [
        ("00010001", {4}),
        ("0001000C", {4}),
        ("01010001", {8}),
        ("05060001", {5}),
        ("05000001", {5}),
        ("05040001", {5}),
        ("05060101", {4, 20}),
        ("0506083E", {4, 20}),
        ("05000101", {4, 20}),
        ("05010103", {4, 20}),
        ("05040101", {4}),
        ("050402FE", {4}),
        ("05060901", {8, 40}),
        ("05060A01", {8, 40}),
        ("05061001", {24}),
        ("03110000", {3}),
        ("03110001", {12}),
        ("03010000", {18}),
        ("03010101", {131}),
        ("03300001", {50}),
        ("03300101", {106}),
        ("03300201", {194}),
        ("03300301", {14}),
        ("03300401", {16}),
        ("03300D00", {3}),
        ("03300D01", {60}),
        ("03300E01", {60}),
        ("1D000101", {6}),
        ("0400010C", {7}),
        ("04000403", {32}),
        ("0400040B", {10}),
        ("0400040D", {16}),
        ("04000B01", {2}),
        ("00900200", {4}),
    ],
)
def test_the_lengths_are_those_of_the_tables(di: str, sizes: set[int]) -> None:
    item = items.lookup(di)
    assert item is not None
    fitting = {size for size in range(1, 201) if item.fits(size)}
    assert fitting == sizes if not item.per_tariff else sizes <= fitting == set(range(min(sizes), 201, min(sizes)))


@pytest.mark.parametrize(
    "di", ["05060000", "050600FF", "05020101", "05060B01", "0506FF01", "05040301", "05041001", "03110B00", "0330FF01"]
)
def test_what_no_source_tells_is_not_known(di: str) -> None:
    assert items.lookup(di) is None


def test_an_identifier_that_is_not_known_can_still_be_read_with_a_format() -> None:
    reading = read({"di": "03320101", "format": "XXXXXX.XX"}, "01013203 56341200")
    assert reading.value == 1234.56


# ---------------------------------------------------------------------- several values under one identifier

FREEZE = "01010605 00001000 01001000 02001000 03001000 04001000"


@pytest.mark.parametrize(
    ("point", "data", "value"),
    [
        ({"di": "01010000", "field": "time", **TEXT}, "00000101 345612 5122060517", "2017-05-06T22:51:00"),
        ({"di": "04000101", "field": "weekday"}, "01010004 04100518", 4),
        ({"di": "0400010C", **TEXT}, "0C010004 51221005 050626", "2026-06-05T10:22:51"),
        ("05060101", FREEZE, 1000.0),
        ({"di": "05060101", "field": "t1"}, FREEZE, 1000.01),
        ({"di": "05060101", "field": "t4"}, FREEZE, 1000.04),
        ("05060101", "01010605 00001000", 1000.0),  # a meter without tariffs
        (
            {"di": "05060901", "field": "t1.time", **TEXT},
            "01090605 345612 5122060517 785634 0000010126",
            "2026-01-01T00:00:00",
        ),
        ({"di": "05060901", "field": "t1"}, "01090605 345612 5122060517 785634 0000010126", 34.5678),
        ({"di": "05061001", "field": "l1"}, "01100605" + "000000" + "005081" + "000000" * 6, -1.5),
        ({"di": "05061001", "field": "reactive"}, "01100605" + "000000" * 4 + "123400" + "000000" * 3, 0.3412),
        ({"di": "03110001", **TEXT}, "01001103 512210050617 001510050617", "2017-06-05T10:22:51"),
        ({"di": "03110001", "field": "end", **TEXT}, "01001103 512210050617 001510050617", "2017-06-05T10:15:00"),
        ("03300D00", "000D3003 070000", 7),
        ({"di": "03300401", "field": "operator", **TEXT}, "01043003 78563412 000000010126 512210050617", "12345678"),
        ({"di": "04000B01", **TEXT}, "010B0004 0001", "0100"),
    ],
)
def test_one_of_several_values_is_named(point: Any, data: str, value: object) -> None:
    assert read(point, data).value == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [(FREEZE, Reason.NO_VALUE), (FREEZE + "00", Reason.BAD_FRAME), ("01010605", Reason.NO_VALUE)],
)
def test_a_tariff_that_the_meter_does_not_have_is_no_value(data: str, reason: Reason) -> None:
    assert read({"di": "05060101", "field": "t5"}, data).reason is reason


def test_values_of_one_identifier_share_a_question() -> None:
    reply = Frame(ADDRESS, 0x91, bytes.fromhex(FREEZE)).to_bytes(4)

    async def main() -> None:
        async with MemoryLine(lambda request: [Chunk(0.1, reply)]) as line:
            points = {"total": "05060101", **{f"t{n}": {"di": "05060101", "field": f"t{n}"} for n in range(1, 5)}}
            driver: Dlt645Meter = meter(line, points, timeout_s=1.5)
            (batch,) = driver.batches([f"m.{name}" for name in points])
            assert [each.value for each in await driver.poll(batch)] == [1000.0, 1000.01, 1000.02, 1000.03, 1000.04]
            assert len(line.requests) == 1
            assert driver.characters(batch) == 2 * (4 + 12 + 4) + 20

    run(main())


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"di": "05060101", "field": "time"}, "has no time: t1, t2"),
        ({"di": "05060101", "field": "t64"}, "has no t64"),
        ({"di": "05060101", "field": "t0"}, "has no t0"),
        ({"di": "00010000", "field": "t1"}, "has no t1"),
        ({"di": "04000503", "field": "valve"}, "relay"),
        ({"di": "04000503", "field": "relay", "bit": 4}, "does not go with"),
        ({"di": "00010000", "field": "x", "format": "XXXX"}, "does not go with"),
    ],
)
def test_a_value_that_is_not_there_is_refused_with_those_that_are(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Dlt645PointOptions(**written)


# ---------------------------------------------------------------------- status words


def state(field: str, *states: str) -> dict[str, Any]:
    return {"di": "04000503", "kind": ValueKind.STATE, "states": states, "field": field}


SUPPLY = state("supply", "mains", "auxiliary", "battery")


@pytest.mark.parametrize(
    ("point", "data", "value", "reason"),
    [
        (state("relay", "closed", "open"), "5000", "open", None),
        (state("relay_command", "closed", "open"), "1000", "closed", None),
        (SUPPLY, "0000", "mains", None),
        (SUPPLY, "0200", "auxiliary", None),
        (SUPPLY, "0400", "battery", None),
        (SUPPLY, "0600", None, Reason.OUT_OF_RANGE),
        (SUPPLY, "FFFF", None, Reason.NO_VALUE),
        ({"di": "04000503", "kind": ValueKind.BOOLEAN, "field": "keep_supply"}, "0010", True, None),
        ({"di": "04000504", "kind": ValueKind.BOOLEAN, "field": "phase_failure"}, "8000", True, None),
        ({"di": "04000507", "kind": ValueKind.BOOLEAN, "field": "voltage_unbalance"}, "0400", True, None),
    ],
)
def test_bits_are_read_by_name(point: Any, data: str, value: object, reason: Reason | None) -> None:
    reading = read(point, bytes.fromhex(point["di"])[::-1].hex() + data)
    assert (reading.value, reading.reason) == (value, reason)


@pytest.mark.parametrize(
    "point",
    [
        {"di": "04000503", "kind": ValueKind.BOOLEAN, "field": "supply"},
        {"di": "04000503", "kind": ValueKind.TEXT, "field": "supply"},
        state("supply", "mains"),
        state("relay", "closed", "open", "else"),
    ],
)
def test_a_kind_that_does_not_suit_the_bits_is_a_fault_of_the_profile(point: Any) -> None:
    with pytest.raises(ConfigError, match=r"m\.it"):
        meter(MemoryLine(lambda request: []), {"it": point})


def test_names_and_bits_are_there_once() -> None:
    assert len(status.FLAGS) == 7
    for flags in status.FLAGS:
        bits = [flag.lowest + n for flag in flags for n in range(flag.width)]
        assert len(set(bits)) == len(bits)
        assert len({flag.name for flag in flags}) == len(flags)
        assert max(bits) <= 15
    (relay,) = (flag for flag in status.FLAGS[2] if flag.name == "relay")
    assert (relay.lowest, relay.read("0050"), relay.read("0000")) == (4, "open", "closed")  # as captured
    assert formats.Flag("two", 1, ("a",), width=2).read("0006") == "reserved 3"


# ---------------------------------------------------------------------- gateway decode


def explained(control: int, data: str) -> dict[str, object]:
    decoded = decode(Frame(ADDRESS, control, bytes.fromhex(data)).to_bytes())
    assert decoded.ok
    return {item.id: item.value for item in decoded.frames[0].items}


def test_records_are_explained_value_by_value() -> None:
    assert explained(0x91, FREEZE) == {
        "05060101": 1000.0,
        **{f"05060101.t{n}": 1000 + n / 100 for n in range(1, 5)},
    }
    assert explained(0x91, "01090605 345612 5122060517 785634 0000010126") == {
        "05060901": 12.5634,
        "05060901.time": "2017-05-06T22:51:00",
        "05060901.t1": 34.5678,
        "05060901.t1.time": "2026-01-01T00:00:00",
    }
    assert explained(0x91, "01001103 512210050617 001510050617") == {
        "03110001": "2017-06-05T10:22:51",
        "03110001.end": "2017-06-05T10:15:00",
    }
    cleared = explained(0x91, "01033003 512210050617 01000000 FF000102")
    assert cleared == {
        "03300301": "2017-06-05T10:22:51",
        "03300301.operator": "00000001",
        "03300301.identifier1": "020100FF",
    }


def test_a_status_word_is_explained_bit_by_bit() -> None:
    said = explained(0x91, "03050004 5000")
    assert said["04000503"] == "0050"
    assert (said["04000503.relay"], said["04000503.relay_command"], said["04000503.supply"]) == (
        "open",
        "open",
        "mains",
    )
    block = explained(0x91, "FF050004 1000 0100 1000 0000 0000 0000 8000")
    assert block["04000501.active_direction"] == "reverse"
    assert block["04000502.active_direction_l1"] == "reverse"
    assert block["04000503.relay"] == "open"
    assert block["04000507.power_factor_low"] == "yes"


def test_a_day_block_is_explained_day_by_day() -> None:
    said = explained(0x91, "FF000100 00001000 01001000 02001000")
    assert said == {"00010000": 1000.0, "00010001": 1000.01, "00010002": 1000.02}


@pytest.mark.parametrize(
    ("control", "data", "expected"),
    [
        (0x1C, "02 000000 01000000 1A 00 000000301299", {"command": "1A", "command_name": "trip"}),
        (
            0x1C,
            "02 000000 01000000 1C 00 000000301226",
            {"command_name": "close", "valid_until": "2026-12-30T00:00:00"},
        ),
        (0x1C, "02 000000 01000000 2A 00 000000301226", {"command_name": "alarm on"}),
        (0x1C, "02 000000 01000000 3B 00 000000301226", {"command_name": "keep supply off"}),
        (0x1C, "02 000000 01000000 7F 00 000000301226", {"command_name": "unknown"}),
        (
            0x14,
            "0C010004 02 000000 2A000000 51221005050626",
            {"0400010C": "2026-06-05T10:22:51", "operator": "0000002A"},
        ),
        (0x16, "99999999", {"freeze_at": "99999999"}),
        (0x19, "02 000000 01000000", {"password_level": 2, "operator": "00000001"}),
        (0x1B, "02 000000 01000000 FFFFFFFF", {"clear": "FFFFFFFF", "operator": "00000001"}),
        (0x18, "040C0004 02 000000 04 654321", {"identifier": "04000C04", "new_password_level": 4}),
        (0x04, "10C0 02 000000 05050626", {"C010": "2026-06-05", "C010.weekday": 5, "password_level": 2}),
        (0x0A, "010119000000", {"04000401": "000000190101"}),
        (0x94, "", {}),
        (0x9C, "", {}),
        (0x96, "", {}),
        (0x91, "1FB6 2302 AA 2202 AA 2102", {"B611": 223, "B612": 222, "B613": 221}),  # a mixed meter's block
        (0x81, "1F90 00001000 AA 01001000", {"9010": 1000.0, "9011": 1000.01}),
        (0x83, "1090 00001000", {"9010": 1000.0}),
    ],
)
def test_commands_and_the_older_edition_are_explained(control: int, data: str, expected: dict[str, object]) -> None:
    said = explained(control, data)
    assert said | expected == said
    assert bool(said) == bool(expected)
    assert not any("654321" in str(value) or str(value) == "000000" for value in said.values())


def test_the_editions_name_their_errors_differently() -> None:
    texts = {}
    for control in (0xD1, 0xC1):
        (frame,) = decode(Frame(ADDRESS, control, b"\x02").to_bytes()).frames
        assert frame.error is not None
        texts[control] = frame.error.text
    assert "no such data" in texts[0xD1]
    assert "no such identifier" in texts[0xC1]


# ---------------------------------------------------------------------- every way to read an answer


def interpreted(point: Any, data: str, control: int = 0x91) -> list[Field]:
    driver = meter(MemoryLine(lambda request: []), {"it": point})
    assert isinstance(driver, Explaining)
    wire = (
        b"\x00"
        + Frame("000000190102", 0x91, b"\x01").to_bytes()
        + Frame(ADDRESS, control, bytes.fromhex(data)).to_bytes(4)
    )
    return list(driver.interpretations("m.it", wire))


def test_an_answer_is_shown_in_every_way_it_could_be_meant() -> None:
    found = interpreted("02030000", "00000302 341280")
    said = {field.id: field.value for field in found}
    assert [field.id for field in found[:3]] == ["raw", "digits", "XX.XXXX (configured)"]
    assert found[2] == Field("XX.XXXX (configured)", -0.1234, "kW")
    assert (said["raw"], said["digits"]) == ("34 12 80", "801234")
    assert said["XX.XXXX unsigned"] == 80.1234
    assert said["XXX.XXX signed"] == -1.234
    assert said["XXX.XXX unsigned"] == 801.234
    assert said["XXXX.XX signed"] == -12.34
    assert said["XXXXXX unsigned"] == 801234
    assert said["binary, low byte first"] == 0x801234
    assert "XX.XXXX signed" not in said  # that is the configured one
    assert "hhmmss" not in said  # no such time of day


def test_bits_and_companions_are_shown_too() -> None:
    said = {field.id: field.value for field in interpreted({"di": "04000503", "kind": ValueKind.TEXT}, "03050004 5000")}
    assert (said["bits16 (configured)"], said["relay"]) == ("0050", "open")
    named = {field.id: field.value for field in interpreted({"di": "05060101", "field": "t2"}, FREEZE)}
    assert (named["XXXXXX.XX (configured)"], named["raw"]) == (
        1000.02,
        "00 00 10 00 01 00 10 00 02 00 10 00 03 00 10 00 04 00 10 00",
    )


def test_an_answer_of_another_length_is_shown_without_the_configured_format() -> None:
    said = {field.id: field.value for field in interpreted("00010000", "00000100 5634120000")}
    assert not any("configured" in name for name in said)
    assert said["digits"] == "0000123456"


def test_a_refusal_and_noise_are_shown_as_what_they_are() -> None:
    (refused,) = interpreted("00010000", "02", 0xD1)
    assert refused.id == "refused"
    assert "no such data" in str(refused.value)
    assert interpreted("00010000", "00000200 56341200") == []
    assert meter(MemoryLine(lambda request: []), {"it": "00010000"}).interpretations("m.it", b"") == ()
