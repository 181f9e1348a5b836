"""Our driver against pymodbus' server, our simulator against pymodbus' clients: neither side can agree with itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.client.base import ModbusBaseClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.base import ProtocolType
from drivers.modbus.codec import quiet_pymodbus
from drivers.modbus.config import Table
from drivers.modbus.driver import ASCII, RTU, TCP
from drivers.modbus.simulator import AsciiLine, ModbusBank, RtuLine, SimUnit, serve_tcp
from drivers.transport import TcpLink
from drivers_contract.wire import pty_wire
from drivers_modbus.rig import answered_by, device, holding, unit
from gateway.errors import DeviceRejected
from gateway.model import Reason

# ---------------------------------------------------------------------- our driver, their server

POINTS = {
    "u16": holding(0, scale=0.1),
    "f32": holding(2, type="float32"),
    "s64": holding(4, type="s64"),
    "setpoint": holding(10),
    "flag": holding(9, type="bit", bit=3, write_function=22),
    "flags": holding(9),
    "missing": holding(11),
    "input": {"table": "input", "address": 1, "type": "s16"},
    "coil": {"table": "coil", "address": 1},
    "discrete": {"table": "discrete", "address": 2},
}


@asynccontextmanager
async def their_server(framer: FramerType) -> AsyncIterator[int]:
    quiet_pymodbus()
    blocks = (
        [SimData(0, values=[True, False, True, False] * 4, datatype=DataType.BITS)],
        [SimData(0, values=[False, False, True, False] * 4, datatype=DataType.BITS)],
        [
            SimData(0, values=[2302, 0], datatype=DataType.REGISTERS),
            SimData(2, values=230.25, datatype=DataType.FLOAT32),
            SimData(4, values=-(2**40) - 7, datatype=DataType.INT64),
            SimData(8, values=[0, 2, 5], datatype=DataType.REGISTERS),
        ],
        [SimData(0, values=[1, 65535], datatype=DataType.REGISTERS)],
    )
    server = ModbusTcpServer(SimDevice(1, simdata=blocks), framer=framer, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        assert isinstance(server.transport, asyncio.Server)
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]
        await asyncio.sleep(0.01)  # its connections close in callbacks


@pytest.mark.parametrize(
    ("protocol", "framer"),
    [(TCP, FramerType.SOCKET), (RTU, FramerType.RTU), (ASCII, FramerType.ASCII)],
    ids=["tcp", "rtu over tcp", "ascii over tcp"],
)
def test_our_driver_reads_and_writes_their_server(protocol: ProtocolType, framer: FramerType) -> None:
    async def scenario() -> None:
        async with their_server(framer) as port, TcpLink("127.0.0.1", port) as link:
            reader = device(protocol, link, POINTS)
            seen = {}
            for batch in reader.batches([f"d.{name}" for name in POINTS]):
                for reading in await reader.poll(batch):
                    seen[reading.point.removeprefix("d.")] = reading.reason or reading.value
            assert seen == {
                "u16": 230.2,
                "f32": 230.25,
                "s64": -(2**40) - 7,
                "setpoint": 5,
                "flag": False,
                "flags": 2,
                "missing": Reason.REFUSED,
                "input": -1,
                "coil": False,
                "discrete": True,
            }
            await reader.write("d.setpoint", 77)
            await reader.write("d.coil", True)
            await reader.write("d.flag", True)  # mask write: 0 0 1 0 with bit 3 set
            readings = [*await reader.poll(["d.setpoint"]), *await reader.poll(["d.coil"])]
            readings += await reader.poll(["d.flags"])
            assert [reading.value for reading in readings] == [77, True, 0b1010]
            with pytest.raises(DeviceRejected, match="illegal data address"):
                await reader.write("d.missing", 1)

    asyncio.run(scenario())


# ---------------------------------------------------------------------- our simulator, their clients


def our_bank() -> ModbusBank:
    first = unit(holding={n: n for n in range(10)}, input={0: 0x4366, 1: 0x3334}, coil={n: n % 2 for n in range(20)})
    first.identity = {0: "Maker", 1: "M1", 2: "V2.11", 5: "not among the basic objects"}
    first.server_id = b"M1\xff"
    return ModbusBank({1: first, 2: unit(discrete={3: 1, 4: 0})})


async def exercise(client: ModbusBaseClient, bank: ModbusBank) -> None:
    assert (await client.read_holding_registers(2, count=5, device_id=1)).registers == [2, 3, 4, 5, 6]
    floats = (await client.read_input_registers(0, count=2, device_id=1)).registers
    assert client.convert_from_registers(floats, client.DATATYPE.FLOAT32) == pytest.approx(230.2)
    assert (await client.read_coils(1, count=18, device_id=1)).bits[:18] == [True, False] * 9
    assert (await client.read_discrete_inputs(3, count=2, device_id=2)).bits[:2] == [True, False]
    assert not (await client.write_register(4, 500, device_id=1)).isError()
    assert not (await client.write_registers(5, [1, 2, 3], device_id=1)).isError()
    assert not (await client.write_coil(0, True, device_id=1)).isError()
    assert not (await client.write_coils(2, [True] * 9, device_id=1)).isError()
    assert (await client.read_holding_registers(4, count=4, device_id=1)).registers == [500, 1, 2, 3]
    assert (await client.read_coils(0, count=12, device_id=1)).bits[:12] == [True] * 12
    refused = await client.read_holding_registers(8, count=5, device_id=1)
    assert (refused.isError(), refused.exception_code) == (True, 2)
    bank.units[1].tables[Table.HOLDING][0] = 0x12  # the standard's example, 6.16
    assert not (await client.mask_write_register(address=0, and_mask=0xF2, or_mask=0x25, device_id=1)).isError()
    assert bank.units[1].tables[Table.HOLDING][0] == 0x17
    told = await client.read_device_information(read_code=1, object_id=0, device_id=1)
    assert told.information == {0: b"Maker", 1: b"M1", 2: b"V2.11"}
    assert (await client.report_device_id(device_id=1)).identifier == b"M1"
    assert (await client.read_device_information(device_id=2)).exception_code == 1
    bank.units[1].exceptions.extend(range(1, 12))
    codes = [(await client.read_holding_registers(0, count=1, device_id=1)).exception_code for _ in range(11)]
    assert codes == list(range(1, 12))
    assert not (await client.read_holding_registers(0, count=1, device_id=1)).isError()


def test_their_tcp_client_understands_our_simulator() -> None:
    async def scenario() -> None:
        quiet_pymodbus()
        bank = our_bank()
        async with serve_tcp(bank) as port:
            client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=1, retries=0)
            assert await client.connect()
            try:
                await exercise(client, bank)
            finally:
                client.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("line", "framer"), [(RtuLine, FramerType.RTU), (AsciiLine, FramerType.ASCII)])
def test_their_serial_client_understands_our_simulator(
    line: Callable[[ModbusBank], RtuLine | AsciiLine], framer: FramerType
) -> None:
    async def scenario() -> None:
        quiet_pymodbus()
        bank = our_bank()
        async with pty_wire(answered_by(line(bank))) as wire:
            client = AsyncModbusSerialClient(str(wire.path), framer=framer, baudrate=115200, timeout=1, retries=0)
            assert await client.connect()
            try:
                await exercise(client, bank)
            finally:
                client.close()

    asyncio.run(scenario())


def test_the_simulator_hangs_up_when_it_ends() -> None:
    async def scenario() -> None:
        async with serve_tcp(ModbusBank({1: SimUnit()})) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.01)  # accepted
        async with asyncio.timeout(2):
            assert await reader.read() == b""
        writer.close()

    asyncio.run(scenario())
