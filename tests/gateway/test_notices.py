from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from gateway import envelope
from gateway.clock import ClockState
from gateway.messages import NOTICE
from gateway.model import Lane, Place, Priority, Text
from gateway.notices import TEXTS, notice_event
from gateway.uplink.privacy import NOTICE_TEXTS
from rules.output import Notice, Told

NOW_MS = 1_767_225_600_000


def told(number: int, device: str = "door-3-1", place: Place | None = None, message: Text | None = None) -> Told:
    return Told(
        f"open@{device}" if device else "open",
        f"id-{number}",
        Priority.LOW,
        place if place is not None else Place(building="3", unit="1"),
        message or Text(f"开{number}", f"open {number}"),
    )


def notice(*alarms: Told, kind: str = "group", to: tuple[str, ...] = (), count: int = 0, group: str = "3") -> Notice:
    return Notice(kind, to, alarms, count or len(alarms), group, NOW_MS, Priority.HIGH, 1)


def test_attributes() -> None:
    event = notice_event(notice(told(1), told(2, "door-3-2"), to=("captain", "plumber")), NOW_MS + 5)
    assert (event.kind, event.time_ms, event.device) == (NOTICE, NOW_MS, None)
    assert event.place == Place(building="3", unit="1")
    assert uuid.UUID(event.id).int >> 80 == NOW_MS + 5
    assert event.attributes == {
        "why": "group",
        "to": "captain, plumber",
        "priority": "high",
        "count": 2,
        "active": 1,
        "group": "3",
        "alarms": "open@door-3-1 open@door-3-2",
        "ids": "id-1 id-2",
        "text_zh": "开1；开2",
        "text_en": "open 1; open 2",
    }


def test_it_is_an_item_of_the_event_lane() -> None:
    event = notice_event(notice(told(1)), NOW_MS)
    [draft] = envelope.Encoder({}).drafts(Lane.EVENT, [event], ClockState.SYNCED)
    [item] = json.loads(draft.items)
    assert item["attributes"]["text_zh"] == "开1"
    assert (item["kind"], item["device"]) == ("alarm.notice", "door-3-1")


def test_privacy_knows_the_texts() -> None:
    assert {key for key in notice_event(notice(told(1)), NOW_MS).attributes if key.startswith("text")} == NOTICE_TEXTS


@pytest.mark.parametrize(
    ("count", "zh", "en"),
    [
        (5, "开0；开1；开2；开3；开4", "open 0; open 1; open 2; open 3; open 4"),
        (7, "开0；开1；开2；开3；开4（共 7 条）", "open 0; open 1; open 2; open 3; open 4 (7 alarms)"),
    ],
)
def test_only_the_first_texts(count: int, zh: str, en: str) -> None:
    attributes = notice_event(notice(*(told(number) for number in range(count))), NOW_MS).attributes
    assert (attributes["text_zh"], attributes["text_en"]) == (zh, en)
    assert zh.count("开") == TEXTS


def test_an_alarm_without_a_message() -> None:
    attributes = notice_event(notice(told(1, message=Text("", ""))), NOW_MS).attributes
    assert (attributes["text_zh"], attributes["text_en"]) == ("open@door-3-1", "open@door-3-1")


def at(*levels: str | None) -> Place:
    building, unit, floor = levels
    return Place(grid="C3", building=building, unit=unit, floor=floor)


@pytest.mark.parametrize(
    ("places", "more", "group", "expected"),
    [
        ([at("3", "1", "12")], 0, "3", at("3", "1", "12")),
        ([at("3", "1", "12"), at("3", "2", "12")], 0, "3", at("3", None, None)),  # two floors that share a number
        ([at("3", None, "12"), at("3", None, "12")], 0, "3", at("3", None, "12")),
        ([at("3", "1", "12"), at("4", "1", "12")], 0, "door", at(None, None, None)),
        ([at("3", "1", "12")], 1, "3", at("3", None, None)),  # where the other one is nobody says
        ([at("3", "1", "12")], 1, "3 1", at("3", "1", None)),
        ([at("3", "1", "12")], 1, "door", Place()),
        ([at("3", "1", "12")], 1, "", Place()),
        ([Place()], 1, "", Place()),
    ],
)
def test_place(places: list[Place], more: int, group: str, expected: Place) -> None:
    alarms = [told(number, "d", place) for number, place in enumerate(places)]
    event = notice_event(notice(*alarms, count=len(alarms) + more, group=group), NOW_MS)
    assert event.place == expected
    assert event.device == (None if more else "d")


@pytest.mark.parametrize("device", ["", "d"])
def test_device(device: str) -> None:
    event: Any = notice_event(notice(told(1, device), told(2, device)), NOW_MS)
    assert event.device == (device or None)
