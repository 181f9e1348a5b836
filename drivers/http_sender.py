"""For simulators: a device that pushes over a real connection, and repeats each message until it hears 200."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp


@dataclass(frozen=True, slots=True)
class Answered:
    """How a push ended."""

    status: int
    """0: the connection ended without an answer."""
    body: bytes
    tries: int


@dataclass
class HttpSender:
    """``async with`` it; *url* is where it pushes to, path included."""

    url: str
    _: KW_ONLY
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

    async def push(self, body: bytes, content_type: str, under: str = "") -> Answered:
        """Until 200, or as often as the device does it.  *under*: what follows the url, ``/status``."""
        answered = Answered(0, b"", 0)
        while answered.status != 200 and answered.tries < self.tries:
            if answered.tries:
                await asyncio.sleep(self.retry_s)
            answered = await self.push_once(body, content_type, under, number=answered.tries + 1)
        return answered

    async def push_once(self, body: bytes, content_type: str, under: str = "", *, number: int = 1) -> Answered:
        assert self._session is not None
        headers = {"Content-Type": content_type, **self.headers}
        if self.credentials is not None:
            headers["Authorization"] = aiohttp.encode_basic_auth(*self.credentials)
        try:
            async with self._session.post(self.url + under, data=body, headers=headers, ssl=self.ssl) as response:
                return Answered(response.status, await response.read(), number)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Answered(0, b"", number)
