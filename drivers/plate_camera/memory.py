"""What a camera has said already.  Pure.

A camera repeats a message until it is answered, so the same vehicle may be told many times: while the first telling is
on its way to the disk, after an answer that got lost, and after a start of the gateway.

**What is kept over a start names no car.**  A mark is a hash of the camera's number, the time, the lane and the
trigger; of the plate one byte goes into it: enough to tell two cars of one instant apart (255 of 256), too little to
find one.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from drivers.plate_camera.messages import Seen

MARK_BYTES = 9
MOST_KEPT = 32
AT_ONCE_S = 10.0
"""A message without number and time that comes again within this time is the same one."""
_VERSION = 1
_HEAD = struct.Struct(">BQ")


def mark_of(seen: Seen) -> bytes:
    said = (seen.id, seen.time_ms, seen.lane, seen.trigger)
    plate = hashlib.sha256(seen.plate.encode("utf-8", "surrogatepass")).digest()
    return hashlib.sha256(repr(said).encode("utf-8", "surrogatepass")).digest()[: MARK_BYTES - 1] + plate[:1]


def lasting(seen: Seen) -> bool:
    """Whether the mark means this one passage for ever."""
    return bool(seen.id) or seen.time_ms is not None


@dataclass(slots=True)
class Memory:
    """Of one camera, over a start."""

    count: int = 0
    """Vehicles ever seen."""
    marks: tuple[bytes, ...] = ()
    """The latest that are on disk, the newest last."""

    @classmethod
    def from_bytes(cls, kept: bytes) -> Memory:
        """What cannot be read is as if nothing had been kept."""
        if len(kept) < _HEAD.size or kept[0] != _VERSION or (len(kept) - _HEAD.size) % MARK_BYTES:
            return cls()
        marks = tuple(kept[at : at + MARK_BYTES] for at in range(_HEAD.size, len(kept), MARK_BYTES))
        return cls(_HEAD.unpack_from(kept)[1], marks[-MOST_KEPT:])

    def to_bytes(self) -> bytes:
        return _HEAD.pack(_VERSION, self.count) + b"".join(self.marks)

    def with_one_more(self, mark: bytes | None) -> Memory:
        marks = self.marks if mark is None else (*self.marks, mark)[-MOST_KEPT:]
        return Memory(self.count + 1, marks)
