"""The secure channel: keys, cryptograms, MACs and encryption, all AES-128.  Pure but for the random number.

    panel                                    reader
    CHALLENGE  random A ───────────────────▶
    ◀───────── id, random B, E(enc, A B)     CCRYPT     the reader knows the key
    CRYPTOGRAM E(enc, B A) ────────────────▶            the panel knows the key
    ◀───────── first MAC                     RMAC_I
    from here each MAC is made over the one before, so nothing can be repeated, left out or put in

Source: SIA OSDP 2.2, annex D; the worked example of annex E (tests/vectors/access.json), and libosdp 3.2.9 as the
other end.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from drivers.osdp.frame import Frame
from gateway.errors import ProtocolError

INSTALLATION_KEY: Final = bytes(range(0x30, 0x40))
"""Known to everybody; only good for putting a key of its own into a reader."""
KEY_BYTES = 16
RANDOM_BYTES = 8
BLOCK = 16
SHORT_MAC = 4
_END = 0x80

CHALLENGE_BLOCK, CCRYPT_BLOCK, CRYPTOGRAM_BLOCK, RMAC_BLOCK = 0x11, 0x12, 0x13, 0x14
COMMAND_MAC, REPLY_MAC, COMMAND_DATA, REPLY_DATA = 0x15, 0x16, 0x17, 0x18
"""Types of security blocks: with a MAC, and with a MAC and encrypted data."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Of one session."""

    enc: bytes = field(repr=False)
    mac1: bytes = field(repr=False)
    mac2: bytes = field(repr=False)


def derived(base: bytes, panel_random: bytes) -> Keys:
    """*base*: the reader's key (SCBK)."""
    tail = panel_random[:6] + bytes(8)
    return Keys(*(_block(base, bytes((0x01, kind)) + tail) for kind in (0x82, 0x01, 0x02)))


def client_cryptogram(keys: Keys, panel_random: bytes, reader_random: bytes) -> bytes:
    return _block(keys.enc, panel_random + reader_random)


def server_cryptogram(keys: Keys, panel_random: bytes, reader_random: bytes) -> bytes:
    return _block(keys.enc, reader_random + panel_random)


def first_mac(keys: Keys, server: bytes) -> bytes:
    return _block(keys.mac2, _block(keys.mac1, server))


def mac(keys: Keys, before: bytes, message: bytes) -> bytes:
    """All 16 bytes; four of them are sent.  *before*: of the last packet of the other side."""
    padded = message if len(message) % BLOCK == 0 else _padded(message)
    if len(padded) > BLOCK:
        before = _chained(keys.mac1, before, padded[:-BLOCK])[-BLOCK:]
    return _chained(keys.mac2, before, padded[-BLOCK:])


def same(one: bytes, other: bytes) -> bool:
    return hmac.compare_digest(one, other)


def encrypted(keys: Keys, last: bytes, data: bytes) -> bytes:
    """*last*: the MAC of the other side's last packet."""
    return _chained(keys.enc, _inverted(last), _padded(data))


def decrypted(keys: Keys, last: bytes, data: bytes) -> bytes:
    """Raises ProtocolError."""
    if not data or len(data) % BLOCK:
        raise ProtocolError("encrypted data of a wrong length")
    decryptor = Cipher(algorithms.AES(keys.enc), modes.CBC(_inverted(last))).decryptor()
    plain = (decryptor.update(data) + decryptor.finalize()).rstrip(b"\0")
    if not plain or plain[-1] != _END:
        raise ProtocolError("encrypted data without an end")
    return plain[:-1]


@dataclass(frozen=True, slots=True)
class Channel:
    """An established session, as either end sees it: the MACs of the last packet each way."""

    keys: Keys
    reply_mac: bytes = field(repr=False)
    command_mac: bytes = field(default=bytes(BLOCK), repr=False)

    def closed(self, packet: Frame, data: bytes) -> tuple[Frame, Channel]:
        """*packet* with *data* and its MAC; its block says whether the data are encrypted."""
        last = self._last(packet.reply)
        if packet.block[1] in (COMMAND_DATA, REPLY_DATA):
            data = encrypted(self.keys, last, data)
        bare = Frame(packet.address, packet.code, data, packet.control, packet.reply, packet.block)
        full = mac(self.keys, last, bare.head())
        made = Frame(packet.address, packet.code, data, packet.control, packet.reply, packet.block, full[:SHORT_MAC])
        return made, self._next(packet.reply, full)

    def opened(self, packet: Frame) -> tuple[bytes, Channel]:
        """The data of *packet*.  Raises ProtocolError where it is not the next one of this session."""
        last = self._last(packet.reply)
        full = mac(self.keys, last, packet.head())
        if not packet.secured or not same(full[:SHORT_MAC], packet.mac):
            raise ProtocolError("wrong MAC")
        sealed = packet.block[1] in (COMMAND_DATA, REPLY_DATA)
        data = decrypted(self.keys, last, packet.data) if sealed else packet.data
        return data, self._next(packet.reply, full)

    def _last(self, is_reply: bool) -> bytes:
        """The other side's last MAC, with which MAC and encryption begin."""
        return self.command_mac if is_reply else self.reply_mac

    def _next(self, is_reply: bool, full: bytes) -> Channel:
        if is_reply:
            return Channel(self.keys, full, self.command_mac)
        return Channel(self.keys, self.reply_mac, full)


def _padded(data: bytes) -> bytes:
    return (data + bytes((_END,))).ljust(-(-(len(data) + 1) // BLOCK) * BLOCK, b"\0")


def _inverted(block: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in block)


def _block(key: bytes, data: bytes) -> bytes:
    """One block."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _chained(key: bytes, before: bytes, data: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(before)).encryptor()
    return encryptor.update(data) + encryptor.finalize()
