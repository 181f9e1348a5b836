"""An HTTP listener for hubs that a hostile peer cannot fill: devices that push, webhooks, WebSockets.

    accepted ─▶ counted ─▶ TLS ─▶ head ─▶ admit(head) ─▶ body ─▶ handle(request) ─▶ answer ─┐
                  │ too many: closed       │ refused      │ too long, too slow: 413, 408     │
                  ▼                        ▼              ▼                                   ▼
                                 every wait has a deadline          the next head, idle_s at most

aiohttp parses; what it lacks is here: a deadline for heads, limits on connections (counted before TLS costs anything),
a budget for all bodies together, no echo of what a peer sent in errors or logs.  Needs the ``field`` extra; only the
modules of hubs import this one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from drivers.hub import HostPort, cannot_listen, is_too_many, peer_of
from gateway.errors import LineLost


@dataclass(frozen=True, slots=True)
class Limits:
    connections: int = 64
    connections_of_one: int = 8
    """From one address."""
    head_s: float = 10.0
    """From the connection, TLS included, to the end of the first request's head."""
    idle_s: float = 75.0
    """From an answer to the end of the next request's head on the same connection."""
    body_s: float = 20.0
    body_bytes: int = 4 * 2**20
    """On the wire; what is kept of it is up to ``Body``."""
    kept_bytes: int = 32 * 2**20
    """Of all bodies together that are being received or handled."""
    requests: int = 1000
    """On one connection; then it is closed, and the peer opens another."""
    line_bytes: int = 4096
    headers: int = 48


@dataclass(frozen=True, slots=True)
class Head:
    method: str
    path: str
    """Without the query, not decoded."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    peer: str
    """The address without its port."""


@dataclass(frozen=True, slots=True)
class Request:
    head: Head
    body: bytes
    """What ``Body`` has kept."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    content_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)


class Body(Protocol):
    """Collects a body as it comes."""

    def feed(self, data: bytes) -> bool:
        """False when more must be kept of it than is allowed."""

    @property
    def kept_bytes(self) -> int: ...

    def kept(self) -> bytes:
        """After the last piece."""


class Whole:
    """Keeps everything."""

    def __init__(self, most_bytes: int | None = None) -> None:
        self._most_bytes = most_bytes
        self._data = bytearray()

    @property
    def kept_bytes(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> bool:
        if self._most_bytes is not None and len(self._data) + len(data) > self._most_bytes:
            return False
        self._data += data
        return True

    def kept(self) -> bytes:
        return bytes(self._data)


Admit: TypeAlias = Callable[[Head], Body | Answer]
"""Looks at a request before its body is read: where to collect it, or why it is refused."""
Handle: TypeAlias = Callable[[Request], Awaitable[Answer]]
"""Is cancelled when the peer goes away.  What it raises is a bug: the loop's exception handler is told, and the peer
gets 500."""
Upgrade: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Takes over a connection that asks for another protocol (WebSocket), limits of time and size included.  Where there is
one, no handler is cancelled when its peer goes away: what it has heard already is for it to finish."""


def collect(head: Head) -> Body | Answer:
    """The ``Admit`` that refuses nobody."""
    return Whole()


@dataclass(frozen=True, slots=True)
class Tls:
    certificate: Path
    """PEM, with the chain."""
    key: Path

    @classmethod
    def of(cls, certificate: Path | None, key: Path | None) -> Tls | None:
        """As options have them: both or none."""
        return None if certificate is None or key is None else cls(certificate, key)

    def context(self) -> ssl.SSLContext:
        """Raises OSError (SSLError is one)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        return context


def same_secret(said: str, wanted: str) -> bool:
    """Takes as long for a wrong secret as for the right one of the same length."""
    return hmac.compare_digest(said.encode("utf-8", "surrogateescape"), wanted.encode("utf-8", "surrogateescape"))


def basic_credentials(head: Head) -> tuple[str, str] | None:
    """User and password of an ``Authorization: Basic`` header (RFC 7617); None where there is none that can be read."""
    scheme, _, said = head.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(said.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


def has_said_login(head: Head, user: str | None, password: str | None) -> bool:
    """Whether *head* names both; True where no password is wanted.  Looks at both in any case."""
    if password is None:
        return True
    said = basic_credentials(head)
    if said is None:
        return False
    right_user, right_password = same_secret(said[0], user or ""), same_secret(said[1], password)
    return right_user and right_password


def comes_from(head: Head, peer: str | None) -> bool:
    """*peer*: an IP address; None where any will do."""
    return peer in (None, head.peer.removeprefix("::ffff:"))


class HttpServer:
    """``async with HttpServer(address, handle)``: listens until it is left, and then no peer is left either."""

    def __init__(
        self,
        address: HostPort,
        handle: Handle,
        *,
        admit: Admit = collect,
        limits: Limits = Limits(),
        tls: Tls | None = None,
        upgrade: Upgrade | None = None,
    ) -> None:
        self._address = address
        self._handle = handle
        self._admit = admit
        self._limits = limits
        self._tls = tls
        self._upgrade = upgrade
        self._context: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._http: web.Server | None = None
        self._open: dict[_Connection, str] = {}
        self._transports: dict[_Connection, asyncio.Transport] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._kept_bytes = 0
        self.turned_away = 0
        """Connections that were one too many."""

    @property
    def port(self) -> int:
        """Where it listens, when port 0 was asked for.  Only while open."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        return len(self._open)

    async def __aenter__(self) -> Self:
        host, port = self._address
        try:
            self._context = None if self._tls is None else self._tls.context()
        except OSError as exc:
            raise LineLost(
                f"cannot use certificate or key: {exc}",
                hint="are both PEM files, readable, and of one pair? / 证书与私钥是否为可读的 PEM，且成对？",
            ) from exc
        self._http = web.Server(self._serve, handler_cancellation=self._upgrade is None)
        try:
            self._server = await asyncio.get_running_loop().create_server(lambda: _Gate(self), host, port)
        except OSError as exc:
            raise cannot_listen(f"{host}:{port}", exc) from exc
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for transport in list(self._transports.values()):
            transport.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports tell their end in the loop's next turn

    # ------------------------------------------------------------------ connections

    def knock(self, transport: asyncio.Transport) -> None:
        """A connection has come, of which nothing has been read yet."""
        peer, limits = peer_of(transport), self._limits
        full = is_too_many(peer, self._open.values(), limits.connections, limits.connections_of_one)
        if self._server is None or full:
            self.turned_away += 1
            transport.abort()
            return
        assert self._http is not None
        connection = _Connection(self, self._http, limits)
        self._open[connection], self._transports[connection] = peer, transport
        if self._context is None:
            transport.set_protocol(connection)
            connection.connection_made(transport)
            return
        transport.pause_reading()
        task = asyncio.get_running_loop().create_task(self._secure(transport, connection, self._context))
        self.keep(task)

    def keep(self, task: asyncio.Task[None]) -> None:
        """*task* is cancelled when the server is closed, unless it has ended."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def gone(self, connection: _Connection) -> None:
        self._open.pop(connection, None)
        self._transports.pop(connection, None)

    async def _secure(self, transport: asyncio.Transport, connection: _Connection, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        secured: asyncio.Transport | None = None
        try:
            secured = await loop.start_tls(
                transport, connection, context, server_side=True, ssl_handshake_timeout=self._limits.head_s
            )
        except OSError:
            pass  # no TLS, another version, gone: nothing for anybody to do here
        finally:
            if secured is None:
                transport.abort()
                self.gone(connection)
        if secured is not None:
            self._transports[connection] = secured
            connection.connection_made(secured)

    # ------------------------------------------------------------------ requests

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)
        connection.busy()
        try:
            if self._upgrade is not None and "upgrade" in request.headers.get("connection", "").lower():
                return await self._upgrade(request)
            answer = await self._answer(request, connection.peer)
        finally:
            connection.rest()
        response = web.Response(
            status=answer.status,
            body=answer.body,
            headers={"Server": "gateway", "Content-Type": answer.content_type, **answer.headers},
        )
        if answer.status in (400, 408, 411, 413, 415) or connection.used_up():
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest, peer: str) -> Answer:
        head = Head(
            request.method,
            request.rel_url.raw_path,
            request.rel_url.raw_query_string,
            {name.lower(): value for name, value in request.headers.items()},
            peer,
        )
        body = self._admit(head)
        if isinstance(body, Answer):
            return body
        if head.headers.get("content-encoding", "identity").lower() != "identity":
            return Answer(415)  # packed bodies are how little becomes much
        try:
            refused = await self._receive(request, body)
            return refused or await self._handle(Request(head, body.kept()))
        finally:
            self._kept_bytes -= body.kept_bytes

    async def _receive(self, request: web.BaseRequest, body: Body) -> Answer | None:
        limits, received_bytes = self._limits, 0
        if (request.content_length or 0) > limits.body_bytes:
            return Answer(413)
        if request.headers.get("expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # the answer itself has not begun
        try:
            async with asyncio.timeout(limits.body_s):
                while data := await request.content.readany():
                    received_bytes += len(data)
                    if received_bytes > limits.body_bytes or not self._take(body, data):
                        return Answer(413)
                    if self._kept_bytes > limits.kept_bytes:
                        return Answer(503)
        except TimeoutError:
            return Answer(408)
        except web.RequestPayloadError:
            return Answer(400)
        return None

    def _take(self, body: Body, data: bytes) -> bool:
        """False when it is too long."""
        before_bytes = body.kept_bytes
        fits = body.feed(data)
        self._kept_bytes += body.kept_bytes - before_bytes
        return fits


class _Gate(asyncio.Protocol):
    """Stands before a connection until it has been counted."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._server.knock(transport)


class _Silent(AbstractAccessLogger):
    """Paths hold tokens, and bodies plates: nothing of a request is logged."""

    @property
    def enabled(self) -> bool:
        return False

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        return


class _Connection(web.RequestHandler):
    """aiohttp's connection, which must have said what it wants before a deadline."""

    def __init__(self, server: HttpServer, http: web.Server, limits: Limits) -> None:
        super().__init__(
            http,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.idle_s,
            access_log_class=_Silent,
            max_line_size=limits.line_bytes,
            max_field_size=limits.line_bytes,
            max_headers=limits.headers,
            lingering_time=2.0,
            auto_decompress=False,
        )
        self._server = server
        self._limits = limits
        self._left = limits.requests
        self._deadline: asyncio.TimerHandle | None = None
        self._made = False
        self.peer = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made = True
        self.peer = peer_of(transport)
        self._wait(self._limits.head_s)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.busy()
        self._server.gone(self)
        if self._made:
            super().connection_lost(exc)

    async def start(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._server.keep(task)
        await super().start()

    def busy(self) -> None:
        """A request is being served: it has its own deadlines."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def rest(self) -> None:
        """A request has been served; the next one may come."""
        self.busy()
        if self.transport is not None:
            self._wait(self._limits.idle_s)

    def used_up(self) -> bool:
        self._left -= 1
        return self._left <= 0

    def _wait(self, seconds: float) -> None:
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp's own logs what the peer sent, and sends it back."""
        if status >= 500 and exc is not None:
            context = {"message": "a handler of HTTP requests has failed", "exception": exc}
            asyncio.get_running_loop().call_exception_handler(context)
        response = web.Response(status=status, headers={"Server": "gateway"})
        response.force_close()
        return response
