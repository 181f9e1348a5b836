"""The simulated line, driven by the product's own serial link as a real master."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from drivers.base import SerialFormat
from drivers.dlt645.frame import READ, Frame, find_frame
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers.modbus.codec import crc16
from drivers.modbus.config import Table
from drivers.modbus.simulator import ModbusBank, RtuLine, SimUnit
from drivers.transport import SerialLink
from gateway.errors import DeviceUnreachable, LineLost, ProtocolError
from gateway.sim import faults
from gateway.sim.compound import Bus
from gateway.sim.faults import FaultBoard, LineFault
from gateway.sim.line import SimLine, SimWire
from support import virtual_time
from support.descriptors import open_descriptors

METER_LINE = SerialFormat(2400, "E")
FAST = SerialFormat(115_200)
NO_WAIT = (0.001, 0.001)


class Parrot:
    """Answers ``?n`` with *answer*, as device ``n``; other bytes are nothing to it."""

    def __init__(self, name: str, answer: bytes = b"0123456789") -> None:
        self.name = name
        self.answer = answer
        self._heard = b""

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        self._heard += data
        question = b"?" + self.name.encode()
        count = self._heard.count(question)
        if count:
            self._heard = b""
        return [(self.name, self.answer)] * count

    def silence(self) -> None:
        self._heard = b""


async def ask(
    link: SerialLink, question: bytes, answer: bytes = b"0123456789", timeout_s: float = 0.3
) -> tuple[bytes, float]:
    """What came, and how long it took from handing over the request."""
    started_s = asyncio.get_running_loop().time()
    data = await link.exchange(question, lambda b: b if b.endswith(answer) else None, peer="x", timeout_s=timeout_s)
    return data, asyncio.get_running_loop().time() - started_s


@pytest.mark.parametrize(
    ("serial", "request_size", "answer_size"),
    [(METER_LINE, 20, 24), (SerialFormat(9600), 8, 45)],
    ids=["2400 8E1", "9600 8N1"],
)
def test_an_exchange_takes_as_long_as_the_wire_needs(serial: SerialFormat, request_size: int, answer_size: int) -> None:
    async def scenario() -> list[float]:
        parrot = Parrot("1", bytes(range(65, 65 + answer_size)))
        async with (
            SimLine("l", serial, [parrot], FaultBoard(), turnaround_s=(0.03, 0.03)) as line,
            SerialLink(line.path, serial) as link,
        ):
            return [(await ask(link, b"-" * (request_size - 2) + b"?1", parrot.answer, 2.0))[1] for _ in range(4)]

    expected_s = (request_size + answer_size) * serial.character_s + 0.03
    took_s = asyncio.run(scenario())
    assert min(took_s) > expected_s * 0.98
    assert sorted(took_s)[1] == pytest.approx(expected_s, rel=0.15), "the middle of four: the machine may be busy"


def test_an_absent_device_costs_the_master_its_whole_timeout() -> None:
    async def scenario() -> None:
        async with SimLine("l", FAST, [Parrot("1")], FaultBoard()) as line, SerialLink(line.path, FAST) as link:
            with pytest.raises(DeviceUnreachable):
                await ask(link, b"?2")
            assert line.stats.answers == 0

    asyncio.run(scenario())


def test_several_protocols_share_one_line() -> None:
    async def scenario() -> None:
        field = [Parrot("1", b"first"), Parrot("2", b"second")]
        async with SimLine("l", FAST, field, FaultBoard()) as line, SerialLink(line.path, FAST) as link:
            assert (await ask(link, b"?2", b"second"))[0] == b"second"
            assert (await ask(link, b"?1", b"first"))[0] == b"first"

    asyncio.run(scenario())


def test_dlt645_and_modbus_share_one_line() -> None:
    meter = Dlt645SimMeter("202601010101", lambda di: Decimal("123.45"))
    unit = SimUnit()
    unit.tables[Table.HOLDING][0] = 0x1234
    modbus = RtuLine(ModbusBank({7: unit}))
    field = [
        Bus(Dlt645SimLine([meter]).feed, {"202601010101": "meter"}),
        Bus(modbus.feed, {7: "unit"}, modbus.silence),
    ]
    question = Frame("202601010101", READ, bytes.fromhex("00000100"))
    read_one = bytes.fromhex("07 03 0000 0001")
    read_one += crc16(read_one)
    value = bytes.fromhex("07 03 02 1234")

    async def scenario() -> list[str]:
        board = FaultBoard(devices={"unit": faults.slow(0.05)})
        async with SimLine("l", FAST, field, board) as line, SerialLink(line.path, FAST) as link:
            said = []
            for _ in range(3):
                data = await link.exchange(question.to_bytes(4), find_frame, peer="m", timeout_s=0.5)
                said.append(data[0].data[4:].hex())
                said.append((await ask(link, read_one, value + crc16(value)))[0].hex())
            return said

    assert asyncio.run(scenario()) == ["45230100", (value + crc16(value)).hex()] * 3


def test_the_line_survives_the_gateway_closing_and_opening_the_port() -> None:
    async def scenario() -> None:
        async with SimLine("l", FAST, [Parrot("1")], FaultBoard()) as line:
            for _ in range(3):
                async with SerialLink(line.path, FAST) as link:
                    await ask(link, b"?1")

    asyncio.run(scenario())


def test_two_who_speak_at_once_destroy_each_other() -> None:
    async def scenario() -> None:
        async with (
            SimLine("l", METER_LINE, [Parrot("1", b"a" * 600)], FaultBoard(), turnaround_s=NO_WAIT) as line,
            SerialLink(line.path, METER_LINE) as link,
        ):
            begun = asyncio.Event()
            link.tap = lambda direction, data: begun.set() if direction == "rx" else None
            asking = asyncio.ensure_future(ask(link, b"?1", b"a" * 600, timeout_s=10.0))  # 2.7 s on the wire
            await begun.wait()
            os.write(link._port.fileno(), b"?1")  # type: ignore[union-attr]  # somebody speaks into the answer
            with pytest.raises(ProtocolError):
                await asking  # what had been said does not get any longer
            assert line.stats.collisions == 1
            assert line.stats.answers == 1, "the second request was not heard"

    asyncio.run(scenario())


def test_nothing_is_left_open() -> None:
    async def scenario() -> None:
        async with (
            SimLine("l", METER_LINE, [Parrot("1")], FaultBoard()) as line,
            SerialLink(line.path, METER_LINE) as link,
        ):
            with pytest.raises(DeviceUnreachable):
                await ask(link, b"?1", timeout_s=0.01)

    before = open_descriptors()
    asyncio.run(scenario())
    assert open_descriptors() <= before


# ---------------------------------------------------------------------- faults on the wire


def with_fault(fault: faults.DeviceFault | LineFault) -> FaultBoard:
    return FaultBoard(lines={"l": fault}) if isinstance(fault, LineFault) else FaultBoard(devices={"1": fault})


@pytest.mark.parametrize("fault", [faults.SILENT, LineFault(dead=True)], ids=["silent device", "dead line"])
def test_silence_until_the_fault_is_mended(fault: faults.DeviceFault | LineFault) -> None:
    async def scenario() -> None:
        board = with_fault(fault)
        async with SimLine("l", FAST, [Parrot("1")], board) as line, SerialLink(line.path, FAST) as link:
            with pytest.raises(DeviceUnreachable):
                await ask(link, b"?1")
            board.devices.clear()
            board.lines.clear()
            await ask(link, b"?1")

    asyncio.run(scenario())


def test_a_slow_device_takes_longer() -> None:
    async def scenario() -> float:
        board = with_fault(faults.slow(0.1))
        async with (
            SimLine("l", FAST, [Parrot("1")], board, turnaround_s=NO_WAIT) as line,
            SerialLink(line.path, FAST) as link,
        ):
            return (await ask(link, b"?1"))[1]

    assert asyncio.run(scenario()) >= 0.1


def test_a_late_answer_comes_after_the_timeout() -> None:
    async def scenario() -> None:
        async with (
            SimLine("l", FAST, [Parrot("1")], with_fault(faults.late(0.1))) as line,
            SerialLink(line.path, FAST) as link,
        ):
            with pytest.raises(DeviceUnreachable):
                await ask(link, b"?1", timeout_s=0.1)
            assert line.stats.answers == 0
            await asyncio.sleep(0.25)
            assert line.stats.answers == 1
            assert len(link._buffer) == 10

    asyncio.run(scenario())


def test_an_echoing_adapter_returns_the_request_first() -> None:
    async def scenario() -> bytes:
        async with (
            SimLine("l", FAST, [Parrot("1")], with_fault(LineFault(echo=True))) as line,
            SerialLink(line.path, FAST) as link,
        ):
            return (await ask(link, b"?1"))[0]

    assert asyncio.run(scenario()) == b"?10123456789"


def test_a_wrong_checksum_arrives_and_does_not_check() -> None:
    async def scenario() -> None:
        async with (
            SimLine("l", FAST, [Parrot("1")], with_fault(faults.wrong_checksum())) as line,
            SerialLink(line.path, FAST) as link,
        ):
            with pytest.raises(ProtocolError) as caught:
                await ask(link, b"?1", timeout_s=0.8)
            assert caught.value.frame[:-2] + caught.value.frame[-1:] == b"012345679"

    asyncio.run(scenario())


# ---------------------------------------------------------------------- the wire alone, in virtual time


class Heard:
    """What comes out of a wire, and when."""

    def __init__(self, board: FaultBoard, answer: bytes = b"0123456789", serial: SerialFormat = FAST) -> None:
        self.pieces: list[tuple[float, bytes]] = []
        self.told: list[tuple[str, bytes, bool]] = []
        self.wire = SimWire("l", serial, [Parrot("1", answer)], board, self._out, turnaround_s=NO_WAIT, told=self._told)

    def _out(self, data: bytes) -> None:
        self.pieces.append((asyncio.get_running_loop().time(), data))

    def _told(self, device: str, answer: bytes, clean: bool) -> None:
        self.told.append((device, answer, clean))

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.pieces)


def hear(board: FaultBoard, seconds: float = 2.0, serial: SerialFormat = FAST) -> Heard:
    async def main() -> Heard:
        heard = Heard(board, serial=serial)
        heard.wire.heard(b"?1")
        await asyncio.sleep(seconds)
        heard.wire.close()
        return heard

    return virtual_time.run(main(), grace_s=0.0)


def test_a_healthy_answer_is_told_to_be_clean_when_it_is_over() -> None:
    assert hear(FaultBoard()).told == [("1", b"0123456789", True)]


@pytest.mark.parametrize(
    ("fault", "clean"),
    [
        (faults.SILENT, None),
        (faults.slow(0.1), False),
        (faults.noisy(1.0), False),
        (faults.wrong_checksum(), False),
        (faults.DeviceFault(drip=1.0, pause_s=0.01), False),
        (faults.DeviceFault(twice=1.0), False),
    ],
    ids=str,
)
def test_a_disturbed_answer_is_not(fault: faults.DeviceFault, clean: bool | None) -> None:
    told = hear(with_fault(fault)).told
    assert told[:1] == ([] if clean is None else [("1", b"0123456789", clean)])


def test_an_answer_said_twice_comes_twice_with_its_pause() -> None:
    heard = hear(with_fault(faults.DeviceFault(twice=1.0, twice_s=0.5)))
    assert heard.data == 2 * b"0123456789"
    (first, _), (second, _) = heard.pieces
    assert second - first == pytest.approx(0.5 + 10 * FAST.character_s)


def test_an_adapter_that_collects_nothing_gives_one_byte_at_a_time() -> None:
    heard = hear(with_fault(LineFault(chunk_s=0.0)), serial=METER_LINE)
    assert [len(data) for _, data in heard.pieces] == [1] * 10
    apart = [b - a for (a, _), (b, _) in itertools.pairwise(heard.pieces)]
    assert apart == pytest.approx([METER_LINE.character_s] * 9)


def test_an_adapter_that_collects_much_gives_all_at_once() -> None:
    assert [data for _, data in hear(with_fault(LineFault(chunk_s=1.0)), serial=METER_LINE).pieces] == [b"0123456789"]


def test_a_dripping_answer_pauses_for_more_than_three_and_a_half_characters() -> None:
    heard = hear(with_fault(faults.DeviceFault(drip=1.0, pause_s=0.05)))
    assert heard.data == b"0123456789"
    apart = [b - a for (a, _), (b, _) in itertools.pairwise(heard.pieces)]
    assert max(apart) > 3.5 * FAST.character_s
    assert max(apart) <= 0.05 + FAST.character_s + 1e-9


def test_a_dirty_line_speaks_for_itself_until_it_is_clean_again() -> None:
    async def main() -> tuple[int, int]:
        board = with_fault(LineFault(dirty_per_s=10.0))
        heard = Heard(board)
        heard.wire.heard(b"?1")
        await asyncio.sleep(100.0)
        dirty = len(heard.pieces)
        board.lines.clear()
        await asyncio.sleep(100.0)
        heard.wire.close()
        return dirty, len(heard.pieces)

    dirty, after = virtual_time.run(main(), grace_s=0.0)
    assert 800 < dirty < 1200
    assert after == dirty


def test_the_same_seed_gives_the_same_line() -> None:
    board = FaultBoard(devices={"1": faults.noisy(1.0, 64)}, lines={"l": LineFault(dirty_per_s=5.0)})
    assert hear(board).pieces == hear(board).pieces


def test_an_adapter_comes_back_under_another_name_and_the_link_follows(tmp_path: Path) -> None:
    by_id = tmp_path / "usb-adapter"

    async def scenario() -> None:
        async with SimLine("l", FAST, [Parrot("1")], FaultBoard(), by_id=by_id) as line:
            assert line.path == str(by_id)
            link = SerialLink(line.path, FAST)
            for _ in range(3):
                name = os.readlink(by_id)
                async with link:
                    await ask(link, b"?1")
                    line.unplug()
                    with pytest.raises(LineLost):
                        await ask(link, b"?1")
                with pytest.raises(LineLost) as caught:
                    async with link:
                        pytest.fail("there is no adapter")
                assert "plugged" in caught.value.hint
                line.plug()
                assert os.readlink(by_id) != name
            async with link:
                await ask(link, b"?1")
        assert not by_id.is_symlink()

    before = open_descriptors()
    asyncio.run(scenario())
    assert open_descriptors() <= before
