"""Meters are found by their answers alone: on the simulated line with its collisions, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import pytest

from drivers.base import Discover, Found, Progress, Search
from drivers.dlt645.driver import DLT645
from drivers.dlt645.encoding import SimValue
from drivers.dlt645.frame import Frame, find_frame
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers_contract.wire import Chunk, MemoryLine
from drivers_dlt645.bus import NOISE, bus, run
from gateway.errors import LineLost
from gateway.sim.faults import FaultBoard, LineFault

NEIGHBOURS = [f"2023010001{n:02d}" for n in range(1, 11)]
"""Ten meters of one delivery."""
DOORS = [f"20260101{floor:02d}{door:02d}" for floor in range(1, 6) for door in (1, 2)]
"""Ten meters whose last two digits are the door: five of them answer to each."""
TIMEOUT_S = 0.6
RATED: Mapping[str, SimValue] = {"04000404": "220V", "04000405": "5(60)A"}
AA = "AA"


def sim(address: str, **options: Any) -> Dlt645SimMeter:
    values = {"00010000": Decimal("1.23"), "04000402": address, "9010": Decimal("1.23"), "C032": address, **RATED}
    return Dlt645SimMeter(address, values.__getitem__, **options)


async def scan(link: Any, **limits: int) -> tuple[list[Found], list[Progress]]:
    discover: Discover | None = DLT645.discover
    assert discover is not None
    found: list[Found] = []
    progress: list[Progress] = []
    async for each in discover(link, Search(TIMEOUT_S, **limits)):
        if isinstance(each, Found):
            found.append(each)
        else:
            progress.append(each)
    return found, progress


def found_on(meters: Sequence[Dlt645SimMeter], **options: Any) -> list[Found]:
    async def main() -> list[Found]:
        async with bus(meters, **options) as link:
            return (await scan(link))[0]

    return run(main())


def on_memory(
    meters: Sequence[Dlt645SimMeter], heard: Callable[[list[bytes]], Sequence[bytes]] | None = None
) -> MemoryLine:
    """A line on which *heard* decides what becomes of the answers to one question; without it, they come one by one."""
    line = Dlt645SimLine(meters)

    def respond(request: bytes) -> list[Chunk]:
        answers = [answer for _, answer in line.feed(request)]
        return [Chunk(0.05 + 0.2 * n, data) for n, data in enumerate(heard(answers) if heard else answers)]

    return MemoryLine(respond)


def garbled(answers: list[bytes]) -> Sequence[bytes]:
    """One answer arrives; of several, the first characters and then nothing sensible."""
    return answers if len(answers) < 2 else [answers[0][:9] + NOISE]


def addresses(found: Sequence[Found]) -> list[str]:
    return [str(each.entry["address"]) for each in found]


# ---------------------------------------------------------------------- ten on one line


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("numbers", "turnaround_s"),
    [
        (NEIGHBOURS, (0.020, 0.050)),
        (NEIGHBOURS, (0.020, 0.500)),
        (NEIGHBOURS, (0.030, 0.030)),
        (DOORS, (0.020, 0.500)),  # all that the standard allows
        (DOORS, (0.020, 0.050)),
        (DOORS, (0.030, 0.030)),
    ],
)
def test_ten_meters_on_one_line_are_all_found(numbers: list[str], turnaround_s: tuple[float, float], seed: int) -> None:
    async def main() -> None:
        meters = [sim(address) for address in numbers]
        async with bus(meters, seed=seed, turnaround_s=turnaround_s) as link:
            found, _ = await scan(link)
        assert sorted(addresses(found)) == sorted(numbers)
        assert all(each.entry == {"address": address} for each, address in zip(found, addresses(found), strict=True))
        assert not any(each.trouble for each in found)
        assert link.wire.stats.collisions > 0
        assert len(link.sent) < 1200

    run(main())


def test_where_collisions_are_heard_silence_to_all_wildcards_is_nobody() -> None:
    """Ten meters of 2007 and none of 1997: two questions find that out, not two hundred."""

    async def main() -> None:
        async with bus([sim(address) for address in DOORS]) as link:
            found, progress = await scan(link)
        assert sorted(addresses(found)) == sorted(DOORS)
        sent = [each[0] for request in link.sent if (each := find_frame(request)) is not None]
        assert len([each for each in sent if each.control == 0x01]) == 2
        assert progress[-1].asked == progress[-1].expected

    run(main())


def test_a_meter_says_who_it_is() -> None:
    (found,) = found_on([sim("000000190101")])
    assert found == Found({"address": "000000190101"}, "DL/T 645-2007, No. 000000190101, 220V, 5(60)A")


def test_editions_are_told_apart_and_written_into_the_entry() -> None:
    meters = [sim("000000000101"), sim("000000000202", edition="1997"), sim("000000000303", edition="mixed")]
    found = {str(each.entry["address"]): each for each in found_on(meters)}
    assert {address: each.entry.get("edition", "2007") for address, each in found.items()} == {
        "000000000101": "2007",
        "000000000202": "1997",
        "000000000303": "mixed",
    }
    assert found["000000000202"].identity == "DL/T 645-1997, No. 000000000202"


# ---------------------------------------------------------------------- what an answer proves


def test_bytes_that_are_no_frame_are_several_meters() -> None:
    line = on_memory([sim(address) for address in DOORS], garbled)

    async def main() -> None:
        async with line:
            found, _ = await scan(line)
        assert sorted(addresses(found)) == sorted(DOORS)

    run(main())


def test_answers_one_after_the_other_are_several_meters() -> None:
    """Far enough apart not to collide: both frames are whole, and a third meter may have been hidden."""
    line = on_memory([sim(address) for address in DOORS[:3]])

    async def main() -> None:
        async with line:
            found, _ = await scan(line)
        assert sorted(addresses(found)) == sorted(DOORS[:3])

    run(main())


def test_one_transmitter_that_always_wins_hides_nobody_with_other_last_digits() -> None:
    """Capture: to all wildcards one meter answers alone, cleanly, every time."""
    line = on_memory([sim(address) for address in NEIGHBOURS[:4]], lambda answers: answers[:1])

    async def main() -> None:
        async with line:
            found, _ = await scan(line)
        assert addresses(found) == NEIGHBOURS[:4]

    run(main())


def test_one_transmitter_that_always_wins_is_overcome_by_asking_for_numbers() -> None:
    """The documented limit of the walk, and the way out of it."""
    line = on_memory([sim(address) for address in ("000000000101", "000000000201")], lambda answers: answers[:1])

    async def main() -> None:
        async with line:
            found, _ = await scan(line)
            assert addresses(found) == ["000000000101"]
            found, progress = await scan(line, first=100, last=299)
        assert addresses(found) == ["000000000101", "000000000201"]
        assert progress[-1] == Progress(200, 200, "000000000299")

    run(main())


def test_a_meter_that_knows_only_one_of_the_questions_is_found() -> None:
    for refusals in ({"00010000": 0x02}, {0x13: 0x01}):
        line = on_memory([sim("000000190101", refusals=dict(refusals))])

        async def main(line: MemoryLine = line) -> None:
            async with line:
                found, _ = await scan(line)
            assert addresses(found) == ["000000190101"]

        run(main())


def test_two_meters_with_one_number_are_trouble() -> None:
    for heard in (garbled, None):
        line = on_memory([sim("000000190101"), sim("000000190101")], heard)

        async def main(line: MemoryLine = line) -> None:
            async with line:
                found, _ = await scan(line, first=190100, last=190102)
            assert addresses(found) == ["000000190101"]
            assert "several meters" in found[0].trouble

        run(main())


def test_two_meters_with_one_number_are_trouble_at_the_end_of_the_walk_too() -> None:
    line = on_memory([sim("000000190101"), sim("000000190101")], garbled)

    async def main() -> None:
        async with line:
            found, progress = await scan(line)
        assert addresses(found) == ["000000190101"]
        assert "several meters" in found[0].trouble
        assert progress[-1].asked == progress[-1].expected

    run(main())


# ---------------------------------------------------------------------- meters of 1997 that repeat the wildcards


def test_a_meter_that_repeats_the_wildcards_is_found_under_its_meter_number() -> None:
    line = on_memory([sim("000000000202", edition="1997", echoes_wildcards=True)])

    async def main() -> None:
        async with line:
            found, _ = await scan(line)
        assert found == [Found({"address": "000000000202", "edition": "1997"}, "DL/T 645-1997, No. 000000000202")]

    run(main())


def test_a_meter_without_any_number_is_told_as_it_can_be_reached() -> None:
    meter = Dlt645SimMeter("000000000202", {"9010": Decimal(1)}.__getitem__, edition="1997", echoes_wildcards=True)

    async def main() -> None:
        async with on_memory([meter]) as line:
            found, _ = await scan(line)
        assert addresses(found) == [AA * 6, AA * 5 + "02"]
        assert all("does not say its number" in each.trouble for each in found)

    run(main())


# ---------------------------------------------------------------------- lines that are not as they should be


def test_an_empty_line_is_walked_once_and_ends() -> None:
    async def main() -> None:
        async with bus([]) as link:
            found, progress = await scan(link)
        assert found == []
        assert [each.asked for each in progress] == list(range(1, 203))
        assert {each.expected for each in progress} == {202}
        assert progress[0].where == AA * 6
        assert progress[1].where == AA * 5 + "00"

    run(main())


@pytest.mark.parametrize("noise", [NOISE, b"\x68" * 40, bytes(range(256))])
def test_a_line_full_of_noise_does_not_keep_the_walk_for_ever(noise: bytes) -> None:
    async def main() -> None:
        async with MemoryLine(lambda request: [Chunk(0.1, noise)]) as line:
            found, progress = await scan(line)
        assert found == []
        assert len(line.requests) == 202
        assert "noise" in progress[-1].where

    run(main())


@pytest.mark.parametrize("glitch", [b"\x00", b"\xff"])
def test_a_glitch_of_the_adapter_is_no_meter_and_hides_none(glitch: bytes) -> None:
    inner = on_memory([sim("000000190101")], lambda answers: [glitch, *answers])

    async def main() -> None:
        async with inner:
            found, progress = await scan(inner)
        assert addresses(found) == ["000000190101"]
        assert progress[-1].expected == 202

    run(main())


def test_an_adapter_that_hears_itself_is_no_meter() -> None:
    async def main() -> None:
        faults = FaultBoard(lines={"bus": LineFault(echo=True)})
        async with bus([sim("000000190101")], faults=faults) as link:
            found, progress = await scan(link)
        assert addresses(found) == ["000000190101"]
        assert progress[-1].expected == 202

    run(main())


def test_a_lost_line_ends_the_scan() -> None:
    async def main() -> None:
        async with on_memory([sim("000000190101")]) as line:
            asyncio.get_running_loop().call_later(5.0, line._fail, "unplugged")
            with pytest.raises(LineLost):
                await scan(line)

    run(main())


def test_a_scan_may_be_left_at_any_time() -> None:
    async def main() -> None:
        discover = DLT645.discover
        assert discover is not None
        line = on_memory([sim("000000190101")])
        async with line, aclosing(discover(line, Search(TIMEOUT_S))) as scanning:  # type: ignore[type-var]
            async for each in scanning:
                if isinstance(each, Found):
                    break
        assert len(line.requests) < 10

    run(main())


def test_nothing_is_ever_written() -> None:
    async def main() -> None:
        async with bus([sim(address) for address in DOORS]) as link:
            await scan(link)
            controls = {found[0].control for wire in link.sent if (found := find_frame(wire))}
        assert controls == {0x11, 0x13, 0x01}

    run(main())


def test_numbers_outside_the_wanted_ones_are_not_told() -> None:
    async def main() -> None:
        async with on_memory([sim(address) for address in NEIGHBOURS]) as line:
            found, _ = await scan(line, first=int(NEIGHBOURS[4]))
        assert addresses(found) == NEIGHBOURS[4:]

    run(main())


def test_an_answer_under_anothers_address_is_nobody() -> None:
    stray = Frame("000000190101", 0x91, bytes.fromhex("0000010056341200")).to_bytes()

    async def main() -> None:
        def respond(request: bytes) -> list[Chunk]:
            found = find_frame(request)
            assert found is not None
            return [Chunk(0.1, stray)] if found[0].address == AA * 5 + "77" else []

        async with MemoryLine(respond) as line:
            assert (await scan(line))[0] == []

    run(main())
