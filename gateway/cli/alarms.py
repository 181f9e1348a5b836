"""gateway alarms: what is wrong now, and who has seen it.  Asks the running daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from gateway import local_api
from gateway.cli.common import FINE, FOUND_WRONG, Shell, command_options
from gateway.cli.site import configuration_of
from gateway.errors import GatewayError

STATES = {
    "pending": ("延时中", "pending"),
    "unack": ("未确认", "active, not acknowledged"),
    "acked": ("已确认", "active, acknowledged"),
    "rtn_unack": ("已恢复未确认", "over, not acknowledged"),
    "latched_unack": ("已恢复，锁存，未确认", "over, latched, not acknowledged"),
    "latched_acked": ("已恢复，锁存，待复位", "over, latched, to be reset"),
}
PRIORITIES = {
    "critical": ("紧急", "critical"),
    "high": ("高", "high"),
    "medium": ("中", "medium"),
    "low": ("低", "low"),
    "journal": ("仅记录", "journal"),
}


@click.group(help="报警列表与确认 / List alarms, acknowledge them")
def command() -> None:
    pass


@command.command("list", help="当前报警 / every alarm that is not normal")
@command_options
def list_command(shell: Shell) -> None:
    alarms = _ask(shell, {"op": "alarms"})
    if shell.json:
        shell.document({"alarms": alarms})
        shell.stop(FINE)
    for alarm in alarms:
        _print(shell, alarm)
    if not alarms:
        shell.say("没有报警", "no alarms")
    shell.stop(FINE)


@command.command("ack", help="确认报警：规则 或 规则@设备 / acknowledge RULE or RULE@DEVICE")
@click.argument("alarm")
@click.option("--by", default=None, help="确认人 / who has seen it; default: the user logged in")
@command_options
def ack_command(shell: Shell, alarm: str, by: str | None) -> None:
    rule, _, device = alarm.partition("@")
    request = {"op": "acknowledge", "rule": rule, "device": device or None, "who": by or local_api.operator()}
    after = _ask(shell, request)
    if shell.json:
        shell.document(after)
    else:
        _print(shell, after)
    shell.stop(FINE)


def _ask(shell: Shell, request: Mapping[str, Any]) -> Any:
    store = configuration_of(shell).store.path
    try:
        return asyncio.run(local_api.ask(store, request))
    except local_api.NotRunning:
        shell.complain("守护进程未运行：报警状态只在它运行时有效", "the daemon is not running: alarms live in it")
        shell.stop(FOUND_WRONG)
    except GatewayError as exc:
        shell.complain(f"失败：{exc.advice()}", f"refused: {exc.advice()}")
        shell.stop(FOUND_WRONG)


def _print(shell: Shell, alarm: Mapping[str, Any]) -> None:
    since = datetime.fromtimestamp(alarm["since_ms"] / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    name = alarm["rule"] + (f"@{alarm['device']}" if alarm["device"] else "")
    state = shell.t(*STATES.get(alarm["state"], ("正常", "normal")))
    priority = shell.t(*PRIORITIES[alarm["priority"]])
    seen = shell.t(f"（{alarm['acked_by']}）", f" by {alarm['acked_by']}") if alarm["acked_by"] else ""
    doubt = "" if alarm["known"] else shell.t("  数据缺失", "  data missing")
    print(f"{since}  {priority}  {name}  {state}{seen}{doubt}")
    for text in (alarm["message"], alarm["response"]):
        if text["zh"] or text["en"]:
            print(f"    {shell.t(text['zh'], text['en'])}")
