"""Published answers, damaged at random: a driver may fail, it may never give a wrong value.

The checksum is a sum of bytes, mod 256.  Damage that leaves the sum as it was, and neither the fields that an answer
repeats nor its length show, cannot be seen by anybody: such examples are set aside, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from drivers.base import DeviceSpec
from drivers.cjt188.decode import decode
from drivers.cjt188.discover import _answers
from drivers.cjt188.driver import Cjt188Meter
from drivers.cjt188.frame import ANY_TYPE, WILDCARD, Frame, find_frame, request
from drivers_cjt188.rig import HEAT_POINTS, POINTS, spec
from drivers_cjt188.test_driver import replying
from drivers_cjt188.test_vectors import SAID, raw
from drivers_contract.wire import Chunk
from gateway.errors import DeviceUnreachable, ProtocolError
from gateway.model import Reading
from support.clock import ManualClock
from support.virtual_time import run

WATER_POINTS = {name: point for name, point in POINTS.items() if name != "month1"}
vectors = st.sampled_from([vector for vector in SAID if vector["frame"]["t"] != "AA"])
edits = st.lists(st.tuples(st.sampled_from(["flip", "insert", "delete"]), st.integers(0, 70), st.integers(1, 255)))


def specification(vector: Mapping[str, Any]) -> DeviceSpec:
    stated = vector["frame"]
    heats = stated["t"].startswith("2")
    return spec(
        HEAT_POINTS if heats else WATER_POINTS,
        stated["addr"],
        stated["t"],
        timeout_s=1.5,
        di_order="low_first" if stated["di_bytes"] == "1F90" else "high_first",
    )


def read(vector: Mapping[str, Any], wire: bytes) -> list[Reading] | None:
    """None where the driver says that there was no answer."""

    async def main() -> list[Reading] | None:
        async with replying([Chunk(0.1, wire)]) as line:
            driver = Cjt188Meter(specification(vector), line, ManualClock())
            driver._sequence = int(vector["frame"]["ser"], 16) - 1 & 0xFF  # so that the published answer fits
            try:
                return list(await driver.poll(list(driver._sources)))
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


@settings(deadline=None)
@given(vectors)
def test_undamaged_they_are_read(vector: dict[str, Any]) -> None:
    readings = read(vector, raw(vector))
    assert readings is not None
    assert any(reading.value is not None for reading in readings)


@settings(max_examples=300, deadline=None)
@given(vectors, edits)
def test_damage_never_gives_a_wrong_value(vector: dict[str, Any], changes: list[tuple[str, int, int]]) -> None:
    whole = raw(vector)
    wire = damaged(whole, changes)
    original = Frame.from_bytes(whole)
    found = find_frame(wire)
    assume(found is None or found[0] == original)
    readings = read(vector, wire)
    if readings is not None:
        expected = read(vector, whole)
        assert expected is not None
        assert [(each.point, each.value) for each in readings] == [(each.point, each.value) for each in expected]


@settings(deadline=None)
@given(vectors, st.integers(0, 60), st.integers(0, 60), st.integers(1, 255))
def test_damage_that_keeps_the_sum_never_gives_a_value_of_another_meter_or_question(
    vector: dict[str, Any], one: int, two: int, by: int
) -> None:
    """Two bytes changed by as much in opposite directions: what the checksum cannot see, address and others must."""
    wire = bytearray(raw(vector))
    start = len(wire) - len(bytes(wire).lstrip(b"\xfe"))
    head = range(start + 1, start + 14)  # type, address, control, length, identifier, sequence number
    one, two = head[one % len(head)], head[two % len(head)]
    assume(one != two)
    wire[one], wire[two] = wire[one] + by & 0xFF, wire[two] - by & 0xFF
    readings = read(vector, bytes(wire))
    swapped = {wire[start + 11], wire[start + 12]} == {0x90, 0x1F}  # the other order of the identifier is an answer
    assert readings is None or swapped or all(reading.value is None for reading in readings)


treacherous = st.lists(st.sampled_from([0x68, 0x16, 0xFE, 0x00, 0x10, 0x81, 0x84, 0x90, 0x1F, 0xA0, 0x17])).map(bytes)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=400), treacherous), vectors)
def test_any_bytes_are_no_reading_and_no_fault_of_ours(noise: bytes, vector: dict[str, Any]) -> None:
    assume(raw(vector) not in noise)
    assert decode(noise).frames or decode(noise).fault
    assert read(vector, noise or b"\x00") is None
    driver = Cjt188Meter(specification(vector), replying(), ManualClock())
    for point in driver._sources:
        assert driver.interpretations(point, noise) == ()
    assert list(_answers(noise, request(ANY_TYPE, WILDCARD, 0x03, "810A", 1))) == []


def test_the_longest_noise_takes_no_time_to_speak_of() -> None:
    """Every byte may begin a frame: each costs a look at 255 bytes, not at the rest of the noise."""
    noise = b"\x68\x10" * 20_000
    assert find_frame(noise) is None
    assert len(decode(noise[:2000]).frames) == 0
