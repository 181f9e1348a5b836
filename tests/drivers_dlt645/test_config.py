from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from drivers.dlt645.config import Dlt645Options, Dlt645PointOptions


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("190101", "000000190101"),
        (" 000000190101 ", "000000190101"),
        ("0", "000000000000"),
        ("AAAAAAAAAAAA", "AAAAAAAAAAAA"),
        ("aaaaaaaa0101", "AAAAAAAA0101"),
    ],
)
def test_an_address_has_twelve_places(written: str, address: str) -> None:
    assert Dlt645Options(address=written).address == address


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("1234567890123", "12 digits"),
        ("", "12 digits"),
        ("12-34", "12 digits"),
        ("A00000190101", "12 digits"),
        ("AA0101", "all 12 places"),
        ("999999999999", "broadcast"),
    ],
)
def test_a_wrong_address_is_refused_with_the_reason(written: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Dlt645Options(address=written)


@pytest.mark.parametrize("number", [190101, 10000, 1e100])
def test_a_number_is_not_an_address_nor_an_identifier(number: float) -> None:
    """The loader turns this error type into advice to write quotes (gateway/config/explain.py)."""
    for model, key in ((Dlt645Options, "address"), (Dlt645PointOptions, "di")):
        with pytest.raises(ValidationError) as caught:
            model(**{key: number})
        (error,) = caught.value.errors()
        assert (error["loc"], error["type"]) == ((key,), "string_type")


@pytest.mark.parametrize("preamble", [-1, 17])
def test_the_preamble_is_short(preamble: int) -> None:
    with pytest.raises(ValidationError):
        Dlt645Options(address="1", preamble=preamble)
    assert Dlt645Options(address="1").preamble == 4


@pytest.mark.parametrize(
    "written",
    [
        {"di": "00010000"},
        {"di": "00010000", "scale": 40.0},
        {"di": "0001ff0d", "format": "XXXXXX.XX"},
        {"di": "00010000", "format": "XXXXXX.XXXX", "signed": True},
        {"di": "04000503", "bit": 4},
    ],
)
def test_points_that_can_be_read(written: dict[str, Any]) -> None:
    assert Dlt645PointOptions(**written).di == written["di"].upper()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"di": "00010"}, "eight hex digits"),
        ({"di": "0001"}, "say its format"),
        ({"di": "0001000G"}, "eight hex digits"),
        ({"di": "0001FF00"}, "name the member"),
        ({"di": "040005FF"}, "name the member"),
        ({"di": "12345678"}, "say its format"),
        ({"di": "12345678", "format": "float"}, "not a format"),
        ({"di": "00010000", "signed": True}, "format only"),
        ({"di": "00010000", "bit": 4}, "status word"),
        ({"di": "04000503", "bit": 16}, "less than or equal to 15"),
        ({"di": "04000402", "scale": 2.0}, "only a number"),
        ({"di": "00010000", "scale": 0.0}, "scale of 0"),
        ({"di": "00010000", "scale": float("nan")}, "finite"),
        ({"di": "00010000", "offset": 1}, "[Ee]xtra"),
    ],
)
def test_points_that_cannot_be_read_are_refused_with_the_reason(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Dlt645PointOptions(**written)
