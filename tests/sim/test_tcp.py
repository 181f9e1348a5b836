"""Faults of Modbus TCP devices, seen through the product's own link and a request written by hand."""

from __future__ import annotations

import asyncio

import pytest

from drivers.modbus.config import Table
from drivers.modbus.simulator import ModbusBank, SimUnit
from drivers.transport import TcpLink
from gateway.errors import DeviceUnreachable
from gateway.sim import faults
from gateway.sim.faults import FaultBoard
from gateway.sim.tcp import serve

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
