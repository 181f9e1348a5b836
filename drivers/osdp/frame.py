"""The OSDP packet (SIA OSDP 2.2, IEC 60839-11-5): bytes and back.  Pure; keys are secure.py's business.

A poll of reader 101, and where a packet in a secure channel has more:

    FF 53 65 08 00 04 60 60 90
     │  │  │ length │ │  └ CRC-16, low byte first; or one byte that makes the sum 0
     │  │  │        │ code: 60 poll
     │  │  address  control: 1..0 sequence, 2 CRC, 3 a security block follows (its length, 11..18, data)
     │  start       before the CRC a security block of 15 or more puts four bytes of MAC
     mark: idle line, counts for nothing

The length counts from 53 to the last byte.  Answers have 80h added to the address; 7F is everybody.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors import ProtocolError

MARK, START = 0xFF, 0x53
BROADCAST = 0x7F
LONGEST = 1440
_REPLY = 0x80
_SEQUENCE, _CRC, _SECURE = 0x03, 0x04, 0x08
_HEAD = struct.Struct("<BBHB")
_MAC_BYTES = 4

POLL, ID, CAPABILITIES, LOCAL_STATUS, INPUT_STATUS, OUTPUT_STATUS = 0x60, 0x61, 0x62, 0x64, 0x65, 0x66
OUTPUT, LED, BUZZER, KEYSET, CHALLENGE, CRYPTOGRAM = 0x68, 0x69, 0x6A, 0x75, 0x76, 0x77
ACK, NAK, PDID, PDCAP, LSTATR, ISTATR, OSTATR = 0x40, 0x41, 0x45, 0x46, 0x48, 0x49, 0x4A
RAW_CARD, TEXT_CARD, KEYPAD, CCRYPT, RMAC_I, BUSY = 0x50, 0x51, 0x53, 0x76, 0x78, 0x79

COMMANDS: Mapping[int, str] = {
    POLL: "poll",
    ID: "id",
    CAPABILITIES: "capabilities",
    LOCAL_STATUS: "local_status",
    INPUT_STATUS: "input_status",
    OUTPUT_STATUS: "output_status",
    0x67: "reader_status",
    OUTPUT: "output",
    LED: "led",
    BUZZER: "buzzer",
    0x6B: "text",
    0x6E: "communication",
    0x73: "biometric_read",
    0x74: "biometric_match",
    KEYSET: "keyset",
    CHALLENGE: "challenge",
    CRYPTOGRAM: "server_cryptogram",
    0x80: "manufacturer",
}
REPLIES: Mapping[int, str] = {
    ACK: "ack",
    NAK: "nak",
    PDID: "id",
    PDCAP: "capabilities",
    LSTATR: "local_status",
    ISTATR: "input_status",
    OSTATR: "output_status",
    0x4B: "reader_status",
    RAW_CARD: "raw_card",
    TEXT_CARD: "text_card",
    KEYPAD: "keypad",
    0x54: "communication",
    CCRYPT: "client_cryptogram",
    RMAC_I: "initial_mac",
    BUSY: "busy",
    0x90: "manufacturer",
}
NAKS: Mapping[int, str] = {
    1: "bad_check",
    2: "bad_length",
    3: "unknown_command",
    4: "wrong_sequence",
    5: "no_secure_channel",
    6: "secure_channel_needed",
    7: "biometric_type",
    8: "biometric_format",
    9: "cannot_process",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One packet without its mark.

    block: the security block with its length, empty where there is none.  data: as it stands on the wire, encrypted
    behind a block of 17h or 18h; may hold a card's number or keys, so it never shows itself.
    """

    address: int
    code: int
    data: bytes = field(default=b"", repr=False)
    control: int = _CRC
    reply: bool = False
    block: bytes = b""
    mac: bytes = b""

    @property
    def sequence(self) -> int:
        return self.control & _SEQUENCE

    @property
    def secured(self) -> bool:
        """Whether it carries a MAC."""
        return _has_mac(self.block)

    def head(self) -> bytes:
        """All that stands before the MAC, of which the MAC is made."""
        check = 2 if self.control & _CRC else 1
        body = self.block + bytes((self.code,)) + self.data
        size = _HEAD.size + len(body) + check + (_MAC_BYTES if self.secured else 0)
        return _HEAD.pack(START, self.address | (_REPLY if self.reply else 0), size, self.control) + body

    def to_bytes(self) -> bytes:
        return sealed(self.head() + self.mac, bool(self.control & _CRC))

    @classmethod
    def from_bytes(cls, data: bytes) -> Frame:
        """Raises ProtocolError, without the bytes: they may name a person."""
        if len(data) < _HEAD.size + 2:
            raise ProtocolError("an OSDP packet is longer")
        start, address, size, control = _HEAD.unpack_from(data)
        with_crc = bool(control & _CRC)
        check = 2 if with_crc else 1
        if start != START or size != len(data) or size > LONGEST:
            raise ProtocolError("no OSDP packet, or its length is wrong")
        if sealed(data[:-check], with_crc) != data:
            raise ProtocolError("wrong CRC or checksum")
        body = data[_HEAD.size : -check]
        block, body = _divided(body) if control & _SECURE else (b"", body)
        mac_bytes = _MAC_BYTES if _has_mac(block) else 0
        if len(body) < 1 + mac_bytes:
            raise ProtocolError("nothing stands behind the security block")
        end = len(body) - mac_bytes
        return cls(address & ~_REPLY, body[0], body[1:end], control, bool(address & _REPLY), block, body[end:])


def _divided(body: bytes) -> tuple[bytes, bytes]:
    """The security block, and what follows.  Raises ProtocolError."""
    size = body[0] if body else 0
    if not 2 <= size < len(body):
        raise ProtocolError("the security block does not fit")
    return body[:size], body[size:]


def _has_mac(block: bytes) -> bool:
    return len(block) > 1 and block[1] >= 0x15


def sealed(packet: bytes, with_crc: bool) -> bytes:
    """With its CRC (poly 1021h, begins with 1D0Fh) or checksum."""
    if with_crc:
        return packet + struct.pack("<H", binascii.crc_hqx(packet, 0x1D0F))
    return packet + bytes((-sum(packet) & 0xFF,))


def find_frame(data: bytes, at: int = 0) -> tuple[Frame, int, int] | None:
    """The first whole packet in data[at:], and where it begins and ends, its mark not included."""
    begin = data.find(START, at)
    while begin >= 0:
        if begin + _HEAD.size <= len(data):
            end = begin + int.from_bytes(data[begin + 2 : begin + 4], "little")
            if end <= len(data) and end - begin <= LONGEST:
                try:
                    return Frame.from_bytes(data[begin:end]), begin, end
                except ProtocolError:
                    pass
        begin = data.find(START, begin + 1)
    return None


def command(address: int, code: int, data: bytes, sequence: int, block: bytes = b"") -> Frame:
    return Frame(address, code, data, sequence | _CRC | (_SECURE if block else 0), block=block)


def reply(address: int, code: int, data: bytes, sequence: int, block: bytes = b"") -> Frame:
    return Frame(address, code, data, sequence | _CRC | (_SECURE if block else 0), True, block)
