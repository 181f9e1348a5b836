"""The named reference: pymodbus' own client in a loop, one connection a device, as fast as it goes, values thrown away.

python -m tests.bench.bare_pymodbus SECONDS REGISTERS PORT…   prints transactions, CPU seconds
"""

from __future__ import annotations

import asyncio
import sys
import time

from pymodbus.client import AsyncModbusTcpClient


async def poll(port: int, registers: int, until: float) -> int:
    client = AsyncModbusTcpClient("127.0.0.1", port=port)
    await client.connect()
    count = 0
    while time.monotonic() < until:
        answer = await client.read_input_registers(0, count=registers, device_id=1)
        assert len(answer.registers) == registers
        count += 1
    client.close()
    return count


async def main(seconds: float, registers: int, ports: list[int]) -> None:
    used = time.process_time()
    until = time.monotonic() + seconds
    counts = await asyncio.gather(*(poll(port, registers, until) for port in ports))
    print(sum(counts), time.process_time() - used)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
