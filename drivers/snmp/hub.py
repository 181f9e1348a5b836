"""The agents of one ``protocol: snmp`` line: one socket to ask all of them, one that hears what they notify.

SnmpDevice.poll ──▶ SnmpHub.get ──▶ Engine ──▶ UDP ──▶ agent            (asked)
agent ──▶ UDP ──▶ known address? ──▶ Engine: community, user, keys ──▶ Report ──▶ core     (a notification: a hint)
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

from drivers.base import DeviceSpec, Happening, HubSpec, ProtocolType, Report
from drivers.hub import HostPort, InboxHub, UdpServer, no_address, parse_host_port, resolve_ipv4, with_port
from drivers.secret_files import first_line
from drivers.snmp import traps
from drivers.snmp.config import AGENT_PORT, DeviceOptions, HubOptions, Oid, PointOptions, show_oid
from drivers.snmp.device import SnmpDevice
from drivers.snmp.engine import ASKING, TRAPPING, Answer, Credentials, Engine, EngineError
from drivers.snmp.values import Bound
from gateway.clock import Clock
from gateway.errors import ConfigError, DeviceUnreachable, LineLost, ProtocolError

MOST_TRAPS_PER_S = 50
REMEMBERED_TRAPS = 256
LONGEST_DATAGRAM = 8192

Asking: TypeAlias = Callable[[], "asyncio.Future[Answer]"]


class SnmpHub(InboxHub):
    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        super().__init__()
        self._spec = spec
        self._clock = clock
        self._options: HubOptions = spec.options
        self._addresses: dict[str, HostPort | None] = {}
        """Device -> where its name leads; None until that is known."""
        self._unreadable: dict[str, str] = {}
        """Device -> why its file with a community or key cannot be read."""
        self._recent: OrderedDict[tuple[object, ...], None] = OrderedDict()
        self._flood = _Flood(MOST_TRAPS_PER_S)
        self._heard = False
        self._met: set[str] = set()
        """Agents of version 3 that have answered since they were last discovered."""
        self._engine: Engine | None = None
        self._stack = AsyncExitStack()
        self.trap_port = 0
        """Where notifications are heard, when port 0 was asked for."""
        _check_users(spec.devices)

    # ------------------------------------------------------------------ the hub's contract

    async def __aenter__(self) -> Self:
        self._inbox.open()
        self._engine = await asyncio.to_thread(self._make_engine)
        async with AsyncExitStack() as opening:
            asking = await opening.enter_async_context(UdpServer(("0.0.0.0", 0), self._answered))
            trapping = None
            if self._options.traps is not None:
                trapping = UdpServer(parse_host_port(self._options.traps), self._notified)
                await opening.enter_async_context(trapping)
                self.trap_port = trapping.port
            self._engine.send_with(asking.send, trapping.send if trapping else None)
            self._engine.listen(self._trap)
            await asyncio.gather(*map(self._locate, self._spec.devices))
            self._stack = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._engine = None
        self._inbox.lose("closed")
        await self._stack.aclose()

    async def stored(self, reports: Sequence[Report]) -> None:
        """A notification is not confirmed: an inform is answered when it has been understood, as pysnmp does it."""

    # ------------------------------------------------------------------ for its devices

    async def get(self, device: str, oids: Sequence[Oid], timeout_s: float) -> Answer:
        """Raises DeviceUnreachable, ProtocolError, LineLost."""
        engine = await self._ready(device)
        return await self._asked(device, engine, lambda: engine.get(device, oids), timeout_s)

    async def rows(self, device: str, after: Oid, most: int, timeout_s: float) -> Answer:
        """The objects behind *after*.  Raises as ``get``."""
        engine = await self._ready(device)
        return await self._asked(device, engine, lambda: engine.rows(device, after, most), timeout_s)

    async def _asked(self, device: str, engine: Engine, ask: Asking, timeout_s: float) -> Answer:
        """A version 3 agent that answered before and does not now may be another one: it is met anew, once."""
        try:
            answer = await _patiently(ask, timeout_s)
        except (DeviceUnreachable, ProtocolError):
            if device in self._met:
                self._met.discard(device)
                engine.rediscover()
            raise
        if self._spec.devices[device].options.version == "3":
            self._met.add(device)
        return answer

    async def _ready(self, device: str) -> Engine:
        if self._engine is None:
            raise LineLost("the line is closed")
        if device in self._unreadable:
            raise DeviceUnreachable(self._unreadable[device], hint="读取该文件后重启 / make it readable, restart")
        if self._addresses.get(device) is None:
            await self._locate(device)
        if self._addresses.get(device) is None:
            options: DeviceOptions = self._spec.devices[device].options
            raise no_address(options.address)
        return self._engine

    # ------------------------------------------------------------------ opening

    def _make_engine(self) -> Engine:
        self._unreadable = {}
        credentials = {}
        for device, spec in self._spec.devices.items():
            try:
                credentials[device] = read_credentials(spec.options)
            except (OSError, ValueError) as exc:
                self._unreadable[device] = str(exc)
        return Engine(credentials)

    async def _locate(self, device: str) -> None:
        """Find the address of *device*; it stays None when its name leads nowhere just now."""
        self._addresses[device] = None
        if device in self._unreadable or self._engine is None:
            return
        options: DeviceOptions = self._spec.devices[device].options
        found = await resolve_ipv4(with_port(options.address, AGENT_PORT))
        if found is not None and self._engine is not None:
            self._engine.place(device, found)
            self._addresses[device] = found

    # ------------------------------------------------------------------ what comes in

    def _answered(self, data: bytes, peer: HostPort) -> None:
        if self._engine is None or len(data) > LONGEST_DATAGRAM:
            return
        if peer in self._addresses.values():
            self._engine.heard(ASKING, data, peer)
        else:
            self._strangers.met(f"{peer[0]}:{peer[1]}", "SNMP answer from an address that was not asked")

    def _notified(self, data: bytes, peer: HostPort) -> None:
        if self._engine is None or len(data) > LONGEST_DATAGRAM or not self._flood.admits(self._clock.monotonic_s()):
            return
        if not self._devices_at(peer[0]):
            self._strangers.met(peer[0], "SNMP notification")
            return
        self._heard = False
        self._engine.heard(TRAPPING, data, peer)
        if not self._heard:
            self._strangers.met(peer[0], "SNMP notification with a community, user or key that is not the device's")

    def _trap(self, host: str, name: str, level: str, request_id: int, bindings: Sequence[Bound]) -> None:
        engine = self._engine
        device = next(
            (each for each in self._devices_at(host) if engine and engine.name_of(each) == (name, level)), None
        )
        trap = traps.trap_of(bindings)
        if device is None or trap is None:
            return
        self._heard = True
        uptime = next((each.raw for each in bindings if each.oid == traps.UPTIME), None)
        if self._is_repeated((device, request_id, trap, uptime)):
            self._inbox.offer(Report(device))
            return
        attributes = {"trap": show_oid(trap), "name": traps.name_of(trap), "details": traps.details(bindings) or None}
        self._inbox.offer(Report(device, happenings=[Happening("snmp.trap", self._clock.now_ms(), attributes)]))

    def _devices_at(self, host: str) -> list[str]:
        return [device for device, address in self._addresses.items() if address is not None and address[0] == host]

    def _is_repeated(self, key: tuple[object, ...]) -> bool:
        """Agents send an inform again until it is answered."""
        if key in self._recent:
            return True
        self._recent[key] = None
        if len(self._recent) > REMEMBERED_TRAPS:
            self._recent.popitem(last=False)
        return False


class _Flood:
    """So many in any second of the clock, and no more."""

    def __init__(self, most_per_s: int) -> None:
        self._most = most_per_s
        self._second, self._count = 0, 0

    def admits(self, now_s: float) -> bool:
        if int(now_s) != self._second:
            self._second, self._count = int(now_s), 0
        self._count += 1
        return self._count <= self._most


def read_credentials(options: DeviceOptions) -> Credentials:
    """Raises OSError, ValueError (with the file, never with what it holds)."""
    if options.version != "3":
        return Credentials(str(options.version), community=_secret(options.community_file, 1))
    return Credentials(
        "3",
        user=options.user,
        auth=options.auth,
        auth_key=_secret(options.auth_file, 8),
        priv=options.priv,
        priv_key=_secret(options.priv_file, 8),
        context=options.context,
    )


def _secret(file: Path | None, shortest: int) -> bytes:
    """The first line.  RFC 3414, 11.2: a password has at least eight characters."""
    if file is None:
        return b""
    line = first_line(file)
    if not shortest <= len(line) <= 128:
        raise ValueError(
            f"{file}: 首行应为 {shortest} 至 128 个字符 / its first line must have {shortest} to 128 characters"
        )
    return line


def _check_users(devices: Mapping[str, DeviceSpec]) -> None:
    """pysnmp knows one set of keys for a user's name.  Raises ConfigError."""
    known: dict[str, tuple[str, tuple[object, ...]]] = {}
    for device, spec in devices.items():
        options: DeviceOptions = spec.options
        if options.version != "3":
            continue
        keys = (options.auth, options.auth_file, options.priv, options.priv_file)
        other, same = known.setdefault(options.user, (device, keys))
        if same != keys:
            raise ConfigError(
                f"{other} 与 {device} 用户名同为 {options.user}，密钥却不同"
                f" / {other} and {device} have the user {options.user} with different keys",
                hint="换用不同的用户名，或放在不同的 lines 条目 / use different user names, or lines of their own",
            )


async def _patiently(ask: Asking, timeout_s: float) -> Answer:
    """Ask; half-way through *timeout_s* once more, for datagrams get lost.  The first answer counts."""
    asked = [ask()]
    try:
        done, _ = await asyncio.wait(asked, timeout=timeout_s / 2)
        if not done:
            asked.append(ask())
            done, _ = await asyncio.wait(asked, timeout=timeout_s / 2, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            raise DeviceUnreachable(
                f"no answer within {timeout_s:g} s",
                hint="地址、团体字、设备的访问控制对吗？/ check address, community, and whom the agent permits",
            )
        return done.pop().result()
    except EngineError as exc:
        raise ProtocolError(
            str(exc),
            hint="SNMPv3：用户名、算法和密钥与设备一致吗？/ SNMPv3: do user, algorithms and keys match the agent's?",
        ) from exc
    finally:
        for each in asked:
            each.cancel()
            if each.done() and not each.cancelled():
                each.exception()  # looked at, so that asyncio does not complain of it


SNMP = ProtocolType(
    name="snmp",
    device_options=DeviceOptions,
    point_options=PointOptions,
    make=SnmpDevice,
    hub=SnmpHub,
    hub_options=HubOptions,
    default_timeout_s=3.0,
    usual_latency_s=0.05,
)
