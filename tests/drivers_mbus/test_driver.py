"""The driver over the real exchange and a line in memory, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
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


def test_without_reset_what_was_lost_is_thrown_away_and_read_anew() -> None:
    """An unchanged bit gets what the meter said then, whenever that was: it is not what it measures now."""

    async def main() -> tuple[list[str], list[object]]:
        old, new = ([Chunk(0.05, answer([SimRecord(b"\x0c", b"\x06", n)]))] for n in (1, 2))
        async with (line := replying(old, new, [], old, new, new)):
            driver = meter(line, {"energy": POINTS["energy"]}, primary=PRIMARY, reset=False)
            values: list[object] = [(await poll(driver))[0].value]
            with pytest.raises(DeviceUnreachable):
                await poll(driver)
            values += [(await poll(driver))[0].value for _ in range(2)]
            return sent(line), values

    assert run(main()) == ([REQ_1, REQ_0, REQ_1, REQ_1, REQ_0, REQ_1], [2, 2, 2])


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_without_reset_a_readout_of_several_begins_with_the_first_whatever_was_lost(lost: str) -> None:
    async def main() -> None:
        bus = MbusSimLine([sim_meter(RECORDS[:2], RECORDS[2:4], RECORDS[4:])])
        lose: list[int] = []

        def say(request: bytes) -> list[Chunk]:
            loses = len(line.requests) in lose
            said = [] if loses and lost == "request" else bus.feed(request)
            return [] if loses else [Chunk(0.05, reply) for _, reply in said]

        line = MemoryLine(say)
        async with line:
            bus.feed(bytes.fromhex(REQ_1))  # another master has left it there
            driver = meter(line, primary=PRIMARY, reset=False)
            expected = {**VALUES, "refused": None}
            for after in range(8):
                lose[:] = [len(line.requests) + after + 1]
                with contextlib.suppress(DeviceUnreachable):
                    await poll(driver)
                lose.clear()
                readings = {reading.point.removeprefix("m."): reading.value for reading in await poll(driver)}
                assert readings == expected

    run(main())


@pytest.mark.parametrize("reset", [True, False])
def test_a_meter_that_does_not_heed_the_bit_is_found_out_though_it_counts_its_answers(reset: bool) -> None:
    sim = sim_meter(RECORDS[:2], RECORDS[2:])
    sim.heeds_fcb = False
    sim.telegrams = lambda: [sim.variable(RECORDS[:2], more=True), sim.variable(RECORDS[2:])]
    line = on_line(sim)
    readings = read(line, primary=PRIMARY, reset=reset)
    assert len(line.requests) == (3 if reset else 4)
    assert (readings["energy"].value, readings["volume"].value) == (1234, 54.321)
    assert readings["flow"].reason is Reason.BAD_FRAME


def test_a_late_answer_that_holds_an_acknowledgement_is_none() -> None:
    """The answer that timed out comes in two pieces during the reset, and E5 ends the first."""
    late = answer([SimRecord(b"\x0c", b"\x13", bytes.fromhex("E5000000"))])
    cut = late.index(b"\xe5") + 1
    pieces = [Chunk(0.02, late[:cut]), Chunk(0.15, late[cut:]), Chunk(0.17, b"\xe5")]
    line = replying(pieces, [Chunk(0.05, answer(RECORDS))])
    assert read(line)["energy"].value == 1234
    assert sent(line) == [NKE, REQ_1]


def test_an_application_reset_precedes_every_readout_where_the_entry_says_so() -> None:
    async def main() -> None:
        said: list[tuple[int, bytes]] = []
        sim = sim_meter(RECORDS)
        sim.told = lambda ci, data: said.append((ci, data))
        async with (line := on_line(sim)):
            driver = meter(line, primary=PRIMARY, application_reset=True)
            for _ in range(2):
                assert (await poll(driver))[0].value == 1234
            assert sent(line) == [NKE, "68030368730550c816", REQ_0] * 2
            assert said == [(0x50, b"")] * 2
            plain = meter(line)
            assert driver.characters([]) > plain.characters([])

    run(main())


def test_a_short_header_names_nobody() -> None:
    """CI 7Ah: what such a meter does not say is no value; it cannot be told by its identification."""
    content = bytes.fromhex("2A 04 0000") + b"".join(record.to_bytes() for record in RECORDS)
    short = Frame(0x08, PRIMARY, 0x7A, content).to_bytes()
    points = {
        **{name: POINTS[name] for name in ("energy", "last_volume", "id")},
        "medium": {"quantity": "medium", "kind": ValueKind.TEXT},
        "manufacturer": {"quantity": "manufacturer", "kind": ValueKind.TEXT},
        "access": {"quantity": "access"},
        "low": {"quantity": "status", "bit": 2, "kind": ValueKind.BOOLEAN},
    }
    readings = read(replying(ACK, [Chunk(0.05, short)]), points)
    values = {name: reading.value for name, reading in readings.items()}
    assert values == {
        "energy": 1234,
        "last_volume": 50,
        "id": None,
        "medium": None,
        "manufacturer": None,
        "access": 42,
        "low": True,
    }
    assert readings["id"].reason is Reason.NO_VALUE
    with pytest.raises(ProtocolError):
        read(replying(ACK, [Chunk(0.05, short)]), points, secondary=SECONDARY)


def test_a_fixed_structure_has_no_manufacturer() -> None:
    fixed = Frame(0x08, PRIMARY, 0x73, bytes.fromhex("78563412 0A 00 E9 7E 01000000 35010000")).to_bytes()
    points = {name: {"quantity": name, "kind": ValueKind.TEXT} for name in ("id", "manufacturer")}
    readings = read(replying(ACK, [Chunk(0.05, fixed)]), {**points, "version": {"quantity": "version"}})
    assert {name: reading.value for name, reading in readings.items()} == {
        "id": "12345678",
        "manufacturer": None,
        "version": None,
    }


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
