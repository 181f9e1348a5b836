"""Would the tests notice?  Each deliberate defect of the state machine must part it from the second reading."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import pytest

from rules.engine import Engine
from tests.rules.oracle import Chatter, PointSpec, RuleSpec
from tests.rules.random_rules import Maker, Scenario, Step, differ
from tests.rules.state_mutants import MUTANTS, Mutant, broken

REAL = [mutant for mutant in MUTANTS if not mutant.equivalent]
ENOUGH = 1500
"""Scenarios; most defects need fewer than thirty."""


RULE = RuleSpec("r", ("true", "d.b"))


def directed(rule: RuleSpec, *steps: Step) -> Scenario:
    points = (PointSpec("d.b", "bool", None), PointSpec("d.n", "number", None))
    return Scenario(10, "2026-05-10T21:00:00+08:00", "Asia/Shanghai", points, (rule,), (), steps, 12)


def seen(tick: int, value: bool) -> Step:
    return (tick, "set", {"d.b": (value, 0)})


BY_HAND = (
    directed(
        replace(RULE, chatter=Chatter(2, 60.0, 10.0), clear_after_s=20.0),
        *(seen(0, True), seen(1, False), seen(4, True), seen(5, False)),
    ),
    directed(
        replace(RULE, latch=True),
        *(seen(0, True), seen(1, False), (2, "reload", (RuleSpec("q", (">", "d.n", 1)),))),
        *((3, "reset", "r"), (4, "ack", "r"), (5, "reset", "r")),
    ),
)
"""What chance brings about too seldom."""


@cache
def scenario(seed: int) -> Scenario:
    if seed < len(BY_HAND):
        return BY_HAND[seed]
    return Maker(seed, alarms=seed % 3 == 0).scenario()


class Stuck(Exception):
    """The defect makes the engine go round in circles."""


@contextmanager
def never_stuck(cpu_s: float) -> Iterator[None]:
    def stop(signum: int, frame: object) -> None:
        raise Stuck

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def notices(seed: int, engine_class: type[Engine]) -> bool:
    with never_stuck(cpu_s=1.0):
        return bool(differ(scenario(seed), engine_class))


def killed_by(mutant: Mutant, most: int) -> int | None:
    """The first scenario that notices it."""
    with broken(mutant) as engine_class:
        return next((seed for seed in range(most) if notices(seed, engine_class)), None)


def assert_noticed(mutants: list[Mutant]) -> None:
    survivors = [str(mutant) for mutant in mutants if killed_by(mutant, ENOUGH) is None]
    assert survivors == []


def test_some_defects_are_noticed() -> None:
    assert_noticed(REAL[::7])


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_all_defects_are_noticed() -> None:
    assert_noticed(REAL)


def test_there_are_enough_of_them_and_all_can_be_compiled() -> None:
    assert len(REAL) >= 100
    assert len({(mutant.module, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        with broken(mutant) as engine_class:
            assert engine_class is not Engine


def test_the_engine_itself_has_none_of_them() -> None:
    assert [differ(each) for each in BY_HAND] == ["", ""]


def test_a_defect_leaves_nothing_behind() -> None:
    with broken(MUTANTS[2]):
        pass
    assert not any(differ(scenario(seed)) for seed in range(20))
