"""Faults of Modbus TCP devices, seen through the product's own link and a request written by hand."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal

import pytest

from drivers.dlt645.frame import READ, Frame, find_frame
from drivers.dlt645.simulator import Dlt645SimLine, Dlt645SimMeter
from drivers.modbus.config import Table
from drivers.modbus.simulator import ModbusBank, SimUnit, TcpStream
from drivers.transport import TcpLink
from gateway.errors import DeviceUnreachable
from gateway.sim import faults, forge
from gateway.sim.compound import Bus
from gateway.sim.faults import DeviceFault, FaultBoard, LineFault, Twist
from gateway.sim.line import Responder
from gateway.sim.tcp import ModbusUnits, SimStream, converter, serve
from support import virtual_time

READ_ONE = bytes.fromhex("0001 0000 0006 01 03 0000 0001")
ANSWER = bytes.fromhex("0001 0000 0005 01 03 02 1234")


def bank() -> ModbusBank:
    unit = SimUnit()
    unit.tables[Table.HOLDING][0] = 0x1234
    return ModbusBank({1: unit})


async def ask(link: TcpLink, timeout_s: float = 0.15) -> float:
    started_s = asyncio.get_running_loop().time()
    await link.exchange(READ_ONE, lambda data: data if data == ANSWER else None, peer=1, timeout_s=timeout_s)
    return asyncio.get_running_loop().time() - started_s


def test_a_healthy_device_answers_and_faults_come_and_go() -> None:
    async def scenario() -> None:
        board = FaultBoard()
        async with serve(bank(), {1: "d"}, "l", board) as port, TcpLink("127.0.0.1", port) as link:
            assert await ask(link) < 0.1
            board.devices["d"] = faults.SILENT
            with pytest.raises(DeviceUnreachable):
                await ask(link)
            board.devices["d"] = faults.slow(0.1)
            assert await ask(link, 0.5) >= 0.1
            del board.devices["d"]
            board.kill_line("l", dead=True)
            with pytest.raises(DeviceUnreachable):
                await ask(link)
            board.kill_line("l", dead=False)
            await ask(link)

    asyncio.run(scenario())


def test_a_late_answer_still_comes() -> None:
    async def scenario() -> None:
        board = FaultBoard(devices={"d": faults.late(0.05)})
        async with serve(bank(), {1: "d"}, "l", board) as port, TcpLink("127.0.0.1", port) as link:
            with pytest.raises(DeviceUnreachable):
                await ask(link, 0.05)
            await asyncio.sleep(0.25)
            assert bytes(link._buffer) == ANSWER

    asyncio.run(scenario())


def test_what_is_not_modbus_is_hung_up_on() -> None:
    async def scenario() -> bytes:
        async with serve(bank(), {1: "d"}, "l", FaultBoard()) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()

    assert asyncio.run(scenario()) == b""


# ---------------------------------------------------------------------- answers that are wrong


async def asked(board: FaultBoard, times: int = 1) -> list[bytes]:
    """Everything that comes after each of some requests, one connection."""
    async with serve(bank(), {1: "d"}, "l", board, seed=7) as port, TcpLink("127.0.0.1", port) as link:
        return [await link.collect(READ_ONE, timeout_s=2.0, silence_s=0.2) for _ in range(times)]


def test_a_lie_fits_into_the_protocol() -> None:
    for twist in (Twist.ADDRESS, Twist.FUNCTION, Twist.REFERENCE, Twist.SHORT, Twist.LONG):
        (answer,) = asyncio.run(asked(FaultBoard(devices={"d": faults.lying(twist)})))
        assert answer != ANSWER
        assert int.from_bytes(answer[4:6], "big") == len(answer) - 6


def test_a_checksum_that_is_not_there_is_not_spoilt_and_noise_stays_outside() -> None:
    board = FaultBoard(devices={"d": DeviceFault(spoil=1.0, noise=1.0, noise_bytes=64)})
    for answer in asyncio.run(asked(board, 3)):
        assert ANSWER in answer
        assert len(ANSWER) < len(answer) <= len(ANSWER) + 64


def test_what_is_said_twice_comes_twice() -> None:
    assert asyncio.run(asked(FaultBoard(devices={"d": DeviceFault(twice=1.0, twice_s=0.01)}))) == [2 * ANSWER]


def test_frames_never_stand_within_each_other() -> None:
    """A late answer and the next one, both byte by byte."""

    async def main() -> bytes:
        came = bytearray()
        stream = SimStream(
            "l",
            ModbusUnits(TcpStream(bank()), {1: "d"}),
            FaultBoard(devices={"d": DeviceFault(delay_s=0.01, drip=1.0, pause_s=0.05)}),
            came.extend,
            chance=random.Random(1),
            checked=False,
        )
        for tid in range(1, 6):
            stream.heard(bytes((0, tid)) + READ_ONE[2:])
            await asyncio.sleep(0.03)
        await asyncio.sleep(10.0)
        stream.close()
        return bytes(came)

    assert virtual_time.run(main(), grace_s=0.0) == b"".join(bytes((0, tid)) + ANSWER[2:] for tid in range(1, 6))


def test_meters_behind_a_converter_have_every_fault_of_a_serial_line() -> None:
    energy = Decimal("1234.56")
    meter = Dlt645SimMeter("000000190101", lambda di: energy)
    request = Frame("000000190101", READ, bytes.fromhex("00000100")).to_bytes(4)
    board = FaultBoard()

    def meters() -> Responder:
        return Bus(Dlt645SimLine([meter]).feed, {"000000190101": "m"}, forge=forge.dlt645)

    async def main() -> None:
        async with converter(meters, "l", board, seed=3) as port, TcpLink("127.0.0.1", port) as link:
            plain = await link.collect(request, timeout_s=2.0, silence_s=0.1)
            found = find_frame(plain)
            assert found is not None
            assert found[0].data[4:].hex() == "56341200"
            board.devices["m"] = faults.wrong_checksum()
            assert find_frame(await link.collect(request, timeout_s=2.0, silence_s=0.1)) is None
            board.devices["m"] = faults.lying(Twist.ADDRESS)
            lie = find_frame(await link.collect(request, timeout_s=2.0, silence_s=0.1))
            assert lie is not None
            assert lie[0].address != "000000190101"
            board.devices.clear()
            board.lines["l"] = LineFault(echo=True)
            assert await link.collect(request, timeout_s=2.0, silence_s=0.1) == request + plain

    asyncio.run(main())
