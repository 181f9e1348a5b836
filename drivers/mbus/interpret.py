"""Everything an answer holds, and which of it a point is: for a person who finds a reading strange.  Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

from drivers.base import Field
from drivers.mbus import records
from drivers.mbus.decode import record_name
from drivers.mbus.frame import Frame, find_frame
from drivers.mbus.records import Header, Key, Record

MATCH = "→ "
"""Stands before what the point means."""


def interpret(
    received: bytes, is_answer: Callable[[Frame], bool], key: Key, nth: int | None, in_header: bool
) -> Sequence[Field]:
    """The header and every record of the first answer in *received*, as ``gateway decode mbus`` names them.

    Behind what the point means: its bytes, and what they say read otherwise.
    """
    answer = _answer(received, is_answer)
    if answer is None:
        return ()
    telegram = records.parse(answer.ci or 0, answer.data)
    fields = [*_header(telegram.header, key[0] if in_header else ""), *_records(telegram.records, key, nth)]
    if telegram.error is not None:
        fields.append(Field("refused", records.error_text(telegram.error)))
    if telegram.fault is not None:
        fields.append(Field("fault", telegram.fault.text))
    if telegram.more_follows:
        fields.append(Field("more_follows", True))
    return fields


def _answer(received: bytes, is_answer: Callable[[Frame], bool]) -> Frame | None:
    found = find_frame(received)
    while found is not None and not is_answer(found[0]):
        found = find_frame(received, found[2])
    return found[0] if found else None


def _header(header: Header | None, wanted: str) -> Iterator[Field]:
    if header is None:
        return
    said = {
        "id": header.id,
        "manufacturer": header.manufacturer,
        "version": header.version,
        "medium": None if header.medium is None else records.medium_text(header.medium),
        "access": header.access,
        "status": f"{header.status:08b}",
    }
    for name, value in said.items():
        if value is not None:
            yield Field((MATCH if name == wanted else "") + name, value)


def _records(found: Sequence[Record], key: Key, nth: int | None) -> Iterator[Field]:
    alike = 0
    for number, record in enumerate(found, 1):
        alike += record.key == key
        matches = record.key == key and nth in (None, alike)
        name = f"{MATCH if matches else ''}{number} {record_name(record)}"
        value = f"error {record.error:02X}" if record.error is not None else record.value
        yield Field(name, value, record.unit)
        if matches:
            yield from _readings(record)


def _readings(record: Record) -> Iterator[Field]:
    """The record's own bytes, where it stands in the meter, and its data read as each kind of number."""
    raw = record.data
    yield Field("  bytes", record.wire.hex(" ").upper())
    yield Field("  storage", record.storage)
    yield Field("  tariff", record.tariff)
    yield Field("  subunit", record.subunit)
    yield Field("  function", record.function.value)
    if not raw or len(raw) > 8:
        return
    yield Field("  integer", int.from_bytes(raw, "little", signed=True))
    yield Field("  unsigned", int.from_bytes(raw, "little"))
    yield Field("  high byte first", int.from_bytes(raw, "big", signed=True))
    yield Field("  bcd", records.read_bcd(raw))
    if len(raw) == 4:
        yield Field("  float", f"{struct.unpack('<f', raw)[0]:.7g}")
