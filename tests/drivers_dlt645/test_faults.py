"""Whatever a line does to answers, no wrong number is ever good, and no command is confirmed that was not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.dlt645.decode import decode
from drivers.dlt645.driver import Dlt645Meter
from drivers.dlt645.encoding import SimValue
from drivers.dlt645.frame import Frame, find_frame
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers_contract.wire import Chunk, MemoryLine
from drivers_dlt645.bus import run
from drivers_dlt645.rig import ADDRESS, meter
from gateway.errors import DeviceRejected, DeviceUnreachable, ProtocolError
from gateway.model import Quality, ValueKind

OTHER = "000000190102"
TRUTH: dict[str, SimValue] = {
    **{f"0001{tariff:02X}00": Decimal(1000 + tariff) for tariff in range(5)},
    **{f"0001{tariff:02X}01": Decimal(500 + tariff) for tariff in range(5)},
    "02010100": Decimal("224.4"),
    "04000503": "0000",
    **{f"901{tariff}": Decimal(2000 + tariff) for tariff in range(5)},
}
POINTS: dict[str, dict[str, Any]] = {
    "2007": {
        **{f"now{tariff}": f"0001{tariff:02X}00" for tariff in range(5)},
        **{f"last{tariff}": f"0001{tariff:02X}01" for tariff in range(5)},
        "voltage": "02010100",
    },
    "1997": {f"now{tariff}": f"901{tariff}" for tariff in range(5)},
}
RELAY = {"kind": ValueKind.BOOLEAN, "di": "04000503", "bit": 4, "write": "relay"}

Spoil = Callable[[random.Random, bytes, bytes], Sequence[Chunk]]
"""From a good answer and the answer before it: what arrives."""


def clean(chance: random.Random, answer: bytes, before: bytes) -> Sequence[Chunk]:
    return [Chunk(0.05, answer)]


def lost(chance: random.Random, answer: bytes, before: bytes) -> Sequence[Chunk]:
    return []


def deaf(chance: random.Random, answer: bytes, before: bytes) -> Sequence[Chunk]:
    """The meter has not even heard the request."""
    return []


def late(chance: random.Random, answer: bytes, before: bytes) -> Sequence[Chunk]:
    return [Chunk(chance.uniform(0.4, 1.2), answer)]


def flipped(chance: random.Random, answer: bytes, before: bytes) -> Sequence[Chunk]:
    spoiled = bytearray(answer)
    spoiled[chance.randrange(4, len(answer))] ^= 1 << chance.randrange(8)
    return [Chunk(0.05, bytes(spoiled))]


def cut(chance: random.Random, answer: bytes, before: bytes) -> Sequence[Chunk]:
    return [Chunk(0.05, answer[: chance.randrange(len(answer))])]


def noisy(chance: random.Random, answer: bytes, before: bytes) -> Sequence[Chunk]:
    return [Chunk(0.05, chance.randbytes(chance.randrange(1, 20)) + answer + chance.randbytes(chance.randrange(5)))]


def dripping(chance: random.Random, answer: bytes, before: bytes) -> Sequence[Chunk]:
    return [Chunk(0.05 + 0.01 * n, bytes((byte,))) for n, byte in enumerate(answer)]


def stale(chance: random.Random, answer: bytes, before: bytes) -> Sequence[Chunk]:
    """The answer before comes once more, in front."""
    return [Chunk(0.03, before), Chunk(0.06, answer)]


def foreign(chance: random.Random, answer: bytes, before: bytes) -> Sequence[Chunk]:
    """The same data from another meter, in front or instead."""
    found = find_frame(answer)
    assert found is not None
    data = found[0].data[:-1] + b"\x77" if found[0].data else b""
    wrong = Frame(OTHER, found[0].control, data).to_bytes()
    return [Chunk(0.03, wrong)] + ([Chunk(0.06, answer)] if chance.random() < 0.5 else [])


SPOILS: Sequence[Spoil] = (clean, lost, deaf, late, flipped, cut, noisy, dripping, stale, foreign)
spoil = st.lists(st.sampled_from(SPOILS), min_size=1, max_size=12)


def spoiled_line(sim: Dlt645SimMeter, plan: Sequence[Spoil], seed: int) -> MemoryLine:
    line, chance, count = Dlt645SimLine([sim]), random.Random(seed), 0
    before = b""

    def respond(request: bytes) -> Sequence[Chunk]:
        nonlocal count, before
        spoil = plan[count % len(plan)]
        count += 1
        if spoil is deaf:
            return []
        (answer,) = (each for _, each in line.feed(request))
        chunks = spoil(chance, answer, before)
        before = answer
        return chunks

    return MemoryLine(respond)


async def poll_all(driver: Dlt645Meter, points: Sequence[str]) -> dict[str, object]:
    """Good values by identifier's point; exchanges that fail leave their points out."""
    good: dict[str, object] = {}
    for batch in driver.batches([f"m.{name}" for name in points]):
        try:
            readings = await driver.poll(batch)
        except (DeviceUnreachable, ProtocolError):
            continue
        good |= {each.point[2:]: each.value for each in readings if each.quality is Quality.GOOD}
    return good


@pytest.mark.parametrize("edition", ["2007", "1997"])
@settings(max_examples=60, deadline=None)
@given(plan=spoil, seed=st.integers(0, 2**32), most_data=st.sampled_from([200, 4 + 8, 4 + 3]), blocks=st.booleans())
def test_no_fault_makes_a_wrong_number_good(
    edition: str, plan: Sequence[Spoil], seed: int, most_data: int, blocks: bool
) -> None:
    sim = Dlt645SimMeter(ADDRESS, TRUTH.__getitem__, edition=edition, most_data=most_data, blocks=blocks)
    points = POINTS[edition]

    async def main() -> None:
        async with spoiled_line(sim, plan, seed) as line:
            driver = meter(line, points, timeout_s=0.3, edition=edition)
            for _ in range(4):
                for name, value in (await poll_all(driver, list(points))).items():
                    assert Decimal(str(value)) == TRUTH[points[name]], name

    run(main())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_clean_line_gives_every_value(seed: int) -> None:
    sim = Dlt645SimMeter(ADDRESS, TRUTH.__getitem__)

    async def main() -> None:
        async with spoiled_line(sim, [clean, noisy, dripping, stale], seed) as line:
            driver = meter(line, POINTS["2007"], timeout_s=0.9)
            assert (await poll_all(driver, list(POINTS["2007"]))).keys() == POINTS["2007"].keys()

    run(main())


@settings(max_examples=200, deadline=None)
@given(plan=spoil, seed=st.integers(0, 2**32), wanted=st.lists(st.booleans(), min_size=1, max_size=6))
@example(plan=[late, deaf], seed=2, wanted=[True, False] * 8)
def test_a_confirmed_command_was_obeyed(plan: Sequence[Spoil], seed: int, wanted: Sequence[bool]) -> None:
    sim = Dlt645SimMeter(ADDRESS, TRUTH.__getitem__)
    file = Path(__file__).parent / "password.txt"

    async def main() -> None:
        async with spoiled_line(sim, plan, seed) as line:
            driver = meter(line, {"relay": RELAY}, timeout_s=0.3, password_file=file)
            for value in wanted:
                sent = len(line.requests)
                try:
                    await driver.write("m.relay", value)
                except (DeviceUnreachable, ProtocolError):
                    pass
                else:
                    assert sim.relay_open is value
                    await asyncio.sleep(driver.settle_s("m.relay"))  # as the core does before it reads back
                assert len(line.requests) == sent + 1

    run(main())


@settings(max_examples=150, deadline=None)
@given(answer=st.binary(max_size=80), control=st.integers(0, 255), framed=st.booleans())
def test_any_answer_ends_in_readings_or_in_an_error_that_says_so(answer: bytes, control: int, framed: bool) -> None:
    wire = Frame(ADDRESS, control, answer).to_bytes() if framed else answer

    async def main() -> None:
        async with MemoryLine(lambda request: [Chunk(0.01, wire)] if wire else []) as line:
            for edition in ("2007", "1997"):
                driver = meter(line, POINTS[edition], timeout_s=0.3, edition=edition)
                for name, value in (await poll_all(driver, list(POINTS[edition]))).items():
                    assert wire.find(b"\x68") >= 0, (name, value)
                for name in POINTS[edition]:
                    list(driver.interpretations(f"m.{name}", wire))
            driver = meter(line, {"relay": RELAY}, timeout_s=0.3, password_file=Path(__file__).parent / "password.txt")
            try:
                await driver.write("m.relay", True)
            except (DeviceUnreachable, ProtocolError, DeviceRejected):
                return
            assert framed
            assert control & 0xDF == 0x9C

    run(main())


@settings(max_examples=300)
@given(
    control=st.integers(0, 255),
    head=st.sampled_from(["00000100", "01060605", "01010605", "05050004", "FF050004", "0C010004", "1F90", "C0", ""]),
    rest=st.binary(max_size=150),
)
def test_any_data_can_be_explained(control: int, head: str, rest: bytes) -> None:
    decoded = decode(Frame(ADDRESS, control, bytes.fromhex(head) + rest).to_bytes())
    assert decoded.ok
    assert all(field.id for frame in decoded.frames for field in frame.items)
