"""When a configuration on trial is confirmed, and when the one before comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Device, Place, Point, Quality, Reading, Reason, Text, ValueKind
from gateway.remote.trial import (
    LEAST_SHARE,
    WAIT_WINDOWS,
    Before,
    Since,
    Verdict,
    good_devices,
    heard_devices,
    judge,
)

WINDOW_S = 120.0
EARLY_S, LATE_S = LEAST_SHARE * WINDOW_S, WAIT_WINDOWS * WINDOW_S
NONE: frozenset[str] = frozenset()
AB, A, B = frozenset("ab"), frozenset("a"), frozenset("b")
UP = frozenset({"platform"})
WAIT, CONFIRM, GO_BACK = Verdict.WAIT, Verdict.CONFIRM, Verdict.GO_BACK


@pytest.mark.parametrize(
    ("before", "since", "elapsed_s", "verdict", "code"),
    [
        # everything is back: as soon as the least time is over, not sooner
        (Before(AB, UP), Since(AB, AB, UP), EARLY_S - 1, WAIT, ""),
        (Before(AB, UP), Since(AB, AB, UP), EARLY_S, CONFIRM, ""),
        # nothing was well before: only the daemon's own life is judged
        (Before(), Since(NONE, NONE, NONE), EARLY_S - 1, WAIT, ""),
        (Before(), Since(NONE, AB, NONE), EARLY_S, CONFIRM, ""),
        # a device that answers no more
        (Before(AB, UP), Since(A, AB, UP), WINDOW_S - 1, WAIT, ""),
        (Before(AB, UP), Since(A, AB, UP), WINDOW_S, GO_BACK, "devices"),
        # the uplink is gone
        (Before(AB, UP), Since(AB, AB, NONE), WINDOW_S - 1, WAIT, ""),
        (Before(AB, UP), Since(AB, AB, NONE), WINDOW_S, GO_BACK, "uplink"),
        (Before(AB, UP), Since(A, AB, NONE), WINDOW_S, GO_BACK, "devices,uplink"),
        # not asked yet: waited for, and in the end not held against it
        (Before(AB, UP), Since(A, A, UP), WINDOW_S, WAIT, ""),
        (Before(AB, UP), Since(A, A, UP), LATE_S, CONFIRM, ""),
        (Before(AB, UP), Since(A, AB, UP), LATE_S, GO_BACK, "devices"),
        # what was not good before is nobody's business
        (Before(A, NONE), Since(A, AB, NONE), EARLY_S, CONFIRM, ""),
    ],
)
def test_the_table(before: Before, since: Since, elapsed_s: float, verdict: Verdict, code: str) -> None:
    found = judge(before, since, elapsed_s, WINDOW_S)
    assert (found.verdict, found.code) == (verdict, code)


def test_the_reason_names_who_is_missing_in_both_languages() -> None:
    many = frozenset(f"m-{number:02}" for number in range(25))
    found = judge(Before(many, UP), Since(NONE, many, NONE), WINDOW_S, WINDOW_S)
    for text in (found.reason.zh, found.reason.en):
        assert "m-00" in text
        assert "m-19 … +5" in text
        assert "platform" in text


SETS = st.frozensets(st.sampled_from("abc"))


@given(SETS, SETS, SETS, SETS, SETS, st.floats(0, 1000))
def test_every_trial_ends_and_no_good_news_can_make_it_worse(
    devices: frozenset[str],
    uplinks: frozenset[str],
    good: frozenset[str],
    heard: frozenset[str],
    connected: frozenset[str],
    elapsed_s: float,
) -> None:
    before, since = Before(devices, uplinks), Since(good, heard | good, connected)
    found = judge(before, since, elapsed_s, WINDOW_S)
    if elapsed_s >= LATE_S:
        assert found.verdict is not WAIT
    if found.verdict is GO_BACK:
        assert elapsed_s >= WINDOW_S
    better = Since(good | devices, heard | good | devices, connected | uplinks)
    assert judge(before, better, elapsed_s, WINDOW_S).verdict is not GO_BACK
    if found.verdict is CONFIRM:
        assert judge(before, better, elapsed_s, WINDOW_S).verdict is CONFIRM


def device(name: str, *, interval_s: float = 60.0) -> Device:
    points = tuple(Point(f"{name}.{each}", ValueKind.NUMBER, Text("", ""), interval_s) for each in ("energy", "power"))
    return Device(name, "power_meter", Text("", ""), Place(), "modbus-tcp", points)


def test_good_is_a_recent_good_reading_of_any_point() -> None:
    devices = [device("a"), device("b"), device("c"), device("d", interval_s=900.0)]
    now_ms = 10_000_000
    old_ms = now_ms - 181_000
    latest = {
        reading.point: reading
        for reading in (
            Reading("a.energy", 1.0, now_ms, now_ms - 179_000),
            Reading("a.power", None, now_ms, now_ms, Quality.BAD, Reason.REFUSED),
            Reading("b.energy", 1.0, old_ms, old_ms),
            Reading("c.energy", 1.0, now_ms, now_ms, Quality.UNCERTAIN, Reason.JUMP),
            Reading("d.energy", 1.0, old_ms, old_ms),
        )
    }
    assert good_devices(devices, latest, now_ms) == {"a", "d"}
    assert good_devices(devices, latest) == {"a", "b", "d"}
    assert heard_devices([*devices, device("e")], latest) == {"a", "b", "c", "d"}


def test_who_is_no_longer_configured_is_not_judged() -> None:
    assert Before(AB, UP | {"gone"}).within(["b", "x"], ["platform"]) == Before(B, UP)
