from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from drivers.base import Found, Progress, ProtocolType, Search
from drivers.modbus import discover
from drivers.modbus.driver import ASCII, RTU, TCP
from drivers.modbus.simulator import ModbusBank, RtuLine
from drivers.transport import SerialLink, TcpLink
from drivers_contract.wire import pty_wire, tcp_wire
from drivers_modbus.rig import FAR_ENDS, FakeLine, Replies, answered_by, unit
from gateway.errors import LineLost
from support.virtual_time import run

EACH = pytest.mark.parametrize("protocol", [RTU, ASCII, TCP], ids=["rtu", "ascii", "tcp"])
SOME = Search(timeout_s=0.1, first=1, last=12)


def bank() -> ModbusBank:
    told = unit(holding={0: 1})
    told.identity = {0: "Maker", 1: "M-1", 2: "V2.11"}
    numbered = unit(holding={5: 1})  # refuses register 0, and is there all the same
    numbered.server_id = b"PM5560\xff"
    return ModbusBank({3: told, 7: numbered, 11: unit(input={0: 9})})


async def scan(protocol: ProtocolType, line: FakeLine, search: Search = SOME) -> tuple[list[Found], list[Progress]]:
    assert protocol.discover is not None
    found: list[Found] = []
    progress: list[Progress] = []
    async with line:
        async for each in protocol.discover(line, search):
            if isinstance(each, Found):
                found.append(each)
            else:
                progress.append(each)
    return found, progress


def respond(protocol: ProtocolType, made: ModbusBank, echo: bool = False) -> Callable[[bytes], Replies]:
    far_end = FAR_ENDS[protocol.name](made)

    def answers(request: bytes) -> Replies:
        if echo:
            yield 0.001, request
        for _, answer in far_end.feed(request):
            yield 0.01, answer

    return answers


@EACH
@pytest.mark.parametrize("echo", [False, True])
def test_whoever_answers_is_found_and_says_what_it_is(protocol: ProtocolType, echo: bool) -> None:
    made = bank()
    asked: list[tuple[int, int]] = []
    made.on_request = lambda unit_id, pdu: asked.append((unit_id, pdu[0]))
    found, progress = run(scan(protocol, FakeLine(respond(protocol, made, echo))))
    assert found == [
        Found({"unit_id": 3}, "Maker M-1 V2.11"),
        Found({"unit_id": 7}, "PM5560"),
        Found({"unit_id": 11}),
    ]
    assert {function for _, function in asked} == {3, 4, 43, 17}  # nothing that changes a device
    assert list(dict.fromkeys(unit_id for unit_id, function in asked if function == 3 and unit_id < 13)) == list(
        range(1, 13)
    )
    assert [each.asked for each in progress] == list(range(len(progress)))
    assert progress[0].expected == 24
    assert progress[-1] == Progress(21, 21)
    assert progress[4].where == "unit 5"


def test_a_device_that_says_nothing_to_a_function_it_lacks_is_found_in_the_second_round() -> None:
    def only_inputs(request: bytes) -> Replies:
        for unit_id, answer in line.feed(request):
            if unit_id != 11 or answer[1] == 4:
                yield 0.01, answer

    line = RtuLine(bank())
    found, _ = run(scan(RTU, FakeLine(only_inputs)))
    assert [each.entry["unit_id"] for each in found] == [3, 7, 11]


def test_without_a_range_every_id_of_the_standard_is_asked() -> None:
    line = FakeLine(lambda _: ())
    found, progress = run(scan(RTU, line, Search(timeout_s=0.1)))
    assert found == []
    assert [request[0] for request in line.requests] == [*range(1, 248)] * 2
    assert progress[-1].asked == 494


@pytest.mark.parametrize(
    ("protocol", "first", "last", "asked"),
    [
        (RTU, 0, 3, [1, 2, 3]),  # 0 is everybody's
        (RTU, 245, 300, [245, 246, 247]),
        (RTU, None, 2, [1, 2]),
        (RTU, 246, None, [246, 247]),
        (RTU, 9, 8, []),
        (TCP, 0, 2, [0, 1, 2]),
        (TCP, 254, 255, [254, 255]),
    ],
)
def test_the_range_is_cut_to_what_there_is(
    protocol: ProtocolType, first: int | None, last: int | None, asked: list[int]
) -> None:
    line = FakeLine(lambda _: ())
    run(scan(protocol, line, Search(0.1, first, last)))
    unit_at = 6 if protocol is TCP else 0
    assert [request[unit_at] for request in line.requests] == asked * 2


# ---------------------------------------------------------------------- noise


def test_noise_twice_is_something_with_trouble_and_noise_once_a_device_with_a_doubt() -> None:
    """Unit 3 shares its id with another: bytes collide.  Unit 7 is heard clearly the second time."""
    times: dict[int, int] = {}

    def garbled(request: bytes) -> Replies:
        times[request[0]] = times.get(request[0], 0) + 1
        for unit_id, answer in line.feed(request):
            spoilt = unit_id == 3 or (unit_id == 7 and times[7] == 1)
            yield 0.01, bytes(byte | 0x41 for byte in answer) if spoilt else answer

    line = RtuLine(bank())
    found, _ = run(scan(RTU, FakeLine(garbled)))
    assert found == [
        Found({"unit_id": 3}, "", discover.NOISE),
        Found({"unit_id": 7}, "PM5560", discover.NOISE_ONCE),
        Found({"unit_id": 11}),
    ]


@pytest.mark.parametrize("protocol", [RTU, ASCII], ids=["rtu", "ascii"])
@pytest.mark.parametrize("echo", [False, True])
def test_two_devices_with_one_id_are_heard_where_they_answer_after_each_other(
    protocol: ProtocolType, echo: bool
) -> None:
    def both(request: bytes) -> Replies:
        if echo:
            yield 0.001, request
        for unit_id, answer in far_end.feed(request):
            yield 0.01, b"\xff" + answer  # a glitch before each answer is no second device
            if unit_id == 7:
                yield 0.05, answer

    far_end = FAR_ENDS[protocol.name](bank())
    found, _ = run(scan(protocol, FakeLine(both)))
    assert found == [
        Found({"unit_id": 3}, "Maker M-1 V2.11"),
        Found({"unit_id": 7}, "PM5560", discover.SECOND),
        Found({"unit_id": 11}),
    ]


def test_a_line_that_is_noisy_at_every_id_does_not_fill_the_report() -> None:
    found, _ = run(scan(RTU, FakeLine(lambda _: [(0.01, b"\xff\xfe\x00")]), Search(0.1, 1, 40)))
    assert len(found) == discover.MOST_NOISY
    assert all(each.trouble for each in found)


def test_a_late_answer_is_not_taken_for_the_next_id() -> None:
    """Unit 3 answers after the time-out, while 4 is asked: 4 is not there, and not in trouble."""

    def late(request: bytes) -> Replies:
        for unit_id, answer in line.feed(request):
            yield 0.16 if unit_id == 3 else 0.01, answer

    line = RtuLine(bank())
    found, _ = run(scan(RTU, FakeLine(late)))
    assert [each.entry["unit_id"] for each in found] == [7, 11]


def test_a_line_that_is_lost_ends_the_scan() -> None:
    async def scenario() -> None:
        line = FakeLine(lambda _: ())
        async with asyncio.timeout(60):
            asyncio.get_running_loop().call_later(0.35, line._fail, "pulled out")
            await scan(RTU, line)

    with pytest.raises(LineLost, match="pulled out"):
        run(scenario())


# ---------------------------------------------------------------------- TCP


@pytest.mark.parametrize("code", [10, 11])
def test_a_converter_that_reaches_nobody_is_nobody(code: int) -> None:
    def converter(request: bytes) -> Replies:
        nobody = request[:5] + bytes((3, request[6], request[7] | 0x80, code))
        yield 0.01, far_end.feed(request)[0][1] if request[6] == 3 else nobody

    far_end = FAR_ENDS[TCP.name](bank())
    found, _ = run(scan(TCP, FakeLine(converter)))
    assert [each.entry["unit_id"] for each in found] == [3]


def test_a_device_that_heeds_no_id_is_one_device() -> None:
    device = unit(holding={0: 1})
    device.identity = {0: "Maker"}

    def anybody(request: bytes) -> Replies:
        ((_, answer),) = FAR_ENDS[TCP.name](ModbusBank({request[6]: device})).feed(request)
        yield 0.01, answer

    found, _ = run(scan(TCP, FakeLine(anybody), Search(0.1)))
    assert found == [Found({"unit_id": 1}, f"Maker {discover.ANY_ID}")]


def test_a_device_of_its_own_under_255_is_found() -> None:
    found, _ = run(scan(TCP, FakeLine(respond(TCP, ModbusBank({255: unit(holding={0: 1})}))), Search(0.1)))
    assert [each.entry["unit_id"] for each in found] == [255]


# ---------------------------------------------------------------------- real wires


ONE = Search(timeout_s=1.0, first=7, last=7)


@EACH
def test_over_a_real_wire(protocol: ProtocolType) -> None:
    async def over_tcp() -> list[Found]:
        async with (
            tcp_wire(answered_by(FAR_ENDS[protocol.name](bank()))) as wire,
            TcpLink("127.0.0.1", wire.port) as link,
        ):
            return [each async for each in protocol.discover(link, ONE) if isinstance(each, Found)]

    async def over_serial() -> list[Found]:
        async with (
            pty_wire(answered_by(FAR_ENDS[protocol.name](bank()))) as wire,
            SerialLink(str(wire.path), protocol.scan_formats[0]) as link,
        ):
            return [each async for each in protocol.discover(link, ONE) if isinstance(each, Found)]

    assert protocol.discover is not None
    for over in [over_tcp] if protocol is TCP else [over_tcp, over_serial]:
        assert asyncio.run(over()) == [Found({"unit_id": 7}, "PM5560")]


def test_the_formats_worth_trying_begin_with_the_usual_one() -> None:
    for protocol in (RTU, ASCII):
        assert protocol.scan_formats[0] == protocol.serial
        assert len(set(protocol.scan_formats)) == len(protocol.scan_formats) >= 6
    assert {format_.baud for format_ in RTU.scan_formats} >= {2400, 4800, 9600, 19200, 115200}
