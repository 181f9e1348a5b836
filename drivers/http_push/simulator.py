"""A box that posts real bodies over a real connection, and repeats each until it is answered with 200."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp

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


@dataclass(slots=True)
class Answered:
    """How a post ended."""

    status: int
    body: bytes
    tries: int


@dataclass
class HttpJsonSim:
    """``async with HttpJsonSim(url) as box``: *url* is where it posts, path included."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    credentials: tuple[str, str] | None = None
    """User and password."""
    ssl: Any = True
    tries: int = 5
    retry_s: float = 1.0
    _session: aiohttp.ClientSession | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)

    async def say(self, document: Any, under: str = "") -> Answered:
        """*under*: what follows the url, ``/status``.  Until 200, or as often as a box does it."""
        return await self.post(json.dumps(document, ensure_ascii=False).encode("utf-8"), under)

    async def post(self, body: bytes, under: str = "") -> Answered:
        answered = Answered(0, b"", 0)
        while answered.status != 200 and answered.tries < self.tries:
            if answered.tries:
                await asyncio.sleep(self.retry_s)
            answered = await self._once(body, under, answered.tries + 1)
        return answered

    async def _once(self, body: bytes, under: str, tries: int) -> Answered:
        assert self._session is not None
        auth = None if self.credentials is None else aiohttp.encode_basic_auth(*self.credentials)
        headers = {"Content-Type": "application/json", **self.headers}
        if auth is not None:
            headers["Authorization"] = auth
        try:
            async with self._session.post(self.url + under, data=body, headers=headers, ssl=self.ssl) as response:
                return Answered(response.status, await response.read(), tries)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Answered(0, b"", tries)
