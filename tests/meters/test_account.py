"""What a meter rose by between two midnights, and what is to be known before that is believed."""

from __future__ import annotations

import csv
import html.parser
import io
import json
from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.meters.account import Period, Row, boundaries, rows_of, sections_of, sums_of, supply_of, wanted_for
from gateway.meters.closing import (
    DEVICE_REPLACED,
    REPLACED,
    ROLLED_OVER,
    Batch,
    Change,
    Closing,
    Mark,
    Tracker,
    midnight_ms,
)
from gateway.meters.report import Report, as_csv, as_document, as_html, value_text
from gateway.model import Device, Lane, Place, Point, Reading, Text, ValueKind
from gateway.places import NO_PLACES, Division, Named, Places

ZONE = ZoneInfo("Asia/Shanghai")
FROM, TO = midnight_ms(date(2026, 10, 1), ZONE), midnight_ms(date(2026, 11, 1), ZONE)
MIN, HOUR, DAY = 60_000, 3_600_000, 86_400_000
OCTOBER = Period(FROM, TO, TO + DAY)


def meter(name: str, kind: str = "power_meter", place: Place | None = None, *points: Point, label: str = "") -> Device:
    made = points or (counter(f"{name}.energy"),)
    text = Text(label or f"表{name}", label or f"Meter {name}")
    return Device(name, kind, text, place or Place(building="3", unit="1", room="101"), "dlt645", made)


def counter(name: str, unit: str = "kW.h", **more: Any) -> Point:
    about: dict[str, Any] = {"lane": Lane.BILLING, "counter": True, "personal": True} | more
    return Point(name, ValueKind.NUMBER, Text("电能", "Energy"), 300.0, unit, **about)


def around(point: str, instant_ms: int, before: float, after: float, **more: Any) -> Closing:
    return Closing(point, Mark(before, instant_ms - 2 * MIN), Mark(after, instant_ms + MIN), **more)


def one(*found: Closing | Change, latest: Mark | None = None, period: Period = OCTOBER, **about: Any) -> Row:
    closings = [each for each in found if isinstance(each, Closing)]
    changes = [each for each in found if isinstance(each, Change)]
    device = meter("m", "power_meter", None, counter("m.energy", **about))
    (row,) = rows_of([device], Batch(closings, changes), {} if latest is None else {"m.energy": latest}, period)
    return row


def codes(row: Row) -> list[str]:
    return [note.code for note in row.notes]


def test_a_whole_month_between_the_readings_nearest_to_its_midnights() -> None:
    row = one(around("m.energy", FROM, 100.0, 100.1), around("m.energy", TO, 130.2, 130.3))
    assert (row.start, row.end) == (Mark(100.1, FROM + MIN), Mark(130.3, TO + MIN))
    assert (row.consumption, row.notes, row.supply, row.counted) == (30.2, (), "electricity", True)


def test_one_month_ends_where_the_next_begins() -> None:
    closings = [around("m.energy", FROM, 1.0, 1.5), around("m.energy", TO, 5.0, 5.5)]
    closings.append(around("m.energy", TO + DAY, 6.0, 6.5))
    following = one(*closings, period=Period(TO, TO + DAY, TO + 2 * DAY))
    assert one(*closings).end == following.start


def test_the_tightest_bracket_counts() -> None:
    wide = Closing("m.energy", Mark(90.0, FROM - DAY), Mark(110.0, FROM + DAY))
    row = one(wide, around("m.energy", FROM, 100.0, 100.1), wide, around("m.energy", TO, 130.0, 130.1))
    assert row.start == Mark(100.1, FROM + MIN)


def test_a_reading_far_from_midnight_is_used_and_told_how_far() -> None:
    first = Closing("m.energy", Mark(100.0, FROM - 3 * HOUR), Mark(101.0, FROM + 5 * HOUR))
    last = Closing("m.energy", Mark(130.0, TO - 9 * HOUR), Mark(131.0, TO + 2 * HOUR))
    row = one(first, last)
    assert (row.start, row.end, row.consumption) == (Mark(100.0, FROM - 3 * HOUR), Mark(131.0, TO + 2 * HOUR), 31.0)
    assert [(note.code, note.number, note.text.en) for note in row.notes] == [
        ("start_far", -10800.0, "start reading 3.0 h early"),
        ("end_far", 7200.0, "end reading 2.0 h late"),
    ]


def test_a_register_that_was_replaced_or_has_rolled_over() -> None:
    ends = around("m.energy", FROM, 990.0, 990.1), around("m.energy", TO, 24.9, 25.0)
    middle = FROM + 9 * DAY
    replaced = one(*ends, Change("m.energy", 995.0, 2.0, middle, REPLACED))
    assert (replaced.consumption, codes(replaced)) == (pytest.approx(4.9 + 23.0), ["replaced"])
    rolled = one(*ends, Change("m.energy", 999.5, 0.3, middle, ROLLED_OVER), maximum=999.9)
    assert (rolled.consumption, codes(rolled)) == (pytest.approx(9.8 + 0.3 + 24.7), ["rolled_over"])
    other = one(*ends, Change("m.energy", 995.0, 20.0, middle, DEVICE_REPLACED))
    assert (other.consumption, other.notes[0].text.en) == (pytest.approx(9.9), "meter replaced 995 → 20")
    twice = Change("m.energy", 995.0, 2.0, middle + MIN, REPLACED)
    told_twice = one(*ends, Change("m.energy", 995.0, 2.0, middle, REPLACED), twice)
    assert told_twice.consumption == replaced.consumption, "the journal and the store tell the same"
    outside = one(*ends, Change("m.energy", 1.0, 2.0, FROM - 9 * MIN, REPLACED))
    assert (outside.consumption, codes(outside)) == (None, ["backwards"])


def test_a_change_belongs_to_the_period_that_it_ends_with() -> None:
    """The reading that shows it is of the new register: as an end it has the change behind it, as a start before it."""
    first, last = around("m.energy", FROM, 990.0, 2.0), around("m.energy", TO, 24.0, 25.0)
    at_start = one(first, last, Change("m.energy", 990.5, 2.0, FROM + MIN, REPLACED))
    assert (at_start.start, at_start.consumption, codes(at_start)) == (Mark(2.0, FROM + MIN), 23.0, [])
    last = around("m.energy", TO, 994.0, 1.0)
    at_end = one(around("m.energy", FROM, 990.0, 990.0), last, Change("m.energy", 994.5, 1.0, TO + MIN, REPLACED))
    assert (at_end.consumption, codes(at_end)) == (4.5, ["replaced"])


def test_what_nobody_can_say_is_not_said() -> None:
    assert (one().consumption, codes(one())) == (None, ["no_reading"])
    dead = one(around("m.energy", FROM - 9 * DAY, 100.0, 100.1), latest=Mark(101.0, FROM - 8 * DAY))
    assert (dead.start, dead.end, dead.consumption) == (dead.end, Mark(101.0, FROM - 8 * DAY), None)
    assert codes(dead) == ["no_reading", "start_far", "end_far"]
    back = one(around("m.energy", FROM, 100.0, 100.1), around("m.energy", TO, 3.0, 3.0))
    assert (back.consumption, codes(back)) == (None, ["backwards"])


def test_a_meter_that_died_in_the_month_ends_with_its_last_reading() -> None:
    row = one(around("m.energy", FROM, 100.0, 100.1), latest=Mark(110.1, TO - 4 * DAY))
    assert (row.consumption, row.end, codes(row)) == (10.0, Mark(110.1, TO - 4 * DAY), ["end_far"])


def test_a_meter_that_came_in_the_month_begins_with_its_first_reading() -> None:
    new = Closing("m.energy", None, Mark(3.0, FROM + 9 * DAY))
    row = one(new, around("m.energy", TO, 9.0, 9.5))
    assert (row.start, row.consumption, codes(row)) == (new.after, 6.5, ["start_far"])


def test_a_month_that_is_not_over_ends_with_the_latest_reading() -> None:
    now = Period(FROM, TO, FROM + 5 * DAY)
    row = one(around("m.energy", FROM, 100.0, 100.1), latest=Mark(105.1, now.now_ms - MIN), period=now)
    assert (row.consumption, codes(row)) == (5.0, ["running"])


def test_doubts_are_summed_over_the_days_and_untrusted_times_told() -> None:
    day = around("m.energy", FROM + DAY, 101.0, 101.1, uncertain=2, bad=3, hole_s=7200)
    before = around("m.energy", FROM, 100.0, 100.1, uncertain=99)
    row = one(before, replace(before, after=Mark(100.1, FROM)), day, around("m.energy", TO, 130.0, 130.1, uncertain=1))
    assert {note.code: note.number for note in row.notes} == {"uncertain": 3, "bad": 3, "hole": 7200}
    unsure = one(replace(before, provisional=True), around("m.energy", TO, 130.0, 130.1), latest=Mark(131.0, TO + DAY))
    assert "clock" in codes(unsure)
    sure = one(
        replace(before, provisional=True), around("m.energy", FROM, 100.0, 100.2), around("m.energy", TO, 1e3, 1e3)
    )
    assert (sure.start, "clock" in codes(sure)) == (Mark(100.2, FROM + MIN), False)


def test_which_boundaries_the_store_is_asked_about() -> None:
    device = meter("m")
    there = Batch([around("m.energy", FROM, 1.0, 1.0), Closing("m.energy", None, Mark(2.0, TO + 1))])
    assert boundaries([device], there, OCTOBER) == {TO: frozenset({"m.energy"})}
    assert boundaries([device], there, replace(OCTOBER, now_ms=TO - 1)) == {}
    loose = Batch([replace(each, provisional=True) for each in there.closings])
    assert list(boundaries([device], loose, OCTOBER)) == [FROM, TO]


def test_a_report_needs_little_of_the_journal_and_says_the_same() -> None:
    days = [
        around("m.energy", FROM + day * DAY, 100.0 + day, 100.0 + day, bad=int(day == 15)) for day in range(-40, 80)
    ]
    others = [replace(each, point="x.energy") for each in days]
    device = meter("m")
    kept = list(filter(wanted_for([device], OCTOBER), [*days, *others]))
    assert rows_of([device], Batch(kept), {}, OCTOBER) == rows_of([device], Batch(days), {}, OCTOBER)
    assert len(kept) == 9, "four at either end, and the day with a doubt"


STEPS = st.lists(st.tuples(st.integers(1, 30 * HOUR), st.integers(0, 500)), min_size=2, max_size=60)


@given(STEPS, st.lists(st.integers(0, 20), min_size=2, max_size=5, unique=True))
def test_what_is_billed_month_by_month_is_what_the_meter_counted(steps: list[tuple[int, int]], cuts: list[int]) -> None:
    """Over any consecutive periods in which there are readings: no unit twice, none lost."""
    follower, time_ms, value, closings = Tracker({"m.energy": counter("m.energy")}, ZONE), FROM, 1000, []
    for step_ms, rise in steps:
        time_ms, value = time_ms + step_ms, value + rise
        follower.heard([Reading("m.energy", value / 100, time_ms, time_ms)], trusted=True)
        closings += follower.take().closings
    edges = [FROM + cut * DAY for cut in sorted(cuts)]
    now_ms = max(time_ms, edges[-1]) + 1
    latest = Mark(value / 100, time_ms)
    rows = [one(*closings, latest=latest, period=Period(*pair, now_ms)) for pair in pairwise(edges)]
    for earlier, later in pairwise(rows):
        assert earlier.end == later.start
    start, end = rows[0].start, rows[-1].end
    assert start is not None
    assert end is not None
    billed = sum(round(100 * row.consumption) for row in rows if row.consumption is not None)
    assert billed == round(100 * end.value) - round(100 * start.value)


# ---------------------------------------------------------------------- sums, places, what is put out

WATER = counter("w.volume", "m3", personal=True)
DEVICES = [
    meter("m-1", "power_meter", Place(building="3", unit="1", room="101"), counter("m-1.energy"), counter("m-1.peak")),
    meter("m-2", "power_meter", Place(building="3", unit="2", room="201"), label='=HYPERLINK("http://x","y")'),
    meter("w", "water_meter", Place(building="3", unit="1", room="0101"), WATER, label="<script>alert(1)</script>"),
    meter("c", "charger", Place(building="10"), counter("c.energy", "MW.h")),
    meter("g", "thing", Place(), counter("g.n", "L")),
]
PLACES = Places(
    Division(Text("示例区", "District"), "110199"),
    Division(Text("佳园社区", "Community")),
    (Named(Place(building="3"), "building", Text("3号楼", "Block 3"), "1101990010010000003"),),
)


def report(by: str = "building", places: Places = PLACES) -> Report:
    closings = []
    for index, point in enumerate(["m-1.energy", "m-1.peak", "m-2.energy", "w.volume", "c.energy"]):
        closings += [around(point, FROM, 10.0, 10.0), around(point, TO, 10.1 + index, 10.1 + index)]
    rows = rows_of(DEVICES, Batch(closings), {}, OCTOBER)
    title = Text("2026-10", "2026-10")
    return Report(
        Text("佳园 & 小区", "Jiayuan"), places, ZONE, OCTOBER, title, sections_of(rows, by, places), damaged=2
    )


def test_sums_by_place_count_each_meter_once() -> None:
    found = report()
    assert [section.name.en for section in found.sections] == ["Block 3", "building 10", "no place"]
    sums = {(each.supply, each.unit): (each.total, each.meters, each.unknown) for each in sums_of(found.rows)}
    assert sums == {
        ("electricity", "kW.h"): (2.2, 2, 0),
        ("electricity", "MW.h"): (4.1, 1, 0),
        ("water", "m3"): (3.1, 1, 0),
        ("other", "L"): (0.0, 1, 1),
    }
    assert next(section.name.en for section in report("device").sections) == "Meter m-1 (m-1)"
    assert [section.name.zh for section in report("room", NO_PLACES).sections][:2] == [
        "3栋 1单元 101",
        "3栋 1单元 0101",
    ]


def test_added_as_decimal_numbers() -> None:
    rows = [replace(report().rows[0], consumption=0.1) for _ in range(3)]
    assert sums_of(rows)[0].total == 0.3
    assert [value_text(each) for each in (0.1 + 0.2, 100.0, 1e-9, 1234567.25, None)] == [
        "0.3",
        "100",
        "0",
        "1234567.25",
        "",
    ]


def test_the_document_for_programs() -> None:
    found = json.loads(json.dumps(as_document(report())))
    (row, *_) = found["sections"][0]["rows"]
    assert (row["device"], row["consumption"], row["start"]["value"], row["supply"]) == (
        "m-1",
        0.1,
        10.0,
        "electricity",
    )
    assert (row["address_code"], row["place"]["room"]) == ("1101990010010000003", "101")
    assert [row["counted"] for section in found["sections"] for row in section["rows"]] == [
        True,
        False,
        True,
        True,
        True,
        True,
    ]
    assert (found["community"], found["damaged"], found["running"]) == ({"zh": "佳园社区", "en": "Community"}, 2, False)


def test_a_spreadsheet_gets_texts_as_texts_and_no_formula_of_others() -> None:
    text = as_csv(report(), "en", {"kW.h": "kWh"})
    assert text.startswith("\ufeff")
    lines = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert len(lines) == 6
    by_device = {line["device"]: line for line in lines}
    assert by_device['="w"']["room"] == '="0101"'
    assert by_device['="m-2"']["name"].startswith("'=HYPERLINK")
    assert (lines[0]["start time"], lines[0]["consumption"], lines[0]["unit"]) == ("2026-10-01 00:01:00", "0.1", "kWh")
    assert by_device['="g"']["notes"] == "no reading"
    assert text.count("\r\n") == 7


@given(st.text(), st.text(max_size=10))
def test_no_cell_begins_like_a_formula_but_our_own_texts(label: str, room: str) -> None:
    device = meter("m-2", "power_meter", Place(building="3", room=room), label=label)
    rows = rows_of([device], Batch(), {}, OCTOBER)
    made = replace(report(), sections=sections_of(rows, "building", NO_PLACES))
    (line,) = csv.reader(io.StringIO(as_csv(made, "zh", {}).partition("\r\n")[2], newline=""))
    for cell in line:
        inside = cell.startswith('="') and cell.endswith('"') and '"' not in cell[2:-1].replace('""', "")
        assert inside or not cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


class Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.depth: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.depth.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.depth.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize(("lang", "sign"), [("zh", "复核"), ("en", "Checked by")])
def test_the_page_to_print_is_whole_needs_nothing_and_runs_nothing(lang: str, sign: str) -> None:
    made = as_html(report(), lang, {"kW.h": "kWh"})
    page = Page()
    page.feed(made)
    assert page.depth == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "link", "iframe", "a"}
    assert not any(key in ("src", "href", "onload", "onclick") for _, attrs in page.tags for key in attrs)
    assert "http" not in made.replace("=HYPERLINK(&quot;http://x", "").replace("http-equiv", "")
    assert "<script>alert(1)</script> w" in page.texts
    assert sign in page.texts
    heads = [attrs for tag, attrs in page.tags if tag == "th" and attrs.get("class") == "head"]
    assert len(heads) == 4, "a head for each place and for the sums, repeated on each page"
    assert "thead { display: table-header-group }" in made
    assert "size: A4" in made


def test_what_kind_of_supply_a_meter_is_of() -> None:
    kinds = {kind: supply_of(meter("x", kind), counter("x.n", "m3")) for kind in ("heat_meter", "gas_meter", "thing")}
    assert kinds == {"heat_meter": "heat", "gas_meter": "gas", "thing": "other"}
