"""Published answers, damaged at random: a driver may fail, it may never give a wrong value.

The checksum is a sum of bytes, mod 256.  Damage that leaves it as it was and the frame whole cannot be seen by anybody:
such examples are set aside, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from drivers.mbus import records
from drivers.mbus.config import MbusPointOptions
from drivers.mbus.decode import decode
from drivers.mbus.driver import MbusMeter
from drivers.mbus.frame import Frame, find_frame, is_acknowledgement
from drivers_contract.wire import Chunk
from drivers_mbus.rig import POINTS, spec
from drivers_mbus.test_driver import replying
from drivers_mbus.test_vectors import REAL, raw
from gateway.errors import DeviceUnreachable, ProtocolError
from gateway.model import Value, ValueKind
from support.clock import ManualClock
from support.virtual_time import run


def alone(vector: Mapping[str, Any]) -> bool:
    """Whether a meter with a primary address says everything in this one answer, and anything that a point can be."""
    frame = Frame.from_bytes(raw(vector))
    telegram = records.parse(frame.ci or 0, frame.data)
    says = any(record.value is not None for record in telegram.records if record.quantity != "manufacturer_data")
    return frame.address <= 250 and says and not telegram.more_follows


ALONE = {vector["id"]: vector for vector in REAL if alone(vector)}
vectors = st.sampled_from(sorted(ALONE)).map(ALONE.__getitem__)
edits = st.lists(st.tuples(st.sampled_from(["flip", "insert", "delete"]), st.integers(0, 260), st.integers(1, 255)))


def points(vector: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A point for each record that a point can name, as a number or a text."""
    frame = Frame.from_bytes(raw(vector))
    found: dict[str, dict[str, Any]] = {}
    for number, record in enumerate(records.parse(frame.ci or 0, frame.data).records):
        quantity, modifier, storage, tariff, subunit, function = record.key
        try:
            point = {
                "quantity": quantity,
                "modifier": modifier,
                "storage": storage,
                "tariff": tariff,
                "subunit": subunit,
                "function": function,
            }
            MbusPointOptions(**point)
        except ValueError:
            continue
        found[f"p{number}"] = {**point, "kind": ValueKind.TEXT}
    return found


def read(vector: Mapping[str, Any], wire: bytes) -> list[Value | None] | None:
    """None where the driver says that there was no answer."""

    async def main() -> list[Value | None] | None:
        async with replying([Chunk(0.05, b"\xe5")], [Chunk(0.05, wire)]) as line:
            device = spec(points(vector), primary=Frame.from_bytes(raw(vector)).address)
            driver = MbusMeter(device, line, ManualClock())
            try:
                return [reading.value for reading in await driver.poll(list(driver._sources))]
            except (DeviceUnreachable, ProtocolError):
                return None

    return run(main())


def damaged(wire: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    bytes_ = bytearray(wire)
    for what, at, value in changes:
        at %= len(bytes_)
        if what == "flip":
            bytes_[at] ^= value
        elif what == "insert":
            bytes_.insert(at, value)
        elif len(bytes_) > 1:
            del bytes_[at]
    return bytes(bytes_)


def test_there_are_enough_to_damage() -> None:
    assert len(ALONE) >= 30


@settings(deadline=None, max_examples=50)
@given(vectors)
def test_undamaged_they_are_read(vector: dict[str, Any]) -> None:
    values = read(vector, raw(vector))
    assert values is not None
    assert any(value is not None for value in values)


@settings(deadline=None, max_examples=200)
@given(vectors, edits)
def test_damage_never_gives_a_wrong_value(vector: dict[str, Any], changes: list[tuple[str, int, int]]) -> None:
    whole = raw(vector)
    wire = damaged(whole, changes)
    found = find_frame(wire)
    while found is not None and not found[0].is_response:
        found = find_frame(wire, found[2])
    assume(found is None or found[0] == Frame.from_bytes(whole))
    values = read(vector, wire)
    assert values is None or values == read(vector, whole)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=400), st.lists(st.sampled_from([0x68, 0x10, 0x16, 0xE5, 3, 8, 5])).map(bytes)))
def test_any_bytes_are_no_reading_and_no_fault_of_ours(noise: bytes) -> None:
    assert decode(noise).frames or decode(noise).fault
    assert is_acknowledgement(noise) in (True, False)
    found = find_frame(noise)
    assume(found is None or not found[0].is_response)

    async def main() -> None:
        async with replying([Chunk(0.05, b"\xe5")], [Chunk(0.05, noise or b"\x00")]) as line:
            driver = MbusMeter(spec(POINTS), line, ManualClock())
            for point in driver._sources:
                assert driver.interpretations(point, noise) == ()
            try:
                readings = await driver.poll(list(driver._sources))
            except (DeviceUnreachable, ProtocolError):
                return
            raise AssertionError(readings)

    run(main())


@settings(deadline=None)
@given(vectors, st.integers(0, 3000), st.integers(1, 255), st.integers(0, 300))
def test_damaged_records_are_read_or_refused_and_never_hang(
    vector: dict[str, Any], at: int, by: int, cut_off: int
) -> None:
    """What is behind a good checksum is read all the same: the parser of records must take anything."""
    frame = Frame.from_bytes(raw(vector))
    data = bytearray(frame.data)
    data[at % len(data)] ^= by
    wire = Frame(frame.control, frame.address, frame.ci, bytes(data[: len(data) - cut_off % len(data)])).to_bytes()
    decoded = decode(wire)
    assert len(decoded.frames) == 1
    values = read(vector, wire)  # none where damage has made a mark that more follows: there is no more
    assert values is None or len(values) == len(points(vector))
    driver = MbusMeter(spec(POINTS, primary=frame.address), replying(), ManualClock())
    assert driver.interpretations("m.energy", wire)
