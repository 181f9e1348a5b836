"""Application data units: the standard's, and makers' deviations."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gb26875 import simulator, tables
from drivers.gb26875.frame import Frame
from drivers.gb26875.records import (
    Adu,
    Analog,
    ComponentState,
    DeviceState,
    Info,
    Operation,
    Raw,
    SystemState,
    address_parts,
    parse,
    readable,
)
from drivers.gb26875.reports import Heard, happening
from drivers_gb26875.test_frame import RAW

TIME = datetime.datetime(2026, 11, 28, 3, 4, 5)  # noqa: DTZ001
PACKED = simulator.packed(TIME)


def adu_of(vector: str) -> Adu:
    return parse(Frame.from_bytes(RAW[vector]).adu)


def unit(said: tuple[int, bytes], times: int = 1, time: bytes = PACKED, count: int | None = None) -> bytes:
    kind, body = said
    return bytes((kind, times if count is None else count)) + (body + time) * times


def test_captured_component_in_fire() -> None:
    (record,) = adu_of("gb26875-dgiot-1").records
    assert isinstance(record, ComponentState)
    assert (record.system_type, record.system_address, record.component_type) == (1, 3, 0)
    assert address_parts(record.address) == (6, 217)
    assert tables.bits(record.state, tables.COMPONENT_BITS) == ("fire",)
    assert record.text == "Ａ区１层呷哺走廊"
    assert record.time == datetime.datetime(2020, 8, 1, 19, 18, 48)  # noqa: DTZ001


def test_captured_operation_and_heartbeat() -> None:
    (pressed,) = adu_of("gb26875-dgiot-sys").records
    assert pressed == Operation(2, 0, time=datetime.datetime(2022, 3, 3, 17, 15, 22))  # noqa: DTZ001
    assert adu_of("gb26875-stm-hb2").records == [DeviceState(1)]


def test_captured_text_field_that_holds_no_text() -> None:
    (record,) = adu_of("gb26875-stm-comp").records
    assert isinstance(record, ComponentState)
    assert tables.bits(record.state, tables.COMPONENT_BITS) == ("normal", "fault")
    assert record.text == ""
    assert record.raw_text[:6] == bytes.fromhex("FB0000000155")


def test_captured_count_that_is_larger_than_what_is_there() -> None:
    adu = adu_of("gb26875-stm-multi")
    (record,) = adu.records
    assert adu.odd
    assert isinstance(record, ComponentState)
    assert tables.bits(record.state, tables.COMPONENT_BITS) == ("fire", "fault")
    assert [tag.hex() for tag in record.tags] == ["fb0000000014", "fb0000000015", "fb0000000016"]


def test_captured_greetings_and_makers_own_types_are_kept() -> None:
    assert adu_of("gb26875-dgiot-hs") == Adu(0x16, None, (Raw(b"\x16"),), odd=True)
    (token,) = adu_of("gb26875-cannon-auth").records
    assert isinstance(token, Raw)
    for vector, text in {
        "gb26875-go-gst": "设备故障",
        "gb26875-go-fire-text": "火警",
        "gb26875-go-reset-text": "系统复位",
        "gb26875-go-first-fire-text": "首次火警",
        "gb26875-go-fault-text": "设备故障",
    }.items():
        (record,) = adu_of(vector).records
        assert isinstance(record, Raw)
        assert text in record.text


CASES = [
    (simulator.system_state(0x2003, system=(11, 9)), SystemState(11, 9, 0x2003, TIME)),
    (
        simulator.component(2, loop=300, number=7, kind=23, text="B2层"),
        ComponentState(1, 1, 23, 300 << 16 | 7, 2, "B2层", time=TIME),
    ),
    (simulator.analog(-12, analog_type=3, number=9), Analog(1, 1, 92, 1 << 16 | 9, 3, -12, TIME)),
    (simulator.operation(0b100001, operator=3), Operation(0b100001, 3, 1, 1, TIME)),
    (simulator.heartbeat(0x41), DeviceState(0x41, TIME)),
    (simulator.device_operation(4, operator=2), Operation(4, 2, time=TIME)),
    ((5, bytes((1, 1, 2, 13))), Info("version", "2.13", TIME)),
    ((8, bytes((1, 1)) + PACKED), Info("clock", TIME.isoformat(), TIME)),
    ((25, bytes((4, 1))), Info("device_version", "4.1", TIME)),
    ((28, PACKED), Info("clock", TIME.isoformat(), TIME)),
    (
        (7, bytes((1, 1, 42, 5, 0, 2, 0)) + "大堂".encode("gb18030").ljust(31, b"\0")),
        Info("component_config", "42 2-5 大堂", TIME),
    ),
]


@pytest.mark.parametrize(("said", "record"), CASES, ids=[str(said[0]) for said, _ in CASES])
def test_every_type_with_and_without_times_once_and_several_times(said: tuple[int, bytes], record: object) -> None:
    assert parse(unit(said)).records == [record]
    assert parse(unit(said, 3)).records == [record] * 3
    untimed = parse(unit(said, 2, b""))
    assert [each.time for each in untimed.records] == [None, None]  # type: ignore[union-attr]
    assert not untimed.odd


@pytest.mark.parametrize(("said", "record"), CASES, ids=[str(said[0]) for said, _ in CASES])
def test_a_wrong_count_loses_none_that_is_there(said: tuple[int, bytes], record: object) -> None:
    for count in (0, 1, 5, 255):
        adu = parse(unit(said, 2, count=count))
        if len(said[1]) > 6:  # shorter ones could also be several without a time
            assert adu.records == [record, record]
            assert adu.odd


def test_a_wrong_count_of_objects_without_a_time() -> None:
    first, second = simulator.component(2, number=1), simulator.component(2, number=2)
    adu = parse(bytes((2, 9)) + first[1] + second[1])
    assert [address_parts(each.address)[1] for each in adu.records if isinstance(each, ComponentState)] == [1, 2]
    assert adu.odd


def test_a_time_that_is_none_does_not_move_what_follows() -> None:
    impossible = bytes((99, 99, 99, 99, 99, 99))
    said = simulator.component(2)
    adu = parse(bytes((2, 2)) + (said[1] + impossible) * 2)
    assert [type(each) for each in adu.records] == [ComponentState, ComponentState]
    assert not adu.odd


def test_configuration_is_text_behind_its_length() -> None:
    text = "本机".encode("gb18030")
    assert parse(bytes((6, 1, 1, 1, len(text))) + text).records == [Info("system_config", "本机")]
    assert parse(bytes((26, 1, len(text))) + text).records == [Info("device_config", "本机")]
    cut = parse(bytes((26, 1, 200)) + text)
    assert cut.odd
    assert cut.records == [Info("device_config", "本机")]


def test_a_type_that_is_said_to_be_like_a_components_state() -> None:
    unknown = parse(unit((204, simulator.component(2)[1])))
    assert isinstance(unknown.records[0], Raw)
    known = parse(unit((204, simulator.component(2)[1])), frozenset((204,)))
    assert isinstance(known.records[0], ComponentState)
    assert known.type == 204


@given(st.binary(max_size=1024))
def test_any_unit_gives_something_and_every_record_is_an_event(adu: bytes) -> None:
    parsed = parse(adu)
    assert parsed.records
    assert len(parsed.records) <= max(len(adu), 1)
    heard = Heard(1_767_225_600_000, datetime.UTC)
    for record in parsed.records:
        told = happening(parsed, record, heard)
        assert told.kind.startswith("fire.")
        assert all(value is None or isinstance(value, str | int | float | bool) for value in told.attributes.values())


@given(st.integers(1, 28), st.integers(0, 255), st.binary(max_size=200))
def test_known_types_with_any_body_give_something(kind: int, count: int, body: bytes) -> None:
    assert parse(bytes((kind, count)) + body).records


def test_what_can_be_read_among_bytes() -> None:
    assert readable(b"\x01\x02" + "火警".encode("gb18030") + b"\x00\x00A1\x03") == "火警 A1"
    assert readable(bytes(50)) == ""


def test_codes_without_a_word_keep_their_number() -> None:
    assert tables.named(tables.COMPONENTS, 178).en == "maker's own 178"
    assert tables.named(tables.SYSTEMS, 5).zh == "预留 5"
    assert tables.bits(1 << 15 | 2, tables.SYSTEM_BITS) == ("fire", "bit15")
    assert set(tables.WORDS) >= {
        *tables.SYSTEM_BITS,
        *tables.COMPONENT_BITS,
        *tables.DEVICE_BITS,
        *tables.OPERATION_BITS,
    }
