from __future__ import annotations

from gateway.model import Lane, Point, Quality, Reading, Reason, Text, ValueKind, bad_reading
from gateway.quality import QualityGate

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
)


def good(value: float) -> Reading:
    return Reading("m.energy", value, 1, 1)


def played(values: list[float]) -> list[Reason | None]:
    gate = QualityGate({"m.energy": P})
    return [reading.reason for reading in gate.check([good(v) for v in values])]


def test_a_value_outside_the_declared_range_is_kept_but_uncertain() -> None:
    (reading,) = QualityGate({"m.energy": P}).check([good(1000.5)])
    assert (reading.value, reading.quality, reading.reason) == (1000.5, Quality.UNCERTAIN, Reason.OUT_OF_RANGE)


def test_a_counter_that_runs_backwards_once_is_doubted_and_does_not_move_the_reference() -> None:
    assert played([100, 101, 50, 102]) == [None, None, Reason.BACKWARDS, None]


def test_a_counter_that_stays_low_was_replaced() -> None:
    assert played([100, 3, 4, 5, 6]) == [None, Reason.BACKWARDS, Reason.BACKWARDS, None, None]


def test_noise_below_the_old_value_is_never_believed() -> None:
    assert played([100, 9, 8, 7, 6, 5]) == [None] + [Reason.BACKWARDS] * 5


def test_bad_readings_pass_unchanged() -> None:
    bad = bad_reading("m.energy", Reason.NO_ANSWER, 5)
    assert QualityGate({"m.energy": P}).check([bad]) == [bad]
