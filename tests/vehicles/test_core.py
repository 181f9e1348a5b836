"""Who is inside, and what may open: by example, and against a model that keeps everything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plates import Colour, PlateClass, variants
from gateway.vehicles.core import MOST_RECENT, Gate, Outcome, Settings, Vehicles, Way
from gateway.vehicles.lists import Entry, Lists, Word
from gateway.vehicles.pseudonym import alike_of, pseudonym_of

KEY = bytes(range(32))
S, MIN, H = 1000, 60_000, 3_600_000
T = 1_767_225_600_000
SETTINGS = Settings(
    gates={
        "in": Gate("north", "garage", Way.ENTER),
        "barred": Gate("south", "garage", Way.ENTER, listed_only=True),
        "out": Gate("north", "garage", Way.LEAVE),
        "both": Gate("east", "yard", ways={"down": Way.ENTER, "up": Way.LEAVE}),
    },
    capacity={"garage": 3, "yard": None},
    overstay_ms={Word.VISITOR: 24 * H},
)


def p(plate: str) -> str:
    found = pseudonym_of(KEY, plate)
    assert found is not None
    return found


HOME, GUEST, BAD, OLD, NEW = (p(f"皖A0000{number}") for number in range(5))
LISTS = Lists(
    [
        Entry(HOME, Word.ALLOW),
        Entry(GUEST, Word.VISITOR, since_ms=T, until_ms=T + 48 * H),
        Entry(BAD, Word.DENY),
        Entry(BAD, Word.ALLOW),
        Entry(OLD, Word.ALLOW, until_ms=T),
    ]
)


def vehicles(kept: Iterable[bytes] = (), **more: Any) -> Vehicles:
    settings = {name: getattr(SETTINGS, name) for name in SETTINGS.__slots__}
    return Vehicles(Settings(**{**settings, **more}), LISTS, kept)


def saved(site: Vehicles) -> list[bytes]:
    """All that is on disk of a site that has saved nothing before."""
    return list(site.changes().values())


def told(disk: Mapping[str, bytes]) -> list[Any]:
    """Everything that the parts on a disk say, in an order of its own."""
    rows = [row for part in disk.values() for name in ("stays", "passed", "recent") for row in json.loads(part)[name]]
    return sorted(rows, key=str)


def seen(site: Vehicles, time_ms: int, camera: str, plate: str | None, **more: Any) -> list[Outcome]:
    said = {"plate_class": PlateClass.CIVIL, "colour": Colour.BLUE, "confidence": 0.95, "direction": "unknown", **more}
    return site.seen(time_ms, camera, plate, **said)


def kinds(outcomes: list[Outcome]) -> list[str]:
    return [outcome.kind.removeprefix("vehicle.") for outcome in outcomes]


def test_a_resident_comes_and_goes() -> None:
    site = vehicles()
    [entered] = seen(site, T, "in", HOME)
    assert (entered.kind, entered.camera, entered.pseudonym, entered.time_ms) == ("vehicle.entered", "in", HOME, T)
    assert entered.attributes == {
        "gate": "north",
        "area": "garage",
        "way": "enter",
        "list": "allow",
        "plate_class": "civil",
        "sure": True,
    }
    assert entered.values == {"list": "allow", "sure": True, "may_open": True, "inside_garage": 1, "free_garage": 2}
    assert site.values() == {"inside_garage": 1, "free_garage": 2, "inside_yard": 0}
    [left] = seen(site, T + 90 * MIN, "out", HOME)
    assert (left.kind, left.attributes["dwell_s"]) == ("vehicle.left", 5400)
    assert site.values()["inside_garage"] == 0


def test_words_of_the_lists() -> None:
    site = vehicles()
    assert kinds(seen(site, T, "in", GUEST)) == ["entered"]
    assert kinds(seen(site, T - 1, "both", GUEST)) == ["unknown"]  # not yet valid, and no way known
    assert kinds(seen(site, T, "in", OLD)) == ["unknown", "entered"]
    assert kinds(seen(site, T, "in", NEW)) == ["unknown", "entered"]
    assert kinds(seen(site, T, "barred", NEW)) == ["unknown"]
    assert kinds(seen(site, T, "barred", BAD)) == ["denied"]
    assert kinds(seen(site, T + H, "in", BAD)) == ["denied"]  # deny counts before allow
    assert kinds(seen(site, T + 2 * H, "out", BAD)) == ["denied", "left"]
    words = [seen(site, T + 5 * H, "both", plate)[0].attributes["list"] for plate in (OLD, NEW, BAD)]
    assert words == ["expired", "unknown", "deny"]
    assert seen(site, T, "elsewhere", HOME) == []


@pytest.mark.parametrize(
    ("plate", "more", "may_open"),
    [
        (HOME, {}, True),
        (GUEST, {}, True),
        (HOME, {"confidence": 0.8}, True),
        (HOME, {"confidence": 0.79}, False),
        (HOME, {"confidence": None}, False),
        (HOME, {"colour": Colour.GREEN}, False),
        (HOME, {"colour": Colour.UNKNOWN}, True),
        (HOME, {"fake": True}, False),
        (BAD, {}, False),
        (OLD, {}, False),
        (NEW, {"alike": [HOME]}, False),
        (None, {"plate_class": PlateClass.UNLICENSED}, False),
    ],
)
def test_what_may_open(plate: str | None, more: dict[str, Any], may_open: bool) -> None:
    outcomes = seen(vehicles(), T, "in", plate, **more)
    assert {outcome.values["may_open"] for outcome in outcomes} == {may_open}


def test_a_plate_that_looks_like_one_of_a_list_is_told_to_people() -> None:
    for of_list, word in (("皖A00000", "allow"), ("皖A00002", "deny")):
        misread = of_list.replace("A0", "AD", 1)
        alike = alike_of(KEY, misread)
        assert alike == [p(each) for each in variants(misread)]
        assert p(of_list) in alike
        [unknown, _] = seen(vehicles(), T, "in", p(misread), alike=alike)
        assert (unknown.attributes["list"], unknown.attributes["looks_like"]) == ("unknown", word)
        assert unknown.values["may_open"] is False


def test_a_misread_plate_leaves_with_its_right_one() -> None:
    site = vehicles()
    seen(site, T, "in", p("皖AD0005"))
    alike = [p(each) for each in variants("皖A00005")]
    [unknown, left] = seen(site, T + H, "out", p("皖A00005"), alike=alike)
    assert (left.attributes["paired"], left.attributes["dwell_s"]) == ("alike", 3600)
    assert unknown.values["may_open"] is False
    assert site.inside("garage") == 0


def test_of_two_that_look_alike_none_is_taken() -> None:
    site = vehicles()
    for plate in ("皖AD0005", "皖AQ0005"):
        seen(site, T, "in", p(plate))
    left = seen(site, T + H, "out", p("皖A00005"), alike=[p("皖AD0005"), p("皖AQ0005")])[-1]
    assert left.attributes["missed"] == "entered"
    assert site.inside("garage") == 2


def test_repetitions_are_told_once_and_again_when_surer() -> None:
    site = vehicles()
    assert kinds(seen(site, T, "in", HOME, confidence=0.5)) == ["entered"]
    assert seen(site, T + S, "in", HOME, confidence=0.6) == []
    [surer] = seen(site, T + 2 * S, "in", HOME)
    assert (surer.kind, surer.values["may_open"], surer.values["inside_garage"]) == ("vehicle.known", True, 1)
    assert seen(site, T + 3 * S, "in", HOME) == []
    site = vehicles()
    assert kinds(seen(site, T, "in", BAD, confidence=0.5)) == ["denied"]
    [surer] = seen(site, T + S, "in", BAD)
    assert (surer.attributes["repeated"], surer.attributes["sure"]) == (True, True)
    assert seen(site, T + 2 * S, "in", BAD) == []
    assert kinds(seen(site, T + 62 * S, "in", BAD)) == ["denied"]


def test_missed_passages() -> None:
    site = vehicles()
    seen(site, T, "in", HOME)
    [again] = seen(site, T + H, "in", HOME)
    assert again.attributes["missed"] == "left"
    assert site.inside("garage") == 1
    assert seen(site, T + 2 * H, "out", HOME)[0].attributes["dwell_s"] == 3600
    [stranger] = seen(site, T + 3 * H, "out", HOME)
    assert stranger.attributes["missed"] == "entered"
    assert "dwell_s" not in stranger.attributes


def test_what_a_camera_tells_late_changes_nothing() -> None:
    site = vehicles()
    seen(site, T, "in", HOME)
    seen(site, T + H, "out", HOME)
    for each in (site, vehicles(saved(site))):
        [late] = seen(each, T + H // 2, "in", HOME)
        assert (late.kind, late.attributes["late"]) == ("vehicle.entered", True)
        assert each.inside("garage") == 0


def test_vehicles_without_plates_are_counted() -> None:
    site = vehicles()
    more = {"plate_class": PlateClass.UNLICENSED, "colour": Colour.UNKNOWN}
    for second in range(2):
        assert kinds(seen(site, T + second * S, "in", None, **more)) == ["unknown", "entered"]
    assert site.inside("garage") == 2
    gone = [seen(site, T + H, "out", None, **more)[-1] for _ in range(3)]
    assert [outcome.attributes.get("missed") for outcome in gone] == [None, None, "entered"]
    assert site.inside("garage") == 0


def test_a_camera_that_sees_both_ways() -> None:
    site = vehicles()
    assert kinds(seen(site, T, "both", HOME, direction="down")) == ["entered"]
    assert site.values()["inside_yard"] == 1
    assert kinds(seen(site, T + H, "both", HOME, direction="left")) == ["known"]
    assert kinds(seen(site, T + 2 * H, "both", HOME, direction="up")) == ["left"]


def test_who_stays_too_long_is_told_once() -> None:
    site = vehicles()
    seen(site, T, "in", GUEST, name="p-guest")
    seen(site, T, "in", HOME)
    assert site.tick(T + 24 * H - 1) == []
    [outcome] = site.tick(T + 24 * H)
    assert (outcome.kind, outcome.pseudonym, outcome.camera) == ("vehicle.overstay", GUEST, None)
    assert outcome.name == "p-guest"
    assert outcome.attributes == {"area": "garage", "gate": "north", "list": "visitor", "dwell_s": 86400}
    assert site.tick(T + 25 * H) == []
    assert vehicles(saved(site)).tick(T + 25 * H) == []
    assert site.inside("garage") == 2
    assert site.tick(T + 30 * 24 * H) == []
    assert site.inside("garage") == 0


def test_lists_may_change() -> None:
    site = vehicles()
    site.use(Lists([Entry(NEW, Word.ALLOW)]))
    assert seen(site, T, "in", NEW)[0].attributes["list"] == "allow"
    assert seen(site, T, "in", HOME)[0].attributes["list"] == "unknown"


def test_memory_is_bounded() -> None:
    site = vehicles(most=100)
    for number in range(MOST_RECENT + 100):
        seen(site, T + number, "in", p(f"皖B{number:05}"))
    assert site.inside("garage") == 100
    parts = saved(site)
    assert sum(map(len, parts)) < 300_000
    assert vehicles(parts, most=50).inside("garage") == 50
    seen(site, T + 10 * MOST_RECENT, "in", HOME)
    assert sum(map(len, saved(site))) < 10_000, "a passage costs a part or two"
    assert seen(site, T + H, "out", p(f"皖B{MOST_RECENT + 99:05}"))[-1].attributes["dwell_s"] > 3500
    assert seen(site, T + H, "out", p("皖B00000"))[-1].attributes["missed"] == "entered"


def test_what_is_kept_names_no_plate() -> None:
    site = vehicles()
    seen(site, T, "in", HOME)
    kept = b"".join(saved(site))
    assert "皖".encode() not in kept
    assert b"00000" not in kept.replace(str(T).encode(), b"")


@pytest.mark.parametrize(
    "kept",
    [
        b"\xff",
        b"[]",
        b"{}",
        b'{"version": 2}',
        b"[" * 100_000,
        b'{"version": 1, "stays": 5, "passed": [[]], "anonymous": [], "recent": [[1, 2]]}',
        b'{"version": 1, "stays": [["garage", "v-1", 5, "north", "allow", "x", false]], "anonymous": {"garage": -4}}',
        json.dumps({"version": 1, "stays": [["garage", HOME, True, "north", "allow", "x", False]]}).encode(),
        json.dumps({"version": 1, "stays": [["garage", HOME, 5, "north", "else", "x", False]]}).encode(),
    ],
)
def test_what_cannot_be_read_is_as_if_it_were_not_there(kept: bytes) -> None:
    site = vehicles([kept])
    assert site.values() == vehicles().values()
    assert kinds(seen(site, T, "in", HOME)) == ["entered"]


# ---------------------------------------------------------------------- any sequence

PLATES = (HOME, GUEST, BAD, OLD, NEW, None)
sightings = st.lists(
    st.tuples(
        st.integers(-200 * S, 240 * S),
        st.sampled_from(["in", "barred", "out", "both"]),
        st.sampled_from(PLATES),
        st.sampled_from([None, 0.5, 0.95]),
        st.sampled_from(["up", "down", "unknown"]),
        st.sampled_from([Colour.BLUE, Colour.GREEN]),
        st.lists(st.sampled_from(PLATES[:-1]), max_size=2),
    ),
    max_size=40,
)


@given(sightings, st.integers(0, 40))
def test_a_start_in_between_changes_nothing(sighted: list[Any], at: int) -> None:
    one, other, now_ms = vehicles(), vehicles(), T
    disk_of_one: dict[str, bytes] = {}
    disk_of_other: dict[str, bytes] = {}
    for number, (later_ms, camera, plate, confidence, direction, colour, alike) in enumerate(sighted):
        now_ms += later_ms
        if number == at:
            other = vehicles(disk_of_other.values())
        said = {"confidence": confidence, "direction": direction, "colour": colour, "alike": alike}
        assert seen(one, now_ms, camera, plate, **said) == seen(other, now_ms, camera, plate, **said)
        assert one.tick(now_ms) == other.tick(now_ms)
        disk_of_one |= one.changes()
        disk_of_other |= other.changes()
    assert told(disk_of_one) == told(disk_of_other)
    assert one.values() == other.values()


@given(sightings)
def test_nothing_but_a_sure_exact_match_may_open(told: list[Any]) -> None:
    site, now_ms = vehicles(), T
    for later_ms, camera, plate, confidence, direction, colour, alike in told:
        now_ms += later_ms
        said = {"confidence": confidence, "direction": direction, "colour": colour}
        for outcome in seen(site, now_ms, camera, plate, alike=alike, **said):
            valid = {HOME: True, GUEST: T <= now_ms < T + 48 * H, OLD: now_ms < T}
            listed = valid.get(plate, False)
            assert outcome.values["may_open"] is (listed and confidence == 0.95 and colour is Colour.BLUE)
        assert 0 <= site.inside("garage") <= len(told)


@given(st.lists(st.tuples(st.sampled_from(["in", "out"]), st.sampled_from([HOME, GUEST, OLD, NEW])), max_size=60))
def test_who_is_inside_against_a_set(told: list[tuple[str, str]]) -> None:
    """One passage an hour: nothing is a repetition, nothing late."""
    site, inside, since = vehicles(forget_ms=10**12), set(), {}
    for hour, (camera, plate) in enumerate(told):
        outcome = seen(site, T + hour * H, camera, plate)[-1]
        if camera == "in":
            assert outcome.attributes.get("missed") == ("left" if plate in inside else None)
            inside.add(plate)
            since[plate] = hour
        else:
            expected = (hour - since[plate]) * 3600 if plate in inside else None
            assert outcome.attributes.get("dwell_s") == expected
            inside.discard(plate)
        assert site.inside("garage") == len(inside) == outcome.values["inside_garage"]
