"""gateway write: command a device.  Shown, confirmed, audited; through the daemon, or directly when it is stopped."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import click

from gateway import local_api
from gateway.cli.common import FINE, FOUND_WRONG, USAGE, Shell, command_options, unit_symbol
from gateway.cli.direct import commands_without_daemon
from gateway.cli.site import configuration_of
from gateway.clock import GatewayClock, SystemClock
from gateway.commands import Code, Command, Outcome, Refusal, Status, as_item, cuts_supply, parse_value
from gateway.config.faults import did_you_mean
from gateway.config.load import Configuration
from gateway.envelope import reading_item
from gateway.errors import DriverError, GatewayError
from gateway.ids import uuid7
from gateway.logs import configure
from gateway.model import Device, Place, Point, Text, Value
from gateway.terminal import aligned

PATIENCE_S = 120.0
"""Beyond the settling time: for the exchange under way, the write, the read-back, and a store that is slow."""

STATUS_WORDS: Mapping[str, Text] = {
    Status.OK: Text("完成", "done"),
    Status.REJECTED: Text("被拒绝，未改变任何状态", "rejected, nothing has changed"),
    Status.FAILED: Text("未成功", "failed"),
    Status.EXPIRED: Text("已过期，未改变任何状态", "expired, nothing has changed"),
    Status.UNKNOWN: Text("结果不明，请到现场核实，不会自动重试", "unknown: go and look; it is not tried again"),
}
CODE_WORDS: Mapping[str, Text] = {
    Code.CONFIRMED: Text("设备已确认，回读一致", "the device has confirmed it, and it reads back"),
    Code.UNKNOWN_POINT: Text("没有这个测点", "there is no such point"),
    Code.NOT_WRITABLE: Text("型号文件未声明该测点可写", "its profile does not say that it can be written"),
    Code.NOT_ALLOWED: Text(
        "现场配置不允许；请在设备条目中写 allow_write",
        "the site does not allow it; the device entry would have to name it in allow_write",
    ),
    Code.DRIVER_CANNOT: Text("该协议不支持写入", "its protocol cannot write"),
    Code.WRONG_DEVICE: Text(
        "应答的不是该设备（出厂编号不符），可能接错线",
        "another device answers at its address (its serial number differs); cables may have been swapped",
    ),
    Code.NO_WHO: Text("没有说明由谁下令", "nobody stands behind it"),
    Code.NO_REASON: Text("没有写明原因", "no reason is given"),
    Code.BAD_VALUE: Text("值不适用于该测点；应为", "not a value of this point; it takes"),
    Code.OUT_OF_RANGE: Text("值超出允许范围", "outside the allowed range"),
    Code.INTERLOCK: Text("联锁禁止", "an interlock forbids it"),
    Code.BUSY: Text("该测点的另一条命令正在执行", "another command for this point is under way"),
    Code.TOO_SOON: Text("距上次写入太近，请再等", "too soon after the last write; wait another"),
    Code.STOPPING: Text("守护进程正在停止", "the daemon is stopping"),
    Code.NOT_AUDITED: Text("审计记录无法写入存储，因此未发送", "the audit cannot be stored, so nothing was sent"),
    Code.REFUSED: Text("设备拒绝", "the device refused"),
    Code.LINE_LOST: Text("线路不通", "the line is down"),
    Code.NO_ANSWER: Text("已发送，设备没有应答", "sent, and the device has not answered"),
    Code.BAD_ANSWER: Text("已发送，应答无法识别", "sent, and the answer makes no sense"),
    Code.INTERRUPTED: Text("已发送，随后中断", "interrupted after it was sent"),
    Code.NOT_READ_BACK: Text("设备已确认，但无法回读", "the device has confirmed it, but it could not be read back"),
    Code.DIFFERS: Text("设备已确认，但回读的值不同", "the device has confirmed it, but another value reads back"),
    Code.EXPIRED: Text("等待线路时已过期，未发送", "its time was over while it waited for the line; nothing was sent"),
    Code.NOT_AT_REST: Text("脉冲已开始，但未能确认已复位", "a pulse was begun, and nobody knows whether it has ended"),
}


@dataclass(frozen=True, slots=True)
class _Found:
    """What a look at the point has shown, before anything is done."""

    answer: Mapping[str, Any]
    """``ready``, or the refusal, which is audited already."""
    present: Mapping[str, Any] | None
    """The point's reading; None when it was not or could not be read."""
    directly: bool
    """No daemon is running."""


@click.command(
    help="写入测点：核对、确认、审计 / Write a point: shown, confirmed, audited",
    context_settings={"ignore_unknown_options": True},  # -5 is a value
)
@click.argument("point")
@click.argument("value")
@click.option("--reason", required=True, help="原因，写入审计 / why; it goes into the audit")
@click.option("--yes", is_flag=True, help="不询问（脚本用）/ do not ask, for scripts")
@command_options
def command(shell: Shell, point: str, value: str, reason: str, yes: bool) -> None:
    config = configuration_of(shell)
    target = _point(shell, config, point)
    if not reason.strip():
        shell.complain("--reason 不能为空", "--reason must not be empty")
        shell.stop(USAGE)
    wanted = _value(shell, target, value)
    if not yes and not sys.stdin.isatty():
        shell.complain("不在终端上，无法确认；脚本请用 --yes", "nobody to ask here: not a terminal; scripts use --yes")
        shell.stop(USAGE)
    asked = Command(uuid7(SystemClock().now_ms()), target.id, wanted, local_api.operator(), reason.strip(), "local")
    result = _result(shell, config, asked, wanted, confirm=not yes)
    if shell.json:
        shell.document(result)
    else:
        _tell(shell, target, result)
    shell.stop(FINE if result["status"] == Status.OK else FOUND_WRONG)


def _result(shell: Shell, config: Configuration, asked: Command, value: Value, *, confirm: bool) -> Mapping[str, Any]:
    """What became of it.  The person is asked between two conversations, so that nothing is held up meanwhile."""
    try:
        found = asyncio.run(_look(shell, config, asked, read=confirm))
        if found.answer["status"] != "ready":
            return found.answer
        if confirm and not _confirmed(shell, config, asked, value, found.present):
            shell.complain("未确认，未写入", "not confirmed, nothing was written")
            shell.stop(FOUND_WRONG)
        act = _write_directly if found.directly else _write_through_daemon
        return asyncio.run(act(config, asked, found.answer["settle_s"]))
    except GatewayError as exc:
        shell.complain(f"未写入：{exc.advice()}", f"not written: {exc.advice()}")
        shell.stop(FOUND_WRONG)
    except KeyboardInterrupt:
        shell.complain(
            "已中断；守护进程已接受的命令会执行完毕，结果见 gateway store export --lane event",
            "interrupted; a command that the daemon has taken is carried out: see gateway store export --lane event",
        )
        shell.stop(FOUND_WRONG)


def _point(shell: Shell, config: Configuration, id_: str) -> Point:
    found = config.points.get(id_)
    if found is None:
        hint = did_you_mean(id_, config.points) or Text("", "")
        shell.complain(f"没有这样的测点：{id_} {hint.zh}".rstrip(), f"no such point: {id_} {hint.en}".rstrip())
        shell.stop(USAGE)
    return found


def _value(shell: Shell, point: Point, written: str) -> Value:
    value = parse_value(point, written)
    if isinstance(value, Refusal):
        words = CODE_WORDS[value.code]
        shell.complain(f"{written}：{words.zh} {value.detail}", f"{written}: {words.en} {value.detail}")
        shell.stop(USAGE)
    return value


# ---------------------------------------------------------------------- giving the command


async def _look(shell: Shell, config: Configuration, asked: Command, *, read: bool) -> _Found:
    """Harmless, so it may find out whether a daemon runs."""
    try:
        answer = await local_api.ask(config.store.path, {**_request(asked), "check": True})
    except local_api.NotRunning:
        shell.complain("守护进程未运行，直接写入", "the daemon is not running; writing directly")
        configure(level=logging.WARNING)
        return await _look_directly(config, asked, read=read)
    present = None
    if read and answer["status"] == "ready":
        with suppress(GatewayError):
            (present,) = await local_api.ask(config.store.path, {"op": "read", "points": [asked.point]})
    return _Found(answer, present, directly=False)


async def _look_directly(config: Configuration, asked: Command, *, read: bool) -> _Found:
    point = config.points[asked.point]
    present = None
    clock = GatewayClock.of(config.store.path)
    async with commands_without_daemon(config, point.device, clock) as commands:
        answer = as_item(asked, await commands.check(asked))
        if read and answer["status"] == "ready":
            with suppress(DriverError):
                (reading,) = await commands.buses[point.device].read(point.device, [point.id])
                present = reading_item(reading, point.unit)
    return _Found(answer, present, directly=True)


async def _write_through_daemon(config: Configuration, asked: Command, settle_s: float) -> Mapping[str, Any]:
    """Never a second time, and never directly: once asked, the daemon may have sent it, whatever we hear."""
    try:
        answer: Mapping[str, Any] = await local_api.ask(
            config.store.path, _request(asked), timeout_s=settle_s + PATIENCE_S
        )
    except GatewayError as exc:
        return as_item(asked, Outcome(Status.UNKNOWN, Code.INTERRUPTED, exc.advice()))
    return answer


async def _write_directly(config: Configuration, asked: Command, settle_s: float) -> Mapping[str, Any]:
    clock = GatewayClock.of(config.store.path)
    async with commands_without_daemon(config, config.points[asked.point].device, clock) as commands:
        return as_item(asked, await commands.execute(asked))


def _request(asked: Command) -> Mapping[str, Any]:
    return {"op": "write", "point": asked.point, "value": asked.value, "who": asked.who, "reason": asked.reason}


# ---------------------------------------------------------------------- talking to the person


def _confirmed(
    shell: Shell, config: Configuration, asked: Command, value: Value, present: Mapping[str, Any] | None
) -> bool:
    point = config.points[asked.point]
    device = next(each for each in config.devices if each.id == point.device)
    _show(shell, device, point, value, present, asked.reason)
    if not cuts_supply(point, value):
        return _prompt(shell, "写入？输入 y 确认", "write it? type y").lower() == "y"
    question = f"这会切断供应。请输入测点编号 {point.id} 确认", f"this cuts somebody's supply. Type its id, {point.id}"
    return _prompt(shell, *question) == point.id


def _prompt(shell: Shell, zh: str, en: str) -> str:
    """What the person types; an empty text when he ends the input or interrupts.  Asked on stderr."""
    print(shell.t(f"{zh}：", f"{en}: "), end="", file=sys.stderr, flush=True)
    try:
        return sys.stdin.readline().strip()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return ""


def _show(
    shell: Shell, device: Device, point: Point, value: Value, present: Mapping[str, Any] | None, reason: str
) -> None:
    """On stderr: with --json, stdout belongs to the document."""
    rows = [
        ("设备", "device", f"{shell.t(device.label.zh, device.label.en)} ({device.id})"),
        ("位置", "place", _place(device.place) or "-"),
        ("测点", "point", f"{shell.t(point.label.zh, point.label.en)} ({point.id})"),
        ("当前值", "now", _present(point, present)),
        ("新值", "new", _with_unit(point, value)),
        ("原因", "reason", reason),
    ]
    for line in aligned([["", shell.t(zh, en), text] for zh, en, text in rows]):
        shell.complain(line, line)


def _place(place: Place) -> str:
    levels = (place.grid, place.building, place.unit, place.floor, place.room)
    return " ".join(level for level in levels if level)


def _present(point: Point, item: Mapping[str, Any] | None) -> str:
    if item is None:
        return "?"
    doubt = f" ({item['q']}: {item.get('r', '')})" if item["q"] != "good" else ""
    return ("?" if item["v"] is None else _with_unit(point, item["v"])) + doubt


def _with_unit(point: Point, value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value} {unit_symbol(point.unit) or ''}".rstrip()


def _tell(shell: Shell, point: Point, result: Mapping[str, Any]) -> None:
    status = STATUS_WORDS[result["status"]]
    code = CODE_WORDS.get(result["code"], Text(result["code"], result["code"]))
    detail = "" if result["status"] == Status.OK else result["detail"]
    shown = result["read_back"]
    back = "" if shown is None else _with_unit(point, shown)
    shell.say(
        f"{status.zh}：{code.zh} {detail}".rstrip() + (f"；回读 {back}" if back else ""),
        f"{status.en}: {code.en} {detail}".rstrip() + (f"; it reads {back}" if back else ""),
    )
