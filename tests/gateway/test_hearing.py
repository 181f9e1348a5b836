"""Who has gone silent, and which values are told again."""

from __future__ import annotations

import math

from gateway.hearing import Hearing, Sent
from gateway.model import Reading, Reason, bad_reading

DOOR = Sent(("door.contact", "door.battery"), 100.0, {"door.contact": 30.0})
WATER = Sent(("water.volume",), 1000.0)


def said(point: str, value: bool | float) -> Reading:
    return Reading(point, value, 1, 1)


def hearing() -> Hearing:
    hearing = Hearing({"door": DOOR, "water": WATER})
    hearing.begin(0.0)
    return hearing


def test_a_device_of_which_nothing_comes_is_silent_once() -> None:
    ears = hearing()
    assert ears.next_s() == 100.0
    assert ears.due(99.9).silent == []
    assert ears.due(100.0).silent == ["door"]
    assert ears.due(500.0).silent == []
    assert ears.silent() == {"door"}
    assert ears.next_s() == 1000.0
    assert ears.due(1000.0).silent == ["water"]
    assert ears.next_s() == math.inf


def test_a_sign_of_life_puts_silence_off_and_ends_it() -> None:
    ears = hearing()
    assert not ears.heard("door", 90.0)
    assert ears.due(189.0).silent == []
    assert ears.due(190.0).silent == ["door"]
    assert ears.heard("door", 200.0)
    assert ears.silent() == frozenset()
    assert not ears.heard("nobody", 200.0)


def test_what_is_held_is_told_again_while_the_device_is_heard() -> None:
    ears = hearing()
    ears.said([said("door.contact", True), said("door.battery", 3.0), said("water.volume", 7.0)], 0.0)
    assert ears.due(29.9).repeat == []
    assert [reading.point for reading in ears.due(30.0).repeat] == ["door.contact"]
    assert ears.due(45.0).repeat == []
    ears.said([said("door.contact", False)], 50.0)
    assert ears.due(60.0).repeat == []
    assert [reading.value for reading in ears.due(80.0).repeat] == [False]
    due = ears.due(130.0)
    assert due.silent == ["door"]
    assert due.repeat == []


def test_what_the_device_takes_back_is_not_told_again() -> None:
    ears = hearing()
    ears.said([said("door.contact", True)], 0.0)
    ears.said([bad_reading("door.contact", Reason.NO_ANSWER, 2)], 10.0)
    assert ears.due(90.0).repeat == []


def test_a_lost_hub_silences_everybody_and_forgets_what_was_held() -> None:
    ears = hearing()
    ears.said([said("door.contact", True)], 0.0)
    ears.due(150.0)
    assert ears.lost() == ["water"]
    assert ears.next_s() == math.inf
    ears.begin(200.0)
    assert ears.due(290.0).repeat == []
    assert ears.heard("water", 200.0)
