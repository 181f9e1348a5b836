"""A Modbus TCP server that costs as little as Python allows: every read is answered with the same registers.

python -m tests.bench.canned_server CONNECTIONS   prints the ports, one line, then serves until its stdin closes
"""

from __future__ import annotations

import asyncio
import struct
import sys


class Canned(asyncio.Protocol):
    """Answers any FC 3/4 request: register n holds n."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        while len(buffer) >= 12:
            tid, _, _, unit, function, start, count = struct.unpack(">HHHBBHH", buffer[:12])
            buffer = buffer[12:]
            registers = struct.pack(f">{count}H", *(n & 0xFFFF for n in range(start, start + count)))
            head = struct.pack(">HHHBBB", tid, 0, 3 + len(registers), unit, function, len(registers))
            self._transport.write(head + registers)
        self._buffer = buffer


async def main(count: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Canned, "127.0.0.1", 0) for _ in range(count)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
