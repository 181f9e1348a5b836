from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlt645 import formats, items
from drivers.dlt645.encoding import encode

NUMERIC = ["XXXXXX.XX", "XXX.X", "XXX.XXX", "XX.XXXX", "X.XXX", "XX.XX", "XXXX", "XXXXXXXXXXXXXXXX"]


@pytest.mark.parametrize(
    ("format_", "signed", "wire", "value"),
    [
        ("XXXXXX.XX", False, "56 34 12 00", 1234.56),
        ("XXXXXX.XX", False, "00 00 00 80", 800000.0),
        ("XXXXXX.XX", True, "56 34 12 80", -1234.56),
        ("XXX.XXX", True, "99 49 80", -4.999),
        ("XX.XXXX", True, "99 99 79", 79.9999),
        ("X.XXX", True, "00 10", 1.0),
        ("X.XXX", True, "00 90", -1.0),
        ("XXX.X", True, "50 80", -5.0),
        ("XXXX", False, "23 02", 223),
        ("XXXXXX.XX", True, "00 00 00 80", 0.0),
        ("XXXXXX.XX", False, "FF FF FF FF", None),
        ("XXXXXX.XX", True, "FF FF FF FF", None),
        ("XXXXXX.XX", False, "5A 34 12 00", None),
        ("XXX.X", False, "A0 22", None),
        ("YYMMDDhhmm", False, "51 22 06 05 17", "2017-05-06T22:51:00"),
        ("YYMMDD", False, "10 05 18", "2018-05-10"),
        ("YYMMDD", False, "31 02 26", None),
        ("YYMMDDhhmm", False, "00 00 00 00 00", None),
        ("YYMMDDhhmmss", False, "51 22 10 05 06 17", "2017-06-05T10:22:51"),
        ("hhmmss", False, "51 22 10", "10:22:51"),
        ("hhmmss", False, "51 22 24", None),
        ("hhmmss", False, "FF FF FF", None),
        ("bits16", False, "50 00", "0050"),
        ("bits16", False, "FF FF", None),
        ("bits8", False, "A5", "A5"),
        ("N" * 12, False, "01 01 19 00 00 00", "000000190101"),
        ("N" * 12, False, "01 01 19 00 00 AA", None),
        ("ascii6", False, "56 30 32 32 00 00", "220V"),
        ("ascii6", False, "00 00 00 00 00 00", None),
        ("ascii6", False, "56 30 32 07 00 00", None),
    ],
)
def test_each_format_reads(format_: str, signed: bool, wire: str, value: object) -> None:
    read = formats.layout(format_, signed).read(bytes.fromhex(wire))
    assert read == value
    assert str(read) != "-0.0"


@pytest.mark.parametrize("format_", ["", "X", "XXX", "XX.", "XX.X.X", "NN", "X" * 18, "YYMM", "float"])
def test_what_is_no_format_is_refused(format_: str) -> None:
    with pytest.raises(ValueError, match="not a format"):
        formats.layout(format_)


@given(st.data())
def test_numbers_survive_the_wire(data: st.DataObject) -> None:
    """Encoder and reader share the format's text and nothing else."""
    format_, signed = data.draw(st.sampled_from(NUMERIC)), data.draw(st.booleans())
    digits, places = format_.count("X"), len(format_.partition(".")[2])
    limit = 10**digits * 8 // 10 - 1 if signed else 10**digits - 1
    number = Decimal(data.draw(st.integers(-limit if signed else 0, limit))).scaleb(-places)
    item = formats.Item("test", (formats.Part(format_, signed=signed),))
    wire = encode("00000000", item, lambda di: number)
    assert formats.layout(format_, signed).read(wire) == (float(number) if places else int(number))


@given(st.sampled_from(NUMERIC), st.booleans(), st.binary(min_size=8, max_size=8))
def test_a_broken_digit_is_never_a_number(format_: str, signed: bool, noise: bytes) -> None:
    layout = formats.layout(format_, signed)
    wire = noise[: layout.size]
    magnitude = (wire[:-1] + bytes((wire[-1] & 0x7F,)) if signed else wire).hex()
    assert (layout.read(wire) is None) == any(digit in "abcdef" for digit in magnitude)


@pytest.mark.parametrize(
    ("di", "name", "format_", "unit", "signed"),
    [
        ("00000000", "combined active energy", "XXXXXX.XX", "kW.h", True),
        ("00010000", "forward active energy", "XXXXXX.XX", "kW.h", False),
        ("0001040C", "forward active energy", "XXXXXX.XX", "kW.h", False),
        ("00030000", "combined reactive energy 1", "XXXXXX.XX", "kV.A{reactive}.h", True),
        ("00440000", "reactive energy, quadrant 4, phase C", "XXXXXX.XX", "kV.A{reactive}.h", False),
        ("01010000", "forward active maximum demand", "XX.XXXX", "kW", False),
        ("02010100", "voltage", "XXX.X", "V", False),
        ("02020300", "current", "XXX.XXX", "A", True),
        ("02030000", "active power", "XX.XXXX", "kW", True),
        ("02060000", "power factor", "X.XXX", None, True),
        ("02800002", "frequency", "XX.XX", "Hz", False),
        ("02800007", "temperature inside the meter", "XXX.X", "Cel", True),
        ("04000503", "run status word 3", "bits16", None, False),
        ("9010", "forward active energy", "XXXXXX.XX", "kW.h", False),
        ("B611", "voltage", "XXXX", "V", False),
    ],
)
def test_the_table(di: str, name: str, format_: str, unit: str | None, signed: bool) -> None:
    item = items.lookup(di)
    assert item is not None
    _, part = item.main
    assert (item.name, part.format, part.unit, part.signed) == (name, format_, unit, signed)


@pytest.mark.parametrize(
    "di", ["000B0000", "00010040", "0001000D", "00150100", "02010000", "0001FF00", "FFFFFFFF", "9999"]
)
def test_what_the_table_does_not_know(di: str) -> None:
    assert items.lookup(di) is None


@pytest.mark.parametrize(
    ("di", "block", "position", "of"),
    [
        ("00010000", "0001FF00", 0, 64),
        ("00010400", "0001FF00", 4, 64),
        ("00010102", "0001FF02", 1, 64),
        ("01020000", "0102FF00", 0, 64),
        ("02010300", "0201FF00", 2, 3),
        ("02030000", "0203FF00", 0, 4),
        ("04000503", "040005FF", 2, 7),
    ],
)
def test_members_know_their_block(di: str, block: str, position: int, of: int) -> None:
    found = items.block_of(di)
    assert found is not None
    assert (found.di, found.members.index(di), len(found.members)) == (block, position, of)
    assert items.block(block) == found
    assert all((known := items.lookup(member)) and known.size == found.size for member in found.members)


@pytest.mark.parametrize("di", ["02800002", "04000101", "12345678", "02010400"])
def test_what_stands_alone_has_no_block(di: str) -> None:
    assert items.block_of(di) is None


def test_a_block_is_split_into_whole_members_only() -> None:
    block = items.block("0201FF00")
    assert block is not None
    assert formats.split_block(block, bytes.fromhex("0323 0000 0000")) == (b"\x03\x23", b"\x00\x00", b"\x00\x00")
    assert formats.split_block(block, bytes.fromhex("0323")) == (b"\x03\x23",)
    assert formats.split_block(block, bytes.fromhex("0323 00")) is None
    assert formats.split_block(block, bytes.fromhex("0323 0000 0000 0000")) is None


def test_the_older_standard_may_separate_members() -> None:
    block = items.block("B61F")
    assert block is not None
    assert formats.split_block(block, bytes.fromhex("2302 AA 2202 AA 2102")) == (b"\x23\x02", b"\x22\x02", b"\x21\x02")
    assert formats.split_block(block, bytes.fromhex("2302 2202 2102")) == (b"\x23\x02", b"\x22\x02", b"\x21\x02")
