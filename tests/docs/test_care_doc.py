"""docs/devices/care.md: its example is right, and its rules see a person in what the shipped meters really show."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from math import floor
from pathlib import Path

import pytest

from gateway.config.load import Configuration, check, examine, load
from gateway.ids import uuid7
from gateway.model import ANNOUNCED, Reading, Value
from rules.engine import Engine, Instant

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "devices" / "care.md").read_text("utf-8")
HOME, WATER, POWER = "care-3-1-101", "w-3-1-101.volume", "e-3-1-101.energy"
START_MS = round(datetime(2026, 11, 1, 16, tzinfo=UTC).timestamp() * 1000)  # midnight in Shanghai


@pytest.fixture
def site(tmp_path: Path) -> Path:
    blocks = re.findall(r"```yaml\n(.*?)```", DOC, re.S)
    assert len(blocks) == 3
    for name, text in zip(("site.yaml", "devices/sos_unit.yaml", "rules/care_own.yaml"), blocks, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "rules" / "library" / "care.yaml", tmp_path / "rules")
    return tmp_path


def test_the_example_passes_the_check_with_the_whole_pack(site: Path) -> None:
    assert check(site) == []
    config = load(site)
    assert {watch.rule.id for watch in config.rules.watches if watch.device == HOME} == {
        *("care_sos", "care_no_use", "care_no_water", "care_door", "care_silent", "care_meters_silent"),
        "care_no_water_night_shift",
    }
    assert list(config.consents) == [HOME]
    named = set(re.findall(r"`(care_[a-z]+(?:_[a-z]+)*)`", DOC))
    assert named <= {rule.id for rule in config.rules.rules} | {"care_home"}


def test_the_calendar_is_asked_only_by_the_check(site: Path) -> None:
    after_ms = round(datetime(2027, 9, 30, 16, tzinfo=UTC).timestamp() * 1000)
    for now_ms, wrong in ((START_MS, []), (after_ms - 1, []), (after_ms, ["E-CONSENT"])):
        config, faults = examine(site, now_ms=now_ms)
        assert config is not None, "a gateway starts all the same"
        assert [fault.code for fault in faults] == wrong


def on(
    config: Configuration, litres: Callable[[float], float], kwh: Callable[[float], float], days: int
) -> set[tuple[str, int]]:
    """The rules that were raised, and the hour of it, counted from the first midnight.

    litres, kwh: used since then, by the hour.  Read as often as the profiles say, in the steps that the meters show.
    """
    engine = Engine(config.rules, config.points, config.watched, new_id=uuid7, saved={}, started=Instant(0.0, START_MS))
    assert {config.points[WATER].interval_s, config.points[POWER].interval_s} == {3600.0, 300.0}
    raised: set[tuple[str, int]] = set()
    for minutes in range(0, days * 1440, 5):
        hours = minutes / 60
        values: dict[str, Value] = {POWER: floor((5000 + kwh(hours)) * 100) / 100}
        if minutes % 60 == 20:
            values[WATER] = floor((70_003 + litres(hours)) / 10) / 100
        if minutes % 60 == 0:
            values |= {f"{HOME}.sos": False, f"{HOME}.door": "closed"}
        at_ms = START_MS + minutes * 60_000
        readings = [Reading(point, value, at_ms, at_ms) for point, value in values.items()]
        engine.observe(readings, Instant(minutes * 60.0, at_ms))
        known = {rule for rule, _ in raised}
        raised |= {
            (alarm.rule, floor(hours))
            for alarm in engine.alarms()
            if alarm.state in ANNOUNCED and alarm.rule not in known and alarm.device == HOME
        }
    return {(rule, hour) for rule, hour in raised if rule in ("care_no_use", "care_no_water", "care_meters_silent")}


def waking(hours: float, a_day: float) -> float:
    """So much a day, evenly from 7:00 to 22:00."""
    days, hour = divmod(hours, 24)
    return a_day * (days + min(max(hour - 7, 0), 15) / 15)


def test_who_lives_there_is_seen_and_who_has_fallen_is_missed(site: Path) -> None:
    config = load(site)

    def refrigerator(hours: float) -> float:
        return 0.03 * hours

    assert on(config, lambda h: waking(h, 90), lambda h: refrigerator(h) + waking(h, 3), 3) == set()
    frugal = on(config, lambda h: waking(h, 20), lambda h: refrigerator(h) + waking(h, 0.6), 3)
    assert frugal == set(), "twenty litres a day are two steps of the meter"
    fell_h = 46.0  # at 22:00 of the second day
    missed = on(
        config,
        lambda h: waking(min(h, fell_h), 90),
        lambda h: refrigerator(h) + waking(min(h, fell_h), 3),
        4,
    )
    assert missed == {("care_no_use", 62), ("care_no_water", 70)}, (
        "14:30 of the third day, and a day after the last use"
    )
