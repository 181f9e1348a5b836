"""Finding meters by primary address and by identification, in virtual time; collisions are gateway/sim/line.py's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from drivers.base import Found, Link, Progress, Search
from drivers.mbus.config import MbusOptions
from drivers.mbus.driver import MBUS
from drivers.mbus.frame import Frame
from drivers.mbus.simulator import MbusSimLine, MbusSimMeter, played
from drivers_contract.wire import Chunk, MemoryLine
from drivers_mbus.copper import Copper
from drivers_mbus.rig import RECORDS, VOLUME, sim_meter
from drivers_mbus.test_vectors import REAL, raw
from gateway.errors import LineLost
from gateway.sim.faults import FaultBoard, LineFault
from support.virtual_time import run

OVERLAPPING = (
    *("12345670", "12345671", "12345679", "12345680", "12345600", "12340000", "12999999"),
    *("20000000", "20000001", "87654321", "00000000", "99999999"),
)
NO_PRIMARY = (1, 0)
"""First and last of no addresses at all."""


def scan(line: Link, first: int | None = 1, last: int | None = 0, timeout_s: float = 0.25) -> list[Found]:
    async def main() -> list[Found]:
        found: list[Found] = []
        steps: list[Progress] = []
        assert MBUS.discover is not None
        async with line:
            async for each in MBUS.discover(line, Search(timeout_s, first, last)):
                if isinstance(each, Found):
                    found.append(each)
                else:
                    steps.append(each)
        assert all(before.asked <= after.asked for before, after in pairwise(steps))
        assert all(step.asked <= step.expected for step in steps)
        assert steps[-1].asked == steps[-1].expected
        return found

    return run(main(), grace_s=0.0)


def secondaries(found: Sequence[Found]) -> list[str]:
    """Places of the numbers that were found; every entry must be one that a site may have."""
    assert not any(each.trouble for each in found), found
    entries = [MbusOptions.model_validate(each.entry) for each in found]
    return [entry.secondary or "" for entry in entries]


def other(sim: MbusSimMeter, manufacturer: int = 0x0477, version: int = 14, medium: int = 0x16) -> MbusSimMeter:
    """The same meter with another maker, version or medium."""
    sim.manufacturer, sim.version, sim.medium = manufacturer, version, medium
    sim.telegrams = lambda: [sim.variable(RECORDS)]
    return sim


def garbled(answers: Sequence[bytes]) -> list[Chunk]:
    if len(answers) < 2:
        return [Chunk(0.05, answer) for answer in answers]
    shortest = min(map(len, answers))
    return [Chunk(0.05, bytes(0xAA & sum(answer[at] for answer in answers) | 1 for at in range(shortest)))]


def wire(*meters: MbusSimMeter, deaf: Callable[[Frame], bool] = lambda frame: False) -> MemoryLine:
    """A line on which those who speak at once are heard as garbage."""
    bus = MbusSimLine(meters)

    def answer(request: bytes) -> list[Chunk]:
        if deaf(Frame.from_bytes(request)):
            return []
        return garbled([said for _, said in bus.feed(request)])

    return MemoryLine(answer)


# ---------------------------------------------------------------------- by identification


@pytest.mark.parametrize("seed", [1, 2])
def test_twelve_meters_with_overlapping_digits_on_a_simulated_line_are_all_found(seed: int) -> None:
    meters = [sim_meter(RECORDS, primary=0, id=number) for number in OVERLAPPING]
    line = Copper(meters, seed=seed)
    found = scan(line, *NO_PRIMARY)
    assert sorted(secondaries(found)) == sorted(f"{number}04770E16" for number in OVERLAPPING)
    assert line.wire.stats.collisions > 20, "they did destroy each other"
    (one,) = (each for each in found if each.entry["secondary"] == "8765432104770E16")
    assert one.identity == "ACW, cold water, V14, 87654321, primary 0"
    sent = [Frame.from_bytes(request) for request in line.sent]
    assert {(frame.control, frame.address, frame.ci) for frame in sent} == {
        (0x40, 253, None),
        (0x53, 253, 0x52),
        (0x7B, 253, None),
    }, "nothing is written"
    assert not any(meter.selected for meter in meters)


def test_an_echoing_adapter_is_no_collision() -> None:
    meters = [sim_meter(RECORDS, primary=n, id=number) for n, number in enumerate(OVERLAPPING[:2], 1)]
    line = Copper(meters, faults=FaultBoard(lines={"bus": LineFault(echo=True)}))
    assert sorted(secondaries(scan(line, *NO_PRIMARY))) == ["1234567004770E16", "1234567104770E16"]


def test_an_empty_bus_is_found_empty_in_few_questions() -> None:
    line = wire()
    assert scan(line, *NO_PRIMARY) == []
    assert len(line.requests) <= 36


@pytest.mark.parametrize(
    "differing",
    [
        {"manufacturer": 0x2C2D},  # KAM, a maker that is known here
        {"medium": 0x07},
        {"version": 200},
        {"manufacturer": 0x2C2D, "medium": 0x04, "version": 1},
        {"manufacturer": 0x6A6A, "medium": 0x07},  # ZSJ: nobody knows that maker, but the media differ
    ],
    ids=str,
)
def test_two_meters_with_one_number_are_told_apart_by_maker_medium_and_version(differing: dict[str, int]) -> None:
    twins = sim_meter(RECORDS, primary=0), other(sim_meter(RECORDS, primary=0), **differing)
    found = scan(wire(*twins), *NO_PRIMARY)
    assert sorted(secondaries(found)) == sorted(
        f"{twin.id}{twin.manufacturer:04X}{twin.version:02X}{twin.medium:02X}" for twin in twins
    )


def test_a_maker_met_on_the_line_is_known_for_the_rest_of_it() -> None:
    first = other(sim_meter(RECORDS, id="00000007"), manufacturer=0x6A6A)
    twins = sim_meter(RECORDS), other(sim_meter(RECORDS), manufacturer=0x6A6A)
    assert len(secondaries(scan(wire(first, *twins), *NO_PRIMARY))) == 3


def test_two_that_are_alike_in_everything_are_a_trouble() -> None:
    found = scan(wire(sim_meter(RECORDS), sim_meter(RECORDS), sim_meter(RECORDS, id="00000007")), *NO_PRIMARY)
    good, twins = found
    assert (good.entry, good.trouble) == ({"secondary": "0000000704770E16"}, "")
    assert str(twins.entry["secondary"]).startswith("11490378")
    assert "逐块接入" in twins.trouble
    assert "one by one" in twins.trouble


def test_a_meter_that_can_be_selected_but_not_read_is_a_trouble_and_holds_nobody_up() -> None:
    line = wire(sim_meter(RECORDS, id="00000007"), deaf=lambda frame: frame.control == 0x7B)
    (mute,) = scan(line, *NO_PRIMARY)
    assert mute.entry == {"secondary": "00000007FFFFFFFF"}
    assert "no data" in mute.trouble
    assert len(line.requests) < 600


def test_a_bus_that_is_never_quiet_is_given_up() -> None:
    line = MemoryLine(lambda request: [Chunk(0.01, b"\x55\x55")])
    found = scan(line, *NO_PRIMARY)
    assert found[-1].entry == {}
    assert "never quiet" in found[-1].trouble
    assert len(line.requests) < 5000


def test_a_single_disturbance_costs_nobody_and_is_said() -> None:
    bus = MbusSimLine([sim_meter(RECORDS)])

    def answer(request: bytes) -> list[Chunk]:
        said = [Chunk(0.05, reply) for _, reply in bus.feed(request)]
        return [Chunk(0.01, b"\x55"), *said] if len(line.requests) == 2 else said

    line = MemoryLine(answer)
    found = scan(line, *NO_PRIMARY)
    assert [each.entry for each in found if not each.trouble] == [{"secondary": "1149037804770E16"}]
    assert ["search again" in each.trouble for each in found if each.trouble] == [True]


@pytest.mark.parametrize("structure", ["72", "73"])
def test_published_meters_are_found_by_what_they_say(structure: str) -> None:
    vector = next(each for each in REAL if raw(each)[6] == int(structure, 16))
    slave, published = vector["expected"]["slave"], Frame.from_bytes(raw(vector))
    number = slave["Id"].zfill(8)
    fields = published.data[4:8] if structure == "72" else b"\xff" * 4
    sim = MbusSimMeter(
        published.address, played(raw(vector)), number, int.from_bytes(fields[:2], "little"), fields[2], fields[3]
    )
    (found,) = scan(wire(sim), *NO_PRIMARY)
    assert str(found.entry["secondary"])[:8] == number
    assert len(str(found.entry["secondary"])) == (16 if structure == "72" else 8)
    assert number in found.identity
    MbusOptions.model_validate(found.entry)


# ---------------------------------------------------------------------- by primary address


def test_meters_at_addresses_of_their_own_are_found_there_and_not_again() -> None:
    meters = [sim_meter((VOLUME,), primary=n, id=number) for n, number in zip((1, 7, 250), OVERLAPPING, strict=False)]
    line = wire(*meters)
    found = scan(line, None, None, timeout_s=0.1)
    assert [each.entry for each in found] == [{"primary": 1}, {"primary": 7}, {"primary": 250}]
    assert not any(each.trouble for each in found)
    assert found[1].identity == "ACW, cold water, V14, 12345671"
    asked = [Frame.from_bytes(request) for request in line.requests]
    assert [frame.address for frame in asked if frame.control == 0x40 and frame.address <= 250] == list(range(251))


def test_a_shared_address_is_a_trouble_and_those_who_share_it_are_found_by_identification() -> None:
    meters = [sim_meter((VOLUME,), primary=5, id=number) for number in OVERLAPPING[:2]]
    shared, *both = scan(wire(*meters), 3, 6)
    assert (shared.entry, "share this address" in shared.trouble) == ({"primary": 5}, True)
    assert secondaries(both) == ["1234567004770E16", "1234567104770E16"]


def test_a_meter_at_address_0_is_found_by_identification() -> None:
    assert secondaries(scan(wire(sim_meter((VOLUME,), primary=0)), 0, 2)) == ["1149037804770E16"]


def test_a_meter_at_address_0_that_knows_no_selection_is_found_there_with_a_warning() -> None:
    (found,) = scan(wire(sim_meter((VOLUME,), primary=0), deaf=lambda frame: frame.ci == 0x52), 0, 2)
    assert found.entry == {"primary": 0}
    assert "address 0" in found.trouble


def test_glitches_at_every_question_are_no_meters() -> None:
    found = scan(MemoryLine(lambda request: [Chunk(0.01, b"\x00")] if len(request) == 5 else []), 0, 20)
    assert found == []


def test_the_address_range_is_kept_to_what_there_is() -> None:
    line = wire()
    scan(line, -5, 400, timeout_s=0.1)
    asked = [Frame.from_bytes(request) for request in line.requests]
    assert {frame.address for frame in asked if frame.control == 0x40} == {*range(251), 253}


def test_a_lost_line_ends_the_scan() -> None:
    line = MemoryLine(lambda request: line._fail("unplugged") or [])  # type: ignore[func-returns-value]
    for first in (1, 0):
        with pytest.raises(LineLost):
            scan(line, first, 0)


def test_formats_worth_trying() -> None:
    assert [(each.baud, each.parity) for each in MBUS.scan_formats] == [(2400, "E"), (300, "E"), (9600, "E")]
