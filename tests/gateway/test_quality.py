from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Lane, Point, Quality, Reading, Reason, Text, ValueKind, bad_reading
from gateway.quality import BELIEVE_AFTER, QualityGate, RegisterChange

P = Point(
    "m.energy",
    ValueKind.NUMBER,
    Text("电量", "energy"),
    60.0,
    "kW.h",
    Lane.BILLING,
    minimum=0,
    maximum=1000,
    counter=True,
    max_per_hour=60.0,
)
"""One kWh a minute at most."""


def good(value: float) -> Reading:
    return Reading("m.energy", value, 1, 1)


def played(values: list[float], every_s: float = 600.0) -> tuple[list[Reason | None], list[RegisterChange]]:
    """The reasons of readings that come every ten minutes, and what the gate said of the register."""
    gate, reasons, changes = QualityGate({"m.energy": P}), [], []
    for number, value in enumerate(values):
        (reading,), changed = gate.settle([good(value)], number * every_s, b"\x68")
        reasons.append(reading.reason)
        changes += changed
        assert (reading.raw == b"") == (reading.reason is None), "a doubtful reading keeps its frame"
    return reasons, changes


def test_a_value_outside_the_declared_range_is_kept_but_uncertain() -> None:
    (reading,), _ = QualityGate({"m.energy": P}).settle([good(1000.5)], 0.0, b"\x01")
    assert (reading.value, reading.quality, reading.reason) == (1000.5, Quality.UNCERTAIN, Reason.OUT_OF_RANGE)


def test_a_counter_that_runs_backwards_once_is_doubted_and_does_not_move_the_reference() -> None:
    assert played([100, 101, 50, 102]) == ([None, None, Reason.BACKWARDS, None], [])


def test_a_counter_that_rises_faster_than_its_rating_is_doubted() -> None:
    assert played([100, 110, 122.1, 125]) == ([None, None, Reason.JUMP, None], [])
    # ten minutes and the slack of one allow 11 kWh; after twenty minutes more are possible
    assert played([100, 100, 111]) == ([None, None, None], [])


def test_a_counter_without_a_rating_may_jump() -> None:
    gate = QualityGate({"m.energy": Point("m.energy", ValueKind.NUMBER, Text("x", "x"), 60.0, counter=True)})
    assert not gate.doubtful([good(1)], 0.0)
    gate.settle([good(1)], 0.0)
    assert not gate.doubtful([good(900)], 1.0)


def test_a_register_that_goes_on_from_a_new_value_was_replaced_and_that_is_said() -> None:
    reasons, changes = played([500, 3, 4, 5, 6])
    assert reasons == [None, Reason.BACKWARDS, Reason.BACKWARDS, None, None]
    assert changes == [RegisterChange("m.energy", 500, 5, rolled_over=False)]


def test_a_register_that_reached_its_end_has_rolled_over() -> None:
    _, changes = played([999, 1, 2, 3])
    assert changes == [RegisterChange("m.energy", 999, 3, rolled_over=True)]


def test_noise_below_the_old_value_is_never_believed() -> None:
    assert played([100, 9, 8, 7, 6, 5]) == ([None] + [Reason.BACKWARDS] * 5, [])


def test_what_is_doubtful_is_known_before_it_is_settled_and_asking_changes_nothing() -> None:
    gate = QualityGate({"m.energy": P})
    gate.settle([good(100)], 0.0)
    for _ in range(5):
        assert gate.doubtful([good(50)], 60.0) == ["m.energy"]
    (reading,), _ = gate.settle([good(101)], 60.0)
    assert reading.quality is Quality.GOOD


def test_bad_readings_and_points_that_do_not_count_pass_unchanged() -> None:
    bad = bad_reading("m.energy", Reason.NO_ANSWER, 5)
    gate = QualityGate({"m.energy": P, "m.u": Point("m.u", ValueKind.NUMBER, Text("x", "x"), 1.0)})
    voltages = [Reading("m.u", 230.0, 1, 1), Reading("m.u", 100.0, 1, 1)]
    assert gate.settle([bad, *voltages], 0.0, b"\x01") == ([bad, *voltages], [])


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=30),
    st.sets(st.integers(1, 29)),
    st.floats(0, 1000),
)
def test_isolated_wrong_values_never_count_as_good(steps: list[float], places: set[int], wrong: float) -> None:
    """A plausible register with single wrong values in it: none that the rating forbids is good, the others stay so."""
    gate, true, last, last_number = QualityGate({"m.energy": P}), 100.0, 100.0, 0
    gate.settle([good(true)], 0.0)
    for number, step in enumerate(steps, 1):
        true += step
        possible = last <= wrong <= last + 10.0 * (number - last_number) + 1.0  # 60 an hour, and a minute's slack
        spoiled = not possible and number in places and number - 1 not in places and number - 2 not in places
        value = wrong if spoiled else true
        (reading,), changes = gate.settle([good(value)], number * 600.0)
        assert not changes, f"{BELIEVE_AFTER} readings must agree first"
        if value < last:
            assert reading.quality is Quality.UNCERTAIN
        if reading.quality is Quality.GOOD:
            last, last_number = value, number
        if not places or number < min(places):
            assert reading.quality is Quality.GOOD


def test_after_a_restart_the_register_is_measured_against_what_it_showed_before() -> None:
    gate = QualityGate({"m.energy": P})
    gate.settle([good(100.0)], 0.0)
    kept = gate.registers(60.0, 1_000_060_000)
    assert kept == {"m.energy": (100.0, 1_000_000_000)}

    def first(value: float, now_ms: int | None) -> Reason | None:
        """Of the first reading after a restart."""
        again = QualityGate({"m.energy": P})
        again.recall(kept, 5.0, now_ms)
        (reading,), _ = again.settle([good(value)], 5.0)
        return reading.reason

    an_hour_later = 1_003_600_000
    assert first(150.0, an_hour_later) is None
    assert first(99.0, an_hour_later) is Reason.BACKWARDS
    assert first(170.0, an_hour_later) is Reason.JUMP
    assert first(170.0, None) is None, "nobody knows how long the box was off"
    assert first(99.0, None) is Reason.BACKWARDS


def test_what_is_no_longer_a_counter_is_not_recalled() -> None:
    gate = QualityGate({"m.energy": replace(P, counter=False, max_per_hour=None)})
    gate.recall({"m.energy": (100.0, 0), "gone.energy": (1.0, 0)}, 5.0, 1000)
    (reading,), _ = gate.settle([good(1.0)], 5.0)
    assert reading.quality is Quality.GOOD
