from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import envelope as native
from gateway.config.models import OnlyModel, PlaceModel
from gateway.model import (
    AlarmChange,
    AlarmState,
    Device,
    Event,
    Gap,
    Lane,
    Place,
    Point,
    Priority,
    Quality,
    Reading,
    Reason,
    Text,
    Value,
    ValueKind,
    bad_reading,
)
from gateway.uplink.contract import catalog_payload
from gateway.uplink.privacy import PERSONAL_ATTRIBUTES, View, pseudonym
from uplink.dialects.small_site import (
    DEVICES,
    HEALTH,
    IDENTITY,
    NOW_MS,
    POINTS,
    Log,
    alarm,
    day,
    dialects,
    everything,
    reading,
    subject,
)

KEY, OTHER_KEY = b"k" * 16, b"o" * 32
METER = DEVICES[0]
VEILED = pseudonym(KEY, METER.id)


def view(key: bytes | None = None, of: Sequence[Device] = DEVICES, /, **only: Any) -> View:
    points = {point.id: point for device in of for point in device.points}
    return View(OnlyModel(**only), key, of, points)


def seen(view: View, lane: Lane, *records: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(view.items(Log(POINTS).envelope(lane, *records)).items)
    return items


def event(device: Device | None, /, kind: str = "command.done", **attributes: Value | None) -> Event:
    place = Place() if device is None else device.place
    return Event(
        "01900000-0000-7000-8000-000000000009", kind, NOW_MS, None if device is None else device.id, place, attributes
    )


# ---------------------------------------------------------------------- nothing to hide


def test_with_no_filter_and_no_key_nothing_is_touched() -> None:
    everything_shown = view()
    for envelope in day():
        assert everything_shown.items(envelope) is envelope
    assert everything_shown.health(HEALTH) is HEALTH
    assert list(everything_shown.devices()) == list(DEVICES)
    assert everything_shown.point("anything.at_all") == "anything.at_all"


def test_an_envelope_of_which_all_may_be_seen_stays_the_same_object() -> None:
    envelope = Log(POINTS).envelope(Lane.TELEMETRY, reading("gas-1.concentration", 1.5))
    assert view(KEY, kinds=["gas_detector"]).items(envelope) is envelope


# ---------------------------------------------------------------------- notices

ABOUT: dict[str, Value | None] = {
    "why": "group", "to": "captain", "priority": "high", "count": 2, "active": 2, "group": "", "alarms": "a b",
    "ids": "x y", "text_zh": "气体 31", "text_en": "gas 31",
}  # fmt: skip
TOLD = set(ABOUT)


@pytest.mark.parametrize(
    ("key", "only", "device", "expected"),
    [
        (None, {"lanes": ["event"]}, None, TOLD),
        (KEY, {}, None, TOLD - {"text_zh", "text_en"}),
        (None, {"personal": False}, None, TOLD - {"text_zh", "text_en", "to"}),
        (None, {"kinds": ["power_meter"]}, None, None),
        (None, {"devices": ["gas-1"]}, None, None),
        (None, {"places": [PlaceModel(building="1")]}, None, None),
        (None, {"devices": ["gas-1"]}, DEVICES[2], TOLD),
        (None, {"devices": ["gas-1"]}, METER, None),
        (KEY, {}, METER, {"why", "to", "priority", "count", "active", "ids"}),
    ],
)
def test_a_notice_tells_no_more_than_its_alarms(
    key: bytes | None, only: dict[str, Any], device: Device | None, expected: set[str] | None
) -> None:
    items = seen(view(key, **only), Lane.EVENT, event(device, "alarm.notice", **ABOUT))
    assert [set(item["attributes"]) for item in items] == ([] if expected is None else [expected])


def test_for_whoever_is_on_duty_is_nobodys_name() -> None:
    [item] = seen(view(KEY), Lane.EVENT, event(None, "alarm.notice", **ABOUT | {"to": ""}))
    assert item["attributes"]["to"] == ""


def test_a_notice_of_a_place_is_for_who_sees_all_of_the_place() -> None:
    notice = replace(event(None, "alarm.notice", **ABOUT), place=Place(building="1", unit="2"))
    assert len(seen(view(places=[PlaceModel(building="1")]), Lane.EVENT, notice)) == 1
    assert seen(view(places=[PlaceModel(building="1", unit="1")]), Lane.EVENT, notice) == []


# ---------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ({"kinds": ["power_meter"]}, ["m-1-1-101", "lift-1"]),
        ({"devices": ["gas-1", "nobody"]}, ["gas-1"]),
        ({"places": [PlaceModel(building="1")]}, ["m-1-1-101", "w-1-1-101", "lift-1"]),
        ({"places": [PlaceModel(building="1", unit="1"), PlaceModel(grid="C3")]}, ["m-1-1-101", "w-1-1-101", "soil-1"]),
        ({"kinds": ["power_meter"], "places": [PlaceModel(unit="1")]}, ["m-1-1-101"]),
        ({"kinds": []}, []),
        ({"personal": False}, ["m-1-1-101", "gas-1", "pump-1", "lift-1", "soil-1"]),
    ],
)
def test_what_a_filter_leaves(only: dict[str, Any], expected: list[str]) -> None:
    filtered = view(**only)
    assert [device.id for device in filtered.devices()] == expected
    left = seen(filtered, Lane.TELEMETRY, *(reading(device.points[-1].id, 1.0) for device in DEVICES))
    assert [item["p"].partition(".")[0] for item in left] == expected


def test_a_lane_that_is_not_wanted_keeps_its_numbers_and_gaps_always_come() -> None:
    filtered = view(lanes=["alarm"])
    for before in day():
        after = filtered.items(before)
        assert (after.epoch, after.lane, after.seq, after.boot_id) == (
            before.epoch,
            before.lane,
            before.seq,
            before.boot_id,
        )
        assert (after.items == b"[]") == (before.lane not in (Lane.ALARM, Lane.GAP))
        assert after.count == len(json.loads(after.items))


def test_nothing_personal_is_told_even_where_the_profile_forgot_to_say_so() -> None:
    forgetful = replace(METER, points=(replace(METER.points[0], personal=False), *METER.points[1:]))
    filtered = view(None, (forgetful, *DEVICES[1:]), personal=False)
    (meter,) = (device for device in filtered.devices() if device.id == METER.id)
    assert [point.name for point in meter.points] == ["voltage", "relay", "serial"]
    assert seen(filtered, Lane.BILLING, reading("m-1-1-101.energy", 1.0)) == []
    assert [item["p"] for item in seen(filtered, Lane.BILLING, reading("lift-1.energy", 1.0))] == ["lift-1.energy"]


def test_what_is_not_configured_any_more_cannot_be_judged_and_is_not_sent() -> None:
    filtered = view(None, DEVICES[:2], lanes=["telemetry", "event", "alarm"])
    assert seen(filtered, Lane.TELEMETRY, reading("gas-1.concentration", 1.0)) == []
    assert seen(filtered, Lane.EVENT, event(DEVICES[2])) == []
    assert seen(filtered, Lane.ALARM, alarm(AlarmState.UNACK, 0)) == []
    assert seen(filtered, Lane.GAP, Gap("no_answer", 1, 2, point="gas-1.concentration")) == []


def test_what_happens_at_a_place_and_to_no_device_is_told_to_those_of_the_place() -> None:
    entry = replace(event(None, "plate.seen", lane="2"), place=Place(grid="C3"))
    assert len(seen(view(places=[PlaceModel(grid="C3")]), Lane.EVENT, entry)) == 1
    assert seen(view(places=[PlaceModel(grid="B1")]), Lane.EVENT, entry) == []
    assert seen(view(kinds=["pump"]), Lane.EVENT, entry) == []
    assert len(seen(view(kinds=["pump"]), Lane.EVENT, event(None, "gateway.started"))) == 1


# ---------------------------------------------------------------------- pseudonyms


def test_a_pseudonym_is_an_hmac_of_the_id() -> None:
    """Expected: printf m-1-1-101 | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkk"""
    assert VEILED == "p-652318c617fb28a4"


def test_a_household_s_devices_go_under_pseudonyms_and_the_others_under_their_names() -> None:
    veiled = view(KEY)
    first, second, *rest = veiled.devices()
    assert (first.id, second.id) == (VEILED, pseudonym(KEY, "w-1-1-101"))
    assert first.label == Text(VEILED, VEILED)
    assert first.place == Place(building="1")
    # the serial number would name the meter
    assert [point.id for point in first.points] == [
        f"{VEILED}.{name}" for name in ("energy", "power", "voltage", "relay")
    ]
    assert [device.id for device in rest] == ["gas-1", "pump-1", "lift-1", "soil-1"]


def test_only_the_box_can_go_back() -> None:
    veiled = view(KEY)
    assert veiled.original(VEILED) == "m-1-1-101"
    assert veiled.original(f"{VEILED}.relay") == "m-1-1-101.relay"
    assert veiled.original("gas-1.status") == "gas-1.status"
    assert veiled.original("m-1-1-101") is None
    assert veiled.point("m-1-1-101.relay") == f"{VEILED}.relay"
    assert veiled.point("m-1-1-101.serial") is None


def test_two_platforms_cannot_join_what_they_have() -> None:
    ids = [{device.id for device in view(key).devices() if device.id.startswith("p-")} for key in (KEY, OTHER_KEY)]
    assert ids[0].isdisjoint(ids[1])
    assert all(len(each) == 2 for each in ids)


def test_a_key_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(ValueError, match="can be guessed"):
        view(b"")


def test_a_doubtful_reading_does_not_bring_its_frame_along() -> None:
    doubtful = Reading(
        "m-1-1-101.power", 1.0, NOW_MS, NOW_MS, Quality.UNCERTAIN, Reason.JUMP, b"\x68\x01\x01\x00\x01\x23\x20"
    )
    (item,) = seen(view(KEY), Lane.TELEMETRY, doubtful)
    assert item["p"] == f"{VEILED}.power"
    assert "raw" not in item


def test_people_go_under_pseudonyms_too() -> None:
    swiped = event(
        DEVICES[3],
        "card.swiped",
        holder="Wang",
        card="0012345678",
        plate="京A12345",
        user="13800000000",
        who="operator-7",
        to="captain",
        door=2,
    )
    (item,) = seen(view(KEY), Lane.EVENT, swiped)
    assert item["attributes"] == {
        **{key: pseudonym(KEY, str(swiped.attributes[key])) for key in sorted(PERSONAL_ATTRIBUTES)},
        "door": 2,
    }
    (item,) = seen(view(personal=False), Lane.EVENT, swiped)
    assert item["attributes"] == {"door": 2}
    (item,) = seen(view(KEY, personal=False), Lane.EVENT, swiped)
    assert item["attributes"] == {"door": 2}


def test_what_somebody_wrote_about_a_household_stays_in_the_box() -> None:
    done = event(
        METER,
        command="c-1",
        point="m-1-1-101.relay",
        value="open",
        reason="bill of 101 not paid",
        via="cli",
        result="ok",
        tries=1,
    )
    (item,) = seen(view(KEY), Lane.EVENT, done)
    assert item["device"] == VEILED
    assert item["place"] == {"building": "1"}
    assert item["attributes"] == {
        "command": "c-1",
        "point": f"{VEILED}.relay",
        "via": "cli",
        "result": "ok",
        "tries": 1,
    }


def test_a_text_that_names_what_is_hidden_is_left_out_wherever_it_stands() -> None:
    wrong = event(
        DEVICES[4], "device.wrong", before="1", after="2", belongs_to="m-1-1-101", detail="see 1栋1单元101 电表"
    )
    (item,) = seen(
        view(kinds=["power_meter"], places=[PlaceModel(building="1"), PlaceModel(grid="B1")]), Lane.EVENT, wrong
    )
    assert item["attributes"]["belongs_to"] == "m-1-1-101"
    (item,) = seen(view(devices=["lift-1"]), Lane.EVENT, wrong)
    assert item["attributes"] == {"before": "1", "after": "2"}
    (item,) = seen(view(KEY), Lane.EVENT, wrong)
    assert item["attributes"] == {"before": "1", "after": "2", "belongs_to": VEILED}


def test_an_event_about_a_point_that_is_not_to_be_known_is_left_out() -> None:
    rolled = event(METER, "register.rolled_over", point="m-1-1-101.energy", before=999999.0, after=1.0)
    assert seen(view(personal=False), Lane.EVENT, rolled) == []
    assert len(seen(view(KEY), Lane.EVENT, rolled)) == 1


def test_an_alarm_keeps_what_may_be_known_of_it() -> None:
    both = alarm(
        AlarmState.UNACK,
        0,
        None,
        "both",
        values={"pump-1.level": 25.0, "m-1-1-101.power": 0.0},
        message=Text("水位 25", "level 25"),
    )
    (item,) = seen(view(KEY), Lane.ALARM, both)
    assert item["values"] == {"pump-1.level": 25.0, f"{VEILED}.power": 0.0}
    assert item["message"] == {"zh": "both", "en": "both"}
    (item,) = seen(view(kinds=["pump"]), Lane.ALARM, both)
    assert item["values"] == {"pump-1.level": 25.0}
    assert seen(view(kinds=["soil_sensor"]), Lane.ALARM, both) == []
    (item,) = seen(view(kinds=["pump", "power_meter"]), Lane.ALARM, both)
    assert item["message"] == {"zh": "水位 25", "en": "level 25"}


def test_health_names_nobody_who_is_hidden() -> None:
    hidden = view(KEY, kinds=["power_meter"]).health(HEALTH)
    assert hidden["lines"]["meters-1"]["silent"] == [VEILED]
    assert list(hidden["lines"]["meters-1"]["devices"]) == [VEILED]
    assert hidden["alarms"] == []
    assert hidden["uptime_s"] == HEALTH["uptime_s"]


# ---------------------------------------------------------------------- whatever the site, whatever it says


@dataclass(frozen=True)
class Told:
    """A random compound and what happened there; every name in it is found nowhere else."""

    devices: tuple[Device, ...]
    records: Mapping[Lane, Sequence[Any]]
    people: Sequence[str]


def secret_texts(device: Device) -> list[str]:
    return [device.id, device.label.zh, device.label.en, device.place.room or device.id]


@st.composite
def sites(draw: st.DrawFn) -> Told:
    devices = tuple(draw(_device(n)) for n in range(draw(st.integers(2, 6))))
    every = [text for device in devices for text in secret_texts(device)] + [p.id for d in devices for p in d.points]
    gossip = st.lists(st.sampled_from(every), max_size=3).map(lambda parts: "见 " + ", ".join(parts))
    people = [f"person{n}q" for n in range(4)]
    points = [point for device in devices for point in device.points]
    somebody = st.sampled_from([*devices, None])

    def value(point: Point) -> Value:
        """Of something personal, a number that is found nowhere else."""
        if point.kind is ValueKind.TEXT:
            return next(device for device in devices if device.id == point.device).id
        return 7_000_000_000 + points.index(point) if point.kind is ValueKind.NUMBER else True

    @st.composite
    def event(draw: st.DrawFn) -> Event:
        device = draw(somebody)
        attributes: dict[str, Value | None] = {
            key: draw(st.sampled_from(people)) for key in draw(st.sets(st.sampled_from(sorted(PERSONAL_ATTRIBUTES))))
        }
        for key in draw(st.sets(st.sampled_from(["reason", "detail", "after", "command", "version", "result"]))):
            attributes[key] = draw(gossip)
        about = draw(st.none() | st.sampled_from(points))
        if about is not None:
            attributes |= {"point": about.id, "before": value(about)}
        if draw(st.booleans()):
            attributes["belongs_to"] = draw(st.sampled_from(devices)).id
        place = (
            draw(st.sampled_from([each.place for each in devices]))
            if device is None and draw(st.booleans())
            else Place()
        )
        return Event(
            "e-1",
            "x",
            NOW_MS,
            None if device is None else device.id,
            place if device is None else device.place,
            attributes,
        )

    @st.composite
    def change(draw: st.DrawFn) -> AlarmChange:
        device = draw(somebody)
        named = draw(st.lists(st.sampled_from(points), max_size=3))
        text = draw(gossip) + "".join(str(value(point)) for point in named)
        rule = draw(st.sampled_from(["gas_high", "水浸", "both"]))
        return AlarmChange(
            "a-1", rule, None if device is None else device.id, Place() if device is None else device.place,
            draw(st.sampled_from(AlarmState)), draw(st.sampled_from(Priority)), 1, NOW_MS, "condition",
            Text(text, text), {point.id: value(point) for point in named},
        )  # fmt: skip

    readings = [
        bad_reading(point.id, Reason.NO_ANSWER, NOW_MS, device_bytes(point)) if draw(st.booleans()) else
        Reading(point.id, value(point), NOW_MS, NOW_MS)
        for point in points
    ]  # fmt: skip
    records: dict[Lane, Sequence[Any]] = {
        Lane.TELEMETRY: [each for each in readings if not _lane_is(points, each, Lane.BILLING)],
        Lane.BILLING: [each for each in readings if _lane_is(points, each, Lane.BILLING)],
        Lane.EVENT: draw(st.lists(event(), max_size=5)),
        Lane.ALARM: draw(st.lists(change(), max_size=5)),
        Lane.GAP: [Gap("no_answer", 1, 2, point=point.id) for point in points],
    }
    return Told(devices, records, people)


def _lane_is(points: Sequence[Point], reading: Reading, lane: Lane) -> bool:
    return any(point.id == reading.point and point.lane is lane for point in points)


def device_bytes(point: Point) -> bytes:
    return point.device.encode()


@st.composite
def _device(draw: st.DrawFn, n: int) -> Device:
    ident = f"dev{n}{draw(st.sampled_from(['-1', '_a', 'x']))}z"
    kinds = draw(
        st.lists(st.sampled_from([ValueKind.NUMBER, ValueKind.TEXT, ValueKind.BOOLEAN]), min_size=1, max_size=4)
    )
    points = tuple(
        Point(
            f"{ident}.point{m}", kind, Text("点", "point"), 60.0,
            lane=draw(st.sampled_from([Lane.BILLING, Lane.TELEMETRY])), personal=draw(st.booleans()),
            identity=kind is ValueKind.TEXT and draw(st.booleans()),
        )
        for m, kind in enumerate(kinds)
    )  # fmt: skip
    place = Place(
        draw(st.sampled_from(["G1", "G2", None])),
        draw(st.sampled_from(["B1", "B2"])),
        "U1",
        "F1",
        draw(st.sampled_from([f"室{n}甲乙", f"room{n}R"])),
    )
    return Device(
        ident, draw(st.sampled_from(["meter", "pump", "gas"])), Text(f"名{n}字丙", f"Label {n}L"), place, "x", points
    )


filters = st.fixed_dictionaries(
    {},
    optional={
        "kinds": st.lists(st.sampled_from(["meter", "pump", "gas"]), max_size=2),
        "places": st.lists(
            st.sampled_from([PlaceModel(building="B1"), PlaceModel(grid="G1"), PlaceModel(grid="G2", building="B2")]),
            max_size=2,
        ),
        "personal": st.booleans(),
    },
)


def told_to(everyone: Told, view: View) -> dict[str, bytes]:
    """All bytes that each dialect, ours included, sends to a platform with this view."""
    points = {point.id: point for device in everyone.devices for point in device.points}
    log = Log(points)
    envelopes = [view.items(log.envelope(lane, *records)) for lane, records in everyone.records.items()]
    health = view.health(
        {
            **HEALTH,
            "lines": {
                "l": {
                    "silent": [each.id for each in everyone.devices],
                    "devices": {each.id: {} for each in everyone.devices},
                }
            },
            "alarms": [
                native.alarm_item(change)
                | {"name": {"zh": "名", "en": "n"}, "response": response(everyone), "acked_by": everyone.people[0]}
                for change in everyone.records[Lane.ALARM]
            ],
        }
    )
    shown = {
        name: b"\n".join(
            part for each in everything(dialect, envelopes, health) for part in (each.topic.encode(), each.payload)
        )
        for name, dialect in dialects(subject(list(view.devices()), ())).items()
    }
    shown["native"] = b"\n".join(
        [
            catalog_payload(IDENTITY, view.devices(), ["main"]),
            json.dumps(health, ensure_ascii=False).encode(),
            *(native.payload(envelope, "s", "g", NOW_MS, replay=False) for envelope in envelopes),
        ]
    )
    return shown


def response(everyone: Told) -> dict[str, str]:
    """What the rule says is to be done; it holds no values."""
    first, last = everyone.devices[0], everyone.devices[-1]
    return {"zh": f"去 {first.place.room} 看{first.label.zh}", "en": f"look at {last.label.en}, {last.id}"}


def secrets(everyone: Told, only: OnlyModel, key: bytes | None) -> list[str]:
    """Written down a second time, and simpler than in the code."""
    found: list[str] = []
    for device in everyone.devices:
        household = any(point.personal for point in device.points)
        place = {"grid": device.place.grid, "building": device.place.building}
        allowed = (only.kinds is None or device.kind in only.kinds) and (
            only.places is None
            or any((p.grid in (None, place["grid"])) and (p.building in (None, place["building"])) for p in only.places)
        )
        private = [
            p for p in device.points if not only.personal and (p.personal or (household and p.lane is Lane.BILLING))
        ]
        if not allowed or len(private) == len(device.points) or (key is not None and household):
            found += [*secret_texts(device), device.id.encode().hex()]
    for index, point in enumerate(point for device in everyone.devices for point in device.points):
        if point.personal and not only.personal and point.kind is ValueKind.NUMBER:
            found.append(str(7_000_000_000 + index))
    return found + (list(everyone.people) if key is not None or not only.personal else [])


@settings(max_examples=80)
@given(everyone=sites(), only=filters, key=st.sampled_from([None, KEY, OTHER_KEY]))
def test_nothing_that_is_to_stay_in_the_box_is_in_any_message(
    everyone: Told, only: dict[str, Any], key: bytes | None
) -> None:
    model = OnlyModel(**only)
    points = {point.id: point for device in everyone.devices for point in device.points}
    shown = told_to(everyone, View(model, key, everyone.devices, points))
    assert len(shown) == 4
    for name, said in shown.items():
        for secret in secrets(everyone, model, key):
            assert secret.encode() not in said, (name, secret)
    assert shown == told_to(everyone, View(model, key, everyone.devices, points))


@settings(max_examples=20)
@given(everyone=sites())
def test_the_test_above_would_see_a_leak(everyone: Told) -> None:
    """With nothing hidden, every device's id is in what is said."""
    points = {point.id: point for device in everyone.devices for point in device.points}
    shown = told_to(everyone, View(OnlyModel(), None, everyone.devices, points))
    for said in shown.values():
        assert all(device.id.encode() in said for device in everyone.devices)


@settings(max_examples=30)
@given(everyone=sites(), only=filters, key=st.sampled_from([None, KEY]))
def test_every_envelope_keeps_its_number_and_counts_its_items(
    everyone: Told, only: dict[str, Any], key: bytes | None
) -> None:
    points = {point.id: point for device in everyone.devices for point in device.points}
    filtered, log = View(OnlyModel(**only), key, everyone.devices, points), Log(points)
    for lane, records in everyone.records.items():
        before = log.envelope(lane, *records)
        after = filtered.items(before)
        items = json.loads(after.items)
        assert replace(after, items=b"", count=0) == replace(before, items=b"", count=0)
        assert after.count == len(items) <= before.count
        assert after == filtered.items(before)


ENERGY = Point("m.energy", ValueKind.NUMBER, Text("", ""), 1.0, lane=Lane.BILLING, personal=True)
STATE = Point("m.state", ValueKind.NUMBER, Text("", ""), 1.0)
HOME = Device("m", "power_meter", Text("", ""), Place(building="3#", room="101"), "test", (ENERGY, STATE))


@pytest.mark.parametrize(
    ("only", "pseudonyms", "energy", "state"),
    [
        (OnlyModel(), False, True, True),
        (OnlyModel(personal=False), False, False, True),
        (OnlyModel(), True, False, False),
        (OnlyModel(lanes=["billing"]), False, True, False),
        (OnlyModel(kinds=["pump"]), False, False, False),
        (OnlyModel(devices=["m"]), False, True, True),
        (OnlyModel(devices=["n"]), False, False, False),
        (OnlyModel(places=[PlaceModel(building="3#")]), False, True, True),
        (OnlyModel(places=[PlaceModel(building="3#", room="102")]), False, False, False),
    ],
)
def test_a_command_shows_no_more_than_the_uplink_does(
    only: OnlyModel, pseudonyms: bool, energy: bool, state: bool
) -> None:
    seen_of = View(only, KEY if pseudonyms else None, [HOME], {point.id: point for point in HOME.points})
    assert seen_of.may_read(ENERGY) is energy
    assert seen_of.may_read(STATE) is state
