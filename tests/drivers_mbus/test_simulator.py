from __future__ import annotations

from decimal import Decimal

import pytest

from drivers.mbus.frame import Frame
from drivers.mbus.simulator import MbusSimLine, SimRecord, on_wire
from drivers_mbus.rig import ENERGY, VOLUME, sim_meter

NKE, REQ_1, REQ_0 = Frame(0x40, 5), Frame(0x7B, 5), Frame(0x5B, 5)


def said(line: MbusSimLine, request: Frame) -> list[tuple[str, bytes]]:
    return line.feed(request.to_bytes())


@pytest.mark.parametrize(
    ("record", "wire"),
    [
        (ENERGY, "0c 06 34 12 00 00"),
        (VOLUME, "04 13 31 d4 00 00"),
        (SimRecord(b"\x0b", b"\x3b", -25), "0b 3b 25 00 f0"),
        (SimRecord(b"\x01", b"\x13", -1), "01 13 ff"),
        (SimRecord(b"\x0d", b"\x78", b"\x01A"), "0d 78 01 41"),
    ],
)
def test_a_record_is_said_as_the_standard_writes_it(record: SimRecord, wire: str) -> None:
    assert record.to_bytes().hex(" ") == wire


@pytest.mark.parametrize("record", [SimRecord(b"\x09", b"\x13", 100), SimRecord(b"\x01", b"\x13", 128)])
def test_what_does_not_fit_is_a_fault_of_the_test_that_set_it(record: SimRecord) -> None:
    with pytest.raises((ValueError, OverflowError)):
        record.to_bytes()


def test_a_value_becomes_the_number_on_the_wire() -> None:
    assert on_wire(Decimal("54.3219"), -3) == 54321
    assert on_wire(Decimal("1200"), 2) == 12


@pytest.mark.parametrize(
    ("request_", "answered_by"),
    [
        (NKE, ["5"]),
        (Frame(0x40, 254), ["5", "6"]),
        (Frame(0x40, 253), []),
        (Frame(0x7B, 7), []),
        (Frame(0x7B, 253), []),
        (Frame(0x5A, 5), []),
        (Frame(0x08, 5, 0x72, b"\x00"), []),
        (Frame(0x53, 253, 0x52, bytes.fromhex("FFFFFFFFFFFFFFFF")), ["5", "6"]),
        (Frame(0x53, 253, 0x52, bytes.fromhex("780349F1FFFFFFFF")), ["5"]),
        (Frame(0x53, 253, 0x52, bytes.fromhex("780349")), []),
    ],
)
def test_who_answers(request_: Frame, answered_by: list[str]) -> None:
    line = MbusSimLine([sim_meter((VOLUME,)), sim_meter((VOLUME,), primary=6, id="11490379")])
    assert [who for who, _ in said(line, request_)] == answered_by


def test_an_unchanged_frame_count_bit_gets_the_same_telegram_again() -> None:
    line = MbusSimLine([sim_meter((ENERGY,), (VOLUME,))])
    first, again, second, around = (said(line, each)[0][1] for each in (REQ_1, REQ_1, REQ_0, REQ_1))
    assert first == again == around != second
    assert b"\x1f" in first[-3:-2]
    said(line, REQ_0)
    said(line, NKE)
    assert said(line, REQ_0)[0][1] == first


def test_a_selected_meter_answers_for_253_until_another_is_selected() -> None:
    line = MbusSimLine([sim_meter((VOLUME,)), sim_meter((VOLUME,), primary=6, id="11490379")])
    request = Frame(0x7B, 253)
    for identity, who in (("78034911", "5"), ("79034911", "6")):
        said(line, Frame(0x53, 253, 0x52, bytes.fromhex(identity + "FF" * 4)))
        assert [each for each, _ in said(line, request)] == [who]
    said(line, Frame(0x40, 253))
    assert said(line, request) == []


def test_requests_may_come_in_any_portions_between_noise() -> None:
    stream = b"\x68\x00" + REQ_1.to_bytes() + b"\x10" * 9 + REQ_1.to_bytes()
    whole = MbusSimLine([sim_meter((VOLUME,))]).feed(stream)
    assert len(whole) == 2
    line = MbusSimLine([sim_meter((VOLUME,))])
    assert [answer for byte in stream for answer in line.feed(bytes((byte,)))] == whole


def test_noise_without_end_is_not_kept() -> None:
    line = MbusSimLine([sim_meter((VOLUME,))])
    for _ in range(100):
        line.feed(b"\x68\xff\xff\x68" * 50)
    assert len(line._received) < 300
    for _ in range(60):
        line.feed(b"\x00" * 5)
    assert len(said(line, REQ_1)) == 1
