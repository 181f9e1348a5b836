from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest

from drivers.base import Budgeted, Driver, Explaining, ProtocolType, Writable
from drivers.device_link import DeviceLink
from drivers.modbus import codec, framing
from drivers.modbus.config import PointOptions, Table
from drivers.modbus.driver import ASCII, RTU, TCP, ModbusDevice
from drivers.modbus.simulator import ModbusBank, SimUnit
from drivers.registry import protocol
from drivers_modbus.rig import FAR_ENDS, FakeLine, Replies, device, holding, unit
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, ProtocolError
from gateway.model import Quality, Reading, Reason, Value
from support.virtual_time import run

Shape = Callable[[bytes], Replies]
"""What the line makes of an answer."""


def at_once(answer: bytes) -> Replies:
    yield 0.01, answer


class Bus:
    """A bank behind a fake line; counts what the driver asked."""

    def __init__(self, protocol: ProtocolType, bank: ModbusBank, shape: Shape = at_once, echo: bool = False) -> None:
        self.asked: list[tuple[int, bytes]] = []
        self.shape = shape
        self.echo = echo
        self.bank = bank
        bank.on_request = lambda unit_id, pdu: self.asked.append((unit_id, pdu))
        self.far_end = FAR_ENDS[protocol.name](bank)
        self.line = FakeLine(self._respond)

    def _respond(self, request: bytes) -> Replies:
        if self.echo:
            yield 0.001, request
        for _, answer in self.far_end.feed(request):
            yield from self.shape(answer)

    def ranges(self) -> list[tuple[int, int, int]]:
        """Function, address, count of every request so far; forgets them."""
        asked, self.asked[:] = list(self.asked), []
        return [(pdu[0], int.from_bytes(pdu[1:3]), int.from_bytes(pdu[3:5])) for _, pdu in asked]


def everything(device: ModbusDevice) -> list[str]:
    return list(device._items)


async def poll_all(device: ModbusDevice) -> dict[str, Reading]:
    readings: list[Reading] = []
    for batch in device.batches(everything(device)):
        readings += await device.poll(batch)
    return {reading.point: reading for reading in readings}


def values(readings: dict[str, Reading]) -> dict[str, Value | Reason | None]:
    return {point.partition(".")[2]: reading.reason or reading.value for point, reading in readings.items()}


EACH = pytest.mark.parametrize("protocol", [RTU, ASCII, TCP], ids=["rtu", "ascii", "tcp"])


def test_the_registry_names_them() -> None:
    assert protocol("modbus-rtu") is RTU
    assert protocol("modbus-ascii") is ASCII
    assert protocol("modbus-tcp") is TCP
    made: Driver = device(RTU, FakeLine(lambda _: ()), {"a": holding(0)})
    assert isinstance(made, Writable)
    assert isinstance(made, Explaining)
    assert isinstance(made, Budgeted)


# ---------------------------------------------------------------------- planning


def batches(points: dict[str, dict[str, object]], **options: int) -> list[str]:
    made = device(TCP, FakeLine(lambda _: ()), points, **options)
    return [" ".join(point.removeprefix("d.") for point in batch) for batch in made.batches(everything(made))]


def test_neighbours_share_a_request_across_a_small_gap() -> None:
    points = {"c": holding(20), "a": holding(0, type="u32"), "b": holding(10), "i": {"table": "input", "address": 1}}
    assert batches(points) == ["a b", "c", "i"]
    assert batches(points, max_gap=9) == ["a b c", "i"]
    assert batches(points, max_gap=0) == ["a", "b", "c", "i"]


def test_no_request_is_longer_than_the_device_allows() -> None:
    points = {f"p{n:03}": holding(n) for n in range(300)}
    sizes = [len(batch.split()) for batch in batches(points)]
    assert sizes == [125, 125, 50]
    assert len(batches(points, max_registers=4)) == 75


def test_bits_go_by_the_thousand_and_the_gap_counts_in_registers() -> None:
    coils = {f"c{n:04}": {"table": "coil", "address": n} for n in range(2001)}
    assert [len(batch.split()) for batch in batches(coils)] == [2000, 1]
    assert batches({"a": {"table": "coil", "address": 0}, "b": {"table": "coil", "address": 129}}) == ["a b"]
    assert batches({"a": {"table": "coil", "address": 0}, "b": {"table": "coil", "address": 130}}) == ["a", "b"]


def test_nothing_is_merged_with_or_across_a_no_merge_point() -> None:
    points = {"a": holding(0), "b": holding(1, no_merge=True), "c": holding(2), "d": holding(3)}
    assert batches(points) == ["a", "b", "c d"]


def test_the_bits_of_one_register_are_one_request_even_where_nothing_may_be_merged() -> None:
    points = {f"bit{n}": holding(5, type="bit", bit=n, no_merge=True) for n in range(3)}
    assert batches({**points, "next": holding(6)}) == ["bit0 bit1 bit2", "next"]


def test_a_point_that_the_device_can_never_give_whole_is_a_configuration_fault() -> None:
    with pytest.raises(ConfigError, match="4 registers, but max_registers is 3"):
        batches({"a": holding(0, type="float64")}, max_registers=3)


# ---------------------------------------------------------------------- reading


@EACH
def test_a_poll_gives_one_reading_per_point_in_the_order_asked(protocol: ProtocolType) -> None:
    async def scenario() -> Sequence[Reading]:
        bus = Bus(protocol, ModbusBank({1: unit(holding={0: 2302, 1: 0x7FC0, 2: 0, 3: 9})}))
        points = {
            "v": holding(0, scale=0.1),
            "nan": holding(1, type="float32"),
            "state": holding(3, enum={0: "off"}),
            "raw": holding(0),
        }
        async with bus.line as line:
            return await device(protocol, line, points).poll(["d.state", "d.v", "d.nan", "d.raw"])

    state, volts, nan, raw = run(scenario())
    assert (volts.value, raw.value) == (230.2, 2302)
    assert volts.source_time_ms == volts.gateway_time_ms == 1_767_225_600_000
    assert (nan.quality, nan.reason, nan.raw) == (Quality.BAD, Reason.NO_VALUE, b"")
    assert (state.quality, state.reason) == (Quality.BAD, Reason.OUT_OF_RANGE)
    assert state.raw  # the frame, for whoever has to find out what 9 means


def split_scenario(
    cells: dict[int, int], points: dict[str, dict[str, object]], polls: int, **unit_options: int
) -> tuple[list[dict[str, Value | Reason | None]], list[list[tuple[int, int, int]]]]:
    """*polls* polls of the same batch: what each gave, and what it asked."""

    async def scenario() -> tuple[list[dict[str, Value | Reason | None]], list[list[tuple[int, int, int]]]]:
        made = unit(holding=cells)
        made.max_registers = unit_options.get("limit", 125)
        bus = Bus(RTU, ModbusBank({1: made}))
        async with bus.line as line:
            reader = device(RTU, line, points)
            (batch,) = reader.batches(everything(reader))  # as the core planned it before anything was learned
            told, asked = [], []
            for _ in range(polls):
                told.append(values({reading.point: reading for reading in await reader.poll(batch)}))
                asked.append(bus.ranges())
            assert [len(batch) for batch in reader.batches(everything(reader))] == [
                sum(1 for keys in points.values() if address <= int(str(keys["address"])) < address + count)
                for _, address, count in asked[-1]
            ]
            return told, asked

    return run(scenario())


def test_a_refused_range_is_split_at_once_and_only_the_refused_point_is_bad() -> None:
    points = {f"p{n:02}": holding(n) for n in range(40)}
    told, asked = split_scenario({n: n for n in range(40) if n != 27}, points, 3)
    expected = {f"p{n:02}": n if n != 27 else Reason.REFUSED for n in range(40)}
    assert told == [expected] * 3
    assert len(asked[0]) == 11  # the whole, then two halves five times: 20, 10, 5, 3, 1
    assert asked[1] == asked[2] == [(3, 0, 27), (3, 27, 1), (3, 28, 12)]


def test_what_a_device_does_not_have_costs_one_request_and_heals() -> None:
    async def scenario() -> None:
        made = unit()
        bus = Bus(RTU, ModbusBank({1: made}))
        async with bus.line as line:
            reader = device(RTU, line, {f"p{n:02}": holding(n) for n in range(40)})
            (batch,) = reader.batches(everything(reader))
            for asked in (79, 1, 1):
                assert {reading.reason for reading in await reader.poll(batch)} == {Reason.REFUSED}
                assert len(bus.ranges()) == asked
            made.tables[Table.HOLDING].update({n: n for n in range(40)})
            assert [reading.value for reading in await reader.poll(batch)] == list(range(40))
            made.tables[Table.HOLDING].pop(5)
            assert [n for n, reading in enumerate(await reader.poll(batch)) if reading.value is None] == [5]

    run(scenario())


def test_a_gap_that_the_device_does_not_have_is_learned_as_one_cut() -> None:
    points = {f"p{n:02}": holding(n) for n in (*range(10), *range(13, 23))}
    told, asked = split_scenario({n: n for n in range(30) if n not in (10, 11, 12)}, points, 3)
    assert told == [{f"p{n:02}": n for n in (*range(10), *range(13, 23))}] * 3
    assert asked[2] == [(3, 0, 10), (3, 13, 10)]


def test_a_device_with_a_shorter_limit_than_configured_is_learned_too() -> None:
    points = {f"p{n:02}": holding(n) for n in range(40)}
    told, asked = split_scenario({n: n for n in range(40)}, points, 4, limit=16)
    assert told == [{f"p{n:02}": n for n in range(40)}] * 4
    assert asked[2] == asked[3] == [(3, 0, 10), (3, 10, 10), (3, 20, 10), (3, 30, 10)]


@pytest.mark.parametrize("code", [1, 4, 5, 6, 7, 8, 9, 99])
def test_other_refusals_make_the_batch_bad_and_are_not_asked_again_at_once(code: int) -> None:
    async def scenario() -> list[Reading]:
        line = FakeLine(lambda request: at_once(rtu_refusal(request, code)))
        async with line:
            reader = device(RTU, line, {"a": holding(0), "b": holding(1)})
            readings = list(await reader.poll(["d.a", "d.b"]))
            assert len(line.requests) == 1
            return readings

    assert [reading.reason for reading in run(scenario())] == [Reason.REFUSED] * 2


@pytest.mark.parametrize("code", [10, 11])
def test_a_converter_that_cannot_reach_the_unit_is_a_unit_that_does_not_answer(code: int) -> None:
    async def scenario() -> None:
        line = FakeLine(lambda request: at_once(rtu_refusal(request, code)))
        async with line:
            await device(RTU, line, {"a": holding(0)}).poll(["d.a"])

    with pytest.raises(DeviceUnreachable, match="gateway") as caught:
        run(scenario())
    assert caught.value.hint


def rtu_refusal(request: bytes, code: int) -> bytes:
    frame = bytes((request[0], request[1] | 0x80, code))
    return frame + codec.crc16(frame)


@EACH
def test_silence_and_garbage_are_told_apart(protocol: ProtocolType) -> None:
    async def scenario(shape: Shape) -> None:
        bus = Bus(protocol, ModbusBank({1: unit(holding={0: 1})}), shape)
        async with bus.line as line:
            await device(protocol, line, {"a": holding(0)}).poll(["d.a"])

    with pytest.raises(DeviceUnreachable):
        run(scenario(lambda answer: ()))
    with pytest.raises(ProtocolError):
        run(scenario(lambda answer: at_once(answer[1:])))


def drip(answer: bytes) -> Replies:
    return ((0.01 + place * 0.001, answer[place : place + 1]) for place in range(len(answer)))


def noisy(answer: bytes) -> Replies:
    yield 0.005, b"\x00\xff\x01\x03"
    yield 0.010, answer[:3]
    yield 0.020, answer[3:] + b"\xfe"


@EACH
@pytest.mark.parametrize("shape", [drip, noisy])
@pytest.mark.parametrize("echo", [False, True])
def test_answers_survive_dripping_noise_and_echoes(protocol: ProtocolType, shape: Shape, echo: bool) -> None:
    async def scenario() -> list[object]:
        bus = Bus(protocol, ModbusBank({1: unit(holding={n: n + 100 for n in range(60)})}), shape, echo)
        points = {f"p{n:02}": holding(n) for n in range(60)}
        async with bus.line as line:
            reader = device(protocol, line, points)
            return [values(await poll_all(reader)) for _ in range(3)]

    assert run(scenario()) == [{f"p{n:02}": n + 100 for n in range(60)}] * 3


def late_replies(embargo_timeouts: float, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int]:
    """200 reads of different registers of one unit, 30 % answered after the time-out: good, wrong, silent."""
    monkeypatch.setattr(framing, "EMBARGO_TIMEOUTS", embargo_timeouts)
    chance = random.Random(5)
    timeout_s = 0.3

    def shape(answer: bytes) -> Replies:
        late = chance.random() < 0.3
        yield (timeout_s * chance.uniform(1.01, 3.1) if late else 0.02), answer

    async def scenario() -> tuple[int, int, int]:
        bus = Bus(RTU, ModbusBank({1: unit(holding={n: n for n in range(0, 4000, 20)})}), shape)
        good = wrong = silent = 0
        async with bus.line as line:
            reader = device(RTU, line, {f"p{n}": holding(n) for n in range(0, 4000, 20)}, timeout_s=timeout_s)
            for point, options in ((f"d.p{n}", n) for n in range(0, 4000, 20)):
                try:
                    (reading,) = await reader.poll([point])
                except DeviceUnreachable:
                    silent += 1
                    continue
                good += reading.value == options
                wrong += reading.value != options
        return good, wrong, silent

    return run(scenario())


def test_with_30_percent_late_replies_no_value_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    good, wrong, silent = late_replies(framing.EMBARGO_TIMEOUTS, monkeypatch)
    assert wrong == 0
    assert good + silent == 200
    assert silent > 40


def test_without_the_embargo_late_replies_would_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can see the fault it is there for."""
    _, wrong, _ = late_replies(0.0, monkeypatch)
    assert wrong > 10


def test_over_tcp_a_late_answer_is_known_by_its_transaction_and_costs_no_waiting() -> None:
    async def scenario() -> tuple[object, float]:
        delays = iter([0.5, 0.01])
        bus = Bus(TCP, ModbusBank({1: unit(holding={0: 1, 1: 2})}), lambda answer: [(next(delays), answer)])
        async with bus.line as line:
            reader = device(TCP, line, {"a": holding(0), "b": holding(1)}, timeout_s=0.3)
            with pytest.raises(DeviceUnreachable):
                await reader.poll(["d.a"])
            begin = asyncio.get_running_loop().time()
            (reading,) = await reader.poll(["d.b"])
            return reading.value, asyncio.get_running_loop().time() - begin

    value, took_s = run(scenario())
    assert value == 2
    assert took_s < 0.2


@EACH
def test_cancelled_in_the_middle_it_ends_at_once_and_the_line_still_works(protocol: ProtocolType) -> None:
    async def scenario() -> tuple[float, object]:
        delays = iter([0.4, 0.01])
        bus = Bus(protocol, ModbusBank({1: unit(holding={0: 1, 1: 2})}), lambda answer: [(next(delays), answer)])
        async with bus.line as line:
            reader = device(protocol, line, {"a": holding(0), "b": holding(1)})
            loop = asyncio.get_running_loop()
            begin = loop.time()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await reader.poll(["d.a"])
            took_s = loop.time() - begin
            (reading,) = await reader.poll(["d.b"])
            return took_s, reading.value

    took_s, value = run(scenario())
    assert took_s == pytest.approx(0.1, abs=0.02)
    assert value == 2


# ---------------------------------------------------------------------- writing

WRITE_POINTS = {
    "relay": {"table": "coil", "address": 3},
    "relay15": {"table": "coil", "address": 4, "write_function": 15},
    "limit": holding(10, scale=0.1),
    "limit16": holding(11, write_function=16),
    "total": holding(12, type="u32", word_order="CDAB"),
    "mode": holding(14, enum={0: "off", 2: "auto"}),
    "label": holding(20, type="ascii", length=3),
    "flag": holding(10, type="bit", bit=0),
    "flag22": holding(15, type="bit", bit=9, write_function=22),
    "flag22b": holding(15, type="bit", bit=9, write_function=22, word_order="BADC"),
    "part22": holding(15, type="bitfield", mask=0x00F0, write_function=22),
    "fan": holding(15, type="bitfield", mask=0x3000, enum={0: "off", 2: "fast"}, write_function=22),
    "measured": {"table": "input", "address": 0},
    "absent": holding(99),
}
WRITES: list[tuple[str, Value, int]] = [
    ("relay", True, 5),
    ("relay", False, 5),
    ("relay15", True, 15),
    ("limit", 21.5, 6),
    ("limit16", 7, 16),
    ("total", 70_000, 16),
    ("mode", "auto", 6),
    ("label", "PUMP1", 16),
    ("flag22", True, 22),
    ("flag22b", True, 22),
    ("part22", 11, 22),
    ("fan", "fast", 22),
]


def write_bank() -> ModbusBank:
    return ModbusBank({1: unit(holding=dict.fromkeys([*range(10, 16), 20, 21, 22], 0), coil={3: 0, 4: 0})})


@EACH
@pytest.mark.parametrize("echo", [False, True])
def test_what_is_written_is_read_back(protocol: ProtocolType, echo: bool) -> None:
    async def scenario() -> None:
        bus = Bus(protocol, write_bank(), echo=echo)
        async with bus.line as line:
            for point, value, function in WRITES:
                writer = device(protocol, line, WRITE_POINTS)  # each knows nothing about the adapter yet
                await writer.write(f"d.{point}", value)
                assert bus.ranges()[-1][0] == function
                (reading,) = await writer.poll([f"d.{point}"])
                assert reading.value == value

    run(scenario())


UNWRITABLE: list[tuple[str, Value, int, str]] = [
    ("measured", 1, 1, "cannot be written"),
    ("flag", True, 1, "cannot be written"),
    ("limit", 1e9, 3, "outside"),
    ("relay", "on", 3, "neither"),
    ("part22", 16, 3, "outside"),
    ("fan", "slow", 3, "one of the words"),
    ("mode", "manual", 3, "one of the words"),
]


@pytest.mark.parametrize(("point", "value", "code", "words"), UNWRITABLE)
def test_what_cannot_be_written_is_refused_before_it_is_sent(point: str, value: Value, code: int, words: str) -> None:
    async def scenario() -> None:
        bus = Bus(RTU, write_bank())
        async with bus.line as line:
            with pytest.raises(DeviceRejected, match=words) as caught:
                await device(RTU, line, WRITE_POINTS).write(f"d.{point}", value)
            assert caught.value.code == code
            assert not bus.asked

    run(scenario())


def test_the_devices_own_refusal_of_a_write_has_its_code() -> None:
    async def scenario() -> None:
        bus = Bus(RTU, write_bank())
        async with bus.line as line:
            await device(RTU, line, WRITE_POINTS).write("d.absent", 1)

    with pytest.raises(DeviceRejected, match="illegal data address") as caught:
        run(scenario())
    assert caught.value.code == 2


def test_a_mask_write_leaves_the_other_bits_alone() -> None:
    async def scenario() -> None:
        bank = write_bank()
        cells = bank.units[1].tables[Table.HOLDING]
        cells[15] = 0xA50F
        bus = Bus(RTU, bank)
        async with bus.line as line:
            writer = device(RTU, line, WRITE_POINTS)
            for point, value, left in (
                ("part22", 9, 0xA59F),
                ("part22", 0, 0xA50F),
                ("flag22", True, 0xA70F),
                ("flag22b", True, 0xA70F),  # bit 9 of the swapped register is bit 1: set already
                ("flag22b", False, 0xA70D),
                ("flag22", False, 0xA50D),
            ):
                await writer.write(f"d.{point}", value)
                assert cells[15] == left, point

    run(scenario())


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 7, 8, 9])
def test_a_refused_write_is_asked_once_and_keeps_its_code(code: int) -> None:
    async def scenario() -> None:
        bank = write_bank()
        bus = Bus(RTU, bank)
        async with bus.line as line:
            writer = device(RTU, line, WRITE_POINTS)
            await writer.poll(["d.limit"])
            bus.ranges()
            bank.units[1].exceptions.append(code)
            with pytest.raises(DeviceRejected) as caught:
                await writer.write("d.limit", 5)
            assert caught.value.code == code
            assert len(bus.ranges()) == 1

    run(scenario())


@EACH
def test_a_write_without_an_answer_is_not_sent_again_by_an_impatient_link(protocol: ProtocolType) -> None:
    """The link has learned that this device answers at once, and repeats a question that stays without answer."""

    async def scenario() -> tuple[int, int]:
        bus = Bus(protocol, write_bank())
        async with bus.line as line:
            writer = device(protocol, DeviceLink(line), WRITE_POINTS, timeout_s=2.0)
            for _ in range(10):
                await writer.poll(["d.limit"])
            sent = []
            for ask in (writer.poll(["d.limit"]), writer.write("d.limit", 5)):
                bus.shape = lambda answer: ()
                line.requests.clear()
                with pytest.raises(DeviceUnreachable):
                    await ask
                sent.append(len(line.requests))
                bus.shape = at_once
                await writer.poll(["d.limit"])
            return sent[0], sent[1]

    assert run(scenario()) == (2, 1)


def test_a_write_that_is_only_acknowledged_has_an_unknown_outcome() -> None:
    """Exception 5: taken, and not done yet.  Neither a refusal nor a confirmation."""

    async def scenario() -> None:
        bank = write_bank()
        bank.units[1].exceptions.extend([0, 5])
        bus = Bus(RTU, bank)
        async with bus.line as line:
            writer = device(RTU, line, WRITE_POINTS)
            with pytest.raises(ProtocolError, match="accepted") as caught:
                await writer.write("d.limit", 5)
            assert caught.value.hint
            assert len(bus.ranges()) == 2  # what a read taught of the adapter, and the write itself

    run(scenario())


def test_a_busy_device_is_neither_dead_nor_forgotten() -> None:
    """Nothing is learned from codes 5 and 6: the next poll asks for the same whole range and has it."""

    async def scenario() -> None:
        made = unit(holding={n: n for n in range(9)})
        bus = Bus(RTU, ModbusBank({1: made}))
        async with bus.line as line:
            reader = device(RTU, line, {f"p{n}": holding(n) for n in range(9)})
            (batch,) = reader.batches(everything(reader))
            for code in (5, 6):
                made.exceptions.append(code)
                assert {reading.reason for reading in await reader.poll(batch)} == {Reason.REFUSED}
                assert bus.ranges() == [(3, 0, 9)]
                assert [reading.value for reading in await reader.poll(batch)] == list(range(9))
                assert bus.ranges() == [(3, 0, 9)]

    run(scenario())


def test_how_long_a_write_takes_to_show() -> None:
    made = device(RTU, FakeLine(lambda _: ()), {"valve": holding(0, settle_s=40), "relay": holding(1)})
    assert (made.settle_s("d.valve"), made.settle_s("d.relay")) == (40, 0.5)


def test_an_echo_alone_does_not_confirm_a_write() -> None:
    """The device executes nothing and says nothing; its adapter sends back what it transmits."""

    async def scenario(protocol: ProtocolType, point: str) -> None:
        bus = Bus(protocol, write_bank(), echo=True)
        async with bus.line as line:
            writer = device(protocol, line, WRITE_POINTS)
            await writer.poll(["d.limit"])
            bus.shape = lambda answer: ()
            with pytest.raises(DeviceUnreachable):
                await writer.write(point, True)
            # the same with a driver that has not read anything yet
            with pytest.raises(DeviceUnreachable):
                await device(protocol, line, WRITE_POINTS).write(point, True)

    for anonymous in (RTU, ASCII):
        for point in ("d.relay", "d.flag22"):
            run(scenario(anonymous, point))


def test_a_write_that_the_device_answers_with_another_value_is_not_confirmed() -> None:
    async def scenario() -> None:
        line = FakeLine(lambda request: at_once(_another_value(request)))
        async with line:
            await device(TCP, line, WRITE_POINTS).write("d.limit", 5)

    def _another_value(request: bytes) -> bytes:
        return request[:-1] + bytes((request[-1] ^ 1,))

    with pytest.raises(ProtocolError):
        run(scenario())


def test_a_placed_value_is_what_the_driver_reads_in_every_type() -> None:
    wanted: dict[str, tuple[dict[str, object], Value]] = {
        "u64": (holding(0, type="u64", word_order="DCBA"), 2**60 + 5),
        "float64": (holding(4, type="float64", word_order="CDAB"), 1234.5678),
        "bcd": (holding(8, type="bcd32", scale=0.01), 123456.78),
        "low": (holding(10, type="bitfield", mask=0x00FF), 0x42),
        "high": (holding(10, type="bitfield", mask=0xFF00), 0x17),
        "bit0": (holding(11, type="bit", bit=0), True),
        "bit9": (holding(11, type="bit", bit=9, word_order="BADC"), True),
        "wide": (holding(20, type="bitfield32", mask=0x000FFF00, word_order="CDAB"), 0x5A3),
        "beside": (holding(20, type="bitfield32", mask=0x000000FF, word_order="CDAB"), 0x77),
        "text": (holding(12, type="ascii", length=4, word_order="BADC"), "valve 7"),
    }
    made = SimUnit()
    for options, value in wanted.values():
        made.place(PointOptions(**options), value)
    level = [1.0]
    made.place(PointOptions(table="input", address=5, type="float32"), lambda: level[0])

    async def scenario() -> dict[str, Value | Reason | None]:
        bus = Bus(TCP, ModbusBank({1: made}))
        points = {name: options for name, (options, _) in wanted.items()}
        async with bus.line as line:
            reader = device(TCP, line, {**points, "level": {"table": "input", "address": 5, "type": "float32"}})
            assert values(await poll_all(reader))["level"] == 1.0
            level[0] = 2.5
            return values(await poll_all(reader))

    assert run(scenario()) == {name: value for name, (_, value) in wanted.items()} | {"level": 2.5}
