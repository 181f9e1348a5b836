"""The BACnet/IP devices of one ``protocol: bacnet`` line: one socket that asks, and hears what changes.

BacnetDevice.poll ──▶ BacnetHub.ask ──▶ apdu.py ──▶ UDP ──▶ device or router
COV, I-Am ──▶ UDP ──▶ a configured address? ──▶ Report ──▶ core       others ──▶ strangers
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self, TypeAlias

from drivers.bacnet.apdu import (
    Ack,
    Announced,
    ApduError,
    Changed,
    Failure,
    Message,
    Station,
    Wanted,
    parse,
    read,
    read_one,
    who_is,
)
from drivers.bacnet.config import PORT, DeviceOptions, HubOptions, PointOptions
from drivers.bacnet.device import BacnetDevice, reading
from drivers.base import HubSpec, ProtocolType, Report
from drivers.hub import (
    HostPort,
    InboxHub,
    UdpServer,
    no_address,
    parse_host_port,
    resolve_ipv4,
    running,
    with_port,
)
from gateway.clock import Clock
from gateway.errors import DeviceUnreachable, LineLost
from gateway.model import Reading

DISCOVERY_S: Final = 600.0
Asked: TypeAlias = tuple[HostPort, "Station | None", int]


class BacnetHub(InboxHub):
    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        super().__init__()
        self._spec = spec
        self._clock = clock
        self._options: HubOptions = spec.options
        self._addresses: dict[str, HostPort] = {}
        self._asked: dict[Asked, asyncio.Future[Ack | Failure]] = {}
        self._next_id = 0
        self._socket: UdpServer | None = None
        self._stack = AsyncExitStack()
        self.everybody: HostPort = ("255.255.255.255", PORT)
        """Whom the search asks."""

    # ------------------------------------------------------------------ the hub's contract

    async def __aenter__(self) -> Self:
        self._inbox.open()
        self._asked.clear()
        async with AsyncExitStack() as opening:
            self._socket = await opening.enter_async_context(
                UdpServer(parse_host_port(self._options.listen), self._heard, broadcast=self._options.discovery)
            )
            await asyncio.gather(*map(self._locate, self._spec.devices))
            if self._options.discovery:
                await opening.enter_async_context(running(self._search()))
            self._stack = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._inbox.lose("closed")
        self._socket = None
        await self._stack.aclose()

    async def stored(self, reports: Sequence[Report]) -> None:
        """An unconfirmed notification waits for nothing."""

    # ------------------------------------------------------------------ for its devices

    async def ask(self, device: str, wanted: Sequence[Wanted], *, single: bool, timeout_s: float) -> Ack | Failure:
        """Asked again half-way through *timeout_s*, with the same number, so that a late answer counts as well.

        Raises DeviceUnreachable, LineLost.
        """
        options: DeviceOptions = self._spec.devices[device].options
        if self._socket is None:
            raise LineLost("the line is closed")
        if device not in self._addresses:
            await self._locate(device)
        if device not in self._addresses:
            raise no_address(options.address)
        address, station = self._addresses[device], options.station
        key, future = self._new(address, station)
        question = read_one(key[2], wanted[0], station) if single else read(key[2], wanted, station)
        try:
            for _ in range(2):
                self._socket.send(question, address)
                done, _waiting = await asyncio.wait([future], timeout=timeout_s / 2)
                if done:
                    return future.result()
        finally:
            self._asked.pop(key, None)
            future.cancel()
        raise DeviceUnreachable(
            f"no answer within {timeout_s:g} s",
            hint="地址、端口、network 与 mac 对吗？/ check address, port, and behind a router network and mac",
        )

    def _new(self, address: HostPort, station: Station | None) -> tuple[Asked, asyncio.Future[Ack | Failure]]:
        """An invoke id that nobody waits for at this device.  Raises DeviceUnreachable when there is none."""
        for _ in range(256):
            self._next_id = self._next_id + 1 & 0xFF
            key = (address, station, self._next_id)
            if key not in self._asked:
                self._asked[key] = asyncio.get_running_loop().create_future()
                return key, self._asked[key]
        raise DeviceUnreachable("256 questions wait for their answers")

    # ------------------------------------------------------------------ what comes in

    def _heard(self, data: bytes, peer: HostPort) -> None:
        try:
            found = parse(data)
        except ApduError:
            return
        if found is None:
            return
        message, station = found
        if isinstance(message, Ack | Failure):
            future = self._asked.get((peer, station, message.invoke_id))
            if future is not None and not future.done():
                future.set_result(message)
            return
        self._unasked(message, station, peer)

    def _unasked(self, message: Message, station: Station | None, peer: HostPort) -> None:
        device = self._device(peer, station, message)
        if device is None:
            instance = message.instance if isinstance(message, Announced) else getattr(message, "device", "?")
            where = f" network {station.network} mac {station.mac.hex()}" if station else ""
            self._strangers.met(f"{peer[0]}:{peer[1]}{where}", f"BACnet device {instance}")
            return
        readings = self._readings(device, message) if isinstance(message, Changed) else []
        self._inbox.offer(Report(device, readings))

    def _device(self, peer: HostPort, station: Station | None, message: Message) -> str | None:
        """Who is configured at that address; where a number is configured, it must be that as well."""
        number = message.instance if isinstance(message, Announced) else getattr(message, "device", None)
        for device, spec in self._spec.devices.items():
            options: DeviceOptions = spec.options
            at = self._addresses.get(device)
            if at == peer and options.station == station and options.instance in (None, number):
                return device
        return None

    def _readings(self, device: str, message: Changed) -> list[Reading]:
        now = self._clock.now_ms()
        found: list[Reading] = []
        for wanted, raw in message.values:
            for point in self._spec.devices[device].points.values():
                options: PointOptions = point.options
                if options.wanted() == wanted:
                    found.append(reading(point, raw, now))
        return found

    # ------------------------------------------------------------------ opening

    async def _locate(self, device: str) -> None:
        options: DeviceOptions = self._spec.devices[device].options
        found = await resolve_ipv4(with_port(options.address, PORT))
        if found is not None:
            self._addresses[device] = found

    async def _search(self) -> None:
        while self._socket is not None:
            self._socket.send(who_is(), self.everybody)
            await asyncio.sleep(DISCOVERY_S)


BACNET = ProtocolType(
    name="bacnet",
    device_options=DeviceOptions,
    point_options=PointOptions,
    make=BacnetDevice,
    hub=BacnetHub,
    hub_options=HubOptions,
    default_timeout_s=3.0,
    usual_latency_s=0.05,
)
