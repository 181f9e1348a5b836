"""Published messages against the parser and the decoder; any bytes at all."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.cap.area import Here, Site, is_here, same_or_within, significant
from drivers.cap.decode import decode
from drivers.cap.events import EVENTS, HAZARDS, event_of
from drivers.cap.message import Area, CapError, Circle, Colour, colour_of, parse, references_of, time_ms
from drivers.cap.simulator import Office

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "cap.json").read_text(encoding="utf-8"))["vectors"]


def test_there_are_as_many_vectors_as_promised() -> None:
    assert len(VECTORS) == 3


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_a_published_message_says_what_its_source_says(vector: dict[str, str]) -> None:
    expected = dict(vector["expected"])  # type: ignore[call-overload]
    (alert,) = parse(vector["input"].encode())
    (info,) = alert.infos
    assert alert.identifier == expected["identifier"]
    assert alert.kind == expected["msgType"]
    assert alert.sent_ms == datetime.fromisoformat(expected["sent"]).timestamp() * 1000
    assert info.codes == ((expected["eventType"],) if expected["eventType"] else ())
    assert info.colour is Colour[expected["level"].upper()]
    assert info.severity == expected["severity_raw"]
    for said, wanted in ((info.effective_ms, expected["effective"]), (info.expires_ms, expected["expires"])):
        assert said == (None if wanted is None else datetime.fromisoformat(wanted).timestamp() * 1000)
    assert [code for area in info.areas for code in area.geocodes] == expected["geocodes"]
    assert list(alert.references) == [each for each in [expected["references"]] if each]
    decoded = decode(vector["input"].encode())
    assert decoded.ok
    assert {"identifier", "event", "severity"} <= {item.id for item in decoded.frames[0].items}


def test_the_national_message_is_of_a_gale_and_the_standards_storm_is_here_by_polygon() -> None:
    national, storm, quake = (parse(vector["input"].encode())[0] for vector in VECTORS)
    assert national.national
    assert national.sender == "41000041600000"
    assert event_of(national.infos[0].codes)[1] == EVENTS["11B06"]
    assert is_here(national.infos[0].areas, Site(("410105",))) is Here.YES
    assert is_here(national.infos[0].areas, Site(("420100",))) is Here.NO
    assert not storm.national
    event = event_of(storm.infos[0].codes, storm.infos[0].event)[1]
    assert event is not None
    assert event.hazard == "thunderstorm"
    assert is_here(storm.infos[0].areas, Site((), (38.47, -119.95))) is Here.YES
    assert is_here(storm.infos[0].areas, Site((), (38.47, -120.20))) is Here.NO
    assert quake.infos[0].areas[0].circles == (Circle(32.9525, -115.5527, 0.0),)


def test_several_messages_in_one_document_and_one_that_is_wrong() -> None:
    office = Office(lambda: 1_790_000_000_000)
    office.issue("11B03", "暴雨", "Red")
    office.issue("11B06", "大风", "Blue")
    assert [alert.identifier for alert in parse(office.feed)] == [name for name, _ in office.published]
    broken = office.feed.replace(b"<msgType>Alert</msgType>", b"<msgType>Alarm</msgType>", 1)
    assert len(parse(broken)) == 1
    with pytest.raises(CapError, match="msgType"):
        parse(broken.replace(b"<msgType>Alert</msgType>", b""))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no XML"),
        (b"<html/>", "no alert"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><alert>&b;</alert>", "no XML"),
        (b"<alert><identifier>1</identifier><msgType>Alert</msgType></alert>", "time of sending"),
        (b"<alert><sent>2026-01-01T00:00:00Z</sent></alert>", "no identifier"),
        (b"<alert><identifier>1</identifier><sent>yesterday</sent></alert>", "no time"),
        (b"<a>" + b"<alert/>" * 501 + b"</a>", "more than"),
        (b" " * (2 << 20) + b"<alert/>", "more than"),
    ],
)
def test_what_is_no_message_is_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(CapError, match=why):
        parse(data)
    assert not decode(data).ok


def test_references_of_both_dialects() -> None:
    assert references_of("a@b.c,N1,2026-01-01T00:00:00+08:00 a@b.c,N2,2026-01-01T00:00:00+08:00") == ("N1", "N2")
    assert references_of("41_1,41_2") == ("41_1", "41_2")
    assert references_of(" 41_1\n41_1 ") == ("41_1",)


def test_a_colour_is_the_severitys_or_the_headlines() -> None:
    assert colour_of("Orange", "发布大风蓝色预警") is Colour.ORANGE
    assert colour_of("extreme") is Colour.RED
    assert colour_of("Unknown", "某地气象台发布大风蓝色预警[IV级/一般]") is Colour.BLUE
    assert colour_of("Unknown", "蓝色天空") is None


def test_a_circle_is_here_by_its_radius_and_nothing_can_be_told_without_a_position() -> None:
    circle = Area(circles=(Circle(34.80, 113.66, 5.0),))
    assert is_here([circle], Site(("410105",), (34.84, 113.66))) is Here.YES  # 4.4 km
    assert is_here([circle], Site(("410105",), (34.85, 113.66))) is Here.NO  # 5.6 km
    assert is_here([circle], Site(("410105",))) is Here.UNKNOWN
    assert is_here([Area("somewhere")], Site((), (34.85, 113.66))) is Here.UNKNOWN
    assert is_here([], Site(("410105",))) is Here.UNKNOWN
    assert is_here([circle, Area(geocodes=("410105000000",))], Site(("410105",))) is Here.YES


def test_times_without_an_offset_are_beijings() -> None:
    assert time_ms("2020-02-05 10:45:00") == time_ms("2020-02-05T02:45:00Z") == time_ms("2020-02-05 10:45:00+08:00")
    assert time_ms(" ") is None


@pytest.mark.parametrize(
    ("code", "ours", "here"),
    [
        ("410000000000", "410105", True),
        ("410100000000", "410105", True),
        ("410105000000", "410105", True),
        ("410105001000", "410105", True),
        ("410106000000", "410105", False),
        ("410105000000", "410100", True),
        ("420000000000", "410105", False),
        ("100000000000", "410105", True),
        ("000000000000", "410105", True),
        ("SVR1", "410105", False),
        ("SVR1", "SVR1", True),
    ],
)
def test_an_area_is_here_when_it_is_ours_or_around_it_or_a_part_of_it(code: str, ours: str, here: bool) -> None:
    assert same_or_within(code, ours) is here


def test_zeros_of_lower_levels_do_not_count() -> None:
    assert [significant(code) for code in ("410000000000", "410100", "410105", "110000", "410110000000")] == [
        "41",
        "4101",
        "410105",
        "11",
        "410110",
    ]


def test_the_table_of_events_is_whole() -> None:
    assert len(EVENTS) == 70
    assert {"rainstorm", "typhoon", "cold", "heat"} < set(HAZARDS)
    assert HAZARDS[-1] == "other"
    assert event_of(("11B60",), "暴雨") == ("11B60", None)  # a code beats words, known or not
    assert event_of((), "雷雨大风")[0] == "11B20"  # the longest word counts
    assert event_of((), "Gale warning")[0] == "11B06"
    assert event_of((), "wheat")[1] is None
    assert event_of(("SVR",), "nothing known") == ("SVR", None)


SEED = VECTORS[0]["input"].encode()


@given(st.integers(0, len(SEED) - 1), st.binary(max_size=6), st.integers(0, 40))
@settings(max_examples=300)
@example(SEED.index(b"expires"), b"x>1", 0)
def test_a_message_that_was_damaged_is_read_or_refused(at: int, put: bytes, gone: int) -> None:
    damaged = SEED[:at] + put + SEED[at + gone :]
    decode(damaged)


_TEXTS = st.sampled_from(
    ["", " ", "2026-01-01T00:00:00Z", "Red", "1,2", "1,2 3,4 5,6", "1,2 -3", "nan,1 2", "Alert", "9" * 400]
)
_NAMES = st.sampled_from(
    ["identifier", "sent", "msgType", "info", "area", "polygon", "circle", "geocode", "value", "references", "severity"]
)


@given(
    st.recursive(st.tuples(_NAMES, _TEXTS), lambda inner: st.tuples(_NAMES, st.lists(inner, max_size=6)), max_leaves=30)
)
@settings(max_examples=200)
def test_any_tree_of_elements_is_read_or_refused(tree: object) -> None:
    head = "<identifier>1</identifier><sent>2026-01-01T00:00:00Z</sent><msgType>Alert</msgType>"
    decode(f"<alert>{head}{_written(tree)}</alert>".encode())


def _written(tree: object) -> str:
    assert isinstance(tree, tuple)
    name, inside = tree
    content = inside if isinstance(inside, str) else "".join(_written(each) for each in inside)
    return f"<{name}>{content}</{name}>"


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    decode(data)
