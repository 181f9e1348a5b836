"""A rule read back in plain sentences, so that whoever wrote it sees what the box has understood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.model import PRIORITY_WORDS, Text
from rules.alarm import NoData
from rules.calendar import DAYS, Schedule
from rules.rule import Action, Hook, Mode, Rule, Watch, While
from rules.text import duration

_MODES = {
    Mode.LIVE: Text("", ""),
    Mode.SHADOW: Text("（试运行：只记录）", " (shadow: journaled only)"),
    Mode.OFF: Text("（停用）", " (off)"),
}
_NO_DATA = {
    NoData.HOLD: Text("缺数时：保持原状，不报也不消", "data missing: it stays as it is"),
    NoData.CLEAR: Text("缺数时：视为恢复", "data missing: it is taken to be over"),
    NoData.ALARM: Text("缺数时：报警", "data missing: it alarms"),
}
_HOOKS = {
    Hook.ALARM: Text("报警时", "when it is raised"),
    Hook.CLEAR: Text("恢复时", "when it is over"),
    Hook.ACK: Text("确认时", "when it is acknowledged"),
    Hook.RESET: Text("复位时", "when it is reset"),
}
_WEEK = ("周一", "周二", "周三", "周四", "周五", "周六", "周日")


def account(rule: Rule, watches: Sequence[Watch]) -> Iterator[Text]:
    """*watches*: where the rule is at work; empty where that is not known."""
    mode = _MODES[rule.mode]
    yield Text(f"{rule.id} {rule.name.zh}{mode.zh}", f"{rule.id}: {rule.name.en}{mode.en}")
    if watches:
        yield _where(watches)
    yield from _condition(rule)
    yield from _end(rule)
    limit = "" if rule.no_data_after_s is None else duration(rule.no_data_after_s).zh
    limit_en = "" if rule.no_data_after_s is None else duration(rule.no_data_after_s).en
    missing = _NO_DATA[rule.timing.no_data]
    yield Text(
        missing.zh + (f"（{limit}无可信数据）" if limit else ""), missing.en + (f" (after {limit_en})" if limit else "")
    )
    yield from _people(rule)
    for action in watches[0].actions if watches else ():
        yield _action(action)


def _where(watches: Sequence[Watch]) -> Text:
    names = [watch.device for watch in watches if watch.device is not None]
    if not names:
        return Text("监视：规则中写明的测点", "watches: the points that it names")
    shown = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return Text(f"监视 {len(names)} 台设备：{shown}", f"watches {len(names)} devices: {shown}")


def _condition(rule: Rule) -> Iterator[Text]:
    when, held, priority = rule.written.get("when", ""), duration(rule.timing.on_s), PRIORITY_WORDS[rule.priority]
    for_zh = f" 持续 {held.zh}" if rule.timing.on_s else ""
    for_en = f" for {held.en}" if rule.timing.on_s else ""
    yield Text(f"当 {when}{for_zh} → {priority.zh}报警", f"when {when}{for_en} → an alarm, {priority.en}")
    if rule.only_during is not None:
        yield _hours(rule.only_during)
    if "suppress_when" in rule.written:
        why = rule.written["suppress_when"]
        yield Text(f"若 {why}：不提醒也不动作", f"while {why}: nobody is told and nothing is moved")
    if rule.wait_for_parent_s:
        wait = duration(rule.wait_for_parent_s)
        yield Text(f"先等 {wait.zh}，看是否有上级报警能解释它", f"waits {wait.en} for an alarm that explains it")


def _hours(schedule: Schedule) -> Text:
    start, end = _clock(schedule.start_s), _clock(schedule.end_s)
    days_zh = "" if len(schedule.weekdays) == 7 else " " + "".join(_WEEK[day] for day in sorted(schedule.weekdays))
    days_en = "" if len(schedule.weekdays) == 7 else " on " + ", ".join(DAYS[day] for day in sorted(schedule.weekdays))
    return Text(f"只在 {start}-{end}{days_zh}", f"only from {start} to {end}{days_en}")


def _clock(second: float) -> str:
    return f"{int(second) // 3600:02}:{int(second) // 60 % 60:02}"


def _end(rule: Rule) -> Iterator[Text]:
    zh, en = "条件不再成立", "the condition is no longer true"
    if "clear_when" in rule.written:
        zh = en = rule.written["clear_when"]
    elif "deadband" in rule.written:
        zh, en = f"{zh}（回差 {rule.written['deadband']}）", f"{en} (by {rule.written['deadband']})"
    if rule.timing.off_s:
        calm = duration(rule.timing.off_s)
        zh, en = f"{zh} 持续 {calm.zh}", f"{en} for {calm.en}"
    yield Text(f"恢复：{zh}", f"over when {en}")
    if rule.timing.latched:
        who = ", ".join(rule.reset.who)
        yield Text(
            f"锁存：恢复并确认后，由{who or '任何人'}复位" + ("，须写原因" if rule.reset.reason_required else ""),
            f"latched: once over and acknowledged, {who or 'anybody'} may reset it"
            + (" and must say why" if rule.reset.reason_required else ""),
        )
    if rule.timing.chatter is not None:
        chatter = rule.timing.chatter
        within, calm = duration(chatter.within_s), duration(chatter.calm_s)
        yield Text(
            f"抖动：{within.zh}内报 {chatter.raises} 次后，平静 {calm.zh}才算恢复",
            f"chatter: after {chatter.raises} raises within {within.en} it stays on until calm for {calm.en}",
        )


def _people(rule: Rule) -> Iterator[Text]:
    if rule.timing.auto_ack:
        yield Text("不需要确认", "needs no acknowledgement")
    shelf = duration(rule.longest_shelf_s)
    if rule.longest_shelf_s:
        yield Text(f"最多可搁置 {shelf.zh}", f"may be shelved for up to {shelf.en}")
    else:
        yield Text("不可搁置", "may not be shelved")
    if rule.notify:
        yield Text(f"通知 {', '.join(rule.notify)}", f"tells {', '.join(rule.notify)}")
    for step in rule.escalate:
        after = duration(step.after_s)
        yield Text(f"{after.zh}无人确认 → 通知 {step.to}", f"not acknowledged after {after.en}: tells {step.to}")
    if rule.response.zh or rule.response.en:
        yield Text(f"处置：{rule.response.zh}", f"what to do: {rule.response.en}")


def _action(action: Action) -> Text:
    hook = _HOOKS[action.hook]
    more = list(_more(action))
    zh, en = "，".join(text.zh for text in more), "; ".join(text.en for text in more)
    return Text(
        f"{hook.zh}发送 {action.send}" + (f"（{zh}）" if zh else ""),
        f"{hook.en} sends {action.send}" + (f" ({en})" if en else ""),
    )


def _more(action: Action) -> Iterator[Text]:
    if action.confirm is not None:
        within = duration(action.confirm.within_s)
        point, value = action.confirm.point, action.confirm.value
        yield Text(f"{within.zh}内核实 {point} 为 {value}", f"{point} must be {value} within {within.en}")
        if action.tries > 1:
            yield Text(f"共试 {action.tries} 次", f"{action.tries} tries")
    if action.otherwise:
        others = ", ".join(action.otherwise)
        yield Text(f"否则 {others}", f"else {others}")
    if action.hold:
        yield Text("保持：被改动就再发，直到报警复原", "held: sent again when undone, until the alarm is normal")
    if action.during is not None:
        until = Text("直到有人确认", "until somebody acknowledges")
        yield until if action.during is While.UNACK else Text("直到恢复", "until it is over")
    if action.at_most_for_s is not None:
        longest = duration(action.at_most_for_s)
        yield Text(f"最长 {longest.zh}", f"for {longest.en} at most")
    if action.at_most is not None:
        within = duration(action.at_most.within_s)
        yield Text(f"{within.zh}内最多 {action.at_most.count} 次", f"at most {action.at_most.count} in {within.en}")
    if action.optional:
        yield Text("没有此角色的设备不发送", "left out for a device without this role")
