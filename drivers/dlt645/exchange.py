"""One question and its answer on the line, and how the editions of the standard put a question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drivers.base import Link
from drivers.dlt645 import frame
from drivers.dlt645.frame import Frame, find_frame

PREAMBLE = 4


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a meter is asked for data."""

    read: int
    following: int
    width: int
    """Bytes of an identifier."""
    numbered: bool
    """Whether a continuation says which one it is.  Where it does not, each must be asked for once: a meter that is
    asked twice has gone on, and a late one could be taken for the next."""

    def first(self, address: str, di: str) -> Frame:
        return Frame(address, self.read, bytes.fromhex(di)[::-1])

    def next(self, address: str, di: str, sequence: int) -> Frame:
        """*sequence* counts from 1."""
        return Frame(address, self.following, bytes.fromhex(di)[::-1] + self.tail(sequence))

    def tail(self, sequence: int) -> bytes:
        """What stands behind the data of continuation *sequence*, in the request and in the answer."""
        return bytes((sequence,)) if self.numbered else b""


DIALECTS: Mapping[str, Dialect] = {
    "2007": Dialect(frame.READ, frame.READ_FOLLOWING, width=4, numbered=True),
    "1997": Dialect(frame.READ_1997, frame.READ_FOLLOWING_1997, width=2, numbered=False),
    "mixed": Dialect(frame.READ, frame.READ_FOLLOWING, width=2, numbered=True),
}
"""``mixed``: 2-byte identifiers with the control codes of 2007, as some meters between the two editions have them."""


async def exchange(
    link: Link,
    request: Frame,
    timeout_s: float,
    preamble: int = PREAMBLE,
    *,
    repeated: int = 4,
    once: bool = False,
    embargo_s: float = 0.0,
) -> Frame:
    """Send *request*, return the frame that answers it: a refusal too.

    repeated: data bytes of the request with which a good answer begins.
    once, embargo_s: as ``Link.exchange`` has them.
    Raises DeviceUnreachable, ProtocolError, LineLost.
    """

    def parse(received: bytes) -> Frame | None:
        found = find_frame(received)
        while found is not None and not frame.answers(found[0], request, repeated):
            found = find_frame(received, found[2])
        return found[0] if found else None

    return await link.exchange(
        request.to_bytes(preamble),
        parse,
        peer=("dlt645", request.address),
        timeout_s=timeout_s,
        embargo_s=embargo_s,
        once=once,
    )
