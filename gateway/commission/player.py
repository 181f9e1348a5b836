"""A capture that answers again: the same question gets the answers it got, one after the other, from the beginning
when they have all been given.

capture ──▶ exchanges_of ──▶ Conversation (pure) ──▶ Player: a pseudo terminal that the daemon takes for a port
"""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.commission.record import BUS, RX, TX, Capture, Heard
from gateway.commission.stream import Cut, Cutter, Reader
from gateway.errors import GatewayError

FORGET_S = 0.5
"""Silence after which bytes that are no recorded question are given up."""
_MOST_BYTES = 4096
_TICK_MS = 20


@dataclass(frozen=True, slots=True)
class Said:
    """One piece of an answer."""

    after_ms: int
    """Since the end of the question."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and what came back; nothing where the device was silent."""

    request: bytes
    answer: tuple[Said, ...] = ()


class NoExchanges(GatewayError):
    """A capture in which nobody asks."""


def exchanges_of(capture: Capture, reader: Reader) -> list[Exchange]:
    """What was asked and answered.  Where the capture does not know who spoke, *reader*'s protocol has to.

    Raises NoExchanges.
    """
    directions = {chunk.direction for chunk in capture.chunks}
    found = _by_direction(capture) if TX in directions else _by_protocol(capture, reader)
    if not found:
        raise NoExchanges(
            "捕获中没有请求 / nobody asks anything in this capture",
            hint="被动监听的捕获要用 --protocol 指明协议 / a capture made by listening needs its --protocol",
        )
    return found


async def played(capture: Capture, speed: float | None) -> AsyncGenerator[Heard, None]:
    """The capture again, as it was heard; *speed* 1.0 in its own time, None at once."""
    now_ms = capture.header.started_ms
    for record in capture.records:
        while speed is not None and now_ms < record.now_ms:
            step_ms = min(record.now_ms - now_ms, max(1, round(_TICK_MS * speed)))
            await asyncio.sleep(step_ms / 1000 / speed)
            now_ms += step_ms
            yield Heard(now_ms)
        now_ms = record.now_ms
        yield record


def _by_direction(capture: Capture) -> list[Exchange]:
    found: list[Exchange] = []
    request, ended_ms, answer = b"", 0, list[Said]()
    for chunk in capture.chunks:
        if chunk.direction == TX:
            if request and answer:
                found.append(Exchange(request, tuple(answer)))
                request, answer = b"", []
            elif request:  # nothing came back: a second question, not the rest of the first
                found.append(Exchange(request))
                request = b""
            request, ended_ms = request + chunk.data, chunk.at_ms
        elif request and chunk.direction in (RX, BUS):
            answer.append(Said(max(0, chunk.at_ms - ended_ms), chunk.data))
    return [*found, Exchange(request, tuple(answer))] if request else found


def _by_protocol(capture: Capture, reader: Reader) -> list[Exchange]:
    found: list[Exchange] = []
    asked_ms = 0
    for cut in _cuts(capture, reader):
        direction = cut.frames[0].direction if cut.ok and cut.frames else None
        if direction == "request":
            found.append(Exchange(cut.data))
            asked_ms = cut.at_ms
        elif found and not found[-1].answer and direction == "response":
            found[-1] = Exchange(found[-1].request, (Said(max(0, cut.at_ms - asked_ms), cut.data),))
    return found


def _cuts(capture: Capture, reader: Reader) -> Iterator[Cut]:
    cutter = Cutter(reader)
    for chunk in capture.chunks:
        yield from cutter.feed(chunk)
    yield from cutter.flush()


@dataclass(slots=True)
class Conversation:
    """Which recorded question has been asked, and what it is answered with this time.  Pure."""

    answers: Mapping[bytes, Sequence[tuple[Said, ...]]]
    asked: dict[bytes, int] = field(default_factory=dict)
    unknown: list[bytes] = field(default_factory=list)
    """What was asked for and is not in the capture."""
    _heard: bytearray = field(default_factory=bytearray)

    @classmethod
    def of(cls, exchanges: Sequence[Exchange]) -> Conversation:
        answers: dict[bytes, list[tuple[Said, ...]]] = {}
        for exchange in exchanges:
            answers.setdefault(exchange.request, []).append(exchange.answer)
        return cls(answers)

    def hear(self, data: bytes) -> tuple[Said, ...] | None:
        """The answer due now; None while no question is complete."""
        self._heard += data
        heard = bytes(self._heard)
        request = max((each for each in self.answers if heard.endswith(each)), key=len, default=None)
        if request is None:
            del self._heard[:-_MOST_BYTES]
            return None
        self._heard.clear()
        times = self.asked.get(request, 0)
        self.asked[request] = times + 1
        given = self.answers[request]
        return given[times % len(given)]

    def silence(self) -> bytes:
        """Nothing more comes: what was heard is no recorded question.  Returned, and kept in ``unknown``."""
        heard = bytes(self._heard)
        self._heard.clear()
        if heard:
            self.unknown.append(heard)
            del self.unknown[:-100]
        return heard


class Player:
    """``async with Player(conversation) as player``: a serial port at ``player.path``.  Timers and one reader, no task.

    link: a second name for the port, made by us and taken away again.  speed: 2.0 answers twice as fast as recorded.
    """

    def __init__(
        self,
        conversation: Conversation,
        *,
        speed: float = 1.0,
        link: Path | None = None,
        puzzled: Callable[[bytes], None] = lambda heard: None,
    ) -> None:
        self.path = ""
        self.conversation = conversation
        self._speed = speed
        self._link = link
        self._puzzled = puzzled
        self._master = self._slave = -1
        self._timers: list[asyncio.TimerHandle] = []
        self._forget: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)  # kept open by us: else every close by the daemon would hang the line up for good
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        try:
            if self._link is not None:
                self._link.symlink_to(self.path)
        except OSError as exc:
            os.close(self._master)
            os.close(self._slave)
            raise NoExchanges(f"{self._link}: {exc.strerror}") from exc
        asyncio.get_running_loop().add_reader(self._master, self._readable)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        for timer in (*self._timers, *([self._forget] if self._forget else ())):
            timer.cancel()
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        os.close(self._master)
        os.close(self._slave)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return
        loop = asyncio.get_running_loop()
        if self._forget is not None:
            self._forget.cancel()
        answer = self.conversation.hear(data)
        if answer is None:
            self._forget = loop.call_later(FORGET_S, self._give_up)
            return
        self._timers = [timer for timer in self._timers if timer.when() > loop.time()]
        for said in answer:
            self._timers.append(loop.call_later(said.after_ms / 1000 / self._speed, self._say, said.data))

    def _say(self, data: bytes) -> None:
        try:
            os.write(self._master, data)
        except BlockingIOError:
            return  # nobody reads the port: the characters pass by, as on a real line

    def _give_up(self) -> None:
        heard = self.conversation.silence()
        if heard:
            self._puzzled(heard)
