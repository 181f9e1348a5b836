"""gateway report: what the meters of a month or of some days say, by place.  The daemon may run or not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import NoReturn

import click

from gateway import local_api
from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options, unit_symbol
from gateway.cli.places import PLACE, by_option, within
from gateway.cli.site import configuration_of
from gateway.clock import SystemClock
from gateway.config.load import Configuration
from gateway.envelope import place_item
from gateway.errors import GatewayError, StoreError
from gateway.meters import files, from_store
from gateway.meters.account import Period, boundaries, rows_of, sections_of, sums_of, wanted_for
from gateway.meters.closing import Batch, Mark, midnight_ms
from gateway.meters.report import Report, as_csv, as_document, as_html, table_of, value_text
from gateway.model import Device, Place, PointId, Text
from gateway.registers import registers_in
from gateway.store.disk import sync_directory
from gateway.terminal import aligned


@click.group(help="报表 / reports")
def command() -> None:
    pass


@command.command(
    "meters",
    help="抄表用量报表（日、月或任意天数）/ what the meters counted in a month, a day, or some days",
    epilog="期间从当地零点到零点；说明 / from local midnight to midnight; manual: docs/reports.md",
)
@click.option("--month", default=None, help="月份，如 2026-10 / a month, such as 2026-10")
@click.option("--day", default=None, help="日期，如 2026-10-31 / a day, such as 2026-10-31")
@click.option("--from", "first", default=None, help="第一天 / the first day")
@click.option("--to", "last", default=None, help="最后一天（含）/ the last day, included")
@by_option("device", default="unit")
@PLACE
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="写成 CSV / write a CSV file")
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), help="写成可打印网页 / to print")
@command_options
def meters_command(
    shell: Shell,
    month: str | None,
    day: str | None,
    first: str | None,
    last: str | None,
    by: str,
    wanted: tuple[Place, ...],
    csv_file: Path | None,
    html_file: Path | None,
) -> None:
    config = configuration_of(shell)
    begin, end = _days(shell, month, day, first, last)
    zone, now_ms = config.site.zone, SystemClock().now_ms()
    period = Period(midnight_ms(begin, zone), midnight_ms(end + timedelta(days=1), zone), now_ms)
    if period.from_ms > now_ms:
        shell.complain("期间还没有开始", "this time has not begun yet")
        shell.stop(USAGE)
    title = _title(begin, end)
    devices = [device for device in config.devices if within(device.place, wanted)]
    try:
        latest = _latest(shell, config, f"{title} {_filter(wanted)}".strip())
        last_month = files.month_of(period.to_ms, zone)
        found = files.read(
            config.store.path,
            files.month_of(period.from_ms, zone),
            keep=wanted_for(devices, period),
            enough=lambda month, batch: month >= last_month and not boundaries(devices, batch, period),
        )
        batch = _completed(config.store.path, devices, found.batch, period)
    except StoreError as exc:
        _refuse(shell, exc)
    rows = rows_of(devices, batch, latest, period)
    name = config.site.name
    sections = sections_of(rows, by, config.places)
    report = Report(
        Text(name.zh, name.en), config.places, zone, period, Text(title, title), sections, damaged=found.damaged
    )
    _put_out(shell, report, csv_file, html_file)
    shell.stop(FINE)


def _days(shell: Shell, month: str | None, day: str | None, first: str | None, last: str | None) -> tuple[date, date]:
    """The first and the last day."""
    try:
        days = days_said(month, day, first, last)
    except (ValueError, OverflowError):
        days = None
    if days is None or days[0] > days[1]:
        shell.complain(
            "请写 --month 2026-10，或 --day 2026-10-31，或 --from 2026-10-01 --to 2026-10-15",
            "write --month 2026-10, or --day 2026-10-31, or --from 2026-10-01 --to 2026-10-15",
        )
        shell.stop(USAGE)
    return days


def days_said(month: str | None, day: str | None, first: str | None, last: str | None) -> tuple[date, date] | None:
    """None where not exactly one of month, day, and first with last is said.  Raises ValueError, OverflowError."""
    match month, day, first, last:
        case str(), None, None, None:
            begin = date.fromisoformat(f"{month}-01")
            return begin, (begin + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        case None, str(), None, None:
            return date.fromisoformat(day), date.fromisoformat(day)
        case None, None, str(), str():
            return date.fromisoformat(first), date.fromisoformat(last)
        case _:
            return None


def _title(begin: date, end: date) -> str:
    if begin == end:
        return begin.isoformat()
    whole = begin.day == 1 and (end + timedelta(days=1)) == (begin + timedelta(days=31)).replace(day=1)
    return begin.strftime("%Y-%m") if whole else f"{begin.isoformat()} – {end.isoformat()}"


def _filter(wanted: tuple[Place, ...]) -> str:
    return "; ".join(",".join(f"{level}={word}" for level, word in place_item(place).items()) for place in wanted)


def _latest(shell: Shell, config: Configuration, what: str) -> Mapping[PointId, Mark]:
    """What the counters showed last.  A running daemon has it in memory, and writes down first who looks at it."""
    request = {"op": "meters", "who": local_api.operator(), "what": what}
    try:
        answer = asyncio.run(local_api.ask(config.store.path, request))
    except local_api.NotRunning:
        shell.complain(
            "守护进程未运行：此次查看没有审计记录", "the daemon is not running: this look is not in the audit"
        )
        saved = registers_in(from_store.saved_state(config.store.path))
        return {point: Mark(value, at_ms) for point, (value, at_ms) in saved.items()}
    except GatewayError as exc:
        _refuse(shell, exc)
    return {point: Mark(value, time_ms) for point, (value, time_ms) in answer["latest"].items()}


def _completed(directory: Path, devices: list[Device], found: Batch, period: Period) -> Batch:
    """With what the store still has, where the journal lacks it.  Raises StoreError."""
    closings, changes = list(found.closings), list(found.changes)
    for instant_ms, points in boundaries(devices, found, period).items():
        closings += from_store.around(directory, points, instant_ms)
    return replace(found, closings=closings, changes=[*changes, *from_store.changes(directory, period.from_ms, 2**53)])


def _refuse(shell: Shell, exc: GatewayError) -> NoReturn:
    shell.complain(f"不能生成报表：{exc.advice()}", f"no report can be made: {exc.advice()}")
    shell.stop(FOUND_WRONG)


# ---------------------------------------------------------------------- out


def _put_out(shell: Shell, report: Report, csv_file: Path | None, html_file: Path | None) -> None:
    symbols = {unit: unit_symbol(unit) or unit for row in report.rows if (unit := row.point.unit) is not None}
    try:
        if csv_file is not None:
            _write(csv_file, as_csv(report, shell.lang, symbols))
        if html_file is not None:
            _write(html_file, as_html(report, shell.lang, symbols))
    except OSError as exc:
        shell.complain(f"文件不能写入：{exc}", f"the file cannot be written: {exc}")
        shell.stop(FOUND_WRONG)
    if shell.json:
        shell.document(as_document(report))
        return
    for file in (csv_file, html_file):
        if file is not None:
            shell.say(f"已写入 {file}", f"written: {file}")
    if csv_file is None and html_file is None:
        for line in _lines(shell, report, symbols):
            print(line)


def _lines(shell: Shell, report: Report, symbols: Mapping[str, str]) -> list[str]:
    lines = [f"{shell.t(report.site.zh, report.site.en)}  {report.title.zh}"]
    for section in report.sections:
        table = table_of(section, report, shell.lang, symbols)
        lines += [f"== {shell.t(section.name.zh, section.name.en)}", *aligned(table)]
    for each in sums_of(report.rows):
        unit = symbols.get(each.unit or "", each.unit or "")
        lines.append(
            shell.t("总计", "all together") + f" {each.supply} {value_text(each.total)} {unit} ({each.meters})"
        )
    if not report.rows:
        lines.append(shell.t("没有计费表", "there are no billing counters"))
    return lines


def _write(file: Path, text: str) -> None:
    """Only for whoever makes it; whole or not at all."""
    new = file.with_name(f".{file.name}.new")
    try:
        number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(number, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(number)
        new.replace(file)
        sync_directory(file.parent)
    finally:
        with suppress(FileNotFoundError):
            new.unlink()
