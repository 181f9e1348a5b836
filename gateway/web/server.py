"""The page's HTTP side: a handful of fixed answers, read-only, and nothing that a client can hold on to.

browser ──▶ _Gate (how many, how long) ──▶ Site.answer (method, host, path) ──▶ asset | Daemon ──▶ headers
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.web.daemon import Daemon, NoSuchDevice

MOST_CONNECTIONS = 32
"""A browser holds up to six.  When one more comes, the oldest goes: an honest one has long been served."""
LONGEST_S = 10.0
"""A connection serves one request and lives no longer, whatever its other end does or leaves undone."""
STOP_S = 1.0
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "gateway",  # no versions
}
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_HTML_LANG = {"zh": "zh-CN", "en": "en"}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?", re.IGNORECASE)


class Gate(web.Server):
    """Counts connections and ends each in time; slow clients cost a place for LONGEST_S and nobody else anything."""

    def __init__(self, site: Site, *, most: int = MOST_CONNECTIONS, longest_s: float = LONGEST_S) -> None:
        super().__init__(
            site.answer,
            access_log=None,
            max_line_size=2048,
            max_headers=64,
            lingering_time=0,
            keepalive_timeout=longest_s,
        )
        self._most = most
        self._longest_s = longest_s
        self._open: dict[web.RequestHandler, tuple[asyncio.Transport, asyncio.TimerHandle]] = {}
        """In the order in which they came."""

    def __call__(self) -> web.RequestHandler:
        return _Conversation(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._open) >= self._most:
            oldest, _ = next(iter(self._open.values()))
            oldest.abort()
        deadline = asyncio.get_running_loop().call_later(self._longest_s, transport.abort)
        self._open[handler] = (transport, deadline)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        _, deadline = self._open.pop(handler)
        deadline.cancel()


class _Conversation(web.RequestHandler):
    """Requests that are no HTTP get our headers too, and hear nothing of what they said."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500:
            super().handle_error(request, status, exc, message)  # logs the bug
        return _plain(status, "400 Bad Request" if status == 400 else "500 Internal Server Error")


def _read_assets() -> Mapping[str, bytes]:
    return {file.name: file.read_bytes() for file in _STATIC.iterdir() if file.suffix in _TYPES}


@dataclass(frozen=True, slots=True)
class Site:
    daemon: Daemon
    exposed: bool = False
    """Reachable from other machines, under whatever name they know."""
    assets: Mapping[str, bytes] = field(default_factory=_read_assets)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if not (self.exposed or is_local(request.headers.get("Host", ""))):
            return _plain(403, "请用 http://127.0.0.1 打开 / open it as http://127.0.0.1")
        if request.method not in ("GET", "HEAD"):
            refusal = _plain(405, "此页只读 / this page is read-only")
            refusal.headers["Allow"] = "GET, HEAD"
            return refusal
        if request.body_exists:
            return _plain(413, "请求不得带正文 / a request has no body here")
        return await self._page(request)

    async def _page(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == "/":
            return self._index(request.headers.get("Accept-Language", ""))
        if path == "/api/status":
            return _json(await self.daemon.overview())
        if path == "/api/device":
            return await self._device(request.query.get("id", ""))
        if path.removeprefix("/") in self.assets:
            return _response(200, self.assets[path.removeprefix("/")], _TYPES[Path(path).suffix])
        return _plain(404, "没有此页 / there is no such page")

    def _index(self, accepted: str) -> web.StreamResponse:
        html = self.assets["index.html"].replace(b"<html>", f'<html lang="{_HTML_LANG[preferred(accepted)]}">'.encode())
        response = _response(200, html, "text/html")
        response.headers["Vary"] = "Accept-Language"
        return response

    async def _device(self, id_: str) -> web.StreamResponse:
        try:
            found = await self.daemon.diagnosis(id_)
        except NoSuchDevice:
            return _plain(404, "没有此设备 / there is no such device")
        return _plain(503, "网关未应答 / the gateway does not answer") if found is None else _json(found)


@asynccontextmanager
async def serving(gate: Gate, host: str, port: int) -> AsyncIterator[int]:
    """Serve while the context is open; gives the port (*port* 0: any free one).  Raises OSError."""
    listener = await asyncio.get_running_loop().create_server(gate, host, port, backlog=MOST_CONNECTIONS)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await gate.shutdown(STOP_S)
        await listener.wait_closed()


def is_local(host: str) -> bool:
    """Whether a Host header names this machine by a name that no foreign name server can hand out (DNS rebinding)."""
    match = _HOST.fullmatch(host)
    return match is not None and match[1].lower() in LOCAL_NAMES


def preferred(accepted: str) -> str:
    """``zh`` or ``en``, as an Accept-Language header asks for; Chinese where it asks for neither."""
    best, lang = 0.0, "zh"
    for part in accepted.split(","):
        tag, _, parameter = part.strip().lower().partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        if tag.partition("-")[0] in _HTML_LANG and quality > best:
            best, lang = quality, tag.partition("-")[0]
    return lang


def _json(value: Mapping[str, Any]) -> web.Response:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _response(200, text.replace("<", "\\u003c").encode(), "application/json")  # no markup, wherever it ends up


def _plain(status: int, text: str) -> web.Response:
    return _response(status, f"{text}\n".encode(), "text/plain")


def _response(status: int, body: bytes, content_type: str) -> web.Response:
    response = web.Response(status=status, body=body, headers=HEADERS, content_type=content_type, charset="utf-8")
    response.force_close()
    return response
