"""Which configuration runs next, whatever happens in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.model import Text
from gateway.remote.record import LOCAL, MOST_HISTORY, MOST_STARTS, Fate, Fault, Outcome, Record, Version
from gateway.remote.trial import Before

WHY = Text("原因", "why")


def version(number: int) -> Version:
    return Version(number, f"sha256:{number:064x}", "ops", 1)


def outcome(record: Record) -> Outcome:
    assert record.outcome is not None
    return record.outcome


def tried(record: Record, number: int, local: str = "local-1") -> Record:
    return record.tried(version(number), Before(frozenset("ab"), frozenset({"platform"})), local, 10)


def test_a_trial_is_confirmed_or_the_one_before_comes_back() -> None:
    on_trial = tried(Record(), 5).begun("local-1", 11)
    assert (on_trial.running, outcome(on_trial).fate) == (version(5), Fate.ON_TRIAL)
    assert on_trial.trial is not None
    assert on_trial.trial.before == Before(frozenset("ab"), frozenset({"platform"}))
    runs = on_trial.confirmed(12)
    assert (runs.running, runs.trial, outcome(runs).fate) == (version(5), None, Fate.RUNNING)
    next_one = tried(runs, 6).went_back("devices", WHY, 13)
    assert (next_one.running, next_one.highest) == (version(5), 6)
    assert (outcome(next_one).fate, outcome(next_one).version, outcome(next_one).code) == (
        Fate.ROLLED_BACK, 6, "devices"
    )  # fmt: skip


def test_two_starts_without_a_verdict_are_enough() -> None:
    record = tried(Record(), 1)
    for _ in range(MOST_STARTS):
        record = record.begun("local-1", 20)
        assert record.running == version(1)
    record = record.begun("local-1", 21)
    assert (record.running, outcome(record).fate, outcome(record).code) == (LOCAL, Fate.ROLLED_BACK, "crash")
    assert record.begun("local-1", 22) == record


def test_a_local_edit_wins_over_what_runs_and_over_what_is_on_trial() -> None:
    for record in (tried(Record(), 3), tried(Record(), 3).confirmed(11), tried(tried(Record(), 2).confirmed(1), 3)):
        assert record.begun("local-1", 12).running == version(3)
        edited = record.begun("local-2", 12)
        assert (edited.running, outcome(edited).code, edited.trial) == (LOCAL, "local_edit", None)
        assert edited.begun("local-3", 13) == edited, "said once"
    assert Record().begun("anything", 1) == Record()


def test_nothing_is_tried_that_is_not_newer_than_all_before() -> None:
    back = tried(Record(), 7).went_back("uplink", WHY, 11)
    for number in (6, 7):
        with pytest.raises(ValueError, match="cannot be tried"):
            tried(back, number)
    with pytest.raises(ValueError, match="cannot be tried"):
        tried(tried(back, 8), 9)
    with pytest.raises(ValueError, match="local configuration"):
        Record().went_back("by_hand", WHY, 1)
    with pytest.raises(ValueError, match="on trial"):
        Record().confirmed(1)


def test_many_rejections_do_not_push_out_what_became_of_the_last_one_tried() -> None:
    record = Record()
    for number in range(MOST_HISTORY + 5):
        record = record.rejected(Outcome(Fate.REJECTED, number, number))
        assert [each.version for each in record.history] == list(range(number + 1))[-MOST_HISTORY:]
    record = tried(record, 4).confirmed(11)
    for number in range(3 * MOST_HISTORY):
        record = record.rejected(Outcome(Fate.REJECTED, number, number))
    assert len(record.history) == MOST_HISTORY
    assert [each.version for each in record.history if each.fate is Fate.RUNNING] == [4]
    assert record.history[-1].since_ms == 3 * MOST_HISTORY - 1


def test_on_disk_and_back() -> None:
    faults = (Fault("site.yaml", 3, 4, "E-KEY", WHY, None), Fault("rules/a.yaml", 1, 1, "E-YAML", WHY, WHY))
    record = tried(Record(), 5).begun("local-1", 11).rejected(Outcome(Fate.REJECTED, 12, None, code="x", faults=faults))
    assert Record.from_bytes(record.to_bytes()) == record
    first = outcome(record).as_item()["faults"][0]
    assert first == {**first, "file": "site.yaml", "line": 3, "column": 4, "code": "E-KEY", "hint": None}
    assert first["message"] == {"zh": "原因", "en": "why"}
    for damaged in (
        b"",
        b"{}",
        record.to_bytes()[:-1],
        b"null",
        record.to_bytes().replace(b"configurations/1", b"x/2"),
    ):
        with pytest.raises(ValueError, match="not a record"):
            Record.from_bytes(damaged)


def test_what_is_reported_tells_the_document_from_what_runs() -> None:
    item = tried(tried(Record(), 1).confirmed(5), 2).went_back("devices", WHY, 6).as_item("sha256:local")
    assert (item["version"], item["state"], item["code"], item["reason"]) == (
        2, "rolled_back", "devices", {"zh": "原因", "en": "why"}
    )  # fmt: skip
    assert item["running"] == {"version": 1, "digest": version(1).digest, "source": "remote"}
    fresh = Record().as_item("sha256:local")
    assert (fresh["version"], fresh["state"]) == (0, "running")
    assert fresh["running"] == {"version": 0, "digest": "sha256:local", "source": "local"}


class AnyOrder(RuleBasedStateMachine):
    """Documents, verdicts, crashes, edits and hands, in any order; compared with what was confirmed last."""

    def __init__(self) -> None:
        super().__init__()
        self.record = Record()
        self.local = 0
        self.proven: list[Version] = [LOCAL]
        self.now_ms = 0

    @initialize()
    def first_start(self) -> None:
        self.start(False)

    @rule(edited=st.booleans())
    def start(self, edited: bool) -> None:
        self.now_ms += 1
        self.local += edited
        self.record = Record.from_bytes(self.record.begun(f"local-{self.local}", self.now_ms).to_bytes())
        if edited:
            assert self.record.running == LOCAL
            self.proven = [LOCAL]

    @precondition(lambda self: self.record.trial is None)
    @rule(step=st.integers(-2, 3))
    def document(self, step: int) -> None:
        number = self.record.highest + step
        if step <= 0:
            with pytest.raises(ValueError, match="cannot be tried"):
                self.record.tried(version(number), Before(), f"local-{self.local}", self.now_ms)
        else:
            self.record = self.record.tried(version(number), Before(), f"local-{self.local}", self.now_ms)

    @precondition(lambda self: self.record.trial is not None)
    @rule(good=st.booleans())
    def verdict(self, good: bool) -> None:
        if good:
            self.record = self.record.confirmed(self.now_ms)
            self.proven.append(self.record.running)
        else:
            self.record = self.record.went_back("devices", WHY, self.now_ms)

    @precondition(lambda self: not self.record.running.local and self.record.trial is None)
    @rule()
    def back_by_hand(self) -> None:
        self.record = self.record.went_back("by_hand", WHY, self.now_ms)

    @invariant()
    def only_the_proven_run_without_a_trial(self) -> None:
        if self.record.trial is None:
            assert self.record.running in self.proven
        else:
            assert self.record.trial.starts <= MOST_STARTS
            assert self.record.previous in self.proven
        assert self.record.highest >= self.record.running.number


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestAnyOrder = AnyOrder.TestCase
