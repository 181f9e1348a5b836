"""The grammar of number plates, against published labels and against itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plates import (
    PROVINCES,
    Colour,
    PlateClass,
    classify,
    colour_fits,
    letters_in_sequence,
    normalise,
    variants,
)

PUBLISHED = Path(__file__).parent.parent.parent.parent / "shared" / "vectors" / "plates.json"
"""Labels of a public data set.  Plates of real cars are personal: they are read where they lie, and not committed."""

WRITTEN = [  # made up after the grammar's own words; 224578使 and 粤Z9065澳 are published examples
    ("京A12345", PlateClass.CIVIL),
    ("粤B8K9L7", PlateClass.CIVIL),
    ("粤BD12345", PlateClass.NEV_SMALL),
    ("粤BFA1234", PlateClass.NEV_SMALL),
    ("浙AK12345", PlateClass.NEV_SMALL),
    ("粤B12345D", PlateClass.NEV_LARGE),
    ("粤B12345F", PlateClass.NEV_LARGE),
    ("鲁BA123挂", PlateClass.TRAILER),
    ("川A1234学", PlateClass.LEARNER),
    ("沪A1234警", PlateClass.POLICE),
    ("京O12345", PlateClass.POLICE),
    ("粤Z9065澳", PlateClass.HK_MACAU),
    ("粤Z1A23港", PlateClass.HK_MACAU),
    ("使224578", PlateClass.EMBASSY),
    ("224578使", PlateClass.EMBASSY_OLD),
    ("沪A1234领", PlateClass.CONSULATE),
    ("WJ京12345", PlateClass.OTHER),
    ("空A12345", PlateClass.OTHER),
    ("OTM2022", PlateClass.OTHER),
    ("京A1234I", PlateClass.OTHER),  # never issued
    ("京I12345", PlateClass.OTHER),
    ("粤BL12345", PlateClass.OTHER),
    ("粤BD1234A", PlateClass.OTHER),  # the last four are digits
    ("粤Z9065台", PlateClass.OTHER),
    ("京A123456", PlateClass.OTHER),
    ("京A1234", PlateClass.OTHER),
    ("京A12345\n", PlateClass.OTHER),  # not normalised
    ("", PlateClass.UNLICENSED),
    ("无", PlateClass.UNLICENSED),
]


def test_none_is_missing() -> None:
    assert len(WRITTEN) == 29
    assert len(set(PROVINCES)) == len(PROVINCES) == 31
    assert {plate_class for _, plate_class in WRITTEN} == set(PlateClass)


def test_the_published_labels() -> None:
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not beside this checkout")
    vectors = json.loads(PUBLISHED.read_text(encoding="utf-8"))["vectors"]
    labels = [vector for vector in vectors if vector["kind"] == "data-set-label"]
    assert len(labels) == 36
    for vector in labels:
        plate = normalise(vector["input"])
        assert plate == vector["input"], vector["id"]
        assert classify(plate) == vector["expected"]["class"], vector["id"]
        assert letters_in_sequence(plate) <= 2, vector["id"]


@pytest.mark.parametrize(("plate", "expected"), WRITTEN, ids=[plate or "empty" for plate, _ in WRITTEN])
def test_every_class(plate: str, expected: PlateClass) -> None:
    assert classify(plate) is expected


@pytest.mark.parametrize(
    "written",
    [
        "皖A·16552",
        "皖A-16552",
        " 皖 a 16552 ",
        "皖Ａ１６５５２",
        "皖a・16552",
        "皖A—1655_2",
        "皖\u3000A\t16552\n",
        "皖A．16552",
    ],
)
def test_one_plate_written_in_many_ways(written: str) -> None:
    assert normalise(written) == "皖A16552"


def test_a_vehicle_without_a_plate() -> None:
    assert [classify(normalise(text)) for text in ("_无_", "", "  ", "＿无＿", "无牌车")] == [PlateClass.UNLICENSED] * 5


def test_colours() -> None:
    assert colour_fits(PlateClass.CIVIL, Colour.BLUE) is True
    assert colour_fits(PlateClass.CIVIL, Colour.GREEN) is False
    assert colour_fits(PlateClass.NEV_SMALL, Colour.BLUE) is False
    assert colour_fits(PlateClass.NEV_LARGE, Colour.YELLOW_GREEN) is True
    assert colour_fits(PlateClass.CIVIL, Colour.UNKNOWN) is None
    assert colour_fits(PlateClass.OTHER, Colour.GREEN) is None
    assert all(any(colour_fits(each, colour) for colour in Colour) for each in PlateClass if each not in ANY_COLOUR)


ANY_COLOUR = (PlateClass.OTHER, PlateClass.UNLICENSED)


def test_what_a_camera_mixes_up() -> None:
    found = set(variants("皖A08S12"))
    assert {"皖AD8S12", "皖AQ8S12", "皖A0BS12", "皖A08512", "皖A08S1Z"} <= found
    assert "京A08S12" in found
    assert "皖AO8S12" not in found  # no such plate is issued
    assert "皖A08S12" not in found
    assert "皖AD8512" not in found  # two characters


characters = st.text(alphabet=PROVINCES + "ABDIOQSZabz0125８Ａ港澳领学警挂使无WJ·-_ \u3000ß\u0301", max_size=12)
texts = st.one_of(st.text(max_size=40), characters)


@given(texts)
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert len(once) <= len(text)
    assert not any(character.isspace() or character in "·-_" for character in once)


@given(st.from_regex(f"[{PROVINCES}][A-HJ-NP-Z]([A-HJ-NP-Z0-9]{{5}}|D[A-HJ-NP-Z0-9][0-9]{{4}})", fullmatch=True))
def test_the_way_it_is_written_changes_no_class(plate: str) -> None:
    wide = "".join(chr(ord(each) + 0xFEE0) if each.isascii() else each for each in plate.lower())
    assert normalise(f" {wide[:2]}·{wide[2:]}") == plate
    assert classify(plate) in (PlateClass.CIVIL, PlateClass.NEV_SMALL)


@given(texts)
def test_each_plate_has_one_class(text: str) -> None:
    plate = normalise(text)
    assert classify(plate) in PlateClass
    if classify(plate) not in (PlateClass.OTHER, PlateClass.UNLICENSED):
        assert len(plate) in (7, 8)


@given(texts.map(normalise))
def test_variants_differ_in_one_place_and_go_both_ways(plate: str) -> None:
    found = list(variants(plate))
    assert len(found) == len(set(found)) <= 51
    for each in found:
        assert sum(a != b for a, b in zip(each, plate, strict=True)) == 1
        assert classify(each) is not PlateClass.OTHER
        if classify(plate) is not PlateClass.OTHER:
            assert plate in set(variants(each))
