"""The window against a second, trivial account of what was sent, acknowledged, dropped and quarantined."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.envelope import Envelope
from gateway.model import Lane
from gateway.uplink.contract import Verdict, puback_verdict
from gateway.uplink.window import MAX_BYTES, Quarantined, Sending, Window

LANES = list(Lane)
PAGE = 5


def envelope(lane: Lane, seq: int, size: int = 10) -> Envelope:
    return Envelope("epoch-1", lane, seq, "boot-1", b"x" * size, 1, 0, 0)


class World:
    """A log and a window, joined as the uplink joins them."""

    def __init__(self, size: int = 20) -> None:
        self.log: dict[Lane, list[Envelope]] = {lane: [] for lane in LANES}
        self.last: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self.window = Window(dict.fromkeys(LANES, 0), size)
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
        for lane in LANES:
            while self.window.wants(lane) and self.last[lane] > self.window.position(lane):
                position = self.window.position(lane)
                self.window.feed(lane, [one for one in self.log[lane] if one.seq > position][:PAGE])
            if self.window.next_lane(self.now_s) is lane:
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


def world(size: int = 20) -> World:
    new = World(size)
    new.open()
    return new


def names(sendings: list[Sending]) -> list[tuple[Lane, int]]:
    return [(one.envelope.lane, one.envelope.seq) for one in sendings]


class Interleavings(RuleBasedStateMachine):
    """Random commits, drops, sends, answers in any order, broken connections."""

    @initialize(size=st.integers(1, 8))
    def start(self, size: int) -> None:
        self.size = size
        self.world = World(size)
        self.settled: set[tuple[Lane, int]] = set()  # success seen, or reported as quarantined
        self.dropped: set[tuple[Lane, int]] = set()
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
            assert key not in self.settled, "sent again after it was settled"
            assert key not in before, "sent twice on one connection"
            assert not self.overtaken(sending.envelope.lane, before), "a more urgent lane was still waiting"
            before.add(key)
            assert sending.replay == (sending.envelope.seq <= self.backlog[sending.envelope.lane])

    def overtaken(self, lane: Lane, flying: set[tuple[Lane, int]]) -> set[tuple[Lane, int]]:
        """What waits in lanes before *lane*, leaving out lanes that the broker has refused something from."""
        urgent = [one for one in LANES[: LANES.index(lane)] if one not in self.held]
        return {(one, entry.seq) for one in urgent for entry in self.world.log[one]} - self.settled - flying

    @rule(data=st.data(), code=st.sampled_from([0x00, 0x00, 0x00, 0x10, 0x80, 0x87, 0x97, 0x99]))
    def answer(self, data: st.DataObject, code: int) -> None:
        if not self.world.flying:
            return
        sending = data.draw(st.sampled_from(self.world.flying))
        verdict = self.world.answer(sending, code)
        if verdict is Verdict.DONE:
            self.settled.add((sending.envelope.lane, sending.envelope.seq))
            self.held.discard(sending.envelope.lane)
        elif code != 0x99:
            self.held.add(sending.envelope.lane)
        self.collect()

    @rule(seconds=st.sampled_from([0.5, 100.0]))
    def wait(self, seconds: float) -> None:
        self.world.now_s += seconds

    def collect(self) -> None:
        for given_up, reason in self.world.window.take_quarantined():
            assert reason
            self.settled.add((given_up.lane, given_up.seq))

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
            if not self.world.flying:
                break
            for sending in self.world.flying:
                self.settled.add((sending.envelope.lane, sending.envelope.seq))
            self.world.answer_all()
        self.collect()
        for lane in LANES:
            left = {(lane, one.seq) for one in self.world.log[lane]} - self.settled
            assert not left, "lost"
            if self.world.log[lane]:
                assert self.world.window.cursor(lane) == self.world.last[lane]


Interleavings.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestInterleavings = Interleavings.TestCase


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
        while one.window.next_lane(one.now_s) is None:
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
