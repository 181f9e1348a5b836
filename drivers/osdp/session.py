"""The conversation with one reader: sequence numbers, repeated questions, the secure channel.

    down ──ID 0──▶ CAP 1 ──▶ CHALLENGE 2 ──▶ CRYPTOGRAM 3 ──▶ up: 1, 2, 3, 1 …  each under the MAC of the one before
      ▲                                                        │
      └── 8 s of silence, a wrong sequence, a NAK of security, a command of which nobody knows, three bad answers

A question whose answer did not come is pending: it is sent again with the same sequence number before anything else,
and the reader gives the same answer again.  So a card that was in a lost answer is not lost.  A command is never sent
again; when nobody knows what became of it, the conversation begins anew.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drivers.base import Link
from drivers.osdp import frame, secure
from drivers.osdp.config import OsdpOptions
from drivers.osdp.frame import Frame, find_frame
from drivers.osdp.secure import Channel
from gateway.clock import Clock
from gateway.errors import DeviceRejected, DeviceUnreachable, DriverError, LineLost, ProtocolError

OFFLINE_S = 8.0
"""Of silence: the reader has ended the session by itself.  Source: SIA OSDP 2.2, 5.7."""
_TRIES = 3
"""Of a question that the reader has not understood, or is too busy for; and of bad answers before it begins anew."""
_BUSY_S = 0.05
_BROKEN = (4, 5, 6)
"""Reasons of a NAK after which the conversation must begin anew."""


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a reader says of itself (PDID)."""

    vendor: str
    model: int
    version: int
    serial: int
    firmware: str

    @classmethod
    def of(cls, data: bytes) -> Identity | None:
        if len(data) < 12:
            return None
        serial = int.from_bytes(data[5:9], "little")
        return cls(data[:3].hex().upper(), data[3], data[4], serial, ".".join(str(part) for part in data[9:12]))


@dataclass(frozen=True, slots=True)
class _Packet:
    """One that was made, and how the channel stands once it has been sent."""

    wire: bytes = field(repr=False)
    sequence: int
    channel: Channel | None
    once: bool


@dataclass(frozen=True, slots=True)
class _Found:
    answer: Answer
    channel: Channel | None


class Session:
    def __init__(self, link: Link, options: OsdpOptions, timeout_s: float, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._options = options
        self._timeout_s = timeout_s
        self._sequence = 0
        self._channel: Channel | None = None
        self._pending: _Packet | None = None
        self._bad = 0
        self._heard_s = -math.inf
        self.up = False
        self.identity: Identity | None = None
        self.capabilities: bytes = b""
        """Three bytes each: function, level, number."""

    @property
    def secure(self) -> bool:
        return self.up and self._channel is not None

    @property
    def silent(self) -> bool:
        """Nothing has been heard for as long as ends a session."""
        return self._clock.monotonic_s() - self._heard_s > OFFLINE_S

    def silence_s(self) -> float | None:
        """Since the last answer; None when there was none."""
        return None if self._heard_s == -math.inf else round(self._clock.monotonic_s() - self._heard_s, 1)

    async def begin(self) -> Answer | None:
        """Bring the conversation up; an answer to a question that was pending, or None.  Raises DriverError."""
        if self.silent:
            self.reset()
        late = None
        if self._pending is not None:
            if self._pending.once or not self.up:
                self.reset()  # nobody knows what became of it
            else:
                late = self._checked(await self._exchange(self._pending))
        if not self.up:
            await self._bring_up()
        return late

    async def ask(self, code: int, data: bytes = b"", *, once: bool = False) -> Answer:
        """Only after ``begin``.  Raises DeviceRejected where the reader refuses, DeviceUnreachable, ProtocolError."""
        block = b""
        if self._channel is not None:
            block = bytes((2, secure.COMMAND_DATA if data else secure.COMMAND_MAC))
        return self._checked(await self._exchange(self._packet(code, data, block, once)))

    def reset(self) -> None:
        """The next question begins anew."""
        self._sequence, self._channel, self._pending, self._bad = 0, None, None, 0
        self.up = False

    # ------------------------------------------------------------------ bringing it up

    async def _bring_up(self) -> None:
        keys = self._keys()
        for at, (key, kind) in enumerate(keys):
            self.reset()
            try:
                await self._introduce()
                if key is not None:
                    await self._secure(key, kind)
            except (ProtocolError, DeviceRejected):
                if at == len(keys) - 1:
                    self.reset()
                    raise
            except DriverError:
                self.reset()
                raise
            else:
                break
        self.up = True
        if kind == 0 and len(keys) > 1:
            await self._install(keys[0][0])

    def _keys(self) -> Sequence[tuple[bytes | None, int]]:
        """What may be tried, in order: the key, and 1 for the reader's own, 0 for the installation key."""
        options = self._options
        own = None if options.key_file is None else read_key(options.key_file)
        keys: list[tuple[bytes | None, int]] = [] if own is None else [(own, 1)]
        if options.commissioning:
            keys.append((secure.INSTALLATION_KEY, 0))
        return keys or [(None, 1)]

    async def _introduce(self) -> None:
        self.identity = Identity.of((await self._plain(frame.ID, b"\0")).data)
        try:
            self.capabilities = (await self._plain(frame.CAPABILITIES, b"\0")).data
        except DeviceRejected:
            self.capabilities = b""

    async def _secure(self, base: bytes, kind: int) -> None:
        ours = os.urandom(secure.RANDOM_BYTES)
        answer = await self._plain(frame.CHALLENGE, ours, bytes((3, secure.CHALLENGE_BLOCK, kind)))
        if answer.code != frame.CCRYPT or len(answer.data) != 32:
            raise ProtocolError("the reader does not answer the challenge")
        theirs, cryptogram = answer.data[8:16], answer.data[16:]
        keys = secure.derived(base, ours)
        if not secure.same(cryptogram, secure.client_cryptogram(keys, ours, theirs)):
            raise ProtocolError(
                "读头的密钥不同 / the reader has another key", hint="key_file; 新读头 a new reader: commissioning: true"
            )
        server = secure.server_cryptogram(keys, ours, theirs)
        answer = await self._plain(frame.CRYPTOGRAM, server, bytes((3, secure.CRYPTOGRAM_BLOCK, kind)))
        first = secure.first_mac(keys, server)
        if answer.code != frame.RMAC_I or not secure.same(answer.data, first):
            raise ProtocolError("the reader does not confirm the session")
        self._channel = Channel(keys, first)

    async def _install(self, key: bytes | None) -> None:
        """Put the key of its own into a reader that still has the installation key, and begin anew with it."""
        assert key is not None
        await self.ask(frame.KEYSET, bytes((1, secure.KEY_BYTES)) + key, once=True)
        self.reset()
        await self._bring_up()

    async def _plain(self, code: int, data: bytes, block: bytes = b"") -> Answer:
        return self._checked(await self._exchange(self._packet(code, data, block, once=False)))

    # ------------------------------------------------------------------ one exchange

    def _packet(self, code: int, data: bytes, block: bytes, once: bool) -> _Packet:
        sequence, self._sequence = self._sequence, 1 + self._sequence % 3
        made, channel = frame.command(self._options.address, code, data, sequence, block), self._channel
        if channel is not None:
            made, channel = channel.closed(made, data)
        return _Packet(bytes((frame.MARK,)) + made.to_bytes(), sequence, channel, once)

    async def _exchange(self, packet: _Packet) -> Answer:
        self._pending = packet
        for _ in range(1 if packet.once else _TRIES):
            try:
                found = await self._link.exchange(
                    packet.wire,
                    lambda received: self._find(received, packet),
                    peer=("osdp", self._options.address),
                    timeout_s=self._timeout_s,
                    once=packet.once,
                )
            except LineLost:
                raise
            except ProtocolError as exc:
                self._count_bad()
                raise ProtocolError(f"no valid answer among {len(exc.frame)} bytes") from None  # they may name a card
            self._heard_s = self._clock.monotonic_s()
            if found.answer.code == frame.BUSY:
                await asyncio.sleep(_BUSY_S)
            elif found.answer.code != frame.NAK or _reason(found.answer) != 1:
                break
        if found.answer.code == frame.BUSY:
            raise DeviceUnreachable("the reader is busy")
        self._pending, self._bad = None, 0
        if found.channel is not None:
            self._channel = found.channel
        return found.answer

    def _count_bad(self) -> None:
        self._bad += 1
        if self._bad >= _TRIES:
            self.reset()

    def _find(self, received: bytes, packet: _Packet) -> _Found | None:
        """The answer to *packet* among other bytes."""
        found = find_frame(received)
        while found is not None:
            if (answer := self._fits(found[0], packet)) is not None:
                return answer
            found = find_frame(received, found[1] + 1)
        return None

    def _fits(self, each: Frame, packet: _Packet) -> _Found | None:
        if not each.reply or each.address != self._options.address:
            return None
        if each.code == frame.BUSY and each.sequence == 0 and not each.block:
            return _Found(Answer(each.code, b""), None)
        if each.sequence != packet.sequence:
            return None
        if packet.channel is None:
            return None if each.secured else _Found(Answer(each.code, each.data), None)
        if not each.secured:
            return _Found(Answer(each.code, each.data), None) if each.code == frame.NAK else None
        try:
            data, channel = packet.channel.opened(each)
        except ProtocolError:
            return None
        return _Found(Answer(each.code, data), channel)

    def _checked(self, answer: Answer) -> Answer:
        """Raises DeviceRejected or ProtocolError for a refusal."""
        if answer.code != frame.NAK:
            return answer
        reason = _reason(answer)
        word = frame.NAKS.get(reason, str(reason))
        if reason in _BROKEN:
            self.reset()
            hint = "key_file" if reason == 6 else ""
            raise ProtocolError(f"读头拒绝：{word} / the reader refuses: {word}", hint=hint)
        raise DeviceRejected(f"读头拒绝：{word} / the reader refuses: {word}", reason)


def _reason(answer: Answer) -> int:
    return answer.data[0] if answer.data else 0


def read_key(file: Path) -> bytes:
    """Raises DeviceUnreachable: without a key nobody talks to the reader, and the file may yet come."""
    try:
        key = bytes.fromhex(file.read_text(encoding="ascii"))
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "hex"
        raise DeviceUnreachable(
            f"密钥文件无法读取 / the key cannot be read: {file} ({why})", hint="32 位十六进制 / 32 hexadecimal digits"
        ) from None
    if len(key) != secure.KEY_BYTES:
        raise DeviceUnreachable(f"{file}: 密钥须为 32 位十六进制 / a key has 32 hexadecimal digits")
    if key == secure.INSTALLATION_KEY:
        raise DeviceUnreachable(
            f"{file}: 这是人所共知的安装密钥 / this is the installation key, which everybody knows",
            hint="换一个随机密钥 / make one of your own: openssl rand -hex 16",
        )
    return key
