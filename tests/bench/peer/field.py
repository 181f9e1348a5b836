"""Modbus TCP devices whose every answer is new: a register holds how often it has been read.

python -m tests.bench.peer.field DEVICES REGISTERS   says its ports, then obeys:

    "counts"    -> {port: [how often each register has been read]}
    "freeze"    -> the same, and from then on no device answers any more: what was read is final
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from typing import Any

HEAD = struct.Struct(">HHHBBHH")
ANSWER = struct.Struct(">HHHBBB")


class Field:
    def __init__(self, registers: int) -> None:
        self.registers = registers
        self.frozen = False
        self.counts: dict[int, list[int]] = {}

    def device(self, port: int) -> Device:
        return Device(self, self.counts[port])


class Device(asyncio.Protocol):
    def __init__(self, field: Field, counts: list[int]) -> None:
        self._field = field
        self._counts = counts
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._field.frozen:
            return
        buffer, counts = self._buffer + data, self._counts
        while len(buffer) >= HEAD.size:
            tid, _, _, unit, function, start, count = HEAD.unpack_from(buffer)
            buffer = buffer[HEAD.size :]
            for n in range(start, start + count):
                counts[n] += 1
            registers = struct.pack(f">{count}H", *counts[start : start + count])
            self._transport.write(ANSWER.pack(tid, 0, 3 + 2 * count, unit, function, 2 * count) + registers)
        self._buffer = buffer


async def main(devices: int, registers: int) -> None:
    loop = asyncio.get_running_loop()
    field, servers = Field(registers), []
    for _ in range(devices):
        server = await loop.create_server(lambda: Unplugged(field), "127.0.0.1", 0, backlog=16)
        field.counts[server.sockets[0].getsockname()[1]] = [0] * registers
        servers.append(server)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    _say(list(field.counts))
    while line := await commands.readline():
        field.frozen = field.frozen or json.loads(line) == "freeze"
        _say(field.counts)
    for server in servers:
        server.close()


class Unplugged(asyncio.Protocol):
    """Which device a connection has reached is known when it is made."""

    def __init__(self, field: Field) -> None:
        self._field = field

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        device = self._field.device(transport.get_extra_info("sockname")[1])
        transport.set_protocol(device)
        device.connection_made(transport)


def _say(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
