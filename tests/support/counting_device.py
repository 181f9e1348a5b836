"""A Modbus TCP device that counts its questions and answers with the count, so that every value can be told from all
others and dated by the test's own clock; and a site that reads it."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.clock import SystemClock

_PROFILE = """format: profile/1
id: counting
protocols: [modbus-tcp]
kind: power_meter
name: {zh: 计数器, en: Counter}
source: made up for tests
confidence: low
every: 200ms
points:
  energy: {name: {zh: 电能, en: Energy}, unit: kW.h, lane: billing, table: holding, address: 0, type: u32}
  power: {name: {zh: 功率, en: Power}, unit: W, table: holding, address: 2, type: u32}
"""
_SITE = """format: site/1
site: {{id: jiayuan, name: {{zh: 佳园小区, en: Jiayuan Garden}}}}
gateway: {{id: gw1, clock_wait: {clock_wait}}}
store: {{path: {store}, budget: 64 MiB}}
uplinks: [{uplink}]
lines: [{{id: bus, tcp: "127.0.0.1:{port}"}}]
devices: [{{id: counter, profile: counting, line: bus, unit_id: 1}}]
"""


@dataclass(slots=True)
class CountingDevice:
    port: int = 0
    served_ms: list[int] = field(default_factory=list)
    """By the machine's own clock, of each answer; its value is its place, from 0."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                function, _, count = struct.unpack(">BHH", (await reader.readexactly(length - 1))[:5])
                value = struct.pack(">I", len(self.served_ms)) * (count // 2)
                self.served_ms.append(SystemClock().now_ms())
                body = struct.pack(">BBB", unit, function, len(value)) + value
                writer.write(struct.pack(">HHH", transaction, 0, len(body)) + body)
        writer.close()


@contextlib.asynccontextmanager
async def counting_device() -> AsyncIterator[CountingDevice]:
    device = CountingDevice()
    server = await asyncio.start_server(device.answer, "127.0.0.1", 0)
    device.port = server.sockets[0].getsockname()[1]
    async with server:
        yield device


def write_site(directory: Path, device: CountingDevice, uplink: str, *, clock_wait: str = "0 s") -> None:
    """*uplink*: a YAML mapping.  The store is ``store`` beside ``config``."""
    (directory / "config" / "devices").mkdir(parents=True)
    (directory / "config" / "devices" / "counting.yaml").write_text(_PROFILE, encoding="utf-8")
    text = _SITE.format(store=directory / "store", uplink=uplink, port=device.port, clock_wait=clock_wait)
    (directory / "config" / "site.yaml").write_text(text, encoding="utf-8")
