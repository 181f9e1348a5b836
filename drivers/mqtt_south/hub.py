"""The hubs of everything that speaks MQTT to a broker in the compound.

    broker ══ session.py ══▶ Message ─▶ whom does it confirm? ─▶ known already? ─▶ too many? ─▶ dialect.hear ─▶ Inbox
           ◀═ PUBACK ◀═ Ticket.done ◀════════ stored ◀════════ core commits ◀════════ receive ◀═══════════════════┘

A message is acknowledged when what it said is on disk.  What the broker repeats because it has not heard so is known by
packet id and digest (``memory.py``), over restarts too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from drivers.base import DeviceSpec, Happening, HubSpec, ProtocolType, Report, Unasked
from drivers.hub import InboxHub, parse_host_port
from drivers.json_mapping.payload import clean
from drivers.json_mapping.pulses import Pulses
from drivers.mqtt_client.config import BrokerOptions
from drivers.mqtt_client.packet import Message
from drivers.mqtt_client.session import Dial, Session, Ticket, Tls
from drivers.mqtt_south.chirpstack import Chirpstack
from drivers.mqtt_south.config import (
    ChirpstackHubOptions,
    ChirpstackOptions,
    ChirpstackPointOptions,
    JsonHubOptions,
    JsonOptions,
    JsonPointOptions,
    ZigbeeHubOptions,
    ZigbeeOptions,
    ZigbeePointOptions,
)
from drivers.mqtt_south.dialect import Command, Dialect, Said, Stranger
from drivers.mqtt_south.mapped import Mapped
from drivers.mqtt_south.memory import Key, Memory, from_bytes, key_of
from drivers.mqtt_south.zigbee2mqtt import Zigbee2Mqtt
from gateway.clock import Clock
from gateway.errors import DeviceRejected, DeviceUnreachable, LineLost
from gateway.model import PointId, Reading, Value

RATE_PER_S = 5.0
BURST = 1000
"""A device may say so many messages at once (what the broker has kept for us comes at once), then *RATE_PER_S*."""
_MOST_WAITING = 64
_FILTERS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Receipt:
    ticket: Ticket
    device: str
    memory: Memory


@dataclass(slots=True)
class _Allowance:
    """How much one device may still say, and the newest of what it has said beyond that."""

    most: int
    left: float
    since_s: float | None = None
    held: dict[str, tuple[Message, Ticket]] = field(default_factory=dict)
    dropped: int = 0
    timer: asyncio.TimerHandle | None = None

    def take(self, now_s: float) -> bool:
        earned = 0.0 if self.since_s is None else (now_s - self.since_s) * RATE_PER_S
        self.left = min(self.most, self.left + earned)
        self.since_s = now_s
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(slots=True)
class _Delivered:
    """What the broker has sent of one device in this session."""

    tickets: dict[Key, Ticket] = field(default_factory=dict)
    first_new: Ticket | None = None
    """Of the first message that was no repetition: all that are come before it, so those of earlier sessions that are
    not among them will not be repeated."""

    def note(self, message: Message, ticket: Ticket) -> None:
        key = key_of(message)
        if key is not None:
            self.tickets[key] = ticket
            if self.first_new is None and not message.again:
                self.first_new = ticket

    def settled(self, key: Key) -> bool:
        ticket = self.tickets.get(key, self.first_new)
        return ticket is not None and ticket.confirmed

    def forget(self, taken: Collection[Key]) -> None:
        self.tickets = {key: self.tickets[key] for key in taken if key in self.tickets}


class MqttHub(InboxHub):
    """A broker's subscription; the dialect knows what the messages mean."""

    def __init__(self, spec: HubSpec, clock: Clock, dialect: Dialect, *, burst: int = BURST) -> None:
        super().__init__()
        self._spec = spec
        self._clock = clock
        self._dialect = dialect
        self._handed = {device: from_bytes(spec.memory.get(device, b"")) for device in spec.devices}
        """As of the last report that the core has taken."""
        self._memory = dict(self._handed)
        """As of the last report that is in the inbox."""
        self._delivered = {device: _Delivered() for device in spec.devices}
        self._allowances = {device: _Allowance(burst, burst) for device in spec.devices}
        self._waiting: dict[asyncio.Future[None], Callable[[Message], bool]] = {}
        self._pulses = Pulses(spec.devices, self._pulse_over)
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._inbox.open()
        self._memory = dict(self._handed)
        self._delivered = {device: _Delivered() for device in self._spec.devices}
        session = Session(_dial(self._spec, self._dialect))
        await session.__aenter__()
        self._session = session
        self._task = asyncio.get_running_loop().create_task(self._listen(session))
        try:
            await self._subscribe(session)
        except BaseException:
            await self._shut()
            raise
        now_ms = self._clock.now_ms()
        for device, memory in self._memory.items():
            self._pulses.resume(device, memory.pulses, now_ms)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._shut()

    async def receive(self) -> Sequence[Report]:
        try:
            reports = await self._inbox.take()
        except LineLost:
            task = self._task
            if task is not None and task.done() and not task.cancelled() and (fault := task.exception()) is not None:
                raise fault from None
            raise
        for report in reports:
            receipt = report.receipt
            assert isinstance(receipt, Receipt)
            self._handed[receipt.device] = receipt.memory
        return reports

    async def stored(self, reports: Sequence[Report]) -> None:
        for report in reports:
            if isinstance(report.receipt, Receipt):
                report.receipt.ticket.done()

    # ------------------------------------------------------------------ opening and closing

    async def _subscribe(self, session: Session) -> None:
        filters = self._dialect.filters
        try:
            for at in range(0, len(filters), _FILTERS_AT_ONCE):
                await session.subscribe(filters[at : at + _FILTERS_AT_ONCE])
        except LineLost:
            raise
        except DeviceUnreachable as exc:
            raise LineLost(str(exc), hint=exc.hint) from exc

    async def _shut(self) -> None:
        self._pulses.close()
        for allowance in self._allowances.values():
            if allowance.timer is not None:
                allowance.timer.cancel()
            allowance.timer = None
            allowance.held.clear()  # not acknowledged: the broker says it again
        self._give_up_waiting("closed")
        session, self._session = self._session, None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if session is not None:
            await session.__aexit__(None, None, None)

    async def _listen(self, session: Session) -> None:
        try:
            await session.run(self._heard, self._too_large)
        except LineLost as exc:
            self._inbox.lose(str(exc))
            self._give_up_waiting(str(exc))
        except BaseException:
            self._inbox.lose("the hub has failed")
            raise

    # ------------------------------------------------------------------ what comes

    async def _heard(self, message: Message, ticket: Ticket) -> None:
        self._confirm(message)
        device = self._dialect.device_of(message.topic)
        if device is not None:
            self._delivered[device].note(message, ticket)
        if device is not None and self._memory[device].has_taken(message):
            ticket.done()
        elif device is None or self._may_speak(device, message, ticket):
            for report in self._reports(message, ticket):
                await self._inbox.put(report)

    def _too_large(self, topic: str, length: int) -> None:
        self._strangers.met(clean(topic), f"a message of {length} bytes, larger than allowed")

    def _reports(self, message: Message, ticket: Ticket) -> Sequence[Report]:
        now_ms = self._clock.now_ms()
        heard = self._dialect.hear(message, now_ms, lambda device: self._memory[device].notes)
        for each in heard:
            if isinstance(each, Stranger):
                self._strangers.met(each.address, each.what)
        said = [each for each in heard if isinstance(each, Said)]
        ticket.open = max(1, len(said))
        if not said:
            ticket.done()
        return [self._report(each, message, ticket, now_ms) for each in said]

    def _report(self, said: Said, message: Message | None, ticket: Ticket, now_ms: int) -> Report:
        before = self._memory[said.device]
        memory = before if message is None else before.with_taken(message, self._delivered[said.device].settled)
        self._delivered[said.device].forget(memory.taken)
        if said.notes is not None:
            memory = replace(memory, notes=said.notes)
        memory = replace(memory, pulses=self._pulses.after(said.device, said.readings, memory.pulses, now_ms))
        self._memory[said.device] = memory
        return Report(
            said.device,
            said.readings,
            said.happenings,
            memory=None if memory == before else memory.to_bytes(),
            receipt=Receipt(ticket, said.device, memory),
        )

    # ------------------------------------------------------------------ those who say too much

    def _may_speak(self, device: str, message: Message, ticket: Ticket) -> bool:
        """Beyond its allowance only the newest message of each topic is kept, until there is room for it."""
        allowance = self._allowances[device]
        loop = asyncio.get_running_loop()
        if message.topic not in allowance.held and allowance.take(loop.time()):
            return True
        replaced = allowance.held.pop(message.topic, None)
        if replaced is not None:
            replaced[1].done()
            allowance.dropped += 1
        allowance.held[message.topic] = (message, ticket)
        if allowance.timer is None:
            allowance.timer = loop.call_later(1 / RATE_PER_S, self._release, device)
        return False

    def _release(self, device: str) -> None:
        allowance = self._allowances[device]
        loop = asyncio.get_running_loop()
        allowance.timer = None
        if self._inbox.has_room and allowance.take(loop.time()):
            message, ticket = allowance.held.pop(next(iter(allowance.held)))
            for report in self._reports(message, ticket):
                self._inbox.offer(self._thinned(report, allowance))
        if allowance.held:
            allowance.timer = loop.call_later(1 / RATE_PER_S, self._release, device)

    def _thinned(self, report: Report, allowance: _Allowance) -> Report:
        """Said once, when the flood is over."""
        if allowance.held or not allowance.dropped:
            return report
        dropped, allowance.dropped = allowance.dropped, 0
        told = Happening("device.thinned", self._clock.now_ms(), {"dropped": dropped})
        return replace(report, happenings=[*report.happenings, told])

    # ------------------------------------------------------------------ buttons

    def _pulse_over(self, device: str, point: PointId) -> bool:
        if not self._inbox.has_room:
            return False
        now_ms = self._clock.now_ms()
        said = Said(device, [Reading(point, False, now_ms, now_ms)])
        return self._inbox.offer(self._report(said, None, Ticket(None, None), now_ms))

    # ------------------------------------------------------------------ commands

    async def carry_out(self, device: str, point: PointId, value: Value, timeout_s: float) -> None:
        """Sent once.  Raises DeviceRejected, DeviceUnreachable (nobody knows what has come of it), LineLost."""
        session = self._session
        if session is None:
            raise LineLost(f"line {self._spec.id} is not open")
        if len(self._waiting) >= _MOST_WAITING:
            raise DeviceRejected(f"{_MOST_WAITING} commands are under way on line {self._spec.id}", 0)
        command = self._dialect.command(device, point, value, self._memory[device].notes)
        await self._send(session, command, point, timeout_s)

    async def _send(self, session: Session, command: Command, point: PointId, timeout_s: float) -> None:
        confirmed = asyncio.get_running_loop().create_future()
        self._waiting[confirmed] = command.answered
        try:
            async with asyncio.timeout(timeout_s):
                await session.publish(command.topic, command.payload)
                await confirmed
        except TimeoutError as exc:
            raise DeviceUnreachable(f"{point}: no confirmation within {timeout_s:g} s") from exc
        finally:
            del self._waiting[confirmed]
            if confirmed.done() and not confirmed.cancelled():
                confirmed.exception()  # seen, even where the publishing itself failed before

    def _confirm(self, message: Message) -> None:
        """A retained message was said before the command."""
        for confirmed, answered in () if message.retained else list(self._waiting.items()):
            if confirmed.done():
                continue
            try:
                if answered(message):
                    confirmed.set_result(None)
            except DeviceRejected as exc:
                confirmed.set_exception(exc)

    def _give_up_waiting(self, why: str) -> None:
        for confirmed in self._waiting:
            if not confirmed.done():
                confirmed.set_exception(LineLost(f"line {self._spec.id}: {why}"))


class MqttDevice(Unasked):
    """One device behind the broker: listened to, and written where its profile says how."""

    __slots__ = ("_hub", "_spec")

    def __init__(self, spec: DeviceSpec, hub: MqttHub) -> None:
        self._spec = spec
        self._hub = hub

    async def write(self, point: PointId, value: Value) -> None:
        await self._hub.carry_out(self._spec.id, point, value, self._spec.timeout_s)

    def settle_s(self, point: PointId) -> float:
        settle_s: float = self._spec.points[point].options.settle_s
        return settle_s


def _dial(spec: HubSpec, dialect: Dialect) -> Dial:
    options: BrokerOptions = spec.options
    host, port = parse_host_port(options.broker)
    tls = None if options.tls is None else Tls(options.tls.ca, options.tls.certificate, options.tls.key)
    return Dial(
        host,
        port,
        options.client_id or f"compound-gateway-{spec.id}",
        options.username,
        options.password_file,
        tls,
        dialect.most_bytes,
    )


def _make(spec: DeviceSpec, hub: MqttHub, clock: Clock) -> MqttDevice:
    return MqttDevice(spec, hub)


ZIGBEE2MQTT = ProtocolType(
    name="zigbee2mqtt",
    device_options=ZigbeeOptions,
    point_options=ZigbeePointOptions,
    make=_make,
    hub=lambda spec, clock: MqttHub(spec, clock, Zigbee2Mqtt(spec)),
    hub_options=ZigbeeHubOptions,
    sends=True,
    default_timeout_s=10.0,
)

CHIRPSTACK = ProtocolType(
    name="chirpstack",
    device_options=ChirpstackOptions,
    point_options=ChirpstackPointOptions,
    make=_make,
    hub=lambda spec, clock: MqttHub(spec, clock, Chirpstack(spec)),
    hub_options=ChirpstackHubOptions,
    sends=True,
    default_timeout_s=30.0,
)

MQTT_JSON = ProtocolType(
    name="mqtt-json",
    device_options=JsonOptions,
    point_options=JsonPointOptions,
    make=_make,
    hub=lambda spec, clock: MqttHub(spec, clock, Mapped(spec)),
    hub_options=JsonHubOptions,
    sends=True,
    default_timeout_s=10.0,
)
