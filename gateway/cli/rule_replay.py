"""gateway rules replay: what rules would have done with the readings that a store holds.  Sends and tells nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.cli.common import CONFIG_INVALID, FINE, FOUND_WRONG, USAGE, Shell, unit_symbol
from gateway.cli.site import configuration_of
from gateway.config.faults import Report, render_all
from gateway.config.load import devices_of, timezone_of
from gateway.config.rule_files import limits_of, read_rule_paths
from gateway.errors import StoreError
from gateway.model import Device, Point, PointId
from gateway.store.history import History
from gateway.store.reader import opened
from gateway.terminal import age, aligned
from rules.calendar import zone as zone_of
from rules.replay import Episode, Outcome, Replay, compared
from rules.rule import RuleSet

_SHOWN = 20
"""Lines of each list for people; programs get all."""


@dataclass(frozen=True, slots=True)
class _Exceeded:
    rule: str
    day: str
    raises: int
    limit: int


@dataclass(frozen=True, slots=True)
class _Report:
    readings: int
    skipped: int
    new: Outcome
    old: Outcome | None
    exceeded: Sequence[_Exceeded]
    zone: ZoneInfo
    points: Mapping[PointId, Point]


def run(
    shell: Shell,
    new: Sequence[Path],
    against: Sequence[Path],
    begin: str | None,
    end: str | None,
    store: Path | None,
) -> int:
    """The exit code."""
    devices, _ = devices_of(shell.config) or (None, None)
    if devices is None:
        shell.complain(
            f"{shell.config} 中没有有效的设备配置；请用 --config 指明",
            f"no valid devices in {shell.config}; give --config",
        )
        return CONFIG_INVALID
    rules = _rules(shell, new, devices)
    others = _rules(shell, against, devices) if against else None
    if rules is None or (against and others is None):
        return FOUND_WRONG
    zone = zone_of(rules.site.timezone) or ZoneInfo("UTC")
    from_ms, to_ms = _moment(shell, begin, zone, last=False), _moment(shell, end, zone, last=True)
    path = store if store is not None else configuration_of(shell).store.path
    try:
        report = _replayed(devices, rules, others, path, (from_ms, to_ms), zone, limits_of(_named(new)))
    except StoreError as exc:
        shell.complain(f"存储不可用：{exc} {exc.hint}".strip(), f"the store cannot be used: {exc} {exc.hint}".strip())
        return FOUND_WRONG
    if report is None:
        shell.complain(f"{path} 中这段时间没有读数", f"{path} holds no readings of that time")
        return FOUND_WRONG
    if shell.json:
        shell.document(_document(report))
    else:
        _tell(shell, report)
    return FOUND_WRONG if report.exceeded else FINE


def _rules(shell: Shell, paths: Sequence[Path], devices: Sequence[Device]) -> RuleSet | None:
    """None when they have errors, which are told."""
    report = Report()
    rules, _ = read_rule_paths(_named(paths), devices, report)
    if not report.failed:
        zone = rules.site.timezone or timezone_of(shell.config)
        return replace(rules, site=replace(rules.site, timezone=zone))
    shell.complain(*("\n".join(render_all(report.in_order(), lang)) for lang in ("zh", "en")))
    return None


def _named(paths: Sequence[Path]) -> Mapping[str, Path]:
    """The files, and those in the directories."""
    files = [each for path in paths for each in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    return {str(file): file for file in files}


def _moment(shell: Shell, text: str | None, zone: ZoneInfo, *, last: bool) -> int | None:
    """A day stands for its beginning or, as the last one, for its end."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        shell.complain(f"看不懂的时间：{text}（如 2026-08-01）", f"not a time: {text} (such as 2026-08-01)")
        shell.stop(USAGE)
    is_day = last and len(text) <= len("2026-08-01")
    local = (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)) + timedelta(days=is_day)
    return round(local.timestamp() * 1000) - is_day


# ---------------------------------------------------------------------- playing


def _replayed(
    devices: Sequence[Device],
    rules: RuleSet,
    others: RuleSet | None,
    path: Path,
    span: tuple[int | None, int | None],
    zone: ZoneInfo,
    limits: Mapping[str, int],
) -> _Report | None:
    points = {point.id: point for device in devices for point in device.points}
    readings = 0
    versions: list[Replay] = []
    now_ms = 0
    with opened(path) as reader:
        history = History(reader, points, span[0] or 0, span[1] if span[1] is not None else _FOREVER_MS)
        for heard in history.messages():
            if not versions:
                from_ms = span[0] if span[0] is not None else heard.time_ms
                versions = [Replay(each, points, devices, from_ms) for each in (rules, others) if each is not None]
            readings += len(heard.readings)
            now_ms = heard.time_ms
            for version in versions:
                version.hear(heard.readings, now_ms)
    if not versions:
        return None
    for version in versions:
        version.finish(now_ms)
    new, *old = (version.outcome for version in versions)
    return _Report(readings, history.skipped, new, old[0] if old else None, _exceeded(new, limits, zone), zone, points)


_FOREVER_MS = 2**62


def _exceeded(outcome: Outcome, limits: Mapping[str, int], zone: ZoneInfo) -> list[_Exceeded]:
    return [
        _Exceeded(rule, day.isoformat(), raises, limits[rule])
        for (rule, day), raises in sorted(outcome.days(zone).items())
        if rule in limits and raises > limits[rule]
    ]


# ---------------------------------------------------------------------- for programs


def _document(report: _Report) -> dict[str, Any]:
    added, removed = _compared(report)
    return {
        "from_ms": report.new.from_ms,
        "to_ms": report.new.to_ms,
        "readings": report.readings,
        "skipped": report.skipped,
        "new": _outcome(report.new, report.zone),
        "against": None if report.old is None else _outcome(report.old, report.zone),
        "added": [_episode(each, report.new.to_ms) for each in added],
        "removed": [_episode(each, report.new.to_ms) for each in removed],
        "exceeded": [
            {"rule": each.rule, "day": each.day, "raises": each.raises, "limit": each.limit} for each in report.exceeded
        ],
    }


def _compared(report: _Report) -> tuple[list[Episode], list[Episode]]:
    return ([], []) if report.old is None else compared(report.new, report.old)


def _outcome(outcome: Outcome, zone: ZoneInfo) -> dict[str, Any]:
    pace, longest, days = outcome.pace(), outcome.longest(), outcome.days(zone)
    rules = {
        rule: {
            "raises": sum(number for (each, _), number in days.items() if each == rule),
            "days": {day.isoformat(): number for (each, day), number in sorted(days.items()) if each == rule},
            "longest": _episode(longest[rule], outcome.to_ms),
            "chattering": outcome.chattering[rule],
        }
        for rule in sorted(longest)
    }
    return {
        "rules": rules,
        "floods_ms": outcome.floods_ms,
        "per_10_min": {"average": pace.average, "peak": pace.peak, "above_10": pace.crowded},
        "commands": [{"t": each.time_ms, "alarm": each.name, "send": each.send} for each in outcome.commands],
    }


def _episode(episode: Episode, to_ms: int) -> dict[str, Any]:
    cause = episode.cause
    sample = None if cause is None else {"p": cause.point, "v": cause.value, "t": cause.time_ms}
    return {
        "alarm": episode.name,
        "t": episode.start_ms,
        "length_s": episode.length_s(to_ms),
        "over": episode.end_ms is not None,
        "cause": sample,
    }


# ---------------------------------------------------------------------- for people


def _tell(shell: Shell, report: _Report) -> None:
    new = report.new
    span = f"{_local(new.from_ms, report.zone)} – {_local(new.to_ms, report.zone)}"
    shell.say(f"{span}：{report.readings} 个读数", f"{span}: {report.readings} readings")
    if report.skipped:
        shell.say(
            f"另有 {report.skipped} 个读数的测点已不在配置中", f"{report.skipped} more of points that there are no more"
        )
    _tell_outcome(shell, new, report)
    if report.old is not None:
        shell.say("\n对照的规则：", "\nThe rules compared with:")
        _tell_outcome(shell, report.old, report)
        added, removed = _compared(report)
        _list(shell, ("新增报警", "added"), [_line(shell, each, report) for each in added])
        _list(shell, ("不再报警", "removed"), [_line(shell, each, report) for each in removed])
    for each in report.exceeded:
        shell.say(
            f"超限：{each.rule} 在 {each.day} 报警 {each.raises} 次，限 {each.limit} 次",
            f"exceeded: {each.rule} raised {each.raises} times on {each.day}, limit {each.limit}",
        )


def _tell_outcome(shell: Shell, outcome: Outcome, report: _Report) -> None:
    longest, days = outcome.longest(), outcome.days(report.zone)
    head = shell.t("规则 报警 天数 一天最多 最长 抖动", "rule raises days most-a-day longest chattering")
    table = [head.split()]
    for rule in sorted(longest):
        raised = [number for (each, _), number in days.items() if each == rule]
        length = age(longest[rule].length_s(outcome.to_ms), shell.lang)
        counts = (sum(raised), len(raised), max(raised))
        table.append([rule, *map(str, counts), length, str(outcome.chattering[rule])])
    if len(table) == 1:
        shell.say("没有报警", "no alarms")
        return
    print("\n".join(aligned(table)))
    pace = outcome.pace()
    shell.say(
        f"每 10 分钟平均 {pace.average:.2f} 次，最多 {pace.peak} 次，{pace.crowded:.1%} 的时段超过 10 次；"
        f"洪泛 {len(outcome.floods_ms)} 次",
        f"per 10 min: {pace.average:.2f} on average, {pace.peak} at most, {pace.crowded:.1%} of them above 10; "
        f"{len(outcome.floods_ms)} floods",
    )
    sent = [f"{_local(each.time_ms, report.zone)}  {each.send}  ({each.name})" for each in outcome.commands]
    _list(shell, ("本会发出的指令", "commands that would have been sent"), sent)


def _list(shell: Shell, title: tuple[str, str], lines: Sequence[str]) -> None:
    shell.say(f"{title[0]}：{len(lines)}", f"{title[1]}: {len(lines)}")
    for line in lines[:_SHOWN]:
        print(f"  {line}")
    if len(lines) > _SHOWN:
        more = len(lines) - _SHOWN
        shell.say(f"  另有 {more} 条，见 --json", f"  {more} more, see --json")


def _line(shell: Shell, episode: Episode, report: _Report) -> str:
    length = age(episode.length_s(report.new.to_ms), shell.lang)
    text = f"{_local(episode.start_ms, report.zone)}  {episode.name}  {length}"
    if episode.cause is None:
        return f"{text}  {shell.t('（到时）', '(by time)')}"
    cause = episode.cause
    point = report.points.get(cause.point)
    unit = unit_symbol(point.unit) if point is not None else None
    value = "bad" if cause.value is None else f"{cause.value} {unit or ''}".rstrip()
    return f"{text}  {cause.point} = {value} ({_local(cause.time_ms, report.zone)})"


def _local(time_ms: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(time_ms / 1000, zone).strftime("%Y-%m-%d %H:%M:%S")
