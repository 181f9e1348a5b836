"""One camera's conversation: calls over HTTP, a subscription that is pulled until it breaks, then begun anew.

GetSystemDateAndTime ─▶ GetDeviceInformation ─▶ GetCapabilities ─▶ CreatePullPointSubscription ─▶ PullMessages ⟲ Renew
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element

import aiohttp

from drivers.hub import HostPort
from drivers.onvif import soap
from drivers.onvif.soap import Ask, Endpoint, Login, Notification, SoapError
from gateway.clock import Clock

CALL_S: Final = 10.0
PULL_S: Final = 20
"""How long a camera may hold a question for messages; a motion is told as soon as it begins."""
RENEW_S: Final = 60.0
GOODBYE_S: Final = 1.0


class CameraError(Exception):
    """The conversation is broken; its text may be shown.

    answered: the camera is there, and does not do what it is asked.  refused: it does not accept the account.
    """

    def __init__(self, text: str, *, answered: bool = True, refused: bool = False) -> None:
        super().__init__(text)
        self.answered = answered
        self.refused = refused


@dataclass(slots=True)
class Conversation:
    """Calls to one camera.  Everything goes to its configured address; redirects are not followed."""

    http: aiohttp.ClientSession
    address: HostPort
    path: str
    login: Login | None
    clock: Clock
    ahead_ms: int = field(default=0, init=False)
    """The camera's clock minus ours: a digest counts for some seconds of the camera's own time."""
    _middlewares: tuple[aiohttp.DigestAuthMiddleware, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        """Some cameras want HTTP's digest instead of, or beside, the one in the message."""
        if self.login is not None:
            self._middlewares = (aiohttp.DigestAuthMiddleware(self.login.user, self.login.password),)

    async def call(self, ask: Ask, endpoint: Endpoint | None = None, *, patience_s: float = CALL_S) -> Element:
        """The answer's body.  Raises CameraError."""
        where = endpoint or Endpoint(self.path)
        host = f"[{self.address[0]}]" if ":" in self.address[0] else self.address[0]
        url = f"http://{host}:{self.address[1]}{where.path}"
        security = "" if self.login is None or ask is soap.GET_TIME else self._token(self.login)
        data = soap.envelope(ask, url, where.reference, security)
        headers = {"Content-Type": f'application/soap+xml; charset=utf-8; action="{ask.action}"'}
        try:
            async with asyncio.timeout(patience_s):
                status, answer = await self._post(url, data, headers)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            raise CameraError(f"no answer ({type(exc).__name__})", answered=False) from exc
        return self._body(status, answer)

    async def _post(self, url: str, data: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Raises ValueError for an answer that is too large."""
        async with self.http.post(
            url, data=data, headers=headers, allow_redirects=False, middlewares=self._middlewares
        ) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_chunked(16384):
                body += chunk
                if len(body) > soap.LARGEST_ANSWER_BYTES:
                    raise ValueError("too large")
            return answer.status, bytes(body)

    def _body(self, status: int, answer: bytes) -> Element:
        if status == 401:
            raise CameraError("the account is refused (401)", refused=True)
        try:
            return soap.body_of(answer)
        except SoapError as exc:
            refused = exc.code in ("NotAuthorized", "FailedAuthentication", "InvalidSecurityToken")
            raise CameraError(f"status {status}, {exc}", refused=refused) from exc

    def _token(self, login: Login) -> str:
        return soap.token(login, os.urandom(16), self.clock.now_ms() + self.ahead_ms)

    async def greet(self) -> Mapping[str, str]:
        """Learn its time and what it is.  Raises CameraError."""
        said_ms = soap.time_ms_of(await self.call(soap.GET_TIME))
        self.ahead_ms = 0 if said_ms is None else said_ms - self.clock.now_ms()
        return soap.information_of(await self.call(soap.GET_INFORMATION))

    async def listen(self, heard: Callable[[list[Notification]], Awaitable[None]]) -> None:
        """Subscribe, and hand over all that is notified, for ever.  Raises CameraError."""
        events = soap.events_of(await self.call(soap.GET_CAPABILITIES))
        if events is None:
            raise CameraError("it has no event service")
        subscription = soap.subscription_of(await self.call(soap.SUBSCRIBE, events))
        if subscription is None:
            raise CameraError("it gives no pull point")
        try:
            await self._pull(subscription, heard)
        finally:
            await self._goodbye(subscription)

    async def _pull(self, subscription: Endpoint, heard: Callable[[list[Notification]], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        renewed_s = loop.time()
        while True:
            body = await self.call(soap.pull(PULL_S), subscription, patience_s=PULL_S + CALL_S)
            await heard(soap.notifications_of(body))
            if loop.time() - renewed_s >= RENEW_S:
                renewed_s = loop.time()
                await self._renew(subscription)

    async def _renew(self, subscription: Endpoint) -> None:
        """Some cameras refuse it and prolong with every pull; the next pull tells."""
        try:
            await self.call(soap.RENEW, subscription)
        except CameraError:
            return

    async def _goodbye(self, subscription: Endpoint) -> None:
        """Cameras have room for few subscriptions, and keep forgotten ones for minutes."""
        try:
            await self.call(soap.UNSUBSCRIBE, subscription, patience_s=GOODBYE_S)
        except CameraError:
            return
