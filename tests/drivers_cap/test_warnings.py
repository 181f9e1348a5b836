"""The state machine of warnings: messages in any order, twice, late, and none at all."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.cap.area import Site
from drivers.cap.message import Alert, Area, Colour, Info
from drivers.cap.warnings import (
    DEFAULT_LIFE_MS,
    LONGEST_LIFE_MS,
    MOST_ACTIVE,
    MOST_KNOWN,
    Change,
    Step,
    Warnings,
)

HERE = Site(("410105",))
NOW = 1_790_000_000_000
HOUR = 3_600_000


def message(
    name: str,
    colour: Colour | None = Colour.RED,
    *references: str,
    kind: str = "",
    code: str = "11B03",
    sent_ms: int = NOW,
    expires_ms: int | None = None,
    geocode: str = "410105000000",
    sender: str = "41010541600000",
    status: str = "Actual",
    national: bool = True,
) -> Alert:
    info = Info(
        "zh-CN", "", (code,), "", colour, None, None, expires_ms, "", f"预警 {name}", areas=(Area("", (geocode,)),)
    )
    kind = kind or ("Update" if references else "Alert")
    return Alert(name, sender, "气象台", sent_ms, status, kind, references, national, (info,))


def play(*alerts: Alert, now_ms: int = NOW, state: Warnings | None = None) -> tuple[Warnings, list[Change]]:
    state, told = state or Warnings(), []
    for alert in alerts:
        state, changes = state.heard(alert, HERE, now_ms)
        told += changes
    return state, told


def names(state: Warnings) -> set[str]:
    return {each.identifier for each in state.active}


def steps(changes: Sequence[Change]) -> list[tuple[str, str]]:
    return [(change.step.value, change.warning.identifier) for change in changes]


def test_issue_update_cancel() -> None:
    cancel = message("c", Colour.RED, "u", kind="Cancel")
    state, told = play(message("a", Colour.ORANGE), message("u", Colour.RED, "a"))
    assert state.in_force("rainstorm") == (Colour.RED, NOW + DEFAULT_LIFE_MS)
    assert state.in_force("typhoon") == (Colour.NONE, None)
    assert steps(told) == [("issued", "a"), ("updated", "u")]
    state, told = play(cancel, state=state)
    assert state.active == ()
    assert steps(told) == [("cancelled", "u")]
    assert told[0].references == ("c", "u")


def test_without_a_time_of_expiry_it_is_over_after_a_day_and_says_that_this_was_assumed() -> None:
    state, (issued,) = play(message("a"))
    assert issued.warning.expires_assumed
    assert state.next_end_ms(NOW) == DEFAULT_LIFE_MS
    assert state.expired(NOW + DEFAULT_LIFE_MS - 1) == (state, ())
    state, told = state.expired(NOW + DEFAULT_LIFE_MS)
    assert steps(told) == [("expired", "a")]
    assert play(message("a"), state=state) == (state, [])


def test_its_own_time_of_expiry_counts_and_one_that_never_comes_does_not() -> None:
    state, (issued,) = play(message("a", expires_ms=NOW + HOUR))
    assert not issued.warning.expires_assumed
    assert state.next_end_ms(NOW) == HOUR
    state, _ = play(message("b", expires_ms=NOW + 100 * LONGEST_LIFE_MS))
    assert state.next_end_ms(NOW) == LONGEST_LIFE_MS
    state, _ = play(message("b", sent_ms=NOW + 100 * LONGEST_LIFE_MS))
    assert state.next_end_ms(NOW) == LONGEST_LIFE_MS


def test_what_was_over_when_it_was_heard_of_is_not_told() -> None:
    state, told = play(message("a", sent_ms=NOW - DEFAULT_LIFE_MS))
    assert (state.active, told) == ((), [])
    assert "a" in state.known


def test_the_worst_of_several_senders_counts_until_its_own_end() -> None:
    province = message("p", Colour.RED, sender="41000041600000", geocode="410000000000", expires_ms=NOW + HOUR)
    state, _ = play(message("a", Colour.YELLOW), province)
    assert state.in_force("rainstorm") == (Colour.RED, NOW + HOUR)
    assert state.worst is not None
    assert state.worst.identifier == "p"
    state, told = state.expired(NOW + HOUR)
    assert state.in_force("rainstorm") == (Colour.YELLOW, NOW + DEFAULT_LIFE_MS)
    assert steps(told) == [("expired", "p")]


def test_a_missed_update_leaves_no_old_colour_behind_in_the_national_dialect_only() -> None:
    later = message("u2", Colour.BLUE, "u1", sent_ms=NOW + HOUR)
    state, _ = play(message("a", Colour.RED), later, now_ms=NOW + HOUR)
    assert names(state) == {"u2"}
    oasis = [replace(each, national=False) for each in (message("a", Colour.RED), later)]
    assert names(play(*oasis, now_ms=NOW + HOUR)[0]) == {"a", "u2"}
    late, told = play(message("a0", Colour.RED), state=state, now_ms=NOW + HOUR)
    assert names(late) == {"u2"}
    assert told == []


def test_another_event_or_area_of_the_sender_is_another_warning() -> None:
    state, _ = play(message("a"), message("b", code="11B06"), message("c", geocode="410105001000"))
    assert names(state) == {"a", "b", "c"}


def test_a_cancel_of_something_unknown_ends_nothing_and_says_so() -> None:
    state, told = play(message("a"), message("c", Colour.RED, "x", kind="Cancel", code="11B06"))
    assert names(state) == {"a"}
    assert told[-1].unmatched
    assert play(message("x"), state=state)[1] == []  # it comes after its Cancel


def test_a_cancel_of_an_update_that_was_missed_ends_what_the_sender_has_out_in_the_national_dialect_only() -> None:
    cancel = message("c", Colour.RED, "u1", kind="Cancel", sent_ms=NOW + HOUR)
    state, told = play(message("a"), cancel, now_ms=NOW + HOUR)
    assert (state.active, steps(told)[-1]) == ((), ("cancelled", "a"))
    oasis = [replace(each, national=False) for each in (message("a"), cancel)]
    assert names(play(*oasis, now_ms=NOW + HOUR)[0]) == {"a"}
    older = message("c", Colour.RED, "u0", kind="Cancel", sent_ms=NOW - HOUR)
    assert names(play(message("a"), older)[0]) == {"a"}


def test_an_update_for_elsewhere_ends_it_here() -> None:
    state, told = play(message("a"), message("u", Colour.RED, "a", geocode="420000000000"))
    assert state.active == ()
    assert steps(told)[-1] == ("cancelled", "a")


def test_of_another_place_nothing_is_kept() -> None:
    assert play(message("a", geocode="420000000000")) == (Warnings(), [])


@pytest.mark.parametrize("status", ["Exercise", "Test", "System", "Draft"])
def test_an_exercise_is_told_and_never_in_force(status: str) -> None:
    state, told = play(message("a"), message("e", Colour.RED, status=status))
    assert names(state) == {"a"}
    assert told[-1].exercise
    state, told = play(message("x", Colour.RED, "a", kind="Cancel", status=status), state=state)
    assert names(state) == {"a"}
    assert told[-1].exercise


def test_an_unknown_code_goes_to_other_and_an_unknown_severity_is_the_least() -> None:
    state, (issued,) = play(message("a", None, code="11B60"))
    assert state.in_force("other")[0] is Colour.BLUE
    assert issued.warning.signals[0].code == "11B60"


def test_two_languages_are_one_signal_and_chinese_is_shown() -> None:
    zh = message("a").infos[0]
    en = replace(zh, language="en-US", event="something", codes=(), headline="Red warning")
    state, (issued,) = play(replace(message("a"), infos=(en, zh)))
    assert [signal.hazard for signal in state.active[0].signals] == ["rainstorm"]
    assert (issued.warning.headline, issued.warning.headline_en) == ("预警 a", "Red warning")


def test_while_the_time_is_not_known_a_warning_lasts_as_long_as_it_would_have() -> None:
    boot_ms = 5_000
    state, _ = Warnings().heard(message("a"), HERE, boot_ms, clock_known=False)
    assert state.next_end_ms(boot_ms, clock_known=False) == DEFAULT_LIFE_MS
    assert state.expired(boot_ms + DEFAULT_LIFE_MS - 1, clock_known=False)[1] == ()
    assert len(state.expired(boot_ms + DEFAULT_LIFE_MS, clock_known=False)[1]) == 1
    assert state.next_end_ms(NOW + HOUR) == DEFAULT_LIFE_MS - HOUR  # and by the clock once it is known


def test_an_overflow_makes_room_by_the_least_severe() -> None:
    alerts = [message(f"a{number}", Colour.BLUE, sender=str(number)) for number in range(MOST_ACTIVE)]
    state, _ = play(*alerts, message("red", Colour.RED))
    assert len(state.active) == MOST_ACTIVE
    assert "red" in names(state)


def test_memory_gives_back_what_was_and_nothing_from_what_cannot_be_read() -> None:
    state, _ = play(message("a"), message("u", Colour.BLUE, "a"), message("g", code="11B06"))
    assert Warnings.from_bytes(state.to_bytes()) == state
    for damaged in (b"", b"{}", b"[1]", b'{"v":1,"active":[{}],"known":{}}', state.to_bytes()[:-9]):
        assert Warnings.from_bytes(damaged) == Warnings()


def test_what_is_remembered_is_bounded() -> None:
    state, _ = play(*(message(f"e{number}", status="Test") for number in range(MOST_KNOWN + 7)))
    assert len(state.known) == MOST_KNOWN
    assert "e6" not in state.known


CHAIN = [
    message("a", Colour.BLUE, sent_ms=NOW),
    message("u1", Colour.ORANGE, "a", sent_ms=NOW + 1000),
    message("u2", Colour.RED, "u1", sent_ms=NOW + 2000),
    message("b", Colour.YELLOW, code="11B06", sent_ms=NOW + 500),
    message("c", Colour.YELLOW, "b", kind="Cancel", code="11B06", sent_ms=NOW + 2500),
]


@pytest.mark.parametrize("national", [True, False])
def test_in_every_order_the_same_is_in_force(national: bool) -> None:
    orders = list(itertools.permutations([replace(each, national=national) for each in CHAIN]))
    assert len(orders) == 120
    for order in orders:
        assert names(play(*order, now_ms=NOW + 3000)[0]) == {"u2"}, [each.identifier for each in order]


@given(st.lists(st.sampled_from(CHAIN), max_size=25), st.booleans())
@settings(max_examples=200)
def test_whatever_is_heard_nothing_is_in_force_twice_or_told_twice(heard: list[Alert], national: bool) -> None:
    heard = [replace(each, national=national) for each in heard]
    state, told = play(*heard, now_ms=NOW + 3000)
    assert len(names(state)) == len(state.active)
    assert not names(state) & set(state.known)
    begun = [change.warning.identifier for change in told if change.step in (Step.ISSUED, Step.UPDATED)]
    assert len(begun) == len(set(begun))
    assert Warnings.from_bytes(state.to_bytes()) == state
    again, nothing = play(*heard, now_ms=NOW + 3000, state=state)
    assert (again, nothing) == (state, [])


@given(st.binary(max_size=200))
def test_any_memory_is_read(data: bytes) -> None:
    Warnings.from_bytes(data)
