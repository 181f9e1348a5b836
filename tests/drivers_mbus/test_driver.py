"""The driver over the real exchange and a line in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from drivers.mbus.driver import MBUS, MbusMeter
from drivers.mbus.frame import Frame
from drivers.mbus.simulator import MbusSimLine, MbusSimMeter, SimRecord
from drivers_contract.wire import Chunk, MemoryLine
from drivers_mbus.rig import (
    ENERGY,
    LAST_VOLUME,
    NO_PRESSURE,
    POINTS,
    PRIMARY,
    RECORDS,
    SECONDARY,
    VALUES,
    VOLUME,
    meter,
    sim_meter,
    spec,
)
from gateway.errors import ConfigError, DeviceUnreachable, ProtocolError
from gateway.model import Quality, Reading, Reason, ValueKind
from support.clock import ManualClock
from support.virtual_time import run

NKE, REQ_1, REQ_0 = "1040054516", "107b058016", "105b056016"
SELECT = "680b0b6853fd5278034911ffffffff7316"


def on_line(*meters: MbusSimMeter) -> MemoryLine:
    line = MbusSimLine(meters)
    return MemoryLine(lambda request: [Chunk(0.05, answer) for _, answer in line.feed(request)])


def replying(*replies: Sequence[Chunk]) -> MemoryLine:
    """The first request gets the first reply, the next the next; then silence."""
    left = list(replies)
    return MemoryLine(lambda request: left.pop(0) if left else [])


def answer(records: Sequence[SimRecord], **kwargs: Any) -> bytes:
    sim = sim_meter(records, **kwargs)
    (content,) = sim.telegrams()
    return Frame(0x08, sim.primary, content[0], content[1:]).to_bytes()


ACK = [Chunk(0.05, b"\xe5")]


async def poll(driver: MbusMeter) -> list[Reading]:
    return [reading for batch in driver.batches(list(driver._sources)) for reading in await driver.poll(batch)]


def read(line: MemoryLine, points: Mapping[str, Mapping[str, Any]] = POINTS, **device: Any) -> dict[str, Reading]:
    async def main() -> dict[str, Reading]:
        async with line:
            return {reading.point.removeprefix("m."): reading for reading in await poll(meter(line, points, **device))}

    return run(main())


def read_one(line: MemoryLine, **point: Any) -> Reading:
    return read(line, {"it": point})["it"]


def sent(line: MemoryLine) -> list[str]:
    return [request.hex() for request in line.requests]


# ---------------------------------------------------------------------- a poll


def test_everything_comes_with_one_request() -> None:
    line = on_line(sim_meter(RECORDS))
    readings = read(line)
    assert {name: reading.value for name, reading in readings.items() if name != "refused"} == VALUES
    assert (readings["refused"].quality, readings["refused"].reason) == (Quality.BAD, Reason.REFUSED)
    assert sent(line) == [NKE, REQ_1]


def test_the_frame_count_bit_toggles_and_the_reset_comes_once() -> None:
    async def main() -> list[str]:
        async with (line := on_line(sim_meter(RECORDS))):
            driver = meter(line)
            for _ in range(3):
                await poll(driver)
            return sent(line)

    assert run(main()) == [NKE, REQ_1, REQ_0, REQ_1]


def test_after_silence_a_reset_makes_sure_where_the_meter_stands() -> None:
    async def main() -> list[str]:
        good = [Chunk(0.05, answer(RECORDS))]
        async with (line := replying(ACK, good, [], ACK, good)):
            driver = meter(line)
            await poll(driver)
            with pytest.raises(DeviceUnreachable):
                await poll(driver)
            await poll(driver)
            return sent(line)

    assert run(main()) == [NKE, REQ_1, REQ_0, NKE, REQ_1]


def test_without_reset_a_lost_answer_is_asked_for_again_with_the_same_bit() -> None:
    async def main() -> list[str]:
        good = [Chunk(0.05, answer(RECORDS))]
        async with (line := replying(good, [], good, good)):
            driver = meter(line, primary=PRIMARY, reset=False)
            await poll(driver)
            with pytest.raises(DeviceUnreachable):
                await poll(driver)
            await poll(driver)
            await poll(driver)
            return sent(line)

    assert run(main()) == [REQ_1, REQ_0, REQ_0, REQ_1]


def test_more_telegrams_are_followed_and_the_next_readout_begins_with_the_first() -> None:
    async def main() -> None:
        async with (line := on_line(sim_meter(RECORDS[:2], (), RECORDS[2:]))):
            driver = meter(line)
            for _ in range(2):
                readings = {reading.point.removeprefix("m."): reading.value for reading in await poll(driver)}
                assert readings == {**VALUES, "refused": None}
            assert sent(line) == [NKE, REQ_1, REQ_0, REQ_1] * 2

    run(main())


def test_a_meter_that_repeats_its_telegram_is_not_followed_for_ever() -> None:
    sim = sim_meter(RECORDS[:2], RECORDS[2:])
    first = Frame(0x08, PRIMARY, sim.telegrams()[0][0], sim.telegrams()[0][1:]).to_bytes()
    line = replying(ACK, *[[Chunk(0.05, first)]] * 20)
    readings = read(line)
    assert len(line.requests) == 3
    assert (readings["energy"].value, readings["volume"].value) == (1234, 54.321)
    assert readings["flow"].reason is Reason.BAD_FRAME


def test_a_meter_that_always_has_more_gets_sixteen_requests() -> None:
    telegrams = [(SimRecord(b"\x01", b"\x13", n),) for n in range(20)]
    line = on_line(sim_meter(*telegrams))
    reading = read_one(line, quantity="energy")
    assert (reading.reason, len(line.requests)) == (Reason.BAD_FRAME, 1 + 16)


# ---------------------------------------------------------------------- secondary addressing


def test_a_meter_is_selected_by_its_identification() -> None:
    line = on_line(sim_meter((VOLUME,), primary=0, id="00000001"), sim_meter(RECORDS, primary=0))
    readings = read(line, secondary=SECONDARY)
    assert {name: reading.value for name, reading in readings.items() if name != "refused"} == VALUES
    assert sent(line) == [SELECT, "107bfd7816"]


def test_a_selection_precedes_every_readout_for_another_meter_may_have_been_selected() -> None:
    async def main() -> None:
        first, second = sim_meter((VOLUME,), (ENERGY,)), sim_meter((LAST_VOLUME,), id="00000002")
        async with (line := on_line(first, second)):
            points = {"energy": POINTS["energy"], "last_volume": POINTS["last_volume"]}
            drivers = [meter(line, points, secondary=each) for each in (SECONDARY, "F0000002")]
            for _ in range(2):
                values = [[reading.value for reading in await poll(driver)] for driver in drivers]
                assert values == [[1234, None], [None, 50]]

    run(main())


@pytest.mark.parametrize(
    ("secondary", "found"),
    [
        ("114903780477" + "0E16", True),
        ("FFFFFFFF0477FFFF", True),
        ("1149037F", True),
        ("11490378047" + "70E07", False),
        ("11490379", False),
    ],
)
def test_places_that_are_f_fit_any(secondary: str, found: bool) -> None:
    line = on_line(sim_meter(RECORDS))
    if found:
        assert read(line, secondary=secondary)["energy"].value == 1234
        return
    with pytest.raises(DeviceUnreachable):
        read(line, secondary=secondary)


# ---------------------------------------------------------------------- answers of others, damage


def test_only_the_meter_that_was_asked_is_heard() -> None:
    foreign, own = answer((VOLUME,), primary=6), answer(RECORDS)
    line = replying(ACK, [Chunk(0.05, bytes.fromhex(REQ_1) + b"\x68" + foreign), Chunk(0.1, own)])
    assert read(line)["volume"].value == 54.321


def test_an_answer_of_another_identification_is_not_the_selected_meters() -> None:
    foreign, own = answer((VOLUME,), id="99999999"), answer(RECORDS)
    line = replying(ACK, [Chunk(0.05, foreign), Chunk(0.1, own)])
    assert read(line, secondary=SECONDARY)["energy"].value == 1234


def test_the_echo_of_a_request_is_no_acknowledgement() -> None:
    """Address 229 is E5h: an echo, whole or in part, holds the byte that an acknowledgement is."""
    echo = bytes.fromhex("1040e52516")
    line = replying([Chunk(0.01, echo[:3]), Chunk(0.02, echo[3:])])
    with pytest.raises((DeviceUnreachable, ProtocolError)):
        read(line, primary=229)
    assert len(line.requests) == 1


def test_records_before_a_broken_one_count_and_points_behind_it_are_bad_frames() -> None:
    line = on_line(sim_meter((ENERGY, SimRecord(b"\x04", b"\x13", b"\x00\x00"))))
    readings = read(line)
    assert readings["energy"].value == 1234
    assert (readings["volume"].value, readings["volume"].reason) == (None, Reason.BAD_FRAME)
    assert readings["volume"].raw


def test_an_application_error_refuses_every_point() -> None:
    line = replying(ACK, [Chunk(0.05, Frame(0x08, PRIMARY, 0x70, b"\x08").to_bytes())])
    assert {reading.reason for reading in read(line).values()} == {Reason.REFUSED}


def test_an_error_in_the_status_does_not_spoil_the_values() -> None:
    readings = read(
        on_line(sim_meter(RECORDS, status=0x1C)),
        {
            "energy": {"quantity": "energy"},
            "status": {"quantity": "status"},
            "battery": {"quantity": "status", "bit": 2, "kind": ValueKind.STATE, "states": ("good", "low")},
            "error": {"quantity": "status", "bit": 3, "kind": ValueKind.BOOLEAN},
            "other": {"quantity": "status", "bit": 5, "kind": ValueKind.BOOLEAN},
        },
    )
    assert {name: reading.value for name, reading in readings.items()} == {
        "energy": 1234,
        "status": 0x1C,
        "battery": "low",
        "error": True,
        "other": False,
    }


# ---------------------------------------------------------------------- which record a point is


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        ({"quantity": "power_joule"}, Reason.NO_VALUE),  # not sent
        ({"quantity": "volume", "storage": 2}, Reason.NO_VALUE),
        ({"quantity": "volume", "tariff": 1}, Reason.NO_VALUE),
        ({"quantity": "volume", "subunit": 1}, Reason.NO_VALUE),
        ({"quantity": "volume", "function": "maximum"}, Reason.NO_VALUE),
        ({"quantity": "volume", "modifier": "positive"}, Reason.NO_VALUE),
        ({"quantity": "volume", "nth": 2}, Reason.NO_VALUE),
        ({"quantity": "pressure"}, Reason.NO_VALUE),  # record error 15h, no data
        ({"quantity": "power"}, Reason.REFUSED),  # record error 05h, function not implemented
    ],
)
def test_what_the_meter_does_not_send_has_no_value(point: Mapping[str, Any], reason: Reason) -> None:
    reading = read_one(on_line(sim_meter((*RECORDS, NO_PRESSURE))), **point)
    assert (reading.quality, reading.value, reading.reason) == (Quality.BAD, None, reason)


def test_of_records_that_are_alike_but_differ_none_is_guessed() -> None:
    twice = (VOLUME, SimRecord(b"\x04", b"\x13", 1))
    assert read_one(on_line(sim_meter(twice)), quantity="volume").reason is Reason.NO_VALUE
    assert read_one(on_line(sim_meter(twice)), quantity="volume", nth=2).value == 0.001
    assert read_one(on_line(sim_meter((VOLUME, VOLUME))), quantity="volume").value == 54.321


@pytest.mark.parametrize(
    ("point", "value"),
    [
        ({"quantity": "volume", "scale": 10.0}, 543.21),
        ({"quantity": "flow", "scale": 3.0}, -0.075),
        ({"quantity": "medium", "kind": ValueKind.TEXT}, "cold water"),
        ({"quantity": "manufacturer", "kind": ValueKind.TEXT}, "ACW"),
        ({"quantity": "version"}, 14),
        ({"quantity": "volume", "kind": ValueKind.TEXT}, "54.321"),
    ],
)
def test_a_value_in_the_form_the_point_wants(point: Mapping[str, Any], value: object) -> None:
    assert read_one(on_line(sim_meter(RECORDS)), **point).value == value


def test_a_text_is_no_number() -> None:
    text = SimRecord(b"\x0d", b"\x78", b"\x03CBA")
    assert read_one(on_line(sim_meter((text,))), quantity="fabrication_number").reason is Reason.NO_VALUE
    reading = read_one(on_line(sim_meter((text,))), quantity="fabrication_number", kind=ValueKind.TEXT)
    assert reading.value == "ABC"


@pytest.mark.parametrize(
    "point",
    [
        {"quantity": "time"},
        {"quantity": "medium"},
        {"quantity": "volume", "kind": ValueKind.BOOLEAN},
        {"quantity": "status", "bit": 2},
        {"quantity": "medium", "bit": 2, "kind": ValueKind.BOOLEAN},
        {"quantity": "status", "bit": 2, "kind": ValueKind.STATE, "states": ("a", "b", "c")},
        {"quantity": "volume", "scale": 2.0, "kind": ValueKind.TEXT},
    ],
)
def test_a_kind_that_does_not_suit_the_quantity_is_a_fault_of_the_configuration(point: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match="does not suit"):
        MbusMeter(spec({"it": point}), MemoryLine(lambda request: []), ManualClock())


# ---------------------------------------------------------------------- cost


def test_a_cancelled_poll_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with (line := on_line(sim_meter(RECORDS[:2], RECORDS[2:]))):
            driver = meter(line)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.12):  # between the first telegram and the second
                    await poll(driver)
            values = {reading.point.removeprefix("m."): reading.value for reading in await poll(driver)}
            assert values == {**VALUES, "refused": None}

    run(main())


def test_the_line_is_charged_for_a_full_telegram() -> None:
    primary = meter(MemoryLine(lambda request: []))
    secondary = meter(MemoryLine(lambda request: []), secondary=SECONDARY)
    points = list(primary._sources)
    assert primary.characters(points) == 5 + 261 + 3
    assert secondary.characters(points) == primary.characters(points) + 17 + 1 + 3
    assert MBUS.serial is not None
    assert 261 * MBUS.serial.character_s + 0.19 < MBUS.default_timeout_s
