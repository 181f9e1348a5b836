from __future__ import annotations

import pytest

from gateway.terminal import age, aligned, columns, fit, padded, size


def test_a_chinese_character_takes_two_columns_and_a_combining_mark_none() -> None:
    assert [columns(text) for text in ("abc", "燃气 a", "：", "e\u0301", "")] == [3, 6, 2, 1, 0]
    assert padded("燃", 4) == "燃  "


def test_a_line_is_cut_by_columns_not_by_characters() -> None:
    assert fit("燃气abc", 5) == "燃气a"
    assert fit("燃气abc", 3) == "燃"
    assert fit("abc", 80) == "abc"
    assert fit("abc", 0) == ""


def test_a_tables_columns_stand_below_each_other() -> None:
    lines = aligned([["通道", "信封"], ["a", "12"], ["水位高", ""]])
    assert lines == ["通道    信封", "a       12", "水位高"]


@pytest.mark.parametrize(("number", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**31, "2.0 GiB")])
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


def test_ages() -> None:
    assert [age(seconds, "en") for seconds in (-5, 59.9, 60, 7199, 86400)] == ["0 s", "59 s", "1 min", "1 h", "1 d"]
    assert age(7200, "zh") == "2 小时"
