from __future__ import annotations

from decimal import Decimal

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
