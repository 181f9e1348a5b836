"""The cameras of one ``protocol: onvif`` line: alive or not, what they notify; never their pictures.

one task a camera ─┬─ rtsp.py every probe_s ──▶ online
                   └─ camera.py: notifications ──▶ state.py ──▶ motion, tamper, inputs ──▶ Inbox ──▶ core
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp

from drivers.base import DeviceSpec, Happening, HubSpec, ProtocolType, Report, Unasked
from drivers.hub import HostPort, InboxHub, UdpServer, running, with_port
from drivers.onvif import discovery, rtsp
from drivers.onvif.camera import CameraError, Conversation
from drivers.onvif.config import HTTP_PORT, OF_EVENTS, DeviceOptions, HubOptions, PointOptions
from drivers.onvif.soap import Login, Notification
from drivers.onvif.state import State, changes
from drivers.secret_files import first_line
from gateway.clock import Clock
from gateway.errors import LineLost
from gateway.model import Reading, Reason, bad_reading

ALIVE_S: Final = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 120.0
REFUSED_PAUSE_S: Final = 600.0
"""After a refused account: cameras lock an account, or an address, that is wrong too often."""
AT_ONCE: Final = 8
"""Cameras that are greeted at the same time: a switch that comes back brings them all."""
DISCOVERY_S: Final = 300.0


class OnvifHub(InboxHub):
    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        super().__init__()
        self._spec = spec
        self._clock = clock
        self._options: HubOptions = spec.options
        self.group = discovery.GROUP
        """Whom the search asks."""
        self._greeting = asyncio.Semaphore(AT_ONCE)
        self._searching: UdpServer | None = None
        self._stack = AsyncExitStack()

    # ------------------------------------------------------------------ the hub's contract

    async def __aenter__(self) -> Self:
        self._inbox.open()
        self._greeting = asyncio.Semaphore(AT_ONCE)
        logins = await asyncio.to_thread(self._logins)
        async with AsyncExitStack() as opening:
            if self._options.discovery:
                self._searching = await opening.enter_async_context(UdpServer(("0.0.0.0", 0), self._discovered))
                await opening.enter_async_context(running(self._search()))
            http = await opening.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0, limit_per_host=2),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    trust_env=False,
                )
            )
            for device, spec in self._spec.devices.items():
                camera = _Camera(spec, self, http, logins.get(device), self._clock)
                await opening.enter_async_context(running(self._watched(camera.watch)))
                await opening.enter_async_context(running(self._watched(partial(camera.probe, self._options.probe_s))))
            self._stack = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._inbox.lose("closed")
        await self._stack.aclose()
        self._searching = None

    async def stored(self, reports: Sequence[Report]) -> None:
        """A camera waits for no confirmation."""

    @property
    def discovery_port(self) -> int:
        """Where answers to the search are heard."""
        assert self._searching is not None
        return self._searching.port

    # ------------------------------------------------------------------ for its cameras

    async def report(self, report: Report) -> None:
        await self._inbox.put(report)

    @property
    def greeting(self) -> asyncio.Semaphore:
        return self._greeting

    async def _watched(self, work: Callable[[], Awaitable[None]]) -> None:
        """A fault in a task is the line's: the core sees it and begins anew."""
        try:
            await work()
        except LineLost:
            return
        except Exception:
            self._inbox.lose("a fault in the watching of a camera")
            raise

    # ------------------------------------------------------------------ opening, strangers

    def _logins(self) -> Mapping[str, Login | str]:
        """Or what is wrong with the file, which concerns its camera alone."""
        found: dict[str, Login | str] = {}
        for device, spec in self._spec.devices.items():
            options: DeviceOptions = spec.options
            if options.password_file is None:
                continue
            try:
                found[device] = Login(options.user, _password(options.password_file))
            except (OSError, ValueError) as exc:
                found[device] = str(exc)
        return found

    async def _search(self) -> None:
        while self._searching is not None:
            self._searching.send(discovery.probe(), self.group)
            await asyncio.sleep(DISCOVERY_S)

    def _discovered(self, datagram: bytes, peer: HostPort) -> None:
        found = discovery.seen(datagram, peer)
        known = {with_port(spec.options.address, HTTP_PORT)[0] for spec in self._spec.devices.values()}
        if found is not None and found.address[0] not in known:
            what = " ".join(filter(None, ("ONVIF", found.hardware, found.name)))
            self._strangers.met(f"{found.address[0]}:{found.address[1]}", what)


class _Camera:
    """What is known of one camera, and the two loops that learn it."""

    def __init__(
        self, spec: DeviceSpec, hub: OnvifHub, http: aiohttp.ClientSession, login: Login | str | None, clock: Clock
    ) -> None:
        self._spec = spec
        self._hub = hub
        self._options: DeviceOptions = spec.options
        self._clock = clock
        self._state = State()
        self._heard_events = False
        self._trouble = login if isinstance(login, str) else ""
        """Why no events are heard, as far as it has been told."""
        address = with_port(self._options.address, HTTP_PORT)
        self._rtsp: HostPort = (address[0], self._options.rtsp_port)
        self._conversation = Conversation(
            http, address, self._options.path, None if isinstance(login, str) else login, clock
        )

    # ------------------------------------------------------------------ alive

    async def probe(self, every_s: float) -> None:
        """Says ``online`` every time, so that a camera that is gone is no silent device but one that is off line."""
        while True:
            online = await rtsp.is_alive(self._rtsp, ALIVE_S)
            now = self._clock.now_ms()
            points = [each.point.id for each in self._spec.points.values() if each.options.says == "online"]
            if points or online:
                await self._hub.report(Report(self._spec.id, [Reading(point, online, now, now) for point in points]))
            await asyncio.sleep(every_s)

    # ------------------------------------------------------------------ events

    async def watch(self) -> None:
        if self._trouble:
            await self._tell(self._trouble)
        if self._conversation.login is None:
            return
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._talk()
            except CameraError as exc:
                if exc.answered and str(exc) != self._trouble:
                    await self._tell(str(exc))
                pause_s = FIRST_PAUSE_S if self._heard_events else min(2 * pause_s, LONGEST_PAUSE_S)
                await self._lost()
                await asyncio.sleep(REFUSED_PAUSE_S if exc.refused else pause_s)

    async def _tell(self, trouble: str) -> None:
        """A camera that answers and gives no events looks healthy: somebody must be told."""
        self._trouble = trouble
        happening = Happening("camera.no_events", self._clock.now_ms(), {"reason": trouble})
        await self._hub.report(Report(self._spec.id, happenings=[happening]))

    async def _talk(self) -> None:
        async with self._hub.greeting:
            information = await self._conversation.greet()
        now = self._clock.now_ms()
        points = [(each.point.id, each.options.says) for each in self._spec.points.values()]
        readings = [Reading(id_, information[says], now, now) for id_, says in points if says in information]
        await self._hub.report(Report(self._spec.id, readings))
        await self._conversation.listen(self._notified)

    async def _notified(self, notifications: list[Notification]) -> None:
        now = self._clock.now_ms()
        if not self._heard_events:
            self._heard_events, self._trouble = True, ""
        readings: list[Reading] = []
        happenings: list[Happening] = []
        for change in changes(notifications, now):
            before, self._state = self._state, self._state.after(change)
            readings += self._differences(before, change.time_ms, now)
            was = before.held.get((change.kind, change.token), (False, 0))[0]
            if change.kind == "tamper" and change.on and not was:
                happenings.append(Happening("camera.tamper", change.time_ms, {"source": change.token}))
        if self._options.clear_after_s is not None:
            before, self._state = self._state, self._state.cleared(now - round(1000 * self._options.clear_after_s))
            readings += self._differences(before, now, now)
        await self._hub.report(Report(self._spec.id, readings, happenings))

    def _differences(self, before: State, source_ms: int, now_ms: int) -> list[Reading]:
        """Readings of the points that say something else than before."""
        found = []
        for each in self._spec.points.values():
            options: PointOptions = each.options
            value = self._state.of(options) if options.says in OF_EVENTS else None
            if value is not None and value != before.of(options):
                found.append(Reading(each.point.id, value, source_ms, now_ms))
        return found

    async def _lost(self) -> None:
        """While nothing is heard nobody knows whether there is motion.  Said once."""
        if not self._heard_events:
            return
        self._heard_events, self._state = False, State()
        now = self._clock.now_ms()
        points = [each.point.id for each in self._spec.points.values() if each.options.says in OF_EVENTS]
        await self._hub.report(Report(self._spec.id, [bad_reading(point, Reason.NO_ANSWER, now) for point in points]))


class Camera(Unasked):
    """A camera as a device: it is listened to."""

    __slots__ = ()


def _password(file: Path) -> str:
    line = first_line(file).decode("utf-8")
    if not line:
        raise ValueError(f"{file}: 首行应为密码 / its first line must hold the password")
    return line


ONVIF = ProtocolType(
    name="onvif",
    device_options=DeviceOptions,
    point_options=PointOptions,
    make=lambda spec, hub, clock: Camera(),
    hub=OnvifHub,
    hub_options=HubOptions,
    seek=discovery.seek,
    sends=True,
)
