"""gateway alarms: what is wrong now, why, who has seen it, and what people do about it.  Asks the running daemon."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from gateway import local_api
from gateway.cli.alarm_kpi import command as kpi_command
from gateway.cli.common import FINE, FOUND_WRONG, Shell, command_options
from gateway.cli.durations import Duration
from gateway.cli.places import PLACE, by_option, sections, within
from gateway.cli.site import configuration_of
from gateway.errors import GatewayError
from gateway.model import PRIORITY_WORDS, Place
from gateway.places import Places, place_of
from rules.aliases import named_twice

STATES = {
    "pending": ("延时中", "pending"),
    "unack": ("未确认", "active, not acknowledged"),
    "acked": ("已确认", "active, acknowledged"),
    "rtn_unack": ("已恢复未确认", "over, not acknowledged"),
    "latched_unack": ("已恢复，锁存，未确认", "over, latched, not acknowledged"),
    "latched_acked": ("已恢复，锁存，待复位", "over, latched, to be reset"),
}
FLAGS = {
    "suppressed": ("被抑制", "suppressed"),
    "shelved": ("搁置", "shelved"),
    "out_of_service": ("停用", "out of service"),
    "chattering": ("抖动", "chattering"),
    "latched": ("锁存", "latched"),
}
PRIORITIES = {str(priority): (text.zh, text.en) for priority, text in PRIORITY_WORDS.items()}
BY = click.option("--by", default=None, help="操作人 / who does it; default: the user logged in")
REASON = click.option("--reason", default="", help="原因 / why")


@click.group(
    help="报警：列表、原因、确认、搁置、复位、指标 / Alarms: list, explain, ack, shelve, reset, figures",
    epilog="ALARM：列表中的 规则@设备 / RULE@DEVICE as in the list.  手册 / manual: docs/rules.zh.md, docs/rules.en.md",
)
def command() -> None:
    pass


@command.command("list", help="当前报警 / every alarm that is not normal, or that is put aside")
@by_option()
@PLACE
@command_options
def list_command(shell: Shell, by: str | None, wanted: tuple[Place, ...]) -> None:
    alarms = [alarm for alarm in _ask(shell, {"op": "alarms"}) if within(place_of(alarm["place"]), wanted)]
    if shell.json:
        shell.document({"alarms": alarms})
        shell.stop(FINE)
    places = Places() if by is None else configuration_of(shell).places
    for heading, found in sections(shell.t, alarms, by, lambda alarm: place_of(alarm["place"]), places):
        if heading is not None:
            print(f"== {heading} ({len(found)})")
        for alarm in found:
            _print(shell, alarm)
    if not alarms:
        shell.say("没有报警", "no alarms")
    shell.stop(FINE)


@command.command("ack", help="确认报警：规则 或 规则@设备 / acknowledge RULE or RULE@DEVICE")
@click.argument("alarm")
@BY
@command_options
def ack_command(shell: Shell, alarm: str, by: str | None) -> None:
    _attend(shell, "acknowledge", alarm, by)


@command.command("shelve", help="搁置一段时间，联动照常 / put aside for a while; actions go on")
@click.argument("alarm")
@click.option("--for", "for_s", type=Duration(), required=True, help="多久，如 30min / how long, such as 30min")
@REASON
@BY
@command_options
def shelve_command(shell: Shell, alarm: str, for_s: float, reason: str, by: str | None) -> None:
    _attend(shell, "shelve", alarm, by, reason=reason, for_s=for_s)


@command.command("unshelve", help="取消搁置 / take off the shelf")
@click.argument("alarm")
@BY
@command_options
def unshelve_command(shell: Shell, alarm: str, by: str | None) -> None:
    _attend(shell, "unshelve", alarm, by)


@command.command("reset", help="复位锁存的报警 / let go a latched alarm that is over and acknowledged")
@click.argument("alarm")
@REASON
@BY
@command_options
def reset_command(shell: Shell, alarm: str, reason: str, by: str | None) -> None:
    _attend(shell, "reset", alarm, by, reason=reason)


@command.command("disable", help="停用：不提醒也不联动 / out of service: nothing is told or moved")
@click.argument("alarm")
@click.option("--for", "for_s", type=Duration(), default=None, help="多久 / how long; else until enabled")
@click.option("--reason", required=True, help="原因 / why")
@BY
@command_options
def disable_command(shell: Shell, alarm: str, for_s: float | None, reason: str, by: str | None) -> None:
    _attend(shell, "out_of_service", alarm, by, reason=reason, for_s=for_s)


@command.command("enable", help="恢复使用 / back in service")
@click.argument("alarm")
@BY
@command_options
def enable_command(shell: Shell, alarm: str, by: str | None) -> None:
    _attend(shell, "in_service", alarm, by)


@command.command("explain", help="为什么报警，或为什么没有 / why it is on, or why not")
@click.argument("alarm")
@command_options
def explain_command(shell: Shell, alarm: str) -> None:
    rule, _, device = alarm.partition("@")
    found = _ask(shell, {"op": "explain", "rule": rule, "device": device or None})
    if shell.json:
        shell.document(found)
        shell.stop(FINE)
    for line in explained(found, shell):
        print(line)
    shell.stop(FINE)


command.add_command(kpi_command, "kpi")


def _attend(shell: Shell, act: str, alarm: str, by: str | None, **more: Any) -> None:
    rule, _, device = alarm.partition("@")
    who = by or local_api.operator()
    after = _ask(shell, {"op": act, "rule": rule, "device": device or None, "who": who, **more})
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
        shell.complain(f"失败：{in_chinese(exc)}", f"refused: {exc.advice()}")
        shell.stop(FOUND_WRONG)


_REFUSALS = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"there is no alarm (.*)", r"没有报警 \1；写法：规则@设备，见 gateway alarms list"),
        (r"reset refused: not latched", "不用复位：此报警没有锁存，恢复并确认后自行结束"),
        (r"reset refused: not over and acknowledged", "不能复位：要等条件恢复，并先确认（ack）"),
        (r"reset refused: only (.*)", r"不能复位：只有 \1 可以；用 --by 写明是谁"),
        (r"\w+ refused: no reason", "需要写明原因：--reason"),
        (r"shelve refused: never", "此规则不允许搁置"),
        (r"shelve refused: (.*) at most", r"搁置时间太长，最多 \1"),
    )
)


def in_chinese(exc: GatewayError) -> str:
    """The daemon refuses in English; what people meet daily is said in Chinese too."""
    for pattern, text in _REFUSALS:
        match = pattern.fullmatch(str(exc))
        if match is not None:
            return match.expand(text)
    return exc.advice()


def _print(shell: Shell, alarm: Mapping[str, Any]) -> None:
    name = alarm["rule"] + (f"@{alarm['device']}" if alarm["device"] else "")
    state = shell.t(*STATES.get(alarm["state"], ("正常", "normal")))
    priority = shell.t(*PRIORITIES[alarm["priority"]])
    seen = shell.t(f"（{alarm['acked_by']}）", f" by {alarm['acked_by']}") if alarm["acked_by"] else ""
    since = _clock(alarm["since_ms"]) if alarm["since_ms"] else shell.t("从未报警", "never raised")
    print(f"{since}  {priority}  {name}  {state}{seen}{''.join(_beside(shell, alarm))}")
    for text in (alarm["message"], alarm["response"]):
        if text["zh"] or text["en"]:
            print(f"    {shell.t(text['zh'], text['en'])}")


def _beside(shell: Shell, alarm: Mapping[str, Any]) -> list[str]:
    """What stands beside the state."""
    words = []
    if alarm["shadow"]:
        words.append(shell.t("  试运行", "  shadow"))
    if not alarm["known"]:
        words.append(shell.t("  数据缺失", "  data missing"))
    if alarm["suppressed"]:
        words.append(shell.t("  被抑制", "  suppressed"))
    if alarm["chattering"]:
        words.append(shell.t("  抖动", "  chattering"))
    for key, zh, en in (("shelved", "搁置", "shelved"), ("out_of_service", "停用", "out of service")):
        if (pause := alarm[key]) is not None:
            until = "" if pause["until_ms"] is None else shell.t("至 ", "until ") + _clock(pause["until_ms"])
            words.append(shell.t(f"  {zh}（{pause['by']}）{until}", f"  {en} by {pause['by']} {until}".rstrip()))
    return words


def _clock(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


# ---------------------------------------------------------------------- explain


def explained(found: Mapping[str, Any], shell: Shell) -> list[str]:
    """The engine's account of one alarm as lines for people."""
    name = found["rule"] + (f"@{found['device']}" if found["device"] else "")
    lines = [f"{name}  {shell.t(*STATES.get(found['state'], ('正常', 'normal')))}"]
    if found["mode"] == "shadow":
        lines.append(shell.t("  试运行：只记录，不提醒也不联动", "  shadow: journaled only"))
    answers = found["conditions"]
    for key, text in found["written"].items():
        named = shell.t(named_twice(key), key)
        lines.append(f"  {named}: {text}{_answer(shell, answers.get(key)) if key in answers else ''}")
    if answers["only_during"] is not None:
        inside, outside = ("  时段内", "  within its hours"), ("  不在时段内", "  outside its hours")
        lines.append(shell.t(*(inside if answers["only_during"] else outside)))
    lines += [_input_line(shell, each) for each in found["inputs"]]
    lines += _timer_lines(shell, found)
    flags = [shell.t(*FLAGS.get(flag, (flag, flag))) for flag, on in found["flags"].items() if on]
    if flags:
        lines.append(f"  {', '.join(flags)}")
    if found["actions"]:
        lines.append(_proof_line(shell, found.get("proof")))
    return lines


def _proof_line(shell: Shell, proof: Mapping[str, Any] | None) -> str:
    """When its actions were tried last."""
    if proof is None:
        return shell.t("  联动从未试验", "  its actions were never tried")
    kind = shell.t("真动作", "moved") if proof["with_output"] else shell.t("未真动作", "nothing moved")
    failed = ", ".join(proof["failed"])
    what = shell.t(f"未确认 {failed}", f"not confirmed: {failed}") if failed else shell.t("正常", "fine")
    at, who = _clock(proof["time_ms"]), proof["who"]
    return shell.t(f"  最近联动试验 {at}（{who}，{kind}）：{what}", f"  last tried {at} by {who} ({kind}): {what}")


def _answer(shell: Shell, answer: bool | None) -> str:
    words = {True: ("成立", "true"), False: ("不成立", "false"), None: ("未知", "unknown")}
    return f"  → {shell.t(*words[answer])}"


def _input_line(shell: Shell, each: Mapping[str, Any]) -> str:
    match each["source"]:
        case "value":
            return f"    {each['point']}{_value(shell, each)}"
        case "alarm":
            on = ", ".join(each["on"]) or shell.t("无", "none")
            return f"    alarm({each['rule']}) = {each['value']}  ({on})"
        case source:
            return f"    {source} {each.get('of', '')} = {each['value']}"


def _value(shell: Shell, each: Mapping[str, Any]) -> str:
    """`` = 12.0 Cel  (3.1 s ago)``"""
    age_s, unit = each["age_s"], f" {each['unit']}" if each["unit"] else ""
    age = shell.t("从未收到", "never heard") if age_s is None else shell.t(f"{age_s} 秒前", f"{age_s} s ago")
    if each["value"] is not None:
        return f" = {each['value']}{unit}  ({age})"
    last = f"{each['last']}{unit}"
    known = "" if each["last"] is None else shell.t(f"，最后 {last}", f", last {last}")
    return shell.t(f" 未知（{age}{known}）", f" unknown ({age}{known})")


def _timer_lines(shell: Shell, found: Mapping[str, Any]) -> list[str]:
    timers, lines = found["timers"], []
    held_s, clearing_s, next_s = timers["held_s"], timers["clearing_s"], timers["next_in_s"]
    if held_s is not None:
        frozen = "" if timers["held_runs"] else shell.t("（缺数，暂停）", " (stands still: data missing)")
        on_s = timers["for_s"]
        lines.append(
            shell.t(
                f"  已成立 {held_s:.0f} 秒，需 {on_s:g} 秒{frozen}",
                f"  true for {held_s:.0f} s, {on_s:g} s needed{frozen}",
            )
        )
    if clearing_s is not None:
        off_s = timers["clear_after_s"]
        lines.append(
            shell.t(
                f"  已不成立 {clearing_s:.0f} 秒，需 {off_s:g} 秒", f"  over for {clearing_s:.0f} s, {off_s:g} s needed"
            )
        )
    if next_s is not None:
        lines.append(shell.t(f"  {next_s:.0f} 秒后再判断", f"  looked at again in {next_s:.0f} s"))
    return lines
