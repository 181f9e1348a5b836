"""The MQTT uplink: one connection after the other, for ever.

    run ──▶ back-off ──▶ Session ──▶ subscribe, introduce ──▶ turn, turn, turn … (delivery.py) ──▶ lost ──▶ back-off
                                        ▲                            │
                                        └──── Dialect.hear ◀─────────┘──▶ commands, a desired configuration: beside it

One task pumps, one follows the log's commits, one saves the progress, one subscribes again to what was refused; all
live exactly as long as a connection.
Commands that were heard run beside them, and go on when the connection breaks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from gateway.clock import Clock, ClockState
from gateway.config.models import UplinkModel, on_this_machine
from gateway.envelope import Envelope
from gateway.errors import UplinkError, UplinkRejected
from gateway.model import Lane
from gateway.uplink.backoff import Backoff
from gateway.uplink.contract import SESSION_TAKEN_OVER, Verdict, puback_verdict
from gateway.uplink.delivery import Delivery
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
from gateway.uplink.outbox import Answer
from gateway.uplink.privacy import View
from gateway.uplink.session import Lost, Options, Session, tls_context
from gateway.uplink.status import Faults, Limits, UplinkStatus

_CONTESTED = "the connection is accepted and soon broken, again and again: does another client use this client id?"
_FORBIDDEN_PAUSE_S, _REFUSED_PAUSE_S = 60.0, 10.0
"""Between two attempts to subscribe, at most: where rights are missing, and where the refusal may pass by itself."""
_MAX_ACTS = 16
"""Commands of one uplink under way at the same time."""


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
        self._dialect = dialect
        self._clock = clock
        self._barred = barred
        self._on_request = on_request or self._refuse
        self._on_desired = on_desired
        self._limits = limits or Limits()
        self._jitter = jitter
        self._wake = asyncio.Event()
        self._faults = Faults(config.id)
        self._delivery = Delivery(
            config,
            log,
            dialect,
            clock,
            self._faults,
            self._limits,
            self._wake.set,
            on_quarantine=on_quarantine,
            view=view,
        )
        self._acts: asyncio.TaskGroup
        self._acting = 0
        self._leaving = False
        self._renewed = False  # there is a new certificate on disk
        self._connected = False
        self._since_ms: int | None = None
        self._opened_s = 0.0
        self._looked_s = 0.0
        self._clock_state = ClockState.UNKNOWN
        self._certificates: tuple[int, ...] = ()
        self._failure: UplinkError | None = None
        self._contested = False
        self._unsubscribed: list[tuple[str, bool]] = []  # (topic, whether its retained message is wanted)
        self._forbidden = False  # something of it, by the broker's rights
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
            opened = self._delivery.counters.connections
            lost = await self._connection()
            now_s = loop.time()
            accepted = self._delivery.counters.connections > opened
            short = accepted and now_s - self._opened_s < self._limits.short_session_s
            if accepted and not short:
                backoff.reset()
                down_since_s = now_s
            if lost.planned:
                continue
            delay_s = backoff.delay_s(
                now_s - down_since_s,
                rejected=isinstance(lost.error, UplinkRejected),
                fought=lost.code == SESSION_TAKEN_OVER,
                broke=short and lost.cut,
                worked=self._delivery.proved,
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
        """Without a connection it is dropped."""
        if self._connected:
            self._delivery.health(snapshot)

    def introduce(self) -> None:
        """Say again who we are and what we have: somebody may have missed it, or it has changed."""
        if self._connected:
            self._delivery.introduce()

    def resend(self, lane: Lane, from_seq: int, to_seq: int) -> None:
        """Send these once more, as far as the log still has them.  Raises ValueError: too many."""
        self._delivery.resend(lane, from_seq, to_seq)

    @property
    def status(self) -> UplinkStatus:
        delivery, counters = self._delivery, self._delivery.counters
        failure = None if self._connected else self._failure
        contested = self._contested and not self._has_held()
        return UplinkStatus(
            connected=self._connected,
            since_ms=self._since_ms,
            error=str(failure or ""),
            hint=_CONTESTED if contested else (failure.hint if failure else ""),
            needs_person=isinstance(failure, UplinkRejected) or contested,
            faults=tuple(self._faults),
            in_flight=delivery.in_flight,
            oldest_in_flight_s=delivery.oldest_in_flight_s(),
            sent=counters.sent,
            acknowledged=counters.acknowledged,
            unheard=counters.unheard,
            unconfirmed=delivery.unconfirmed,
            quarantined=counters.quarantined,
            reconnects=max(0, counters.connections - 1),
        )

    def _has_held(self) -> bool:
        """The present connection is not one of those that soon break."""
        return self._connected and asyncio.get_running_loop().time() - self._opened_s >= self._limits.short_session_s

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
                self._take_in(session)  # what came with the end
                early = asyncio.get_running_loop().time() - self._opened_s < self._limits.short_session_s
                self._delivery.ended(lost, early=early)
                self._since_ms = self._clock.now_ms()
                await self._delivery.save()
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
        self._delivery.begin(attended=hello.attended)
        self._faults.clear()
        self._leaving = self._renewed = False
        self._clock_state = self._clock.state()
        self._unsubscribed = [(topic, False) for topic in hello.subscriptions]
        self._unsubscribed += [(topic, True) for topic in hello.states]
        self._connected = True
        self._delivery.counters.connections += 1
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
        answers = await session.subscribe(wanted)
        for each, (code, name) in zip(wanted, answers, strict=True):
            if code >= 0x80:
                self._unsubscribed.append(each)
                self._faults.note(each[0], f"the broker refuses the subscription {each[0]}: {name}")
            else:
                self._faults.over(each[0])
        self._forbidden = any(puback_verdict(code) is Verdict.QUARANTINE for code, _ in answers)
        if len(self._unsubscribed) < len(wanted):
            self._delivery.expect_receipts()

    async def _subscribe_again(self, session: Session) -> None:
        """Without its receipts an uplink would never be confirmed anything on this connection.

        Measured: a NATS cluster of three refuses with 0x80 for some seconds while it elects a leader, and then up to
        every second time as long as a node is dead.  So such a refusal is soon tried again.
        """
        pause_s = self._limits.first_pause_s
        while True:
            await asyncio.sleep(pause_s)
            longest_s = _FORBIDDEN_PAUSE_S if self._forbidden else _REFUSED_PAUSE_S
            pause_s = min(longest_s, 2 * pause_s) if self._unsubscribed else self._limits.first_pause_s
            try:
                await self._subscribe(session)
            except UplinkError as exc:
                session.give_up(str(exc))

    async def _serve(self, session: Session) -> Lost:
        async with asyncio.TaskGroup() as group:
            helping = (self._delivery.follow_commits(), self._save_regularly(), self._subscribe_again(session))
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
            return session.lost or Lost(exc)
        self.introduce()
        return await self._pump(session)

    async def _pump(self, session: Session) -> Lost:
        while session.lost is None:
            if not await self._turn(session):
                await self._wake.wait()
            if self._leaving:
                await self._say_goodbye(session, self._dialect.farewell(), reason="the receiver has gone")
            elif self._renewed:
                await self._say_goodbye(session, (), reason="the certificate on disk is a new one")
        return session.lost

    async def _turn(self, session: Session) -> bool:
        """Take in what came, send what may go.  False when there is nothing to do until something happens."""
        self._wake.clear()
        self._take_in(session)
        sent = await self._delivery.turn(session)
        self._watch()
        return sent

    async def _drain(self, session: Session) -> None:
        """Deliver on until the log is empty or the deadline comes, then leave in an orderly way."""
        limits = self._limits
        try:
            async with asyncio.timeout(limits.drain_s):
                while session.lost is None:
                    if await self._turn(session):
                        continue
                    if self._delivery.idle():
                        break
                    await self._wake.wait()
        except TimeoutError:
            self._say.info("uplink stops with envelopes still on their way", count=self._delivery.in_flight)
        await self._delivery.save()
        await self._say_goodbye(session, self._dialect.farewell())
        self._take_in(session)
        await self._delivery.save()

    async def _say_goodbye(self, session: Session, messages: Sequence[Outgoing], *, reason: str = "") -> None:
        """*reason*: why, when we come back at once; then everything on its way is waited for.  (A socket that is closed
        while acknowledgements wait in it is reset, and the broker may never read the DISCONNECT.)"""
        if session.lost is not None:
            return
        said = self._delivery.say(session, messages)
        awaited = self._delivery.on_its_way() if reason else said
        with suppress(TimeoutError):  # the will says it a little later
            async with asyncio.timeout(self._limits.goodbye_s):
                while awaited & self._delivery.on_its_way() and session.lost is None:
                    self._wake.clear()
                    self._take_in(session)
                    await self._wake.wait()
        await session.disconnect(self._limits.goodbye_s, reason=reason)

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._limits.save_s)
            await self._delivery.save()

    # --- what came ---

    def _take_in(self, session: Session) -> None:
        for heard in self._delivery.take_in(session):
            self._hear(heard)

    def _hear(self, heard: Heard) -> None:
        match heard:
            case Receipt():
                self._delivery.receipt(heard)
            case Introduce():
                self.introduce()
            case Attend(present):
                # Who sees the receiver go has to begin anew: what is said meanwhile nobody can put in order.
                self._leaving = self._leaving or (self._delivery.attended and not present)
                self._delivery.attended = present
            case Asked():
                self._begin_act(heard)
            case Desired(body):
                if self._on_desired is not None:
                    self._acts.create_task(self._on_desired(body, self._config.id))

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
        self._delivery.answer(Answer(asked, reply))

    async def _refuse(self, request: Request) -> Reply:
        if request.id == "rebirth" and not request.retained:
            self.introduce()
            return Reply("ok")
        return Reply("rejected", "unsupported", "this gateway executes no commands")

    def _watch(self) -> None:
        """What has to be looked at now and then: receipts, the clock, renewed certificates."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_s < self._limits.tick_s:
            return
        self._looked_s = now_s
        self._delivery.remind()
        if (state := self._clock.state()) is not self._clock_state:
            self._clock_state = state
            self.introduce()
        self._watch_certificates()

    def _watch_certificates(self) -> None:
        """Come back with the new files; not before they can be used, for a certificate is written before its key."""
        tls, times = self._config.tls, self._certificate_times()
        if tls is None or times == self._certificates:
            return
        self._certificates = times
        try:
            tls_context(tls)
        except UplinkRejected as exc:
            self._faults.note("certificate", f"the new certificate is not used: {exc.advice()}")
        else:
            self._renewed = True

    def _certificate_times(self) -> tuple[int, ...]:
        """When the files of the TLS section were written; 0 for one that is not there just now."""
        tls = self._config.tls
        return () if tls is None else tuple(_written_ns(path) for path in (tls.ca, tls.certificate, tls.key) if path)

    # --- what came of it ---

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
    if config.tls is None and not config.allow_plaintext and not on_this_machine(config.host):
        raise UplinkRejected(
            f"uplink {config.id}: plain TCP to {config.host} is refused",
            hint="add a tls section (empty for the system's authorities), or set allow_plaintext on a test network",
        )
