"""gateway alarms kpi over a real store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from click.testing import CliRunner

from gateway.cli.main import main
from gateway.clock import SystemClock
from gateway.envelope import Encoder
from gateway.ids import uuid7
from gateway.model import AlarmChange, AlarmState, Event, Lane, Place, Priority, Record, Text
from rules.kpi import kpis
from store.rig import store

HOUR_MS = 3_600_000


def change(now_ms: int, state: AlarmState, count: int, reason: str = "condition", rule: str = "hot") -> AlarmChange:
    text = Text("热", "hot")
    return AlarmChange(uuid7(now_ms), rule, "m1", Place(), state, Priority.HIGH, count, now_ms, reason, text)


def story(now_ms: int) -> tuple[Sequence[Record], Sequence[Record]]:
    begun = now_ms - 5 * HOUR_MS
    alarms = [
        change(begun, AlarmState.UNACK, 1),
        change(begun + 60_000, AlarmState.ACKED, 1, "ack"),
        change(begun + HOUR_MS, AlarmState.NORMAL, 1),
        change(begun + 2 * HOUR_MS, AlarmState.UNACK, 2),
        change(begun + 2 * HOUR_MS + 5_000, AlarmState.RTN_UNACK, 2),
        change(begun + 2 * HOUR_MS + 9_000, AlarmState.UNACK, 3),
        change(begun + 3 * HOUR_MS, AlarmState.NORMAL, 3, "rule_deleted"),
        change(begun + 3 * HOUR_MS, AlarmState.UNACK, 1, rule="cold"),
    ]
    flood = Event(uuid7(begun), "alarm.flood_on", begun, None, Place(), {"alarm": ""})
    return alarms, [flood, Event(uuid7(begun), "gateway.started", begun, None, Place(), {})]


def test_figures_of_a_store(tmp_path: Path) -> None:
    clock = SystemClock()
    now_ms = clock.now_ms()
    alarms, events = story(now_ms)

    async def fill() -> None:
        async with store(tmp_path) as log:
            encoder = Encoder({})
            drafts = [
                *encoder.drafts(Lane.ALARM, alarms, clock.state()),
                *encoder.drafts(Lane.EVENT, events, clock.state()),
            ]
            await log.commit(drafts, {})

    asyncio.run(fill())
    arguments = ["alarms", "kpi", "--days", "1", "--store", str(tmp_path)]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    begun = now_ms - 5 * HOUR_MS
    lines = [
        (begun, "raise", "hot@m1", "high"),
        (begun + 60_000, "ack", "hot@m1", "high"),
        (begun + HOUR_MS, "clear", "hot@m1", "high"),
        (begun + 2 * HOUR_MS, "raise", "hot@m1", "high"),
        (begun + 2 * HOUR_MS + 5_000, "clear", "hot@m1", "high"),
        (begun + 2 * HOUR_MS + 9_000, "raise", "hot@m1", "high"),
        (begun + 3 * HOUR_MS, "retire", "hot@m1", "high"),
        (begun + 3 * HOUR_MS, "raise", "cold@m1", "high"),
        (begun, "flood_on", "", "high"),
    ]
    wanted = kpis(lines, from_ms=found["from_ms"], to_ms=found["to_ms"]).as_json()
    assert found == json.loads(json.dumps(wanted))
    assert (found["raises"], found["top"], found["fleeting"]) == (4, [["hot@m1", 3], ["cold@m1", 1]], ["hot@m1"])
    assert found["figures"]["floods"]["value"] == 1

    told = CliRunner().invoke(main, [*arguments, "--lang", "zh"]).stdout
    assert "1 天，4 条报警" in told
    assert "✗ 一闪而过的报警: 1" in told
    missing = [name for name in found["figures"] if f" {name}: " in told]
    assert missing == [], "every figure has a name that people read"


def test_a_store_that_is_none_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["alarms", "kpi", "--store", str(tmp_path), "--lang", "en"])
    assert result.exit_code == 1
    assert "the store cannot be used" in result.stderr
