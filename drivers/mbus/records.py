"""The application layer: what a meter's answer says, header and data records.  Pure.

A record: DIF, up to 10 DIFE, VIF, up to 10 VIFE, data; here flow temperature 21.54 °C of storage 0, subunit 0:

    85 00 5B 2B 4B AC 41
     │  │  │  └ data, lowest byte first
     │  │  └ VIF: 101 10nn flow temperature, x 10**(3 - 3)
     │  └ DIFE: D7 more, D6 subunit, D5..D4 tariff, D3..D0 storage (the next four bits of it)
     └ DIF: D7 DIFE follows, D6 lowest bit of storage, D5..D4 function, D3..D0 kind of data: 5, float

Records have no length of their own: whatever stands behind a broken one cannot be read.
Source: EN 13757-3:2018, clause 6 and annexes A, F (record errors), G (fixed structure, withdrawn but still built).
"""

from __future__ import annotations

import datetime
import enum
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from drivers.base import Fault
from drivers.mbus import vif
from drivers.mbus.vif import Form, Quantity
from gateway.model import Value

VARIABLE, VARIABLE_HIGH_FIRST, FIXED, FIXED_HIGH_FIRST, SHORT = 0x72, 0x76, 0x73, 0x77, 0x7A
ERROR, ALARM = 0x70, 0x71
"""CI fields of a meter's answers."""

FILLER, MANUFACTURER_DATA, MORE_FOLLOWS = 0x2F, 0x0F, 0x1F
_MOST_EXTENSIONS = 10
_HEADER, _SHORT_HEADER, _FIXED_SIZE = 12, 4, 16
_ENCRYPTED = 5
"""Security mode, in bits 12..8 of the signature.  Older meters use other bits of it for purposes of their own."""

NO_DATA_CODES = range(0x15, 0x19)
"""Record errors that say "no value now": none available, overflow, underflow, data error.  Others are refusals."""


class Function(enum.StrEnum):
    INSTANTANEOUS = "instantaneous"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    ERROR = "error"  # the value while the meter was in an error state


_FUNCTIONS = (Function.INSTANTANEOUS, Function.MAXIMUM, Function.MINIMUM, Function.ERROR)

Key: TypeAlias = tuple[str, str, int, int, int, Function]
"""Quantity, modifier, storage, tariff, subunit, function: what a point asks for."""


@dataclass(frozen=True, slots=True)
class Header:
    """Who answers.  id: 8 digits as printed; manufacturer: three letters; None where the structure names none."""

    id: str | None
    manufacturer: str | None
    version: int | None
    medium: int | None
    access: int
    status: int
    signature: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One value.  None where the bytes hold none: no data, invalid BCD, NaN, no such date."""

    quantity: str
    value: Value | None
    unit: str | None = None
    modifier: str = ""
    storage: int = 0
    tariff: int = 0
    subunit: int = 0
    function: Function = Function.INSTANTANEOUS
    error: int | None = None
    """The meter's record error code, where it sends one instead of a value."""
    wire: bytes = field(default=b"", compare=False, repr=False)
    """The record as it was sent, DIF to data."""
    data: bytes = field(default=b"", compare=False, repr=False)
    """Its data alone, lowest byte first."""

    @property
    def key(self) -> Key:
        return self.quantity, self.modifier, self.storage, self.tariff, self.subunit, self.function


@dataclass(frozen=True, slots=True)
class Telegram:
    """One answer.  *fault*: why reading ended early, its offset counted in the data; the records stand before it."""

    header: Header | None
    records: tuple[Record, ...] = ()
    more_follows: bool = False
    error: int | None = None
    """The application error of a meter that answers with CI 70h."""
    fault: Fault | None = None


def parse(ci: int, data: bytes) -> Telegram:
    """What an answer with this CI field says; never raises."""
    if ci == ERROR:
        return Telegram(None, error=data[0] if data else 0)
    if ci in (VARIABLE, VARIABLE_HIGH_FIRST):
        return _parse_variable(data, high_first=ci == VARIABLE_HIGH_FIRST)
    if ci == SHORT:
        return _parse_short(data)
    if ci == FIXED:
        return _parse_fixed(data)
    if ci == FIXED_HIGH_FIRST:
        return _broken("byte_order", "高字节在前的固定结构未实现 the fixed structure high byte first is not built", 0)
    return _broken("bad_ci", f"未知的 CI {ci:02X} unknown CI field", 0)


def parse_sent(data: bytes) -> Telegram:
    """What a master sends to a meter (CI 51h): records without a header."""
    return _parse_records(None, data, 0, high_first=False)


def error_text(code: int) -> str:
    """An application error (CI 70h) by name."""
    return _APPLICATION_ERRORS.get(code, f"错误码 {code} error code {code}")


def medium_text(code: int) -> str:
    return MEDIA.get(code, f"{code:02X}")


def manufacturer_text(word: int) -> str:
    """Three letters of five bits each."""
    return "".join(chr(64 + (word >> shift & 0x1F)) for shift in (10, 5, 0))


def manufacturer_code(letters: str) -> str:
    """Four hex digits, as a secondary address holds them."""
    first, second, third = (ord(letter) - 64 for letter in letters)
    return f"{first << 10 | second << 5 | third:04X}"


def _broken(code: str, text: str, offset: int) -> Telegram:
    return Telegram(None, fault=Fault(code, text, offset))


# ---------------------------------------------------------------------------------------------- variable structure


def identification(ci: int, data: bytes) -> str:
    """What a selection compares, high digit first: number, manufacturer, version, medium.

    The fixed structure names the number alone, the short header nothing.
    """
    if ci == SHORT:
        return ""
    if ci == VARIABLE_HIGH_FIRST:
        return data[:8].hex().upper()
    number = data[:4][::-1].hex().upper()
    return number + (data[4:6][::-1] + data[6:8]).hex().upper() if ci == VARIABLE else number


def selection(places: str) -> bytes:
    """The data of a selection by 16 places, high digit first, F standing for any: the wire's order."""
    raw = bytes.fromhex(places)
    return raw[:4][::-1] + raw[4:6][::-1] + raw[6:]


def _parse_variable(data: bytes, high_first: bool) -> Telegram:
    if len(data) < _HEADER:
        return _broken("short_header", "数据头不完整 the header is cut off", len(data))
    order = ">" if high_first else "<"
    number, word, version, medium, access, status, signature = struct.unpack_from(f"{order}IHBBBBH", data)
    header = Header(f"{number:08X}", manufacturer_text(word), version, medium, access, status, signature)
    return _parse_records(header, data, _HEADER, high_first)


def _parse_short(data: bytes) -> Telegram:
    """The header of those who need not say who they are: access number, status, signature."""
    if len(data) < _SHORT_HEADER:
        return _broken("short_header", "数据头不完整 the header is cut off", len(data))
    access, status, signature = struct.unpack_from("<BBH", data)
    return _parse_records(Header(None, None, None, None, access, status, signature), data, _SHORT_HEADER, False)


def _parse_records(header: Header | None, data: bytes, start: int, high_first: bool) -> Telegram:
    if header is not None and header.signature >> 8 & 0x1F == _ENCRYPTED:
        return Telegram(header, fault=Fault("encrypted", "数据已加密 the data are encrypted", start - 2))
    records: list[Record] = []
    at = start
    while at < len(data):
        dif = data[at]
        if dif == FILLER:
            at += 1
        elif dif in (MANUFACTURER_DATA, MORE_FOLLOWS):
            records += _manufacturer_data(data[at + 1 :])
            return Telegram(header, tuple(records), more_follows=dif == MORE_FOLLOWS)
        else:
            try:
                record, at = _parse_record(data, at, high_first)
            except _BrokenRecord as exc:
                return Telegram(header, tuple(records), fault=exc.fault)
            records.append(record)
    return Telegram(header, tuple(records))


def _manufacturer_data(data: bytes) -> list[Record]:
    return [Record("manufacturer_data", data.hex(" ").upper(), wire=data, data=data)] if data else []


class _BrokenRecord(Exception):
    def __init__(self, code: str, text: str, offset: int) -> None:
        super().__init__(text)
        self.fault = Fault(code, text, offset)


def _parse_record(data: bytes, start: int, high_first: bool) -> tuple[Record, int]:
    """The record at *start*, and the index behind it.  Raises _BrokenRecord."""
    dif = data[start]
    if dif & 0x0F == 0x0F:
        raise _BrokenRecord("bad_dif", f"保留的 DIF {dif:02X} reserved DIF", start)
    extensions, at = _chain(data, start, "DIFE")
    storage, tariff, subunit = dif >> 6 & 1, 0, 0
    for n, dife in enumerate(extensions):
        storage |= (dife & 0x0F) << (4 * n + 1)
        tariff |= (dife >> 4 & 3) << (2 * n)
        subunit |= (dife >> 6 & 1) << n
    meaning, at = _parse_vib(data, at, high_first)
    raw, kind, at = _data_field(data, at, dif & 0x0F, high_first)
    value = None if meaning.error else _read(raw, kind, meaning)
    function = _FUNCTIONS[dif >> 4 & 3]
    record = Record(
        meaning.quantity.name,
        value,
        meaning.unit,
        meaning.modifier,
        storage,
        tariff,
        subunit,
        function,
        meaning.error,
        wire=data[start:at],
        data=raw,
    )
    return record, at


def _chain(data: bytes, start: int, name: str) -> tuple[bytes, int]:
    """The extension bytes behind the field at *start*, which bit 7 of each announces, and the index behind them."""
    at = start
    while _byte(data, at) > 0x7F:
        at += 1
        if at - start > _MOST_EXTENSIONS:
            raise _BrokenRecord("too_long", f"{name} 超过 10 个 more than 10 {name}", at)
    return data[start + 1 : at + 1], at + 1


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise _BrokenRecord("record_cut_off", "数据记录不完整 the record is cut off", len(data))
    return data[at]


def _take(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise _BrokenRecord("record_cut_off", "数据记录不完整 the record is cut off", len(data))
    return data[at : at + size]


# ---------------------------------------------------------------------------------------------- value information


@dataclass(frozen=True, slots=True)
class _Meaning:
    quantity: Quantity
    unit: str | None
    modifier: str
    exponent: int
    factor: int
    form: Form
    error: int | None


_EXTENSION_TABLES: Mapping[int, str] = {0xFD: vif.FD, 0xFB: vif.FB}
_PLAIN_TEXT, _MANUFACTURER_VIF = 0x7C, 0x7F


def _parse_vib(data: bytes, start: int, high_first: bool) -> tuple[_Meaning, int]:
    first = _byte(data, start)
    plain = _UNMODIFIED.get(first)
    if plain is not None:
        return plain, start + 1
    if first in _EXTENSION_TABLES:
        second = _byte(data, start + 1)
        extensions, at = _chain(data, start + 1, "VIFE")
        return _modified(vif.quantity(_EXTENSION_TABLES[first], second & 0x7F), extensions), at
    if first & 0x7F == _PLAIN_TEXT:
        size = _byte(data, start + 1)
        text = _low_first(_take(data, start + 2, size), high_first)[::-1].decode("latin-1")
        behind = start + 1 + size
        # the text stands between the VIF and its extensions, which the VIF's own bit 7 announces
        extensions, at = _chain_if(first, data, behind)
        return _modified(Quantity(f"{vif.TEXT_PREFIX}{text}"), extensions), at
    extensions, at = _chain(data, start, "VIFE")
    if first & 0x7F == _MANUFACTURER_VIF:
        return _manufacturers_own(extensions), at
    return _modified(vif.quantity(vif.PRIMARY, first & 0x7F), extensions), at


def _chain_if(announced_by: int, data: bytes, before: int) -> tuple[bytes, int]:
    if not announced_by & 0x80:
        return b"", before + 1
    first = _byte(data, before + 1)
    extensions, at = _chain(data, before + 1, "VIFE")
    return bytes((first,)) + extensions, at


def _manufacturers_own(extensions: bytes) -> _Meaning:
    return _Meaning(Quantity(vif.MANUFACTURER), None, extensions.hex().upper(), 0, 1, Form.NUMBER, None)


_CORRECTION, _THOUSAND, _REST_IS_MANUFACTURERS = range(0x70, 0x78), 0x7D, 0x7F
_RECORD_ERRORS = range(0x01, 0x20)


def _modified(quantity: Quantity, extensions: bytes) -> _Meaning:
    """The quantity as its combinable extensions (table 15) leave it."""
    unit, form, exponent = quantity.unit, quantity.form, quantity.exponent
    error: int | None = None
    words: list[str] = []
    for n, extension in enumerate(extensions):
        code = extension & 0x7F
        if code in _CORRECTION:
            exponent += code - 0x76
        elif code == _THOUSAND:
            exponent += 3
        elif code in _RECORD_ERRORS:
            error = code
        elif code == _REST_IS_MANUFACTURERS:
            words.append(extensions[n:].hex().upper())
            break
        elif code:
            words.append(vif.modifier(code))
            unit = unit if vif.keeps_unit(code) else None
            form = Form.TIME if vif.is_date(code) else form
    return _Meaning(quantity, unit, " ".join(words), exponent, quantity.factor, form, error)


_UNMODIFIED: Mapping[int, _Meaning] = {
    code: _modified(quantity, b"") for table, code, quantity in vif.codes() if table == vif.PRIMARY
}
"""Most records: a VIF of the primary table without extensions."""


# ---------------------------------------------------------------------------------------------- data


class _Kind(enum.Enum):
    NONE = enum.auto()
    INTEGER = enum.auto()
    FLOAT = enum.auto()
    BCD = enum.auto()
    TEXT = enum.auto()
    BINARY = enum.auto()


_FIELDS: Mapping[int, tuple[int, _Kind]] = {
    0x0: (0, _Kind.NONE),
    0x1: (1, _Kind.INTEGER),
    0x2: (2, _Kind.INTEGER),
    0x3: (3, _Kind.INTEGER),
    0x4: (4, _Kind.INTEGER),
    0x5: (4, _Kind.FLOAT),
    0x6: (6, _Kind.INTEGER),
    0x7: (8, _Kind.INTEGER),
    0x8: (0, _Kind.NONE),
    0x9: (1, _Kind.BCD),
    0xA: (2, _Kind.BCD),
    0xB: (3, _Kind.BCD),
    0xC: (4, _Kind.BCD),
    0xE: (6, _Kind.BCD),
}
"""DIF bits 3..0 -> bytes and kind; Dh says its length itself."""
_VARIABLE_LENGTH = 0x0D


def _data_field(data: bytes, at: int, code: int, high_first: bool) -> tuple[bytes, _Kind, int]:
    if code != _VARIABLE_LENGTH:
        size, kind = _FIELDS[code]
        return _low_first(_take(data, at, size), high_first), kind, at + size
    length = _byte(data, at)
    size, kind = _variable(length, at)
    raw = _low_first(_take(data, at + 1, size), high_first)
    return (raw + b"\xf0" if 0xD0 <= length < 0xE0 else raw), kind, at + 1 + size


def _low_first(raw: bytes, high_first: bool) -> bytes:
    return raw[::-1] if high_first else raw


def _variable(length: int, at: int) -> tuple[int, _Kind]:
    """What a length byte (LVAR) announces; a negative BCD number gets its sign digit from the caller."""
    if length < 0xC0:
        return length, _Kind.TEXT
    if length & 0x0F <= 9 and length < 0xE0:
        return length & 0x0F, _Kind.BCD
    if 0xE0 <= length < 0xF0:
        return length & 0x0F, _Kind.BINARY
    if 0xF0 <= length <= 0xF4:
        return 4 * (length - 0xEC), _Kind.BINARY
    raise _BrokenRecord("bad_length", f"保留的长度 {length:02X} reserved length", at)


def _read(raw: bytes, kind: _Kind, meaning: _Meaning) -> Value | None:
    if kind is _Kind.NONE:
        return None
    if kind is _Kind.TEXT:
        return raw[::-1].decode("latin-1").strip("\x00 ")
    if kind is _Kind.BINARY:
        return raw[::-1].hex().upper()
    if meaning.form is Form.TIME and kind is _Kind.INTEGER:
        return _TIMES[len(raw)](raw) if len(raw) in _TIMES else None
    if kind is _Kind.FLOAT:
        return _scaled_float(struct.unpack("<f", raw)[0], meaning)
    if meaning.form is Form.DIGITS and kind is _Kind.BCD:
        digits = raw[::-1].hex()
        return digits if digits.isdecimal() else None
    number = read_bcd(raw) if kind is _Kind.BCD else _integer(raw, meaning.form)
    return None if number is None else scaled(number, meaning.factor, meaning.exponent)


def scaled(number: int, factor: int, exponent: int) -> int | float:
    """number x factor x 10**exponent, the double nearest to it: dividing whole numbers rounds once."""
    if exponent >= 0:
        return number * factor * int(10**exponent)
    return number * factor / int(10**-exponent)


def _scaled_float(number: float, meaning: _Meaning) -> float | None:
    if not math.isfinite(number):
        return None
    return float((Decimal(number) * meaning.factor).scaleb(meaning.exponent))


def _integer(raw: bytes, form: Form) -> int | None:
    """Type B: the smallest number there is stands for "invalid".  Type D, and a number that is a name: unsigned."""
    if form is not Form.NUMBER:
        return int.from_bytes(raw, "little")
    number = int.from_bytes(raw, "little", signed=True)
    return None if number == -(1 << (8 * len(raw) - 1)) else number


def read_bcd(raw: bytes) -> int | None:
    """Type A: an F in the highest place says minus; any other digit above 9 says "no value"."""
    digits = raw[::-1].hex()
    negative = digits.startswith("f")
    digits = digits[negative:]
    if not digits.isdecimal():
        return None
    return -int(digits) if negative else int(digits)


# ---------------------------------------------------------------------------------------------- times


def read_date(raw: bytes) -> str | None:
    """Type G, two bytes: year (3 low and 4 high bits), month, day."""
    return _iso_date(raw[0] & 0x1F, raw[1] & 0x0F, _year(raw[0], raw[1]))


def read_minute(raw: bytes) -> str | None:
    """Type F, four bytes: minute (D7: invalid), hour (D6..D5 century), date.  Local time of the meter."""
    if raw[0] & 0x80:
        return None
    date = _iso_date(raw[2] & 0x1F, raw[3] & 0x0F, _year(raw[2], raw[3], raw[1] >> 5 & 3))
    return _iso(date, raw[1] & 0x1F, raw[0] & 0x3F, 0)


def _read_second(raw: bytes) -> str | None:
    """Type I, six bytes: second, minute (D7: invalid), hour, date, week."""
    if raw[1] & 0x80:
        return None
    date = _iso_date(raw[3] & 0x1F, raw[4] & 0x0F, _year(raw[3], raw[4]))
    return _iso(date, raw[2] & 0x1F, raw[1] & 0x3F, raw[0] & 0x3F)


def _read_time_of_day(raw: bytes) -> str | None:
    """Type J, three bytes: second, minute, hour."""
    if raw[2] >= 24 or raw[1] >= 60 or raw[0] >= 60:
        return None
    return f"{raw[2]:02}:{raw[1]:02}:{raw[0]:02}"


def _year(low: int, high: int, century: int = 0) -> int:
    """Two digits below 81 without a century are of the 2000s, as the standard asks for meters built before it."""
    year = (low >> 5) | (high >> 4 & 0x0F) << 3
    if year > 99:
        return 0
    return year + (2000 if century == 0 and year <= 80 else 1900 + 100 * century)


def _iso_date(day: int, month: int, year: int) -> str | None:
    try:
        return datetime.date(year, month, day).isoformat()
    except ValueError:
        return None


def _iso(date: str | None, hour: int, minute: int, second: int) -> str | None:
    if date is None or hour >= 24 or minute >= 60 or second >= 60:
        return None
    return f"{date}T{hour:02}:{minute:02}:{second:02}"


_TIMES: Mapping[int, Callable[[bytes], str | None]] = {
    2: read_date,
    3: _read_time_of_day,
    4: read_minute,
    6: _read_second,
}


# ---------------------------------------------------------------------------------------------- fixed structure


def _parse_fixed(data: bytes) -> Telegram:
    """Two counters behind identification, access number, status and two bytes that hold medium and units."""
    if len(data) != _FIXED_SIZE:
        return _broken("bad_length", "固定结构应为 16 字节 the fixed structure has 16 bytes", len(data))
    identity, access, status, low, high, first, second = struct.unpack("<4sBBBB4s4s", data)
    medium = _FIXED_MEDIA[low >> 6 | (high >> 6) << 2]
    header = Header(identity[::-1].hex().upper(), None, None, medium, access, status)
    read = _integer_counter if status & 0x01 else read_bcd
    storage = status >> 1 & 1
    unit, unit_2 = low & 0x3F, high & 0x3F
    historic = unit_2 == _HISTORIC
    records = (
        _counter(unit, read(first), storage, first),
        _counter(unit if historic else unit_2, read(second), 1 if historic else storage, second),
    )
    return Telegram(header, records)


_HISTORIC = 0x3E
"""The second counter is the first one's value at a date in the past."""


def _integer_counter(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def _counter(unit: int, number: int | None, storage: int, raw: bytes) -> Record:
    quantity = _FIXED_UNITS.get(unit) or Quantity(f"unit {unit:02X}")
    value = None if number is None else scaled(number, quantity.factor, quantity.exponent)
    return Record(quantity.name, value, quantity.unit, storage=storage, wire=raw, data=raw)


def _fixed_units() -> dict[int, Quantity]:
    def nine(first: int, name: str, unit: str, exponent: int) -> dict[int, Quantity]:
        return {first + n: Quantity(name, unit, exponent + n) for n in range(9)}

    return {
        **nine(0x02, "energy", "kW.h", -3),
        **nine(0x0B, "energy_joule", "MJ", -3),
        **nine(0x14, "power", "kW", -3),
        **nine(0x1D, "power_joule", "MJ/h", -3),
        **nine(0x26, "volume", "m3", -6),
        **nine(0x2F, "flow", "m3/h", -6),
        0x38: vif.TEMPERATURE,
        0x39: Quantity("heat_cost"),
        0x3F: Quantity("dimensionless"),
    }


_FIXED_UNITS = _fixed_units()
_FIXED_MEDIA = (0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, *(0x00,) * 7)
"""Codes above 8 are other uses of the same media (gas mode 2 ...): shown as 00, other."""


# ---------------------------------------------------------------------------------------------- names

MEDIA: Mapping[int, str] = {
    0x00: "other",
    0x01: "oil",
    0x02: "electricity",
    0x03: "gas",
    0x04: "heat (outlet)",
    0x05: "steam",
    0x06: "warm water",
    0x07: "water",
    0x08: "heat cost allocator",
    0x09: "compressed air",
    0x0A: "cooling (outlet)",
    0x0B: "cooling (inlet)",
    0x0C: "heat (inlet)",
    0x0D: "heat / cooling",
    0x0E: "bus / system",
    0x0F: "unknown",
    0x14: "calorific value",
    0x15: "hot water",
    0x16: "cold water",
    0x17: "hot and cold water",
    0x18: "pressure",
    0x19: "A/D converter",
    0x1A: "smoke detector",
    0x1B: "room sensor",
    0x1C: "gas detector",
    0x20: "breaker (electricity)",
    0x21: "valve",
    0x28: "waste water",
    0x29: "garbage",
}

_APPLICATION_ERRORS: Mapping[int, str] = {
    0x00: "未说明 unspecified error",
    0x01: "未实现的 CI unimplemented CI field",
    0x02: "缓冲区过长 buffer too long, truncated",
    0x03: "记录过多 too many records",
    0x04: "记录提前结束 premature end of record",
    0x05: "DIFE 过多 more than 10 DIFE",
    0x06: "VIFE 过多 more than 10 VIFE",
    0x08: "应用忙 application too busy",
    0x09: "读取过频 too many readouts",
}
