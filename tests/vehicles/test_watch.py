"""From a camera's happening to the records that go to disk, as the intake asks for them."""

from __future__ import annotations

from typing import Any

from drivers.base import Happening, Report
from gateway.intake import Intake, Look
from gateway.model import Event, Place, PointId, Reading
from gateway.pseudonyms import Pseudonyms
from gateway.vehicles.core import Gate, Settings, Vehicles, Way
from gateway.vehicles.lists import Entry, Lists, Word
from gateway.vehicles.pseudonym import pseudonym_of
from gateway.vehicles.watch import SEEN, VehicleWatch
from support.clock import ManualClock

KEY, BOX = bytes(range(32)), Pseudonyms(bytes(32))
NOW_MS = 1_767_225_600_000
POINTS = {
    ("cam-in", "list"): "cam-in.list",
    ("cam-in", "may_open"): "cam-in.may_open",
    (None, "inside_garage"): "vehicles.inside_garage",
}


def point_of(owner: str | None, name: str) -> PointId | None:
    return POINTS.get((owner, name))


def watch(clock: ManualClock | None = None) -> VehicleWatch:
    resident = pseudonym_of(KEY, "皖A16552")
    assert resident is not None
    settings = Settings(
        {"cam-in": Gate("north", "garage", Way.ENTER), "cam-out": Gate("north", "garage", Way.LEAVE)},
        {"garage": None},
        overstay_ms={Word.ALLOW: 1000},
    )
    places = {"cam-in": Place(building="north")}
    vehicles = Vehicles(settings, Lists([Entry(resident, Word.ALLOW)]))
    return VehicleWatch(vehicles, KEY, places, point_of, clock or ManualClock(NOW_MS))


def seen(plate: str | None = "皖A16552", **more: Any) -> Happening:
    attributes = {"colour": "blue", "confidence": 0.95, **more}
    return Happening(SEEN, NOW_MS, attributes, {} if plate is None else {"plate": plate})


def test_a_resident() -> None:
    name = BOX.of("plate", "皖A16552")
    records, told = watch().look("cam-in", seen(), {"plate": name})
    [event, *readings] = records
    assert isinstance(event, Event)
    assert (event.kind, event.device, event.place) == ("vehicle.entered", "cam-in", Place(building="north"))
    assert event.attributes["plate"] == name
    assert told == {"list": "allow", "sure": True, "may_open": True}
    assert [(each.point, each.value) for each in readings if isinstance(each, Reading)] == [
        ("cam-in.list", "allow"),
        ("cam-in.may_open", True),
        ("vehicles.inside_garage", 1),
    ]
    assert "16552" not in repr(records) + repr(told)


def test_doubts_of_the_camera_reach_the_lists() -> None:
    for doubt in ({"confidence": 0.5}, {"confidence": None}, {"colour": "green"}, {"fake_plate": True}):
        _, told = watch().look("cam-in", seen(**doubt), {})
        assert told == {"list": "allow", "sure": False, "may_open": False}
    records, told = watch().look("cam-in", seen("皖AL6552"), {})
    assert told["may_open"] is False
    records, told = watch().look("cam-in", seen("皖A165S2"), {})
    unknown = records[0]
    assert isinstance(unknown, Event)
    assert (unknown.kind, unknown.attributes["looks_like"], told["may_open"]) == ("vehicle.unknown", "allow", False)


def test_vehicles_without_a_plate_and_strange_words() -> None:
    records, told = watch().look("cam-in", seen(None, colour=7, confidence="high", direction=None), {})
    assert [event.kind for event in records if isinstance(event, Event)] == ["vehicle.unknown", "vehicle.entered"]
    assert told["list"] == "unlicensed"
    assert watch().look("elsewhere", seen(), {}) == ([], {})


def test_time_alone() -> None:
    clock = ManualClock(NOW_MS)
    site = watch(clock)
    site.look("cam-in", seen(), {"plate": "p-1"})
    assert site.tick() == []
    clock.advance(2)
    [event, reading] = site.tick()
    assert isinstance(event, Event)
    assert (event.kind, event.device, event.attributes["plate"]) == ("vehicle.overstay", None, "p-1")
    assert isinstance(reading, Reading)
    assert (reading.point, reading.value) == ("vehicles.inside_garage", 1)


def test_it_fits_the_intake() -> None:
    """The event that is written says what the list says, and names nobody."""
    kept: list[Any] = []

    def take(records: Any, saved: Any) -> Any:
        kept.extend(records)

    look: Look = watch().look
    intake = Intake(take, {}, BOX, ManualClock(NOW_MS), looks={SEEN: look})
    intake.take([Report("cam-in", (), (seen(),))])
    events = {event.kind: event.attributes for event in kept if isinstance(event, Event)}
    assert set(events) == {SEEN, "vehicle.entered"}
    assert events[SEEN]["list"] == "allow"
    assert events[SEEN]["plate"] == events["vehicle.entered"]["plate"] == BOX.of("plate", "皖A16552")
