"""Where messages are fetched from: a directory, a URL, or a topic of a broker."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from drivers.cap.config import CapHubOptions
from drivers.cap.message import MOST_BYTES
from drivers.cap.warnings import LONGEST_LIFE_MS
from drivers.hub import parse_host_port
from drivers.mqtt_client.packet import Message
from drivers.mqtt_client.session import Dial, Session, Ticket, Tls
from gateway.errors import LineLost

if TYPE_CHECKING:
    import aiohttp

_SUFFIXES = (".xml", ".cap")
_MOST_ENTRIES = 20_000
_MOST_FILES = 1000
_AT_ONCE = 20
"""Files read before other tasks have their turn."""
_MOST_HELD = 100
"""Messages of a broker between two looks; then it waits."""


class SourceFailed(Exception):
    """Nothing could be fetched this time; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Document:
    name: str
    data: bytes
    whole: bool = False
    """All that the source has to say, not one file of many."""


class Source(Protocol):
    async def __aenter__(self) -> Self:
        """Raises LineLost."""

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    async def fetch(self, now_ms: int) -> Sequence[Document]:
        """What is new since the last time.  Raises SourceFailed."""

    def again(self) -> None:
        """What was fetched last was of no use: it is to be fetched whole the next time."""


def source_of(options: CapHubOptions, line: str) -> Source:
    if options.broker is not None:
        return BrokerSource(options, line)
    return DirectorySource(options) if options.directory is not None else UrlSource(options)


class DirectorySource:
    """Files are left where they are; what has been read is known by name, time and size."""

    def __init__(self, options: CapHubOptions) -> None:
        self._path = Path(options.directory or "")
        self._stale_ms = None if options.stale_after_s is None else options.stale_after_s * 1000
        self._read: dict[str, tuple[int, int]] = {}

    async def __aenter__(self) -> Self:
        self._read = {}
        if not self._path.is_dir():
            raise LineLost(
                f"no directory {self._path}",
                hint="create it, readable for the gateway's user / 请建立该目录，并允许网关用户读取",
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        return

    async def fetch(self, now_ms: int) -> Sequence[Document]:
        try:
            found = self._scan()
        except OSError as exc:
            raise SourceFailed(f"{self._path}: {exc}") from exc
        self._check_fresh(found, now_ms)
        files = {name: mark for name, mark in found.items() if name.lower().endswith(_SUFFIXES)}
        new = [name for name, mark in files.items() if self._read.get(name) != mark]
        new = [name for name in new if files[name][0] >= (now_ms - LONGEST_LIFE_MS) * 1_000_000 or self._read]
        new.sort(key=lambda name: files[name][0])
        documents: list[Document] = []
        for number, name in enumerate(new[-_MOST_FILES:], 1):
            documents += self._document(name, files[name][1])
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        self._read = files
        return documents

    def again(self) -> None:
        """A file that is wrong is read again when it has changed."""

    def _scan(self) -> dict[str, tuple[int, int]]:
        """Regular files -> when they were written, in nanoseconds, and their size.  Raises OSError, SourceFailed."""
        found: dict[str, tuple[int, int]] = {}
        with os.scandir(self._path) as entries:
            for entry in entries:
                if len(found) >= _MOST_ENTRIES:
                    raise SourceFailed(f"{self._path}: more than {_MOST_ENTRIES} files / 文件过多，请清理")
                if entry.name.startswith("."):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    found[entry.name] = status.st_mtime_ns, status.st_size
        return found

    def _check_fresh(self, found: dict[str, tuple[int, int]], now_ms: int) -> None:
        if self._stale_ms is None:
            return
        latest_ms = max((written for written, _ in found.values()), default=0) / 1e6
        if now_ms - latest_ms > self._stale_ms:
            raise SourceFailed(f"{self._path}: nothing written for {(now_ms - latest_ms) / 1000:.0f} s / 长时间无更新")

    def _document(self, name: str, size: int) -> list[Document]:
        if size > MOST_BYTES:
            return [Document(name, b"")]  # which is no message, and is listed as such
        try:
            with open(self._path / name, "rb") as file:
                return [Document(name, file.read(MOST_BYTES + 1))]
        except OSError:
            return []


class UrlSource:
    """GET with ETag and If-Modified-Since.  Certificates are verified, redirects refused, bodies limited."""

    def __init__(self, options: CapHubOptions) -> None:
        self._url = options.url or ""
        self._token_file = options.token_file
        self._timeout_s = options.timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._validators: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        import aiohttp  # only for sites that have a URL

        self._validators = {}
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_s), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def fetch(self, now_ms: int) -> Sequence[Document]:
        import aiohttp

        assert self._session is not None
        headers = {"Accept": "application/cap+xml, application/xml, text/xml", **self._validators, **self._token()}
        try:
            async with self._session.get(self._url, headers=headers, allow_redirects=False) as response:
                if response.status == 304:
                    return []
                if response.status != 200:
                    raise SourceFailed(f"HTTP {response.status}")
                data = await _body(response)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            raise SourceFailed(f"{type(exc).__name__}: {exc}"[:200]) from exc
        known = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
        self._validators = {ask: response.headers[said] for ask, said in known.items() if said in response.headers}
        return [Document(self._url.partition("?")[0], data, whole=True)]

    def again(self) -> None:
        self._validators = {}

    def _token(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            token = self._token_file.read_text("ascii").strip().partition("\n")[0].strip()
        except (OSError, ValueError) as exc:
            raise SourceFailed(f"token_file: {exc}") from exc
        return {"Authorization": f"Bearer {token}"}


class BrokerSource:
    """A subscription.  The session is kept by the broker: what is published (QoS 1) while we are away comes later.

    A message is acknowledged at the look after the one that gave it away, when what it said is on disk.
    """

    def __init__(self, options: CapHubOptions, line: str) -> None:
        assert options.broker is not None
        tls = options.tls
        self._topic = options.topic or ""
        self._dial = Dial(
            *parse_host_port(options.broker),
            options.client_id or f"compound-gateway-{line}",
            options.username,
            options.password_file,
            None if tls is None else Tls(tls.ca, tls.certificate, tls.key),
            most_bytes=lambda topic: MOST_BYTES,
        )
        self._held: deque[tuple[Document, Ticket]] = deque()
        self._given: list[Ticket] = []
        self._room = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """The first look says it where the broker cannot be reached: it is no reason to close what is in force."""
        self._held.clear()
        self._given.clear()
        self._room.set()
        try:
            await self._connect()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def fetch(self, now_ms: int) -> Sequence[Document]:
        for ticket in self._given:
            ticket.done()
        self._given.clear()
        if self._listening is None:
            await self._connect()
        assert self._listening is not None
        if self._listening.done():
            ended, self._listening = self._listening, None
            self._held.clear()  # not acknowledged: they come again
            self._room.set()
            raise SourceFailed(str(ended.exception() or "the connection ended")[:200])
        documents = [document for document, _ in self._held]
        self._given = [ticket for _, ticket in self._held]
        self._held.clear()
        self._room.set()
        return documents

    def again(self) -> None:
        """A message that is wrong stays wrong."""

    async def _connect(self) -> None:
        """Returns when it is subscribed, or has failed."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._listen(ready))
        await asyncio.wait([ready, self._listening], return_when=asyncio.FIRST_COMPLETED)

    async def _listen(self, ready: asyncio.Future[None]) -> None:
        """Until the connection ends, which raises LineLost."""
        async with Session(self._dial) as session:
            running = asyncio.ensure_future(session.run(self._heard))
            try:
                await session.subscribe([self._topic])
                if not ready.done():
                    ready.set_result(None)
                await running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    async def _heard(self, message: Message, ticket: Ticket) -> None:
        while len(self._held) >= _MOST_HELD:
            self._room.clear()
            await self._room.wait()
        self._held.append((Document(message.topic, message.payload), ticket))


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Raises SourceFailed for a body that is too long."""
    data = bytearray()
    async for piece in response.content.iter_chunked(65536):
        data += piece
        if len(data) > MOST_BYTES:
            raise SourceFailed(f"more than {MOST_BYTES} bytes")
    return bytes(data)
