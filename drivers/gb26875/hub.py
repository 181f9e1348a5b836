"""The monitoring centre's side of GB/T 26875.3-2011: devices connect or send datagrams, and wait to be confirmed.

    bytes ─Splitter─▶ Frame ─records.parse─▶ records ─panel.heard─▶ points ┐
                        │                       └────reports.happening─────┴▶ Report ─Inbox─▶ core ─▶ disk
                        └────────── confirm (same serial, addresses exchanged) ◀── stored ◀─────────────┘

Nothing is confirmed that is not on disk: a device that waits in vain sends again, and what comes again while the first
is still on its way is confirmed with it and told once.

A repetition has serial and content of the latest frame with that serial, within two minutes.  A device that does not
count its serials up says fire, normal, fire in three frames of one number, of which the third is no repetition.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self, TypeAlias

from drivers.base import DeviceSpec, HubSpec, ProtocolType, Report, Unasked
from drivers.gb26875 import panel, tables
from drivers.gb26875.config import Gb26875HubOptions, Gb26875Options, Gb26875PointOptions
from drivers.gb26875.frame import (
    ANSWER,
    CONFIRM,
    DENY,
    NO_TIME,
    REQUEST,
    SEND,
    Frame,
    Splitter,
    find_frame,
    local_time,
    packed_time,
    text_of,
)
from drivers.gb26875.panel import Panel
from drivers.gb26875.records import Analog, DeviceState, Raw, Record, SystemState, address_parts, parse
from drivers.gb26875.reports import Heard, happening, scaled
from drivers.hub import HostPort, InboxHub, TcpServer, UdpServer, parse_host_port
from gateway.clock import Clock, ClockState
from gateway.model import Reading, Value

FRAME_S = 10.0
"""A frame that has begun is finished within this, or the connection ends."""
IDLE_S = 1800.0
"""So is one on which nothing has come for so long; a device that has gone without a word is found out sooner, by the
system's keep-alive."""
MOST_PEERS, MOST_OF_ONE = 256, 64
"""Connections, in all and from one address: behind a router many devices have the same."""
MOST_GARBAGE = 8192
"""Bytes on end that belong to no frame."""
MOST_UNSENT = 65536
"""A peer that takes no confirmations is let go."""
REPEATED_S = 120.0
"""A device sends again three times, usually 10 s apart."""
MOST_SEEN = 2048
"""Serial numbers of a source that are remembered; a device may send a thousand without waiting."""
KEPT_SEEN = 32
"""Of those the ones that survive a start."""
FULL_S = 60.0
"""All points are told again after this, whatever is heard."""
RARELY_S = 900.0
"""An analog value that is no point is told as a happening this often, for each component; so is a greeting."""
MOST_RARELY = 2000

Reply: TypeAlias = Callable[[Frame], None]


@dataclass(slots=True)
class _Receipt:
    """A frame that is confirmed once the last of its reports is on disk."""

    confirm: Frame
    reply: Reply
    left: int


@dataclass(slots=True)
class _Seen:
    """The latest frame with some serial number."""

    digest: str
    heard_ms: int
    """By the wall clock, for the next start."""
    heard_s: float
    receipt: _Receipt | None = None
    """While it is on its way to disk."""


@dataclass(slots=True)
class _Device:
    """One device entry."""

    spec: DeviceSpec
    options: Gb26875Options
    panel: Panel
    told: dict[str, Value] = field(default_factory=dict)
    """Field -> what the core was told last."""
    told_at_s: float | None = None
    rarely: OrderedDict[Record, float] = field(default_factory=OrderedDict)
    """What is not told each time -> when it was told last."""

    def concerns(self, record: Record) -> bool:
        system = getattr(record, "system_type", None), getattr(record, "system_address", None)
        wanted = self.options.system_type, self.options.system_address
        return wanted[0] is None or system[0] is None or system == wanted


@dataclass(slots=True)
class _Source:
    """One transmission device: the entries that name its address."""

    devices: list[_Device] = field(default_factory=list)
    seen: OrderedDict[int, _Seen] = field(default_factory=OrderedDict)


class Gb26875Hub(InboxHub):
    def __init__(self, spec: HubSpec, clock: Clock) -> None:
        super().__init__()
        options: Gb26875HubOptions = spec.options
        self._spec = spec
        self._clock = clock
        self._zone = spec.zone
        self._kept: dict[str, bytes] = dict(spec.memory)
        self._sources: dict[tuple[str, str | None], _Source] = {}
        self._turn = asyncio.Lock()
        """Held from taking a frame to handing on its reports, so that they are in the order of what they say."""
        self._tcp = (
            TcpServer(parse_host_port(options.listen), self._serve, most=MOST_PEERS, most_of_one=MOST_OF_ONE)
            if options.listen
            else None
        )
        self._udp = UdpServer(parse_host_port(options.listen_udp), self._datagram) if options.listen_udp else None
        self._asked_by_udp: set[str] = set()
        """Datagrams know no connection: a source is asked once after the hub has opened."""
        self._serial = 0
        self._stack = AsyncExitStack()

    @property
    def port(self) -> int:
        assert self._tcp is not None
        return self._tcp.port

    @property
    def udp_port(self) -> int:
        assert self._udp is not None
        return self._udp.port

    async def __aenter__(self) -> Self:
        """What was heard and not stored when it was closed is forgotten: nobody was told that it is safe."""
        self._inbox.open()
        self._asked_by_udp.clear()
        self._turn = asyncio.Lock()
        self._sources = self._from_memory()
        async with AsyncExitStack() as stack:
            if self._tcp is not None:
                await stack.enter_async_context(self._tcp)
            if self._udp is not None:
                await stack.enter_async_context(self._udp)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._inbox.lose("the hub is closed")
        await self._stack.aclose()

    async def stored(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if report.memory is not None:
                self._kept[report.device] = report.memory
            receipt = report.receipt
            if isinstance(receipt, _Receipt):
                receipt.left -= 1
                if receipt.left == 0:
                    receipt.reply(replace(receipt.confirm, time=self._time()))

    # ------------------------------------------------------------------ the wire

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        _keep_alive(writer)

        def reply(frame: Frame) -> None:
            if writer.is_closing():
                return
            if writer.transport.get_write_buffer_size() > MOST_UNSENT:
                writer.transport.abort()
            else:
                writer.write(frame.to_bytes())

        loop = asyncio.get_running_loop()
        splitter, asked = Splitter(), set[str]()
        until_s = loop.time() + IDLE_S
        while splitter.skipped <= MOST_GARBAGE:
            try:
                async with asyncio.timeout_at(until_s):
                    data = await reader.read(4096)
            except TimeoutError:
                return
            if not data:
                return
            had_begun = splitter.waiting
            frames = splitter.feed(data)
            for frame in frames:
                async with self._turn:
                    for report in self._heard(frame, peer, reply, asked):
                        await self._inbox.put(report)
            if not splitter.waiting:
                until_s = loop.time() + IDLE_S
            elif frames or not had_begun:
                until_s = loop.time() + FRAME_S

    def _datagram(self, data: bytes, sender: HostPort) -> None:
        """One that finds no room is not confirmed, and so comes again."""
        at = 0
        while (found := find_frame(data, at)) is not None:
            frame, _, at = found
            if self._turn.locked() or not self._inbox.has_room:
                self._inbox.refused += 1
                return
            reports = self._heard(frame, sender[0], self._by_udp(sender), self._asked_by_udp)
            taken = [self._inbox.offer(report) for report in reports]
            if not all(taken):
                self._forget(frame, sender[0])

    def _forget(self, frame: Frame, peer: str) -> None:
        """Only part of its reports found room: when it comes again it is no repetition, and everything is told anew."""
        source = self._source_of(frame, peer)
        if source is not None:
            source.seen.pop(frame.serial, None)
            for device in source.devices:
                device.told_at_s = None

    def _source_of(self, frame: Frame, peer: str) -> _Source | None:
        address = text_of(frame.source)
        return self._sources.get((address, peer)) or self._sources.get((address, None))

    def _by_udp(self, to: HostPort) -> Reply:
        def reply(frame: Frame) -> None:
            if self._udp is not None:
                self._udp.send(frame.to_bytes(), to)

        return reply

    # ------------------------------------------------------------------ what a frame means

    def _heard(self, frame: Frame, peer: str, reply: Reply, asked: set[str]) -> Sequence[Report]:
        address = text_of(frame.source)
        source = self._source_of(frame, peer)
        if source is None:
            self._strangers.met(f"{address} @ {peer}", f"命令 {frame.command} / command {frame.command}")
            return ()
        reports = self._answered(frame, source, reply)
        if address not in asked:
            asked.add(address)
            self._ask(frame, source, reply)
        return reports

    def _answered(self, frame: Frame, source: _Source, reply: Reply) -> Sequence[Report]:
        alive = [Report(device.spec.id) for device in source.devices]
        if frame.command == SEND:
            return self._sent(frame, source, reply)
        if frame.command == ANSWER:
            return [self._report(device, frame, source) for device in source.devices]
        if frame.command in (CONFIRM, DENY):
            return alive  # of our own request
        adu = self._time_told(frame)
        reply(frame.reply(ANSWER, self._time(), adu) if adu else frame.reply(DENY, self._time()))
        return alive

    def _time_told(self, frame: Frame) -> bytes:
        """The answer to a device that asks what time it is; empty for any other request, and while we do not know."""
        now = self._time()
        if frame.command != REQUEST or frame.adu[:1] != bytes((tables.SET_TIME,)) or now == NO_TIME:
            return b""
        return bytes((tables.SET_TIME, 1)) + now

    def _sent(self, frame: Frame, source: _Source, reply: Reply) -> Sequence[Report]:
        digest = hashlib.blake2b(frame.adu, digest_size=6).hexdigest()
        before = source.seen.get(frame.serial)
        now_s = self._clock.monotonic_s()
        heartbeat = frame.adu[:1] == bytes((tables.DEVICE_STATE,))
        if before and not heartbeat and before.digest == digest and now_s - before.heard_s < REPEATED_S:
            return self._repeated(before, frame, source, reply)
        self._unclaimed(frame, source)
        receipt = _Receipt(frame.reply(CONFIRM), reply, len(source.devices))
        source.seen[frame.serial] = _Seen(digest, self._clock.now_ms(), now_s, receipt)
        source.seen.move_to_end(frame.serial)
        if len(source.seen) > MOST_SEEN:
            source.seen.popitem(last=False)
        return [replace(self._report(device, frame, source), receipt=receipt) for device in source.devices]

    def _repeated(self, before: _Seen, frame: Frame, source: _Source, reply: Reply) -> Sequence[Report]:
        """Confirmed when the first is on disk, to wherever it came from last; at once if it is."""
        receipt = before.receipt
        if receipt is not None and receipt.left > 0:
            receipt.reply = reply
        else:
            reply(frame.reply(CONFIRM, self._time()))
        return [Report(device.spec.id) for device in source.devices]

    def _unclaimed(self, frame: Frame, source: _Source) -> None:
        """Systems behind a known device that no entry names are strangers, too."""
        for record in parse(frame.adu).records:
            if not any(device.concerns(record) for device in source.devices):
                system = f"{getattr(record, 'system_type', '')}-{getattr(record, 'system_address', '')}"
                self._strangers.met(f"{text_of(frame.source)} {system}", "未配置的系统 / a system without an entry")

    def _ask(self, frame: Frame, source: _Source, reply: Reply) -> None:
        for device in source.devices:
            options = device.options
            if options.ask and options.system_type is not None and options.system_address is not None:
                self._serial = (self._serial + 1) & 0xFFFF
                adu = bytes((tables.READ_SYSTEM_STATE, 1, options.system_type, options.system_address))
                asking = frame.reply(REQUEST, self._time(), adu)
                reply(replace(asking, serial=self._serial))

    # ------------------------------------------------------------------ what is reported

    def _report(self, device: _Device, frame: Frame, source: _Source) -> Report:
        adu = parse(frame.adu, frozenset(device.options.component_like))
        records = [record for record in adu.records if device.concerns(record)]
        heard = Heard(self._clock.now_ms(), device.spec.zone, local_time(frame.time))
        happenings = [happening(adu, each, heard) for each in records if self._worth_telling(device, each)]
        readings = [reading for each in records for reading in self._analog(device, each, heard)]
        before = device.panel
        for record in records:
            device.panel = device.panel.heard(record)
        spoken = any(isinstance(record, (SystemState, DeviceState)) for record in records)
        readings += self._points(device, heard.now_ms, spoken)
        changed = happenings or device.panel != before
        return Report(device.spec.id, readings, happenings, self._memory(device, source) if changed else None)

    def _worth_telling(self, device: _Device, record: Record) -> bool:
        """Not what is repeated all the time: a state that has not changed, an analog value, a greeting of one byte."""
        known = device.panel
        if isinstance(record, SystemState):
            return known.systems.get((record.system_type, record.system_address)) != record.state
        if isinstance(record, DeviceState):
            return known.device != record.state
        if isinstance(record, Analog):
            return not any(_is_of(each.options, record) for each in device.spec.points.values()) and self._due(
                device, replace(record, raw=0, time=None)
            )
        if isinstance(record, Raw) and len(record.data) < 2:
            return bool(record.data) and self._due(device, record)
        return True

    def _due(self, device: _Device, key: Record) -> bool:
        now_s = self._clock.monotonic_s()
        told_s = device.rarely.get(key)
        if told_s is not None and now_s - told_s < RARELY_S:
            return False
        device.rarely[key] = now_s
        device.rarely.move_to_end(key)
        if len(device.rarely) > MOST_RARELY:
            device.rarely.popitem(last=False)
        return True

    def _analog(self, device: _Device, record: Record, heard: Heard) -> Sequence[Reading]:
        if not isinstance(record, Analog):
            return ()
        time_ms, _ = heard.when(record.time)
        quantity = tables.ANALOGS.get(record.analog_type)
        return [
            Reading(
                each.point.id,
                scaled(record.raw, each.options.scale or (quantity.step if quantity else 1.0)),
                time_ms,
                heard.now_ms,
            )
            for each in device.spec.points.values()
            if _is_of(each.options, record)
        ]

    def _points(self, device: _Device, now_ms: int, spoken: bool) -> Sequence[Reading]:
        """What has changed; everything that is known when the device says its own state, and once a minute."""
        known = device.panel.points()
        now_s = self._clock.monotonic_s()
        everything = spoken or device.told_at_s is None or now_s - device.told_at_s >= FULL_S
        if everything:
            device.told_at_s = now_s
        changed = {name for name, value in known.items() if everything or device.told.get(name) != value}
        device.told = dict(known)
        return [
            Reading(each.point.id, known[each.options.field], now_ms, now_ms)
            for each in device.spec.points.values()
            if each.options.field in changed
        ]

    # ------------------------------------------------------------------ over starts

    def _memory(self, device: _Device, source: _Source) -> bytes:
        latest = list(source.seen.items())[-KEPT_SEEN:]
        seen = [[serial, each.digest, each.heard_ms] for serial, each in latest]
        return json.dumps({"panel": device.panel.to_memory(), "seen": seen}, separators=(",", ":")).encode()

    def _from_memory(self) -> dict[tuple[str, str | None], _Source]:
        sources: dict[tuple[str, str | None], _Source] = {}
        for spec in self._spec.devices.values():
            options: Gb26875Options = spec.options
            source = sources.setdefault((options.source, options.peer), _Source())
            known, seen = _remembered(self._kept.get(spec.id), options)
            source.devices.append(_Device(spec, options, known))
            for serial, digest, heard_ms in seen:
                age_s = max(self._clock.now_ms() - heard_ms, 0) / 1000
                source.seen[serial] = _Seen(digest, heard_ms, self._clock.monotonic_s() - age_s)
        return sources

    def _time(self) -> bytes:
        """The gateway's own; zeros while it does not know it."""
        if self._clock.state() is ClockState.UNKNOWN:
            return NO_TIME
        return packed_time(datetime.datetime.fromtimestamp(self._clock.now_ms() / 1000, self._zone))


def _is_of(options: Gb26875PointOptions, record: Analog) -> bool:
    loop, number = address_parts(record.address)
    return options.component == f"{loop}-{number}" and options.analog == record.analog_type


def _remembered(kept: bytes | None, options: Gb26875Options) -> tuple[Panel, Sequence[tuple[int, str, int]]]:
    """Nothing where nothing was kept, or by another version."""
    nothing = Panel(system_clears=options.system_clears)
    if kept is None:
        return nothing, ()
    try:
        written: Any = json.loads(kept)
        known = panel.from_memory(written["panel"], options.system_clears)
        return known, [(serial, digest, heard_ms) for serial, digest, heard_ms in written["seen"]]
    except (ValueError, KeyError, TypeError):
        return nothing, ()


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """A device behind a mobile network vanishes without a word: found out after two minutes."""
    line = writer.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


GB26875 = ProtocolType(
    name="gb26875",
    device_options=Gb26875Options,
    point_options=Gb26875PointOptions,
    make=lambda spec, hub, clock: Unasked(),
    hub=Gb26875Hub,
    hub_options=Gb26875HubOptions,
    sends=True,
)
