"""A box that posts real bodies over a real connection, and repeats each until it is answered with 200."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drivers.http_sender import Answered, HttpSender

HOSTILE: Mapping[str, bytes] = {
    "nothing": b"",
    "noise": b"\x00\xff{]",
    "cut off": b'{"entrapment": ',
    "deep list": b"[" * 30_000,
    "deep tree": b'{"a":' * 10_000,
    "no number": b'{"code": NaN}',
    "long number": b'{"code": ' + b"9" * 5000 + b"}",
    "too long": b'{"a": "' + b"a" * 70_000 + b'"}',
}
"""What no box sends: none of them is a message."""


class HttpJsonSim(HttpSender):
    """``async with HttpJsonSim(url) as box``."""

    async def say(self, document: Any, under: str = "") -> Answered:
        """*under*: as ``push`` has it."""
        return await self.post(json.dumps(document, ensure_ascii=False).encode("utf-8"), under)

    async def post(self, body: bytes, under: str = "") -> Answered:
        return await self.push(body, "application/json", under)
