"""gateway store, on a store at work and on one at rest."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import main
from gateway.clock import ClockState
from gateway.envelope import Encoder
from gateway.model import Event, Gap, Lane, Place, Point, Quality, Reading, Reason, Text, ValueKind
from gateway.store.reader import opened
from gateway.store.restamp import STATE_KEY, Pending, Timeline
from store.rig import MIB, draft, store
from store.test_log import damage

POINTS = {
    f"m-{number}.energy": Point(f"m-{number}.energy", ValueKind.NUMBER, Text("电量", "energy"), 60, "kW.h")
    for number in (1, 2)
}
NOON = 1_767_225_600_000


def gateway(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["store", *arguments], env={"LANG": "C", "LC_ALL": "C"})


async def fill(directory: Path, then: Callable[[], None]) -> None:
    encoder = Encoder(POINTS)
    readings = [
        Reading("m-1.energy", 12.5, NOON, NOON),
        Reading("m-2.energy", None, NOON + 1000, NOON + 1000, Quality.BAD, Reason.NO_ANSWER),
    ]
    event = Event("id-1", "door.opened", NOON + 2000, "door-1", Place(building="3"), {"card": "中"})
    gap = Gap("line_lost", NOON, NOON + 3000, point="m-2.energy")
    async with store(directory, uplinks=["cloud", "property"], budget_bytes=4 * MIB) as log:
        for lane, records in ((Lane.BILLING, readings), (Lane.EVENT, [event]), (Lane.GAP, [gap])):
            await log.commit(list(encoder.drafts(lane, records, ClockState.SYNCED)))
        await log.acknowledge("cloud", {Lane.BILLING: 1})
        await log.commit([draft(Lane.BULK, 1)])
        await asyncio.to_thread(then)


@pytest.fixture(params=["at work", "at rest"])
def look(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Result]:
    """Runs the command on a filled store, while the daemon has it or afterwards."""

    def run(*arguments: str) -> Result:
        results: list[Result] = []
        command = [arguments[0], "--path", str(tmp_path), *arguments[1:]]
        at_work = request.param == "at work"
        before: list[str] = []
        asyncio.run(fill(tmp_path, lambda: results.append(gateway(*command)) if at_work else None))
        if not at_work:
            before = sorted(file.name for file in tmp_path.iterdir())
            results.append(gateway(*command))
            assert sorted(file.name for file in tmp_path.iterdir()) == before, "looking must leave no traces"
        return results[0]

    return run


def test_status_for_programs(look: Callable[..., Result]) -> None:
    result = look("status", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert list(document["lanes"]) == [str(lane) for lane in Lane]
    billing = document["lanes"]["billing"]
    assert (billing["envelopes"], billing["items"], billing["first_seq"], billing["last_seq"]) == (1, 2, 1, 1)
    assert billing["unacknowledged"] == {"cloud": 0, "property": 1}
    assert billing["waiting_since_ms"] == {"property": NOON}
    assert document["lanes"]["alarm"]["first_seq"] is None


def test_status_for_people(look: Callable[..., Result]) -> None:
    result = look("status", "--lang", "en")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    waiting = {tuple(line.split()[:3]) for line in lines[lines.index("") + 2 :]}
    assert ("property", "billing", "1") in waiting
    assert ("cloud", "billing", "1") not in waiting
    assert {line[: line.rindex("0")].rstrip()[-1] for line in lines[2:8]} == {"0"}


def test_status_in_chinese_is_aligned(look: Callable[..., Result]) -> None:
    lines = look("status", "--lang", "zh").stdout.splitlines()
    assert lines[1].split() == ["通道", "信封", "记录", "大小", "序号", "最早", "丢弃", "损坏"]
    columns = {
        len(line[: line.rindex(" ")].encode("gbk")) for line in lines[1:8]
    }  # in GBK a wide character is two bytes
    assert len(columns) == 1


def test_verify_finds_nothing_wrong(look: Callable[..., Result]) -> None:
    result = look("verify", "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["ok"] is True
    assert document["checked"] == {"alarm": 0, "event": 1, "gap": 1, "billing": 1, "telemetry": 0, "bulk": 1}


def exported(result: Result) -> list[tuple[str, int, str]]:
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return [(line["lane"], line["seq"], line["item"].get("p", line["item"].get("kind", "gap"))) for line in lines]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            [],
            [
                ("event", 1, "door.opened"),
                ("gap", 1, "gap"),
                ("billing", 1, "m-1.energy"),
                ("billing", 1, "m-2.energy"),
            ],
        ),
        (["--lane", "event"], [("event", 1, "door.opened")]),
        (["--lane", "billing", "--point", "m-2.*"], [("billing", 1, "m-2.energy")]),
        (["--point", "m-2.energy"], [("gap", 1, "gap"), ("billing", 1, "m-2.energy")]),
        (["--lane", "billing", "--since", "2026-01-01T00:00:01+00:00"], [("billing", 1, "m-2.energy")]),
        (["--since", "1min"], []),
    ],
)
def test_export_as_json_lines(look: Callable[..., Result], options: Sequence[str], expected: list[object]) -> None:
    result = look("export", "--json", *options)
    assert result.exit_code == 0
    assert [line for line in exported(result) if line[0] != "bulk"] == expected


def test_export_as_csv(look: Callable[..., Result]) -> None:
    rows = list(csv.DictReader(io.StringIO(look("export", "--format", "csv").stdout)))
    assert [(r["lane"], r["point"], r["value"], r["unit"], r["quality"], r["reason"]) for r in rows][1:4] == [
        ("gap", "m-2.energy", "", "", "", ""),
        ("billing", "m-1.energy", "12.5", "kW.h", "good", ""),
        ("billing", "m-2.energy", "", "kW.h", "bad", "no_answer"),
    ]
    assert json.loads(rows[0]["item"])["attributes"] == {"card": "中"}
    assert rows[2]["t"] == str(NOON)


def test_verify_finds_damage_and_missing_rows(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path) as log:
            await log.commit([draft(Lane.EVENT, mark) for mark in range(10)])

    asyncio.run(scenario())
    damage(tmp_path, Lane.EVENT, 3)
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("DELETE FROM event WHERE seq IN (6, 7)")
    connection.close()
    result = gateway("verify", "--path", str(tmp_path), "--json")
    assert result.exit_code == 1
    found = [(f["wrong"], f["lane"], f["seq"], f["detail"]) for f in json.loads(result.stdout)["findings"]]
    assert found == [("checksum", "event", 3, ""), ("missing", "event", 6, "6 .. 7")]
    assert "event 3 checksum" in gateway("verify", "--path", str(tmp_path), "--lang", "en").stdout


def test_verify_of_an_evicting_store_is_fine(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with store(tmp_path, budget_bytes=MIB) as log:
            for mark in range(200):
                await log.commit([draft(Lane.BULK, mark, 9000)])

    asyncio.run(scenario())
    result = gateway("verify", "--path", str(tmp_path), "--lang", "en")
    assert result.exit_code == 0
    assert "dropped and announced" in result.stdout


@pytest.mark.parametrize("content", [None, b"not a database" * 1000, b""])
@pytest.mark.parametrize("subcommand", ["status", "verify", "export"])
def test_what_is_no_store_is_an_answer_not_a_traceback(tmp_path: Path, content: bytes | None, subcommand: str) -> None:
    if content is not None:
        (tmp_path / "store.db").write_bytes(content)
    result = gateway(subcommand, "--path", str(tmp_path), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False
    assert result.stderr
    assert isinstance(result.exception, SystemExit)


def test_wrong_usage_and_wrong_configuration(tmp_path: Path) -> None:
    assert gateway("export", "--path", str(tmp_path), "--since", "yesterday").exit_code == 2
    assert gateway("export", "--path", str(tmp_path), "--json", "--format", "csv").exit_code == 2
    assert gateway("export", "--lane", "nonsense").exit_code == 2
    assert gateway("status", "--config", str(tmp_path / "nowhere")).exit_code == 78


def test_looking_while_the_daemon_writes_keeps_its_log_small(tmp_path: Path) -> None:
    """A thousand commits beside a reader in the middle of an export."""

    async def scenario() -> None:
        async with store(tmp_path) as log:
            await log.commit([draft(Lane.EVENT, mark, 1000) for mark in range(2000)])
            with opened(tmp_path) as reader:
                rows = reader.rows(Lane.EVENT)
                next(rows)
                for mark in range(600):
                    await log.commit([draft(Lane.BULK, mark, 9000)])
                assert (tmp_path / "store.db-wal").stat().st_size < 4 * MIB
                assert sum(1 for _ in rows) == 1999

    asyncio.run(scenario())


def test_status_says_what_waits_for_the_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with store(tmp_path) as log:
            await log.commit([draft(lane, 1) for lane in (Lane.BILLING, Lane.BILLING, Lane.EVENT)])
            timelines = (Timeline(0, dict.fromkeys(Lane, 2), ("start",)),)
            pending = Pending(log.epoch, 0, timelines=timelines)
            await log.commit((), {f"{STATE_KEY}boot": pending.to_bytes(), f"{STATE_KEY}damaged": b"?"})

    asyncio.run(main())
    assert json.loads(gateway("status", "--path", str(tmp_path), "--json").stdout)["held"] == {"billing": 1}
    assert "billing: 1 envelopes wait" in gateway("status", "--path", str(tmp_path), "--lang", "en").stdout
    assert "对时" in gateway("status", "--path", str(tmp_path), "--lang", "zh").stdout
