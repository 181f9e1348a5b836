"""Byte lines: a serial port, or a TCP connection to a device or a serial converter.

Both are a ``Link`` (drivers/base.py): one exchange at a time, and after an exchange that did not end well the line
is drained before the next request leaves, so that nothing left over can be taken for an answer.

    idle ──exchange──▶ drained? ──▶ request sent ──▶ bytes … parse(bytes) ──▶ frame
                                                        │ silence ≥ gap after some bytes: ProtocolError
                                                        └ time-out: DeviceUnreachable, peer under embargo

A driver does not hold the line itself but its device's view of it (device_link.py).
"""

from __future__ import annotations

import abc
import asyncio
import math
import os
import socket
import termios
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self, TypeVar

import serial

from drivers.base import SerialFormat
from gateway.errors import DeviceUnreachable, LineLost, ProtocolError

T = TypeVar("T")
Tap = Callable[[str, bytes], None]
"""Called with ``tx`` or ``rx`` and the bytes, for capture and statistics."""


class ByteLine(abc.ABC):
    """What serial and TCP links have in common: the exchange."""

    reply_gap_s = 0.5
    """Silence after which a reply that has begun is taken to be over.  DL/T 645-2007 allows 500 ms between two
    bytes; converters buffer, so shorter gaps than this happen inside good frames."""
    settle_limit_s = 2.0
    """A line that never falls silent is used all the same after this long; parse() skips the noise."""

    most_bytes = 8192
    """No answer of any protocol is longer than some hundred bytes.  Of a flood only the latest are kept: parse() looks
    at all of them each time that more arrive, and half a megabyte of frame starts would hold up every other line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tap: Tap | None = None
        self.last_answer = b""
        self.stale_bytes = 0
        """Bytes thrown away because nobody had asked for them."""
        self._buffer = bytearray()
        self._waiter: asyncio.Future[bool] | None = None
        """Of whoever waits for bytes."""
        self._lost: str | None = None
        self._dirty = False
        self._heard_s = -math.inf
        self._embargoes: dict[Hashable, _Embargo] = {}
        self.response_s = 0.0
        """Of the last answer: from the request's last bit to the answer's first byte."""

    # ------------------------------------------------------------------ for the core

    async def __aenter__(self) -> Self:
        self._buffer.clear()
        self._waiter = None
        self._lost, self._dirty, self._heard_s = None, False, -math.inf
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._close()

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
        once: bool = True,
        first_byte_s: float | None = None,
    ) -> T:
        """As ``Link`` says; the line itself never repeats.

        first_byte_s: give up when no answer has begun so long after the request's last bit.
        """
        loop = asyncio.get_running_loop()
        again = await self._wait_for_embargo(peer, request)
        await self._drain(self._gap_s(gap_characters))
        self._dirty = True  # until the answer is here; stays so when we are cancelled or time out
        if embargo_s:
            self._embargoes[peer] = _Embargo(loop.time() + timeout_s + embargo_s, request)
        sent_s = loop.time() + self._send(request, serial)
        first_s = sent_s + min(first_byte_s or timeout_s, timeout_s)
        self.response_s = -1.0
        while True:
            if self._buffer and (frame := parse(received := bytes(self._buffer))) is not None:
                self.last_answer = received
                self._buffer.clear()
                self._dirty = False
                if not again:  # else the answer to the first of the two questions may still be on its way
                    self._embargoes.pop(peer, None)
                return frame
            await self._wait_for_bytes(first_s, sent_s + timeout_s, request)
            if self.response_s < 0 and self._answer_has_begun(request):
                self.response_s = max(self._heard_s - sent_s, 0.0)

    async def collect(
        self, request: bytes, *, timeout_s: float, silence_s: float, serial: SerialFormat | None = None
    ) -> bytes:
        loop = asyncio.get_running_loop()
        await self._drain(0.0)
        self._dirty = True  # nobody has said that the answer was one
        wait_s = self._send(request, serial) + timeout_s
        give_up = loop.time() + wait_s + self.settle_limit_s
        while loop.time() < give_up and await self._hears(wait_s):
            self._check_open()
            wait_s = silence_s
        received = bytes(self._buffer)
        self._buffer.clear()
        return received

    def leave_alone_s(self, peer: Hashable) -> float:
        """How long a question to *peer* other than its last one would have to wait; 0.0 when it would not."""
        embargo = self._embargoes.get(peer)
        return 0.0 if embargo is None else max(embargo.until_s - asyncio.get_running_loop().time(), 0.0)

    # ------------------------------------------------------------------ for the subclasses

    @abc.abstractmethod
    async def _open(self) -> None: ...

    @abc.abstractmethod
    def _close(self) -> None: ...

    @abc.abstractmethod
    def _send(self, request: bytes, serial: SerialFormat | None) -> float:
        """Hand the bytes over; return the seconds until the last one will be on the wire."""

    @abc.abstractmethod
    def _quiet_s(self) -> float:
        """How long an unclean line must be silent before it is used again."""

    @abc.abstractmethod
    def _gap_s(self, characters: float) -> float:
        """The pause between an answer and the next request."""

    def _received(self, data: bytes) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        if self.tap is not None:
            self.tap("rx", data)
        self._buffer += data
        if len(self._buffer) > self.most_bytes:
            self.stale_bytes += len(self._buffer) - self.most_bytes
            del self._buffer[: -self.most_bytes]
        self._wake()

    def _fail(self, why: str) -> None:
        self._lost = self._lost or why
        self._wake()

    # ------------------------------------------------------------------ inside

    async def _wait_for_bytes(self, first_s: float, deadline_s: float, request: bytes) -> None:
        """Return when there is more than before; raise when there will not be."""
        loop = asyncio.get_running_loop()
        have = len(self._buffer)
        begun = self._answer_has_begun(request)
        limit_s = min(deadline_s, loop.time() + self.reply_gap_s) if begun else first_s
        asked_s = loop.time()
        while len(self._buffer) == have:
            self._check_open()
            if await self._hears_by(limit_s):
                continue
            if begun:
                raise ProtocolError("no valid answer in what was received", bytes(self._buffer))
            raise DeviceUnreachable(f"no answer within {limit_s - asked_s:.3g} s")
        self._check_open()

    def _answer_has_begun(self, request: bytes) -> bool:
        """An adapter's echo of the request is no answer."""
        return len(self._buffer) > 0 and not request.startswith(bytes(self._buffer))

    async def _wait_for_embargo(self, peer: Hashable, request: bytes) -> bool:
        """Sleep while *peer* must be left alone.  True when its last question is asked again: any answer will do."""
        embargo = self._embargoes.get(peer)
        if embargo is None:
            return False
        left_s = self.leave_alone_s(peer)
        if left_s > 0 and embargo.request == request:
            return True
        await asyncio.sleep(left_s)
        self._embargoes.pop(peer, None)
        return False

    async def _drain(self, gap_s: float) -> None:
        """Throw away what nobody asked for, and leave the pause that the protocol wants after the frame before.

        After an unclean exchange, wait until nothing more comes.
        """
        self._check_open()
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self.settle_limit_s
        while loop.time() < give_up:
            self._discard()
            pause_s = self._quiet_s() if self._dirty else self._heard_s + gap_s - loop.time()
            if (pause_s <= 0 or not await self._hears(pause_s)) and not self._finds_more():
                break
            self._check_open()
        self._discard()

    async def _hears(self, seconds: float) -> bool:
        """Whether anything arrives, or the line is lost, within *seconds*."""
        return await self._hears_by(asyncio.get_running_loop().time() + seconds)

    async def _hears_by(self, limit_s: float) -> bool:
        """The same, by an instant of the loop's clock.  Cheaper than asyncio.timeout and an event: every poll waits."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        timer = loop.call_at(limit_s, _settle, waiter, False)
        try:
            return await waiter
        finally:
            timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None:
            _settle(self._waiter, True)

    def _finds_more(self) -> bool:
        """Whether something has come that the loop, held up, has not said yet: it was sent before the next request."""
        return False

    def _discard(self) -> None:
        self.stale_bytes += len(self._buffer)
        self._buffer.clear()

    def _check_open(self) -> None:
        if self._lost is not None:
            raise LineLost(f"{self.name}: {self._lost}")


def _settle(waiter: asyncio.Future[bool], heard: bool) -> None:
    if not waiter.done():
        waiter.set_result(heard)


@dataclass(frozen=True, slots=True)
class _Embargo:
    """A late answer to *request* could still come until then."""

    until_s: float
    request: bytes


def open_port(path: str, wanted: SerialFormat) -> serial.Serial:
    """Nothing that is done with it waits.  Raises LineLost."""
    try:
        return serial.Serial(
            path,
            baudrate=wanted.baud,
            bytesize=wanted.data_bits,
            parity=wanted.parity,
            stopbits=wanted.stop_bits,
            timeout=0,
            write_timeout=0,
            exclusive=True,
        )
    # serial.SerialException is an OSError; termios.error is not, and escapes from pyserial as it is
    except (OSError, ValueError, termios.error) as exc:
        raise LineLost(f"{path}: cannot open: {exc}", hint=_port_hint(exc)) from exc


def close_port(port: serial.Serial) -> None:
    try:
        port.close()
    except OSError:
        return  # the adapter is gone, and the descriptor with it


class SerialLink(ByteLine):
    """A serial port, named by a path that survives replugging (``/dev/serial/by-id/…``)."""

    def __init__(self, port: str, default: SerialFormat) -> None:
        super().__init__(port)
        self._port_path = port
        self._default = default
        self._spoken = default
        """The format of the latest request."""
        self._port: serial.Serial | None = None
        self._is_pty = False

    async def _open(self) -> None:
        self._is_pty = _is_pseudo_terminal(self._port_path)
        self._port = open_port(self._port_path, self._possible(self._default))
        asyncio.get_running_loop().add_reader(self._port.fileno(), self._readable)

    def _close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            asyncio.get_running_loop().remove_reader(port.fileno())
            close_port(port)

    def _readable(self) -> None:
        assert self._port is not None
        try:
            data = os.read(self._port.fileno(), 4096)
        except BlockingIOError:
            return
        except OSError as exc:
            self._hang_up(f"read failed: {exc}")
            return
        if data:
            self._received(data)
        else:
            self._hang_up("the port was closed from the other side")

    def _finds_more(self) -> bool:
        assert self._port is not None
        try:
            if not self._port.in_waiting:
                return False
        except OSError as exc:
            self._hang_up(f"read failed: {exc}")
            return True
        self._readable()
        return True

    def _hang_up(self, why: str) -> None:
        """Stop listening (a dead descriptor is readable for ever) and let the next exchange say why."""
        assert self._port is not None
        asyncio.get_running_loop().remove_reader(self._port.fileno())
        self._fail(why)

    def _send(self, request: bytes, serial: SerialFormat | None) -> float:
        assert self._port is not None
        wanted = self._spoken = serial or self._default
        try:
            self._apply(self._port, self._possible(wanted))
            self._port.write(request)  # requests are under 300 bytes; the driver's buffer takes them whole
        except (OSError, termios.error) as exc:
            self._hang_up(f"write failed: {exc}")
            self._check_open()
        if self.tap is not None:
            self.tap("tx", request)
        return len(request) * wanted.character_s

    def _possible(self, wanted: SerialFormat) -> SerialFormat:
        """A pseudo-terminal carries whole bytes: it has no parity, and tcsetattr() fails for one that asks."""
        return replace(wanted, parity="N", data_bits=8) if self._is_pty else wanted

    @staticmethod
    def _apply(port: serial.Serial, wanted: SerialFormat) -> None:
        if port.baudrate != wanted.baud:
            port.baudrate = wanted.baud
        if port.parity != wanted.parity:
            port.parity = wanted.parity
        if port.bytesize != wanted.data_bits:
            port.bytesize = wanted.data_bits
        if port.stopbits != wanted.stop_bits:
            port.stopbits = wanted.stop_bits

    def _quiet_s(self) -> float:
        return max(0.05, 20 * self._spoken.character_s)

    def _gap_s(self, characters: float) -> float:
        # Modbus over Serial Line V1.02, 2.5.1.1: never less than 1.75 ms, however fast the line
        return max(0.00175, characters * self._spoken.character_s) if characters else 0.0


class TcpLink(ByteLine):
    """A TCP connection to a device, or to a converter with a serial line behind it."""

    connect_timeout_s = 5.0

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"{host}:{port}")
        self._address = (host, port)
        self._transport: asyncio.Transport | None = None

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                self._transport, _ = await loop.create_connection(lambda: _Receiver(self), *self._address)
        except TimeoutError:
            why = f"{self.name}: no connection within {self.connect_timeout_s:g} s"
            raise LineLost(why, hint=_HOST_HINT) from None
        except OSError as exc:
            hint = _REFUSED_HINT if isinstance(exc, ConnectionRefusedError) else _HOST_HINT
            raise LineLost(f"{self.name}: cannot connect: {exc}", hint=hint) from exc
        peer: socket.socket = self._transport.get_extra_info("socket")
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()  # nothing to flush: a request without its answer is worth nothing

    def _send(self, request: bytes, serial: SerialFormat | None) -> float:
        assert self._transport is not None
        self._transport.write(request)
        if self.tap is not None:
            self.tap("tx", request)
        return 0.0

    def _quiet_s(self) -> float:
        return 0.02

    def _gap_s(self, characters: float) -> float:
        return 0.0  # whatever serial line is behind it, the converter keeps its pauses


class _Receiver(asyncio.Protocol):
    def __init__(self, line: TcpLink) -> None:
        self._line = line

    def data_received(self, data: bytes) -> None:
        self._line._received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._line._fail(f"connection lost: {exc}" if exc else "connection closed by the other side")


_REFUSED_HINT = "the host is there, but nothing listens on this port: a converter must be in TCP server mode"
_HOST_HINT = "check the address, the cable and the power of the device: ping HOST"


def _is_pseudo_terminal(path: str) -> bool:
    return os.path.realpath(path).startswith("/dev/pts/")


def _port_hint(exc: Exception) -> str:
    errno = exc.args[0] if isinstance(exc, termios.error) else getattr(exc, "errno", None)
    if errno == 2:
        return "the adapter is not plugged in, or has another name: ls -l /dev/serial/by-id / 转换器未插好，或名称已变"
    if errno == 13:
        return (
            "no permission: the gateway's user must be in the group that owns the port (usually dialout)"
            " / 无权限：网关用户须在串口所属的组中（通常是 dialout）"
        )
    if errno in (11, 16):
        return "another program has the port open: fuser -v PORT / 串口被其他程序占用"
    if errno == 22:
        return "the adapter cannot do this speed, parity or number of bits / 转换器不支持该波特率、校验或位数"
    return ""
