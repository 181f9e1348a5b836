from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.model import Text
from gateway.sim.summary import ActiveAlarm, Sample, Snapshot, one_line, render
from gateway.terminal import columns

NOW = Snapshot(
    elapsed_s=12.4,
    duration_s=30,
    devices=66,
    answering=64,
    readings=1234,
    readings_per_s=41.27,
    envelopes=80,
    samples=(
        Sample(Text("101 室电能", "energy, flat 101"), 1234.5, "kW.h"),
        Sample(Text("燃气", "gas"), None, "%[LEL]"),
        Sample(Text("1 号泵", "pump 1"), True, None),
        Sample(Text("101 室用水", "water, flat 101"), 282.55, "m3"),
    ),
    alarms=(ActiveAlarm("critical", "unack", Text("燃气 12 %LEL", "gas 12 %LEL")),),
    waiting=3,
    connected=True,
    note=Text("漏气", "gas leaks"),
)


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        (
            "en",
            [
                "12 / 30 s",
                "gas leaks",
                "64/66",
                "1234 (41.3/s)",
                "connected",
                "1234.50 kWh",
                "282.55 m³",
                "True",
                "not ack",
            ],
        ),
        (
            "zh",
            ["12 / 30 s", "漏气", "64/66", "已连接", "101 室电能", "1234.50 kWh", "[紧急] 燃气 12 %LEL (未确认)"],
        ),
    ],
)
def test_the_picture_says_it_in_the_viewers_language(lang: str, words: list[str]) -> None:
    text = "\n".join(render(NOW, lang))
    assert [word for word in words if word not in text] == []


def test_what_nobody_knows_is_a_question_mark_and_no_value_a_dash() -> None:
    blind = replace(NOW, answering=None, waiting=None, connected=None, duration_s=None)
    lines = render(blind, "en")
    assert "running 12 s" in lines[0]
    assert "?/66" in lines[1]
    assert "uplink ?   envelopes waiting ?" in lines[2]
    assert lines[5].endswith("  -")


def test_an_outage_says_where_the_data_are() -> None:
    assert "data wait in the store" in render(replace(NOW, connected=False), "en")[2]
    assert "数据留在本地" in one_line(replace(NOW, connected=False), "zh")


def test_many_alarms_are_cut_and_counted() -> None:
    lines = render(replace(NOW, alarms=(*NOW.alarms,) * 9), "en")
    assert "active alarms 9" in lines
    assert lines[-1].strip() == "… +3"


def test_one_line_has_the_newest_alarm() -> None:
    other = ActiveAlarm("low", "acked", Text("旧", "old"))
    assert one_line(replace(NOW, alarms=(other, *NOW.alarms)), "en").endswith("gas 12 %LEL")
    assert "\n" not in one_line(NOW, "zh")


def test_values_stand_below_each_other_in_chinese_too() -> None:
    lines = zip(render(NOW, "zh")[4:7], ("1234.50 kWh", "-", "True"), strict=True)
    assert {columns(line.removesuffix(value)) for line, value in lines} == {columns("  101 室电能  ")}


def test_a_low_terminal_has_fewer_samples_and_every_alarm() -> None:
    whole = render(NOW, "en")
    low = render(NOW, "en", rows=len(whole) - 3)
    assert low == whole[:5] + whole[-3:]
    assert render(NOW, "en", rows=len(whole)) == whole
    assert len(render(NOW, "en", rows=1)) == len(whole) - len(NOW.samples), "what is left has to be"
