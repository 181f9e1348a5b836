"""OSDP readers as their bytes look from outside: bytes in, bytes out.

    reader = SimReader(3, key)
    line = OsdpLine([reader])
    line.feed(bytes) -> [(3, answer)]
    reader.hold(90, 324)        # a card, told at the next poll

Shares checks and ciphers with the driver, and no logic: libosdp has been the other end of both.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from drivers import wiegand
from drivers.osdp import frame, secure
from drivers.osdp.frame import Frame, find_frame
from drivers.osdp.secure import Channel
from gateway.errors import ProtocolError

_MOST_HEARD = 2 * frame.LONGEST


class _Refused(Exception):
    def __init__(self, reason: int) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(eq=False)
class SimReader:
    """One reader.  *key*: None for one that has no secure channel."""

    address: int
    key: bytes | None = None
    installing: bool = False
    """Takes the installation key, until it has got one of its own."""
    forgetful: bool = False
    """Says that it has taken a key, and has not."""
    tampered: bool = False
    power_failed: bool = False
    inputs: list[bool] | None = None
    """None: it has none, and refuses the question."""
    outputs: list[bool] = field(default_factory=lambda: [False])
    tells_status: bool = True
    """False: it refuses the question for its own status."""
    repeats: bool = True
    """False: takes a repeated question for a wrong sequence number, as some do."""
    deaf: bool = False
    lose_answers: int = 0
    """So many of the next answers get lost on the wire, after the reader has obeyed."""
    busy: int = 0
    events: deque[tuple[int, bytes]] = field(default_factory=deque)
    asked: list[int] = field(default_factory=list)
    """Commands that were carried out, in order; repetitions are none."""
    commanded: list[tuple[int, bytes]] = field(default_factory=list)
    """LED, buzzer and output, in order."""
    _sequence: int | None = None
    _last: bytes = b""
    _keys: secure.Keys | None = None
    _randoms: tuple[bytes, bytes] = (b"", b"")
    _channel: Channel | None = None
    _heard: bytearray = field(default_factory=bytearray)

    # ------------------------------------------------------------------ what happens at the reader

    def hold(self, facility: int, card: int, layout: str = "26") -> None:
        self.reads(wiegand.with_parity(facility, card, layout))

    def reads(self, bits: str) -> None:
        packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
        self.events.append((frame.RAW_CARD, bytes((0, 1)) + len(bits).to_bytes(2, "little") + packed))

    def type(self, digits: str) -> None:
        self.events.append((frame.KEYPAD, bytes((0, len(digits))) + digits.encode("ascii")))

    def opened(self, tampered: bool = True) -> None:
        self.tampered = tampered
        self.events.append((frame.LSTATR, self._status()))

    def restarts(self) -> None:
        """As after a power failure: it knows of no conversation."""
        self._sequence, self._channel, self._keys, self._last = None, None, None, b""

    # ------------------------------------------------------------------ bytes

    def answer(self, packet: Frame) -> bytes | None:
        """None for silence."""
        if self.deaf:
            return None
        if self.busy:
            self.busy -= 1
            return self._wire(frame.reply(self.address, frame.BUSY, b"", 0))
        if packet.sequence == self._sequence and packet.sequence and self.repeats and self._last:
            return self._sent(self._last)
        try:
            self._follow(packet)
            code, data, block = self._do(packet)
        except _Refused as refused:
            self._last = self._wire(frame.reply(self.address, frame.NAK, bytes((refused.reason,)), packet.sequence))
        else:
            self._last = self._wire(self._answer(packet, code, data, block))
        return self._sent(self._last)

    def _sent(self, wire: bytes) -> bytes | None:
        if self.lose_answers:
            self.lose_answers -= 1
            return None
        return wire

    def _follow(self, packet: Frame) -> None:
        """Keep the sequence.  Raises _Refused."""
        if packet.sequence == 0:
            self.restarts()
        elif self._sequence is None or packet.sequence != 1 + self._sequence % 3:
            self.restarts()
            raise _Refused(4)
        self._sequence = packet.sequence

    def _do(self, packet: Frame) -> tuple[int, bytes, bytes]:
        """Code, data and security block of the answer.  Raises _Refused."""
        data = packet.data
        if packet.secured:
            if self._channel is None:
                raise _Refused(6)
            try:
                data, self._channel = self._channel.opened(packet)
            except ProtocolError:
                self.restarts()
                raise _Refused(6) from None
        elif self._channel is not None and packet.code != frame.CHALLENGE:
            raise _Refused(6)
        self.asked.append(packet.code)
        if packet.code == frame.CHALLENGE:
            return self._challenged(packet)
        if packet.code == frame.CRYPTOGRAM:
            return self._confirmed(packet)
        if self.key is not None and self._channel is None and packet.code not in (frame.ID, frame.CAPABILITIES):
            raise _Refused(6)
        code, said = self._plain(packet.code, data)
        return code, said, b""

    def _plain(self, code: int, data: bytes) -> tuple[int, bytes]:
        if code in (frame.LED, frame.BUZZER, frame.OUTPUT):
            self.commanded.append((code, data))
        match code:
            case frame.POLL:
                return self.events.popleft() if self.events else (frame.ACK, b"")
            case frame.ID:
                return frame.PDID, bytes.fromhex("5C26230A02") + b"\x78\x56\x34\x12" + bytes((1, 2, 3))
            case frame.CAPABILITIES:
                return frame.PDCAP, bytes((2, 1, len(self.outputs), 3, 1, 1, 4, 4, 1, 9, int(self.key is not None), 1))
            case frame.LOCAL_STATUS if self.tells_status:
                return frame.LSTATR, self._status()
            case frame.INPUT_STATUS if self.inputs is not None:
                return frame.ISTATR, bytes(self.inputs)
            case frame.OUTPUT_STATUS:
                return frame.OSTATR, bytes(self.outputs)
            case frame.LED | frame.BUZZER:
                return frame.ACK, b""
            case frame.OUTPUT if data[0] < len(self.outputs):
                self.outputs[data[0]] = data[1] in (2, 4, 5)
                return frame.OSTATR, bytes(self.outputs)
            case frame.KEYSET if self._channel is not None and data[:2] == b"\x01\x10":
                if not self.forgetful:
                    self.key, self.installing = data[2:18], False
                return frame.ACK, b""
        raise _Refused(3)

    def _status(self) -> bytes:
        return bytes((self.tampered, self.power_failed))

    def _challenged(self, packet: Frame) -> tuple[int, bytes, bytes]:
        base = self._base(packet)
        ours = os.urandom(secure.RANDOM_BYTES)
        self._keys, self._randoms = secure.derived(base, packet.data), (packet.data, ours)
        cryptogram = secure.client_cryptogram(self._keys, packet.data, ours)
        return frame.CCRYPT, bytes(8) + ours + cryptogram, bytes((3, secure.CCRYPT_BLOCK, packet.block[2]))

    def _base(self, packet: Frame) -> bytes:
        if self.key is None and not self.installing:
            raise _Refused(5)
        if len(packet.data) != secure.RANDOM_BYTES or len(packet.block) != 3:
            raise _Refused(2)
        if packet.block[2] == 0 and not self.installing:
            raise _Refused(6)
        return secure.INSTALLATION_KEY if packet.block[2] == 0 or self.key is None else self.key

    def _confirmed(self, packet: Frame) -> tuple[int, bytes, bytes]:
        if self._keys is None or packet.data != secure.server_cryptogram(self._keys, *self._randoms):
            raise _Refused(6)
        first = secure.first_mac(self._keys, packet.data)
        self._channel = Channel(self._keys, first)
        return frame.RMAC_I, first, bytes((3, secure.RMAC_BLOCK, 1))

    def _answer(self, packet: Frame, code: int, data: bytes, block: bytes) -> Frame:
        if block or self._channel is None:
            return frame.reply(self.address, code, data, packet.sequence, block)
        block = bytes((2, secure.REPLY_DATA if data else secure.REPLY_MAC))
        made, self._channel = self._channel.closed(frame.reply(self.address, code, data, packet.sequence, block), data)
        return made

    def _wire(self, packet: Frame) -> bytes:
        return bytes((frame.MARK,)) + packet.to_bytes()


class OsdpLine:
    """Readers on one serial line."""

    def __init__(self, readers: Iterable[SimReader]) -> None:
        self.readers = {reader.address: reader for reader in readers}
        self._heard = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Any piece of what the panel sends -> address and bytes of each answer that is due."""
        self._heard += data
        answers: list[tuple[int, bytes]] = []
        while (found := find_frame(bytes(self._heard))) is not None:
            packet, _, end = found
            del self._heard[:end]
            reader = self.readers.get(packet.address)
            if not packet.reply and reader is not None and (answer := reader.answer(packet)) is not None:
                answers.append((reader.address, answer))
        del self._heard[:-_MOST_HEARD]
        return answers

    def silence(self) -> None:
        """The line was quiet for longer than a packet may pause."""
        self._heard.clear()
