"""How a PDU stands on a wire, and where among received bytes the one answer to a request is.

    RTU     unit | PDU | CRC                                   silence ends a frame; nothing says what it answers
    ASCII   : | unit | PDU | LRC, two hex digits a byte | CR LF            the same, in printable characters
    TCP     transaction, 0, length, unit | PDU                 the transaction says what it answers

An answer counts only if it begins exactly as the request demands (``Request.answer_head``), is as long as it must be
and its checksum is right.  Whatever stands before it (noise, an adapter's echo, frames of others, answers to earlier
transactions) is passed over.

Source: Modbus over Serial Line V1.02, 2.5.1 (RTU) and 2.5.2 (ASCII); Modbus Messaging on TCP/IP Implementation Guide
V1.0b, 3.1.3.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from drivers.base import Link
from drivers.modbus.codec import REFUSED, Answer, Request, crc16, understood

EMBARGO_TIMEOUTS = 2.2
"""An RTU or ASCII answer does not say what it answers.  After a time-out the unit is left alone for this many
time-outs: with 30 % late answers 0 of 200 values were wrong at 2.2, 35 at 1.0."""
_MBAP: Final = struct.Struct(">HHHB")
_HEX_DIGITS = frozenset(b"0123456789ABCDEF")

Find: TypeAlias = Callable[[Request, bytes, bytes, bytes, int], tuple[bytes, bytes] | None]
"""Request, the beginning of unit and PDU, the frame sent, all bytes received, where to begin -> frame and PDU."""


@dataclass(frozen=True, slots=True)
class Framing:
    """One way to put PDUs on a wire."""

    frame: Callable[[Request, int], bytes]
    """Request and a number of 16 bits -> what is sent; only TCP carries the number, its transaction id."""
    find: Find
    anonymous: bool
    """Answers do not say what they answer, and an adapter may send back what it transmits."""
    gap_characters: float
    """Silence that must precede a request."""
    characters: Callable[[int], int]
    """Bytes of a PDU -> characters of its frame on the line."""

    async def exchange(
        self,
        link: Link,
        request: Request,
        number: int,
        timeout_s: float,
        *,
        line_echoes: bool = False,
        once: bool = False,
    ) -> Answer:
        """Ask and be answered; a refusal is an answer.  Raises DeviceUnreachable, ProtocolError, LineLost."""
        sent = self.frame(request, number)
        return await link.exchange(
            sent,
            partial(self.answer, request, sent, line_echoes=line_echoes),
            peer=("modbus", request.unit_id),
            timeout_s=timeout_s,
            embargo_s=EMBARGO_TIMEOUTS * timeout_s if self.anonymous else 0.0,
            gap_characters=self.gap_characters,
            once=once,
        )

    def answer(self, request: Request, sent: bytes, data: bytes, *, line_echoes: bool = False) -> Answer | None:
        """The frame in *data* that answers *request*, sent as *sent*; None while there is none.

        line_echoes: whether the adapter is known to send back what it transmits.  It matters only where the answer
        equals the request: the first copy is then the adapter's and proves nothing.
        """
        start = 0
        if self.anonymous and not request.echo_confirms and sent.startswith(data):
            return None  # an echo under way; the beginning of a long write may look like its whole confirmation
        if self.anonymous and (line_echoes or not request.echo_confirms) and (echo := data.find(sent)) >= 0:
            start = echo + len(sent)
        unit = request.unit_id.to_bytes(1, "big")
        for head in (request.answer_head, bytes((request.function | REFUSED,))):
            found = self.find(request, unit + head, sent, data, start)
            if found is not None:
                return understood(request, *found, after_echo=start > 0)
        return None

    def captured(self, request: Request, data: bytes) -> Answer | None:
        """The answer to *request* in a capture, whatever its number was."""
        numbers = (int.from_bytes(data[at : at + 2], "big") for at in range(1 if self.anonymous else len(data)))
        answers = (self.answer(request, self.frame(request, number), data) for number in numbers)
        return next((answer for answer in answers if answer is not None), None)


# ---------------------------------------------------------------------- RTU


def _rtu_frame(request: Request, _: int) -> bytes:
    body = request.unit_id.to_bytes(1, "big") + request.pdu
    return body + crc16(body)


def _find_rtu(request: Request, head: bytes, _: bytes, data: bytes, start: int) -> tuple[bytes, bytes] | None:
    at = data.find(head, start)
    while at >= 0:
        size = request.size(data[at + 1 :])
        if size is not None and at + size + 3 <= len(data):
            frame = data[at : at + size + 3]
            if crc16(frame[:-2]) == frame[-2:]:
                return frame, frame[1:-2]
        at = data.find(head, at + 1)
    return None


# ---------------------------------------------------------------------- ASCII


def _ascii_frame(request: Request, _: int) -> bytes:
    return ascii_line(request.unit_id.to_bytes(1, "big") + request.pdu)


def ascii_line(body: bytes) -> bytes:
    """Unit and PDU as they stand on an ASCII line."""
    return b":" + (body + lrc(body)).hex().upper().encode("ascii") + b"\r\n"


def lrc(data: bytes) -> bytes:
    """The two's complement of the sum, in one byte."""
    return (-sum(data) & 0xFF).to_bytes(1, "big")


def _find_ascii(request: Request, head: bytes, _: bytes, data: bytes, start: int) -> tuple[bytes, bytes] | None:
    upper = data.upper()  # the standard wants capitals; some devices send small letters
    wanted = b":" + head.hex().upper().encode("ascii")
    at = upper.find(wanted, start)
    while at >= 0:
        end = upper.find(b"\r\n", at)
        body = ascii_body(upper[at : end + 2]) if end >= 0 else None
        if body is not None and request.size(body[1:]) == len(body) - 1:
            return data[at : end + 2], body[1:]
        at = upper.find(wanted, at + 1)
    return None


def ascii_body(line: bytes) -> bytes | None:
    """Unit and PDU of a line from its colon to its CR LF, in capitals; None when it or its LRC is wrong."""
    digits = line[1:-2]
    if len(digits) % 2 or len(digits) < 6 or not _HEX_DIGITS.issuperset(digits):
        return None
    body = bytes.fromhex(digits.decode("ascii"))
    return body[:-1] if lrc(body[:-1]) == body[-1:] else None


# ---------------------------------------------------------------------- TCP


def _tcp_frame(request: Request, transaction_id: int) -> bytes:
    return _MBAP.pack(transaction_id, 0, len(request.pdu) + 1, request.unit_id) + request.pdu


def _find_tcp(request: Request, head: bytes, sent: bytes, data: bytes, start: int) -> tuple[bytes, bytes] | None:
    begin = sent[:4]  # transaction and protocol
    at = data.find(begin, start)
    while at >= 0:
        end = at + 6 + int.from_bytes(data[at + 4 : at + 6], "big")
        body = data[at + 6 : end]
        if end <= len(data) and body.startswith(head) and request.size(body[1:]) == len(body) - 1:
            return data[at:end], body[1:]
        at = data.find(begin, at + 1)
    return None


RTU: Final = Framing(_rtu_frame, _find_rtu, True, 3.5, lambda pdu: pdu + 3)
ASCII: Final = Framing(_ascii_frame, _find_ascii, True, 0.0, lambda pdu: 2 * pdu + 7)
TCP: Final = Framing(_tcp_frame, _find_tcp, False, 0.0, lambda pdu: pdu + 7)
