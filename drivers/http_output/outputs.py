"""Loudspeakers and webhooks: what is written to a point leaves as one HTTP request.

    value ──write──▶ message.py: request as bytes ──▶ Client: once, TLS verified, no redirect ──▶ 2xx: accepted
                                                        │ other status: DeviceRejected
                                                        └ no answer: DeviceUnreachable; nobody knows what it did

What such a device shows cannot be read.  A point says what was last accepted since the start, ``idle`` (or nothing)
before that; a read-back therefore proves that the device has said yes, not that anybody has heard it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from yarl import URL

from drivers.base import DeviceSpec, HubSpec, ProtocolType, Report
from drivers.http_output.config import (
    Announcement,
    HubOptions,
    Request,
    SpeakerOptions,
    SpeakerPointOptions,
    WebhookOptions,
    WebhookPointOptions,
)
from drivers.http_output.message import Message, fill, refusal, signed
from gateway.clock import Clock
from gateway.errors import ConfigError, DeviceRejected, DeviceUnreachable, LineLost
from gateway.model import PointId, Reading, Reason, Value, ValueKind, bad_reading

MOST_ANSWER_BYTES: Final = 65536
_MOST_SECRET_BYTES: Final = 4096
_LONGEST_WRITE_S: Final = 25.0
"""The core gives up after 30."""
_IDLE: Final = "idle"
_KINDS: Final = {"announcement": ValueKind.STATE, "text": ValueKind.TEXT, "online": ValueKind.BOOLEAN}


class OutputHub:
    """One HTTP client for all outputs of a line; nothing is heard from it (drivers/base.py: Hub)."""

    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(force_close=True, limit=20, limit_per_host=4)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def receive(self) -> Sequence[Report]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # never

    async def stored(self, reports: Sequence[Report]) -> None:
        return

    @property
    def strangers(self) -> Mapping[str, str]:
        return {}

    async def ask(
        self,
        base: str,
        message: Message,
        *,
        timeout_s: float,
        trust: ssl.SSLContext | None = None,
        digest: aiohttp.DigestAuthMiddleware | None = None,
    ) -> tuple[int, bytes]:
        """Status and the begin of the body.  Sent once; with digest once more after the device's challenge.

        Raises DeviceUnreachable, LineLost.
        """
        if self._session is None:
            raise LineLost("the outputs' line is not open")
        try:
            async with self._session.request(
                message.method,
                URL(base + message.target, encoded=True),
                data=message.body or None,
                headers=message.headers,
                middlewares=(_Once(), digest) if digest is not None else (_Once(),),
                allow_redirects=False,
                ssl=trust if trust is not None else True,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                return response.status, await _begin_of(response)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            said = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
            raise DeviceUnreachable(
                f"{base}: {said[:200]}", hint="address, network, certificate? / 地址、网络、证书？"
            ) from exc


class _Once:
    """aiohttp sends a GET or PUT a second time by itself when the device hangs up without an answer.  It must not: the
    device may have heard the first."""

    def __init__(self) -> None:
        self._sent = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._sent:
            raise aiohttp.ClientConnectionError("no answer")
        self._sent = True
        return await handler(request)


async def _begin_of(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for piece in response.content.iter_chunked(8192):
        data += piece
        if len(data) >= MOST_ANSWER_BYTES:
            break
    return bytes(data[:MOST_ANSWER_BYTES])


class Output:
    """What loudspeaker and webhook have in common: each point shows what was last accepted."""

    def __init__(self, spec: DeviceSpec, hub: Any, clock: Clock) -> None:
        self._spec = spec
        self._hub: OutputHub = hub
        self._clock = clock
        self._shown: dict[PointId, Value] = {
            point: _IDLE for point, each in spec.points.items() if _IDLE in each.point.states
        }
        self._trust: ssl.SSLContext | None = None

    def batches(self, points: Sequence[PointId]) -> Sequence[Sequence[PointId]]:
        return [list(points)] if points else []

    async def poll(self, points: Sequence[PointId]) -> Sequence[Reading]:
        await self._check(points)
        now_ms = self._clock.now_ms()
        return [
            Reading(point, self._shown[point], now_ms, now_ms)
            if point in self._shown
            else bad_reading(point, Reason.NO_VALUE, now_ms)
            for point in points
        ]

    async def _check(self, points: Sequence[PointId]) -> None:
        """Raises DeviceUnreachable where it can tell that the device is gone."""

    def settle_s(self, point: PointId) -> float:
        return 0.0

    def _writable(self, point: PointId) -> None:
        spec = self._spec.points.get(point)
        if spec is None or not spec.point.writable:
            raise DeviceRejected(f"{point}: 不可写 / not writable", 0)

    def _trusted(self, url: str, ca_file: Path | None) -> ssl.SSLContext | None:
        """Certificates are verified in every case.  Raises DeviceRejected for a file that cannot be used."""
        if ca_file is None or not url.startswith("https:"):
            return None
        if self._trust is None:
            try:
                self._trust = ssl.create_default_context()
                self._trust.load_verify_locations(ca_file)
            except (OSError, ssl.SSLError) as exc:
                self._trust = None
                raise DeviceRejected(f"ca_file {ca_file}: {exc}", 0) from exc
        return self._trust


class Speaker(Output):
    """drivers/base.py: Driver, Writable."""

    def __init__(self, spec: DeviceSpec, hub: Any, clock: Clock) -> None:
        """Raises ConfigError where a word cannot be announced."""
        super().__init__(spec, hub, clock)
        self._options: SpeakerOptions = spec.options
        self._digest: tuple[str, aiohttp.DigestAuthMiddleware] | None = None
        for point in spec.points:
            self._check_point(point)

    async def write(self, point: PointId, value: Value) -> None:
        self._writable(point)
        options: SpeakerPointOptions = self._spec.points[point].options
        if options.field == "text":
            said = Announcement(text=str(value))
        elif value == "stop":
            await self._send(self._options.stop, {})
            self._shown[point] = value
            return
        elif str(value) in options.announcements:
            said = options.announcements[str(value)]
        else:
            raise DeviceRejected(f"{point}: 没有这条广播 / there is no such announcement: {value}", 0)
        volume = self._options.volume if said.volume is None else said.volume
        values: dict[str, str | int] = {"text": said.text or "", "file": said.file or "", "volume": volume}
        await self._send(self._options.say if said.file is None else self._options.play, values)
        self._shown[point] = value

    async def _check(self, points: Sequence[PointId]) -> None:
        if self._options.check is not None:
            await self._ask(fill(self._options.check, {}))
        self._shown.update((point, True) for point in points if self._spec.points[point].options.field == "online")

    async def _send(self, request: Request | None, values: Mapping[str, str | int]) -> None:
        if request is None:
            raise DeviceRejected("设备条目未配置该请求 / the device entry has no request for this", 0)
        status, body = await self._ask(fill(request, values))
        if (why := refusal(request, status, body)) is not None:
            raise DeviceRejected(f"{self._spec.id}: {why}", status)

    async def _ask(self, message: Message) -> tuple[int, bytes]:
        options = self._options
        login = self._login()
        if login and options.auth == "basic":
            word = base64.b64encode(login.encode()).decode()
            message = replace(message, headers={**message.headers, "Authorization": f"Basic {word}"})
        return await self._hub.ask(
            options.url,
            message,
            timeout_s=min(self._spec.timeout_s, _LONGEST_WRITE_S),
            trust=self._trusted(options.url, options.ca_file),
            digest=self._digest_of(login) if options.auth == "digest" else None,
        )

    def _login(self) -> str:
        """``user:password``, read anew each time, so that it can be changed.  Raises DeviceRejected."""
        if self._options.credentials_file is None:
            return ""
        line = _secret(self._options.credentials_file).decode("utf-8", "replace").partition("\n")[0].strip()
        if ":" not in line:
            raise DeviceRejected("credentials_file: 首行应为 用户:密码 / its first line is user:password", 0)
        return line

    def _digest_of(self, login: str) -> aiohttp.DigestAuthMiddleware:
        """Kept, so that only the first request is challenged."""
        if self._digest is None or self._digest[0] != login:
            user, _, password = login.partition(":")
            self._digest = login, aiohttp.DigestAuthMiddleware(user, password)
        return self._digest[1]

    def _check_point(self, point: PointId) -> None:
        spec = self._spec.points[point]
        options: SpeakerPointOptions = spec.options
        kind = _KINDS[options.field]
        if spec.point.kind is not kind:
            raise ConfigError(f"{point}: 应为 kind: {kind} / must be of kind: {kind}")
        words = [each for each in spec.point.commands or spec.point.states if each != _IDLE]
        missing = [each for each in words if each != "stop" and each not in options.announcements]
        if missing:
            raise ConfigError(f"{point}: 没有内容的状态词 / words without an announcement: {', '.join(missing)}")
        needed = {"say" if each.file is None else "play" for each in options.announcements.values()}
        needed |= {"say"} if options.field == "text" else set()
        needed |= {"stop"} & set(words)
        needed |= {"check"} if options.field == "online" else set()
        lacking = sorted(name for name in needed if getattr(self._options, name) is None)
        if lacking:
            raise ConfigError(f"{point}: 缺少请求 / the device has no request: {', '.join(lacking)}")


class Webhook(Output):
    """drivers/base.py: Driver, Writable."""

    def __init__(self, spec: DeviceSpec, hub: Any, clock: Clock) -> None:
        """Raises ConfigError."""
        super().__init__(spec, hub, clock)
        self._options: WebhookOptions = spec.options
        if self._options.tries * spec.timeout_s > _LONGEST_WRITE_S:
            raise ConfigError(
                f"{spec.id}: tries × timeout 超过 {_LONGEST_WRITE_S:.0f} s / takes longer than a command may",
                hint="timeout: 8s",
            )

    async def write(self, point: PointId, value: Value) -> None:
        self._writable(point)
        message_id = secrets.token_hex(16)
        body = self._body(point, value, message_id)
        key = _secret(self._options.key_file).strip()
        if len(key) < 16:
            raise DeviceRejected("key_file: 密钥至少 16 字节 / a key has 16 bytes at least", 0)
        for attempt in range(1, self._options.tries + 1):
            headers = signed(key, message_id, self._clock.now_ms() // 1000, body)
            try:
                status, _ = await self._hub.ask(
                    self._options.url,
                    Message("POST", "", headers, body),
                    timeout_s=self._spec.timeout_s,
                    trust=self._trusted(self._options.url, self._options.ca_file),
                )
                break
            except LineLost:
                raise
            except DeviceUnreachable:
                if attempt == self._options.tries:
                    raise
        if not 200 <= status <= 299:
            raise DeviceRejected(f"{self._spec.id}: HTTP {status}", status)
        self._shown[point] = value

    def _body(self, point: PointId, value: Value, message_id: str) -> bytes:
        device, _, name = point.partition(".")
        said = {
            "id": message_id,
            "device": device,
            "point": name,
            "value": value,
            "time_ms": self._clock.now_ms(),
        }
        return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def _secret(file: Path) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read(_MOST_SECRET_BYTES)
    except OSError as exc:
        raise DeviceRejected(
            f"{file}: {exc.strerror}", 0, hint="readable for the gateway's user? / 网关用户可读？"
        ) from exc


SPEAKER = ProtocolType(
    name="http-speaker",
    device_options=SpeakerOptions,
    point_options=SpeakerPointOptions,
    make=Speaker,
    hub=OutputHub,
    hub_options=HubOptions,
    default_timeout_s=8.0,
)
WEBHOOK = ProtocolType(
    name="webhook",
    device_options=WebhookOptions,
    point_options=WebhookPointOptions,
    make=Webhook,
    hub=OutputHub,
    hub_options=HubOptions,
    default_timeout_s=8.0,
)
