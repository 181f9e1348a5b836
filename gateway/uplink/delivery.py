"""One uplink's delivery: from the log to the connection, and back from its answers to the cursor.

    log ──▶ _read_ahead ──▶ Window.take ──▶ View ──▶ Dialect.encode ──▶ Outbox ──▶ Session.publish
     ▲                                                                                   │
     └── acknowledge ◀── Window.answered ◀────────────────────────────────── Session.acks ┘
                     ◀── Window.receipt  ◀── (mqtt.py hears the platform)

It lives as long as the uplink; ``begin`` and ``ended`` mark one connection.  It starts no task and waits for nothing
but the log.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gateway.clock import Clock
from gateway.config.models import UplinkModel
from gateway.envelope import Envelope
from gateway.errors import StoreCorrupt, StoreError
from gateway.model import Lane
from gateway.uplink.contract import BLAMELESS_DISCONNECTS, NO_SUBSCRIBERS, Verdict, packet_size, puback_verdict
from gateway.uplink.dialect import Dialect, Heard, Outgoing, Receipt
from gateway.uplink.log import Log
from gateway.uplink.outbox import Answer, Flight, Item, Kind, Outbox, Parcel
from gateway.uplink.privacy import View
from gateway.uplink.session import Lost, Session
from gateway.uplink.status import Counters, Faults, Limits
from gateway.uplink.window import ORDERED, Stream, Window

_PAGE = 64
"""Envelopes read from the log at a time."""
_CATALOG_BREAKS = 3
"""Connections that broke while the catalog was on its way: after so many, the data go without it ..."""
_CATALOG_REST_S = 3600.0
"""... for so long: perhaps it was not to blame."""


class Delivery:
    def __init__(
        self,
        config: UplinkModel,
        log: Log,
        dialect: Dialect,
        clock: Clock,
        faults: Faults,
        limits: Limits,
        wake: Callable[[], None],
        *,
        on_quarantine: Callable[[Envelope, str], None],
        view: View | None,
    ) -> None:
        """*wake*: called when there may be something to send."""
        self._config = config
        self._log = log
        self._dialect = dialect
        self._clock = clock
        self._limits = limits
        self._wake = wake
        self._on_quarantine = on_quarantine
        self._view = view
        self._window = Window(
            {lane: log.cursor(config.id, lane) for lane in Lane},
            config.window,
            receipts=config.delivery == "receipt" and dialect.receipts,
            replay_rate=config.replay_rate,
            first_pause_s=limits.first_pause_s,
            patience_s=limits.receipt_s,
        )
        self._outbox = Outbox()
        self._flights: dict[int, Flight] = {}
        self._introduced = False
        self._catalog_strikes = 0
        self._catalog_struck_s = 0.0
        self._patience_s = limits.ack_s  # for a PUBACK
        self._proved = False  # the broker has acknowledged something on this connection
        self.attended = True
        """Whether the receiver is there; while it is not, envelopes stay in the log."""
        self.faults = faults
        self.counters = Counters()

    @property
    def proved(self) -> bool:
        """Whether the broker has acknowledged something on this connection, or on the last one."""
        return self._proved

    # --- one connection ---

    def begin(self, *, attended: bool) -> None:
        self._window.open({lane: self._log.last_seq(lane) for lane in Lane})
        self._introduced = False
        self._proved = False
        self.attended = attended

    def ended(self, lost: Lost, *, early: bool) -> None:
        """*early*: it has not held for long."""
        self._introduced = False
        unexplained = self._proved and not lost.planned and lost.code not in BLAMELESS_DISCONNECTS
        flights = self._flights.values()
        if unexplained and any(flight.item.kind is Kind.CATALOG for flight in flights):
            self._catalog_strikes += 1
            self._catalog_struck_s = _now_s()
        self._outbox.begin(flights)
        self._flights.clear()
        self._window.lost(blame=early and unexplained)

    async def turn(self, session: Session) -> bool:
        """Read on, send what may go.  False when there is nothing to do until something happens."""
        await self._read_ahead()
        sent = self._send(session)
        self._report_quarantined()
        self._watch_acknowledgements(session)
        return sent

    async def save(self) -> None:
        self._report_quarantined()
        progress = self._window.take_progress()
        if progress:
            await self._log.acknowledge(self._config.id, progress)

    async def follow_commits(self) -> None:
        """Until cancelled."""
        seen = 0
        while True:
            seen = await self._log.wait_for_commit(seen)
            self._window.committed()
            self._wake()

    def idle(self) -> bool:
        nothing_waits = not self.attended or self._window.next_stream(_now_s()) is None
        return not self._flights and not self._outbox.queue and nothing_waits

    # --- what is to be said beside the log ---

    def introduce(self) -> None:
        self._outbox.introduce(self._dialect.introduce())
        self._introduced = True
        self._say_answers()
        self._wake()

    def answer(self, answer: Answer) -> None:
        """After the introduction, of this connection or of the next, and when the receiver is there."""
        self._outbox.answer(answer)
        self._say_answers()
        self._wake()

    def _say_answers(self) -> None:
        while self._introduced and self.attended and self._outbox.unsaid:
            answer = self._outbox.unsaid.popleft()
            self._outbox.add(Kind.ANSWER, self._dialect.answer(*answer), answer)

    def health(self, snapshot: Mapping[str, Any]) -> None:
        """Not stored: dropped while an older one waits for the line."""
        if not self._outbox.holds(Kind.HEALTH):
            seen = snapshot if self._view is None else self._view.health(snapshot)
            self._outbox.add(Kind.HEALTH, self._dialect.health(seen))
            self._wake()

    def say(self, session: Session, messages: Iterable[Outgoing]) -> set[int]:
        """At once, past everything that waits; the message ids."""
        now_s = _now_s()
        said = {session.publish(message): Flight(Item(Kind.FAREWELL, message), now_s) for message in messages}
        self._flights |= said
        return set(said)

    def on_its_way(self) -> set[int]:
        """Message ids."""
        return set(self._flights)

    # --- what came ---

    def take_in(self, session: Session) -> list[Heard]:
        """What the broker has acknowledged; and what the platform wants."""
        soon_s = _now_s() - self._limits.ack_s / 2
        while session.acks:
            mid, code = session.acks.popleft()
            flight = self._flights.pop(mid, None)
            if flight is None:
                continue
            self._proved = True
            if flight.sent_s > soon_s:
                self._patience_s = self._limits.ack_s
            parcel = flight.item.of
            if not isinstance(parcel, Parcel):
                self._control_answered(flight.item, code)
            elif parcel.answered(code):
                self._envelope_answered(parcel.envelope, parcel.worst)
        heard: list[Heard] = []
        while session.messages:
            heard += self._dialect.hear(session.messages.popleft())
        if session.dropped_messages:
            self.faults.note("flood", f"{session.dropped_messages} commands or receipts dropped: too many at once")
        return heard

    def _envelope_answered(self, envelope: Envelope, code: int) -> None:
        verdict = self._window.answered(envelope, code, _now_s())
        if verdict is Verdict.DONE:
            self.counters.acknowledged += 1
            self.counters.unheard += code == NO_SUBSCRIBERS
            self.faults.over(envelope.lane)
        else:
            self.faults.note(envelope.lane, f"lane {envelope.lane}: refused by the broker, code 0x{code:02x}")

    def _control_answered(self, item: Item, code: int) -> None:
        topic = item.message.topic
        if item.kind is Kind.CATALOG:
            self._catalog_strikes = 0
            self.faults.over("catalog")
        if puback_verdict(code) is Verdict.DONE:
            self.faults.over(topic)
        else:
            self.faults.note(topic, f"the broker refuses {topic}, code 0x{code:02x}")

    def receipt(self, receipt: Receipt) -> None:
        if receipt.rate is not None:
            self._window.slow_down(receipt.rate)
        if receipt.epoch == self._log.epoch:
            committed, now_s = self._log.last_seq(receipt.lane), _now_s()
            self._window.receipt(receipt.lane, receipt.upto, receipt.missing, committed, now_s)

    def expect_receipts(self) -> None:
        """There is a subscription more: what was not confirmed may be from here on."""
        self._window.expect_receipts()

    def remind(self) -> None:
        """Now and then: the platform may have forgotten to say what it has."""
        self._window.remind(_now_s())

    def resend(self, lane: Lane, from_seq: int, to_seq: int) -> None:
        """Raises ValueError: too many."""
        self._window.again(lane, from_seq, to_seq)
        self._wake()

    # --- figures ---

    @property
    def in_flight(self) -> int:
        return self._window.in_flight

    @property
    def unconfirmed(self) -> int:
        return self._window.out

    def oldest_in_flight_s(self) -> float | None:
        oldest = next(iter(self._flights.values()), None)
        return _now_s() - oldest.sent_s if oldest else None

    # --- the steps of a turn ---

    async def _read_ahead(self) -> None:
        """One page for each stream that has run dry, down to the first that has something to send."""
        now_s = _now_s()
        for stream in self._window.streams:
            if stream.wants(self._log.last_seq(stream.lane)):
                await self._read(stream)
            if self._window.may_go(stream, now_s):
                return

    async def _read(self, stream: Stream) -> None:
        """Nothing while the log cannot be read: the next commit is the next attempt.  Raises StoreCorrupt."""
        position = stream.position
        try:
            page = await self._log.after(stream.lane, position, _PAGE)
        except StoreCorrupt:
            raise
        except StoreError as exc:
            self.faults.note("store", f"the store cannot be read: {exc.advice()}")
            stream.dry = True
            return
        self.faults.over("store")
        if stream.position == position:  # else it has begun elsewhere meanwhile
            self._window.feed(stream, page)

    def _send(self, session: Session) -> bool:
        """What is queued, then the catalog, then envelopes of the most urgent stream.

        True when there may be more to send.
        """
        if session.lost is not None:
            return False
        now_s = _now_s()
        if not self._send_queue(session, now_s) or not self.attended:
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
            asyncio.get_running_loop().call_later(wait_s, self._wake)
        return bool(batch)

    def _dispatch(self, session: Session, envelope: Envelope, messages: Sequence[Outgoing]) -> None:
        limit = session.accepted.maximum_packet
        largest = max((packet_size(each.topic, each.payload) for each in messages), default=0)
        if limit is not None and largest > limit:
            self._window.too_large(envelope, largest, limit)
            return
        if not messages:
            self._window.answered(envelope, 0, _now_s())
            return
        self._outbox.add(Kind.PART, messages, Parcel(envelope, len(messages)))
        self.counters.sent += 1

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
        self.faults.note(message.topic, f"{message.topic} is not sent: {size} bytes, the broker accepts {limit}")
        return False

    def _queue_catalog(self, now_s: float) -> None:
        """One message at a time, while nothing urgent waits: it may be large and the line slow."""
        outbox = self._outbox
        urgent = self._window.next_stream(now_s)
        if (urgent is not None and urgent.lane in ORDERED) or outbox.holds(Kind.CATALOG):
            return
        if outbox.catalog_due and not any(flight.item.kind is Kind.CATALOG for flight in self._flights.values()):
            if self._catalog_strikes >= _CATALOG_BREAKS and now_s - self._catalog_struck_s < _CATALOG_REST_S:
                self.faults.note("catalog", "the catalog is not sent: the connection broke each time")
                return
            outbox.catalog_due = False
            outbox.catalog = deque(self._dialect.catalog())
        if outbox.catalog:
            outbox.add(Kind.CATALOG, [outbox.catalog.popleft()])

    def _watch_acknowledgements(self, session: Session) -> None:
        """End a connection on which they have stopped, unless a slow line is still taking bytes."""
        oldest = next(iter(self._flights.values()), None)
        if oldest is None or session.lost is not None:
            return
        now_s = _now_s()
        waited_s = now_s - oldest.sent_s
        quiet_s = min(waited_s, now_s - session.progress_s)
        if quiet_s > self._patience_s or waited_s > self._limits.slowest_ack_s:
            if not self._proved:
                self._patience_s = min(2 * self._patience_s, self._limits.slowest_ack_s)
            session.give_up(f"no acknowledgement for {waited_s:.0f} s")

    def _report_quarantined(self) -> None:
        for envelope, reason in self._window.take_quarantined():
            self.counters.quarantined += 1
            self._on_quarantine(envelope, reason)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
