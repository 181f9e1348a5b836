"""What a box has said already, also over a start.  Pure.

A box repeats a message until it hears 200: while the first is on its way to the disk, after an answer that got lost,
and after a start of the gateway.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MARK_BYTES = 8
MOST_KEPT = 32


@dataclass(frozen=True, slots=True)
class Mark:
    """One message.  *lasting*: it has a number or a time of its own, so that the same again is never a new one."""

    digest: str
    heard_ms: int
    lasting: bool


def digest_of(*parts: bytes) -> str:
    whole = hashlib.blake2b(digest_size=MARK_BYTES)
    for part in parts:
        whole.update(len(part).to_bytes(4, "big") + part)
    return whole.hexdigest()


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one box, over a start."""

    marks: tuple[Mark, ...] = ()
    """The latest that are on disk, the newest last."""
    pulses: Mapping[str, int] = field(default_factory=dict)
    """Point -> when it is false again, UTC milliseconds."""

    @classmethod
    def from_bytes(cls, kept: bytes) -> Memory:
        """What cannot be read is as if nothing had been kept: at worst something is said twice."""
        try:
            document = json.loads(kept)
            marks = tuple(Mark(str(digest), int(ms), bool(lasting)) for digest, ms, lasting in document["marks"])
            pulses = {str(point): int(until_ms) for point, until_ms in document["pulses"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return cls()
        return cls(marks[-MOST_KEPT:], pulses)

    def to_bytes(self) -> bytes:
        marks = [(mark.digest, mark.heard_ms, int(mark.lasting)) for mark in self.marks]
        return json.dumps({"marks": marks, "pulses": dict(self.pulses)}, separators=(",", ":")).encode("ascii")

    def with_mark(self, mark: Mark) -> Memory:
        return replace(self, marks=(*self.marks, mark)[-MOST_KEPT:])
