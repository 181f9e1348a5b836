"""Which envelope goes next, and how far the log is delivered.  Pure and synchronous; the caller does the I/O.

What an uplink still owes the platform lies in streams, asked in this order:

    alarm, event, gap                    each strictly in order of its numbers
    billing, telemetry, bulk, now        what was committed since this connection was accepted
    all lanes, again                     ranges the platform has asked for once more      ┐ under the token bucket,
    billing, telemetry, bulk, late       what had been waiting when it was accepted       ┘ and marked ``replay``

Invariants (tests/uplink/test_window.py checks them against random interleavings):
- A lane's cursor passes an envelope only after it was settled, or after it was quarantined and reported.
- A stream sends only while no more urgent one has anything that may be sent.
- What is not settled when a connection ends is read and sent again on the next one, from the cursor.
- What was settled out of order is not sent again.

Settled means: the broker has acknowledged it; with receipts, the platform itself has.  Between the two an envelope is
*out*: the broker has it, and nobody knows whether the platform has.  At most OUT of a lane are, which also bounds what
piles up in the broker while the platform is away.  What a receipt calls missing is sent again; so is the oldest one out
when no receipt has come for a while (a platform answers what it knows already with its receipt); and when it has come,
whatever has been out for long and is not in it.

An envelope can break every connection it is sent on (a broker that disconnects instead of refusing).  So what was on
its way when a connection broke is *suspect*: on the next one each suspect travels alone, and only after the broker has
acknowledged something else.  Three connections in a row that break early with the same suspect alone on its way
prove it; it is quarantined.  A broker that is simply down proves nothing, because it acknowledges nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gateway.bucket import Bucket
from gateway.envelope import Envelope
from gateway.model import Lane
from gateway.spans import Spans
from gateway.uplink.contract import TOPIC_REFUSALS, Verdict, puback_verdict

MAX_BYTES = 64 * 1024
"""On their way at the same time: on a line of 5 kB/s an alarm must not queue behind twenty full envelopes."""
ORDERED = frozenset({Lane.ALARM, Lane.EVENT, Lane.GAP})
"""Lanes in which the past goes before the present: an alarm that has ended must not be seen before it was raised."""
OUT = 1000
"""Envelopes of a lane that the broker has and the platform has not confirmed."""
LONGEST_ASKING = 100_000
"""Numbers of a lane that may be waiting to be sent again because the platform has asked for them."""


class Sending(NamedTuple):
    envelope: Envelope
    replay: bool


class Quarantined(NamedTuple):
    envelope: Envelope
    reason: str


class Stream:
    """A run of one lane's numbers on its way from the log."""

    __slots__ = ("dry", "lane", "late", "pending", "position", "upto")

    def __init__(self, lane: Lane, *, late: bool) -> None:
        self.lane = lane
        self.late = late
        """Under the token bucket."""
        self.position = 0
        """Read through here."""
        self.upto: int | None = 0
        """Its last number; None: it grows with the log."""
        self.pending: deque[Envelope] = deque()
        self.dry = False
        """The last page was empty."""

    def restart(self, position: int, upto: int | None) -> None:
        self.position, self.upto = position, upto
        self.pending.clear()
        self.dry = False

    def wants(self, last_seq: int) -> bool:
        """Whether the log should be read on, from ``position``."""
        end = last_seq if self.upto is None else min(self.upto, last_seq)
        return not self.pending and not self.dry and self.position < end

    def back_to(self, seq: int) -> None:
        """Read *seq* again, and what has been read and not sent."""
        if seq <= self.position:
            first = min(seq, self.pending[0].seq) if self.pending else seq
            self.restart(first - 1, self.upto)

    def give_back(self, envelope: Envelope) -> None:
        place = 0
        while place < len(self.pending) and self.pending[place].seq < envelope.seq:
            place += 1
        self.pending.insert(place, envelope)


class _Lane:
    """One lane's way from the log to its cursor."""

    __slots__ = (
        "ahead",
        "asked",
        "backlog_upto",
        "cursor",
        "flying",
        "main",
        "now",
        "out",
        "past",
        "patience_s",
        "pause_s",
        "paused_until_s",
        "probed_s",
        "repeated",
    )

    def __init__(self, lane: Lane, cursor: int, patience_s: float) -> None:
        self.cursor = self.backlog_upto = cursor
        self.ahead = Spans()  # settled numbers beyond the cursor
        self.flying: dict[int, Envelope] = {}
        self.out: dict[int, float] = {}  # number -> when the broker took it; only with receipts
        self.repeated: set[int] = set()  # numbers that were out and go again
        self.main = Stream(lane, late=lane not in ORDERED)
        self.now = self.main if lane in ORDERED else Stream(lane, late=False)
        self.past = Stream(lane, late=True)
        self.asked: deque[tuple[int, int]] = deque()  # ranges the platform wants again
        self.pause_s = 0.0  # greater than 0: the lane was refused, and is probed with one envelope at a time
        self.paused_until_s = 0.0
        self.probed_s: float | None = None
        self.patience_s = patience_s
        self.main.restart(cursor, None if self.now is self.main else cursor)
        self.now.restart(cursor, None)

    def restart(self, backlog_upto: int) -> None:
        self.backlog_upto = backlog_upto
        unsent = [(each.seq, each.seq) for each in self.past.pending]
        if self.past.upto is not None and self.past.position < self.past.upto:
            unsent.append((self.past.position + 1, self.past.upto))
        self.asked.extendleft(reversed(unsent))
        self.past.restart(0, 0)
        self.load_past()
        self.main.restart(self.cursor, None if self.now is self.main else backlog_upto)
        if self.now is not self.main:
            self.now.restart(backlog_upto, None)

    def knows(self, seq: int) -> bool:
        """It need not be sent now."""
        return seq <= self.cursor or seq in self.out or seq in self.flying or seq in self.ahead

    def stream_of(self, seq: int) -> Stream:
        if seq <= self.cursor:
            return self.past
        return self.now if seq > self.backlog_upto else self.main

    def settle(self, first: int, last: int) -> None:
        """Nothing when last < first."""
        if last < first:
            return
        self.ahead.add(first, last)
        self.cursor = self.ahead.take_run_after(self.cursor)
        for seq in [seq for seq in self.out if first <= seq <= last]:
            del self.out[seq]
        if self.repeated:
            self.repeated = {seq for seq in self.repeated if not first <= seq <= last}

    def forget_known(self) -> None:
        """Of what was read ahead, what need not be sent any more."""
        for stream in (self.main, self.now):
            if any(self.knows(each.seq) for each in stream.pending):
                stream.pending = deque(each for each in stream.pending if not self.knows(each.seq))

    def load_past(self) -> None:
        """Begin with the next range the platform has asked for, when the last one is through."""
        if self.asked and not self.past.pending and self.past.position >= (self.past.upto or 0):
            first, last = self.asked.popleft()
            self.past.restart(first - 1, last)

    def may_send(self, now_s: float) -> bool:
        if now_s < self.paused_until_s or (self.pause_s and self.flying):
            return False
        return len(self.out) + len(self.flying) < OUT

    def send_again(self, numbers: Iterable[int]) -> None:
        """These were out, and have to go once more."""
        for seq in sorted(numbers):
            del self.out[seq]
            self.repeated.add(seq)
            self.stream_of(seq).back_to(seq)
        self.now.dry = self.main.dry = False


class Window:
    """The state of one uplink's delivery, kept across connections."""

    def __init__(
        self,
        cursors: Mapping[Lane, int],
        size: int,
        *,
        receipts: bool = False,
        replay_rate: float = 2000.0,
        strikes: int = 3,
        first_pause_s: float = 1.0,
        longest_pause_s: float = 60.0,
        patience_s: float = 30.0,
        longest_patience_s: float = 600.0,
    ) -> None:
        """*receipts*: an envelope is settled by the platform, not by the broker.  patience_s: for a receipt."""
        self._lanes = {lane: _Lane(lane, cursors[lane], patience_s) for lane in Lane}
        lanes = self._lanes.values()
        self._streams: Sequence[Stream] = (
            *(state.main for lane, state in self._lanes.items() if lane in ORDERED),
            *(state.now for lane, state in self._lanes.items() if lane not in ORDERED),
            *(state.past for state in lanes),
            *(state.main for lane, state in self._lanes.items() if lane not in ORDERED),
        )
        self._size = size
        self._receipts = receipts
        self._allowed_rate = replay_rate
        self._bucket = Bucket(replay_rate)
        self._strikes_allowed = strikes
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._patience_s = patience_s
        self._longest_patience_s = longest_patience_s
        self._flying = 0
        self._flying_bytes = 0
        self._suspects: set[tuple[Lane, int]] = set()
        self._strikes: dict[tuple[Lane, int], int] = {}
        self._quarantined: list[Quarantined] = []
        self._saved = {lane: cursors[lane] for lane in Lane}

    @property
    def in_flight(self) -> int:
        return self._flying

    @property
    def out(self) -> int:
        """Envelopes that the broker has and the platform has not confirmed."""
        return sum(len(state.out) for state in self._lanes.values())

    def cursor(self, lane: Lane) -> int:
        return self._lanes[lane].cursor

    # --- the connection ---

    def open(self, committed: Mapping[Lane, int]) -> None:
        """A connection was accepted.  *committed*: the log's last numbers at this moment."""
        for lane, state in self._lanes.items():
            state.restart(committed[lane])
        self.expect_receipts()

    def lost(self, *, blame: bool) -> None:
        """The connection is gone.  *blame*: it broke early, without a reason of its own, on a broker that worked."""
        flying = [envelope for state in self._lanes.values() for envelope in state.flying.values()]
        if flying:
            self._suspects = {(envelope.lane, envelope.seq) for envelope in flying}
        if blame and len(flying) == 1:
            self._strike(flying[0], "the connection broke each time it was sent")
        self._flying = self._flying_bytes = 0
        for state in self._lanes.values():
            again = [(seq, seq) for seq in state.flying if seq <= state.cursor]
            state.asked.extendleft(reversed(again))
            state.flying.clear()

    # --- reading ahead ---

    @property
    def streams(self) -> Sequence[Stream]:
        """Most urgent first.  Read for each that ``wants``, down to the first that ``may_go``."""
        return self._streams

    def feed(self, stream: Stream, page: Sequence[Envelope]) -> None:
        """*page*: the log's entries after ``stream.position``; an empty one ends the reading until ``committed()``.

        Numbers that the log has skipped will never come, and are settled.
        """
        state = self._lanes[stream.lane]
        stream.dry = not page
        if stream is state.past:
            self._feed_past(state, page)
            return
        for envelope in page:
            if stream.upto is not None and envelope.seq > stream.upto:
                break
            state.settle(stream.position + 1, envelope.seq - 1)
            stream.position = envelope.seq
            if not state.knows(envelope.seq):
                stream.pending.append(envelope)
        ended = not page or (stream.upto is not None and page[-1].seq > stream.upto)
        if ended and stream.upto is not None:
            state.settle(stream.position + 1, stream.upto)
            stream.position = stream.upto

    def _feed_past(self, state: _Lane, page: Sequence[Envelope]) -> None:
        past = state.past
        upto = past.upto or 0
        past.pending.extend(each for each in page if each.seq <= upto and each.seq not in state.flying)
        past.position = upto if not page else min(upto, page[-1].seq)
        state.load_past()

    def committed(self) -> None:
        """The log has grown."""
        for stream in self._streams:
            stream.dry = False

    def next_stream(self, now_s: float) -> Stream | None:
        """The stream that would send next."""
        for stream in self._streams:
            if self.may_go(stream, now_s):
                return stream
        return None

    def wait_s(self, now_s: float) -> float | None:
        """How long the token bucket keeps back what could go; None when it keeps back nothing."""
        if any(stream.late and stream.pending for stream in self._streams) and not self._bucket.ready(now_s):
            return self._bucket.wait_s()
        return None

    # --- sending ---

    def take(self, now_s: float, room: int, *, alone: bool) -> list[Sending]:
        """What to publish now, of one stream; from here on it counts as on its way.

        Only one, because a more urgent one may have more in the log than was read: read on between two calls,
        and call again until nothing comes.  *room*: how many the broker still accepts.  *alone*: nothing but
        envelopes is on its way, and the broker has acknowledged something on this connection; suspects wait for that.
        """
        batch: list[Sending] = []
        stream = self.next_stream(now_s)
        if stream is None:
            return batch
        state = self._lanes[stream.lane]
        room = min(room, self._size - self._flying)
        while len(batch) < room and self.may_go(stream, now_s) and self._fits(stream.pending[0], alone=alone):
            envelope = stream.pending.popleft()
            if stream is state.past:
                state.load_past()
            if stream.late:
                self._bucket.spend()
            state.flying[envelope.seq] = envelope
            self._flying += 1
            self._flying_bytes += len(envelope.items)
            batch.append(Sending(envelope, envelope.seq <= state.backlog_upto or envelope.seq in state.repeated))
        return batch

    def may_go(self, stream: Stream, now_s: float) -> bool:
        """Whether *stream* has anything that may be sent now."""
        if not stream.pending or not self._lanes[stream.lane].may_send(now_s):
            return False
        return not stream.late or self._bucket.ready(now_s)

    def _fits(self, envelope: Envelope, *, alone: bool) -> bool:
        if self._flying == 0:
            return alone or (envelope.lane, envelope.seq) not in self._suspects
        if self._flying_bytes + len(envelope.items) > MAX_BYTES:
            return False
        if not self._suspects:
            return True
        return (envelope.lane, envelope.seq) not in self._suspects and not self._suspect_flying()

    def _suspect_flying(self) -> bool:
        return any((lane, seq) in self._suspects for lane, state in self._lanes.items() for seq in state.flying)

    # --- the broker's answers ---

    def answered(self, envelope: Envelope, code: int, now_s: float) -> Verdict:
        """A PUBACK came.  *code*: its reason code."""
        state = self._land(envelope)
        verdict = puback_verdict(code)
        if verdict is Verdict.DONE:
            state.pause_s = state.paused_until_s = 0.0
            self._done(state, envelope, now_s)
            return verdict
        if verdict is Verdict.QUARANTINE and code not in TOPIC_REFUSALS:
            self._quarantine(envelope, f"refused by the broker, code 0x{code:02x}")
            return verdict
        oldest = not state.flying or envelope.seq < min(state.flying)
        oldest = oldest and all(each.seq > envelope.seq for each in state.stream_of(envelope.seq).pending)
        state.stream_of(envelope.seq).give_back(envelope)
        self._pause(state, now_s)
        if verdict is Verdict.QUARANTINE and oldest:
            self._strike(envelope, f"topic refused by the broker, code 0x{code:02x}")
        return verdict

    def too_large(self, envelope: Envelope, size_bytes: int, limit_bytes: int) -> None:
        """It was taken, but may not be published: the broker would end the connection."""
        self._land(envelope)
        self._quarantine(envelope, f"{size_bytes} bytes, but the broker accepts at most {limit_bytes}")

    # --- the platform's answers ---

    def receipt(self, lane: Lane, upto: int, missing: Sequence[tuple[int, int]], committed: int, now_s: float) -> None:
        """The platform has everything through *upto* but *missing* (pairs, ascending or not, both ends included).

        committed: the log's last number; nothing beyond it can be confirmed.
        """
        state = self._lanes[lane]
        state.patience_s, state.probed_s = self._patience_s, now_s
        if not self._receipts:
            return
        holes = Spans(missing)
        for first, last in holes.holes(min(upto, committed)):
            state.settle(first, last)
        state.forget_known()
        state.send_again([seq for seq, at_s in state.out.items() if seq in holes or now_s - at_s >= self._patience_s])

    def expect_receipts(self) -> None:
        """They could not come, and can now: no reminder waits longer than after the first silence."""
        for state in self._lanes.values():
            state.patience_s = self._patience_s

    def slow_down(self, rate: float) -> None:
        """The platform wants at most so many late envelopes a second, or as many as the configuration allows."""
        self._bucket.rate = min(max(rate, 0.1), self._allowed_rate)

    def again(self, lane: Lane, first: int, last: int) -> None:
        """The platform wants these once more, as far as the log still has them.  Raises ValueError: far too many."""
        state = self._lanes[lane]
        if last - first + 1 + sum(b - a + 1 for a, b in state.asked) > LONGEST_ASKING:
            raise ValueError(f"at most {LONGEST_ASKING} envelopes of a lane at a time")
        if first <= state.cursor:
            state.asked.append((first, min(last, state.cursor)))
            state.load_past()
        state.send_again([seq for seq in state.out if first <= seq <= last])

    def remind(self, now_s: float) -> None:
        """Once a second or so: where no receipt has come for long, send the oldest one out again."""
        for state in self._lanes.values():
            if not state.out:
                state.probed_s = None
                continue
            since_s = min(state.out.values())
            if state.probed_s is not None:
                since_s = max(since_s, state.probed_s)
            if now_s - since_s >= state.patience_s:
                state.probed_s = now_s
                state.patience_s = min(self._longest_patience_s, state.patience_s * 2)
                state.send_again([min(state.out)])

    # --- what came of it ---

    def take_quarantined(self) -> list[Quarantined]:
        """What was given up since the last call.  To be reported before the progress is saved."""
        given_up, self._quarantined = self._quarantined, []
        return given_up

    def take_progress(self) -> dict[Lane, int]:
        """Cursors that moved since the last call."""
        moved = {lane: state.cursor for lane, state in self._lanes.items() if state.cursor != self._saved[lane]}
        self._saved |= moved
        return moved

    # --- the steps the above are made of ---

    def _land(self, envelope: Envelope) -> _Lane:
        state = self._lanes[envelope.lane]
        del state.flying[envelope.seq]
        self._flying -= 1
        self._flying_bytes -= len(envelope.items)
        # Whatever the answer was, there was one: this envelope does not break connections.
        self._suspects.discard((envelope.lane, envelope.seq))
        return state

    def _done(self, state: _Lane, envelope: Envelope, now_s: float) -> None:
        self._strikes.pop((envelope.lane, envelope.seq), None)
        if self._receipts and envelope.seq > state.cursor and envelope.seq not in state.ahead:
            state.out[envelope.seq] = now_s
        else:
            state.settle(envelope.seq, envelope.seq)

    def _pause(self, state: _Lane, now_s: float) -> None:
        if now_s < state.paused_until_s:
            return  # the rest of the volley that was refused with it
        state.pause_s = min(self._longest_pause_s, max(self._first_pause_s, state.pause_s * 2))
        state.paused_until_s = now_s + state.pause_s

    def _strike(self, envelope: Envelope, reason: str) -> None:
        key = (envelope.lane, envelope.seq)
        self._strikes[key] = self._strikes.get(key, 0) + 1
        if self._strikes[key] >= self._strikes_allowed:
            self._quarantine(envelope, f"{reason}, {self._strikes[key]} times")

    def _quarantine(self, envelope: Envelope, reason: str) -> None:
        key = (envelope.lane, envelope.seq)
        state = self._lanes[envelope.lane]
        pending = state.stream_of(envelope.seq).pending
        if envelope in pending:
            pending.remove(envelope)
        self._strikes.pop(key, None)
        self._suspects.discard(key)
        if envelope.seq > state.cursor:  # else it was delivered long ago, and only a repetition is refused
            self._quarantined.append(Quarantined(envelope, reason))
            state.settle(envelope.seq, envelope.seq)
