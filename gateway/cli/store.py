"""gateway store: what waits for whom, whether it is whole, and what is in it.  Never writes."""

from __future__ import annotations

import csv
import fnmatch
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options
from gateway.cli.site import configuration_of
from gateway.clock import SystemClock
from gateway.config.models import parse_duration
from gateway.errors import StoreError
from gateway.model import Lane, Text
from gateway.store.lanes import LaneStats, StoreStats
from gateway.store.reader import Finding, Reader, Wrong, opened
from gateway.terminal import age, aligned, size

LANES = {
    Lane.ALARM: Text("报警", "alarm"),
    Lane.EVENT: Text("事件", "event"),
    Lane.GAP: Text("缺口", "gap"),
    Lane.BILLING: Text("计费", "billing"),
    Lane.TELEMETRY: Text("遥测", "telemetry"),
    Lane.BULK: Text("批量", "bulk"),
}
_WRONG = {
    Wrong.STRUCTURE: Text("数据库结构损坏", "the database structure is damaged"),
    Wrong.CHECKSUM: Text("校验和不符", "checksum does not match"),
    Wrong.MISSING: Text("序号缺失且未公告", "numbers are missing and were not announced"),
    Wrong.TOTALS: Text("累计数不符", "running totals do not add up"),
    Wrong.UNREADABLE: Text("无法读取", "cannot be read"),
}
_CSV_COLUMNS = ("lane", "seq", "t", "point", "value", "unit", "quality", "reason", "item")

path_option = click.option(
    "--path",
    type=click.Path(path_type=Path),
    default=None,
    help="存储目录（不读配置）/ store directory, without configuration",
)


@click.group(help="查看本地存储 / Look into the store")
def command() -> None:
    pass


@command.command(help="各通道存量与等待情况 / What each lane holds, and what waits for whom")
@path_option
@command_options
def status(shell: Shell, path: Path | None) -> None:
    with _reader(shell, path) as (reader, budget_bytes):
        stats, held = reader.status(budget_bytes), reader.held()
    if shell.json:
        shell.document(stats.as_item() | {"held": {str(lane): count for lane, count in held.items()}})
    else:
        _show(shell, stats, SystemClock().now_ms())
        for lane, count in held.items():
            name = LANES[lane]
            shell.say(
                f"{name.zh}：{count} 个信封等待对时后再送", f"{name.en}: {count} envelopes wait until the time is known"
            )
    shell.stop(FINE)


@command.command(help="校验完整性 / Check every row, every number and the file itself")
@path_option
@command_options
def verify(shell: Shell, path: Path | None) -> None:
    checked: Counter[Lane] = Counter()

    def count(lane: Lane, rows: int) -> None:
        checked[lane] += rows

    with _reader(shell, path) as (reader, budget_bytes):
        findings = list(reader.verify(count))
        lanes = reader.status(budget_bytes).lanes if not findings else {}
    ok = not findings
    if shell.json:
        shell.document(
            {
                "ok": ok,
                "checked": {str(lane): checked[lane] for lane in Lane},
                "findings": [_finding_item(finding) for finding in findings],
            }
        )
    for finding in findings:
        where = f"{finding.lane or ''} {'' if finding.seq is None else finding.seq}".strip()
        text = _WRONG[finding.wrong]
        shell.say(f"{where} {text.zh} {finding.detail}".strip(), f"{where} {text.en} {finding.detail}".strip())
    total = sum(checked.values())
    shell.say(f"已校验 {total} 个信封，{len(findings)} 处问题", f"{total} envelopes checked, {len(findings)} faults")
    announced = sum(lane.evicted + lane.damaged for lane in lanes.values())
    if announced:
        shell.say(f"另有 {announced} 个已丢弃并公告", f"{announced} more were dropped and announced")
    shell.stop(FINE if ok else FOUND_WRONG)


@command.command(help="导出记录 / Write the records as JSON lines or CSV")
@path_option
@click.option(
    "--lane",
    "lanes",
    multiple=True,
    type=click.Choice([str(lane) for lane in Lane]),
    help="通道 / lane, may be repeated",
)
@click.option("--since", default=None, help="起始时间：2h、1d 或 2026-01-31T08:00 / an age or a local time")
@click.option("--point", default=None, help="测点，可用 * / point, * is a wildcard")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl")
@command_options
def export(
    shell: Shell, path: Path | None, lanes: tuple[str, ...], since: str | None, point: str | None, form: str
) -> None:
    if shell.json and form == "csv":
        shell.complain("--json 与 --format csv 不能同时使用", "--json and --format csv contradict each other")
        shell.stop(USAGE)
    since_ms = _since_ms(shell, since)
    with _reader(shell, path) as (reader, _):
        items = _items(reader, [Lane(lane) for lane in lanes] or list(Lane), since_ms, point)
        _write_csv(items, reader.epoch) if form == "csv" else _write_json_lines(items, reader.epoch)
    shell.stop(FINE)


@contextmanager
def _reader(shell: Shell, path: Path | None) -> Iterator[tuple[Reader, int]]:
    """The store and its budget (0: not known); ends the command when there is none."""
    budget_bytes = 0
    if path is None:
        configured = configuration_of(shell).store
        path, budget_bytes = configured.path, configured.budget
    try:
        with opened(path) as reader:
            yield reader, budget_bytes
    except StoreError as exc:
        if shell.json:
            shell.document({"ok": False, "error": str(exc), "hint": exc.hint})
        shell.complain(f"存储不可用：{exc} {exc.hint}".strip(), f"the store cannot be used: {exc} {exc.hint}".strip())
        shell.stop(FOUND_WRONG)


# ---------------------------------------------------------------------- status


def _show(shell: Shell, stats: StoreStats, now_ms: int) -> None:
    budget = f" / {size(stats.budget_bytes)}" if stats.budget_bytes else ""
    shell.say(
        f"占用 {size(stats.bytes)}{budget}  纪元 {stats.epoch}",
        f"size {size(stats.bytes)}{budget}  epoch {stats.epoch}",
    )
    head = shell.t(
        "通道 信封 记录 大小 序号 最早 丢弃 损坏", "lane envelopes records size numbers oldest dropped damaged"
    )
    table = [head.split()]
    for lane, held in stats.lanes.items():
        table.append([shell.t(LANES[lane].zh, LANES[lane].en), *_lane_cells(held)])
    print("\n".join(aligned(table)))
    waiting = [
        [uplink, shell.t(LANES[lane].zh, LANES[lane].en), str(count), _since(shell, held, uplink, now_ms)]
        for lane, held in stats.lanes.items()
        for uplink, count in held.unacknowledged.items()
        if count
    ]
    if not waiting:
        shell.say("没有待送数据", "nothing is waiting")
        return
    print()
    print("\n".join(aligned([shell.t("上行 通道 待送 始于", "uplink lane waiting since").split(), *sorted(waiting)])))


def _lane_cells(held: LaneStats) -> list[str]:
    numbers = "-" if held.first_seq is None else f"{held.first_seq}-{held.last_seq}"
    oldest = "-" if held.oldest_ms is None else _local(held.oldest_ms)
    return [
        str(held.envelopes),
        str(held.items),
        size(held.bytes),
        numbers,
        oldest,
        str(held.evicted),
        str(held.damaged),
    ]


def _since(shell: Shell, held: LaneStats, uplink: str, now_ms: int) -> str:
    since_ms = held.waiting_since_ms.get(uplink)
    if since_ms is None:
        return "-"
    return f"{_local(since_ms)} ({age((now_ms - since_ms) / 1000, shell.lang)})"


def _local(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


# ---------------------------------------------------------------------- verify, export


def _finding_item(finding: Finding) -> dict[str, Any]:
    return {
        "wrong": str(finding.wrong),
        "lane": None if finding.lane is None else str(finding.lane),
        "seq": finding.seq,
        "detail": finding.detail,
    }


def _since_ms(shell: Shell, text: str | None) -> int:
    if text is None:
        return 0
    try:
        return SystemClock().now_ms() - round(parse_duration(text) * 1000)
    except ValueError:
        pass
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        shell.complain(f"看不懂的时间：{text}", f"not an age and not a time: {text}")
        shell.stop(USAGE)


def _items(
    reader: Reader, lanes: Sequence[Lane], since_ms: int, point: str | None
) -> Iterator[tuple[Lane, int, dict[str, Any]]]:
    for lane in lanes:
        for row in reader.rows(lane, since_ms):
            for item in json.loads(row.items):
                if _wanted(item, since_ms, point):
                    yield lane, row.seq, item


def _wanted(item: dict[str, Any], since_ms: int, point: str | None) -> bool:
    if item.get("t", item.get("to_ms", since_ms)) < since_ms:
        return False
    return point is None or fnmatch.fnmatchcase(item.get("p") or item.get("point") or "", point)


def _write_json_lines(items: Iterator[tuple[Lane, int, dict[str, Any]]], epoch: str) -> None:
    for lane, seq, item in items:
        line = {"epoch": epoch, "lane": str(lane), "seq": seq, "item": item}
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write_csv(items: Iterator[tuple[Lane, int, dict[str, Any]]], epoch: str) -> None:
    """Readings have their fields in columns; other records are JSON in the last one."""
    writer = csv.writer(sys.stdout)
    writer.writerow(_CSV_COLUMNS)
    for lane, seq, item in items:
        reading = "p" in item
        fields = (
            [item.get(key, "") for key in ("p", "v", "u", "q", "r")] if reading else [item.get("point", ""), *[""] * 4]
        )
        rest = "" if reading else json.dumps(item, ensure_ascii=False)
        writer.writerow([lane, seq, item.get("t", item.get("from_ms", "")), *map(_cell, fields), rest])


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula is kept a text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
