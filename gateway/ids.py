"""UUIDv7 (RFC 9562, 5.7): ids that sort by time and need no coordination."""

from __future__ import annotations

import secrets
import uuid


def uuid7(now_ms: int) -> str:
    """*now_ms*: UTC milliseconds, 0 .. 2**48-1."""
    random_bits = secrets.randbits(74)
    number = (
        (now_ms & (2**48 - 1)) << 80 | 0x7 << 76 | (random_bits >> 62) << 64 | 0b10 << 62 | random_bits & (2**62 - 1)
    )
    return str(uuid.UUID(int=number))
