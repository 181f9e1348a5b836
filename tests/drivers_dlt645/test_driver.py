"""The driver over the real exchange and a line in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from drivers.dlt645.driver import DLT645, Dlt645Meter
from drivers.dlt645.frame import WILDCARD, Frame, find_frame
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers_contract.wire import Chunk, MemoryLine
from drivers_dlt645.rig import ADDRESS, VALUES, meter, spec
from gateway.errors import ConfigError, DeviceUnreachable, ProtocolError
from gateway.model import Quality, Reading, Reason, ValueKind
from support.clock import ManualClock
from support.virtual_time import run

OTHER = "000000190102"
ENERGY = bytes.fromhex("00000100")
TARIFFS = {"total": "00010000", "t1": "00010100", "t2": "00010200", "t3": "00010300", "t4": "00010400"}
TARIFF_VALUES = {"total": 1234.56, "t1": 1000.01, "t2": 200.22, "t3": 30.33, "t4": 4.0}


def simulated(**options: Any) -> Dlt645SimLine:
    return Dlt645SimLine([Dlt645SimMeter(ADDRESS, VALUES.__getitem__, **options)])


def on_line(line: Dlt645SimLine, after_s: float = 0.05) -> MemoryLine:
    return MemoryLine(lambda request: [Chunk(after_s, answer) for _, answer in line.feed(request)])


def replying(*replies: Sequence[Chunk]) -> MemoryLine:
    """The first request gets the first reply, the next the next; then silence."""
    left = list(replies)
    return MemoryLine(lambda request: left.pop(0) if left else [])


def answer(data: str, control: int = 0x91, address: str = ADDRESS, preamble: int = 0) -> bytes:
    return Frame(address, control, bytes.fromhex(data)).to_bytes(preamble)


def asked(line: MemoryLine) -> list[tuple[int, str]]:
    """Control code and identifier of every request so far."""
    found = (find_frame(request) for request in line.requests)
    return [(each[0].control, each[0].data[:4][::-1].hex().upper()) for each in found if each]


async def poll(driver: Dlt645Meter, *names: str) -> list[Reading]:
    readings: list[Reading] = []
    for batch in driver.batches([f"m.{name}" for name in names]):
        readings += await driver.poll(batch)
    return readings


def read_one(line: MemoryLine, point: Any = "00010000", **options: Any) -> Reading:
    async def main() -> Reading:
        async with line:
            (reading,) = await poll(meter(line, {"it": point}, timeout_s=1.5, **options), "it")
            return reading

    return run(main())


GOOD_ENERGY = "00000100 56341200"


# ---------------------------------------------------------------------- finding the answer


@pytest.mark.parametrize("preamble", range(14))
def test_answers_may_begin_with_any_number_of_fe(preamble: int) -> None:
    assert read_one(replying([Chunk(0.1, answer(GOOD_ENERGY, preamble=preamble))])).value == 1234.56


@pytest.mark.parametrize("preamble", [0, 4, 16])
def test_requests_begin_with_as_many_fe_as_configured(preamble: int) -> None:
    line = replying([Chunk(0.1, answer(GOOD_ENERGY))])
    read_one(line, preamble=preamble)
    assert line.requests == [Frame(ADDRESS, 0x11, ENERGY).to_bytes(preamble)]


@pytest.mark.parametrize(
    "around",
    [
        lambda request, reply: [request, reply],  # the adapter echoes
        lambda request, reply: [b"\x00\xff\x68\x16", reply],
        lambda request, reply: [b"\x68" * 20, reply],
        lambda request, reply: [reply, b"\x00\xff\x68"],
        lambda request, reply: [bytes((byte,)) for byte in request + reply],
        lambda request, reply: [reply[:7], reply[7:11], reply[11:]],
        lambda request, reply: [answer("00000100 99999999", address=OTHER) + reply],  # another meter's
        lambda request, reply: [answer("02", 0xD1, OTHER), reply],
        lambda request, reply: [answer("00010102 4422"), reply],  # this meter's, to an earlier question
        lambda request, reply: [answer("00000100 99999999")[:-2] + b"\x00\x16", reply],  # damaged, then repeated
        lambda request, reply: [answer("01150004 00000000"), reply],  # a report nobody asked for
    ],
)
def test_the_answer_is_found_among_other_bytes(around: Callable[[bytes, bytes], list[bytes]]) -> None:
    pieces = around(Frame(ADDRESS, 0x11, ENERGY).to_bytes(4), answer(GOOD_ENERGY, preamble=4))
    reading = read_one(replying([Chunk(0.02 * (i + 1), piece) for i, piece in enumerate(pieces)]))
    assert (reading.value, reading.quality) == (1234.56, Quality.GOOD)


@pytest.mark.parametrize(
    "bytes_",
    [
        answer(GOOD_ENERGY)[:-3],
        answer(GOOD_ENERGY)[:-2] + b"\x00\x16",
        answer(GOOD_ENERGY, address=OTHER),
        answer("00000200 56341200"),
        answer(GOOD_ENERGY, control=0x11),
        answer(GOOD_ENERGY, control=0x81),
        answer("0000"),
    ],
)
def test_what_does_not_answer_the_question_is_never_a_reading(bytes_: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_one(replying([Chunk(0.1, bytes_)]))


def test_a_late_answer_to_the_question_before_is_not_this_ones() -> None:
    """It comes while the next exchange is under way: drained lines do not help, the identifier does."""

    async def main() -> None:
        late = Chunk(1.6, answer("00010102 4422"))
        async with replying([late], [Chunk(0.3, answer(GOOD_ENERGY))]) as line:
            driver = meter(line, {"voltage": "02010100", "energy": "00010000"}, timeout_s=1.5)
            with pytest.raises(DeviceUnreachable):
                await poll(driver, "voltage")
            (reading,) = await poll(driver, "energy")
            assert reading.value == 1234.56

    run(main())


def test_a_late_refusal_is_asked_about_again() -> None:
    """A refusal repeats no identifier; after an unanswered question it may belong to that one."""

    async def main() -> None:
        replies = [Chunk(1.62, answer("02", 0xD1))], [], [Chunk(0.1, answer(GOOD_ENERGY))]
        async with replying(*replies) as line:
            line.quiet_s = 0.05
            driver = meter(line, {"refused": "02800009", "energy": "00010000"}, timeout_s=1.5)
            with pytest.raises(DeviceUnreachable):
                await poll(driver, "refused")
            (reading,) = await poll(driver, "energy")
            assert reading.value == 1234.56
            assert asked(line) == [(0x11, "02800009"), (0x11, "00010000"), (0x11, "00010000")]

    run(main())


# ---------------------------------------------------------------------- what the answer says


@pytest.mark.parametrize(
    ("control", "data", "reason"),
    [
        (0xD1, "02", Reason.REFUSED),
        (0xD1, "04", Reason.REFUSED),
        (0xD1, "FE", Reason.REFUSED),
        (0xD1, "", Reason.REFUSED),
        (0x91, "00000100 FFFFFFFF", Reason.NO_VALUE),
        (0x91, "00000100 5A341200", Reason.NO_VALUE),
        (0x91, "00000100", Reason.NO_VALUE),
        (0x91, "00000100 5634120000", Reason.BAD_FRAME),
        (0x91, "00000100 563412", Reason.BAD_FRAME),
    ],
)
def test_an_answer_without_a_number_is_a_bad_reading_with_its_frame(control: int, data: str, reason: Reason) -> None:
    reply = answer(data, control)
    reading = read_one(replying([Chunk(0.1, b"\xfe\xfe" + reply)]))
    assert (reading.value, reading.quality, reading.reason, reading.raw) == (None, Quality.BAD, reason, reply)


@pytest.mark.parametrize(
    ("point", "data", "value"),
    [
        ("00010000", "00000100 56341200", 1234.56),
        ("02020100", "00010202 994980", -4.999),
        ({"di": "00010000", "scale": 40.0}, "00000100 56341200", 49382.4),
        ({"di": "02010100", "scale": 0.1}, "00010102 0300", 0.03),
        ({"di": "00E10000", "format": "XXXX.XX", "signed": True}, "0000E100 563492", -1234.56),
        ({"di": "00010000", "format": "XXXXXX.XXXX"}, "00000100 7856341200", 1234.5678),
        ({"di": "01010000"}, "00000101 345612 5122060517", 12.5634),
        ({"di": "04000402", "kind": ValueKind.TEXT}, "02040004 129078563412", "123456789012"),
        ({"di": "04000101", "kind": ValueKind.TEXT}, "01010004 05050626", "2026-06-05"),
        ({"di": "04000503", "kind": ValueKind.TEXT}, "03050004 5000", "0050"),
        ({"di": "04000503", "kind": ValueKind.BOOLEAN, "bit": 4}, "03050004 5000", True),
        ({"di": "04000503", "kind": ValueKind.BOOLEAN, "bit": 5}, "03050004 5000", False),
        ({"di": "04000503", "kind": ValueKind.STATE, "bit": 4, "states": ("on", "off")}, "03050004 5000", "off"),
    ],
)
def test_a_point_has_the_value_its_kind_wants(point: Any, data: str, value: object) -> None:
    reading = read_one(replying([Chunk(0.1, answer(data))]), point)
    assert (reading.value, reading.quality, reading.reason, reading.raw) == (value, Quality.GOOD, None, b"")
    assert type(reading.value) is type(value)


@pytest.mark.parametrize(
    "point",
    [
        {"di": "00010000", "kind": ValueKind.TEXT},
        {"di": "00010000", "kind": ValueKind.BOOLEAN},
        {"di": "04000503", "kind": ValueKind.NUMBER},
        {"di": "04000503", "kind": ValueKind.BOOLEAN},
        {"di": "04000503", "kind": ValueKind.TEXT, "bit": 4},
        {"di": "04000503", "kind": ValueKind.STATE, "bit": 4, "states": ("a", "b", "c")},
        {"di": "04000402", "kind": ValueKind.NUMBER},
    ],
)
def test_a_kind_that_does_not_suit_is_a_fault_of_the_profile(point: Any) -> None:
    with pytest.raises(ConfigError, match=r"m\.it"):
        DLT645.make(spec({"it": point}), replying(), ManualClock())


def test_readings_carry_the_time_of_their_answer() -> None:
    async def main() -> None:
        clock = ManualClock()
        async with on_line(simulated()) as line:
            (reading,) = await Dlt645Meter(spec({"it": "00010000"}), line, clock).poll(["m.it"])
            assert (reading.source_time_ms, reading.gateway_time_ms) == (clock.now_ms(), clock.now_ms())

    run(main())


# ---------------------------------------------------------------------- wildcards


@pytest.mark.parametrize("address", [WILDCARD, "AAAAAAAA0101"])
def test_a_wildcard_takes_the_answer_of_the_meter_it_fits(address: str) -> None:
    line = replying([Chunk(0.1, answer(GOOD_ENERGY))])
    assert read_one(line, address=address).value == 1234.56
    assert line.requests == [Frame(address, 0x11, ENERGY).to_bytes(4)]


def test_a_shortened_address_does_not_take_anothers_answer() -> None:
    with pytest.raises(ProtocolError):
        read_one(replying([Chunk(0.1, answer(GOOD_ENERGY, address="000000190202"))]), address="AAAAAAAA0101")


# ---------------------------------------------------------------------- blocks


def test_members_of_a_block_are_read_in_one_exchange() -> None:
    async def main() -> None:
        async with on_line(simulated()) as line:
            driver = meter(line, {**TARIFFS, "frequency": "02800002"}, timeout_s=1.5)
            readings = await poll(driver, "t4", "frequency", "total", "t2")
            assert {reading.point: reading.value for reading in readings} == {
                "m.t4": 4.0,
                "m.total": 1234.56,
                "m.t2": 200.22,
                "m.frequency": 50.03,
            }
            assert asked(line) == [(0x11, "0001FF00"), (0x11, "02800002")]

    run(main())


def test_one_member_alone_and_points_of_one_identifier_need_no_block() -> None:
    async def main() -> None:
        bits = {f"bit{n}": {"di": "04000503", "kind": ValueKind.BOOLEAN, "bit": n} for n in (4, 5, 6)}
        async with on_line(simulated()) as line:
            driver = meter(line, {**TARIFFS, **bits}, timeout_s=1.5)
            readings = await poll(driver, "t1", "bit4", "bit5", "bit6")
            assert [reading.value for reading in readings] == [1000.01, True, False, True]
            assert asked(line) == [(0x11, "00010100"), (0x11, "04000503")]

    run(main())


def test_a_point_with_a_format_of_its_own_stays_out_of_blocks() -> None:
    points = {**TARIFFS, "odd": {"di": "00010100", "format": "XXXXXXX.X"}}
    driver = meter(replying(), points)
    assert driver.batches(["m.total", "m.odd", "m.t2"]) == [["m.total", "m.t2"], ["m.odd"]]


def test_a_refused_block_is_read_one_by_one_at_once_and_remembered() -> None:
    async def main() -> None:
        async with on_line(simulated(blocks=False)) as line:
            driver = meter(line, TARIFFS, timeout_s=1.5)
            for _ in range(2):
                readings = await poll(driver, *TARIFFS)
                assert {reading.point: reading.value for reading in readings} == {
                    f"m.{name}": value for name, value in TARIFF_VALUES.items()
                }
            singles = [(0x11, di) for di in TARIFFS.values()]
            assert asked(line) == [(0x11, "0001FF00"), *singles, *singles]
            assert len(driver.batches([f"m.{name}" for name in TARIFFS])) == 5

    run(main())


@pytest.mark.parametrize(
    "block",
    [
        "00FF0100 01000000 02000000",  # two registers where three are wanted
        "00FF0100 01000000 02000000 0300",  # half a register
        "00FF0100",
    ],
)
def test_a_block_that_lacks_what_is_wanted_is_made_up_for(block: str) -> None:
    line = replying(
        [Chunk(0.1, answer(block))],
        [Chunk(0.1, answer("00000100 01000000"))],
        [Chunk(0.1, answer("00010100 02000000"))],
        [Chunk(0.1, answer("02", 0xD1))],
    )

    async def main() -> None:
        async with line:
            readings = await poll(meter(line, TARIFFS, timeout_s=1.5), "total", "t1", "t2")
            assert [reading.value for reading in readings] == [0.01, 0.02, None]
            assert readings[2].reason is Reason.REFUSED

    run(main())


def test_a_member_without_a_value_does_not_disturb_the_others() -> None:
    async def main() -> None:
        async with replying([Chunk(0.1, answer("00FF0102 4422 FFFF 5A22"))]) as line:
            driver = meter(line, {"a": "02010100", "b": "02010200", "c": "02010300"}, timeout_s=1.5)
            readings = await poll(driver, "a", "b", "c")
            assert [(reading.value, reading.reason) for reading in readings] == [
                (224.4, None),
                (None, Reason.NO_VALUE),
                (None, Reason.NO_VALUE),
            ]

    run(main())


@pytest.mark.parametrize("most_data", [4 + 3, 4 + 4, 4 + 8, 4 + 19])
def test_a_block_in_several_frames_is_put_together(most_data: int) -> None:
    async def main() -> None:
        async with on_line(simulated(most_data=most_data)) as line:
            readings = await poll(meter(line, TARIFFS, timeout_s=1.5), *TARIFFS)
            assert [reading.value for reading in readings] == list(TARIFF_VALUES.values())
            controls = [control for control, _ in asked(line)]
            assert controls[:2] == [0x11, 0x12]
            assert set(controls[1:]) == {0x12}

    run(main())


def test_a_continuation_out_of_sequence_is_not_used() -> None:
    line = replying(
        [Chunk(0.1, answer("00FF0100 01000000", 0xB1))],
        [Chunk(0.1, answer("00FF0100 02000000 02", 0x92))],  # the second, and the first was asked for
        [Chunk(0.1, answer("00000100 01000000"))],
        [Chunk(0.1, answer("00010100 02000000"))],
    )

    async def main() -> None:
        async with line:
            readings = await poll(meter(line, TARIFFS, timeout_s=1.5), "total", "t1")
            assert [reading.value for reading in readings] == [0.01, 0.02]
            assert asked(line)[2:] == [(0x11, "00010000"), (0x11, "00010100")]

    run(main())


def test_a_meter_that_never_stops_continuing_is_stopped() -> None:
    def endless(request: bytes) -> list[Chunk]:
        found = find_frame(request)
        assert found is not None
        return [Chunk(0.01, Frame(ADDRESS, found[0].control | 0xA0, found[0].data).to_bytes())]

    reading = read_one(MemoryLine(endless))
    assert reading.reason is Reason.BAD_FRAME


def test_a_meter_that_ignores_a_block_it_does_not_know_is_still_read() -> None:
    """Silence to a block: dead meter or unknown block?  The next poll asks singly; alive, it gets one more chance."""

    def deaf_to_blocks(request: bytes) -> list[Chunk]:
        found = find_frame(request)
        assert found is not None
        if found[0].data[1] == 0xFF:
            return []
        return [Chunk(0.05, reply) for _, reply in simulated().feed(request)]

    async def main() -> None:
        async with MemoryLine(deaf_to_blocks) as line:
            driver = meter(line, TARIFFS, timeout_s=1.5)
            outcomes: list[str] = []
            for _ in range(5):
                try:
                    outcomes.append(f"{len(await poll(driver, *TARIFFS))} readings")
                except DeviceUnreachable:
                    outcomes.append("unreachable")
            assert outcomes == ["unreachable", "5 readings", "unreachable", "5 readings", "5 readings"]

    run(main())


def test_a_meter_that_was_dead_for_a_while_gets_its_blocks_back() -> None:
    async def main() -> None:
        sim = simulated()
        alive = False

        def respond(request: bytes) -> list[Chunk]:
            return [Chunk(0.05, reply) for _, reply in sim.feed(request)] if alive else []

        async with MemoryLine(respond) as line:
            driver = meter(line, TARIFFS, timeout_s=1.5)
            for _ in range(3):
                with pytest.raises(DeviceUnreachable):
                    await poll(driver, *TARIFFS)
            alive = True
            await poll(driver, *TARIFFS)
            line.requests.clear()
            await poll(driver, *TARIFFS)
            assert asked(line) == [(0x11, "0001FF00")]
            alive = False
            with pytest.raises(DeviceUnreachable):  # a block once served is trusted for good
                await poll(driver, *TARIFFS)
            assert len(driver.batches([f"m.{name}" for name in TARIFFS])) == 1

    run(main())


def test_silence_ends_the_group_with_the_devices_own_time_out() -> None:
    async def main() -> None:
        async with replying() as line:
            with pytest.raises(DeviceUnreachable):
                await poll(meter(line, TARIFFS, timeout_s=1.5), *TARIFFS)
            assert asyncio.get_running_loop().time() == pytest.approx(1.5)
            assert len(line.requests) == 1

    run(main())
