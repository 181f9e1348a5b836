"""The window against a second, trivial account of what was sent, acknowledged, dropped and quarantined."""

from __future__ import annotations

from typing import Any, TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.envelope import Envelope
from gateway.model import Lane
from gateway.uplink.contract import Verdict, puback_verdict
from gateway.uplink.window import MAX_BYTES, ORDERED, Quarantined, Sending, Window

LANES = list(Lane)
PAGE = 5
Key: TypeAlias = tuple[Lane, int]


def envelope(lane: Lane, seq: int, size: int = 10) -> Envelope:
    return Envelope("epoch-1", lane, seq, "boot-1", b"x" * size, 1, 0, 0)


class World:
    """A log and a window, joined as the uplink joins them."""

    def __init__(self, size: int = 20, **options: Any) -> None:
        self.log: dict[Lane, list[Envelope]] = {lane: [] for lane in LANES}
        self.last: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self.window = Window(dict.fromkeys(LANES, 0), size, **options)
        self.flying: list[Sending] = []
        self.now_s = 0.0

    def commit(self, lane: Lane, count: int = 1, size: int = 10) -> None:
        for _ in range(count):
            self.last[lane] += 1
            self.log[lane].append(envelope(lane, self.last[lane], size))
        self.window.committed()

    def open(self) -> None:
        self.flying = []
        self.window.open(self.last)

    def lost(self, *, blame: bool = False) -> None:
        self.window.lost(blame=blame)
        self.flying = []

    def read_ahead(self) -> None:
        for stream in self.window.streams:
            while stream.wants(self.last[stream.lane]):
                page = [one for one in self.log[stream.lane] if one.seq > stream.position][:PAGE]
                self.window.feed(stream, page)
            if self.window.next_stream(self.now_s) is stream:
                return

    def take(self, room: int = 100, *, alone: bool = True) -> list[Sending]:
        """One batch after the other, until nothing more may go."""
        taken: list[Sending] = []
        while True:
            self.read_ahead()
            batch = self.window.take(self.now_s, room - len(taken), alone=alone and not self.flying)
            if not batch:
                return taken
            taken += batch
            self.flying += batch

    def answer(self, sending: Sending, code: int = 0) -> Verdict:
        self.flying.remove(sending)
        return self.window.answered(sending.envelope, code, self.now_s)

    def answer_all(self) -> None:
        for sending in list(self.flying):
            self.answer(sending)


def world(size: int = 20, **options: Any) -> World:
    new = World(size, **options)
    new.open()
    return new


def names(sendings: list[Sending]) -> list[tuple[Lane, int]]:
    return [(one.envelope.lane, one.envelope.seq) for one in sendings]


class Interleavings(RuleBasedStateMachine):
    """Random commits, drops, sends, answers in any order, broken connections; and a platform that says what it has,
    on the other side of a broker that loses what it likes."""

    receipts = False

    @initialize(size=st.integers(1, 8))
    def start(self, size: int) -> None:
        self.size = size
        self.world = World(size, receipts=self.receipts, replay_rate=1000.0)
        self.settled: set[Key] = set()  # settled for good, or reported as quarantined
        self.dropped: set[Key] = set()
        self.platform: set[Key] = set()
        self.out: set[Key] = set()  # the broker has it, and the platform has not confirmed it
        self.asked: set[Key] = set()  # wanted once more
        self.cursors: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self.connected = False
        self.backlog: dict[Lane, int] = {}
        self.held: set[Lane] = set()

    @rule(lane=st.sampled_from(LANES), count=st.integers(1, 12), size=st.sampled_from([10, 10, 10, MAX_BYTES // 3]))
    def commit(self, lane: Lane, count: int, size: int) -> None:
        self.world.commit(lane, count, size)

    @rule(lane=st.sampled_from(LANES), count=st.integers(1, 6))
    def drop(self, lane: Lane, count: int) -> None:
        gone, self.world.log[lane] = self.world.log[lane][:count], self.world.log[lane][count:]
        self.dropped |= {(one.lane, one.seq) for one in gone}

    @rule()
    def connect(self) -> None:
        if not self.connected:
            self.world.open()
            self.backlog = dict(self.world.last)
            self.connected = True

    @rule(blame=st.booleans())
    def disconnect(self, blame: bool) -> None:
        if self.connected:
            self.world.lost(blame=blame)
            self.connected = False
            self.collect()

    @rule(room=st.integers(0, 10), alone=st.booleans())
    def send(self, room: int, alone: bool) -> None:
        if not self.connected:
            return
        before = {(one.envelope.lane, one.envelope.seq) for one in self.world.flying}
        for sending in self.world.take(room, alone=alone):
            key = (sending.envelope.lane, sending.envelope.seq)
            again = key in self.asked
            assert again or key not in self.settled, "sent again after it was settled"
            assert again or key not in self.out, "sent again although the broker has it"
            assert key not in before, "sent twice at the same time"
            assert again or not self.overtaken(key, before), "something more urgent was still waiting"
            before.add(key)
            self.asked.discard(key)
            assert sending.replay or sending.envelope.seq > self.backlog[sending.envelope.lane]

    def overtaken(self, key: Key, flying: set[Key]) -> set[Key]:
        """What waits and is more urgent than *key*, leaving out lanes that the broker has refused something from."""
        waiting = (
            {(lane, entry.seq) for lane in LANES if lane not in self.held for entry in self.world.log[lane]}
            - self.settled
            - self.out
            - flying
        )
        return {one for one in waiting if self.rank(one) < self.rank(key)}

    def rank(self, key: Key) -> tuple[int, int]:
        lane, seq = key
        late = lane not in ORDERED and seq <= self.backlog[lane]
        return (2 if late else 0 if lane in ORDERED else 1), LANES.index(lane)

    @rule(data=st.data(), code=st.sampled_from([0x00, 0x00, 0x00, 0x10, 0x80, 0x87, 0x97, 0x99]), arrives=st.booleans())
    def answer(self, data: st.DataObject, code: int, arrives: bool) -> None:
        if not self.world.flying:
            return
        sending = data.draw(st.sampled_from(self.world.flying))
        key = (sending.envelope.lane, sending.envelope.seq)
        verdict = self.world.answer(sending, code)
        if verdict is Verdict.DONE:
            self.held.discard(sending.envelope.lane)
            self.done(key, arrives=arrives)
        elif code != 0x99:
            self.held.add(sending.envelope.lane)
        self.collect()

    def done(self, key: Key, *, arrives: bool) -> None:
        if not self.receipts:
            self.settled.add(key)
            return
        if arrives:
            self.platform.add(key)
        if key not in self.settled:
            self.out.add(key)

    @rule(data=st.data(), lane=st.sampled_from(LANES))
    def receipt(self, data: st.DataObject, lane: Lane) -> None:
        """The platform counts: everything up to some number, but for what it has never seen."""
        upto = data.draw(st.integers(0, self.world.last[lane] + 3))
        missing = [(seq, seq) for seq in range(1, upto + 1) if (lane, seq) not in self.platform | self.dropped]
        self.world.window.receipt(lane, upto, missing, self.world.last[lane], self.world.now_s)
        if self.receipts:
            self.settled |= {(lane, seq) for seq in range(1, upto + 1) if (lane, seq) in self.platform}
            self.look_out()

    @rule()
    def remind(self) -> None:
        self.world.window.remind(self.world.now_s)
        self.look_out()

    def look_out(self) -> None:
        """What is out, as the window sees it: it is smaller, and only by what has to go again or is settled."""
        out = {(lane, seq) for lane, state in self.world.window._lanes.items() for seq in state.out}
        assert out <= self.out
        assert not out & self.settled
        self.out = out

    @rule(data=st.data(), lane=st.sampled_from(LANES))
    def again(self, data: st.DataObject, lane: Lane) -> None:
        if self.world.last[lane]:
            first = data.draw(st.integers(1, self.world.last[lane]))
            last = data.draw(st.integers(first, self.world.last[lane]))
            self.world.window.again(lane, first, last)
            self.asked |= {(lane, seq) for seq in range(first, last + 1)}
            self.look_out()

    @rule(seconds=st.sampled_from([0.5, 100.0]))
    def wait(self, seconds: float) -> None:
        self.world.now_s += seconds

    def collect(self) -> None:
        for given_up, reason in self.world.window.take_quarantined():
            assert reason
            self.settled.add((given_up.lane, given_up.seq))
            self.out.discard((given_up.lane, given_up.seq))

    @invariant()
    def cursors_pass_only_what_is_settled(self) -> None:
        for lane, cursor in self.world.window.take_progress().items():
            assert cursor > self.cursors[lane]
            passed = {(lane, seq) for seq in range(self.cursors[lane] + 1, cursor + 1)}
            assert passed <= self.settled | self.dropped
            self.cursors[lane] = cursor

    @invariant()
    def the_window_is_kept(self) -> None:
        window = self.world.window
        assert window.in_flight == len(self.world.flying) <= self.size
        load = sum(len(one.envelope.items) for one in self.world.flying)
        assert load <= MAX_BYTES or window.in_flight == 1

    def teardown(self) -> None:
        """Whatever happened: on a line that works, everything still in the log arrives."""
        if not hasattr(self, "world"):
            return
        if not self.connected:
            self.world.open()
        for _ in range(1000):
            self.world.now_s += 100.0
            self.world.take()
            for sending in self.world.flying:
                self.done((sending.envelope.lane, sending.envelope.seq), arrives=True)
            if not self.world.flying and not self.world.window.out:
                break
            self.world.answer_all()
            self.everything_confirmed()
        self.collect()
        for lane in LANES:
            left = {(lane, one.seq) for one in self.world.log[lane]} - self.settled
            assert not left, "lost"
            if self.world.log[lane]:
                assert self.world.window.cursor(lane) == self.world.last[lane]

    def everything_confirmed(self) -> None:
        for lane in LANES if self.receipts else ():
            upto = self.world.last[lane]
            known = self.platform | self.dropped
            missing = [(seq, seq) for seq in range(1, upto + 1) if (lane, seq) not in known]
            self.world.window.receipt(lane, upto, missing, upto, self.world.now_s)
            self.settled |= {(lane, seq) for seq in range(1, upto + 1) if (lane, seq) in self.platform}


class WithReceipts(Interleavings):
    receipts = True


Interleavings.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestInterleavings = Interleavings.TestCase
WithReceipts.TestCase.settings = Interleavings.TestCase.settings
TestReceipts = WithReceipts.TestCase


def test_a_receipt_for_what_was_read_ahead_leaves_no_empty_turn() -> None:
    """Found by the machine above: the log drops what was read ahead, and the platform knows that it will not come."""
    one = world(size=1, receipts=True)
    one.commit(Lane.ALARM, PAGE + 1)
    (first,) = one.take()
    one.log[Lane.ALARM] = one.log[Lane.ALARM][PAGE:]
    one.answer(first)
    one.window.receipt(Lane.ALARM, PAGE + 1, [(PAGE + 1, PAGE + 1)], PAGE + 1, one.now_s)
    assert names(one.take()) == [(Lane.ALARM, PAGE + 1)]


def reminders(world: World, until_s: int) -> list[int]:
    """When the oldest one out goes again, looking once a second."""
    at_s = []
    while world.now_s < until_s:
        world.now_s += 1.0
        world.window.remind(world.now_s)
        if world.take():
            at_s.append(round(world.now_s))
            world.answer_all()
    return at_s


def test_reminders_grow_rare_until_receipts_may_come_again() -> None:
    one = world(receipts=True, patience_s=2.0)
    one.commit(Lane.EVENT, 3)
    one.take()
    one.answer_all()
    assert reminders(one, 40) == [2, 6, 14, 30]
    one.window.expect_receipts()
    assert reminders(one, 50) == [41, 45]
    one.lost()
    one.open()
    assert reminders(one, 60) == [51, 55]


def test_going_back_for_a_lost_one_forgets_nothing_that_was_read_and_not_sent() -> None:
    one = World(receipts=True)
    one.commit(Lane.ALARM, 3)
    one.open()
    one.take()
    one.answer(one.flying[2])  # the broker has it, and loses it
    one.lost()
    one.open()
    (first,) = one.take()  # what was on its way travels alone now
    one.answer(first)
    one.window.receipt(Lane.ALARM, 3, [(2, 3)], 3, one.now_s)
    sent = []
    while batch := one.take():
        sent += names(batch)
        one.answer_all()
    assert sent == [(Lane.ALARM, 2), (Lane.ALARM, 3)]


def test_lanes_go_in_the_order_of_their_urgency() -> None:
    one = world(size=100)
    for lane in reversed(LANES):
        one.commit(lane, 7)
    assert names(one.take()) == [(lane, seq) for lane in LANES for seq in range(1, 8)]


def test_a_page_that_ends_does_not_let_the_next_lane_pass() -> None:
    one = world(size=100)
    one.commit(Lane.GAP)
    one.read_ahead()
    one.commit(Lane.ALARM, PAGE + 1)
    one.commit(Lane.EVENT)
    alarms = [(Lane.ALARM, seq) for seq in range(1, PAGE + 2)]
    assert names(one.take()) == [*alarms, (Lane.EVENT, 1), (Lane.GAP, 1)]


def test_an_alarm_overtakes_what_waits_but_not_what_flies() -> None:
    one = world(size=3)
    one.commit(Lane.TELEMETRY, 10)
    assert names(one.take()) == [(Lane.TELEMETRY, seq) for seq in (1, 2, 3)]
    one.commit(Lane.ALARM)
    assert names(one.take()) == []
    one.answer(one.flying[0])
    assert names(one.take()) == [(Lane.ALARM, 1)]


def test_the_cursor_waits_for_the_oldest() -> None:
    one = world()
    one.commit(Lane.EVENT, 3)
    first, second, third = one.take()
    one.answer(third)
    one.answer(second)
    assert one.window.take_progress() == {}
    one.answer(first)
    assert one.window.take_progress() == {Lane.EVENT: 3}
    assert one.window.take_progress() == {}


def test_after_a_lost_connection_only_the_unsettled_is_sent_again() -> None:
    one = world()
    one.commit(Lane.EVENT, 4)
    one.take()
    one.answer(one.flying[1])
    one.lost()
    one.open()
    again: list[Sending] = []
    while batch := one.take():
        again += batch
        one.answer_all()
    assert names(again) == [(Lane.EVENT, seq) for seq in (1, 3, 4)]
    assert all(sending.replay for sending in again)


def test_replay_begins_with_the_connection() -> None:
    one = World()
    one.commit(Lane.EVENT, 2)
    one.open()
    one.commit(Lane.EVENT, 2)
    assert [sending.replay for sending in one.take()] == [True, True, False, False]


def test_settled_out_of_order_beyond_a_page_is_remembered() -> None:
    one = world(size=3 * PAGE)
    one.commit(Lane.EVENT, 3 * PAGE)
    one.take()
    for sending in one.flying[1:]:
        one.answer(sending)
    one.lost()
    one.open()
    sent = []
    while batch := one.take():
        sent += names(batch)
        one.answer_all()
    assert sent == [(Lane.EVENT, 1)]
    assert one.window.cursor(Lane.EVENT) == 3 * PAGE


def test_a_refused_payload_is_given_up_at_once_and_reported() -> None:
    one = world()
    one.commit(Lane.EVENT, 3)
    _, second, _ = one.take()
    one.answer(second, 0x99)
    one.answer_all()
    assert one.window.take_quarantined() == [Quarantined(second.envelope, "refused by the broker, code 0x99")]
    assert one.window.cursor(Lane.EVENT) == 3


def test_a_refused_topic_costs_one_envelope_for_three_probes_and_holds_only_its_lane() -> None:
    one = world()
    one.commit(Lane.BILLING, 50)
    one.commit(Lane.TELEMETRY, 50)
    probes = 0
    while not one.window.take_quarantined():
        one.now_s += 100.0
        billing = [sending for sending in one.take() if sending.envelope.lane is Lane.BILLING]
        probes += bool(billing)
        for sending in list(one.flying):
            one.answer(sending, 0x87 if sending.envelope.lane is Lane.BILLING else 0)
        one.take()  # the lane is held: only telemetry flows on
        assert all(sending.envelope.lane is Lane.TELEMETRY for sending in one.flying)
        one.answer_all()
    assert probes == 3
    assert one.window.cursor(Lane.BILLING) == 1
    assert one.window.cursor(Lane.TELEMETRY) == 50
    one.now_s += 100.0
    while one.take():  # the rights were mended
        one.answer_all()
    assert one.window.cursor(Lane.BILLING) == 50


def test_pauses_grow_to_a_minute_and_end_with_the_first_success() -> None:
    one = world()
    one.commit(Lane.BILLING, 5)
    pauses = []
    for _ in range(8):
        (probe, *rest) = one.take()
        assert not rest or not pauses, "a held lane is probed with one envelope"
        for sending in [probe, *rest]:
            one.answer(sending, 0x97)
        start = one.now_s
        while one.window.next_stream(one.now_s) is None:
            one.now_s += 0.5
        pauses.append(one.now_s - start)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert one.window.take_quarantined() == []
    (probe,) = one.take()
    one.answer(probe)
    assert len(one.take()) == 4


def break_on(one: World, poison: int) -> list[tuple[Lane, int]]:
    """One connection to a broker that drops it on one message; returns what was sent on it."""
    one.open()
    sent: list[tuple[Lane, int]] = []
    while batch := one.take():
        sent += names(batch)
        while one.flying and one.flying[0].envelope.seq != poison:
            one.answer(one.flying[0])
        if one.flying:
            one.lost(blame=True)
            return sent
    return sent


def test_the_envelope_that_breaks_connections_is_found_and_only_that_one() -> None:
    one = World()
    one.commit(Lane.EVENT, 30)
    connections = [break_on(one, 7) for _ in range(5)]
    assert connections[1:4] == [[(Lane.EVENT, 7)]] * 3
    given_up = one.window.take_quarantined()
    assert [(entry.envelope.seq, entry.reason) for entry in given_up] == [
        (7, "the connection broke each time it was sent, 3 times")
    ]
    assert one.window.cursor(Lane.EVENT) == 30


def test_broken_connections_that_nothing_is_to_blame_for_quarantine_nothing() -> None:
    one = World()
    one.commit(Lane.EVENT, 5)
    for _ in range(50):
        one.open()
        one.take()
        one.lost(blame=False)
    assert one.window.take_quarantined() == []


def test_a_suspect_waits_until_it_is_alone() -> None:
    one = world()
    one.commit(Lane.EVENT, 3)
    one.take()
    one.lost()
    one.open()
    assert one.take(alone=False) == []
    assert names(one.take(alone=True)) == [(Lane.EVENT, 1)]
    one.commit(Lane.ALARM)
    assert one.take() == []  # nothing is sent beside it


def test_too_large_is_given_up_without_being_sent() -> None:
    one = world()
    one.commit(Lane.BULK, 2)
    large, fine = one.take()
    one.window.too_large(large.envelope, 2000, 1000)
    one.flying.remove(large)
    one.answer(fine)
    assert one.window.take_quarantined() == [
        Quarantined(large.envelope, "2000 bytes, but the broker accepts at most 1000")
    ]
    assert one.window.cursor(Lane.BULK) == 2


def test_large_envelopes_do_not_fill_a_slow_line() -> None:
    one = world()
    one.commit(Lane.BULK, 10, size=60_000)
    assert len(one.take()) == 1


def test_verdicts_used_here_are_the_contracts() -> None:
    assert [puback_verdict(code) for code in (0x00, 0x97, 0x99)] == [Verdict.DONE, Verdict.RETRY, Verdict.QUARANTINE]
