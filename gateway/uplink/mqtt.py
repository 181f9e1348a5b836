"""The MQTT uplink: delivers the log's envelopes at least once, identical on resend.

    log ──▶ _read_ahead ──▶ Window.take ──▶ Session.publish ──▶ broker
     ▲                                                            │
     └── acknowledge ◀── Window.answered ◀── Session.acks ◀───────┘

One task pumps, one follows the log's commits, one saves the progress; all three live exactly as long as a connection.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from gateway.clock import Clock
from gateway.config.models import UplinkModel
from gateway.envelope import Envelope, payload
from gateway.errors import StoreCorrupt, StoreError, UplinkError, UplinkRejected
from gateway.model import Lane
from gateway.uplink.backoff import Backoff
from gateway.uplink.contract import (
    BLAMELESS_DISCONNECTS,
    NO_SUBSCRIBERS,
    Identity,
    State,
    Topics,
    Verdict,
    client_id,
    packet_size,
    puback_verdict,
    reply_payload,
    status_payload,
)
from gateway.uplink.log import Log
from gateway.uplink.session import Lost, Message, Options, Session
from gateway.uplink.window import Window

_PAGE = 64
"""Envelopes read from the log at a time."""
_MAX_CONTROLS = 64
"""Replies that may wait for the line; status, catalog and health need one place each."""
_URGENT = frozenset({Lane.ALARM, Lane.EVENT, Lane.GAP})
"""What goes before the catalog, which may be large and the line slow."""
_COMMAND_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds.  The defaults are the product's; tests shorten them."""

    drain_s: float = 3.0
    """On cancellation: for what the broker can still acknowledge."""
    goodbye_s: float = 0.5
    """After that: for the status ``stopping``, and again for the DISCONNECT."""
    ack_s: float = 15.0
    """A message without its PUBACK for so long, and nothing leaving a slow line: the connection is dead."""
    slowest_ack_s: float = 120.0
    """... or for so long, whatever leaves."""
    short_session_s: float = 60.0
    """A connection that ended sooner counts as a failure."""
    save_s: float = 0.1
    """Acknowledgements reach the log at most this often."""
    tick_s: float = 1.0
    address_s: float = 8.0
    first_pause_s: float = 1.0
    """For a lane that the broker refuses; doubles up to a minute."""


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    connected: bool
    since_ms: int | None
    """Of the present connection, or of the end of the last one; None before the first."""
    error: str
    """Why the last attempt or connection ended; empty while connected."""
    hint: str
    needs_person: bool
    faults: tuple[str, ...]
    """What does not work although the uplink is connected: refused subscriptions, a held lane ..."""
    in_flight: int
    oldest_in_flight_s: float | None
    sent: int
    acknowledged: int
    unheard: int
    """Acknowledged by a broker that said nobody was subscribed."""
    quarantined: int
    reconnects: int


class _Flight(NamedTuple):
    envelope: Envelope | None
    topic: str
    sent_s: float


class _Control(NamedTuple):
    payload: bytes
    retain: bool = False
    correlation: bytes | None = None


class MqttUplink:
    """Owns one connection at a time.  *on_quarantine* hears, before the log does, what will never be delivered."""

    def __init__(
        self,
        config: UplinkModel,
        log: Log,
        identity: Identity,
        catalog: Callable[[], bytes],
        clock: Clock,
        *,
        started_ms: int,
        on_quarantine: Callable[[Envelope, str], None],
        on_message: Callable[[str, bytes], None] | None = None,
        limits: Limits | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """*on_message* gets (full topic, payload) of every message the uplink does not answer itself: receipts.

        *jitter*: 0 <= x < 1, for the back-off.
        """
        self._config = config
        self._log = log
        self._identity = identity
        self._catalog = catalog
        self._clock = clock
        self._started_ms = started_ms
        self._on_quarantine = on_quarantine
        self._on_message = on_message
        self._limits = limits or Limits()
        self._jitter = jitter
        self._topics = Topics(identity.site, identity.gateway)
        self._window = Window(
            {lane: log.cursor(config.id, lane) for lane in Lane},
            config.window,
            first_pause_s=self._limits.first_pause_s,
        )
        self._wake = asyncio.Event()
        self._flights: dict[int, _Flight] = {}
        self._controls: dict[str, _Control] = {}
        self._catalog_due = False
        self._catalog_strikes = 0
        self._proved = False  # the broker has acknowledged something on this connection
        self._connected = False
        self._since_ms: int | None = None
        self._opened_s = 0.0
        self._failure: UplinkError | None = None
        self._faults: dict[str, str] = {}
        self._sent = self._acknowledged = self._unheard = self._quarantined = self._connections = 0
        self._say = structlog.get_logger().bind(uplink=config.id)

    async def run(self) -> None:
        """For ever, until cancelled; then delivers what it still can within ``drain_s`` and says goodbye."""
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        down_since_s = loop.time()
        while True:
            opened = self._connections
            error = await self._connection()
            now_s = loop.time()
            if self._connections > opened and now_s - self._opened_s >= self._limits.short_session_s:
                backoff.reset()
                down_since_s = now_s
            rejected = isinstance(error, UplinkRejected)
            await asyncio.sleep(backoff.delay_s(now_s - down_since_s, rejected=rejected, jitter=self._jitter()))

    def publish_health(self, body: bytes) -> None:
        """Not stored: without a connection it is dropped, and a newer one replaces one that still waits."""
        if self._connected:
            self._queue(self._topics.health, _Control(body))

    @property
    def status(self) -> UplinkStatus:
        oldest = next(iter(self._flights.values()), None)
        failure = None if self._connected else self._failure
        return UplinkStatus(
            connected=self._connected,
            since_ms=self._since_ms,
            error=str(failure or ""),
            hint=failure.hint if failure else "",
            needs_person=isinstance(failure, UplinkRejected),
            faults=tuple(self._faults.values()),
            in_flight=self._window.in_flight,
            oldest_in_flight_s=asyncio.get_running_loop().time() - oldest.sent_s if oldest else None,
            sent=self._sent,
            acknowledged=self._acknowledged,
            unheard=self._unheard,
            quarantined=self._quarantined,
            reconnects=max(0, self._connections - 1),
        )

    # --- one connection ---

    async def _connection(self) -> UplinkError:
        """From the first byte to the last; returns why it ended."""
        try:
            check_transport(self._config)
            async with Session(self._options(), self._wake.set) as session:
                self._begin()
                try:
                    lost = await self._serve(session)
                finally:
                    self._connected = False
                self._after(lost)
                await self._save()
        except UplinkError as exc:
            lost = Lost(exc)
        self._note_failure(lost.error)
        return lost.error

    def _options(self) -> Options:
        config = self._config
        return Options(
            host=config.host,
            port=config.port,
            keepalive_s=max(1, round(config.keepalive)),
            client_id=client_id(self._identity, config.id),
            will_topic=self._topics.status,
            will_payload=self._status(State.OFFLINE),
            username=config.username,
            password_file=config.password_file,
            tls=config.tls,
            mqtt311=config.protocol == "mqtt311",
            address_s=self._limits.address_s,
            tick_s=self._limits.tick_s,
        )

    def _status(self, state: State) -> bytes:
        return status_payload(self._identity, state, self._log.epoch, self._started_ms, self._clock.state())

    def _begin(self) -> None:
        self._window.open({lane: self._log.last_seq(lane) for lane in Lane})
        self._flights.clear()
        self._controls.clear()
        self._faults.clear()
        self._proved = False
        self._connected = True
        self._connections += 1
        self._since_ms = self._clock.now_ms()
        self._opened_s = asyncio.get_running_loop().time()
        if self._failure is None:
            self._say.info("uplink connected", host=self._config.host, port=self._config.port)
        else:
            self._say.info("uplink is back", host=self._config.host, port=self._config.port)
        self._failure = None

    async def _introduce(self, session: Session) -> None:
        """Subscribe before saying ``online``: who reads that may send commands at once."""
        topics = [self._topics.commands, self._topics.receipt]
        for topic, (code, name) in zip(topics, await session.subscribe(topics), strict=True):
            if code >= 0x80:
                self._fault(topic, f"the broker refuses the subscription {topic}: {name}")
        self._announce()

    def _announce(self) -> None:
        self._queue(self._topics.status, _Control(self._status(State.ONLINE), retain=True))
        self._catalog_due = True
        self._wake.set()

    async def _serve(self, session: Session) -> Lost:
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._follow_commits()), group.create_task(self._save_regularly())]
            try:
                return await self._work(session)
            except asyncio.CancelledError:
                # The group cancels us too, when a helper failed; then there is nothing to wait for.
                if not any(helper.done() for helper in helpers):
                    await self._drain(session)
                raise
            finally:
                for helper in helpers:
                    helper.cancel()

    async def _work(self, session: Session) -> Lost:
        try:
            await self._introduce(session)
        except UplinkError as exc:
            return Lost(exc)
        return await self._pump(session)

    async def _pump(self, session: Session) -> Lost:
        while session.lost is None:
            if not await self._turn(session):
                await self._wake.wait()
        return session.lost

    async def _turn(self, session: Session) -> bool:
        """Take in what came, send what may go.  False when there is nothing to do until something happens."""
        self._wake.clear()
        self._take_in(session)
        await self._read_ahead()
        sent = self._send(session)
        self._report_quarantined()
        self._watch(session)
        return sent

    async def _drain(self, session: Session) -> None:
        """Deliver on until the log is empty or the deadline comes, then leave in an orderly way."""
        limits = self._limits
        try:
            async with asyncio.timeout(limits.drain_s):
                while session.lost is None:
                    if await self._turn(session):
                        continue
                    if self._idle():
                        break
                    await self._wake.wait()
        except TimeoutError:
            self._say.info("uplink stops with envelopes still on their way", count=self._window.in_flight)
        await self._save()
        if session.lost is None:
            await self._say_goodbye(session)
        self._take_in(session)
        await self._save()

    async def _say_goodbye(self, session: Session) -> None:
        mid = session.publish(self._topics.status, self._status(State.STOPPING), retain=True)
        self._flights[mid] = _Flight(None, self._topics.status, asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(self._limits.goodbye_s):
                while mid in self._flights and session.lost is None:
                    self._wake.clear()
                    self._take_in(session)
                    await self._wake.wait()
        except TimeoutError:
            pass  # the will says it a little later
        await session.disconnect(self._limits.goodbye_s)

    def _idle(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        return not self._flights and not self._controls and self._window.next_lane(now_s) is None

    # --- the helpers ---

    async def _follow_commits(self) -> None:
        seen = 0
        while True:
            seen = await self._log.wait_for_commit(seen)
            self._window.committed()
            self._wake.set()

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._limits.save_s)
            await self._save()

    async def _save(self) -> None:
        self._report_quarantined()
        progress = self._window.take_progress()
        if progress:
            await self._log.acknowledge(self._config.id, progress)

    # --- the steps of a turn ---

    def _take_in(self, session: Session) -> None:
        while session.acks:
            mid, code = session.acks.popleft()
            flight = self._flights.pop(mid, None)
            if flight is None:
                continue
            self._proved = True
            if flight.envelope is None:
                self._control_answered(flight.topic, code)
            else:
                self._envelope_answered(flight.envelope, code)
        while session.messages:
            self._message(session.messages.popleft())
        if session.dropped_messages:
            self._fault("flood", f"{session.dropped_messages} commands or receipts dropped: too many at once")

    def _envelope_answered(self, envelope: Envelope, code: int) -> None:
        verdict = self._window.answered(envelope, code, asyncio.get_running_loop().time())
        if verdict is Verdict.DONE:
            self._acknowledged += 1
            self._unheard += code == NO_SUBSCRIBERS
            self._faults.pop(envelope.lane, None)
        else:
            self._fault(envelope.lane, f"lane {envelope.lane}: refused by the broker, code 0x{code:02x}")

    def _control_answered(self, topic: str, code: int) -> None:
        if topic == self._topics.catalog:
            self._catalog_strikes = 0
        if puback_verdict(code) is Verdict.DONE:
            self._faults.pop(topic, None)
        else:
            self._fault(topic, f"the broker refuses {topic}, code 0x{code:02x}")

    def _message(self, message: Message) -> None:
        command = self._topics.command_id(message.topic)
        if command is None:
            if self._on_message is not None:
                self._on_message(message.topic, message.payload)
            return
        if message.retained or not _COMMAND_ID.fullmatch(command):
            self._say.warning("command ignored: retained, or without a proper id", topic=message.topic)
            return
        if command == "rebirth":
            self._announce()
            self._reply(message, reply_payload(command, "ok", "", ""))
            return
        detail = "this gateway executes no commands; they would have to be signed"
        self._reply(message, reply_payload(command, "rejected", "unsupported", detail))

    def _reply(self, message: Message, body: bytes) -> None:
        """To the MQTT 5 response topic when it is one of ours, else to ``reply/{id}``."""
        own = self._topics.reply(self._topics.command_id(message.topic) or "")
        asked = message.response_topic or ""
        topic = asked if asked.startswith(self._topics.reply("")) and not set(asked) & {"+", "#"} else own
        self._queue(topic, _Control(body, correlation=message.correlation))

    async def _read_ahead(self) -> None:
        """One page for each lane that has run dry, down to the first lane that has something to send."""
        now_s = asyncio.get_running_loop().time()
        for lane in Lane:
            position = self._window.position(lane)
            if self._window.wants(lane) and self._log.last_seq(lane) > position:
                self._window.feed(lane, await self._page(lane, position))
            if self._window.next_lane(now_s) is lane:
                return

    async def _page(self, lane: Lane, position: int) -> Sequence[Envelope]:
        """Nothing while the log cannot be read: the next commit is the next attempt.  Raises StoreCorrupt."""
        try:
            page = await self._log.after(lane, position, _PAGE)
        except StoreCorrupt:
            raise
        except StoreError as exc:
            self._fault("store", f"the store cannot be read: {exc.advice()}")
            return ()
        self._faults.pop("store", None)
        return page

    def _send(self, session: Session) -> bool:
        """Controls, then envelopes of the most urgent lane.  True when there may be more to send."""
        if session.lost is not None:
            return False
        now_s = asyncio.get_running_loop().time()
        room = session.accepted.receive_maximum - len(self._flights)
        while self._controls and room > 0:
            topic = next(iter(self._controls))
            self._publish_control(session, topic, self._controls.pop(topic), now_s)
            room -= 1
        if self._catalog_due and room > 0 and self._window.next_lane(now_s) not in _URGENT:
            self._publish_catalog(session, now_s)
            room -= 1
        alone = self._proved and len(self._flights) == self._window.in_flight
        sent_ms = self._clock.now_ms()
        batch = self._window.take(now_s, room, alone=alone)
        for envelope, replay in batch:
            self._publish_envelope(session, envelope, now_s, sent_ms, replay=replay)
        return bool(batch)

    def _publish_envelope(
        self, session: Session, envelope: Envelope, now_s: float, sent_ms: int, *, replay: bool
    ) -> None:
        topic = self._topics.lanes[envelope.lane]
        body = payload(envelope, self._identity.site, self._identity.gateway, sent_ms, replay=replay)
        limit = session.accepted.maximum_packet
        if limit is not None and (size := packet_size(topic, body)) > limit:
            self._window.too_large(envelope, size, limit)
            return
        self._flights[session.publish(topic, body)] = _Flight(envelope, topic, now_s)
        self._sent += 1

    def _publish_catalog(self, session: Session, now_s: float) -> None:
        if any(flight.topic == self._topics.catalog for flight in self._flights.values()):
            return  # asked for again while it is on its way
        self._catalog_due = False
        if self._catalog_strikes >= 3:
            self._fault(self._topics.catalog, "the catalog is not sent: the connection broke each time")
            return
        self._publish_control(session, self._topics.catalog, _Control(self._catalog(), retain=True), now_s)

    def _publish_control(self, session: Session, topic: str, control: _Control, now_s: float) -> None:
        size = packet_size(topic, control.payload)
        if control.correlation is not None:
            size += 4 + len(control.correlation)
        limit = session.accepted.maximum_packet
        if limit is not None and size > limit:
            self._fault(topic, f"{topic} is not sent: {size} bytes, but the broker accepts at most {limit}")
            return
        mid = session.publish(topic, control.payload, retain=control.retain, correlation=control.correlation)
        self._flights[mid] = _Flight(None, topic, now_s)

    def _queue(self, topic: str, control: _Control) -> None:
        if topic in self._controls or len(self._controls) < _MAX_CONTROLS:
            self._controls[topic] = control
            self._wake.set()

    def _watch(self, session: Session) -> None:
        """End a connection on which acknowledgements have stopped, unless a slow line is still taking bytes."""
        oldest = next(iter(self._flights.values()), None)
        if oldest is None or session.lost is not None:
            return
        now_s = asyncio.get_running_loop().time()
        waited_s = now_s - oldest.sent_s
        quiet_s = min(waited_s, now_s - session.progress_s)
        if quiet_s > self._limits.ack_s or waited_s > self._limits.slowest_ack_s:
            session.give_up(f"no acknowledgement for {waited_s:.0f} s")

    # --- what came of it ---

    def _after(self, lost: Lost) -> None:
        early = asyncio.get_running_loop().time() - self._opened_s < self._limits.short_session_s
        blame = early and self._proved and lost.code not in BLAMELESS_DISCONNECTS
        if early and any(flight.topic == self._topics.catalog for flight in self._flights.values()):
            self._catalog_strikes += 1
        self._flights.clear()
        self._controls.clear()
        self._window.lost(blame=blame)
        self._since_ms = self._clock.now_ms()

    def _report_quarantined(self) -> None:
        for envelope, reason in self._window.take_quarantined():
            self._quarantined += 1
            self._on_quarantine(envelope, reason)

    def _fault(self, key: str, text: str) -> None:
        if key not in self._faults:
            self._say.warning("uplink fault", fault=text)
        self._faults[key] = text

    def _note_failure(self, error: UplinkError) -> None:
        """Said once per outage, and again only when it turns into one that a person must mend."""
        known = self._failure
        if known is None or (isinstance(error, UplinkRejected) and not isinstance(known, UplinkRejected)):
            self._say.warning("uplink is down", error=str(error), hint=error.hint)
        self._failure = error


def check_transport(config: UplinkModel) -> None:
    """Raises UplinkRejected where passwords and personal data would cross a network in the clear."""
    if config.tls is None and not config.allow_plaintext and not _is_loopback(config.host):
        raise UplinkRejected(
            f"uplink {config.id}: plain TCP to {config.host} is refused",
            hint="add a tls section (empty for the system's authorities), or set allow_plaintext on a test network",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
