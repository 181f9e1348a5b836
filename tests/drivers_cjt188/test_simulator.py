from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from drivers.cjt188.frame import ANY_TYPE, BROADCAST, WILDCARD, Frame, request
from drivers.cjt188.items import HEAT, VOLUME
from drivers.cjt188.simulator import Cjt188SimLine, Cjt188SimMeter, SimValue, SimValve
from drivers_cjt188.rig import HEAT as HEAT_ADDRESS
from drivers_cjt188.rig import WATER, heat, water

READ = request(0x10, WATER, 0x01, "901F", 7)


def line() -> Cjt188SimLine:
    return Cjt188SimLine([water(), heat()])


@pytest.mark.parametrize(
    ("asked", "answered_by"),
    [
        (READ, [WATER]),
        (request(0x11, WATER, 0x01, "901F", 7), []),
        (request(ANY_TYPE, WATER, 0x01, "901F", 7), [WATER]),
        (request(0x20, HEAT_ADDRESS, 0x01, "901F", 7), [HEAT_ADDRESS]),
        (request(0x10, "00000000000404", 0x01, "901F", 7), []),
        (request(0x10, WILDCARD, 0x01, "901F", 7), [WATER]),
        (request(ANY_TYPE, WILDCARD, 0x03, "810A", 0), [WATER, HEAT_ADDRESS]),
        (request(0x10, BROADCAST, 0x01, "901F", 7), []),
        (request(0x10, WATER, 0x81, "901F", 7), []),  # an answer is not a question
        (request(0x10, WATER, 0x2A, "A017", 7), []),  # a vendor's own code
        (Frame(0x10, WATER, 0x01, b"\x90\x1f"), []),
    ],
)
def test_who_answers(asked: Frame, answered_by: list[str]) -> None:
    assert [who for who, _ in line().feed(asked.to_bytes(4))] == answered_by


@pytest.mark.parametrize(
    ("control", "di"), [(0x01, "D12B"), (0x01, "8106"), (0x03, "901F"), (0x04, "A017"), (0x15, "A018"), (0x16, "A016")]
)
def test_what_it_does_not_have_or_allow_is_refused(control: int, di: str) -> None:
    said = water().answer(request(0x10, WATER, control, di, 7))
    assert said == Frame(0x10, WATER, control | 0xC0, b"\x07\x00\x01")
    assert said.refused


@pytest.mark.parametrize(
    ("options", "type_", "data"),
    [
        ({}, 0x10, "1F90 07 563412002C"),
        ({"unit_first": True}, 0x10, "1F90 07 2C56341200"),
        ({"units": {"volume": 0x29}}, 0x10, "1F90 07 5634120029"),
        ({"sequence": 0x96}, 0x10, "1F90 96 563412002C"),
        ({"answer_type": 0x15}, 0x15, "1F90 07 563412002C"),
        ({"di_order": "low_first"}, 0x10, "1F90 07 563412002C"),
    ],
)
def test_habits_of_real_meters(options: dict[str, Any], type_: int, data: str) -> None:
    said = water(**options).answer(request(0x10, WATER, 0x01, "901F", 7, low_first=True))
    assert said is not None
    assert (said.type, said.control) == (type_, 0x81)
    assert said.data.startswith(bytes.fromhex(data))
    assert len(said.content) == VOLUME.size


@pytest.mark.parametrize("order", ["high_first", "low_first"])
def test_an_identifier_in_the_wrong_order_is_not_understood(order: str) -> None:
    for low_first in (False, True):
        asked = request(0x20, HEAT_ADDRESS, 0x01, "901F", 7, low_first)
        said = heat(di_order=order).answer(asked)
        assert (said is not None) == (low_first == (order == "low_first"))
        assert said is None or len(said.content) == HEAT.size


def test_a_field_that_holds_no_value_is_filled() -> None:
    empty = Cjt188SimMeter(WATER, 0x10, lambda name: None)
    said = empty.answer(READ)
    assert said is not None
    assert said.content == bytes.fromhex("FFFFFFFF2C FFFFFFFF2C FFFFFFFFFFFFFF FFFF")


def test_requests_may_come_in_any_portions_between_noise() -> None:
    stream = b"\x68\x00\xff" + READ.to_bytes(4) + b"\x68" * 9 + READ.to_bytes()
    whole = line().feed(stream)
    assert len(whole) == 2
    on = line()
    assert [answer for byte in stream for answer in on.feed(bytes((byte,)))] == whole


def test_noise_without_end_is_not_kept() -> None:
    on = line()
    for _ in range(100):
        on.feed(b"\x68\x16" * 50)
    assert len(on._received) < 300
    assert len(on.feed(READ.to_bytes())) == 1


@pytest.mark.parametrize("value", [Decimal("1000000"), Decimal("-1"), "12"])
def test_what_does_not_fit_is_a_fault_of_the_test_that_set_it(value: SimValue) -> None:
    with pytest.raises(ValueError, match=r"fit|said"):
        Cjt188SimMeter(WATER, 0x10, lambda name: value).answer(READ)


# ---------------------------------------------------------------------- valve and clock


def write(di: str, content: str, low_first: bool = False) -> Frame:
    return request(0x10, WATER, 0x04, di, 7, low_first, bytes.fromhex(content))


def test_a_valve_moves_in_its_own_time_and_can_be_told_otherwise_on_its_way() -> None:
    now = [0.0]
    valve = SimValve(lambda: now[0], motor_s=20.0)
    seen = []
    for at, code in ((0.0, 0x99), (19.9, None), (20.0, None), (30.0, 0x55), (40.0, 0x99), (59.9, None), (60.0, None)):
        now[0] = at
        if code is not None:
            assert valve.command(code)
        seen.append(valve.bits())
    assert seen == [0, 0, 1, 1, 1, 1, 1]
    assert not valve.command(0x66)


def test_a_jammed_valve_is_abnormal_until_it_is_told_where_it_stands() -> None:
    now = [0.0]
    valve = SimValve(lambda: now[0], motor_s=20.0, jammed=True)
    valve.command(0x99)
    now[0] = 20.0
    assert valve.bits() == 3
    valve.command(0x55)
    now[0] = 40.0
    assert valve.bits() == 0


@pytest.mark.parametrize("low_first", [False, True])
def test_a_valve_command_is_answered_with_the_status(low_first: bool) -> None:
    meter = water(valve=SimValve(lambda: 0.0, closed=True))
    said = meter.answer(write("A017", "55", low_first))
    assert said == Frame(0x10, WATER, 0x84, bytes.fromhex("17A0" if low_first else "A017") + b"\x07\x01\x00")


@pytest.mark.parametrize(
    ("di", "content"), [("A017", "66"), ("A017", "5555"), ("A017", ""), ("A015", "00"), ("A015", "33221005062620")]
)
def test_commands_it_does_not_know_are_refused(di: str, content: str) -> None:
    said = water(valve=SimValve(lambda: 0.0)).answer(write(di, content))
    assert said == Frame(0x10, WATER, 0xC4, b"\x07\x00\x01")
