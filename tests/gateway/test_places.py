"""Places: what follows from what, what they are called, and how lists are grouped by them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Place, Text
from gateway.places import (
    LEVELS,
    NO_PLACES,
    NOWHERE,
    Named,
    Places,
    grouped,
    key_of,
    lies_in,
    natural,
    parse_place,
    place_of,
    reached,
)

NORTH = Text("北区", "North")
PLACES = Places(
    named=(
        Named(Place(grid="G1"), "grid", NORTH, "110199001001001"),
        Named(Place(grid="G1", building="3"), "building", Text("3号楼", "Block 3"), "1101990010010000003"),
        Named(Place(grid="G1", building="3", unit="1"), "unit"),
        Named(Place(grid="G2", building="3", unit="2"), "unit"),
        Named(
            Place(grid="G1", building="3", unit="1", floor="1", room="101"), "room", None, "110199001001000000301101"
        ),
    )
)
WORDS = st.none() | st.sampled_from(["1", "2", "10", "A2", "A10", "甲"])
ANY = st.builds(Place, WORDS, WORDS, WORDS, WORDS, WORDS)


@pytest.mark.parametrize(
    ("said", "known"),
    [
        (Place(building="3"), Place(grid="G1", building="3")),
        (Place(building="3", unit="2", room="201"), Place(grid="G2", building="3", unit="2", room="201")),
        (
            Place(building="3", unit="1", room="101"),
            Place(grid="G1", building="3", unit="1", floor="1", room="101"),
        ),
        (Place(building="5", room="101"), Place(building="5", room="101")),
        (Place(room="101"), Place(room="101")),
        (Place(), Place()),
    ],
)
def test_what_follows_from_a_place(said: Place, known: Place) -> None:
    assert PLACES.completed(said) == known


@given(ANY)
def test_nothing_that_was_said_is_changed(place: Place) -> None:
    assert lies_in(PLACES.completed(place), place)
    assert NO_PLACES.completed(place) == place


def test_what_people_call_a_place() -> None:
    flat = Place("G1", "3", "1", "1", "101")
    assert PLACES.text(flat, "grid") == NORTH
    assert PLACES.text(flat, "unit") == Text("3号楼 1单元", "Block 3 entrance 1")
    assert PLACES.text(flat, "room") == Text("3号楼 1单元 101", "Block 3 entrance 1 101")
    assert NO_PLACES.text(Place(building="S1", floor="2"), "floor") == Text("S1 2层", "building S1 floor 2")
    assert NO_PLACES.text(Place(grid="B1"), "unit") == Text("网格 B1", "grid cell B1")
    assert NO_PLACES.text(Place(room="1"), "unit") == NOWHERE
    assert PLACES.address_code(flat) == "110199001001000000301101"
    assert PLACES.address_code(Place("G2", "3", "2")) == "1101990010010000003"
    assert PLACES.address_code(Place(building="9")) is None


def test_rooms_of_two_buildings_are_two_and_entrance_10_comes_after_2() -> None:
    items = [
        Place(building="10", unit="1", room="101"),
        Place(building="3", unit="10"),
        Place(grid="B1"),
        Place(floor="2"),
        Place(building="3", floor="2"),
        Place(building="3", unit="2", room="101"),
        Place(building="3", unit="2", room="102"),
    ]
    found = grouped(items, "unit", lambda place: place)
    assert [(where, len(some)) for where, some in found] == [
        (Place(building="3"), 1),
        (Place(building="3", unit="2"), 2),
        (Place(building="3", unit="10"), 1),
        (Place(building="10", unit="1"), 1),
        (Place(grid="B1"), 1),
        (Place(), 1),
    ]


@given(st.lists(ANY), st.sampled_from(list(LEVELS)))
def test_every_item_is_in_one_group_and_with_its_like(places: list[Place], level: str) -> None:
    found = grouped(places, level, lambda place: place)
    assert sorted(map(repr, (each for _, some in found for each in some))) == sorted(map(repr, places))
    keys = [{key_of(each, reached(each, level) or level) for each in some} for _, some in found]
    assert all(len(each) == 1 for each in keys)
    assert len({key for each in keys for key in each}) == len(found)


@given(st.text(max_size=6), st.text(max_size=6))
def test_the_order_of_words_is_an_order(one: str, other: str) -> None:
    assert (natural(one) < natural(other)) or (natural(other) <= natural(one))
    assert natural("A2") < natural("A10") < natural("B1")
    assert natural(None) == natural("")


def test_a_place_on_the_command_line() -> None:
    assert parse_place("building=3, unit=1") == Place(building="3", unit="1")
    for wrong in ("", "building", "building=", "street=3", "unit=1,unit=2", "building=3,"):
        with pytest.raises(ValueError, match=r".*"):
            parse_place(wrong)
    assert place_of({"building": "3", "planet": "earth"}) == Place(building="3")
