"""Reaching a line that the running daemon owns: it goes on polling, and does what we ask in between."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from drivers.base import OpenedElsewhere, SerialFormat
from gateway import local_api
from gateway.clock import Clock
from gateway.commission.record import Chunk, Heard
from gateway.errors import DeviceUnreachable, GatewayError, LineLost, ProtocolError

T = TypeVar("T")

SILENCE_S = 0.2
"""An answer through the daemon is over when nothing more has come for so long: converters and USB adapters pause."""
PATIENCE_S = 60.0
"""The daemon may be in the midst of a slow exchange of its own."""
TAP_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class OwnedLine:
    """A line of the running daemon."""

    id: str
    serial: str | None
    tcp: str | None
    format: SerialFormat | None
    open: bool

    def is_at(self, port: str | None, tcp: str | None) -> bool:
        """Whether it is this port, under whatever name, or this ``host:port``."""
        if port is not None:
            return self.serial is not None and os.path.realpath(self.serial) == os.path.realpath(port)
        return tcp is not None and self.tcp == tcp


async def lines_of(store: Path) -> list[OwnedLine]:
    """The lines of the daemon whose store this is; none where no daemon runs, or none that may be asked.

    Raises Refused where there is a daemon that we may not talk to.
    """
    try:
        answer = await local_api.ask(store, {"op": "lines"})
    except local_api.NotRunning:
        return []
    return [_line(item) for item in answer]


def _line(item: Mapping[str, Any]) -> OwnedLine:
    written = item.get("format")
    format_ = SerialFormat(int(written[0]), str(written[1]), int(written[2]), int(written[3])) if written else None
    return OwnedLine(str(item["id"]), item.get("serial"), item.get("tcp"), format_, bool(item.get("open")))


class DaemonLink(OpenedElsewhere):
    """drivers/base.py: Link.  Each question is one ``exchange`` of the daemon, between two of its own.

    The daemon gives back all bytes up to a silence, and takes the line for unclean afterwards; the embargo on a unit
    that did not answer in time is kept here.
    """

    def __init__(self, store: Path, line: str, serial: SerialFormat | None) -> None:
        self.last_answer = b""
        self.heard_bytes = 0
        self._store = store
        self._line = line
        self._serial = serial
        self._embargo_until: dict[Hashable, float] = {}

    async def exchange(
        self,
        request: bytes,
        parse: Callable[[bytes], T | None],
        *,
        peer: Hashable,
        timeout_s: float,
        embargo_s: float = 0.0,
        gap_characters: float = 0.0,
        serial: SerialFormat | None = None,
        once: bool = False,
    ) -> T:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._embargo_until.pop(peer, 0.0) - loop.time()))
        received = await self.collect(request, timeout_s=timeout_s, silence_s=SILENCE_S, serial=serial)
        if received and (frame := parse(received)) is not None:
            self.last_answer = received
            return frame
        if embargo_s:
            self._embargo_until[peer] = loop.time() + embargo_s
        if not received or received == request:
            raise DeviceUnreachable(f"no answer within {timeout_s:g} s")
        raise ProtocolError("no valid answer in what was received", received)

    async def collect(
        self, request: bytes, *, timeout_s: float, silence_s: float, serial: SerialFormat | None = None
    ) -> bytes:
        wanted = serial or self._serial
        question = {
            "op": "exchange",
            "line": self._line,
            "request": request.hex(),
            "timeout_s": timeout_s,
            "silence_s": silence_s,
            "serial": _written(wanted),
            "who": local_api.operator(),
        }
        try:
            answer = await local_api.ask(self._store, question, timeout_s=PATIENCE_S + timeout_s)
        except GatewayError as exc:
            raise LineLost(f"{self._line}: {exc}", hint=exc.hint) from exc
        received = bytes.fromhex(answer["answer"])
        self.heard_bytes += len(received)
        return received


def _written(serial: SerialFormat | None) -> list[int | str] | None:
    return None if serial is None else [serial.baud, serial.parity, serial.data_bits, serial.stop_bits]


async def tap(store: Path, line: str, clock: Clock) -> AsyncGenerator[Heard, None]:
    """What passes over a line of the daemon from now on.  Raises NotRunning, Refused."""
    after: int | None = None
    while True:
        answer = await local_api.ask(store, {"op": "tap", "line": line, "after": after})
        after = int(answer["next"])
        chunks = tuple(Chunk(int(at), str(direction), bytes.fromhex(text)) for at, direction, text in answer["records"])
        yield Heard(clock.now_ms(), chunks, int(answer["lost"]))
        await asyncio.sleep(TAP_EVERY_S)
