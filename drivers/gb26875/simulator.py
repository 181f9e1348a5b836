"""A transmission device as a monitoring centre sees it: it connects, sends, waits to be confirmed, sends again.

Its encoder and its reader of confirmations share nothing with the driver's.
"""

from __future__ import annotations

import asyncio
import datetime
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

SOURCE = bytes.fromhex("B22396604001")
CENTRE = bytes(6)


@dataclass(frozen=True, slots=True)
class Habits:
    """How a maker's device deviates."""

    version: bytes = b"\x01\x01"
    now: Callable[[], datetime.datetime] | None = None
    """Its clock; None: it sends zeros."""
    counts: bool = True
    """False: every frame has the same serial."""
    resend_s: float = 10.0
    resends: int = 3
    too_many: int = 0
    """Objects that are announced and are not there."""
    untimed: bool = False
    """No time behind the objects."""


# ---------------------------------------------------------------------- application data units


def packed(moment: datetime.datetime | None) -> bytes:
    if moment is None:
        return bytes(6)
    return bytes((moment.second, moment.minute, moment.hour, moment.day, moment.month, moment.year % 100))


def system_state(state: int, *, system: tuple[int, int] = (1, 1)) -> tuple[int, bytes]:
    """Type and object, without its time; so are all of these."""
    return 1, struct.pack("<BBH", *system, state)


def component(
    state: int,
    *,
    loop: int = 1,
    number: int = 1,
    kind: int = 42,
    text: str | bytes = "",
    system: tuple[int, int] = (1, 1),
) -> tuple[int, bytes]:
    field = text if isinstance(text, bytes) else text.encode("gb18030")
    return 2, struct.pack("<BBBHHH31s", *system, kind, number, loop, state, field)


def analog(
    value: int, *, analog_type: int, loop: int = 1, number: int = 1, kind: int = 92, system: tuple[int, int] = (1, 1)
) -> tuple[int, bytes]:
    return 3, struct.pack("<BBBHHBh", *system, kind, number, loop, analog_type, value)


def operation(bits: int, *, operator: int = 1, system: tuple[int, int] = (1, 1)) -> tuple[int, bytes]:
    return 4, struct.pack("<BBBB", *system, bits, operator)


def heartbeat(state: int = 1) -> tuple[int, bytes]:
    return 21, bytes((state,))


def device_operation(bits: int, *, operator: int = 1) -> tuple[int, bytes]:
    return 24, bytes((bits, operator))


def vendor(kind: int, body: bytes) -> tuple[int, bytes]:
    return kind, body


# ---------------------------------------------------------------------- the device


class Transmitter(asyncio.DatagramProtocol):
    """Connects when it is entered, and anew before it sends.  *answers_61*: what it says when asked for its state."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        udp: bool = False,
        source: bytes = SOURCE,
        habits: Habits | None = None,
        answers_61: int | None = None,
        local: str | None = None,
    ) -> None:
        """*local*: the address it connects from, where that matters."""
        self._address = (host, port)
        self._local = None if local is None else (local, 0)
        self._udp = udp
        self.source = source
        self.habits = habits or Habits()
        self._answers_61 = answers_61
        self._serial = 0
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._datagrams: asyncio.DatagramTransport | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self.received: list[tuple[int, int, bytes]] = []
        """Command, serial and ADU of all that has come."""
        self.sent = 0
        self.closed = asyncio.Event()
        """The centre has ended the connection."""

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self._udp:
            self._datagrams, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._address)
        else:
            await self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._hang_up()
        if self._datagrams is not None:
            self._datagrams.abort()
        await asyncio.sleep(0)  # transports tell their end in the loop's next turn

    # ------------------------------------------------------------------ what makes things happen

    async def send(self, said: tuple[int, bytes], *more: bytes, serial: int | None = None) -> bool:
        """One frame, sent until it is confirmed; False when it never was.  *more*: further objects."""
        number = self._next() if serial is None else serial
        return await self._deliver(number, self.frame(number, 2, self.adu(said, *more)))

    async def burst(self, all_said: Iterable[tuple[int, bytes]]) -> int:
        """All of them without waiting, then the confirmations; how many were confirmed."""
        frames = {(number := self._next()): self.frame(number, 2, self.adu(said)) for said in all_said}
        return sum(await asyncio.gather(*(self._deliver(number, frame) for number, frame in frames.items())))

    def say(self, data: bytes) -> None:
        """Any bytes, once."""
        self.sent += 1
        if self._datagrams is not None:
            self._datagrams.sendto(data)
        elif self._writer is not None:
            self._writer.write(data)

    def adu(self, said: tuple[int, bytes], *more: bytes) -> bytes:
        kind, first = said
        habits = self.habits
        time = b"" if habits.untimed else packed(habits.now() if habits.now else None)
        objects = (first, *more)
        return bytes((kind, len(objects) + habits.too_many)) + b"".join(each + time for each in objects)

    def frame(self, serial: int, command: int, adu: bytes) -> bytes:
        now = self.habits.now() if self.habits.now else None
        head = struct.pack(
            "<H2s6s6s6sHB", serial, self.habits.version, packed(now), self.source, CENTRE, len(adu), command
        )
        return b"@@" + head + adu + bytes((sum(head + adu) % 256,)) + b"##"

    # ------------------------------------------------------------------ for asyncio

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._take(data)

    # ------------------------------------------------------------------ inside

    def _next(self) -> int:
        if self.habits.counts:
            self._serial = (self._serial + 1) % 65536
        return self._serial

    async def _connect(self) -> None:
        """Nothing comes of it while the centre does not listen."""
        await self._hang_up()
        try:
            reader, self._writer = await asyncio.open_connection(*self._address, local_addr=self._local)
        except OSError:
            self.closed.set()
            return
        self.closed.clear()
        self._reading = asyncio.create_task(self._read(reader))

    async def _hang_up(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.transport.abort()

    async def _deliver(self, serial: int, frame: bytes) -> bool:
        confirmed = self._waiting[serial] = asyncio.get_running_loop().create_future()
        try:
            for _ in range(1 + self.habits.resends):
                if self.closed.is_set():
                    await self._connect()
                self.say(frame)
                done, _ = await asyncio.wait([confirmed], timeout=self.habits.resend_s)
                if done:
                    return True
            return False
        finally:
            self._waiting.pop(serial, None)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        held = b""
        try:
            while data := await reader.read(65536):
                held = self._take(held + data)
        except ConnectionError:
            pass
        finally:
            self.closed.set()

    def _take(self, data: bytes) -> bytes:
        """Whole frames; what is left."""
        while len(data) >= 30:
            length = struct.unpack_from("<H", data, 24)[0]
            if len(data) < 30 + length:
                break
            self._hear(data[: 30 + length])
            data = data[30 + length :]
        return data

    def _hear(self, frame: bytes) -> None:
        serial, command, adu = struct.unpack_from("<H", frame, 2)[0], frame[26], frame[27:-3]
        assert frame[-3] == sum(frame[2:-3]) % 256
        assert frame[18:24] == self.source
        self.received.append((command, serial, adu))
        waiting = self._waiting.get(serial)
        if command == 3 and waiting is not None and not waiting.done():
            waiting.set_result(True)
        if command == 4 and adu[0] == 61 and self._answers_61 is not None:
            self.say(self.frame(serial, 5, self.adu(system_state(self._answers_61, system=(adu[2], adu[3])))))
