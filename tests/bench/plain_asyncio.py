"""The named reference: the least that an asyncio program can do to read registers over Modbus TCP, with a deadline.

python -m tests.bench.plain_asyncio SECONDS REGISTERS PORT…   prints transactions, CPU seconds
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time

HEAD = struct.Struct(">HHHBB")


async def poll(port: int, registers: int, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = 0
    while time.monotonic() < until:
        transaction = count & 0xFFFF
        writer.write(HEAD.pack(transaction, 0, 6, 1, 4) + struct.pack(">HH", 0, registers))
        async with asyncio.timeout(1.0):
            head = await reader.readexactly(9)
            answered, protocol, length, unit, function = HEAD.unpack_from(head)
            assert (answered, protocol, unit, function) == (transaction, 0, 1, 4)
            assert length == 3 + 2 * registers == 3 + head[8]
            values = struct.unpack(f">{registers}H", await reader.readexactly(2 * registers))
        assert values[-1] == registers - 1
        count += 1
    writer.close()
    return count


async def main(seconds: float, registers: int, ports: list[int]) -> None:
    used = time.process_time()
    until = time.monotonic() + seconds
    counts = await asyncio.gather(*(poll(port, registers, until) for port in ports))
    print(sum(counts), time.process_time() - used)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
