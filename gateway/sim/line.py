"""A simulated RS-485 line: a pseudo terminal whose far end takes as long as copper would.

    gateway ── /dev/pts/N ══ request occupies the wire ── turnaround ── answer, character by character
                                   │
                                   └▶ every responder hears the bytes; those addressed hand back an answer

A pseudo terminal has no speed of its own, so the line keeps the account: when the wire falls free, who is speaking,
and what happens when two speak at once (both are destroyed, as on half-duplex copper).
"""

from __future__ import annotations

import asyncio
import os
import random
import tty
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from drivers.base import SerialFormat
from gateway.sim.faults import FaultBoard, deliver

CHUNK_S = 0.016
"""Received characters are handed over this often: the default latency timer of the common USB adapters."""


class Responder(Protocol):
    """Devices of one protocol on the line."""

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        """Hear *data*, any piece of the byte stream; returns (device id, answer) for every request completed by it."""

    def silence(self) -> None:
        """The line was quiet for long enough to end any frame."""


@dataclass(slots=True)
class LineStats:
    heard_bytes: int = 0
    answers: int = 0
    collisions: int = 0


@dataclass(frozen=True, slots=True)
class _Answer:
    timer: asyncio.TimerHandle
    heard_until_s: float
    """When the request it answers has left the wire."""


class SimLine:
    """``async with SimLine(...) as line``: a serial port at ``line.path``.  Needs no task: timers and one reader."""

    def __init__(
        self,
        name: str,
        serial: SerialFormat,
        responders: Sequence[Responder],
        faults: FaultBoard,
        *,
        seed: int = 0,
        turnaround_s: tuple[float, float] = (0.020, 0.050),
    ) -> None:
        self.name = name
        self.serial = serial
        self.path = ""
        self.stats = LineStats()
        self._responders = responders
        self._faults = faults
        self._chance = random.Random(f"{seed} {name}")
        self._turnaround_s = turnaround_s
        self._master = self._slave = -1
        self._wire_free_s = 0.0
        self._speaking_until_s = 0.0
        self._answers: list[_Answer] = []
        self._writes: list[asyncio.TimerHandle] = []

    async def __aenter__(self) -> Self:
        self._master, self._slave = os.openpty()
        # We keep the far end open ourselves: else every close by the gateway would hang the line up for good.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        asyncio.get_running_loop().add_reader(self._master, self._heard)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        for timer in (*self._writes, *(answer.timer for answer in self._answers)):
            timer.cancel()
        os.close(self._master)
        os.close(self._slave)

    def _heard(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return
        now = asyncio.get_running_loop().time()
        self.stats.heard_bytes += len(data)
        fault = self._faults.line(self.name)
        if now < self._speaking_until_s:
            self._garble(now)
            return
        started_s = max(now, self._wire_free_s)
        if started_s - self._wire_free_s > 4 * self.serial.character_s:
            for responder in self._responders:
                responder.silence()
        self._wire_free_s = started_s + len(data) * self.serial.character_s
        if fault.echo:
            self._clock_out(data, started_s)
        if fault.dead:
            return
        for responder in self._responders:
            for device, answer in responder.feed(data):
                self._plan(device, answer)

    def _plan(self, device: str, answer: bytes) -> None:
        fault = self._faults.device(device)
        data = deliver(answer, fault, self._chance)
        if data is None:
            return
        loop = asyncio.get_running_loop()
        self._answers = [waiting for waiting in self._answers if waiting.timer.when() > loop.time()]
        at_s = self._wire_free_s + self._chance.uniform(*self._turnaround_s) + fault.delay_s
        self._answers.append(_Answer(loop.call_at(at_s, self._speak, data), self._wire_free_s))

    def _speak(self, data: bytes) -> None:
        if self._faults.line(self.name).dead:
            return
        now = asyncio.get_running_loop().time()
        if now < self._wire_free_s:
            self._garble(now)
            return
        self.stats.answers += 1
        self._wire_free_s = self._speaking_until_s = now + len(data) * self.serial.character_s
        self._clock_out(data, now)

    def _garble(self, now: float) -> None:
        """Two speak at once: what was being said arrives no further, and a request that was being heard is lost."""
        self.stats.collisions += 1
        for write in self._writes:
            write.cancel()
        for answer in self._answers:
            if answer.heard_until_s > now:
                answer.timer.cancel()

    def _clock_out(self, data: bytes, started_s: float) -> None:
        """Hand *data* to the gateway as the characters would arrive when the first one starts at *started_s*."""
        loop = asyncio.get_running_loop()
        self._writes = [write for write in self._writes if write.when() > loop.time()]
        size = max(1, int(CHUNK_S / self.serial.character_s))
        for begin in range(0, len(data), size):
            chunk = data[begin : begin + size]
            done_s = started_s + (begin + len(chunk)) * self.serial.character_s
            self._writes.append(loop.call_at(done_s, self._write, chunk))

    def _write(self, chunk: bytes) -> None:
        try:
            os.write(self._master, chunk)
        except BlockingIOError:
            return  # nobody has read the port for 4 KiB: the characters pass by, as on a real line
