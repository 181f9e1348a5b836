"""gateway rules: check rule files before anybody relies on them, and the schema for an editor."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway import local_api
from gateway.cli import rule_cases, rule_replay
from gateway.cli.common import FINE, FOUND_WRONG, Shell, command_options
from gateway.cli.site import configuration_of
from gateway.config.faults import Report, render_all
from gateway.config.load import devices_of
from gateway.config.rule_files import read_rule_paths
from gateway.errors import GatewayError
from gateway.model import Text
from rules.account import account
from rules.rule import Mode, RuleSet
from rules.schema import json_schema

LONGEST_TEST_S = 900.0
NOT_CERTIFIED = Text(
    "有联动。本产品不是经认证的安全系统（非SIL），不能替代燃气报警控制器、消防联动或电梯自身保护；仅作补充。",
    "it moves something. Not a certified safety system (no SIL); it supplements and never replaces the gas alarm "
    "controller, fire linkage or the lift's own protection.",
)


@click.group(
    help="报警规则：先检查，再测试，再重演 / Alarm rules: check them, test them, play them against recorded readings",
    epilog="手册 / manual: docs/rules.zh.md, docs/rules.en.md",
)
def command() -> None:
    pass


@command.command(help="检查规则文件 / Check rule files against the configured devices")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@command_options
def check(files: tuple[Path, ...], shell: Shell) -> None:
    devices, actions = devices_of(shell.config) or (None, None)
    report = Report()
    paths = {str(path): path for path in files}
    rules, _ = read_rule_paths(paths, devices, report, actions=actions, with_lints=True)
    faults = report.in_order()
    if shell.json:
        shell.document({"ok": not report.failed, "faults": [fault.as_json(shell.lang) for fault in faults]})
    for text in render_all(faults, shell.lang):
        if not shell.json:
            print(text)
    if devices is None:
        shell.complain(
            f"{shell.config} 中没有有效的设备配置：只检查了语法、键和函数，没有检查测点和单位",
            f"no valid devices in {shell.config}: syntax, keys and functions were checked, points and units were not",
        )
    _sum_up(shell, rules, failed=report.failed)
    shell.stop(FOUND_WRONG if report.failed else FINE)


@command.command(help="用平实的话读出规则 / Read rules back in plain sentences")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@command_options
def explain(files: tuple[Path, ...], shell: Shell) -> None:
    devices, actions = devices_of(shell.config) or (None, None)
    report = Report()
    rules, _ = read_rule_paths({str(path): path for path in files}, devices, report, actions=actions)
    for line in render_all([fault for fault in report.in_order() if not fault.warning], shell.lang):
        shell.complain(line, line)
    told = {rule.id: list(account(rule, [w for w in rules.watches if w.rule.id == rule.id])) for rule in rules.rules}
    if shell.json:
        items = {rule: [{"zh": text.zh, "en": text.en} for text in texts] for rule, texts in told.items()}
        shell.document({"ok": not report.failed, "rules": items})
    else:
        for first, *rest in told.values():
            print(shell.t(first.zh, first.en))
            for text in rest:
                print(f"  {shell.t(text.zh, text.en)}")
    shell.stop(FOUND_WRONG if report.failed else FINE)


@command.command(help="用测试文件检验规则 / Play the cases of test files against the rules")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--update", is_flag=True, help="改写不符的预期 / rewrite the expectations that differ")
@click.option("--mutate", is_flag=True, help="检验用例本身 / put the cases themselves to the test")
@command_options
def test(files: tuple[Path, ...], update: bool, mutate: bool, shell: Shell) -> None:
    shell.stop(rule_cases.run(files, shell, update=update, mutate=mutate))


_RULES = click.Path(exists=True, path_type=Path)


@command.command(help="用存下的读数重演规则，不发出任何指令 / Play recorded readings again; nothing is sent")
@click.option("--from", "begin", default=None, help="起始：2026-08-01 或带时刻 / a day or a time; default: the oldest")
@click.option("--to", "end", default=None, help="截止，含当天 / the last day or a time; default: the newest")
@click.option("--rules", "new", multiple=True, required=True, type=_RULES, help="规则文件或目录 / file or directory")
@click.option("--against", multiple=True, type=_RULES, help="对照的规则 / the rules to compare with")
@click.option("--store", type=click.Path(path_type=Path), default=None, help="存储目录 / store directory")
@command_options
def replay(
    shell: Shell,
    begin: str | None,
    end: str | None,
    new: tuple[Path, ...],
    against: tuple[Path, ...],
    store: Path | None,
) -> None:
    shell.stop(rule_replay.run(shell, new, against, begin, end, store))


@command.command("test-fire", help="联动试验：不报警，只发动作 / proof test: the actions of a rule without its alarm")
@click.argument("alarm")
@click.option(
    "--output", is_flag=True, help="真的动作；否则只记录将发什么 / really move things; else only say what would be sent"
)
@click.option("--reason", required=True, help="原因、作业票号 / why, or the number of the permit")
@click.option("--by", default=None, help="操作人 / who does it; default: the user logged in")
@click.option("--yes", is_flag=True, help="不询问（脚本用）/ do not ask, for scripts")
@command_options
def test_fire(alarm: str, output: bool, reason: str, by: str | None, yes: bool, shell: Shell) -> None:
    rule, _, device = alarm.partition("@")
    if output and not yes:
        shell.say(
            f"{alarm} 的动作将真的执行。{NOT_CERTIFIED.zh}",
            f"the actions of {alarm} will really be done. {NOT_CERTIFIED.en}",
        )
        if not click.confirm(shell.t("继续？", "go on?"), default=False):
            shell.stop(FOUND_WRONG)
    who = by or local_api.operator()
    request = {
        "op": "test_fire",
        "rule": rule,
        "device": device or None,
        "who": who,
        "reason": reason,
        "output": output,
    }
    try:
        found = asyncio.run(local_api.ask(configuration_of(shell).store.path, request, timeout_s=LONGEST_TEST_S))
    except GatewayError as exc:
        shell.complain(f"失败：{exc.advice()}", f"refused: {exc.advice()}")
        shell.stop(FOUND_WRONG)
    if shell.json:
        shell.document(found)
    else:
        _tell_test(shell, found)
    shell.stop(FOUND_WRONG if found["failed"] else FINE)


def _tell_test(shell: Shell, found: Mapping[str, Any]) -> None:
    verb = ("已发送", "sent") if found["output"] else ("将发送", "would be sent")
    for send in found["sent"]:
        shell.say(f"{verb[0]} {send}", f"{verb[1]}: {send}")
    for send in found["confirmed"]:
        shell.say(f"✓ 已确认 {send}", f"✓ confirmed: {send}")
    for send in found["failed"]:
        shell.say(f"✗ 未确认 {send}：到现场检查执行器", f"✗ not confirmed: {send}; look at the actuator on site")


@command.command(help="规则格式的 JSON Schema / JSON Schema of the rule format")
@command_options
def schema(shell: Shell) -> None:
    shell.document(json_schema())


def _sum_up(shell: Shell, rules: RuleSet, *, failed: bool) -> None:
    if failed:
        shell.say("规则有误", "the rules have faults")
        return
    count, watches = len(rules.rules), len(rules.watches)
    shell.say(f"规则正确：{count} 条规则，监视 {watches} 处", f"valid: {count} rules, watching {watches} times")
    for rule in rules.rules:
        if rule.mode is Mode.SHADOW:
            shell.say(f"  {rule.id}：试运行，只记录", f"  {rule.id}: shadow, journaled only")
    acting = dict.fromkeys(watch.rule.id for watch in rules.watches if watch.actions)
    for rule_id in acting:
        shell.say(f"  {rule_id}：{NOT_CERTIFIED.zh}", f"  {rule_id}: {NOT_CERTIFIED.en}")
