"""gateway rules replay, with a real store: what came when, what would have been raised, and by what."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import main
from gateway.clock import ClockState
from gateway.config.load import devices_of
from gateway.envelope import Encoder
from gateway.model import Event, Lane, Place, PointId, Quality, Reading, Reason, Value
from gateway.store.history import Heard, History
from gateway.store.lanes import load_epoch
from gateway.store.reader import opened
from gateway.store.rows import COLUMNS, Row, sealed
from store.rig import MIB, store

SITE = Path(__file__).parent.parent.parent / "config" / "examples" / "jiayuan"
DEVICES = (devices_of(SITE) or ((), {}))[0]
POINTS = {point.id: point for device in DEVICES for point in device.points}
NOON = round(datetime(2026, 8, 1, 4, 0, tzinfo=UTC).timestamp() * 1000)
"""Of the site's clock."""
MINUTE = 60_000
GAS, OTHER, BILL = "gas-kitchen.concentration", "gas-boiler.concentration", "shop-1.energy"
OLD = """\
format: rules/1
site: {timezone: Asia/Shanghai}
limits: {max_raises_per_day: 2}
rules:
- {id: gas, for_each: {type: gas_detector}, when: concentration >= 10 %LEL, on_alarm: [{send: relay-1.relay1}]}
"""
NEW = OLD.replace("10 %LEL,", "12 %LEL, for: 20s,").replace("relay-1.relay1", "relay-2.relay1")


def reading(point: PointId, seconds: float, value: Value | None) -> Reading:
    t = NOON + round(seconds * 1000)
    if value is None:
        return Reading(point, None, t, t, Quality.BAD, Reason.NO_ANSWER)
    return Reading(point, value, t, t)


RECORDED: Sequence[Sequence[Reading]] = [
    [reading(GAS, 0, 1.0), reading(OTHER, 0, 1.0), reading(BILL, 0, 5.0)],
    [reading(GAS, 60, 11.0), reading(OTHER, 60, 13.0)],
    [reading(OTHER, 70, 13.5), reading(BILL, 70, 5.5)],
    [reading(GAS, 90, 1.0), reading(OTHER, 100, None)],
    [reading(OTHER, 110, 1.0), reading(GAS, 110, 13.0)],
    [reading(GAS, 140, 14.0)],
    [reading(GAS, 150, 1.0)],
]


async def fill(directory: Path, commits: Sequence[Sequence[Reading]] = RECORDED) -> None:
    encoder = Encoder(POINTS)
    async with store(directory, budget_bytes=4 * MIB) as log:
        for readings in commits:
            lanes: dict[Lane, list[Reading]] = {}
            for each in readings:
                lanes.setdefault(POINTS[each.point].lane, []).append(each)
            drafts = [d for lane, some in lanes.items() for d in encoder.drafts(lane, some, ClockState.SYNCED)]
            event = Event("e", "x", readings[0].gateway_time_ms, None, Place())
            drafts += encoder.drafts(Lane.EVENT, [event], ClockState.SYNCED)
            await log.commit(drafts, {})


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def files(tmp_path: Path) -> Mapping[str, Path]:
    paths = {"new": tmp_path / "new.yaml", "old": tmp_path / "old.yaml"}
    paths["new"].write_text(NEW, encoding="utf-8")
    paths["old"].write_text(OLD, encoding="utf-8")
    return paths


def replay(*arguments: object, lang: str = "en") -> Result:
    command = ["rules", "replay", "--config", str(SITE), "--lang", lang, *(str(each) for each in arguments)]
    return CliRunner().invoke(main, command)


def document(*arguments: object) -> dict[str, Any]:
    result = replay(*arguments, "--json")
    read: dict[str, Any] = json.loads(result.stdout)
    return read


def heard(directory: Path, from_ms: int = 0, to_ms: int = 2**62) -> list[Heard]:
    with opened(directory) as reader:
        return list(History(reader, POINTS, from_ms, to_ms).messages())


# ---------------------------------------------------------------------- history


def test_messages_come_in_the_order_of_receipt_one_a_device_and_moment(recorded: Path) -> None:
    found = [(each.time_ms - NOON, [(one.point, one.value) for one in each.readings]) for each in heard(recorded)]
    assert found[:4] == [
        (0, [(BILL, 5.0)]),
        (0, [(GAS, 1.0)]),
        (0, [(OTHER, 1.0)]),
        (60_000, [(GAS, 11.0)]),
    ]
    assert sum(len(readings) for _, readings in found) == sum(map(len, RECORDED))
    assert [t for t, _ in found] == sorted(t for t, _ in found)


def test_what_a_device_sends_late_is_heard_when_it_came(tmp_path: Path) -> None:
    late = Reading(OTHER, 13.0, NOON - 3600_000, NOON + 5000)
    asyncio.run(fill(tmp_path, [[reading(GAS, 5, 1.0)], [late, reading(GAS, 5, 2.0)], [reading(GAS, 10, 1.0)]]))
    (found,) = [each for each in heard(tmp_path) if each.readings[0].point == OTHER]
    assert (found.time_ms, found.readings[0].source_time_ms) == (NOON + 5000, NOON - 3600_000)


def test_a_device_whose_clock_is_ahead_does_not_take_the_others_along(tmp_path: Path) -> None:
    ahead = Reading(OTHER, 1.0, NOON + 3600_000, NOON + 5000)
    asyncio.run(fill(tmp_path, [[reading(GAS, 0, 1.0)], [ahead], [reading(GAS, 10, 1.0)]]))
    assert [each.time_ms - NOON for each in heard(tmp_path)] == [0, 10_000, 10_000]


def test_what_was_thinned_and_so_stands_behind_younger_rows_comes_in_its_place(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, [[reading(GAS, t, 1.0)] for t in (0, 10, 20, 5)]))
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        epoch = load_epoch(connection)
        (values,) = connection.execute(f"SELECT {COLUMNS} FROM telemetry WHERE seq = 4").fetchall()
        row = sealed(epoch, Lane.TELEMETRY, Row._make(values)._replace(thinned=1))
        connection.execute("UPDATE telemetry SET thinned = 1, crc = ? WHERE seq = 4", (row.crc,))
    assert [each.time_ms - NOON for each in heard(tmp_path)] == [0, 5000, 10_000, 20_000]


def test_a_part_of_it_and_points_that_there_are_no_more(recorded: Path) -> None:
    with opened(recorded) as reader:
        history = History(reader, {GAS: POINTS[GAS]}, NOON + MINUTE, NOON + 110_000)
        assert [each.time_ms - NOON for each in history.messages()] == [60_000, 90_000, 110_000]
        assert history.skipped == 5


# ---------------------------------------------------------------------- the report


def test_for_programs(recorded: Path, files: Mapping[str, Path]) -> None:
    found = document("--rules", files["new"], "--against", files["old"], "--store", recorded)
    assert (found["from_ms"], found["to_ms"], found["readings"], found["skipped"]) == (NOON, NOON + 150_000, 13, 0)
    boiler = {
        "alarm": "gas@gas-boiler",
        "t": NOON + 80_000,
        "length_s": 30.0,
        "over": True,
        "cause": {"p": OTHER, "v": 13.0, "t": NOON + 60_000},
    }
    assert found["new"]["rules"] == {
        "gas": {"raises": 2, "days": {"2026-08-01": 2}, "longest": boiler, "chattering": 0},
    }
    assert found["new"]["commands"] == [
        {"t": NOON + 80_000, "alarm": "gas@gas-boiler", "send": "relay-2.relay1"},
        # stale after 15 s, so that its delay stood still from 125 s to 140 s
        {"t": NOON + 145_000, "alarm": "gas@gas-kitchen", "send": "relay-2.relay1"},
    ]
    assert found["new"]["per_10_min"] == {"average": 2.0, "peak": 2, "above_10": 0.0}
    assert found["against"]["rules"]["gas"]["raises"] == 3
    assert found["added"] == []
    assert found["removed"] == [
        {
            "alarm": "gas@gas-kitchen",
            "t": NOON + 60_000,
            "length_s": 30.0,
            "over": True,
            "cause": {"p": GAS, "v": 11.0, "t": NOON + 60_000},
        }
    ]
    assert found["exceeded"] == []


def test_for_people(recorded: Path, files: Mapping[str, Path]) -> None:
    result = replay("--rules", files["new"], "--against", files["old"], "--store", recorded)
    assert result.exit_code == 0
    assert "2026-08-01 12:00:00 – 2026-08-01 12:02:30: 13 readings" in result.stdout
    assert "2026-08-01 12:01:20  relay-2.relay1  (gas@gas-boiler)" in result.stdout
    assert f"{GAS} = 11.0 %LEL (2026-08-01 12:01:00)" in result.stdout.partition("removed: 1")[2]
    assert (
        "不再报警：1"
        in replay("--rules", files["new"], "--against", files["old"], "--store", recorded, lang="zh").stdout
    )


def test_a_limit_that_is_exceeded_is_the_exit_code(recorded: Path, files: Mapping[str, Path]) -> None:
    result = replay("--rules", files["old"], "--store", recorded)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "exceeded: gas raised 3 times on 2026-08-01, limit 2"
    assert document("--rules", files["old"], "--store", recorded)["exceeded"] == [
        {"rule": "gas", "day": "2026-08-01", "raises": 3, "limit": 2}
    ]


def test_days_and_times_are_the_site_s(recorded: Path, files: Mapping[str, Path]) -> None:
    rules = ("--rules", files["old"], "--store", recorded)
    assert document(*rules, "--from", "2026-08-01", "--to", "2026-08-01")["readings"] == 13
    assert document(*rules, "--from", "2026-08-01T12:01", "--to", "2026-08-01T12:01:50+08:00")["readings"] == 8
    nothing = replay(*rules, "--from", "2026-08-02")
    assert (nothing.exit_code, "holds no readings" in nothing.stderr) == (1, True)
    assert replay(*rules, "--from", "yesterday").exit_code == 2


def test_what_cannot_be_used(recorded: Path, files: Mapping[str, Path], tmp_path: Path) -> None:
    files["new"].write_text(NEW.replace("concentration >=", "concentraton >="), encoding="utf-8")
    wrong = replay("--rules", files["new"], "--store", recorded)
    assert (wrong.exit_code, "E-POINT" in wrong.stderr) == (1, True)
    assert replay("--rules", files["old"], "--store", tmp_path / "none").exit_code == 1
    assert replay("--store", recorded).exit_code == 2
    empty = CliRunner().invoke(main, ["rules", "replay", "--config", str(tmp_path), "--rules", str(files["old"])])
    assert empty.exit_code == 78


def test_the_store_is_only_read(recorded: Path, files: Mapping[str, Path]) -> None:
    before = {path.name: path.read_bytes() for path in recorded.iterdir()}
    replay("--rules", files["old"], "--store", recorded)
    assert {path.name: path.read_bytes() for path in recorded.iterdir()} == before
