"""What several systems stand on: Modbus devices behind a serial device server, files with secrets, ports."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drivers.modbus.config import Table
from drivers.modbus.simulator import ModbusBank, RtuLine, SimUnit, serve_tcp

Registers = Mapping[int, Callable[[], float]]
"""Address -> what stands there when it is asked for; below 0 as two's complement."""


def holding(registers: Registers) -> SimUnit:
    """A device whose holding registers are computed."""
    unit = SimUnit()
    for address, value in registers.items():
        unit.tables[Table.HOLDING][address] = _word(value)
    return unit


def behind_server(units: Mapping[int, SimUnit]) -> AbstractAsyncContextManager[int]:
    """Modbus RTU through a serial device server in transparent mode, as such sensors are mostly reached; the port."""
    return serve_tcp(ModbusBank(dict(units)), stream=RtuLine)


def secret(directory: Path, name: str, content: str) -> str:
    """A file that only its owner reads; its path."""
    path = directory / name
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(content + "\n")
    return str(path)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _word(value: Callable[[], float]) -> Callable[[], int]:
    return lambda: round(value()) & 0xFFFF


def china_now() -> datetime:
    """As the clocks of Chinese devices say it, which know no time zone."""
    return datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=8)
