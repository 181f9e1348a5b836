"""The packets of MQTT 3.1.1 that a client of one broker needs.  Pure.

    30 0E  00 05 'a' '/' 'b' '/' 'c'  00 07  '{' '}' ...     PUBLISH, QoS 1 would make the first byte 32
    │  │   │                          └ packet id, QoS 1 and 2 only
    │  │   └ topic, behind its length
    │  └ remaining length, 7 bits a byte, low first, at most four
    └ type (high four bits), flags: 8 DUP, 6 QoS, 1 RETAIN

Source: MQTT Version 3.1.1, OASIS Standard; clauses in brackets.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

MOST_LENGTH = 268_435_455
MOST_LENGTH_BYTES = 4


class Kind(enum.IntEnum):
    """The high four bits of the first byte [2.2.1]."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Malformed(ValueError):
    """Bytes that are no packet."""


@dataclass(frozen=True, slots=True)
class Message:
    """A PUBLISH.  *packet_id* is None exactly when *qos* is 0."""

    topic: str
    payload: bytes
    qos: int = 0
    retained: bool = False
    again: bool = False
    """DUP: the sender has sent it before."""
    packet_id: int | None = None


PINGREQ = bytes((Kind.PINGREQ << 4, 0))
DISCONNECT = bytes((Kind.DISCONNECT << 4, 0))


def connect(
    client_id: str, *, keepalive_s: int, clean: bool, username: str | None = None, password: str | None = None
) -> bytes:
    """Protocol level 4; without a will."""
    flags = clean << 1 | (username is not None) << 7 | (password is not None) << 6
    body = _text("MQTT") + bytes((4, flags)) + keepalive_s.to_bytes(2, "big") + _text(client_id)
    if username is not None:
        body += _text(username)
    if password is not None:
        body += _text(password)
    return _packet(Kind.CONNECT << 4, body)


def subscribe(packet_id: int, filters: Sequence[str], qos: int = 1) -> bytes:
    body = packet_id.to_bytes(2, "big") + b"".join(_text(each) + bytes((qos,)) for each in filters)
    return _packet(Kind.SUBSCRIBE << 4 | 2, body)


def publish(message: Message) -> bytes:
    flags = message.again << 3 | message.qos << 1 | message.retained
    number = b"" if message.packet_id is None else message.packet_id.to_bytes(2, "big")
    return _packet(Kind.PUBLISH << 4 | flags, _text(message.topic) + number + message.payload)


def puback(packet_id: int) -> bytes:
    return bytes((Kind.PUBACK << 4, 2)) + packet_id.to_bytes(2, "big")


def remaining_length(data: bytes) -> int | None:
    """What the bytes behind the first one say; None while they are too few.  Raises Malformed [2.2.3]."""
    value = 0
    for at, byte in enumerate(data[:MOST_LENGTH_BYTES]):
        value |= (byte & 0x7F) << 7 * at
        if not byte & 0x80:
            return value
    if len(data) >= MOST_LENGTH_BYTES:
        raise Malformed("the remaining length has more than four bytes")
    return None


def topic_of(raw: bytes) -> str:
    """Raises Malformed for what no topic may hold [3.3.2.1, 1.5.3]."""
    try:
        topic = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise Malformed("the topic is not UTF-8") from exc
    if not topic or any(character in topic for character in "\0+#"):
        raise Malformed(f"{topic!r} is no topic to publish to")
    return topic


def parse_publish(first: int, body: bytes) -> Message:
    """*first*: the packet's first byte; *body*: everything behind the remaining length.  Raises Malformed."""
    qos = first >> 1 & 3
    if qos == 3:
        raise Malformed("QoS 3")
    topic_end = 2 + int.from_bytes(body[:2], "big")
    begin = topic_end + (2 if qos else 0)
    if len(body) < begin:
        raise Malformed("a PUBLISH that ends inside its header")
    topic = topic_of(body[2:topic_end])
    number = int.from_bytes(body[topic_end:begin], "big") if qos else None
    if number == 0:
        raise Malformed("packet id 0")
    return Message(topic, body[begin:], qos, bool(first & 1), bool(first & 8), number)


def parse_connack(body: bytes) -> tuple[bool, int]:
    """(whether the broker has kept a session of ours, return code).  Raises Malformed."""
    if len(body) != 2:
        raise Malformed(f"a CONNACK of {len(body)} bytes")
    return bool(body[0] & 1), body[1]


def parse_acknowledgement(body: bytes) -> tuple[int, bytes]:
    """Of PUBACK and SUBACK: (packet id, return codes).  Raises Malformed."""
    if len(body) < 2:
        raise Malformed("an acknowledgement without a packet id")
    return int.from_bytes(body[:2], "big"), body[2:]


def _text(value: str) -> bytes:
    raw = value.encode("utf-8")
    return len(raw).to_bytes(2, "big") + raw


def _packet(first: int, body: bytes) -> bytes:
    length, rest = bytearray(), len(body)
    while True:
        rest, byte = rest >> 7, rest & 0x7F
        length.append(byte | 0x80 if rest else byte)
        if not rest:
            return bytes((first,)) + bytes(length) + body
