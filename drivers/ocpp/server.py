"""A WebSocket server that hostile peers cannot fill: aiohttp's, behind a gate that counts and has a clock."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from aiohttp import web

from drivers.hub import HostPort
from gateway.errors import LineLost

HANDSHAKE_S: Final = 10.0
"""From the connection to the WebSocket; with TLS a slow charger needs some seconds."""
MOST, MOST_OF_ONE = 128, 16
LARGEST_HEADER_BYTES: Final = 4096
CLOSE_S: Final = 2.0

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class WebSocketServer:
    def __init__(self, address: HostPort, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._address = address
        self._handler = handler
        self._tls = tls
        self._http: web.Server | None = None
        self._listening: asyncio.Server | None = None
        self._waiting: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}
        """Connections that are no WebSocket yet."""
        self._open: dict[asyncio.BaseTransport, str] = {}
        self.turned_away = 0

    @property
    def port(self) -> int:
        """Where it listens, when port 0 was asked for.  Only while open."""
        assert self._listening is not None
        return int(self._listening.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        host, port = self._address
        self._http = web.Server(
            self._handler,
            access_log=None,
            max_line_size=LARGEST_HEADER_BYTES,
            max_field_size=LARGEST_HEADER_BYTES,
            keepalive_timeout=HANDSHAKE_S,
            lingering_time=0.0,
        )
        loop = asyncio.get_running_loop()
        try:
            limit_s = None if self._tls is None else HANDSHAKE_S
            self._listening = await loop.create_server(
                self._gate, host, port, ssl=self._tls, ssl_handshake_timeout=limit_s
            )
        except OSError as exc:
            raise LineLost(
                f"cannot listen on {host}:{port}: {exc}",
                hint="is the port in use, or the address not of this box? / 端口是否已被占用，或地址不是本机的？",
            ) from exc
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        for transport in self._open:
            _abort(transport)
        self._open.clear()
        await asyncio.sleep(0)  # their ends are told in the loop's next turn
        if self._http is not None:
            await self._http.shutdown(CLOSE_S)

    def is_websocket(self, request: web.BaseRequest) -> None:
        """The handshake is over: this connection may stay."""
        transport = request.transport
        timer = self._waiting.pop(transport, None) if transport is not None else None
        if timer is not None:
            timer.cancel()

    def _gate(self) -> asyncio.Protocol:
        return _Gate(self)

    def admit(self, transport: asyncio.BaseTransport) -> asyncio.Protocol | None:
        """Who serves this connection; None when it is one too many."""
        self._open = {each: peer for each, peer in self._open.items() if not each.is_closing()}
        peer = str((transport.get_extra_info("peername") or ("",))[0])
        if self._http is None or len(self._open) >= MOST or Counter(self._open.values())[peer] >= MOST_OF_ONE:
            self.turned_away += 1
            return None
        self._open[transport] = peer
        self._waiting = {each: timer for each, timer in self._waiting.items() if not each.is_closing()}
        self._waiting[transport] = asyncio.get_running_loop().call_later(HANDSHAKE_S, self._late, transport)
        return self._http()

    def _late(self, transport: asyncio.BaseTransport) -> None:
        if self._waiting.pop(transport, None) is not None:
            _abort(transport)


class _Gate(asyncio.Protocol):
    """Lets aiohttp have the connection, or ends it before a byte is read."""

    def __init__(self, server: WebSocketServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        serving = self._server.admit(transport)
        if serving is None:
            _abort(transport)
            return
        setter: Any = transport
        setter.set_protocol(serving)
        serving.connection_made(transport)


def _abort(transport: asyncio.BaseTransport) -> None:
    """Every stream transport can."""
    aborting: Any = transport
    aborting.abort()
