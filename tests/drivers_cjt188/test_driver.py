"""The driver over the real exchange and a line in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from drivers.cjt188.driver import CJT188, Cjt188Meter, read_address
from drivers.cjt188.frame import WILDCARD, Frame, find_frame, request
from drivers.cjt188.simulator import Cjt188SimLine, Cjt188SimMeter
from drivers_cjt188.rig import HEAT, HEAT_POINTS, POINTS, WATER, heat, meter, spec, water
from drivers_contract.wire import Chunk, MemoryLine
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, ProtocolError
from gateway.model import Quality, Reading, Reason, ValueKind
from support.clock import ManualClock
from support.virtual_time import run

OTHER = "11110012345679"
VOLUME = {"volume": {"unit": "m3"}}
CONTENT = "563412002C 000012002C 33221005062620 0000"
REQUEST = request(0x10, WATER, 0x01, "901F", 1)
"""The first question of a driver."""


def on_line(*meters: Cjt188SimMeter) -> MemoryLine:
    line = Cjt188SimLine(meters)
    return MemoryLine(lambda request: [Chunk(0.05, answer) for _, answer in line.feed(request)])


def replying(*replies: Sequence[Chunk]) -> MemoryLine:
    """The first request gets the first reply, the next the next; then silence."""
    left = list(replies)
    return MemoryLine(lambda request: left.pop(0) if left else [])


def answer(
    data: str = f"901F01 {CONTENT}", control: int = 0x81, type_: int = 0x10, address: str = WATER, preamble: int = 0
) -> bytes:
    return Frame(type_, address, control, bytes.fromhex(data)).to_bytes(preamble)


def asked(line: MemoryLine) -> list[tuple[str, int]]:
    """Identifier as sent, and sequence number, of every request so far."""
    found = (find_frame(request) for request in line.requests)
    return [(each[0].data[:2].hex().upper(), each[0].data[2]) for each in found if each]


async def poll(driver: Cjt188Meter, *names: str) -> list[Reading]:
    readings: list[Reading] = []
    for batch in driver.batches([f"m.{name}" for name in names]):
        readings += await driver.poll(batch)
    return readings


def read_all(line: MemoryLine, points: Mapping[str, Any], **options: Any) -> dict[str, Reading]:
    async def main() -> dict[str, Reading]:
        async with line:
            readings = await poll(meter(line, points, timeout_s=1.5, **options), *points)
            return {reading.point.removeprefix("m."): reading for reading in readings}

    return run(main())


def read_one(line: MemoryLine, points: Mapping[str, Any] = VOLUME, **options: Any) -> Reading:
    (reading,) = read_all(line, points, **options).values()
    return reading


# ---------------------------------------------------------------------- finding the answer


@pytest.mark.parametrize("preamble", range(14))
def test_answers_may_begin_with_any_number_of_fe(preamble: int) -> None:
    assert read_one(replying([Chunk(0.1, answer(preamble=preamble))])).value == 1234.56


@pytest.mark.parametrize("preamble", [0, 4, 16])
def test_requests_begin_with_as_many_fe_as_configured(preamble: int) -> None:
    line = replying([Chunk(0.1, answer())])
    read_one(line, preamble=preamble)
    assert line.requests == [REQUEST.to_bytes(preamble)]


@pytest.mark.parametrize(
    "around",
    [
        lambda request, reply: [request, reply],  # the adapter echoes
        lambda request, reply: [b"\x00\xff\x68\x16", reply],
        lambda request, reply: [b"\x68" * 20, reply],
        lambda request, reply: [reply, b"\x00\xff\x68"],
        lambda request, reply: [bytes((byte,)) for byte in request + reply],
        lambda request, reply: [reply[:7], reply[7:11], reply[11:]],
        lambda request, reply: [answer(address=OTHER) + reply],
        lambda request, reply: [answer(type_=0x11) + reply],
        lambda request, reply: [answer("01 0001", 0xC1, address=OTHER), reply],
        lambda request, reply: [answer("00 0001", 0xC1), reply],  # a refusal of the question before
        lambda request, reply: [answer("D12001 999999992C"), reply],
        lambda request, reply: [answer(f"901F00 99999999{CONTENT[8:]}"), reply],  # a late answer
        lambda request, reply: [answer()[:-2] + b"\x00\x16", reply],  # damaged, then repeated
        lambda request, reply: [answer("901F01 99", 0x84), reply],
        lambda request, reply: [Frame(0x10, OTHER, 0x01, b"\xfe" + reply + b"\xfe").to_bytes()],  # swallowed by another
    ],
)
def test_the_answer_is_found_among_other_bytes(around: Callable[[bytes, bytes], list[bytes]]) -> None:
    pieces = around(REQUEST.to_bytes(4), answer(preamble=4))
    reading = read_one(replying([Chunk(0.02 * (i + 1), piece) for i, piece in enumerate(pieces)]))
    assert (reading.value, reading.quality) == (1234.56, Quality.GOOD)


@pytest.mark.parametrize(
    "bytes_",
    [
        answer()[:-3],
        answer()[:-2] + b"\x00\x16",
        answer(address=OTHER),
        answer(type_=0x20),
        answer(f"901F02 {CONTENT}"),
        answer("D12001 563412002C"),
        answer(control=0x01),
        answer(control=0x83),
        answer(control=0xA1),  # more follows
        answer("02 0001", 0xC1),
        answer("01", 0xC1),
        answer("901F"),
    ],
)
def test_what_does_not_answer_the_question_is_never_a_reading(bytes_: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_one(replying([Chunk(0.1, bytes_)]))


def test_a_late_answer_to_the_question_before_is_not_this_ones() -> None:
    """It comes while the next exchange is under way: drained lines do not help, the sequence number does."""

    async def main() -> None:
        late = [Chunk(1.6, answer(f"901F01 99999999{CONTENT[8:]}"))]
        async with replying(late, [Chunk(0.3, answer(f"1F9002 {CONTENT}"))]) as line:
            driver = meter(line, VOLUME, timeout_s=1.5)
            with pytest.raises(DeviceUnreachable):
                await poll(driver, "volume")
            (reading,) = await poll(driver, "volume")
            assert reading.value == 1234.56

    run(main())


def test_sequence_numbers_go_round() -> None:
    async def main() -> None:
        async with on_line(water()) as line:
            driver = meter(line, VOLUME, timeout_s=1.5)
            for _ in range(300):
                assert (await poll(driver, "volume"))[0].value == 1234.56
            assert [number for _, number in asked(line)] == [n & 0xFF for n in range(1, 301)]

    run(main())


# ---------------------------------------------------------------------- what the answer says


def test_one_exchange_reads_all_points_of_an_identifier() -> None:
    line = on_line(water())
    readings = read_all(line, {**POINTS, "month2": {"field": "volume", "di": "D121", "unit": "L"}})
    assert {name: reading.value for name, reading in readings.items()} == {
        "volume": 1234.56,
        "settlement_volume": 1200.0,
        "clock": "2026-06-05T10:22:33",
        "status": "0500",
        "valve": "closed",
        "battery": "low",
        "month1": 1200.0,
        "month2": 1100500.0,
    }
    assert asked(line) == [("901F", 1), ("D120", 2), ("D121", 3)]
    driver = meter(line)
    assert driver.batches(["m.month1", "m.valve", "m.volume"]) == [["m.month1"], ["m.valve", "m.volume"]]


def test_several_groups_may_be_polled_together() -> None:
    async def main() -> None:
        async with on_line(water()) as line:
            readings = await meter(line, timeout_s=1.5).poll(["m.volume", "m.month1", "m.battery"])
            assert [(reading.point, reading.value) for reading in readings] == [
                ("m.volume", 1234.56),
                ("m.month1", 1200.0),
                ("m.battery", "low"),
            ]

    run(main())


@pytest.mark.parametrize("unit_first", [False, True])
def test_heat_meters(unit_first: bool) -> None:
    line = on_line(heat(unit_first=unit_first))
    readings = read_all(line, HEAT_POINTS, address=HEAT, type="20")
    assert {name: reading.value for name, reading in readings.items()} == {
        "energy": 5328.19,
        "settlement_energy": 5000.0,
        "power": 12.34,
        "flow": 0.5678,
        "volume": 1833.42,
        "supply_temperature": 55.03,
        "return_temperature": 39.1,
        "hours": 2761,
        "clock": "2015-03-31T23:57:26",
        "status": "0008",
    }
    assert len(line.requests) == 1


def test_a_meters_units_are_converted_to_the_points() -> None:
    units = {"energy": 0x11, "power": 0x14, "flow": 0x32, "volume": 0x29}
    points = {name: HEAT_POINTS[name] for name in ("energy", "power", "flow", "volume")}
    readings = read_all(on_line(heat(units=units)), points, address=HEAT, type="20")
    assert {name: reading.value for name, reading in readings.items()} == {
        "energy": pytest.approx(5328.19 / 3.6 * 1000, rel=1e-15),
        "power": 0.01234,
        "flow": 0.0005678,
        "volume": 1.83342,
    }


@pytest.mark.parametrize(
    ("control", "data", "reason"),
    [
        (0xC1, "01 0001", Reason.REFUSED),
        (0xC1, "01 FFFF", Reason.REFUSED),
        (0x81, f"901F01 FFFFFFFF2C{CONTENT[10:]}", Reason.NO_VALUE),
        (0x81, f"901F01 FFFFFFFFFF{CONTENT[10:]}", Reason.NO_VALUE),
        (0x81, f"901F01 5A3412002C{CONTENT[10:]}", Reason.NO_VALUE),
        (0x81, f"901F01 5634120000{CONTENT[10:]}", Reason.NO_VALUE),  # no unit
        (0x81, f"901F01 5634120005{CONTENT[10:]}", Reason.NO_VALUE),  # a unit of energy
        (0x81, "901F01", Reason.BAD_FRAME),
        (0x81, f"901F01 {CONTENT}00", Reason.BAD_FRAME),
        (0x81, f"901F01 {CONTENT[:-2]}", Reason.BAD_FRAME),
    ],
)
def test_an_answer_without_a_number_is_a_bad_reading_with_its_frame(control: int, data: str, reason: Reason) -> None:
    reply = answer(data, control)
    reading = read_one(replying([Chunk(0.1, b"\xfe\xfe" + reply)]))
    assert (reading.value, reading.quality, reading.reason, reading.raw) == (None, Quality.BAD, reason, reply)


def test_a_field_without_a_value_does_not_disturb_the_others() -> None:
    data = "901F01 FFFFFFFF2C 000012002C 60202000000000 0200"
    readings = read_all(
        replying([Chunk(0.1, answer(data))]), {name: POINTS[name] for name in POINTS if name != "month1"}
    )
    assert {name: reading.value for name, reading in readings.items()} == {
        "volume": None,
        "settlement_volume": 1200.0,
        "clock": None,
        "status": "0200",
        "valve": None,
        "battery": "good",
    }
    assert {reading.reason for reading in readings.values()} == {None, Reason.NO_VALUE}


def test_a_freeze_is_read_as_it_was_told_apart_by_its_length() -> None:
    """CJ/T 188-2018 as one other reader has it; a meter that means something else by D300 has another length."""
    freeze = "33221005062620 563412002C 7856000035 801500 123456"
    points = {
        "volume": {"di": "D300", "unit": "m3"},
        "flow": {"di": "D300", "unit": "m3/h"},
        "temperature": {"di": "D300", "unit": "Cel"},
        "clock": {"di": "D300", "kind": ValueKind.TEXT},
    }
    readings = read_all(replying([Chunk(0.1, answer(f"D30001 {freeze}"))]), points)
    values = {name: reading.value for name, reading in readings.items()}
    assert values == {"volume": 1234.56, "flow": 0.5678, "temperature": 15.8, "clock": "2026-06-05T10:22:33"}
    shorter = read_all(replying([Chunk(0.1, answer("D30001 563412002C"))]), points)
    assert {reading.reason for reading in shorter.values()} == {Reason.BAD_FRAME}


def test_an_answer_of_another_sort_of_meter_is_a_bad_frame_where_it_lacks_the_field() -> None:
    content = heat().answer(request(0x20, HEAT, 0x01, "901F", 1))
    assert content is not None
    reply = answer(content.data.hex(), type_=0x40)
    points = {**VOLUME, "settlement_volume": {"unit": "m3"}}
    readings = read_all(replying([Chunk(0.1, reply)]), points, type="40")
    assert readings["volume"].value == 1833.42
    assert readings["settlement_volume"].reason is Reason.BAD_FRAME


@pytest.mark.parametrize(
    ("point", "status", "value"),
    [
        ({"field": "valve", "kind": ValueKind.STATE}, "0000", "open"),
        ({"field": "valve", "kind": ValueKind.STATE}, "0100", "closed"),
        ({"field": "valve", "kind": ValueKind.STATE}, "0301", "abnormal"),
        ({"field": "valve", "kind": ValueKind.STATE, "states": ("auf", "zu", "?")}, "2184", "zu"),
        ({"field": "battery", "kind": ValueKind.STATE}, "0400", "low"),
        ({"field": "battery", "kind": ValueKind.BOOLEAN}, "0400", True),
        ({"field": "battery", "kind": ValueKind.BOOLEAN}, "0023", False),
        ({"field": "status", "kind": ValueKind.TEXT}, "00FF", "00FF"),
        ({"field": "status", "status_bit": 0, "kind": ValueKind.BOOLEAN}, "2184", True),
        ({"field": "status", "status_bit": 5, "kind": ValueKind.STATE, "states": ("ok", "leak")}, "2184", "leak"),
        ({"field": "status", "status_bit": 8, "kind": ValueKind.BOOLEAN}, "2184", False),
        ({"field": "status", "status_bit": 15, "kind": ValueKind.STATE, "states": ("ok", "leak")}, "2184", "leak"),
    ],
)
def test_status_bits(point: Any, status: str, value: object) -> None:
    reading = read_one(replying([Chunk(0.1, answer(f"901F01 {CONTENT[:-4]}{status}"))]), {"it": point})
    assert reading.value == value
    assert type(reading.value) is type(value)


@pytest.mark.parametrize("kind", [ValueKind.STATE, ValueKind.BOOLEAN])
def test_a_filled_status_says_nothing(kind: ValueKind) -> None:
    for point in ({"field": "battery"}, {"field": "status", "status_bit": 3, "states": ("good", "bad")}):
        reply = [Chunk(0.1, answer(f"901F01 {CONTENT[:-4]}FFFF"))]
        assert read_one(replying(reply), {"it": {**point, "kind": kind}}).reason is Reason.NO_VALUE


@pytest.mark.parametrize(
    ("point", "options"),
    [
        ({"field": "volume", "unit": "kW.h"}, {}),
        ({"field": "volume"}, {}),
        ({"field": "volume", "unit": "m3", "kind": ValueKind.TEXT}, {}),
        ({"field": "clock", "kind": ValueKind.NUMBER}, {}),
        ({"field": "status", "kind": ValueKind.STATE, "states": ("a", "b")}, {}),
        ({"field": "valve", "kind": ValueKind.STATE, "states": ("a", "b")}, {}),
        ({"field": "valve", "kind": ValueKind.BOOLEAN}, {}),
        ({"field": "battery", "kind": ValueKind.STATE, "states": ("a", "b", "c")}, {}),
        ({"field": "battery", "kind": ValueKind.TEXT}, {}),
        ({"field": "status", "status_bit": 1, "kind": ValueKind.TEXT}, {}),
        ({"field": "status", "status_bit": 1, "kind": ValueKind.STATE, "states": ("a", "b", "c")}, {}),
        ({"field": "energy", "unit": "kW.h"}, {}),  # a water meter has none
        ({"field": "settlement_volume", "unit": "m3"}, {"type": "20"}),
        ({"field": "supply_temperature", "unit": "K"}, {"type": "20"}),
        ({"field": "hours", "unit": "h", "kind": ValueKind.STATE}, {"type": "20"}),
    ],
)
def test_what_does_not_suit_is_a_fault_of_the_profile(point: Any, options: Any) -> None:
    with pytest.raises(ConfigError, match=r"m\.it"):
        CJT188.make(spec({"it": point}, **options), replying(), ManualClock())


def test_readings_carry_the_time_of_their_answer() -> None:
    async def main() -> None:
        clock = ManualClock()
        async with on_line(water()) as line:
            (reading,) = await Cjt188Meter(spec(VOLUME), line, clock).poll(["m.volume"])
            assert (reading.source_time_ms, reading.gateway_time_ms) == (clock.now_ms(), clock.now_ms())

    run(main())


# ---------------------------------------------------------------------- habits of meters


@pytest.mark.parametrize("di_order", ["high_first", "low_first"])
def test_the_order_of_the_identifier_is_found_out_and_remembered(di_order: str) -> None:
    async def main() -> None:
        async with on_line(water(di_order=di_order)) as line:
            driver = meter(line, timeout_s=1.5)
            if di_order == "low_first":
                with pytest.raises(DeviceUnreachable):
                    await poll(driver, "volume")
                line.requests.clear()
            for _ in range(2):
                assert (await poll(driver, "volume", "month1"))[0].value == 1234.56
            sent = {"high_first": ["901F", "D120"], "low_first": ["1F90", "20D1"]}[di_order]
            assert [di for di, _ in asked(line)] == sent * 2

    run(main())


def test_a_known_order_survives_silence() -> None:
    async def main() -> None:
        async with replying([Chunk(0.1, answer())], [], [], []) as line:
            driver = meter(line, VOLUME, timeout_s=1.5)
            await poll(driver, "volume")
            for _ in range(3):
                with pytest.raises(DeviceUnreachable):
                    await poll(driver, "volume")
            assert [di for di, _ in asked(line)] == ["901F"] * 4

    run(main())


@pytest.mark.parametrize(("di_order", "sent"), [("high_first", "901F"), ("low_first", "1F90")])
def test_an_order_that_is_configured_is_not_changed(di_order: str, sent: str) -> None:
    async def main() -> None:
        async with replying() as line:
            driver = meter(line, VOLUME, timeout_s=1.5, di_order=di_order)
            for _ in range(3):
                with pytest.raises(DeviceUnreachable):
                    await poll(driver, "volume")
            assert [di for di, _ in asked(line)] == [sent] * 3

    run(main())


def test_identifiers_that_a_meter_refuses_do_not_hinder_the_search_for_the_order() -> None:
    async def main() -> None:
        points = {"refused": {"field": "volume", "di": "D12B", "unit": "m3"}, **VOLUME}
        async with on_line(water(di_order="low_first")) as line:
            driver = meter(line, points, timeout_s=1.5)
            for name in points:
                with pytest.raises(DeviceUnreachable):
                    await poll(driver, name)
            refused, volume = await poll(driver, *points)
            assert (refused.reason, volume.value) == (Reason.REFUSED, 1234.56)
            refused, volume = await poll(driver, *points)
            assert (refused.reason, volume.value) == (Reason.REFUSED, 1234.56)

    run(main())


def test_a_refusal_may_be_of_the_order_alone() -> None:
    async def main() -> None:
        async with replying([Chunk(0.1, answer("01 0001", 0xC1))], [Chunk(0.1, answer(f"1F9002 {CONTENT}"))]) as line:
            driver = meter(line, VOLUME, timeout_s=1.5)
            assert (await poll(driver, "volume"))[0].reason is Reason.REFUSED
            assert (await poll(driver, "volume"))[0].value == 1234.56
            assert [di for di, _ in asked(line)] == ["901F", "1F90"]

    run(main())


def test_an_answer_in_the_other_order_is_an_answer() -> None:
    assert read_one(replying([Chunk(0.1, answer(f"1F9001 {CONTENT}"))])).value == 1234.56


def test_a_meter_may_answer_with_another_type_where_the_entry_says_so() -> None:
    points = {"energy": HEAT_POINTS["energy"]}
    line = on_line(heat(answer_type=0x25))
    assert read_one(line, points, address=HEAT, type="20", answer_type="25").value == 5328.19
    with pytest.raises(ProtocolError):
        read_one(on_line(heat(answer_type=0x25)), points, address=HEAT, type="20")
    assert read_one(on_line(heat()), points, address=HEAT, type="AA").value == 5328.19


def test_a_meter_with_a_sequence_number_of_its_own() -> None:
    assert read_one(on_line(water(sequence=0x96)), echoes_sequence=False).value == 1234.56
    with pytest.raises(ProtocolError):
        read_one(on_line(water(sequence=0x96)))


def test_such_a_meter_is_left_alone_after_silence_so_that_no_late_refusal_counts() -> None:
    async def main() -> None:
        late = [Chunk(1.6, answer("96 0001", 0xC1))]
        async with replying(late, [Chunk(0.3, answer(f"901F96 {CONTENT}"))]) as line:
            driver = meter(line, VOLUME, timeout_s=1.5, echoes_sequence=False)
            with pytest.raises(DeviceUnreachable):
                await poll(driver, "volume")
            (reading,) = await poll(driver, "volume")
            assert reading.value == 1234.56

    run(main())


def test_a_wildcard_takes_the_answer_of_the_only_meter() -> None:
    line = replying([Chunk(0.1, answer())])
    assert read_one(line, address=WILDCARD).value == 1234.56
    assert line.requests == [request(0x10, WILDCARD, 0x01, "901F", 1).to_bytes(4)]


def test_silence_costs_the_devices_own_time_out() -> None:
    async def main() -> None:
        async with replying() as line:
            with pytest.raises(DeviceUnreachable):
                await poll(meter(line, timeout_s=1.5), *POINTS)
            assert asyncio.get_running_loop().time() == pytest.approx(1.5)
            assert len(line.requests) == 1

    run(main())


# ---------------------------------------------------------------------- reading the address


@pytest.mark.parametrize("low_first", [False, True])
def test_reading_type_and_address_of_the_only_meter(low_first: bool) -> None:
    async def main() -> None:
        async with on_line(heat(di_order="low_first" if low_first else "high_first")) as line:
            assert await read_address(line, 1.0, low_first) == (0x20, HEAT)
            with pytest.raises(DeviceUnreachable):
                await read_address(line, 1.0, not low_first)

    run(main())


def test_two_meters_that_say_their_address_at_once_are_noise_and_a_refusal_is_said() -> None:
    one, two = answer("810A00", 0x83), answer("810A00", 0x83, address=OTHER)
    garbled = bytes(a & b for a, b in zip(one, two, strict=True))

    async def main() -> None:
        async with replying([Chunk(0.1, garbled)], [Chunk(0.1, answer("00 0102", 0xC3))]) as line:
            with pytest.raises(ProtocolError):
                await read_address(line, 1.0)
            with pytest.raises(DeviceRejected, match="ST 01 02") as caught:
                await read_address(line, 1.0)
            assert caught.value.code == 0x0102

    run(main())
