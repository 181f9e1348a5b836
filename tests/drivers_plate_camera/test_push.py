"""Published bodies, bodies in every shape that makers use, and bodies that nobody should send."""

from __future__ import annotations

import base64
import inspect
import json
from contextlib import suppress
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.plate_camera import push
from drivers.plate_camera.decode import decode, decode_plate
from drivers.plate_camera.messages import Alive, Dialect, InputChanged, Push, PushError, Seen
from drivers.plate_camera.simulator import HOSTILE, PICTURE, body_of, heartbeat_of
from gateway.plates import Colour, PlateClass

BODIES: dict[str, dict[str, Any]] = {
    vector["id"]: vector
    for vector in json.loads((Path(__file__).parent.parent / "vectors" / "plates.json").read_text("utf-8"))["vectors"]
    if not vector["id"].startswith("plate-")
}
SHANGHAI = timezone(timedelta(hours=8))


def seen(body: bytes | str, content_type: str = "", **more: Any) -> Seen:
    said = push.decode(body.encode() if isinstance(body, str) else body, content_type, **more).said
    assert isinstance(said, Seen)
    return said


def test_none_is_missing() -> None:
    assert set(BODIES) == {"anpr-alphadigi", "anpr-hik-tcg406"}


def test_the_captured_alphadigi_body() -> None:
    vector = BODIES["anpr-alphadigi"]
    said = push.decode(json.dumps(vector["input"]).encode())
    expected = vector["expected"]
    assert (said.dialect, said.cameras) == (Dialect.VZENITH, (expected["camera_serial"],))
    assert isinstance(said.said, Seen)
    assert (said.said.plate, said.said.plate_class) == (expected["plate"], PlateClass.OTHER)
    assert said.said.confidence == expected["confidence"] / 100
    assert said.said.time_ms == expected["time_unix"] * 1000
    assert said.said.trigger == {2: "input"}[expected["trigger"]]
    assert (said.said.colour, said.said.direction, said.said.lane) == (Colour.WHITE, "left", "0")


def test_the_published_hikvision_body() -> None:
    vector = BODIES["anpr-hik-tcg406"]
    said = push.decode(vector["input"].encode())
    assert (said.dialect, said.cameras) == (Dialect.ISAPI, ("DS-TCG406-E",))
    assert isinstance(said.said, Seen)
    assert (said.said.plate, said.said.confidence) == (vector["expected"]["plate"], 0.955)
    assert (said.said.lane, said.said.direction, said.said.vehicle_type) == ("1", "forward", "truck")
    assert said.said.time_ms == 1_764_158_400_000


def test_decode_explains_both_of_them() -> None:
    for vector in BODIES.values():
        body = vector["input"] if isinstance(vector["input"], str) else json.dumps(vector["input"])
        head = f"POST /x HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        for data in (body, head + body):
            [frame] = decode(data.encode()).frames
            assert {item.id: item.value for item in frame.items}["plate"] == vector["expected"]["plate"]


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("pictures", [0, 2])
def test_what_the_simulator_sends_is_read(dialect: Dialect, pictures: int) -> None:
    body, content_type = body_of(dialect, "cam-1", "皖A16552", number=7, confidence=88.5, pictures=pictures)
    said = push.decode(body, content_type)
    assert (said.dialect, said.cameras) == (dialect, ("cam-1",))
    assert isinstance(said.said, Seen)
    assert (said.said.plate, said.said.plate_class, said.said.colour) == ("皖A16552", PlateClass.CIVIL, Colour.BLUE)
    assert (said.said.confidence, said.said.time_ms) == (0.885, 1_670_976_550_000)
    assert push.decode(*heartbeat_of(dialect, "cam-1")) == Push(dialect, ("cam-1",), Alive())


@pytest.mark.parametrize(
    "opening",
    [
        "<EventNotificationAlert>",
        '<EventNotificationAlert xmlns="http://www.hikvision.com/ver20/XMLSchema">',
        '<EventNotificationAlert xmlns="urn:psialliance-org">',
        '<h:EventNotificationAlert xmlns:h="http://www.std-cgi.com/ver10/XMLSchema">',
    ],
)
def test_hikvision_with_any_namespace_or_none(opening: str) -> None:
    prefix = "h:" if "<h:" in opening else ""
    tags = {"eventType": "ANPR", "dateTime": "2026-01-31T08:30:00", "UUID": "a"}
    content = "".join(f"<{prefix}{tag}>{text}</{prefix}{tag}>" for tag, text in tags.items())
    anpr = f"<{prefix}ANPR><{prefix}licensePlate>粤B·12345D</{prefix}licensePlate></{prefix}ANPR>"
    said = seen(f"{opening}{content}{anpr}</{prefix}EventNotificationAlert>", zone=SHANGHAI)
    assert (said.plate, said.plate_class, said.confidence) == ("粤B12345D", PlateClass.NEV_LARGE, None)
    assert said.time_ms == 1_769_819_400_000  # local time where none is named: 00:30 UTC
    assert said.id == "a"


def test_vehicles_without_a_plate() -> None:
    for dialect, words in (
        (Dialect.VZENITH, ("_无_", "", "  ")),
        (Dialect.ISAPI, ("unknown", "noPlate", "")),
        (Dialect.ITSAPI, ("",)),
    ):
        for word in words:
            said = seen(*body_of(dialect, "cam-1", word))
            assert (said.plate, said.plate_class) == ("", PlateClass.UNLICENSED), (dialect, word)
    assert seen(*body_of(Dialect.VZENITH, "cam-1", "皖A16552", type=31)).plate == ""


def test_the_words_of_vzenith() -> None:
    said = seen(
        *body_of(
            Dialect.VZENITH,
            "cam-1",
            "粤Z9065澳",
            colorType=4,
            direction=4,
            triggerType=64,
            type=14,
            carColor=8,
            car_brand={"type": 7},
            is_fake_plate=1,
            late=True,
        )
    )
    assert (said.colour, said.direction, said.trigger, said.stays) == (Colour.BLACK, "down", "stays", True)
    assert (said.plate_type, said.vehicle_type, said.vehicle_colour) == ("macau", "truck_large", "black")
    assert (said.fake, said.late, said.number) == (True, True, 1)
    strange = seen(*body_of(Dialect.VZENITH, "c", "皖A16552", colorType="x", direction=[], triggerType=99, type=None))
    assert (strange.colour, strange.direction, strange.trigger) == (Colour.UNKNOWN, "unknown", "unknown")


def test_contacts_and_other_roots_of_vzenith() -> None:
    def said(tree: dict[str, Any]) -> Push:
        return push.decode(json.dumps(tree).encode())

    contact = {"serialno": "c", "result": {"TriggerResult": {"source": 3, "value": 1}}}
    assert said({"AlarmGioIn": contact}) == Push(Dialect.VZENITH, ("c",), InputChanged(4, True))
    contact["result"]["TriggerResult"]["source"] = 4  # type: ignore[index]
    assert said({"AlarmGioIn": contact}).said == Alive()
    assert said({"SerialData": {"serialno": "c", "data": "Y2guY29tFw==", "dataLen": 7}}).said == Alive()
    assert said({"AlarmInfoPlate": {"serialno": "c", "heartbeat": 1}}) == Push(Dialect.VZENITH, ("c",), Alive())
    assert said({"ipaddr": "192.168.1.100", "TriggerImage": {"imageFile": ""}}) == Push(Dialect.VZENITH, (), Alive())
    assert push.decode(b"device_name=IVS&serialno=c&pass_wd=admin").cameras == ("c",)


def test_the_same_over_mqtt() -> None:
    """As published: github issue notes of an integrator with an S300 camera."""
    message = {
        "sn": "320dc55b-d6d6c442",
        "name": "ivs_result",
        "timestamp": 1783437557,
        "payload": {
            "AlarmInfoPlate": {
                "ipaddr": "192.168.2.100",
                "result": {"PlateResult": {"license": "QjI4ODRTQ1A=", "color": 3, "confidence": 100, "direction": 4}},
            }
        },
    }
    said = push.decode_mqtt(json.dumps(message).encode())
    assert said.cameras == ("320dc55b-d6d6c442",)
    assert isinstance(said.said, Seen)
    assert (said.said.plate, said.said.confidence, said.said.colour) == ("B2884SCP", 1.0, Colour.WHITE)
    message["payload"]["AlarmInfoPlate"]["result"]["PlateResult"]["license"] = base64.b64encode(  # type: ignore[index]
        "皖A16552".encode()
    ).decode()
    again = push.decode_mqtt(json.dumps(message).encode()).said
    assert isinstance(again, Seen)
    assert again.plate == "皖A16552"
    assert push.decode_mqtt(b'{"sn": "c", "name": "keep_alive", "payload": {}}').said == Alive()
    with pytest.raises(PushError):
        push.decode_mqtt(b"{}")


WRONG = [
    *HOSTILE.values(),
    (b"\x00" * 100, ""),
    (b"[]", ""),
    (b"{}", ""),
    (b"null", ""),
    (b'<?xml version="1.0" encoding="x-none"?><EventNotificationAlert/>', ""),
    (b"<html></html>", ""),
    (b'{"AlarmInfoPlate": {"result": {"PlateResult": {"license": 7}}}}', ""),
    (b'{"AlarmInfoPlate": {"result": {"PlateResult": {"license": "' + b"A" * 17 + b'"}}}}', ""),
    (b'{"Picture": {"Plate": {"PlateNumber": ["A"]}}}', ""),
    (b'{"DeviceID": {"a": 1}}', ""),
    (b"<EventNotificationAlert>" + b" " * 300_000 + b"</EventNotificationAlert>", ""),
]


def test_what_is_no_push() -> None:
    assert (len(WRONG), len(HOSTILE)) == (28, 17)
    for body, content_type in WRONG:
        with pytest.raises(PushError) as refused:
            push.decode(body, content_type)
        assert "AAAA" not in str(refused.value)
        assert decode(body).fault is not None


def test_values_of_the_wrong_kind_are_unknown() -> None:
    huge = int("9" * 400)
    wrong: list[Any] = [True, None, [], {}, "x" * 1000, -5, 1e300, huge, "\n"]
    for value in wrong:
        result = {"license": "皖A16552", "plateid": value, "confidence": value, "direction": value, "colorType": value}
        result |= {"timeStamp": {"Timeval": {"sec": value, "usec": value}}, "car_brand": value, "triggerType": value}
        tree = {"AlarmInfoPlate": {"serialno": value, "channel": value, "result": {"PlateResult": result}}}
        said = push.decode(json.dumps(tree).encode()).said
        assert isinstance(said, Seen)
        assert (said.plate, said.confidence, said.time_ms, said.colour) == ("皖A16552", None, None, Colour.UNKNOWN)


# ---------------------------------------------------------------------- answers

plates = st.one_of(st.sampled_from(["皖A16552", "ok", '"ok"', "", "_无_"]), st.text(max_size=12))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
own_keys = st.dictionaries(
    st.one_of(
        st.sampled_from(["colorType", "direction", "triggerType", "type", "timeStamp", "car_brand", "isoffline"]),
        st.text(max_size=10).filter(lambda name: name not in inspect.signature(body_of).parameters),
    ),
    anything,
    max_size=4,
)
KEYS = {"Response_AlarmInfoPlate", "Response_Heartbeat", "info", "content", "is_pay", "plateid", "result"}
OFFLINE = {"ContinuePushOffline", "continue"}


def assert_opens_nothing(body: bytes) -> None:
    """``info: ok`` opens, and so do commands that may ride in an answer (the maker's document, 2.6)."""

    def walk(tree: Any) -> None:
        if isinstance(tree, dict):
            assert set(tree) <= KEYS | OFFLINE
            for value in tree.values():
                walk(value)
        else:
            assert type(tree) is int or tree in ("no", "retransfer_stop", "false", "true")

    tree = json.loads(body) if body else {}
    walk(tree)
    lowered = body.lower()
    for word in (b'"ok"', b"whitelist", b"serialdata", b"ioctrl", b"gpio", b"manualtrigger", b"playserver", b"lf_"):
        assert word not in lowered
    assert b'"true"' not in lowered or tree == {"result": "true"}


@given(st.sampled_from(Dialect), plates, own_keys, st.booleans())
def test_no_answer_opens_a_barrier(dialect: Dialect, plate: str, more: dict[str, Any], late: bool) -> None:
    if dialect is Dialect.ISAPI and not plate.isprintable():
        return  # no XML can say it
    body, content_type = body_of(dialect, plate or "c", plate, late=late, **{**more, "plateid": more.get("a", 5)})
    try:
        said = push.decode(body, content_type)
    except PushError:
        return
    assert_opens_nothing(push.answer(said)[0])


@given(
    st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.sampled_from(["", "multipart/x; boundary=a"])
)
def test_any_bytes_are_a_push_or_refused(body: bytes, content_type: str) -> None:
    with suppress(PushError):
        assert_opens_nothing(push.answer(push.decode(body, content_type))[0])
    found = decode(body)
    assert bool(found.frames) != (found.fault is not None)


@given(anything)
def test_any_tree_is_a_push_or_refused(tree: Any) -> None:
    for root in ("AlarmInfoPlate", "AlarmGioIn", "Picture", "payload"):
        wrapped = {root: tree, "sn": tree}
        for read in (push.decode, push.decode_mqtt):
            with suppress(PushError):
                assert_opens_nothing(push.answer(read(json.dumps(wrapped).encode()))[0])


def test_what_is_answered() -> None:
    def answered(body: bytes, content_type: str) -> Any:
        said, kind = push.answer(push.decode(body, content_type))
        return json.loads(said) if said else (said, kind)

    taken = {"info": "no", "content": "retransfer_stop", "is_pay": "false", "plateid": 7}
    assert answered(*body_of(Dialect.VZENITH, "c", "皖A16552", number=7)) == {"Response_AlarmInfoPlate": taken}
    del taken["plateid"]
    more = {"ContinuePushOffline": {"plateid": 7, "continue": 1}}
    late = answered(*body_of(Dialect.VZENITH, "c", "皖A16552", number=7, late=True))
    assert late == {"Response_AlarmInfoPlate": taken | more}
    assert answered(*heartbeat_of(Dialect.VZENITH, "c")) == {"Response_Heartbeat": {"info": "no"}}
    assert answered(*body_of(Dialect.ISAPI, "c", "皖A16552")) == (b"", "text/plain")
    assert answered(*body_of(Dialect.ITSAPI, "c", "皖A16552")) == {"result": "true"}


# ---------------------------------------------------------------------- gateway decode plate


def test_decode_plate() -> None:
    found = decode_plate("皖A·16552\n粤BD12345\n_无_\n".encode())
    assert [frame.items[1].value for frame in found.frames] == ["civil", "nev_small", "unlicensed"]
    assert decode_plate("皖A16552".encode("gb18030")).frames[0].items[0].value == "皖A16552"
    assert decode_plate(b" \n").fault is not None
    assert decode_plate(b"A" * 99).fault is not None
    assert decode_plate(b"A1\n" * 1001).fault is not None


def test_pictures_in_json_are_cut_out_before_it_is_parsed() -> None:
    body, content_type = body_of(Dialect.VZENITH, "c", "皖A16552", pictures=700)
    assert 3_500_000 < len(body) < 4 * 2**20
    assert seen(body, content_type).plate == "皖A16552"
    php = body.replace(b"/", b"\\/")
    assert seen(php, content_type) == seen(body, content_type)
    wide = b'{"AlarmInfoPlate": {}, "x": [' + b"{}," * 50_000 + b"{}]}"
    with pytest.raises(PushError, match="too much"):
        push.decode(wide)


def test_pictures_are_not_looked_at() -> None:
    body, content_type = body_of(Dialect.ISAPI, "c", "皖A16552", pictures=3)
    assert body.count(PICTURE) == 3
    assert seen(body, content_type) == seen(body)  # a body that was saved without its headers
