"""The product's whole way of polling (schedule, driver, link, quality gate) with nothing behind it.

python -m tests.bench.polling_path SECONDS REGISTERS PORT…   prints transactions, CPU seconds
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog

from drivers.base import DeviceSpec, PointSpec
from drivers.device_link import DeviceLink
from drivers.modbus.config import PointOptions, TcpOptions
from drivers.modbus.driver import TCP
from drivers.transport import TcpLink
from gateway.clock import SystemClock
from gateway.model import Point, Record, Text, ValueKind
from gateway.quality import QualityGate
from gateway.schedule import Job
from gateway.supervisor import Line
from support.reports import untaken

AS_FAST_AS_IT_GOES_S = 0.0001


def line_to(port: int, registers: int) -> Line:
    name = f"d{port}"
    specs = {
        f"{name}.v{n}": PointSpec(
            Point(f"{name}.v{n}", ValueKind.NUMBER, Text("值", "value"), 1.0, minimum=0.0, maximum=65535.0),
            PointOptions.model_validate({"table": "input", "address": n}),
        )
        for n in range(registers)
    }
    connection, clock = TcpLink("127.0.0.1", port), SystemClock()
    link = DeviceLink(connection)
    driver = TCP.make(DeviceSpec(name, TcpOptions(unit_id=1), specs, 1.0), link, clock)

    async def publish(records: Sequence[Record]) -> None:
        return

    return Line(
        name,
        connection,
        {name: driver},
        [Job(name, tuple(specs), AS_FAST_AS_IT_GOES_S)],
        publish,
        clock,
        random.Random(1),
        QualityGate({point: spec.point for point, spec in specs.items()}),
        lambda change: None,
        untaken,
        links={name: link},
    )


async def main(seconds: float, registers: int, ports: list[int]) -> None:
    lines = [line_to(port, registers) for port in ports]
    used = time.process_time()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(line.run() for line in lines))
    assert not any(line.stats.failures for line in lines)
    print(sum(line.stats.polls for line in lines), time.process_time() - used)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
