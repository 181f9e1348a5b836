"""gateway alarms kpi: whether a guard can keep up (ISA-18.2, EEMUA 191), from a store that is only read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from gateway.cli.common import FINE, FOUND_WRONG, Shell, command_options
from gateway.cli.site import configuration_of
from gateway.clock import SystemClock
from gateway.errors import StoreError
from gateway.model import Text
from gateway.store.alarm_lines import alarm_lines
from gateway.store.reader import opened
from rules.kpi import Figure, Kpis, Verdict, kpis

DAY_MS = 86_400_000
_MARKS = {Verdict.GOOD: "✓", Verdict.WARNING: "!", Verdict.BAD: "✗", Verdict.NONE: " "}
_NAMES = {
    "per_day_mean": Text("平均每天", "a day, on average"),
    "per_day_max": Text("最多的一天", "on the worst day"),
    "per_10min_mean": Text("平均每 10 分钟", "in ten minutes, on average"),
    "per_10min_max": Text("最多的 10 分钟", "in the worst ten minutes"),
    "busy_10min_share": Text("超过 10 条的 10 分钟占比", "share of ten-minute periods with more than ten"),
    "flood_share": Text("报警洪泛的时间占比", "share of the time in a flood"),
    "floods": Text("报警洪泛次数", "floods"),
    "top_ten_share": Text("最多的 10 个报警占比", "share of the ten most frequent"),
    "chattering": Text("抖动的报警", "alarms that chatter"),
    "fleeting": Text("一闪而过的报警", "alarms that come and go"),
    "stale_on_a_day": Text("持续超过 24 小时（最多的一天）", "on for more than 24 h, on the worst day"),
    "urgent_share": Text("紧急和高级别占比", "share of critical and high"),
    "medium_share": Text("中级别占比", "share of medium"),
    "low_share": Text("低级别占比", "share of low"),
    "acknowledged_median_s": Text("确认用时中位数（秒）", "time to acknowledge, median (s)"),
    "acknowledged_p95_s": Text("确认用时 95%（秒）", "time to acknowledge, 95 % (s)"),
    "never_acknowledged": Text("尚未确认", "not acknowledged"),
}


@click.command(help="报警指标：值班人员忙得过来吗 / whether a guard can keep up: ISA-18.2 figures")
@click.option(
    "--days", type=click.IntRange(1, 3660), default=30, help="统计多少天 / over how many days", show_default=True
)
@click.option(
    "--store", type=click.Path(exists=True, file_okay=False, path_type=Path), help="存储目录 / a store's directory"
)
@command_options
def command(shell: Shell, days: int, store: Path | None) -> None:
    path = store or configuration_of(shell).store.path
    to_ms = SystemClock().now_ms()
    from_ms = to_ms - days * DAY_MS
    try:
        with opened(path) as reader:
            found = kpis(alarm_lines(reader, from_ms), from_ms=from_ms, to_ms=to_ms)
    except StoreError as exc:
        shell.complain(f"存储不可用：{exc.advice()}", f"the store cannot be used: {exc.advice()}")
        shell.stop(FOUND_WRONG)
    if shell.json:
        shell.document(found.as_json())
    else:
        for line in told(found, days, shell):
            print(line)
    shell.stop(FINE)


def told(found: Kpis, days: int, shell: Shell) -> Iterator[str]:
    yield shell.t(f"{days} 天，{found.raises} 条报警", f"{days} days, {found.raises} alarms")
    for name, figure in found.figures.items():
        yield _line(name, figure, shell)
    if found.top:
        yield shell.t("最多的：", "most frequent:")
        yield from (f"  {count:6}  {name}" for name, count in found.top)
    for title, names in (
        (Text("抖动：", "chattering:"), found.chattering),
        (Text("一闪而过：", "fleeting:"), found.fleeting),
        (Text("持续超过 24 小时：", "on for more than 24 h:"), found.stale),
    ):
        if names:
            yield f"{shell.t(title.zh, title.en)} {', '.join(names[:10])}{' …' if len(names) > 10 else ''}"


def _line(name: str, figure: Figure, shell: Shell) -> str:
    text = _NAMES.get(name, Text(name, name))
    value = "-" if figure.value is None else f"{figure.value:.3g}"
    target = "" if figure.target is None else shell.t(f"（目标 {figure.target}）", f"  (target {figure.target})")
    return f"{_MARKS[figure.verdict]} {shell.t(text.zh, text.en)}: {value}{target}"
