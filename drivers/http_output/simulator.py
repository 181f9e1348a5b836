"""A loudspeaker and a webhook's receiver: real HTTP on a real socket, with the checks a real one makes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from drivers.hub import TcpServer

_MOST_BODY = 1 << 20
_NONCE = "5f3c1d2e"


@dataclass(frozen=True)
class Received:
    method: str
    target: str
    headers: Mapping[str, str]
    """Names in small letters."""
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def said(self) -> Mapping[str, Any]:
        """What query, form and JSON object say."""
        found: dict[str, Any] = dict(parse_qsl(urlsplit(self.target).query))
        kind = self.headers.get("content-type", "")
        if kind.startswith("application/json"):
            found |= json.loads(self.body)
        elif kind.startswith("application/x-www-form-urlencoded"):
            found |= parse_qsl(self.body.decode())
        return found


@dataclass
class HttpDevice(TcpServer):
    """Keeps what it is sent.  *status* is what it answers; *drops*: it takes a request and hangs up; *hangs*: it takes
    one and says nothing."""

    status: int = 200
    answer: bytes = b'{"code":0}'
    drops: bool = False
    hangs: bool = False
    received: list[Received] = field(default_factory=list)
    refused: int = 0
    """Requests whose authorisation or signature was wrong."""

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self._talk)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def challenge(self, request: Received) -> str | None:
        """A WWW-Authenticate for who must say who it is; None for who may."""
        return None

    def accept(self, request: Received) -> int:
        self.received.append(request)
        return self.status

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        request = await _read(reader)
        if self.drops or self.hangs:
            self.received.append(request)
            if self.hangs:
                await reader.read()  # until the other side has had enough
            return
        challenge = self.challenge(request)
        self.refused += challenge is not None
        status = self.accept(request) if challenge is None else 401
        lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(self.answer)}", "Connection: close", "Location: /other"]
        lines += [f"WWW-Authenticate: {challenge}"] if challenge else []
        writer.write("\r\n".join([*lines, "", ""]).encode() + self.answer)
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    size = min(int(headers.get("content-length", "0")), _MOST_BODY)
    return Received(method, target, headers, await reader.readexactly(size))


@dataclass
class Loudspeaker(HttpDevice):
    """*login*: ``user:password`` where it wants one."""

    login: str = ""
    digest: bool = False

    def challenge(self, request: Received) -> str | None:
        if not self.login:
            return None
        said = request.headers.get("authorization", "")
        if not self.digest:
            right = "Basic " + base64.b64encode(self.login.encode()).decode()
            return None if said == right else 'Basic realm="speaker"'
        return None if self._digest_is_right(said, request) else f'Digest realm="speaker", qop="auth", nonce="{_NONCE}"'

    def _digest_is_right(self, said: str, request: Received) -> bool:
        """RFC 7616 with MD5, as such devices have it."""
        found = {key: quoted or plain for key, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^",\s]+))', said)}
        user, _, password = self.login.partition(":")
        first = hashlib.md5(f"{user}:speaker:{password}".encode()).hexdigest()
        second = hashlib.md5(f"{request.method}:{found.get('uri', '')}".encode()).hexdigest()
        parts = (first, _NONCE, found.get("nc", ""), found.get("cnonce", ""), found.get("qop", ""), second)
        right = hashlib.md5(":".join(parts).encode()).hexdigest()
        return found.get("response") == right and found.get("uri") == request.target


@dataclass
class Receiver(HttpDevice):
    """Checks the signature as docs/devices/outputs.md describes it, and takes each id once."""

    key: bytes = b""
    now_s: int = 0
    taken: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def accept(self, request: Received) -> int:
        stamp = request.headers.get("x-gateway-timestamp", "")
        right = hmac.new(self.key, stamp.encode() + b"." + request.body, hashlib.sha256).hexdigest()
        genuine = hmac.compare_digest(request.headers.get("x-gateway-signature", ""), f"v1={right}")
        if not genuine or not stamp.isdecimal() or abs(int(stamp) - self.now_s) > 300:
            self.refused += 1
            return 401
        self.received.append(request)
        if self.status == 200:
            self.taken.setdefault(request.headers["idempotency-key"], json.loads(request.body))
        return self.status
