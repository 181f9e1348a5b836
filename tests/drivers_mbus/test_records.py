"""Records byte by byte; the expected values come from the standard's tables, not from an encoder."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.mbus import vif
from drivers.mbus.records import (
    ERROR,
    FIXED,
    VARIABLE,
    VARIABLE_HIGH_FIRST,
    Function,
    Record,
    Telegram,
    identification,
    manufacturer_text,
    parse,
    read_bcd,
)
from drivers.mbus.vif import Form
from gateway.model import Value

HEADER = bytes.fromhex("78034911 7704 0E 16 0A 00 0000")
NOW = Function.INSTANTANEOUS


def telegram(records: str) -> Telegram:
    return parse(VARIABLE, HEADER + bytes.fromhex(records))


def one(record: str) -> Record:
    parsed = telegram(record)
    assert parsed.fault is None
    (found,) = parsed.records
    return found


def test_the_header_names_the_meter() -> None:
    header = telegram("").header
    assert header is not None
    assert (header.id, header.manufacturer, header.version, header.medium) == ("11490378", "ACW", 14, 0x16)
    assert (header.access, header.status, header.signature) == (10, 0, 0)
    assert manufacturer_text(0x2C2D) == "KAM"


@pytest.mark.parametrize(
    ("record", "quantity", "value", "unit"),
    [
        ("01 13 80", "volume", None, "m3"),  # the smallest integer: invalid
        ("01 13 FF", "volume", -0.001, "m3"),
        ("02 13 E803", "volume", 1, "m3"),
        ("03 13 FFFFFF", "volume", -0.001, "m3"),
        ("04 13 31D40000", "volume", 54.321, "m3"),
        ("06 13 010000000000", "volume", 0.001, "m3"),
        ("07 10 FFFFFFFFFFFFFF7F", "volume", 9223372036854.775807, "m3"),
        ("09 06 99", "energy", 99, "kW.h"),
        ("0A 5A 1507", "flow_temperature", 71.5, "Cel"),
        ("0B 3B 2500F0", "flow", -0.025, "m3/h"),
        ("0C 06 78563412", "energy", 12345678, "kW.h"),
        ("0E 00 785634129012", "energy", 129012.345678, "kW.h"),
        ("0A 5A A507", "flow_temperature", None, "Cel"),
        ("0C 2B DDDDDDDD", "power", None, "kW"),
        ("0A 5A FFFF", "flow_temperature", None, "Cel"),
        ("05 5B 0000B842", "flow_temperature", 92.0, "Cel"),
        ("05 2B 0000C07F", "power", None, "kW"),
        ("05 2E 0000803F", "power", 1.0, "kW"),
        ("00 13", "volume", None, "m3"),
        ("08 13", "volume", None, "m3"),
        ("0D 13 C2 3412", "volume", 1.234, "m3"),
        ("0D 13 D2 3412", "volume", -1.234, "m3"),
        ("0D FD10 05 4F4C4C4548", "customer_location", "HELLO", None),
        ("0D FD10 E2 3412", "customer_location", "1234", None),
        ("0D FD10 F0" + "00" * 16, "customer_location", "00" * 16, None),
        ("02 6C CD13", "date", "2014-03-13", None),
        ("02 6C 0000", "date", None, None),
        ("02 6C FFFF", "date", None, None),
        ("04 6D 0B0BCD13", "time", "2014-03-13T11:11:00", None),
        ("04 6D 8B0BCD13", "time", None, None),  # the meter says that its clock is not valid
        ("04 6D 0B2BCD13", "time", "2014-03-13T11:11:00", None),  # century 1
        ("06 6D 210B0BCD1300", "time", "2014-03-13T11:11:33", None),
        ("03 6D 210B0B", "time", "11:11:33", None),
        ("02 22 1000", "on_time", 57600, "s"),
        ("04 40 E8030000", "flow", 0.006, "m3/h"),
        ("04 48 E8030000", "flow", 0.0036, "m3/h"),
        ("04 0E 01000000", "energy_joule", 1, "MJ"),
        ("04 FB01 02000000", "energy", 2000, "kW.h"),
        ("02 FB1A 2A02", "humidity", 55.4, "%"),
        ("02 FD48 0509", "voltage", 230.9, "V"),
        ("04 FD59 E8030000", "current", 1, "A"),
        ("0C 78 78034901", "fabrication_number", "01490378", None),
        ("02 FD17 00FF", "error_flags", 0xFF00, None),
        ("02 FC03 48 52 25 74 D411", "text:%RH", 45.64, None),
        ("04 7C 01 43 F30D0000", "text:C", 3571, None),
        ("02 93 75 E803", "volume", 0.1, "m3"),  # correction factor 10**-1
        ("02 93 7D E803", "volume", 1000, "m3"),
        ("02 6F 0100", "vif 6F", 1, None),
        ("02 FD7A 0100", "vif FD 7A", 1, None),
    ],
)
def test_a_value_and_its_unit(record: str, quantity: str, value: Value | None, unit: str | None) -> None:
    found = one(record)
    assert (found.quantity, found.value, found.unit) == (quantity, value, unit)
    assert found.key == (quantity, "", 0, 0, 0, NOW)


@pytest.mark.parametrize(
    ("record", "key"),
    [
        ("44 13 00000000", ("volume", "", 1, 0, 0, NOW)),
        ("84 01 13 00000000", ("volume", "", 2, 0, 0, NOW)),
        ("C4 01 13 00000000", ("volume", "", 3, 0, 0, NOW)),
        ("84 10 13 00000000", ("volume", "", 0, 1, 0, NOW)),
        ("84 40 13 00000000", ("volume", "", 0, 0, 1, NOW)),
        ("84 80 40 13 00000000", ("volume", "", 0, 0, 2, NOW)),
        ("C4 F1 72 13 00000000", ("volume", "", 1 + 2 * 1 + 32 * 2, 15, 3, NOW)),
        ("14 2B 00000000", ("power", "", 0, 0, 0, Function.MAXIMUM)),
        ("24 2B 00000000", ("power", "", 0, 0, 0, Function.MINIMUM)),
        ("34 2B 00000000", ("power", "", 0, 0, 0, Function.ERROR)),
        ("04 863B 00000000", ("energy", "positive", 0, 0, 0, NOW)),
        ("04 ABFF01 00000000", ("power", "FF01", 0, 0, 0, NOW)),
        ("04 7F 00000000", ("manufacturer_specific", "", 0, 0, 0, NOW)),
        ("04 FF52 00000000", ("manufacturer_specific", "52", 0, 0, 0, NOW)),
    ],
)
def test_what_a_record_is_found_by(record: str, key: tuple[object, ...]) -> None:
    assert one(record).key == key


@pytest.mark.parametrize(
    ("record", "modifier", "value", "unit"),
    [
        ("04 863B 01000000", "positive", 1, "kW.h"),
        ("04 8622 01000000", "per_hour", 1, None),
        ("02 EC7E CD13", "future", "2014-03-13", None),
        ("02 9339 CD13", "start_date", "2014-03-13", None),
        ("02 AB6A CD13", "6A", "2014-03-13", None),
    ],
)
def test_a_modifier_may_change_what_the_value_is(record: str, modifier: str, value: Value, unit: str | None) -> None:
    found = one(record)
    assert (found.modifier, found.value, found.unit) == (modifier, value, unit)


def test_a_record_error_is_no_value() -> None:
    found = one("02 AB05 0100")
    assert (found.quantity, found.value, found.error) == ("power", None, 5)


def test_fillers_are_passed_over_and_makers_data_end_the_records() -> None:
    parsed = telegram("2F 2F 01 13 05 2F 0F 01 13")
    assert parsed.records == (
        Record("volume", 0.005, "m3"),
        Record("manufacturer_data", "01 13"),
    )
    assert not parsed.more_follows
    assert telegram("01 13 05 1F").more_follows


@pytest.mark.parametrize(
    ("records", "code", "offset"),
    [
        ("04 13 00 00 00", "record_cut_off", 17),
        ("04", "record_cut_off", 13),
        ("84", "record_cut_off", 13),
        ("04 93", "record_cut_off", 14),
        ("04 FD", "record_cut_off", 14),
        ("04 FC 03 48", "record_cut_off", 16),
        ("0D 13", "record_cut_off", 14),
        ("0D 13 C4 00", "record_cut_off", 16),
        ("84" + "80" * 11 + "00 13", "too_long", 23),
        ("04 93" + "A2" * 11 + "22", "too_long", 24),
        ("3F 13 00", "bad_dif", 12),
        ("8F 13 00", "bad_dif", 12),
        ("0D 13 CA", "bad_length", 14),
        ("0D 13 FF", "bad_length", 14),
    ],
)
def test_what_is_broken_is_located_and_what_stood_before_it_is_kept(records: str, code: str, offset: int) -> None:
    for before in ("", "0113 05"):
        parsed = telegram(before + records)
        assert parsed.fault is not None
        shift = len(bytes.fromhex(before))
        assert (parsed.fault.code, parsed.fault.offset) == (code, offset + shift)
        assert len(parsed.records) == bool(before)
        assert not parsed.more_follows


def test_encrypted_data_are_not_taken_for_records() -> None:
    parsed = parse(VARIABLE, HEADER[:-2] + b"\x00\x05" + bytes.fromhex("0113 05"))
    assert parsed.fault is not None
    assert (parsed.fault.code, parsed.records) == ("encrypted", ())


@pytest.mark.parametrize(("ci", "code"), [(0x77, "byte_order"), (0x78, "bad_ci"), (0x7B, "bad_ci")])
def test_what_is_not_built_says_so(ci: int, code: str) -> None:
    fault = parse(ci, HEADER).fault
    assert fault is not None
    assert fault.code == code


def test_the_high_byte_may_come_first() -> None:
    low = HEADER + bytes.fromhex(
        "04 13 31D40000 0B 3B 2500F0 05 5B 0000B842 02 6C CD13 02 FC03 485225 74 D411 0D 78 03 434241"
    )
    high = bytes.fromhex(
        "11490378 0477 0E 16 0A 00 0000"
        "04 13 0000D431 0B 3B F00025 05 5B 42B80000 02 6C 13CD 02 FC03 255248 74 11D4 0D 78 03 414243"
    )
    assert parse(VARIABLE_HIGH_FIRST, high) == parse(VARIABLE, low)
    assert len(parse(VARIABLE, low).records) == 6
    assert identification(VARIABLE_HIGH_FIRST, high) == identification(VARIABLE, low) == "1149037804770E16"


def test_a_meter_may_refuse_as_a_whole() -> None:
    assert parse(ERROR, b"\x08") == Telegram(None, error=8)
    assert parse(ERROR, b"") == Telegram(None, error=0)


def test_the_fixed_structure_has_two_counters() -> None:
    data = bytes.fromhex("78563412 0A 00 E97E 01000000 35010000")
    parsed = parse(FIXED, data)
    assert parsed.records == (Record("volume", 0.001, "m3"), Record("volume", 0.135, "m3", storage=1))
    binary = parse(FIXED, data[:5] + b"\x03" + data[6:])
    assert binary.records[1] == Record("volume", 0.309, "m3", storage=1)
    assert parse(FIXED, data[:-1]).fault is not None


@given(st.integers(-(10**7) + 1, 10**8 - 1))
def test_bcd_is_its_digits(number: int) -> None:
    text = f"F{-number:07}" if number < 0 else f"{number:08}"
    assert read_bcd(bytes.fromhex(text)[::-1]) == number


@given(st.sampled_from([0x70, 0x71, 0x72, 0x73, 0x76, 0x77, 0x7A]), st.binary(max_size=252))
def test_any_data_are_read_without_fault_of_ours(ci: int, data: bytes) -> None:
    parsed = parse(ci, data)
    assert parsed.fault is None or 0 <= (parsed.fault.offset or 0) <= len(data)


@given(st.lists(st.sampled_from([bytes((n,)) for n in (0x0D, 0x84, 0xFD, 0xFC, 0x7D, 0x05, 0x02, 0x13, 0xFF)])))
def test_any_records_are_read_without_fault_of_ours(parts: list[bytes]) -> None:
    parsed = parse(VARIABLE, HEADER + b"".join(parts)[:240])
    assert parsed.header is not None


@given(st.integers(-(2**31) + 1, 2**31 - 1), st.integers(0, 7))
def test_decimals_are_exact(number: int, n: int) -> None:
    found = one((bytes((0x04, 0x10 + n)) + struct.pack("<i", number)).hex())
    assert found.value == float(f"{number}e{n - 6}")


def test_a_quantity_has_one_unit_and_one_form() -> None:
    seen: dict[str, tuple[str | None, Form]] = {}
    ran = 0
    for _, code, quantity in vif.codes():
        assert 0 <= code < 0x80
        assert seen.setdefault(quantity.name, (quantity.unit, quantity.form)) == (quantity.unit, quantity.form)
        ran += 1
    assert ran > 250
    assert vif.NAMES.keys() >= seen.keys()
