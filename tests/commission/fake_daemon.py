"""The daemon's side of the local API for one line: what drivers/base.py says of ``collect``, and a record of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivers.base import SerialFormat
from drivers.transport import ByteLine
from gateway import local_api
from gateway.errors import GatewayError


@dataclass
class FakeDaemon:
    """Owns *link*, as line *line*.  *heard* is what its tap hands out."""

    line: str
    link: ByteLine
    serial: str | None = None
    tcp: str | None = None
    formats: list[SerialFormat | None] = field(default_factory=list)
    """At which format each exchange was wanted."""
    heard: list[list[Any]] = field(default_factory=list)
    lost: int = 0
    taps: int = 0

    async def lines(self, request: Mapping[str, Any]) -> Any:
        one = {"id": self.line, "serial": self.serial, "tcp": self.tcp, "open": True, "devices": []}
        return [{**one, "format": [9600, "N", 8, 1] if self.serial else None}]

    async def exchange(self, request: Mapping[str, Any]) -> Any:
        if request["line"] != self.line:
            raise GatewayError(f"unknown line: {request['line']}")
        written = request["serial"]
        serial = SerialFormat(*written) if written else None
        self.formats.append(serial)
        answer = await self.link.collect(
            bytes.fromhex(request["request"]),
            timeout_s=request["timeout_s"],
            silence_s=request["silence_s"],
            serial=serial,
        )
        return {"answer": answer.hex()}

    async def tap(self, request: Mapping[str, Any]) -> Any:
        self.taps += 1
        after = request["after"] or 0
        lost, self.lost = self.lost, 0
        return {"next": len(self.heard), "lost": lost, "records": self.heard[after:]}


@asynccontextmanager
async def running(store: Path, daemon: FakeDaemon, **others: Any) -> AsyncIterator[FakeDaemon]:
    """*others*: further operations, name -> handler."""
    handlers = {"lines": daemon.lines, "exchange": daemon.exchange, "tap": daemon.tap, **others}
    async with daemon.link, local_api.serve(store, handlers):
        yield daemon
        await asyncio.sleep(0)
