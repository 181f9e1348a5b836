from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from drivers.dlt645.frame import BROADCAST, WILDCARD, Frame
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter, SimValue

VALUES: dict[str, SimValue] = {
    "00010000": Decimal("1234.56"),
    "00010100": Decimal("1.00"),
    "00010300": Decimal("3.00"),
    "02030000": Decimal("-1.5"),
    "02010100": None,
    "01010000": Decimal("0.5"),
    "01010000.time": "1705062251",
    "04000404": "220V",
    "04000503": "0050",
}
ENERGY = bytes.fromhex("00000100")


def line(*addresses: str, most_data: int = 200) -> Dlt645SimLine:
    return Dlt645SimLine([Dlt645SimMeter(address, VALUES.__getitem__, most_data=most_data) for address in addresses])


def said(on: Dlt645SimLine, address: str, control: int, data: bytes) -> list[tuple[str, Frame]]:
    answers = on.feed(Frame(address, control, data).to_bytes(4))
    return [(address, Frame.from_bytes(answer)) for address, answer in answers]


@pytest.mark.parametrize(
    ("di", "data"),
    [
        ("00010000", "56341200"),
        ("02030000", "005081"),
        ("02010100", "FFFF"),
        ("01010000", "005000 5122060517"),
        ("04000404", "563032320000"),
        ("04000503", "5000"),
        ("0001FF00", "56341200 00010000 FFFFFFFF 00030000"),  # no tariff 2; nothing behind tariff 3
    ],
)
def test_a_register_is_said_as_the_table_writes_it(di: str, data: str) -> None:
    identifier = bytes.fromhex(di)[::-1]
    (answer,) = said(line("000000000001"), "000000000001", 0x11, identifier)
    assert answer == ("000000000001", Frame("000000000001", 0x91, identifier + bytes.fromhex(data)))


@pytest.mark.parametrize(
    ("address", "control", "data", "answered_by"),
    [
        ("000000000001", 0x11, ENERGY, ["000000000001"]),
        ("000000000003", 0x11, ENERGY, []),
        (WILDCARD, 0x11, ENERGY, ["000000000001", "000000000002"]),
        (WILDCARD, 0x13, b"", ["000000000001", "000000000002"]),
        ("AAAAAAAAAA02", 0x13, b"", ["000000000002"]),
        (BROADCAST, 0x08, bytes(6), []),
        ("000000000001", 0x08, bytes(6), []),
        ("000000000001", 0x01, b"\x10\x90", []),  # the older standard: not understood
        ("000000000001", 0x91, ENERGY, []),  # an answer is not a question
    ],
)
def test_who_answers(address: str, control: int, data: bytes, answered_by: list[str]) -> None:
    assert [who for who, _ in said(line("000000000001", "000000000002"), address, control, data)] == answered_by


@pytest.mark.parametrize(
    ("control", "data", "code"),
    [
        (0x11, "09008002", 0x02),
        (0x11, "1090", 0x02),
        (0x11, "00FF0200", 0x02),
        (0x12, "0000010001", 0x02),
        (0x14, "0101000402123456", 0x04),
        (0x1C, "00" * 16, 0x04),
    ],
)
def test_what_it_does_not_have_or_allow_is_refused(control: int, data: str, code: int) -> None:
    ((_, answer),) = said(line("000000000001"), "000000000001", control, bytes.fromhex(data))
    assert (answer.control, answer.data) == (control | 0xC0, bytes((code,)))


def test_a_long_answer_is_continued_and_may_be_asked_for_twice() -> None:
    on = line("000000000001", most_data=4 + 8)
    identifier = bytes.fromhex("00FF0100")
    ((_, first),) = said(on, "000000000001", 0x11, identifier)
    assert (first.control, first.data[4:].hex()) == (0xB1, "5634120000010000")
    for _ in range(2):
        ((_, second),) = said(on, "000000000001", 0x12, identifier + b"\x01")
        assert (second.control, second.data[4:-1].hex(), second.data[-1]) == (0xB2, "ffffffff000300", 1)
    ((_, third),) = said(on, "000000000001", 0x12, identifier + b"\x02")
    assert (third.control, third.data[4:-1].hex(), third.data[-1]) == (0x92, "00", 2)
    ((_, beyond),) = said(on, "000000000001", 0x12, identifier + b"\x03")
    assert beyond.refused


def test_requests_may_come_in_any_portions_between_noise() -> None:
    request = Frame("000000000001", 0x11, ENERGY).to_bytes(4)
    stream = b"\x68\x00\xff" + request + b"\x68" * 9 + request
    whole = line("000000000001").feed(stream)
    assert len(whole) == 2
    on = line("000000000001")
    assert [answer for byte in stream for answer in on.feed(bytes((byte,)))] == whole


def test_noise_without_end_is_not_kept() -> None:
    on = line("000000000001")
    for _ in range(100):
        on.feed(b"\x68\x16" * 50)
    assert len(on._received) < 300
    assert len(on.feed(Frame("000000000001", 0x11, ENERGY).to_bytes())) == 1


@pytest.mark.parametrize("value", [Decimal("1000000"), Decimal("-1"), "12"])
def test_what_does_not_fit_its_format_is_a_fault_of_the_test_that_set_it(value: SimValue) -> None:
    meter = Dlt645SimMeter("000000000001", lambda di: value)
    with pytest.raises(ValueError, match=r"fit|said"):
        Dlt645SimLine([meter]).feed(Frame("000000000001", 0x11, ENERGY).to_bytes())


# ---------------------------------------------------------------------- what it keeps, and whom it obeys

NOW = datetime(2026, 6, 5, 10, 22, 51)  # noqa: DTZ001 -- meters have no zone
REGISTERS: dict[str, SimValue] = {
    **{f"0001{tariff:02X}00": Decimal(100 + tariff) for tariff in range(3)},
    "01010000": Decimal("1.5"),
    "01010000.time": "2606010800",
    "02030000": Decimal("0.5"),
    "02040000": Decimal("0.1"),
    "04000503": "0001",
}


def keeping(**options: Any) -> tuple[Dlt645SimMeter, Dlt645SimLine]:
    meter = Dlt645SimMeter("000000000001", dict(REGISTERS).__getitem__, clock=lambda: NOW, **options)
    return meter, Dlt645SimLine([meter])


def asked(on: Dlt645SimLine, control: int, data: str) -> Frame:
    ((_, frame),) = said(on, "000000000001", control, bytes.fromhex(data))
    return frame


def test_a_freeze_keeps_what_was_and_the_latest_is_the_first() -> None:
    meter, on = keeping()
    assert asked(on, 0x11, "01000105").refused
    assert asked(on, 0x16, "99999999") == Frame("000000000001", 0x96)
    meter.values = {**REGISTERS, "00010000": Decimal(200)}.__getitem__
    meter.freeze()
    assert asked(on, 0x11, "01000105").data[4:].hex() == "2210050626"
    assert asked(on, 0x11, "02010105").data[4:].hex() == "000001000001010000020100"
    assert asked(on, 0x11, "01010105").data[4:].hex() == "000002000001010000020100"
    assert asked(on, 0x11, "01090105").data[4:].hex() == "0050010008010626"
    assert asked(on, 0x11, "03010105").refused
    meter.freeze("06")
    assert asked(on, 0x11, "01010605").data[4:8].hex() == "00000200"
    meter.freeze("04")
    assert asked(on, 0x11, "01010405").data[4:].hex() == "00000200"  # hourly: the total alone


def test_the_powers_of_a_freeze_are_there_when_the_meter_has_them_all() -> None:
    meter, on = keeping()
    meter.freeze()
    assert asked(on, 0x11, "01100105").refused
    phases = {f"02{kind}{n:02X}00": Decimal(n) for kind in ("03", "04") for n in range(4)}
    meter.values = {**REGISTERS, **phases}.__getitem__
    meter.freeze()
    assert asked(on, 0x11, "01100105").data[4:].hex() == ("000000000001000002000003") * 2


def test_settlement_days_move_on() -> None:
    meter, on = keeping()
    meter.settle()
    meter.values = {**REGISTERS, "00010000": Decimal(200)}.__getitem__
    meter.settle()
    assert asked(on, 0x11, "01000100").data[4:].hex() == "00000200"
    assert asked(on, 0x11, "02000100").data[4:].hex() == "00000100"
    assert asked(on, 0x11, "01FF0100").data[4:].hex() == "000002000001010000020100"
    assert asked(on, 0x11, "01000101").data[4:].hex() == "0050010008010626"
    assert asked(on, 0x11, "03000100").refused


def test_the_clock_is_the_worlds_until_it_is_set() -> None:
    _, on = keeping()
    assert asked(on, 0x11, "0C010004").data[4:].hex() == "51221005050626"
    assert asked(on, 0x14, "020100040200000000000000000012") == Frame("000000000001", 0x94)
    assert asked(on, 0x11, "0C010004").data[4:].hex() == "00001205050626"
    assert asked(on, 0x14, "020100040200000000000000000025").data == b"\x02"  # no such time
    assert asked(on, 0x14, "00010000020000000000000000000000").data == b"\x02"  # nothing to be written
    assert said(on, BROADCAST, 0x08, bytes.fromhex("512210070626")) == []
    assert asked(on, 0x11, "01010004").data[4:].hex() == "00070626"  # a Sunday
    assert said(on, BROADCAST, 0x16, b"\x99" * 4) == []
    assert asked(on, 0x11, "01000105").data[4:].hex() == "2210070626"


@pytest.mark.parametrize(
    ("commands", "word"),
    [
        (["1A"], "5100"),
        (["1A", "1B"], "1100"),
        (["1A", "1C"], "0100"),
        (["2A"], "8100"),
        (["3A"], "0110"),
        (["2A", "3A", "2B"], "0110"),
        (["7F"], "0100"),
    ],
)
def test_commands_move_the_bits_of_status_word_3(commands: list[str], word: str) -> None:
    _, on = keeping()
    for command in commands:
        reply = asked(on, 0x1C, "020000002A000000" + command + "00000011050626")
        assert reply.refused is (command == "7F")
    assert asked(on, 0x11, "03050004").data[4:].hex() == word


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("02000001000000001A00000011050626", 0x04),
        ("04000000000000001A00000011050626", 0x04),
        ("02000000000000001A00000010050626", 0x01),  # its time is over
        ("02000000000000001A00000000000000", 0x01),  # no such time
        ("02000000000000001A00", 0x01),
    ],
)
def test_what_is_not_permitted_moves_nothing(data: str, code: int) -> None:
    meter, on = keeping()
    reply = asked(on, 0x1C, data)
    assert (reply.control, reply.data) == (0xDC, bytes((code,)))
    assert not meter.relay_open


def test_refusals_can_be_scripted() -> None:
    _, on = keeping(refusals={"00010000": 0x01, 0x1C: 0x44, 0x13: 0x08})
    assert asked(on, 0x11, "00000100").data == b"\x01"
    assert not asked(on, 0x11, "00010100").refused
    assert asked(on, 0x1C, "00" * 16).data == b"\x44"
    assert asked(on, 0x13, "").data == b"\x08"


@pytest.mark.parametrize("separators", [False, True])
def test_a_meter_of_1997_answers_as_its_own_standard_says(separators: bool) -> None:
    values: dict[str, SimValue] = {"B611": Decimal(223), "B612": Decimal(222), "C032": "000000000001"}
    sim = Dlt645SimMeter("000000000001", values.__getitem__, edition="1997", separators=separators, most_data=2 + 3)
    on = Dlt645SimLine([sim])
    block = "2302" + ("AA" if separators else "") + "2202"
    first = asked(on, 0x01, "1FB6")
    assert (first.control, first.data.hex().upper()) == (0xA1, "1FB6" + block[:6])
    again = asked(on, 0x03, "")
    assert (again.control, again.data) == (0xA3, first.data)
    second = asked(on, 0x02, "1FB6")
    assert (second.control, second.data.hex().upper()) == (0x82, "1FB6" + block[6:])
    assert asked(on, 0x02, "1FB6").data == b"\x02"
    assert asked(on, 0x01, "1090").data == b"\x02"
    assert asked(on, 0x04, "00" * 8).data == b"\x04"
    for control, data in ((0x11, ENERGY), (0x13, b""), (0x1C, bytes(16))):  # of another standard
        assert said(on, "000000000001", control, data) == []


def test_a_captured_answer_of_1997_is_said_as_it_was() -> None:
    sim = Dlt645SimMeter("010003635927", {"B611": Decimal(223)}.__getitem__, edition="1997")
    request = bytes.fromhex("68 27 59 63 03 00 01 68 01 02 44 E9 E7 16")
    answer = bytes.fromhex("FE FE FE FE 68 27 59 63 03 00 01 68 81 04 44 E9 56 35 F4 16")
    assert Dlt645SimLine([sim]).feed(request) == [("010003635927", answer)]


def test_wildcards_may_be_echoed() -> None:
    sim = Dlt645SimMeter("000000000001", {"9010": Decimal(1)}.__getitem__, edition="1997", echoes_wildcards=True)
    ((_, answer),) = said(Dlt645SimLine([sim]), WILDCARD, 0x01, b"\x10\x90")
    assert answer.address == WILDCARD
