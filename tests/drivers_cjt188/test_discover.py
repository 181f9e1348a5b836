"""Finding meters by the wildcard, in virtual time; those who speak at once as a garbled or a silent line shows them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from drivers.base import Found, Progress, Search
from drivers.cjt188.config import Cjt188Options
from drivers.cjt188.driver import CJT188
from drivers.cjt188.frame import WILDCARD, Frame
from drivers.cjt188.simulator import Cjt188SimLine, Cjt188SimMeter
from drivers_cjt188.rig import HEAT, HEAT_VALUES, WATER, WATER_VALUES, heat, water
from drivers_cjt188.test_driver import replying
from drivers_contract.wire import Chunk, MemoryLine
from gateway.errors import LineLost
from support.virtual_time import run

GAS = "33330098765432"


def gas(address: str = GAS) -> Cjt188SimMeter:
    return Cjt188SimMeter(address, 0x30, WATER_VALUES.__getitem__)


def together(answers: Sequence[bytes], garbled: bool) -> list[Chunk]:
    """What arrives when these are said: one alone is heard, several destroy each other."""
    if len(answers) < 2:
        return [Chunk(0.05, answer) for answer in answers]
    longest = max(map(len, answers))
    mixed = bytes(0xFF & ~sum(answer[at] for answer in answers if at < len(answer)) for at in range(longest))
    return [Chunk(0.05, mixed)] if garbled else []


def wire(*meters: Cjt188SimMeter, garbled: bool = True, deaf_to: Sequence[int] = ()) -> MemoryLine:
    """deaf_to: control codes or types that none of these meters knows."""
    line = Cjt188SimLine(meters)

    def answer(request: bytes) -> list[Chunk]:
        asked = Frame.from_bytes(request)
        if asked.control in deaf_to or asked.type in deaf_to:
            return []
        return together([said for _, said in line.feed(request)], garbled)

    return MemoryLine(answer)


def scan(line: MemoryLine) -> tuple[list[Found], list[Progress]]:
    async def main() -> tuple[list[Found], list[Progress]]:
        found: list[Found] = []
        progress: list[Progress] = []
        assert CJT188.discover is not None
        async with line:
            async for each in CJT188.discover(line, Search(1.0)):
                if isinstance(each, Found):
                    found.append(each)
                else:
                    progress.append(each)
        return found, progress

    return run(main())


def entries(line: MemoryLine) -> list[dict[str, object]]:
    found, _ = scan(line)
    assert not any(each.trouble for each in found)
    return [dict(each.entry) for each in found]


def test_one_meter_is_found_once_with_what_an_entry_needs() -> None:
    found, progress = scan(wire(water()))
    (meter,) = found
    assert meter.entry == {"address": WATER, "type": "10"}
    assert (WATER[:4] in meter.identity, WATER[4:] in meter.identity, meter.trouble) == (True, True, "")
    assert "cold water" in meter.identity
    Cjt188Options.model_validate(meter.entry)
    assert progress[-1].asked == progress[-1].expected == len(progress) - 1
    assert all(step.asked < step.expected for step in progress[:-1])
    assert progress[0].where == "T=AA 810A"


@pytest.mark.parametrize("garbled", [True, False])
def test_meters_of_different_types_are_told_apart_by_type(garbled: bool) -> None:
    line = wire(water(), heat(), gas(), garbled=garbled)
    assert entries(line) == [
        {"address": WATER, "type": "10"},
        {"address": HEAT, "type": "20"},
        {"address": GAS, "type": "30"},
    ]


@pytest.mark.parametrize("order", ["high_first", "low_first"])
@pytest.mark.parametrize("deaf_to", [(), (0xAA,), (0x03,), (0xAA, 0x03)])
def test_meters_are_found_whatever_they_understand(order: str, deaf_to: tuple[int, ...]) -> None:
    line = wire(water(di_order=order), heat(di_order=order, unit_first=True), deaf_to=deaf_to)
    said = {"di_order": "low_first"} if order == "low_first" else {}
    assert entries(line) == [{"address": WATER, "type": "10"} | said, {"address": HEAT, "type": "20"} | said]


def test_two_of_one_type_that_understand_different_orders_are_both_found() -> None:
    other = Cjt188SimMeter(GAS, 0x10, WATER_VALUES.__getitem__, di_order="low_first")
    line = wire(water(di_order="high_first"), other)
    assert entries(line) == [{"address": WATER, "type": "10"}, {"address": GAS, "type": "10", "di_order": "low_first"}]


def test_answers_one_after_the_other_are_all_heard() -> None:
    line = Cjt188SimLine([water(), gas(), heat()])
    queue = MemoryLine(
        lambda request: [Chunk(0.1 + 0.2 * n, answer) for n, (_, answer) in enumerate(line.feed(request))]
    )
    assert [entry["address"] for entry in entries(queue)] == [WATER, GAS, HEAT]


def test_several_of_one_type_are_a_trouble_without_an_address() -> None:
    found, _ = scan(wire(water(), Cjt188SimMeter(GAS, 0x10, WATER_VALUES.__getitem__), heat()))
    heats, crowd = found
    assert heats.entry == {"address": HEAT, "type": "20"}
    assert crowd.entry == {"type": "10"}
    assert "dials" in crowd.trouble
    assert "表盘" in crowd.trouble


def test_a_crowd_that_answers_only_to_any_type_is_said_once() -> None:
    strange = [Cjt188SimMeter(address, 0x45, WATER_VALUES.__getitem__) for address in (WATER, GAS)]
    found, _ = scan(wire(*strange))
    assert [(each.entry, bool(each.trouble)) for each in found] == [({}, True)]


def test_habits_that_an_entry_must_name_are_in_it() -> None:
    own_number = Cjt188SimMeter(HEAT, 0x20, HEAT_VALUES.__getitem__, answer_type=0x25, sequence=0x96)
    assert entries(wire(own_number, deaf_to=(0xAA,))) == [
        {"address": HEAT, "type": "20", "answer_type": "25", "echoes_sequence": False}
    ]


def test_a_meter_that_refuses_to_say_its_address_has_said_it() -> None:
    refusal = Frame(0x10, WATER, 0xC3, b"\x01\x00\x01").to_bytes()
    (found,), _ = scan(replying([Chunk(0.1, refusal)]))
    assert found.entry == {"address": WATER, "type": "10"}


def test_a_silent_line_an_echo_and_glitches_are_nobody() -> None:
    for answer in (
        lambda request: [],
        lambda request: [Chunk(0.01, request)],
        lambda request: [Chunk(0.01, b"\x00\xff")],
        lambda request: [Chunk(0.01, request + b"\x00")],
    ):
        line = MemoryLine(answer)
        assert scan(line)[0] == []
        frames = [Frame.from_bytes(request) for request in line.requests]
        assert {frame.address for frame in frames} == {WILDCARD}
        assert {frame.control for frame in frames} == {0x01, 0x03}, "nothing is written"


def test_a_lost_line_ends_the_scan() -> None:
    line = MemoryLine(lambda request: line._fail("unplugged") or [])  # type: ignore[func-returns-value]
    with pytest.raises(LineLost):
        scan(line)


def test_formats_worth_trying() -> None:
    assert [(each.baud, each.parity) for each in CJT188.scan_formats] == [
        (2400, "E"),
        (2400, "N"),
        (1200, "E"),
        (4800, "E"),
        (9600, "E"),
    ]
