"""What a driver holds of the line that its device shares with others: its serial format, and a patience that learns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from drivers.base import SerialFormat
from drivers.transport import ByteLine
from gateway.errors import DeviceUnreachable, LineLost

T = TypeVar("T")


class ResponseTimes:
    """How soon one device usually begins to answer: smoothed mean and deviation.

    Source: the retransmission timer of TCP, RFC 6298, 2; its granularity of 1 s replaced by ours.
    """

    _ENOUGH = 8
    _FLOOR_S = 0.2
    """No patience is shorter: adapters hand over characters every 16 ms, busy machines later."""

    def __init__(self) -> None:
        self.mean_s = 0.0
        self.deviation_s = 0.0
        self.count = 0

    def answered(self, seconds: float) -> None:
        if self.count == 0:
            self.mean_s, self.deviation_s = seconds, seconds / 2
        else:
            self.deviation_s += (abs(seconds - self.mean_s) - self.deviation_s) / 4
            self.mean_s += (seconds - self.mean_s) / 8
        self.count += 1

    def limit_s(self) -> float | None:
        """After this an answer has become unlikely; None while too little is known."""
        if self.count < self._ENOUGH:
            return None
        return max(2 * self.mean_s, self.mean_s + 4 * self.deviation_s, self._FLOOR_S)


class DeviceLink:
    """One device's view of a line that it may share with others (drivers/base.py: Link).

    A lost answer costs what this device usually takes, not its whole time-out: the question is asked once more, and
    only the second time with full patience.  A device that is known to be silent gets the short patience alone, and
    every fourth time the full one, so that one that has become slow is found again.
    """

    _FULL_EVERY = 4

    def __init__(self, line: ByteLine, serial: SerialFormat | None = None) -> None:
        """*serial*: the format this device speaks, where it is not the line's."""
        self.times = ResponseTimes()
        self._line = line
        self._serial = serial
        self._misses = 0
        self._once = False
        self._peer: Hashable = None

    @property
    def last_answer(self) -> bytes:
        return self._line.last_answer

    def leave_alone_s(self) -> float:
        """How long the device should not be asked anything new."""
        return self._line.leave_alone_s(self._peer)

    @contextmanager
    def repeating_nothing(self) -> Iterator[None]:
        """While a command is given: every exchange is one that is sent once."""
        self._once = True
        try:
            yield
        finally:
            self._once = False

    async def __aenter__(self) -> Self:
        await self._line.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._line.__aexit__(kind, exc, tb)

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
        self._peer = peer
        ask = partial(
            self._line.exchange,
            request,
            parse,
            peer=peer,
            timeout_s=timeout_s,
            embargo_s=embargo_s,
            gap_characters=gap_characters,
            serial=serial or self._serial,
        )
        for limit_s in (timeout_s,) if once or self._once else self._patience(timeout_s):
            try:
                frame = await ask(first_byte_s=limit_s)
            except LineLost:
                raise
            except DeviceUnreachable as exc:
                silence = exc
            else:
                self._misses = 0
                self.times.answered(self._line.response_s)
                return frame
        self._misses += 1
        raise silence

    async def collect(
        self, request: bytes, *, timeout_s: float, silence_s: float, serial: SerialFormat | None = None
    ) -> bytes:
        return await self._line.collect(
            request, timeout_s=timeout_s, silence_s=silence_s, serial=serial or self._serial
        )

    def _patience(self, timeout_s: float) -> Sequence[float]:
        """How long to wait for the answer to begin, one after the other."""
        short_s = self.times.limit_s()
        if short_s is None or short_s >= timeout_s:
            return (timeout_s,)
        if self._misses == 0:
            return (short_s, timeout_s)
        return (timeout_s,) if self._misses % self._FULL_EVERY == 0 else (short_s,)
