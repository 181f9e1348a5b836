"""The MQTT uplink: delivers the log's envelopes at least once, identical on resend.

    log ──▶ _read_ahead ──▶ Window.take ──▶ View ──▶ Dialect.encode ──▶ Session.publish ──▶ broker
     ▲                                                                                       │
     └── acknowledge ◀── Window.answered, Window.receipt ◀── Dialect.hear ◀── Session.acks, messages

One task pumps, one follows the log's commits, one saves the progress, one subscribes again to what was refused; all
live exactly as long as a connection.
Commands that were heard run beside them, and go on when the connection breaks.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from gateway.clock import Clock, ClockState
from gateway.config.models import UplinkModel
from gateway.envelope import Envelope
from gateway.errors import StoreCorrupt, StoreError, UplinkError, UplinkRejected
from gateway.model import Lane
from gateway.uplink.backoff import Backoff
from gateway.uplink.contract import (
    BLAMELESS_DISCONNECTS,
    NO_SUBSCRIBERS,
    SESSION_TAKEN_OVER,
    Verdict,
    packet_size,
    puback_verdict,
)
from gateway.uplink.dialect import (
    Asked,
    Attend,
    Desired,
    Dialect,
    Heard,
    Hello,
    Introduce,
    Outgoing,
    Receipt,
    Reply,
    Request,
)
from gateway.uplink.log import Log
from gateway.uplink.outbox import Answer, Flight, Item, Kind, Outbox, Parcel
from gateway.uplink.privacy import View
from gateway.uplink.session import Lost, Options, Session
from gateway.uplink.window import ORDERED, Stream, Window

_PAGE = 64
"""Envelopes read from the log at a time."""
_CONTESTED = "the connection is accepted and soon broken, again and again: does another client use this client id?"
_MAX_ACTS = 16
"""Commands of one uplink under way at the same time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds.  The defaults are the product's; tests shorten them."""

    drain_s: float = 3.0
    """On cancellation: for what the broker can still acknowledge."""
    goodbye_s: float = 0.5
    """After that: for the dialect's farewell, and again for the DISCONNECT."""
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
    receipt_s: float = 30.0
    """Without a receipt for so long: the oldest unconfirmed envelope is sent again, as a reminder; doubles up to ten
    minutes."""


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
    unconfirmed: int
    """With receipts: taken by the broker, and not yet confirmed by the platform."""
    quarantined: int
    reconnects: int


class MqttUplink:
    """Owns one connection at a time.  *on_quarantine* hears, before the log does, what will never be delivered."""

    def __init__(
        self,
        config: UplinkModel,
        log: Log,
        dialect: Dialect,
        clock: Clock,
        *,
        on_quarantine: Callable[[Envelope, str], None],
        view: View | None = None,
        barred: UplinkError | None = None,
        on_request: Callable[[Request], Awaitable[Reply]] | None = None,
        on_desired: Callable[[bytes, str], Coroutine[Any, Any, None]] | None = None,
        limits: Limits | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """*view*: what this platform may see; everything without one.  *barred*: why it must not be connected to.
        *jitter*: 0 <= x < 1, for the back-off.

        Without *on_request* nothing but ``rebirth`` is carried out; *on_desired* gets (body, id of this uplink).
        """
        self._config = config
        self._log = log
        self._dialect = dialect
        self._clock = clock
        self._on_quarantine = on_quarantine
        self._view = view
        self._barred = barred
        self._on_request = on_request or self._refuse
        self._on_desired = on_desired
        self._limits = limits or Limits()
        self._jitter = jitter
        self._window = Window(
            {lane: log.cursor(config.id, lane) for lane in Lane},
            config.window,
            receipts=config.delivery == "receipt" and dialect.receipts,
            replay_rate=config.replay_rate,
            first_pause_s=self._limits.first_pause_s,
            patience_s=self._limits.receipt_s,
        )
        self._wake = asyncio.Event()
        self._flights: dict[int, Flight] = {}
        self._outbox = Outbox()
        self._acts: asyncio.TaskGroup
        self._acting = 0
        self._catalog_strikes = 0
        self._attended = True
        self._leaving = False
        self._proved = False  # the broker has acknowledged something on this connection
        self._connected = False
        self._since_ms: int | None = None
        self._opened_s = 0.0
        self._looked_s = 0.0
        self._clock_state = ClockState.UNKNOWN
        self._certificates: tuple[int, ...] = ()
        self._failure: UplinkError | None = None
        self._contested = False
        self._faults: dict[str, str] = {}
        self._unsubscribed: list[tuple[str, bool]] = []  # (topic, whether its retained message is wanted)
        self._sent = self._acknowledged = self._unheard = self._quarantined = self._connections = 0
        self._say = structlog.get_logger().bind(uplink=config.id)

    async def run(self) -> None:
        """For ever, until cancelled; then delivers what it still can within ``drain_s`` and says goodbye."""
        async with asyncio.TaskGroup() as acts:
            self._acts = acts
            await self._connect_for_ever()

    async def _connect_for_ever(self) -> None:
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        down_since_s = loop.time()
        while True:
            opened = self._connections
            lost = await self._connection()
            now_s = loop.time()
            accepted = self._connections > opened
            short = now_s - self._opened_s < self._limits.short_session_s
            if accepted and not short:
                backoff.reset()
                down_since_s = now_s
            if lost.planned:
                continue
            delay_s = backoff.delay_s(
                now_s - down_since_s,
                rejected=isinstance(lost.error, UplinkRejected),
                fought=lost.code == SESSION_TAKEN_OVER,
                broke=accepted and short,
                jitter=self._jitter(),
            )
            self._contested = backoff.contested
            await self._pause(delay_s)

    async def _pause(self, delay_s: float) -> None:
        """Cut short when the clock becomes right: a certificate that was not valid yet may be valid now."""
        loop = asyncio.get_running_loop()
        end_s, state = loop.time() + delay_s, self._clock.state()
        while (left_s := end_s - loop.time()) > 0:
            await asyncio.sleep(min(left_s, 1.0))
            if state is not ClockState.SYNCED and self._clock.state() is ClockState.SYNCED:
                return

    # --- asked from outside ---

    def publish_health(self, snapshot: Mapping[str, Any]) -> None:
        """Not stored: without a connection it is dropped, and while an older one waits for the line."""
        if self._connected and not self._outbox.holds(Kind.HEALTH):
            seen = snapshot if self._view is None else self._view.health(snapshot)
            self._outbox.add(Kind.HEALTH, self._dialect.health(seen))
            self._wake.set()

    def introduce(self) -> None:
        """Say again who we are and what we have: somebody may have missed it, or it has changed."""
        if self._connected:
            self._outbox.introduce(self._dialect.introduce())
            self._say_answers()
            self._wake.set()

    def resend(self, lane: Lane, from_seq: int, to_seq: int) -> None:
        """Send these once more, as far as the log still has them.  Raises ValueError: too many."""
        self._window.again(lane, from_seq, to_seq)
        self._wake.set()

    @property
    def status(self) -> UplinkStatus:
        oldest = next(iter(self._flights.values()), None)
        failure = None if self._connected else self._failure
        return UplinkStatus(
            connected=self._connected,
            since_ms=self._since_ms,
            error=str(failure or ""),
            hint=(_CONTESTED if self._contested else failure.hint) if failure else "",
            needs_person=isinstance(failure, UplinkRejected) or (failure is not None and self._contested),
            faults=tuple(self._faults.values()),
            in_flight=self._window.in_flight,
            oldest_in_flight_s=asyncio.get_running_loop().time() - oldest.sent_s if oldest else None,
            sent=self._sent,
            acknowledged=self._acknowledged,
            unheard=self._unheard,
            unconfirmed=self._window.out,
            quarantined=self._quarantined,
            reconnects=max(0, self._connections - 1),
        )

    # --- one connection ---

    async def _connection(self) -> Lost:
        """From the first byte to the last; returns why it ended."""
        try:
            if self._barred is not None:
                raise self._barred
            check_transport(self._config)
            hello = self._dialect.hello()
            self._certificates = self._certificate_times()
            async with Session(self._options(hello), self._wake.set) as session:
                self._begin(hello)
                try:
                    lost = await self._serve(session)
                finally:
                    self._connected = False
                self._after(lost)
                await self._save()
        except UplinkError as exc:
            lost = Lost(exc)
        if not lost.planned:
            self._note_failure(lost.error)
        return lost

    def _options(self, hello: Hello) -> Options:
        config = self._config
        return Options(
            host=config.host,
            port=config.port,
            keepalive_s=max(1, round(config.keepalive)),
            client_id=hello.client_id,
            will=hello.will,
            username=hello.username or config.username,
            password=hello.password,
            password_file=config.password_file,
            tls=config.tls,
            mqtt311=config.protocol == "mqtt311",
            clock_known=self._clock.state() is not ClockState.UNKNOWN,
            address_s=self._limits.address_s,
            tick_s=self._limits.tick_s,
        )

    def _begin(self, hello: Hello) -> None:
        self._window.open({lane: self._log.last_seq(lane) for lane in Lane})
        self._faults.clear()
        self._leaving = False
        self._attended = hello.attended
        self._clock_state = self._clock.state()
        self._proved = False
        self._unsubscribed = [(topic, False) for topic in hello.subscriptions]
        self._unsubscribed += [(topic, True) for topic in hello.states]
        self._connected = True
        self._connections += 1
        self._since_ms = self._clock.now_ms()
        self._opened_s = self._looked_s = asyncio.get_running_loop().time()
        if self._failure is None:
            self._say.info("uplink connected", host=self._config.host, port=self._config.port)
        else:
            self._say.info("uplink is back", host=self._config.host, port=self._config.port)
        self._failure = None

    async def _subscribe(self, session: Session) -> None:
        """To what is still to be subscribed; what the broker refuses stays so."""
        wanted, self._unsubscribed = self._unsubscribed, []
        if not wanted:
            return
        for each, (code, name) in zip(wanted, await session.subscribe(wanted), strict=True):
            if code >= 0x80:
                self._unsubscribed.append(each)
                self._fault(each[0], f"the broker refuses the subscription {each[0]}: {name}")
            else:
                self._faults.pop(each[0], None)

    async def _subscribe_again(self, session: Session) -> None:
        """Measured: a NATS cluster that elects a leader refuses with 0x80 for some seconds.  Without its receipts an
        uplink would never be confirmed anything on this connection."""
        pause_s = self._limits.first_pause_s
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(60.0, 2 * pause_s) if self._unsubscribed else self._limits.first_pause_s
            try:
                await self._subscribe(session)
            except UplinkError as exc:
                session.give_up(str(exc))

    async def _serve(self, session: Session) -> Lost:
        async with asyncio.TaskGroup() as group:
            helping = (self._follow_commits(), self._save_regularly(), self._subscribe_again(session))
            helpers = [group.create_task(each) for each in helping]
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
        """Subscribes before anything is said: who hears of us may send commands at once."""
        try:
            await self._subscribe(session)
        except UplinkError as exc:
            return Lost(exc)
        self.introduce()
        return await self._pump(session)

    async def _pump(self, session: Session) -> Lost:
        while session.lost is None:
            if not await self._turn(session):
                await self._wake.wait()
            if self._leaving and session.lost is None:
                await self._say_goodbye(session)
                session.give_up("the receiver has gone", planned=True)
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
        now_s = asyncio.get_running_loop().time()
        said = {session.publish(message): message for message in self._dialect.farewell()}
        self._flights |= {mid: Flight(Item(Kind.FAREWELL, message), now_s) for mid, message in said.items()}
        with suppress(TimeoutError):  # the will says it a little later
            async with asyncio.timeout(self._limits.goodbye_s):
                while said.keys() & self._flights.keys() and session.lost is None:
                    self._wake.clear()
                    self._take_in(session)
                    await self._wake.wait()
        await session.disconnect(self._limits.goodbye_s)

    def _idle(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        nothing_waits = not self._attended or self._window.next_stream(now_s) is None
        return not self._flights and not self._outbox.queue and nothing_waits

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

    # --- what came ---

    def _take_in(self, session: Session) -> None:
        while session.acks:
            mid, code = session.acks.popleft()
            flight = self._flights.pop(mid, None)
            if flight is None:
                continue
            self._proved = True
            parcel = flight.item.of
            if not isinstance(parcel, Parcel):
                self._control_answered(flight.item, code)
            elif parcel.answered(code):
                self._envelope_answered(parcel.envelope, parcel.worst)
        while session.messages:
            for heard in self._dialect.hear(session.messages.popleft()):
                self._hear(heard)
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

    def _control_answered(self, item: Item, code: int) -> None:
        topic = item.message.topic
        if item.kind is Kind.CATALOG:
            self._catalog_strikes = 0
        if puback_verdict(code) is Verdict.DONE:
            self._faults.pop(topic, None)
        else:
            self._fault(topic, f"the broker refuses {topic}, code 0x{code:02x}")

    def _hear(self, heard: Heard) -> None:
        match heard:
            case Receipt():
                self._receipt(heard)
            case Introduce():
                self.introduce()
            case Attend(present):
                # Who sees the receiver go has to begin anew: what is said meanwhile nobody can put in order.
                self._leaving = self._leaving or (self._attended and not present)
                self._attended = present
            case Asked():
                self._begin_act(heard)
            case Desired(body):
                if self._on_desired is not None:
                    self._acts.create_task(self._on_desired(body, self._config.id))

    def _receipt(self, receipt: Receipt) -> None:
        if receipt.rate is not None:
            self._window.slow_down(receipt.rate)
        if receipt.epoch == self._log.epoch:
            committed, now_s = self._log.last_seq(receipt.lane), asyncio.get_running_loop().time()
            self._window.receipt(receipt.lane, receipt.upto, receipt.missing, committed, now_s)

    def _begin_act(self, asked: Asked) -> None:
        """Beside the pump, and not bound to this connection: a valve that is closing must not stop half way."""
        if self._acting >= _MAX_ACTS:
            self._answer(asked, Reply("rejected", "busy", f"{_MAX_ACTS} commands are under way"))
            return
        self._acting += 1
        self._acts.create_task(self._act(asked))

    async def _act(self, asked: Asked) -> None:
        try:
            self._answer(asked, await self._on_request(asked.request))
        finally:
            self._acting -= 1

    def _answer(self, asked: Asked, reply: Reply) -> None:
        self._outbox.answer(Answer(asked, reply))
        self._say_answers()

    def _say_answers(self) -> None:
        """When connected; else with the next introduction."""
        while self._connected and self._outbox.unsaid:
            answer = self._outbox.unsaid.popleft()
            self._outbox.add(Kind.ANSWER, self._dialect.answer(*answer), answer)
        self._wake.set()

    async def _refuse(self, request: Request) -> Reply:
        if request.id == "rebirth" and not request.retained:
            self.introduce()
            return Reply("ok")
        return Reply("rejected", "unsupported", "this gateway executes no commands")

    # --- the steps of a turn ---

    async def _read_ahead(self) -> None:
        """One page for each stream that has run dry, down to the first that has something to send."""
        now_s = asyncio.get_running_loop().time()
        for stream in self._window.streams:
            if stream.wants(self._log.last_seq(stream.lane)):
                await self._read(stream)
            if self._window.next_stream(now_s) is stream:
                return

    async def _read(self, stream: Stream) -> None:
        """Nothing while the log cannot be read: the next commit is the next attempt.  Raises StoreCorrupt."""
        position = stream.position
        try:
            page = await self._log.after(stream.lane, position, _PAGE)
        except StoreCorrupt:
            raise
        except StoreError as exc:
            self._fault("store", f"the store cannot be read: {exc.advice()}")
            stream.dry = True
            return
        self._faults.pop("store", None)
        if stream.position == position:  # else it has begun elsewhere meanwhile
            self._window.feed(stream, page)

    def _send(self, session: Session) -> bool:
        """What is queued, then the catalog, then envelopes of the most urgent stream.

        True when there may be more to send.
        """
        if session.lost is not None:
            return False
        now_s = asyncio.get_running_loop().time()
        if not self._send_queue(session, now_s) or not self._attended:
            return False
        self._queue_catalog(now_s)
        room = session.accepted.receive_maximum - len(self._flights)
        envelopes_only = all(isinstance(flight.item.of, Parcel) for flight in self._flights.values())
        sent_ms = self._clock.now_ms()
        batch = self._window.take(now_s, room, alone=self._proved and envelopes_only and not self._outbox.queue)
        for envelope, replay in batch:
            seen = envelope if self._view is None else self._view.items(envelope)
            messages = self._dialect.encode(seen, sent_ms=sent_ms, replay=replay)
            self._dispatch(session, envelope, messages)
        self._send_queue(session, now_s)
        if not batch and (wait_s := self._window.wait_s(now_s)) is not None:
            asyncio.get_running_loop().call_later(wait_s, self._wake.set)
        return bool(batch)

    def _dispatch(self, session: Session, envelope: Envelope, messages: Sequence[Outgoing]) -> None:
        limit = session.accepted.maximum_packet
        largest = max((packet_size(each.topic, each.payload) for each in messages), default=0)
        if limit is not None and largest > limit:
            self._window.too_large(envelope, largest, limit)
            return
        if not messages:
            self._window.answered(envelope, 0, asyncio.get_running_loop().time())
            return
        self._outbox.add(Kind.PART, messages, Parcel(envelope, len(messages)))
        self._sent += 1

    def _send_queue(self, session: Session, now_s: float) -> bool:
        """As much as the broker takes now; whether that was all."""
        queue = self._outbox.queue
        while queue and len(self._flights) < session.accepted.receive_maximum:
            item = queue.popleft()
            if isinstance(item.of, Parcel) or self._fits(session, item.message):
                self._flights[session.publish(item.message)] = Flight(item, now_s)
        return not queue

    def _fits(self, session: Session, message: Outgoing) -> bool:
        limit, size = session.accepted.maximum_packet, packet_size(message.topic, message.payload)
        size += 0 if message.correlation is None else 4 + len(message.correlation)
        if limit is None or size <= limit:
            return True
        self._fault(message.topic, f"{message.topic} is not sent: {size} bytes, the broker accepts {limit}")
        return False

    def _queue_catalog(self, now_s: float) -> None:
        """One message at a time, while nothing urgent waits: it may be large and the line slow."""
        outbox = self._outbox
        urgent = self._window.next_stream(now_s)
        if (urgent is not None and urgent.lane in ORDERED) or outbox.holds(Kind.CATALOG):
            return
        if outbox.catalog_due and not any(flight.item.kind is Kind.CATALOG for flight in self._flights.values()):
            outbox.catalog_due = False
            if self._catalog_strikes >= 3:
                self._fault("catalog", "the catalog is not sent: the connection broke each time")
                return
            outbox.catalog = deque(self._dialect.catalog())
        if outbox.catalog:
            outbox.add(Kind.CATALOG, [outbox.catalog.popleft()])

    def _watch(self, session: Session) -> None:
        """What has to be looked at now and then: acknowledgements, receipts, the clock, renewed certificates."""
        now_s = asyncio.get_running_loop().time()
        self._watch_acknowledgements(session, now_s)
        if now_s - self._looked_s < self._limits.tick_s:
            return
        self._looked_s = now_s
        self._window.remind(now_s)
        if (state := self._clock.state()) is not self._clock_state:
            self._clock_state = state
            self.introduce()
        if self._certificates != self._certificate_times() and session.lost is None:
            session.give_up("the certificate on disk is a new one", planned=True)

    def _watch_acknowledgements(self, session: Session, now_s: float) -> None:
        """End a connection on which they have stopped, unless a slow line is still taking bytes."""
        oldest = next(iter(self._flights.values()), None)
        if oldest is None or session.lost is not None:
            return
        waited_s = now_s - oldest.sent_s
        quiet_s = min(waited_s, now_s - session.progress_s)
        if quiet_s > self._limits.ack_s or waited_s > self._limits.slowest_ack_s:
            session.give_up(f"no acknowledgement for {waited_s:.0f} s")

    def _certificate_times(self) -> tuple[int, ...]:
        """When the files of the TLS section were written; 0 for one that is not there just now."""
        tls = self._config.tls
        return () if tls is None else tuple(_written_ns(path) for path in (tls.ca, tls.certificate, tls.key) if path)

    # --- what came of it ---

    def _after(self, lost: Lost) -> None:
        early = asyncio.get_running_loop().time() - self._opened_s < self._limits.short_session_s
        blame = early and self._proved and not lost.planned and lost.code not in BLAMELESS_DISCONNECTS
        flights = self._flights.values()
        if early and any(flight.item.kind is Kind.CATALOG for flight in flights):
            self._catalog_strikes += 1
        self._outbox.begin(flights)
        self._flights.clear()
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


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


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
