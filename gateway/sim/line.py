"""A simulated RS-485 line: a wire that takes as long as copper would, and a pseudo terminal at its end.

    gateway ── /dev/pts/N ══ request occupies the wire ── turnaround ── answer, character by character
                                   │
                                   └▶ every responder hears the bytes; those addressed hand back an answer

A pseudo terminal has no speed of its own, so the wire keeps the account: when it falls free, who is speaking, and what
happens when two speak at once (both are destroyed, as on half-duplex copper).  ``SimWire`` is that account alone, for
virtual time; ``SimLine`` has the terminal, which can be pulled out and comes back under another name.
"""

from __future__ import annotations

import asyncio
import os
import random
import tty
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from drivers.base import SerialFormat
from gateway.sim.faults import FaultBoard, Forge, Twist, Utterance, burst, deliver, honest

CHUNK_S = 0.016
"""Received characters are handed over this often: the default latency timer of the common USB adapters."""
USUAL_TURNAROUND_S = (0.020, 0.050)
SAME_INSTANT_S = 1e-6
"""Timers this close together may run in any order, and a little early."""


class Responder(Protocol):
    """Devices of one protocol on the line."""

    def feed(self, data: bytes) -> Sequence[tuple[str, bytes]]:
        """Hear *data*, any piece of the byte stream; returns (device id, answer) for every request completed by it."""

    def silence(self) -> None:
        """The line was quiet for long enough to end any frame."""


@runtime_checkable
class Forging(Protocol):
    """Optional: a responder that knows how its protocol lies.  Without it no answer is twisted."""

    def forge(self, answer: bytes, twist: Twist, chance: random.Random) -> bytes:
        """As faults.Forge."""


def forge_of(responder: object) -> Forge:
    return responder.forge if isinstance(responder, Forging) else honest


Told = Callable[[str, bytes, bool], None]
"""Called when an answer is over: the device, what it had to say, and whether just that came out, alone and in time."""


@dataclass(slots=True)
class LineStats:
    heard_bytes: int = 0
    answers: int = 0
    collisions: int = 0


@dataclass(eq=False, slots=True)
class _Answer:
    device: str
    wanted: bytes
    said: Utterance
    heard_until_s: float
    """When the request it answers has left the wire."""
    clean: bool
    timer: asyncio.TimerHandle | None = None
    """Until it begins."""


class SimWire:
    """Half-duplex copper with devices on it.  *out* is given every byte that reaches the gateway.  Timers, no task."""

    def __init__(
        self,
        name: str,
        serial: SerialFormat,
        responders: Sequence[Responder],
        faults: FaultBoard,
        out: Callable[[bytes], None],
        *,
        seed: int = 0,
        turnaround_s: tuple[float, float] = USUAL_TURNAROUND_S,
        told: Told | None = None,
    ) -> None:
        self.name = name
        self.serial = serial
        self.stats = LineStats()
        self._responders = responders
        self._faults = faults
        self._out = out
        self._told = told
        self._chance = random.Random(f"{seed} {name}")
        self._turnaround_s = turnaround_s
        self._wire_free_s = 0.0
        self._speaking_until_s = 0.0
        self._answers: list[_Answer] = []
        """Planned or being said."""
        self._writes: list[asyncio.TimerHandle] = []
        self._dirt: asyncio.TimerHandle | None = None

    def close(self) -> None:
        for timer in (*self._writes, self._dirt, *(answer.timer for answer in self._answers)):
            if timer is not None:
                timer.cancel()
        self._answers.clear()

    def heard(self, data: bytes) -> None:
        """The gateway puts *data* on the wire."""
        now = asyncio.get_running_loop().time()
        self.stats.heard_bytes += len(data)
        fault = self._faults.line(self.name)
        if fault.dirty_per_s and self._dirt is None:
            self._plan_dirt(fault.dirty_per_s)
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
                self._plan(device, answer, forge_of(responder))

    # ------------------------------------------------------------------ answers

    def _plan(self, device: str, wanted: bytes, forge: Forge) -> None:
        said = deliver(wanted, self._faults.device(device), self._chance, forge)
        if said is None:
            return
        loop = asyncio.get_running_loop()
        answer = _Answer(device, wanted, said, self._wire_free_s, said.clean)
        at_s = self._wire_free_s + self._chance.uniform(*self._turnaround_s) + said.after_s
        answer.timer = loop.call_at(at_s, self._speak, answer)
        self._answers.append(answer)

    def _speak(self, answer: _Answer) -> None:
        assert answer.timer is not None
        now = answer.timer.when()  # a device knows nothing of a stall of this machine: what is late was said in time
        answer.timer = None
        if self._faults.line(self.name).dead:
            self._answers.remove(answer)
            return
        if now < self._wire_free_s - SAME_INSTANT_S:
            self._answers.remove(answer)
            self._garble(now)
            return
        self.stats.answers += 1
        at_s = now
        copies = 2 if answer.said.again_s == 0.0 else 1  # without a pause no stall of this machine may make one
        for pause_s, data in copies * answer.said.pieces:
            at_s = self._clock_out(data, at_s + pause_s)
        self._wire_free_s = self._speaking_until_s = at_s
        self._writes.append(asyncio.get_running_loop().call_at(at_s, self._over, answer))

    def _over(self, answer: _Answer) -> None:
        self._answers.remove(answer)
        if self._told is not None:
            self._told(answer.device, answer.wanted, answer.clean)
        if answer.said.again_s:
            again = replace(answer, said=replace(answer.said, again_s=None), clean=False)
            at_s = asyncio.get_running_loop().time() + answer.said.again_s
            again.timer = asyncio.get_running_loop().call_at(at_s, self._speak, again)
            self._answers.append(again)

    def _garble(self, now: float) -> None:
        """Two speak at once: what was being said arrives no further, and a request that was being heard is lost.

        Of two answers the gateway hears something, but no character that either of them meant.
        """
        self.stats.collisions += 1
        for write in self._writes:
            write.cancel()
        if now < self._speaking_until_s:
            mixed = self._chance.randbytes(3)
            self._writes.append(asyncio.get_running_loop().call_at(now + CHUNK_S, self._out, mixed))
        for answer in tuple(self._answers):
            if answer.timer is None or answer.heard_until_s > now:
                self._answers.remove(answer)
                if answer.timer is not None:
                    answer.timer.cancel()

    def _clock_out(self, data: bytes, started_s: float) -> float:
        """Hand *data* to the gateway as the characters would arrive when the first one starts at *started_s*.

        Returns when the last one is over.
        """
        loop = asyncio.get_running_loop()
        self._writes = [write for write in self._writes if write.when() > loop.time()]
        chunk_s = self._faults.line(self.name).chunk_s
        size = max(1, int((CHUNK_S if chunk_s is None else chunk_s) / self.serial.character_s))
        for begin in range(0, len(data), size):
            chunk = data[begin : begin + size]
            done_s = started_s + (begin + len(chunk)) * self.serial.character_s
            if done_s > loop.time():
                self._writes.append(loop.call_at(done_s, self._out, chunk))
            else:
                self._out(chunk)
        return started_s + len(data) * self.serial.character_s

    # ------------------------------------------------------------------ dirt

    def _plan_dirt(self, per_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._dirt = loop.call_later(self._chance.expovariate(per_s), self._be_dirty)

    def _be_dirty(self) -> None:
        """Random bytes, and the next ones planned for as long as the line is dirty."""
        self._dirt = None
        fault = self._faults.line(self.name)
        if fault.dirty_per_s:
            self._out(burst(self._chance))
            for answer in self._answers:
                answer.clean = False
            self._plan_dirt(fault.dirty_per_s)


class SimLine:
    """``async with SimLine(...) as line``: a serial port at ``line.path``.

    by_id: a path for a link to whatever the port is called at present, as udev keeps one under /dev/serial/by-id; it is
    then ``line.path``.
    """

    def __init__(
        self,
        name: str,
        serial: SerialFormat,
        responders: Sequence[Responder],
        faults: FaultBoard,
        *,
        seed: int = 0,
        turnaround_s: tuple[float, float] = USUAL_TURNAROUND_S,
        by_id: Path | None = None,
        told: Told | None = None,
    ) -> None:
        self.name = name
        self.path = ""
        self.wire = SimWire(
            name, serial, responders, faults, self._write, seed=seed, turnaround_s=turnaround_s, told=told
        )
        self._by_id = by_id
        self._port = ""
        self._ends: tuple[int, int] | None = None

    @property
    def stats(self) -> LineStats:
        return self.wire.stats

    async def __aenter__(self) -> Self:
        self.plug()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.unplug()
        self.wire.close()

    def plug(self) -> None:
        """The adapter is there (again), under a name that it did not have before."""
        assert self._ends is None
        before = self._port
        self._ends = os.openpty()
        self._port = os.ttyname(self._ends[1])
        if self._port == before:
            taken, self._ends = self._ends, os.openpty()
            self._port = os.ttyname(self._ends[1])
            _close(taken)
        ours, theirs = self._ends
        # We keep the far end open ourselves: else every close by the gateway would hang the line up for good.
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        asyncio.get_running_loop().add_reader(ours, self._readable)
        if self._by_id is not None:
            self._by_id.symlink_to(self._port)
        self.path = str(self._by_id or self._port)

    def unplug(self) -> None:
        """Pull the adapter out; what it had not handed over is lost."""
        ends, self._ends = self._ends, None
        if ends is not None:
            asyncio.get_running_loop().remove_reader(ends[0])
            if self._by_id is not None:
                self._by_id.unlink()
            _close(ends)

    def _readable(self) -> None:
        assert self._ends is not None
        try:
            data = os.read(self._ends[0], 4096)
        except BlockingIOError:
            return
        self.wire.heard(data)

    def _write(self, chunk: bytes) -> None:
        if self._ends is None:
            return
        try:
            os.write(self._ends[0], chunk)
        except BlockingIOError:
            return  # nobody has read the port for 4 KiB: the characters pass by, as on a real line


def _close(ends: tuple[int, int]) -> None:
    for end in ends:
        os.close(end)
