"""gateway audit: who did what, and whether anybody has laid hands on the record.  Never writes, needs no daemon."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options
from gateway.cli.site import configuration_of
from gateway.clock import SystemClock
from gateway.config.models import parse_duration
from gateway.errors import StoreError
from gateway.model import Text
from gateway.remote.audit_log import lines_of
from gateway.remote.chain import Anchor, Finding, Verdict, Wrong, read_line
from gateway.remote.chain import verify as verify_chain
from gateway.remote.trail import anchor_in
from gateway.store.reader import opened

_WRONG: Mapping[Wrong, Text] = {
    Wrong.EDITED: Text("此行被改动", "this line was altered"),
    Wrong.MISSING: Text("缺少的行", "lines are missing"),
    Wrong.BROKEN: Text("与上一行不衔接", "it does not continue the line before"),
    Wrong.TRUNCATED: Text("末尾缺少的行", "lines are missing at the end"),
    Wrong.REPLACED: Text(
        "与存储中记下的不是同一行：整个审计可能被重写", "not the line that the store knows: all may be rewritten"
    ),
}
_path = click.option(
    "--path",
    type=click.Path(path_type=Path),
    default=None,
    help="存储目录（不读配置）/ store directory, without configuration",
)


@click.group(help="核验与查看审计 / Verify and show who did what")
def command() -> None:
    pass


@command.command(help="核验审计链：改动、删除、截断 / Find lines that were altered, deleted or cut off")
@_path
@command_options
def verify(shell: Shell, path: Path | None) -> None:
    directory = path or configuration_of(shell).store.path
    anchor = _anchor(shell, directory)  # before the files: the daemon may be writing
    try:
        verdict = verify_chain(lines_of(directory), anchor)
    except OSError as exc:
        shell.complain(f"无法读取审计：{exc}", f"the audit cannot be read: {exc}")
        shell.stop(FOUND_WRONG)
    if shell.json:
        shell.document(_item(verdict, anchor))
    for finding in verdict.findings:
        _show(shell, finding)
    _sum_up(shell, verdict, anchor)
    shell.stop(FOUND_WRONG if verdict.findings else FINE)


@command.command(help="查看审计 / Show the audit, oldest first")
@click.option("--since", default="24h", help="时长或时刻，如 7d、2026-11-27 / a duration or a moment")
@_path
@command_options
def show(shell: Shell, since: str, path: Path | None) -> None:
    since_ms = _since_ms(shell, since)
    directory = path or configuration_of(shell).store.path
    try:
        for file, number, raw in lines_of(directory):
            line = read_line(raw)
            if line is None:
                shell.complain(f"{file}:{number}: 此行被改动或不完整", f"{file}:{number}: altered or incomplete")
            elif line.entry["t"] >= since_ms:
                _show_entry(shell, line.entry)
    except OSError as exc:
        shell.complain(f"无法读取审计：{exc}", f"the audit cannot be read: {exc}")
        shell.stop(FOUND_WRONG)
    shell.stop(FINE)


def _anchor(shell: Shell, directory: Path) -> Anchor | None:
    try:
        with opened(directory) as store:
            return anchor_in(store.state())
    except StoreError as exc:
        shell.complain(f"没有锚点：{exc.advice()}", f"no anchor: {exc.advice()}")
        return None


def _item(verdict: Verdict, anchor: Anchor | None) -> dict[str, Any]:
    return {
        "ok": not verdict.findings,
        "lines": verdict.lines,
        "first_seq": verdict.first_seq,
        "last_seq": verdict.last_seq,
        "anchor": None if anchor is None else anchor._asdict(),
        "unanchored": verdict.unanchored,
        "torn": verdict.torn,
        "findings": [
            {"wrong": str(each.wrong), "file": each.file, "line": each.line, "detail": each.detail}
            for each in verdict.findings
        ],
    }


def _show(shell: Shell, finding: Finding) -> None:
    text = _WRONG[finding.wrong]
    where = finding.file + (f":{finding.line}" if finding.line else "")
    zh, en = (f"{where}: {words} {finding.detail}".strip(": ") for words in (text.zh, text.en))
    shell.say(zh, en)


def _sum_up(shell: Shell, verdict: Verdict, anchor: Anchor | None) -> None:
    shell.say(
        f"已核验 {verdict.lines} 行，{len(verdict.findings)} 处问题",
        f"{verdict.lines} lines checked, {len(verdict.findings)} faults",
    )
    if anchor is None:
        shell.say("没有锚点：末尾被截断无法发现", "there is no anchor: lines missing at the end cannot be noticed")
    if verdict.unanchored:
        shell.say(
            f"最后 {verdict.unanchored} 行尚无锚点",
            f"the last {verdict.unanchored} lines are not anchored in the store",
        )
    if verdict.torn:
        shell.say("最后一行不完整：正在写入，或断电所致", "the last line has no end: being written, or a power cut")


def _since_ms(shell: Shell, written: str) -> int:
    try:
        return SystemClock().now_ms() - round(parse_duration(written) * 1000)
    except ValueError:
        pass
    try:
        return round(datetime.fromisoformat(written).astimezone().timestamp() * 1000)
    except ValueError:
        shell.complain(f"--since {written}：写法如 7d 或 2026-11-27", f"--since {written}: write 7d or 2026-11-27")
        shell.stop(USAGE)


def _show_entry(shell: Shell, entry: Mapping[str, Any]) -> None:
    if shell.json:
        shell.document(entry)
        return
    when = datetime.fromtimestamp(entry["t"] / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    what = " ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in entry["what"].items())
    who = " ".join(part for part in (entry["who"], entry["via"] and f"({entry['via']})") if part)
    print("  ".join(part for part in (str(entry["seq"]), when, entry["kind"], who, entry["result"], what) if part))
