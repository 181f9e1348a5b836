"""Which envelope goes next, and how far the log is delivered.  Pure and synchronous; the caller does the I/O.

Invariants (tests/uplink/test_window.py checks them against random interleavings):
- A lane's cursor passes an envelope only after its own success was seen, or after it was quarantined and reported.
- A lane sends only while no more urgent lane has anything that may be sent.
- What is not settled when a connection ends is read and sent again on the next one, from the cursor.
- What was settled out of order is not sent again.

An envelope can break every connection it is sent on (a broker that disconnects instead of refusing).  So what was on
its way when a connection broke is *suspect*: on the next one each suspect travels alone, and only after the broker has
acknowledged something else.  Three connections in a row that break early with the same suspect alone on its way
prove it; it is quarantined.  A broker that is simply down proves nothing, because it acknowledges nothing.

``replay`` is true exactly when the envelope was already committed at the moment this connection was accepted.  It
says that the platform sees it late; whether it sees it for the first time only (epoch, lane, seq) can tell.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gateway.envelope import Envelope
from gateway.model import Lane
from gateway.uplink.contract import TOPIC_REFUSALS, Verdict, puback_verdict

MAX_BYTES = 64 * 1024
"""On their way at the same time: on a line of 5 kB/s an alarm must not queue behind twenty full envelopes."""


class Sending(NamedTuple):
    envelope: Envelope
    replay: bool


class Quarantined(NamedTuple):
    envelope: Envelope
    reason: str


class _Lane:
    """One lane's way from the log to its cursor.  *order* holds what lies between the two, as it was read."""

    __slots__ = (
        "backlog_upto",
        "cursor",
        "dry",
        "flying",
        "order",
        "pause_s",
        "paused_until_s",
        "pending",
        "read_upto",
        "settled",
    )

    def __init__(self, cursor: int) -> None:
        self.cursor = self.read_upto = self.backlog_upto = cursor
        self.order: deque[int] = deque()
        self.pending: deque[Envelope] = deque()
        self.flying: dict[int, Envelope] = {}
        self.settled: set[int] = set()
        self.dry = False  # the last page was empty
        self.pause_s = 0.0  # greater than 0: the lane was refused, and is probed with one envelope at a time
        self.paused_until_s = 0.0

    def restart(self, backlog_upto: int) -> None:
        self.backlog_upto = backlog_upto
        self.read_upto = self.cursor
        self.order.clear()
        self.pending.clear()
        self.dry = False

    def feed(self, page: Sequence[Envelope]) -> None:
        self.dry = not page
        for envelope in page:
            self.order.append(envelope.seq)
            if envelope.seq not in self.settled:
                self.pending.append(envelope)
        if page:
            self.read_upto = page[-1].seq
            self.advance()

    def settle(self, seq: int) -> None:
        self.settled.add(seq)
        self.advance()

    def advance(self) -> None:
        order, settled = self.order, self.settled
        while order and order[0] in settled:
            self.cursor = order.popleft()
            settled.remove(self.cursor)
        if settled and not order:  # numbers the log dropped before they were read again
            self.settled = {seq for seq in settled if seq > self.read_upto}

    def give_back(self, envelope: Envelope) -> None:
        place = 0
        while place < len(self.pending) and self.pending[place].seq < envelope.seq:
            place += 1
        self.pending.insert(place, envelope)

    def may_send(self, now_s: float) -> bool:
        return bool(self.pending) and now_s >= self.paused_until_s and not (self.pause_s and self.flying)


class Window:
    """The state of one uplink's delivery, kept across connections."""

    def __init__(
        self,
        cursors: Mapping[Lane, int],
        size: int,
        *,
        strikes: int = 3,
        first_pause_s: float = 1.0,
        longest_pause_s: float = 60.0,
    ) -> None:
        self._lanes = {lane: _Lane(cursors[lane]) for lane in Lane}
        self._size = size
        self._strikes_allowed = strikes
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._flying = 0
        self._flying_bytes = 0
        self._suspects: set[tuple[Lane, int]] = set()
        self._strikes: dict[tuple[Lane, int], int] = {}
        self._quarantined: list[Quarantined] = []
        self._saved = {lane: cursors[lane] for lane in Lane}

    @property
    def in_flight(self) -> int:
        return self._flying

    def cursor(self, lane: Lane) -> int:
        return self._lanes[lane].cursor

    # --- the connection ---

    def open(self, committed: Mapping[Lane, int]) -> None:
        """A connection was accepted.  *committed*: the log's last numbers at this moment."""
        for lane, state in self._lanes.items():
            state.restart(committed[lane])

    def lost(self, *, blame: bool) -> None:
        """The connection is gone.  *blame*: it broke early, without a reason of its own, on a broker that worked."""
        flying = [envelope for state in self._lanes.values() for envelope in state.flying.values()]
        if flying:
            self._suspects = {(envelope.lane, envelope.seq) for envelope in flying}
        if blame and len(flying) == 1:
            self._strike(flying[0], "the connection broke each time it was sent")
        self._flying = self._flying_bytes = 0
        for state in self._lanes.values():
            state.flying.clear()

    # --- reading ahead ---

    def wants(self, lane: Lane) -> bool:
        """Whether the log should be read on, from ``position(lane)``."""
        state = self._lanes[lane]
        return not state.pending and not state.dry

    def position(self, lane: Lane) -> int:
        return self._lanes[lane].read_upto

    def feed(self, lane: Lane, page: Sequence[Envelope]) -> None:
        """*page*: the log's entries after ``position(lane)``; an empty one ends the reading until ``committed()``."""
        self._lanes[lane].feed(page)

    def committed(self) -> None:
        """The log has grown."""
        for state in self._lanes.values():
            state.dry = False

    def next_lane(self, now_s: float) -> Lane | None:
        """The lane that would send next."""
        return next((lane for lane, state in self._lanes.items() if state.may_send(now_s)), None)

    # --- sending ---

    def take(self, now_s: float, room: int, *, alone: bool) -> list[Sending]:
        """What to publish now, of one lane; from here on it counts as on its way.

        Only one lane, because a more urgent one may have more in the log than was read: read on between two calls,
        and call again until nothing comes.  *room*: how many the broker still accepts.  *alone*: nothing but
        envelopes is on its way, and the broker has acknowledged something on this connection; suspects wait for that.
        """
        batch: list[Sending] = []
        lane = self.next_lane(now_s)
        if lane is None:
            return batch
        state = self._lanes[lane]
        room = min(room, self._size - self._flying)
        while len(batch) < room and state.may_send(now_s) and self._fits(state.pending[0], alone=alone):
            envelope = state.pending.popleft()
            state.flying[envelope.seq] = envelope
            self._flying += 1
            self._flying_bytes += len(envelope.items)
            batch.append(Sending(envelope, envelope.seq <= state.backlog_upto))
        return batch

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

    # --- answers ---

    def answered(self, envelope: Envelope, code: int, now_s: float) -> Verdict:
        """A PUBACK came.  *code*: its reason code."""
        state = self._land(envelope)
        verdict = puback_verdict(code)
        if verdict is Verdict.DONE:
            state.pause_s = state.paused_until_s = 0.0
            self._settle(envelope)
            return verdict
        if verdict is Verdict.QUARANTINE and code not in TOPIC_REFUSALS:
            self._quarantine(envelope, f"refused by the broker, code 0x{code:02x}")
            return verdict
        state.give_back(envelope)
        self._pause(state, now_s)
        if verdict is Verdict.QUARANTINE and state.order[0] == envelope.seq:
            self._strike(envelope, f"topic refused by the broker, code 0x{code:02x}")
        return verdict

    def too_large(self, envelope: Envelope, size_bytes: int, limit_bytes: int) -> None:
        """It was taken, but may not be published: the broker would end the connection."""
        self._land(envelope)
        self._quarantine(envelope, f"{size_bytes} bytes, but the broker accepts at most {limit_bytes}")

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

    def _settle(self, envelope: Envelope) -> None:
        self._strikes.pop((envelope.lane, envelope.seq), None)
        self._suspects.discard((envelope.lane, envelope.seq))
        self._lanes[envelope.lane].settle(envelope.seq)

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
        state = self._lanes[envelope.lane]
        if envelope in state.pending:
            state.pending.remove(envelope)
        self._quarantined.append(Quarantined(envelope, reason))
        self._settle(envelope)
