"""gateway config: configurations from afar.  What runs, what became of the last one, and the way back."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gateway import local_api
from gateway.cli.common import FINE, FOUND_WRONG, Shell, command_options
from gateway.cli.site import configuration_of, local_configuration
from gateway.config.load import Configuration
from gateway.errors import GatewayError
from gateway.model import Text
from gateway.remote.desired import LONGEST_BYTES
from gateway.remote.record import Fate
from gateway.remote.versions import read_files

FATE_WORDS: Mapping[str, Text] = {
    Fate.RUNNING: Text("已生效", "in force"),
    Fate.ON_TRIAL: Text("试用中", "on trial"),
    Fate.REJECTED: Text("被拒绝，未作任何改变", "rejected, nothing has changed"),
    Fate.ROLLED_BACK: Text("已退回上一配置", "rolled back to the one before"),
}
_PATIENCE_S = 600.0
"""A document that comes right after a start waits for a window before it is tried."""


@click.group(help="远程配置 / Configurations from afar: show, history, diff, apply, rollback")
def command() -> None:
    pass


@command.command("show", help="当前配置与最近一份远程配置 / what runs, and what became of the last document")
@command_options
def show_command(shell: Shell) -> None:
    found = _ask(shell, {"op": "config"})
    found.pop("history")
    _show(shell, found)
    shell.stop(FINE)


@command.command("history", help="最近的远程配置 / what became of the latest documents, the newest last")
@command_options
def history_command(shell: Shell) -> None:
    history = _ask(shell, {"op": "config"})["history"]
    if shell.json:
        shell.document({"history": history})
        shell.stop(FINE)
    for outcome in history:
        print(_line(shell, outcome))
    if not history:
        shell.say("没有收到过远程配置", "no configuration has come from afar")
    shell.stop(FINE)


@command.command(
    "diff", help="远程配置与本机配置目录的差别 / what the running one changes in the local directory's files"
)
@command_options
def diff_command(shell: Shell) -> None:
    local, running = local_configuration(shell), configuration_of(shell)
    lines = list(_diff(local, running))
    if shell.json:
        shell.document({"same": not lines, "diff": lines})
    elif lines:
        print("\n".join(lines))
    else:
        shell.say("没有差别：运行的就是本机配置", "no difference: the local configuration is running")
    shell.stop(FINE)


@command.command("apply", help="应用签名的配置文件 / apply a signed document that was carried here")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@command_options
def apply_command(shell: Shell, file: Path) -> None:
    with file.open("rb") as opened:
        body = opened.read(LONGEST_BYTES + 1)
    found = _ask(shell, {"op": "config_apply", "document": body.decode(errors="replace")})
    _show(shell, found)
    shell.stop(FOUND_WRONG if found["state"] in (Fate.REJECTED, Fate.ROLLED_BACK) else FINE)


@command.command("rollback", help="退回上一配置 / go back to the configuration before; audited")
@click.option("--reason", required=True, help="原因 / why")
@click.option("--by", default=None, help="谁 / who; default: the user logged in")
@command_options
def rollback_command(shell: Shell, reason: str, by: str | None) -> None:
    request = {"op": "config_rollback", "reason": reason, "who": by or local_api.operator()}
    _show(shell, _ask(shell, request))
    shell.stop(FINE)


def _ask(shell: Shell, request: Mapping[str, Any]) -> Any:
    store = local_configuration(shell).store.path
    try:
        return asyncio.run(local_api.ask(store, request, timeout_s=_PATIENCE_S))
    except local_api.NotRunning:
        shell.complain("守护进程未运行", "the daemon is not running")
        shell.stop(FOUND_WRONG)
    except GatewayError as exc:
        shell.complain(f"失败：{exc.advice()}", f"refused: {exc.advice()}")
        shell.stop(FOUND_WRONG)


def _show(shell: Shell, found: Mapping[str, Any]) -> None:
    if shell.json:
        shell.document(found)
        return
    running = found["running"]
    if running["source"] == "local":
        shell.say(f"运行的是本机配置目录 {shell.config}", f"the local configuration is running: {shell.config}")
    else:
        shell.say(f"运行的是远程配置，版本 {running['version']}", f"version {running['version']} from afar is running")
    print(f"  {running['digest']}")
    if found["version"] != 0:
        print(_line(shell, found))
    for fault in found["faults"]:
        hint = fault["hint"]
        place = f"{fault['file']}:{fault['line']}:{fault['column']}: {fault['code']}"
        advice = shell.t(f"；{hint['zh']}", f"; {hint['en']}") if hint else ""
        print(f"  {place} {shell.t(fault['message']['zh'], fault['message']['en'])}{advice}")


def _line(shell: Shell, outcome: Mapping[str, Any]) -> str:
    since = datetime.fromtimestamp(outcome["since_ms"] / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    number = "?" if outcome["version"] is None else outcome["version"]
    fate, why = FATE_WORDS[outcome["state"]], outcome["reason"]
    reason = shell.t(f"：{why['zh']}", f": {why['en']}") if why["en"] else ""
    key = shell.t(f"（密钥 {outcome['key']}）", f" (key {outcome['key']})") if outcome["key"] else ""
    return shell.t(
        f"{since}  版本 {number}{key}  {fate.zh}{reason}", f"{since}  version {number}{key}  {fate.en}{reason}"
    )


def _diff(local: Configuration, running: Configuration) -> Iterator[str]:
    old, new = read_files(local.directory), read_files(running.directory)
    for name in sorted(old.keys() | new.keys()):
        before, after = (files.get(name, b"").decode(errors="replace").splitlines() for files in (old, new))
        yield from difflib.unified_diff(before, after, f"local/{name}", f"running/{name}", lineterm="")
