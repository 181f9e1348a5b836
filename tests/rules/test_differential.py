"""The engine against a second reading of the semantics: random rules, random traces, on a grid where instants meet.

A failure prints the smallest trace found that still differs, in the grammar of cases.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.rules.random_rules import Box, Duel, Maker, Scenario, Step, as_case, differ, reduced

FIRST = 1_000_000
"""Of the seeds of the long run: not those of the short one."""


def scenario(seed: int) -> Scenario:
    return Maker(seed, alarms=seed % 3 == 0).scenario()


def assert_agreed(seeds: Sequence[int]) -> None:
    for seed in seeds:
        made = scenario(seed)
        if differ(made):
            small = reduced(made)
            pytest.fail(f"seed {seed}: {differ(small)}\n{as_case(small)}")


@pytest.mark.parametrize("part", range(4))
def test_the_engine_agrees_with_a_second_reading(part: int) -> None:
    assert_agreed(range(part * 500, (part + 1) * 500))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(10))
def test_the_engine_agrees_with_a_second_reading_for_long(part: int) -> None:
    assert_agreed(range(FIRST + part * 10_000, FIRST + (part + 1) * 10_000))


def test_random_scenarios_meet_everything_that_can_happen() -> None:
    """What the generator never made would agree for free."""
    seen: set[str] = set()
    for seed in range(700):
        duel = Duel(scenario(seed))
        duel.play()
        seen |= duel.seen
    assert seen >= {
        *("pending", "pending_cancel", "raise", "reason", "clear", "notify", "quiet", "ack", "reset", "reset_refused"),
        *("shelve", "shelve_refused", "unshelve", "suppress", "unsuppress", "chatter_on", "chatter_off"),
        *("out_of_service", "in_service", "run"),
        *("normal", "unack", "acked", "rtn_unack", "latched_unack", "latched_acked"),
        *("condition", "no_data", "rule_changed", "rule_deleted", "rule_off", "again", "shadow"),
    }


# ---------------------------------------------------------------------- a crash at any step


def killed_after(made: Scenario, tick: int) -> Scenario:
    """The same trace, but the box is killed and started at once, and every point is heard again."""
    again: Step = (tick, "hear_again")
    at = next((index for index, step in enumerate(made.steps) if step[0] > tick), len(made.steps))
    return replace(made, steps=(*made.steps[:at], (tick, "restart", 0.0), again, *made.steps[at:]))


def assert_a_kill_changes_nothing(seeds: Sequence[int], *, every: int) -> int:
    kills = 0
    for seed in seeds:
        made = Maker(seed, alarms=seed % 3 == 0, plain=True).scenario()
        lines, states = played(made)
        for tick in range(seed % every, made.ticks, every):
            cut = killed_after(made, tick)
            kills += 1
            assert played(cut) == (lines, states), f"seed {seed} killed at tick {tick}\n{as_case(made)}"
    return kills


def played(made: Scenario) -> tuple[list[str], list[list[str]]]:
    """All lines, alarm by alarm, and the state of every alarm at every instant."""
    box = Box(made)
    states = []
    for tick in range(box.last_tick + 1):
        box.alone(tick)
        states.append(sorted(f"{each.rule} {each.state} {each.count} {each.acked_by}" for each in box.engine.alarms()))
    return sorted(box.lines, key=lambda line: line.partition(" ")[2]), states


@pytest.mark.parametrize(
    ("count", "every"), [(60, 6), pytest.param(2000, 3, marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
)
def test_a_kill_at_any_step_ends_in_the_same_states(count: int, every: int) -> None:
    assert assert_a_kill_changes_nothing(range(count), every=every) > count
